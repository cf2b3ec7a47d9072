//! Listening sockets, owned apart from the services that accept on them.
//!
//! A socket is keyed by its address and shared by every worker, so that a service can change while its socket (and
//! the connections the kernel has queued on it) stays.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::sockopt::socket_acceptconn;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::handover::{Address, Good, Label, SocketPath};
use super::inherited::InheritedError;
use super::stream::{Detached, Peer, Stream, tune};
use super::unix::{SocketFile, UnixError, bind_unix};
use crate::config::{Listen, SocketAccess};

/// Connections that the kernel completes before we accept them. It caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why a listening socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Of TCP: the operating system's word.
    #[error("{_0}{}", hint(_0))]
    Tcp(#[from] io::Error),
    /// Of a Unix socket.
    #[error("{0}")]
    Unix(#[from] UnixError),
    /// Of a socket that was to be inherited.
    #[error("{0}")]
    Inherited(#[from] InheritedError),
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there: see `ss -ltnp`)",
        io::ErrorKind::AddrNotAvailable => {
            " (this host does not hold that address; `freebind = true` binds it all the same)"
        }
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        _ => "",
    }
}

/// How sockets are bound.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// TCP keepalive of accepted connections.
    pub keepalive: Option<Duration>,
    /// Binds addresses that this host does not hold.
    pub freebind: bool,
    /// Of Unix sockets.
    pub access: &'a SocketAccess,
}

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    local: Listen,
    /// Removed with the socket; none where the socket was inherited.
    file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// A second descriptor of the same socket.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(socket) => socket.try_clone()?.into(),
            Self::Unix(socket) => socket.try_clone()?.into(),
        })
    }
}

impl Listener {
    /// Binds and listens on TCP. `[::]` takes IPv6 clients only. Port 0 lets the kernel pick; see [`Self::local`].
    /// Accepted connections have no Nagle delay, and TCP keepalive as given.
    pub fn bind(address: SocketAddr, keepalive: Option<Duration>, freebind: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // Whatever the host's bindv6only says: 0.0.0.0 is a listener of its own.
            socket.set_only_v6(true)?;
        }
        // Without it a restart fails for as long as old connections stay in TIME_WAIT.
        socket.set_reuse_address(true)?;
        match address {
            SocketAddr::V4(_) if freebind => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) if freebind => socket.set_freebind_v6(true)?,
            _ => {}
        }
        tune(&SockRef::from(&socket), keepalive)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = Listen::Tcp(socket.local_addr()?);
        Ok(Self { socket: Bound::Tcp(socket), local, file: None })
    }

    pub(super) fn bind_unix(listen: &Listen, path: &std::path::Path, access: &SocketAccess) -> Result<Self, UnixError> {
        let (socket, file) = bind_unix(path, access)?;
        Ok(Self { socket: Bound::Unix(socket), local: listen.clone(), file: Some(file) })
    }

    /// One that somebody else has bound.
    pub(super) fn inherit(socket: Bound, keepalive: Option<Duration>) -> io::Result<Self> {
        let listens = match &socket {
            Bound::Tcp(s) => socket_acceptconn(s),
            Bound::Unix(s) => socket_acceptconn(s),
        };
        if !listens? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        let local = match &socket {
            Bound::Tcp(s) => {
                s.set_nonblocking(true)?;
                tune(&SockRef::from(s), keepalive)?;
                Listen::Tcp(s.local_addr()?)
            }
            Bound::Unix(s) => {
                s.set_nonblocking(true)?;
                // One without a path, in the abstract name space, has nothing better to be called by.
                let path = s.local_addr()?.as_pathname().map_or_else(|| "@".into(), std::path::Path::to_owned);
                Listen::Unix(path.into())
            }
        };
        Ok(Self { socket, local, file: None })
    }

    /// One that another process has bound, and goes on with until it is told otherwise, with its file.
    pub(super) fn adopt(socket: OwnedFd, address: &Address) -> io::Result<Self> {
        let domain = SockRef::from(&socket).domain()?;
        let bound = if domain == Domain::UNIX { Bound::Unix(socket.into()) } else { Bound::Tcp(socket.into()) };
        let file = match address {
            Address::Unix(SocketPath { path, file: Some(made) }) => Some(SocketFile::of_another(path.clone(), *made)),
            _ => None,
        };
        Ok(Self { file, ..Self::inherit(bound, None)? })
    }

    /// A second descriptor of it, and what it is where the configuration asks for this address.
    pub(super) fn good(&self, asked: &Listen) -> io::Result<Good> {
        let file = self.file.as_ref().map(|file| file.place().1);
        Ok((Label::Service(Address::of(asked, file)), self.socket.copy()?))
    }

    /// Its file, if it has one that goes with it.
    pub(super) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    /// The keepalive of what is accepted from now on.
    pub fn keep_alive(&self, keepalive: Option<Duration>) -> io::Result<()> {
        match &self.socket {
            Bound::Tcp(socket) => tune(&SockRef::from(socket), keepalive),
            Bound::Unix(_) => Ok(()),
        }
    }

    /// The descriptor's number, for people.
    pub fn number(&self) -> i32 {
        match &self.socket {
            Bound::Tcp(socket) => socket.as_raw_fd(),
            Bound::Unix(socket) => socket.as_raw_fd(),
        }
    }

    /// Where it listens.
    pub fn local(&self) -> &Listen {
        &self.local
    }

    /// The socket itself, for who accepts on it alone.
    ///
    /// # Errors
    /// Where it is not TCP.
    pub fn into_tcp(self) -> io::Result<TcpListener> {
        match self.socket {
            Bound::Tcp(socket) => Ok(socket),
            Bound::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The socket itself, where a name is all that is known of it.
    pub(super) fn into_bound(self) -> Bound {
        self.socket
    }

    /// What waits in the kernel's queue now, non-blocking; an error is one connection's. It ends where the queue is
    /// empty, or was longer than it can have been.
    pub fn queued(&self) -> impl Iterator<Item = io::Result<(Detached, Peer)>> {
        let accept = || match &self.socket {
            Bound::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Detached::Tcp(stream), Peer::Tcp(peer)))
            }
            Bound::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
                let pid = Some(credentials.pid.as_raw_pid());
                Ok((Detached::Unix(stream), Peer::Unix { uid: credentials.uid.as_raw(), pid }))
            }
        };
        (0..BACKLOG).map(move |_| accept()).take_while(|taken: &io::Result<_>| match taken {
            Ok(_) => true,
            Err(e) => e.kind() != io::ErrorKind::WouldBlock,
        })
    }

    /// A view of the same socket for the runtime this is called in.
    pub fn acceptor(&self) -> io::Result<Acceptor> {
        match &self.socket {
            Bound::Tcp(s) => tokio::net::TcpListener::from_std(s.try_clone()?).map(Acceptor::Tcp),
            Bound::Unix(s) => tokio::net::UnixListener::from_std(s.try_clone()?).map(Acceptor::Unix),
        }
    }
}

/// Accepts connections on one runtime.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket.
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// The next connection. Dropped before it is ready it loses none.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((Stream::from(stream), Peer::Tcp(peer)))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let credentials = stream.peer_cred()?;
                Ok((Stream::from(stream), Peer::Unix { uid: credentials.uid(), pid: credentials.pid() }))
            }
        }
    }
}

/// Whether an error is this machine's or this process's: no descriptor, port, buffer or memory, or a rule of its own that
/// forbids the connection. It says nothing of any peer, and must exclude none.
pub fn is_local_shortage(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(code) = e.raw_os_error() else {
        // In words of ours: see connect.rs.
        return matches!(e.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable);
    };
    let errno = Errno::from_raw_os_error(code);
    // AFNOSUPPORT: a kernel without IPv6, say.
    let shortage = [
        Errno::AFNOSUPPORT,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
        Errno::AGAIN,
    ];
    // EPERM and EACCES come from this host's firewall or sandbox.
    shortage.contains(&errno) || [Errno::PERM, Errno::ACCESS].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_ours_is_told_from_a_peers_fault() {
        use rustix::io::Errno;
        for ours in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::PERM] {
            assert!(is_local_shortage(&ours.into()), "{ours:?}");
        }
        for theirs in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH, Errno::TIMEDOUT] {
            assert!(!is_local_shortage(&theirs.into()), "{theirs:?}");
        }
    }
}
