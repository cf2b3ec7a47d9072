//! A node that crashed is restarted by mistake as a cluster of its own, with the history of the others, which list its former
//! life for some seconds more.

use super::{Both, Watch, assert_alive, entry, roles, session_of};
use crate::harness::node::{Node, Start};
use crate::harness::{Cluster, Galeway, cluster, millis, secs, until};

/// `kill -9`, and up again as a new cluster with the position that it had, as a unit file or a container with its bootstrap
/// flag left on does it.
#[track_caller]
fn bootstrap_anew(node: &Node) {
    node.kill();
    node.allow_bootstrap();
    node.start_recovered(Start::Bootstrap(None));
    node.wait_synced(1);
}

/// Neither the others nor their sessions are touched, and the node gets no client.
#[track_caller]
fn touches_no_other(cluster: &Cluster, membership: &str) {
    Both::prepare(cluster);
    let [n1, _, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let galeway = Galeway::before(cluster, roles());
    galeway.wait_writer("n1", secs(5));
    assert_eq!(galeway.cluster()["membership"], membership, "{}", galeway.cluster());
    let mut sessions = [session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n2")];
    let load = Both::start(&galeway);
    load.wait_for(30);
    let watch = Watch::start(&galeway, millis(20));

    bootstrap_anew(n3);
    println!("n3 is a cluster of its own; n1 counts {}", n1.state().unwrap().size);
    let attempts = galeway.attempts("n3");
    // Galera makes one of two such clusters give up once they meet: how long n3 stays Primary by itself is not for us to say.
    until(secs(30), "n3 is out of the others' view", || (n1.state().ok()?.size == 2).then_some(()));
    load.wait_for(60);
    let samples = watch.end();
    let alone = |seen: &serde_json::Value| {
        let wsrep = &entry(seen, "n3")["wsrep"];
        wsrep["wsrep_cluster_size"] == "1" && wsrep["wsrep_cluster_status"] == "Primary"
    };
    assert!(samples.iter().any(|(_, seen)| alone(seen)), "n3 was never seen as a cluster of its own");
    let reports = load.stop();
    n3.kill();
    n3.wipe();
    n3.rejoin();
    cluster.wait_whole();

    reports.assert_no_failed_connect();
    sessions.iter_mut().for_each(assert_alive);
    assert_eq!(galeway.attempts("n3"), attempts, "clients were sent to the node's own cluster");
    for (_, seen) in &samples {
        assert_eq!(seen["writer"], "n1", "{seen}");
        for name in ["n1", "n2"] {
            assert_eq!(entry(seen, name)["verdict"], "eligible", "{seen}");
        }
    }
    assert!(samples.len() > 100, "{}", samples.len());
    galeway.wait_verdict("n3", "eligible", secs(20));
    Both::clear(cluster);
}

#[test]
fn with_the_same_history_touches_no_session_of_the_majority() {
    touches_no_other(&cluster(), "uuid");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn with_the_same_history_touches_no_session_of_the_majority_by_addresses() {
    let cluster = cluster();
    let _revoked = cluster.revoke_members();
    touches_no_other(&cluster, "addresses");
}
