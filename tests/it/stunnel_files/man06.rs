//! The replication link of EGI's MAN06: a primary and a replica at two sites, and a tunnel between them by files with that
//! page's options.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::grid::{REFUSED, grid};
use super::{End, Program, local, man06, shows};
use crate::fakes::LONG;
use crate::harness::process::Signal;
use crate::harness::{Conn, Far, Node, full, millis, ports, secs, server, server_through, until, watchdog};

/// A server with a binary log, to be replicated with a position in it.
fn primary() -> Node {
    let primary = server("primary", &["--log-bin=bin"]);
    for sql in [
        "CREATE USER repl@'%' IDENTIFIED BY 'repl'",
        "GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
        "CREATE DATABASE site",
        "CREATE TABLE site.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, times INT NOT NULL DEFAULT 0, what LONGBLOB)",
    ] {
        primary.sql(sql);
    }
    primary
}

/// The primary's end: TLS from anywhere, on to the server beside it.
fn server_end(primary: &Node) -> (End, u16) {
    let port = ports::free();
    let section = format!("[mysql]\naccept = {port}\nconnect = 127.0.0.1:{}\n", primary.addr().port());
    (End::start(Program::Galeway, &(man06(&grid().host("primary")) + &section)), port)
}

/// Two servers and the tunnel between them; the replica and its end of the tunnel are over there, if there is a there.
struct Sites {
    primary: Node,
    replica: Node,
    at_primary: End,
    at_replica: End,
}

impl Sites {
    fn new(far: Option<&Far>) -> Self {
        let primary = primary();
        let launcher = far.map(Far::launcher).unwrap_or_default();
        let replica = server_through(launcher.clone(), "replica", &["--read-only=ON"]);
        let (at_primary, port) = server_end(&primary);
        let server1 = far.map_or(IpAddr::from([127, 0, 0, 1]), |far| far.near.into());
        let accept = ports::free();
        let section = format!("client = yes\n[mysql]\naccept = 127.0.0.1:{accept}\nconnect = {server1}:{port}\n");
        let text = man06(&grid().host("replica")) + &section;
        let at_replica = End::start_through(launcher, Program::Galeway, &text);

        // What both have from their seed is the same.
        let (file, position) = position(&primary);
        replica.sql("CREATE DATABASE site");
        replica.sql(
            "CREATE TABLE site.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, times INT NOT NULL DEFAULT 0, what LONGBLOB)",
        );
        replica.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={accept}, MASTER_USER='repl', MASTER_PASSWORD='repl', \
             MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}, MASTER_CONNECT_RETRY=1"
        ));
        replica.sql("START SLAVE");
        Self { primary, replica, at_primary, at_replica }
    }

    /// Waits until the replica has what is written after this moment.
    #[track_caller]
    fn wait_news(&self) {
        let before = last(&self.primary);
        until(LONG * 2, "the replica has what is written now", || {
            // By root's own socket, since nobody else gets to it.
            (last(&self.replica) > before).then_some(())
        });
    }

    /// The replica has all that the primary has, and it is the same.
    #[track_caller]
    fn assert_same(&self) {
        let (file, position) = position(&self.primary);
        let caught_up = || {
            let waited = self.replica.sql(&format!("SELECT MASTER_POS_WAIT('{file}', {position}, 1)"));
            waited[0][0].as_deref().is_some_and(|events| events != "-1").then_some(())
        };
        until(LONG * 2, "the replica catches up", caught_up);
        let sums = [&self.primary, &self.replica].map(|node| node.sql("CHECKSUM TABLE site.t")[0][1].clone().unwrap());
        println!("checksums of {} rows: {sums:?}", last(&self.primary));
        assert_eq!(sums[0], sums[1]);
        assert_ne!(sums[0], "0");
    }
}

fn position(primary: &Node) -> (String, String) {
    let row = primary.sql("SHOW MASTER STATUS").remove(0);
    (row[0].clone().unwrap(), row[1].clone().unwrap())
}

/// The last row's number; 0 without any.
#[track_caller]
fn last(node: &Node) -> u64 {
    node.sql("SELECT COALESCE(MAX(id), 0) FROM site.t")[0][0].as_ref().unwrap().parse().unwrap()
}

/// Somebody writes all the time: new rows, small and large, changed ones, and some that go.
struct Writing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    began: Instant,
}

impl Writing {
    fn start(primary: &Node) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut conn = Conn::app(primary.addr(), LONG).unwrap();
        let thread = std::thread::spawn(move || {
            for n in 1_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let len = if n % 50 == 0 { 300_000 } else { n * 37 % 2000 };
                conn.query(&format!("INSERT INTO site.t (what) VALUES (REPEAT(MD5(RAND()), {len} / 32))")).unwrap();
                conn.query(&format!("UPDATE site.t SET times = times + 1 WHERE id > {n} - 3")).unwrap();
                if n % 7 == 0 {
                    conn.query(&format!("DELETE FROM site.t WHERE id = {}", n / 2)).unwrap();
                }
                std::thread::sleep(millis(10));
            }
        });
        Self { stop, thread, began: Instant::now() }
    }

    /// Goes on until this long after its begin.
    fn finish(self, after: Duration) {
        std::thread::sleep(after.saturating_sub(self.began.elapsed()));
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Both ends run as nobody, and tell of the link what an operator looks for.
fn assert_told(sites: &Sites) {
    for (end, peer) in [(&sites.at_primary, "replica"), (&sites.at_replica, "primary")] {
        end.wait_line(&["LOG5[ui]: Configuration successful"]);
        end.wait_line(&["LOG5[0]: Service [mysql] accepted connection from "]);
        end.wait_line(&["LOG5[0]: Certificate accepted at depth=1: /DC=org/DC=example/CN=grid CA"]);
        let host = format!("LOG5[0]: Certificate accepted at depth=0: /DC=org/DC=example/CN={peer}.example.org");
        end.wait_line(&[&host]);
        end.wait_line(&["LOG5[0]: s_connect: connected "]);
        if rustix::process::geteuid().is_root() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", end.process.id())).unwrap();
            assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
        }
    }
    let rows = sites.primary.sql("SELECT HOST FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0][0].as_ref().unwrap().starts_with("127.0.0.1:"), "{rows:?}");
}

#[test]
fn a_replica_behind_a_tunnel_of_man06_catches_up_after_each_end_was_killed() {
    let mut sites = Sites::new(None);
    let writing = Writing::start(&sites.primary);
    sites.wait_news();
    assert_told(&sites);
    sites.at_replica.restart(Signal::KILL);
    sites.wait_news();
    sites.at_primary.restart(Signal::KILL);
    sites.wait_news();
    sites.at_primary.restart(Signal::TERM);
    sites.wait_news();
    writing.finish(if full() { secs(60) } else { secs(10) });
    sites.assert_same();
    // The connections of a killed process end without close_notify, and by a reset where it had not read everything.
    until(LONG, "the replica's end was missed", || {
        let log = sites.at_primary.log();
        ["LOG3[0]: TLS error: ", "LOG3[0]: socket error: Connection reset by peer"]
            .iter()
            .any(|line| log.contains(line))
            .then_some(())
    });
    sites.at_primary.wait_line(&["LOG5[0]: Connection reset: ", " byte(s) sent to TLS, ", " byte(s) sent to socket"]);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_replica_behind_a_tunnel_of_man06_catches_up_after_its_path_was_cut() {
    let Some(far) = Far::new() else { return };
    let mut sites = Sites::new(Some(&far));
    let writing = Writing::start(&sites.primary);
    sites.wait_news();
    assert_told(&sites);
    far.vanish();
    // What was under way may have come.
    std::thread::sleep(secs(1));
    let then = last(&sites.replica);
    std::thread::sleep(secs(19));
    assert_eq!(last(&sites.replica), then, "the path is not cut");
    assert!(last(&sites.primary) > then + 100);
    far.come_back();
    sites.wait_news();
    sites.at_replica.restart(Signal::KILL);
    sites.wait_news();
    // Cut for longer than either end waits, with an end that was restarted meanwhile.
    far.vanish();
    sites.at_primary.restart(Signal::KILL);
    std::thread::sleep(secs(5));
    far.come_back();
    sites.wait_news();
    writing.finish(secs(60));
    sites.assert_same();
}

#[test]
fn who_shows_no_certificate_of_the_grid_never_meets_the_database() {
    let primary = primary();
    let (server_end, port) = server_end(&primary);
    let mut text = man06(&grid().host("replica")).replace("cert = ", ";cert = ").replace("key = ", ";key = ");
    text += "client = yes\n";
    let mut section = |name: &str, shown: &str| {
        let accept = ports::free();
        text += &format!("[{name}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{port}\n{shown}");
        local(accept)
    };
    let good = section("good", &shows(&grid().host("replica")));
    let nobody = section("nobody", "");
    let bad = REFUSED.map(|(name, why)| (name, why, section(name, &shows(&grid().host(name)))));
    let client_end = End::start(Program::Galeway, &text);

    let mut session = Conn::app(good, LONG).unwrap();
    assert_eq!(session.one("SELECT 6 * 7").unwrap(), "42");
    Conn::greet(nobody, LONG).unwrap_err();
    server_end.wait_line(&[" LOG3[", "SSL_accept: peer did not return a certificate"]);
    for (name, why, addr) in bad {
        Conn::greet(addr, LONG).unwrap_err();
        let subject = format!("/DC=org/DC=example/CN={name}.example.org");
        server_end.wait_line(&[" LOG4[", "Rejected by CERT at depth=0: ", &subject]);
        let line = server_end.wait_line(&[" LOG3[", "SSL_accept: certificate verify failed: ", &subject, why]);
        println!("{line}");
    }
    // Who was refused is told so as well.
    for alert in ["certificate_required", "unknown_ca", "certificate_expired", "certificate_revoked"] {
        client_end.wait_line(&[" LOG3[", "SSL_connect: the peer ", &format!("(alert {alert})")]);
    }
    assert_eq!(session.one("SELECT 6 * 7").unwrap(), "42", "the others go on");
    assert_eq!(server_end.log().matches("s_connect: connected").count(), 1, "{}", server_end.log());
}

#[test]
fn a_crl_that_does_not_count_is_told_at_the_start() {
    let dir = watchdog::fresh_path("crls");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("00000000.r0"), "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n").unwrap();
    let text = man06(&grid().host("primary"));
    let certificates = format!("CRLpath = {}", grid().certificates().display());
    let text = text.replace(&certificates, &format!("CRLpath = {}", dir.display()));
    let section = format!("[mysql]\naccept = {}\nconnect = {}\n", ports::free(), ports::free());
    let end = End::start(Program::Galeway, &(text + &section));
    end.wait_line(&[" LOG4[ui]: does not count ", "service=mysql ", "00000000.r0", "CRL 1: it cannot be read"]);
}
