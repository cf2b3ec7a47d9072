//! `[cluster.NAME]`, its nodes, `.eligibility` and `.sessions`.

use std::sync::Arc;

use toml::de::DeValue;

use super::super::address::same_place;
use super::super::cross::ClusterPlaces;
use super::super::defaults::{PRIORITY, WEIGHT};
use super::super::diagnostic::Span;
use super::super::keys;
use super::super::model::{Cluster, Eligibility, HostPort, NodeSpec, Sessions, SplitBrain};
use super::super::reader::{ANY_TIME, Table, Value, check_name};
use super::super::source::quote;
use super::super::words;
use super::{monitor, writer};

pub(super) fn read(name: &str, table: &Table<'_>) -> (Cluster, ClusterPlaces) {
    let nodes = nodes(name, table);
    let monitor = monitor::read(name, table);
    let (writer, writer_place) = writer::read(name, table, &monitor.user);
    let places = ClusterPlaces {
        header: table.span,
        nodes: nodes.iter().map(|node| node.place).collect(),
        writer: writer_place,
    };
    let cluster = Cluster {
        name: name.into(),
        nodes: nodes.into_iter().map(|node| node.spec).collect(),
        monitor,
        eligibility: table
            .table("eligibility", &keys::ELIGIBILITY)
            .map_or_else(Eligibility::default, |table| eligibility(&table)),
        writer,
        sessions: table.table("sessions", &keys::SESSIONS).map_or_else(Sessions::default, |table| sessions(&table)),
        split_brain: table.choice("split_brain", SplitBrain::Fence, words::SPLIT_BRAIN).value,
        state_uuid: table.get("state_uuid").and_then(|value| state_uuid(&value)),
    };
    (cluster, places)
}

/// A history's UUID as the servers print it; `None` where there is none, or none that can be used.
fn state_uuid(value: &Value<'_>) -> Option<Arc<str>> {
    let text = value.string("a UUID, or \"\" to learn it")?;
    if text.is_empty() {
        return None;
    }
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) || !groups.iter().all(hex) {
        let help = "it is the wsrep_cluster_state_uuid of a node whose data is right: 8-4-4-4-12 hexadecimal digits";
        value.doc.error(value.span, format!("{} is not a UUID", quote(text)), Some(help.to_owned()));
        return None;
    }
    if text.bytes().all(|byte| matches!(byte, b'0' | b'-')) {
        let help = "take it from a node whose data is right, or write \"\" to learn it".to_owned();
        value.doc.error(value.span, "a UUID of zeros is what a node without a history shows", Some(help));
        return None;
    }
    Some(text.to_ascii_lowercase().into())
}

/// A node and where it was written.
struct Node {
    spec: NodeSpec,
    place: Span,
    name_place: Span,
}

fn nodes(cluster: &str, table: &Table<'_>) -> Vec<Node> {
    let doc = table.doc;
    let write = || "write nodes = [\"HOST:PORT\", …]".to_owned();
    let Some(value) = table.get("nodes") else {
        doc.missing(Some(table.span), format!("cluster {} has no `nodes`", quote(cluster)), write());
        return Vec::new();
    };
    let Some(array) = value.array() else {
        // The one string in brackets, where it is an address and nothing else.
        let one = value.inner.as_str().filter(|text| text.parse::<HostPort>().is_ok());
        let help = one.map_or_else(write, |text| format!("write nodes = [\"{text}\"]"));
        value.wrong_type("a list of nodes", Some(help));
        return Vec::new();
    };
    if array.is_empty() {
        doc.error(value.span, format!("cluster {} needs at least one node", quote(cluster)), Some(write()));
    }
    let mut nodes: Vec<Node> = Vec::new();
    for item in value.items(array) {
        let Some(node) = node(&item) else { continue };
        let same_address = nodes.iter().find(|other| same_place(&other.spec.address, &node.spec.address));
        let same_name = nodes.iter().find(|other| other.spec.name.eq_ignore_ascii_case(&node.spec.name));
        if let Some(other) = same_address {
            let message = format!("{} is in this cluster already", quote(&node.spec.address.to_string()));
            let help = format!("see line {}: counted twice, a node would get twice its share", doc.line(other.place));
            doc.error(node.place, message, Some(help));
        } else if let Some(other) = same_name {
            let message = format!("two nodes of this cluster are named {}", quote(&node.spec.name));
            let help = format!("see line {}; give one of them another `name`", doc.line(other.name_place));
            doc.error(node.name_place, message, Some(help));
        }
        nodes.push(node);
    }
    if !nodes.is_empty() && nodes.iter().all(|node| node.spec.weight == 0) {
        let help = "weight = 0 keeps new sessions away from a node; give at least one node a weight".to_owned();
        doc.warning(value.span, "every node has weight 0: no client will be served", Some(help));
    }
    nodes
}

fn node(value: &Value<'_>) -> Option<Node> {
    match value.inner {
        DeValue::String(text) => {
            let address = address(value, text)?;
            let spec = NodeSpec { name: default_name(&address).into(), address, weight: WEIGHT, priority: PRIORITY };
            Some(Node { spec, place: value.span, name_place: value.span })
        }
        DeValue::Table(map) => {
            let table = Table::open(value.doc, value.span, &keys::NODE, map);
            let written = table.get("address");
            if written.is_none() {
                let help = "write { address = \"HOST:PORT\", … }";
                value.doc.missing(Some(value.span), "a node without `address`", help);
            }
            // The other keys are read before anything is given up, for the sake of their own errors.
            let weight = u16::try_from(table.integer("weight", u32::from(WEIGHT), 0..=256)).unwrap_or(WEIGHT);
            let priority = table.integer("priority", PRIORITY, 0..=1_000_000);
            let name = table.get("name").and_then(|name| Some((name.span, name.string("a name")?)));
            if let Some((span, name)) = name {
                check_name(value.doc, span, name);
            }
            let written = written?;
            let address = address(&written, written.string("an address, \"HOST:PORT\"")?)?;
            let (name_place, name) = match name {
                Some((span, name)) => (span, name.to_owned()),
                None => (written.span, default_name(&address)),
            };
            let spec = NodeSpec { name: name.into(), address, weight, priority };
            Some(Node { spec, place: written.span, name_place })
        }
        _ => {
            value.wrong_type("a node: \"HOST:PORT\" or { address = \"HOST:PORT\", … }", None);
            None
        }
    }
}

fn address(value: &Value<'_>, text: &str) -> Option<HostPort> {
    text.parse().map_err(|malformed| value.doc.malformed(value.span, malformed)).ok()
}

/// The host where the port is the usual one, else `HOST:PORT`.
fn default_name(address: &HostPort) -> String {
    NodeSpec::new(address.clone()).name.to_string()
}

fn eligibility(table: &Table<'_>) -> Eligibility {
    let default = Eligibility::default();
    Eligibility {
        donor: table.choice("donor", default.donor, words::DONOR).value,
        // MariaDB's own max_connections ends at 100000.
        connection_margin: table.integer("connection_margin", default.connection_margin, 0..=100_000),
        max_recv_queue: Some(u64::from(table.integer("max_recv_queue", 0, 0..=u32::MAX))).filter(|most| *most > 0),
        max_flow_control_paused: table.share_or_off("max_flow_control_paused"),
    }
}

fn sessions(table: &Table<'_>) -> Sessions {
    let default = Sessions::default();
    Sessions {
        on_down: table.choice("on_down", default.on_down, words::SESSION).value,
        on_donor: table.choice("on_donor", default.on_donor, words::SESSION).value,
        on_demote: table.choice("on_demote", default.on_demote, words::SESSION).value,
        drain_timeout: table.duration("drain_timeout", default.drain_timeout, ANY_TIME).value,
        kill_spread: table.duration("kill_spread", default.kill_spread, ANY_TIME).value,
        slow_start: table.duration("slow_start", default.slow_start, ANY_TIME).value,
    }
}
