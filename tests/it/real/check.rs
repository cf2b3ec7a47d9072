//! What the check costs a server. The first test runs for a minute, beside other tests since it has a server of its own.

use crate::harness::load::Manner;
use crate::harness::{Galeway, Load, Settings, cluster, millis, secs, standalone, until};

/// The server's own count over 60 s from the start: one login with 60 s of checks over it, and one on a new connection, which is
/// tried once a minute (54 to 60 s after the last) since the kept one says nothing of new ones.
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
    let logins = connections() - before;
    assert!((1..=2).contains(&logins), "{logins}");
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

/// `wsrep_sync_wait = 15` makes SHOW wait for the cluster, and while a member is lost that takes as long as Galera waits for it.
#[test]
fn a_server_that_makes_reads_wait_does_not_make_the_check_wait() {
    let cluster = cluster();
    for node in &cluster.nodes {
        node.root().unwrap().query("SET GLOBAL wsrep_sync_wait = 15").unwrap();
    }
    let galeway = Galeway::before(&cluster, Settings::default());
    let load = Load::with(galeway.addr(), Manner::FEW);
    load.wait_for(20);
    cluster.nodes[2].kill();
    galeway.wait_verdict("n3", "excluded", secs(5));
    // Galera gives it up only after 5 s.
    for _ in 0..30 {
        for name in ["n1", "n2"] {
            let node = galeway.node(name);
            assert_eq!(node["verdict"], "eligible", "{node}");
        }
        std::thread::sleep(millis(100));
    }
    drop(load.stop());
}
