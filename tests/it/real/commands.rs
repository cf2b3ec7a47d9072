//! `galeway probe` on real nodes, and SIGTERM with clients there.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use super::{assert_alive, session_on};
use crate::harness::cli::{Output, run};
use crate::harness::galeway::{binary, wait_closed};
use crate::harness::node::DONOR;
use crate::harness::process::Signal;
use crate::harness::{Cluster, Galeway, Load, Settings, cluster, ports, secs, standalone, watchdog};

/// `galeway probe` of all nodes with the monitor's account.
fn probe(cluster: &Cluster, arguments: &[&str]) -> Output {
    let password = watchdog::fresh_path("password");
    std::fs::write(&password, "monitor\n").unwrap();
    let nodes = cluster.addrs().into_iter().map(|a| a.to_string());
    let mut command = Command::new(binary());
    command.arg("probe").args(nodes).args(["--user", "monitor", "--password-file"]).arg(password).args(arguments);
    run(&mut command)
}

#[test]
fn probe_says_of_each_node_what_it_is_and_exits_by_whether_all_serve() {
    let cluster = cluster();
    let seen = probe(&cluster, &[]);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for addr in cluster.addrs() {
        assert!(seen.stdout.contains(&format!("{addr}: eligible: Synced [")), "{}", seen.stdout);
    }
    let value = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert!(seen.stdout.lines().any(|l| value(l) == ["wsrep_cluster_size", "3"]), "{}", seen.stdout);

    let n2 = &cluster.nodes[1];
    n2.desync();
    n2.wait(secs(5), "Donor/Desynced", |s| s.local_state == DONOR);
    let (text, json) = (probe(&cluster, &[]), probe(&cluster, &["--json"]));
    n2.resync();
    assert_eq!((text.code, json.code), (Some(1), Some(1)), "{text:?}");
    assert!(text.stdout.contains(&format!("{}: excluded: Donor/Desynced [", n2.addr())), "{}", text.stdout);
    let said: Value = serde_json::from_str(&json.stdout).unwrap();
    let nodes = said["nodes"].as_array().unwrap();
    let verdicts: Vec<_> =
        nodes.iter().map(|n| (n["verdict"].as_str().unwrap(), n["reason"].as_str().unwrap())).collect();
    assert_eq!(verdicts, [("eligible", "Synced"), ("excluded", "Donor/Desynced"), ("eligible", "Synced")]);
    assert_eq!(nodes[1]["values"]["wsrep_local_state"], "2");
    assert_eq!(nodes[1]["address"], n2.addr().to_string());
}

#[test]
fn probe_tells_a_closed_port_from_a_refused_login_and_both_from_a_mistake() {
    let cluster = cluster();
    let n1 = cluster.nodes[0].addr().to_string();
    let nobody = format!("127.0.0.1:{}", ports::free());
    let probe = |arguments: &[&str]| run(Command::new(binary()).arg("probe").args(arguments));
    let seen = probe(&[&n1, &nobody, "--user", "monitor"]);
    assert_eq!(seen.code, Some(1), "{seen:?}");
    assert!(seen.stdout.contains("excluded: check's login refused (1045 Access denied for user 'monitor'"), "{seen:?}");
    assert!(seen.stdout.contains(&format!("{nobody}: excluded: unreachable (connection refused) [")), "{seen:?}");
    for mistake in [
        vec![n1.as_str()],
        vec!["--user", "monitor"],
        vec!["127.0.0.1:99999", "--user", "monitor"],
        vec![&n1, "--user", "monitor", "--password-file", "/does/not/exist"],
        vec![&n1, "--user", "monitor", "--ca", "/does/not/exist"],
    ] {
        let seen = probe(&mistake);
        assert_eq!((seen.code, seen.stdout.as_str()), (Some(2), ""), "{mistake:?}: {seen:?}");
        assert!(!seen.stderr.is_empty());
    }
}

#[test]
fn sigterm_under_load_cuts_no_session_and_ends_when_the_last_one_has() {
    let cluster = cluster();
    let mut galeway = Galeway::before(&cluster, Settings::default());
    let mut session = session_on(&galeway, "n1");
    let load = Load::start(galeway.addr());
    load.wait_for(100);
    galeway.signal(Signal::TERM);
    wait_closed(galeway.addr());
    let (code, why) = galeway.get("/readyz");
    assert_eq!(code, 503);
    println!("readyz: {why:?}");
    assert!(why.contains("draining"), "{why}");
    assert_eq!(galeway.get("/healthz").0, 200);
    assert_eq!(galeway.status()["state"], "draining");
    assert_alive(&mut session);
    load.wait_for(50);
    let report = load.stop();
    assert_eq!(report.broken(), [], "a session was cut");
    println!("SIGTERM: {:?}", report.failed_connects().into_iter().collect::<std::collections::BTreeSet<_>>());
    assert!(galeway.wait(secs(0)).is_none(), "it ended with a session still there");
    session.quit().unwrap();
    let ended = galeway.wait(secs(10)).expect("it stays without sessions");
    assert_eq!(ended.code(), Some(0), "{}", galeway.log());
}

#[test]
fn a_real_server_runs_notify_and_comes_up_although_nobody_answers_it() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = admin.local_addr().unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in admin.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            // Open, and without an answer.
            if sender.send((String::from_utf8_lossy(&head[..read]).into_owned(), stream)).is_err() {
                return;
            }
        }
    });
    let command = format!("--wsrep-notify-cmd={} notify --admin {address}", binary().display());
    let _node = standalone(&[&command]);
    let (head, _silent) = told.recv_timeout(secs(10)).unwrap();
    assert!(head.starts_with("POST /api/notify HTTP/1.1\r\n"), "{head}");
}
