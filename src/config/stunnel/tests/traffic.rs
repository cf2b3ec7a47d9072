//! Where bytes come from and go to, and how long that may take.

use std::time::Duration;

use super::*;
use crate::config::stunnel::{Buffers, VirtualHost};
use crate::config::{Balance, Protocol, ProxyVersion, Target};

#[test]
fn a_section_is_a_service_with_the_times_of_stunnel() {
    let service = service(SERVER);
    assert_eq!((&*service.name, service.protocol, service.balance), ("mysql", Protocol::Tcp, Balance::First));
    assert_eq!(service.connect_timeout, Duration::from_secs(10));
    assert_eq!(service.first_byte_timeout, Duration::from_secs(300));
    assert_eq!(service.half_close_timeout, Duration::from_secs(60));
    assert_eq!(service.idle_timeout, Some(Duration::from_secs(43_200)));
    assert!(matches!(&service.target, Target::Fixed(places) if places.len() == 1));
    let extras = extras(SERVER);
    assert!(extras.reset && extras.one_round && !extras.transparent);
}

#[test]
fn times_are_whole_seconds() {
    let service = service(&server_with("TIMEOUTbusy = 1\nTIMEOUTclose = 2\nTIMEOUTconnect = 3\nTIMEOUTidle = 4"));
    let times = [service.first_byte_timeout, service.half_close_timeout, service.connect_timeout];
    assert_eq!(times.map(|time| time.as_secs()), [1, 2, 3]);
    assert_eq!(service.idle_timeout, Some(Duration::from_secs(4)));
    for wrong in ["5s", "1.5", "", "31536001", "99999999999999999999", "+1"] {
        for option in ["TIMEOUTbusy", "TIMEOUTclose", "TIMEOUTconnect", "TIMEOUTidle"] {
            let (message, _) = only(&server_with(&format!("{option} = {wrong}")));
            assert_eq!(message, format!("error: `{wrong}` is no number of seconds"));
        }
    }
}

#[test]
fn no_time_at_all_is_refused_but_for_the_close_and_a_negative_one_never_idles_out() {
    for option in ["TIMEOUTbusy", "TIMEOUTconnect", "TIMEOUTidle"] {
        let (message, _) = only(&server_with(&format!("{option} = 0")));
        assert_eq!(message, format!("error: `{option} = 0` would end every connection at once"));
    }
    assert_eq!(service(&server_with("TIMEOUTclose = 0")).half_close_timeout, Duration::from_millis(1));
    assert_eq!(service(&server_with("TIMEOUTidle = -1")).idle_timeout, None);
    assert!(only(&server_with("TIMEOUTbusy = -1")).0.contains("is no number of seconds"));
}

#[test]
fn several_targets_are_tried_in_their_order_or_in_turn() {
    let two = server_with("connect = db2:3306");
    let first = service(&two);
    assert_eq!((first.balance, first.attempts, first.queue_timeout), (Balance::First, 2, Duration::from_secs(21)));
    assert_eq!(service(&format!("{two}failover = rr\n")).balance, Balance::RoundRobin);
    assert_eq!(service(&format!("{two}failover = prio\n")).balance, Balance::First);
    assert_eq!(service(&format!("{two}failover = rr\ndelay = yes\n")).balance, Balance::First);
    assert_eq!(service(&format!("{two}failover = rr\ndelay = no\n")).balance, Balance::RoundRobin);
    assert_eq!(only(&format!("{two}failover = x\n")).1, "write prio, rr");
}

#[test]
fn a_target_or_an_address_that_is_written_twice_counts_once() {
    let (message, _) = only(&server_with("connect = 127.0.0.1:3306"));
    assert_eq!(message, "warning: `127.0.0.1:3306` is a target of this section already");
    assert_eq!(only_service(&usable(&server_with("connect = 127.0.0.1:3306"))).attempts, 1);
    assert_eq!(service(&server_with("accept = 127.0.0.1:3307")).accept.len(), 1);
}

#[test]
fn a_proxy_header_goes_to_targets_in_clear_only() {
    assert_eq!(service(&server_with("protocol = proxy")).send_proxy_protocol, Some(ProxyVersion::V1));
    assert_eq!(service(&server_with("protocol = PROXY")).send_proxy_protocol, Some(ProxyVersion::V1));
    assert_eq!(only(&client_with("protocol = proxy")).0, "error: `protocol = proxy` is for sections that accept TLS");
}

#[test]
fn clients_with_a_bad_certificate_can_be_sent_elsewhere() {
    let lines = "verifyPeer = yes\nCAfile = /ca\nredirect = 8080\nredirect = other:80";
    let places: Vec<String> = extras(&server_with(lines)).redirect.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["localhost:8080", "other:80"]);
    assert_eq!(
        only(&server_with("redirect = 80")).0,
        "error: `redirect` is never used: no client's certificate is looked at"
    );
    assert_eq!(only(&client_with("redirect = 80")).0, "error: `redirect` is for sections that accept TLS");
}

#[test]
fn sections_behind_another_ones_address_are_chosen_by_name() {
    let hidden = "[b]\nsni = mysql:*.example.com\nsni = mysql:b.example\nconnect = db2:3306\ncert = /b.pem\n";
    let read = good(&format!("{SERVER}{hidden}"));
    assert_eq!(read.config.services.len(), 1);
    let names: Vec<&str> = read.launch.virtual_services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["b"]);
    assert!(read.launch.virtual_services[0].accept.is_empty());
    let host = |pattern: &str| VirtualHost { pattern: pattern.into(), service: "b".into() };
    assert_eq!(read.launch.services["mysql"].hosts, [host("*.example.com"), host("b.example")]);
    assert!(read.launch.services.contains_key("b"));
}

#[test]
fn what_such_a_section_says_has_to_lead_somewhere() {
    let hidden = |sni: &str| format!("{SERVER}[b]\nsni = {sni}\nconnect = db2:3306\ncert = /b.pem\n");
    for (sni, why) in [
        ("example.com", "`example.com` has no colon"),
        ("msql:example.com", "there is no section `msql`"),
        ("mysql:", "`` is no pattern of host names"),
        ("mysql:a b", "`a b` is no pattern of host names"),
        ("b:example.com", "section `b` does not accept TLS"),
    ] {
        assert_eq!(only(&hidden(sni)).0, format!("error: {why}"));
    }
    assert_eq!(only(&hidden("msql:x")).1, "did you mean mysql?");
    let both = format!("{}accept = 1\n", hidden("mysql:x"));
    assert_eq!(only(&both).0, "error: section `b` has both `accept` and `sni`");
}

#[test]
fn a_section_has_two_ends() {
    assert_eq!(
        said("[a]\nclient = yes\nconnect = 1\nverify = 4\nCAfile = /c\n"),
        ["1: error: Service [a]: Each service must define two endpoints: section `a` has no `accept`"]
    );
    assert_eq!(
        said("[a]\nclient = yes\naccept = 1\nverify = 4\nCAfile = /c\n"),
        ["1: error: Service [a]: Each service must define two endpoints: section `a` has no `connect`"]
    );
}

#[test]
fn socket_options_hold_where_there_is_something_they_can_hold_for() {
    let with = |line: &str| service(&server_with(line));
    for line in [
        "socket = l:TCP_NODELAY=1",
        "socket = r:TCP_NODELAY=yes",
        "socket = a:TCP_NODELAY=0",
        "socket = a:SO_REUSEADDR=yes",
        "socket = l:SO_KEEPALIVE=1",
    ] {
        good(&server_with(line));
    }
    assert!(with("socket = a:IP_FREEBIND=yes").freebind);
    assert_eq!(with("socket = l:TCP_KEEPIDLE=7").keepalive, Some(Duration::from_secs(7)));
    assert_eq!(with("socket = l:SO_KEEPALIVE=no\nsocket = r:SO_KEEPALIVE=no").keepalive, None);
    assert!(with("socket = l:SO_KEEPALIVE=no").keepalive.is_some(), "the other side has it still");
    let lines = "socket = l:SO_RCVBUF=1000\nsocket = a:SO_SNDBUF=2000\nsocket = r:SO_SNDBUF=3000";
    let extras = extras(&server_with(lines));
    assert_eq!(extras.accepted, Buffers { receive: Some(1000), send: Some(2000) });
    assert_eq!(extras.connected, Buffers { receive: None, send: Some(3000) });
}

#[test]
fn socket_options_without_effect_are_named() {
    for option in [
        "l:TCP_NODELAY=0",
        "a:SO_REUSEADDR=no",
        "l:SO_LINGER=1:60",
        "r:SO_OOBINLINE=yes",
        "l:SO_DEBUG=1",
        "l:SO_DONTROUTE=1",
        "l:SO_RCVLOWAT=1",
        "l:SO_SNDLOWAT=1",
        "l:SO_RCVTIMEO=1:0",
        "l:SO_SNDTIMEO=1",
        "l:TCP_KEEPCNT=1",
        "r:TCP_KEEPINTVL=1",
        "a:IP_TOS=1",
        "l:IP_TTL=1",
        "l:TCP_MAXSEG=1",
        "r:IP_FREEBIND=1",
    ] {
        let (message, _) = only(&server_with(&format!("socket = {option}")));
        assert!(message.starts_with(&format!("warning: `socket = {option}` has no effect here: ")), "{message}");
    }
}

#[test]
fn malformed_socket_options_are_refused() {
    for (option, why) in [
        ("TCP_NODELAY=1", "`TCP_NODELAY=1` is no socket option"),
        ("x:TCP_NODELAY=1", "`x:TCP_NODELAY=1` is no socket option"),
        ("l:TCP_NODELAY", "`l:TCP_NODELAY` is no socket option"),
        ("l:tcp_nodelay=1", "`l:tcp_nodelay=1` names no socket option that stunnel knows"),
        ("l:TCP_NODELAY=maybe", "`l:TCP_NODELAY=maybe`: behind the `=` stands yes, no, 1 or 0"),
        ("l:TCP_KEEPIDLE=0", "`l:TCP_KEEPIDLE=0`: behind the `=` stands a number of seconds, 1 to 32767"),
        ("l:SO_RCVBUF=x", "`l:SO_RCVBUF=x`: behind the `=` stands a whole number"),
        ("l:SO_RCVBUF=4294967295", "`l:SO_RCVBUF=4294967295`: behind the `=` stands a whole number"),
    ] {
        assert_eq!(only(&server_with(&format!("socket = {option}"))).0, format!("error: {why}"));
    }
}

#[test]
fn the_rest_of_what_a_service_does_is_told_apart_from_the_configuration() {
    assert!(!extras(&server_with("reset = no")).reset);
    assert!(extras(&server_with("transparent = source")).transparent);
    assert!(extras(&server_with("transparent = yes")).transparent);
    assert_eq!(only(&server_with("transparent = x")).0, "error: `x` cannot stand here");
}
