//! What a pick costs: `cargo bench --bench pick`. To hold: under 100 ns with 3 nodes, under 2 µs with 100.
//!
//! Every fourth node's weight is half of the others', one in ten is excluded, and each pick is another client's.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking")]

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use divan::Bencher;
use galeway::config::{Balance, Endpoint, Place, ReaderRule, Role};
use galeway::galera::{AdminState, Kind, NodeId, Reason, Scope, Verdict};
use galeway::pool::{Ask, Member, Node, Pool, Standing, Tried, Wanted, pick, source_key};

const NODES: [u32; 3] = [3, 10, 100];

fn main() {
    divan::main();
}

fn member(id: u32) -> Member {
    let address: Place = Place::Host(format!("10.0.0.{id}:3306").parse().unwrap());
    let (kind, reason) =
        if id % 10 == 9 { (Kind::Excluded, Reason::NotReady) } else { (Kind::Eligible, Reason::Synced) };
    let node = Arc::new(Node::new(NodeId(id), format!("db{id}").into(), address, Arc::default()));
    // Sessions differ, as they do.
    for _ in 0..id % 7 {
        std::mem::forget(node.enter(None));
    }
    Member {
        node,
        addresses: [Endpoint::Tcp(([10, 0, 0, 1], 3306).into())].into(),
        weight: if id % 4 == 3 { 50 } else { 100 },
        full_weight: 100,
        priority: 0,
        zone: if id.is_multiple_of(2) { "a" } else { "b" }.into(),
        backup: id % 25 == 24,
        max_connections: Some(100_000),
        admin: AdminState::Ready,
        verdict: Verdict { kind, reason, scope: Scope::All, room: true, slow: None },
    }
}

fn run(bencher: Bencher<'_, '_>, nodes: u32, balance: Balance, zone: Option<&str>) {
    let pool = Pool::new("main".into(), (0..nodes).map(member).collect(), Standing::unknown());
    let wanted = Wanted { role: Role::Any, includes_writer: ReaderRule::Always };
    let (ticket, tried) = (Cell::new(0_usize), Tried::default());
    bencher.bench_local(|| {
        ticket.set(ticket.get() + 1);
        let client = IpAddr::from(u32::try_from(ticket.get() % 1_000_000).unwrap().to_be_bytes());
        let ask = Ask { wanted, balance, zone, ticket: ticket.get(), source: source_key(Some(client)) };
        pick(&pool, &ask, &tried).unwrap()
    });
}

#[divan::bench(args = NODES)]
fn round_robin(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::RoundRobin, None);
}

#[divan::bench(args = NODES)]
fn least_connections(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::LeastConnections, None);
}

#[divan::bench(args = NODES)]
fn random(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::Random, None);
}

#[divan::bench(args = NODES)]
fn source(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::Source, None);
}

#[divan::bench(args = NODES)]
fn first(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::First, None);
}

#[divan::bench(args = NODES)]
fn within_a_zone(bencher: Bencher<'_, '_>, nodes: u32) {
    run(bencher, nodes, Balance::LeastConnections, Some("a"));
}
