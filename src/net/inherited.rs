//! Listening sockets that whoever started us has bound: systemd's socket activation, sd_listen_fds(3).

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
#[derive(Debug, Default)]
pub struct Inherited {
    /// In their order; a socket without a name has the one that systemd gives it.
    sockets: Vec<(String, Held)>,
}

#[derive(Debug)]
enum Held {
    Here(Bound),
    Taken,
    Unusable(io::Error),
}

impl Inherited {
    /// Those of this process. To be called before any thread is started: the environment says how many there are. All of
    /// them are ours from now on, and no child's.
    pub fn from_env() -> Self {
        let mut sockets = ListenFd::from_env();
        let given = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = given.split(':');
        let name = |given: Option<&str>| given.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let held = (0..sockets.len()).map(|i| (name(given.next()), held(&mut sockets, i))).collect();
        Self { sockets: held }
    }

    /// Names of those that nobody has taken: who connects there waits for ever.
    pub(super) fn left(&self) -> Vec<&str> {
        let left = self.sockets.iter().filter(|(_, held)| !matches!(held, Held::Taken));
        left.map(|(name, _)| name.as_str()).collect()
    }

    /// Those that nobody has taken.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&str, &Bound)> {
        self.sockets.iter().filter_map(|(name, held)| match held {
            Held::Here(socket) => Some((name.as_str(), socket)),
            _ => None,
        })
    }

    /// One more, of a process that had inherited it.
    pub(super) fn add(&mut self, name: &str, socket: Bound) {
        self.sockets.push((name.to_owned(), Held::Here(socket)));
    }

    /// All sockets of this name.
    pub(super) fn take(&mut self, name: &str, keepalive: Option<Duration>) -> Result<Vec<Listener>, InheritedError> {
        if self.sockets.is_empty() {
            return Err(InheritedError::None(name.to_owned()));
        }
        let mut taken = Vec::new();
        for (_, held) in self.sockets.iter_mut().filter(|(n, _)| n == name) {
            match std::mem::replace(held, Held::Taken) {
                Held::Here(socket) => {
                    taken.push(Listener::inherit(socket, keepalive).map_err(InheritedError::Unusable)?);
                }
                Held::Unusable(e) => return Err(InheritedError::Unusable(e)),
                Held::Taken => {}
            }
        }
        if taken.is_empty() {
            let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
            return Err(InheritedError::NoSuchName(names.join(", ")));
        }
        Ok(taken)
    }
}

fn held(sockets: &mut ListenFd, i: usize) -> Held {
    let taken = match sockets.take_tcp_listener(i) {
        Ok(tcp) => Ok(tcp.map(Bound::Tcp)),
        Err(_) => sockets.take_unix_listener(i).map(|unix| unix.map(Bound::Unix)),
    };
    match taken {
        Ok(Some(socket)) => Held::Here(socket),
        Ok(None) => Held::Taken,
        Err(e) => Held::Unusable(e),
    }
}
