//! The writer moves when its node cannot write any more, and comes back as `failback` says. Nobody is refused meanwhile.

use std::time::{Duration, Instant};

use super::{Both, INTERVAL, ROUND, Reports, SLACK, assert_alive, roles, session_of};
use crate::harness::node::{DONOR, Start};
use crate::harness::{Cluster, Conn, Galeway, Settings, cluster, millis, secs, until};

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
fn the_writer_moves_from_a_donor_after_its_grace_and_its_sessions_there_end_while_a_readers_stays() {
    let cluster = cluster();
    let settings =
        Settings { reader: "reader_includes_writer = \"always\"", writer: "donor_grace = \"3s\"", ..roles() };
    let galeway = Galeway::before(&cluster, settings);
    galeway.wait_writer("n1", secs(5));
    let mut writes = session_of(galeway.service("writer"), "n1");
    let mut reads = session_of(galeway.service("reader"), "n1");
    cluster.nodes[0].desync();
    let told = "Donor/Desynced, keeps the writer role for up to 3 s (donor_grace)";
    until(ROUND + SLACK, "the donor keeps the role", || (galeway.node("n1")["reason"] == told).then_some(()));
    let began = Instant::now();
    assert_eq!(galeway.node("n1")["verdict"], "excluded", "for readers");
    assert_alive(&mut session_of(galeway.service("writer"), "n1"));
    assert_alive(&mut writes);
    galeway.wait_writer("n2", secs(3) + SLACK);
    println!("the writer moved from the donor {:?} after its grace was seen to begin", began.elapsed());
    assert_ends(&mut writes, Instant::now());
    assert_alive(&mut reads);
    cluster.nodes[0].resync();
    cluster.wait_whole();
}

/// Galera picks a donor for each node that rejoins, and it may be the writer.
#[test]
fn a_node_that_rejoins_by_an_incremental_transfer_from_the_writer_costs_no_session_of_it() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let galeway = Galeway::before(&cluster, roles());
    galeway.wait_writer("n1", secs(5));
    let mut writes = session_of(galeway.service("writer"), "n1");
    let load = Both::start(&galeway);
    for round in 1..=2 {
        cluster.nodes[2].stop();
        // What the node has to be sent.
        load.wait_for(30);
        let observer = cluster.nodes[0].observe(millis(2));
        cluster.nodes[2].start_with(Start::Join, &["--wsrep-sst-donor=n1"]);
        cluster.wait_whole();
        let donor = observer.first(|s| s.local_state == DONOR);
        assert!(donor.is_some(), "round {round}: n1 was no donor, this showed nothing");
        assert_alive(&mut writes);
        load.wait_for(10);
    }
    let reports = load.stop();
    reports.assert_no_failed_connect();
    let writers: Vec<_> = reports.writers.iterations.iter().filter_map(|i| i.outcome.as_ref().ok()).collect();
    assert!(writers.iter().all(|node| *node == "n1"), "the writer moved");
    assert_eq!(galeway.cluster()["writer"], "n1");
    assert!(!galeway.log().contains("writer changed"), "{}", galeway.log());
    cluster.nodes[2].sql("SET GLOBAL wsrep_sst_donor = ''");
    Both::clear(&cluster);
}

#[test]
fn a_drained_writer_gives_the_role_away_at_once_and_its_sessions_may_finish() {
    let cluster = cluster();
    let settings = Settings { sessions: "drain_timeout = \"3s\"", ..roles() };
    let galeway = Galeway::before(&cluster, settings);
    galeway.wait_writer("n1", secs(5));
    let mut writes = session_of(galeway.service("writer"), "n1");
    let drained = Instant::now();
    galeway.set_node("n1", "drain");
    galeway.wait_writer("n2", SLACK);
    assert_alive(&mut session_of(galeway.service("writer"), "n2"));
    assert_alive(&mut writes);
    assert!(writes.ends_within(secs(3) + SLACK), "what is left ends after drain_timeout");
    assert!(drained.elapsed() >= secs(3), "{:?}", drained.elapsed());
}
