//! Headers as streams deliver them.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::*;

/// A peer's bytes, delivered in pieces. It fails the test where it is asked for more than what is left of the header,
/// or for more room than what came so far explains.
pub(super) struct Peer {
    header: usize,
    bytes: VecDeque<u8>,
    came: usize,
    pub(super) reads: usize,
    /// How much each read brings at the most; 0 = nothing yet.
    pieces: Box<dyn FnMut() -> usize>,
}

impl Peer {
    pub(super) fn new(header: &[u8], behind: &[u8], pieces: impl FnMut() -> usize + 'static) -> Self {
        let bytes = [header, behind].concat().into();
        Self { header: header.len(), bytes, came: 0, reads: 0, pieces: Box::new(pieces) }
    }

    pub(super) fn left(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let asked = buf.remaining();
        assert!(asked > 0 && asked <= self.header - self.came, "asked for {asked} after {}", self.came);
        assert!(asked <= 64.max(2 * self.came), "room for {asked} after {}", self.came);
        let most = (self.pieces)();
        if most == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.reads += 1;
        let take = most.min(asked).min(self.bytes.len());
        buf.put_slice(&self.bytes.drain(..take).collect::<Vec<_>>());
        self.came += take;
        Poll::Ready(Ok(()))
    }
}

/// Reads a header to its end.
pub(super) fn read(peer: &mut (impl AsyncRead + Unpin)) -> Result<Said, HeaderError> {
    let mut reading = pin!(read_header(peer));
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(read) = reading.as_mut().poll(&mut cx) {
            return read;
        }
    }
}

/// How many reads a header costs that has arrived already.
fn reads(header: &[u8]) -> usize {
    let mut peer = Peer::new(header, b"the client's", || usize::MAX);
    read(&mut peer).unwrap();
    assert_eq!(peer.left(), b"the client's");
    peer.reads
}

#[test]
fn a_header_costs_a_handful_of_reads() {
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (line, most) in [
        ("PROXY UNKNOWN\r\n".to_owned(), 1),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_owned(), 10),
        ("PROXY TCP4 10.0.12.34 10.0.12.10 49152 3306\r\n".to_owned(), 10),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_owned(), 10),
        ("PROXY TCP6 2001:db8:85a3::8a2e:370:7334 2001:db8:85a3::1 56324 3306\r\n".to_owned(), 10),
        (format!("PROXY TCP6 {ones} {ones} 65535 65535\r\n"), 20),
        (format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n"), 50),
    ] {
        let reads = reads(line.as_bytes());
        assert!(reads <= most, "{line:?} cost {reads} reads");
    }
    assert_eq!(reads(&binary(0x20, 0, b"")), 2);
    assert_eq!(reads(&binary(0x21, 0x11, &[1; 12])), 3);
    let longest = binary(0x21, 0x11, &[&[1; 12], &appended(4, &[0; 4096 - 12 - 3])[..]].concat());
    assert!(reads(&longest) <= 12);
}

#[test]
fn a_peer_that_closes_is_told_from_one_that_never_spoke() {
    for header in [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), binary(0x21, 0x11, &[1; 12])] {
        for sent in 0..header.len() {
            let read = read(&mut &header[..sent]);
            assert!(matches!(read, Err(HeaderError::Closed { after }) if after == sent), "{read:?} after {sent}");
        }
    }
    assert_eq!(read(&mut &b"PROXY "[..]).unwrap_err().to_string(), "closed after 6 bytes of a PROXY header");
}

#[test]
fn what_is_no_header_is_refused_without_waiting_for_more() {
    for first in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\0", b"PROXY TCP4 x", b"\r\n\r\n\0\r\nQUIT\n\x31"]
    {
        // Nothing comes after that, and the connection stays open.
        let open = first.chain(Silent);
        assert!(matches!(read(&mut pin!(open)), Err(HeaderError::NotOne(_) | HeaderError::Malformed(_))));
    }
}

/// A peer that says nothing, and whom nobody should have to ask.
struct Silent;

impl AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("waited for more");
    }
}

#[test]
fn a_failing_connection_is_told_from_a_bad_header() {
    struct Reset;
    impl AsyncRead for Reset {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
    let failed = read(&mut pin!(b"PROXY ".as_slice().chain(Reset)));
    assert!(matches!(failed, Err(HeaderError::Io(e)) if e.kind() == io::ErrorKind::ConnectionReset));
}

#[test]
fn a_header_that_comes_byte_by_byte_is_read() {
    for header in [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        binary(0x21, 0x11, b"\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02"),
    ] {
        let mut due = false;
        let mut peer = Peer::new(&header, b"the client's", move || {
            due = !due;
            usize::from(due)
        });
        assert_eq!(read(&mut peer).unwrap(), tcp("1.2.3.4:1", "5.6.7.8:2"));
        assert_eq!((peer.reads, peer.left()), (header.len(), b"the client's".to_vec()));
    }
}
