//! Getting a client to a node's greeting: faults before the greeting cost it time and nothing else.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::fakes::{
    Fakes, LONG, access, connect, greeted_by, greeting, refused, service, service_status, set_state, wait_service,
};
use crate::harness::{Galeway, Settings, millis, secs, until};
use crate::peer::{Conn as PeerConn, Peer};

/// What a node does in place of its greeting.
async fn fault(what: &'static str, mut conn: PeerConn) -> std::io::Result<()> {
    let (code, text) = match what {
        "hang" => return conn.hang().await.map(drop),
        "reset" => {
            conn.reset();
            return Ok(());
        }
        "close" => return Ok(()),
        "garbage" => return conn.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        "oversized" => return conn.raw(&[&[0xff, 0xff, 0xff, 0, 10][..], &[b'x'; 100_000]].concat()).await,
        "empty" => return conn.raw(&[0; 8]).await,
        "cut" => {
            let whole = greeting(1).packet();
            return conn.raw(&whole[..whole.len() / 2]).await;
        }
        "wordless" => return conn.raw(&[3, 0, 0, 0, 0xff, 0x10, 0x04]).await,
        "codeless" => return conn.raw(&[1, 0, 0, 0, 0xff]).await,
        "full" => (1040, "Too many connections"),
        "blocked" => (1129, "Host is blocked"),
        "host" => (1130, "Host is not allowed to connect"),
        other => panic!("{other}"),
    };
    conn.err(code, "08004", text).await
}

/// A node with a fault.
fn faulty(fakes: &Fakes, i: u8, what: &'static str) -> Peer {
    fakes.peer(i, move |conn| fault(what, conn))
}

const IMPATIENT: &str = "balance = \"round-robin\"\ngreeting_timeout = \"300ms\"\nconnect_timeout = \"10s\"";

/// The first node has the fault; the client is greeted by the second and the log tells.
fn next_node_serves(fakes: &Fakes, result: &str, told: &str) {
    let _good = fakes.greeter(2);
    let galeway = fakes.galeway(service(IMPATIENT));
    let conn = connect(&galeway);
    assert_eq!(greeted_by(&conn), "n2");
    let attempts = |node, result| {
        galeway.metric("galeway_connect_attempts_total", &[("service", "any"), ("node", node), ("result", result)])
    };
    assert_eq!((attempts("n1", result), attempts("n2", "ok")), (1.0, 1.0), "{}", galeway.get("/metrics").1);
    let status = service_status(&galeway);
    assert_eq!((&status["failed"], &status["retried"]), (&Value::from(1), &Value::from(1)), "{status}");
    assert_eq!(galeway.node("n1")["verdict"], "eligible", "one failed connect is no verdict");
    let client = conn.local;
    drop(conn);
    let event = access(&galeway, client);
    assert_eq!((&event["node"], &event["attempts"]), (&Value::from("n2"), &Value::from(2)), "{event}");
    assert_eq!(event["detail"], *told, "{event}");
}

macro_rules! faults {
    ($($name:ident: $what:literal => $result:literal, $told:literal;)*) => {$(
        #[test]
        fn $name() {
            let fakes = Fakes::new(2);
            let _bad = faulty(&fakes, 1, $what);
            next_node_serves(&fakes, $result, $told);
        }
    )*};
}

faults! {
    a_node_that_accepts_and_never_greets_costs_only_its_deadline: "hang" => "timeout", "n1: no greeting within 300 ms";
    a_node_that_resets_before_the_greeting_is_passed_over: "reset" => "closed", "n1: closed before the greeting";
    a_node_that_closes_before_the_greeting_is_passed_over: "close" => "closed", "n1: closed before the greeting";
    a_greeting_cut_short_never_reaches_the_client: "cut" => "closed", "n1: closed before the greeting";
    a_node_that_speaks_another_protocol_is_passed_over:
        "garbage" => "garbage", "n1: no MySQL greeting: first packet too long for a greeting";
    an_oversized_greeting_is_refused_by_its_first_bytes:
        "oversized" => "garbage", "n1: no MySQL greeting: first packet too long for a greeting";
    an_empty_first_packet_is_no_greeting: "empty" => "garbage", "n1: no MySQL greeting: first packet empty";
    a_full_node_is_passed_over:
        "full" => "err_packet", "n1: error 1040 (08004): Too many connections in place of the greeting";
    a_node_that_blocked_us_is_passed_over:
        "blocked" => "err_packet", "n1: error 1129 (08004): Host is blocked in place of the greeting";
    a_node_that_does_not_let_us_in_is_passed_over:
        "host" => "err_packet", "n1: error 1130 (08004): Host is not allowed to connect in place of the greeting";
    an_error_without_a_text_is_an_error: "wordless" => "err_packet", "n1: error 1040 in place of the greeting";
    an_error_without_a_code_is_an_error: "codeless" => "err_packet", "n1: error 0 in place of the greeting";
}

#[test]
fn a_node_that_refuses_is_passed_over() {
    next_node_serves(&Fakes::new(2), "refused", "n1: connection refused");
}

#[test]
fn a_greeting_that_comes_byte_by_byte_arrives_whole() {
    let fakes = Fakes::new(1);
    let _slow = fakes.peer(1, |mut conn| async move {
        for byte in greeting(1).packet() {
            conn.raw(&[byte]).await?;
            conn.pause(millis(2)).await;
        }
        conn.hang().await.map(drop)
    });
    assert_eq!(greeted_by(&connect(&fakes.galeway(service("")))), "n1");
}

#[test]
fn a_code_that_all_nodes_agree_on_is_passed_on_at_the_deadline() {
    let fakes = Fakes::new(3);
    let _full = [faulty(&fakes, 1, "full"), faulty(&fakes, 2, "full"), faulty(&fakes, 3, "full")];
    let galeway = fakes.galeway(service("queue_timeout = \"700ms\""));
    let start = Instant::now();
    assert_eq!(refused(&galeway), (1040, "08004".to_owned(), "Too many connections".to_owned()));
    assert!(start.elapsed() >= millis(700), "until then a node may get room");
}

#[test]
fn a_server_that_says_much_does_not_crowd_the_other_nodes_out_of_the_answer() {
    let fakes = Fakes::new(2);
    let _talker = fakes.peer(1, |mut conn| async move { conn.err(1040, "08004", &"blah ".repeat(90)).await });
    let galeway = fakes.galeway(service("queue_timeout = \"700ms\""));
    let (code, _, text) = refused(&galeway);
    assert_eq!(code, 1047);
    assert!(
        text.contains("n1: error 1040 (08004): blah blah") && text.ends_with("…; n2: connection refused"),
        "{text}"
    );
}

#[test]
fn a_mixture_of_faults_is_told_node_by_node() {
    let fakes = Fakes::new(3);
    let _bad = [faulty(&fakes, 1, "full"), faulty(&fakes, 2, "host")];
    let galeway = fakes.galeway(service("queue_timeout = \"700ms\""));
    let (code, state, text) = refused(&galeway);
    assert_eq!((code, &*state), (1047, "08S01"));
    assert_eq!(
        text,
        "galeway: no node of cluster \"main\" can serve role any: \
         n1: error 1040 (08004): Too many connections in place of the greeting; \
         n2: error 1130 (08004): Host is not allowed to connect in place of the greeting; n3: connection refused"
    );
}

#[test]
fn attempts_is_the_number_of_distinct_nodes_of_a_round_and_the_next_round_begins_with_the_others() {
    let fakes = Fakes::new(3);
    let bad = [faulty(&fakes, 1, "close"), faulty(&fakes, 2, "close")];
    let _good = fakes.greeter(3);
    let galeway = fakes.galeway(service("balance = \"round-robin\"\nattempts = 2"));
    let conn = connect(&galeway);
    assert_eq!(greeted_by(&conn), "n3");
    assert_eq!(bad.map(|peer| peer.accepted()), [1, 1], "none of them twice before all were tried");
    let client = conn.local;
    drop(conn);
    assert_eq!(access(&galeway, client)["attempts"], 3);
}

#[test]
fn the_last_untried_node_gets_the_rest_of_the_queues_time() {
    let fakes = Fakes::new(2);
    let _late = fakes.peer(2, |mut conn| async move {
        conn.pause(millis(900)).await;
        conn.greet(&greeting(2)).await?;
        conn.hang().await.map(drop)
    });
    let galeway = fakes.galeway(service(IMPATIENT));
    assert_eq!(greeted_by(&connect(&galeway)), "n2");
}

#[test]
fn a_client_that_waits_for_the_last_node_turns_to_another_that_becomes_fit() {
    let fakes = Fakes::new(2);
    set_state(fakes.check(1), "1");
    let hung = faulty(&fakes, 2, "hang");
    let _good = fakes.greeter(1);
    let galeway = fakes.galeway(service("greeting_timeout = \"300ms\"\nqueue_timeout = \"1h\""));
    thread::scope(|scope| {
        let client = scope.spawn(|| greeted_by(&connect(&galeway)).to_owned());
        until(LONG, "the client waits for n2", || (hung.accepted() == 1).then_some(()));
        set_state(fakes.check(1), "4");
        assert_eq!(client.join().unwrap(), "n1");
    });
}

#[test]
fn a_node_whose_verdict_changes_while_it_is_asked_is_not_used() {
    let fakes = Fakes::new(2);
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let withheld = fakes.peer(1, move |mut conn| {
        let gate = Arc::clone(&gate);
        async move {
            let _gone = gate.acquire().await;
            conn.greet(&greeting(1)).await?;
            conn.hang().await.map(drop)
        }
    });
    let _good = fakes.greeter(2);
    let galeway = fakes.galeway(service("balance = \"round-robin\"\ngreeting_timeout = \"1h\""));
    thread::scope(|scope| {
        let client = scope.spawn(|| greeted_by(&connect(&galeway)).to_owned());
        until(LONG, "n1 is asked", || (withheld.accepted() == 1).then_some(()));
        fakes.check(1).set_status("wsrep_cluster_status", "non-Primary");
        assert_eq!(client.join().unwrap(), "n2");
    });
    go.add_permits(1);
    let withdrawn = [("node", "n1"), ("result", "withdrawn")];
    assert_eq!(galeway.metric("galeway_connect_attempts_total", &withdrawn), 1.0);
    assert_eq!(galeway.node("n1")["connections"]["failed"], 0, "that was not its doing");
}

/// The snapshot of the first attempt is old when the second one is made.
#[test]
fn a_node_that_was_excluded_while_another_one_kept_the_client_waiting_is_not_asked() {
    type Exclude = fn(&crate::peer::FakeNode);
    let down: Exclude = |n| n.set_status("wsrep_cluster_status", "non-Primary");
    let drained: Exclude = |n| n.set_variable("wsrep_reject_queries", "ALL");
    let donor: Exclude = |n| set_state(n, "2");
    for exclude in [down, drained, donor] {
        let fakes = Fakes::new(3);
        let go = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&go);
        let slow = fakes.peer(1, move |conn| {
            let gate = Arc::clone(&gate);
            async move {
                let _open = conn;
                let _gone = gate.acquire().await;
                Ok(())
            }
        });
        let (excluded, _good) = (fakes.greeter(2), fakes.greeter(3));
        let galeway = fakes.galeway(service("balance = \"round-robin\"\ngreeting_timeout = \"1h\""));
        thread::scope(|scope| {
            let client = scope.spawn(|| greeted_by(&connect(&galeway)).to_owned());
            until(LONG, "n1 is asked", || (slow.accepted() == 1).then_some(()));
            exclude(fakes.check(2));
            until(LONG, "n2 is excluded", || (galeway.node("n2")["verdict"] == "excluded").then_some(()));
            go.add_permits(1);
            assert_eq!(client.join().unwrap(), "n3");
        });
        assert_eq!(excluded.accepted(), 0, "nobody was sent there");
    }
}

/// A veto ends no lease at once, and a donor keeps its sessions: the greeting alone must not make one of them.
#[test]
fn a_node_that_is_vetoed_while_it_is_asked_is_not_used() {
    let fakes = Fakes::new(2);
    let hung = fakes.peer(1, |mut conn| async move { conn.hang().await.map(drop) });
    let _good = fakes.greeter(2);
    let galeway = fakes.galeway(service("balance = \"round-robin\"\ngreeting_timeout = \"1h\""));
    thread::scope(|scope| {
        let client = scope.spawn(|| greeted_by(&connect(&galeway)).to_owned());
        until(LONG, "n1 is asked", || (hung.accepted() == 1).then_some(()));
        fakes.check(1).set_variable("wsrep_reject_queries", "ALL");
        assert_eq!(client.join().unwrap(), "n2");
    });
}

/// There is no place in the queue, and none is needed.
#[test]
fn a_client_of_a_last_resort_is_served_by_the_better_node_that_ends_it() {
    let fakes = Fakes::new(2);
    let hung = fakes.peer(1, |mut conn| async move { conn.hang().await.map(drop) });
    let _good = fakes.greeter(2);
    set_state(fakes.check(1), "2");
    set_state(fakes.check(2), "1");
    let galeway = fakes.galeway(service("max_queue = 0\nattempts = 1\ngreeting_timeout = \"1h\""));
    thread::scope(|scope| {
        let client = scope.spawn(|| greeted_by(&connect(&galeway)).to_owned());
        until(LONG, "the donor is asked", || (hung.accepted() == 1).then_some(()));
        set_state(fakes.check(2), "4");
        assert_eq!(client.join().unwrap(), "n2");
    });
}

/// Both nodes fail clients and satisfy the check: a failure in the data path is looked into at once.
#[test]
fn a_failure_in_the_data_path_makes_the_monitor_look_at_once() {
    let fakes = Fakes::new(2);
    let _good = fakes.greeter(2);
    let settings = Settings { monitor: "interval = \"1h\"\nfast_interval = \"20ms\"", ..service(IMPATIENT) };
    let galeway = fakes.galeway(settings);
    let before = fakes.check(1).commands();
    assert_eq!(greeted_by(&connect(&galeway)), "n2");
    until(LONG, "n1 is looked at again", || (fakes.check(1).commands() > before).then_some(()));
}

#[test]
fn a_node_that_failed_a_client_comes_last_until_its_next_good_check() {
    let fakes = Fakes::new(2);
    let galeway = fakes.galeway(Settings {
        monitor: "interval = \"1h\"\nfast_interval = \"1h\"",
        ..service("balance = \"round-robin\"")
    });
    let _good = fakes.greeter(2);
    let clients: Vec<_> = (0..10).map(|_| connect(&galeway)).collect();
    assert!(clients.iter().all(|c| greeted_by(c) == "n2"));
    let refused = [("node", "n1"), ("result", "refused")];
    assert_eq!(galeway.metric("galeway_connect_attempts_total", &refused), 1.0, "asked once, and then not first");
}

#[test]
fn a_service_of_bytes_passes_a_refusing_node_over_too() {
    let fakes = Fakes::new(2);
    let _good = fakes.greeter(2);
    let galeway = fakes.galeway(service("balance = \"round-robin\"\nprotocol = \"tcp\""));
    assert_eq!(greeted_by(&connect(&galeway)), "n2");
}

/// A greeting is not enough to count: sessions are counted where they are, and no longer.
#[test]
fn counts_return_to_zero_when_sessions_end() {
    let (fakes, _good) = Fakes::good(2);
    let galeway: Galeway = fakes.galeway(service("balance = \"round-robin\""));
    let clients: Vec<_> = (0..6).map(|_| connect(&galeway)).collect();
    wait_service(&galeway, "active", 6);
    for name in ["n1", "n2"] {
        assert_eq!(galeway.node(name)["connections"]["active"], 3);
        assert_eq!(galeway.metric("galeway_connections_active", &[("node", name)]), 3.0);
    }
    drop(clients);
    wait_service(&galeway, "active", 0);
    until(secs(10), "no node holds a session", || {
        let active = |n| galeway.node(n)["connections"]["active"].as_u64().unwrap();
        (active("n1") + active("n2") == 0).then_some(())
    });
    assert_eq!(galeway.metric("galeway_connections_closed_total", &[("reason", "client_closed")]), 6.0);
}
