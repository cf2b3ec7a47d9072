//! `[service.NAME]`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::cross::ServicePlaces;
use super::super::defaults::CONNECT_TLS_TIMEOUT;
use super::super::duration;
use super::super::keys;
use super::super::model::{Protocol, Service};
use super::super::reader::{ANY_TIME, Read, SOME_TIME, Table};
use super::super::source::quote;
use super::super::words;
use super::accept::{accept, freebind, socket};
use super::networks::networks;
use super::node::zone;
use super::{proxy, target, tls};

/// Room for any machine, and far from where sums of counters end.
const MOST_CLIENTS: u32 = 10_000_000;

/// TCP_KEEPIDLE counts whole seconds, and Linux takes 1 to 32767 of them (tcp.h, MAX_TCP_KEEPIDLE).
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32767);

/// TCP_USER_TIMEOUT is a signed number of milliseconds (tcp(7)): 24 days.
const USER_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 86_400);

pub(super) fn read(name: &str, table: &Table<'_>) -> (Service, ServicePlaces) {
    let accept = accept(name, table);
    let (target, balance, target_places) = target::read(name, table);
    let source = target::source(table);
    let prefer_zone = zone(table, "prefer_zone");

    let mut service = Service::new(name, accept.iter().map(|(listen, _)| listen.clone()).collect(), target);
    service.balance = balance.unwrap_or(service.balance);
    service.prefer_zone = prefer_zone.as_ref().map(|(_, zone)| Arc::clone(zone));
    let protocol = table.choice("protocol", service.protocol, words::PROTOCOL);
    service.protocol = protocol.value;
    service.attempts = table.integer("attempts", service.attempts, 1..=1000);
    if table.has("connect_tls") {
        service.connect_timeout = CONNECT_TLS_TIMEOUT;
    }
    let connect = table.duration("connect_timeout", service.connect_timeout, SOME_TIME);
    let greeting = table.duration("greeting_timeout", service.greeting_timeout, SOME_TIME);
    let queue = table.duration("queue_timeout", service.queue_timeout, SOME_TIME);
    deadlines(table, protocol, connect, greeting, queue);
    service.connect_timeout = connect.value;
    service.greeting_timeout = greeting.value;
    service.queue_timeout = queue.value;
    service.max_connections = table.integer("max_connections", service.max_connections, 1..=MOST_CLIENTS);
    service.max_queue = table.integer("max_queue", service.max_queue, 0..=MOST_CLIENTS);
    let per_source = table.integer("max_connections_per_source", 0, 0..=MOST_CLIENTS);
    service.max_connections_per_source = (per_source != 0).then_some(per_source);
    service.allow = networks(table, "allow").value;
    service.deny = networks(table, "deny").value;
    service.proxy_protocol_from = proxy::proxy_protocol_from(table, &accept);
    service.send_proxy_protocol = table.choice("send_proxy_protocol", None, words::PROXY_OUT).value;
    service.tls = table.table("tls", &keys::TLS).and_then(|table| tls::accept(&table));
    service.connect_tls = table.table("connect_tls", &keys::CONNECT_TLS).map(|table| tls::connect(&table));
    tls_around_mysql(name, table, protocol);
    let speaks_first = service.proxy_protocol_from.is_some() || table.has("tls");
    service.first_byte_timeout = proxy::first_byte_timeout(table, service.first_byte_timeout, speaks_first);
    service.source = source.map(|(ip, _)| ip);
    service.freebind = freebind(table, &accept);
    service.socket = socket(table, &accept);
    service.idle_timeout = table.duration_or_off("idle_timeout", service.idle_timeout, ANY_TIME);
    service.keepalive = table.duration_or_off("keepalive", service.keepalive, KEEPALIVE);
    service.user_timeout = table.duration_or_off("user_timeout", service.user_timeout, USER_TIMEOUT);
    service.stall_timeout = table.duration_or_off("stall_timeout", service.stall_timeout, ANY_TIME);
    service.half_close_timeout = table.duration("half_close_timeout", service.half_close_timeout, SOME_TIME).value;

    let places = ServicePlaces {
        accept: accept.into_iter().map(|(_, span)| span).collect(),
        cluster: target_places.cluster,
        role: target_places.role,
        addresses: target_places.addresses,
        prefer_zone: prefer_zone.map(|(span, _)| span),
        source: source.map(|(_, span)| span),
        connect_tls: table.key_span("connect_tls"),
    };
    (service, places)
}

/// MySQL's own TLS begins within the protocol, after a greeting in clear: who expects that finds another protocol here.
fn tls_around_mysql(name: &str, table: &Table<'_>, protocol: Read<Protocol>) {
    if let Some(span) = table.key_span("tls").filter(|_| protocol.good && protocol.value == Protocol::Mysql) {
        let message = format!("no MySQL client can connect to service {} by itself", quote(name));
        let help = "`tls` is for tunnels, whose other end brings TLS from the first byte on; MySQL's own TLS (--ssl) begins \
                    later, and passes through a service without `tls`";
        table.doc.warning(span, message, Some(help.to_owned()));
    }
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
