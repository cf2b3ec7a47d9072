//! Nodes that go on until found ones serve, which may be the same servers.

use super::configured::{configure, gone as leaving};
use super::group::{Tell, Watched};
use super::recorded::row;
use super::rivals::{Server, of, servers, writer};
use super::*;
use crate::galera::{AdminState, Configured, ServerStatus};

/// One that was found, at this place in the order.
fn found(id: u32, order: u32, sort: Sort) -> Spec {
    Spec { name: format!("10.0.0.{id}:3306").into(), is_found: true, order: (order, 0), sort, ..spec(id, 0) }
}

/// These go on until nodes that were found serve.
fn stopgaps(ids: &[u32], sort: Sort) -> Configured {
    let stopgap = |id: &u32| (NodeId(*id), Spec { is_stopgap: true, sort, ..spec(*id, 0) });
    Configured { changed: ids.iter().map(stopgap).collect(), ..Configured::default() }
}

/// What MySQL says of a server, or what MariaDB does, which has no UUID of a server.
fn told(server: Server, is_mysql: bool) -> Check {
    let ServerStatus { mut rows, .. } = server.status();
    let mut channels = server.channels();
    if !is_mysql {
        rows.remove("server_uuid");
        channels.iter_mut().for_each(|channel| drop(channel.remove("source_uuid")));
    }
    Check::Server(Box::new(ServerStatus::new(rows, Ok(channels), None)))
}

/// The servers are found once more, the first as node 10.
fn find(world: &mut World, servers: &[Server], is_mysql: bool) {
    for (i, server) in (0..).zip(servers) {
        world.step(Event::Added(NodeId(10 + i), found(10 + i, i, Sort::Server)));
        world.see_often(10 + i, &told(*server, is_mysql), 3);
    }
}

/// These servers under their configured addresses, which go on until found ones serve; the writer is this one.
fn servers_going_on(servers: &[Server], is_mysql: bool, wanted: u32) -> World {
    let mut world = of(&[], settings());
    let ids: Vec<u32> = (0..).zip(servers).map(|(id, _)| id).collect();
    for (id, server) in (0..).zip(servers) {
        world.step(Event::Added(NodeId(id), Spec { sort: Sort::Server, ..spec(id, 0) }));
        world.see_often(id, &told(*server, is_mysql), 3);
    }
    for admin in [AdminState::Drain, AdminState::Ready] {
        let others = ids.iter().filter(|id| **id != wanted);
        others.for_each(|id| drop(world.step(Event::Operator(NodeId(*id), admin))));
    }
    assert_eq!(writer(&world), Some(wanted));
    configure(&mut world, stopgaps(&ids, Sort::Server));
    world
}

#[test]
fn the_writer_goes_on_as_what_was_found_at_its_address() {
    for agreed in [false, true] {
        let settings = Settings { agreed, kill_on_demote: true, ..settings() };
        let mut watched = Watched::new(3, Tell::Auto, settings);
        watched.rounds(3);
        if agreed {
            watched.world.step(Event::Recorded(row(5, 1, 0, 500)));
        }
        watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
        assert_eq!(writer(&watched.world), Some(1));
        configure(&mut watched.world, stopgaps(&[0, 1, 2], Sort::Member));
        for i in 0..3 {
            watched.world.step(Event::Added(NodeId(10 + i), found(10 + i, i, Sort::Member)));
            let check = watched.group.check(i as usize);
            watched.world.see_often(10 + i, &check, 3);
            assert_eq!(watched.world.reason(10 + i), format!("the same server as node n{i}"));
        }
        let can = [10, 11, 12].map(|id| watched.world.core.can_replace(NodeId(id)));
        assert_eq!(can, [false, true, true], "the first one is drained");
        configure(&mut watched.world, leaving(&[0, 1, 2]));
        assert_eq!((watched.serving(), writer(&watched.world)), (vec![10, 11, 12], Some(11)), "{agreed}");
        assert_eq!(watched.world.core.admin(NodeId(10)), AdminState::Drain, "as the operator wished");
    }
}

#[test]
fn servers_that_were_found_are_no_rivals_of_themselves() {
    let ring = [Server::writable_replica(0, 1), Server::writable_replica(1, 0)];
    for (is_mysql, wanted) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut world = servers_going_on(&ring, is_mysql, wanted);
        find(&mut world, &ring, is_mysql);
        assert_eq!((writer(&world), world.serving()), (Some(wanted), vec![0, 1]));
        assert!(world.core.can_replace(NodeId(10)) && world.core.can_replace(NodeId(11)));
        configure(&mut world, leaving(&[0, 1]));
        assert_eq!((writer(&world), world.serving()), (Some(10 + wanted), vec![10, 11]), "{is_mysql}");
    }
}

#[test]
fn the_only_server_of_a_cluster_is_itself_by_its_number() {
    let alone = [Server::alone(0)];
    let mut world = servers_going_on(&alone, false, 0);
    find(&mut world, &alone, false);
    assert!(world.core.can_replace(NodeId(10)), "{}", world.reason(10));
    configure(&mut world, leaving(&[0]));
    assert_eq!((writer(&world), world.serving()), (Some(10), vec![10]));
}

#[test]
fn a_server_that_was_apart_stays_apart_under_the_address_that_was_found() {
    for is_mysql in [false, true] {
        let mut world = servers_going_on(&[Server::alone(0), Server::alone(1)], is_mysql, 0);
        assert_eq!(world.serving(), [0]);
        // The name leads to one more, which takes writes too.
        find(&mut world, &[Server::alone(0), Server::alone(1), Server::alone(2)], is_mysql);
        assert_eq!((writer(&world), world.serving()), (Some(0), vec![0]), "{}", world.reason(12));
        let can = [10, 11, 12].map(|id| world.core.can_replace(NodeId(id)));
        assert_eq!(can, [true, false, false]);
        configure(&mut world, leaving(&[0, 1]));
        assert_eq!((writer(&world), world.serving()), (Some(10), vec![10]), "{is_mysql}");
    }
}

#[test]
fn a_node_that_a_name_leads_to_by_its_configured_address_takes_over_while_another_one_is_waited_for() {
    let replicas = [Server::alone(0), Server::replica(1, 0), Server::replica(2, 0)];
    let mut world = servers_going_on(&replicas, false, 0);
    // The third is waited for: a name does not resolve.
    let adopted = |id: u32| (NodeId(id), found(id, id, Sort::Server));
    configure(&mut world, Configured { changed: vec![adopted(0), adopted(1)], ..Configured::default() });
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1, 2]));
    world.see_often(0, &gone(), 3);
    world.see_often(1, &told(Server::alone(1), false), 3);
    assert_eq!(writer(&world), Some(1));
}

#[test]
fn a_server_behind_two_addresses_is_no_rival_of_itself() {
    let mut world = servers(2, settings());
    (0..2).for_each(|id| drop(world.see_often(id, &Server::alone(0).check(), 3)));
    assert_eq!((writer(&world), world.serving()), (Some(0), vec![0, 1]));
    world.see_often(0, &gone(), 3);
    assert_eq!((writer(&world), world.serving()), (Some(1), vec![1]));
}

#[test]
fn a_found_server_serves_where_its_configured_address_leads_nowhere() {
    for is_mysql in [false, true] {
        let mut world = servers_going_on(&[Server::alone(0)], is_mysql, 0);
        world.see_often(0, &gone(), 3);
        find(&mut world, &[Server::alone(0)], is_mysql);
        assert!(world.core.can_replace(NodeId(10)) && world.core.may_part(), "{}", world.reason(10));
        configure(&mut world, leaving(&[0]));
        assert_eq!((writer(&world), world.serving()), (Some(10), vec![10]));
    }
}

#[test]
fn a_server_that_was_apart_is_not_made_the_writer_by_a_writer_that_is_silent() {
    let servers = [Server::alone(0), Server::alone(1), Server::replica(2, 0)];
    let mut world = servers_going_on(&servers, true, 0);
    find(&mut world, &servers, true);
    assert!(world.core.may_part());
    for id in [0, 10] {
        world.see_often(id, &gone(), 3);
    }
    assert!(!world.core.may_part(), "what was written on n0 is nowhere else");
    assert_eq!((writer(&world), world.kind(11)), (Some(0), Kind::Excluded), "{}", world.reason(11));
}

#[test]
fn the_writer_keeps_the_role_when_its_names_address_changes() {
    let mut watched = Watched::new(3, Tell::Auto, Settings { kill_on_demote: true, ..settings() });
    watched.rounds(3);
    watched.world.step(Event::Operator(NodeId(0), AdminState::Drain));
    watched.world.step(Event::Operator(NodeId(0), AdminState::Ready));
    assert_eq!(writer(&watched.world), Some(1));
    watched.world.step(Event::Added(NodeId(11), found(11, 1, Sort::Member)));
    let check = watched.group.check(1);
    watched.world.see_often(11, &check, 3);
    watched.world.step(Event::Leaving(NodeId(1), Some(crate::galera::Departure::Name)));
    assert_eq!(writer(&watched.world), Some(11));
}
