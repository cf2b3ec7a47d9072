//! The writer moves when its node cannot write any more, and comes back as `failback` says. Nobody is refused meanwhile.

use std::time::{Duration, Instant};

use super::{Both, INTERVAL, ROUND, Reports, SLACK, assert_alive, roles, session_of};
use crate::harness::{Cluster, Conn, Galeway, Settings, cluster, millis, secs};

/// Who wrote from here on: a name each.
fn writers_since(reports: &Reports, from: Instant) -> Vec<String> {
    reports.writers.by_node_since(from).into_keys().map(str::to_owned).collect()
}

/// The session of a writer service on a node that lost the role ends, by Galeway or with its node.
#[track_caller]
fn assert_ends(conn: &mut Conn, since: Instant) {
    assert!(conn.ends_within(secs(5)), "a session stays on a node that is not the writer any more");
    println!("the writer's session ended after {:?}", since.elapsed());
}

#[test]
fn the_writer_moves_from_a_killed_node_and_no_connect_fails() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let galeway = Galeway::before(&cluster, roles());
    galeway.wait_writer("n1", secs(5));
    let (mut writes, mut reads) =
        (session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n2"));
    let load = Both::start(&galeway);
    load.wait_for(30);

    let killed = Instant::now();
    cluster.nodes[0].kill();
    assert_ends(&mut writes, killed);
    galeway.wait_writer("n2", ROUND + SLACK);
    let moved = Instant::now();
    println!("kill -9 of the writer's node: another writer after {:?}", moved - killed);
    // Commits wait until the others have given the node up, which is Galera's own 5 s: reads do not.
    load.readers.wait_for(30);
    load.writers.wait_for(30);
    let reports = load.stop();
    reports.assert_no_failed_connect();
    reports.assert_nobody_sent(&galeway, "n1", moved, Instant::now());
    assert_eq!(writers_since(&reports, moved), ["n2"]);
    assert_alive(&mut reads);
}

#[test]
fn the_writer_moves_from_a_stopped_node_and_stays_where_it_is_when_that_returns() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let galeway = Galeway::before(&cluster, roles());
    galeway.wait_writer("n1", secs(5));
    let mut writes = session_of(galeway.service("writer"), "n1");
    let load = Both::start(&galeway);
    load.wait_for(30);

    let stopped = Instant::now();
    cluster.nodes[0].stop();
    assert_ends(&mut writes, stopped);
    galeway.wait_writer("n2", ROUND + SLACK);
    let moved = Instant::now();
    load.wait_for(30);
    let mut writes = session_of(galeway.service("writer"), "n2");
    let observer = cluster.nodes[0].observe(millis(10));
    cluster.nodes[0].rejoin();
    cluster.wait_whole();
    galeway.wait_verdict("n1", "eligible", secs(20));
    let back = Instant::now();
    load.wait_for(60);
    let reports = load.stop();
    reports.assert_no_failed_connect();
    let synced = observer.first(|s| s.synced()).expect("Synced again").asked;
    reports.assert_nobody_sent(&galeway, "n1", moved, synced);
    assert_eq!(writers_since(&reports, moved), ["n2"], "failback = \"never\"");
    assert!(reports.readers.by_node_since(back).contains_key("n1"), "a reader as good as any");
    assert_alive(&mut writes);
    assert_eq!(galeway.cluster()["writer"], "n2");
    Both::clear(&cluster);
}

/// The preferred writer rejects queries and takes them again. When the writer was back there after that, if it was.
fn a_veto_of_the_preferred_writer(cluster: &Cluster, failback: &str, watched: Duration) -> Option<Duration> {
    Both::prepare(cluster);
    let writer = format!("failback = \"{failback}\"");
    let galeway = Galeway::before(cluster, Settings { writer: &writer, ..roles() });
    galeway.wait_writer("n1", secs(5));
    let load = Both::start(&galeway);
    load.wait_for(30);
    let veto = cluster.nodes[0].set("wsrep_reject_queries", "'ALL'");
    galeway.wait_writer("n2", ROUND + SLACK);
    let moved = Instant::now();
    let mut writes = session_of(galeway.service("writer"), "n2");
    load.wait_for(30);
    drop(veto);
    let lifted = Instant::now();
    let mut back = None;
    while back.is_none() && lifted.elapsed() < watched {
        back = (galeway.cluster()["writer"] == "n1").then(|| lifted.elapsed());
        std::thread::sleep(millis(5));
    }
    if back.is_some() {
        assert_ends(&mut writes, lifted);
    } else {
        assert_alive(&mut writes);
    }
    let settled = Instant::now();
    load.wait_for(30);
    let reports = load.stop();
    reports.assert_no_failed_connect();
    // Who was sent there just before the move is none of this.
    reports.assert_nobody_sent(&galeway, "n1", moved, lifted);
    assert_eq!(writers_since(&reports, settled), [if back.is_some() { "n1" } else { "n2" }]);
    Both::clear(cluster);
    println!("failback = {failback}: the writer was back after {back:?}");
    back
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_preferred_writer_does_not_come_back_by_itself() {
    let back = a_veto_of_the_preferred_writer(&cluster(), "never", secs(3));
    assert_eq!(back, None);
}

#[test]
fn a_preferred_writer_comes_back_at_once_where_failback_is_immediate() {
    // Two good checks in a row, as `rise` says.
    let back = a_veto_of_the_preferred_writer(&cluster(), "immediate", secs(10)).expect("it comes back");
    assert!(back < 2 * INTERVAL + ROUND + SLACK, "{back:?}");
}

#[test]
fn a_preferred_writer_comes_back_after_the_time_of_stability_that_failback_says() {
    let back = a_veto_of_the_preferred_writer(&cluster(), "3s", secs(15)).expect("it comes back");
    assert!(back >= secs(3) && back < secs(3) + 2 * INTERVAL + ROUND + SLACK, "{back:?}");
}

#[test]
fn the_writer_moves_from_a_donor_and_its_sessions_there_end_while_a_readers_stays() {
    let cluster = cluster();
    let settings = Settings { reader: "reader_includes_writer = \"always\"", ..roles() };
    let galeway = Galeway::before(&cluster, settings);
    galeway.wait_writer("n1", secs(5));
    let mut writes = session_of(galeway.service("writer"), "n1");
    let mut reads = session_of(galeway.service("reader"), "n1");
    let began = Instant::now();
    cluster.nodes[0].desync();
    galeway.wait_writer("n2", ROUND + SLACK);
    assert_ends(&mut writes, began);
    assert_alive(&mut reads);
    cluster.nodes[0].resync();
    cluster.wait_whole();
}
