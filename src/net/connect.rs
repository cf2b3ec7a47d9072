//! Connecting to a node.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::Stream;
use crate::config::Endpoint;

/// Connects, from `source` where it is given. It is the caller who has a deadline.
///
/// # Errors
/// Those of `connect(2)`. A Unix socket whose queue is full counts as one that refuses: the kernel's EAGAIN would look like a
/// shortage of ours.
pub async fn connect(to: &Endpoint, source: Option<IpAddr>) -> io::Result<Stream> {
    match to {
        Endpoint::Tcp(address) => match source {
            None => TcpStream::connect(address).await.map(Stream::Tcp),
            Some(source) => connect_from(source, *address).await.map(Stream::Tcp),
        },
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "its queue of connections is full"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(io::Error::new(e.kind(), "there is no such socket")),
            connected => connected.map(Stream::Unix),
        },
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
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}
