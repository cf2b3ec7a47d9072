//! Where sessions go while nothing is wrong.

use std::collections::BTreeMap;

use crate::harness::{Conn, Galeway, Settings, cluster, secs};

#[test]
fn three_hundred_connections_spread_evenly_over_three_nodes() {
    let cluster = cluster();
    let galeway = Galeway::before(&cluster, Settings::default());
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..300 {
        let mut conn = Conn::app(galeway.addr(), secs(20)).unwrap_or_else(|e| panic!("{e}"));
        *counts.entry(conn.one("SELECT @@wsrep_node_name").unwrap()).or_default() += 1;
        conn.quit().unwrap();
    }
    println!("spread: {counts:?}");
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|n| (90..=110).contains(n)), "{counts:?}");
    for (name, count) in &counts {
        assert_eq!(galeway.node(name)["connections"]["total"], *count, "the status counts the same");
    }
}
