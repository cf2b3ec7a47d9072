//! MySQL's Group Replication, out of a root: the primary writes, and a member that is not ONLINE or has no majority with it gets
//! nobody.

use std::time::{Duration, Instant};

use super::mysql9::{BOTH, before, now_on, wait_reason};
use super::{assert_no_failed_connect, entry, is_server_error};
use crate::harness::mysql::FEW;
use crate::harness::process::Signal;
use crate::harness::{Conn, Galeway, Load, Mysql, ports, secs, turn_with_roots, within};

const GROUP: &str = "5f5c8e0a-9d43-4d6e-8f0b-3f5d5b2d0c11";

/// Three members, of which the first began the group.
struct Group {
    members: [Mysql; 3],
}

impl Group {
    #[track_caller]
    fn start() -> Self {
        let group: [String; 3] = std::array::from_fn(|_| format!("127.0.0.1:{}", ports::free()));
        let flags = group.each_ref().map(|own| {
            [
                "--plugin-load-add=group_replication.so".to_owned(),
                format!("--group-replication-group-name={GROUP}"),
                format!("--group-replication-local-address={own}"),
                format!("--group-replication-group-seeds={}", group.join(",")),
                "--group-replication-start-on-boot=OFF".to_owned(),
                "--group-replication-recovery-get-public-key=ON".to_owned(),
                // By default such a member is offline as well, which is another test's.
                "--group-replication-exit-state-action=READ_ONLY".to_owned(),
                "--group-replication-unreachable-majority-timeout=0".to_owned(),
                "--report-host=127.0.0.1".to_owned(),
            ]
        });
        let flags = flags.each_ref().map(|f| f.each_ref().map(String::as_str));
        let members = Mysql::start_all([&flags[0], &flags[1], &flags[2]]);
        for member in &members {
            member.sql(
                "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl' \
                 FOR CHANNEL 'group_replication_recovery'",
            );
        }
        let it = Self { members };
        let first = &it.members[0];
        first.sql("SET GLOBAL group_replication_bootstrap_group = ON");
        first.sql("START GROUP_REPLICATION");
        first.sql("SET GLOBAL group_replication_bootstrap_group = OFF");
        it.wait_state(0, "ONLINE");
        for (i, member) in it.members.iter().enumerate().skip(1) {
            member.sql("START GROUP_REPLICATION");
            it.wait_state(i, "ONLINE");
        }
        for sql in [
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, at TIMESTAMP(6) DEFAULT NOW(6))",
            "GRANT REPLICATION CLIENT ON *.* TO monitor@'%'",
            "GRANT SELECT ON performance_schema.replication_group_members TO monitor@'%'",
        ] {
            first.sql(sql);
        }
        it.members[1].wait_caught_up(first);
        it.members[2].wait_caught_up(first);
        it
    }

    /// What a member says of itself.
    #[track_caller]
    fn wait_state(&self, i: usize, state: &str) {
        let own =
            "SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid";
        self.members[i].wait(secs(90), own, state);
    }

    fn galeway(&self) -> Galeway {
        let [m1, m2, m3] = &self.members;
        let galeway = before(&[m1, m2, m3], BOTH);
        galeway.wait_ready();
        galeway
    }

    #[track_caller]
    fn wait_all_serve(galeway: &Galeway, writer: &str) {
        galeway.wait_writer(writer, secs(30));
        for name in ["m1", "m2", "m3"] {
            galeway.wait_verdict(name, "eligible", secs(30));
        }
    }
}

/// For that long no client is sent to this member.
#[track_caller]
fn assert_nobody_is_sent(galeway: &Galeway, name: &str) {
    let nodes = now_on(galeway, "reader", 40);
    assert!(!nodes.is_empty() && !nodes.iter().any(|n| n == name), "{nodes:?}");
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn the_primary_of_a_group_is_the_writer_and_a_member_that_is_not_online_gets_nobody() {
    let Some(_turn) = turn_with_roots() else { return };
    let group = Group::start();
    let [m1, m2, m3] = &group.members;
    let galeway = group.galeway();
    Group::wait_all_serve(&galeway, "m1");
    assert_eq!(now_on(&galeway, "reader", 40), ["m1", "m2", "m3"]);
    assert_eq!(now_on(&galeway, "writer", 10), ["m1"]);

    // Out of the group, and far behind soon: it only looks like a server that takes no writes.
    m3.sql("STOP GROUP_REPLICATION");
    wait_reason(&galeway, "m3", "excluded", "OFFLINE", secs(10));
    assert_nobody_is_sent(&galeway, "m3");

    // Back in it, and not yet where the others are: what it has to apply waits for a lock.
    let mut lock = m3.root().unwrap();
    lock.query("LOCK TABLES shop.t READ").unwrap();
    m1.sql("INSERT INTO shop.t () VALUES ()");
    m3.sql("START GROUP_REPLICATION");
    group.wait_state(2, "RECOVERING");
    wait_reason(&galeway, "m3", "excluded", "RECOVERING", secs(10));
    assert_nobody_is_sent(&galeway, "m3");
    lock.query("UNLOCK TABLES").unwrap();
    group.wait_state(2, "ONLINE");
    Group::wait_all_serve(&galeway, "m1");

    // The operator's own switch, under clients who write.
    let writers = Load::with(galeway.service("writer"), FEW);
    writers.wait_for(10);
    let uuid = m2.one("SELECT @@server_uuid");
    m1.sql(&format!("SELECT group_replication_set_as_primary('{uuid}')"));
    let moved = Instant::now();
    galeway.wait_writer("m2", secs(10));
    println!("set_as_primary: the writer after {:?}", moved.elapsed());
    let moved = Instant::now();
    writers.wait_for(20);
    let report = writers.stop();
    assert_no_failed_connect(&report);
    assert_eq!(report.by_node_since(moved).keys().collect::<Vec<_>>(), [&"m2"]);
    Group::wait_all_serve(&galeway, "m2");

    // What the group writes cannot be written here.
    let mut here = m3.root().unwrap();
    for sql in ["SET sql_log_bin = OFF", "SET GLOBAL super_read_only = OFF", "INSERT INTO shop.t (id) VALUES (1000)"] {
        here.query(sql).unwrap();
    }
    m3.sql("SET GLOBAL super_read_only = ON");
    m2.sql("INSERT INTO shop.t (id) VALUES (1000)");
    group.wait_state(2, "ERROR");
    wait_reason(&galeway, "m3", "excluded", "ERROR", secs(10));
    assert_nobody_is_sent(&galeway, "m3");
    assert_eq!(galeway.cluster()["writer"], "m2");
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_member_whose_group_has_lost_its_majority_gets_nobody() {
    let Some(_turn) = turn_with_roots() else { return };
    let group = Group::start();
    let [m1, m2, m3] = &group.members;
    let galeway = group.galeway();
    Group::wait_all_serve(&galeway, "m1");
    // Still writable and ONLINE to itself; what is written there hangs for ever.
    m2.signal(Signal::STOP);
    m3.signal(Signal::STOP);
    let others = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'UNREACHABLE'";
    m1.wait(secs(60), others, "2");
    let seen = Instant::now();
    galeway.wait_cluster(secs(10), "m1 gets nobody", |c| entry(c, "m1")["verdict"] == "excluded");
    println!("minority: {} after {:?}", galeway.node("m1")["reason"], seen.elapsed());
    galeway.wait_cluster(secs(10), "no writer", |c| c["writer"].is_null());
    let failure = Conn::app(galeway.service("writer"), secs(20)).unwrap_err();
    println!("writer: {failure}");
    assert!(is_server_error(&failure.error, 1047), "{failure}");
    m2.signal(Signal::CONT);
    m3.signal(Signal::CONT);
    // Whether the group finds together again by itself is its own matter; while it has not, none of it is served.
    let whole = within(secs(60), || (m1.try_sql(others).ok()?[0][0].as_deref() == Some("0")).then_some(()));
    if whole.is_some() {
        galeway.wait_cluster(secs(60), "a writer again", |c| c["writer"].is_string());
    }
}

#[test]
#[ignore = "servers out of a root: scripts/test --full runs it"]
fn a_member_of_a_group_that_the_check_may_not_ask_about_it_gets_nobody_and_the_reason_names_the_grant() {
    let Some(_turn) = turn_with_roots() else { return };
    let group = Group::start();
    let [m1, m2, m3] = &group.members;
    m1.sql("REVOKE SELECT ON performance_schema.replication_group_members FROM monitor@'%'");
    m2.wait_caught_up(m1);
    m3.wait_caught_up(m1);
    let galeway = before(&[m1, m2, m3], BOTH);
    for name in ["m1", "m2", "m3"] {
        wait_reason(&galeway, name, "excluded", "replication_group_members", Duration::from_secs(20));
    }
    m1.sql("GRANT SELECT ON performance_schema.replication_group_members TO monitor@'%'");
    Group::wait_all_serve(&galeway, "m1");
}
