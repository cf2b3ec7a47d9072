//! The relay over in-memory streams that do what real ones do seldom: short reads, short writes, stalls, faults.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::Instant;

use super::*;

/// One end of an in-memory pipe behind seeded random misbehaviour.
struct Faulty {
    inner: DuplexStream,
    random: fastrand::Rng,
    /// Reads and writes take at most this many bytes.
    most: usize,
    /// One call in so many stalls; 0 = none.
    stall_one_in: u32,
}

impl Faulty {
    fn sound(inner: DuplexStream) -> Self {
        Self { inner, random: fastrand::Rng::with_seed(1), most: usize::MAX, stall_one_in: 0 }
    }

    fn stalls(&mut self, cx: &Context<'_>) -> bool {
        let stalls = self.stall_one_in > 0 && self.random.u32(0..self.stall_one_in) == 0;
        if stalls {
            cx.waker().wake_by_ref();
        }
        stalls
    }
}

impl Wire for Faulty {
    fn outstanding(&self) -> Option<Outstanding> {
        None
    }
}

impl AsyncRead for Faulty {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stalls(cx) {
            return Poll::Pending;
        }
        let most = self.most.min(buf.remaining());
        let take = self.random.usize(1..=most);
        let mut short = vec![0; take];
        let mut part = ReadBuf::new(&mut short);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.stalls(cx) {
            return Poll::Pending;
        }
        let most = self.most.min(buf.len());
        let take = self.random.usize(1..=most);
        Pin::new(&mut self.inner).poll_write(cx, &buf[..take])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stalls(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[derive(Default)]
struct Counts {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Meter for Counts {
    fn count(&self, from: Side, n: u64) {
        let cell = match from {
            Side::Client => &self.up,
            Side::Node => &self.down,
        };
        cell.set(cell.get() + n);
    }
}

const TIMERS: Timers =
    Timers { idle: None, half_close: Duration::from_secs(60), hold_fin: Duration::ZERO, user: None, stall: None };

/// Sends `n` bytes of a known sequence, then the end of data.
async fn send(mut to: impl AsyncWrite + Unpin, seed: u64, n: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut chunk = vec![0; 64 * 1024];
    let mut rest = n;
    while rest > 0 {
        let part = rest.min(chunk.len());
        random.fill(&mut chunk);
        to.write_all(&chunk[..part]).await.unwrap();
        rest -= part;
    }
    to.shutdown().await.unwrap();
}

/// Reads to the end of data and compares with what [`send`] sends.
async fn expect(mut from: impl AsyncRead + Unpin, seed: u64, n: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut want = vec![0; 64 * 1024];
    let mut got = vec![0; 64 * 1024];
    let mut rest = n;
    while rest > 0 {
        let part = rest.min(want.len());
        random.fill(&mut want);
        from.read_exact(&mut got[..part]).await.unwrap();
        assert!(got[..part] == want[..part], "bytes differ {} before the end", rest);
        rest -= part;
    }
    assert_eq!(from.read(&mut got).await.unwrap(), 0, "bytes after the end");
}

#[tokio::test]
async fn sixty_four_megabytes_arrive_whole_both_ways_through_short_reads_short_writes_and_stalls() {
    const N: usize = 64 << 20;
    let (client, c) = duplex(40_000);
    let (node, n) = duplex(24_000);
    let mut c = Faulty { inner: c, random: fastrand::Rng::with_seed(3), most: 50_000, stall_one_in: 5 };
    let mut n = Faulty { inner: n, random: fastrand::Rng::with_seed(4), most: 30_000, stall_one_in: 7 };
    let (client_read, client_write) = tokio::io::split(client);
    let (node_read, node_write) = tokio::io::split(node);
    let counts = Counts::default();
    let (end, ..) = tokio::join!(
        relay(&mut c, &mut n, Box::default(), &TIMERS, &counts),
        send(client_write, 10, N),
        send(node_write, 20, N),
        expect(node_read, 10, N),
        expect(client_read, 20, N),
    );
    assert!(matches!(end, End::Orderly(_)), "{end:?}");
    assert_eq!((counts.up.get(), counts.down.get()), (N as u64, N as u64));
}

#[tokio::test]
async fn every_byte_arrives_where_reads_and_writes_are_one_byte_long() {
    let counts = Counts::default();
    let (client, c) = duplex(7);
    let (node, n) = duplex(3);
    let mut c = Faulty { inner: c, random: fastrand::Rng::with_seed(5), most: 1, stall_one_in: 2 };
    let mut n = Faulty { inner: n, random: fastrand::Rng::with_seed(6), most: 1, stall_one_in: 2 };
    let (client_read, client_write) = tokio::io::split(client);
    let (node_read, node_write) = tokio::io::split(node);
    let (end, ..) = tokio::join!(
        relay(&mut c, &mut n, Box::default(), &TIMERS, &counts),
        send(client_write, 1, 20_000),
        send(node_write, 2, 10_000),
        expect(node_read, 1, 20_000),
        expect(client_read, 2, 10_000),
    );
    assert!(matches!(end, End::Orderly(_)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clients_end_of_data_leaves_the_answer_its_way() {
    let counts = Counts::default();
    let (mut client, c) = duplex(1000);
    let (mut node, n) = duplex(1000);
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let timers = Timers { hold_fin: Duration::from_millis(200), ..TIMERS };
    let started = Instant::now();
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        node.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        assert!(started.elapsed() >= Duration::from_millis(200), "the end of data was not held back");
        node.write_all(b"answer").await.unwrap();
        node.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");
    };
    let (end, ()) = tokio::join!(relay(&mut c, &mut n, Box::default(), &timers, &counts), talk);
    assert!(matches!(end, End::Orderly(Side::Client)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn the_half_close_timer_starts_again_with_each_byte() {
    let counts = Counts::default();
    let (mut client, c) = duplex(1000);
    let (mut node, n) = duplex(1000);
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let started = Instant::now();
    let talk = async {
        client.shutdown().await.unwrap();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            node.write_all(b"x").await.unwrap();
        }
    };
    let (end, ()) = tokio::join!(relay(&mut c, &mut n, Box::default(), &TIMERS, &counts), talk);
    assert!(matches!(end, End::HalfClosed(Side::Client)), "{end:?}");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(310) && took < Duration::from_secs(312), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_of_data_after_a_long_silence_leaves_the_other_side_its_whole_time() {
    let counts = Counts::default();
    let (mut client, c) = duplex(1000);
    let (mut node, n) = duplex(1000);
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let talk = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        client.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_secs(50)).await;
        node.write_all(b"answer").await.unwrap();
        node.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");
    };
    let both = async { tokio::join!(relay(&mut c, &mut n, Box::default(), &TIMERS, &counts), talk) };
    let (end, ()) = tokio::time::timeout(Duration::from_secs(7200), both).await.expect("the answer comes");
    assert!(matches!(end, End::Orderly(Side::Client)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_only_where_an_idle_timeout_is_set() {
    let (_client, c) = duplex(1000);
    let (_node, n) = duplex(1000);
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let counts = Counts::default();
    let day = Duration::from_secs(86_400);
    let endless = relay(&mut c, &mut n, Box::default(), &TIMERS, &counts);
    assert!(tokio::time::timeout(day, endless).await.is_err());
    let timers = Timers { idle: Some(Duration::from_secs(5)), ..TIMERS };
    let end = relay(&mut c, &mut n, Box::default(), &timers, &counts).await;
    assert!(matches!(end, End::Idle), "{end:?}");
}

#[tokio::test]
async fn what_a_peer_sent_before_it_refused_more_is_still_delivered() {
    let counts = Counts::default();
    // A server that answers with an ERR packet and is gone before it read what the client goes on sending.
    let (mut client, c) = duplex(1000);
    let (mut node, n) = duplex(1000);
    node.write_all(b"ERR packet").await.unwrap();
    drop(node);
    client.write_all(b"never read").await.unwrap();
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let end = relay(&mut c, &mut n, Box::default(), &TIMERS, &counts);
    let end = tokio::time::timeout(Duration::from_secs(5), end).await.unwrap();
    assert!(matches!(end, End::Broken(Side::Node, _)), "{end:?}");
    let mut got = vec![0; 10];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, b"ERR packet");
}

#[tokio::test]
async fn the_first_bytes_go_to_the_client_before_any_other() {
    let counts = Counts::default();
    let (mut client, c) = duplex(1000);
    let (node, n) = duplex(1000);
    let (mut c, mut n) = (Faulty::sound(c), Faulty::sound(n));
    let talk = async {
        send(node, 9, 100).await;
        let mut greeting = [0; 8];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"greeting");
        let (read, mut write) = tokio::io::split(client);
        expect(read, 9, 100).await;
        write.shutdown().await.unwrap();
    };
    let first = Box::from(&b"greeting"[..]);
    let (end, ()) = tokio::join!(relay(&mut c, &mut n, first, &TIMERS, &counts), talk);
    assert!(matches!(end, End::Orderly(Side::Node)), "{end:?}");
}
