//! The nodes of `[cluster.NAME]`.

use std::sync::Arc;

use toml::de::DeValue;

use super::super::defaults::{PRIORITY, WEIGHT};
use super::super::diagnostic::Span;
use super::super::keys;
use super::super::model::{Discover, HostPort, NodeKind, NodeSpec, Place};
use super::super::place::parse_node;
use super::super::reader::{Read, Table, Value, check_name};
use super::super::source::quote;
use super::super::words;

/// Far more than any server takes.
const MOST_SESSIONS: u32 = 10_000_000;

/// A node and where it was written.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    pub(super) place: Span,
    name_place: Span,
}

/// What the cluster says that each of its nodes has to fit to.
#[derive(Clone, Copy)]
pub(super) struct Above {
    /// The monitor's kind.
    pub(super) kind: Read<NodeKind>,
    pub(super) discover: Read<Discover>,
}

pub(super) fn read(cluster: &str, table: &Table<'_>, above: Above) -> Vec<Node> {
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
        let Some(node) = node(&item, above) else { continue };
        let same_address = nodes.iter().find(|other| other.spec.address.is_same(&node.spec.address));
        let same_name = nodes.iter().find(|other| other.spec.name.eq_ignore_ascii_case(&node.spec.name));
        if let Some(other) = same_address {
            let message = format!("{} is in this cluster already", quote(&node.spec.address.to_string()));
            let help = format!("see {}: counted twice, a node would get twice its share", doc.place(other.place));
            doc.error(node.place, message, Some(help));
        } else if let Some(other) = same_name {
            let message = format!("two nodes of this cluster are named {}", quote(&node.spec.name));
            let help = format!("see {}; give one of them another `name`", doc.place(other.name_place));
            doc.error(node.name_place, message, Some(help));
        }
        nodes.push(node);
    }
    whole(&value, &nodes, above);
    nodes
}

/// What only shows of all nodes together.
fn whole(value: &Value<'_>, nodes: &[Node], above: Above) {
    let all = |is: fn(&NodeSpec) -> bool| !nodes.is_empty() && nodes.iter().all(|node| is(&node.spec));
    if all(|node| node.weight == 0) {
        let help = "weight = 0 keeps new sessions away from a node; give at least one node a weight".to_owned();
        value.doc.warning(value.span, "every node has weight 0: no client will be served", Some(help));
    }
    if all(|node| node.backup) {
        let help = "a backup serves while no node without `backup` does; here all serve at all times".to_owned();
        value.doc.warning(value.span, "every node is a backup, which is as if none were", Some(help));
    }
    if above.kind.good && above.kind.value == NodeKind::Galera && all(|node| node.kind == NodeKind::Mysql) {
        let help =
            "where no node is a Galera node, write kind = \"mysql\" in the monitor and none on the nodes".to_owned();
        value.doc.error(value.span, "every node of this Galera cluster is an asynchronous replica", Some(help));
    }
}

fn node(value: &Value<'_>, above: Above) -> Option<Node> {
    match value.inner {
        DeValue::String(text) => {
            let address = address(value, text, above)?;
            let spec = NodeSpec { kind: above.kind.value, ..NodeSpec::new(address) };
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
            let max_connections = table.integer_if_written("max_connections", 1..=MOST_SESSIONS);
            let kind = kind(&table, above);
            let priority = priority(&table, kind, above);
            let zone = zone(&table, "zone").map(|(_, zone)| zone).unwrap_or_default();
            let backup = table.boolean("backup", false);
            let name = table.get("name").and_then(|name| Some((name.span, name.string("a name")?)));

            let address =
                written.and_then(|written| address(&written, written.string("an address, \"HOST:PORT\"")?, above));
            let default = address.map(NodeSpec::new);
            let default_name = default.as_ref().map(|default| Arc::clone(&default.name));
            if let Some((span, name)) = name
                // A default is right however it looks: it is the address.
                && default_name.as_deref() != Some(name)
            {
                check_name(value.doc, span, name);
                if above.discover.good && above.discover.value == Discover::Dns {
                    let help = "each address that is found is a node of its own and named after it".to_owned();
                    value.doc.error(span, "`name` is not used with discover = \"dns\"", Some(help));
                }
            }
            let (default, written) = (default?, written?);
            let (name_place, name) = match name {
                Some((span, name)) => (span, name.into()),
                None => (written.span, Arc::clone(&default.name)),
            };
            let spec = NodeSpec { name, weight, priority, zone, backup, max_connections, kind, ..default };
            Some(Node { spec, place: written.span, name_place })
        }
        _ => {
            value.wrong_type("a node: \"HOST:PORT\" or { address = \"HOST:PORT\", … }", None);
            None
        }
    }
}

fn address(value: &Value<'_>, text: &str, above: Above) -> Option<Place> {
    let place =
        parse_node(text, value.doc.directory()).map_err(|malformed| value.doc.malformed(value.span, malformed)).ok()?;
    let is_name = place.host().is_some_and(|host| host.host.parse::<std::net::IpAddr>().is_err());
    if !is_name && above.discover.good && above.discover.value == Discover::Dns {
        let message = format!("discover = \"dns\" has nothing to look up in {}", quote(text));
        let help = "write the host name whose addresses are the nodes, or discover = \"off\"".to_owned();
        value.doc.error(value.span, message, Some(help));
    }
    Some(place)
}

/// What a node is, where it is not what the cluster's monitor says of all.
fn kind(table: &Table<'_>, above: Above) -> NodeKind {
    let kind = table.choice("kind", above.kind.value, words::KIND);
    let replica = (above.kind.value, kind.value) == (NodeKind::Galera, NodeKind::Mysql);
    if let Some(span) = kind.span
        && above.kind.good
        && kind.value != above.kind.value
        && !replica
    {
        let word = |kind: NodeKind| words::written(words::KIND, &kind);
        let message =
            format!("a node of kind \"{}\" where the monitor's is \"{}\"", word(kind.value), word(above.kind.value));
        let help = match above.kind.value {
            NodeKind::Galera => "a node of a Galera cluster is \"galera\", or \"mysql\" for an asynchronous replica",
            NodeKind::Mysql => {
                "leave it out; a Galera cluster with asynchronous replicas has kind = \"galera\" in its monitor and \
                 kind = \"mysql\" on the replicas"
            }
            NodeKind::Tcp => "leave it out: nothing logs in to the nodes of this cluster",
        };
        table.doc.error(span, message, Some(help.to_owned()));
    }
    kind.value
}

/// A node's place among those that could be the writer. Elsewhere only the default may be written.
fn priority(table: &Table<'_>, kind: NodeKind, above: Above) -> u32 {
    let priority = table.integer("priority", PRIORITY, 0..=1_000_000);
    if let Some(span) = table.key_span("priority").filter(|_| priority != PRIORITY && above.kind.good) {
        let help = match (above.kind.value, kind) {
            (NodeKind::Tcp, _) => "nothing tells a writer with kind = \"tcp\"",
            (NodeKind::Galera, NodeKind::Mysql) => "an asynchronous replica is never the writer",
            _ => return priority,
        };
        table.doc.error(span, "`priority` is not looked at here", Some(help.to_owned()));
    }
    priority
}

/// A zone, and where it is written; `None` where there is none, or none that can be used.
pub(super) fn zone(table: &Table<'_>, key: &str) -> Option<(Span, Arc<str>)> {
    let value = table.get(key)?;
    let zone = value.string("the name of a zone, or \"\" for none")?;
    if zone.is_empty() {
        return None;
    }
    check_name(value.doc, value.span, zone);
    Some((value.span, zone.into()))
}
