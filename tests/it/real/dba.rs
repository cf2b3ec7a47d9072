//! What docs/dba.md says of clients behind a balancer, tried with the real `mariadb` client.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::galeway::table;
use crate::harness::process::{Process, Signal};
use crate::harness::{Cluster, Galeway, Node, Settings, certs, cli, cluster, secs, server, until, watchdog};

/// The client at a statement that takes long, known by this word in the process list: the client cuts comments.
fn busy(addr: SocketAddr, mark: &str) -> Process {
    Process::spawn(
        Command::new("mariadb")
            .args(["--no-defaults", "--protocol=tcp", "--skip-ssl", "-uapp", "-papp", "-N", "-B", "-h"])
            .args([&addr.ip().to_string(), "-P", &addr.port().to_string(), "-e"])
            .arg(format!("SELECT SLEEP(600) AS {mark}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// Which nodes run that statement.
fn running(cluster: &Cluster, mark: &str) -> Vec<String> {
    let asked = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%AS {mark}' AND ID <> CONNECTION_ID()"
    );
    let runs = |node: &&Node| node.sql(&asked)[0][0].as_deref() != Some("0");
    cluster.nodes.iter().filter(runs).map(|n| n.name.clone()).collect()
}

/// How many KILLs each node was sent.
fn kills(cluster: &Cluster) -> Vec<u64> {
    cluster.nodes.iter().map(|n| n.status("Com_kill").parse().unwrap()).collect()
}

#[test]
fn ctrl_c_ends_the_statement_by_the_writers_service_and_may_miss_it_by_another() {
    let cluster = cluster();
    let galeway = Galeway::before(&cluster, Settings { roles: &["any", "writer"], ..Settings::default() });

    let mut client = busy(galeway.service("writer"), "by_writer");
    until(secs(20), "the statement runs", || (running(&cluster, "by_writer").len() == 1).then_some(()));
    client.signal(Signal::INT);
    until(secs(20), "KILL reached it", || running(&cluster, "by_writer").is_empty().then_some(()));
    client.kill();

    // In turn: the connection that carries the KILL is the next one's.
    let before = kills(&cluster);
    let mut client = busy(galeway.service("any"), "by_any");
    let on = until(secs(20), "the statement runs", || running(&cluster, "by_any").pop());
    client.signal(Signal::INT);
    let after = until(secs(20), "some node was sent a KILL", || Some(kills(&cluster)).filter(|now| *now != before));
    let hit: Vec<&str> =
        (0..).zip(&cluster.nodes).filter(|(i, _)| after[*i] > before[*i]).map(|(_, n)| &*n.name).collect();
    assert!(hit.len() == 1 && hit[0] != on, "{on} runs the statement, {hit:?} was sent the KILL");
    assert_eq!(running(&cluster, "by_any"), [on], "it runs on");
    client.kill();
}

/// The client with the server's certificate verified for the address that it connects to.
fn verified(addr: SocketAddr, ca: &Path) -> cli::Output {
    let ca = format!("--ssl-ca={}", ca.display());
    cli::mariadb(addr, &[&ca, "--ssl-verify-server-cert"], "SELECT 'in'")
}

#[test]
fn a_client_that_verifies_names_needs_the_balancers_address_in_the_nodes_certificate() {
    for (names, gets_in) in [(&["db1.example.org"][..], false), (&["db1.example.org", "127.0.0.1"], true)] {
        let certs = certs::certificate(&watchdog::fresh_path("certs"), names);
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let node =
            server("db1", &[&flag("ssl-ca", &certs.ca), &flag("ssl-cert", &certs.cert), &flag("ssl-key", &certs.key)]);
        let galeway = Galeway::spawn_nodes(
            &[table("db1", node.addr(), "")],
            Settings { monitor: "kind = \"mysql\"", ..Settings::default() },
        );
        galeway.wait_ready();
        let seen = verified(galeway.addr(), &certs.ca);
        if gets_in {
            assert_eq!(seen.stdout, "in\n", "{seen:?}");
        } else {
            assert!(seen.code != Some(0) && seen.stderr.contains("ERROR 2026"), "{seen:?}");
            // The network lets it in: it is the name.
            let ca = format!("--ssl-ca={}", certs.ca.display());
            assert_eq!(cli::mariadb(galeway.addr(), &[&ca], "SELECT 'in'").stdout, "in\n");
        }
    }
}
