//! Packets over a stream: header, sequence number, payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest packet a server may send us, in bytes: a check's answers are a few kilobytes.
pub const MAX_PACKET: usize = 1 << 20;

/// How much is read at once.
const READ_AT_ONCE: usize = 16 * 1024;

/// Why no packet came.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Protocol(&'static str),
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A stream cut into packets. Memory grows with what has arrived, never with what a header claims.
///
/// Layout: MySQL "MySQL Packets". Packets of 16 MB and more, which continue in the next one, are beyond our bound.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    /// Read and not yet handed out: `buf[start..]`.
    buf: Vec<u8>,
    start: usize,
    /// The sequence number of the next packet, whoever sends it.
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buf: Vec::new(), start: 0, sequence: 0 }
    }

    /// The stream, for TLS to take over. `None` if the server has already sent more than was asked for: what came
    /// in clear must not be taken for what comes encrypted.
    pub(super) fn into_stream(self) -> Option<S> {
        self.unread().is_empty().then_some(self.stream)
    }

    /// Carries on over another stream (TLS over the old one) with the next sequence number.
    pub(super) fn resumed(stream: S, sequence: u8) -> Self {
        Self { sequence, ..Self::new(stream) }
    }

    pub(super) fn sequence(&self) -> u8 {
        self.sequence
    }

    /// A new command starts at 0.
    pub(super) fn reset_sequence(&mut self) {
        self.sequence = 0;
    }

    /// What has arrived and was not handed out.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..).unwrap_or_default()
    }

    /// Marks `n` bytes of [`Self::unread`] as handed out, as one packet.
    pub(super) fn consume_packet(&mut self, n: usize) {
        self.start = self.buf.len().min(self.start + n);
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Reads what there is. An end of the stream is an error. Cancel-safe: what was read is kept.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        self.buf.reserve(READ_AT_ONCE);
        if self.stream.read_buf(&mut self.buf).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The next packet's payload.
    pub(super) async fn packet(&mut self) -> Result<&[u8], Broken> {
        let len = loop {
            let unread = self.unread();
            if let Some((&[l0, l1, l2, sequence], rest)) = unread.split_first_chunk::<4>() {
                let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, 0])).unwrap_or(usize::MAX);
                if len > MAX_PACKET {
                    return Err(Broken::Protocol("packet too long"));
                }
                // An ERR may come at any point (a KILL, a shutdown), and then not every server counts right.
                let may_be_err = len > 0 && rest.first().is_none_or(|b| *b == 0xFF);
                if sequence != self.sequence && !may_be_err {
                    return Err(Broken::Protocol("packets out of order"));
                }
                if rest.len() >= len {
                    break len;
                }
            }
            self.fill().await?;
        };
        let from = self.start + 4;
        self.consume_packet(4 + len);
        Ok(self.buf.get(from..from + len).unwrap_or_default())
    }

    /// Sends one packet.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len < 0xFF_FFFF);
        let [l0, l1, l2, _] = len.ok_or(Broken::Protocol("packet to send too long"))?.to_le_bytes();
        let mut bytes = Vec::with_capacity(4 + payload.len());
        bytes.extend([l0, l1, l2, self.sequence]);
        bytes.extend(payload);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Gives back memory that a long answer took.
    pub(super) fn shrink(&mut self) {
        if self.unread().is_empty() {
            self.start = 0;
            self.buf.clear();
            self.buf.shrink_to(READ_AT_ONCE);
        }
    }

    /// Ends our direction.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn run<F: Future>(f: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
    }

    #[test]
    fn packets_are_read_whatever_the_pieces_they_come_in() {
        run(async {
            let (near, mut far) = duplex(1);
            let sender = async {
                far.write_all(b"\x03\0\0\0abc\0\0\0\x01\x01\0\0\x02z").await.unwrap();
                drop(far);
            };
            let reader = async {
                let mut wire = Wire::new(near);
                assert_eq!(wire.packet().await.unwrap(), b"abc");
                assert_eq!(wire.packet().await.unwrap(), b"");
                assert_eq!(wire.packet().await.unwrap(), b"z");
                assert!(matches!(wire.packet().await, Err(Broken::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof));
            };
            tokio::join!(sender, reader);
        });
    }

    #[test]
    fn packets_out_of_order_and_too_long_are_refused_before_they_are_read() {
        run(async {
            let (near, mut far) = duplex(64);
            far.write_all(b"\x01\0\0\x05a").await.unwrap();
            assert!(matches!(Wire::new(near).packet().await, Err(Broken::Protocol("packets out of order"))));

            let (near, mut far) = duplex(64);
            far.write_all(b"\xff\xff\xff\0").await.unwrap();
            let mut wire = Wire::new(near);
            assert!(matches!(wire.packet().await, Err(Broken::Protocol("packet too long"))));
            assert!(wire.buf.capacity() <= 2 * READ_AT_ONCE);
        });
    }

    #[test]
    fn an_error_is_read_whatever_its_number() {
        run(async {
            let (near, mut far) = duplex(64);
            far.write_all(b"\x03\0\0\x05\xff\x10\x04").await.unwrap();
            assert_eq!(Wire::new(near).packet().await.unwrap(), b"\xff\x10\x04");
        });
    }

    #[test]
    fn numbers_go_on_from_packet_to_packet_both_ways() {
        run(async {
            let (near, mut far) = duplex(64);
            let mut wire = Wire::new(near);
            far.write_all(b"\x01\0\0\0a").await.unwrap();
            wire.packet().await.unwrap();
            wire.send(b"answer").await.unwrap();
            let mut sent = [0; 10];
            far.read_exact(&mut sent).await.unwrap();
            assert_eq!(&sent, b"\x06\0\0\x01answer");
        });
    }
}
