//! `wsrep_notify_cmd`: the server itself says that something changed, and Galeway looks at once.

use std::time::{Duration, SystemTime};

use super::entry;
use crate::harness::galeway::public_binary;
use crate::harness::{Galeway, Options, Settings, cluster_of, secs};

/// The limit of the sentence.
const SOON: Duration = Duration::from_millis(150);

#[test]
fn a_donor_is_excluded_within_150_ms_of_its_own_call() {
    let cluster = cluster_of(Options { auto: true, notify: true, ..Options::default() });
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    // Something to transfer, or the donor were none before it could be seen.
    n1.sql("CREATE DATABASE ballast");
    n1.sql("CREATE TABLE ballast.t (id INT PRIMARY KEY, b LONGTEXT)");
    n1.sql("INSERT INTO ballast.t SELECT seq, REPEAT(SHA2(seq, 512), 4000) FROM ballast.seq_1_to_10");
    // A check every 5 s would see it after 2.5 s on average.
    let galeway = Galeway::before(&cluster, Settings { monitor: "interval = \"5s\"", ..Settings::default() });
    n3.stop();
    n3.wipe();
    galeway.wait_verdict("n3", "excluded", secs(10));
    for node in [n1, n2] {
        node.on_notify(&format!("exec {} notify --admin {} \"$@\"", public_binary().display(), galeway.admin()));
    }
    // A test before this one may have left words there.
    let earlier = [n1, n2].map(crate::harness::Node::notify_output);
    let before = SystemTime::now();
    n3.rejoin();
    let deadline = std::time::Instant::now() + secs(30);
    let (donor, excluded) = loop {
        let cluster = galeway.cluster();
        let now = SystemTime::now();
        let donates = |name: &&str| {
            let node = entry(&cluster, name);
            node["verdict"] == "excluded" && node["reason"].as_str().is_some_and(|r| r.starts_with("Donor"))
        };
        if let Some(name) = ["n1", "n2"].into_iter().find(donates) {
            break (name, now);
        }
        let said = || [n1, n2].map(crate::harness::Node::notify_output);
        assert!(std::time::Instant::now() < deadline, "no donor: {cluster}; galeway notify: {:?}", said());
        std::thread::sleep(Duration::from_millis(2));
    };
    let calls = cluster.node(donor).notified();
    let call = calls.iter().rev().find(|c| c.at > before && c.value("--status") == Some("donor"));
    let call = call.unwrap_or_else(|| panic!("{donor} did not call: {calls:?}"));
    // Seen before the script had even begun to run: sooner than could be asked for.
    let took = excluded.duration_since(call.at).unwrap_or_default();
    println!("notify: {donor} was excluded {took:?} after its own --status donor");
    assert!(took < SOON, "{took:?}; galeway notify: {:?}", cluster.node(donor).notify_output());
    cluster.wait_whole();
    galeway.wait_verdict(donor, "eligible", secs(20));
    galeway.wait_verdict("n3", "eligible", secs(20));
    for (node, earlier) in [n1, n2].into_iter().zip(earlier) {
        assert_eq!(node.notify_output().strip_prefix(&earlier), Some(""), "galeway notify complained");
        node.on_notify("exit 0");
    }
    n1.sql("DROP DATABASE ballast");
}
