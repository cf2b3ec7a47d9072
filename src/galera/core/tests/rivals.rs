//! Servers by themselves that take writes beside each other, or replicate and take writes.

use super::*;
use crate::galera::server::Channel;
use crate::galera::{AdminState, Scope, ServerStatus};

/// What a MySQL 8.4 or 9 server answers, as far as it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) id: u32,
    pub(super) read_only: &'static str,
    /// Its channel: of whom, its threads, the numbers of their errors, the lag.
    pub(super) source: Option<u32>,
    pub(super) io: (&'static str, u32),
    pub(super) sql: (&'static str, u32),
    pub(super) lag: Option<u64>,
}

impl Server {
    /// One that takes writes and replicates nothing.
    pub(super) fn alone(id: u32) -> Self {
        Self { id, read_only: "OFF", source: None, io: ("Yes", 0), sql: ("Yes", 0), lag: Some(0) }
    }

    /// One that does not, and replicates.
    pub(super) fn replica(id: u32, source: u32) -> Self {
        Self { read_only: "ON", source: Some(source), ..Self::alone(id) }
    }

    /// One that does both.
    pub(super) fn writable_replica(id: u32, source: u32) -> Self {
        Self { read_only: "OFF", ..Self::replica(id, source) }
    }

    pub(super) fn cut(self) -> Self {
        Self { io: ("Connecting", 2003), lag: None, ..self }
    }

    pub(super) fn failed(self) -> Self {
        Self { sql: ("No", 1062), lag: None, ..self }
    }

    pub(super) fn stopped(self) -> Self {
        Self { io: ("No", 0), sql: ("No", 0), lag: None, ..self }
    }

    pub(super) fn status(self) -> ServerStatus {
        let rows = named(&[
            ("read_only", self.read_only),
            ("server_id", &(self.id + 1).to_string()),
            ("server_uuid", &uuid(self.id)),
        ]);
        ServerStatus::new(rows, Ok(self.channels()), None)
    }

    /// Its rows of `SHOW REPLICA STATUS`.
    pub(super) fn channels(self) -> Vec<Channel> {
        let channel = |source: u32| {
            let mut row = named(&[
                ("source_host", "10.0.0.9"),
                ("source_port", "3306"),
                ("source_server_id", &(source + 1).to_string()),
                ("source_uuid", &uuid(source)),
                ("channel_name", ""),
                ("replica_io_running", self.io.0),
                ("replica_sql_running", self.sql.0),
                ("last_io_errno", &self.io.1.to_string()),
                ("last_sql_errno", &self.sql.1.to_string()),
            ]);
            row.extend(self.lag.map(|lag| ("seconds_behind_source".to_owned(), lag.to_string())));
            row
        };
        self.source.map(channel).into_iter().collect()
    }

    pub(super) fn check(self) -> Check {
        Check::Server(Box::new(self.status()))
    }
}

fn uuid(id: u32) -> String {
    format!("3e11fa47-71ca-11e1-9e33-c80aa942956{id}")
}

fn named(pairs: &[(&str, &str)]) -> Channel {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn servers(count: u32, settings: Settings) -> World {
    let mut world = World::new(0, settings);
    for id in 0..count {
        world.step(Event::Added(NodeId(id), Spec { sort: Sort::Server, ..spec(id, 0) }));
    }
    world
}

/// These servers, seen once in their order.
pub(super) fn of(all: &[Server], settings: Settings) -> World {
    let mut world = servers(id(all.len()), settings);
    for server in all {
        world.see(server.id, server.check());
    }
    world
}

pub(super) fn writer(world: &World) -> Option<u32> {
    world.core.writer().map(|id| id.0)
}

pub(super) fn scope(world: &World, id: u32) -> Option<Scope> {
    let verdict = world.core.verdict(NodeId(id));
    verdict.kind.serves().then_some(verdict.scope)
}

/// Circular replication of two.
pub(super) fn circle() -> [Server; 2] {
    [Server::writable_replica(0, 1), Server::writable_replica(1, 0)]
}

// ---- a server that takes writes and replicates

#[test]
fn a_writable_replica_is_judged_by_its_replication_and_warned_of() {
    let replica = Server::writable_replica(1, 0);
    let mut world = of(&[Server::alone(0), replica], settings());
    assert_eq!((writer(&world), scope(&world, 0), scope(&world, 1)), (Some(0), Some(Scope::All), Some(Scope::Readers)));
    assert_eq!(world.reason(1), "takes writes and replicates (read_only=OFF)");
    world.see(1, replica.failed().check());
    assert_eq!(world.reason(1), "replication stopped (SQL_Running=No, error 1062)");
    assert_eq!(world.kind(1), Kind::Excluded);
    // The source dies: what it lacks nobody knows.
    world.see(0, gone());
    world.pass(60_000);
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![]));
    // Mended, and its source is dead still.
    world.see_often(1, &replica.cut().check(), 2);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![1]));
}

#[test]
fn a_failed_applier_is_never_promoted_and_one_stopped_by_hand_only_where_nothing_else_takes_writes() {
    let replica = Server::writable_replica(1, 0);
    for (replica, expected) in [(replica.failed(), None), (replica.stopped(), Some(1)), (replica.cut(), Some(1))] {
        // A cold start while the other is down.
        let mut world = servers(2, settings());
        world.see(0, gone());
        world.see(1, replica.check());
        assert_eq!(writer(&world), expected, "{replica:?}");
        // Its source was seen to take writes that it may lack.
        let mut world = of(&[Server::alone(0), replica], settings());
        world.see(0, gone());
        let expected = if replica.io.0 == "Connecting" { 1 } else { 0 };
        assert_eq!(writer(&world), Some(expected), "{replica:?}");
        assert_eq!(world.kind(1).serves(), expected == 1);
    }
}

#[test]
fn who_stops_replication_and_opens_a_server_for_writing_has_decided() {
    // As it is done by hand, and by programs that move the source: the channel may stay, or be reset.
    for promoted in [Server::alone(1), Server::writable_replica(1, 0).stopped()] {
        let mut world = of(&[Server::alone(0), Server::replica(1, 0)], settings());
        world.see(0, gone());
        world.see_often(1, &promoted.check(), 2);
        assert_eq!(writer(&world), Some(1));
        // While the old one lives for a moment still.
        let mut world = of(&[Server::alone(0), Server::replica(1, 0)], settings());
        world.see_often(1, &promoted.check(), 2);
        assert_eq!(writer(&world), Some(0));
        world.see(0, gone());
        assert_eq!(writer(&world), Some(1), "{promoted:?}");
    }
}

#[test]
fn a_writer_whose_own_replication_fails_goes_on_writing_and_is_not_read() {
    let [first, second] = circle();
    for bad in [first.failed(), first.stopped()] {
        let mut world = of(&circle(), Settings { failback: Failback::Immediate, ..settings() });
        assert_eq!((writer(&world), scope(&world, 0), scope(&world, 1)), (Some(0), Some(Scope::All), Some(Scope::All)));
        let outcome = world.see(0, bad.check());
        assert_eq!(orders(&outcome), Vec::<String>::new(), "its sessions stay");
        assert_eq!((writer(&world), scope(&world, 0)), (Some(0), Some(Scope::Writers)));
        assert!(
            world.reason(0).starts_with("takes writes; not for readers: replication stopped ("),
            "{}",
            world.reason(0)
        );
        // It dies, and the other one, which had everything, takes over.
        world.see(0, gone());
        world.see(1, second.cut().check());
        assert_eq!((writer(&world), scope(&world, 1)), (Some(1), Some(Scope::All)));
        // It comes back as it was.
        world.see_often(0, &bad.check(), 3);
        world.see_often(1, &second.check(), 3);
        assert_eq!((writer(&world), world.kind(0)), (Some(1), Kind::Excluded));
        // And mended.
        world.see_often(0, &first.check(), 3);
        assert_eq!((writer(&world), scope(&world, 0)), (Some(0), Some(Scope::All)));
    }
}

#[test]
fn a_writer_that_is_too_far_behind_for_readers_is_promoted_all_the_same() {
    let settings = || Settings { max_replication_lag: Some(Duration::from_secs(60)), ..settings() };
    let behind = Server { lag: Some(100), ..Server::writable_replica(1, 0) };
    let mut world = of(&[circle()[0], behind, Server::replica(2, 0)], settings());
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 2]));
    world.see(0, gone());
    assert_eq!((writer(&world), scope(&world, 1)), (Some(1), Some(Scope::Writers)));
    assert!(world.reason(1).ends_with("not for readers: 100 s behind its source (max_replication_lag = 60 s)"));
}

#[test]
fn circular_replication_of_three_hands_the_role_on_as_long_as_anybody_lives() {
    let all = [0, 1, 2].map(|id| Server::writable_replica(id, (id + 2) % 3));
    let mut world = of(&all, settings());
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1, 2]));
    assert!((0..3).all(|id| scope(&world, id) == Some(Scope::All)));
    world.see(0, gone());
    world.see(1, all[1].cut().check());
    assert_eq!(writer(&world), Some(1));
    world.see(1, gone());
    world.see(2, all[2].cut().check());
    assert_eq!(writer(&world), Some(2));
}

#[test]
fn of_a_chain_the_head_writes_and_the_next_one_takes_over() {
    // The head is not the first in the order.
    let all = [Server::writable_replica(0, 1), Server::writable_replica(1, 2), Server::alone(2)];
    let mut world = of(&all, settings());
    assert_eq!(writer(&world), Some(2));
    assert_eq!([0, 1, 2].map(|id| scope(&world, id)), [Some(Scope::Readers), Some(Scope::Readers), Some(Scope::All)]);
    world.see(2, gone());
    assert_eq!(writer(&world), Some(1), "what is written there the first one gets");
    // The old head lacks what was written since.
    world.see_often(2, &all[2].check(), 3);
    assert_eq!((writer(&world), world.kind(2)), (Some(1), Kind::Excluded));
    assert_eq!(world.reason(2), "takes writes beside n1, and lacks what is written there");
}

// ---- two that do not replicate from each other

#[test]
fn an_old_source_that_returns_gets_nobody_and_is_not_made_the_writer() {
    let mut world =
        of(&[Server::alone(0), Server::replica(1, 0)], Settings { failback: Failback::Immediate, ..settings() });
    world.see(0, gone());
    world.see_often(1, &Server::alone(1).check(), 2);
    assert_eq!(writer(&world), Some(1));
    world.see_often(0, &Server::alone(0).check(), 3);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![1]));
    assert_eq!(world.reason(0), "takes writes beside n1, and lacks what is written there");
    assert_eq!(world.core.writer_note(), None);
    // Nor when the new one dies.
    world.see(1, gone());
    world.pass(60_000);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![]));
    let note = world.core.writer_note().unwrap().to_owned();
    assert!(note.contains("n0 would take writes, but lacks what was written on n1"), "{note}");
    // An operator decides.
    world.step(Event::Operator(NodeId(1), AdminState::Drain));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0]));
}

#[test]
fn a_cold_start_between_two_names_none_until_an_operator_decides() {
    let start = || {
        let mut world = of(&[Server::alone(0), Server::alone(1), Server::replica(2, 1)], settings());
        world.pass(60_000);
        assert_eq!((writer(&world), world.serving()), (None, vec![2]));
        let note = world.core.writer_note().unwrap().to_owned();
        assert!(note.starts_with("no writer: n0, n1 take writes and do not replicate from each other; "), "{note}");
        world
    };
    for read_only in [0, 1] {
        let mut world = start();
        world.see(read_only, Server { read_only: "ON", ..Server::alone(read_only) }.check());
        assert_eq!((writer(&world), world.core.writer_note()), (Some(1 - read_only), None));
    }
    for state in [AdminState::Drain, AdminState::Maintenance] {
        let mut world = start();
        world.step(Event::Operator(NodeId(0), state));
        assert_eq!(writer(&world), Some(1));
        world.step(Event::Operator(NodeId(0), AdminState::Ready));
        assert_eq!((writer(&world), world.serving()), (Some(1), vec![1, 2]));
    }
    // Neither does the death of one of them: the other may be the old one.
    let mut world = start();
    world.see(1, gone());
    world.pass(60_000);
    assert_eq!(writer(&world), None);
    // One that follows the other is no rival any more.
    let mut world = start();
    world.see_often(0, &Server::writable_replica(0, 1).check(), 3);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![0, 1, 2]));
    // A restart that remembers goes on.
    let mut world = start();
    world.step(Event::Operator(NodeId(1), AdminState::Drain));
    let mut memory = world.core.memory();
    memory.operator.clear();
    let mut world = servers(2, settings());
    world.core.recall(&settings(), &memory);
    world.see(1, Server::alone(1).check());
    world.see(0, Server::alone(0).check());
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0]));
}

#[test]
fn a_source_is_known_by_its_number_where_it_has_no_uuid_and_by_its_place_while_it_is_silent() {
    let mariadb = |id: u32, source: u32| {
        let named = |pairs: &[(&str, &str)]| -> Channel {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let channel = named(&[
            ("master_host", "10.0.0.9"),
            ("master_port", "3306"),
            ("master_server_id", &source.to_string()),
            ("slave_io_running", if source == 0 { "Connecting" } else { "Yes" }),
            ("slave_sql_running", "Yes"),
            ("seconds_behind_master", "0"),
        ]);
        let rows = named(&[("read_only", "OFF"), ("server_id", &id.to_string())]);
        Check::Server(Box::new(ServerStatus::new(rows, Ok(vec![channel]), None)))
    };
    let mut world = servers(2, settings());
    world.see(0, mariadb(11, 12));
    world.see(1, mariadb(12, 11));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1]));
    // It was restarted while its source was down.
    world.see(0, gone());
    world.see(1, mariadb(12, 0));
    assert_eq!(writer(&world), Some(1));
    // Both have the default: nothing is concluded.
    let mut world = servers(2, settings());
    world.see(0, mariadb(1, 1));
    world.see(1, mariadb(1, 1));
    assert_eq!((writer(&world), world.serving()), (None, vec![]));
}
