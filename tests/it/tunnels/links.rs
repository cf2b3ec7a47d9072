//! How a link ends, and what goes through it: what was cut off never looks whole, and what was ended in order arrives so.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Client, Server, Site, dial, echo, exchange, galeway, local, patient, pattern, serve, service, tcp};
use crate::fakes::{LONG, access, read_all};
use crate::harness::{Galeway, until};
use crate::peer::tls::{Version, server};

/// A server end: TLS from the client, clear to the node.
struct Inward {
    galeway: Galeway,
    client: Client,
    node: TcpStream,
}

impl Inward {
    fn new() -> Self {
        let site = Site::new();
        let listener = TcpListener::bind(local(0)).unwrap();
        let (accept, section) = service("s", &[listener.local_addr().unwrap()], "");
        let galeway = galeway(&(section + &site.accepting("s", "")));
        let mut client = dial(accept, site.client(Some(&site.issue("one")))).unwrap();
        let mut node = patient(listener.accept().unwrap().0);
        exchange(&mut client, &mut node).unwrap();
        Self { galeway, client, node }
    }

    fn event(&self) -> Value {
        access(&self.galeway, self.client.sock.local_addr().ok())
    }
}

/// A client end: clear from the client, TLS to the node.
struct Outward {
    galeway: Galeway,
    client: TcpStream,
    node: Server,
}

impl Outward {
    fn new() -> Self {
        let site = Site::new();
        let listener = TcpListener::bind(local(0)).unwrap();
        let (accept, section) = service("s", &[listener.local_addr().unwrap()], "");
        let galeway = galeway(&(section + &site.connecting("s", None, "")));
        let mut client = tcp(accept);
        let mut node = serve(listener.accept().unwrap().0, server(&site.server, Version::Tls13, None)).unwrap();
        exchange(&mut client, &mut node).unwrap();
        Self { galeway, client, node }
    }

    fn event(&self) -> Value {
        access(&self.galeway, self.client.local_addr().ok())
    }
}

fn ended(event: &Value) -> (&str, &str) {
    (event["end"].as_str().unwrap(), event["by"].as_str().unwrap())
}

#[test]
fn a_clients_end_without_close_notify_is_a_truncation_and_its_node_is_reset() {
    let mut link = Inward::new();
    link.client.write_all(b"half a transac").unwrap();
    link.client.flush().unwrap();
    let mut heard = [0; 14];
    link.node.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"half a transac");
    link.client.sock.shutdown(Shutdown::Write).unwrap();
    let end = link.node.read(&mut [0; 16]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    let event = link.event();
    assert_eq!(ended(&event), ("client_truncated", "client"));
    assert!(event["detail"].as_str().unwrap().contains("without close_notify"), "{event}");
    let closed = [("service", "s"), ("reason", "client_truncated")];
    assert_eq!(link.galeway.metric("galeway_connections_closed_total", &closed), 1.0);
}

#[test]
fn a_nodes_end_without_close_notify_is_a_truncation_and_its_client_is_reset() {
    let mut link = Outward::new();
    link.node.write_all(b"half an answer").unwrap();
    link.node.flush().unwrap();
    let mut heard = [0; 14];
    link.client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"half an answer");
    link.node.sock.shutdown(Shutdown::Write).unwrap();
    let end = link.client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    let event = link.event();
    assert_eq!(ended(&event), ("node_truncated", "node"));
    assert!(event["detail"].as_str().unwrap().contains("without close_notify"), "{event}");
}

/// One that takes connections and says nothing holds up the handshakes of others: theirs is no failure of any node then.
#[test]
fn a_handshake_that_gets_no_turn_in_time_is_a_shortage_of_ours() {
    let site = Site::new();
    let silent = TcpListener::bind(local(0)).unwrap();
    let lines = "connect_timeout = \"500ms\"\nqueue_timeout = \"20s\"";
    let (accept, section) = service("s", &[silent.local_addr().unwrap()], lines);
    let galeway = galeway(&(section + &site.connecting("s", None, "max_handshakes = 1")));
    let _waiting: Vec<_> = (0..8).map(|_| tcp(accept)).collect();
    let attempts = |result| galeway.metric("galeway_connect_attempts_total", &[("service", "s"), ("result", result)]);
    let both = || (attempts("local") >= 4.0 && attempts("timeout") >= 1.0).then_some(());
    until(LONG, "the one that had its turn, and those that got none", both);
}

/// The middle of a record: what was decrypted before goes on, and the rest is a truncation all the same.
#[test]
fn a_record_that_is_cut_in_the_middle_is_a_truncation() {
    let mut link = Inward::new();
    link.client.conn.writer().write_all(&pattern(10_000)).unwrap();
    let mut record = Vec::new();
    while link.client.conn.wants_write() {
        link.client.conn.write_tls(&mut record).unwrap();
    }
    link.client.sock.write_all(&record[..record.len() - 1]).unwrap();
    link.client.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(link.node.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(ended(&link.event()), ("client_truncated", "client"));
}

/// Bytes that are no record: the client hears of it by an alert, and its node is not told of an orderly end.
#[test]
fn bytes_that_are_no_record_end_the_session_as_a_fault_of_tls() {
    let mut link = Inward::new();
    link.client.sock.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(link.node.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(ended(&link.event()), ("client_tls_error", "client"));
}

#[test]
fn a_close_notify_travels_as_an_end_of_data_and_the_other_direction_stays_open() {
    // The client's end, through the server end. Its socket stays open.
    let mut link = Inward::new();
    link.client.write_all(b"question").unwrap();
    link.client.conn.send_close_notify();
    link.client.flush().unwrap();
    assert_eq!(read_all(&link.node), b"question");
    both(&mut link.node, |node| node.shutdown(Shutdown::Write).unwrap(), &mut link.client);
    assert_eq!(ended(&link.event()), ("client_closed", "client"));

    // The node's end, through the server end.
    let mut link = Inward::new();
    link.node.write_all(b"greeting").unwrap();
    link.node.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut link.client), b"greeting");
    let close = |client: &mut Client| {
        client.conn.send_close_notify();
        client.flush().unwrap();
    };
    both(&mut link.client, close, &mut link.node);
    assert_eq!(ended(&link.event()), ("node_closed", "node"));

    // The client's end, through the client end.
    let mut link = Outward::new();
    link.client.write_all(b"question").unwrap();
    link.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut link.node), b"question");
    let close = |node: &mut Server| {
        node.conn.send_close_notify();
        node.flush().unwrap();
    };
    both(&mut link.node, close, &mut link.client);
    assert_eq!(ended(&link.event()), ("client_closed", "client"));

    // The node's end, through the client end.
    let mut link = Outward::new();
    link.node.write_all(b"greeting").unwrap();
    link.node.conn.send_close_notify();
    link.node.flush().unwrap();
    assert_eq!(read_all(&link.client), b"greeting");
    both(&mut link.client, |client| client.shutdown(Shutdown::Write).unwrap(), &mut link.node);
    assert_eq!(ended(&link.event()), ("node_closed", "node"));
}

/// The direction that is still open carries a megabyte and then its own end.
fn both<F: Write + Send>(from: &mut F, end: impl FnOnce(&mut F) + Send, to: &mut (impl Read + Send)) {
    let answer = pattern(1_000_000);
    let sent = answer.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            from.write_all(&sent).unwrap();
            from.flush().unwrap();
            end(from);
        });
        assert!(read_all(to) == answer);
    });
}

#[test]
fn keys_that_a_peer_renews_in_the_middle_lose_no_byte() {
    let round = pattern(20_000);
    let mut heard = vec![0; round.len()];
    // A client's, through the server end.
    let mut link = Inward::new();
    for _ in 0..30 {
        // It asks for new keys of ours as well.
        link.client.conn.refresh_traffic_keys().unwrap();
        link.client.write_all(&round).unwrap();
        link.client.flush().unwrap();
        link.node.read_exact(&mut heard).unwrap();
        assert!(heard == round);
        link.node.write_all(&round).unwrap();
        link.client.read_exact(&mut heard).unwrap();
        assert!(heard == round);
    }
    // A node's, through the client end.
    let mut link = Outward::new();
    for _ in 0..30 {
        link.node.conn.refresh_traffic_keys().unwrap();
        link.node.write_all(&round).unwrap();
        link.node.flush().unwrap();
        link.client.read_exact(&mut heard).unwrap();
        assert!(heard == round);
        link.client.write_all(&round).unwrap();
        link.node.read_exact(&mut heard).unwrap();
        assert!(heard == round);
    }
}

#[test]
fn the_age_of_the_last_byte_is_told_by_direction() {
    let site = Site::new();
    let (accept, section) = service("s", &[echo()], "");
    let galeway = galeway(&(section + &site.accepting("s", "")));
    let last = |direction| {
        galeway.metric("galeway_last_byte_timestamp_seconds", &[("service", "s"), ("direction", direction)])
    };
    assert_eq!((last("in"), last("out")), (0.0, 0.0));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut client = dial(accept, site.client(Some(&site.issue("one")))).unwrap();
    assert_eq!(last("in"), 0.0, "a handshake is no byte of anybody's");
    let mut times = vec![now()];
    for _ in 0..2 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        times.push(now());
        let before = times[times.len() - 2];
        for direction in ["in", "out"] {
            // A byte may arrive before it is counted, and it counts in milliseconds.
            let at = until(LONG, direction, || Some(last(direction)).filter(|at| *at > before - 0.002));
            assert!(at < now() + 0.002, "{direction}: {at}");
        }
    }
    assert!(galeway.get("/metrics").1.contains("# TYPE galeway_last_byte_timestamp_seconds gauge"));
}

/// Both ends by processes of their own, mutual TLS between them: everything in clear arrives whole, and so do both ends of data.
#[test]
fn two_processes_are_a_tunnel() {
    let site = Site::new();
    site.keep("client", &site.issue("client"));
    let listener = TcpListener::bind(local(0)).unwrap();
    let (far, section) = service("far", &[listener.local_addr().unwrap()], "");
    let server_end = galeway(&(section + &site.accepting("far", "allow_subjects = [\"/CN=client\"]")));
    let (near, section) = service("near", &[far], "");
    let client_end = galeway(&(section + &site.connecting("near", Some("client"), "")));
    let (mut client, mut node) = (tcp(near), patient(listener.accept().unwrap().0));
    exchange(&mut client, &mut node).unwrap();
    let from: Option<SocketAddr> = client.local_addr().ok();
    let both_ways = pattern(5_000_000);
    std::thread::scope(|scope| {
        for (mut from, to) in [(&client, &node), (&node, &client)] {
            let bytes = &both_ways;
            scope.spawn(move || {
                from.write_all(bytes).unwrap();
                from.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || assert!(read_all(to) == *bytes));
        }
    });
    let event = access(&client_end, from);
    assert_eq!(
        (event["node_subject"].as_str(), event["node_tls"].as_str()),
        (Some("/CN=db1"), Some("TLSv1.3")),
        "{event}"
    );
    let other = server_end.access_log().pop().unwrap();
    assert_eq!(other["client_subject"], "/CN=client", "{other}");
    assert_eq!(other["bytes_in"].as_u64(), Some(5_000_001), "{other}");
    // A local peer that breaks off is not told as an end to the far one.
    let (client, mut node) = (tcp(near), patient(listener.accept().unwrap().0));
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(node.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
