//! What the check costs a server. Runs for a minute, and beside the other tests since it has a server of its own.

use crate::harness::{Galeway, Settings, secs, standalone, until};

/// The server's own count over 60 s from the start: one login, and 60 s of checks over it.
#[test]
fn the_check_logs_in_once_and_stays() {
    let node = standalone(&[]);
    // One connection that asks before and after: it is in the first number already.
    let mut observer = node.root().unwrap();
    let mut connections = || {
        let rows = observer.query("SHOW GLOBAL STATUS LIKE 'Connections'").unwrap();
        rows[0][1].as_deref().unwrap().parse::<u64>().unwrap()
    };
    let before = connections();
    let galeway = Galeway::spawn(&[("solo".into(), node.addr())], Settings::default());
    galeway.wait_ready();
    let uptime = || galeway.status()["uptime_seconds"].as_f64().unwrap();
    until(secs(120), "60 s of uptime", || (uptime() >= 60.0).then_some(()));
    assert_eq!(connections() - before, 1);
    let checks = galeway.metric("galeway_probe_duration_seconds_count", &[]);
    // 120 to 134 by the interval and its jitter, fewer on a machine that sleeps.
    println!("{checks} checks over one login");
    assert!(checks >= 60.0, "{checks}");
    assert_eq!(galeway.metric("galeway_probe_failures_total", &[]), 0.0);
}
