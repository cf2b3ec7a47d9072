//! The resolved configuration: what every other room is built from.
//!
//! Nothing here knows a file format. A value that must not be (a duration of zero where time must pass, a
//! service without a cluster, two nodes of one name) does not get this far: [`super::load`] refuses it with a
//! place in the file.

mod cluster;
mod place;
mod service;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use cluster::*;
pub use place::{Endpoint, HostPort, Listen, Place};
pub use service::*;
pub use tls::*;

use super::secret::Secret;

/// One whole configuration, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The clusters, in the order of the file; names are unique.
    pub clusters: Vec<Arc<Cluster>>,
    /// The services, in the order of the file; names are unique.
    pub services: Vec<Arc<Service>>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[process]`.
    pub process: Process,
}

impl Config {
    /// Where what a restart must not forget is kept; `None` = nowhere, or there is nothing to keep: that is about clusters.
    pub fn memory(&self) -> Option<&StateDir> {
        self.process.state_dir.as_ref().filter(|_| !self.clusters.is_empty())
    }
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// HTTP; `None` = off.
    pub listen: Option<SocketAddr>,
    /// HTTP over a Unix socket; `None` = off.
    pub socket: Option<AdminSocket>,
    /// What a change over TCP has to show; `None` = TCP is read-only. Visible ASCII, not empty.
    pub token: Option<Secret>,
    /// HTTPS in place of HTTP on [`Self::listen`].
    pub tls: Option<Arc<TlsAccept>>,
}

/// Where the admin address listens on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    /// Absolute, and short enough for a socket.
    pub path: PathBuf,
    /// Whether it was asked for: it is not the default. What nobody asked for may fail with a warning.
    pub written: bool,
}

/// `[process]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Worker threads; `None` = one per core (`workers = 0`).
    pub workers: Option<u32>,
    /// Where what a restart must not forget is kept; `None` = it is forgotten.
    pub state_dir: Option<StateDir>,
    /// Least level of log lines.
    pub log_level: LogLevel,
    /// Their form.
    pub log_format: LogFormat,
    /// One line of target `access` for each closed connection.
    pub access_log: bool,
    /// Who answers for names; empty = the system's resolver.
    pub nameservers: Vec<SocketAddr>,
    /// How long clients are accepted still after readiness failed, at the end of the process.
    pub readiness_delay: Duration,
    /// How long sessions may go on after SIGTERM or SIGINT.
    pub shutdown_timeout: Duration,
    /// Whom we become after binding and reading keys, by name or number; `None` = we stay who we are.
    pub user: Option<Arc<str>>,
    /// The group likewise; `None` with a user = that user's own.
    pub group: Option<Arc<str>>,
    /// Our root directory from then on; `None` = as it is.
    pub chroot: Option<PathBuf>,
    /// Where our process number is written; `None` = nowhere.
    pub pid_file: Option<PathBuf>,
    /// Where log lines go.
    pub log: LogTo,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// systemd's journal.
    Journald,
    /// The system's log, facility daemon.
    Syslog,
    /// This file, which is opened again on SIGUSR1.
    File(PathBuf),
}

/// The directory of what a restart must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    /// Absolute.
    pub path: PathBuf,
    /// Whether it was asked for: it is not the default. What nobody asked for may fail with a warning.
    pub written: bool,
}

/// `log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed and an operator must act.
    Error,
    /// Something is wrong but goes on.
    Warn,
    /// Starts, stops, verdict changes.
    Info,
    /// Each connection's way.
    Debug,
    /// Each check.
    Trace,
}

/// `log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
