use proptest::prelude::*;

use super::*;
use crate::galera::cases;
use crate::galera::fitness::{judge, judge_unreadable};
use crate::galera::status::{NodeStatus, Rows};
use crate::galera::{DonorRule, Fitness};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/rows/", $name, ".rows"))
    };
}

/// A healthy node of each product.
const HEALTHY: &[(Product, &str, &str)] = &[
    (MariaDb, "MariaDB 10.4", fixture!("mariadb-10.4")),
    (MariaDb, "MariaDB 10.11", fixture!("mariadb-10.11")),
    (MariaDb, "MariaDB 11.8", fixture!("mariadb-11.8")),
    (Pxc57, "Percona XtraDB Cluster 5.7", fixture!("pxc-5.7")),
    (Pxc8, "Percona XtraDB Cluster 8.0", fixture!("pxc-8.0")),
    (Pxc8, "a later Percona XtraDB Cluster 8.0", fixture!("pxc-8.0-later")),
    (Pxc8, "Percona XtraDB Cluster 8.4", fixture!("pxc-8.4")),
    (MysqlWsrep57, "mysql-wsrep 5.7", fixture!("mysql-wsrep-5.7")),
    (MysqlWsrep80, "mysql-wsrep 8.0", fixture!("mysql-wsrep-8.0")),
];

fn parse(fixture: &str) -> Rows {
    let lines = fixture.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let mut parts = line.splitn(3, '\t').skip(1);
        (parts.next().unwrap().to_ascii_lowercase(), parts.next().unwrap_or_default().to_owned())
    };
    lines.map(row).collect()
}

fn judged(rows: Rows) -> (Fitness, String) {
    let (fitness, reason) = match NodeStatus::from_rows(rows) {
        Ok(status) => judge(&status, DonorRule::LastResort),
        Err((why, _)) => judge_unreadable(&why),
    };
    (fitness, reason.to_string())
}

#[test]
fn every_products_synced_node_may_serve() {
    for (_, name, fixture) in HEALTHY {
        assert_eq!(judged(parse(fixture)), (Fitness::Full, "Synced".to_owned()), "{name}");
    }
}

#[test]
fn the_table_says_what_each_product_sends() {
    for (product, name, fixture) in HEALTHY {
        let rows = parse(fixture);
        for row in ALL {
            assert_eq!(rows.contains_key(row.name), !row.absent_in.contains(product), "{name}: {}", row.name);
        }
    }
}

#[test]
fn what_a_product_does_not_send_is_not_required() {
    for row in ALL {
        assert!(!row.required || row.absent_in.is_empty(), "{}", row.name);
        assert_eq!(ALL.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
    }
}

#[test]
fn every_veto_acts_on_every_product_that_has_it() {
    let vetoes = [
        (CLUSTER_STATUS, "non-Primary", "non-Primary"),
        (READY, "OFF", "not ready (wsrep_ready=OFF)"),
        (CONNECTED, "OFF", "not connected to the group (wsrep_connected=OFF)"),
        (LOCAL_STATE, "1", "Joiner (wsrep_local_state=1)"),
        (WSREP_ON, "OFF", "not replicating (wsrep_on=OFF)"),
        (REJECT_QUERIES, "ALL", "wsrep_reject_queries=ALL"),
        (PXC_MAINT_MODE, "MAINTENANCE", "pxc_maint_mode=MAINTENANCE"),
        (OFFLINE_MODE, "ON", "offline_mode=ON"),
        (READ_ONLY, "ON", "read_only=ON"),
    ];
    for (product, name, fixture) in HEALTHY {
        for (row, value, reason) in vetoes.iter().filter(|(row, ..)| !row.absent_in.contains(product)) {
            let mut rows = parse(fixture);
            rows.insert(row.name.to_owned(), (*value).to_owned());
            assert_eq!(judged(rows), (Fitness::None, (*reason).to_owned()), "{name}");
        }
    }
}

#[test]
fn a_server_outside_replication_says_so_although_it_drops_its_rows() {
    for fixture in [fixture!("mariadb-10.11-wsrep-off"), fixture!("mariadb-10.11-no-provider")] {
        let rows = parse(fixture);
        assert!(!rows.contains_key(LOCAL_STATE.name));
        assert_eq!(judged(rows), (Fitness::None, "not replicating (wsrep_on=OFF)".to_owned()));
    }
    // A server that has no such variable, and no provider.
    let mut rows = parse(fixture!("mariadb-10.11-no-provider"));
    rows.remove(WSREP_ON.name);
    assert_eq!(judged(rows).0, Fitness::None);
}

#[test]
fn the_queries_ask_for_every_row_of_the_table_and_hold_no_escape() {
    assert!(!STATUS_QUERY.contains('\\') && !VARIABLES_QUERY.contains('\\'));
    for row in ALL {
        let asked = match row.from {
            Statement::Status => row.name.starts_with("wsrep_") || STATUS_QUERY.to_ascii_lowercase().contains(row.name),
            Statement::Variables => VARIABLES_QUERY.contains(&format!("'{}'", row.name)),
        };
        assert!(asked, "{}", row.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2000)))]

    #[test]
    fn taking_away_what_is_not_required_never_excludes_and_what_is_always_does(
        server in 0..HEALTHY.len(), away in proptest::collection::btree_set(0..ALL.len(), 0..8)
    ) {
        let (_, name, fixture) = HEALTHY[server];
        let mut rows = parse(fixture);
        let away: Vec<&Row> = away.into_iter().map(|i| &ALL[i]).collect();
        for row in &away {
            rows.remove(row.name);
        }
        let (fitness, reason) = judged(rows);
        let expected = if away.iter().any(|row| row.required) { Fitness::None } else { Fitness::Full };
        prop_assert_eq!(fitness, expected, "{}: {}", name, reason);
    }
}
