//! Servers that are members of a Group Replication group.

use super::rivals::*;
use super::*;
use crate::galera::server::Channel;
use crate::galera::{Scope, ServerStatus};

/// A member of a group as it sees it: each member's state, and whether it is a primary; its own one by its number.
pub(super) fn member(id: u32, group: &[(u32, &str, bool)]) -> Check {
    let own = Server::alone(id);
    let is_primary = group.iter().any(|(other, state, primary)| *other == id && *primary && *state == "ONLINE");
    let own = Server { read_only: if is_primary { "OFF" } else { "ON" }, ..own };
    let row = |(id, state, primary): &(u32, &str, bool)| -> Channel {
        let uuid = format!("3e11fa47-71ca-11e1-9e33-c80aa942956{id}");
        let role = if *primary { "PRIMARY" } else { "SECONDARY" };
        [("member_id", uuid.as_str()), ("member_state", state), ("member_role", role)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into()
    };
    let rows = own.status().rows;
    Check::Server(Box::new(ServerStatus::new(rows, Ok(Vec::new()), Some(Ok(group.iter().map(row).collect())))))
}

#[test]
fn the_writer_of_a_group_is_its_primary_and_moves_with_it() {
    let group = |primary: u32| [0, 1, 2].map(|id| (id, "ONLINE", id == primary));
    let mut world = servers(3, settings());
    (0..3).for_each(|id| drop(world.see(id, member(id, &group(1)))));
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![0, 1, 2]));
    assert_eq!([0, 1].map(|id| scope(&world, id)), [Some(Scope::Readers), Some(Scope::All)]);
    // group_replication_set_as_primary.
    world.see(1, member(1, &group(0)));
    world.see(0, member(0, &group(0)));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1, 2]));
    // It dies, and another one is elected.
    world.see(0, gone());
    let left = [(1, "ONLINE", false), (2, "ONLINE", true)];
    world.see(2, member(2, &left));
    assert_eq!((writer(&world), world.serving()), (Some(2), vec![1, 2]));
    // It comes back.
    let back = [(0, "RECOVERING", false), (1, "ONLINE", false), (2, "ONLINE", true)];
    world.see_often(0, &member(0, &back), 3);
    assert_eq!((world.kind(0), world.reason(0).as_str()), (Kind::Excluded, "Group Replication: RECOVERING"));
}

#[test]
fn of_a_multi_primary_group_one_is_the_writer_and_all_are_open_to_any() {
    let group = [0, 1, 2].map(|id| (id, "ONLINE", true));
    let mut world = servers(3, settings());
    (0..3).for_each(|id| drop(world.see(id, member(id, &group))));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1, 2]));
    assert!((0..3).all(|id| scope(&world, id) == Some(Scope::All)));
    // Its group may miss it before its checks do, and after.
    let rest = [1, 2].map(|id| (id, "ONLINE", true));
    let mut late = world.clone();
    late.see(0, gone());
    assert_eq!(writer(&late), Some(1));
    for world in [&mut world, &mut late] {
        world.see(1, member(1, &rest));
        world.see(2, member(2, &rest));
        world.see_often(0, &gone(), 3);
        assert_eq!((writer(world), world.serving()), (Some(1), vec![1, 2]));
        // It comes back with a group of its own: what it takes there, the others never get.
        world.see_often(0, &member(0, &group[..1]), 3);
        assert_eq!((writer(world), world.serving()), (Some(1), vec![1, 2]));
        assert_eq!(world.reason(0), "takes writes beside n1, and lacks what is written there");
        // The others die with it: what it lacks, it must not go on without.
        world.see_often(1, &gone(), 3);
        world.see_often(2, &gone(), 3);
        assert!(world.serving().is_empty());
    }
}

#[test]
fn of_a_multi_primary_group_the_preferred_one_is_the_writer_in_whatever_order_they_are_met() {
    let group = [0, 1, 2].map(|id| (id, "ONLINE", true));
    for preferred in 0..3 {
        let mut world = World::new(0, settings());
        for id in 0..3 {
            let spec = Spec { sort: Sort::Server, ..spec(id, u32::from(id == preferred)) };
            world.step(Event::Added(NodeId(id), spec));
        }
        (0..3).for_each(|id| drop(world.see(id, member(id, &group))));
        assert_eq!(writer(&world), Some(preferred));
    }
}

#[test]
fn of_a_multi_primary_group_a_member_that_missed_what_followed_does_not_go_on_alone() {
    let group = [0, 1, 2].map(|id| (id, "ONLINE", true));
    let mut world = servers(3, settings());
    (0..3).for_each(|id| drop(world.see(id, member(id, &group))));
    world.see_often(2, &gone(), 3);
    world.see(0, member(0, &group[..2]));
    world.see(1, member(1, &group[..2]));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1]));
    world.see_often(0, &gone(), 3);
    world.see_often(1, &gone(), 3);
    world.see_often(2, &member(2, &group[2..]), 3);
    assert!(world.serving().is_empty());
}

#[test]
fn a_primary_that_lost_its_majority_ends_its_sessions_and_two_groups_are_two_servers_apart() {
    let group = [0, 1, 2].map(|id| (id, "ONLINE", id == 0));
    let mut world = servers(3, settings());
    (0..3).for_each(|id| drop(world.see(id, member(id, &group))));
    let minority = [(0, "ONLINE", true), (1, "UNREACHABLE", false), (2, "UNREACHABLE", false)];
    assert!(orders(&world.see(0, member(0, &minority))).contains(&"kill 0".to_owned()));
    assert_eq!(
        (writer(&world), world.reason(0).as_str()),
        (None, "Group Replication: no majority (1 of 3 members reach each other)")
    );
    let majority = [(1, "ONLINE", true), (2, "ONLINE", false)];
    world.see(1, member(1, &majority));
    world.see(2, member(2, &majority));
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![1, 2]));
    // Somebody lets the other part go on alone.
    world.see_often(0, &member(0, &[(0, "ONLINE", true)]), 3);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![1, 2]));
    assert_eq!(world.reason(0), "takes writes beside n1, and lacks what is written there");
}

#[test]
fn a_writer_that_its_group_closed_is_not_succeeded_by_a_server_of_another_group() {
    let ours = [(0, "ONLINE", true), (1, "ONLINE", false)];
    let theirs = [(2, "ONLINE", true)];
    let mut world = servers(3, settings());
    world.see(0, member(0, &ours));
    world.see(1, member(1, &ours));
    world.see(2, gone());
    world.see_often(2, &member(2, &theirs), 3);
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1]));
    world.see(1, gone());
    world.see(0, member(0, &[(0, "ONLINE", true), (1, "UNREACHABLE", false)]));
    world.pass(60_000);
    assert_eq!((writer(&world), world.serving()), (None, vec![]));
    let note = world.core.writer_note().unwrap().to_owned();
    assert!(note.starts_with("n2 would take writes, but lacks what was written on n0; "), "{note}");
    // Its majority is back.
    world.see_often(0, &member(0, &ours), 3);
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0]));
}

#[test]
fn a_member_that_was_expelled_while_it_could_not_be_asked_does_not_go_on_alone() {
    // Its group expels it, and offline_mode is what its exit does; or it is full. It tells nothing more of itself.
    for untold in [offline(), full()] {
        let group = [0, 1, 2].map(|id| (id, "ONLINE", true));
        let mut world = servers(3, settings());
        (0..3).for_each(|id| drop(world.see(id, member(id, &group))));
        world.see_often(2, &untold, 3);
        (0..2).for_each(|id| drop(world.see(id, member(id, &group[..2]))));
        assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1]), "{untold:?}");
        // The others write on and die, and it is bootstrapped alone.
        (0..2).for_each(|id| drop(world.see_often(id, &gone(), 3)));
        world.see_often(2, &untold, 3);
        assert_ne!(writer(&world), Some(2), "{untold:?}");
        world.see_often(2, &member(2, &group[2..]), 3);
        assert_eq!((writer(&world), world.serving()), (Some(1), vec![]), "{}", world.reason(2));
    }
}
