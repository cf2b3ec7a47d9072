//! `[HOST:]PORT` and paths.

use super::*;

fn accepts(value: &str) -> Vec<String> {
    let text = SERVER.replace("127.0.0.1:3307", value);
    service(&text).accept.iter().map(ToString::to_string).collect()
}

fn connects(value: &str) -> String {
    let text = SERVER.replace("127.0.0.1:3306", value);
    match service(&text).target {
        crate::config::Target::Fixed(places) => places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn accept_without_a_host_is_every_address_of_this_one() {
    assert_eq!(accepts("3307"), ["0.0.0.0:3307", "[::]:3307"]);
    assert_eq!(accepts("ssh"), ["0.0.0.0:22", "[::]:22"]);
}

#[test]
fn addresses_are_split_at_the_last_colon_and_brackets_may_stand_too() {
    for (value, expected) in [
        ("::1:3307", "[::1]:3307"),
        ("[::1]:3307", "[::1]:3307"),
        ("2001:db8::5:80", "[2001:db8::5]:80"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("10.0.0.1:ssh", "10.0.0.1:22"),
        ("/run/s.sock", "unix:/run/s.sock"),
    ] {
        assert_eq!(accepts(value), [expected]);
    }
}

#[test]
fn all_of_ipv6_takes_ipv4_in_unless_told_otherwise() {
    assert_eq!(accepts(":::3307"), ["[::]:3307", "0.0.0.0:3307"]);
    assert_eq!(accepts(":::3307\nsocket = a:IPV6_V6ONLY=yes"), ["[::]:3307"]);
    assert_eq!(accepts(":::0"), ["[::]:0"]);
}

#[test]
fn a_name_to_listen_on_is_looked_up_and_each_of_its_addresses_counts() {
    assert_eq!(accepts("localhost:3307"), ["[::1]:3307", "127.0.0.1:3307"]);
    for (value, why) in [
        ("nowhere.example:1", "`nowhere.example:1` has no address"),
        ("unknown.example:1", "`unknown.example:1`: `unknown.example` does not resolve: no such name"),
    ] {
        assert_eq!(only(&SERVER.replace("127.0.0.1:3307", value)).0, format!("error: {why}"));
    }
}

#[test]
fn connect_without_a_host_is_this_one() {
    assert_eq!(connects("3306"), "localhost:3306");
    assert_eq!(connects("db1:3306\nconnect = ::1:ssh\nconnect = /run/my.sock"), "db1:3306 [::1]:22 unix:/run/my.sock");
}

#[test]
fn malformed_addresses_are_refused() {
    for (value, why) in [
        ("", "there is no address"),
        (":3307", "`:3307`: there is no host before the colon"),
        ("a:", "`a:`: `` is no port"),
        ("70000", "`70000`: `70000` is no port"),
        ("-1", "`-1`: `-1` is no port"),
        ("[::1:3307", "`[::1:3307`: `[::1` is no IPv6 address"),
        ("[x]:1", "`[x]:1`: no IPv6 address stands in the brackets"),
        ("a b:1", "`a b:1`: `a b` is neither an IP address nor a host name"),
        ("1.2.3:1", "`1.2.3:1`: `1.2.3` is neither an IP address nor a host name"),
        (
            "no-such-service",
            "`no-such-service`: `no-such-service` is neither a port number nor a TCP service of /etc/services",
        ),
    ] {
        let text = SERVER.replace("accept = 127.0.0.1:3307", &format!("accept = {value}\naccept = 1"));
        assert_eq!(only(&text).0, format!("error: {why}"));
    }
    let text = format!("{SERVER}connect = db1:0\n");
    assert_eq!(only(&text).0, "error: `db1:0`: port 0 is no port to connect to");
    let long = format!("/{}", "x".repeat(107));
    assert!(only(&server_with(&format!("accept = {long}"))).0.ends_with("the path of a socket has at most 107"));
}

#[test]
fn the_address_that_connections_come_from_may_be_a_name() {
    assert_eq!(service(&server_with("local = 10.1.2.3")).source, Some("10.1.2.3".parse().unwrap()));
    assert_eq!(service(&server_with("local = localhost")).source, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(service(&server_with("local = here.example")).source, Some("10.0.0.1".parse().unwrap()));
    assert!(only(&server_with("local = unknown.example")).0.contains("does not resolve"));
}
