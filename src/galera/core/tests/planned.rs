//! A writer that is taken out on purpose: the role moves at once, and the sessions that write there may finish.

use super::group::{Tell, Watched};
use super::*;
use crate::galera::{AdminState, Departure};

fn watched() -> Watched {
    Watched::new(3, Tell::Table, Settings { kill_on_demote: true, ..settings() })
}

fn maintained() -> Check {
    answer(&[("pxc_maint_mode", "MAINTENANCE")])
}

/// Ways to take the first node out, each with its way back.
fn plans() -> Vec<(&'static str, Event, Event)> {
    let check = |check: Check| Event::Observed(NodeId(0), Observation { begun: Instant::now(), check });
    let operator = |state| Event::Operator(NodeId(0), state);
    vec![
        ("drain", operator(AdminState::Drain), operator(AdminState::Ready)),
        ("maintenance", operator(AdminState::Maintenance), operator(AdminState::Ready)),
        ("pxc_maint_mode", check(maintained()), check(synced())),
        ("name", Event::Leaving(NodeId(0), Some(Departure::Name)), Event::Leaving(NodeId(0), None)),
    ]
}

#[test]
fn sessions_that_write_there_drain_and_end_where_the_drain_is_taken_back() {
    for (plan, out, back) in plans() {
        let mut world = World::healthy(Settings { kill_on_demote: true, ..settings() });
        let outcome = world.step(out);
        assert_eq!((world.core.writer(), orders(&outcome)), (Some(NodeId(1)), vec!["drain 0".to_owned()]), "{plan}");
        let mut told = Vec::new();
        for _ in 0..2 {
            told.extend(orders(&world.step(back.clone())));
        }
        assert_eq!(told, ["resume 0", "demote 0"], "{plan}");
    }
}

#[test]
fn a_drain_that_becomes_worse_ends_them_with_all_others_and_once() {
    let mut watched = watched();
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    watched.group.stop(0);
    watched.round();
    assert_eq!(watched.orders(), ["kill 0"]);
    watched.group.start(0);
    watched.rounds(3);
    watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    watched.round();
    assert_eq!(watched.orders(), [""; 0]);
}

#[test]
fn a_role_that_returns_with_the_node_finds_its_sessions_there() {
    let failback = Failback::Immediate;
    let mut world = World::healthy(Settings { kill_on_demote: true, failback, ..settings() });
    world.step(Event::Operator(NodeId(0), AdminState::Drain));
    let outcome = world.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(
        (world.core.writer(), orders(&outcome)),
        (Some(NodeId(0)), vec!["demote 1".to_owned(), "resume 0".to_owned()])
    );
}

#[test]
fn what_refuses_statements_or_has_lost_its_weight_is_no_plan() {
    for check in [rejecting(), answer(&[("read_only", "ON")])] {
        let mut world = World::healthy(Settings { kill_on_demote: true, ..settings() });
        assert_eq!(orders(&world.see(0, check)), ["demote 0", "drain 0"]);
    }
}
