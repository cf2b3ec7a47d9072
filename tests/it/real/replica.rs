//! An asynchronous replica of the cluster, as it stands at another site: a reader as long as it replicates, and what is left
//! when the cluster is lost.

use std::time::{Duration, Instant};

use super::{ROUND, SLACK, TOLD_SOON, assert_alive, assert_no_failed_connect, entry, is_server_error, session_of};
use crate::harness::galeway::{WRITER_AND_READER, table};
use crate::harness::load::Manner;
use crate::harness::{Cluster, Conn, Galeway, Load, Node, Settings, cluster, secs, server, until};

/// How far behind the replica may be.
const LAG: Duration = secs(4);

/// A standalone server that replicates the first node, from now on.
fn replica(cluster: &Cluster) -> Node {
    let n1 = &cluster.nodes[0];
    let replica = server("replica", &["--read-only=ON"]);
    for sql in ["CREATE USER repl@'%' IDENTIFIED BY 'repl'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'"] {
        n1.sql(sql);
    }
    let position = n1.variable("gtid_binlog_pos");
    replica.sql(&format!("SET GLOBAL gtid_slave_pos = '{position}'"));
    // After a lost connection it comes back soon.
    replica.sql(&format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'repl', MASTER_PASSWORD = 'repl', \
         MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        n1.addr().port()
    ));
    replica.sql("START SLAVE");
    replica
}

/// In front of the cluster, with the replica as its backup.
fn galeway(cluster: &Cluster, replica: &Node) -> Galeway {
    let mut nodes: Vec<String> = cluster.nodes.iter().map(|n| table(&n.name, n.addr(), "")).collect();
    nodes.push(table("replica", replica.addr(), "kind = \"mysql\", backup = true"));
    let galeway = Galeway::spawn_nodes(
        &nodes,
        Settings {
            monitor: "interval = \"100ms\"",
            eligibility: &format!("max_replication_lag = \"{}s\"", LAG.as_secs()),
            roles: WRITER_AND_READER,
            service: TOLD_SOON,
            ..Settings::default()
        },
    );
    galeway.wait_ready();
    galeway
}

fn wait_reason(galeway: &Galeway, verdict: &str, part: &str) -> Instant {
    let fits = |c: &serde_json::Value| {
        let node = entry(c, "replica");
        node["verdict"] == verdict && node["reason"].as_str().is_some_and(|reason| reason.contains(part))
    };
    let seen = galeway.wait_cluster(secs(20), &format!("{verdict}: {part}"), fits);
    println!("replica {verdict}: {}", entry(&seen, "replica")["reason"]);
    Instant::now()
}

fn grant(replica: &Node) {
    replica.sql("GRANT SLAVE MONITOR ON *.* TO monitor@'%'");
}

#[test]
fn a_replica_reads_while_it_replicates_and_goes_on_reading_when_the_cluster_is_lost() {
    let cluster = cluster();
    let n1 = &cluster.nodes[0];
    let replica = replica(&cluster);
    n1.sql("CREATE DATABASE site");
    n1.sql("CREATE TABLE site.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, at VARCHAR(64))");
    let write = || n1.sql("INSERT INTO site.t (at) VALUES (NOW(6))");
    let rows = || replica.try_sql("SELECT COUNT(*) FROM site.t").ok()?[0][0].clone();
    write();
    until(secs(20), "the replica replicates", || rows().filter(|n| n == "1"));

    let galeway = galeway(&cluster, &replica);
    // Without the right nobody knows.
    wait_reason(&galeway, "excluded", "it needs GRANT SLAVE MONITOR");
    assert!(galeway.node("replica")["reason"].as_str().unwrap().contains("1227"));
    grant(&replica);
    wait_reason(&galeway, "eligible", "replicates");
    assert_eq!(galeway.cluster()["writer"], "n1");
    // Whoever asks as clustercheck's users do may send those who write.
    let told = (503, "Percona XtraDB Cluster Node is read-only.\r\n".to_owned());
    assert_eq!(galeway.get("/clustercheck/replica"), told);

    // A backup: nobody is sent there.
    let (readers, writers) = (
        Load::with(galeway.service("reader"), Manner::FEW),
        Load::with(galeway.service("writer"), Manner { threads: 1, ..Manner::CALM }),
    );
    readers.wait_for(60);

    // Stopped, and mended.
    replica.sql("STOP SLAVE");
    wait_reason(&galeway, "excluded", "replication stopped (");
    replica.sql("START SLAVE");
    wait_reason(&galeway, "eligible", "replicates");
    // Its thread that writes hits an error, which is shown.
    let other = "INSERT INTO site.t (id, at) VALUES (1000, 'here')";
    replica.sql(other);
    n1.sql(other);
    wait_reason(&galeway, "excluded", "replication stopped (SQL_Running=No, error 1062)");
    // The error's text holds the row.
    assert!(!galeway.get("/api/status").1.contains("1000") && !galeway.log().contains("Duplicate"));
    replica.sql("DELETE FROM site.t WHERE id = 1000");
    replica.sql("START SLAVE");
    wait_reason(&galeway, "eligible", "replicates");

    // Behind.
    let mut lock = replica.root().unwrap();
    lock.query("FLUSH TABLES WITH READ LOCK").unwrap();
    write();
    let began = Instant::now();
    let behind = wait_reason(&galeway, "excluded", "s behind its source (max_replication_lag = 4 s)");
    println!("replica: behind after {:?}", behind - began);
    // The server counts whole seconds.
    assert!(behind - began > LAG - SLACK, "{:?}", behind - began);
    lock.query("UNLOCK TABLES").unwrap();
    wait_reason(&galeway, "eligible", "replicates");
    assert_eq!(rows().as_deref(), Some("3"));

    // The site is lost.
    let report = readers.stop();
    assert_no_failed_connect(&report);
    assert!(report.iterations.iter().all(|i| i.node.as_deref() != Some("replica")), "a backup serves beside others");
    let readers = Load::with(galeway.service("reader"), Manner::FEW);
    readers.wait_for(10);
    let lost = Instant::now();
    cluster.nodes.iter().for_each(Node::kill);
    let cut = wait_reason(&galeway, "eligible", "replication cannot reach its source");
    let mut session = session_on_replica(&galeway);
    let from = Instant::now();
    readers.wait_for(30);
    writers.wait_for(3);
    let last = wait_reason(&galeway, "last-resort", "replication cannot reach its source, last resort");
    println!("replica: source lost after {:?}, a last resort after {:?}", cut - lost, last - lost);
    assert!(last - lost > LAG - secs(1) && last - lost < LAG + secs(1) + ROUND + SLACK, "{:?}", last - lost);
    readers.wait_for(30);
    let report = readers.stop();
    assert_no_failed_connect(&report);
    let nodes = report.by_node_since(from);
    assert_eq!(nodes.keys().collect::<Vec<_>>(), [&"replica"], "{nodes:?}");
    assert_alive(&mut session);
    assert_eq!(session.one("SELECT COUNT(*) FROM site.t").unwrap(), "3");

    // Who writes is told why not.
    let failure = Conn::app(galeway.service("writer"), secs(20)).unwrap_err();
    println!("writer: {failure}");
    assert!(is_server_error(&failure.error, 1047), "{failure}");
    let text = failure.to_string();
    for part in ["no node of cluster \"main\" can serve role writer", "n1: unreachable (", "replica: "] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!writers.stop().by_node_since(cut).contains_key("replica"));
    assert_eq!(galeway.get("/readyz?service=reader").0, 200);
    assert_eq!(galeway.get("/readyz?service=writer").0, 503);
}

/// A session of the reader service, which nothing but the replica serves.
fn session_on_replica(galeway: &Galeway) -> Conn {
    session_of(galeway.service("reader"), "replica")
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_replica_comes_back_by_itself_when_its_source_does() {
    let cluster = cluster();
    let replica = replica(&cluster);
    grant(&replica);
    let galeway = galeway(&cluster, &replica);
    wait_reason(&galeway, "eligible", "replicates");
    cluster.nodes[0].stop();
    wait_reason(&galeway, "eligible", "replication cannot reach its source");
    // The others serve what is newer.
    wait_reason(&galeway, "excluded", "perhaps further behind than max_replication_lag");
    assert_eq!(galeway.cluster()["verdict"], "primary");
    let load = Load::with(galeway.service("reader"), Manner::FEW);
    load.wait_for(30);
    cluster.nodes[0].rejoin();
    cluster.wait_whole();
    wait_reason(&galeway, "eligible", "replicates");
    let report = load.stop();
    assert_no_failed_connect(&report);
    assert!(report.iterations.iter().all(|i| i.node.as_deref() != Some("replica")));
    cluster.nodes[0].sql("DROP USER repl@'%'");
}
