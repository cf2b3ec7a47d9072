//! `[service.NAME]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::address::parse_listen;
use super::super::cross::ServicePlaces;
use super::super::diagnostic::Span;
use super::super::duration;
use super::super::model::{Protocol, ReaderRule, Role, Service};
use super::super::reader::{ANY_TIME, Read, SOME_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;

/// Room for any machine, and far from where sums of counters end.
const MOST_CLIENTS: u32 = 10_000_000;

/// TCP_KEEPIDLE counts whole seconds, and Linux takes 1 to 32767 of them (tcp.h, MAX_TCP_KEEPIDLE).
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32767);

/// TCP_USER_TIMEOUT is a signed number of milliseconds (tcp(7)): 24 days.
const USER_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 86_400);

pub(super) fn read(name: &str, table: &Table<'_>) -> (Service, ServicePlaces) {
    let doc = table.doc;
    let accept = accept(name, table);
    let cluster = table.get("cluster").and_then(|value| Some((value.span, value.string("the name of a cluster")?)));
    // `connect` is the other way to say where to: it is refused for itself, once.
    if !table.has("cluster") && !table.has("connect") {
        let help = "write cluster = \"NAME\", of a section [cluster.NAME]";
        doc.missing(Some(table.span), format!("service {} has no `cluster`", quote(name)), help);
    }

    let mut service = Service::new(name, accept.iter().map(|(address, _)| *address).collect(), "");
    if let Some((_, cluster)) = cluster {
        service.cluster = Arc::from(cluster);
    }
    let role = table.choice("role", service.role, words::ROLE);
    service.role = role.value;
    service.reader_includes_writer = reader_includes_writer(table, role);
    service.balance = table.choice("balance", service.balance, words::BALANCE).value;
    let protocol = table.choice("protocol", service.protocol, words::PROTOCOL);
    service.protocol = protocol.value;
    service.attempts = table.integer("attempts", service.attempts, 1..=1000);
    let connect = table.duration("connect_timeout", service.connect_timeout, SOME_TIME);
    let greeting = table.duration("greeting_timeout", service.greeting_timeout, SOME_TIME);
    let queue = table.duration("queue_timeout", service.queue_timeout, SOME_TIME);
    deadlines(table, protocol, connect, greeting, queue);
    service.connect_timeout = connect.value;
    service.greeting_timeout = greeting.value;
    service.queue_timeout = queue.value;
    service.max_connections = table.integer("max_connections", service.max_connections, 1..=MOST_CLIENTS);
    service.max_queue = table.integer("max_queue", service.max_queue, 0..=MOST_CLIENTS);
    service.idle_timeout = table.duration_or_off("idle_timeout", service.idle_timeout, ANY_TIME);
    service.keepalive = table.duration_or_off("keepalive", service.keepalive, KEEPALIVE);
    service.user_timeout = table.duration_or_off("user_timeout", service.user_timeout, USER_TIMEOUT);
    service.stall_timeout = table.duration_or_off("stall_timeout", service.stall_timeout, ANY_TIME);
    service.half_close_timeout = table.duration("half_close_timeout", service.half_close_timeout, SOME_TIME).value;

    let places = ServicePlaces {
        accept: accept.into_iter().map(|(_, span)| span).collect(),
        cluster: cluster.map(|(span, _)| span),
    };
    (service, places)
}

/// Whether the writer serves readers. Elsewhere only the default may be written down: it changes nothing.
fn reader_includes_writer(table: &Table<'_>, role: Read<Role>) -> ReaderRule {
    let default = ReaderRule::LastResort;
    let rule = table.choice("reader_includes_writer", default, words::READER);
    if let Some(span) = rule.span
        && (rule.good && rule.value != default)
        && (role.good && role.value != Role::Reader)
    {
        let message = format!("`reader_includes_writer` is not looked at with role = \"{}\"", role.value.as_str());
        table.doc.error(span, message, Some("it is about services with role = \"reader\"".to_owned()));
    }
    rule.value
}

/// What the three deadlines say about each other.
fn deadlines(
    table: &Table<'_>,
    protocol: Read<Protocol>,
    connect: Read<Duration>,
    greeting: Read<Duration>,
    queue: Read<Duration>,
) {
    if let Some(span) = greeting.span
        && protocol.good
        && protocol.value == Protocol::Tcp
    {
        let help = "protocol = \"tcp\" does not wait for a greeting".to_owned();
        table.doc.warning(span, "`greeting_timeout` has no effect here", Some(help));
    }
    let waits_for_greeting = protocol.good && protocol.value == Protocol::Mysql;
    for (key, one, counts) in [("connect_timeout", connect, true), ("greeting_timeout", greeting, waits_for_greeting)] {
        if let Some(span) = one.span.or(queue.span)
            && counts
            && one.good
            && queue.good
            && one.value >= queue.value
        {
            let times = format!("{} >= {}", duration::format(one.value), duration::format(queue.value));
            let help = "one hung node uses up the client's whole time, and no other is tried".to_owned();
            table.doc.warning(span, format!("`{key}` leaves nothing of `queue_timeout`: {times}"), Some(help));
        }
    }
}

/// The addresses to listen on, each with its place.
fn accept(name: &str, table: &Table<'_>) -> Vec<(SocketAddr, Span)> {
    let expected = "an address or a list of addresses, \"IP:PORT\"";
    let Some(value) = table.get("accept") else {
        let help = "write accept = \"IP:PORT\"; \"0.0.0.0:3306\" is all of IPv4";
        table.doc.missing(Some(table.span), format!("service {} has no `accept`", quote(name)), help);
        return Vec::new();
    };
    let Some(array) = value.array() else {
        return listen(value, expected).into_iter().collect();
    };
    if array.is_empty() {
        let help = "write accept = \"IP:PORT\"; \"0.0.0.0:3306\" is all of IPv4".to_owned();
        table.doc.error(value.span, format!("service {} accepts on no address", quote(name)), Some(help));
    }
    value.items(array).filter_map(|item| listen(item, "an address, \"IP:PORT\"")).collect()
}

/// One address to listen on.
pub(super) fn listen(value: Value<'_>, expected: &str) -> Option<(SocketAddr, Span)> {
    let text = value.string(expected)?;
    for later in ["unix:", "fd:"] {
        if text.starts_with(later) {
            value.doc.not_supported(value.span, later);
            return None;
        }
    }
    match parse_listen(text) {
        Ok(address) => Some((address, value.span)),
        Err(malformed) => {
            value.doc.malformed(value.span, malformed);
            None
        }
    }
}
