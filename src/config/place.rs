//! Places as users write them: a host and a port, a Unix socket, a socket that was handed over.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use super::address::{Malformed, parse_local, parse_with_port};
use super::model::{HostPort, Listen, Place};
use super::source::quote;

/// The longest path of a Unix socket: `sun_path` of unix(7), without the zero byte at its end.
const LONGEST_SOCKET: usize = 107;

/// The longest name of a socket that is handed over (sd_listen_fds(3), FDNAME_MAX).
const LONGEST_NAME: usize = 255;

/// Where a node is: `HOST[:PORT]` or `unix:PATH`, the path relative to `directory`.
pub(super) fn parse_node(text: &str, directory: &Path) -> Result<Place, Malformed> {
    parse(text, directory, |text| text.parse())
}

/// Where a service connects to: `HOST:PORT` or `unix:PATH`, the path relative to `directory`.
pub(super) fn parse_target(text: &str, directory: &Path) -> Result<Place, Malformed> {
    parse(text, directory, parse_with_port)
}

fn parse(text: &str, directory: &Path, host: impl Fn(&str) -> Result<HostPort, Malformed>) -> Result<Place, Malformed> {
    match text.strip_prefix("unix:") {
        Some(path) => socket(text, path, directory).map(Place::Unix),
        None if text.starts_with("fd:") => Err(Malformed::hint(
            format!("{} is a socket to accept on, not one to connect to", quote(text)),
            "write \"HOST:PORT\" or \"unix:/path\"",
        )),
        None => host(text).map(Place::Host).map_err(|malformed| path_alone(text).unwrap_or(malformed)),
    }
}

/// Where a service listens: `IP:PORT`, `unix:PATH`, the path relative to `directory`, or `fd:NAME`.
pub(super) fn parse_listen(text: &str, directory: &Path) -> Result<Listen, Malformed> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(text, path, directory).map(Listen::Unix);
    }
    if let Some(name) = text.strip_prefix("fd:") {
        // The names come in one variable, with colons between them.
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
            return Err(Malformed::hint(
                format!("{} names no socket", quote(text)),
                "write \"fd:NAME\", the FileDescriptorName= of the .socket unit: letters, digits and signs without a colon",
            ));
        }
        return Ok(Listen::Inherited(name.into()));
    }
    parse_local(text).map(Listen::Tcp).map_err(|malformed| path_alone(text).unwrap_or(malformed))
}

/// A path without what makes it one.
fn path_alone(text: &str) -> Option<Malformed> {
    let help = "a Unix socket is written with `unix:` before its path";
    text.starts_with('/').then(|| Malformed::hint(format!("{} is a path, not an address", quote(text)), help))
}

/// The path of a Unix socket.
fn socket(text: &str, path: &str, directory: &Path) -> Result<Arc<Path>, Malformed> {
    if path.is_empty() {
        return Err(Malformed::hint(format!("{} names no path", quote(text)), "write \"unix:/path/to/a.sock\""));
    }
    if path.starts_with("//") {
        let help = "write the path alone behind `unix:`, beginning with one slash";
        return Err(Malformed::hint(format!("{} is a URL, not an address", quote(text)), help));
    }
    if path.starts_with('@') {
        let help = "nothing says who may open one; write the path of a file: \"unix:/path/to/a.sock\"";
        return Err(Malformed::hint(format!("{}: abstract sockets are not supported", quote(text)), help));
    }
    // It stands in labels, logs and messages.
    if path.contains(char::is_control) {
        return Err(Malformed::new(format!("{}: a control character cannot stand in this path", quote(text))));
    }
    let path = directory.join(path);
    short_enough(&path)?;
    Ok(path.into())
}

/// Whether the kernel takes this path for a socket.
pub(super) fn short_enough(path: &Path) -> Result<(), Malformed> {
    let (shown, length) = (quote(&path.to_string_lossy()), path.as_os_str().as_bytes().len());
    if length > LONGEST_SOCKET {
        let message = format!("{shown} is {length} bytes long: the path of a socket has at most {LONGEST_SOCKET}");
        return Err(Malformed::new(message));
    }
    Ok(())
}

/// Whether a socket could be made at this path; whether its directory is there is looked at where it was `asked` for.
pub(super) fn can_hold_socket(path: &Path, asked: bool) -> Result<(), Malformed> {
    let directory = path.parent().filter(|_| path.file_name().is_some());
    let Some(directory) = directory.filter(|_| !path.is_dir()) else {
        let shown = quote(&path.to_string_lossy());
        return Err(Malformed::new(format!("{shown} is a directory: the socket needs a name in it")));
    };
    if asked && !directory.is_dir() {
        return Err(Malformed::hint(
            format!("there is no directory {} for the socket", quote(&directory.to_string_lossy())),
            "make it, owned by the user that Galeway runs as",
        ));
    }
    Ok(())
}
