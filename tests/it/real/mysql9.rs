//! MySQL 9 out of a root: how the check logs in, which server writes, which ones are read, and what `offline_mode` does.

use std::time::{Duration, Instant};

use super::logins::{NATIVE, checked_at};
use super::{ROUND, SLACK, assert_alive, assert_no_failed_connect, entry, is_server_error};
use crate::harness::galeway::{WRITER_AND_READER, table};
use crate::harness::load::{Manner, Report};
use crate::harness::mysql::{FEW, NAME};
use crate::harness::{Conn, Galeway, Load, Mysql, Settings, secs, turn_with_roots, until};

const KIND: &str = "kind = \"mysql\"\ninterval = \"200ms\"";
const READ_ONLY: &str = "--super-read-only=ON";

/// In front of these servers, with a service for each role.
pub(super) fn before(servers: &[&Mysql], settings: Settings<'_>) -> Galeway {
    let nodes: Vec<String> = servers.iter().map(|s| table(&s.name, s.addr(), "")).collect();
    let galeway = Galeway::spawn_nodes(&nodes, Settings { monitor: KIND, ..settings });
    until(secs(20), "galeway listens", || galeway.try_get("/healthz"));
    galeway
}

pub(super) const BOTH: Settings<'static> = Settings {
    cluster: "",
    monitor: KIND,
    eligibility: "",
    writer: "",
    sessions: "",
    roles: WRITER_AND_READER,
    service: "balance = \"round-robin\"\nqueue_timeout = \"5s\"",
    admin: "",
    reader: "reader_includes_writer = \"always\"",
    process: "",
    launcher: &[],
};

/// Waits for a node's verdict with a reason that holds `part`.
#[track_caller]
pub(super) fn wait_reason(galeway: &Galeway, name: &str, verdict: &str, part: &str, limit: Duration) {
    let fits = |c: &serde_json::Value| {
        let node = entry(c, name);
        node["verdict"] == verdict && node["reason"].as_str().is_some_and(|reason| reason.contains(part))
    };
    let seen = galeway.wait_cluster(limit, &format!("{name} {verdict}: {part}"), fits);
    println!("{name} {verdict}: {}", entry(&seen, name)["reason"]);
}

/// Which servers the clients were on that came since then.
fn nodes_since(report: &Report, from: Instant) -> Vec<String> {
    let mut nodes: Vec<String> = report.by_node_since(from).keys().map(ToString::to_string).collect();
    nodes.sort();
    nodes
}

/// What a service's clients met in `more` connections from now on: on which servers they were.
#[track_caller]
pub(super) fn now_on(galeway: &Galeway, role: &str, more: usize) -> Vec<String> {
    let load = Load::with(galeway.service(role), FEW);
    let from = Instant::now();
    load.wait_for(more);
    let report = load.stop();
    assert_no_failed_connect(&report);
    nodes_since(&report, from)
}

/// A session through this service.
#[track_caller]
fn session(galeway: &Galeway, role: &str, name: &str) -> Conn {
    until(secs(20), "a session on the wanted server", || {
        let mut conn = Conn::app(galeway.service(role), secs(20)).unwrap_or_else(|e| panic!("{e}"));
        (conn.one(NAME).unwrap() == name).then_some(conn)
    })
}

// ---- the login of the check

fn monitor(lines: &str) -> String {
    format!("{KIND}\n{lines}")
}

const OFF: &str = "tls = \"off\"";
const REQUIRE: &str = "tls = \"require\"";

/// A check with these lines logs in to this server.
#[track_caller]
fn assert_logs_in(server: &Mysql, login: &str, lines: &str, why: &str) {
    let (verdict, reason) = checked_at(server.addr(), login, &monitor(lines));
    assert!(verdict == "eligible" && reason.starts_with("takes writes"), "{why}: {verdict}: {reason}");
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn the_check_logs_in_by_caching_sha2_password_with_the_servers_key_by_its_memory_and_over_tls() {
    let Some(_turn) = turn_with_roots() else { return };
    let server = Mysql::start(1, &[]);
    println!("{}", server.one("SELECT VERSION()"));
    // It remembers nobody yet, so the password itself has to go over, encrypted with its RSA key.
    assert_logs_in(&server, NATIVE, OFF, "its key");
    let ca = format!("tls = \"verify-ca\"\nca = \"{}\"", server.data().join("ca.pem").display());

    let refused = |login: &str, sql: &str, code: &str| {
        server.sql(sql);
        let (verdict, reason) = checked_at(server.addr(), login, &monitor(OFF));
        println!("{sql}: {verdict}: {reason}");
        assert!(reason.contains(&format!("login refused ({code} ")), "{sql}: {verdict}: {reason}");
    };
    let wrong = "user = \"monitor\"\npassword = \"wrong\"";
    refused(wrong, "DO 0", "1045");
    refused(NATIVE, "ALTER USER monitor@'%' ACCOUNT LOCK", "3118");
    refused(NATIVE, "ALTER USER monitor@'%' ACCOUNT UNLOCK PASSWORD EXPIRE", "1862");
    refused(NATIVE, "ALTER USER monitor@'%' IDENTIFIED BY 'monitor' REQUIRE SSL PASSWORD EXPIRE NEVER", "1045");
    assert_logs_in(&server, NATIVE, &ca, "verify-ca");
    server.kill();

    // Without that key only its memory lets anybody in who has no TLS.
    let keyless = ["caching-sha2", "sha256"].map(|p| format!("--{p}-password-auto-generate-rsa-keys=OFF"));
    let keyless = Mysql::stopped(2, &keyless.each_ref().map(String::as_str));
    for key in ["private_key.pem", "public_key.pem"] {
        std::fs::remove_file(keyless.data().join(key)).unwrap();
    }
    keyless.start_again();
    let unknown = |when: &str| {
        let (verdict, reason) = checked_at(keyless.addr(), NATIVE, &monitor(OFF));
        println!("no key, {when}: {verdict}: {reason}");
        assert_ne!(verdict, "eligible", "{when}");
        assert!(!reason.contains("unreachable"), "{when}: {reason}");
    };
    unknown("never seen");
    assert_logs_in(&keyless, NATIVE, REQUIRE, "TLS, the password itself");
    assert_logs_in(&keyless, NATIVE, OFF, "from memory");
    keyless.sql("FLUSH PRIVILEGES");
    unknown("forgotten");
    keyless.remember("monitor");
    assert_logs_in(&keyless, NATIVE, REQUIRE, "TLS, from memory");
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn the_check_logs_in_by_sha256_password_and_an_account_that_does_not_exist_is_refused_as_such() {
    let Some(_turn) = turn_with_roots() else { return };
    let server = Mysql::start(1, &[]);
    server.sql("CREATE USER sha@'%' IDENTIFIED WITH sha256_password BY 'secret'");
    let sha = "user = \"sha\"\npassword = \"secret\"";
    for tls in [OFF, REQUIRE] {
        assert_logs_in(&server, sha, tls, tls);
    }
    // The server makes up a plugin for whom it does not know, by the name.
    for i in 1..=8 {
        let nobody = format!("user = \"nobody{i}\"\npassword = \"x\"");
        let (verdict, reason) = checked_at(server.addr(), &nobody, &monitor(OFF));
        assert!(reason.contains("login refused (1045 "), "nobody{i}: {verdict}: {reason}");
    }
    // Longer than the server's RSA key can encrypt: the account's matter, and no news of the server.
    let long = "x".repeat(250);
    server.sql(&format!("CREATE USER 'long'@'%' IDENTIFIED BY '{long}'"));
    let (verdict, reason) =
        checked_at(server.addr(), &format!("user = \"long\"\npassword = \"{long}\""), &monitor(OFF));
    println!("a long password: {verdict}: {reason}");
    assert!(!reason.contains("unreachable") && !reason.contains("not understood"), "{reason}");
}

// ---- replication

/// A source that takes writes, a replica that takes none, and one that was left writable; the monitor may see how they replicate.
fn three() -> [Mysql; 3] {
    let servers = Mysql::start_all([&[], &[READ_ONLY], &[]]);
    let [source, replica, writable] = &servers;
    replica.replicate(source);
    writable.replicate(source);
    for sql in [
        "GRANT REPLICATION CLIENT ON *.* TO monitor@'%'",
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, at TIMESTAMP(6) DEFAULT NOW(6))",
    ] {
        source.sql(sql);
    }
    replica.wait_caught_up(source);
    writable.wait_caught_up(source);
    servers
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_replica_that_was_left_writable_is_judged_by_its_replication_and_is_not_promoted_while_that_is_broken() {
    let Some(_turn) = turn_with_roots() else { return };
    let servers = three();
    let [source, replica, writable] = &servers;
    let galeway =
        before(&[source, replica, writable], Settings { eligibility: "max_replication_lag = \"30s\"", ..BOTH });
    galeway.wait_ready();
    galeway.wait_writer("m1", secs(10));
    for name in ["m2", "m3"] {
        galeway.wait_verdict(name, "eligible", secs(10));
    }
    assert_eq!(now_on(&galeway, "reader", 30), ["m1", "m2", "m3"]);

    // A row that only it has: what the source writes next cannot be written here.
    let mut here = writable.root().unwrap();
    here.query("SET sql_log_bin = OFF").unwrap();
    here.query("INSERT INTO shop.t (id) VALUES (1000)").unwrap();
    source.sql("INSERT INTO shop.t (id) VALUES (1000)");
    wait_reason(&galeway, "m3", "excluded", "replication stopped (SQL_Running=No, error 1062)", secs(10));
    assert_eq!(now_on(&galeway, "reader", 30), ["m1", "m2"]);

    // The source is gone. Nothing else may be written to, and so the role goes nowhere.
    source.kill();
    galeway.wait_verdict("m1", "excluded", secs(10));
    let gone = Instant::now();
    while gone.elapsed() < secs(5) {
        let writer = galeway.cluster()["writer"].clone();
        assert!(writer.is_null() || writer == "m1", "{}", galeway.cluster());
        std::thread::sleep(Duration::from_millis(100));
    }
    let failure = Conn::app(galeway.service("writer"), secs(20)).unwrap_err();
    println!("writer: {failure}");
    assert!(is_server_error(&failure.error, 1047), "{failure}");
    assert_eq!(now_on(&galeway, "reader", 20), ["m2"]);

    // By hand.
    for sql in ["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"] {
        replica.sql(sql);
    }
    let promoted = Instant::now();
    galeway.wait_writer("m2", ROUND + SLACK);
    println!("failover by hand: the writer after {:?}", promoted.elapsed());
    assert_eq!(now_on(&galeway, "writer", 10), ["m2"]);
    let mut session = session(&galeway, "writer", "m2");
    session.query("INSERT INTO shop.t () VALUES ()").unwrap();
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_replica_is_read_only_while_it_replicates() {
    let Some(_turn) = turn_with_roots() else { return };
    let servers = three();
    let [source, replica, writable] = &servers;
    let galeway =
        before(&[source, replica, writable], Settings { eligibility: "max_replication_lag = \"4s\"", ..BOTH });
    galeway.wait_ready();
    galeway.wait_writer("m1", secs(10));
    // The one as the other: whether it could be written to has nothing to do with what it lacks.
    for (server, other) in [(replica, "m3"), (writable, "m2")] {
        let name = &server.name;
        for (stop, start, reason) in [
            ("STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD", "replication stopped (SQL_Running=No"),
            ("STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD", "replication stopped (IO_Running=No"),
        ] {
            server.sql(stop);
            wait_reason(&galeway, name, "excluded", reason, secs(10));
            assert_eq!(now_on(&galeway, "reader", 20), ["m1", other], "{stop}");
            server.sql(start);
            galeway.wait_verdict(name, "eligible", secs(10));
        }
        for sql in ["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 12", "START REPLICA"] {
            server.sql(sql);
        }
        source.sql("INSERT INTO shop.t () VALUES ()");
        wait_reason(&galeway, name, "excluded", "s behind its source (max_replication_lag = 4 s)", secs(20));
        galeway.wait_verdict(name, "eligible", secs(30));
        for sql in ["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0", "START REPLICA"] {
            server.sql(sql);
        }
        galeway.wait_verdict(name, "eligible", secs(10));
        assert_eq!(galeway.cluster()["writer"], "m1");
    }
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn role_any_sends_nobody_who_may_write_to_a_server_that_takes_no_writes() {
    let Some(_turn) = turn_with_roots() else { return };
    let servers = three();
    let [source, replica, _] = &servers;
    let galeway = before(&[source, replica], Settings { roles: &["any"], reader: "", ..BOTH });
    galeway.wait_ready();
    galeway.wait_verdict("m2", "eligible", secs(10));
    let insert = Manner { statement: Some("INSERT INTO shop.t () VALUES ()"), ..FEW };
    let load = Load::with(galeway.service("any"), insert);
    load.wait_for(40);
    let report = load.stop();
    assert_no_failed_connect(&report);
    assert_eq!(report.broken(), []);
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn of_two_writable_servers_that_replicate_nothing_none_writes_until_an_operator_has_decided() {
    let Some(_turn) = turn_with_roots() else { return };
    let servers = Mysql::start_all([&[], &[]]);
    let [first, second] = &servers;
    for server in &servers {
        server.sql("GRANT REPLICATION CLIENT ON *.* TO monitor@'%'");
    }
    let galeway = before(&[first, second], BOTH);
    // Which one has the data of the other, nobody can tell who comes cold.
    until(secs(20), "galeway accepts", || galeway.log().contains("\"accepting\"").then_some(()));
    let cold = Instant::now();
    while cold.elapsed() < secs(3) {
        assert!(galeway.cluster()["writer"].is_null(), "{}", galeway.cluster());
        std::thread::sleep(Duration::from_millis(100));
    }
    let warned =
        || galeway.log().lines().filter(|l| l.contains("\"WARN\"") && l.contains("m1") && l.contains("m2")).count();
    assert!(warned() > 0, "{}", galeway.log());

    second.sql("SET GLOBAL super_read_only = ON");
    galeway.wait_writer("m1", ROUND + SLACK);
    second.sql("SET GLOBAL super_read_only = OFF");
    second.sql("SET GLOBAL read_only = OFF");
    galeway.wait_cluster(secs(10), "m2 is seen as writable", |c| entry(c, "m2")["reason"] != "read-only");
    assert_eq!(now_on(&galeway, "reader", 30), ["m1"], "the other one has other data");
    assert_eq!(now_on(&galeway, "writer", 10), ["m1"]);
    assert!(warned() > 1, "{}", galeway.log());
}

// ---- offline_mode

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_server_in_offline_mode_gets_nobody_and_is_back_when_it_is_over() {
    let Some(_turn) = turn_with_roots() else { return };
    let servers = three();
    let [source, replica, _] = &servers;
    let galeway = before(&[source, replica], BOTH);
    galeway.wait_ready();
    galeway.wait_writer("m1", secs(10));
    galeway.wait_verdict("m2", "eligible", secs(10));
    // An account without CONNECTION_ADMIN is thrown out and refused with error 3032; one with it sees the variable.
    for grant in ["DO 0", "GRANT CONNECTION_ADMIN ON *.* TO monitor@'%'"] {
        source.sql(grant);
        replica.wait_caught_up(source);
        for server in [source, replica] {
            server.sql("SET GLOBAL offline_mode = OFF");
        }
        let load = Load::with(galeway.service("reader"), FEW);
        load.wait_for(10);
        let mut reading = session(&galeway, "reader", "m2");
        replica.sql("SET GLOBAL offline_mode = ON");
        wait_reason(&galeway, "m2", "excluded", "offline_mode", secs(10));
        let out = Instant::now();
        load.wait_for(30);
        // The load's account may go on, and so may the session of it that is there: it is the node's own word to drain.
        assert_alive(&mut reading);
        let back = Instant::now();
        replica.sql("SET GLOBAL offline_mode = OFF");
        galeway.wait_verdict("m2", "eligible", secs(10));
        println!("offline_mode OFF: eligible after {:?}", back.elapsed());
        load.wait_for(30);
        let report = load.stop();
        assert_no_failed_connect(&report);
        let meanwhile = report.iterations.iter().filter(|i| i.start >= out && i.start + i.took < back);
        assert!(meanwhile.filter_map(|i| i.node.as_deref()).all(|n| n == "m1"), "clients were sent there");
        assert!(report.by_node_since(back).contains_key("m2"));

        // The only one that takes writes: nobody is sent there all the same.
        source.sql("SET GLOBAL offline_mode = ON");
        wait_reason(&galeway, "m1", "excluded", "offline_mode", secs(10));
        let failure = Conn::app(galeway.service("writer"), secs(20)).unwrap_err();
        assert!(is_server_error(&failure.error, 1047), "{failure}");
        // Neither where there is nothing else.
        replica.sql("SET GLOBAL offline_mode = ON");
        wait_reason(&galeway, "m2", "excluded", "offline_mode", secs(10));
        let failure = Conn::app(galeway.service("reader"), secs(20)).unwrap_err();
        assert!(is_server_error(&failure.error, 1047), "{failure}");
        for server in [source, replica] {
            server.sql("SET GLOBAL offline_mode = OFF");
        }
        galeway.wait_writer("m1", secs(10));
        galeway.wait_verdict("m2", "eligible", secs(10));
    }
}
