//! Every value that keeps clients away from a node, row by row, and the donor's place in the cluster.

use crate::fakes::{Fakes, LONG, connect, greeted_by, service};
use crate::harness::{Galeway, Settings, until};
use crate::peer::{FakeNode, Peer};

fn two(settings: Settings<'_>) -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(2);
    let galeway = fakes.galeway(settings);
    (fakes, peers, galeway)
}

/// Waits for n1's verdict and reason.
#[track_caller]
fn wait(galeway: &Galeway, verdict: &str, reason: &str) {
    until(LONG, &format!("n1 {verdict}: {reason}"), || {
        let n1 = galeway.node("n1");
        (n1["verdict"] == *verdict && n1["reason"] == *reason).then_some(())
    });
}

const VETOES: &[(&str, &str, &str)] = &[
    ("wsrep_reject_queries", "ALL", "wsrep_reject_queries=ALL"),
    ("wsrep_reject_queries", "ALL_KILL", "wsrep_reject_queries=ALL_KILL"),
    ("pxc_maint_mode", "SHUTDOWN", "pxc_maint_mode=SHUTDOWN"),
    ("pxc_maint_mode", "MAINTENANCE", "pxc_maint_mode=MAINTENANCE"),
    ("offline_mode", "ON", "offline_mode=ON"),
    ("read_only", "ON", "read_only=ON"),
    ("read_only", "1", "read_only=1"),
    ("read_only", "NO_LOCK_NO_ADMIN", "read_only=NO_LOCK_NO_ADMIN"),
];

#[test]
fn every_veto_excludes_with_its_value_and_drains_the_sessions() {
    let settings = Settings { sessions: "drain_timeout = \"1h\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = two(settings);
    let _sessions = [connect(&galeway), connect(&galeway)];
    for (variable, value, reason) in VETOES {
        fakes.check(1).set_variable(variable, value);
        wait(&galeway, "excluded", reason);
        assert_eq!(galeway.node("n1")["connections"]["active"], 1, "{reason}: it drains");
        for _ in 0..3 {
            assert_eq!(greeted_by(&connect(&galeway)), "n2", "{reason}");
        }
        let harmless = match *variable {
            "wsrep_reject_queries" => "NONE",
            "pxc_maint_mode" => "DISABLED",
            _ => "0",
        };
        fakes.check(1).set_variable(variable, harmless);
        wait(&galeway, "eligible", "Synced");
    }
}

#[test]
fn a_drain_ends_what_is_left_at_its_time() {
    let settings = Settings { sessions: "drain_timeout = \"300ms\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = two(settings);
    let _sessions = [connect(&galeway), connect(&galeway)];
    fakes.check(1).set_variable("wsrep_reject_queries", "ALL");
    until(LONG, "its session ends", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
    assert_eq!(galeway.metric("galeway_connections_closed_total", &[("node", "n1"), ("reason", "drained")]), 1.0);
    assert_eq!(galeway.node("n2")["connections"]["active"], 1);
}

/// What a Galera verdict says acts at once: no `fall`, and the sessions end.
const DOWN: &[(&str, &str, &str)] = &[
    ("wsrep_cluster_status", "non-Primary", "non-Primary"),
    ("wsrep_cluster_status", "Disconnected", "Disconnected"),
    ("wsrep_ready", "OFF", "not ready (wsrep_ready=OFF)"),
    ("wsrep_connected", "OFF", "not connected to the group (wsrep_connected=OFF)"),
    ("wsrep_local_state", "0", "Initialized (wsrep_local_state=0)"),
    ("wsrep_local_state", "1", "Joiner (wsrep_local_state=1)"),
    ("wsrep_local_state", "5", "Error (wsrep_local_state=5)"),
    ("wsrep_local_state", "9", "unknown value wsrep_local_state=9"),
    ("wsrep_ready", "MAYBE", "unknown value wsrep_ready=MAYBE"),
];

#[test]
fn a_node_that_says_it_cannot_serve_is_down_at_once() {
    let settings = Settings {
        monitor: "interval = \"50ms\"\nfast_interval = \"20ms\"\nfall = 100",
        ..service("balance = \"round-robin\"")
    };
    let (fakes, _data, galeway) = two(settings);
    let good = [
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_ready", "ON"),
        ("wsrep_connected", "ON"),
        ("wsrep_local_state", "4"),
    ];
    for (variable, value, reason) in DOWN {
        // One of them is n1's.
        let _sessions = [connect(&galeway), connect(&galeway)];
        fakes.check(1).set_status(variable, value);
        wait(&galeway, "excluded", reason);
        until(LONG, "its sessions end", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
        for (variable, value) in good {
            fakes.check(1).set_status(variable, value);
        }
        wait(&galeway, "eligible", "Synced");
    }
}

#[test]
fn a_node_outside_replication_is_down() {
    let (fakes, _data, galeway) = two(Settings::default());
    fakes.check(1).set_variable("wsrep_on", "OFF");
    wait(&galeway, "excluded", "not replicating (wsrep_on=OFF)");
    // MariaDB drops the provider's rows with it (seen on 10.11 and 11.8).
    for row in ["wsrep_local_state", "wsrep_gcomm_uuid", "wsrep_incoming_addresses"] {
        fakes.check(1).remove_status(row);
    }
    let seen = fakes.check(1).commands() + 6;
    until(LONG, "it is checked", || (fakes.check(1).commands() >= seen).then_some(()));
    wait(&galeway, "excluded", "not replicating (wsrep_on=OFF)");
}

#[test]
fn a_missing_row_fails_closed() {
    for row in ["wsrep_local_state", "wsrep_cluster_status", "wsrep_ready", "wsrep_connected"] {
        let (fakes, _data, galeway) = two(Settings::default());
        fakes.check(1).remove_status(row);
        wait(&galeway, "excluded", &format!("not a Galera node ({row} is missing)"));
    }
    let (fakes, _data, galeway) = two(Settings::default());
    fakes.check(1).remove_variable("read_only");
    wait(&galeway, "excluded", "the row read_only is missing");
}

#[test]
fn a_row_that_some_products_do_not_send_is_no_veto_where_it_is_missing() {
    let (fakes, _data, galeway) = two(Settings::default());
    for row in ["wsrep_on", "wsrep_reject_queries", "wsrep_sst_donor_rejects_queries", "wsrep_desync"] {
        fakes.check(1).remove_variable(row);
    }
    fakes.check(1).remove_status("wsrep_cluster_weight");
    let seen = fakes.check(1).commands() + 6;
    until(LONG, "it is checked", || (fakes.check(1).commands() >= seen).then_some(()));
    wait(&galeway, "eligible", "Synced");
    assert_eq!(galeway.metric("galeway_verdict_changes_total", &[("node", "n1"), ("reason", "not_galera")]), 0.0);
}

/// The first node is the writer, and would take writers as a donor.
const AT_ONCE: &str = "donor_grace = \"0s\"";

fn state(node: &FakeNode, number: &str) {
    node.set_status("wsrep_local_state", number);
}

#[test]
fn a_donor_serves_only_while_no_node_is_synced() {
    let (fakes, _data, galeway) = two(Settings { writer: AT_ONCE, ..service("balance = \"round-robin\"") });
    let _kept = [connect(&galeway), connect(&galeway)];
    state(fakes.check(1), "2");
    wait(&galeway, "excluded", "Donor/Desynced");
    for _ in 0..3 {
        assert_eq!(greeted_by(&connect(&galeway)), "n2");
    }
    state(fakes.check(2), "1");
    wait(&galeway, "last-resort", "Donor/Desynced, last resort: no node is Synced");
    for _ in 0..3 {
        assert_eq!(greeted_by(&connect(&galeway)), "n1");
    }
    state(fakes.check(2), "4");
    wait(&galeway, "excluded", "Donor/Desynced");
    until(LONG, "its own session is kept, the guests leave", || {
        (galeway.node("n1")["connections"]["active"] == 1).then_some(())
    });
}

#[test]
fn a_former_donor_that_catches_up_counts_as_a_donor_and_a_joiner_that_does_not() {
    let (fakes, _data, galeway) = two(Settings::default());
    state(fakes.check(2), "1");
    state(fakes.check(1), "3");
    wait(&galeway, "last-resort", "Joined, catching up (wsrep_local_state=3), last resort: no node is Synced");
    fakes.check(1).set_status("wsrep_ready", "OFF");
    wait(&galeway, "excluded", "Joined, not ready (wsrep_local_state=3)");
}

#[test]
fn a_donor_that_rejects_queries_serves_nobody_and_in_other_states_that_setting_means_nothing() {
    let (fakes, _data, galeway) = two(Settings::default());
    fakes.check(1).set_variable("wsrep_sst_donor_rejects_queries", "ON");
    fakes.check(2).set_variable("wsrep_sst_donor_rejects_queries", "ON");
    let seen = |i: u8, n| {
        let target = fakes.check(i).commands() + n;
        until(LONG, "it is checked", || (fakes.check(i).commands() >= target).then_some(()));
    };
    seen(1, 6);
    wait(&galeway, "eligible", "Synced");
    state(fakes.check(2), "1");
    state(fakes.check(1), "3");
    wait(&galeway, "last-resort", "Joined, catching up (wsrep_local_state=3), last resort: no node is Synced");
    state(fakes.check(1), "2");
    wait(&galeway, "excluded", "Donor/Desynced (wsrep_sst_donor_rejects_queries=ON)");
}

#[test]
fn donor_never_excludes_even_the_last_one() {
    let settings = Settings { eligibility: "donor = \"never\"", writer: AT_ONCE, ..Settings::default() };
    let (fakes, _data, galeway) = two(settings);
    state(fakes.check(1), "2");
    state(fakes.check(2), "2");
    wait(&galeway, "excluded", "Donor/Desynced");
    until(LONG, "nothing can be routed", || (galeway.get("/readyz").0 == 503).then_some(()));
}

#[test]
fn donor_always_serves_beside_synced_nodes() {
    let settings = Settings { eligibility: "donor = \"always\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = two(settings);
    state(fakes.check(1), "2");
    wait(&galeway, "eligible", "Donor/Desynced");
    let served: Vec<_> = (0..4).map(|_| greeted_by(&connect(&galeway)).to_owned()).collect();
    assert_eq!(served.iter().filter(|name| *name == "n1").count(), 2, "{served:?}");
}

#[test]
fn on_donor_kill_ends_a_donors_sessions() {
    let settings =
        Settings { sessions: "on_donor = \"kill\"", writer: AT_ONCE, ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = two(settings);
    let _sessions = [connect(&galeway), connect(&galeway)];
    state(fakes.check(1), "2");
    until(LONG, "its session ends", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
    assert_eq!(galeway.metric("galeway_sessions_killed_total", &[("node", "n1"), ("reason", "donor")]), 1.0);
}

#[test]
fn a_writer_that_is_a_donor_gets_writers_for_its_grace() {
    let (fakes, _data, galeway) = two(Settings { roles: &["writer"], ..service("") });
    let _kept = connect(&galeway);
    state(fakes.check(1), "2");
    wait(&galeway, "excluded", "Donor/Desynced, keeps the writer role for up to 60 s (donor_grace)");
    assert_eq!((greeted_by(&connect(&galeway)).to_owned(), galeway.get("/readyz").0), ("n1".to_owned(), 200));
    assert_eq!(galeway.cluster()["writer"], "n1");
    fakes.check(1).set_variable("wsrep_sst_donor_rejects_queries", "ON");
    wait(&galeway, "excluded", "Donor/Desynced (wsrep_sst_donor_rejects_queries=ON)");
    assert_eq!(greeted_by(&connect(&galeway)), "n2");
}
