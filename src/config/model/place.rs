//! Addresses: where peers are and where services listen.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A host (name or address, IPv6 without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// DNS name, IPv4 or IPv6 address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// TCP.
    Host(HostPort),
    /// A Unix socket; an absolute path.
    Unix(Arc<Path>),
}

impl Place {
    /// The host and port, where it has them.
    pub fn host(&self) -> Option<&HostPort> {
        match self {
            Self::Host(host) => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// Whether two are written for the same place. A name and the address that it stands for are two.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
        match (self, other) {
            (Self::Host(left), Self::Host(right)) => left.port == right.port && plain(&left.host) == plain(&right.host),
            (Self::Unix(left), Self::Unix(right)) => left == right,
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A [`Place`] that can be connected to without asking anybody for its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(Arc<Path>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listen {
    /// TCP. `[::]` is all of IPv6 and nothing else.
    Tcp(SocketAddr),
    /// A Unix socket; an absolute path, short enough for a socket.
    Unix(Arc<Path>),
    /// A socket of this name that whoever started us has bound (`LISTEN_FDNAMES`, sd_listen_fds(3)).
    Inherited(Arc<str>),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}
