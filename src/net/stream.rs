//! One stream type for every kind of connection.
//!
//! A session, the relay and the monitor handle [`Stream`]s and never ask which kind one is, so that TLS and Unix
//! sockets are one more variant and not one more code path. TLS goes over either socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::TlsStream;

/// How often a peer is looked after whose leaving brings no news.
const LOOK: Duration = Duration::from_millis(250);

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(Plain),
    /// Inside TLS, whichever side opened it. Boxed: its state is larger than everything else of a session.
    Tls(Box<TlsStream<Plain>>),
}

/// A socket.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl From<Plain> for Stream {
    fn from(socket: Plain) -> Self {
        Self::Plain(socket)
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(Plain::Tcp(socket))
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Plain(Plain::Unix(socket))
    }
}

impl From<TlsStream<Plain>> for Stream {
    fn from(stream: TlsStream<Plain>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

/// Who is at the other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Tcp(SocketAddr),
    /// A process of this host, on a Unix socket: its user, and its number where the kernel tells.
    Unix {
        /// Its effective user.
        uid: u32,
        /// Its process.
        pid: Option<i32>,
    },
}

impl Peer {
    /// Its address, an IPv4 one as such also where it came over an IPv6 socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => canonical(*address).fmt(f),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "unix:uid={uid},pid={pid}"),
            Self::Unix { uid, pid: None } => write!(f, "unix:uid={uid}"),
        }
    }
}

/// An IPv4 client that came over an IPv6 socket has one name only, that of `allow`, of `deny` and of the server.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A plain connection that belongs to no runtime: on its way from one worker to another.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Hands it to the runtime that this is called in.
    pub fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(s) => TcpStream::from_std(s).map(Stream::from),
            Self::Unix(s) => UnixStream::from_std(s).map(Stream::from),
        }
    }
}

impl Plain {
    /// The TCP socket, where it is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(s) => Some(s),
            Self::Unix(_) => None,
        }
    }
}

impl Stream {
    /// The socket underneath.
    pub fn socket(&self) -> &Plain {
        match self {
            Self::Plain(s) => s,
            Self::Tls(s) => s.get_ref(),
        }
    }

    /// The TCP socket underneath, where there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.socket().tcp()
    }

    /// The TLS around it, where there is any.
    pub fn tls(&self) -> Option<&TlsStream<Plain>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(s) => Some(s),
        }
    }

    /// Takes a plain connection off its runtime.
    pub fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Plain(Plain::Tcp(s)) => s.into_std().map(Detached::Tcp),
            Self::Plain(Plain::Unix(s)) => s.into_std().map(Detached::Unix),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Closes with a reset instead of an orderly end: what is still in the send buffer is thrown away, and no
    /// TIME_WAIT is left behind. A Unix socket knows no reset; its peer sees one all the same where bytes of its are unread.
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

    /// Sets SO_RCVBUF and SO_SNDBUF where they are given; the kernel clips what is too large, and what it refuses stays as it is.
    pub fn set_buffers(&self, (receive, send): (Option<u32>, Option<u32>)) {
        let Some(socket) = self.tcp().map(SockRef::from) else { return };
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let _ = receive.map(|bytes| socket.set_recv_buffer_size(size(bytes)));
        let _ = send.map(|bytes| socket.set_send_buffer_size(size(bytes)));
    }

    /// Waits until there is something to read, and says how many bytes of it fit into one; 0 is the end of data. Takes
    /// nothing.
    pub async fn peek(&self) -> io::Result<usize> {
        match self.socket() {
            Plain::Tcp(s) => s.peek(&mut [0]).await,
            Plain::Unix(s) => loop {
                s.readable().await?;
                let look = || {
                    let mut byte = [0_u8];
                    let (seen, _) = rustix::net::recv(s, &mut byte, rustix::net::RecvFlags::PEEK)?;
                    Ok(seen)
                };
                match s.try_io(tokio::io::Interest::READABLE, look) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    seen => return seen,
                }
            },
        }
    }

    /// Whether the peer has ended its direction or the connection is broken, as the kernel knows already although bytes that
    /// came before are unread.
    pub fn has_ended(&self) -> bool {
        self.polled(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the kernel says any of this now.
    fn polled(&self, flags: PollFlags) -> bool {
        let fd = match self.socket() {
            Plain::Tcp(s) => s.as_fd(),
            Plain::Unix(s) => s.as_fd(),
        };
        let mut of = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
        let asked = poll(&mut of, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let [of] = &of;
        asked.is_ok() && of.revents().intersects(flags)
    }

    /// Resolves when the connection has broken; its orderly end is none.
    pub async fn broken(&self) {
        use tokio::io::Interest;
        let ready = match self.socket() {
            Plain::Tcp(s) => s.ready(Interest::ERROR).await,
            // Its peer's close is no error (unix(7)), and no readiness of its own beside that to write.
            Plain::Unix(_) => {
                while !self.polled(PollFlags::HUP | PollFlags::ERR) {
                    tokio::time::sleep(LOOK).await;
                }
                return;
            }
        };
        if ready.is_ok_and(|ready| !ready.is_error()) {
            std::future::pending::<()>().await;
        }
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

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

/// `poll_shutdown` is the half-close: it ends our direction and leaves the other open. Over TLS it sends
/// close_notify first.
impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}
