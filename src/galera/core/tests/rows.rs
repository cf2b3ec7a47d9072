//! What one node's rows mean.

use proptest::prelude::*;

use super::*;
use crate::galera::Fitness;
use crate::galera::fitness::{judge, judge_unreadable};

fn judged(changes: &[(&str, &str)], rule: DonorRule) -> (Fitness, String) {
    let (fitness, reason) = match NodeStatus::from_rows(rows(changes)) {
        Ok(status) => judge(&status, rule),
        Err((why, _)) => judge_unreadable(&why),
    };
    (fitness, reason.to_string())
}

/// Changed rows, what a node with them may do where donors are a last resort, and the words for it.
type Case = (&'static [(&'static str, &'static str)], Fitness, &'static str);

const CASES: &[Case] = &[
    (&[], Fitness::Full, "Synced"),
    // wsrep_local_state
    (&[("wsrep_local_state", "0")], Fitness::None, "Initialized (wsrep_local_state=0)"),
    (&[("wsrep_local_state", "1")], Fitness::None, "Joiner (wsrep_local_state=1)"),
    (&[("wsrep_local_state", "2")], Fitness::Spare, "Donor/Desynced"),
    (&[("wsrep_local_state", "3")], Fitness::Spare, "Joined, catching up (wsrep_local_state=3)"),
    (&[("wsrep_local_state", "3"), ("wsrep_ready", "OFF")], Fitness::None, "Joined, not ready (wsrep_local_state=3)"),
    (&[("wsrep_local_state", "5")], Fitness::None, "Error (wsrep_local_state=5)"),
    (&[("wsrep_local_state", "6")], Fitness::None, "unknown value wsrep_local_state=6"),
    (&[("wsrep_local_state", "")], Fitness::None, "not a Galera node (wsrep_local_state is missing)"),
    // wsrep_cluster_status
    (&[("wsrep_cluster_status", "non-Primary")], Fitness::None, "non-Primary"),
    (&[("wsrep_cluster_status", "Disconnected")], Fitness::None, "Disconnected"),
    (&[("wsrep_cluster_status", "primary?")], Fitness::None, "wsrep_cluster_status=primary?"),
    (&[("wsrep_cluster_status", "")], Fitness::None, "not a Galera node (wsrep_cluster_status is missing)"),
    // wsrep_ready, wsrep_connected, wsrep_on
    (&[("wsrep_ready", "OFF")], Fitness::None, "not ready (wsrep_ready=OFF)"),
    (&[("wsrep_ready", "")], Fitness::None, "not a Galera node (wsrep_ready is missing)"),
    (&[("wsrep_ready", "MAYBE")], Fitness::None, "unknown value wsrep_ready=MAYBE"),
    (&[("wsrep_connected", "OFF")], Fitness::None, "not connected to the group (wsrep_connected=OFF)"),
    (&[("wsrep_connected", "")], Fitness::None, "not a Galera node (wsrep_connected is missing)"),
    (&[("wsrep_on", "OFF")], Fitness::None, "not replicating (wsrep_on=OFF)"),
    (&[("wsrep_on", "")], Fitness::Full, "Synced"),
    // MariaDB drops the provider's rows then.
    (&[("wsrep_on", "OFF"), ("wsrep_local_state", "")], Fitness::None, "not replicating (wsrep_on=OFF)"),
    (&[("wsrep_on", ""), ("wsrep_local_state", "")], Fitness::None, "not a Galera node (wsrep_local_state is missing)"),
    (&[("wsrep_cluster_state_uuid", "")], Fitness::None, "not a Galera node (wsrep_cluster_state_uuid is missing)"),
    // The vetoes
    (&[("wsrep_reject_queries", "ALL")], Fitness::None, "wsrep_reject_queries=ALL"),
    (&[("wsrep_reject_queries", "ALL_KILL")], Fitness::None, "wsrep_reject_queries=ALL_KILL"),
    (&[("wsrep_reject_queries", "")], Fitness::Full, "Synced"),
    (&[("pxc_maint_mode", "DISABLED")], Fitness::Full, "Synced"),
    (&[("pxc_maint_mode", "MAINTENANCE")], Fitness::None, "pxc_maint_mode=MAINTENANCE"),
    (&[("pxc_maint_mode", "SHUTDOWN")], Fitness::None, "pxc_maint_mode=SHUTDOWN"),
    (&[("offline_mode", "OFF")], Fitness::Full, "Synced"),
    (&[("offline_mode", "ON")], Fitness::None, "offline_mode=ON"),
    (&[("offline_mode", "ON"), ("wsrep_local_state", "2")], Fitness::None, "offline_mode=ON"),
    (&[("read_only", "0")], Fitness::Full, "Synced"),
    (&[("read_only", "ON")], Fitness::None, "read_only=ON"),
    (&[("read_only", "NO_LOCK_NO_ADMIN")], Fitness::None, "read_only=NO_LOCK_NO_ADMIN"),
    (&[("read_only", "")], Fitness::None, "the row read_only is missing"),
    // Set for good it means nothing but in state 2.
    (&[("wsrep_sst_donor_rejects_queries", "ON")], Fitness::Full, "Synced"),
    (&[("wsrep_sst_donor_rejects_queries", "")], Fitness::Full, "Synced"),
    (
        &[("wsrep_sst_donor_rejects_queries", "ON"), ("wsrep_local_state", "3")],
        Fitness::Spare,
        "Joined, catching up (wsrep_local_state=3)",
    ),
    (
        &[("wsrep_sst_donor_rejects_queries", "ON"), ("wsrep_local_state", "2")],
        Fitness::None,
        "Donor/Desynced (wsrep_sst_donor_rejects_queries=ON)",
    ),
    (
        &[("wsrep_sst_donor_rejects_queries", "PERHAPS"), ("wsrep_local_state", "2")],
        Fitness::None,
        "Donor/Desynced (wsrep_sst_donor_rejects_queries=ON)",
    ),
    (&[("wsrep_sst_donor_rejects_queries", ""), ("wsrep_local_state", "2")], Fitness::Spare, "Donor/Desynced"),
    // The gravest is the cause, the others are its effects.
    (
        &[("wsrep_cluster_status", "non-Primary"), ("wsrep_ready", "OFF"), ("wsrep_local_state", "0")],
        Fitness::None,
        "non-Primary",
    ),
    (&[("wsrep_on", "OFF"), ("wsrep_cluster_status", "Disconnected")], Fitness::None, "not replicating (wsrep_on=OFF)"),
    (&[("read_only", "ON"), ("wsrep_local_state", "2")], Fitness::None, "read_only=ON"),
    // What says nothing of fitness.
    (&[("wsrep_cluster_size", ""), ("threads_connected", ""), ("max_connections", "")], Fitness::Full, "Synced"),
    (&[("wsrep_desync", "ON")], Fitness::Full, "Synced"),
];

#[test]
fn rows_decide_what_a_node_may_do_and_the_deciding_value_is_named() {
    for (changes, fitness, words) in CASES {
        assert_eq!(judged(changes, DonorRule::LastResort), (*fitness, (*words).to_owned()), "{changes:?}");
    }
}

#[test]
fn a_donor_may_do_what_the_rule_says_and_a_joiner_never_anything() {
    for (rule, may) in
        [(DonorRule::Never, Fitness::None), (DonorRule::LastResort, Fitness::Spare), (DonorRule::Always, Fitness::Full)]
    {
        assert_eq!(judged(&[("wsrep_local_state", "2")], rule).0, may, "{rule:?}");
        assert_eq!(judged(&[("wsrep_local_state", "3")], rule).0, may, "{rule:?}");
        let joiner = [("wsrep_local_state", "3"), ("wsrep_ready", "OFF")];
        assert_eq!(judged(&joiner, rule).0, Fitness::None, "{rule:?}");
        let rejects = [("wsrep_local_state", "2"), ("wsrep_sst_donor_rejects_queries", "ON")];
        assert_eq!(judged(&rejects, rule).0, Fitness::None, "{rule:?}");
    }
}

#[test]
fn a_server_without_any_row_is_unfit() {
    let Err((why, _)) = NodeStatus::from_rows(Rows::new()) else { panic!("readable") };
    assert_eq!(judge_unreadable(&why).0, Fitness::None);
}

#[test]
fn a_value_of_a_node_can_neither_flood_a_line_nor_begin_a_new_one() {
    let long = "x".repeat(5000);
    for name in
        ["wsrep_cluster_status", "wsrep_reject_queries", "pxc_maint_mode", "read_only", "wsrep_local_state", "wsrep_on"]
    {
        for value in [long.as_str(), "a\nERROR forged\r\x1b[2J"] {
            let words = judged(&[(name, value)], DonorRule::LastResort).1;
            assert!(words.len() < 200 && !words.contains(char::is_control), "{name}: {words:?}");
        }
    }
    let failure = LoginFailure { code: 1045, message: long };
    let words = crate::galera::Reason::LoginRefused(failure).to_string();
    assert!(words.len() < 300 && words.contains("1045"), "{words}");
}

#[test]
fn room_ends_where_the_margin_to_max_connections_begins() {
    for (connected, most, margin, room) in [
        ("10", "151", 2, true),
        ("148", "151", 2, true),
        ("149", "151", 2, false),
        ("151", "151", 0, false),
        ("150", "151", 0, true),
        ("200", "151", 2, false),
        ("18446744073709551615", "151", 2, false),
        ("many", "151", 2, true),
    ] {
        let mut world = World::new(1, Settings { connection_margin: margin, ..settings() });
        world.see(0, answer(&[("threads_connected", connected), ("max_connections", most)]));
        assert_eq!(world.core.verdict(NodeId(0)).room, room, "{connected} of {most}, margin {margin}");
        assert_eq!(world.kind(0), Kind::Eligible, "a full node is not an unfit one");
    }
}

/// Names that are read, and values that are or could be sent.
fn any_rows() -> impl Strategy<Value = Rows> {
    let names =
        SYNCED.iter().map(|(name, _)| *name).chain(["pxc_maint_mode", "offline_mode", "other"]).collect::<Vec<_>>();
    let known = ["ON", "OFF", "0", "1", "2", "3", "4", "5", "Primary", "non-Primary", "NONE", "ALL", ""];
    let value = prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => any::<String>(),
    ];
    let changes = proptest::collection::vec((proptest::sample::select(names), value), 0..8);
    (any::<bool>(), changes).prop_map(|(whole, changes)| {
        let mut all = if whole { rows(&[]) } else { Rows::new() };
        all.extend(changes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(4000)))]

    #[test]
    fn no_rows_panic_and_only_the_healthy_are_fit(rows in any_rows(), rule in rule()) {
        let is = |name: &str, values: &[&str]| rows.get(name).is_some_and(|v| values.contains(&v.as_str()));
        let (fitness, reason) = match NodeStatus::from_rows(rows.clone()) {
            Ok(status) => {
                prop_assert_eq!(&status.rows, &rows, "every row is kept for the status page");
                judge(&status, rule)
            }
            Err((why, kept)) => {
                prop_assert_eq!(&kept, &rows);
                judge_unreadable(&why)
            }
        };
        let words = reason.to_string();
        prop_assert!(!words.is_empty() && words.len() < 400 && !words.contains(char::is_control), "{:?}", words);
        if fitness > Fitness::None {
            let lacks = |name: &str| rows.get(name).is_none_or(String::is_empty);
            prop_assert!(lacks("wsrep_on") || is("wsrep_on", &["ON", "1"]));
            prop_assert!(is("wsrep_ready", &["ON", "1"]));
            prop_assert!(is("wsrep_connected", &["ON", "1"]) && is("wsrep_cluster_status", &["Primary"]));
            prop_assert!(is("wsrep_local_state", &["2", "3", "4"]) );
            prop_assert!(lacks("wsrep_reject_queries") || is("wsrep_reject_queries", &["NONE"]));
            prop_assert!(lacks("offline_mode") || is("offline_mode", &["OFF", "0"]));
            prop_assert!(is("read_only", &["OFF", "0"]));
            prop_assert!(lacks("pxc_maint_mode") || is("pxc_maint_mode", &["DISABLED"]));
        }
        if is("wsrep_local_state", &["2", "3"]) && rule != DonorRule::Always {
            prop_assert_ne!(fitness, Fitness::Full);
        }
    }
}

fn rule() -> impl Strategy<Value = DonorRule> {
    proptest::sample::select(vec![DonorRule::Never, DonorRule::LastResort, DonorRule::Always])
}
