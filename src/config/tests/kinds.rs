//! What clusters may be of, and how their nodes are found.

use std::time::Duration;

use super::*;
use crate::config::{Discover, NodeKind, Role};

/// [`LEAST`] with a monitor of this kind; tcp without the user.
fn of_kind(kind: &str, cluster: &str, service: &str) -> String {
    let text = with(cluster, &format!("kind = '{kind}'"), service);
    if kind == "tcp" { text.replace("user = \"m\"\n", "") } else { text }
}

/// The same with its first node as a table with these keys.
fn node(kind: &str, keys: &str) -> String {
    of_kind(kind, "", "").replace("\"db1\"", &format!("{{ address = 'db1', {keys} }}"))
}

#[test]
fn nodes_are_what_their_monitor_says() {
    for (text, kind) in [("galera", NodeKind::Galera), ("mysql", NodeKind::Mysql), ("tcp", NodeKind::Tcp)] {
        let config = good(&of_kind(text, "", ""));
        let cluster = &config.clusters[0];
        assert_eq!((cluster.monitor.kind, cluster.nodes[0].kind, cluster.nodes[1].kind), (kind, kind, kind));
        good(&node(text, &format!("kind = '{text}'")));
    }
    let said = marked(&of_kind("galeras", "", ""));
    assert_eq!(said, ["'galeras': `kind` cannot be `galeras` (did you mean \"galera\"?)"]);
}

#[test]
fn a_galera_cluster_may_have_asynchronous_replicas() {
    let config = good(&node("galera", "kind = 'mysql', backup = true"));
    let kinds: Vec<NodeKind> = config.clusters[0].nodes.iter().map(|node| node.kind).collect();
    assert_eq!(kinds, [NodeKind::Mysql, NodeKind::Galera]);
    assert!(config.clusters[0].nodes[0].backup);
    let text = node("galera", "kind = 'mysql'").replace(", \"db2:3307\"", "");
    let help = "where no node is a Galera node, write kind = \"mysql\" in the monitor and none on the nodes";
    let said = marked(&text);
    let nodes = "[{ address = 'db1', kind = 'mysql' }]";
    assert_eq!(said, [format!("{nodes}: every node of this Galera cluster is an asynchronous replica ({help})")]);
}

#[test]
fn a_node_that_its_monitor_cannot_judge_is_refused() {
    let galera = "a node of a Galera cluster is \"galera\", or \"mysql\" for an asynchronous replica";
    let mysql = "leave it out; a Galera cluster with asynchronous replicas has kind = \"galera\" in its monitor and \
                 kind = \"mysql\" on the replicas";
    let tcp = "leave it out: nothing logs in to the nodes of this cluster";
    for (monitor, of_node, help) in [
        ("galera", "tcp", galera),
        ("mysql", "galera", mysql),
        ("mysql", "tcp", mysql),
        ("tcp", "galera", tcp),
        ("tcp", "mysql", tcp),
    ] {
        let said = marked(&node(monitor, &format!("kind = '{of_node}'")));
        let message = format!("a node of kind \"{of_node}\" where the monitor's is \"{monitor}\"");
        assert_eq!(said, [format!("'{of_node}': {message} ({help})")]);
    }
    // Nothing follows from a kind that was refused itself.
    assert_eq!(messages(&node("mysq1", "kind = 'tcp'")).len(), 1);
}

#[test]
fn a_check_that_logs_in_needs_a_user() {
    for (kind, what, grant) in [
        ("galera", "Galera", "SELECT on mysql.wsrep_cluster_members is all the account needs"),
        (
            "mysql",
            "MySQL",
            "SLAVE MONITOR or REPLICATION CLIENT is all the account needs, and in a replication group a SELECT",
        ),
    ] {
        let text = of_kind(kind, "", "");
        let said = marked(&text.replace("user = \"m\"\n", ""));
        let message = format!("the monitor has no `user`: a {what} check has to log in");
        assert_eq!(said, [format!("monitor: {message} (write user = \"…\"; {grant})")]);
        let said = marked(&text.replace("\"m\"", "''"));
        assert_eq!(said, [format!("'': `user` is empty (a {what} check has to log in; {grant})")]);
    }
}

#[test]
fn a_check_that_does_not_log_in_has_no_account() {
    let help = "a node that takes the connection is well, and nothing logs in; leave it out";
    for key in ["user", "password", "password_file", "password_env", "tls", "ca", "cert", "key"] {
        let said = marked(&of_kind("tcp", "", "").replace("kind = 'tcp'", &format!("kind = 'tcp'\n{key} = 'x'")));
        assert_eq!(said, [format!("{key}: `{key}` is not used with kind = \"tcp\" ({help})")]);
    }
    let config = good(&of_kind("tcp", "", "").replace("kind = 'tcp'", "kind = 'tcp'\ntls = 'off'\nport = 8080"));
    assert_eq!((config.clusters[0].monitor.user.as_str(), config.clusters[0].monitor.port), ("", Some(8080)));
}

#[test]
fn a_role_needs_somebody_who_tells_the_writer() {
    for role in ["writer", "reader"] {
        let said = marked(&of_kind("tcp", "", &format!("role = '{role}'")));
        let message = format!("role = \"{role}\": nothing tells a writer in cluster `main`");
        let help = "its monitor has kind = \"tcp\" and does not log in; write role = \"any\", or another kind";
        assert_eq!(said, [format!("'{role}': {message} ({help})")]);
    }
    good(&of_kind("tcp", "", "role = 'any'"));
    // Servers of kind mysql say by read_only who the writer is: there is nothing to agree on.
    assert_eq!(good(&of_kind("mysql", "", "role = 'writer'")).services[0].role(), Role::Writer);
}

#[test]
fn an_agreement_needs_galera() {
    let keys = "[cluster.main.writer]\nagreement = 'cluster'\nuser = 'record'\n";
    for kind in ["mysql", "tcp"] {
        let said = marked(&format!("{}{keys}", of_kind(kind, "", "")));
        let help = "the record is replicated by Galera; leave it out";
        assert_eq!(said, [format!("agreement: agreement = \"cluster\" needs monitor.kind = \"galera\" ({help})")]);
    }
    good(&format!("{}{keys}", of_kind("galera", "", "")));
}

#[test]
fn what_nothing_looks_at_is_refused_and_its_default_is_not() {
    let uuid = "0e0b2a3c-7d8e-11ee-b962-0242ac120002";
    for (section, key, default, other, mysql_too) in [
        ("", "split_brain", "'fence'", "'refuse'", true),
        ("", "state_uuid", "''", &*format!("'{uuid}'"), true),
        ("eligibility", "donor", "'last-resort'", "'always'", true),
        ("eligibility", "connection_margin", "2", "3", false),
        ("eligibility", "max_recv_queue", "0", "3", true),
        ("eligibility", "max_flow_control_paused", "0.0", "0.5", true),
        ("eligibility", "max_replication_lag", "'0s'", "'3s'", false),
        ("writer", "failback", "'never'", "'1h'", false),
        ("writer", "donor_grace", "'60s'", "'0s'", true),
        ("sessions", "on_donor", "'keep'", "'kill'", true),
        ("sessions", "on_demote", "'kill'", "'keep'", false),
    ] {
        let text = |kind: &str, value: &str| match section {
            "" => of_kind(kind, &format!("{key} = {value}"), ""),
            _ => format!("{}[cluster.main.{section}]\n{key} = {value}\n", of_kind(kind, "", "")),
        };
        for (kind, refused) in [("mysql", mysql_too), ("tcp", true)] {
            good(&text(kind, default));
            let said = marked(&text(kind, other));
            let help = if kind == "tcp" { "nothing of it is known" } else { "it is about Galera nodes" };
            let message =
                format!("{key}: `{key}` is not looked at with monitor.kind = \"{kind}\" ({help}: leave it out)");
            assert_eq!(said, if refused { vec![message] } else { Vec::new() });
        }
    }
}

#[test]
fn a_lag_is_that_of_a_replica() {
    let lag = |text: &str, lag: &str| format!("{text}[cluster.main.eligibility]\nmax_replication_lag = '{lag}'\n");
    let replica = node("galera", "kind = 'mysql'");
    let read = |text: &str| good(text).clusters[0].eligibility.max_replication_lag;
    assert_eq!(read(&lag(&replica, "30s")), Some(Duration::from_secs(30)));
    assert_eq!(read(&lag(&of_kind("mysql", "", ""), "30s")), Some(Duration::from_secs(30)));
    assert_eq!(read(&lag(&replica, "0s")), None);
    assert_eq!(read(&lag(LEAST, "0s")), None);
    let message = "`max_replication_lag` is not looked at: no node of this cluster has kind = \"mysql\"";
    let help = "it is about asynchronous replicas; write kind = \"mysql\" on the nodes that are, or leave it out";
    assert_eq!(marked(&lag(LEAST, "30s")), [format!("max_replication_lag: {message} ({help})")]);
}

#[test]
fn a_node_has_room_for_so_many_sessions() {
    let config = good(&node("galera", "max_connections = 500"));
    assert_eq!(config.clusters[0].nodes[0].max_connections, Some(500));
    assert_eq!(good(LEAST).clusters[0].nodes[0].max_connections, None);
    let said = marked(&node("galera", "max_connections = 0"));
    assert_eq!(said, ["0: `max_connections` is a whole number from 1 to 10000000"]);
}

#[test]
fn backups_of_nobody_are_a_warning() {
    let text = node("galera", "backup = true").replace(", \"db2:3307\"", "");
    let help = "a backup serves while no node without `backup` does; here all serve at all times";
    let nodes = "[{ address = 'db1', backup = true }]";
    assert_eq!(marked(&text), [format!("{nodes}: every node is a backup, which is as if none were ({help})")]);
    assert!(parse(&text).is_ok());
    good(&node("galera", "backup = true"));
}

#[test]
fn a_priority_of_what_is_never_the_writer_is_refused() {
    for (text, help) in [
        (node("tcp", "priority = 1"), "nothing tells a writer with kind = \"tcp\""),
        (node("galera", "kind = 'mysql', priority = 1"), "an asynchronous replica is never the writer"),
    ] {
        assert_eq!(marked(&text), [format!("priority: `priority` is not looked at here ({help})")]);
        good(&text.replace("priority = 1", "priority = 0"));
    }
    good(&node("mysql", "priority = 1"));
}

#[test]
fn nodes_may_be_found() {
    let found = |keys: &str| parse(&with(keys, "", "")).unwrap().config.clusters[0].discovery.clone();
    for (text, by) in [("off", Discover::Off), ("galera", Discover::Galera), ("dns", Discover::Dns)] {
        assert_eq!(found(&format!("discover = '{text}'")).by, by);
    }
    let found = found("discover = 'dns'\ndiscover_interval = '30s'\ndiscover_allow = ['10.0.0.0/8']");
    assert_eq!((found.interval, found.allow.len()), (Duration::from_secs(30), 1));
    let said = messages(&with("discover = 'dns'\ndiscover_interval = '0s'", "", ""));
    assert_eq!(said, ["error: `discover_interval` must be longer than zero"]);
}

#[test]
fn what_is_about_finding_nodes_needs_a_way_to_find_them() {
    for (key, value) in [("discover_interval", "'30s'"), ("discover_allow", "['::1']")] {
        let said = marked(&with(&format!("{key} = {value}"), "", ""));
        let help = "write discover = \"galera\" or \"dns\", or leave it out";
        assert_eq!(said, [format!("{key}: `{key}` is not looked at with discover = \"off\" ({help})")]);
    }
    good(&with("discover_interval = '5s'\ndiscover_allow = []", "", ""));
}

#[test]
fn only_galera_nodes_list_the_members() {
    for kind in ["mysql", "tcp"] {
        let said = marked(&of_kind(kind, "discover = 'galera'", ""));
        let help = "only Galera nodes list the members; discover = \"dns\" follows a host name";
        assert_eq!(said, [format!("'galera': discover = \"galera\" needs monitor.kind = \"galera\" ({help})")]);
        good(&of_kind(kind, "discover = 'dns'", ""));
    }
}

#[test]
fn a_name_is_what_can_be_looked_up() {
    let help = "write the host name whose addresses are the nodes, or discover = \"off\"";
    for address in ["10.0.0.1:3307", "[::1]", "unix:/tmp/x.sock"] {
        let message = format!("discover = \"dns\" has nothing to look up in `{address}`");
        for written in [format!("'{address}'"), format!("{{ address = '{address}' }}")] {
            let text = with("discover = 'dns'", "", "").replace("\"db1\"", &written);
            assert_eq!(marked(&text), [format!("'{address}': {message} ({help})")]);
        }
    }
    let named = with("discover = 'dns'", "", "").replace("\"db1\"", "{ address = 'db1', name = 'x' }");
    let help = "each address that is found is a node of its own and named after it";
    assert_eq!(marked(&named), [format!("'x': `name` is not used with discover = \"dns\" ({help})")]);
    good(&named.replace("'x'", "'db1'"));
}

#[test]
fn a_login_that_is_sent_anywhere_is_a_warning() {
    let text = |tls: &str, keys: &str| with(&format!("discover = 'galera'\n{keys}"), &format!("tls = '{tls}'"), "");
    for tls in ["off", "require"] {
        let said = marked(&text(tls, ""));
        let message = format!(
            "the monitor's login is sent to any address that a node lists: `discover_allow` is empty, and monitor.tls = \
             \"{tls}\" verifies nobody"
        );
        let help = "write discover_allow = [\"10.0.0.0/8\"], the networks of the nodes, or have TLS verify them";
        assert_eq!(said, [format!("'galera': {message} ({help})")]);
        assert!(parse(&text(tls, "")).is_ok());
        good(&text(tls, "discover_allow = ['10.0.0.0/8']"));
    }
    for tls in ["verify-ca", "verify-identity"] {
        good(&text(tls, ""));
    }
}

#[test]
fn a_socket_has_no_other_port() {
    let text = with("", "port = 3307", "").replace("\"db1\", \"db2:3307\"", "'unix:/tmp/x.sock'");
    let help = "leave it out: every node is a Unix socket";
    assert_eq!(marked(&text), [format!("port: `port` is not looked at here ({help})")]);
    good(&text.replace("'unix:/tmp/x.sock'", "'unix:/tmp/x.sock', 'db1'"));
}

#[test]
fn one_socket_written_twice_is_refused() {
    let text = LEAST.replace("\"db1\"", "'unix:/tmp/x.sock', { address = 'unix:/tmp/x.sock', name = 'y' }");
    let said = messages(&text);
    assert_eq!(said, ["error: `unix:/tmp/x.sock` is in this cluster already"]);
}
