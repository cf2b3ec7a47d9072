//! Clients for whom there is no node or no slot yet.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::fakes::{
    Fakes, LONG, access, connect, greeted_by, ip, raw, read_all, refused, service, service_status, set_state,
    wait_service,
};
use crate::harness::{Conn, Galeway, Settings, millis, ports, secs, until};

/// One good node, Joiner to its check: nobody may be sent there yet.
fn nobody_fit(lines: &str) -> (Fakes, crate::peer::Peer, Galeway) {
    let fakes = Fakes::new(1);
    let data = fakes.greeter(1);
    set_state(fakes.check(1), "1");
    let galeway = fakes.spawn(service(lines));
    until(LONG, "it runs", || (galeway.try_get("/api/status")?.1.contains("\"running\"")).then_some(()));
    (fakes, data, galeway)
}

#[test]
fn a_client_waits_while_no_node_is_fit_and_is_served_as_soon_as_one_is() {
    let (fakes, _data, galeway) = nobody_fit("queue_timeout = \"1h\"");
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(&galeway));
        wait_service(&galeway, "queued", 1);
        assert_eq!(galeway.metric("galeway_queue_depth", &[("service", "any")]), 1.0);
        set_state(fakes.check(1), "4");
        let conn = client.join().unwrap();
        assert_eq!(greeted_by(&conn), "n1");
        wait_service(&galeway, "queued", 0);
    });
}

#[test]
fn a_client_in_vain_gets_an_error_packet_in_place_of_the_greeting() {
    let (_fakes, _data, galeway) = nobody_fit("queue_timeout = \"300ms\"");
    let start = Instant::now();
    let client = raw(&galeway);
    let from = client.local_addr().unwrap();
    let packet = read_all(&client);
    assert!(start.elapsed() >= millis(300));
    let text = "galeway: no node of cluster \"main\" can serve role any: n1: Joiner (wsrep_local_state=1)";
    let payload = [b"\xff\x17\x04#08S01", text.as_bytes()].concat();
    assert_eq!(packet, [&[payload.len() as u8, 0, 0, 0][..], &payload].concat());
    drop(client);
    let event = access(&galeway, Some(from));
    assert_eq!((&event["end"], &event["by"]), (&Value::from("no_node"), &Value::from("galeway")), "{event}");
    assert_eq!(event["detail"], text);
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "no_node")]), 1.0);
}

#[test]
fn the_error_of_a_large_cluster_fits_its_packet_and_says_how_many_nodes_it_leaves_out() {
    let port = ports::free();
    let nodes: Vec<_> = (1..=40).map(|i| (format!("n{i}"), SocketAddr::from((ip(i), port)))).collect();
    let galeway = Galeway::spawn(&nodes, service("queue_timeout = \"100ms\""));
    let packet = until(LONG, "it answers", || {
        let mut client = std::net::TcpStream::connect(galeway.addr()).ok()?;
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).ok()?;
        // A first client may meet nodes that were not checked yet.
        String::from_utf8_lossy(&bytes).contains("n1: unreachable").then_some(bytes)
    });
    assert!(packet.len() <= 512 + 4, "{}", packet.len());
    assert_eq!(usize::from(packet[0]) + (usize::from(packet[1]) << 8), packet.len() - 4);
    let text = String::from_utf8(packet[13..].to_vec()).unwrap();
    let shown = text.matches("unreachable (connection refused)").count();
    assert!(shown >= 5 && text.ends_with(&format!("; and {} more", 40 - shown)), "{text}");
}

#[test]
fn a_full_queue_turns_the_next_client_away_at_once() {
    let (_fakes, _data, galeway) = nobody_fit("queue_timeout = \"1h\"\nmax_queue = 2");
    let _waiting = [raw(&galeway), raw(&galeway)];
    wait_service(&galeway, "queued", 2);
    let (code, state, text) = refused(&galeway);
    assert_eq!((code, &*state), (1047, "08S01"), "{text}");
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "queue_full")]), 1.0);
    assert_eq!(service_status(&galeway)["queued"], 2);
}

#[test]
fn a_client_beyond_max_connections_waits_for_a_session_to_end() {
    let (fakes, _data) = Fakes::good(1);
    let galeway = fakes.galeway(service("max_connections = 1\nqueue_timeout = \"1h\""));
    let first = connect(&galeway);
    thread::scope(|scope| {
        let second = scope.spawn(|| connect(&galeway));
        wait_service(&galeway, "queued", 1);
        assert_eq!(service_status(&galeway)["active"], 1);
        drop(first);
        assert_eq!(greeted_by(&second.join().unwrap()), "n1");
    });
}

#[test]
fn a_client_beyond_max_connections_in_vain_is_told_so() {
    let (fakes, _data) = Fakes::good(1);
    let galeway = fakes.galeway(service("max_connections = 1\nqueue_timeout = \"300ms\""));
    let _first = connect(&galeway);
    let text = "galeway: too many connections (max_connections = 1)".to_owned();
    assert_eq!(refused(&galeway), (1040, "08004".to_owned(), text));
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "too_many_connections")]), 1.0);
}

#[test]
fn a_client_that_leaves_the_queue_is_dropped_at_once_and_its_slot_is_free() {
    let (fakes, _data, galeway) = nobody_fit("queue_timeout = \"1h\"\nmax_connections = 1\nmax_queue = 5");
    let client = raw(&galeway);
    let from = client.local_addr().unwrap();
    wait_service(&galeway, "queued", 1);
    drop(client);
    wait_service(&galeway, "queued", 0);
    let event = access(&galeway, Some(from));
    assert_eq!((&event["end"], &event["by"]), (&Value::from("client_gone"), &Value::from("client")), "{event}");
    set_state(fakes.check(1), "4");
    assert_eq!(greeted_by(&connect(&galeway)), "n1");
}

#[test]
fn a_client_that_leaves_while_a_node_is_asked_is_dropped_at_once() {
    let fakes = Fakes::new(1);
    let hung = fakes.peer(1, |mut conn| async move { conn.hang().await.map(drop) });
    let galeway = fakes.galeway(service("queue_timeout = \"1h\""));
    let client = raw(&galeway);
    until(LONG, "the node is asked", || (hung.accepted() == 1).then_some(()));
    drop(client);
    let gone = [("node", "n1"), ("result", "client_gone")];
    until(LONG, "it is counted", || (galeway.metric("galeway_connect_attempts_total", &gone) == 1.0).then_some(()));
    assert_eq!(galeway.node("n1")["connections"]["active"], 0);
    assert_eq!(galeway.node("n1")["connections"]["failed"], 0, "that was not the node's doing");
}

#[test]
fn a_service_of_bytes_says_no_by_a_reset() {
    let fakes = Fakes::new(1);
    set_state(fakes.check(1), "1");
    let settings = Settings { process: "workers = 1", ..service("queue_timeout = \"100ms\"\nprotocol = \"tcp\"") };
    let galeway = fakes.spawn(settings);
    let error = until(LONG, "it is turned away", || raw_answer(&galeway));
    assert_eq!(error, std::io::ErrorKind::ConnectionReset);
}

fn raw_answer(galeway: &Galeway) -> Option<std::io::ErrorKind> {
    let mut client = std::net::TcpStream::connect(galeway.addr()).ok()?;
    client.set_read_timeout(Some(secs(30))).unwrap();
    client.read(&mut [0; 64]).err().map(|e| e.kind())
}

#[test]
fn many_clients_that_wait_are_all_served_by_the_first_fit_node() {
    let (fakes, data, galeway) = nobody_fit("queue_timeout = \"1h\"");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..50).map(|_| scope.spawn(|| Conn::greet(galeway.addr(), LONG))).collect();
        wait_service(&galeway, "queued", 50);
        set_state(fakes.check(1), "4");
        let conns: Vec<_> = clients.into_iter().map(|c| c.join().unwrap().unwrap()).collect();
        assert_eq!((conns.len(), data.accepted()), (50, 50));
    });
}

#[test]
fn a_client_of_bytes_that_breaks_off_in_the_queue_is_dropped_at_once() {
    let (_fakes, _data, galeway) = nobody_fit("queue_timeout = \"1h\"\nprotocol = \"tcp\"");
    let client = raw(&galeway);
    wait_service(&galeway, "queued", 1);
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    wait_service(&galeway, "queued", 0);
}
