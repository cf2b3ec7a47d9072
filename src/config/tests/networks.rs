//! Networks, and what hangs on them: who may come in, and whose word is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::config::ProxyVersion;
use crate::config::network::parse as network;

#[test]
fn a_network_is_a_cidr_or_an_address_alone() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:10.0.0.7", "10.0.0.7/32"),
        ("::/64", "::/64"),
    ] {
        assert_eq!(network(text).unwrap().to_string(), shown, "{text}");
    }
}

#[test]
fn a_network_that_is_none_says_what_was_meant() {
    let neither = "is neither a network nor an IP address";
    let names = "write \"10.0.0.0/8\", \"2001:db8::/32\" or a single address; names are not looked up";
    let bits = "the part after the slash is a number of bits, 0 to";
    for (text, message, help) in [
        ("", format!("`` {neither}"), Some(names.to_owned())),
        ("db1", format!("`db1` {neither}"), Some(names.to_owned())),
        ("10.0.0/8", format!("`10.0.0/8` {neither}"), Some(names.to_owned())),
        ("[::1]", format!("`[::1]` {neither}"), Some("write ::1 without the brackets".to_owned())),
        ("10.0.0.0/33", format!("`10.0.0.0/33`: {bits} 32"), None),
        ("10.0.0.0/", format!("`10.0.0.0/`: {bits} 32"), None),
        ("10.0.0.0/+8", format!("`10.0.0.0/+8`: {bits} 32"), None),
        ("::/129", format!("`::/129`: {bits} 128"), None),
        ("10.1.0.0/255.0.0.0", format!("`10.1.0.0/255.0.0.0`: {bits} 32"), Some("write \"10.0.0.0/8\"".to_owned())),
        ("10.0.0.0/255.0.255.0", format!("`10.0.0.0/255.0.255.0`: {bits} 32"), None),
        (
            "10.1.2.3/8",
            "`10.1.2.3/8` is an address within the network `10.0.0.0/8`, not the network".to_owned(),
            Some("write \"10.0.0.0/8\" for the network, \"10.1.2.3\" for this address alone".to_owned()),
        ),
        (
            "::ffff:10.1.2.3/104",
            "`::ffff:10.1.2.3/104` is an address within the network `10.0.0.0/8`, not the network".to_owned(),
            Some("write \"10.0.0.0/8\" for the network, \"10.1.2.3\" for this address alone".to_owned()),
        ),
        (
            "2001:db8::1/32",
            "`2001:db8::1/32` is an address within the network `2001:db8::/32`, not the network".to_owned(),
            Some("write \"2001:db8::/32\" for the network, \"2001:db8::1\" for this address alone".to_owned()),
        ),
    ] {
        let refused = network(text).unwrap_err();
        assert_eq!((refused.to_string(), refused.help().map(str::to_owned)), (message, help), "{text}");
    }
}

/// Addresses of all three forms.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let mapped = any::<Ipv4Addr>().prop_map(|ip| ip.to_ipv6_mapped().into());
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::from), any::<Ipv6Addr>().prop_map(IpAddr::from), mapped]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_network_holds_whom_it_held_as_it_was_written(ip in addresses(), length in 0_u8..=128, other in addresses()) {
        let length = if ip.is_ipv4() { length % 33 } else { length };
        let written = IpNet::new(ip, length).unwrap().trunc();
        let read = network(&written.to_string()).unwrap();
        prop_assert_eq!(network(&read.to_string()).unwrap(), read);
        for client in [ip, other, written.network(), written.broadcast()] {
            // Clients that come as IPv4 in IPv6 are IPv4 clients before anybody compares.
            let client = client.to_canonical();
            let in_v6 = match client {
                IpAddr::V4(v4) => length >= 96 && written.contains(&IpAddr::V6(v4.to_ipv6_mapped())),
                IpAddr::V6(_) => false,
            };
            prop_assert_eq!(read.contains(&client), written.contains(&client) || in_v6, "{} {}", written, client);
        }
    }
}

#[test]
fn lists_of_networks_say_who_may_come_in() {
    let one = service("allow = ['10.0.0.0/8', '::1']\ndeny = ['::ffff:10.0.0.7']");
    let shown = |list: &[IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (shown(&one.allow), shown(&one.deny)),
        (vec!["10.0.0.0/8".into(), "::1/128".into()], vec!["10.0.0.7/32".into()])
    );
    assert!(service("allow = []").allow.is_empty());
}

#[test]
fn each_mistake_of_a_list_has_its_place() {
    for key in ["allow", "deny"] {
        let said = marked(&with("", "", &format!("{key} = ['10.0.0.1/8', 'db1', 7, '10.0.0.0/8']")));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("'10.0.0.1/8': `10.0.0.1/8` is an address within the network `10.0.0.0/8`"));
        assert!(said[1].starts_with("'db1': `db1` is neither a network nor an IP address"));
        assert_eq!(said[2], "7: expected a network such as \"10.0.0.0/8\", found an integer");
        let said = marked(&with("", "", &format!("{key} = '10.0.0.0/8'")));
        let message = "expected a list of networks such as [\"10.0.0.0/8\"], found a string";
        assert_eq!(said, [format!("'10.0.0.0/8': {message} (write {key} = [\"10.0.0.0/8\"])")]);
    }
    let said = marked(&with("discover = 'dns'\ndiscover_allow = ['10.0.0.1/8']", "", ""));
    assert!(said[0].starts_with("'10.0.0.1/8': ") && said.len() == 1, "{said:?}");
}

#[test]
fn a_source_may_have_so_many_clients() {
    assert_eq!(service("max_connections_per_source = 7").max_connections_per_source, Some(7));
    assert_eq!(service("max_connections_per_source = 0").max_connections_per_source, None);
    let said = messages(&with("", "", "max_connections_per_source = -1"));
    assert_eq!(said, ["error: `max_connections_per_source` is a whole number from 0 to 10000000"]);
}

#[test]
fn a_header_is_required_of_those_who_may_send_one() {
    let from = service("proxy_protocol = 'require'\nproxy_protocol_from = ['10.0.0.5']").proxy_protocol_from.unwrap();
    assert_eq!(from, ["10.0.0.5/32".parse::<IpNet>().unwrap()]);
    assert_eq!(service("proxy_protocol = 'off'").proxy_protocol_from, None);
}

#[test]
fn a_header_that_anybody_could_send_is_refused() {
    let help = "write proxy_protocol_from = [\"10.0.0.5\"], the balancers in front of this one: anybody else could claim \
                to be any client";
    let said = marked(&with("", "", "proxy_protocol = 'require'"));
    assert_eq!(said, [format!("'require': proxy_protocol = \"require\" needs `proxy_protocol_from` ({help})")]);
    let said = marked(&with("", "", "proxy_protocol = 'require'\nproxy_protocol_from = []"));
    assert_eq!(said, [format!("[]: nobody may connect over TCP: the list is empty ({help})")]);
    // What is wrong with an entry says nothing of the list.
    assert_eq!(marked(&with("", "", "proxy_protocol = 'require'\nproxy_protocol_from = ['x']")).len(), 1);
}

#[test]
fn a_header_over_a_socket_that_only_some_may_open_needs_no_list() {
    for keys in ["proxy_protocol = 'require'", "proxy_protocol = 'require'\nproxy_protocol_from = []"] {
        let text = with("", "", keys).replace("\"127.0.0.1:3306\"", "['unix:/tmp/x.sock', 'fd:x']");
        assert_eq!(good(&text).services[0].proxy_protocol_from, Some(Vec::new()));
        assert_eq!(messages(&text.replace("'fd:x'", "'127.0.0.1:1'")).len(), 1);
    }
}

#[test]
fn a_list_of_senders_without_a_header_is_refused() {
    let message = "`proxy_protocol_from` is not looked at without proxy_protocol = \"require\"";
    let help = "no header is read then: write proxy_protocol = \"require\", or leave it out";
    for keys in ["", "proxy_protocol = 'off'\n"] {
        let said = marked(&with("", "", &format!("{keys}proxy_protocol_from = []")));
        assert_eq!(said, [format!("proxy_protocol_from: {message} ({help})")]);
    }
    let said = marked(&with("", "", "proxy_protocol = 'requires'\nproxy_protocol_from = []"));
    assert_eq!(said, ["'requires': `proxy_protocol` cannot be `requires` (did you mean \"require\"?)"]);
}

#[test]
fn nodes_and_their_checks_may_get_a_header() {
    for (text, version) in [("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))] {
        let key = format!("send_proxy_protocol = '{text}'");
        let config = good(&with("", &key, &key));
        assert_eq!(config.services[0].send_proxy_protocol, version);
        assert_eq!(config.clusters[0].monitor.send_proxy_protocol, version);
    }
    let said = marked(&with("", "", "send_proxy_protocol = 'v3'"));
    assert_eq!(said, ["'v3': `send_proxy_protocol` cannot be `v3` (did you mean \"v1\"?)"]);
}

#[test]
fn the_first_byte_is_waited_for_where_clients_speak_first() {
    let keys = "proxy_protocol = 'require'\nproxy_protocol_from = ['::1']\nfirst_byte_timeout = '2s'";
    assert_eq!(service(keys).first_byte_timeout, Duration::from_secs(2));
    let said = marked(&with("", "", "first_byte_timeout = '2s'"));
    let help = "without `tls` or proxy_protocol = \"require\" no client has to speak first";
    assert_eq!(said, [format!("'2s': `first_byte_timeout` has no effect here ({help})")]);
    good(&with("", "", "first_byte_timeout = '10s'"));
    let keys = "protocol = 'tcp'\ntls = { cert = '/dev/null' }\nfirst_byte_timeout = '2s'";
    assert_eq!(service(keys).first_byte_timeout, Duration::from_secs(2));
    let said = messages(&with("", "", "first_byte_timeout = '0s'"));
    assert_eq!(said, ["error: `first_byte_timeout` must be longer than zero"]);
}

#[test]
fn names_are_asked_of_the_servers_that_are_written() {
    let servers = |list: &str| good(&format!("{LEAST}[process]\nnameservers = {list}\n")).process.nameservers;
    let shown: Vec<String> =
        servers("['10.0.0.2:5353', '[::1]:53', '10.0.0.3', '::2']").iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.2:5353", "[::1]:53", "10.0.0.3:53", "[::2]:53"]);
    assert!(servers("[]").is_empty());
}

#[test]
fn a_name_server_that_is_none_says_what_to_write() {
    let said = |list: &str| marked(&format!("{LEAST}[process]\nnameservers = {list}\n"));
    let help = "write \"IP:PORT\", \"[IPV6]:PORT\" or an IP address for port 53; names are not looked up here";
    for text in ["", "dns1", "dns1:53", "10.0.0.2:0", "0.0.0.0", "10.0.0.2:domain"] {
        assert_eq!(said(&format!("['{text}']")), [format!("'{text}': `{text}` is no name server ({help})")]);
    }
    assert_eq!(said("['10.0.0.2', '10.0.0.2:53']"), ["'10.0.0.2:53': `10.0.0.2:53` is in this list already"]);
    let list = "expected a list of name servers such as [\"10.0.0.2:53\"], found a string";
    assert_eq!(said("'10.0.0.2'"), [format!("'10.0.0.2': {list}")]);
}
