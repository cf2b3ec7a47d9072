//! `[cluster.NAME]`, its `.eligibility` and `.sessions`.

use std::sync::Arc;

use super::super::cross::ClusterPlaces;
use super::super::keys;
use super::super::model::{
    Agreement, Cluster, Discover, Discovery, Eligibility, NodeKind, Place, Sessions, SplitBrain, TlsMode,
};
use super::super::reader::{ANY_TIME, Read, SOME_TIME, Table, Value};
use super::super::source::quote;
use super::super::words;
use super::monitor::{self, Watched};
use super::networks::networks;
use super::node::{self, Above, Node};
use super::writer;

/// The sections below the cluster's own, where they are written.
struct Sections<'a> {
    eligibility: Option<Table<'a>>,
    writer: Option<Table<'a>>,
    sessions: Option<Table<'a>>,
}

pub(super) fn read(name: &str, table: &Table<'_>) -> (Cluster, ClusterPlaces) {
    let watched = monitor::read(name, table);
    let discover = table.choice("discover", Discover::Off, words::DISCOVER);
    let nodes = node::read(name, table, Above { kind: watched.kind, discover });
    other_port(table, &nodes, &watched);
    let discovery = discovery(table, discover, &watched);
    let sections = Sections {
        eligibility: table.table("eligibility", &keys::ELIGIBILITY),
        writer: table.table("writer", &keys::WRITER),
        sessions: table.table("sessions", &keys::SESSIONS),
    };
    let (writer, writer_place) = writer::read(name, sections.writer.as_ref(), &watched.monitor.user);
    let places = ClusterPlaces {
        header: table.span,
        nodes: nodes.iter().map(|node| node.place).collect(),
        writer: writer_place,
    };
    let kind = watched.kind;
    let cluster = Cluster {
        name: name.into(),
        nodes: nodes.into_iter().map(|node| node.spec).collect(),
        discovery,
        monitor: watched.monitor,
        eligibility: sections.eligibility.as_ref().map_or_else(Eligibility::default, eligibility),
        writer,
        sessions: sections.sessions.as_ref().map_or_else(Sessions::default, read_sessions),
        split_brain: table.choice("split_brain", SplitBrain::Fence, words::SPLIT_BRAIN).value,
        state_uuid: table.get("state_uuid").and_then(|value| state_uuid(&value)),
    };
    if kind.good {
        beside_kind(table, &sections, &cluster, kind.value);
    }
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

/// How nodes come and go. With `off` only the defaults of its other keys may be written down: they change nothing.
fn discovery(table: &Table<'_>, discover: Read<Discover>, watched: &Watched) -> Discovery {
    let doc = table.doc;
    let default = Discovery::default();
    let interval = table.duration("discover_interval", default.interval, SOME_TIME).value;
    let allow = networks(table, "discover_allow");
    if discover.good && discover.value == Discover::Off {
        let changed =
            [("discover_interval", interval != default.interval), ("discover_allow", !allow.value.is_empty())];
        for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            let help = "write discover = \"galera\" or \"dns\", or leave it out".to_owned();
            let span = table.key_span(key).unwrap_or(table.span);
            doc.error(span, format!("`{key}` is not looked at with discover = \"off\""), Some(help));
        }
    }
    if let Some(span) = discover.span
        && discover.value == Discover::Galera
        && watched.kind.good
    {
        let mode = watched.tls.value;
        if watched.kind.value != NodeKind::Galera {
            let help = "only Galera nodes list the members; discover = \"dns\" follows a host name".to_owned();
            doc.error(span, "discover = \"galera\" needs monitor.kind = \"galera\"", Some(help));
        } else if watched.tls.good
            && matches!(mode, TlsMode::Off | TlsMode::Require)
            && allow.good
            && allow.value.is_empty()
        {
            let tls = words::written(words::TLS, &mode);
            let message = format!(
                "the monitor's login is sent to any address that a node lists: `discover_allow` is empty, and \
                 monitor.tls = \"{tls}\" verifies nobody"
            );
            let help = "write discover_allow = [\"10.0.0.0/8\"], the networks of the nodes, or have TLS verify them";
            doc.warning(span, message, Some(help.to_owned()));
        }
    }
    Discovery { by: discover.value, interval, allow: allow.value }
}

/// Another port, which a Unix socket does not have.
fn other_port(table: &Table<'_>, nodes: &[Node], watched: &Watched) {
    let on_socket = |node: &Node| matches!(node.spec.address, Place::Unix(_));
    if let Some(span) = watched.port.filter(|_| !nodes.is_empty() && nodes.iter().all(on_socket)) {
        let help = "leave it out: every node is a Unix socket".to_owned();
        table.doc.error(span, "`port` is not looked at here", Some(help));
    }
}

fn eligibility(table: &Table<'_>) -> Eligibility {
    let default = Eligibility::default();
    Eligibility {
        donor: table.choice("donor", default.donor, words::DONOR).value,
        // MariaDB's own max_connections ends at 100000.
        connection_margin: table.integer("connection_margin", default.connection_margin, 0..=100_000),
        max_recv_queue: Some(u64::from(table.integer("max_recv_queue", 0, 0..=u32::MAX))).filter(|most| *most > 0),
        max_flow_control_paused: table.share_or_off("max_flow_control_paused"),
        max_replication_lag: table.duration_or_off("max_replication_lag", default.max_replication_lag, ANY_TIME),
    }
}

fn read_sessions(table: &Table<'_>) -> Sessions {
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

/// Keys that nothing looks at with this kind of monitor. Their defaults may be written down: they change nothing.
fn beside_kind(table: &Table<'_>, sections: &Sections<'_>, cluster: &Cluster, kind: NodeKind) {
    let default = Cluster::new("", Vec::new(), cluster.monitor.clone());
    let (is, was) = (&cluster.eligibility, &default.eligibility);
    let (own, eligibility) = (Some(table), sections.eligibility.as_ref());
    let (writer, sessions) = (sections.writer.as_ref(), sections.sessions.as_ref());
    let (galera, login) = (kind == NodeKind::Galera, kind != NodeKind::Tcp);
    let replicas = cluster.nodes.iter().any(|node| node.kind == NodeKind::Mysql);
    let unread = [
        (own, "split_brain", cluster.split_brain != default.split_brain, galera),
        (own, "state_uuid", cluster.state_uuid != default.state_uuid, galera),
        (eligibility, "donor", is.donor != was.donor, galera),
        (eligibility, "connection_margin", is.connection_margin != was.connection_margin, login),
        (eligibility, "max_recv_queue", is.max_recv_queue != was.max_recv_queue, galera),
        (eligibility, "max_flow_control_paused", is.max_flow_control_paused != was.max_flow_control_paused, galera),
        (eligibility, "max_replication_lag", is.max_replication_lag != was.max_replication_lag, login),
        (writer, "failback", cluster.writer.failback != default.writer.failback, login),
        (writer, "donor_grace", cluster.writer.donor_grace != default.writer.donor_grace, galera),
        (sessions, "on_donor", cluster.sessions.on_donor != default.sessions.on_donor, galera),
        (sessions, "on_demote", cluster.sessions.on_demote != default.sessions.on_demote, login),
    ];
    let word = words::written(words::KIND, &kind);
    for (section, key, changed, fits) in unread {
        let Some(span) = section.and_then(|section| section.key_span(key)) else { continue };
        if changed && !fits {
            let help =
                if login { "it is about Galera nodes: leave it out" } else { "nothing of it is known: leave it out" };
            let message = format!("`{key}` is not looked at with monitor.kind = \"{word}\"");
            table.doc.error(span, message, Some(help.to_owned()));
        } else if changed && key == "max_replication_lag" && galera && !replicas {
            let message = "`max_replication_lag` is not looked at: no node of this cluster has kind = \"mysql\"";
            let help =
                "it is about asynchronous replicas; write kind = \"mysql\" on the nodes that are, or leave it out";
            table.doc.error(span, message, Some(help.to_owned()));
        }
    }
    if let Some(span) = writer.and_then(|writer| writer.key_span("agreement"))
        && cluster.writer.agreement == Agreement::Cluster
        && !galera
    {
        let help = "the record is replicated by Galera; leave it out".to_owned();
        table.doc.error(span, "agreement = \"cluster\" needs monitor.kind = \"galera\"", Some(help));
    }
}
