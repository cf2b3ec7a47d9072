//! Where services send their clients.

use super::*;
use crate::config::{Balance, HostPort, Place, Protocol, Target};

/// [`LEAST`] with a second service that connects to these, and has further keys.
fn connecting(connect: &str, keys: &str) -> String {
    format!("{LEAST}[service.fixed]\naccept = '127.0.0.1:1'\nconnect = {connect}\n{keys}\n")
}

fn fixed(connect: &str, keys: &str) -> Service {
    good(&connecting(connect, keys)).services[1].as_ref().clone()
}

fn host(host: &str, port: u16) -> Place {
    Place::Host(HostPort { host: host.to_owned(), port })
}

#[test]
fn a_service_may_connect_to_fixed_addresses() {
    let service = fixed("['db1:3306', '[::1]:5', 'unix:/tmp/x.sock']", "");
    let unix = Place::Unix(Path::new("/tmp/x.sock").into());
    assert_eq!(service.target, Target::Fixed(vec![host("db1", 3306), host("::1", 5), unix]));
    assert_eq!((service.balance, service.protocol), (Balance::First, Protocol::Tcp));
    assert_eq!(fixed("'db1:3306'", "").target, Target::Fixed(vec![host("db1", 3306)]));
    assert_eq!(fixed("'db1:3306'", "protocol = 'mysql'").protocol, Protocol::Mysql);
}

#[test]
fn failover_says_which_address_is_next() {
    for (text, balance) in [("first", Balance::First), ("round-robin", Balance::RoundRobin)] {
        assert_eq!(fixed("['a:1', 'b:1']", &format!("failover = '{text}'")).balance, balance);
    }
    let said = marked(&connecting("'a:1'", "failover = 'random'"));
    assert_eq!(said, ["'random': `failover` cannot be `random` (one of \"first\", \"round-robin\")"]);
    let said = marked(&with("", "", "failover = 'first'"));
    let help = "with a cluster it is `balance` that says who is next";
    assert_eq!(said, [format!("failover: `failover` without `connect` ({help})")]);
}

#[test]
fn a_relative_socket_starts_beside_the_file() {
    let scratch = Scratch::new();
    let nodes = "'unix:db.sock', { address = 'unix:/tmp/db.sock' }, { address = 'unix:c.sock', name = 'c' }";
    let text = connecting("'unix:x.sock'", "").replace("\"db1\", \"db2:3307\"", nodes);
    let config = scratch.parse(&text).unwrap().config;
    let unix = |name: &str| Place::Unix(scratch.0.join(name).into());
    assert_eq!(config.services[1].target, Target::Fixed(vec![unix("x.sock")]));
    let found: Vec<(&str, &Place)> = config.clusters[0].nodes.iter().map(|node| (&*node.name, &node.address)).collect();
    let first = format!("unix:{}/db.sock", scratch.0.display());
    let second = Place::Unix(Path::new("/tmp/db.sock").into());
    assert_eq!(found, [(first.as_str(), &unix("db.sock")), ("unix:/tmp/db.sock", &second), ("c", &unix("c.sock")),]);
}

#[test]
fn what_cannot_be_connected_to_says_what_to_write() {
    for (connect, message, help) in [
        ("db1", "`db1` has no port", Some("write \"db1:3306\"")),
        ("::1", "`::1`: an IPv6 address stands in brackets", Some("write \"[::1]:3306\"")),
        ("[::1]", "`[::1]` has no port", Some("write \"[::1]:3306\"")),
        ("db1:0", "`db1:0`: port 0 is no port to connect to", None),
        ("unix:", "`unix:` names no path", Some("write \"unix:/path/to/a.sock\"")),
        ("/tmp/a", "`/tmp/a` is a path, not an address", Some("a Unix socket is written with `unix:` before its path")),
        (
            "fd:x",
            "`fd:x` is a socket to accept on, not one to connect to",
            Some("write \"HOST:PORT\" or \"unix:/path\""),
        ),
    ] {
        let help = help.map_or_else(String::new, |help| format!(" ({help})"));
        assert_eq!(marked(&connecting(&format!("'{connect}'"), "")), [format!("'{connect}': {message}{help}")]);
        if connect != "db1" && connect != "[::1]" {
            let said = marked(&LEAST.replace("\"db1\"", &format!("'{connect}'")));
            assert_eq!(said, [format!("'{connect}': {message}{help}")]);
        }
    }
    let long = format!("'unix:/tmp/{}'", "x".repeat(103));
    for text in [connecting(&long, ""), LEAST.replace("\"db1\"", &long)] {
        assert!(messages(&text)[0].ends_with("is 108 bytes long: the path of a socket has at most 107"));
    }
    assert_eq!(
        marked(&connecting("[]", "")),
        ["[]: service `fixed` connects to no address (write connect = \"HOST:PORT\")"]
    );
    let said = marked(&connecting("['a:1', 'A.:1']", ""));
    assert_eq!(
        said,
        ["'A.:1': `A.:1` is in this list already (see line 10: counted twice, it would get twice its share)"]
    );
}

#[test]
fn a_cluster_and_fixed_addresses_are_one_too_many() {
    let help = "clients are sent to the nodes of a cluster or to fixed addresses: keep one";
    let said = marked(&connecting("'db1:1'", "cluster = 'main'"));
    assert_eq!(said, [format!("cluster: `cluster` contradicts `connect` ({help})")]);
    // The cluster is not told to be unused as well.
    let said = marked(&LEAST.replace("cluster = \"main\"", "cluster = 'main'\nconnect = 'db1:1'"));
    assert_eq!(said, [format!("connect: `connect` contradicts `cluster` ({help})")]);
    let said = marked(&LEAST.replace("cluster = \"main\"\n", ""));
    let help = "write cluster = \"NAME\", of a section [cluster.NAME], or connect = \"HOST:PORT\"";
    assert_eq!(said, [format!("any: service `any` has neither `cluster` nor `connect` ({help})")]);
}

#[test]
fn a_service_of_fixed_addresses_uses_no_cluster() {
    let text =
        connecting("'db1:1'", "").replace("[service.any]\naccept = \"127.0.0.1:3306\"\ncluster = \"main\"\n", "");
    let help = "it is watched all the same; a service uses it with cluster = \"main\"";
    assert_eq!(marked(&text), [format!("main: no service uses cluster `main` ({help})")]);
    let alone = &text[text.find("[service").unwrap()..];
    assert!(good(alone).clusters.is_empty());
}

#[test]
fn what_is_about_the_nodes_of_a_cluster_is_refused_beside_fixed_addresses() {
    let other = "it is about the nodes of a cluster; leave it out";
    for (key, value, help) in [
        ("role", "any", other),
        ("reader_includes_writer", "always", other),
        ("balance", "first", "write failover = \"first\" or \"round-robin\" in its place"),
        ("prefer_zone", "b", other),
    ] {
        let said = marked(&connecting("'db1:1'", &format!("{key} = '{value}'")));
        assert_eq!(said, [format!("{key}: `{key}` is not used with `connect` ({help})")]);
    }
}

#[test]
fn a_fixed_address_that_is_the_service_itself_is_refused() {
    for (connect, accept) in [("localhost:7", "127.0.0.1:7"), ("unix:/tmp/x.sock", "unix:/tmp/x.sock")] {
        let text = connecting(&format!("['db1:1', '{connect}']"), "").replace("127.0.0.1:1", accept);
        let help = format!("the service accepts on `{accept}`, line 9");
        assert_eq!(marked(&text), [format!("'{connect}': `{connect}` is service `fixed` itself ({help})")]);
    }
    let text = LEAST.replace("\"db1\"", "'unix:/tmp/x.sock'").replace("127.0.0.1:3306", "unix:/tmp/x.sock");
    let help = "the service accepts on `unix:/tmp/x.sock`, line 6";
    assert_eq!(
        marked(&text),
        [format!("'unix:/tmp/x.sock': node `unix:/tmp/x.sock` is service `any` itself ({help})")]
    );
}

#[test]
fn a_service_balances_in_one_of_five_ways() {
    for (text, balance) in [
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("random", Balance::Random),
        ("source", Balance::Source),
        ("first", Balance::First),
    ] {
        assert_eq!(service(&format!("balance = '{text}'")).balance, balance);
    }
}

/// [`LEAST`] with a node in this zone, and a service that prefers one.
fn zoned(zone: &str, prefer: &str) -> String {
    with("", "", &format!("prefer_zone = '{prefer}'"))
        .replace("\"db1\"", &format!("{{ address = 'db1', zone = '{zone}' }}"))
}

#[test]
fn a_service_may_prefer_a_zone_that_there_is() {
    let config = good(&zoned("eu-1b", "eu-1b"));
    assert_eq!(config.services[0].prefer_zone.as_deref(), Some("eu-1b"));
    assert_eq!(config.clusters[0].nodes[0].zone.as_ref(), "eu-1b");
    assert_eq!(good(&zoned("eu-1b", "")).services[0].prefer_zone, None);
}

#[test]
fn a_zone_that_no_node_is_in_is_refused_with_the_nearest() {
    for (zone, prefer, help) in [
        ("eu-1b", "eu-1d", "did you mean \"eu-1b\"?"),
        ("b", "frankfurt", "there is `b`"),
        ("", "b", "none of its nodes has a `zone` yet: { address = \"…\", zone = \"…\" }"),
    ] {
        let message = format!("no node of cluster `main` is in zone `{prefer}`");
        assert_eq!(marked(&zoned(zone, prefer)), [format!("'{prefer}': {message} ({help})")]);
    }
    let said = messages(&zoned("a b", ""));
    assert_eq!(said, ["error: `a b` cannot be a name"]);
}

#[test]
fn connections_may_come_from_one_address() {
    for (text, source) in [("10.0.0.9", "10.0.0.9"), ("::1", "::1"), ("::ffff:10.0.0.9", "10.0.0.9")] {
        assert_eq!(service(&format!("source = '{text}'")).source, Some(source.parse().unwrap()));
    }
    assert_eq!(service("source = ''").source, None);
    let ip = "write one of this machine's IP addresses, without a port";
    for (text, help) in
        [("eth0", ip), ("10.0.0.9:0", ip), ("[::1]", ip), ("0.0.0.0", "write \"\" for the system's choice")]
    {
        let said = marked(&with("", "", &format!("source = '{text}'")));
        assert_eq!(said, [format!("'{text}': `source` cannot be `{text}` ({help})")]);
    }
}

#[test]
fn nobody_is_reached_from_an_address_of_the_other_family() {
    let text = with("", "", "source = '10.0.0.9'").replace("\"db1\"", "'10.0.0.1', '[::5]'");
    let message = "node `::5` cannot be reached from 10.0.0.9, which is IPv4";
    assert_eq!(marked(&text), [format!("'10.0.0.9': {message} (it is IPv6, line 2)")]);
    let message = "`10.0.0.1:5` cannot be reached from ::1, which is IPv6";
    let said = marked(&connecting("['10.0.0.1:5', 'db1:5', '[::2]:5']", "source = '::1'"));
    assert_eq!(said, [format!("'::1': {message} (it is IPv4, line 10)")]);
    let said = marked(&connecting("'unix:/tmp/x.sock'", "source = '::1'"));
    let help = "a connection to a Unix socket comes from no address; leave it out";
    assert_eq!(said, [format!("'::1': `source` is not looked at here ({help})")]);
}
