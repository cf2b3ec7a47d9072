use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use super::super::load::parse_in;
use super::super::{Loaded, print};
use super::{Diagnostics, Environment, Flags, Key};

const LEAST: &[(&str, &str)] =
    &[("GALEWAY_LISTEN", "127.0.0.1:3306"), ("GALEWAY_NODES", "db1, db2:3307"), ("GALEWAY_MONITOR_USER", "m")];

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flags(flags: &[(Key, &str)]) -> BTreeMap<Key, Vec<String>> {
    let mut all: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for (key, value) in flags {
        all.entry(*key).or_default().push((*value).to_owned());
    }
    all
}

/// Neither default directory is there.
fn load(said: &[(Key, &str)], variables: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    load_where(said, variables, false)
}

fn load_where(said: &[(Key, &str)], variables: &[(&str, &str)], dirs: bool) -> Result<Loaded, Diagnostics> {
    let environment = environment(variables);
    let flags = Flags::of(&flags(said), &environment)?.expect("neither a flag nor GALEWAY_LISTEN");
    flags.load_in(&|name| environment.get(Path::new(name).as_os_str()).cloned(), &|_| dirs)
}

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    LEAST.iter().chain(more).copied().collect()
}

fn bad(said: &[(Key, &str)], variables: &[(&str, &str)]) -> String {
    match load(said, variables) {
        Ok(_) => panic!("accepted: {said:?} {variables:?}"),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn the_variables_mean_what_a_file_would() {
    let variables = with(&[
        ("GALEWAY_ROLE", "reader"),
        ("GALEWAY_BALANCE", "source"),
        ("GALEWAY_MONITOR_PASSWORD", "s3cret \"\\"),
        ("GALEWAY_MONITOR_TLS", "verify-identity"),
        ("GALEWAY_DISCOVER", "dns"),
        ("GALEWAY_ADMIN", "0.0.0.0:9306"),
    ]);
    let file = r#"
        [cluster.main]
        nodes = ["db1", "db2:3307"]
        discover = "dns"
        [cluster.main.monitor]
        user = "m"
        password_env = "P"
        tls = "verify-identity"
        [service.reader]
        accept = "127.0.0.1:3306"
        cluster = "main"
        role = "reader"
        balance = "source"
        [admin]
        listen = "0.0.0.0:9306"
    "#;
    let of_file = parse_in(file, Path::new("f"), &|_| Some("s3cret \"\\".into())).unwrap();
    let loaded = load_where(&[], &variables, true).unwrap();
    assert_eq!(print(&loaded.config), print(&of_file.config));
    assert_eq!(loaded.config, of_file.config, "the password");
    assert_eq!(loaded.warnings.iter().count(), of_file.warnings.iter().count());
    assert!(!format!("{:?}", Flags::of(&BTreeMap::new(), &environment(&variables))).contains("s3cret"));
}

#[test]
fn the_least_is_a_service_for_any_node() {
    let config = load(&[], LEAST).unwrap().config;
    let names: Vec<_> = config.clusters[0].nodes.iter().map(|node| node.address.to_string()).collect();
    assert_eq!(names, ["db1:3306", "db2:3307"]);
    assert_eq!((&*config.clusters[0].name, &*config.services[0].name), ("main", "any"));
    assert_eq!(config.admin.listen, Some("127.0.0.1:9306".parse().unwrap()));
}

#[test]
fn a_flag_beats_its_variable() {
    let all = with(&[("GALEWAY_ROLE", "reader"), ("GALEWAY_MONITOR_PASSWORD", "of the environment")]);
    let dir = std::env::temp_dir().join(format!("galeway-flags-{}", std::process::id()));
    std::fs::write(&dir, "of the file\n").unwrap();
    let said = [
        (Key::Listen, "127.0.0.1:1"),
        (Key::Listen, "[::1]:1"),
        (Key::Nodes, "db9"),
        (Key::Role, "writer"),
        (Key::MonitorUser, "other"),
        (Key::MonitorPasswordFile, dir.to_str().unwrap()),
    ];
    let loaded = load(&said, &all);
    std::fs::remove_file(&dir).unwrap();
    let config = loaded.unwrap().config;
    assert_eq!(config.services[0].accept.len(), 2);
    assert_eq!((config.clusters[0].nodes.len(), &*config.services[0].name), (1, "writer"));
    let monitor = &config.clusters[0].monitor;
    assert_eq!((&*monitor.user, monitor.password.expose()), ("other", "of the file"));
}

#[test]
fn an_empty_variable_is_none_and_only_listen_asks_for_a_start_without_a_file() {
    let nothing = BTreeMap::new();
    for variables in [&[][..], &[("GALEWAY_LISTEN", "")], &LEAST[1..]] {
        assert_eq!(Flags::of(&nothing, &environment(variables)), Ok(None), "{variables:?}");
    }
    let empty: Vec<_> = Key::ALL.map(|key| (key.variable(), "")).into_iter().skip(3).collect();
    let empty: Vec<_> = empty.into_iter().filter(|(name, _)| *name != "GALEWAY_MONITOR_USER").collect();
    assert!(load(&[], &with(&empty)).is_ok());
    assert_eq!(Flags::set(&environment(&with(&[("GALEWAY_ROLE", ""), ("OTHER", "x")]))).len(), LEAST.len());
}

#[test]
fn what_is_missing_is_said_in_one_go() {
    let said = bad(&[(Key::Role, "any")], &[]);
    let lines: Vec<_> = said.lines().filter(|line| !line.contains("= help")).collect();
    assert_eq!(
        lines,
        [
            "--listen or GALEWAY_LISTEN: error: where to accept clients is not said",
            "--node or GALEWAY_NODES: error: no node is named",
            "--monitor-user or GALEWAY_MONITOR_USER: error: no account is named: a check of Galera has to log in",
        ]
    );
}

#[test]
fn an_error_names_the_flag_or_the_variable() {
    for (said, variables, expected) in [
        (&[(Key::Listen, "3306")][..], &LEAST[1..], "--listen: error: `3306` is a port without an address"),
        (
            &[],
            &[("GALEWAY_NODES", "db1 db2")][..],
            "GALEWAY_NODES: error: `db1 db2`: a blank cannot stand in a host name",
        ),
        (&[], &[("GALEWAY_NODES", "db1,db1")], "GALEWAY_NODES: error: `db1:3306` is in this cluster already"),
        (
            &[],
            &[("GALEWAY_NODES", "10.0.0.1"), ("GALEWAY_DISCOVER", "dns")],
            "GALEWAY_NODES: error: discover = \"dns\" has",
        ),
        (&[], &[("GALEWAY_ROLE", "Write")], "GALEWAY_ROLE: error: `role` "),
        (&[], &[("GALEWAY_BALANCE", "leastconn")], "GALEWAY_BALANCE: error: `balance` "),
        (&[], &[("GALEWAY_MONITOR_TLS", "on")], "GALEWAY_MONITOR_TLS: error: `tls` "),
        (&[(Key::Discover, "galerra")], &[], "--discover: error: `discover` "),
        (&[], &[("GALEWAY_ADMIN", "db1:9306")], "GALEWAY_ADMIN: error: `db1:9306`: a name cannot be listened on"),
        (&[(Key::MonitorPasswordFile, "/nonexistent/pw")], &[], "--monitor-password-file: error: "),
        (
            &[],
            &[("GALEWAY_MONITOR_PASSWORD", "x"), ("GALEWAY_MONITOR_PASSWORD_FILE", "/dev/null")],
            "GALEWAY_MONITOR_PASSWORD_FILE: error: `password_file` contradicts",
        ),
        (&[], &[("GALEWAY_ADMIN", "127.0.0.1:3306")], "GALEWAY_ADMIN: error: "),
    ] {
        let mut all = environment(LEAST);
        all.extend(environment(variables));
        let all: Vec<_> = all.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        let text = bad(said, &all);
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("line ") && !text.contains("command line"), "{text}");
    }
}

#[test]
fn several_addresses_and_a_comma_too_many() {
    let variables = [("GALEWAY_LISTEN", "127.0.0.1:1,[::1]:1,"), ("GALEWAY_NODES", "db1,db2,"), LEAST[2]];
    let config = load(&[], &variables).unwrap().config;
    assert_eq!((config.services[0].accept.len(), config.clusters[0].nodes.len()), (2, 2));
    assert!(bad(&[], &with(&[("GALEWAY_NODES", "db1,,db2")])).contains("the address is empty"));
}

#[test]
fn a_misspelt_variable_is_refused_and_those_of_kubernetes_are_not() {
    let text = bad(&[], &with(&[("GALEWAY_MONITOR_TSL", "require")]));
    assert!(text.starts_with("GALEWAY_MONITOR_TSL: error: there is no such variable"), "{text}");
    assert!(text.contains("did you mean GALEWAY_MONITOR_TLS?"), "{text}");
    assert!(bad(&[], &with(&[("GALEWAY_NODE", "db1")])).contains("GALEWAY_NODES"));
    let foreign = with(&[
        ("GALEWAY_PORT", "tcp://10.0.0.1:3306"),
        ("GALEWAY_PORT_3306_TCP_ADDR", "10.0.0.1"),
        ("GALEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GALEWAY_SERVICE_PORT_MYSQL", "3306"),
        ("GALEWAY_NODES_SERVICE_HOST", "10.0.0.1"),
        ("GALEWAY_ADMIN_PORT", "tcp://10.0.0.1:9306"),
        ("GALEWAY_VERSION", "1"),
        ("NODES", "x"),
    ]);
    load(&[], &foreign).unwrap();
    let mut odd = environment(LEAST);
    odd.insert("GALEWAY_NODES".into(), OsString::from_vec(vec![0xff]));
    let said = Flags::of(&BTreeMap::new(), &odd).unwrap_err().to_string();
    assert_eq!(said, "GALEWAY_NODES: error: it is not UTF-8 text");
}

#[test]
fn the_admin_address_is_one_of_both_kinds_or_none() {
    let admin = |text: &'static str, dirs| {
        let admin = load_where(&[(Key::Admin, text)], LEAST, dirs).unwrap().config.admin;
        (admin.listen.map(|a| a.to_string()), admin.socket.map(|s| (s.path.display().to_string(), s.written)))
    };
    let default = || Some(("/run/galeway/admin.sock".to_owned(), false));
    assert_eq!(admin("0.0.0.0:9306", false), (Some("0.0.0.0:9306".to_owned()), None));
    assert_eq!(admin("0.0.0.0:9306", true), (Some("0.0.0.0:9306".to_owned()), default()));
    assert_eq!(admin("", true), (None, None));
    let tmp = std::env::temp_dir().join("galeway.sock").display().to_string();
    let text: &'static str = Box::leak(format!("unix:{tmp}").into_boxed_str());
    assert_eq!(admin(text, false), (None, Some((tmp, true))));
}

#[test]
fn default_places_that_are_not_there_are_left_out() {
    let config = load_where(&[], LEAST, true).unwrap().config;
    assert!(config.process.state_dir.is_some_and(|dir| !dir.written));
    assert!(config.admin.socket.is_some_and(|socket| !socket.written));
    let loaded = load_where(&[], LEAST, false).unwrap();
    assert_eq!((loaded.config.process.state_dir, loaded.config.admin.socket), (None, None));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}
