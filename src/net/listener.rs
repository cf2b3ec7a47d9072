//! Listening sockets, owned apart from the services that accept on them.
//!
//! A socket is keyed by its address and shared by every worker, so that a service can change while its socket (and
//! the connections the kernel has queued on it) stays.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::stream::tune;

/// Connections that the kernel completes before we accept them. It caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound, listening, non-blocking TCP socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds and listens. `[::]` takes IPv6 clients only. Port 0 lets the kernel pick; see [`Self::local`]. Accepted
    /// connections have no Nagle delay, and TCP keepalive as given.
    pub fn bind(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // Whatever the host's bindv6only says: 0.0.0.0 is a listener of its own.
            socket.set_only_v6(true)?;
        }
        // Without it a restart fails for as long as old connections stay in TIME_WAIT.
        socket.set_reuse_address(true)?;
        tune(&SockRef::from(&socket), keepalive)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// Where it listens.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket itself, for who accepts on it alone.
    pub fn into_std(self) -> TcpListener {
        self.socket
    }

    /// What waits in the kernel's queue now, non-blocking; an error is one connection's. It ends where the queue is
    /// empty, or was longer than it can have been.
    pub fn queued(&self) -> impl Iterator<Item = io::Result<(TcpStream, SocketAddr)>> {
        let accept = || {
            let (stream, peer) = self.socket.accept()?;
            stream.set_nonblocking(true)?;
            Ok((stream, peer))
        };
        (0..BACKLOG).map(move |_| accept()).take_while(|taken: &io::Result<_>| match taken {
            Ok(_) => true,
            Err(e) => e.kind() != io::ErrorKind::WouldBlock,
        })
    }

    /// A view of the same socket for the runtime this is called in.
    pub fn acceptor(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket.try_clone()?)
    }
}

/// The listening sockets of an instance, by the address that was asked for.
#[derive(Debug, Default)]
pub struct Listeners(BTreeMap<SocketAddr, Arc<Listener>>);

impl Listeners {
    /// The socket of an address; bound now, if it is not held yet. Each use of port 0 is a socket of its own, which is
    /// then held under the port that the kernel picked.
    pub fn get(&mut self, address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Arc<Listener>> {
        if let Some(held) = self.0.get(&address) {
            return Ok(Arc::clone(held));
        }
        let listener = Arc::new(Listener::bind(address, keepalive)?);
        let key = if address.port() == 0 { listener.local() } else { address };
        self.0.insert(key, Arc::clone(&listener));
        Ok(listener)
    }

    /// Lets go of all of them. A socket closes when the last worker that accepts on it has stopped.
    pub fn release(&mut self) {
        self.0.clear();
    }
}

/// Whether an error is this machine's or this process's: no descriptor, port, buffer or memory, or a rule of its own that
/// forbids the connection. It says nothing of any peer, and must exclude none.
pub fn is_local_shortage(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(code) = e.raw_os_error() else { return e.kind() == io::ErrorKind::OutOfMemory };
    let errno = Errno::from_raw_os_error(code);
    let shortage = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL, Errno::AGAIN];
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
