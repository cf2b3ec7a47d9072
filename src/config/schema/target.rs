//! Where a service sends its clients: a cluster, or fixed addresses.

use std::net::IpAddr;

use super::super::diagnostic::Span;
use super::super::model::{Balance, Place, ReaderRule, Role, Target};
use super::super::place::parse_target;
use super::super::reader::{Read, Table, Value};
use super::super::source::quote;
use super::super::words;

/// Keys that are about a cluster's nodes.
const OF_CLUSTERS: [&str; 4] = ["role", "reader_includes_writer", "balance", "prefer_zone"];

/// Where the parts are written.
#[derive(Default)]
pub(super) struct TargetPlaces {
    pub(super) cluster: Option<Span>,
    pub(super) role: Option<Span>,
    /// One for each fixed address.
    pub(super) addresses: Vec<Span>,
}

/// The target, and the balance that comes with it if it is written.
pub(super) fn read(name: &str, table: &Table<'_>) -> (Target, Option<Balance>, TargetPlaces) {
    let cluster = table.get("cluster").and_then(|value| Some((value.span, value.string("the name of a cluster")?)));
    let role = table.choice("role", Role::Any, words::ROLE);
    let includes_writer = reader_includes_writer(table, role);
    let balance = table.choice("balance", Balance::LeastConnections, words::BALANCE);
    let failover = table.choice("failover", Balance::First, words::FAILOVER);
    let addresses = table.get("connect").map(|value| addresses(name, &value));
    between(name, table);

    // With both written one is an error already, and the cluster is not to seem unused as well.
    match addresses {
        Some(addresses) if !table.has("cluster") => {
            let (list, places) = addresses.into_iter().unzip();
            let places = TargetPlaces { addresses: places, ..TargetPlaces::default() };
            (Target::Fixed(list), failover.span.map(|_| failover.value), places)
        }
        _ => {
            let (span, cluster) = cluster.unzip();
            let cluster = cluster.unwrap_or_default().into();
            let places =
                TargetPlaces { cluster: span, role: role.span.filter(|_| role.good), ..TargetPlaces::default() };
            (
                Target::Cluster { cluster, role: role.value, includes_writer },
                balance.span.map(|_| balance.value),
                places,
            )
        }
    }
}

/// What the two ways to say where to say about each other.
fn between(name: &str, table: &Table<'_>) {
    let doc = table.doc;
    match (table.key_span("cluster"), table.key_span("connect")) {
        (Some(cluster), Some(connect)) => {
            let (later, first, other) =
                if cluster < connect { (connect, "connect", "cluster") } else { (cluster, "cluster", "connect") };
            let help = "clients are sent to the nodes of a cluster or to fixed addresses: keep one".to_owned();
            doc.error(later, format!("`{first}` contradicts `{other}`"), Some(help));
        }
        (None, None) => {
            let help = "write cluster = \"NAME\", of a section [cluster.NAME], or connect = \"HOST:PORT\"";
            doc.missing(Some(table.span), format!("service {} has neither `cluster` nor `connect`", quote(name)), help);
        }
        _ => {}
    }
    if table.has("connect") && !table.has("cluster") {
        for key in OF_CLUSTERS {
            if let Some(span) = table.key_span(key) {
                let help = match key {
                    "balance" => "write failover = \"first\" or \"round-robin\" in its place",
                    _ => "it is about the nodes of a cluster; leave it out",
                };
                doc.error(span, format!("`{key}` is not used with `connect`"), Some(help.to_owned()));
            }
        }
    }
    if let Some(span) = table.key_span("failover").filter(|_| !table.has("connect")) {
        let help = "with a cluster it is `balance` that says who is next".to_owned();
        doc.error(span, "`failover` without `connect`", Some(help));
    }
}

/// Whether the writer serves readers. Elsewhere only the default may be written down: it changes nothing.
fn reader_includes_writer(table: &Table<'_>, role: Read<Role>) -> ReaderRule {
    let default = ReaderRule::LastResort;
    let rule = table.choice("reader_includes_writer", default, words::READER);
    if let Some(span) = rule.span
        && (rule.good && rule.value != default)
        && (role.good && role.value != Role::Reader)
        && !table.has("connect")
    {
        let message = format!("`reader_includes_writer` is not looked at with role = \"{}\"", role.value.as_str());
        table.doc.error(span, message, Some("it is about services with role = \"reader\"".to_owned()));
    }
    rule.value
}

/// The fixed addresses, each with its place.
fn addresses(name: &str, value: &Value<'_>) -> Vec<(Place, Span)> {
    let Some(array) = value.array() else {
        let expected = "an address or a list of addresses, \"HOST:PORT\" or \"unix:/path\"";
        return address(value, expected).into_iter().collect();
    };
    if array.is_empty() {
        let help = "write connect = \"HOST:PORT\"".to_owned();
        value.doc.error(value.span, format!("service {} connects to no address", quote(name)), Some(help));
    }
    let mut found: Vec<(Place, Span)> = Vec::new();
    for item in value.items(array) {
        let Some((place, span)) = address(&item, "an address, \"HOST:PORT\" or \"unix:/path\"") else { continue };
        if let Some((_, other)) = found.iter().find(|(other, _)| other.is_same(&place)) {
            let help = format!("see {}: counted twice, it would get twice its share", value.doc.place(*other));
            let message = format!("{} is in this list already", quote(&place.to_string()));
            value.doc.error(span, message, Some(help));
        }
        found.push((place, span));
    }
    found
}

fn address(value: &Value<'_>, expected: &str) -> Option<(Place, Span)> {
    match parse_target(value.string(expected)?, value.doc.directory()) {
        Ok(place) => Some((place, value.span)),
        Err(malformed) => {
            value.doc.malformed(value.span, malformed);
            None
        }
    }
}

/// The local address to connect from; `None` for the system's choice.
pub(super) fn source(table: &Table<'_>) -> Option<(IpAddr, Span)> {
    let value = table.get("source")?;
    let text = value.string("one of this machine's IP addresses, or \"\" for the system's choice")?;
    if text.is_empty() {
        return None;
    }
    let help = match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => return Some((ip.to_canonical(), value.span)),
        Ok(_) => "write \"\" for the system's choice",
        Err(_) => "write one of this machine's IP addresses, without a port",
    };
    value.doc.error(value.span, format!("`source` cannot be {}", quote(text)), Some(help.to_owned()));
    None
}
