//! Connecting to a node.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::Stream;
use crate::config::Endpoint;

/// The first pause before a full queue is tried again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
/// The longest one.
const PAUSE_MOST: Duration = Duration::from_millis(50);

/// Connects, from `source` where it is given. It is the caller who has a deadline: a Unix socket whose queue is full is waited
/// for.
///
/// # Errors
/// Those of `connect(2)`.
pub async fn connect(to: &Endpoint, source: Option<IpAddr>) -> io::Result<Stream> {
    match to {
        Endpoint::Tcp(address) => match source {
            None => TcpStream::connect(address).await.map(Stream::from),
            Some(source) => connect_from(source, *address).await.map(Stream::from),
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
