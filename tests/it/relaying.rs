//! Bytes and ends of data through the running process, over real sockets whose every close is the test's own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::fakes::{Fakes, LONG, access, greeting, raw, read_all, service};
use crate::harness::{Galeway, millis, secs, until};

/// Galeway before one node, a client, and the node's end of the client's connection.
struct Pair {
    fakes: Fakes,
    galeway: Galeway,
    client: TcpStream,
    node: TcpStream,
}

impl Pair {
    fn new(lines: &str) -> Self {
        let fakes = Fakes::new(1);
        let listener = fakes.listen(1);
        let galeway = fakes.galeway(service(lines));
        let client = raw(&galeway);
        let node = accept(&listener);
        Self { fakes, galeway, client, node }
    }

    /// Both ends take little before they read: the rest stays in our sockets.
    fn tight(lines: &str) -> Self {
        const SMALL: usize = 16 * 1024;
        let fakes = Fakes::new(1);
        let listener = fakes.listen(1);
        // Before the connect, which settles the window; what is accepted inherits it.
        SockRef::from(&listener).set_recv_buffer_size(SMALL).unwrap();
        let galeway = fakes.galeway(service(lines));
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(SMALL).unwrap();
        client.connect(&galeway.addr().into()).unwrap();
        let client = patient(client.into());
        let node = accept(&listener);
        Self { fakes, galeway, client, node }
    }

    fn tcp(lines: &str) -> Self {
        Self::new(&format!("protocol = \"tcp\"\n{lines}"))
    }

    /// With the greeting passed on.
    fn mysql(lines: &str) -> Self {
        let mut pair = Self::new(lines);
        let packet = greeting(1).packet();
        pair.node.write_all(&packet).unwrap();
        let mut got = vec![0; packet.len()];
        pair.client.read_exact(&mut got).unwrap();
        assert_eq!(got, packet);
        pair
    }

    fn from(&self) -> Option<SocketAddr> {
        self.client.local_addr().ok()
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    patient(listener.accept().unwrap().0)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Closes by a reset.
fn abort(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Bytes that no shift or loss leaves equal.
/// It begins as a login does, which is all that a MySQL client's first packet is asked for.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| if i == 3 { 1 } else { (i ^ (i >> 8) ^ (i >> 16)) as u8 }).collect()
}

/// Sends a byte.
fn pass(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    from.write_all(&[1])?;
    to.read_exact(&mut [0])
}

/// Exchanges a byte each way: both directions are open.
fn exchange(pair: &Pair) -> io::Result<()> {
    pass(&pair.client, &pair.node)?;
    pass(&pair.node, &pair.client)
}

fn alive(pair: &Pair) {
    exchange(pair).unwrap();
}

#[test]
fn a_clients_end_of_data_reaches_the_node_and_the_answer_still_comes() {
    let mut pair = Pair::tcp("");
    pair.client.write_all(b"question").unwrap();
    pair.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&pair.node), b"question");
    let answer = pattern(1_000_000);
    let (client, node, sent) = (&pair.client, &mut pair.node, answer.clone());
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(client));
        node.write_all(&sent).unwrap();
        node.shutdown(Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() == answer);
    });
    assert_eq!(access(&pair.galeway, pair.from())["end"], "client_closed");
}

#[test]
fn a_nodes_end_of_data_reaches_the_client_and_its_bytes_still_go() {
    let mut pair = Pair::tcp("");
    pair.node.write_all(b"greeting").unwrap();
    pair.node.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&pair.client), b"greeting");
    let question = pattern(1_000_000);
    let (client, node, sent) = (&mut pair.client, &pair.node, question.clone());
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(node));
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() == question);
    });
    assert_eq!(access(&pair.galeway, pair.from())["end"], "node_closed");
}

#[test]
fn a_clients_abort_reaches_the_node_as_an_abort_and_leaves_no_time_wait() {
    let mut pair = Pair::tcp("");
    alive(&pair);
    let (ours, node) = (pair.node.peer_addr().unwrap(), pair.node.local_addr().unwrap());
    let from = pair.from();
    abort(pair.client);
    let error = pair.node.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(access(&pair.galeway, from)["end"], "client_reset");
    assert_eq!(socket_state(ours, node), None, "neither TIME_WAIT nor anything else");
    drop(pair.fakes);
}

/// The state of the socket with these addresses, as Linux numbers them.
fn socket_state(local: SocketAddr, remote: SocketAddr) -> Option<u8> {
    let hex = |a: SocketAddr| match a {
        SocketAddr::V4(a) => format!("{:08X}:{:04X}", u32::from_ne_bytes(a.ip().octets()), a.port()),
        SocketAddr::V6(_) => panic!("not here"),
    };
    let wanted = format!(" {} {} ", hex(local), hex(remote));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&wanted))?;
    u8::from_str_radix(&line.split(&wanted).nth(1)?[..2], 16).ok()
}

/// One end sends and aborts before the other has begun to read: most of it stands in our socket then. Who reads within
/// the second that we wait gets all of it, and only then the abort.
fn late_reader(client_aborts: bool, end: &str) {
    let sent = pattern(64 * 1024);
    for _ in 0..5 {
        let pair = Pair::tight("protocol = \"tcp\"");
        alive(&pair);
        let from = pair.from();
        let (direction, mut near, mut far) =
            if client_aborts { ("in", pair.client, pair.node) } else { ("out", pair.node, pair.client) };
        near.write_all(&sent).unwrap();
        // Until then an abort would throw away what has not left the near end's own socket.
        until(LONG, "our socket has all of it", || {
            let passed_on = pair.galeway.metric("galeway_bytes_total", &[("direction", direction)]);
            (passed_on > sent.len() as f64).then_some(())
        });
        let mut got = vec![0; sent.len()];
        let arrived = far.peek(&mut got).unwrap();
        assert!(arrived < sent.len() / 2, "{arrived} bytes have left our socket already");
        let aborted = Instant::now();
        abort(near);
        // For us the session is over, but for the parting.
        until(LONG, end, || {
            let closed = pair.galeway.metric("galeway_connections_closed_total", &[("reason", end)]);
            (closed > 0.0).then_some(())
        });
        let read = far.read_exact(&mut got);
        if aborted.elapsed() > millis(800) {
            // The machine stood still for about that second: it shows nothing.
            continue;
        }
        read.unwrap();
        assert!(got == sent);
        assert_eq!(far.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(access(&pair.galeway, from)["end"], end);
        return;
    }
    panic!("too slow, every time");
}

#[test]
fn what_a_client_sent_before_its_abort_reaches_a_node_that_reads_late() {
    late_reader(true, "client_reset");
}

#[test]
fn a_nodes_abort_reaches_a_client_of_bytes_as_a_reset_after_the_bytes_before_it() {
    late_reader(false, "node_reset");
}

#[test]
fn a_nodes_abort_reaches_a_client_of_mysql_as_every_byte_and_then_the_end() {
    let mut pair = Pair::mysql("");
    let sent = pattern(200_000);
    pair.node.write_all(&sent).unwrap();
    // Until then an abort would throw away what has not left the node's own socket.
    until(LONG, "all of it has left the node", || {
        (pair.galeway.metric("galeway_bytes_total", &[("direction", "out")]) >= 200_000.0).then_some(())
    });
    abort(pair.node);
    assert!(read_all(&pair.client) == sent);
}

#[test]
fn two_megabytes_a_farewell_and_a_close_arrive_whole_at_a_slow_node() {
    let mut pair = Pair::mysql("");
    let mut sent = pattern(2_000_000);
    sent.extend([1, 0, 0, 0, 1]);
    let (mut client, expected) = (pair.client, sent.clone());
    let writer = thread::spawn(move || client.write_all(&sent).unwrap());
    let mut got: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let n = pair.node.read(&mut chunk).unwrap();
        if n == 0 {
            break;
        }
        got.extend(&chunk[..n]);
        // It is slow: the client has long closed while most of it is under way.
        thread::sleep(millis(5));
    }
    writer.join().unwrap();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
}

/// Lets bytes pass for longer than the timer runs and then none, until the session ends: how long it was silent by then,
/// at the least. Where the machine stands still for as long as the timer runs, this ends the session too, and rightly.
fn silence_at_its_end(pair: &Pair, begun: Instant, bytes: impl Fn(&Pair) -> io::Result<()>) -> Duration {
    let (start, mut last) = (Instant::now(), begun);
    while start.elapsed() < millis(1500) {
        let before = Instant::now();
        if bytes(pair).is_err() {
            return last.elapsed();
        }
        last = before;
        thread::sleep(millis(50));
    }
    assert_eq!(read_all(&pair.client), b"");
    last.elapsed()
}

#[test]
fn a_silent_session_ends_after_idle_timeout_and_bytes_start_it_anew() {
    let begun = Instant::now();
    let pair = Pair::mysql("idle_timeout = \"600ms\"");
    let silence = silence_at_its_end(&pair, begun, exchange);
    assert!(silence >= millis(600), "{silence:?}");
    assert_eq!(access(&pair.galeway, pair.from())["end"], "idle_timeout");
}

#[test]
fn a_half_closed_session_ends_after_half_close_timeout_of_silence_and_not_before() {
    let begun = Instant::now();
    let pair = Pair::tcp("half_close_timeout = \"600ms\"");
    pair.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&pair.node), b"");
    // A dump that is still running.
    let silence = silence_at_its_end(&pair, begun, |pair| pass(&pair.node, &pair.client));
    assert!(silence >= millis(600), "{silence:?}");
    assert_eq!(access(&pair.galeway, pair.from())["end"], "half_close_timeout");
}

/// 32 MB from one side to the other, which reads a little and then pauses for longer than `user_timeout`.
fn paused_reader(mut from: TcpStream, mut to: TcpStream) {
    let sent = pattern(32 << 20);
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        from.write_all(&sent).unwrap();
        from.shutdown(Shutdown::Write).unwrap();
        from
    });
    let mut got = vec![0; 1000];
    to.read_exact(&mut got).unwrap();
    thread::sleep(secs(4));
    to.read_to_end(&mut got).unwrap();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
    writer.join().unwrap();
}

#[test]
fn a_client_that_pauses_for_longer_than_user_timeout_survives() {
    let pair = Pair::tcp("user_timeout = \"1s\"");
    paused_reader(pair.node, pair.client);
}

#[test]
fn a_node_that_pauses_for_longer_than_user_timeout_survives() {
    let pair = Pair::tcp("user_timeout = \"1s\"");
    paused_reader(pair.client, pair.node);
}

/// Writes into a side that never reads, until the write fails.
fn stalled(lines: &str, node_stalls: bool) -> String {
    let pair = Pair::mysql(lines);
    let from = pair.from();
    let (mut writer, _reader) = if node_stalls { (pair.client, pair.node) } else { (pair.node, pair.client) };
    let start = Instant::now();
    let chunk = vec![1; 256 * 1024];
    while writer.write_all(&chunk).is_ok() {}
    assert!(start.elapsed() >= secs(2), "not before its time: {:?}", start.elapsed());
    access(&pair.galeway, from)["end"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_that_never_reads_on_ends_at_stall_timeout() {
    assert_eq!(stalled("user_timeout = \"1s\"\nstall_timeout = \"2s\"", false), "client_stalled");
}

#[test]
fn a_node_that_never_reads_on_ends_at_stall_timeout() {
    assert_eq!(stalled("user_timeout = \"1s\"\nstall_timeout = \"2s\"", true), "node_stalled");
}
