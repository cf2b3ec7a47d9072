//! A replication link from another site, through a tunnel of two processes whose far end hands it to a node that may serve.

use std::net::SocketAddr;
use std::time::Instant;

use super::SLACK;
use crate::harness::certs::certificate;
use crate::harness::{Cluster, Galeway, Node, Options, Settings, cluster_of, ports, secs, server, until, watchdog};

/// A server of another site that replicates from this address by GTID, from where the cluster is now.
fn replica(cluster: &Cluster, source: SocketAddr) -> Node {
    let n1 = &cluster.nodes[0];
    for sql in ["CREATE USER repl@'%' IDENTIFIED BY 'repl'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'"] {
        n1.sql(sql);
    }
    let replica = server("replica", &["--read-only=ON", "--server-id=4242"]);
    let position = n1.variable("gtid_binlog_pos");
    replica.sql(&format!("SET GLOBAL gtid_slave_pos = '{position}'"));
    replica.sql(&format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'repl', MASTER_PASSWORD = 'repl', \
         MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1",
        source.port()
    ));
    replica.sql("START SLAVE");
    replica
}

/// The node that the link is on, by the far end's status.
fn link_on(far: &Galeway) -> Option<String> {
    let nodes = far.cluster()["nodes"].as_array().cloned().unwrap_or_default();
    let active = |n: &&serde_json::Value| n["connections"]["active"].as_u64() > Some(0);
    nodes.iter().find(active).map(|n| n["name"].as_str().unwrap_or_default().to_owned())
}

/// Sessions that the far end has begun so far.
fn sessions(far: &Galeway) -> f64 {
    far.metric("galeway_connect_attempts_total", &[("result", "ok")])
}

fn write(node: &Node, rows: u32) {
    for _ in 0..rows {
        node.sql("INSERT INTO site.t (at) VALUES (NOW(6))");
    }
}

/// Waits until the replica holds what this node does, by checksum.
#[track_caller]
fn agree(node: &Node, replica: &Node) {
    let sum = |n: &Node| n.try_sql("CHECKSUM TABLE site.t").ok()?[0][1].clone();
    let wanted = sum(node).unwrap();
    until(secs(60), &format!("checksum {wanted} of {}: {:?}", node.name, replica.sql("SHOW SLAVE STATUS")), || {
        sum(replica).filter(|found| *found == wanted)
    });
}

#[test]
fn a_replicas_link_stays_on_its_node_and_moves_to_another_when_that_is_lost() {
    let cluster = cluster_of(Options { gtid: true, ..Options::default() });
    let dir = watchdog::fresh_path("link");
    let certs = certificate(&dir, &["primary.site"]);
    let key = |name: &str, path: &std::path::Path| format!("{name} = \"{}\"", path.display());
    let shown = format!("{}, {}", key("cert", &certs.cert), key("key", &certs.key));
    let far = Galeway::before(
        &cluster,
        Settings {
            monitor: "interval = \"100ms\"",
            // How long a session may stay on a node that is taken out.
            sessions: "drain_timeout = \"1s\"",
            service: &format!("balance = \"first\"\ntls = {{ {shown}, {} }}", key("client_ca", &certs.ca)),
            ..Settings::default()
        },
    );
    let accept = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let near = Galeway::sections(&format!(
        "[service.link]\naccept = \"{accept}\"\nconnect = \"{}\"\nprotocol = \"mysql\"\n\
         connect_tls = {{ {shown}, {}, server_name = \"primary.site\" }}\n",
        far.addr(),
        key("ca", &certs.ca)
    ));
    near.wait_ready();

    let [n1, n2, n3] = &cluster.nodes[..] else { unreachable!() };
    let replica = replica(&cluster, accept);
    n1.sql("CREATE DATABASE site");
    n1.sql("CREATE TABLE site.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, at VARCHAR(64))");
    write(n1, 5);
    n1.wait_synced(3);
    agree(n1, &replica);
    assert_eq!(link_on(&far).as_deref(), Some("n1"), "the first");
    let begun = sessions(&far);
    let start = Instant::now();
    let passed = |what: &str| println!("tunnel: {what} after {:?}", start.elapsed());

    // Writes elsewhere move nothing.
    write(n2, 20);
    write(n3, 20);
    agree(n3, &replica);
    assert_eq!((link_on(&far).as_deref(), sessions(&far)), (Some("n1"), begun));

    // Its node is lost.
    n1.kill();
    until(secs(40), "the link on another node", || link_on(&far).filter(|node| node == "n2"));
    passed("moved from the lost node");
    n2.wait_synced(2);
    write(n3, 20);
    agree(n3, &replica);
    passed("agrees");
    assert_eq!(link_on(&far).as_deref(), Some("n2"));

    // The lost one is back, and first in the list: a link that works is left where it is.
    n1.rejoin();
    cluster.wait_whole();
    far.wait_verdict("n1", "eligible", secs(40));
    passed("the lost one is back");
    let begun = sessions(&far);
    write(n3, 20);
    agree(n3, &replica);
    std::thread::sleep(SLACK);
    assert_eq!((link_on(&far).as_deref(), sessions(&far)), (Some("n2"), begun));

    // Its node is taken out by hand.
    far.set_node("n2", "maintenance");
    until(secs(40), "the link on the first node", || link_on(&far).filter(|node| node == "n1"));
    passed("moved from the node under maintenance");
    write(n2, 20);
    agree(n2, &replica);
    assert_eq!(replica.sql("SELECT COUNT(*) FROM site.t")[0][0].as_deref(), Some("105"));
    passed("agrees");
    far.set_node("n2", "ready");
}
