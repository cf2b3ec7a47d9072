//! A writer that becomes a donor and goes on answering.

use super::group::{Tell, Watched};
use super::recorded::row;
use super::*;
use crate::galera::AdminState;

const GRACE: Duration = Duration::from_secs(60);

fn rules() -> Settings {
    Settings { donor_grace: GRACE, kill_on_demote: true, ..settings() }
}

/// Three nodes, the first of which is the writer and has just become a donor.
fn donor_writer(settings: Settings) -> Watched {
    let mut watched = Watched::new(3, Tell::Table, settings);
    watched.group.members[0].state = 2;
    watched.check(0);
    watched
}

fn writer(watched: &Watched) -> Option<u32> {
    watched.world.core.writer().map(|id| id.0)
}

/// Whether new sessions of writer services are sent to the first node, and whether others are.
fn takes(watched: &Watched) -> (bool, bool) {
    let verdict = watched.world.core.shown_verdict(&watched.world.settings, NodeId(0));
    (writer(watched) == Some(0) && verdict.serves_writers(), verdict.kind.serves())
}

#[test]
fn a_donor_keeps_the_role_and_its_sessions_for_the_grace_and_loses_both_after_it() {
    for donor in [DonorRule::Never, DonorRule::LastResort] {
        let mut watched = donor_writer(Settings { donor, ..rules() });
        assert_eq!((takes(&watched), watched.orders()), ((true, false), vec![]), "{donor:?}");
        let shown = watched.world.core.shown_verdict(&watched.world.settings, NodeId(0));
        let told = "Donor/Desynced, keeps the writer role for up to 60 s (donor_grace)";
        assert_eq!((shown.reason.to_string().as_str(), shown.reason.label()), (told, "donor"));
        let begun = watched.world.now;
        assert_eq!(watched.world.deadline(), Some(begun + 60_000), "{donor:?}");
        watched.pass(59_999);
        assert_eq!((takes(&watched), watched.orders()), ((true, false), vec![]), "{donor:?}");
        let outcome = watched.world.pass(1);
        let why = outcome
            .effects
            .iter()
            .find_map(|e| if let Effect::Writer { why, .. } = e { Some(why.as_str()) } else { None });
        assert_eq!(why, Some("Donor/Desynced, donor_grace (60 s) is over"));
        assert_eq!((writer(&watched), orders(&outcome)), (Some(1), vec!["demote 0".to_owned()]), "{donor:?}");
    }
}

#[test]
fn an_incremental_transfer_of_a_second_moves_nothing_and_each_one_has_its_own_grace() {
    let mut watched = donor_writer(rules());
    for _ in 0..5 {
        watched.pass(50_000);
        watched.rounds(2);
        // On its way back it is in state 3 for a moment, and its rise takes two checks.
        for state in [3, 4, 4, 2] {
            watched.group.members[0].state = state;
            watched.check(0);
            assert!(takes(&watched).0, "state {state}");
        }
    }
    assert_eq!((writer(&watched), watched.orders()), (Some(0), vec![]));
}

#[test]
fn without_a_grace_the_role_moves_at_once() {
    let mut watched = donor_writer(Settings { donor_grace: Duration::ZERO, ..rules() });
    assert_eq!(watched.orders(), ["writer 1", "demote 0"]);
}

#[test]
fn a_donor_that_rejects_queries_or_falls_silent_loses_the_role_by_the_usual_rules() {
    let mut watched = Watched::new(3, Tell::Table, rules());
    watched.world.see(0, answer(&[("wsrep_local_state", "2"), ("wsrep_sst_donor_rejects_queries", "ON")]));
    assert_eq!(writer(&watched), Some(1));
    let mut watched = donor_writer(rules());
    watched.group.freeze(0);
    watched.rounds(2);
    assert_eq!(takes(&watched), (false, false));
    watched.pass(6_000);
    assert_eq!(writer(&watched), Some(1));
}

#[test]
fn silence_does_not_lengthen_the_grace() {
    let mut watched = donor_writer(rules());
    watched.pass(57_000);
    watched.group.freeze(0);
    watched.rounds(2);
    watched.group.thaw(0);
    watched.rounds(2);
    assert!(takes(&watched).0);
    watched.pass(3_000);
    assert_eq!(writer(&watched), Some(1));
}

#[test]
fn a_donor_that_nobody_can_take_over_from_serves_on_as_its_rule_says() {
    for (donor, after) in [(DonorRule::Never, false), (DonorRule::LastResort, true), (DonorRule::Always, true)] {
        let mut watched = donor_writer(Settings { donor, ..rules() });
        watched.group.stop(1);
        watched.group.stop(2);
        watched.rounds(2);
        watched.group.members[0].state = 2;
        watched.check(0);
        assert!(takes(&watched).0, "{donor:?}");
        watched.pass(61_000);
        watched.round();
        assert_eq!((writer(&watched), takes(&watched).0), (Some(0), after), "{donor:?}");
        assert_eq!(watched.world.deadline(), None, "{donor:?}");
    }
}

#[test]
fn a_preferred_writer_that_is_a_donor_is_not_failed_back_from() {
    let failback = Failback::Immediate;
    let mut watched = donor_writer(Settings { failback, ..rules() });
    watched.rounds(3);
    assert_eq!(writer(&watched), Some(0), "it stands before the others in the order of the nodes");
    // One that is preferred and returns takes the role back as from any writer.
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    watched.group.members[0].state = 4;
    watched.group.members[1].state = 2;
    watched.rounds(3);
    assert_eq!(writer(&watched), Some(0));
}

#[test]
fn sessions_of_the_writer_outlive_on_donor_for_as_long_as_it_keeps_the_role() {
    let mut watched = donor_writer(Settings { kill_on_donor: true, ..rules() });
    assert_eq!(watched.orders(), [""; 0]);
    watched.group.members[1].state = 2;
    watched.check(1);
    assert_eq!(watched.orders(), ["kill 1"], "it is not the writer");
    watched.pass(60_000);
    assert_eq!(watched.orders(), ["writer 2", "kill 0"]);
}

#[test]
fn balancers_that_share_a_record_leave_it_as_it_is_for_the_grace() {
    let mut watched = Watched::new(3, Tell::Table, Settings { agreed: true, ..rules() });
    let reading = |age| row(5, 0, 0, age);
    let proposed = |outcome: &Outcome| outcome.effects.iter().any(|e| matches!(e, Effect::Propose(_)));
    watched.world.step(Event::Recorded(reading(500)));
    watched.group.members[0].state = 2;
    watched.check(0);
    watched.world.now += 59_000;
    assert!(!proposed(&watched.world.step(Event::Recorded(reading(559)))));
    assert!(takes(&watched).0);
    watched.world.now += 1_000;
    assert!(proposed(&watched.world.step(Event::Recorded(reading(560)))));
    assert!(!takes(&watched).0);
}

#[test]
fn a_restart_finds_the_writer_where_it_was_though_it_is_a_donor() {
    let watched = donor_writer(rules());
    let memory = watched.world.core.memory();
    let mut again = watched;
    again.world = World::new(3, rules());
    again.world.core.recall(&rules(), &memory);
    again.round();
    assert!(takes(&again).0);
}
