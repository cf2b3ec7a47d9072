//! The seven ways in which a Galera cluster is lost and recovered, with clients of a writer and of a reader service:
//!
//! | | what | where |
//! |---|---|---|
//! | 1 | one node is stopped and returns | `writer` (the worst one: the writer's), `membership` |
//! | 2 | two of three are stopped, the last is a donor when they return | `membership` |
//! | 3 | all are stopped, one is bootstrapped | `membership` |
//! | 4 | one node crashes | `writer`, `faults` |
//! | 5 | two of three vanish, the third is bootstrapped | here |
//! | 6 | all crash; restore themselves, or are recovered by hand | here |
//! | 7 | an even split: no side has a quorum | here |

use std::time::Instant;

use super::{Both, RECOVERY, Reports, SLACK, TOLD_SOON, Watch, assert_alive, entry, roles, session_of, synced_since};
use crate::harness::node::Start;
use crate::harness::{Cluster, Galeway, Options, Settings, cluster, cluster_of, millis, secs};

fn galeway(cluster: &Cluster) -> Galeway {
    let galeway = Galeway::before(cluster, Settings { service: TOLD_SOON, ..roles() });
    galeway.wait_writer("n1", secs(5));
    galeway
}

/// Clients were served again by themselves, soon after a node had said that it is Synced.
#[track_caller]
fn assert_recovered(reports: &Reports, synced: Instant) {
    let served = reports.served_after(synced);
    println!("served again {served:?} after Synced, at most {RECOVERY:?}");
    assert!(served < RECOVERY + SLACK, "{served:?}");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn the_last_of_three_gets_nobody_while_it_is_non_primary_and_everybody_once_bootstrapped() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let galeway = galeway(&cluster);
    let mut on_it = session_of(galeway.service("writer"), "n1");
    let load = Both::start(&galeway);
    load.wait_for(30);
    let observers = [n1.observe(millis(10))];

    n2.kill();
    n3.kill();
    observers[0].wait_first(secs(20), "non-Primary", |s| !s.primary());
    galeway.wait_cluster(secs(5), "without a Primary component", |c| c["verdict"] == "no-primary");
    let told = Instant::now();
    assert!(on_it.ends_within(secs(5)), "a session stays on a node that is not Primary");
    let attempts = galeway.attempts("n1");
    load.wait_for(20);
    assert_eq!(galeway.get("/readyz").0, 503);
    assert_eq!(galeway.attempts("n1"), attempts, "connections were opened to a non-Primary node");
    // Its operator has made sure that the others are really down: their processes are gone.
    assert!(!n2.running() && !n3.running());
    let bootstrapped = Instant::now();
    n1.bootstrap();
    n1.wait_synced(1);
    load.wait_for(60);
    let reports = load.stop();
    reports.assert_refused(told, bootstrapped, "n1: non-Primary; n2: unreachable");
    reports.assert_nobody_sent_there(&galeway, "n1", told, bootstrapped);
    assert_recovered(&reports, synced_since(&observers, bootstrapped));
    assert_eq!(galeway.cluster()["verdict"], "primary");
    assert_eq!(galeway.metric("galeway_cluster_split_brain", &[]), 0.0);
}

/// All crash under load; clients are told so, since when.
#[track_caller]
fn crash_all(cluster: &Cluster, galeway: &Galeway) -> (Both, Instant) {
    let load = Both::start(galeway);
    load.wait_for(30);
    for node in &cluster.nodes {
        node.kill();
    }
    galeway.wait_cluster(secs(10), "unknown", |c| {
        c["verdict"] == "unknown" && cluster.nodes.iter().all(|n| entry(c, &n.name)["verdict"] == "excluded")
    });
    let told = Instant::now();
    load.wait_for(20);
    (load, told)
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_cluster_that_crashed_whole_is_served_again_once_it_has_restored_itself() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let galeway = galeway(&cluster);
    let history = cluster.nodes[0].state().unwrap().state_uuid;
    let (load, told) = crash_all(&cluster, &galeway);
    let restarted = Instant::now();
    for node in &cluster.nodes {
        node.start_recovered(Start::Join);
    }
    let observers: Vec<_> = cluster.nodes.iter().map(|n| n.observe(millis(10))).collect();
    cluster.wait_whole();
    for node in &cluster.nodes {
        galeway.wait_verdict(&node.name, "eligible", secs(20));
    }
    assert_eq!(cluster.nodes[0].state().unwrap().state_uuid, history);
    load.wait_for(60);
    let reports = load.stop();
    reports.assert_refused(told, restarted, "n1: unreachable (connection refused)");
    assert_recovered(&reports, synced_since(&observers, restarted));
    Both::clear(&cluster);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_cluster_that_crashed_whole_is_served_again_once_its_most_advanced_node_is_bootstrapped() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let galeway = galeway(&cluster);
    let history = cluster.nodes[0].state().unwrap().state_uuid;
    let (load, told) = crash_all(&cluster, &galeway);
    let positions: Vec<_> = cluster.nodes.iter().map(|n| n.recovered_position()).collect();
    println!("recovered positions: {positions:?}");
    assert!(positions.iter().all(|(uuid, _)| *uuid == history), "{positions:?}");
    let best = positions.iter().map(|(_, seqno)| *seqno).max().unwrap();
    let at = positions.iter().position(|(_, seqno)| *seqno == best).unwrap();
    let node = &cluster.nodes[at];
    node.allow_bootstrap();
    let restarted = Instant::now();
    let observers = [node.observe(millis(10))];
    node.start_recovered(Start::Bootstrap(None));
    node.wait_synced(1);
    for other in cluster.nodes.iter().filter(|n| n.name != node.name) {
        // With its position, as Debian's unit starts it: without, its state transfer may be refused.
        other.start_recovered(Start::Join);
    }
    cluster.wait_whole();
    load.wait_for(60);
    let reports = load.stop();
    reports.assert_refused(told, restarted, "n1: unreachable (connection refused)");
    assert_recovered(&reports, synced_since(&observers, restarted));
    galeway.wait_cluster(secs(20), "whole again", |c| {
        c["verdict"] == "primary" && cluster.nodes.iter().all(|n| entry(c, &n.name)["verdict"] == "eligible")
    });
    Both::clear(&cluster);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn neither_half_of_an_even_split_gets_anybody_until_one_is_bootstrapped() {
    let cluster = cluster_of(Options { nodes: 2, ..Options::default() });
    Both::prepare(&cluster);
    let [n1, n2] = &cluster.nodes[..] else { panic!("two nodes") };
    let galeway = galeway(&cluster);
    let load = Both::start(&galeway);
    load.wait_for(30);
    let watch = Watch::start(&galeway, millis(20));
    let observers = [n1.observe(millis(10))];

    n2.isolate();
    for node in [n1, n2] {
        node.wait(secs(20), "non-Primary", |s| !s.primary());
    }
    galeway.wait_cluster(secs(5), "without a Primary component", |c| {
        c["verdict"] == "no-primary" && ["n1", "n2"].iter().all(|n| entry(c, n)["reason"] == "non-Primary")
    });
    let told = Instant::now();
    let attempts = ["n1", "n2"].map(|n| galeway.attempts(n));
    load.wait_for(20);
    assert_eq!(["n1", "n2"].map(|n| galeway.attempts(n)), attempts, "connections were opened to a non-Primary node");
    let bootstrapped = Instant::now();
    n1.bootstrap();
    n1.wait_synced(1);
    load.wait_for(60);
    let alone = Instant::now();
    let mut session = session_of(galeway.service("writer"), "n1");
    n2.heal();
    cluster.wait_whole();
    galeway.wait_verdict("n2", "eligible", secs(20));
    let back = Instant::now();
    load.wait_for(60);
    let (samples, reports) = (watch.end(), load.stop());
    reports.assert_refused(told, bootstrapped, "n1: non-Primary; n2: non-Primary");
    assert_recovered(&reports, synced_since(&observers, bootstrapped));
    reports.assert_nobody_sent_there(&galeway, "n2", told, alone);
    assert!(samples.iter().all(|(_, c)| c["verdict"] != "split-brain"), "one side only was bootstrapped");
    assert!(reports.readers.by_node_since(back).contains_key("n2"));
    assert_alive(&mut session);
    galeway.wait_writer("n1", secs(5));
    Both::clear(&cluster);
}
