//! Nodes whose established connections work, the check's among them, and whose new ones do not.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::fakes::{FAST, Fakes, LONG, ip, service};
use crate::harness::{Conn, Galeway, Settings, millis, ports, secs, until};
use crate::peer::{FakeNode, Mode, Peer};

/// Three nodes that clients and checks reach at one and the same port, as real ones are.
fn three() -> Vec<FakeNode> {
    let port = ports::free();
    let node = |i: u8| {
        let node = FakeNode::on(TcpListener::bind((ip(i), port)).unwrap(), &format!("n{i}"));
        node.set_status("wsrep_cluster_size", "3");
        node.set_status("wsrep_local_index", &(i - 1).to_string());
        node
    };
    (1..=3).map(node).collect()
}

fn before(nodes: &[FakeNode], settings: Settings<'_>) -> Galeway {
    let named: Vec<_> = (1..).zip(nodes).map(|(i, node)| (format!("n{i}"), node.addr())).collect();
    let galeway = Galeway::spawn(&named, settings);
    galeway.wait_ready();
    galeway
}

const ROLES: &[&str] = &["writer", "any"];

/// The time until a client of the writer service is greeted.
#[track_caller]
fn greeted_after(galeway: &Galeway) -> Duration {
    let begun = Instant::now();
    until(LONG, "a client is greeted", || Conn::greet(galeway.service("writer"), LONG).ok());
    begun.elapsed()
}

#[track_caller]
fn wait_reason(galeway: &Galeway, node: &str, part: &str) {
    // It may be starting still.
    until(LONG, "the status", || galeway.try_get("/api/status"));
    until(LONG, &format!("{node} {part}"), || galeway.node(node)["reason"].as_str()?.contains(part).then_some(()));
}

#[test]
fn a_writer_that_takes_no_new_connections_loses_the_role_to_one_that_does() {
    let blocked = "Host '127.0.0.1' is blocked because of many connection errors";
    for (mode, why) in [
        (Mode::HangNew, "greeting timed out"),
        (Mode::Close, "connection closed during greeting"),
        (Mode::GreetWithErr(1135, "Can't create a new thread".into()), "error 1135"),
        (Mode::GreetWithErr(1129, blocked.into()), "error 1129"),
    ] {
        let nodes = three();
        let galeway =
            before(&nodes, Settings { roles: ROLES, sessions: "on_demote = \"keep\"", ..Settings::default() });
        galeway.wait_writer("n1", LONG);
        let old = Conn::greet(galeway.service("writer"), LONG).unwrap();
        nodes[0].set_mode(mode.clone());
        let took = greeted_after(&galeway);
        println!("{mode:?}: a client of the writer was greeted after {took:?}");
        // Much less than the 10 s of `queue_timeout`, and no longer than a hung node takes by default.
        assert!(took < secs(6), "{mode:?}: {took:?}");
        galeway.wait_writer("n2", LONG);
        wait_reason(&galeway, "n1", "takes no new connections");
        wait_reason(&galeway, "n1", why);
        assert_eq!(galeway.node("n1")["verdict"], "excluded");
        assert!(
            galeway.metric("galeway_verdict_changes_total", &[("node", "n1"), ("reason", "no_new_connections")]) >= 1.0
        );
        assert_eq!(galeway.node("n1")["connections"]["active"], 1, "what is established goes on");
        assert!(galeway.log().contains("takes no new connections"));
        drop(old);
        // And back.
        nodes[0].set_mode(Mode::Serve);
        galeway.wait_verdict("n1", "eligible", LONG);
        galeway.wait_writer("n2", LONG);
    }
}

#[test]
fn without_clients_it_is_noticed_all_the_same() {
    let nodes = three();
    let galeway = before(&nodes, Settings { roles: ROLES, ..Settings::default() });
    galeway.wait_writer("n1", LONG);
    nodes[0].set_mode(Mode::HangNew);
    let logins = nodes[1].logins();
    galeway.wait_writer("n2", secs(100));
    assert!(nodes[1].logins() - logins <= 4, "{} logins on a node that is well", nodes[1].logins() - logins);
}

#[test]
fn where_no_node_takes_new_connections_nothing_moves_and_all_are_tried() {
    let nodes = three();
    let galeway = before(&nodes, Settings { roles: ROLES, ..Settings::default() });
    let mut old = Conn::greet(galeway.service("writer"), LONG).unwrap();
    nodes.iter().for_each(|node| node.set_mode(Mode::HangNew));
    let answer = Conn::greet(galeway.service("writer"), LONG);
    assert!(answer.is_err());
    for node in ["n1", "n2", "n3"] {
        wait_reason(&galeway, node, "last resort: no other node serves");
    }
    galeway.wait_writer("n1", LONG);
    assert!(!galeway.log().contains("writer changed"), "{}", galeway.log());
    assert!(!old.ends_within(millis(100)));
    nodes.iter().for_each(|node| node.set_mode(Mode::Serve));
    for node in ["n1", "n2", "n3"] {
        galeway.wait_verdict(node, "eligible", LONG);
    }
    Conn::greet(galeway.service("writer"), LONG).unwrap();
}

#[test]
fn nodes_that_greet_late_are_said_to_and_serve_where_all_are_so() {
    let nodes = three();
    nodes.iter().for_each(|node| node.set_mode(Mode::GreetLate(secs(4))));
    let named: Vec<_> = (1..).zip(&nodes).map(|(i, node)| (format!("n{i}"), node.addr())).collect();
    let galeway = Galeway::spawn(&named, Settings { roles: ROLES, ..Settings::default() });
    for node in ["n1", "n2", "n3"] {
        wait_reason(&galeway, node, "answers late (greeting timed out, done after 4.");
        wait_reason(&galeway, node, "skip_name_resolve");
        galeway.wait_verdict(node, "last-resort", LONG);
    }
    assert!(galeway.log().contains("timeout in [cluster.main.monitor]"), "{}", galeway.log());
    // Their `greeting_timeout` is 3 s.
    for role in ["any", "writer"] {
        let begun = Instant::now();
        Conn::greet(galeway.service(role), LONG).unwrap_or_else(|e| panic!("{e}\n{}", galeway.log()));
        let took = begun.elapsed();
        println!("{role}: greeted after {took:?}");
        assert!(took < secs(8), "{role}: {took:?}");
    }
    // One of them is in time again.
    nodes[2].set_mode(Mode::Serve);
    galeway.wait_verdict("n3", "eligible", secs(60));
    galeway.wait_verdict("n1", "excluded", LONG);
    assert!(greeted_after(&galeway) < secs(2));
}

#[test]
fn clients_that_fail_where_the_check_does_not_go_bring_no_storm_of_logins() {
    let fakes = Fakes::new(1);
    let _closer = fakes.peer(1, |_conn| async { Ok(()) });
    let galeway = fakes.galeway(service("queue_timeout = \"1s\""));
    let (begun, before) = (Instant::now(), fakes.check(1).logins());
    until(LONG, "clients fail for 8 s", || {
        let _ = Conn::greet(galeway.addr(), LONG);
        (begun.elapsed() >= secs(8)).then_some(())
    });
    let logins = fakes.check(1).logins() - before;
    println!("{logins} logins, {} attempts", galeway.attempts("n1"));
    assert!((1..=5).contains(&logins) && galeway.attempts("n1") > 8.0, "{logins}");
}

/// Clients that leave after the greeting, from a service with this line.
fn break_off_thirty(line: &str) -> (Vec<FakeNode>, Vec<IpAddr>) {
    let nodes = three();
    let galeway = before(&nodes, Settings { roles: &["writer"], service: line, monitor: FAST, ..Settings::default() });
    let before = nodes[0].logins_from().len();
    for _ in 0..30 {
        drop(Conn::greet(galeway.addr(), LONG).unwrap());
    }
    until(LONG, "a login", || (nodes[0].logins_from().len() > before).then_some(()));
    let from = nodes[0].logins_from().split_off(before);
    (nodes, from)
}

#[test]
fn the_login_that_clears_the_servers_count_comes_from_the_services_own_address() {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let (_nodes, from) = break_off_thirty("source = \"127.0.0.2\"");
    assert_eq!(from, [source], "{from:?}");
    let (_nodes, from) = break_off_thirty("");
    assert!(!from.contains(&source), "{from:?}");
}

#[test]
fn a_service_that_is_blocked_alone_is_tried_from_its_own_address() {
    let nodes = three();
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let settings = Settings { roles: ROLES, service: "source = \"127.0.0.2\"", ..Settings::default() };
    let galeway = before(&nodes, settings);
    galeway.wait_writer("n1", LONG);
    nodes[0].block(source);
    assert!(greeted_after(&galeway) < secs(6));
    wait_reason(&galeway, "n1", "takes no new connections (it answers: error 1129");
    galeway.wait_writer("n2", LONG);
}

#[test]
fn a_server_that_takes_no_proxy_headers_is_asked_about() {
    let refuse = || {
        Peer::start(|mut conn| async move {
            // As MySQL does: the header is read as a login, out of order.
            let greeting = crate::peer::Greeting::mysql8();
            conn.greet(&greeting).await?;
            conn.err(1156, "08S01", "Got packets out of order").await?;
            conn.hang().await.map(drop)
        })
    };
    let node = refuse();
    let settings = Settings { monitor: "send_proxy_protocol = \"v2\"", ..Settings::default() };
    let galeway = Galeway::spawn(&[("n1".into(), node.addr())], settings);
    wait_reason(&galeway, "n1", "does it take PROXY headers? (proxy_protocol_networks)");
}

#[test]
fn a_service_whose_servers_take_no_proxy_headers_is_warned_of() {
    let fakes = Fakes::new(1);
    let _node = fakes.peer(1, |mut conn| async move {
        conn.greet(&crate::peer::Greeting::mysql8()).await?;
        // Apart from the greeting, as it is where the server thinks for a moment.
        conn.pause(millis(50)).await;
        conn.err(1156, "08S01", "Got packets out of order").await
    });
    let galeway = fakes.galeway(service("send_proxy_protocol = \"v2\""));
    let told = || galeway.log().matches("do they take PROXY headers?").count();
    until(LONG, "it is said", || {
        let mut client = Conn::greet(galeway.addr(), LONG).unwrap();
        assert!(client.ends_within(LONG));
        (told() > 0).then_some(())
    });
    assert_eq!(told(), 1);
}

#[test]
fn a_host_that_cannot_connect_says_so_in_the_log_and_blames_no_node() {
    let (fakes, _data) = Fakes::good(1);
    // Documentation's own (RFC 5737): not an address of this host.
    let galeway = fakes.galeway(service("source = \"203.0.113.9\"\nqueue_timeout = \"1s\""));
    for _ in 0..3 {
        Conn::greet(galeway.addr(), LONG).unwrap_err();
    }
    assert_eq!(galeway.log().matches("this host cannot connect to nodes").count(), 1, "{}", galeway.log());
    assert_eq!(galeway.node("n1")["verdict"], "eligible");
}

/// As MariaDB does where `init_connect` fails: the first statement gets the error, and then the connection ends.
#[test]
fn a_check_whose_init_connect_fails_says_that_and_suspects_no_proxy() {
    let node = Peer::start(|mut conn| async move {
        conn.greet(&crate::peer::Greeting::default()).await?;
        conn.login().await?;
        conn.ok().await?;
        conn.command().await?;
        conn.err(1184, "08S01", "Aborted connection (init_connect command failed)").await
    });
    let settings = Settings { monitor: FAST, ..Settings::default() };
    let galeway = Galeway::spawn(&[("n1".into(), node.addr())], settings);
    wait_reason(&galeway, "n1", "1184");
    let met = node.accepted();
    until(LONG, "some checks more", || (node.accepted() >= met + 5).then_some(()));
    wait_reason(&galeway, "n1", "1184");
    assert!(!galeway.log().contains("proxy between"), "{}", galeway.log());
}
