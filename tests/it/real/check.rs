//! What the check costs a server. The first test runs for a minute; both run beside other tests, with servers of their own.

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

/// Seen before the session made its own settings: the transaction that the first check opened lasted as long as its connection, and
/// InnoDB purged nothing meanwhile.
#[test]
fn the_check_leaves_no_transaction_open_where_the_server_does_not_commit_by_itself() {
    let node = standalone(&["--autocommit=0", "--init-connect=SET autocommit=0"]);
    let galeway = Galeway::spawn(&[("solo".into(), node.addr())], Settings::default());
    galeway.wait_ready();
    let checks = || galeway.metric("galeway_probe_duration_seconds_count", &[]);
    let target = checks() + 4.0;
    until(secs(60), "some checks", || (checks() >= target).then_some(()));
    let mut observer = node.root().unwrap();
    let rows = observer
        .query(
            "SELECT p.user, p.command FROM information_schema.innodb_trx t \
             JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.id <> CONNECTION_ID()",
        )
        .unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}
