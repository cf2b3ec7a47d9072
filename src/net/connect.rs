//! Connecting to a node.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::sockopt::{IpBindAddressNoPort, IpTransparent};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::Stream;
use crate::config::Endpoint;

/// The first pause before a full queue is tried again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
/// The longest one.
const PAUSE_MOST: Duration = Duration::from_millis(50);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// The system's choice.
    Any,
    /// An address of this host.
    Address(IpAddr),
    /// The client's own address and port, which is another host's: the way back has to lead through this one.
    Client(SocketAddr),
}

/// Connects, from `source`. It is the caller who has a deadline: a Unix socket whose queue is full is waited for.
///
/// # Errors
/// Those of `connect(2)` and `bind(2)`.
pub async fn connect(to: &Endpoint, source: From) -> io::Result<Stream> {
    match to {
        Endpoint::Tcp(address) => match source {
            From::Any => TcpStream::connect(address).await.map(Stream::from),
            From::Address(source) => connect_from(source, *address).await.map(Stream::from),
            From::Client(client) => connect_as(client, *address).await.map(Stream::from),
        },
        Endpoint::Unix(path) => {
            let mut pause = PAUSE_FIRST;
            loop {
                match UnixStream::connect(path).await {
                    // Its queue of connections is full. A connect that blocks would wait for a place in it.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MOST);
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        return Err(io::Error::new(e.kind(), "there is no such socket"));
                    }
                    connected => return connected.map(Stream::from),
                }
            }
        }
    }
}

async fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port is chosen at the connect, when the far end is known: chosen at the bind it would be ours alone, and no more
    // than 28,000 connections could be had to all nodes together.
    nix::sys::socket::setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source, 0)).map_err(|e| match e.kind() {
        io::ErrorKind::AddrNotAvailable => io::Error::new(e.kind(), format!("this host does not hold source {source}")),
        _ => e,
    })?;
    socket.connect(address).await
}

async fn connect_as(client: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    // None of the libraries here sets IPV6_TRANSPARENT.
    if !address.is_ipv4() || !client.is_ipv4() {
        let why = "a client's own address can be taken on with IPv4 only";
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    let socket = TcpSocket::new_v4()?;
    nix::sys::socket::setsockopt(&socket, IpTransparent, &true)
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("IP_TRANSPARENT needs CAP_NET_ADMIN: {e}")))?;
    socket.set_reuseaddr(true)?;
    socket.bind(client)?;
    socket.connect(address).await
}
