//! A TLS connection that holds no buffer while it is idle.
//!
//! It stands on rustls's unbuffered API: records are read into the thread's own scratch space and decrypted from there, and
//! what is written is encrypted into such space and handed to the socket at once. Only what is left over is kept: a record
//! that has not come whole, plaintext that the reader had no room for, records that the socket did not take. A tunnel's idle
//! connections are most of its memory, and its bulk is paid by the system call; docs/DESIGN.md has the figures.
//!
//! Its rules:
//! - Bytes that [`AsyncWrite::poll_write`] has taken are on their way only after [`AsyncWrite::poll_flush`]; the relay flushes
//!   before it waits.
//! - [`AsyncWrite::poll_shutdown`] sends close_notify and then ends the socket's direction; reading goes on.
//! - The peer's end is orderly only after its close_notify. An end without one is [`io::ErrorKind::UnexpectedEof`]: bytes may
//!   be missing, and whoever cut them off may be anybody on the way.

mod broken;
mod records;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::EncryptError;
use rustls::{ClientConfig, CommonState, Error as RustlsError, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use broken::Broken;
use broken::First;
use records::{LeftOver, Side, Writing};

/// The most plaintext of one record (RFC 8446 5.1).
const RECORD: usize = 16 * 1024;

/// What a whole record takes on the wire beside its plaintext: five bytes of header, and up to 256 of TLS 1.3's protection
/// (RFC 8446 5.2); TLS 1.2's AEAD suites need less.
const OVERHEAD: usize = 5 + 256;

/// Read at once: four whole records, and the start of a fifth.
const SCRATCH: usize = 4 * (RECORD + OVERHEAD) + 1024;

/// A handshake's flight may not be larger than this before it is complete: certificate chains are some kB.
const HANDSHAKE_MOST: usize = 64 * 1024;

/// Ciphertext that a server may have under way on an open connection. rustls looks at a handshake message once all its records are
/// there, and takes 64 kB of one: a ticket may be as long, in pieces of 100 bytes and more.
const FROM_SERVER: usize = HANDSHAKE_MOST + RECORD;

/// The same of a client. Its longest message is the ClientHello of a TLS 1.2 renegotiation, which is declined; and a client may be
/// a stranger.
const FROM_CLIENT: usize = 2 * (RECORD + OVERHEAD);

/// A reader's turn is over after so many reads that brought it no plaintext. tokio's own bound is 128 of a socket's, of which each
/// may bring a thousand key updates or hundreds of tickets: some milliseconds of work, with this thread's other connections waiting.
const FRUITLESS: u32 = 2;

thread_local! {
    /// Ciphertext from the socket. Lent to whichever connection of this thread is polled; never held across an await.
    static INCOMING: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    /// Ciphertext for the socket, likewise.
    static OUTGOING: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// A TLS connection over `IO`, its handshake done.
pub struct TlsStream<IO> {
    io: IO,
    side: Side,
    /// Ciphertext of a record, or of a handshake message in several, that has not come whole. rustls has marked its place in these bytes
    /// and panics where it is called without them.
    partial: Vec<u8>,
    /// Plaintext that the reader has not taken.
    plain: LeftOver,
    /// Ciphertext that the socket has not taken.
    unsent: LeftOver,
    /// The peer's close_notify has come.
    is_ended: bool,
    /// Ours is on its way.
    is_closing: bool,
    /// The socket's error behind bytes that were good: it is told once those are read.
    broken: Option<Box<io::Error>>,
    /// What came was no good: rustls is not called again, its place in the bytes is lost.
    failed: Option<Box<RustlsError>>,
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

fn failed(e: RustlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

impl<IO> TlsStream<IO> {
    /// The socket underneath.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Version, suite, and the peer's certificates.
    pub fn facts(&self) -> &CommonState {
        self.side.facts()
    }

    /// The peer's certificates, its own first; empty where it showed none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.facts().peer_certificates().unwrap_or_default()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Performs the client's handshake. It is the caller who has a deadline.
    ///
    /// # Errors
    /// The network's, or rustls's own inside one of kind `InvalidData`. The peer has been told by an alert as far as that
    /// could be sent at once.
    pub async fn connect(config: Arc<ClientConfig>, name: ServerName<'static>, io: IO) -> Result<Self, Broken<IO>> {
        match UnbufferedClientConnection::new(config, name) {
            Ok(connection) => Self::handshake(Side::Client(connection), io, Vec::new()).await,
            Err(e) => Err(Broken { error: failed(e), io, first: First::default() }),
        }
    }

    /// Performs the server's. `read` are bytes that the client has sent already.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn accept(config: Arc<ServerConfig>, io: IO, read: Vec<u8>) -> Result<Self, Broken<IO>> {
        match UnbufferedServerConnection::new(config) {
            Ok(connection) => Self::handshake(Side::Server(connection), io, read).await,
            Err(e) => Err(Broken { error: failed(e), io, first: First::default() }),
        }
    }

    async fn handshake(side: Side, io: IO, read: Vec<u8>) -> Result<Self, Broken<IO>> {
        let mut stream = Self {
            io,
            side,
            partial: read,
            plain: LeftOver::default(),
            unsent: LeftOver::default(),
            is_ended: false,
            is_closing: false,
            broken: None,
            failed: None,
        };
        let mut first = First::default();
        first.keep(&stream.partial);
        match std::future::poll_fn(|cx| stream.poll_handshake(cx, &mut first)).await {
            Ok(()) => Ok(stream),
            Err(error) => Err(Broken { error, io: stream.io, first }),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>, first: &mut First) -> Poll<io::Result<()>> {
        loop {
            let mut incoming = std::mem::take(&mut self.partial);
            let mut plain = std::mem::take(&mut self.plain);
            let looked = self.side.look(&mut incoming, |bytes| plain.push(bytes), &mut self.unsent);
            self.plain = plain;
            match looked {
                Ok(looked) => {
                    self.is_ended |= looked.ended;
                    incoming.drain(..looked.consumed.min(incoming.len()));
                    self.partial = incoming;
                }
                // What is wrong came behind the handshake, in the same breath: it is the reader's.
                Err(e) if !self.facts().is_handshaking() => {
                    self.failed = Some(Box::new(e));
                    return Poll::Ready(Ok(()));
                }
                Err(e) => {
                    // One try: whoever does not read is not waited for.
                    let _ = self.poll_unsent(cx);
                    return Poll::Ready(Err(failed(e)));
                }
            }
            ready!(self.poll_unsent(cx))?;
            if !self.facts().is_handshaking() {
                self.partial.shrink_to_fit();
                return Pin::new(&mut self.io).poll_flush(cx);
            }
            if self.partial.len() >= HANDSHAKE_MOST {
                let why = "the handshake does not end: more than 64 kB of it have come";
                return Poll::Ready(Err(failed(RustlsError::General(why.to_owned()))));
            }
            let read = INCOMING.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
                first.keep(buf.filled());
                self.partial.extend_from_slice(buf.filled());
                Poll::Ready(io::Result::Ok(buf.filled().len()))
            });
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Sends close_notify as far as that can be done at once. What is left to be said on the socket is the caller's.
    pub(super) async fn close(mut self) -> IO {
        let once = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut self).poll_shutdown(cx)));
        // One try: whoever does not read is not waited for.
        let _ = once.await;
        self.io
    }

    /// Hands to the socket what it has not taken yet.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.unsent.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.unsent.take(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the peer has said anything at all: a ticket, bytes (they wait for the reader then), its end.
    ///
    /// # Errors
    /// Its alert, and those of reading.
    pub async fn first_word(&mut self) -> io::Result<()> {
        if !self.plain.is_empty() || self.is_ended {
            return Ok(());
        }
        let mut later = LeftOver::default();
        let word = std::future::poll_fn(|cx| self.poll_more(cx, true, |bytes| later.push(bytes))).await;
        self.plain = later;
        word
    }

    /// Reads until there is plaintext, which goes to `plain`, or the end; with `once` until anything has come.
    fn poll_more(&mut self, cx: &mut Context<'_>, once: bool, mut plain: impl FnMut(&[u8])) -> Poll<io::Result<()>> {
        self.still_good()?;
        INCOMING.with_borrow_mut(|scratch| {
            for _ in 0..FRUITLESS {
                let kept = self.partial.len();
                let mut long = Vec::new();
                // Room for a whole record behind what is kept: a read without any would look like the end.
                let buffer: &mut [u8] = if kept + RECORD + OVERHEAD <= scratch.len() {
                    scratch
                } else {
                    long.resize(kept + RECORD + OVERHEAD, 0);
                    &mut long
                };
                let most = self.side.peer(FROM_SERVER, FROM_CLIENT);
                let Some((before, room)) = buffer.split_at_mut_checked(kept).filter(|_| kept < most) else {
                    let why = format!("a message of the peer's TLS does not end: {} kB of it have come", kept / 1024);
                    return Poll::Ready(Err(self.fail(RustlsError::General(why))));
                };
                before.copy_from_slice(&self.partial);
                let mut read = ReadBuf::new(room);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
                let read = read.filled().len();
                if read == 0 {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, Truncated)));
                }
                self.partial = Vec::new();
                let filled = buffer.get_mut(..kept + read).unwrap_or_default();
                let mut any = false;
                let told = |bytes: &[u8]| {
                    any = true;
                    plain(bytes);
                };
                let looked = self.side.look(filled, told, &mut self.unsent);
                // An alert or the answer to a key update; where the socket is full it goes with the next write.
                let sent = match self.poll_unsent(cx) {
                    Poll::Ready(sent) => sent,
                    Poll::Pending => Ok(()),
                };
                let looked = match looked {
                    Ok(looked) => looked,
                    Err(e) => {
                        let e = self.fail(e);
                        return Poll::Ready(if any { Ok(()) } else { Err(e) });
                    }
                };
                let rest = filled.get(looked.consumed..).unwrap_or_default();
                if !rest.is_empty() && !looked.ended {
                    self.partial = rest.to_vec();
                }
                self.is_ended |= looked.ended;
                match sent {
                    // The peer has closed behind its orderly end. What cannot be sent any more is the writer's to hear of.
                    Err(_) if self.is_ended => {}
                    Err(e) if any => self.broken = Some(Box::new(e)),
                    Err(e) => return Poll::Ready(Err(e)),
                    Ok(()) => {}
                }
                if any || once || self.is_ended {
                    return Poll::Ready(Ok(()));
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn fail(&mut self, e: RustlsError) -> io::Error {
        self.failed = Some(Box::new(e.clone()));
        failed(e)
    }

    /// Why nothing more is to be had of rustls, where that is so.
    fn still_good(&self) -> io::Result<()> {
        self.failed.as_deref().map_or(Ok(()), |e| Err(failed(e.clone())))
    }

    /// Encrypts and hands to the socket; what that does not take is kept.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(Writing<'_, '_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        self.still_good()?;
        OUTGOING.with_borrow_mut(|room| {
            let (plain, out) = (&mut self.plain, &mut self.unsent);
            let written = self.side.write(room, write, &mut self.partial, plain, out);
            let mut rest = room.get(..written.map_err(failed)?).unwrap_or_default();
            // What an alert or a key update left there goes first.
            while self.unsent.is_empty() && !rest.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(n)) => rest = rest.get(n..).unwrap_or_default(),
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => break,
                }
            }
            self.unsent.push(rest);
            Ok(())
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.plain.is_empty() {
            let n = this.plain.rest().len().min(buf.remaining());
            buf.put_slice(this.plain.rest().get(..n).unwrap_or_default());
            this.plain.take(n);
            return Poll::Ready(Ok(()));
        }
        if let Some(e) = this.broken.take() {
            return Poll::Ready(Err(*e));
        }
        if this.is_ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut later = LeftOver::default();
        let read = this.poll_more(cx, false, |bytes| {
            let (now, rest) = bytes.split_at_checked(buf.remaining()).unwrap_or((bytes, &[]));
            buf.put_slice(now);
            later.push(rest);
        });
        this.plain = later;
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Bounds what is kept: nothing more is taken before the last is gone.
        ready!(this.poll_unsent(cx))?;
        let bytes = bytes.get(..4 * RECORD).unwrap_or(bytes);
        this.send(cx, |w, room| w.encrypt(bytes, room))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_closing {
            ready!(this.poll_unsent(cx))?;
            this.is_closing = true;
            // A connection that failed has ended by its alert.
            if this.failed.is_none() {
                this.send(cx, |w, room| w.close(room))?;
            }
        }
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The peer's end without its close_notify.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection ended without close_notify: bytes may be missing")]
pub struct Truncated;

/// Whether TLS itself has failed on a connection that was up: an alert of the peer's, or bytes that are no record.
pub fn is_tls_error(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<RustlsError>())
}
