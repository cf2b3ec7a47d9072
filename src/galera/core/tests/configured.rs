//! A new configuration while the cluster runs.

use super::group::{Tell, Watched};
use super::*;
use crate::galera::Configured;

const NOTHING: [&str; 0] = [];

pub(super) fn configure(world: &mut World, new: Configured) -> Vec<String> {
    orders(&world.step(Event::Configured(new)))
}

pub(super) fn gone(ids: &[u32]) -> Configured {
    Configured { gone: ids.iter().copied().map(NodeId).collect(), ..Configured::default() }
}

fn changed(id: u32, spec: Spec) -> Configured {
    Configured { changed: vec![(NodeId(id), spec)], ..Configured::default() }
}

/// One node is named with this priority, or not any more.
pub(super) fn configured(id: u32, named: Option<u32>) -> Configured {
    let id = NodeId(id);
    match named {
        Some(priority) => Configured { changed: vec![(id, spec(id.0, priority))], ..Configured::default() },
        None => Configured { gone: vec![id], ..Configured::default() },
    }
}

#[test]
fn a_node_that_is_not_configured_any_more_drains_and_one_that_is_again_serves_at_once() {
    let mut world = World::healthy(settings());
    assert_eq!(configure(&mut world, gone(&[1])), ["drain 1"]);
    assert_eq!((world.kind(1), world.reason(1).as_str()), (Kind::Excluded, "taken out of the configuration"));
    assert_eq!(world.serving(), [0, 2]);
    assert_eq!(configure(&mut world, changed(1, spec(1, 0))), ["resume 1"]);
    assert_eq!(world.serving(), [0, 1, 2], "it was well all the time: no rise");
}

#[test]
fn a_node_whose_name_leads_elsewhere_does_not_come_back_by_its_configuration() {
    let mut world = World::healthy(settings());
    world.step(Event::Leaving(NodeId(1), Some(crate::galera::Departure::Name)));
    configure(&mut world, changed(1, spec(1, 0)));
    assert_eq!(world.serving(), [0, 2]);
}

#[test]
fn the_writer_stays_where_it_is_when_others_are_preferred_and_its_name_changes() {
    let mut world = World::healthy(settings());
    assert_eq!(world.core.writer(), Some(NodeId(0)));
    let renamed = Spec { name: "db1".into(), ..spec(0, 0) };
    let new = Configured { changed: vec![(NodeId(0), renamed), (NodeId(1), spec(1, 50))], ..Configured::default() };
    assert_eq!(configure(&mut world, new), NOTHING);
    assert_eq!(world.core.writer(), Some(NodeId(0)), "failback = never");
}

#[test]
fn all_of_a_configuration_counts_at_once() {
    // The writer goes and so does the node that would follow: the role moves once.
    let mut world = World::healthy(Settings { kill_on_demote: true, ..settings() });
    let outcome = world.step(Event::Configured(gone(&[0, 1])));
    let moves: Vec<_> = outcome.effects.iter().filter(|e| matches!(e, Effect::Writer { .. })).collect();
    assert_eq!((moves.len(), world.core.writer()), (1, Some(NodeId(2))), "{moves:?}");
}

#[test]
fn new_settings_count_with_the_step_that_brings_them() {
    let mut world = World::healthy(settings());
    world.settings.state_uuid = Some("another-history".into());
    let told = configure(&mut world, Configured::default());
    assert_eq!(world.serving(), [0; 0]);
    assert_eq!(told, ["kill 0", "kill 1", "kill 2"]);
}

#[test]
fn a_node_that_is_something_else_now_serves_after_a_check_that_asks_for_that() {
    let mut world = World::healthy(settings());
    configure(&mut world, changed(1, Spec { sort: Sort::Port, ..spec(1, 0) }));
    assert_eq!((world.kind(1), world.serving()), (Kind::Unknown, vec![0, 2]));
    world.see(1, Check::Open);
    assert_eq!(world.serving(), [0, 1, 2]);
}

#[test]
fn a_node_that_is_written_by_another_address_serves_while_its_old_self_drains() {
    let mut watched = Watched::new(3, Tell::Auto, settings());
    watched.rounds(3);
    let added = Configured { added: vec![(NodeId(9), spec(9, 0))], ..gone(&[0]) };
    configure(&mut watched.world, added);
    let check = watched.group.check(0);
    watched.world.see_often(9, &check, 2);
    assert_eq!(watched.serving(), [1, 2, 9], "{}", watched.world.reason(9));
    assert_eq!(watched.world.reason(0), "taken out of the configuration");
}

#[test]
fn the_only_node_written_by_another_address_serves_as_before() {
    let mut watched = Watched::new(1, Tell::Auto, settings());
    watched.rounds(3);
    let added = Configured { added: vec![(NodeId(9), spec(9, 0))], ..gone(&[0]) };
    configure(&mut watched.world, added);
    let check = watched.group.check(0);
    watched.world.see_often(9, &check, 2);
    assert_eq!(watched.serving(), [9], "{}", watched.world.reason(9));
    assert_eq!(watched.world.core.writer(), Some(NodeId(9)));
}
