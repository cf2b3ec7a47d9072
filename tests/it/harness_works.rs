//! The harness shows what it promises, on real servers, before other tests stand on it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::fakes::Fakes;
use crate::harness::galeway::WRITER_AND_READER;
use crate::harness::node::DONOR;
use crate::harness::process::{Process, Signal};
use crate::harness::{Conn, Load, Settings, certs, cli, cluster, millis, secs, standalone, until, watchdog};

#[test]
fn three_nodes_are_synced_and_every_client_reaches_them() {
    let cluster = cluster();
    for node in &cluster.nodes {
        let state = node.state().unwrap();
        assert!(state.synced() && state.size == 3 && state.connected, "{state:?}");

        let mut conn = Conn::app(node.addr(), secs(5)).unwrap();
        assert_eq!(conn.one("SELECT @@wsrep_node_name").unwrap(), node.name);
        assert_eq!(conn.one("SELECT REPEAT('x', 100000)").unwrap().len(), 100_000);
        assert_eq!(conn.query("SELECT NULL, 1").unwrap(), [[None, Some("1".to_string())]]);
        conn.quit().unwrap();

        let seen = cli::mariadb(node.addr(), &["--skip-ssl"], "SELECT @@wsrep_node_name");
        assert_eq!((seen.code, seen.stdout.trim()), (Some(0), node.name.as_str()), "{seen:?}");
        let seen = cli::pymysql(node.addr(), "SELECT @@wsrep_node_name");
        assert_eq!((seen.code, seen.stdout.trim()), (Some(0), format!("[[\"{}\"]]", node.name).as_str()), "{seen:?}");
        node.sql("SELECT node_name FROM mysql.wsrep_cluster_members").iter().for_each(|row| assert!(row[0].is_some()));
    }
    let refused = Conn::connect(cluster.nodes[0].addr(), "app", "wrong", secs(5)).unwrap_err();
    assert_eq!(refused.error.code(), Some(1045), "{refused}");
}

#[test]
fn a_killed_node_is_missed_by_the_others_and_comes_back() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let load = Load::start(n3.addr());
    load.wait_for(20);
    n3.kill();
    load.wait_for(20);
    let report = load.stop();
    assert!(!report.failed_connects().is_empty(), "a closed port fails before the greeting");
    for node in [n1, n2] {
        node.wait(secs(15), "without n3", |s| s.size == 2 && s.synced());
    }
    n3.rejoin();
    cluster.wait_whole();
}

#[test]
fn a_frozen_node_accepts_and_never_greets() {
    let cluster = cluster();
    let node = &cluster.nodes[2];
    node.freeze();
    let hung = Conn::greet(node.addr(), millis(500)).unwrap_err();
    node.thaw();
    assert!(hung.error.to_string().contains("temporarily unavailable"), "{hung}");
    cluster.wait_whole();
    Conn::app(node.addr(), secs(5)).unwrap();
}

#[test]
fn a_desynced_node_is_a_donor_until_it_is_resynced() {
    let cluster = cluster();
    let node = &cluster.nodes[1];
    node.desync();
    node.wait(secs(5), "Donor/Desynced", |s| s.local_state == DONOR && s.primary());
    node.resync();
    cluster.wait_whole();
}

#[test]
fn an_isolated_node_turns_non_primary_and_heals() {
    let cluster = cluster();
    let node = &cluster.nodes[2];
    let observer = node.observe(millis(20));
    node.isolate();
    observer.wait_first(secs(15), "non-Primary", |s| !s.primary());
    node.heal();
    cluster.wait_whole();
    let samples = observer.samples();
    assert!(samples.len() > 100 && samples.iter().all(|s| s.state.is_some()), "every 20 ms, over one connection");
}

#[test]
fn a_wiped_node_rejoins_by_a_state_transfer_from_a_donor() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    n3.stop();
    n3.wipe();
    let donors = [n1.observe(millis(20)), n2.observe(millis(20))];
    n3.rejoin();
    until(secs(30), "one of the others is the donor", || {
        donors.iter().any(|o| o.first(|s| s.local_state == DONOR).is_some()).then_some(())
    });
    cluster.wait_whole();
    assert!(n3.error_log().contains("rsync SST completed on joiner"), "{}", n3.tail());
}

#[test]
fn what_a_test_changed_is_put_back_or_the_cluster_is_built_anew() {
    let names = |c: &crate::harness::Cluster| c.addrs();
    let (before, name) = {
        let cluster = cluster();
        let node = &cluster.nodes[0];
        let old = node.variable("max_connections");
        {
            let _changed = node.set("max_connections", "77");
            assert_eq!(node.variable("max_connections"), "77");
        }
        assert_eq!(node.variable("max_connections"), old);
        (names(&cluster), old)
    };
    {
        let cluster = cluster();
        assert_eq!(names(&cluster), before, "put back: the same cluster");
        cluster.nodes[0].sql("SET GLOBAL max_connections = 55");
    }
    let cluster = cluster();
    assert_ne!(names(&cluster), before, "left behind: another cluster");
    assert_eq!(cluster.nodes[0].variable("max_connections"), name);
}

#[test]
fn a_single_node_takes_flags_of_its_own() {
    let certs = certs::certificate(&watchdog::fresh_path("certs"), &["localhost", "127.0.0.1"]);
    let flag = |name: &str, path: &std::path::Path| format!("--{name}={}", path.display());
    let node = standalone(&[
        "--plugin-load-add=auth_ed25519",
        "--require-secure-transport=ON",
        &flag("ssl-ca", &certs.ca),
        &flag("ssl-cert", &certs.cert),
        &flag("ssl-key", &certs.key),
    ]);
    node.sql("CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')");
    let plain = Conn::app(node.addr(), secs(5)).unwrap_err();
    // 10.11 refuses the account (1045), newer ones say why (3159).
    assert!(matches!(plain.error.code(), Some(1045 | 3159)), "{plain}");
    let flags = ["--ssl", "--skip-ssl-verify-server-cert"];
    assert_eq!(cli::mariadb(node.addr(), &flags, "SELECT 1").stdout.trim(), "1");
    let ca = flag("ssl-ca", &certs.ca);
    let seen =
        cli::mariadb(node.addr(), &["-ued", "-psecret", &ca, "--ssl-verify-server-cert"], "SELECT CURRENT_USER()");
    assert_eq!((seen.code, seen.stdout.trim()), (Some(0), "ed@%"), "{seen:?}");
}

#[test]
fn a_galeway_starts_again_at_its_addresses_and_its_log_goes_on() {
    let (fakes, _peers) = Fakes::good(1);
    let mut galeway = fakes.spawn(Settings { roles: WRITER_AND_READER, ..Settings::default() });
    galeway.wait_ready();
    let places = [galeway.service("writer"), galeway.service("reader"), galeway.admin()];
    let first = galeway.pid();
    galeway.kill();
    assert!(galeway.try_get("/healthz").is_none());
    galeway.start_again();
    galeway.wait_ready();
    galeway.stop();
    galeway.forget();
    galeway.start_again();
    galeway.wait_ready();
    assert_ne!(galeway.pid(), first);
    assert_eq!([galeway.service("writer"), galeway.service("reader"), galeway.admin()], places);
    for role in WRITER_AND_READER {
        let started = galeway.log().matches("\"accepting\"").count();
        assert!(started >= 3, "{started} starts in the log");
        Conn::greet(galeway.service(role), secs(5)).unwrap_or_else(|e| panic!("{role}: {e}"));
    }
}

/// In a second process of this same test: it starts a child that cannot even run its own end, tells its id and waits.
#[test]
fn nothing_outlives_a_test_process_that_is_killed() {
    const ROLE: &str = "GALEWAY_IT_VICTIM";
    if std::env::var_os(ROLE).is_some() {
        let mut child = Process::spawn(Command::new("sleep").arg("1000"));
        child.signal(Signal::STOP);
        println!("\nvictim {} {}", child.id(), watchdog::run_dir().display());
        std::thread::sleep(secs(1000));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["nothing_outlives_a_test_process_that_is_killed", "--nocapture"]).env(ROLE, "1");
    let mut victim = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let lines = BufReader::new(victim.child().stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find(|line| line.starts_with("victim ")).unwrap();
    let [_, pid, dir] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let stat = format!("/proc/{pid}/stat");
    assert!(std::fs::exists(&stat).unwrap() && std::fs::exists(dir).unwrap());
    victim.kill();
    until(secs(10), "its child is gone", || {
        // Where nobody reaps orphans, a zombie is what is left of it.
        let left = std::fs::read_to_string(&stat).unwrap_or_default();
        (left.is_empty() || left.contains(") Z ")).then_some(())
    });
    until(secs(10), "its directory is gone", || (!std::fs::exists(dir).unwrap()).then_some(()));
}
