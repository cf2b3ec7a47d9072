//! A node that was stopped for longer than its peers wait, as a paused virtual machine is: for seconds it says that all
//! is well.

use std::time::Instant;

use super::{Both, Watch, assert_alive, entry, roles, sent_to, session_of};
use crate::harness::{Galeway, cluster, millis, secs};

#[test]
fn a_thawed_node_gets_nobody_while_its_view_is_stale_and_is_no_split_brain() {
    let cluster = cluster();
    Both::prepare(&cluster);
    let [n1, _, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let galeway = Galeway::before(&cluster, roles());
    let mut elsewhere = [session_of(galeway.service("writer"), "n1"), session_of(galeway.service("reader"), "n2")];
    let load = Both::start(&galeway);
    load.wait_for(30);
    let old = n3.state().unwrap();

    let watch = Watch::start(&galeway, millis(20));
    let frozen = Instant::now();
    n3.freeze();
    let seen = galeway.wait_verdict("n3", "excluded", secs(10));
    println!("SIGSTOP: excluded after {:?}: {}", frozen.elapsed(), seen["reason"]);
    let excluded = Instant::now();
    std::thread::sleep(secs(12).saturating_sub(frozen.elapsed()));
    let newer = n1.state().unwrap();
    assert!(newer.size == 2 && newer.conf_id > old.conf_id, "{newer:?}");
    let observer = n3.observe(millis(5));
    let thawed = Instant::now();
    n3.thaw();
    let lie = observer.wait_first(secs(2), "an answer", |_| true);
    let lie = lie.state.unwrap();
    assert!(lie.synced() && lie.conf_id == old.conf_id && lie.size == 3, "the fault of this test: {lie:?}");
    let aware = observer.wait_first(secs(20), "aware", |s| !s.primary());
    cluster.wait_whole();
    galeway.wait_verdict("n3", "eligible", secs(20));
    load.wait_for(60);
    let samples = watch.end();
    let reports = load.stop();

    reports.assert_no_failed_connect();
    let whole = |s: &crate::harness::node::State| s.synced() && s.conf_id > newer.conf_id;
    let whole = observer.first(whole).expect("whole again").asked;
    for (role, report) in reports.each() {
        let sent = sent_to(report, &galeway, "n3");
        assert!(!sent.iter().any(|s| s.start >= excluded && s.greeted < whole), "{role}: {sent:?}");
        assert!(report.iterations.iter().any(|i| i.start > thawed && i.start < aware.asked), "nobody came");
    }
    println!("SIGCONT: stale for {:?}", aware.asked - thawed);
    let mut stale = std::collections::BTreeSet::new();
    for (at, cluster) in &samples {
        assert_eq!(cluster["verdict"], "primary", "{:?} after SIGCONT: {cluster}", at.checked_duration_since(thawed));
        if *at > thawed && *at < aware.asked {
            let n3 = entry(cluster, "n3");
            assert_eq!(n3["verdict"], "excluded", "{n3}");
            stale.insert(n3["reason"].to_string());
        }
        // When it merges back each of the others is Joined for some milliseconds, which a check may meet.
        for other in ["n1", "n2"].iter().filter(|_| *at < aware.asked) {
            assert_eq!(entry(cluster, other)["verdict"], "eligible", "{cluster}");
        }
    }
    println!("reasons while it was stale: {stale:?}, in {} samples", samples.len());
    assert!(samples.len() > 100, "{}", samples.len());
    assert_eq!(galeway.metric("galeway_cluster_split_brain", &[]), 0.0);
    assert!(!galeway.log().contains("split-brain"), "none was told either");
    elsewhere.iter_mut().for_each(assert_alive);
    for other in ["n1", "n2"] {
        assert_eq!(galeway.metric("galeway_sessions_killed_total", &[("node", other)]), 0.0, "{other}");
    }
    Both::clear(&cluster);
}
