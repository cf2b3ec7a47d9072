//! Nodes leave, come back by state transfer, and all go.

use std::net::SocketAddr;
use std::time::Instant;

use super::{
    Both, RECOVERY, SLACK, TOLD_SOON, assert_alive, assert_at_most_one_broken_each, assert_no_failed_connect,
    assert_nobody_sent, roles, sent_to, session_on, synced_since, unfit_span, whole_again,
};
use crate::harness::load::Manner;
use crate::harness::node::{DONOR, Observer, Start};
use crate::harness::{Conn, Galeway, Load, Node, Settings, cli, cluster, millis, ports, secs, until};

/// Looks often: a state transfer on loopback is short.
const OFTEN: &str = "interval = \"100ms\"";

#[test]
fn a_wiped_node_is_not_served_before_it_is_synced_nor_its_donor_while_another_is() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    // Something to transfer.
    n1.sql("CREATE DATABASE ballast");
    n1.sql("CREATE TABLE ballast.t (id INT PRIMARY KEY, b LONGTEXT)");
    n1.sql("INSERT INTO ballast.t SELECT seq, REPEAT(SHA2(seq, 512), 4000) FROM ballast.seq_1_to_10");
    let galeway = Galeway::before(&cluster, Settings { monitor: OFTEN, ..Settings::default() });
    let load = Load::with(galeway.addr(), Manner::CALM);
    load.wait_for(50);

    n3.stop();
    n3.wipe();
    galeway.wait_verdict("n3", "excluded", secs(5));
    let mut on_donor = [session_on(&galeway, "n1"), session_on(&galeway, "n2")];
    let observers = [n1, n2, n3].map(|n| n.observe(millis(20)));
    n3.rejoin();
    let donor = until(secs(30), "a donor that galeway keeps clients from", || {
        let excluded = |name: &&str| {
            galeway.node(name)["reason"].as_str().is_some_and(|reason| reason.starts_with("Donor/Desynced"))
        };
        ["n1", "n2"].into_iter().find(excluded)
    });
    let excluded = Instant::now();
    let report = whole_again(&cluster, &galeway, "n3", load);
    on_donor.iter_mut().for_each(assert_alive);
    let span = |i: usize, fit: fn(&crate::harness::node::State) -> bool| {
        unfit_span(&observers[i].samples(), |s| s.state.as_ref().is_some_and(fit)).unwrap()
    };
    let (began, last) = span(2, |s| s.synced());
    let early = sent_to(&report, &galeway, "n3").iter().filter(|s| (began..last).contains(&s.greeted)).count();
    assert_eq!(early, 0, "served before it was Synced");
    let (began, last) = span(usize::from(donor == "n2"), |s| s.local_state != DONOR);
    println!("SST: {donor} was the donor for {:?}, seen after {:?}", last - began, excluded - began);
    assert!(excluded < began + millis(100) + SLACK, "{:?}", excluded - began);
    assert_nobody_sent(&report, &galeway, donor, excluded, last);
    n1.sql("DROP DATABASE ballast");
}

/// Two that leave in the same moment may leave the last one without a quorum.
fn stop_one_after_the_other(last: &Node, others: [&Node; 2]) {
    for (node, left) in others.into_iter().zip([2, 1]) {
        node.stop();
        last.wait(secs(20), "Synced in a smaller component", |s| s.size == left && s.synced());
    }
}

#[test]
fn the_last_node_serves_on_as_a_donor_while_the_others_return() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let galeway = Galeway::before(
        &cluster,
        Settings { monitor: OFTEN, roles: &["any", "writer", "reader"], ..Settings::default() },
    );
    let mut on_it = session_on(&galeway, "n1");
    let load = Load::with(galeway.addr(), Manner::CALM);
    let roles = ["writer", "reader"].map(|role| Load::with(galeway.service(role), Manner::FEW));
    load.wait_for(50);

    stop_one_after_the_other(n1, [n3, n2]);
    let alone = Instant::now();
    // What n3 will have missed: it needs a donor too, and the only one is busy with n2.
    n1.sql("CREATE DATABASE missed");
    n1.sql("DROP DATABASE missed");
    n2.wipe();
    n2.rejoin();
    let observers = [n2, n3].map(|n| n.observe(millis(20)));
    let seen = galeway.wait_verdict("n1", "last-resort", secs(30));
    assert_eq!(seen["reason"], "Donor/Desynced, last resort: no node is Synced");
    let donor = Instant::now();
    n3.rejoin();
    assert_eq!(galeway.get("/readyz").0, 200);
    load.wait_for(30);
    assert_alive(&mut on_it);
    cluster.wait_whole();
    for name in ["n1", "n2", "n3"] {
        galeway.wait_verdict(name, "eligible", secs(20));
    }
    let back = Instant::now();
    load.wait_for(50);

    let report = load.stop();
    for report in roles.map(Load::stop) {
        assert_no_failed_connect(&report);
        assert_at_most_one_broken_each(&report);
    }
    assert_no_failed_connect(&report);
    assert_at_most_one_broken_each(&report);
    assert_alive(&mut on_it);
    assert!(report.by_node_since(back).into_keys().eq(["n1", "n2", "n3"]), "{:?}", report.by_node_since(back));
    let unsynced = |o: &Observer| {
        let samples = o.samples().into_iter();
        samples.take_while(|s| !s.state.as_ref().is_some_and(|s| s.synced())).last().unwrap().asked
    };
    let first_back = observers.iter().map(unsynced).min().unwrap();
    let meanwhile = report.iterations.iter().filter(|i| i.start >= alone && i.start + i.took < first_back);
    let (mut served, mut by_donor) = (0, 0);
    for iteration in meanwhile {
        assert!(iteration.outcome.as_ref().is_ok_and(|node| node == "n1"), "{iteration:?}");
        served += 1;
        by_donor += usize::from(iteration.start >= donor);
    }
    let span = first_back - donor;
    println!("the last node served {served} clients before another was Synced, {by_donor} in {span:?} as a donor");
    assert!(by_donor >= 30, "{by_donor} clients in {span:?}");
}

#[test]
fn service_recovers_by_itself_after_all_three_nodes_were_stopped() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let galeway = Galeway::before(&cluster, Settings { service: TOLD_SOON, ..roles() });
    let load = Both::start(&galeway);
    load.wait_for(30);
    stop_one_after_the_other(n1, [n3, n2]);
    n1.stop();
    let refused = until(secs(20), "every node is known to be gone", || {
        let e = Conn::app(galeway.addr(), secs(20)).unwrap_err();
        assert_eq!(e.error.code(), Some(1047), "{e}");
        let text = e.to_string();
        ["n1", "n2", "n3"]
            .iter()
            .all(|n| text.contains(&format!("{n}: unreachable (connection refused)")))
            .then_some(text)
    });
    println!("all nodes stopped: {refused}");
    assert_eq!(galeway.get("/readyz").0, 503);
    assert_eq!(galeway.status()["clusters"][0]["verdict"], "unknown");

    let told = Instant::now();
    load.wait_for(20);
    let observers = [n1.observe(millis(10))];
    let bootstrapped = Instant::now();
    n1.start(Start::Bootstrap(None));
    galeway.wait_ready();
    load.wait_for(60);
    let reports = load.stop();
    reports.assert_refused(told, bootstrapped, "n1: unreachable (connection refused)");
    let served = reports.served_after(synced_since(&observers, bootstrapped));
    println!("all nodes stopped: served again {served:?} after Synced, at most {RECOVERY:?}");
    assert!(served < RECOVERY + SLACK, "{served:?}");
    assert!(reports.writers.iterations.last().unwrap().outcome.as_ref().is_ok_and(|node| node == "n1"));
}

/// Three nodes on whose ports nobody listens: what people's clients show.
fn nobody() -> (Galeway, Vec<(String, SocketAddr)>) {
    let node = |i: u16| (format!("db{i}"), SocketAddr::from(([127, 0, 0, 1], ports::free())));
    let nodes: Vec<_> = (1..=3).map(node).collect();
    let galeway = Galeway::spawn(&nodes, Settings { service: "queue_timeout = \"1s\"", ..Settings::default() });
    until(secs(20), "galeway accepts", || galeway.log().contains("\"accepting\"").then_some(()));
    (galeway, nodes)
}

const NOBODY: &str = "galeway: no node of cluster \"main\" can serve role any: \
    db1: unreachable (connection refused); db2: unreachable (connection refused); db3: unreachable (connection refused)";

#[test]
fn the_mariadb_client_without_tls_is_told_1047_every_node_and_why() {
    let (galeway, _) = nobody();
    let seen = cli::mariadb(galeway.addr(), &["--skip-ssl"], "SELECT 1");
    assert_eq!(seen.code, Some(1), "{seen:?}");
    assert_eq!(seen.stderr.trim(), format!("ERROR 1047 (08S01): {NOBODY}"), "{seen:?}");
}

#[test]
fn pymysql_is_told_1047_every_node_and_why() {
    let (galeway, _) = nobody();
    let seen = cli::pymysql(galeway.addr(), "SELECT 1");
    let said: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!((seen.code, &said["code"]), (Some(1), &1047.into()), "{seen:?}");
    assert_eq!(said["message"], NOBODY);
}

/// By default it wants TLS and takes an ERR packet before it for a possible fraud: the same text, wrapped in 2002.
#[test]
fn the_mariadb_client_by_its_defaults_is_told_the_same_within_an_error_2002() {
    let (galeway, _) = nobody();
    let seen = cli::mariadb(galeway.addr(), &[], "SELECT 1");
    assert_eq!(seen.code, Some(1), "{seen:?}");
    assert!(seen.stderr.starts_with("ERROR 2002 (HY000): "), "{seen:?}");
    assert!(seen.stderr.contains(&format!("1047 - {NOBODY}")), "{seen:?}");
}
