//! Contradictions, within a section and between sections.

use super::*;

/// [`LEAST`] with a second service.
fn second(keys: &str) -> Vec<String> {
    messages(&format!("{LEAST}[service.other]\n{keys}\n"))
}

#[test]
fn two_services_cannot_accept_on_one_address() {
    let said = second("accept = '127.0.0.1:3306'\ncluster = 'main'");
    assert_eq!(said, ["error: `127.0.0.1:3306` is taken already: service `any` listens on `127.0.0.1:3306`"]);
}

#[test]
fn all_addresses_of_a_family_include_each_of_them() {
    let said = second("accept = '0.0.0.0:3306'\ncluster = 'main'");
    assert_eq!(said, ["error: `0.0.0.0:3306` is taken already: service `any` listens on `127.0.0.1:3306`"]);
}

#[test]
fn the_two_families_do_not_take_each_others_ports() {
    assert!(second("accept = '[::]:3306'\ncluster = 'main'").is_empty());
}

#[test]
fn a_port_that_the_kernel_chooses_is_never_taken() {
    assert!(second("accept = ['127.0.0.1:0', '0.0.0.0:0']\ncluster = 'main'").is_empty());
}

#[test]
fn a_list_with_one_address_twice_is_refused() {
    let said = second("accept = ['127.0.0.1:4', '127.0.0.1:4']\ncluster = 'main'");
    assert_eq!(said, ["error: `127.0.0.1:4` is taken already: service `other` listens on `127.0.0.1:4`"]);
}

#[test]
fn a_service_cannot_take_the_admin_address_written_or_not() {
    let by_default = second("accept = '0.0.0.0:9306'\ncluster = 'main'");
    assert_eq!(by_default, ["error: `0.0.0.0:9306` is taken already: [admin] listens on `127.0.0.1:9306`"]);
    let written = messages(&format!("{LEAST}[admin]\nlisten = '127.0.0.1:3306'\n"));
    assert_eq!(written, ["error: `127.0.0.1:3306` is taken already: service `any` listens on `127.0.0.1:3306`"]);
    assert!(second("accept = '0.0.0.0:9306'\ncluster = 'main'\n[admin]\nlisten = ''").is_empty());
}

#[test]
fn a_node_that_is_the_service_itself_is_refused() {
    for (node, accept) in [
        ("127.0.0.1", "127.0.0.1:3306"),
        ("localhost", "0.0.0.0:3306"),
        ("127.0.0.1", "0.0.0.0:3306"),
        ("[::1]", "[::]:3306"),
        ("10.0.0.1", "10.0.0.1:3306"),
    ] {
        let text = LEAST.replace("\"db1\"", &format!("'{node}'")).replace("127.0.0.1:3306", accept);
        let said = messages(&text);
        assert!(
            matches!(said.as_slice(), [one] if one.ends_with("is service `any` itself")),
            "{node} {accept} {said:?}"
        );
    }
    let other = LEAST.replace("\"db1\"", "'127.0.0.1'").replace("127.0.0.1:3306", "10.0.0.1:3306");
    assert!(messages(&other).is_empty());
}

#[test]
fn a_cluster_that_nobody_uses_is_a_warning() {
    let said = messages(&format!("{LEAST}[cluster.spare]\nnodes = ['x']\nmonitor.user = 'm'\n"));
    assert_eq!(said, ["warning: no service uses cluster `spare`"]);
}

#[test]
fn a_mistyped_cluster_is_one_error_and_not_an_unused_cluster_as_well() {
    let said = bad(&LEAST.replace("cluster = \"main\"", "cluster = \"mian\""));
    assert!(said.contains("error: there is no cluster `mian`"), "{said}");
    assert!(said.ends_with("= help: did you mean \"main\"?"), "{said}");
    assert!(!said.contains("no service uses"), "{said}");
}

#[test]
fn one_node_written_twice_is_refused_however_it_is_spelled() {
    for twice in ["'db1', 'DB1:3306'", "'db1', 'db1.'", "'db1', { address = 'db1', name = 'other' }"] {
        let said = messages(&LEAST.replace("\"db1\"", twice));
        assert!(matches!(said.as_slice(), [one] if one.contains("is in this cluster already")), "{twice}: {said:?}");
    }
}

#[test]
fn one_host_with_two_ports_is_two_nodes() {
    good(&LEAST.replace("\"db1\"", "'db1', 'db1:3307'"));
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let said = messages(&LEAST.replace("\"db1\"", "'db1', { address = 'db9', name = 'db1' }"));
    assert_eq!(said, ["error: two nodes of this cluster are named `db1`"]);
}

#[test]
fn nodes_that_all_weigh_nothing_are_a_warning() {
    let text = LEAST.replace("\"db1\", \"db2:3307\"", "{ address = 'db1', weight = 0 }");
    assert_eq!(messages(&text), ["warning: every node has weight 0: no client will be served"]);
}

#[test]
fn looking_less_often_when_in_doubt_is_a_contradiction() {
    let said = messages(&with("", "interval = '1s'\nfast_interval = '2s'", ""));
    assert_eq!(said, ["error: `fast_interval` is longer than `interval`, 1s"]);
}

#[test]
fn a_short_interval_shortens_the_fast_one_that_nobody_wrote() {
    let config = good(&with("", "interval = '50ms'", ""));
    assert_eq!(config.clusters[0].monitor.fast_interval, std::time::Duration::from_millis(50));
}

#[test]
fn nothing_is_concluded_from_a_value_that_was_refused() {
    let said = messages(&with("", "interval = '1'\nfast_interval = '2s'", ""));
    assert_eq!(said, ["error: `1` has no unit"]);
}

#[test]
fn sessions_that_end_before_a_check_has_failed_are_a_warning() {
    let said = messages(&with("", "timeout = '10s'", ""));
    assert_eq!(said, ["warning: `down_after` is shorter than `timeout`: 6s < 10s"]);
}

#[test]
fn a_deadline_that_leaves_no_time_for_a_second_node_is_a_warning() {
    let said = messages(&with("", "", "queue_timeout = '3s'"));
    assert_eq!(said, ["warning: `greeting_timeout` leaves nothing of `queue_timeout`: 3s >= 3s"]);
    let said = messages(&with("", "", "connect_timeout = '20s'"));
    assert_eq!(said, ["warning: `connect_timeout` leaves nothing of `queue_timeout`: 20s >= 10s"]);
}

#[test]
fn a_greeting_timeout_without_greetings_is_a_warning() {
    let said = messages(&with("", "", "protocol = 'tcp'\ngreeting_timeout = '3s'"));
    assert_eq!(said, ["warning: `greeting_timeout` has no effect here"]);
    assert!(messages(&with("", "", "protocol = 'tcp'\nqueue_timeout = '2s'")).is_empty());
}

#[test]
fn what_has_to_be_there_is_missed() {
    assert_eq!(messages(""), ["error: no [service.NAME]: there is nothing to accept connections"]);
    let said = messages("[cluster.c]\n[service.s]\n");
    assert_eq!(
        said,
        [
            "error: cluster `c` has no monitor: a Galera check has to log in",
            "error: cluster `c` has no `nodes`",
            "error: service `s` has no `accept`",
            "error: service `s` has neither `cluster` nor `connect`",
        ]
    );
    let said = messages(&LEAST.replace("user = \"m\"", "").replace("\"db1\", \"db2:3307\"", ""));
    assert_eq!(
        said,
        [
            "error: cluster `main` needs at least one node",
            "error: the monitor has no `user`: a Galera check has to log in",
        ]
    );
    let said = messages(&with("", "", "").replace("accept = \"127.0.0.1:3306\"", "accept = []"));
    assert_eq!(said, ["error: service `any` accepts on no address"]);
    let said = messages(&LEAST.replace("\"db1\"", "{ name = 'db1' }"));
    assert_eq!(said, ["error: a node without `address`"]);
}
