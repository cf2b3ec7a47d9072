//! Nodes that are discovered, leave, and are forgotten.

use super::group::{Tell, Watched};
use super::*;
use crate::galera::{AdminState, Departure, Memory};

const NOTHING: [&str; 0] = [];

fn writer(world: &World) -> Option<u32> {
    world.core.writer().map(|id| id.0)
}

fn leave(world: &mut World, id: u32, leaving: bool) -> Vec<String> {
    orders(&world.step(Event::Leaving(NodeId(id), leaving.then_some(Departure::Name))))
}

/// One node from the configuration, others that are still to be discovered.
fn discovering(settings: Settings, memory: &Memory) -> World {
    let mut world = World::new(0, settings);
    world.core = Core::discovering();
    world.step(Event::Added(NodeId(0), spec(0, 0)));
    let settings = world.settings.clone();
    world.core.recall(&settings, memory);
    world
}

fn found(world: &mut World, id: u32) {
    world.step(Event::Added(NodeId(id), spec(id, 0)));
}

// ---- leaving

#[test]
fn a_node_that_leaves_drains_and_serves_again_when_its_name_has_it_again() {
    let mut world = World::healthy(settings());
    assert_eq!(leave(&mut world, 1, true), ["drain 1"]);
    assert_eq!((world.kind(1), world.reason(1).as_str()), (Kind::Excluded, "its name does not lead here any more"));
    assert_eq!(world.serving(), [0, 2]);
    assert_eq!(orders(&world.see(1, synced())), NOTHING, "it is well, and that is not asked");
    assert_eq!(leave(&mut world, 1, false), ["resume 1"]);
    assert_eq!(world.serving(), [0, 1, 2], "it was well all the time: no rise");
}

#[test]
fn a_node_that_leaves_keeps_nobody_from_being_the_last_resort() {
    let mut world = World::healthy(settings());
    leave(&mut world, 0, true);
    world.see(1, gone());
    world.see(2, donor());
    assert_eq!((world.serving(), world.kind(2)), (vec![2], Kind::LastResort));
    leave(&mut world, 0, false);
    assert_eq!(world.serving(), [0]);
}

#[test]
fn a_node_that_leaves_is_itself_no_last_resort() {
    for last in [donor(), refused()] {
        let mut world = World::healthy(settings());
        leave(&mut world, 0, true);
        world.see(1, gone());
        world.see(2, gone());
        world.see(0, last);
        assert_eq!(world.serving(), [0; 0], "its name does not lead there");
    }
}

#[test]
fn a_name_that_has_its_node_again_takes_the_drain_back_though_the_node_lets_nobody_ask() {
    let mut world = World::healthy(settings());
    leave(&mut world, 0, true);
    for id in 0..3 {
        world.see(id, refused());
    }
    assert_eq!(world.serving(), [1, 2]);
    assert_eq!(leave(&mut world, 0, false), ["resume 0"], "it is as good a last resort as the others");
    assert_eq!(world.serving(), [0, 1, 2]);
}

#[test]
fn what_a_leaving_node_says_against_itself_comes_first() {
    let mut world = World::healthy(settings());
    leave(&mut world, 0, true);
    assert_eq!(orders(&world.see(0, non_primary())), ["kill 0"]);
    assert_eq!(world.reason(0), "non-Primary");
    assert_eq!(leave(&mut world, 0, false), NOTHING);
    world.see_often(0, &synced(), 2);
    assert_eq!(world.serving(), [0, 1, 2]);
}

#[test]
fn a_writer_that_leaves_hands_over_at_once_whatever_it_is() {
    for (then, times) in [(synced(), 0), (timed_out(), 2)] {
        let mut world = World::healthy(Settings { kill_on_demote: true, ..settings() });
        world.see_often(0, &then, times);
        assert_eq!(writer(&world), Some(0));
        leave(&mut world, 0, true);
        assert_eq!(writer(&world), Some(1), "{then:?}");
        leave(&mut world, 0, false);
        assert_eq!(writer(&world), Some(1), "{then:?}");
    }
    // One that rises is none that may come back either.
    let mut world = World::healthy(settings());
    world.see_often(0, &timed_out(), 2);
    world.see(0, synced());
    assert_eq!(writer(&world), Some(0));
    leave(&mut world, 0, true);
    assert_eq!(writer(&world), Some(1));
}

// ---- forgotten

#[test]
fn a_writer_that_is_forgotten_is_replaced_and_the_last_one_by_nobody() {
    let mut world = World::healthy(settings());
    let moved = |outcome: &Outcome| {
        outcome.effects.iter().find_map(|e| match e {
            Effect::Writer { from, to, why } => Some((from.map(|id| id.0), to.map(|id| id.0), why.clone())),
            _ => None,
        })
    };
    let gone = || "it is no longer one of the nodes".to_owned();
    let outcome = world.step(Event::Removed(NodeId(0)));
    assert_eq!((writer(&world), moved(&outcome)), (Some(1), Some((Some(0), Some(1), gone()))));
    assert!(outcome.publish);
    world.step(Event::Removed(NodeId(2)));
    let outcome = world.step(Event::Removed(NodeId(1)));
    assert_eq!((writer(&world), moved(&outcome)), (None, Some((Some(1), None, gone()))));
    assert!(outcome.publish && outcome.effects.iter().all(|e| matches!(e, Effect::Writer { .. })), "{outcome:?}");
    assert_eq!(world.deadline(), None);
}

#[test]
fn nothing_is_left_of_a_node_that_is_forgotten() {
    let mut world = World::healthy(settings());
    world.step(Event::Operator(NodeId(1), AdminState::Drain));
    world.step(Event::Removed(NodeId(1)));
    assert_eq!((world.kind(1), world.core.admin(NodeId(1))), (Kind::Unknown, AdminState::Ready));
    let outcome = world.see(1, synced());
    assert!(!outcome.publish && outcome.effects.is_empty(), "a check that was under way");
    assert!(!world.core.answers(NodeId(1)) && !world.core.in_doubt(NodeId(1)));
    assert_eq!(world.serving(), [0, 2]);
}

#[test]
fn what_an_operator_took_out_for_work_is_out_when_it_is_found_again() {
    let mut world = World::healthy(settings());
    world.step(Event::Operator(NodeId(1), AdminState::Maintenance));
    world.step(Event::Removed(NodeId(1)));
    assert!(world.core.memory().operator.contains_key("n1"), "a restart remembers it too");
    world.step(Event::Added(NodeId(7), Spec { name: "n1".into(), ..spec(7, 0) }));
    world.see(7, synced());
    assert_eq!(world.core.admin(NodeId(7)), AdminState::Maintenance);
}

#[test]
fn a_silent_node_that_is_forgotten_is_waited_for_no_longer() {
    let mut world = World::healthy(settings());
    world.see_often(2, &timed_out(), 2);
    assert!(world.deadline().is_some());
    world.step(Event::Removed(NodeId(2)));
    assert_eq!(world.deadline(), None);
}

#[test]
fn a_node_that_was_never_checked_holds_nobody_up_once_it_is_forgotten() {
    let mut world = World::new(3, settings());
    world.see(0, synced());
    world.see(1, synced());
    assert_eq!(writer(&world), None);
    world.step(Event::Removed(NodeId(2)));
    assert_eq!(writer(&world), Some(0));
}

#[test]
fn members_that_are_forgotten_are_no_component_any_more() {
    let mut watched = Watched::new(3, Tell::Table, settings());
    watched.group.isolate(2);
    watched.group.settle();
    watched.group.bootstrap(2);
    watched.rounds(4);
    watched.pass(25_000);
    watched.rounds(4);
    assert_eq!((watched.orders().first().map(String::as_str), watched.serving()), (Some("split"), vec![0, 1]));
    // Somebody takes the record of the other side out of the name.
    let outcome = watched.world.step(Event::Removed(NodeId(2)));
    assert!(outcome.effects.contains(&Effect::SplitBrain(None)), "{outcome:?}");
    assert_eq!(watched.world.core.components(), [[NodeId(0), NodeId(1)]]);
}

// ---- discovered

#[test]
fn nobody_writes_before_what_can_be_discovered_was_and_is_checked() {
    let mut world = discovering(settings(), &Memory::default());
    world.see(0, synced());
    assert_eq!((world.serving(), writer(&world), world.core.is_settled()), (vec![0], None, false));
    found(&mut world, 1);
    world.step(Event::Discovered);
    assert_eq!((writer(&world), world.core.is_settled()), (None, false));
    assert_eq!(world.core.writer_note(), Some("no writer yet: not every node was checked (n1)"));
    world.see(1, synced());
    assert_eq!((writer(&world), world.core.is_settled()), (Some(0), true));
}

#[test]
fn a_node_that_is_found_later_is_checked_before_it_serves_and_takes_nothing_over() {
    let mut world = World::healthy(Settings { failback: Failback::Never, ..settings() });
    world.step(Event::Added(NodeId(3), spec(3, 9)));
    assert_eq!((world.kind(3), world.serving(), writer(&world)), (Kind::Unknown, vec![0, 1, 2], Some(0)));
    assert!(world.core.in_doubt(NodeId(3)), "it is looked at soon");
    world.see(3, synced());
    assert_eq!((world.serving(), writer(&world)), (vec![0, 1, 2, 3], Some(0)));
}

#[test]
fn a_restart_waits_for_the_writer_that_is_discovered_again() {
    let mut before = World::healthy(settings());
    before.step(Event::Operator(NodeId(0), AdminState::Drain));
    before.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(writer(&before), Some(1));
    let memory = before.core.memory();
    let mut world = discovering(settings(), &memory);
    world.see(0, synced());
    found(&mut world, 1);
    assert_eq!(world.core.memory().writer.as_deref(), Some("n1"), "and does not forget it meanwhile");
    found(&mut world, 2);
    world.step(Event::Discovered);
    world.see(2, synced());
    world.see(1, synced());
    assert_eq!(writer(&world), Some(1));
}

#[test]
fn a_remembered_writer_that_is_not_found_again_is_replaced() {
    let memory = Memory { writer: Some("n7".into()), ..Memory::default() };
    let mut world = discovering(settings(), &memory);
    world.see(0, synced());
    assert_eq!(world.core.memory().writer.as_deref(), Some("n7"));
    world.step(Event::Discovered);
    assert_eq!(writer(&world), Some(0));
    assert_eq!(world.core.memory().writer.as_deref(), Some("n0"));
    // One of that name that comes later is a node like any other.
    world.step(Event::Added(NodeId(1), Spec { name: "n7".into(), ..spec(1, 0) }));
    world.see(1, synced());
    assert_eq!(writer(&world), Some(0));
}

#[test]
fn what_an_operator_wished_of_a_node_holds_whenever_it_is_found_again() {
    let away = [("n1".into(), AdminState::Drain), ("n2".into(), AdminState::Maintenance)];
    let memory = Memory { operator: away.into(), ..Memory::default() };
    let mut world = discovering(settings(), &memory);
    found(&mut world, 1);
    world.step(Event::Discovered);
    world.see(0, synced());
    world.see(1, synced());
    assert!(world.core.is_settled());
    assert_eq!(world.core.admin(NodeId(1)), AdminState::Drain);
    let kept = world.core.memory().operator;
    assert_eq!(kept, memory.operator, "of one that is not found yet too");
    found(&mut world, 2);
    assert_eq!(world.core.admin(NodeId(2)), AdminState::Maintenance);
    assert_eq!(world.core.memory().operator, memory.operator);
}

#[test]
fn a_restart_serves_the_side_that_was_served_whoever_is_found_first() {
    let mut before = Watched::new(3, Tell::Table, settings());
    before.group.isolate(2);
    before.group.settle();
    before.group.bootstrap(2);
    before.rounds(6);
    assert_eq!(before.serving(), [0, 1]);
    let memory = before.world.core.memory();
    let mut again = Watched::new(0, Tell::Table, settings());
    (again.group, again.world) = (before.group, discovering(settings(), &memory));
    found(&mut again.world, 2);
    again.check(2);
    assert_eq!(again.serving(), [0; 0], "the seed was not asked yet");
    again.check(0);
    assert_eq!(again.serving(), [0]);
    found(&mut again.world, 1);
    again.world.step(Event::Discovered);
    again.rounds(6);
    assert_eq!(again.serving(), [0, 1]);
}

// ---- what operators set, where addresses pass from one node to another

/// A node of this number is found, and says that it is a member of this name.
fn found_as(world: &mut World, id: u32, member: &str) {
    world.step(Event::Added(NodeId(id), Spec { name: "10.0.0.9:3306".into(), is_found: true, ..spec(id, 0) }));
    says(world, id, member);
}

fn says(world: &mut World, id: u32, member: &str) {
    world.see(
        id,
        answer(&[("wsrep_node_name", member), ("wsrep_gcomm_uuid", &format!("{id:08x}-0000-11ef-8000-000000000000"))]),
    );
}

#[test]
fn a_drain_goes_with_the_member_and_never_with_the_address() {
    let mut world = World::healthy(settings());
    found_as(&mut world, 7, "galera-2");
    world.step(Event::Operator(NodeId(7), AdminState::Drain));
    world.step(Event::Removed(NodeId(7)));
    let memory = world.core.memory();
    assert!(memory.operator.is_empty() && memory.members.contains_key("galera-2"), "{memory:?}");
    // The address is another pod's now, and the member has another address.
    found_as(&mut world, 8, "galera-5");
    assert_eq!((world.core.admin(NodeId(8)), world.kind(8)), (AdminState::Ready, Kind::Eligible));
    found_as(&mut world, 9, "galera-2");
    assert_eq!(world.core.admin(NodeId(9)), AdminState::Drain);
    // And after a restart.
    let mut again = discovering(settings(), &world.core.memory());
    found_as(&mut again, 9, "galera-5");
    found_as(&mut again, 10, "galera-2");
    assert_eq!([9, 10].map(|id| again.core.admin(NodeId(id))), [AdminState::Ready, AdminState::Drain]);
}

#[test]
fn an_address_that_becomes_another_members_without_being_missed_is_not_drained() {
    let mut world = World::healthy(settings());
    found_as(&mut world, 7, "galera-2");
    world.step(Event::Operator(NodeId(7), AdminState::Maintenance));
    says(&mut world, 7, "galera-5");
    assert_eq!(world.core.admin(NodeId(7)), AdminState::Ready);
    says(&mut world, 7, "galera-2");
    assert_eq!(world.core.admin(NodeId(7)), AdminState::Maintenance);
}

#[test]
fn a_discovered_node_that_never_said_who_it_is_is_not_remembered_once_it_is_gone() {
    let mut world = World::healthy(settings());
    world.step(Event::Added(NodeId(7), Spec { is_found: true, ..spec(7, 0) }));
    world.step(Event::Operator(NodeId(7), AdminState::Drain));
    world.step(Event::Removed(NodeId(7)));
    found_as(&mut world, 8, "galera-5");
    assert_eq!(world.core.admin(NodeId(8)), AdminState::Ready);
    assert!(world.core.memory().operator.is_empty());
}
