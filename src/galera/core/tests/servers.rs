//! Nodes that are no members of a Galera cluster: replicas of one, servers by themselves, ports.

use proptest::prelude::*;

use super::*;
use crate::galera::{AdminState, ClusterState, ServerStatus};

const NOTHING: [&str; 0] = [];
const NOBODY: [u32; 0] = [];

fn of(id: u32, sort: Sort) -> Spec {
    Spec { sort, ..spec(id, 0) }
}

fn backup(id: u32, sort: Sort) -> Spec {
    Spec { backup: true, ..of(id, sort) }
}

/// Nodes of these sorts, numbered as they stand.
fn world(specs: &[Spec], settings: Settings) -> World {
    let mut world = World::new(0, settings);
    for (id, spec) in (0..).zip(specs) {
        world.step(Event::Added(NodeId(id), spec.clone()));
    }
    world
}

/// What a server answers with these two variables, and these threads of its replication if it has any.
fn server(read_only: &str, replication: Option<(&str, &str, Option<u64>)>) -> Check {
    let rows = [("read_only".to_owned(), read_only.to_owned())].into();
    let channel = |(io, sql, lag): (&str, &str, Option<u64>)| {
        let named = [("slave_io_running", Some(io.to_owned())), ("slave_sql_running", Some(sql.to_owned()))];
        let lag = ("seconds_behind_master", lag.map(|lag| lag.to_string()));
        named.into_iter().chain([lag]).filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    };
    Check::Server(Box::new(ServerStatus::new(rows, Ok(replication.map(channel).into_iter().collect()), None)))
}

fn writable() -> Check {
    server("OFF", None)
}

fn read_only() -> Check {
    server("ON", None)
}

/// A server with a number that takes writes and replicates from the one with the other.
fn circular(id: u32, source: u32) -> Check {
    rivals::Server { read_only: "OFF", ..rivals::Server::replica(id, source) }.check()
}

fn replicates(lag: u64) -> Check {
    server("ON", Some(("Yes", "Yes", Some(lag))))
}

fn stopped() -> Check {
    server("ON", Some(("No", "Yes", None)))
}

/// Its source is not there.
fn cut() -> Check {
    server("ON", Some(("Connecting", "Yes", None)))
}

fn denied() -> Check {
    let rows = [("read_only".to_owned(), "ON".to_owned())].into();
    Check::Server(Box::new(ServerStatus::new(rows, Err("error 1227 (42000): Access denied".to_owned()), None)))
}

fn writer(world: &World) -> Option<u32> {
    world.core.writer().map(|id| id.0)
}

fn within_a_minute() -> Settings {
    Settings { max_replication_lag: Some(Duration::from_secs(60)), ..settings() }
}

/// Two Synced members, and a replica of theirs.
fn with_replica(settings: Settings) -> World {
    let mut world = world(&[of(0, Sort::Member), of(1, Sort::Member), of(2, Sort::Replica)], settings);
    world.see(0, synced());
    world.see(1, synced());
    world.see(2, replicates(0));
    assert_eq!((world.serving(), writer(&world)), (vec![0, 1, 2], Some(0)));
    world
}

// ---- replicas

#[test]
fn a_replica_reads_beside_the_members_and_is_never_the_writer() {
    let mut world = with_replica(settings());
    assert_eq!((world.kind(2), world.reason(2).as_str()), (Kind::Eligible, "replicates"));
    world.see(0, gone());
    assert_eq!(writer(&world), Some(1));
    world.see(1, gone());
    assert_eq!((world.serving(), writer(&world)), (vec![2], Some(1)), "nobody can take over from the last one");
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Unknown, "a replica is no Primary component");
    // And not from the start either, whatever it says of read_only.
    let mut world = self::world(&[of(0, Sort::Replica), of(1, Sort::Member)], settings());
    world.see(0, server("OFF", Some(("Yes", "Yes", Some(0)))));
    world.see(1, gone());
    assert_eq!((world.serving(), writer(&world)), (vec![0], None));
}

#[test]
fn a_replica_keeps_neither_a_donor_nor_members_that_refuse_the_login_from_serving() {
    let mut world = with_replica(settings());
    world.see(1, gone());
    world.see(0, donor());
    assert_eq!((world.serving(), world.kind(0)), (vec![0, 2], Kind::LastResort));
    assert_eq!(writer(&world), Some(0), "it is the only one that can write");
    let mut world = with_replica(settings());
    world.see(0, refused());
    world.see(1, refused());
    assert_eq!((world.serving(), world.kind(0)), (vec![0, 1, 2], Kind::LastResort));
}

#[test]
fn what_is_wrong_with_a_replica_excludes_it_at_once_and_its_sessions_drain() {
    for (bad, reason, order) in [
        (stopped(), "replication stopped (IO_Running=No)", "drain 2"),
        (replicates(61), "61 s behind its source (max_replication_lag = 60 s)", "drain 2"),
        (writable(), "not a replica", "drain 2"),
    ] {
        let mut world = with_replica(within_a_minute());
        assert_eq!(orders(&world.see(2, bad)), [order], "{reason}");
        assert_eq!((world.kind(2), world.reason(2).as_str()), (Kind::Excluded, reason));
        assert_eq!(orders(&world.see(2, replicates(0))), NOTHING, "not before its rise");
        assert_eq!(orders(&world.see(2, replicates(0))), ["resume 2"], "{reason}");
        assert_eq!(world.serving(), [0, 1, 2]);
    }
    // How old its data is nobody knows; those that read there already may go on.
    let mut world = with_replica(within_a_minute());
    assert_eq!(orders(&world.see(2, denied())), NOTHING);
    assert_eq!(world.kind(2), Kind::Excluded);
    assert!(world.reason(2).contains("Access denied; it needs GRANT SLAVE MONITOR"), "{}", world.reason(2));
}

#[test]
fn a_replica_whose_source_is_lost_serves_on_and_after_too_long_only_while_no_member_is_fit() {
    let mut world = with_replica(within_a_minute());
    world.see(2, replicates(10));
    world.now += 50_000;
    world.see(2, cut());
    assert_eq!((world.kind(2), world.reason(2).as_str()), (Kind::Eligible, "replication cannot reach its source"));
    world.now += 1000;
    assert_eq!(orders(&world.see(2, cut())), ["drain 2"], "members serve what is newer");
    let excluded = "replication cannot reach its source, perhaps further behind than max_replication_lag";
    assert_eq!((world.kind(2), world.reason(2).as_str()), (Kind::Excluded, excluded));
    // A donor's data is newer.
    world.see(0, gone());
    world.see(1, donor());
    assert_eq!((world.serving(), world.kind(1)), (vec![1], Kind::LastResort));
    // The site of its source is lost.
    assert_eq!(orders(&world.see(1, gone())), ["kill 1", "resume 2"]);
    let last = "replication cannot reach its source, last resort: no better node serves";
    assert_eq!((world.kind(2), world.reason(2).as_str()), (Kind::LastResort, last));
    // And comes back.
    world.see(1, synced());
    world.see(1, synced());
    assert_eq!((world.serving(), world.kind(2)), (vec![1], Kind::Excluded));
}

#[test]
fn a_replica_that_lost_its_source_for_too_long_rests_while_another_one_replicates() {
    let specs = [of(0, Sort::Member), of(1, Sort::Replica), of(2, Sort::Replica)];
    let mut world = world(&specs, within_a_minute());
    world.see(0, gone());
    world.see(1, replicates(0));
    world.see(2, replicates(0));
    world.now += 61_000;
    world.see(1, cut());
    assert_eq!((world.serving(), world.kind(1)), (vec![2], Kind::Excluded));
    world.see(2, cut());
    assert_eq!((world.serving(), world.kind(1)), (vec![1, 2], Kind::LastResort));
    world.see(2, replicates(0));
    assert_eq!(world.serving(), [2]);
}

// ---- servers by themselves

/// Two servers, the first of which takes writes.
fn pair(settings: Settings) -> World {
    let mut world = world(&[of(0, Sort::Server), of(1, Sort::Server)], Settings { kill_on_demote: true, ..settings });
    world.see(0, writable());
    world.see(1, read_only());
    assert_eq!((world.serving(), writer(&world)), (vec![0, 1], Some(0)));
    assert_eq!([world.reason(0), world.reason(1)], ["takes writes (read_only=OFF)", "read-only"]);
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Primary);
    world
}

#[test]
fn the_server_that_takes_writes_is_the_writer_and_both_read() {
    let mut world = world(&[of(0, Sort::Server), of(1, Sort::Server)], settings());
    world.see(0, read_only());
    world.see(1, writable());
    assert_eq!((world.serving(), writer(&world)), (vec![0, 1], Some(1)));
    let preferred = Spec { priority: 7, ..of(1, Sort::Server) };
    let mut world = self::world(&[of(0, Sort::Server), preferred], settings());
    world.see(0, circular(0, 1));
    world.see(1, circular(1, 0));
    assert_eq!(writer(&world), Some(1), "of several that replicate from each other the preferred one");
}

#[test]
fn a_writer_that_turned_read_only_loses_the_role_to_the_server_that_turned_writable() {
    for writable_first in [true, false] {
        let mut world = pair(settings());
        let mut all = Vec::new();
        if writable_first {
            assert_eq!(orders(&world.see(1, writable())), ["drain 1"]);
            assert_eq!(writer(&world), Some(0), "two that take writes: it stays");
        }
        all.extend(orders(&world.see(0, read_only())));
        if !writable_first {
            assert_eq!(writer(&world), None, "nobody writes in between");
            assert_eq!(all, ["demote 0"]);
            all.extend(orders(&world.see(1, writable())));
        }
        all.retain(|order| order != "resume 1");
        assert_eq!((writer(&world), all), (Some(1), vec!["demote 0".to_owned()]), "{writable_first}");
        assert_eq!(world.serving(), [0, 1], "it goes on reading");
    }
}

#[test]
fn where_no_server_takes_writes_nobody_is_the_writer() {
    let mut world = pair(settings());
    let outcome = world.see(0, read_only());
    let told = outcome.effects.iter().find_map(|e| match e {
        Effect::Writer { from, to, why } => Some((*from, *to, why.as_str())),
        _ => None,
    });
    assert_eq!(told, Some((Some(NodeId(0)), None, "it takes no writes")));
    assert!(outcome.publish);
    assert_eq!(orders(&world.see(0, read_only())), NOTHING, "once");
    world.see(0, writable());
    assert_eq!(writer(&world), Some(0));
}

#[test]
fn a_restart_finds_the_writer_of_servers_where_it_was() {
    let mut before = pair(settings());
    before.see(1, writable());
    before.see(0, read_only());
    assert_eq!(writer(&before), Some(1));
    let memory = before.core.memory();
    for first in [0, 1] {
        let mut world = world(&[of(0, Sort::Server), of(1, Sort::Server)], settings());
        world.core.recall(&settings(), &memory);
        world.see(first, writable());
        world.see(1 - first, writable());
        assert_eq!(writer(&world), Some(1), "both take writes by now");
    }
    let mut world = world(&[of(0, Sort::Server), of(1, Sort::Server)], settings());
    world.core.recall(&settings(), &memory);
    world.see(1, timed_out());
    world.see(0, writable());
    assert_eq!(writer(&world), Some(1), "it may come back");
    world.pass(6000);
    assert_eq!(writer(&world), Some(0));
}

#[test]
fn a_silent_writer_of_servers_keeps_the_role_until_down_after() {
    let mut world = pair(settings());
    world.see(1, writable());
    world.see_often(0, &timed_out(), 2);
    assert_eq!((world.serving(), writer(&world)), (vec![1], Some(0)));
    world.pass(6000);
    assert_eq!(writer(&world), Some(1));
}

#[test]
fn a_backup_is_the_writer_only_where_no_other_server_can_be() {
    let specs = [backup(0, Sort::Server), of(1, Sort::Server)];
    let failback = Failback::Immediate;
    let mut world = world(&specs, Settings { failback, ..settings() });
    world.see(0, circular(0, 1));
    world.see(1, circular(1, 0));
    assert_eq!(writer(&world), Some(1));
    world.see(1, gone());
    assert_eq!(writer(&world), Some(0));
    world.see_often(1, &circular(1, 0), 2);
    assert_eq!(writer(&world), Some(1), "and gives it back as any other");
}

#[test]
fn a_server_that_replicates_is_a_reader_by_the_rules_of_replicas() {
    let mut world = pair(within_a_minute());
    world.see(1, replicates(60));
    assert_eq!((world.kind(1), world.reason(1).as_str()), (Kind::Eligible, "replicates"));
    assert_eq!(orders(&world.see(1, replicates(61))), ["drain 1"]);
    world.see_often(1, &replicates(0), 2);
    assert_eq!(orders(&world.see(1, stopped())), ["drain 1"]);
    world.see_often(1, &replicates(0), 2);
    assert_eq!(orders(&world.see(1, server("OFF", Some(("No", "Yes", None))))), ["drain 1"], "whatever read_only says");
}

#[test]
fn the_last_server_serves_although_its_source_is_lost() {
    let mut world = pair(within_a_minute());
    world.see(1, replicates(0));
    world.now += 61_000;
    world.see(1, cut());
    assert_eq!(world.serving(), [0]);
    world.see(0, gone());
    assert_eq!((world.serving(), world.kind(1)), (vec![1], Kind::LastResort));
    assert_eq!(writer(&world), Some(0), "it reads, and does not write");
}

#[test]
fn a_drained_writer_of_servers_hands_over() {
    let mut world = pair(settings());
    world.see(1, writable());
    let outcome = world.step(Event::Operator(NodeId(0), AdminState::Drain));
    assert_eq!(orders(&outcome), ["drain 0", "resume 1"]);
    assert_eq!(writer(&world), Some(1), "that is how an operator decides");
}

// ---- ports

#[test]
fn a_port_is_well_while_it_takes_connections_and_rise_and_fall_hold_for_it() {
    let mut world = world(&[of(0, Sort::Port), of(1, Sort::Port)], Settings { rise: 3, fall: 3, ..settings() });
    let refused = Check::Unreachable { why: crate::galera::Unreachable::Refused, sure: false };
    world.see(0, Check::Open);
    world.see(1, Check::Open);
    assert_eq!((world.serving(), world.reason(0).as_str()), (vec![0, 1], "takes connections"));
    assert_eq!(writer(&world), None, "nothing tells a writer there");
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Primary);
    world.see_often(0, &refused, 2);
    assert_eq!(world.serving(), [0, 1]);
    world.see(0, refused.clone());
    assert_eq!((world.serving(), world.reason(0).as_str()), (vec![1], "unreachable (connection refused)"));
    world.see_often(0, &Check::Open, 2);
    assert_eq!(world.serving(), [1]);
    world.see(0, Check::Open);
    assert_eq!(world.serving(), [0, 1]);
    for id in 0..2 {
        world.see_often(id, &refused, 3);
    }
    assert_eq!((world.serving(), world.core.cluster(&world.settings)), (NOBODY.to_vec(), ClusterState::Unknown));
}

// ---- what a replica is to the members

/// What may be seen of one of two members, or of the replica.
fn seen() -> impl Strategy<Value = (u32, Check, u64)> {
    let member = prop_oneof![
        4 => Just(synced()), 2 => Just(donor()), 2 => Just(non_primary()), 1 => Just(rejecting()),
        2 => Just(timed_out()), 2 => Just(gone()), 2 => Just(refused()), 1 => Just(not_made()),
    ];
    let replica = prop_oneof![
        4 => (0..100_u64).prop_map(replicates), 2 => Just(cut()), 1 => Just(stopped()), 1 => Just(denied()),
        1 => Just(gone()), 1 => Just(refused()),
    ];
    let gap = prop_oneof![3 => 0..300_u64, 1 => 1000..90_000_u64];
    prop_oneof![3 => (0..2_u32, member, gap.clone()), 2 => (2..4_u32, replica, gap)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3000)))]

    #[test]
    fn replicas_change_no_members_verdict_never_write_and_are_a_last_resort_only_alone(
        history in proptest::collection::vec(seen(), 1..40)
    ) {
        let specs = [of(0, Sort::Member), of(1, Sort::Member), of(2, Sort::Replica), of(3, Sort::Replica)];
        let (mut with, mut without) = (world(&specs, within_a_minute()), world(&specs[..2], within_a_minute()));
        for (id, check, gap) in history {
            with.now += gap;
            without.now += gap;
            with.see(id, check.clone());
            without.see(id, check);
            let verdicts = |w: &World| [0, 1].map(|id| w.core.verdict(NodeId(id)));
            prop_assert_eq!(verdicts(&with), verdicts(&without));
            prop_assert!(writer(&with).is_none_or(|id| id < 2));
            for id in (2..4).filter(|id| with.kind(*id) == Kind::LastResort && !with.reason(*id).contains("login")) {
                let better = (0..4).filter(|other| *other != id);
                let better: Vec<u32> = better.filter(|other| {
                    let reason = with.reason(*other);
                    with.kind(*other).serves() && !reason.contains("login") && !reason.contains("source, last resort")
                }).collect();
                prop_assert_eq!(better, Vec::<u32>::new(), "beside {}", id);
            }
        }
    }
}
