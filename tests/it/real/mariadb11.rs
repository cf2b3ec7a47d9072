//! MariaDB 11.8 with Galera out of a root: served as this machine's own version is, upgraded to under clients, and recovered by the
//! commands that `galeway recover` prints, executed as they are printed.

use std::time::Instant;

use super::logins::checked_at;
use super::recover::{advice, all_data, data, lines, recover, recovered_seqno};
use super::{Both, assert_alive, assert_no_failed_connect, session_on, whole_again};
use crate::harness::cluster::{Shared, standalone_out_of};
use crate::harness::galeway::WRITER_AND_READER;
use crate::harness::load::Manner;
use crate::harness::node::Start;
use crate::harness::{
    Cluster, Galeway, Load, Node, Options, Root, Settings, cli, cluster_of, millis, root, secs, turn_with_roots, until,
};

/// Three nodes out of the root.
fn cluster() -> Option<Shared> {
    root("a server out of another root").then(|| cluster_of(Options { root: Some(Root::Mariadb), ..Options::USUAL }))
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn three_nodes_are_served_and_what_takes_one_of_them_away_is_seen() {
    let Some(cluster) = cluster() else { return };
    let [n1, _, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let version = n1.variable("version");
    println!("{version}");
    assert!(version.starts_with("11.8."), "{version}");
    let galeway = Galeway::before(&cluster, Settings::default());
    for name in ["n1", "n2", "n3"] {
        assert_eq!(galeway.wait_verdict(name, "eligible", secs(5))["reason"], "Synced");
    }
    assert_eq!(galeway.cluster()["membership"], "uuid");
    let mut there = session_on(&galeway, "n3");
    let mut elsewhere = session_on(&galeway, "n1");
    let load = Load::with(galeway.addr(), Manner::CALM);
    load.wait_for(50);

    n3.desync();
    assert_eq!(galeway.wait_verdict("n3", "excluded", secs(5))["reason"], "Donor/Desynced");
    n3.resync();
    galeway.wait_verdict("n3", "eligible", secs(5));
    let rejects = n3.set("wsrep_reject_queries", "ALL");
    let reason = galeway.wait_verdict("n3", "excluded", secs(5))["reason"].clone();
    assert!(reason.as_str().unwrap().contains("wsrep_reject_queries"), "{reason}");
    drop(rejects);
    galeway.wait_verdict("n3", "eligible", secs(5));
    assert_alive(&mut there);

    n3.kill();
    assert!(there.ends_within(secs(5)));
    assert_eq!(galeway.wait_verdict("n3", "excluded", secs(5))["reason"], "unreachable (connection refused)");
    load.wait_for(100);
    assert_alive(&mut elsewhere);
    n3.rejoin();
    whole_again(&cluster, &galeway, "n3", load);
    assert_alive(&mut elsewhere);
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn the_check_logs_in_by_parsec() {
    let Some(_turn) = turn_with_roots() else { return };
    let node = standalone_out_of(Root::Mariadb, &["--plugin-load-add=auth_parsec"]);
    node.sql("CREATE USER par@'%' IDENTIFIED VIA parsec USING PASSWORD('secret')");
    let seen = checked_at(node.addr(), "user = \"par\"\npassword = \"secret\"", "");
    assert_eq!(seen, ("eligible".into(), "Synced".into()));
    let (verdict, reason) = checked_at(node.addr(), "user = \"par\"\npassword = \"wrong\"", "");
    assert!(reason.contains("login refused (1045 "), "{verdict}: {reason}");
}

/// As an operator upgrades a cluster: each node is drained, stopped, begun with the new programs on its data, and given back.
#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_cluster_is_upgraded_node_by_node_under_clients_who_insert_and_meet_no_error() {
    const INSERTING: Manner = Manner {
        threads: 2,
        stay: millis(300),
        statement: Some("INSERT INTO load_test.t (node) VALUES (@@wsrep_node_name)"),
        ..Manner::CALM
    };
    let Some(_turn) = turn_with_roots() else { return };
    let mut cluster = Cluster::start(Options::USUAL);
    let before = cluster.nodes[0].variable("version");
    Both::prepare(&cluster);
    // Sessions that are there when the writer is drained may end by themselves.
    let settings = Settings {
        roles: WRITER_AND_READER,
        sessions: "on_demote = \"keep\"",
        service: "queue_timeout = \"30s\"",
        ..Settings::default()
    };
    let galeway = Galeway::before(&cluster, settings);
    galeway.wait_writer("n1", secs(10));
    let inserting = Load::with(galeway.service("writer"), INSERTING);
    inserting.wait_for(10);
    // The writer is one of those in between: it moves, and what takes over is old once and new once.
    for i in [2, 0, 1] {
        let name = cluster.nodes[i].name.clone();
        let began = Instant::now();
        galeway.set_node(&name, "drain");
        let clients = || cluster.nodes[i].sql("SELECT 1 FROM information_schema.processlist WHERE user = 'app'").len();
        until(secs(30), "its sessions end", || (clients() == 0).then_some(()));
        cluster.nodes[i].stop();
        cluster.nodes[i].launch_through(Root::Mariadb.launcher());
        cluster.nodes[i].rejoin();
        cluster.nodes[i].wait_synced(3);
        upgrade(&cluster.nodes[i]);
        galeway.set_node(&name, "ready");
        galeway.wait_verdict(&name, "eligible", secs(30));
        println!("{name}: {} and serving after {:?}", cluster.nodes[i].variable("version"), began.elapsed());
        inserting.wait_for(10);
    }
    let report = inserting.stop();
    let by_node = report.by_node_since(Instant::now() - secs(3600));
    assert_no_failed_connect(&report);
    assert_eq!(report.broken(), []);
    let rows: usize =
        cluster.nodes[0].root().unwrap().one("SELECT COUNT(*) FROM load_test.t").unwrap().parse().unwrap();
    let most = galeway.log().lines().filter(|l| l.contains("writer changed")).count();
    println!(
        "{before} to 11.8: {} sessions, {rows} inserts, 0 errors; {by_node:?}, the writer moved {most} times",
        report.iterations.len()
    );
    assert!(rows >= report.iterations.len(), "{rows}");
    for node in &cluster.nodes {
        assert!(node.variable("version").starts_with("11.8."));
        assert_eq!(node.root().unwrap().one("SELECT COUNT(*) FROM load_test.t").unwrap(), rows.to_string());
    }
}

/// `mariadb-upgrade`, as Debian's unit runs it after a start.
#[track_caller]
fn upgrade(node: &Node) {
    let launcher = Root::Mariadb.launcher();
    let socket = format!("--socket={}", node.socket().display());
    let mut command = std::process::Command::new(&launcher[0]);
    command.args(&launcher[1..]).args(["mariadb-upgrade", "--no-defaults", "--user=root", &socket]);
    let seen = cli::run(&mut command);
    assert_eq!(seen.code, Some(0), "{}: {seen:?}", node.name);
}

// ---- what `galeway recover` prints

/// Carries the printed --wsrep-recover command out where this node's data are, and returns the log as a file to give.
#[track_caller]
fn run_recovery(node: &Node, advice: &serde_json::Value) -> [String; 2] {
    let end = format!("2> {}.log", node.name);
    let line = lines(advice).into_iter().find(|l| l.ends_with(&end)).unwrap_or_else(|| panic!("{advice:#}"));
    execute(node, &line);
    ["--file".to_owned(), format!("{0}={1}/{0}.log", node.name, node.dir().display())]
}

#[track_caller]
fn execute(node: &Node, line: &str) {
    println!("{}: {line}", node.name);
    let seen = cli::run(&mut node.at_its_machine(line));
    assert_eq!(seen.code, Some(0), "{line}: {seen:?}");
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_survivor_without_a_quorum_is_made_primary_by_the_command_as_it_is_printed() {
    let Some(cluster) = cluster() else { return };
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    cluster.nodes.iter().for_each(Node::keep_settings);
    assert_eq!(n1.variable("wsrep_provider_pc_bootstrap"), "OFF", "the plugin is there");
    n2.kill();
    n3.kill();
    n1.wait(secs(20), "non-Primary", |s| !s.primary());
    let evidence = [vec![n1.addr().to_string()], data(n2).to_vec(), data(n3).to_vec()].concat();
    let said = advice(&evidence, 1);
    let evidence = [evidence, run_recovery(n2, &said).to_vec(), run_recovery(n3, &said).to_vec()].concat();
    println!("{}", recover(&evidence).stdout);
    let said = advice(&evidence, 0);
    assert_eq!(said["candidate"], n1.addr().to_string(), "{said:#}");
    // As root on that machine.
    let local = lines(&said).into_iter().find(|l| l.starts_with("mariadb -e ")).unwrap_or_else(|| panic!("{said:#}"));
    execute(n1, &local);
    n1.wait_synced(1);
    assert_eq!(advice(&evidence, 0)["verdict"], "primary");
    for other in [n2, n3] {
        other.rejoin();
        other.wait(secs(60), "Synced", |s| s.synced());
    }
    cluster.wait_whole();
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn of_three_that_were_killed_the_furthest_begins_the_cluster_anew_by_the_commands_as_they_are_printed() {
    let Some(cluster) = cluster() else { return };
    let n1 = &cluster.nodes[0];
    for node in &cluster.nodes {
        // The harness's own flags lose the last second, as no server's should.
        node.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    }
    n1.sql("CREATE TABLE demo.killed (id INT PRIMARY KEY AUTO_INCREMENT)");
    for _ in 0..20 {
        n1.sql("INSERT INTO demo.killed VALUES ()");
    }
    let history = n1.state().unwrap().state_uuid;
    cluster.nodes.iter().for_each(Node::keep_settings);
    cluster.nodes.iter().for_each(Node::kill);
    let said = advice(&all_data(&cluster), 1);
    let logs: Vec<[String; 2]> = cluster.nodes.iter().map(|n| run_recovery(n, &said)).collect();
    let evidence = [all_data(&cluster), logs.concat()].concat();
    println!("{}", recover(&evidence).stdout);
    let said = advice(&evidence, 0);
    let seqnos: Vec<u64> = logs.iter().map(|l| recovered_seqno(&l[1])).collect();
    let most = seqnos.iter().copied().max().unwrap();
    let furthest = &cluster.nodes[seqnos.iter().position(|s| *s == most).unwrap()];
    println!("recovered: {seqnos:?}");
    assert_eq!(said["candidate"], *furthest.name, "{said:#}");

    let lines = lines(&said);
    for line in lines.iter().take_while(|l| !l.starts_with("galera_new_cluster")) {
        execute(furthest, line);
    }
    let by_hand = lines.iter().find(|l| l.starts_with("mariadbd --user=mysql --wsrep-new-cluster "));
    furthest.start_by_hand(by_hand.unwrap_or_else(|| panic!("{said:#}")));
    assert_eq!(furthest.wait_synced(1).state_uuid, history, "without its position it would have begun a new history");
    assert_eq!(furthest.sql("SELECT id FROM demo.killed").len(), 20);
    for other in cluster.nodes.iter().filter(|n| n.name != furthest.name) {
        other.start_recovered(Start::Join);
        other.wait(secs(60), "Synced", |s| s.synced());
    }
    cluster.wait_whole();
    n1.sql("DROP TABLE demo.killed");
}
