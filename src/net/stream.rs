//! One stream type for every kind of connection.
//!
//! A session, the relay and the monitor handle [`Stream`]s and never ask which kind one is, so that TLS and Unix
//! sockets are one more variant and not one more code path.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS that we opened as a client. Boxed: its state is larger than everything else of a session.
    TlsClient(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The TCP socket underneath, where there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(s) => Some(s),
            Self::TlsClient(s) => Some(s.get_ref().0),
        }
    }

    /// Closes with a reset instead of an orderly end: what is still in the send buffer is thrown away, and no
    /// TIME_WAIT is left behind.
    ///
    /// Only ever after the other side's own reset or on a kill: after an orderly end it loses data.
    pub fn abort(self) {
        if let Some(s) = self.tcp() {
            // Where the option cannot be set the drop below still closes, only more politely.
            let _ = SockRef::from(s).set_linger(Some(Duration::ZERO));
        }
    }

    /// Sets what every relayed connection has: no Nagle delay, and TCP keepalive where it is given.
    pub fn tune(&self, keepalive: Option<Duration>) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |s| tune(&SockRef::from(s), keepalive))
    }
}

/// No Nagle delay and, where `keepalive` is given, probes that notice a vanished peer of an idle connection within about
/// twice that time. Set on a listening socket, every connection it accepts inherits it (Linux `tcp(7)`, `socket(7)`), and
/// costs five system calls less.
pub(super) fn tune(socket: &SockRef<'_>, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = keepalive {
        // Three probes spread over a second `idle`: dropped at 2 × idle. The kernel counts whole seconds.
        let idle = idle.max(Duration::from_secs(1));
        let gap = Duration::from_secs((idle.as_secs() / 3).max(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(gap).with_retries(3))?;
    }
    Ok(())
}

/// `poll_shutdown` is the half-close: it ends our direction and leaves the other open. Over TLS it sends
/// close_notify first.
impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::TlsClient(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::TlsClient(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::TlsClient(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::TlsClient(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}
