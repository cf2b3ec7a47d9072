//! The writer, the sides of a split, what a restart remembers, and who may change what.

use std::time::Duration;

use super::*;
use crate::config::{Agreement, Failback, ReaderRule, Role, SplitBrain, Target};

/// [`LEAST`] with a `.writer` section.
fn writer(keys: &str) -> String {
    format!("{LEAST}[cluster.main.writer]\n{keys}\n")
}

/// The one error of a text, and its help.
fn only(text: &str) -> (String, Option<String>) {
    let diagnostics = super::parse(text).unwrap_err();
    assert_eq!(diagnostics.len(), 1, "{diagnostics}");
    let only = diagnostics.iter().next().unwrap();
    (only.message().to_owned(), only.help().map(str::to_owned))
}

const UUID: &str = "0E0B2A3C-7d8e-11ee-b962-0242ac120002";

#[test]
fn failback_is_a_word_or_a_time_of_stability() {
    for (text, failback) in [
        ("never", Failback::Never),
        ("immediate", Failback::Immediate),
        ("10m", Failback::After(Duration::from_secs(600))),
    ] {
        assert_eq!(good(&writer(&format!("failback = '{text}'"))).clusters[0].writer.failback, failback);
    }
    assert_eq!(only(&writer("failback = 'inmediate'")).1.unwrap(), "did you mean \"immediate\"?");
    assert_eq!(only(&writer("failback = 'on'")).0, "`failback` cannot be `on`");
    assert_eq!(only(&writer("failback = '10'")).0, "`10` has no unit");
    assert_eq!(only(&writer("failback = '0s'")).0, "`failback` must be longer than zero");
    assert_eq!(only(&writer("failback = 10")).0, "expected \"never\", \"immediate\" or a duration, found an integer");
}

#[test]
fn the_record_is_read_by_an_account_of_its_own() {
    let config = good(&writer("agreement = 'cluster'\nuser = 'record'\npassword = 'p'"));
    let writer = &config.clusters[0].writer;
    let login = writer.login.as_ref().unwrap();
    assert_eq!((writer.agreement, login.user.as_str(), login.password.expose()), (Agreement::Cluster, "record", "p"));
}

#[test]
fn an_agreement_without_an_account_says_what_to_write() {
    let (message, help) = only(&writer("agreement = 'cluster'"));
    assert_eq!(message, "agreement = \"cluster\" needs a `user` that reads and writes the record");
    assert!(help.unwrap().starts_with("write user = \"…\" and password_file = \"…\""));
    assert_eq!(only(&writer("agreement = 'cluster'\nuser = ''")).0, "`user` is empty");
}

#[test]
fn the_check_never_gets_to_write() {
    let (message, help) = only(&writer("agreement = 'cluster'\nuser = 'm'"));
    assert_eq!(message, "`m` is the monitor's user");
    assert!(help.unwrap().contains("SELECT, INSERT and UPDATE on galeway.writer"));
}

#[test]
fn a_name_that_the_record_cannot_hold_is_refused() {
    let name = "x".repeat(65);
    let text = writer("agreement = 'cluster'\nuser = 'record'").replace("main", &name);
    assert_eq!(only(&text).0, "this cluster's name is too long for agreement = \"cluster\"");
    good(&text.replace(&name, &name[..64]));
}

#[test]
fn an_account_that_nobody_logs_in_with_is_refused() {
    for key in ["user = 'record'", "password = 'x'"] {
        let name = key.split(' ').next().unwrap();
        let message = format!("`{name}` is not used with agreement = \"local\"");
        assert_eq!(only(&writer(key)).0, message);
    }
}

#[test]
fn a_writer_that_balancers_choose_alone_is_one_warning_a_cluster() {
    let text = with("", "", "role = 'writer'");
    let second = format!("{text}[service.other]\naccept = '127.0.0.1:1'\ncluster = 'main'\nrole = 'writer'\n");
    but_for_one_warning(&second, ALONE);
    for keys in ["failback = 'immediate'", "failback = '10m'", "agreement = 'cluster'\nuser = 'record'"] {
        good(&format!("{text}[cluster.main.writer]\n{keys}\n"));
    }
    for role in ["any", "reader"] {
        good(&with("", "", &format!("role = '{role}'")));
    }
}

#[test]
fn that_warning_stands_where_the_choice_is_written() {
    let text = format!("{}[cluster.main.writer]\nagreement = 'local'\n", with("", "", "role = 'writer'"));
    let loaded = super::parse(&text).unwrap();
    let line = text.lines().position(|line| line.starts_with("agreement")).unwrap() + 1;
    assert_eq!(loaded.warnings.iter().next().unwrap().place().unwrap().0, line);
}

#[test]
fn a_role_is_one_of_three() {
    for (text, role) in [("any", Role::Any), ("reader", Role::Reader)] {
        assert_eq!(service(&format!("role = '{text}'")).role(), role);
        assert_eq!(role.as_str(), text);
    }
    assert_eq!(Role::Writer.as_str(), "writer");
}

#[test]
fn whether_readers_meet_the_writer_is_asked_of_readers_only() {
    let rule = |text: &str| match service(&format!("role = 'reader'\nreader_includes_writer = '{text}'")).target {
        Target::Cluster { includes_writer, .. } => includes_writer,
        other @ Target::Fixed(_) => panic!("{other:?}"),
    };
    assert_eq!((rule("never"), rule("always")), (ReaderRule::Never, ReaderRule::Always));
    let (message, _) = only(&with("", "", "reader_includes_writer = 'never'"));
    assert_eq!(message, "`reader_includes_writer` is not looked at with role = \"any\"");
    good(&with("", "", "reader_includes_writer = 'last-resort'"));
}

#[test]
fn priorities_are_numbers_up_to_a_million() {
    let node = |priority: &str| LEAST.replace("\"db1\"", &format!("{{ address = 'db1', priority = {priority} }}"));
    assert_eq!(good(&node("1_000_000")).clusters[0].nodes[0].priority, 1_000_000);
    assert_eq!(messages(&node("1000001")), ["error: `priority` is a whole number from 0 to 1000000"]);
}

#[test]
fn a_history_is_a_uuid_in_lower_case() {
    let config = good(&with(&format!("split_brain = 'refuse'\nstate_uuid = '{UUID}'"), "", ""));
    let cluster = &config.clusters[0];
    assert_eq!(cluster.state_uuid.as_deref(), Some(UUID.to_lowercase().as_str()));
    assert_eq!(cluster.split_brain, SplitBrain::Refuse);
    assert_eq!(good(&with("state_uuid = ''", "", "")).clusters[0].state_uuid, None);
}

#[test]
fn what_is_no_history_is_refused() {
    let zeros = "00000000-0000-0000-0000-000000000000";
    for text in ["x", &UUID[1..], &UUID.replace('-', ""), &UUID.replace('E', "G"), &format!("{UUID}-")] {
        let (message, help) = only(&with(&format!("state_uuid = '{text}'"), "", ""));
        assert_eq!(message, format!("`{text}` is not a UUID"));
        assert!(help.unwrap().contains("wsrep_cluster_state_uuid"));
    }
    let (message, _) = only(&with(&format!("state_uuid = '{zeros}'"), "", ""));
    assert_eq!(message, "a UUID of zeros is what a node without a history shows");
}

#[test]
fn thresholds_are_off_at_zero() {
    let of = |keys: &str| good(&format!("{LEAST}[cluster.main.eligibility]\n{keys}\n")).clusters[0].eligibility;
    for (text, paused) in [("0", None), ("0.0", None), ("0.2_5", Some(0.25)), ("1", Some(1.0)), ("1.0", Some(1.0))] {
        assert_eq!(of(&format!("max_flow_control_paused = {text}")).max_flow_control_paused, paused);
    }
    assert_eq!(of("max_recv_queue = 0").max_recv_queue, None);
    assert_eq!(of("max_recv_queue = 100").max_recv_queue, Some(100));
    for text in ["1.1", "-0.1", "nan", "inf", "2", "-1"] {
        let (message, _) = only(&format!("{LEAST}[cluster.main.eligibility]\nmax_flow_control_paused = {text}\n"));
        assert_eq!(message, "`max_flow_control_paused` is a number from 0.0 to 1.0");
    }
}

/// `[admin]` with these lines, in a directory of its own.
fn admin(scratch: &Scratch, keys: &str) -> Result<crate::config::Admin, String> {
    let loaded = scratch.parse(&format!("{LEAST}[admin]\n{keys}\n"));
    loaded.map(|loaded| loaded.config.admin).map_err(|refused| refused.iter().next().unwrap().message().to_owned())
}

#[test]
fn the_admin_socket_may_be_elsewhere_or_nowhere() {
    let scratch = Scratch::new();
    let socket = admin(&scratch, "socket = 'a.sock'").unwrap().socket.unwrap();
    assert_eq!((socket.path, socket.written), (scratch.0.join("a.sock"), true));
    assert_eq!(admin(&scratch, "socket = ''").unwrap().socket, None);
    let default = admin(&scratch, "socket = '/run/galeway/admin.sock'").unwrap();
    assert_eq!(default, crate::config::Admin::default(), "the default is no wish when it is written down");
}

#[test]
fn a_socket_that_could_not_be_made_is_refused_at_its_place() {
    let scratch = Scratch::new();
    let refused = |socket: &str| admin(&scratch, &format!("socket = {socket}")).unwrap_err();
    assert!(refused("'none/a.sock'").starts_with("there is no directory `"));
    assert!(refused("'.'").ends_with("is a directory: the socket needs a name in it"));
    assert!(refused(&format!("'/tmp/{}'", "x".repeat(103))).contains("is 108 bytes long"));
    assert_eq!(refused("\"a\\u0000\""), "a path holds no zero byte");
}

#[test]
fn the_token_is_the_one_word_of_a_file() {
    let scratch = Scratch::new();
    scratch.write("token", "open-sesame\n");
    scratch.write("empty", "\n");
    scratch.write("two", "open sesame\n");
    let token = |file: &str| admin(&scratch, &format!("token_file = '{file}'")).map(|admin| admin.token);
    assert_eq!(token("token").unwrap().unwrap().expose(), "open-sesame");
    assert_eq!(token("").unwrap(), None);
    assert!(token("empty").unwrap_err().ends_with("is empty: anybody would have the token"));
    assert!(token("two").unwrap_err().ends_with("holds more than one word, or characters beyond ASCII"));
    assert!(token("missing").unwrap_err().starts_with("cannot read `"));
}

#[test]
fn what_a_restart_remembers_lies_in_a_directory() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    let state = |dir: &str| scratch.parse(&format!("{LEAST}[process]\nstate_dir = '{dir}'\n"));
    let dir = state("state").unwrap().config.process.state_dir.unwrap();
    assert_eq!((dir.path, dir.written), (scratch.0.join("state"), true));
    assert!(!state("/var/lib/galeway").unwrap().config.process.state_dir.unwrap().written);
    assert!(state("file").unwrap_err().to_string().contains("file` is not a directory"));
}

#[test]
fn a_restart_that_forgets_is_a_warning() {
    let config = but_for_one_warning(
        &format!("{LEAST}[process]\nstate_dir = ''\n"),
        "without `state_dir` a restart forgets the writer, the component served, the history learned and what operators \
         set",
    );
    assert_eq!(config.process.state_dir, None);
    // Without a cluster there is nothing to forget.
    let config = good("[service.a]\naccept = '127.0.0.1:1'\nconnect = ['127.0.0.1:2']\n[process]\nstate_dir = ''\n");
    assert_eq!(config.process.state_dir, None);
}
