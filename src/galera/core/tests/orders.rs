//! What becomes of established sessions.

use super::*;
use crate::galera::AdminState;

const NOTHING: [&str; 0] = [];

#[test]
fn sessions_end_at_once_where_the_node_says_that_it_is_out_or_is_surely_down() {
    for bad in [
        non_primary(),
        answer(&[("wsrep_ready", "OFF")]),
        answer(&[("wsrep_connected", "OFF")]),
        answer(&[("wsrep_on", "OFF")]),
        answer(&[("wsrep_local_state", "1")]),
        answer(&[("wsrep_local_state", "")]),
        gone(),
    ] {
        let mut world = World::healthy(settings());
        assert_eq!(orders(&world.see(1, bad.clone())), ["kill 1"], "{bad:?}");
        assert_eq!(orders(&world.see(1, bad.clone())), NOTHING, "once is enough: {bad:?}");
    }
}

#[test]
fn the_sessions_of_a_hung_node_end_after_down_after_and_no_sooner() {
    let mut world = World::healthy(settings());
    world.now = 1000;
    world.see(0, timed_out());
    assert_eq!(world.deadline(), None, "one failure is none");
    world.now = 2000;
    assert_eq!(orders(&world.see(0, timed_out())), NOTHING);
    assert_eq!(world.deadline(), Some(7000), "counted from the first check that got no answer");
    assert_eq!(orders(&world.pass(4999)), NOTHING);
    assert_eq!(orders(&world.pass(1)), ["kill 0"]);
    assert_eq!(world.deadline(), None);
    assert_eq!(orders(&world.pass(60_000)), NOTHING);
}

#[test]
fn a_node_that_answers_again_in_time_keeps_its_sessions() {
    let mut world = World::healthy(settings());
    world.see_often(0, &timed_out(), 3);
    assert_eq!(world.serving(), [1, 2]);
    world.now += 2000;
    assert_eq!(orders(&world.see(0, synced())), NOTHING, "its first good check is no reason to end them");
    assert_eq!(world.deadline(), Some(200 + 6000), "only the role does not wait for longer");
    assert_eq!(orders(&world.see(0, synced())), NOTHING);
    assert_eq!(orders(&world.pass(60_000)), NOTHING);
    assert_eq!(world.serving(), [0, 1, 2]);
}

#[test]
fn nothing_is_ended_for_silence_while_every_node_is_silent() {
    let mut world = World::healthy(settings());
    for id in 0..3 {
        world.see_often(id, &timed_out(), 2);
    }
    assert_eq!(world.serving(), [0; 0]);
    assert_eq!(world.deadline(), None, "nothing can come of waiting");
    assert_eq!(orders(&world.pass(3_600_000)), NOTHING);
    // One answers, and does not serve yet.
    assert_eq!(orders(&world.see(0, synced())), NOTHING);
    assert_eq!(orders(&world.pass(1000)), NOTHING);
    // It serves: what the others did while nothing was heard at all proves nothing; from now on it does.
    assert_eq!(orders(&world.see(0, synced())), NOTHING);
    assert_eq!(world.serving(), [0]);
    assert_eq!(world.deadline(), Some(world.now + 6000));
    assert_eq!(orders(&world.see(1, synced())), NOTHING);
    assert_eq!(orders(&world.pass(5999)), NOTHING);
    assert_eq!(orders(&world.pass(1)), ["kill 2"]);
}

#[test]
fn a_node_that_is_out_by_its_own_word_is_ended_whatever_the_others_are() {
    let mut world = World::healthy(settings());
    world.see_often(1, &timed_out(), 2);
    world.see_often(2, &timed_out(), 2);
    assert_eq!(orders(&world.see(0, non_primary())), ["kill 0"]);
    assert_eq!(orders(&world.pass(6000)), ["kill 1", "kill 2"], "one node answers: it is not our network");
}

#[test]
fn a_veto_drains_and_its_end_takes_the_drain_back() {
    for veto in [
        rejecting(),
        answer(&[("pxc_maint_mode", "MAINTENANCE")]),
        answer(&[("read_only", "ON")]),
        answer(&[("wsrep_local_state", "2"), ("wsrep_sst_donor_rejects_queries", "ON")]),
    ] {
        let mut world = World::healthy(settings());
        assert_eq!(orders(&world.see(0, veto.clone())), ["drain 0"], "{veto:?}");
        assert_eq!(orders(&world.see(0, veto.clone())), NOTHING);
        assert_eq!(orders(&world.see(0, synced())), NOTHING, "not before its rise");
        assert_eq!(orders(&world.see(0, synced())), ["resume 0"]);
    }
}

#[test]
fn only_an_answer_takes_a_drain_back() {
    for on_down in [true, false] {
        for other in [timed_out(), refused(), full(), not_made()] {
            let mut world = World::healthy(Settings { kill_on_down: on_down, ..settings() });
            world.see(0, rejecting());
            assert_eq!(world.see_often(0, &other, 3), NOTHING, "{other:?}");
        }
    }
    let mut world = World::healthy(Settings { kill_on_down: false, ..settings() });
    world.see(0, rejecting());
    assert_eq!(orders(&world.see(0, non_primary())), NOTHING, "to keep is not to bring back");
}

#[test]
fn a_drain_that_is_overtaken_by_a_crash_becomes_a_kill() {
    let mut world = World::healthy(settings());
    world.see(0, rejecting());
    assert_eq!(orders(&world.see(0, gone())), ["kill 0"]);
    assert_eq!(world.see_often(0, &rejecting(), 3), NOTHING, "there is nobody left to drain");
    assert_eq!(world.see_often(0, &synced(), 2), NOTHING, "nor a drain to take back");
    assert_eq!(orders(&world.see(0, rejecting())), ["drain 0"]);
}

#[test]
fn on_down_keep_ends_nobody() {
    let mut world = World::healthy(Settings { kill_on_down: false, ..settings() });
    assert_eq!(orders(&world.see(0, gone())), NOTHING);
    assert_eq!(orders(&world.see(1, non_primary())), NOTHING);
    assert_eq!(world.see_often(2, &timed_out(), 3), NOTHING);
    assert_eq!(world.deadline(), None);
    assert_eq!(orders(&world.pass(3_600_000)), NOTHING);
}

#[test]
fn a_donor_keeps_its_sessions_unless_it_is_configured_otherwise_and_does_not_serve() {
    let mut world = World::healthy(settings());
    assert_eq!(orders(&world.see(0, donor())), NOTHING);

    let mut world = World::healthy(Settings { kill_on_donor: true, ..settings() });
    assert_eq!(orders(&world.see(0, donor())), ["kill 0"]);

    // Those of the last one that serves would only come back to it.
    let mut world = World::healthy(Settings { kill_on_donor: true, ..settings() });
    world.see(1, gone());
    world.see(2, gone());
    assert_eq!(orders(&world.see(0, donor())), NOTHING);
    assert_eq!(world.kind(0), Kind::LastResort);
    world.see(1, synced());
    assert_eq!(orders(&world.see(1, synced())), ["kill 0"], "another serves now");
}

#[test]
fn a_refused_or_full_check_ends_nobody() {
    let mut world = World::healthy(settings());
    for id in 0..3 {
        assert_eq!(world.see_often(id, &refused(), 3), NOTHING);
    }
    let mut world = World::healthy(settings());
    for id in 0..3 {
        assert_eq!(world.see_often(id, &full(), 3), NOTHING);
    }
    assert_eq!(orders(&world.pass(3_600_000)), NOTHING);
}

#[test]
fn a_node_can_be_ended_again_in_its_next_life() {
    let mut world = World::healthy(settings());
    assert_eq!(orders(&world.see(0, gone())), ["kill 0"]);
    assert_eq!(world.see_often(0, &synced(), 2), NOTHING);
    assert_eq!(orders(&world.see(0, gone())), ["kill 0"]);
}

#[test]
fn an_operator_takes_his_drain_back_whatever_the_node_says() {
    let mut world = World::healthy(settings());
    let drained = world.step(Event::Operator(NodeId(0), AdminState::Drain));
    assert_eq!(orders(&drained), ["drain 0"]);
    world.see(0, refused());
    let ready = world.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(orders(&ready), ["resume 0"], "each new session there would be cut at once");
}
