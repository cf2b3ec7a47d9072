//! Accounts, plugins and TLS of the check, on real servers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use super::{assert_alive, assert_no_failed_connect, session_on, wait_checked};
use crate::harness::{Galeway, Load, Node, Settings, certs, cluster, ports, secs, standalone, until, watchdog};

/// What one check of `node` brings with these lines in `[cluster.X.monitor]`: verdict and reason.
fn checked(node: &Node, login: &str, tls: &str) -> (String, String) {
    checked_at(node.addr(), login, tls)
}

/// The same of any server.
pub(super) fn checked_at(server: SocketAddr, login: &str, monitor: &str) -> (String, String) {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (accept, admin) = (local(ports::free()), local(ports::free()));
    let text = Settings { monitor, ..Settings::default() }.text(&[("solo".into(), server)], accept, admin);
    let text = text.replace("user = \"monitor\"\npassword = \"monitor\"", login);
    let galeway = Galeway::spawn_text(&text, accept, admin);
    until(secs(20), "galeway accepts", || galeway.log().contains("\"accepting\"").then_some(()));
    let seen = galeway.node("solo");
    let text = |key: &str| seen[key].as_str().unwrap().to_string();
    (text("verdict"), text("reason"))
}

pub(super) const NATIVE: &str = "user = \"monitor\"\npassword = \"monitor\"";
const ED25519: &str = "user = \"ed\"\npassword = \"secret\"";

/// Every way of `tls =`, with this file where one is needed.
fn modes(ca: &Path) -> [String; 4] {
    let ca = format!("ca = \"{}\"", ca.display());
    [
        "tls = \"off\"".into(),
        "tls = \"require\"".into(),
        format!("tls = \"verify-ca\"\n{ca}"),
        format!("tls = \"verify-identity\"\n{ca}"),
    ]
}

/// A server with a certificate for 127.0.0.1 and an account of either plugin.
fn server(flags: &[&str]) -> (Node, certs::Certs) {
    let certs = certs::certificate(&watchdog::fresh_path("certs"), &["127.0.0.1"]);
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let tls = [flag("ssl-ca", &certs.ca), flag("ssl-cert", &certs.cert), flag("ssl-key", &certs.key)];
    let node = standalone(&[&["--plugin-load-add=auth_ed25519", &tls[0], &tls[1], &tls[2]], flags].concat());
    node.sql("CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')");
    (node, certs)
}

#[test]
fn the_check_logs_in_by_native_password_and_by_ed25519_in_every_mode_of_tls() {
    let (node, certs) = server(&[]);
    for login in [NATIVE, ED25519] {
        for mode in modes(&certs.ca) {
            assert_eq!(checked(&node, login, &mode), ("eligible".into(), "Synced".into()), "{login} {mode}");
        }
    }
}

#[test]
fn a_server_that_requires_tls_is_eligible_by_every_mode_but_off() {
    let (node, certs) = server(&["--require-secure-transport=ON"]);
    for mode in &modes(&certs.ca)[1..] {
        assert_eq!(checked(&node, NATIVE, mode), ("eligible".into(), "Synced".into()), "{mode}");
    }
    let (verdict, reason) = checked(&node, NATIVE, "tls = \"off\"");
    println!("{reason}");
    // 10.11 refuses the account and does not say why; newer ones do (3159).
    assert_eq!(verdict, "excluded");
    assert!(reason.starts_with("check's login refused (1045 Access denied") || reason.contains("3159"), "{reason}");
}

#[test]
fn a_server_whose_certificate_another_authority_signed_is_excluded_and_the_reason_says_so() {
    let (node, _) = server(&[]);
    let other = certs::certificate(&watchdog::fresh_path("certs"), &["127.0.0.1"]);
    for mode in &modes(&other.ca)[2..] {
        let (verdict, reason) = checked(&node, NATIVE, mode);
        // The harness's authorities all bear one name.
        let expected = "check does not log in (TLS: the server's certificate bears a wrong signature \
            (is it signed by another CA of the same name?))";
        assert_eq!((verdict.as_str(), reason.as_str()), ("excluded", expected), "{mode}");
    }
}

#[test]
fn nodes_serve_on_as_a_last_resort_and_loudly_when_the_monitors_password_was_rotated() {
    let cluster = cluster();
    let galeway = Galeway::before(&cluster, Settings::default());
    let mut sessions = ["n1", "n2", "n3"].map(|name| session_on(&galeway, name));
    let load = Load::start(galeway.addr());
    let n1 = &cluster.nodes[0];
    n1.sql("ALTER USER monitor@'%' IDENTIFIED BY 'rotated'");
    // The connections that are there already live on; a restart of the servers or wait_timeout would end them. A node that
    // has not applied the change yet would let the next one in again.
    for node in &cluster.nodes {
        until(secs(10), "the check to be refused", || {
            node.sql("KILL USER monitor@'%'");
            let reason = galeway.node(&node.name)["reason"].as_str().unwrap_or_default().to_owned();
            reason.contains("login refused").then_some(())
        });
    }
    for node in &cluster.nodes {
        let seen = galeway.wait_verdict(&node.name, "last-resort", secs(20));
        let reason = seen["reason"].as_str().unwrap();
        assert!(reason.starts_with("check's login refused (1045 Access denied for user 'monitor'"), "{reason}");
    }
    assert_eq!(galeway.get("/readyz").0, 200);
    let loud = galeway.log().lines().filter(|l| l.contains("\"ERROR\"") && l.contains("and no node is fit")).count();
    assert_eq!(loud, 3, "one loud line a node");
    load.wait_for(100);
    sessions.iter_mut().for_each(assert_alive);

    n1.sql("ALTER USER monitor@'%' IDENTIFIED BY 'monitor'");
    for node in &cluster.nodes {
        galeway.wait_verdict(&node.name, "eligible", secs(30));
    }
    let report = load.stop();
    assert_no_failed_connect(&report);
    assert_eq!(report.broken(), []);
    sessions.iter_mut().for_each(assert_alive);
}

#[test]
fn nothing_happens_when_somebody_kills_the_checks_connection_and_it_logs_in_again() {
    let cluster = cluster();
    let galeway = Galeway::before(&cluster, Settings::default());
    let mut session = session_on(&galeway, "n1");
    let load = Load::start(galeway.addr());
    load.wait_for(20);
    let n1 = &cluster.nodes[0];
    let check = || {
        let rows = n1.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'monitor'");
        rows.first().and_then(|row| row[0].clone())
    };
    let before = check().unwrap();
    n1.sql(&format!("KILL {before}"));
    let killed = Instant::now();
    let after = until(secs(10), "another login of the check", || check().filter(|id| *id != before));
    println!("KILL: logged in again after {:?}", killed.elapsed());
    wait_checked(&galeway, "n1", killed);
    load.wait_for(50);
    assert_eq!(check(), Some(after), "and stays");
    assert_no_failed_connect(&load.stop());
    assert_alive(&mut session);
    let verdicts = galeway.log().lines().filter(|l| l.contains("\"message\":\"verdict\"")).count();
    assert_eq!(verdicts, 3, "only those of the start");
    assert_eq!(galeway.node("n1")["verdict"], "eligible");
}
