//! `[admin]` and `[process]`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::super::cross::AdminPlaces;
use super::super::defaults::{ADMIN_SOCKET, STATE_DIR};
use super::super::model::{Admin, AdminSocket, Process, StateDir};
use super::super::place::{can_hold_socket, short_enough};
use super::super::reader::{ANY_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;
use super::accept::local;
use super::secret;

/// Where a name server listens that is written without a port (RFC 1035 4.2).
const DNS_PORT: u16 = 53;

/// `[admin]`, and where its addresses are written.
pub(super) fn admin(table: &Table<'_>) -> (Admin, AdminPlaces) {
    let mut admin = Admin::default();
    let mut places = AdminPlaces::default();
    if let Some(value) = table.get("listen") {
        let off = value.inner.as_str() == Some("");
        let read = if off { None } else { local(&value, "an address, \"IP:PORT\", or \"\" for none") };
        (admin.listen, places.listen) = read.unzip();
    }
    if let Some(value) = table.get("socket") {
        admin.socket = socket(&value);
        places.socket = Some(value.span);
    }
    admin.token = secret::token(table);
    (admin, places)
}

/// A path, and whether it is another than the default: who writes the default down asks for what holds anyway.
fn path(value: &Value<'_>, expected: &str, default: &str) -> Option<(PathBuf, bool)> {
    let written = value.string(expected)?;
    if written.contains('\0') {
        value.doc.error(value.span, "a path holds no zero byte", None);
        return None;
    }
    let path = value.doc.path(written);
    let asked = path != Path::new(default);
    (!written.is_empty()).then_some((path, asked))
}

fn socket(value: &Value<'_>) -> Option<AdminSocket> {
    let (path, written) = path(value, "the path of a socket, or \"\" for none", ADMIN_SOCKET)?;
    if let Err(malformed) = short_enough(&path).and_then(|()| can_hold_socket(&path, written)) {
        value.doc.malformed(value.span, malformed);
    }
    Some(AdminSocket { path, written })
}

fn state_dir(value: &Value<'_>) -> Option<StateDir> {
    if value.inner.as_str() == Some("") {
        let help = "it starts cold: it may pick another writer and learn another history, and drains are forgotten";
        let message = "without `state_dir` a restart forgets the writer, the component served, the history learned and \
                       what operators set";
        value.doc.warning(value.span, message, Some(help.to_owned()));
        return None;
    }
    let (path, written) = path(value, "the path of a directory, or \"\" for none", STATE_DIR)?;
    if path.exists() && !path.is_dir() {
        let shown = quote(&path.to_string_lossy());
        value.doc.error(value.span, format!("{shown} is not a directory"), None);
    }
    Some(StateDir { path, written })
}

pub(super) fn process(table: &Table<'_>) -> Process {
    let default = Process::default();
    let workers = table.integer("workers", default.workers.unwrap_or(0), 0..=1024);
    Process {
        workers: (workers != 0).then_some(workers),
        nameservers: table.get("nameservers").map_or_else(Vec::new, |value| nameservers(&value)),
        state_dir: match table.get("state_dir") {
            Some(value) => state_dir(&value),
            None => default.state_dir,
        },
        log_level: table.choice("log_level", default.log_level, words::LOG_LEVEL).value,
        log_format: table.choice("log_format", default.log_format, words::LOG_FORMAT).value,
        access_log: table.boolean("access_log", default.access_log),
        shutdown_timeout: table.duration("shutdown_timeout", default.shutdown_timeout, ANY_TIME).value,
        ..default
    }
}

/// Who is asked for names, in their order.
fn nameservers(value: &Value<'_>) -> Vec<SocketAddr> {
    let Some(array) = value.array() else {
        value.wrong_type("a list of name servers such as [\"10.0.0.2:53\"]", None);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in value.items(array) {
        let Some(text) = item.string("a name server, \"IP:PORT\"") else { continue };
        let written = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
        match written.ok().filter(|server| server.port() != 0 && !server.ip().is_unspecified()) {
            Some(server) if found.contains(&server) => {
                let message = format!("{} is in this list already", quote(&server.to_string()));
                value.doc.error(item.span, message, None);
            }
            Some(server) => found.push(server),
            None => {
                let help =
                    "write \"IP:PORT\", \"[IPV6]:PORT\" or an IP address for port 53; names are not looked up here";
                value.doc.error(item.span, format!("{} is no name server", quote(text)), Some(help.to_owned()));
            }
        }
    }
    found
}
