//! `galeway node NAME drain` and `ready` under load.

use std::time::{Duration, Instant};

use crate::fakes::LONG;
use crate::harness::{Galeway, Load, Settings, secs, until};
use crate::peer::FakeNode;

const DRAIN: Duration = secs(3);

fn nodes() -> Vec<FakeNode> {
    let node = |i: u8| {
        let node = FakeNode::start(&format!("n{i}"));
        node.set_status("wsrep_cluster_size", "3");
        node.set_status("wsrep_local_index", &(i - 1).to_string());
        node
    };
    (1..=3).map(node).collect()
}

/// No connect to a scripted node takes longer.
const ON_THE_WAY: Duration = Duration::from_millis(50);

#[test]
fn a_drained_node_gets_nobody_new_and_old_sessions_finish_or_end_at_their_time() {
    let nodes = nodes();
    let galeway = Galeway::spawn(
        &nodes.iter().zip(1..).map(|(node, i)| (format!("n{i}"), node.addr())).collect::<Vec<_>>(),
        Settings { sessions: "drain_timeout = \"3s\"\nslow_start = \"3s\"", ..Settings::default() },
    );
    galeway.wait_ready();
    // Its share has grown to the whole of it.
    std::thread::sleep(DRAIN);
    let load = Load::start(galeway.addr());
    load.wait_for(100);
    let (mut finishes, mut stays) = (galeway.session_on("n1"), galeway.session_on("n1"));

    galeway.set_node("n1", "drain");
    let drained = Instant::now();
    load.wait_for(100);
    assert_eq!(finishes.one("SELECT @@wsrep_node_name").unwrap(), "n1", "what was there goes on");
    finishes.quit().unwrap();
    until(LONG, "the end of what is left", || stays.one("SELECT 1").is_err().then_some(()));
    let lived = drained.elapsed();
    // It began when the command was on its way.
    assert!((DRAIN - Duration::from_millis(500)..DRAIN + secs(3)).contains(&lived), "{lived:?}");
    assert_eq!(galeway.node("n1")["connections"]["active"], 0);

    let asked = Instant::now();
    galeway.set_node("n1", "ready");
    let ready = Instant::now();
    let weight = || galeway.node("n1")["reason"].as_str().unwrap().to_owned();
    assert!(weight().contains("slow start: weight"), "{}", weight());
    until(LONG, "the whole share", || (!weight().contains("slow start")).then_some(()));
    let whole = Instant::now();
    load.wait_for(300);
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    assert_eq!(report.broken(), []);

    // Who is on the way when a command is carried out may have started before it, and that is before the command returns.
    let on_n1 = |from: Instant, to: Instant| {
        let within = report.iterations.iter().filter(|i| i.start >= from && i.start < to);
        let names: Vec<&str> = within.filter_map(|i| i.outcome.as_deref().ok()).collect();
        (names.iter().filter(|name| **name == "n1").count(), names.len())
    };
    let (meanwhile, all) = on_n1(drained + ON_THE_WAY, asked - ON_THE_WAY);
    assert_eq!(meanwhile, 0, "of {all} nobody new");
    let (after, all) = on_n1(whole, Instant::now());
    assert!((all / 4..=all / 2).contains(&after), "{after} of {all} with its whole share");
    let early = ready + DRAIN / 4;
    let (ramp, all) = on_n1(ready, early);
    assert!(ramp > 0 && ramp * 4 < all, "{ramp} of {all} in the first quarter of the ramp");
}
