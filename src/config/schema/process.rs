//! `[admin]` and `[process]`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Group, Uid, User};

use super::super::cross::AdminPlaces;
use super::super::defaults::{ADMIN_SOCKET, STATE_DIR};
use super::super::model::{Admin, AdminSocket, LogTo, Process, StateDir};
use super::super::nearest::nearest;
use super::super::place::{can_hold_socket, short_enough};
use super::super::reader::{ANY_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;
use super::accept::local;
use super::file::file_to_make;
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

/// `clusters`: whether there is anything to remember.
fn state_dir(value: &Value<'_>, clusters: bool) -> Option<StateDir> {
    if value.inner.as_str() == Some("") && !clusters {
        return None;
    }
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

/// `clusters`: whether there are any.
pub(super) fn process(table: &Table<'_>, clusters: bool) -> Process {
    let default = Process::default();
    let workers = table.integer("workers", default.workers.unwrap_or(0), 0..=1024);
    let root = table.get("chroot").and_then(|value| chroot(table, &value));
    no_group(table);
    Process {
        workers: (workers != 0).then_some(workers),
        nameservers: table.get("nameservers").map_or_else(Vec::new, |value| nameservers(&value)),
        state_dir: match table.get("state_dir") {
            Some(value) => state_dir(&value, clusters),
            None => default.state_dir,
        },
        log_level: table.choice("log_level", default.log_level, words::LOG_LEVEL).value,
        log_format: table.choice("log_format", default.log_format, words::LOG_FORMAT).value,
        access_log: table.boolean("access_log", default.access_log),
        readiness_delay: table.duration("readiness_delay", default.readiness_delay, ANY_TIME).value,
        shutdown_timeout: table.duration("shutdown_timeout", default.shutdown_timeout, ANY_TIME).value,
        user: owner(table, "user", |name| known(User::from_name(name))),
        group: owner(table, "group", |name| known(Group::from_name(name))),
        pid_file: table
            .get("pid_file")
            .and_then(|value| file_to_make(&value, "the file of the process number", root.as_deref())),
        log: table.get("log").and_then(|value| log(&value, root.as_deref())).unwrap_or(default.log),
        chroot: root,
    }
}

/// Whether the system knows somebody. A look-up that fails (a directory service that is away) is no answer.
fn known<T>(found: nix::Result<Option<T>>) -> bool {
    !matches!(found, Ok(None))
}

/// A user or group by name or number; `None` for none.
fn owner(table: &Table<'_>, key: &str, known: impl Fn(&str) -> bool) -> Option<Arc<str>> {
    let value = table.get(key)?;
    let text = value.string(&format!("the name or number of a {key}, or \"\" for none"))?;
    if text.is_empty() {
        return None;
    }
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    // The largest number stands for "leave it as it is" in setuid's family.
    let exists = if number {
        text.parse::<u32>().is_ok_and(|number| number != u32::MAX)
    } else {
        !text.contains('\0') && known(text)
    };
    if !exists {
        let help = format!("make it, or name another; \"\" keeps the {key} that starts Galeway");
        value.doc.error(value.span, format!("there is no {key} {} on this host", quote(text)), Some(help));
    }
    Some(text.into())
}

/// A number without an entry has no group of its own.
fn no_group(table: &Table<'_>) {
    let written = |key: &str| table.get(key).and_then(|value| Some((value.span, value.inner.as_str()?)));
    let (Some((span, user)), None | Some((_, ""))) = (written("user"), written("group")) else { return };
    let unknown = |number: u32| matches!(User::from_uid(Uid::from_raw(number)), Ok(None));
    if user.parse().ok().filter(|number| *number != u32::MAX).is_some_and(unknown) {
        let help = "write group = \"…\" as well".to_owned();
        table.doc.error(span, format!("user {user} has no group: this host does not know it by name"), Some(help));
    }
}

fn chroot(table: &Table<'_>, value: &Value<'_>) -> Option<PathBuf> {
    let (path, _) = path(value, "the path of a directory, or \"\" for none", "")?;
    if !path.is_dir() {
        let shown = quote(&path.to_string_lossy());
        value.doc.error(value.span, format!("{shown} is not a directory"), None);
    }
    if table.get("user").is_none_or(|user| user.inner.as_str() == Some("")) {
        let help = "write user = \"…\" as well".to_owned();
        value.doc.warning(value.span, "`chroot` without `user`: root leaves it at will", Some(help));
    }
    Some(path)
}

fn log(value: &Value<'_>, root: Option<&Path>) -> Option<LogTo> {
    let text = value.string("\"stderr\", \"journald\", \"syslog\" or the path of a file")?;
    if let Some((_, to)) = words::LOG.iter().find(|(word, _)| *word == text) {
        return Some(to.clone());
    }
    // A word with a slip in it is not to become a file beside the configuration.
    let near = nearest(text, words::LOG.iter().map(|(word, _)| *word)).filter(|_| !text.contains(['/', '.']));
    if near.is_some() || text.is_empty() {
        let help = match near {
            Some(word) if text.chars().all(|c| c.is_ascii_alphanumeric()) => {
                format!("did you mean \"{word}\"? A file of this name is \"./{text}\"")
            }
            // Quotes that are closed in the wrong place hold lines that are nobody's business.
            Some(word) => format!("did you mean \"{word}\"?"),
            None => "write \"stderr\", \"journald\", \"syslog\" or the path of a file".to_owned(),
        };
        value.doc.error(value.span, format!("`log` cannot be {}", quote(text)), Some(help));
        return None;
    }
    file_to_make(value, "the log", root).map(LogTo::File)
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
