//! Percona XtraDB Cluster, as far as it can be had: three scripted nodes with its rows, its login and its switches.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use galeway::mysql::{Connection, Credentials, Greeted};
use galeway::net::Stream;
use tokio::net::TcpStream;

use crate::fakes::{FAST, LONG};
use crate::harness::galeway::binary;
use crate::harness::{Galeway, Settings, cli, secs, until};
use crate::peer::{Pxc, pxc};

/// A service for each role.
fn before(pxc: &Pxc, sessions: &str) -> Galeway {
    let settings = Settings { roles: &["any", "writer", "reader"], monitor: FAST, sessions, ..Settings::default() };
    let galeway = Galeway::spawn(&pxc.addresses(), settings);
    galeway.wait_ready();
    galeway
}

/// A client of an account of caching_sha2_password.
async fn client(service: SocketAddr) -> Connection {
    let stream = TcpStream::connect(service).await.unwrap();
    let greeted = Greeted::new(Stream::from(stream)).await.unwrap();
    greeted.login(Credentials { user: pxc::USER, password: pxc::PASSWORD }, None).await.unwrap()
}

/// The node that a client meets there.
async fn met(service: SocketAddr) -> String {
    let mut client = client(service).await;
    let answer = client.query("SELECT @@wsrep_node_name").await.unwrap();
    answer.value().unwrap().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[track_caller]
fn wait(galeway: &Galeway, node: &str, verdict: &str, reason: &str) {
    until(LONG, &format!("{node} {verdict}: {reason}"), || {
        let seen = galeway.node(node);
        (seen["verdict"] == *verdict && seen["reason"].as_str().unwrap().starts_with(reason)).then_some(())
    });
}

#[test]
fn its_nodes_serve_every_role() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "");
    for i in 1..=3 {
        wait(&galeway, &pxc::name(i), "eligible", "Synced");
        assert!(pxc.knows_account(i), "its check logged in with the password under the server's key");
    }
    assert_eq!(galeway.cluster()["verdict"], "primary");
    assert_eq!(galeway.cluster()["membership"], "uuid", "it has mysql.wsrep_cluster_members");
    let runtime = runtime();
    let met = |role: &str| runtime.block_on(met(galeway.service(role)));
    let any: BTreeSet<String> = (0..3).map(|_| met("any")).collect();
    assert_eq!(any.len(), 3, "{any:?}");
    let writer = met("writer");
    assert_eq!(galeway.cluster()["writer"], *writer);
    assert!((0..4).all(|_| met("reader") != writer));
}

#[test]
fn a_probe_of_a_node_says_yes() {
    let pxc = Pxc::start();
    let password = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pxc-password-{}", std::process::id()));
    std::fs::write(&password, pxc::PASSWORD).unwrap();
    let mut command = Command::new(binary());
    command.arg("probe").args(pxc.addresses().iter().map(|(_, address)| address.to_string()));
    command.args(["--user", pxc::USER, "--password-file"]).arg(&password);
    let seen = cli::run(&mut command);
    std::fs::remove_file(&password).unwrap();
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert_eq!(seen.stdout.matches("eligible: Synced").count(), 3, "{seen:?}");
}

#[test]
fn its_maintenance_mode_drains_a_node_and_moves_the_writer() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "drain_timeout = \"1h\"");
    let runtime = runtime();
    let mut sessions: Vec<Connection> = (0..3).map(|_| runtime.block_on(client(galeway.service("any")))).collect();
    galeway.wait_writer("pxc1", LONG);
    for mode in ["MAINTENANCE", "SHUTDOWN"] {
        pxc.node(1).set_variable("pxc_maint_mode", mode);
        wait(&galeway, "pxc1", "excluded", &format!("pxc_maint_mode={mode}"));
        galeway.wait_writer("pxc2", LONG);
        for _ in 0..3 {
            assert_ne!(runtime.block_on(met(galeway.service("any"))), "pxc1");
        }
        for session in &mut sessions {
            assert!(runtime.block_on(session.query("SELECT 1")).is_ok(), "what is there may go on");
        }
        pxc.node(1).set_variable("pxc_maint_mode", "DISABLED");
        wait(&galeway, "pxc1", "eligible", "Synced");
    }
}

#[test]
fn a_server_that_forgot_the_account_is_asked_for_its_key_again() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "");
    pxc.forget_account(2);
    pxc.node(2).cut_connections();
    until(LONG, "its check has logged in again", || pxc.knows_account(2).then_some(()));
    wait(&galeway, "pxc2", "eligible", "Synced");
    let changes = galeway.metric("galeway_verdict_changes_total", &[("node", "pxc2"), ("reason", "login_refused")]);
    assert_eq!(changes, 0.0);
}

/// The node is a member for its peers, which list it, and it answers nobody.
#[test]
fn a_node_in_offline_mode_is_passed_over_and_the_writer_moves_and_it_is_back_soon_after() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "");
    galeway.wait_writer("pxc1", LONG);
    pxc.node(1).set_variable("offline_mode", "ON");
    let said = "offline_mode=ON (3032 The server is currently in offline mode)";
    wait(&galeway, "pxc1", "excluded", said);
    galeway.wait_writer("pxc2", LONG);
    let runtime = runtime();
    for role in ["any", "writer", "reader"] {
        for _ in 0..3 {
            assert_ne!(runtime.block_on(met(galeway.service(role))), "pxc1", "{role}");
        }
    }
    // As long as the back-off of a refused login would have grown to.
    std::thread::sleep(secs(5));
    wait(&galeway, "pxc1", "excluded", said);
    pxc.node(1).set_variable("offline_mode", "OFF");
    let began = Instant::now();
    wait(&galeway, "pxc1", "eligible", "Synced");
    assert!(began.elapsed() < secs(3), "{:?}", began.elapsed());
}

#[test]
fn nodes_that_are_all_in_offline_mode_are_no_last_resort() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "");
    for i in 1..=3 {
        pxc.node(i).set_variable("offline_mode", "ON");
    }
    for i in 1..=3 {
        wait(&galeway, &pxc::name(i), "excluded", "offline_mode=ON");
    }
    until(LONG, "nothing can be routed", || (galeway.get("/readyz").0 == 503).then_some(()));
}

/// The table of members answers 1047 then, and the list that was read of the same view goes on to count.
#[test]
fn a_node_that_rejects_queries_does_not_make_the_membership_weak() {
    let pxc = Pxc::start();
    let galeway = before(&pxc, "");
    pxc.node(2).set_variable("wsrep_reject_queries", "ALL");
    wait(&galeway, "pxc2", "excluded", "wsrep_reject_queries=ALL");
    // A doubt has all lists read again: here by a node whose view seems to be another one for a moment.
    pxc.node(3).set_status("wsrep_cluster_conf_id", "8");
    std::thread::sleep(secs(1));
    assert_eq!(galeway.cluster()["membership"], "uuid");
    assert!(!galeway.log().contains("weak"), "{}", galeway.log());
}
