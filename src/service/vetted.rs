//! A client that must not tell the node who it is.
//!
//! A MariaDB server that takes PROXY headers from us believes one of the client's as well, behind ours or where we send none,
//! if it comes before the login (10.11: the last of several counts): a client could log in to an account that is for another
//! address. Its first packet tells: a login's sequence number is 1, and at its place both forms of the header have something
//! else (`PROX`, `\r\n\r\n`).
//!
//! What comes later is not looked at, and cannot be within the client's own TLS: there the server believes a header where its
//! `proxy_protocol_networks` holds the client's claimed way in as well, as `*` does (tried). So that variable must name the
//! balancers and nobody else; docs/configuration.md says so. With protocol tcp nothing is known of the bytes, and nothing is looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{Outstanding, Stream, Wire};

/// Of a packet's four bytes of header the last one (MySQL "Protocol::Packet").
const SEQUENCE: usize = 3;

/// The client's stream, whose first packet is looked at.
pub(super) struct Vetted<'a> {
    stream: &'a mut Stream,
    /// Bytes of the first packet's header that are still to come.
    left: usize,
}

impl<'a> Vetted<'a> {
    /// `first`: the first packet is looked at.
    pub(super) fn new(stream: &'a mut Stream, first: bool) -> Self {
        Self { stream, left: if first { SEQUENCE + 1 } else { 0 } }
    }

    pub(super) fn stream(&self) -> &Stream {
        self.stream
    }

    /// Looks at bytes as they come.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let sequence = bytes.get(self.left - 1);
        self.left = self.left.saturating_sub(bytes.len());
        if sequence.is_some_and(|number| *number != 1) {
            let why =
                "its first packet is no login (sequence number 1); a PROXY header is taken with proxy_protocol only";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(())
    }
}

impl AsyncRead for Vetted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buf))?;
        let looked = self.look(buf.filled().get(before..).unwrap_or_default());
        if looked.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(looked)
    }
}

impl AsyncWrite for Vetted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

impl Wire for Vetted<'_> {
    fn outstanding(&self) -> Option<Outstanding> {
        self.stream.outstanding()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    /// What a node gets of a client that sends these pieces, and whether it was let through.
    async fn passed(pieces: &[&[u8]], first: bool) -> (Vec<u8>, bool) {
        let (mut client, ours) = UnixStream::pair().unwrap();
        let mut ours = Stream::from(ours);
        let mut vetted = Vetted::new(&mut ours, first);
        let mut got = Vec::new();
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            let mut buf = [0; 64];
            match vetted.read(&mut buf).await {
                Ok(n) => got.extend_from_slice(&buf[..n]),
                Err(e) => {
                    assert!(e.to_string().contains("PROXY"), "{e}");
                    return (got, false);
                }
            }
        }
        (got, true)
    }

    #[tokio::test]
    async fn a_header_of_the_clients_own_does_not_reach_the_node() {
        let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".as_slice();
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".as_slice();
        let login = b"\x05\0\0\x01login\x01\0\0\x01".as_slice();
        assert_eq!(passed(&[v1], true).await, (Vec::new(), false));
        assert_eq!(passed(&[v2], true).await, (Vec::new(), false));
        assert_eq!(passed(&[login, v1], true).await, ([login, v1].concat(), true), "later it is data");
        assert_eq!(passed(&[v1], false).await, (v1.to_vec(), true), "protocol tcp");
        // In pieces of any size.
        for cut in 1..6 {
            let (a, b) = v1.split_at(cut);
            let (got, let_through) = passed(&[a, b], true).await;
            assert!(!let_through && got.len() <= SEQUENCE, "{got:?}");
            let (a, b) = login.split_at(cut);
            assert_eq!(passed(&[a, b], true).await, (login.to_vec(), true));
        }
    }
}
