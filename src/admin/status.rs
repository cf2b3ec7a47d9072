//! `/api/status`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::view::{ClusterView, ServiceView, View};
use crate::pool::{Member, Membership, NodeId, Verdict};

/// The document.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    pid: u32,
    uptime_seconds: f64,
    generation: u64,
    state: &'static str,
    clusters: Vec<Cluster>,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Cluster {
    name: String,
    verdict: &'static str,
    /// By what components are told apart: `uuid`, `addresses` or `weak`; `null` without a Primary component.
    membership: Option<&'static str>,
    /// The history that may serve; `null` while none is known.
    state_uuid: Option<String>,
    /// The node that has the role; `null` without one.
    writer: Option<String>,
    /// Why there is no writer, or why it cannot be changed, where the nodes' reasons do not tell.
    writer_note: Option<String>,
    /// The nodes of each Primary component, the one that is served first.
    components: Vec<Vec<String>>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    address: String,
    admin_state: &'static str,
    verdict: &'static str,
    reason: String,
    since_seconds: f64,
    weight: u16,
    priority: u32,
    zone: String,
    wsrep: BTreeMap<String, String>,
    probe: Option<Probe>,
    connections: Connections,
}

#[derive(Debug, Serialize)]
struct Probe {
    age_ms: f64,
    duration_ms: f64,
    failures: u32,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Connections {
    active: usize,
    total: u64,
    failed: u64,
    killed: u64,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    accept: Vec<String>,
    target: String,
    active: u64,
    queued: u64,
    total: u64,
    rejected: u64,
    failed: u64,
    retried: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Takes the picture.
pub fn status(view: &View) -> Status {
    let now = Instant::now();
    let layout = view.layout();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_seconds: rounded(now.duration_since(view.started)),
        generation: layout.generation,
        state: view.state().as_str(),
        clusters: layout.clusters.iter().map(|c| cluster(c, view, now)).collect(),
        services: layout.services.iter().map(|s| service(s)).collect(),
    }
}

fn cluster(view: &ClusterView, whole: &View, now: Instant) -> Cluster {
    let pool = view.pool.load();
    let standing = &pool.standing;
    let name = |id: NodeId| pool.members.iter().find(|m| m.node.id == id).map(|m| m.node.name().to_string());
    Cluster {
        name: view.name.to_string(),
        verdict: standing.state.as_str(),
        membership: standing.membership.map(Membership::as_str),
        state_uuid: standing.history.as_deref().map(str::to_owned),
        writer: standing.writer.and_then(name),
        writer_note: standing.writer_note.clone(),
        components: standing.components.iter().map(|c| c.iter().filter_map(|id| name(*id)).collect()).collect(),
        nodes: pool.members.iter().map(|m| node(m, whole.started, now)).collect(),
    }
}

fn node(member: &Member, started: Instant, now: Instant) -> Node {
    let node = &member.node;
    let report = node.report.load_full();
    let wsrep = report.as_ref().map_or_else(BTreeMap::new, |r| {
        r.rows.iter().filter(|(name, _)| is_shown(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    });
    let since = report.as_ref().map_or(started, |r| r.since);
    Node {
        name: node.name().to_string(),
        address: node.address.to_string(),
        admin_state: member.admin.as_str(),
        verdict: member.verdict.kind.as_str(),
        reason: reason(member),
        since_seconds: rounded(now.saturating_duration_since(since)),
        weight: member.full_weight,
        priority: member.priority,
        zone: member.zone.to_string(),
        wsrep,
        probe: report.map(|r| Probe {
            age_ms: millis(now.saturating_duration_since(r.probe.ended)),
            duration_ms: millis(r.probe.duration),
            failures: r.probe.failures,
            error: r.probe.error.clone(),
        }),
        connections: Connections {
            active: node.active(),
            total: node.total(),
            failed: node.failed(),
            killed: node.killed(),
        },
    }
}

/// Of a replica, what its verdict rests on.
fn is_shown(row: &str) -> bool {
    row.starts_with("wsrep_")
        || row.starts_with("last_")
        || row.ends_with("_running")
        || row.starts_with("seconds_behind")
}

/// The verdict's reason, and what keeps clients away from a node that may serve.
fn reason(member: &Member) -> String {
    let mut reason = member.verdict.reason.to_string();
    if member.weight < member.full_weight && member.verdict.kind.serves() {
        reason = format!("{reason}; slow start: weight {} of {}", member.weight, member.full_weight);
    }
    if member.verdict.kind.serves() && member.is_full() {
        let most = member.max_connections.unwrap_or_default();
        reason = format!("{reason}; full (max_connections = {most})");
    }
    match (&member.verdict, member.verdict.kind.serves()) {
        (v, true) if !v.room => format!("{reason}; no room: nobody new while another node has some"),
        (Verdict { slow: Some(slow), .. }, true) => {
            format!("{reason}; {}: nobody new while another is not", slow.as_str())
        }
        _ => reason,
    }
}

fn service(view: &ServiceView) -> Service {
    let m = &view.metrics;
    Service {
        name: view.name.to_string(),
        accept: view.accept.iter().map(ToString::to_string).collect(),
        target: view.target.clone(),
        active: m.active(),
        queued: m.queued(),
        total: m.total(),
        rejected: m.rejected(),
        failed: m.failed(),
        retried: m.retried(),
        bytes_in: m.bytes_in(),
        bytes_out: m.bytes_out(),
    }
}

/// Seconds, to the millisecond.
fn rounded(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e3).round() / 1e3
}

/// Milliseconds, to the microsecond.
fn millis(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}
