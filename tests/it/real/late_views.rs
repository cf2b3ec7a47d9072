//! A healthy node that tells an old view: its provider is paused by a backup's lock while others leave or join. Without the
//! members' grant and with `AUTO` addresses only sizes and indexes tell, and they contradict each other for all that time.

use std::time::Duration;

use super::{Watch, assert_alive, roles, session_of};
use crate::harness::{Cluster, Galeway, Options, cluster_of, millis, secs};

/// Shared with the tests of `split_brain`.
const AUTO: Options = Options { auto: true, notify: true, ..Options::USUAL };

/// FLUSH TABLES WITH READ LOCK on n2 while something happens to n3, and for this long after it.
#[track_caller]
fn raises_no_alarm(cluster: &Cluster, hold: Duration, happens: impl FnOnce()) {
    let n2 = &cluster.nodes[1];
    let galeway = Galeway::before(cluster, roles());
    galeway.wait_writer("n1", secs(5));
    assert_eq!(galeway.cluster()["membership"], "weak", "{}", galeway.cluster());
    let mut sessions = [session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n2")];
    let watch = Watch::start(&galeway, millis(50));
    let old = n2.state().unwrap();
    let mut lock = n2.root().unwrap();
    lock.query("FLUSH TABLES WITH READ LOCK").unwrap();
    happens();
    std::thread::sleep(hold);
    let held = n2.state().unwrap();
    assert!(held.primary() && held.conf_id == old.conf_id, "the fault of this test: {held:?}");
    lock.query("UNLOCK TABLES").unwrap();
    let samples = watch.end();

    sessions.iter_mut().for_each(assert_alive);
    for name in ["n1", "n2"] {
        assert_eq!(galeway.metric("galeway_sessions_killed_total", &[("node", name)]), 0.0, "{name}");
    }
    for (_, seen) in &samples {
        assert_eq!((&seen["verdict"], &seen["writer"]), (&"primary".into(), &"n1".into()), "{seen}");
    }
    assert!(!galeway.log().contains("SPLIT BRAIN"), "{}", galeway.log());
    galeway.wait_verdict("n2", "eligible", secs(20));
}

#[test]
fn a_node_under_a_backups_lock_keeps_its_sessions_while_another_joins() {
    let cluster = cluster_of(AUTO);
    let _revoked = cluster.revoke_members();
    let n3 = &cluster.nodes[2];
    n3.stop();
    cluster.nodes[0].wait_synced(2);
    cluster.nodes[1].wait_synced(2);
    raises_no_alarm(&cluster, secs(6), || {
        n3.rejoin();
        n3.wait_synced(3);
    });
    cluster.wait_whole();
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_node_under_a_backups_lock_keeps_its_sessions_while_another_is_away() {
    let cluster = cluster_of(AUTO);
    let _revoked = cluster.revoke_members();
    let n3 = &cluster.nodes[2];
    raises_no_alarm(&cluster, secs(40), || n3.stop());
    n3.rejoin();
    cluster.wait_whole();
}
