//! What the admin address answers, and to whom.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use galeway::config;
use galeway::lifecycle::{Handle, Instance};
use serde_json::Value;

use crate::fakes::{Fakes, LONG, connect, set_state};
use crate::harness::galeway::http_get;
use crate::harness::{Conn, Galeway, Settings, until};
use crate::peer::{FakeNode, Peer};

fn one() -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(1);
    let galeway = fakes.galeway(Settings::default());
    (fakes, peers, galeway)
}

/// Sends bytes and reads all that comes.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_readiness_and_unknown_paths() {
    let (fakes, _data, galeway) = one();
    assert_eq!(galeway.get("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(galeway.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(galeway.get("/readyz?service=any").0, 200);
    assert_eq!(galeway.get("/readyz?service=%61ny").0, 200);
    assert_eq!(galeway.get("/readyz?service=other").0, 404);
    assert_eq!(galeway.get("/readyz?service=%zz").0, 400);
    assert_eq!(galeway.get("/nothing").0, 404);
    let post =
        ask(galeway.admin(), "POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.to_lowercase().contains("allow: get, head"), "{post}");
    let head = ask(galeway.admin(), "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    set_state(fakes.check(1), "1");
    let (code, why) = until(LONG, "not ready", || Some(galeway.get("/readyz")).filter(|(code, _)| *code != 200));
    let told = "any: no node of cluster \"main\" serves role any: n1: Joiner (wsrep_local_state=1)\n";
    assert_eq!((code, &*why), (503, told));
    assert_eq!(galeway.get("/healthz").0, 200, "alive all the same");
}

/// Every name of the contract that this version has, with its labels.
const METRICS: &[(&str, &str, &[&str])] = &[
    ("galeway_connections_accepted_total", "counter", &["service"]),
    ("galeway_connections_active", "gauge", &["service", "node"]),
    ("galeway_connections_closed_total", "counter", &["service", "node", "reason"]),
    ("galeway_connections_rejected_total", "counter", &["service", "reason"]),
    ("galeway_connect_attempts_total", "counter", &["service", "node", "result"]),
    ("galeway_connect_duration_seconds", "histogram", &["service", "node"]),
    ("galeway_connection_duration_seconds", "histogram", &["service"]),
    ("galeway_queue_depth", "gauge", &["service"]),
    ("galeway_bytes_total", "counter", &["service", "direction"]),
    ("galeway_node_eligible", "gauge", &["cluster", "node"]),
    ("galeway_node_writer", "gauge", &["cluster", "node"]),
    ("galeway_cluster_split_brain", "gauge", &["cluster"]),
    ("galeway_node_state", "gauge", &["cluster", "node"]),
    ("galeway_node_recv_queue", "gauge", &["cluster", "node"]),
    ("galeway_node_flow_control_paused", "gauge", &["cluster", "node"]),
    ("galeway_probe_duration_seconds", "histogram", &["cluster", "node"]),
    ("galeway_probe_failures_total", "counter", &["cluster", "node", "reason"]),
    ("galeway_verdict_changes_total", "counter", &["cluster", "node", "reason"]),
    ("galeway_cluster_size", "gauge", &["cluster"]),
    ("galeway_sessions_killed_total", "counter", &["cluster", "node", "reason"]),
    ("galeway_build_info", "gauge", &["version"]),
];

#[test]
fn every_metric_is_there_with_its_type_help_and_labels() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(crate::fakes::service("balance = \"round-robin\""));
    let _session = connect(&galeway);
    fakes.check(1).set_mode(crate::peer::Mode::Close);
    fakes.check(1).cut_connections();
    galeway.wait_verdict("n1", "excluded", LONG);
    // Its session has ended: every series has been seen.
    until(LONG, "the session ends", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
    let text = until(LONG, "the connection's end is counted", || {
        let text = galeway.get("/metrics").1;
        text.contains("galeway_connection_duration_seconds_count{service=\"any\"} 1").then_some(text)
    });
    for (name, kind, labels) in METRICS {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} {kind}:\n{text}");
        let help = text.lines().find(|l| l.starts_with(&format!("# HELP {name} "))).unwrap_or_default();
        assert!(help.len() > name.len() + 20, "{name}: {help:?}");
        let suffix = if *kind == "histogram" { "_bucket" } else { "" };
        let series = text.lines().find(|l| l.starts_with(&format!("{name}{suffix}{{"))).unwrap_or_default();
        for label in *labels {
            assert!(series.contains(&format!("{label}=\"")), "{name} has no {label}: {series:?}");
        }
    }
    let strange: Vec<_> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| METRICS.iter().all(|(known, ..)| known != name))
        .collect();
    assert!(strange.is_empty(), "not of the contract: {strange:?}");
}

#[test]
fn the_status_has_the_shape_of_the_contract() {
    let (_fakes, _data, galeway) = one();
    let session = connect(&galeway);
    // It is counted just after it was passed on.
    let greeted = |status: &Value| status["services"][0]["bytes_out"].as_u64() > Some(0);
    let status = until(LONG, "the greeting is counted", || Some(galeway.status()).filter(greeted));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["pid"], &status["state"]), (&Value::from(galeway.pid()), &Value::from("running")));
    assert!(status["uptime_seconds"].is_f64() && status["generation"] == 1, "{status}");
    let cluster = &status["clusters"][0];
    assert_eq!((&cluster["name"], &cluster["verdict"]), (&Value::from("main"), &Value::from("primary")));
    assert_eq!(cluster["state_uuid"], "11111111-1111-1111-1111-111111111111");
    let node = &cluster["nodes"][0];
    assert_eq!(
        (&node["name"], &node["verdict"], &node["reason"]),
        (&"n1".into(), &"eligible".into(), &"Synced".into())
    );
    assert_eq!(
        (&node["weight"], &node["wsrep"]["wsrep_local_state"]),
        (&Value::from(100), &Value::from("4")),
        "{node}"
    );
    assert!(node["address"].as_str().unwrap().starts_with("127.0.1.1:"), "{node}");
    assert!(node["since_seconds"].is_number() && node["probe"]["age_ms"].is_number(), "{node}");
    assert!(node["probe"]["duration_ms"].is_number() && node["probe"]["error"].is_null(), "{node}");
    assert_eq!(node["probe"]["failures"], 0);
    assert_eq!(node["connections"], serde_json::json!({"active": 1, "total": 1, "failed": 0, "killed": 0}));
    let service = &status["services"][0];
    assert_eq!((&service["name"], &service["target"]), (&"any".into(), &"main/any".into()));
    assert_eq!(service["accept"], serde_json::json!([galeway.addr().to_string()]));
    for (key, number) in [("active", 1), ("queued", 0), ("total", 1), ("rejected", 0), ("failed", 0), ("retried", 0)] {
        assert_eq!(service[key], number, "{key}: {service}");
    }
    assert_eq!((&service["bytes_in"], service["bytes_out"].as_u64() > Some(50)), (&Value::from(0), true), "{service}");
    drop(session);
}

#[test]
fn who_sends_half_a_request_is_cut() {
    let (_fakes, _data, galeway) = one();
    let start = Instant::now();
    let answer = ask(galeway.admin(), "GET /healthz HTTP/1.1\r\nHost:");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn a_hundred_silent_connections_hold_the_admin_address_up_for_a_while_only() {
    let (_fakes, _data, galeway) = one();
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(galeway.admin()).unwrap()).collect();
    until(LONG, "it answers", || http_get(galeway.admin(), "/healthz").filter(|(code, _)| *code == 200));
    drop(silent);
}

/// One instance in this process, before a node of its own.
fn in_process(node: &FakeNode) -> Handle {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let text = Settings::default().text(&[("n1".to_owned(), node.addr())], local(0), local(0));
    let config = config::parse(&text, Path::new("here.toml")).unwrap().config;
    let handle = Instance::start(&config, galeway::net::Inherited::default()).unwrap();
    assert!(handle.wait_accepting(LONG));
    handle
}

#[test]
fn two_instances_in_one_process_share_nothing() {
    let nodes = [FakeNode::start("a"), FakeNode::start("b")];
    let [a, b] = nodes.each_ref().map(in_process);
    let accept = |handle: &Handle| match handle.view().layout().services[0].accept[0] {
        config::Listen::Tcp(address) => address,
        ref other => panic!("{other}"),
    };
    assert_ne!(accept(&a), accept(&b));
    let sessions: Vec<_> = (0..3).map(|_| Conn::app(accept(&a), LONG).unwrap()).collect();
    let status = |handle: &Handle| -> Value {
        serde_json::from_str(&http_get(handle.admin_addr().unwrap(), "/api/status").unwrap().1).unwrap()
    };
    assert_eq!((&status(&a)["services"][0]["active"], &status(&b)["services"][0]["active"]), (&3.into(), &0.into()));
    let accepted = "galeway_connections_accepted_total{service=\"any\"}";
    assert!(a.view().metrics().contains(&format!("{accepted} 3")));
    assert!(b.view().metrics().contains(&format!("{accepted} 0")));
    assert_eq!((a.sessions().iter().sum::<usize>(), b.sessions().iter().sum::<usize>()), (3, 0));
    assert_eq!((nodes[0].logins(), nodes[1].logins()), (4, 1));
    a.stop();
    assert_eq!(Conn::app(accept(&b), LONG).unwrap().one("SELECT @@wsrep_node_name").unwrap(), "b");
    b.stop();
    drop(sessions);
}
