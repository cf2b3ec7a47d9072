//! Who writes.

use super::group::{Tell, Watched};
use super::recorded::row;
use super::*;
use crate::galera::AdminState;
use crate::galera::agreement::{Proposal, Reading};

fn watched(settings: Settings) -> Watched {
    Watched::new(3, Tell::Table, Settings { kill_on_demote: true, ..settings })
}

fn writer(watched: &Watched) -> Option<u32> {
    watched.world.core.writer().map(|id| id.0)
}

/// Nodes with these priorities, all of them checked.
fn with_priorities(priorities: [u32; 3], settings: Settings) -> Watched {
    let mut watched = watched(settings);
    watched.world.core = Core::new();
    for (id, priority) in (0..).zip(priorities) {
        watched.world.step(Event::Added(NodeId(id), spec(id, priority)));
    }
    watched.round();
    watched.effects.clear();
    watched
}

#[test]
fn the_largest_priority_writes_and_then_the_order_of_the_nodes_decides() {
    assert_eq!(writer(&with_priorities([0, 0, 0], settings())), Some(0));
    assert_eq!(writer(&with_priorities([0, 7, 7], settings())), Some(1));
}

#[test]
fn nobody_writes_before_every_node_was_asked() {
    let mut watched = watched(settings());
    watched.world = World::new(3, settings());
    watched.check(2);
    watched.check(1);
    assert_eq!(writer(&watched), None, "who answers first would be the writer for ever");
    watched.check(0);
    assert_eq!(writer(&watched), Some(0));
}

#[test]
fn a_writer_that_says_it_cannot_is_replaced_at_once_and_its_writers_sessions_end() {
    let mut watched = watched(settings());
    watched.group.members[0].state = 2;
    watched.check(0);
    assert_eq!(watched.orders(), ["writer 1", "demote 0"]);
    // Well again, it is not asked back.
    watched.group.members[0].state = 4;
    watched.rounds(3);
    assert_eq!(writer(&watched), Some(1));
    assert_eq!(watched.orders(), [""; 0]);
}

#[test]
fn a_silent_writer_keeps_the_role_until_down_after() {
    let mut watched = watched(settings());
    watched.group.freeze(0);
    watched.rounds(2);
    assert_eq!((watched.serving(), writer(&watched)), (vec![1, 2], Some(0)), "nobody new, and nobody instead");
    let begun = watched.world.now;
    let deadline = watched.world.deadline().unwrap();
    assert!(deadline <= begun + 6000);
    watched.pass(deadline - begun);
    assert_eq!(watched.orders(), ["writer 1", "kill 0"], "all of its sessions end, so none are demoted");
}

#[test]
fn a_writer_that_answers_again_in_time_keeps_its_role() {
    let mut watched = watched(settings());
    watched.group.freeze(0);
    watched.rounds(2);
    watched.pass(3000);
    watched.group.thaw(0);
    watched.rounds(3);
    assert_eq!((writer(&watched), watched.serving()), (Some(0), vec![0, 1, 2]));
    assert_eq!(watched.orders(), [""; 0]);
}

#[test]
fn a_writer_that_is_gone_for_certain_is_replaced_at_once() {
    let mut watched = watched(settings());
    watched.group.stop(0);
    watched.round();
    assert_eq!(watched.orders(), ["writer 1", "kill 0"]);
}

#[test]
fn a_drained_writer_hands_over_and_what_is_left_drains() {
    let mut watched = watched(settings());
    let outcome = watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    assert_eq!(orders(&outcome), ["drain 0"]);
    assert_eq!(writer(&watched), Some(1));
    let outcome = watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(orders(&outcome), ["resume 0", "demote 0"]);
    assert_eq!(writer(&watched), Some(1));
}

#[test]
fn the_last_donor_writes_where_nobody_else_can() {
    let mut watched = watched(settings());
    watched.group.stop(1);
    watched.group.stop(2);
    watched.rounds(2);
    watched.group.members[0].state = 2;
    watched.round();
    assert_eq!((watched.world.kind(0), writer(&watched)), (Kind::LastResort, Some(0)));
}

#[test]
fn failback_is_as_it_is_configured() {
    for (failback, at_once, after) in
        [(Failback::Never, 0, 0), (Failback::Immediate, 1, 1), (Failback::After(Duration::from_secs(60)), 0, 1)]
    {
        let mut watched = with_priorities([0, 9, 0], Settings { failback, ..settings() });
        watched.group.members[1].state = 2;
        watched.check(1);
        assert_eq!(writer(&watched), Some(0), "{failback:?}");
        watched.group.members[1].state = 4;
        watched.rounds(3);
        assert_eq!(writer(&watched), Some(at_once), "{failback:?}");
        let Some(deadline) = watched.world.deadline() else {
            assert_eq!(at_once, after, "{failback:?}");
            continue;
        };
        watched.pass(deadline - watched.world.now - 1);
        assert_eq!(writer(&watched), Some(at_once), "{failback:?}");
        watched.pass(1);
        assert_eq!(writer(&watched), Some(after), "{failback:?}");
    }
}

#[test]
fn a_preferred_node_that_flaps_is_not_stable() {
    let failback = Failback::After(Duration::from_secs(60));
    let mut watched = with_priorities([0, 9, 0], Settings { failback, ..settings() });
    for state in [2, 4, 2, 4] {
        watched.group.members[1].state = state;
        watched.rounds(3);
        watched.pass(40_000);
        assert_eq!(writer(&watched), Some(0));
    }
}

#[test]
fn a_restart_finds_the_writer_where_it_was() {
    let mut watched = watched(settings());
    watched.world.step(Event::Operator(NodeId(0), AdminState::Maintenance));
    let memory = watched.world.core.memory();
    let mut again = self::watched(settings());
    again.world = World::new(3, settings());
    again.world.core.recall(&settings(), &memory);
    again.round();
    assert_eq!(writer(&again), Some(1));
    assert_eq!(again.world.core.admin(NodeId(0)), AdminState::Maintenance);
}

// ---- by the cluster's own record

fn agreed() -> Settings {
    Settings { agreed: true, kill_on_demote: true, ..settings() }
}

/// A balancer that has never heard of the third node.
fn met_without_the_third(tell: Tell) -> Watched {
    let mut watched = Watched::new(3, tell, agreed());
    watched.world = World::new(3, agreed());
    watched.group.freeze(2);
    watched.rounds(2);
    watched
}

fn read(watched: &mut Watched, reading: Reading) -> Vec<Proposal> {
    let outcome = watched.world.step(Event::Recorded(reading));
    let proposals = outcome.effects.iter().filter_map(|e| match e {
        Effect::Propose(p) => Some(p.clone()),
        _ => None,
    });
    let proposals = proposals.collect();
    watched.effects.extend(outcome.effects);
    proposals
}

#[test]
fn a_cold_start_that_cannot_read_the_record_has_no_writer_and_says_so() {
    let mut watched = watched(agreed());
    assert_eq!(writer(&watched), None);
    read(&mut watched, Reading::Unreadable("no such table".to_owned()));
    assert_eq!(writer(&watched), None);
    let told = "no writer: the record galeway.writer cannot be read (no such table)";
    assert_eq!(watched.world.core.writer_note(), Some(told));
}

#[test]
fn the_recorded_writer_is_the_writer_whatever_is_preferred() {
    let mut watched = watched(agreed());
    assert_eq!(read(&mut watched, row(3, 2, 0, 500)), []);
    assert_eq!((writer(&watched), watched.world.core.writer_note()), (Some(2), None));
    // Restarted in an orderly way it has another UUID and the same name.
    read(&mut watched, row(3, 2, 77, 500));
    assert_eq!(writer(&watched), Some(2));
    // Another balancer moved it.
    watched.effects.clear();
    read(&mut watched, row(4, 1, 0, 0));
    assert_eq!(watched.orders(), ["writer 1", "demote 2"]);
}

#[test]
fn a_running_balancer_that_cannot_read_keeps_its_writer() {
    let mut watched = watched(agreed());
    read(&mut watched, row(3, 2, 0, 500));
    assert_eq!(read(&mut watched, Reading::Unreadable("timed out".to_owned())), []);
    assert_eq!(writer(&watched), Some(2));
    // And cannot move it.
    watched.group.members[2].state = 2;
    watched.check(2);
    assert_eq!(writer(&watched), Some(2));
    assert!(!watched.effects.iter().any(|e| matches!(e, Effect::Propose(_))));
}

#[test]
fn an_empty_or_free_record_is_filled_and_only_the_reading_makes_a_writer() {
    let mut watched = watched(agreed());
    let proposals = read(&mut watched, Reading::NoRow);
    let [proposal] = proposals.as_slice() else { panic!("{proposals:?}") };
    assert_eq!((proposal.epoch, proposal.node, &*proposal.name), (None, NodeId(0), "n0"));
    assert_eq!(writer(&watched), None, "somebody else may have been first");
    read(&mut watched, row(1, 1, 0, 0));
    assert_eq!(writer(&watched), Some(1));
    // A name that no member has.
    let mut watched = self::watched(agreed());
    let proposals = read(&mut watched, row(9, 66, 0, 500));
    assert_eq!(proposals.iter().map(|p| (p.epoch, p.node)).collect::<Vec<_>>(), [(Some(9), NodeId(0))]);
}

#[test]
fn a_lost_writer_is_replaced_by_a_proposal_and_only_every_30_seconds() {
    for (age, proposed) in [(29, 0), (31, 1)] {
        let mut watched = watched(agreed());
        read(&mut watched, row(5, 0, 0, age));
        watched.group.members[0].state = 2;
        watched.check(0);
        let made = |w: &Watched| w.effects.iter().filter(|e| matches!(e, Effect::Propose(_))).count();
        assert_eq!((made(&watched), writer(&watched)), (proposed, Some(0)), "{age} s");
        // One is under way, or it is too soon.
        watched.rounds(3);
        assert_eq!(made(&watched), proposed, "{age} s");
    }
    // The one that was the first ever was taken from nobody.
    let mut watched = watched(agreed());
    read(&mut watched, row(1, 0, 0, 0));
    watched.group.members[0].state = 2;
    watched.check(0);
    assert!(
        watched.effects.iter().any(|e| matches!(e, Effect::Propose(p) if p.epoch == Some(1) && p.node == NodeId(1)))
    );
}

#[test]
fn a_recorded_writer_that_is_silent_for_a_moment_is_left_alone() {
    let mut watched = watched(agreed());
    read(&mut watched, row(5, 0, 0, 500));
    watched.group.freeze(0);
    watched.rounds(3);
    assert_eq!(read(&mut watched, row(5, 0, 0, 500)), []);
    watched.world.now += 6000;
    let proposals = read(&mut watched, row(5, 0, 0, 506));
    assert_eq!(proposals.iter().map(|p| p.node).collect::<Vec<_>>(), [NodeId(1)]);
}

#[test]
fn a_recorded_writer_that_is_not_configured_here_leaves_this_balancer_without_one() {
    let mut watched = watched(agreed());
    read(&mut watched, row(5, 0, 0, 500));
    // A fourth member, of which the others know.
    watched.group.members.push(watched.group.members[0].clone());
    watched.group.crash(3);
    watched.group.settle();
    watched.group.start(3);
    (0..3).for_each(|i| watched.check(i));
    watched.effects.clear();
    read(&mut watched, row(6, 3, 1, 0));
    assert_eq!((writer(&watched), watched.orders()), (None, vec!["writer none".to_owned(), "demote 0".to_owned()]));
    assert_eq!(
        watched.world.core.writer_note(),
        Some(
            "no writer: the record names n3, a member that is not configured here: add it to `nodes`, or move the writer by \
             hand (docs/agreement.md)"
        )
    );
}

#[test]
fn a_lost_writer_is_not_proposed_where_nobody_else_can() {
    let mut watched = watched(agreed());
    read(&mut watched, row(5, 0, 0, 500));
    for id in 0..3 {
        watched.world.step(Event::Operator(NodeId(id), AdminState::Drain));
    }
    assert_eq!(read(&mut watched, Reading::NoRow), []);
}

#[test]
fn a_recorded_writer_that_did_not_answer_yet_is_not_taken_over_from() {
    for tell in [Tell::Table, Tell::Auto] {
        let mut watched = met_without_the_third(tell);
        assert_eq!(read(&mut watched, row(5, 2, 0, 500)), [], "{tell:?}");
        assert_eq!(writer(&watched), None, "{tell:?}");
        assert!(watched.world.core.writer_note().unwrap().contains("the record names n2"), "{tell:?}");
        watched.group.thaw(2);
        watched.rounds(2);
        assert_eq!(writer(&watched), Some(2), "{tell:?}");
    }
}

#[test]
fn a_writer_that_speaks_again_only_to_say_that_it_is_full_is_lost() {
    let mut watched = watched(settings());
    watched.group.freeze(0);
    watched.rounds(2);
    watched.world.see(0, full());
    assert_eq!(writer(&watched), Some(1), "it would keep the role for ever");
}

#[test]
fn a_shortage_of_ours_at_the_start_moves_no_role() {
    let mut watched = watched(settings());
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    let memory = watched.world.core.memory();
    assert_eq!(memory.writer.as_deref(), Some("n1"));
    watched.world = World::new(3, settings());
    watched.world.core.recall(&settings(), &memory);
    watched.check(0);
    watched.world.see(1, not_made());
    watched.check(2);
    assert_eq!(writer(&watched), Some(1));
    watched.round();
    assert_eq!(writer(&watched), Some(1));
}

#[test]
fn a_balancer_that_cannot_reach_the_recorded_writer_writes_nowhere_else() {
    for tell in [Tell::Table, Tell::Auto] {
        let mut watched = met_without_the_third(tell);
        read(&mut watched, row(5, 0, 0, 500));
        assert_eq!(writer(&watched), Some(0), "{tell:?}");
        watched.effects.clear();
        // Another balancer reaches the third.
        read(&mut watched, row(6, 2, 0, 0));
        assert_eq!((writer(&watched), watched.orders()), (None, vec!["writer none".to_owned(), "demote 0".to_owned()]));
    }
}

#[test]
fn a_drain_that_one_balancer_knows_of_does_not_send_the_role_to_and_fro() {
    let mut watched = with_priorities([9, 0, 0], Settings { failback: Failback::Immediate, ..agreed() });
    watched.world.now += 100_000;
    // The other one drains the preferred node, and records the second.
    assert_eq!(read(&mut watched, row(5, 1, 0, 40)), [], "it has served all the time: nobody returned");
    // It went and came back since.
    watched.group.members[0].state = 2;
    watched.check(0);
    watched.group.members[0].state = 4;
    watched.rounds(2);
    let proposals = read(&mut watched, row(5, 1, 0, 40));
    assert_eq!(proposals.iter().map(|p| p.node).collect::<Vec<_>>(), [NodeId(0)]);
}

#[test]
fn a_balancer_that_restarts_does_not_give_the_role_back_to_a_node_that_another_one_has_drained() {
    let rules = || Settings { failback: Failback::Immediate, ..agreed() };
    let mut watched = with_priorities([9, 0, 0], rules());
    // The row is older than this process, in which everybody serves since the start.
    assert_eq!(read(&mut watched, row(5, 1, 0, 3_600)), []);
    watched.pass(100_000);
    assert_eq!(read(&mut watched, row(5, 1, 0, 3_700)), []);
    assert_eq!(writer(&watched), Some(1));
}

#[test]
fn a_change_that_cannot_be_written_is_said_and_a_record_that_cannot_be_read_as_well() {
    let mut watched = watched(agreed());
    read(&mut watched, row(5, 0, 0, 500));
    watched.group.members[0].state = 2;
    watched.check(0);
    read(&mut watched, Reading::Unwritten("UPDATE command denied".to_owned()));
    let told = "the writer cannot be changed: the record cannot be written (UPDATE command denied)";
    assert_eq!(watched.world.core.writer_note(), Some(told));
    read(&mut watched, row(6, 1, 0, 0));
    assert_eq!(watched.world.core.writer_note(), None);
    read(&mut watched, Reading::Unreadable("gone".to_owned()));
    assert!(watched.world.core.writer_note().unwrap().contains("cannot be read (gone)"));
}

#[test]
fn stability_begins_anew_where_an_operator_puts_a_node_back() {
    let failback = Failback::After(Duration::from_secs(600));
    let mut watched = with_priorities([9, 0, 0], Settings { failback, ..settings() });
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    assert_eq!(writer(&watched), Some(1));
    watched.pass(3_600_000);
    watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(writer(&watched), Some(1));
    watched.pass(599_000);
    assert_eq!(writer(&watched), Some(1));
    watched.pass(1_000);
    assert_eq!(writer(&watched), Some(0));
}

#[test]
fn a_node_that_can_never_be_checked_holds_the_others_up_only_for_a_while() {
    let mut watched = watched(settings());
    watched.world = World::new(3, settings());
    watched.check(0);
    watched.check(1);
    watched.world.see(2, not_made());
    assert_eq!(writer(&watched), None);
    assert_eq!(watched.world.core.writer_note(), Some("no writer yet: not every node was checked (n2)"));
    watched.world.now += 6000;
    watched.world.see(2, not_made());
    assert_eq!((writer(&watched), watched.world.core.writer_note()), (Some(0), None));
}
