//! Servers of kind mysql: what replicates, what takes writes, and who is sent where. The rows are those that MySQL 8.4 and
//! 9.7 send, with all their columns.

use std::process::Command;
use std::time::Duration;

use crate::fakes::{FAST, Fakes, LONG};
use crate::harness::client::Error;
use crate::harness::galeway::binary;
use crate::harness::{Conn, Galeway, Settings, cli, secs, until};
use crate::peer::FakeNode;

/// MySQL 8.4 manual, "SHOW REPLICA STATUS Statement": the columns in their order.
const COLUMNS: &[&str] = &[
    "Replica_IO_State",
    "Source_Host",
    "Source_User",
    "Source_Port",
    "Connect_Retry",
    "Source_Log_File",
    "Read_Source_Log_Pos",
    "Relay_Log_File",
    "Relay_Log_Pos",
    "Relay_Source_Log_File",
    "Replica_IO_Running",
    "Replica_SQL_Running",
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Last_Errno",
    "Last_Error",
    "Skip_Counter",
    "Exec_Source_Log_Pos",
    "Relay_Log_Space",
    "Until_Condition",
    "Until_Log_File",
    "Until_Log_Pos",
    "Source_SSL_Allowed",
    "Source_SSL_CA_File",
    "Source_SSL_CA_Path",
    "Source_SSL_Cert",
    "Source_SSL_Cipher",
    "Source_SSL_Key",
    "Seconds_Behind_Source",
    "Source_SSL_Verify_Server_Cert",
    "Last_IO_Errno",
    "Last_IO_Error",
    "Last_SQL_Errno",
    "Last_SQL_Error",
    "Replicate_Ignore_Server_Ids",
    "Source_Server_Id",
    "Source_UUID",
    "Source_Info_File",
    "SQL_Delay",
    "SQL_Remaining_Delay",
    "Replica_SQL_Running_State",
    "Source_Retry_Count",
    "Source_Bind",
    "Last_IO_Error_Timestamp",
    "Last_SQL_Error_Timestamp",
    "Source_SSL_Crl",
    "Source_SSL_Crlpath",
    "Retrieved_Gtid_Set",
    "Executed_Gtid_Set",
    "Auto_Position",
    "Replicate_Rewrite_DB",
    "Channel_Name",
    "Source_TLS_Version",
    "Source_public_key_path",
    "Get_Source_public_key",
    "Network_Namespace",
];

const MEMBERS: &str = "SELECT MEMBER_ID";

fn uuid(i: u8) -> String {
    format!("3e11fa47-71ca-11e1-9e33-c80aa94295{i:02}")
}

/// Makes a server of it: MySQL, with a number and a UUID, that replicates nothing.
fn server(node: &FakeNode, i: u8, read_only: &str) {
    for (name, value) in
        [("version", "8.4.6"), ("server_id", &i.to_string()), ("server_uuid", &uuid(i)), ("super_read_only", read_only)]
    {
        node.set_variable(name, value);
    }
    node.set_variable("read_only", read_only);
    // Of a Galera cluster it would have the same data as all others.
    node.remove_status("wsrep_cluster_state_uuid");
    node.set_answer("SHOW REPLICA STATUS", COLUMNS, Vec::new());
}

/// It replicates from that server; its applier was stopped by this error.
fn replicates(node: &FakeNode, source: u8, error: &str) {
    let cell = |column: &&str| match *column {
        "Source_Host" => Some(format!("db{source}.example")),
        "Source_Port" => Some("3306".to_owned()),
        "Replica_IO_Running" => Some("Yes".to_owned()),
        "Replica_SQL_Running" => Some(if error == "0" { "Yes" } else { "No" }.to_owned()),
        "Seconds_Behind_Source" => (error == "0").then(|| "0".to_owned()),
        "Last_IO_Errno" => Some("0".to_owned()),
        "Last_SQL_Errno" => Some(error.to_owned()),
        "Source_Server_Id" => Some(source.to_string()),
        "Source_UUID" => Some(uuid(source)),
        _ => Some(String::new()),
    };
    node.set_answer("SHOW REPLICA STATUS", COLUMNS, vec![COLUMNS.iter().map(cell).collect()]);
}

/// Makes a member of a group of it, and what it sees of the members: state and role.
fn member(node: &FakeNode, group: &[(u8, &str, &str)]) {
    node.set_variable("group_replication_group_name", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    let row =
        |(i, state, role): &(u8, &str, &str)| [uuid(*i), (*state).to_owned(), (*role).to_owned()].map(Some).to_vec();
    node.set_answer(MEMBERS, &["MEMBER_ID", "MEMBER_STATE", "MEMBER_ROLE"], group.iter().map(row).collect());
}

const ROLES: &[&str] = &["writer", "reader", "any"];

fn galeway(fakes: &Fakes) -> Galeway {
    let monitor = format!("kind = \"mysql\"\n{FAST}");
    let galeway = fakes.spawn(Settings {
        monitor: &monitor,
        roles: ROLES,
        service: "balance = \"round-robin\"\nqueue_timeout = \"1s\"",
        reader: "reader_includes_writer = \"always\"",
        ..Settings::default()
    });
    until(LONG, "galeway listens", || galeway.try_get("/healthz"));
    galeway
}

/// Who greets six clients of this service, in the nodes' order; nobody where they are refused.
#[track_caller]
fn greeted(galeway: &Galeway, role: &str) -> Vec<String> {
    let names = (0..6).filter_map(|_| {
        let conn = Conn::greet(galeway.service(role), LONG).ok()?;
        Some(conn.greeting.version.trim_start_matches("5.5.5-").to_owned())
    });
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[track_caller]
fn wait(galeway: &Galeway, node: &str, verdict: &str, reason: &str) {
    until(LONG, &format!("{node} {verdict}: {reason}"), || {
        let seen = galeway.node(node);
        (seen["verdict"] == *verdict && seen["reason"].as_str()?.contains(reason)).then_some(())
    });
}

/// The error in place of a greeting.
#[track_caller]
fn refused(galeway: &Galeway, role: &str) -> String {
    match Conn::greet(galeway.service(role), LONG).map_err(|f| f.error) {
        Err(Error::Server { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_that_takes_writes_is_read_as_one_and_its_failed_applier_never_writes() {
    let (fakes, _data) = Fakes::good(3);
    server(fakes.check(1), 1, "OFF");
    server(fakes.check(2), 2, "OFF");
    server(fakes.check(3), 3, "ON");
    replicates(fakes.check(2), 1, "0");
    replicates(fakes.check(3), 1, "0");
    let galeway = galeway(&fakes);
    galeway.wait_ready();
    wait(&galeway, "n2", "eligible", "takes writes and replicates (read_only=OFF)");
    assert_eq!(greeted(&galeway, "writer"), ["n1"]);
    assert_eq!(greeted(&galeway, "any"), ["n1"], "any may write");
    assert_eq!(greeted(&galeway, "reader"), ["n1", "n2", "n3"]);
    let log = galeway.log();
    assert!(log.contains("a replica that takes writes may become the writer"), "{log}");

    replicates(fakes.check(2), 1, "1062");
    wait(&galeway, "n2", "excluded", "replication stopped (SQL_Running=No, error 1062)");
    assert_eq!(greeted(&galeway, "reader"), ["n1", "n3"]);
    // Its source is gone for clients and checks alike.
    fakes.check(1).set_mode(crate::peer::Mode::Close);
    fakes.check(1).cut_connections();
    wait(&galeway, "n1", "excluded", "unreachable");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(galeway.cluster()["writer"], "n1", "nobody takes over");
    let said = refused(&galeway, "writer");
    assert!(said.contains("n2: replication stopped (SQL_Running=No, error 1062)"), "{said}");
    replicates(fakes.check(2), 1, "0");
    galeway.wait_writer("n2", secs(10));
}

#[test]
fn of_two_that_take_writes_none_is_the_writer_until_an_operator_decides() {
    let (fakes, _data) = Fakes::good(2);
    server(fakes.check(1), 1, "OFF");
    server(fakes.check(2), 2, "OFF");
    let galeway = galeway(&fakes);
    wait(&galeway, "n2", "excluded", "takes writes beside n1, and lacks what is written there");
    wait(&galeway, "n1", "excluded", "takes writes beside n2, and lacks what is written there");
    let said = refused(&galeway, "writer");
    for part in ["no writer: n1, n2 take writes and do not replicate from each other", "read_only=ON", "galeway node"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(galeway.cluster()["writer"].is_null());
    for role in ROLES {
        assert!(greeted(&galeway, role).is_empty(), "{role}");
    }
    let log = galeway.log();
    assert!(log.contains("two servers take writes"), "{log}");

    fakes.check(1).set_variable("read_only", "ON");
    galeway.wait_writer("n2", secs(10));
    assert_eq!(greeted(&galeway, "any"), ["n2"]);
    assert_eq!(greeted(&galeway, "reader"), ["n1", "n2"]);
    assert!(galeway.cluster()["writer_note"].is_null());
    // And somebody opens it again.
    fakes.check(1).set_variable("read_only", "OFF");
    wait(&galeway, "n1", "excluded", "takes writes beside n2");
    assert_eq!(
        (greeted(&galeway, "reader"), greeted(&galeway, "writer")),
        (vec!["n2".to_owned()], vec!["n2".to_owned()])
    );
}

#[test]
fn members_of_a_group_serve_while_they_are_online_in_a_majority() {
    let (fakes, _data) = Fakes::good(3);
    let group = [(1, "ONLINE", "SECONDARY"), (2, "ONLINE", "PRIMARY"), (3, "ONLINE", "SECONDARY")];
    for i in 1..=3 {
        server(fakes.check(i), i, if i == 2 { "OFF" } else { "ON" });
        member(fakes.check(i), &group);
    }
    // As MySQL 9.7 says it.
    let denied = "SELECT command denied to user 'monitor'@'localhost' for table 'replication_group_members'";
    fakes.check(3).set_error(MEMBERS, 1142, denied);
    let galeway = galeway(&fakes);
    galeway.wait_ready();
    wait(&galeway, "n3", "excluded", "it needs GRANT SELECT ON performance_schema.replication_group_members");
    member(fakes.check(3), &group);
    wait(&galeway, "n3", "eligible", "read-only");
    assert_eq!(greeted(&galeway, "writer"), ["n2"]);
    assert_eq!(greeted(&galeway, "any"), ["n2"]);
    assert_eq!(greeted(&galeway, "reader"), ["n1", "n2", "n3"]);

    member(fakes.check(3), &[(3, "OFFLINE", "")]);
    wait(&galeway, "n3", "excluded", "Group Replication: OFFLINE");
    member(fakes.check(2), &[(1, "UNREACHABLE", ""), (2, "ONLINE", "PRIMARY"), (3, "UNREACHABLE", "")]);
    wait(&galeway, "n2", "excluded", "Group Replication: no majority (1 of 3 members reach each other)");
    assert_eq!(greeted(&galeway, "reader"), ["n1"]);
    let said = refused(&galeway, "writer");
    assert!(said.contains("n2: Group Replication: no majority"), "{said}");
    // MySQL 5.7 has no roles.
    let old = "Unknown column 'MEMBER_ROLE' in 'field list'";
    fakes.check(2).set_error("SELECT MEMBER_ID, MEMBER_STATE, MEMBER_ROLE", 1054, old);
    let rows = vec![vec![Some(uuid(2)), Some("ONLINE".to_owned())]];
    fakes.check(2).set_answer("SELECT MEMBER_ID, MEMBER_STATE FROM", &["MEMBER_ID", "MEMBER_STATE"], rows);
    fakes.check(2).set_error(MEMBERS, 1054, old);
    galeway.wait_writer("n2", secs(10));
}

#[test]
fn a_probe_judges_servers_as_servers_where_it_is_told_to() {
    let [one, two] = [1, 2].map(|i| {
        let node = FakeNode::start("s");
        for name in ["wsrep_local_state", "wsrep_cluster_status", "wsrep_cluster_state_uuid"] {
            node.remove_status(name);
        }
        server(&node, i, if i == 1 { "OFF" } else { "ON" });
        node
    });
    let probe = |extra: &[&str]| {
        let nodes = [one.addr().to_string(), two.addr().to_string()];
        cli::run(Command::new(binary()).arg("probe").args(nodes).args(["--user", "monitor"]).args(extra))
    };
    let seen = probe(&["--kind", "mysql"]);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for part in ["eligible: takes writes (read_only=OFF)", "eligible: read-only", "server_uuid"] {
        assert!(seen.stdout.contains(part), "{part}: {seen:?}");
    }
    let seen = probe(&[]);
    assert!(seen.code == Some(1) && seen.stdout.contains("excluded: not a Galera node"), "{seen:?}");
    replicates(&two, 1, "1062");
    let seen = probe(&["--kind", "mysql"]);
    assert_eq!(seen.code, Some(1));
    assert!(seen.stdout.contains("excluded: replication stopped (SQL_Running=No, error 1062)"), "{seen:?}");
}
