//! `[admin]` and `[process]`.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::defaults::{ADMIN_SOCKET, STATE_DIR};
use super::super::diagnostic::Span;
use super::super::model::{Admin, AdminSocket, Process, StateDir};
use super::super::reader::{ANY_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;
use super::secret;
use super::service::listen;

/// The longest path of a Unix socket: `sun_path` of unix(7), without the zero byte at its end.
const LONGEST_SOCKET: usize = 107;

/// `[admin]`, and where its address is written.
pub(super) fn admin(table: &Table<'_>) -> (Admin, Option<(SocketAddr, Span)>) {
    let mut admin = Admin::default();
    let mut place = None;
    if let Some(value) = table.get("listen") {
        let off = value.inner.as_str() == Some("");
        place = if off { None } else { listen(value, "an address, \"IP:PORT\", or \"\" for none") };
        admin.listen = place.map(|(address, _)| address);
    }
    if let Some(value) = table.get("socket") {
        admin.socket = socket(&value);
    }
    admin.token = secret::token(table);
    (admin, place)
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
    let shown = quote(&path.to_string_lossy());
    let directory = path.parent().filter(|_| path.file_name().is_some());
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST_SOCKET {
        let message = format!("{shown} is {length} bytes long: the path of a socket has at most {LONGEST_SOCKET}");
        value.doc.error(value.span, message, None);
    } else if path.is_dir() || directory.is_none() {
        value.doc.error(value.span, format!("{shown} is a directory: the socket needs a name in it"), None);
    } else if let Some(directory) = directory
        && written
        && !directory.is_dir()
    {
        let shown = quote(&directory.to_string_lossy());
        let help = "make it, owned by the user that Galeway runs as".to_owned();
        value.doc.error(value.span, format!("there is no directory {shown} for the socket"), Some(help));
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
        state_dir: match table.get("state_dir") {
            Some(value) => state_dir(&value),
            None => default.state_dir,
        },
        log_level: table.choice("log_level", default.log_level, words::LOG_LEVEL).value,
        log_format: table.choice("log_format", default.log_format, words::LOG_FORMAT).value,
        access_log: table.boolean("access_log", default.access_log),
        shutdown_timeout: table.duration("shutdown_timeout", default.shutdown_timeout, ANY_TIME).value,
    }
}
