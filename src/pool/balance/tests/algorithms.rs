//! How clients spread with each algorithm, and who moves when a node leaves or returns.

use super::*;

/// Where each of these clients goes.
fn homes(pool: &Pool, clients: usize) -> Vec<usize> {
    (0..clients).map(|n| pick(pool, Balance::Source, n, &Tried::default()).unwrap()).collect()
}

/// Every share is within this part of what its weight says.
#[track_caller]
fn assert_spread(got: &[usize], weights: &[u16], tolerance: f64) {
    let (all, total): (usize, u32) = (got.iter().sum(), weights.iter().map(|w| u32::from(*w)).sum());
    for (have, weight) in got.iter().zip(weights) {
        let fair = all as f64 * f64::from(*weight) / f64::from(total);
        assert!((*have as f64 - fair).abs() <= fair * tolerance, "{got:?} for the weights {weights:?}");
    }
}

#[test]
fn random_spreads_by_the_weights_and_in_no_order() {
    for weights in [&[100, 100, 100][..], &[50, 100, 200], &[1, 1]] {
        let pool = pool(weights);
        // Nobody has sessions, so of two the one that was drawn first is as good.
        assert_spread(&shares(&pool, &picks(&pool, Balance::Random, 0..30_000)), weights, 0.05);
    }
    let pool = pool(&[100, 100]);
    let picked = picks(&pool, Balance::Random, 0..1000);
    let changes = picked.windows(2).filter(|w| w[0] != w[1]).count();
    assert!((400..600).contains(&changes), "{changes} changes: that is an order");
}

#[test]
fn random_keeps_loads_close_where_sessions_stay() {
    let pool = pool(&[100, 50, 150]);
    let mut sessions = Vec::new();
    for ticket in 0..6000 {
        let i = pick(&pool, Balance::Random, ticket, &Tried::default()).unwrap();
        sessions.push(pool.members[i].node.enter(None).unwrap());
    }
    let got: Vec<usize> = pool.members.iter().map(|m| m.node.active()).collect();
    // A single draw would be off by the root of its share; two choices are nearly as even as looking at all.
    assert_spread(&got, &[100, 50, 150], 0.02);
}

#[test]
fn a_client_always_gets_the_same_node_and_all_of_them_spread_by_the_weights() {
    for weights in [&[100, 100, 100][..], &[256, 128, 64], &[1, 1, 1, 1, 1, 1, 1]] {
        let pool = pool(weights);
        let homes = homes(&pool, 30_000);
        assert_spread(&shares(&pool, &homes), weights, 0.06);
        // Whatever the ticket.
        for (number, home) in homes.iter().enumerate().take(100) {
            let source = source_key(Some(client(number)));
            let ask = Ask { wanted: ANY, balance: Balance::Source, zone: None, ticket: number * 7 + 1, source };
            assert_eq!(super::super::pick(&pool, &ask, &Tried::default()), Some(*home));
        }
    }
}

#[test]
fn the_clients_of_a_node_that_leaves_spread_over_the_others_and_come_back_with_it() {
    for nodes in [3, 5, 10] {
        let all = || (0..nodes).map(|id| member(id, 100)).collect::<Vec<_>>();
        let before = homes(&pool_of(all()), 20_000);
        let left = |m: Member| if m.node.id == NodeId(1) { excluded(m) } else { m };
        let without = pool_of(all().into_iter().map(left).collect());
        let during = homes(&without, 20_000);
        let moved = before.iter().zip(&during).filter(|(a, b)| a != b).count();
        let of_it = before.iter().filter(|home| **home == 1).count();
        assert_eq!(moved, of_it, "only its own clients move");
        let share = moved as f64 / 20_000.0 * f64::from(nodes);
        assert!((0.93..1.07).contains(&share), "{moved} of 20000 moved with {nodes} nodes");
        let others: Vec<u16> = (0..nodes).map(|id| u16::from(id != 1)).collect();
        let got = shares(&without, &during);
        assert_spread(
            &got.iter().zip(&others).filter(|(_, w)| **w > 0).map(|(g, _)| *g).collect::<Vec<_>>(),
            &vec![1; others.len() - 1],
            0.07,
        );
        assert_eq!(homes(&pool_of(all()), 20_000), before, "they come back");
    }
}

#[test]
fn a_node_that_returns_slowly_takes_back_a_part_of_its_own_clients_only() {
    let full = homes(&pool(&[100, 100, 100]), 10_000);
    let slow = pool(&[100, 5, 100]);
    let during = homes(&slow, 10_000);
    assert!(during.iter().zip(&full).all(|(now, then)| now == then || *then == 1), "others have moved");
    let back = during.iter().filter(|home| **home == 1).count();
    assert!((180..320).contains(&back), "{back} of 10000 for 5 of 205");
}

#[test]
fn a_new_node_takes_its_part_from_all_the_others() {
    let before = homes(&pool(&[100, 100, 100]), 20_000);
    let after = homes(&pool(&[100, 100, 100, 100]), 20_000);
    assert!(before.iter().zip(&after).all(|(a, b)| a == b || *b == 3), "some moved between the others");
    let moved = after.iter().filter(|home| **home == 3).count();
    assert!((4700..5300).contains(&moved), "{moved}");
}

#[test]
fn the_order_of_nodes_and_the_form_of_an_address_change_nobodys_home() {
    let mut members: Vec<Member> = (0..4).map(|id| member(id, 100)).collect();
    let names = |members: &[Member], homes: Vec<usize>| -> Vec<Arc<str>> {
        homes.into_iter().map(|i| members[i].node.name()).collect()
    };
    let before = names(&members, homes(&pool_of(members.clone()), 500));
    members.reverse();
    assert_eq!(names(&members, homes(&pool_of(members.clone()), 500)), before);
    let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
    assert_eq!(source_key(Some(mapped)), source_key(Some([10, 1, 2, 3].into())));
    assert_ne!(source_key(Some("::1".parse().unwrap())), source_key(None));
}

/// What another balancer, of another version, computes: a change of it moves every client of a rolling upgrade.
#[test]
fn the_key_of_an_address_is_the_same_for_ever() {
    assert_eq!(source_key(Some([192, 0, 2, 1].into())), 9_039_381_261_362_805_610);
    assert_eq!(key_of(b"db1"), 17_322_971_661_385_634_343);
}

#[test]
fn first_fills_one_node_after_the_other() {
    let mut members: Vec<Member> = (0..3).map(|id| member(id, 100)).collect();
    for m in &mut members {
        m.max_connections = Some(2);
    }
    let pool = pool_of(members);
    let mut sessions = Vec::new();
    let mut picked = Vec::new();
    while let Some(i) = pick(&pool, Balance::First, sessions.len(), &Tried::default()) {
        picked.push(i);
        sessions.push(pool.members[i].node.enter(pool.members[i].max_connections).unwrap());
    }
    assert_eq!(picked, [0, 0, 1, 1, 2, 2], "and then nobody has room");
    assert!(pool.can_route(ANY), "who waits is told so");
    assert_eq!(
        pool.reasons(ANY, |_| None),
        ["db0", "db1", "db2"].map(|node| format!("{node}: full (max_connections = 2)"))
    );
    sessions.remove(0);
    assert_eq!(pick(&pool, Balance::First, 9, &Tried::default()), Some(0));
}

#[test]
fn a_full_node_gets_nobody_whatever_the_algorithm() {
    for balance in EACH {
        let mut members: Vec<Member> = (0..3).map(|id| member(id, 100)).collect();
        members[1].max_connections = Some(1);
        let pool = pool_of(members);
        let _session = pool.members[1].node.enter(Some(1)).unwrap();
        assert!(picks(&pool, balance, 0..100).iter().all(|i| *i != 1), "{balance:?}");
        assert_eq!(pick(&pool, balance, 0, &tried(&[0, 2])), None, "{balance:?}");
    }
}

#[test]
fn a_backup_serves_only_where_no_other_node_does() {
    for balance in EACH {
        let backup = |id| Member { backup: true, ..member(id, 100) };
        let pool = pool_of(vec![backup(0), member(1, 100), member(2, 100)]);
        assert!(picks(&pool, balance, 0..100).iter().all(|i| *i != 0), "{balance:?}");
        assert_eq!(pick(&pool, balance, 0, &tried(&[1, 2])), Some(0), "the others failed this client");
        let alone = pool_of(vec![backup(0), excluded(member(1, 100))]);
        assert_eq!(pick(&alone, balance, 0, &Tried::default()), Some(0));
        // Full is not gone: who comes waits, as he would without a backup.
        let limited = Member { max_connections: Some(1), ..member(1, 100) };
        let pool = pool_of(vec![backup(0), limited]);
        let _session = pool.members[1].node.enter(Some(1)).unwrap();
        assert_eq!(pick(&pool, balance, 0, &Tried::default()), None);
    }
}

#[test]
fn nodes_of_the_preferred_zone_come_before_others_that_are_as_good() {
    let at = |id, zone: &str| Member { zone: zone.into(), ..member(id, 100) };
    for balance in EACH {
        let pool = pool_of(vec![at(0, "a"), at(1, "b"), at(2, "a"), at(3, "")]);
        let from = |zone, tried: &Tried| -> Vec<usize> {
            let ask = |ticket| Ask { wanted: ANY, balance, zone, ticket, source: source_key(Some(client(ticket))) };
            let mut found: Vec<usize> =
                (0..200).filter_map(|ticket| super::super::pick(&pool, &ask(ticket), tried)).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        let all = if balance == Balance::First { vec![0] } else { vec![0, 1, 2, 3] };
        assert_eq!(from(None, &Tried::default()), all, "{balance:?}");
        assert_eq!(from(Some("b"), &Tried::default()), [1]);
        let beside = if balance == Balance::First { vec![0] } else { vec![0, 2, 3] };
        assert_eq!(from(Some("b"), &tried(&[1])), beside, "there is life outside it");
        pool.members[1].node.suspect();
        assert_eq!(from(Some("b"), &Tried::default()), beside, "a node that fails clients is not as good");
    }
}
