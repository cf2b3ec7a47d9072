//! Rise, fall, and what a single check may and may not change.

use proptest::prelude::*;

use super::properties::{NODES, any_settings, history, live, seen};
use super::*;

#[test]
fn the_first_ever_check_counts_alone() {
    let mut world = World::new(1, Settings { rise: 5, ..settings() });
    assert_eq!((world.kind(0), world.reason(0)), (Kind::Unknown, "not checked yet".to_owned()));
    let outcome = world.see(0, synced());
    assert!(outcome.publish);
    assert_eq!(world.kind(0), Kind::Eligible);
}

#[test]
fn a_first_check_that_was_not_made_was_none() {
    let mut world = World::new(1, settings());
    assert!(!world.see(0, not_made()).publish);
    assert_eq!(world.kind(0), Kind::Unknown);
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::Eligible);
}

#[test]
fn a_node_first_met_silent_has_to_rise() {
    let mut world = World::new(1, settings());
    world.see(0, timed_out());
    assert_eq!((world.kind(0), world.reason(0).as_str()), (Kind::Excluded, "unreachable (no answer: query timed out)"));
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::Excluded);
    assert!(world.core.in_doubt(NodeId(0)));
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::Eligible);
    assert!(!world.core.in_doubt(NodeId(0)));
}

#[test]
fn it_takes_rise_good_checks_in_a_row_and_not_one_less() {
    for rise in 1..5 {
        for bad in [non_primary(), rejecting()] {
            let mut world = World::healthy(Settings { rise, ..settings() });
            world.see(0, bad.clone());
            for n in 1..=rise {
                assert_eq!(world.kind(0), Kind::Excluded, "rise {rise}, {n}");
                world.see(0, synced());
            }
            assert_eq!(world.kind(0), Kind::Eligible, "rise {rise}");
            // A bad one in the middle begins the row anew.
            world.see(0, bad.clone());
            world.see_often(0, &synced(), rise - 1);
            world.see(0, bad);
            world.see_often(0, &synced(), rise - 1);
            assert_eq!(world.kind(0), Kind::Excluded, "rise {rise}");
        }
    }
}

#[test]
fn it_takes_fall_failures_in_a_row_and_not_one_less() {
    for fall in 1..5 {
        let mut world = World::healthy(Settings { fall, ..settings() });
        for n in 1..fall {
            assert!(!world.see(0, timed_out()).publish);
            assert_eq!((world.kind(0), world.core.failures(NodeId(0))), (Kind::Eligible, n));
            assert!(world.core.in_doubt(NodeId(0)), "a node that failed is looked at soon");
        }
        world.see(0, synced());
        assert_eq!(world.core.failures(NodeId(0)), 0);
        world.see_often(0, &timed_out(), fall - 1);
        assert_eq!(world.kind(0), Kind::Eligible, "the good check began the row anew");
        world.see(0, timed_out());
        assert_eq!(world.kind(0), Kind::Excluded);
        assert!(!world.core.in_doubt(NodeId(0)), "settled: no haste");
    }
}

#[test]
fn a_refusal_after_a_closed_check_needs_no_second_opinion() {
    let mut world = World::healthy(Settings { fall: 10, ..settings() });
    assert!(world.see(1, gone()).publish);
    assert_eq!(world.serving(), [0, 2]);
    assert_eq!(world.reason(1), "unreachable (connection refused)");
}

#[test]
fn what_a_node_says_of_itself_acts_at_once() {
    for bad in [non_primary(), rejecting(), answer(&[("wsrep_on", "OFF")]), answer(&[("wsrep_local_state", "")])] {
        let mut world = World::healthy(Settings { fall: 10, rise: 10, ..settings() });
        world.see(2, bad);
        assert_eq!(world.serving(), [0, 1]);
    }
}

#[test]
fn a_row_of_good_checks_proves_the_least_of_them_and_says_so() {
    let mut world = World::new(1, settings());
    world.see(0, non_primary());
    world.see(0, donor());
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::LastResort);
    assert_eq!(world.reason(0), "Donor/Desynced, last resort: no node is Synced");
    world.see_often(0, &synced(), 2);
    assert_eq!((world.kind(0), world.reason(0).as_str()), (Kind::Eligible, "Synced"));
}

#[test]
fn a_failure_ends_a_row_of_good_checks_though_it_is_not_down() {
    let mut world = World::new(1, settings());
    world.see(0, non_primary());
    world.see(0, synced());
    world.see(0, timed_out());
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::Excluded);
    world.see(0, synced());
    assert_eq!(world.kind(0), Kind::Eligible);
}

#[test]
fn a_last_resort_that_is_synced_again_is_one_at_once() {
    let mut world = World::new(2, settings());
    world.see(0, donor());
    world.see(1, donor());
    assert_eq!(world.serving(), [0, 1]);
    world.see(0, synced());
    assert_eq!(world.serving(), [0], "it serves already, and beside it a donor must not");
}

#[test]
fn a_server_that_is_full_keeps_its_verdict_and_gets_nobody() {
    let mut world = World::healthy(settings());
    let outcome = world.see(0, full());
    assert!(outcome.publish && outcome.effects.is_empty());
    assert_eq!(world.kind(0), Kind::Eligible);
    assert!(!world.core.verdict(NodeId(0)).room);
    // It spoke, so a run of failures is over.
    for _ in 0..5 {
        world.see(0, timed_out());
        world.see(0, full());
    }
    assert_eq!(world.kind(0), Kind::Eligible);
    world.see(0, synced());
    assert!(world.core.verdict(NodeId(0)).room);
    // An unfit one stays unfit.
    world.see(1, non_primary());
    world.see_often(1, &full(), 3);
    assert_eq!((world.kind(1), world.reason(1).as_str()), (Kind::Excluded, "non-Primary"));
}

#[test]
fn a_server_that_was_full_from_the_start_is_not_up() {
    let mut world = World::new(1, settings());
    world.see(0, full());
    assert_eq!(
        (world.kind(0), world.reason(0).as_str()),
        (Kind::Excluded, "check cannot get in (1040 Too many connections)")
    );
    world.see_often(0, &synced(), 2);
    assert_eq!(world.kind(0), Kind::Eligible);
}

#[test]
fn a_check_that_was_not_made_says_nothing() {
    let mut world = World::healthy(Settings { fall: 1, ..settings() });
    for _ in 0..20 {
        world.now += 1000;
        let outcome = world.see(0, not_made());
        assert!(!outcome.publish && outcome.effects.is_empty());
    }
    assert_eq!(world.serving(), [0, 1, 2]);
    assert_eq!(world.core.failures(NodeId(0)), 0);
}

#[test]
fn an_observation_of_a_node_that_is_not_there_is_nothing() {
    let mut world = World::healthy(settings());
    let outcome = world.see(7, synced());
    assert!(!outcome.publish && outcome.effects.is_empty());
    assert_eq!(world.kind(7), Kind::Unknown);
    // Nor does adding a node again forget what is known of it.
    world.step(Event::Added(NodeId(0), spec(0, 0)));
    assert_eq!(world.kind(0), Kind::Eligible);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3000)))]

    #[test]
    fn while_the_world_does_not_change_nothing_does(
        settings in any_settings(), history in history(), last in proptest::collection::vec(seen(), NODES as usize)
    ) {
        let mut world = live(settings, &history, |_, _, _, _| Ok(()))?;
        let round = |world: &mut World| -> Vec<Outcome> {
            last.iter().zip(0..).map(|(seen, id)| {
                world.now += 3000;
                world.see(id, seen.check())
            }).collect()
        };
        // Long enough for every rise, fall, down_after and donor_grace.
        for _ in 0..14 {
            round(&mut world);
        }
        for _ in 0..4 {
            for outcome in round(&mut world) {
                prop_assert!(!outcome.publish && outcome.effects.is_empty(), "{:?}", outcome);
            }
            prop_assert_eq!(world.pass(60_000).effects.len(), 0);
        }
    }
}
