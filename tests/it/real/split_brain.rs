//! Two Primary components at once, by the book: isolate a node, bootstrap it, write on both sides. At most one is served.

use std::time::Instant;

use serde_json::Value;

use super::{Both, ROUND, SLACK, Watch, assert_alive, entry, roles, session_of};
use crate::harness::client::{Error, Failure};
use crate::harness::process::Signal;
use crate::harness::{
    Arbitrator, Cluster, Conn, Galeway, Options, Settings, cluster, cluster_of, millis, secs, split_brain, until,
};

/// Addresses as most people leave them; shared with the tests of `notify`.
const AUTO: Options = Options { auto: true, notify: true, ..Options::USUAL };

/// Two rounds tell it, and each may need a check of every node.
const TOLD: std::time::Duration = ROUND.saturating_mul(2).saturating_add(SLACK);

/// A whole split brain: n3 is cut off and bootstrapped, fenced, wiped and taken back. `membership` is what Galeway can
/// judge by.
#[track_caller]
fn is_lived_through(cluster: &Cluster, membership: &str) {
    Both::prepare(cluster);
    let n3 = &cluster.nodes[2];
    let galeway = Galeway::before(cluster, roles());
    galeway.wait_writer("n1", secs(5));
    assert_eq!(galeway.cluster()["membership"], membership, "{}", galeway.cluster());
    let mut fenced = session_of(galeway.service("reader"), "n3");
    let mut elsewhere = [session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n2")];
    let load = Both::start(&galeway);
    load.wait_for(30);
    let watch = Watch::start(&galeway, millis(20));

    let split = split_brain(cluster, n3);
    let began = Instant::now();
    // What sizes alone tell has to last.
    let limit = if membership == "weak" { TOLD + secs(20) } else { TOLD };
    let seen = galeway.wait_cluster(limit, "a split brain", |c| c["verdict"] == "split-brain");
    let told = Instant::now();
    println!("{membership}: a split brain told after {:?}: {}", told - began, entry(&seen, "n3")["reason"]);
    println!("components: {}, membership {}", seen["components"], seen["membership"]);
    assert_eq!(galeway.metric("galeway_cluster_split_brain", &[("cluster", "main")]), 1.0);
    assert_eq!(entry(&seen, "n3")["verdict"], "excluded", "{seen}");
    assert!(fenced.ends_within(secs(5)), "a session stays on the fenced side");
    let attempts = galeway.attempts("n3");
    load.wait_for(60);
    // It goes on by itself: what the fenced side says stays as good as before.
    std::thread::sleep(secs(2));
    assert!(n3.state().unwrap().synced());
    let seen = galeway.cluster();
    assert_eq!((&seen["verdict"], &seen["writer"]), (&"split-brain".into(), &"n1".into()), "{seen}");
    for name in ["n1", "n2"] {
        assert_eq!(entry(&seen, name)["verdict"], "eligible", "{seen}");
    }
    assert_eq!(galeway.attempts("n3"), attempts, "connections were opened to the fenced side");
    elsewhere.iter_mut().for_each(assert_alive);
    let healed = Instant::now();
    split.heal();
    let seen = galeway.wait_cluster(secs(20), "whole again", |c| {
        c["verdict"] == "primary" && entry(c, "n3")["verdict"] == "eligible"
    });
    assert_eq!(galeway.metric("galeway_cluster_split_brain", &[("cluster", "main")]), 0.0, "{seen}");
    let back = Instant::now();
    load.wait_for(60);
    let samples = watch.end();
    let reports = load.stop();

    reports.assert_no_failed_connect();
    // From the first word of it, which was that n3 is non-Primary, or that it is not of the served view. Sizes alone are believed
    // after two rounds of checks, and until then it is met as the whole node that it says it is (docs/cluster.md).
    let is_out = |c: &Value| entry(c, "n3")["verdict"] == "excluded";
    let last_in = samples.iter().rfind(|(at, c)| *at < told && !is_out(c)).expect("it served before").0;
    println!("n3 was last eligible {:?} after it was bootstrapped", last_in.saturating_duration_since(began));
    assert!(last_in < began + TOLD, "{:?}", last_in - began);
    let counts = |at: &Instant| membership != "weak" || *at > last_in;
    let excluded = samples.iter().find(|(at, c)| counts(at) && is_out(c)).expect("excluded").0;
    reports.assert_nobody_sent(&galeway, "n3", excluded, healed);
    // Healing may make any of the others a donor, which then writes no more.
    let during = reports.writers.iterations.iter().filter(|i| i.start >= began && i.start < healed);
    let moved: Vec<_> = during.filter_map(|i| i.outcome.as_ref().ok()).filter(|node| *node != "n1").collect();
    assert!(moved.is_empty(), "the writer moved without need: {moved:?}");
    assert!(reports.readers.by_node_since(back).contains_key("n3"), "n3 gets readers again");
    for (_, cluster) in samples.iter().filter(|(at, _)| *at >= told && *at < healed) {
        assert_eq!(cluster["verdict"], "split-brain", "{cluster}");
    }
    assert_alive(&mut elsewhere[1]);
    Both::clear(cluster);
}

#[test]
fn with_auto_addresses_is_fenced_by_the_members_table_and_healed() {
    is_lived_through(&cluster_of(AUTO), "uuid");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn with_addresses_is_fenced_and_healed() {
    is_lived_through(&cluster(), "uuid");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn with_addresses_and_without_the_members_grant_is_fenced_by_the_addresses_and_healed() {
    let cluster = cluster();
    let _revoked = cluster.revoke_members();
    is_lived_through(&cluster, "addresses");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn without_addresses_and_members_grant_is_fenced_by_sizes_and_indexes_and_healed() {
    let cluster = cluster_of(AUTO);
    let _revoked = cluster.revoke_members();
    is_lived_through(&cluster, "weak");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn with_an_arbitrator_is_fenced_and_healed() {
    let cluster = cluster();
    let garb = Arbitrator::join(&cluster);
    is_lived_through(&cluster, "uuid");
    drop(garb);
    cluster.wait_whole();
}

/// The node that a client of the writer service meets; the first client, where Galeway has just been started.
fn writer_met(galeway: &Galeway) -> String {
    let mut conn = until(secs(20), "a client is served", || match Conn::app(galeway.service("writer"), secs(20)) {
        Err(Failure { error: Error::Io(_), .. }) => None,
        met => Some(met.unwrap_or_else(|e| panic!("{e}"))),
    });
    conn.one("SELECT @@wsrep_node_name").unwrap()
}

#[test]
fn a_restart_in_its_middle_serves_the_same_side() {
    let cluster = cluster_of(AUTO);
    let n1 = &cluster.nodes[0];
    let mut galeway = Galeway::before(&cluster, roles());
    galeway.wait_writer("n1", secs(5));
    // The writer's side becomes the smaller one while Galeway does not look: it stays the served one, which nothing but
    // what was before can tell.
    galeway.signal(Signal::STOP);
    let _split = split_brain(&cluster, n1);
    galeway.signal(Signal::CONT);
    let assert_served = |galeway: &Galeway, writer: &str, fenced: &[&str]| {
        let seen = galeway.wait_cluster(TOLD + secs(5), "a split brain", |c| c["verdict"] == "split-brain");
        assert_eq!(seen["writer"], writer, "{seen}");
        for name in fenced {
            assert_eq!(entry(&seen, name)["verdict"], "excluded", "{seen}");
        }
        for _ in 0..30 {
            assert_eq!(writer_met(galeway), writer);
        }
    };
    assert_served(&galeway, "n1", &["n2", "n3"]);

    galeway.kill();
    galeway.start_again();
    // From its first client on, and not only once it has told of the split brain.
    assert_eq!(writer_met(&galeway), "n1", "after kill -9");
    assert_served(&galeway, "n1", &["n2", "n3"]);
    galeway.stop();
    galeway.start_again();
    assert_eq!(writer_met(&galeway), "n1", "after SIGTERM");
    assert_served(&galeway, "n1", &["n2", "n3"]);

    // Without memory it can only count, and the other side has more nodes.
    galeway.stop();
    galeway.forget();
    galeway.start_again();
    assert_eq!(writer_met(&galeway), "n2", "without memory");
    assert_served(&galeway, "n2", &["n1"]);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn is_refused_whole_where_the_configuration_says_so() {
    let cluster = cluster();
    let settings = Settings { cluster: "split_brain = \"refuse\"", service: super::TOLD_SOON, ..roles() };
    let galeway = Galeway::before(&cluster, settings);
    let mut sessions = [session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n3")];
    let split = split_brain(&cluster, &cluster.nodes[2]);
    galeway.wait_cluster(TOLD, "a split brain", |c| c["verdict"] == "split-brain");
    for session in &mut sessions {
        assert!(session.ends_within(secs(5)), "a session stays on one of two sides");
    }
    for role in ["writer", "reader"] {
        let refused = Conn::app(galeway.service(role), secs(20)).expect_err("one of two sides is served");
        println!("refuse: {refused}");
        assert_eq!(refused.error.code(), Some(1047), "{refused}");
    }
    split.heal();
    // The node that gives the state away writes no more.
    let whole = |c: &Value| c["verdict"] == "primary" && (c["writer"] == "n1" || c["writer"] == "n2");
    galeway.wait_cluster(secs(20), "whole again", whole);
    cluster.wait_whole();
    assert_eq!(galeway.cluster()["writer"], writer_met(&galeway));
}
