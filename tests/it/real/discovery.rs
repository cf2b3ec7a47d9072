//! `discover = "galera"`: one node is configured, the others are found by what the members say.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{SLACK, assert_no_failed_connect, entry, session_on};
use crate::harness::load::Manner;
use crate::harness::{Cluster, Galeway, Load, Node, Options, Settings, cluster, cluster_of, millis, secs, until};

/// Time between two looks at the lists.
const LOOK: Duration = millis(400);
/// What nobody names and what does not answer is forgotten after this.
const PATIENCE: Duration = secs(6);

/// In front of the first node alone.
fn galeway(cluster: &Cluster, more: &str) -> Galeway {
    let seed = &cluster.nodes[0];
    let lines = format!("discover = \"galera\"\ndiscover_interval = \"{}ms\"\n{more}", LOOK.as_millis());
    let settings = Settings { cluster: &lines, monitor: "interval = \"100ms\"", ..Settings::default() };
    let galeway = Galeway::spawn(&[(seed.name.clone(), seed.addr())], settings);
    galeway.wait_ready();
    galeway
}

/// The name of a node that was discovered.
fn named(node: &Node) -> String {
    node.addr().to_string()
}

/// The seed, and then those that were found: sorted, since the server lists its members in the order of their UUIDs.
fn names(cluster: &Value) -> Vec<String> {
    let nodes = cluster["nodes"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = nodes.iter().map(|n| n["name"].as_str().unwrap_or_default().to_owned()).collect();
    names[1..].sort_unstable();
    names
}

/// What [`names`] says where these two were found.
fn both(second: &str, third: &str) -> [String; 3] {
    let mut found = [second, third];
    found.sort_unstable();
    ["n1", found[0], found[1]].map(ToOwned::to_owned)
}

#[track_caller]
fn wait_node(galeway: &Galeway, name: &str, verdict: &str, limit: Duration) -> Value {
    let what = format!("{name} {verdict}");
    let seen = galeway.wait_cluster(limit, &what, |c| entry(c, name)["verdict"] == verdict);
    entry(&seen, name).clone()
}

#[track_caller]
fn wait_forgotten(galeway: &Galeway, name: &str, limit: Duration) {
    galeway.wait_cluster(limit, &format!("without {name}"), |c| entry(c, name).is_null());
}

#[test]
fn the_other_members_are_found_checked_and_forgotten_and_the_seed_stays() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let (second, third) = (named(n2), named(n3));
    // One that may not serve is found all the same, and gets nobody.
    let veto = n3.set("wsrep_reject_queries", "'ALL'");
    let galeway = galeway(&cluster, "");
    wait_node(&galeway, &second, "eligible", secs(10));
    let seen = wait_node(&galeway, &third, "excluded", secs(10));
    assert_eq!(seen["reason"], "wsrep_reject_queries=ALL");
    assert_eq!(seen["address"], third.as_str());
    assert_eq!(names(&galeway.cluster()), both(&second, &third), "the seed by its own name");
    assert_eq!(galeway.cluster()["writer"], "n1");
    let load = Load::with(galeway.addr(), Manner::CALM);
    load.wait_for(60);
    assert_eq!(galeway.node(&third)["connections"]["total"], 0, "it was checked before it got anybody");
    let lifted = Instant::now();
    drop(veto);
    wait_node(&galeway, &third, "eligible", secs(5));
    load.wait_for(60);

    // One that was found is killed: out at once, and known until nobody names it.
    n3.kill();
    let killed = Instant::now();
    let seen = wait_node(&galeway, &third, "excluded", secs(5));
    println!("discovery: out after {:?}: {}", killed.elapsed(), seen["reason"]);
    assert!(killed.elapsed() < secs(1) + SLACK, "{:?}", killed.elapsed());
    assert!(galeway.get("/metrics").1.contains(&third));
    until(secs(30), "the others drop it", || n2.state().ok().filter(|s| s.size == 2 && s.synced()));
    let dropped = Instant::now();
    wait_forgotten(&galeway, &third, PATIENCE + secs(10));
    println!("discovery: dropped by Galera after {:?}, forgotten {:?} later", dropped - killed, dropped.elapsed());
    assert!(killed.elapsed() > PATIENCE, "{:?}", killed.elapsed());
    assert!(dropped.elapsed() > PATIENCE - SLACK, "sooner than it may: {:?}", dropped.elapsed());
    assert!(dropped.elapsed() < PATIENCE + 2 * LOOK + SLACK, "{:?}", dropped.elapsed());
    let metrics = galeway.get("/metrics").1;
    let left: Vec<&str> = metrics.lines().filter(|l| l.contains(&third)).collect();
    assert!(left.is_empty(), "series of a node that is forgotten: {left:?}");
    assert!(metrics.contains(&second));

    // It returns, and is a node like any other.
    n3.rejoin();
    cluster.wait_whole();
    wait_node(&galeway, &third, "eligible", secs(10));
    let back = Instant::now();
    load.wait_for(60);
    let report = load.stop();
    assert_no_failed_connect(&report);
    assert!(report.by_node_since(lifted).contains_key("n3"));
    let nodes = report.by_node_since(back);
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), ["n1", "n2", "n3"], "{nodes:?}");

    // The seed is killed: it stays listed, and the others go on.
    let load = Load::with(galeway.addr(), Manner::CALM);
    load.wait_for(20);
    n1.kill();
    wait_node(&galeway, "n1", "excluded", secs(5));
    let out = Instant::now();
    until(secs(30), "the others drop it", || n2.state().ok().filter(|s| s.size == 2 && s.synced()));
    while out.elapsed() < PATIENCE + 4 * LOOK {
        load.wait_for(20);
        assert_eq!(names(&galeway.cluster()), both(&second, &third));
    }
    let report = load.stop();
    assert_no_failed_connect(&report);
    let nodes = report.by_node_since(out);
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), ["n2", "n3"], "{nodes:?}");

    // Everybody falls silent, as where our own network fails: nobody is left who could name them, and all stay with their
    // sessions.
    let mut session = session_on(&galeway, "n3");
    n2.freeze();
    n3.freeze();
    wait_node(&galeway, &third, "excluded", secs(10));
    let silent = Instant::now();
    while silent.elapsed() < PATIENCE + 4 * LOOK {
        assert_eq!(names(&galeway.cluster()), both(&second, &third));
        std::thread::sleep(millis(50));
    }
    assert!(!session.ends_within(millis(100)), "a session ended for a silence that may be our own");
}

#[test]
fn what_an_operator_wished_of_a_node_that_was_found_outlives_a_restart() {
    let cluster = cluster();
    let (second, third) = (named(&cluster.nodes[1]), named(&cluster.nodes[2]));
    let mut galeway = galeway(&cluster, "");
    for name in [&second, &third] {
        wait_node(&galeway, name, "eligible", secs(10));
    }
    galeway.set_node(&second, "drain");
    // The writer goes to one that was found, and stays there.
    galeway.set_node("n1", "drain");
    galeway.wait_writer(&third, secs(5));
    galeway.set_node("n1", "ready");
    galeway.stop();
    galeway.start_again();
    until(secs(10), "it listens again", || galeway.try_get("/healthz"));
    // A node that was found is remembered by its name in the group, which its first check tells: until then it serves nobody.
    let is_back = |c: &serde_json::Value| {
        names(c).len() == 3 && !c["writer"].is_null() && entry(c, &second)["admin_state"] == "drain"
    };
    let seen = galeway.wait_cluster(secs(10), "whole, and drained as before", is_back);
    assert_eq!(entry(&seen, "n1")["admin_state"], "ready", "{seen}");
    assert_eq!(seen["writer"], third.as_str());
    galeway.wait_ready();
    let load = Load::with(galeway.addr(), Manner::FEW);
    load.wait_for(30);
    let report = load.stop();
    let nodes = report.by_node_since(Instant::now() - secs(30));
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), ["n1", "n3"], "{nodes:?}");
    // Taken back, it is remembered as well.
    galeway.set_node(&second, "ready");
    wait_node(&galeway, &second, "eligible", secs(5));
    galeway.stop();
    galeway.start_again();
    until(secs(10), "it listens again", || galeway.try_get("/healthz"));
    let seen = galeway.wait_cluster(secs(10), "whole", |c| names(c).len() == 3 && !c["writer"].is_null());
    assert_eq!(entry(&seen, &second)["admin_state"], "ready", "{seen}");
}

#[test]
fn a_member_outside_discover_allow_is_never_contacted() {
    let cluster = cluster_of(Options { elsewhere: true, ..Options::default() });
    // It tells the others that it is here, where we listen in its place.
    let listener = TcpListener::bind(cluster.elsewhere()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere: SocketAddr = cluster.elsewhere();
    let lists = cluster.nodes[0].state().unwrap().incoming_addresses;
    assert!(lists.contains(&elsewhere.to_string()), "{lists}");
    let galeway = galeway(&cluster, "discover_allow = [\"127.0.0.1\"]");
    let second = named(&cluster.nodes[1]);
    wait_node(&galeway, &second, "eligible", secs(10));
    let told = || galeway.log().lines().filter(|l| l.contains("outside discover_allow")).count();
    until(secs(10), "a warning", || (told() > 0).then_some(()));
    std::thread::sleep(4 * LOOK);
    assert_eq!(told(), 1, "once a minute");
    assert!(galeway.log().lines().any(|l| l.contains("outside discover_allow") && l.contains(&elsewhere.to_string())));
    assert_eq!(names(&galeway.cluster()), ["n1", second.as_str()]);
    assert!(listener.accept().is_err(), "somebody came");
    drop(galeway);
    // The same without the limit: it would have come.
    let galeway = self::galeway(&cluster, "");
    until(secs(10), "somebody comes", || listener.accept().ok());
    drop(galeway);
}
