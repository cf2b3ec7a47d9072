//! Components: joins and leaves that are no split, splits that are, views that have slept, other histories.

use super::group::{Tell, Watched};
use super::*;
use crate::galera::{AdminState, ClusterState, Membership, Memory};

const ALL: [Tell; 5] = [Tell::Table, Tell::Addresses, Tell::Auto, Tell::Nat, Tell::Empty];

fn three(tell: Tell) -> Watched {
    Watched::new(3, tell, Settings { kill_on_demote: true, ..settings() })
}

/// Trap 2: node `i` is cut off, bootstrapped, and Primary again beside the others.
fn split(watched: &mut Watched, i: usize) {
    watched.group.isolate(i);
    watched.rounds(2);
    watched.group.settle();
    watched.rounds(4);
    watched.group.bootstrap(i);
    watched.effects.clear();
}

/// What sizes alone tell ends no session and raises no alarm before it has lasted.
fn outlast(watched: &mut Watched, tell: Tell) {
    if watched.world.core.membership() == Some(Membership::Weak) {
        let orders = watched.orders();
        assert!(!orders.iter().any(|o| o.starts_with("kill") || o == "split"), "{tell:?}: {orders:?}");
        watched.pass(20_000);
        watched.rounds(2);
    }
}

#[test]
fn membership_is_known_by_the_best_evidence_at_hand() {
    let known = |tell| three(tell).world.core.membership();
    assert_eq!(known(Tell::Table), Some(Membership::Uuid));
    assert_eq!(known(Tell::Addresses), Some(Membership::Addresses));
    for tell in [Tell::Auto, Tell::Nat, Tell::Empty] {
        assert_eq!(known(tell), Some(Membership::Weak), "{tell:?}");
    }
}

#[test]
fn the_side_that_was_bootstrapped_by_hand_is_fenced_its_sessions_end_and_the_alarm_is_raised() {
    for tell in ALL {
        let mut watched = three(tell);
        split(&mut watched, 0);
        assert_eq!(watched.serving(), [1, 2], "{tell:?}");
        watched.rounds(4);
        outlast(&mut watched, tell);
        let orders = watched.orders();
        assert!(orders.contains(&"split".to_owned()), "{tell:?}: {orders:?}");
        assert!(!orders.iter().any(|o| o.ends_with(" 1") || o.ends_with(" 2")), "{tell:?}: {orders:?}");
        assert_eq!(watched.serving(), [1, 2], "{tell:?}");
        assert_eq!(watched.world.core.cluster(&watched.world.settings), ClusterState::SplitBrain);
        assert_eq!(watched.world.reason(0), "split brain: fenced, n1, n2 is served");
        assert_eq!(watched.world.core.components(), [vec![NodeId(1), NodeId(2)], vec![NodeId(0)]], "{tell:?}");
        // Wiped, it rejoins.
        watched.group.crash(0);
        watched.rounds(2);
        watched.group.start(0);
        watched.rounds(4);
        assert_eq!(watched.serving(), [0, 1, 2], "{tell:?}");
        assert!(watched.orders().contains(&"over".to_owned()), "{tell:?}");
        assert_eq!(watched.world.core.cluster(&watched.world.settings), ClusterState::Primary);
    }
}

#[test]
fn nobody_new_is_sent_to_the_other_side_from_the_first_check_on() {
    for tell in [Tell::Table, Tell::Addresses] {
        let mut watched = three(tell);
        split(&mut watched, 0);
        watched.world.settings.rise = 1;
        watched.check(0);
        assert_eq!(watched.serving(), [1, 2], "{tell:?}");
        assert_eq!(watched.world.reason(0), "not in the component that is served (n1, n2)");
        assert_eq!(watched.orders(), [""; 0], "the alarm waits for two rounds");
    }
}

#[test]
fn sides_that_are_found_by_surprise_are_the_writers_and_the_others() {
    // Nothing was heard between the two: no check fell into the time in which node 0 was not Primary.
    for (tell, order) in ALL.into_iter().flat_map(|tell| [(tell, [0, 1, 2]), (tell, [2, 1, 0])]) {
        let mut watched = three(tell);
        assert_eq!(watched.world.core.writer(), Some(NodeId(0)));
        watched.group.isolate(0);
        watched.group.settle();
        watched.group.bootstrap(0);
        for _ in 0..4 {
            order.iter().for_each(|i| watched.check(*i));
        }
        assert_eq!(watched.serving(), [0], "{tell:?} {order:?}: the part that holds the incumbent writer");
        outlast(&mut watched, tell);
        let orders = watched.orders();
        assert!(orders.contains(&"split".to_owned()) && orders.contains(&"kill 1".to_owned()), "{tell:?}: {orders:?}");
        assert!(!orders.contains(&"demote 0".to_owned()), "{tell:?} {order:?}: {orders:?}");
    }
}

#[test]
fn sessions_on_the_fenced_side_end_though_their_node_is_a_donor_or_vetoes() {
    for veto in [false, true] {
        let mut watched = Watched::new(3, Tell::Table, Settings { donor: DonorRule::Never, ..settings() });
        split(&mut watched, 0);
        watched.group.members[0].state = if veto { 4 } else { 2 };
        watched.group.members[0].vetoes = veto;
        watched.rounds(4);
        assert_eq!(watched.world.reason(0), "split brain: fenced, n1, n2 is served");
        watched.world.step(Event::Tick);
        assert!(watched.world.core.nodes[&NodeId(0)].orders == super::super::Orders::Ended, "veto {veto}");
    }
}

#[test]
fn refuse_serves_no_side_but_waits_for_certainty() {
    let mut watched = Watched::new(3, Tell::Table, Settings { refuse_split_brain: true, ..settings() });
    split(&mut watched, 0);
    watched.check(0);
    assert_eq!(watched.serving(), [1, 2]);
    watched.rounds(4);
    assert_eq!(watched.serving(), [0; 0]);
    assert_eq!(watched.world.reason(1), "split brain: refused (split_brain = \"refuse\")");
    watched.group.crash(0);
    watched.rounds(4);
    assert_eq!(watched.serving(), [1, 2], "it ends by itself");
}

#[test]
fn there_is_no_switch_while_the_served_side_may_live() {
    for tell in ALL {
        let mut watched = three(tell);
        split(&mut watched, 0);
        watched.rounds(5);
        // They fall silent, as behind a cut of ours: the other side must not get their clients.
        watched.group.freeze(1);
        watched.group.freeze(2);
        watched.rounds(3);
        assert_eq!(watched.serving(), [0; 0], "{tell:?}");
        // Silent for longer than Galera itself waits: they are gone.
        watched.pass(6000);
        watched.rounds(3);
        assert_eq!(watched.serving(), [0], "{tell:?}");
    }
}

#[test]
fn a_restart_in_the_middle_serves_the_same_side() {
    for tell in ALL {
        // Two of four, so that neither side has more nodes.
        let mut watched = Watched::new(4, tell, settings());
        watched.group.isolate(0);
        watched.group.settle();
        watched.rounds(4);
        watched.group.bootstrap(0);
        watched.rounds(4);
        let memory = watched.world.core.memory();
        let served = watched.serving();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
            let mut again = Watched::new(0, tell, settings());
            again.world = World::new(4, settings());
            again.world.core.recall(&settings(), &memory);
            again.group = watched.group.clone();
            for i in order {
                again.check(i);
                assert!(again.serving().iter().all(|id| served.contains(id)), "{tell:?}: {:?}", again.serving());
            }
            again.rounds(4);
            assert_eq!(again.serving(), served, "{tell:?}");
        }
    }
}

#[test]
fn without_a_memory_the_side_with_more_nodes_is_served_then_the_heavier_else_none() {
    let mut watched = Watched::new(0, Tell::Table, settings());
    let cold = |watched: &mut Watched, group: &super::group::Group| {
        watched.world = World::new(id(group.members.len()), settings());
        watched.group = group.clone();
        watched.rounds(5);
        watched.serving()
    };
    let mut odd = Watched::new(3, Tell::Table, settings());
    split(&mut odd, 0);
    assert_eq!(cold(&mut watched, &odd.group), [1, 2]);
    // One against one, of which one has a garbd or a node that is not configured here.
    let mut even = Watched::new(2, Tell::Table, settings());
    even.group.isolate(0);
    even.group.settle();
    even.group.bootstrap(0);
    even.group.bootstrap(1);
    assert_eq!(cold(&mut watched, &even.group), [0; 0]);
    assert_eq!(watched.world.reason(0), "split brain: nothing decides which side to serve");
    assert_eq!(watched.world.core.cluster(&settings()), ClusterState::SplitBrain);
}

#[test]
fn a_thawed_node_is_out_of_date_and_no_split() {
    for tell in [Tell::Table, Tell::Addresses, Tell::Auto] {
        let mut watched = three(tell);
        watched.group.freeze(2);
        watched.rounds(2);
        watched.pass(6000);
        watched.group.settle();
        watched.rounds(2);
        assert_eq!(watched.serving(), [0, 1]);
        watched.effects.clear();
        watched.group.thaw(2);
        for _ in 0..5 {
            watched.round();
            if tell != Tell::Auto {
                assert_eq!(watched.serving(), [0, 1], "{tell:?}");
            }
        }
        assert_eq!(watched.world.reason(2), "its view is out of date: n0 does not list it", "{tell:?}");
        let orders = watched.orders();
        assert!(orders.iter().all(|o| o.ends_with(" 2")), "{tell:?}: {orders:?}");
        // It notices, and comes back.
        watched.group.settle();
        watched.rounds(2);
        watched.group.merge(2);
        watched.rounds(3);
        assert_eq!(watched.serving(), [0, 1, 2], "{tell:?}");
    }
}

#[test]
fn joins_and_leaves_between_two_checks_take_nobody_away() {
    for tell in ALL {
        let mut watched = Watched::new(4, tell, settings());
        watched.group.stop(3);
        for i in 0..3 {
            watched.check(i);
            assert!([0, 1, 2].iter().all(|id| watched.serving().contains(id)), "{tell:?} after a leave, {i}");
        }
        watched.round();
        watched.group.start(3);
        for i in [3, 1, 0, 2, 3] {
            watched.check(i);
            assert!([0, 1, 2].iter().all(|id| watched.serving().contains(id)), "{tell:?} after a join, {i}");
        }
        let orders = watched.orders();
        assert!(!orders.contains(&"split".to_owned()), "{tell:?}: {orders:?}");
    }
}

#[test]
fn a_join_and_a_leave_between_two_looks_at_a_third_node_take_it_from_nobody() {
    for tell in [Tell::Table, Tell::Addresses] {
        let mut watched = Watched::new(4, tell, settings());
        watched.group.stop(0);
        watched.rounds(2);
        watched.group.start(0);
        watched.group.stop(2);
        // It knows the others, they know the one that left, and neither of those two knows the other.
        watched.check(0);
        assert!([1, 3].iter().all(|id| watched.serving().contains(id)), "{tell:?}: {:?}", watched.serving());
    }
}

#[test]
fn a_silent_node_that_the_others_dropped_is_down_at_once() {
    let mut watched = three(Tell::Table);
    watched.group.freeze(2);
    watched.rounds(2);
    assert_eq!(watched.orders(), [""; 0], "silent for a moment");
    watched.group.settle();
    watched.rounds(1);
    assert_eq!(watched.orders(), ["kill 2"], "long before down_after");
}

#[test]
fn another_history_is_never_served_until_an_operator_says_so() {
    for tell in ALL {
        let mut watched = three(tell);
        watched.group.crash(0);
        watched.rounds(2);
        watched.group.found(0);
        watched.rounds(4);
        assert_eq!(watched.serving(), [1, 2], "{tell:?}");
        let told = "foreign history 6c8a1b2e-0000-11ef-8000-000000000002; to accept it: galeway node n0 ready --accept-history";
        assert_eq!(watched.world.reason(0), told);
        assert_ne!(watched.world.core.cluster(&settings()), ClusterState::SplitBrain, "it is no part of this cluster");
        // Nor is a whole cluster that was founded anew by mistake.
        watched.group.crash(1);
        watched.group.crash(2);
        watched.pass(10_000);
        watched.rounds(4);
        assert_eq!(watched.serving(), [0; 0], "{tell:?}");
        assert_eq!(watched.world.core.cluster(&settings()), ClusterState::NoPrimary);
        watched.world.step(Event::AcceptHistory(NodeId(0)));
        assert_eq!(watched.serving(), [0], "{tell:?}");
        let memory = watched.world.core.memory();
        assert_eq!(memory.history.as_deref(), Some("6c8a1b2e-0000-11ef-8000-000000000002"));
    }
}

#[test]
fn a_configured_history_is_the_only_one_whatever_was_learned() {
    let ours = Settings { state_uuid: Some("6c8a1b2e-0000-11ef-8000-000000000002".into()), ..settings() };
    let mut watched = Watched::new(3, Tell::Table, ours.clone());
    assert_eq!(watched.serving(), [0; 0]);
    assert_eq!(
        watched.world.reason(0),
        "foreign history 6c8a1b2e-0000-11ef-8000-000000000001 (state_uuid names another)"
    );
    watched
        .world
        .core
        .recall(&ours, &Memory { history: Some("6c8a1b2e-0000-11ef-8000-000000000001".into()), ..Memory::default() });
    watched.round();
    assert_eq!(watched.serving(), [0; 0]);
}

#[test]
fn a_memory_of_another_history_than_the_configured_one_holds_nobody_up() {
    let mut watched = three(Tell::Table);
    watched.group.crash(0);
    watched.group.settle();
    watched.rounds(2);
    watched.world.step(Event::Operator(NodeId(2), AdminState::Drain));
    let memory = watched.world.core.memory();
    let ours = Settings { state_uuid: Some("6c8a1b2e-0000-11ef-8000-000000000002".into()), ..settings() };
    watched.group.found(0);
    watched.world = World::new(3, ours.clone());
    watched.world.core.recall(&ours, &memory);
    watched.rounds(2);
    assert_eq!(watched.serving(), [0]);
    assert_eq!(watched.world.core.admin(NodeId(2)), AdminState::Drain, "what operators set still holds");
}

#[test]
fn a_cluster_that_lost_its_history_is_none_of_another_one() {
    let mut watched = three(Tell::Auto);
    let nothing = answer(&[("wsrep_cluster_state_uuid", "00000000-0000-0000-0000-000000000000")]);
    (0..3).for_each(|id| drop(watched.world.see(id, nothing.clone())));
    assert_eq!(watched.serving(), [0, 1, 2]);
    let ours = Settings { state_uuid: Some("6c8a1b2e-0000-11ef-8000-000000000001".into()), ..settings() };
    let mut world = World::new(1, ours);
    world.see(0, nothing);
    assert_eq!(world.reason(0), "no history (wsrep_cluster_state_uuid is zero; state_uuid names one)");
}

#[test]
fn who_answers_first_at_a_cold_start_does_not_decide_the_history() {
    let mut watched = Watched::new(3, Tell::Table, settings());
    watched.group.crash(0);
    watched.group.settle();
    watched.group.found(0);
    watched.world = World::new(3, settings());
    watched.rounds(3);
    assert_eq!(watched.serving(), [1, 2]);
    assert_eq!(watched.world.core.memory().history.as_deref(), Some("6c8a1b2e-0000-11ef-8000-000000000001"));
}

#[test]
fn one_server_behind_two_names_is_one_node() {
    let mut watched = three(Tell::Auto);
    let check = watched.group.check(0);
    watched.world.see_often(1, &check, 2);
    assert_eq!(watched.serving(), [0, 2]);
    assert_eq!(watched.world.reason(1), "the same server as node n0");
}

#[test]
fn a_refused_login_keeps_a_node_that_the_others_list() {
    let mut watched = three(Tell::Table);
    watched.world.see(0, refused());
    assert_eq!(watched.serving(), [0, 1, 2]);
    let told = "check's login refused (1045 Access denied); the others list it as a member, so it serves on";
    assert_eq!(watched.world.reason(0), told);
    assert_eq!(watched.world.core.writer(), Some(NodeId(0)), "nor does it lose its role");
    // Dropped by them, it is out.
    watched.group.crash(0);
    watched.group.settle();
    watched.check(1);
    watched.check(2);
    watched.world.see(0, refused());
    assert_eq!(watched.serving(), [1, 2]);
}

#[test]
fn a_drained_node_keeps_its_verdict_and_is_no_reason_to_spare_a_donor() {
    let mut watched = three(Tell::Table);
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    assert_eq!(watched.world.kind(0), Kind::Eligible, "observed health is one thing, the operator's wish another");
    watched.group.members[1].state = 2;
    watched.group.members[2].state = 2;
    watched.round();
    assert_eq!((watched.world.kind(1), watched.world.kind(2)), (Kind::LastResort, Kind::LastResort));
}

/// It was cut off, and what it had left of connections is used up: its own word stays what it was.
#[test]
fn a_full_writer_that_its_peers_have_dropped_loses_the_role_and_its_sessions_after_down_after() {
    let mut watched = three(Tell::Table);
    assert_eq!(watched.world.core.writer(), Some(NodeId(0)));
    watched.group.isolate(0);
    watched.group.settle();
    let full = || Check::NoEntry(LoginFailure { code: 1040, message: "Too many connections".to_owned() });
    let rounds = |watched: &mut Watched, n: usize| {
        for _ in 0..n {
            let outcome = watched.world.see(0, full());
            watched.effects.extend(outcome.effects);
            watched.check(1);
            watched.check(2);
            watched.pass(1000);
        }
    };
    rounds(&mut watched, 2);
    assert_eq!(watched.serving(), [1, 2], "nobody new from the first look on");
    assert_eq!(watched.world.core.writer(), Some(NodeId(0)), "it may be asked again in a moment");
    rounds(&mut watched, 8);
    let orders = watched.orders();
    assert_eq!(watched.world.core.writer(), Some(NodeId(1)), "{orders:?}");
    assert!(orders.contains(&"kill 0".to_owned()), "{orders:?}");
}

#[test]
fn a_fenced_side_that_is_full_is_told_and_loses_its_sessions() {
    for tell in ALL {
        let mut watched = three(tell);
        // No check falls into the time in which it is not Primary.
        watched.group.isolate(2);
        watched.group.settle();
        watched.group.bootstrap(2);
        watched.rounds(1);
        for second in 0..60 {
            let outcome = watched.world.see(2, if second % 2 == 0 { full() } else { not_made() });
            watched.effects.extend(outcome.effects);
            watched.check(0);
            watched.check(1);
            watched.pass(1000);
        }
        let orders = watched.orders();
        assert!(orders.contains(&"split".to_owned()), "{tell:?}: {orders:?}");
        assert!(orders.contains(&"kill 2".to_owned()), "{tell:?}: {orders:?}");
        assert!(!watched.world.core.is_looking(), "{tell:?}");
    }
}
