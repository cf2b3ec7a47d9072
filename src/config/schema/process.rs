//! `[admin]` and `[process]`.

use std::net::SocketAddr;

use super::super::diagnostic::Span;
use super::super::model::{Admin, Process};
use super::super::reader::{ANY_TIME, Table};
use super::super::words;
use super::service::listen;

/// `[admin]`, and where its address is written.
pub(super) fn admin(table: &Table<'_>) -> (Admin, Option<(SocketAddr, Span)>) {
    let Some(value) = table.get("listen") else { return (Admin::default(), None) };
    if value.inner.as_str() == Some("") {
        return (Admin { listen: None }, None);
    }
    let place = listen(value, "an address, \"IP:PORT\", or \"\" for none");
    (Admin { listen: place.map(|(address, _)| address) }, place)
}

pub(super) fn process(table: &Table<'_>) -> Process {
    let default = Process::default();
    let workers = table.integer("workers", default.workers.unwrap_or(0), 0..=1024);
    Process {
        workers: (workers != 0).then_some(workers),
        log_level: table.choice("log_level", default.log_level, words::LOG_LEVEL).value,
        log_format: table.choice("log_format", default.log_format, words::LOG_FORMAT).value,
        access_log: table.boolean("access_log", default.access_log),
        shutdown_timeout: table.duration("shutdown_timeout", default.shutdown_timeout, ANY_TIME).value,
    }
}
