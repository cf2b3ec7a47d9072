//! Eight clients connect, query and quit in a loop while one node fails.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{
    SLACK, assert_alive, assert_at_most_one_broken_each, assert_no_failed_connect, assert_nobody_sent, is_server_error,
    iteration_of, sent_to, session_on, unfit_span, wait_checked, whole_again,
};
use crate::harness::client::Stage;
use crate::harness::load::Manner;
use crate::harness::node::DONOR;
use crate::harness::{Conn, Galeway, Load, Settings, cluster, millis, secs, until, within};

#[test]
fn a_killed_node_fails_no_connect_and_its_sessions_end_at_once() {
    let cluster = cluster();
    let galeway = Galeway::before(&cluster, Settings { roles: &["any", "writer", "reader"], ..Settings::default() });
    let (mut on_it, mut elsewhere) = (session_on(&galeway, "n3"), session_on(&galeway, "n1"));
    let load = Load::start(galeway.addr());
    let roles = ["writer", "reader"].map(|role| Load::with(galeway.service(role), Manner::FEW));
    load.wait_for(100);

    let killed = Instant::now();
    cluster.nodes[2].kill();
    assert!(on_it.ends_within(secs(5)), "the session on it is left hanging");
    println!("kill -9: its session ended after {:?}", killed.elapsed());
    galeway.wait_verdict("n3", "excluded", secs(5));
    let excluded = Instant::now();
    // A check that begins in the moment of the kill may be taken by the kernel and then closed: the next one is refused.
    until(secs(5), "nobody listens there", || {
        (galeway.node("n3")["reason"] == "unreachable (connection refused)").then_some(())
    });
    load.wait_for(200);

    let report = load.stop();
    for report in roles.map(Load::stop) {
        assert_no_failed_connect(&report);
        assert_at_most_one_broken_each(&report);
    }
    assert_no_failed_connect(&report);
    assert_at_most_one_broken_each(&report);
    assert!(report.by_node_since(excluded).into_keys().eq(["n1", "n2"]), "{:?}", report.by_node_since(excluded));
    assert_alive(&mut elsewhere);
}

#[test]
fn a_frozen_node_costs_each_client_one_deadline_and_its_sessions_end_after_down_after() {
    let cluster = cluster();
    let [_, _, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    // Thawed before Galera's own 5 s, so that the node finds its place again at once.
    let (connect, greeting, down_after, timeout) = (secs(1), secs(1), secs(3), millis(500));
    let settings = Settings {
        monitor: "timeout = \"500ms\"\ndown_after = \"3s\"",
        service: "balance = \"round-robin\"\nconnect_timeout = \"1s\"\ngreeting_timeout = \"1s\"",
        ..Settings::default()
    };
    let galeway = Galeway::before(&cluster, settings);
    let (mut on_it, mut elsewhere) = (session_on(&galeway, "n3"), session_on(&galeway, "n1"));
    let load = Load::start(galeway.addr());
    load.wait_for(100);

    let frozen = Instant::now();
    n3.freeze();
    let seen = galeway.wait_verdict("n3", "excluded", secs(10));
    // The second of the failed checks decides, and that one finds no greeting.
    assert_eq!(seen["reason"], "unreachable (no answer: greeting timed out)");
    assert!(!on_it.ends_within(millis(10)), "ended by the verdict, and not by down_after");
    assert!(on_it.ends_within(secs(20)), "never ended");
    let lived = frozen.elapsed();
    // Counted from the beginning of the first check that failed, which may have begun just before the freeze.
    assert!(lived > down_after - timeout, "ended before down_after: {lived:?}");
    assert!(lived < down_after + millis(500) + timeout + SLACK, "long after down_after: {lived:?}");
    load.wait_for(50);
    n3.thaw();
    let report = whole_again(&cluster, &galeway, "n3", load);
    assert_alive(&mut elsewhere);
    let slowest = report.iterations.iter().filter_map(|i| i.greeted).max().unwrap();
    println!("SIGSTOP: slowest connect {slowest:?}; the session on it ended after {lived:?}");
    assert!(slowest <= 2 * (connect + greeting), "{slowest:?}");

    let mut clients = BTreeSet::new();
    let mut attempts = 0;
    for event in galeway.access_log() {
        let detail = event["detail"].as_str().unwrap_or_default();
        if !detail.contains("n3: ") {
            continue;
        }
        assert_eq!(detail, "n3: no greeting within 1000 ms", "{event}");
        let iteration = iteration_of(&report, &event).unwrap_or_else(|| panic!("whose is {event}?"));
        assert!(clients.insert(iteration.thread), "client {} tried the hung node twice", iteration.thread);
        attempts += 1;
    }
    println!("SIGSTOP: {attempts} attempts on the hung node");
    assert!(attempts > 0, "no client met the frozen node: this showed nothing");
}

#[test]
fn an_isolated_node_gets_nobody_one_interval_after_it_says_so_until_it_is_synced_again() {
    let cluster = cluster();
    let n3 = &cluster.nodes[2];
    let interval = secs(2);
    let settings = Settings { monitor: "interval = \"2s\"", ..Settings::default() };
    let galeway = Galeway::before(&cluster, settings);
    let (mut on_it, mut elsewhere) = (session_on(&galeway, "n3"), session_on(&galeway, "n1"));
    let load = Load::start(galeway.addr());
    load.wait_for(100);

    let observer = n3.observe(millis(20));
    n3.isolate();
    observer.wait_first(secs(20), "non-Primary", |s| !s.primary());
    // The others drop it in the same moment: their news may come a check before its own.
    let first = galeway.wait_verdict("n3", "excluded", secs(20));
    let reason = first["reason"].as_str().unwrap_or_default();
    assert!(reason == "non-Primary" || reason.starts_with("its view is out of date: "), "{reason}");
    let its_own = || Some(galeway.node("n3")).filter(|n| n["reason"] == "non-Primary");
    let seen = within(secs(10), its_own).unwrap_or_else(|| panic!("{}", galeway.node("n3")));
    assert_eq!(seen["verdict"], "excluded");
    let check = millis(seen["probe"]["duration_ms"].as_f64().unwrap().ceil() as u64);
    assert!(on_it.ends_within(secs(5)), "a session stays on a node that is not Primary");
    load.wait_for(100);
    n3.heal();
    let report = whole_again(&cluster, &galeway, "n3", load);
    assert_alive(&mut elsewhere);
    let samples = observer.samples();
    let (said, last) = unfit_span(&samples, |s| s.state.as_ref().is_some_and(|s| s.synced())).unwrap();
    let sent = sent_to(&report, &galeway, "n3");
    let late = sent.iter().filter(|s| s.start >= said && s.greeted < last).map(|s| s.start - said).max();
    let late = late.unwrap_or_default();
    // The interval, the time of the check that saw it, and how finely the observers look on a busy machine.
    let most = interval + check + millis(300);
    println!("isolate: unfit for {:?}; sent there until {late:?} after it said so, at most {most:?}", last - said);
    assert!(late <= most, "{late:?}, at most {most:?}");
}

#[test]
fn a_desynced_node_gets_nobody_new_and_keeps_its_sessions() {
    let cluster = cluster();
    let n2 = &cluster.nodes[1];
    let galeway = Galeway::before(&cluster, Settings::default());
    let mut on_it = session_on(&galeway, "n2");
    let load = Load::start(galeway.addr());
    load.wait_for(50);

    n2.desync();
    n2.wait(secs(5), "Donor/Desynced", |s| s.local_state == DONOR);
    wait_checked(&galeway, "n2", Instant::now());
    let (seen, excluded) = (galeway.node("n2"), Instant::now());
    assert_eq!((&seen["verdict"], &seen["reason"]), (&"excluded".into(), &"Donor/Desynced".into()));
    load.wait_for(200);
    let resynced = Instant::now();
    assert_alive(&mut on_it);
    n2.resync();
    galeway.wait_verdict("n2", "eligible", secs(20));
    let back = Instant::now();
    load.wait_for(50);

    let report = load.stop();
    assert_no_failed_connect(&report);
    assert_eq!(report.broken(), [], "a donor answers");
    assert_nobody_sent(&report, &galeway, "n2", excluded, resynced);
    assert!(report.by_node_since(back).contains_key("n2"), "{:?}", report.by_node_since(back));
    assert_alive(&mut on_it);
}

#[test]
fn a_node_that_rejects_queries_gets_nobody_new_and_its_sessions_drain() {
    let cluster = cluster();
    let n2 = &cluster.nodes[1];
    let settings = Settings { sessions: "drain_timeout = \"3s\"", ..Settings::default() };
    let galeway = Galeway::before(&cluster, settings);
    let (mut on_it, mut elsewhere) = (session_on(&galeway, "n2"), session_on(&galeway, "n1"));
    let load = Load::start(galeway.addr());
    load.wait_for(50);

    let rejecting = n2.set("wsrep_reject_queries", "'ALL'");
    let rejected = Instant::now();
    wait_checked(&galeway, "n2", rejected);
    let (seen, excluded) = (galeway.node("n2"), Instant::now());
    assert_eq!((&seen["verdict"], &seen["reason"]), (&"excluded".into(), &"wsrep_reject_queries=ALL".into()));
    let kept = on_it.query("SELECT * FROM mysql.user").unwrap_err();
    assert!(is_server_error(&kept, 1047), "the session's own node answers it: {kept}");
    assert!(on_it.ends_within(secs(20)), "the drain never ends");
    let lived = rejected.elapsed();
    println!("wsrep_reject_queries: the session drained for {lived:?}");
    assert!(lived >= secs(3), "{lived:?}");
    assert!(lived < secs(3) + millis(500) + SLACK, "{lived:?}");
    // Written after the goodbye that the client has seen.
    let ended = until(secs(5), "its line in the access log", || {
        galeway.access_log().into_iter().find(|e| e["end"] == "drained")
    });
    assert!(ended["by"] == "galeway" && ended["node"] == "n2", "{ended}");
    let healed = Instant::now();
    drop(rejecting);
    galeway.wait_verdict("n2", "eligible", secs(20));
    let back = Instant::now();
    load.wait_for(50);

    let report = load.stop();
    assert_no_failed_connect(&report);
    assert_nobody_sent(&report, &galeway, "n2", excluded, healed);
    // Logins succeed there and queries do not: until the check has seen it nobody can tell.
    for broken in report.iterations.iter().filter(|i| i.broken().is_some()) {
        let failure = broken.broken().unwrap();
        assert!(is_server_error(&failure.error, 1047) && broken.start < excluded, "{failure}");
    }
    assert!(report.by_node_since(back).contains_key("n2"), "{:?}", report.by_node_since(back));
    assert_alive(&mut elsewhere);
}

#[test]
fn a_node_that_others_have_filled_gets_nobody_while_another_has_room() {
    let cluster = cluster();
    let n2 = &cluster.nodes[1];
    let galeway = Galeway::before(&cluster, Settings::default());
    let mut on_it = session_on(&galeway, "n2");
    let load = Load::start(galeway.addr());
    load.wait_for(50);

    let most = n2.set("max_connections", "30");
    // Others take every place, the ones that our clients leave as well.
    let mut others = Vec::new();
    let mut refused = 0;
    until(secs(20), "the node is full", || {
        match Conn::app(n2.addr(), secs(5)) {
            Ok(conn) => others.push(conn),
            Err(e) => {
                assert!(is_server_error(&e.error, 1040), "{e}");
                refused += 1;
            }
        }
        (refused >= 10 && others.len() >= 27).then_some(())
    });
    wait_checked(&galeway, "n2", Instant::now());
    let seen_full = Instant::now();
    load.wait_for(200);
    let emptied = Instant::now();
    assert_alive(&mut on_it);
    drop(others);
    drop(most);
    wait_checked(&galeway, "n2", Instant::now());
    let back = Instant::now();
    load.wait_for(100);

    let report = load.stop();
    assert_no_failed_connect(&report);
    let broken: Vec<_> = report.iterations.iter().filter(|i| i.broken().is_some()).collect();
    println!("max_connections: {} refused after login before a check saw it full", broken.len());
    for iteration in broken {
        let failure = iteration.broken().unwrap();
        assert!(failure.stage == Stage::AfterGreeting && is_server_error(&failure.error, 1040), "{failure}");
        assert!(iteration.start < seen_full, "refused after a check had seen the node full: {failure}");
    }
    assert_nobody_sent(&report, &galeway, "n2", seen_full, emptied);
    assert!(report.by_node_since(back).contains_key("n2"), "{:?}", report.by_node_since(back));
    assert_alive(&mut on_it);
}
