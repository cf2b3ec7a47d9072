//! Which share of the sessions a node gets for a while, and how its sessions end: thresholds with hysteresis, a slow
//! start, kills that are spread, the list of members that is read no more often than it changes.

use std::time::{Duration, Instant};

use crate::fakes::{FAST, Fakes, LONG, connect, greeted_by, service, set_state};
use crate::harness::{Galeway, Settings, secs, until};
use crate::peer::Peer;

/// Whom the next clients meet, one after the other.
fn met(galeway: &Galeway, clients: usize) -> Vec<String> {
    (0..clients).map(|_| greeted_by(&connect(galeway)).to_owned()).collect()
}

/// Nodes whose rows a test changes, and Galeway before them.
fn start(count: u8, settings: Settings<'_>) -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(count);
    let galeway = fakes.galeway(settings);
    (fakes, peers, galeway)
}

#[track_caller]
fn wait_reason(galeway: &Galeway, node: &str, part: &str) {
    until(LONG, &format!("{node}: {part}"), || {
        galeway.node(node)["reason"].as_str().is_some_and(|r| r.contains(part)).then_some(())
    });
}

#[test]
fn a_long_receive_queue_keeps_clients_away_until_it_is_below_half() {
    let settings = Settings { eligibility: "max_recv_queue = 100", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = start(2, settings);
    let slow = "its receive queue is above max_recv_queue";
    for (length, is_slow) in [("101", true), ("60", true), ("50", true), ("49", false), ("100", false)] {
        fakes.check(1).set_status("wsrep_local_recv_queue", length);
        until(LONG, "the queue's length is read", || {
            (galeway.metric("galeway_node_recv_queue", &[("node", "n1")]) == length.parse::<f64>().unwrap())
                .then_some(())
        });
        let told = galeway.node("n1")["reason"].as_str().unwrap().contains(slow);
        assert_eq!(told, is_slow, "{length}: {}", galeway.node("n1"));
        assert_eq!(met(&galeway, 6).contains(&"n1".to_owned()), !is_slow, "{length}");
        assert_eq!(galeway.node("n1")["verdict"], "eligible");
    }
    // Never the last ones.
    for i in [1, 2] {
        fakes.check(i).set_status("wsrep_local_recv_queue", "500");
        wait_reason(&galeway, &format!("n{i}"), slow);
    }
    assert_eq!(met(&galeway, 4).iter().filter(|n| *n == "n1").count(), 2);
}

#[test]
fn a_node_that_holds_the_cluster_up_is_told_from_those_that_wait_for_it() {
    let settings = Settings { eligibility: "max_flow_control_paused = 0.5", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = start(2, settings);
    let told = "it holds the cluster up (max_flow_control_paused)";
    // Both are paused all the time; n1 sends.
    let began = Instant::now();
    let pause = |sends: bool| {
        let paused = began.elapsed().as_nanos();
        for i in [1, 2] {
            fakes.check(i).set_status("wsrep_flow_control_paused_ns", &paused.to_string());
        }
        if sends {
            fakes.check(1).set_status("wsrep_flow_control_sent", &(paused / 1_000_000).to_string());
        }
    };
    until(LONG, "n1 is slow", || {
        pause(true);
        std::thread::sleep(Duration::from_millis(20));
        galeway.node("n1")["reason"].as_str().unwrap().contains(told).then_some(())
    });
    assert!(!galeway.node("n2")["reason"].as_str().unwrap().contains(told), "{}", galeway.node("n2"));
    // It sends no more, but the pause goes on.
    for _ in 0..30 {
        pause(false);
        std::thread::sleep(Duration::from_millis(20));
        assert!(galeway.node("n1")["reason"].as_str().unwrap().contains(told));
    }
    until(LONG, "the pause is over", || (galeway.node("n1")["reason"] == "Synced").then_some(()));
}

#[test]
fn kills_are_spread_evenly_over_their_time() {
    let settings = Settings { sessions: "kill_spread = \"2s\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = start(2, settings);
    let sessions: Vec<_> = (0..80).map(|_| connect(&galeway)).collect();
    assert_eq!(galeway.node("n1")["connections"]["active"], 40);
    fakes.check(1).set_status("wsrep_cluster_status", "non-Primary");
    until(LONG, "n1 is out", || (galeway.node("n1")["verdict"] == "excluded").then_some(()));
    let began = Instant::now();
    let mut counts = Vec::new();
    until(LONG, "all have ended", || {
        let left = galeway.node("n1")["connections"]["active"].as_u64().unwrap();
        counts.push((began.elapsed(), left));
        (left == 0).then_some(())
    });
    let took = began.elapsed();
    println!("40 sessions ended within {took:?}");
    assert!(took < secs(3), "{took:?}");
    // Spread: some are left after a quarter of the time, and some have gone.
    let (_, left) = counts.iter().find(|(at, _)| *at >= Duration::from_millis(500)).expect("it took longer than that");
    assert!((10..40).contains(left), "{left} of 40 are left after half a second");
    assert_eq!(met(&galeway, 4), ["n2"; 4], "nobody new goes there meanwhile");
    drop(sessions);
}

#[test]
fn a_returning_node_gets_a_share_that_grows() {
    let settings = Settings { sessions: "slow_start = \"3s\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = start(2, settings);
    std::thread::sleep(secs(3));
    set_state(fakes.check(1), "1");
    until(LONG, "n1 is out", || (galeway.node("n1")["verdict"] == "excluded").then_some(()));
    set_state(fakes.check(1), "4");
    until(LONG, "n1 is back", || (galeway.node("n1")["verdict"] == "eligible").then_some(()));
    let share = || met(&galeway, 60).iter().filter(|n| *n == "n1").count();
    let first = share();
    assert!((1..20).contains(&first), "{first} of 60 right after its return");
    until(LONG, "its whole share", || {
        std::thread::sleep(Duration::from_millis(200));
        (share() == 30).then_some(())
    });
}

#[test]
fn the_list_of_members_is_read_when_the_view_changes_and_not_with_every_check() {
    let settings = Settings { monitor: FAST, ..service("") };
    let (fakes, _data, galeway) = start(1, settings);
    let row =
        |name: &str, life: u8| [format!("22222222-2222-2222-2222-{life:012}"), "c".into(), name.into(), String::new()];
    let reads = || fakes.check(1).queries().iter().filter(|q| q.contains("wsrep_cluster_members")).count();
    let checks = || fakes.check(1).queries().iter().filter(|q| q.contains("SHOW GLOBAL STATUS")).count();
    let rounds = |n: usize| {
        let then = checks();
        until(LONG, "some checks", || (checks() >= then + n).then_some(()));
    };
    // No grant: it is not asked again at each check.
    rounds(5);
    assert_eq!(reads(), 1);
    assert_eq!(galeway.cluster()["membership"], "weak");
    assert!(galeway.log().contains("GRANT SELECT ON mysql.wsrep_cluster_members"), "{}", galeway.log());
    // With it, on a new connection.
    let uuid = galeway.node("n1")["wsrep"]["wsrep_gcomm_uuid"].as_str().unwrap().to_owned();
    let own = [uuid, "c".into(), "n1".into(), String::new()];
    fakes.check(1).set_members(Some(vec![own.clone()]));
    fakes.check(1).cut_connections();
    until(LONG, "it is told by UUIDs", || (galeway.cluster()["membership"] == "uuid").then_some(()));
    let before = reads();
    rounds(5);
    assert_eq!(reads(), before, "nothing changed");
    // Another view.
    fakes.check(1).set_members(Some(vec![own, row("n2", 2)]));
    fakes.check(1).set_status("wsrep_cluster_conf_id", "2");
    fakes.check(1).set_status("wsrep_cluster_size", "2");
    until(LONG, "it is read again", || (reads() > before).then_some(()));
    let before = reads();
    rounds(5);
    assert_eq!(reads(), before);
}
