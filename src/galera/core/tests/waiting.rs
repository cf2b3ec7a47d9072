//! Whatever a writer waits for has one bound.

use super::group::{Tell, Watched};
use super::*;

/// The first of three is the writer and has just stopped serving.
fn stopped(settings: Settings) -> Watched {
    let mut watched = Watched::new(3, Tell::Table, settings);
    watched.world.see_often(0, &timed_out(), 2);
    assert_eq!((watched.world.core.writer(), watched.serving()), (Some(NodeId(0)), vec![1, 2]));
    watched
}

#[test]
fn a_writer_that_answers_every_other_time_loses_the_role_after_down_after() {
    for rise in [2, 3] {
        let mut watched = stopped(Settings { rise, ..settings() });
        let begun = watched.world.now;
        while watched.world.core.writer() == Some(NodeId(0)) {
            assert!(watched.world.now <= begun + 6_000, "rise = {rise}");
            let good = watched.group.check(0);
            watched.world.now += 500;
            watched.world.see(0, good);
            watched.world.now += 1_000;
            watched.world.see(0, timed_out());
            watched.check(1);
            watched.check(2);
        }
        assert!(watched.world.now >= begun + 6_000 - 1_600, "it may come back meanwhile");
    }
}

#[test]
fn the_bound_is_met_by_a_tick_and_begins_anew_only_when_it_serves() {
    let mut watched = stopped(settings());
    let begun = watched.world.now;
    watched.pass(4_000);
    watched.check(0);
    assert_eq!(watched.world.deadline(), Some(begun + 6_000), "it rises");
    watched.pass(1_000);
    watched.rounds(2);
    assert_eq!((watched.serving(), watched.world.deadline()), (vec![0, 1, 2], None));
    watched.pass(60_000);
    watched.world.see_often(0, &timed_out(), 2);
    watched.pass(4_000);
    watched.check(0);
    assert_eq!(watched.world.core.writer(), Some(NodeId(0)));
    watched.pass(2_000);
    assert_eq!(watched.world.core.writer(), Some(NodeId(1)));
}

#[test]
fn a_writer_that_cannot_be_checked_after_a_restart_is_waited_for_no_longer() {
    let watched = stopped(settings());
    let memory = watched.world.core.memory();
    let mut again = watched;
    again.world = World::new(3, settings());
    again.world.core.recall(&settings(), &memory);
    let checks = |again: &mut Watched| {
        again.world.see(0, not_made());
        again.check(1);
        again.check(2);
    };
    checks(&mut again);
    again.pass(5_900);
    checks(&mut again);
    assert_eq!(again.world.core.writer(), Some(NodeId(0)));
    again.pass(100);
    checks(&mut again);
    assert_eq!(again.world.core.writer(), Some(NodeId(1)));
}

#[test]
fn what_was_silent_together_is_waited_for_from_when_another_serves() {
    let mut watched = Watched::new(3, Tell::Table, settings());
    for _ in 0..2 {
        (0..3).for_each(|id| drop(watched.world.see(id, timed_out())));
    }
    watched.pass(60_000);
    watched.check(1);
    watched.check(1);
    assert_eq!((watched.serving(), watched.world.core.writer()), (vec![1], Some(NodeId(0))));
    watched.pass(5_999);
    assert_eq!(watched.world.core.writer(), Some(NodeId(0)));
    watched.pass(1);
    assert_eq!(watched.world.core.writer(), Some(NodeId(1)));
}

#[test]
fn a_configured_history_that_was_served_is_the_learned_one_when_the_key_is_taken_out() {
    let mut watched = Watched::new(3, Tell::Table, settings());
    (0..3).for_each(|i| watched.group.crash(i));
    watched.rounds(2);
    watched.pass(10_000);
    watched.group.found(0);
    watched.world.settings.state_uuid = Some(watched.group.members[0].history_name().into());
    watched.rounds(4);
    assert_eq!(watched.serving(), [0]);
    let name = watched.group.members[0].history_name();
    assert_eq!(watched.world.core.memory().history.as_deref(), Some(&*name));
    watched.world.settings.state_uuid = None;
    watched.world.step(Event::Configured(super::super::Configured::default()));
    watched.rounds(2);
    assert_eq!(watched.serving(), [0], "{}", watched.world.reason(0));
}

#[test]
fn a_configured_history_that_nothing_was_served_under_is_not_remembered() {
    let mut watched = Watched::new(3, Tell::Table, settings());
    let learned = watched.world.core.memory().history;
    watched.world.settings.state_uuid = Some("6c8a1b2e-0000-11ef-8000-000000000009".into());
    watched.rounds(4);
    assert_eq!(watched.serving(), [0; 0]);
    assert_eq!(watched.world.core.memory().history, learned);
    watched.world.settings.state_uuid = None;
    watched.rounds(4);
    assert_eq!(watched.serving(), [0, 1, 2]);
}
