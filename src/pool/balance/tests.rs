mod algorithms;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::{Endpoint, Place, ReaderRule, Role};
use crate::galera::{AdminState, Kind, LoginFailure, NodeId, Reason, Scope, Slow, Verdict};
use crate::pool::{ActiveSession, Node, Standing};

/// All of them.
const EACH: [Balance; 5] =
    [Balance::RoundRobin, Balance::LeastConnections, Balance::Random, Balance::Source, Balance::First];

fn member(id: u32, weight: u16) -> Member {
    let address = Place::Host("127.0.0.1".parse().unwrap());
    Member {
        node: Arc::new(Node::new(NodeId(id), format!("db{id}").into(), address, Arc::default())),
        addresses: [Endpoint::Tcp(([127, 0, 0, 1], 3306).into())].into(),
        weight,
        full_weight: weight,
        priority: 0,
        zone: "".into(),
        backup: false,
        max_connections: None,
        admin: AdminState::Ready,
        verdict: Verdict { kind: Kind::Eligible, reason: Reason::Synced, scope: Scope::All, room: true, slow: None },
    }
}

fn pool_of(members: Vec<Member>) -> Pool {
    Pool::new("main".into(), members, Standing::unknown())
}

const ANY: Wanted = Wanted { role: Role::Any, includes_writer: ReaderRule::LastResort };
const WRITER: Wanted = Wanted { role: Role::Writer, ..ANY };

fn reader(includes_writer: ReaderRule) -> Wanted {
    Wanted { role: Role::Reader, includes_writer }
}

/// As any service picks that asks for no role and no zone, for a client of its own each time.
fn pick(pool: &Pool, balance: Balance, ticket: usize, tried: &Tried) -> Option<usize> {
    pick_of(pool, ANY, balance, ticket, tried)
}

fn pick_of(pool: &Pool, wanted: Wanted, balance: Balance, ticket: usize, tried: &Tried) -> Option<usize> {
    let source = source_key(Some(client(ticket)));
    super::pick(pool, &Ask { wanted, balance, zone: None, ticket, source }, tried)
}

/// The address of some client.
fn client(number: usize) -> IpAddr {
    let [_, _, _, _, _, b, c, d] = u64::try_from(number).unwrap().to_be_bytes();
    [10, b, c, d].into()
}

/// A pool whose writer is this one.
fn written(members: Vec<Member>, writer: u32) -> Pool {
    let standing = Standing { writer: Some(NodeId(writer)), ..Standing::unknown() };
    Pool::new("main".into(), members, standing)
}

fn pool(weights: &[u16]) -> Pool {
    pool_of(weights.iter().zip(0..).map(|(weight, id)| member(id, *weight)).collect())
}

fn excluded(mut member: Member) -> Member {
    member.verdict =
        Verdict { kind: Kind::Excluded, reason: Reason::NotReady, scope: Scope::All, room: true, slow: None };
    member
}

fn full(mut member: Member) -> Member {
    member.verdict.room = false;
    member
}

fn tried(indices: &[usize]) -> Tried {
    Tried(indices.iter().copied().collect())
}

/// The picks of these tickets.
fn picks(pool: &Pool, balance: Balance, tickets: std::ops::Range<usize>) -> Vec<usize> {
    tickets.map(|t| pick(pool, balance, t, &Tried::default()).unwrap()).collect()
}

/// How often each member was picked.
fn shares(pool: &Pool, picks: &[usize]) -> Vec<usize> {
    (0..pool.members.len()).map(|i| picks.iter().filter(|p| **p == i).count()).collect()
}

/// Picks one after the other, each of which stays as a session.
fn fill(pool: &Pool, sessions: usize) -> (Vec<usize>, Vec<ActiveSession>) {
    let mut all = Vec::new();
    for ticket in 0..sessions {
        let i = pick(pool, Balance::LeastConnections, ticket, &Tried::default()).unwrap();
        all.push((i, pool.members[i].node.enter(None).unwrap()));
    }
    all.into_iter().unzip()
}

#[test]
fn an_empty_pool_and_one_that_nobody_serves_give_nothing() {
    for balance in EACH {
        for pool in [pool(&[]), pool(&[0, 0]), pool_of(vec![excluded(member(0, 100))])] {
            assert_eq!(pick(&pool, balance, 7, &Tried::default()), None);
            assert!(!pool.can_route(ANY));
        }
        let mut unresolved = member(0, 100);
        unresolved.addresses = [].into();
        assert_eq!(pick(&pool_of(vec![unresolved]), balance, 7, &Tried::default()), None);
    }
}

#[test]
fn equal_nodes_take_turns() {
    let pool = pool(&[100, 100, 100]);
    assert_eq!(pool.turns, [0, 1, 2]);
    assert_eq!(picks(&pool, Balance::RoundRobin, 0..7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(shares(&pool, &picks(&pool, Balance::RoundRobin, usize::MAX - 300..usize::MAX)), [100, 100, 100]);
}

#[test]
fn unequal_nodes_get_their_share_exactly_and_evenly_mixed() {
    let pool = pool(&[100, 50, 150]);
    assert_eq!(pool.turns, [2, 0, 1, 2, 0, 2]);
    assert_eq!(shares(&pool, &picks(&pool, Balance::RoundRobin, 0..600)), [200, 100, 300]);
}

#[test]
fn a_node_of_weight_0_gets_nobody_even_as_the_only_one() {
    for balance in EACH {
        let pool = pool(&[0, 100, 0]);
        assert_eq!(shares(&pool, &picks(&pool, balance, 0..50)), [0, 50, 0]);
        assert_eq!(pick(&pool, balance, 0, &tried(&[1])), None);
    }
}

#[test]
fn the_turns_of_a_node_that_is_passed_over_spread_over_the_others() {
    for weights in [&[100, 100, 100][..], &[100, 100, 100, 100], &[200, 100, 100, 100], &[7, 5, 3, 2, 1]] {
        for out in 0..weights.len() {
            let pool = pool(weights);
            pool.members[out].node.suspect();
            let rest: usize = weights.iter().map(|w| usize::from(*w)).sum::<usize>() - usize::from(weights[out]);
            let cycle = pool.turns.len() * rest;
            let got = shares(&pool, &picks(&pool, Balance::RoundRobin, 0..cycle));
            for (i, weight) in weights.iter().enumerate().filter(|(i, _)| *i != out) {
                assert_eq!(got[i] * rest, cycle * usize::from(*weight), "{weights:?} without {out}: {got:?}");
            }
        }
    }
}

#[test]
fn nodes_with_room_come_first_and_suspect_ones_last_within_each() {
    for balance in EACH {
        let pool = pool_of(vec![
            full(member(0, 100)),
            full(member(1, 100)),
            member(2, 100),
            member(3, 100),
            excluded(member(4, 100)),
        ]);
        pool.members[0].node.suspect();
        pool.members[3].node.suspect();
        for ticket in 0..20 {
            let mut order = Tried::default();
            while let Some(i) = pick(&pool, balance, ticket, &order) {
                order.add(i);
            }
            assert_eq!(order.0.as_slice(), [2, 3, 1, 0], "{balance:?}, ticket {ticket}");
        }
        assert!(pool.members[3].node.clear_suspect());
        let first = pick(&pool, balance, 0, &tried(&[2]));
        assert_eq!(first, Some(3));
    }
}

#[test]
fn the_fewest_sessions_win_in_proportion_to_the_weight() {
    let pool = pool(&[100, 50, 150]);
    let (picked, _sessions) = fill(&pool, 600);
    assert_eq!(shares(&pool, &picked), [200, 100, 300]);
    // At every moment, not only at the end.
    for n in 1..picked.len() {
        let now = shares(&pool, &picked[..n]);
        for (have, part) in now.iter().zip([2, 1, 3]) {
            assert!((have * 6).abs_diff(n * part) <= 6, "{now:?} after {n}");
        }
    }
}

#[test]
fn a_node_that_lost_its_sessions_is_filled_up_first() {
    let pool = pool(&[100, 100, 100]);
    let (picked, mut sessions) = fill(&pool, 30);
    let mut at = picked.into_iter();
    sessions.retain(|_| at.next() != Some(1));
    assert_eq!(picks(&pool, Balance::LeastConnections, 0..10), [1; 10]);
}

#[test]
fn ties_go_round() {
    let pool = pool(&[100, 100, 100]);
    // Short sessions that are over before the next one comes.
    assert_eq!(shares(&pool, &picks(&pool, Balance::LeastConnections, 0..300)), [100, 100, 100]);
    // By the weights, also while all are empty.
    let unequal = self::pool(&[100, 200]);
    assert_eq!(shares(&unequal, &picks(&unequal, Balance::LeastConnections, 0..300)), [100, 200]);
}

#[test]
fn a_hundred_nodes_with_odd_weights_have_a_bounded_schedule() {
    let weights: Vec<u16> = (0..100).map(|i| 256 - u16::try_from(i).unwrap()).collect();
    let pool = pool(&weights);
    let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
    assert_eq!(pool.turns.len(), total);
    let got = shares(&pool, &picks(&pool, Balance::RoundRobin, 0..total));
    assert!(got.iter().zip(&weights).all(|(g, w)| *g == usize::from(*w)));
    // A common divisor shortens it.
    assert_eq!(self::pool(&[256, 128, 64]).turns.len(), 7);
}

#[test]
fn reasons_name_every_node_and_what_went_wrong_where_nothing_should() {
    let mut refused = excluded(member(3, 100));
    refused.verdict.reason =
        Reason::LoginRefused(LoginFailure { code: 1045, message: "Access denied for user 'monitor'".to_owned() });
    let pool = pool_of(vec![member(0, 100), member(1, 100), member(2, 0), refused, excluded(member(4, 0))]);
    let reasons = pool.reasons(ANY, |node| (node.id == NodeId(0)).then(|| "connection refused".to_owned()));
    assert_eq!(
        reasons,
        [
            "db0: connection refused",
            "db1: Synced, not tried",
            "db2: weight 0",
            "db3: check's login refused (1045 Access denied for user 'monitor')",
            "db4: not ready (wsrep_ready=OFF)",
        ]
    );
    assert_eq!(self::pool(&[]).reasons(ANY, |_| None), [""; 0]);
}

fn rank_of(pool: &Pool, index: usize) -> u8 {
    let ask = Ask { wanted: ANY, balance: Balance::First, zone: None, ticket: 0, source: 0 };
    rank(pool, &ask, index, &pool.members[index])
}

/// Members of any kind: weight, whether each serves, has room, is suspect, and its sessions.
fn any_pool() -> impl Strategy<Value = (Pool, Vec<ActiveSession>)> {
    let one = (0..257_u16, 0..10_u8, any::<bool>(), 0..5_u8, 0..6_usize);
    proptest::collection::vec(one, 0..8).prop_map(|all| {
        let mut sessions = Vec::new();
        let members = all.into_iter().zip(0..).map(|((weight, serves, room, suspect, active), id)| {
            let mut member = member(id, weight);
            member.verdict.room = room;
            if serves == 0 {
                member = excluded(member);
            }
            if suspect == 0 {
                member.node.suspect();
            }
            sessions.extend((0..active).map(|_| member.node.enter(None).unwrap()));
            member
        });
        let members = members.collect();
        (pool_of(members), sessions)
    })
}

#[test]
fn a_writer_service_gets_the_writer_or_nobody() {
    for balance in EACH {
        let picked = |pool: &Pool, ticket| pick_of(pool, WRITER, balance, ticket, &Tried::default());
        let three = || vec![member(0, 100), member(1, 100), member(2, 100)];
        let pool = written(three(), 1);
        assert!((0..10).all(|ticket| picked(&pool, ticket) == Some(1)));
        assert_eq!(picked(&pool_of(three()), 0), None, "there is none");
        let mut members = three();
        members[1] = excluded(member(1, 100));
        assert_eq!(picked(&written(members, 1), 0), None, "it keeps the role while it is silent");
        let mut members = three();
        members[1].verdict.room = false;
        members[1].verdict.slow = Some(Slow::RecvQueue);
        assert_eq!(picked(&written(members, 1), 0), Some(1), "thresholds never take the writer away");
    }
}

#[test]
fn readers_include_the_writer_as_they_are_told() {
    for balance in EACH {
        let pool = written(vec![member(0, 100), member(1, 100), member(2, 100)], 0);
        let all = |rule, tried: &Tried| -> Vec<usize> {
            (0..12).filter_map(|ticket| pick_of(&pool, reader(rule), balance, ticket, tried)).collect()
        };
        let distinct = |rule, tried: &[usize]| {
            let mut seen = all(rule, &super::tests::tried(tried));
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let all_or_first = |all: &[usize]| if balance == Balance::First { all[..1].to_vec() } else { all.to_vec() };
        assert_eq!(distinct(ReaderRule::Never, &[]), all_or_first(&[1, 2]));
        assert_eq!(distinct(ReaderRule::LastResort, &[]), all_or_first(&[1, 2]));
        assert_eq!(distinct(ReaderRule::Always, &[]), all_or_first(&[0, 1, 2]));
        // The readers failed this client.
        assert_eq!(distinct(ReaderRule::Never, &[1, 2]), [0; 0]);
        assert_eq!(distinct(ReaderRule::LastResort, &[1, 2]), [0]);
        // Alone.
        let alone = written(vec![member(0, 100), excluded(member(1, 100))], 0);
        let picked = |rule| pick_of(&alone, reader(rule), balance, 3, &Tried::default());
        assert_eq!(picked(ReaderRule::Never), None);
        assert_eq!(picked(ReaderRule::LastResort), Some(0));
        // A reader that is full would turn its clients away.
        let full = written(vec![member(0, 100), full(member(1, 100))], 0);
        assert_eq!(pick_of(&full, reader(ReaderRule::LastResort), balance, 3, &Tried::default()), Some(0));
    }
}

#[test]
fn a_slow_node_gets_nobody_while_another_is_not_slow() {
    let slow = |mut m: Member| {
        m.verdict.slow = Some(Slow::FlowControl);
        m
    };
    for balance in EACH {
        let pool = pool_of(vec![slow(member(0, 100)), member(1, 1), slow(member(2, 100))]);
        assert_eq!(picks(&pool, balance, 0..6), [1; 6]);
        let all = pool_of(vec![slow(member(0, 100)), slow(member(1, 100))]);
        assert_eq!(shares(&all, &picks(&all, Balance::RoundRobin, 0..6)), [3, 3], "never the last ones");
    }
}

#[test]
fn a_node_that_the_operator_drains_gets_nobody_and_says_so() {
    for (state, told) in
        [(AdminState::Drain, "drained by the operator"), (AdminState::Maintenance, "under maintenance")]
    {
        let mut member = member(0, 100);
        member.admin = state;
        let pool = pool_of(vec![member]);
        assert_eq!(pick(&pool, Balance::RoundRobin, 0, &Tried::default()), None);
        assert_eq!(pool.reasons(ANY, |_| None), [format!("db0: {told}")]);
    }
}

#[test]
fn who_does_not_have_the_role_says_so() {
    let pool = written(vec![member(0, 100), excluded(member(1, 100))], 1);
    assert_eq!(pool.reasons(WRITER, |_| None), ["db0: Synced, not the writer", "db1: not ready (wsrep_ready=OFF)"]);
    let pool = written(vec![member(0, 100)], 0);
    assert_eq!(pool.reasons(reader(ReaderRule::Never), |_| None), ["db0: Synced, the writer"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_node_that_serves_is_found_once_the_best_first(
        (pool, _sessions) in any_pool(), ticket in any::<usize>(), balance in proptest::sample::select(&EACH[..])
    ) {
        let mut found = Tried::default();
        let mut worst = 0;
        while let Some(i) = pick(&pool, balance, ticket, &found) {
            prop_assert_eq!(pick(&pool, balance, ticket, &found), Some(i), "the same again");
            prop_assert!(!found.contains(i), "{} twice", i);
            let member = &pool.members[i];
            prop_assert!(member.serves());
            prop_assert!(rank_of(&pool, i) >= worst, "a worse one first");
            worst = rank_of(&pool, i);
            found.add(i);
        }
        prop_assert_eq!(found.len(), pool.members.iter().filter(|m| m.serves()).count());
        prop_assert_eq!(found.is_empty(), !pool.can_route(ANY));
    }

    #[test]
    fn a_schedule_is_exact_over_its_length_and_smooth(weights in proptest::collection::vec(0..257_u16, 1..7)) {
        let pool = pool(&weights);
        let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
        let mut had = vec![0_usize; weights.len()];
        for (n, turn) in pool.turns.iter().enumerate() {
            had[usize::from(*turn)] += 1;
            for (have, weight) in had.iter().zip(&weights) {
                // Never a whole turn ahead of its share, and behind by less than there are nodes.
                let (have, fair) = (have * total, (n + 1) * usize::from(*weight));
                prop_assert!(have < fair + total && fair < have + total * weights.len(), "{:?} at {}", had, n);
            }
        }
        let len = pool.turns.len();
        prop_assert!(len <= total);
        for (have, weight) in had.iter().zip(&weights) {
            prop_assert_eq!(have * total, len * usize::from(*weight));
        }
    }

    #[test]
    fn least_connections_never_picks_a_node_that_is_relatively_fuller(
        (pool, _sessions) in any_pool(), ticket in any::<usize>()
    ) {
        let Some(i) = pick(&pool, Balance::LeastConnections, ticket, &Tried::default()) else { return Ok(()) };
        let load = |m: &Member| (m.node.active(), usize::from(m.weight));
        let (mine, my_weight) = load(&pool.members[i]);
        for (_, other) in pool.members.iter().enumerate().filter(|(j, m)| m.serves() && rank_of(&pool, *j) == rank_of(&pool, i)) {
            let (theirs, weight) = load(other);
            prop_assert!(mine * weight <= theirs * my_weight);
        }
    }
}
