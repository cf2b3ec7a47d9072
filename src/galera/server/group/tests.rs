use super::super::{Channel, ServerStatus};
use crate::galera::reason::Consequence;
use crate::galera::{Fitness, Sort};
use std::time::Instant;

const IDS: [&str; 3] = ["a-1", "b-2", "c-3"];

/// Rows as MySQL 8.4 and 9 send them: each member's id, state and role.
fn members(rows: &[(&str, &str, &str)]) -> Vec<Channel> {
    let row = |(id, state, role): &(&str, &str, &str)| {
        [("member_id", id), ("member_state", state), ("member_role", role)]
            .map(|(n, v)| (n.to_owned(), (*v).to_owned()))
            .into()
    };
    rows.iter().map(row).collect()
}

/// The first server, with these variables, and what it says of its group.
fn server(read_only: &str, group: Result<Vec<Channel>, String>) -> ServerStatus {
    let rows = [("read_only", read_only), ("super_read_only", read_only), ("server_uuid", IDS[0])];
    let rows = rows.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    ServerStatus::new(rows, Ok(Vec::new()), Some(group))
}

/// Its fitness, whether it takes writes, and why.
fn judged(status: &ServerStatus) -> (Fitness, bool, String) {
    let (fitness, reason) = status.judge(Sort::Server, None, None, Instant::now());
    (fitness, status.is_writable(), reason.to_string())
}

#[test]
fn the_primary_writes_and_the_secondaries_read() {
    let group = |own: &str, other: &str| {
        members(&[(IDS[0], "ONLINE", own), (IDS[1], "ONLINE", other), (IDS[2], "ONLINE", other)])
    };
    let primary = judged(&server("OFF", Ok(group("PRIMARY", "SECONDARY"))));
    assert_eq!(primary, (Fitness::Full, true, "takes writes (read_only=OFF)".to_owned()));
    assert_eq!(
        judged(&server("ON", Ok(group("SECONDARY", "PRIMARY")))),
        (Fitness::Full, false, "read-only".to_owned())
    );
    // Somebody opened a secondary: what is written there the group never gets.
    assert!(!judged(&server("OFF", Ok(group("SECONDARY", "PRIMARY")))).1);
    // Elected, and applying what is left: not yet open.
    assert_eq!(
        judged(&server("ON", Ok(group("PRIMARY", "SECONDARY")))),
        (Fitness::Full, false, "read-only".to_owned())
    );
    // Multi-primary.
    assert!(judged(&server("OFF", Ok(group("PRIMARY", "PRIMARY")))).1);
}

#[test]
fn a_member_that_is_not_online_gets_nobody_and_is_down() {
    for state in ["OFFLINE", "RECOVERING", "ERROR", "UNREACHABLE", "of a later version"] {
        let rows = members(&[(IDS[0], state, ""), (IDS[1], "ONLINE", "PRIMARY"), (IDS[2], "ONLINE", "SECONDARY")]);
        let status = server("OFF", Ok(rows));
        assert_eq!(judged(&status), (Fitness::None, false, format!("Group Replication: {state}")));
        let (_, reason) = status.judge(Sort::Server, None, None, Instant::now());
        assert_eq!(reason.consequence(), Consequence::Down);
    }
    // The plugin is configured, and was never started (seen on MySQL 8.0 and 9.7: one row).
    for id in ["", IDS[0]] {
        assert_eq!(judged(&server("OFF", Ok(members(&[(id, "OFFLINE", "")])))).2, "Group Replication: OFFLINE");
    }
    for rows in [members(&[]), members(&[(IDS[1], "ONLINE", "PRIMARY"), (IDS[2], "ONLINE", "SECONDARY")])] {
        assert_eq!(judged(&server("ON", Ok(rows))).2, "Group Replication: not a member");
    }
}

#[test]
fn a_minority_gets_nobody() {
    for (states, reachable) in [
        (vec!["ONLINE", "ONLINE", "ONLINE"], None),
        (vec!["ONLINE", "ONLINE", "UNREACHABLE"], None),
        (vec!["ONLINE", "RECOVERING", "UNREACHABLE"], None),
        (vec!["ONLINE"], None),
        // Half is no majority (seen: writes hang).
        (vec!["ONLINE", "UNREACHABLE"], Some(1)),
        (vec!["ONLINE", "UNREACHABLE", "UNREACHABLE"], Some(1)),
    ] {
        let rows: Vec<_> = IDS.iter().zip(&states).map(|(id, state)| (*id, *state, "PRIMARY")).collect();
        let (fitness, writes, reason) = judged(&server("OFF", Ok(members(&rows))));
        let total = states.len();
        match reachable {
            None => assert_eq!((fitness, writes), (Fitness::Full, true), "{states:?}"),
            Some(n) => {
                let said = format!("Group Replication: no majority ({n} of {total} members reach each other)");
                assert_eq!((fitness, writes, reason), (Fitness::None, false, said));
            }
        }
    }
}

#[test]
fn mysql_5_7_names_no_roles_and_read_only_tells() {
    let mut rows = members(&[(IDS[0], "ONLINE", ""), (IDS[1], "ONLINE", "")]);
    rows.iter_mut().for_each(|row| drop(row.remove("member_role")));
    assert!(judged(&server("OFF", Ok(rows.clone()))).1);
    assert_eq!(judged(&server("ON", Ok(rows))), (Fitness::Full, false, "read-only".to_owned()));
}

#[test]
fn without_the_right_nobody_knows_and_the_reason_names_it() {
    let said =
        "error 1142 (42000): SELECT command denied to user 'monitor'@'localhost' for table 'replication_group_members'";
    let (fitness, _, reason) = judged(&server("OFF", Err(said.to_owned())));
    assert_eq!(fitness, Fitness::None);
    assert!(reason.contains("GRANT SELECT ON performance_schema.replication_group_members"), "{reason}");
}

#[test]
fn the_groups_own_channels_are_no_replication() {
    let channel = |name: &str| -> Channel {
        [("channel_name", name), ("replica_io_running", "No"), ("replica_sql_running", "No")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into()
    };
    let rows = || [("read_only", "ON"), ("server_uuid", IDS[0])].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let group = || Some(Ok(members(&[(IDS[0], "ONLINE", "SECONDARY")])));
    let own = ["group_replication_recovery", "group_replication_applier"].map(channel).to_vec();
    assert_eq!(judged(&ServerStatus::new(rows(), Ok(own), group())).0, Fitness::Full);
    // One of an operator's own counts.
    assert_eq!(judged(&ServerStatus::new(rows(), Ok(vec![channel("other_site")]), group())).0, Fitness::None);
}
