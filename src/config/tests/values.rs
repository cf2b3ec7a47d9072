//! What single values may be.

use std::time::Duration;

use super::*;
use crate::config::duration::{format, parse as parse_duration};
use crate::config::{Balance, DonorRule, HostPort, LogFormat, LogLevel, Protocol, SessionRule};

/// The one error of [`LEAST`] with this line in its service, and its help.
fn refused(line: &str) -> (String, Option<String>) {
    let diagnostics = super::parse(&with("", "", line)).unwrap_err();
    assert_eq!(diagnostics.len(), 1, "{diagnostics}");
    let only = diagnostics.iter().next().unwrap();
    (only.message().to_owned(), only.help().map(str::to_owned))
}

#[test]
fn a_duration_is_a_whole_number_and_a_unit() {
    for (text, millis) in [
        ("1ms", 1),
        ("500ms", 500),
        ("30s", 30_000),
        ("10m", 600_000),
        ("1h", 3_600_000),
        ("2d", 172_800_000),
        ("0s", 0),
    ] {
        assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        assert_eq!(format(parse_duration(text).unwrap()), text);
    }
    assert_eq!(format(Duration::from_millis(90_000)), "90s");
}

#[test]
fn a_duration_that_is_none_says_what_was_meant() {
    for (text, message, help) in [
        ("", "the duration is empty", "write a number and a unit: \"500ms\", \"30s\", \"1h\""),
        ("30", "`30` has no unit", "write \"30s\" for seconds, \"30ms\" for milliseconds"),
        ("0", "`0` has no unit", "write \"0s\""),
        ("soon", "`soon` is not a duration", "write a number and a unit: \"500ms\", \"30s\", \"1h\""),
        ("5sec", "`5sec`: `sec` is not a unit", "did you mean \"5s\"?"),
        ("5S", "`5S`: `S` is not a unit", "did you mean \"5s\"?"),
        ("5 s", "`5 s`: ` s` is not a unit", "did you mean \"5s\"?"),
        ("5 minutes", "`5 minutes`: ` minutes` is not a unit", "did you mean \"5m\"?"),
        ("1m30s", "`1m30s`: `m30s` is not a unit", "the units are ms, s, m, h and d; one number, one unit"),
        ("5us", "`5us`: `us` is not a unit", "the units are ms, s, m, h and d; one number, one unit"),
        ("1.5s", "`1.5s`: a duration is a whole number of its unit", "write \"1500ms\""),
        ("0.5ms", "`0.5ms`: a duration is a whole number of its unit", "take the next smaller unit"),
    ] {
        let malformed = parse_duration(text).unwrap_err();
        assert_eq!((malformed.to_string().as_str(), malformed.help()), (message, Some(help)), "{text}");
    }
}

#[test]
fn a_duration_never_overflows() {
    for text in ["366d", "8761h", "18446744073709551615ms", "18446744073709551616s", "99999999999999999999999999d"] {
        let message = parse_duration(text).unwrap_err().to_string();
        assert_eq!(message, format!("`{text}`: a duration is at most 365d"));
    }
    assert_eq!(parse_duration("-5s").unwrap_err().to_string(), "`-5s`: a duration is not negative");
}

#[test]
fn a_bare_number_is_no_duration() {
    let (message, help) = refused("queue_timeout = 10");
    assert_eq!(message, "expected a duration string such as \"500ms\", found an integer");
    assert_eq!(help.unwrap(), "write \"10s\" for seconds, \"10ms\" for milliseconds");
}

#[test]
fn time_that_has_to_pass_is_not_zero() {
    for key in ["connect_timeout", "greeting_timeout", "queue_timeout", "half_close_timeout"] {
        let (message, _) = refused(&format!("{key} = '0s'"));
        assert_eq!(message, format!("`{key}` must be longer than zero"));
    }
    for key in ["interval", "fast_interval", "timeout", "down_after"] {
        let said = messages(&with("", &format!("{key} = '0s'"), ""));
        assert_eq!(said, [format!("error: `{key}` must be longer than zero")]);
    }
}

#[test]
fn zero_turns_the_four_session_timers_off() {
    let service = service("idle_timeout = '0s'\nkeepalive = '0ms'\nuser_timeout = '0s'\nstall_timeout = '0h'");
    let timers = [service.idle_timeout, service.keepalive, service.user_timeout, service.stall_timeout];
    assert_eq!(timers, [None; 4]);
    let (message, _) = refused("keepalive = '0'");
    assert_eq!(message, "`0` has no unit");
}

#[test]
fn timers_stay_within_what_the_kernel_takes() {
    assert_eq!(refused("keepalive = '500ms'").0, "`keepalive` is at least 1s");
    assert_eq!(refused("keepalive = '10h'").0, "`keepalive` is at most 32767s");
    assert_eq!(refused("user_timeout = '25d'").0, "`user_timeout` is at most 24d");
}

#[test]
fn a_drain_may_end_everything_at_once() {
    let config =
        good(&format!("{LEAST}[cluster.main.sessions]\ndrain_timeout = '0s'\n[process]\nshutdown_timeout = '0s'"));
    assert_eq!(config.clusters[0].sessions.drain_timeout, Duration::ZERO);
    assert_eq!(config.process.shutdown_timeout, Duration::ZERO);
}

#[test]
fn numbers_have_a_range() {
    for (line, message) in [
        ("attempts = 0", "`attempts` is a whole number from 1 to 1000"),
        ("attempts = -1", "`attempts` is a whole number from 1 to 1000"),
        ("max_connections = 0", "`max_connections` is a whole number from 1 to 10000000"),
        (
            "max_connections = 99999999999999999999999999999999999999999999",
            "`max_connections` is a whole number from 1 to 10000000",
        ),
        ("max_queue = 1.0", "expected a whole number from 0 to 10000000, found a float"),
        ("max_queue = '5'", "expected a whole number from 0 to 10000000, found a string"),
        ("max_queue = true", "expected a whole number from 0 to 10000000, found a boolean"),
        ("max_queue = 1979-05-27", "expected a whole number from 0 to 10000000, found a date or time"),
        ("max_queue = [1]", "expected a whole number from 0 to 10000000, found an array"),
        ("max_queue = {}", "expected a whole number from 0 to 10000000, found a table"),
    ] {
        assert_eq!(refused(line).0, message, "{line}");
    }
}

#[test]
fn numbers_may_be_written_in_all_the_ways_of_toml() {
    let service = service("attempts = 0x10\nmax_connections = 20_000\nmax_queue = +0");
    assert_eq!((service.attempts, service.max_connections, service.max_queue), (16, 20_000, 0));
}

#[test]
fn a_weight_is_at_most_256() {
    let node = |weight: &str| LEAST.replace("\"db1\"", &format!("{{ address = 'db1', weight = {weight} }}"));
    assert_eq!(good(&node("256")).clusters[0].nodes[0].weight, 256);
    assert_eq!(messages(&node("257")), ["error: `weight` is a whole number from 0 to 256"]);
    assert_eq!(messages(&node("-1")), ["error: `weight` is a whole number from 0 to 256"]);
}

#[test]
fn words_are_what_they_say() {
    let service = service("role = 'any'\nbalance = 'round-robin'\nprotocol = 'tcp'");
    assert_eq!((service.balance, service.protocol), (Balance::RoundRobin, Protocol::Tcp));
    let config = good(&format!(
        "{LEAST}[cluster.main.eligibility]\ndonor = 'always'\nconnection_margin = 0\n[cluster.main.sessions]\n\
         on_down = 'keep'\non_donor = 'kill'\n[process]\nlog_level = 'debug'\nlog_format = 'json'\naccess_log = false\n\
         workers = 3"
    ));
    let cluster = &config.clusters[0];
    assert_eq!((cluster.eligibility.donor, cluster.eligibility.connection_margin), (DonorRule::Always, 0));
    assert_eq!((cluster.sessions.on_down, cluster.sessions.on_donor), (SessionRule::Keep, SessionRule::Kill));
    let process = &config.process;
    assert_eq!((process.log_level, process.log_format), (LogLevel::Debug, LogFormat::Json));
    assert_eq!((process.workers, process.access_log), (Some(3), false));
}

#[test]
fn a_mistyped_word_names_the_nearest() {
    let (message, help) = refused("balance = 'leastconn'");
    assert_eq!(
        (message.as_str(), help.as_deref()),
        ("`balance` cannot be `leastconn`", Some("did you mean \"least-connections\"?"))
    );
    let (_, help) = refused("balance = 'xyzzy'");
    assert_eq!(
        help.as_deref(),
        Some("one of \"round-robin\", \"least-connections\", \"random\", \"source\", \"first\"")
    );
}

#[test]
fn a_node_is_a_host_and_perhaps_a_port() {
    for (text, host, port) in [
        ("db1", "db1", 3306),
        ("db1.example.com:3307", "db1.example.com", 3307),
        ("10.0.0.1", "10.0.0.1", 3306),
        ("[::1]", "::1", 3306),
        ("[2001:db8::1]:3310", "2001:db8::1", 3310),
    ] {
        assert_eq!(text.parse::<HostPort>().unwrap(), HostPort { host: host.to_owned(), port }, "{text}");
    }
}

#[test]
fn a_malformed_node_says_what_is_wrong() {
    for (text, message) in [
        ("", "the address is empty"),
        (":3306", "`:3306`: the host is missing"),
        ("db1:", "`db1:`: the port after the colon is missing"),
        ("db1:0", "`db1:0`: port 0 is no port to connect to"),
        ("db1:65536", "`db1:65536`: a port is at most 65535"),
        ("db1:x!", "`db1:x!`: `x!` is not a port number"),
        ("db1:+1", "`db1:+1`: `+1` is not a port number"),
        ("::1", "`::1`: an IPv6 address stands in brackets"),
        ("[::1", "`[::1`: the bracket is not closed"),
        ("[db1]:1", "`[db1]:1`: no IPv6 address stands in the brackets"),
        ("[::1]3306", "`[::1]3306`: text after the bracket"),
        ("db1, db2", "`db1, db2`: `,` cannot stand in a host name"),
        ("db1 ", "`db1 `: a blank cannot stand in a host name"),
        ("mysql://db1", "`mysql://db1` is a URL, not an address"),
        ("10.0.0.256", "`10.0.0.256` is neither an IPv4 address nor a host name"),
        ("db..1x", "`db..1x` is not a host name"),
    ] {
        assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn a_node_is_named_after_its_host_unless_its_port_is_unusual() {
    let text = LEAST.replace("\"db1\"", "'db1', '[::1]:3306', '[::1]:3307', { address = 'db3:3310', name = 'third' }");
    let config = good(&text);
    let names: Vec<&str> = config.clusters[0].nodes.iter().map(|node| node.name.as_ref()).collect();
    assert_eq!(names, ["db1", "::1", "[::1]:3307", "third", "db2:3307"]);
}

#[test]
fn names_that_would_have_to_be_escaped_are_refused() {
    for name in ["''", "'a b'", "'a/b'", "'ä'", "\"a\\u0000\""] {
        let said = messages(&LEAST.replace("\"db1\"", &format!("{{ address = 'db1', name = {name} }}")));
        assert!(matches!(said.as_slice(), [one] if one.ends_with("cannot be a name")), "{name} {said:?}");
    }
    let said = messages(&LEAST.replace("[service.any]", "[service.'a b']"));
    assert_eq!(said, ["error: `a b` cannot be a name"]);
}

#[test]
fn accept_takes_addresses_and_localhost() {
    let text = LEAST.replace("\"127.0.0.1:3306\"", "['10.0.0.1:1', '[::]:2', 'localhost:3', '0.0.0.0:0']");
    let accept: Vec<String> = good(&text).services[0].accept.iter().map(ToString::to_string).collect();
    assert_eq!(accept, ["10.0.0.1:1", "[::]:2", "127.0.0.1:3", "0.0.0.0:0"]);
}

#[test]
fn a_malformed_accept_says_what_to_write() {
    for (accept, message, help) in [
        (
            "3306",
            "`3306` is a port without an address",
            "write \"0.0.0.0:3306\" for all of IPv4, \"127.0.0.1:3306\" for this machine only",
        ),
        (
            ":3306",
            "`:3306` names no address to listen on",
            "write \"0.0.0.0:3306\" for all of IPv4, \"[::]:3306\" for all of IPv6",
        ),
        (
            "*:3306",
            "`*:3306` names no address to listen on",
            "write \"0.0.0.0:3306\" for all of IPv4, \"[::]:3306\" for all of IPv6",
        ),
        ("127.0.0.1", "`127.0.0.1` has no port", "write \"127.0.0.1:3306\""),
        ("::1:3306", "`::1:3306`: an IPv6 address stands in brackets", "write \"[::1]:3306\""),
        (
            "proxy1:3306",
            "`proxy1:3306`: a name cannot be listened on, only an IP address or localhost",
            "write one of this machine's addresses, such as \"0.0.0.0:3306\" for all of IPv4",
        ),
        (
            "localhots:3306",
            "`localhots:3306`: a name cannot be listened on, only an IP address or localhost",
            "did you mean \"localhost:3306\"?",
        ),
    ] {
        let diagnostics = super::parse(&LEAST.replace("127.0.0.1:3306", accept)).unwrap_err();
        let only = diagnostics.iter().next().unwrap();
        assert_eq!((only.message(), only.help()), (message, Some(help)));
    }
}

#[test]
fn the_admin_address_may_be_none() {
    assert_eq!(good(&format!("{LEAST}[admin]\nlisten = ''\n")).admin.listen, None);
    let said = messages(&format!("{LEAST}[admin]\nlisten = false\n"));
    assert_eq!(said, ["error: expected an address, \"IP:PORT\", or \"\" for none, found a boolean"]);
}

#[test]
fn the_monitor_may_look_at_a_port_of_its_own() {
    assert_eq!(good(&with("", "port = 3399", "")).clusters[0].monitor.port, Some(3399));
    assert_eq!(messages(&with("", "port = 70000", "")), ["error: `port` is a whole number from 0 to 65535"]);
}

#[test]
fn sections_keep_the_order_of_the_file() {
    let config = good(
        "[service.z]\naccept = '127.0.0.1:1'\ncluster = 'y'\n[cluster.y]\nnodes = ['a']\nmonitor.user = 'm'\n\
         [cluster.b]\nnodes = ['a']\nmonitor.user = 'm'\n[service.a]\naccept = '127.0.0.1:2'\ncluster = 'b'\n",
    );
    let clusters: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_ref()).collect();
    let services: Vec<&str> = config.services.iter().map(|service| service.name.as_ref()).collect();
    assert_eq!((clusters, services), (vec!["y", "b"], vec!["z", "a"]));
}
