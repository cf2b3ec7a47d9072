//! Typical mistakes, and the whole of what is said of them.

use super::*;

#[test]
fn a_day_of_mistakes_is_answered_at_once() {
    let text = r#"[cluster.main]
nodes = ["db1", "db2:33o6", "db1:3306"]
discover = "galara"

[cluster.main.monitor]
user = "monitor"
pasword = "hunter2"
intervall = "1s"
timeout = 2
fast_interval = 100ms

[service.app]
accept = "3306"
cluster = "mian"
balance = "roundrobin"
max_conections = 500
connect_tls = { verify = "ful", pin = "sha256/x" }
"#;
    let expected = r#"galeway.toml:2:17: error: `db2:33o6`: `33o6` is neither a port number nor a TCP service of /etc/services
    2 | nodes = ["db1", "db2:33o6", "db1:3306"]
      |                 ^^^^^^^^^^
      = help: write the port's number
galeway.toml:2:29: error: `db1:3306` is in this cluster already
    2 | nodes = ["db1", "db2:33o6", "db1:3306"]
      |                             ^^^^^^^^^^
      = help: see line 2: counted twice, a node would get twice its share
galeway.toml:3:12: error: `discover` cannot be `galara`
    3 | discover = "galara"
      |            ^^^^^^^^
      = help: did you mean "galera"?
galeway.toml:7:1: error: unknown key `pasword` in [cluster.NAME.monitor]
    7 | pasword = ***
      | ^^^^^^^
      = help: did you mean `password`?
galeway.toml:8:1: error: unknown key `intervall` in [cluster.NAME.monitor]
    8 | intervall = "1s"
      | ^^^^^^^^^
      = help: did you mean `interval`?
galeway.toml:9:11: error: expected a duration string such as "500ms", found an integer
    9 | timeout = 2
      |           ^
      = help: write "2s" for seconds, "2ms" for milliseconds
galeway.toml:10:17: error: not TOML: string values must be quoted, expected literal string
   10 | fast_interval = 100ms
      |                 ^^^^^
      = help: text and durations stand in quotes: "500ms"
galeway.toml:13:10: error: `3306` is a port without an address
   13 | accept = "3306"
      |          ^^^^^^
      = help: write "0.0.0.0:3306" for all of IPv4, "127.0.0.1:3306" for this machine only
galeway.toml:14:11: error: there is no cluster `mian`
   14 | cluster = "mian"
      |           ^^^^^^
      = help: did you mean "main"?
galeway.toml:15:11: error: `balance` cannot be `roundrobin`
   15 | balance = "roundrobin"
      |           ^^^^^^^^^^^^
      = help: did you mean "round-robin"?
galeway.toml:16:1: error: unknown key `max_conections` in [service.NAME]
   16 | max_conections = 500
      | ^^^^^^^^^^^^^^
      = help: did you mean `max_connections`?
galeway.toml:17:26: error: `verify` cannot be `ful`
   17 | connect_tls = { verify = "ful", pin = "sha256/x" }
      |                          ^^^^^
      = help: did you mean "full"?
galeway.toml:17:33: error: unknown key `pin` in [service.NAME.connect_tls]
   17 | connect_tls = { verify = "ful", pin = "sha256/x" }
      |                                 ^^^
      = help: did you mean `pins`?"#;
    assert_eq!(bad(text), expected);
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    for (text, help) in [
        (with("interval = '1s'", "", ""), "`interval` belongs in [cluster.NAME.monitor]"),
        (with("intervl = '1s'", "", ""), "did you mean `interval`, which belongs in [cluster.NAME.monitor]?"),
        (format!("workers = 2\n{LEAST}"), "`workers` belongs in [process]"),
        (with("", "", "conect_tls = {}"), "did you mean `connect_tls`?"),
        (with("", "", "client_ca = 'ca.pem'"), "`client_ca` belongs in [service.NAME.tls]"),
        (format!("{LEAST}[process]\nsandbx = true\n"), "did you mean `sandbox`? (it is not supported yet)"),
    ] {
        let said = bad(&text);
        assert!(said.ends_with(&format!("= help: {help}")), "{said}");
    }
}

#[test]
fn a_key_like_no_other_is_just_unknown() {
    let refused = parse(&with("xyzzy = 1", "", "")).unwrap_err();
    let only = refused.iter().next().unwrap();
    assert_eq!((only.message(), only.help()), ("unknown key `xyzzy` in [cluster.NAME]", None));
}

#[test]
fn a_section_without_a_name_is_told_how_to_name_it() {
    let said = bad("[service]\naccept = '127.0.0.1:3306'\n");
    assert_eq!(
        said,
        "galeway.toml:2:1: error: `accept` stands in `[service]`, which holds only sections\n    \
         2 | accept = '127.0.0.1:3306'\n      \
           | ^^^^^^\n      \
           = help: each service has a name and a section of its own: [service.NAME]"
    );
    let said = bad("[[service]]\naccept = '127.0.0.1:3306'\n");
    assert!(said.contains("expected sections [service.NAME], found an array"), "{said}");
}

#[test]
fn a_key_or_a_section_written_twice_is_refused() {
    let said = bad(&with("", "rise = 2\nrise = 3", ""));
    assert!(said.contains("galeway.toml:6:1: error: not TOML: duplicate key"), "{said}");
    let said = bad(&format!("{LEAST}[cluster.main]\n"));
    assert!(said.contains("galeway.toml:8:10: error: not TOML: duplicate key"), "{said}");
}

#[test]
fn one_node_without_a_list_is_told_how_to_make_it_one() {
    let said = bad(&LEAST.replace("[\"db1\", \"db2:3307\"]", "'db1'"));
    assert!(said.contains("expected a list of nodes, found a string"), "{said}");
    assert!(said.ends_with("= help: write nodes = [\"db1\"]"), "{said}");
}

#[test]
fn a_list_that_is_not_closed_is_named_as_the_cause() {
    let said = bad("[cluster.main]\nnodes = ['db1'\ndiscover = 'off'\n");
    assert!(said.contains("= help: or the list that was opened before is not closed with `]`"), "{said}");
}

#[test]
fn a_file_without_a_service_is_told_what_to_add() {
    assert_eq!(
        bad("# nothing\n"),
        "galeway.toml:1:1: error: no [service.NAME]: there is nothing to accept connections\n      \
         = help: add one: [service.NAME] with accept = \"127.0.0.1:3306\" and cluster = \"NAME\""
    );
}
