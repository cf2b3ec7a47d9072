//! Views that are late, lists that cannot be read, weights that are unusual, and whole clusters that come back.

use super::group::{Late, Tell, Watched};
use super::*;
use crate::galera::{ClusterState, Listed, Membership};

const ALL: [Tell; 5] = [Tell::Table, Tell::Addresses, Tell::Auto, Tell::Nat, Tell::Empty];

/// What a node answers that has this UUID, these members, and this `conf_id` and weight.
fn tells(own: &str, members: &[&str], conf_id: u64, weight: usize) -> Check {
    let (conf_id, weight, size) = (conf_id.to_string(), weight.to_string(), members.len().to_string());
    let rows = [
        ("wsrep_gcomm_uuid", own),
        ("wsrep_node_name", own),
        ("wsrep_cluster_conf_id", conf_id.as_str()),
        ("wsrep_cluster_weight", &weight),
        ("wsrep_cluster_size", &size),
    ];
    let listed = |uuid: &&str| Listed { uuid: (*uuid).into(), name: (*uuid).into() };
    let Check::Answered(status) = answer(&rows) else { panic!("unreadable") };
    Check::Answered(Box::new(status.with_members(Some(members.iter().map(listed).collect()))))
}

/// The same answer from a server that gives no list of members.
fn without_list(check: Check) -> Check {
    let Check::Answered(status) = check else { return check };
    Check::Answered(Box::new(status.with_members(None)))
}

#[test]
fn a_node_that_makes_a_backup_or_is_busy_keeps_its_sessions_while_others_leave_and_join() {
    for (tell, why) in ALL.into_iter().flat_map(|tell| [(tell, Late::Paused), (tell, Late::Busy)]) {
        let mut watched = Watched::new(3, tell, settings());
        watched.group.delay(1, why);
        watched.group.stop(2);
        for second in 0..60 {
            watched.round();
            watched.pass(1000);
            if second == 30 {
                watched.group.start(2);
            }
        }
        let orders = watched.orders();
        assert_eq!(orders, ["kill 2"], "{tell:?} {why:?}: the one that was stopped");
        assert_eq!(watched.world.core.cluster(&watched.world.settings), ClusterState::Primary, "{tell:?} {why:?}");
        watched.group.catch_up(1);
        watched.rounds(3);
        assert_eq!(watched.serving(), [0, 1, 2], "{tell:?} {why:?}");
    }
}

#[test]
fn a_contradiction_about_which_no_node_was_asked_again_does_not_last() {
    let mut watched = Watched::new(3, Tell::Auto, settings());
    watched.group.stop(2);
    watched.check(0);
    // This process was suspended: no node was asked meanwhile.
    watched.pass(60_000);
    watched.check(2);
    assert_eq!(watched.orders(), ["kill 2"]);
    watched.rounds(3);
    assert_eq!(watched.serving(), [0, 1]);
}

#[test]
fn a_node_of_weight_0_that_is_bootstrapped_puts_no_other_out_of_date() {
    let mut world = World::new(3, settings());
    for (id, own) in [(0, "a"), (1, "b"), (2, "c")] {
        world.see(id, tells(own, &["a", "b", "c"], 4, 2));
    }
    let mut told = world.see_often(2, &tells("c", &["c"], 5, 0), 1);
    assert_eq!(world.serving(), [0, 1]);
    for (id, own) in [(0, "a"), (1, "b"), (0, "a"), (1, "b")] {
        told.extend(world.see_often(id, &tells(own, &["a", "b", "c"], 4, 2), 1));
    }
    assert_eq!(world.serving(), [0, 1]);
    assert!(!told.iter().any(|order| order.ends_with(" 0") || order.ends_with(" 1")), "{told:?}");
}

#[test]
fn two_halves_that_both_go_on_are_fenced_on_the_writers_side_whichever_tells_it_first() {
    for writer in [0, 1] {
        let mut world = World::new(2, settings());
        world.step(Event::Configured(crate::galera::Configured {
            changed: vec![(NodeId(writer), spec(writer, 9))],
            ..Default::default()
        }));
        let see = |world: &mut World, id: u32, alone: bool| {
            let own = if id == 0 { "a" } else { "b" };
            let all = if alone { vec![own] } else { vec!["a", "b"] };
            world.see_often(id, &tells(own, &all, if alone { 5 } else { 4 }, all.len()), 1)
        };
        see(&mut world, 0, false);
        see(&mut world, 1, false);
        assert_eq!(world.core.writer(), Some(NodeId(writer)));
        let mut told = Vec::new();
        // pc.ignore_sb: the other half is a component by itself before the writer's node has noticed.
        for _ in 0..5 {
            told.extend(see(&mut world, 1 - writer, true));
            told.extend(see(&mut world, writer, false));
        }
        assert_eq!(told, [""; 0], "the writer is n{writer}");
        for _ in 0..5 {
            told.extend(see(&mut world, 1 - writer, true));
            told.extend(see(&mut world, writer, true));
        }
        assert_eq!((world.serving(), world.core.writer()), (vec![writer], Some(NodeId(writer))), "{told:?}");
        assert_eq!(told, [format!("kill {}", 1 - writer)]);
    }
}

#[test]
fn a_node_whose_list_cannot_be_read_is_judged_by_that_of_a_member_that_lists_it() {
    let mut watched = Watched::new(4, Tell::Table, settings());
    let round = |watched: &mut Watched, n: usize| {
        for i in (0..n).flat_map(|_| 0..4) {
            let check = watched.group.check(i);
            watched.world.now += 10;
            let outcome = watched.world.see(id(i), if i == 3 { without_list(check) } else { check });
            watched.effects.extend(outcome.effects);
        }
    };
    round(&mut watched, 2);
    assert_eq!(watched.world.core.membership(), Some(Membership::Uuid));
    // Three of four go on; the fourth is bootstrapped beside them, before any check.
    watched.group.isolate(0);
    watched.group.settle();
    watched.group.bootstrap(0);
    round(&mut watched, 4);
    assert_eq!(watched.world.core.membership(), Some(Membership::Uuid));
    assert_eq!(watched.world.core.components(), [vec![NodeId(0)], vec![NodeId(1), NodeId(2), NodeId(3)]]);
}

#[test]
fn a_whole_cluster_that_comes_back_has_its_writer_with_its_first_node_whatever_it_tells() {
    for tell in ALL {
        let mut watched = Watched::new(3, tell, settings());
        assert_eq!(watched.world.core.writer(), Some(NodeId(0)));
        for i in [2, 1, 0] {
            watched.group.stop(i);
            watched.rounds(2);
            watched.pass(4000);
        }
        watched.pass(60_000);
        watched.rounds(2);
        watched.group.rebootstrap(1);
        watched.rounds(4);
        assert_eq!((watched.serving(), watched.world.core.writer()), (vec![1], Some(NodeId(1))), "{tell:?}");
    }
}
