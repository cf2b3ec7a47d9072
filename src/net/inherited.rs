//! Listening sockets that whoever started us has bound: systemd's socket activation, sd_listen_fds(3).

use std::fmt;
use std::io;
use std::time::Duration;

use listenfd::ListenFd;

use super::listener::{Bound, Listener};

/// Why a socket of a name could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// Nobody handed any over.
    #[error(
        "no socket was handed to this process (LISTEN_FDS): it needs a .socket unit with FileDescriptorName={0}, or \
         `systemd-socket-activate --fdname={0}`"
    )]
    None(String),
    /// There are others.
    #[error("no socket of this name was handed over; there is {0}")]
    NoSuchName(String),
    /// It is there and is no listening stream socket.
    #[error("what was handed over is no listening stream socket: {0}")]
    Unusable(#[source] io::Error),
}

/// The sockets, until each is taken.
#[derive(Default)]
pub struct Inherited {
    sockets: Option<ListenFd>,
    /// In their order; a socket without a name has the one that systemd gives it.
    names: Vec<String>,
    taken: Vec<String>,
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Inherited {
    /// Those of this process. To be called before any thread is started: the environment says how many there are.
    pub fn from_env() -> Self {
        let sockets = ListenFd::from_env();
        let given = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = given.split(':');
        let name = |given: Option<&str>| given.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let names = (0..sockets.len()).map(|_| name(given.next())).collect();
        Self { sockets: Some(sockets), names, taken: Vec::new() }
    }

    /// Names of those that nobody has taken: who connects there waits for ever.
    pub(super) fn left(&self) -> Vec<&str> {
        let is_taken = |name: &&str| self.taken.iter().any(|taken| taken == name);
        self.names.iter().map(String::as_str).filter(|name| !is_taken(name)).collect()
    }

    /// All sockets of this name.
    pub(super) fn take(&mut self, name: &str, keepalive: Option<Duration>) -> Result<Vec<Listener>, InheritedError> {
        let Some(sockets) = self.sockets.as_mut().filter(|_| !self.names.is_empty()) else {
            return Err(InheritedError::None(name.to_owned()));
        };
        let mut taken = Vec::new();
        for (i, _) in self.names.iter().enumerate().filter(|(_, n)| *n == name) {
            let tcp = match sockets.take_tcp_listener(i) {
                Ok(tcp) => tcp.map(Bound::Tcp),
                Err(_) => sockets.take_unix_listener(i).map_err(InheritedError::Unusable)?.map(Bound::Unix),
            };
            if let Some(socket) = tcp {
                taken.push(Listener::inherit(socket, keepalive).map_err(InheritedError::Unusable)?);
            }
        }
        if taken.is_empty() {
            return Err(InheritedError::NoSuchName(self.names.join(", ")));
        }
        self.taken.push(name.to_owned());
        Ok(taken)
    }
}
