//! Nodes that come and go by themselves.
//!
//! * `discover = "dns"`: each address of a configured name is a node, for as long as the name has it. While the name cannot
//!   be looked up, or has no address at all, the last answer holds: DNS in trouble must not look like a cluster that is gone.
//! * `discover = "galera"`: what `wsrep_incoming_addresses` of the served component names is a node, beside those that are
//!   configured. It is forgotten when nobody names it and it has not answered for long; a configured one never.
//!
//! A node that was found is checked before it serves, like any other.

mod dns;
mod galera;

pub(super) use galera::inherited;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::roster::{Origin, WatchedNode};
use super::watch::ClusterWatch;
use crate::config::{Cluster, Discover, HostPort, NodeSpec, Place};
use crate::galera::NodeId;
use crate::telemetry::Seldom;

/// At most one warning of a kind in this time.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// A look waits for the answers to its questions no longer than this: what comes later is met at the next one.
const LOOK: Duration = Duration::from_secs(6);

/// Looks for nodes for as long as the process lives.
pub(super) async fn run(watch: Arc<ClusterWatch>) {
    let mut dns = dns::Names::default();
    let mut galera = galera::Members::default();
    let mut first: Option<Instant> = None;
    let mut parting = Parting::default();
    loop {
        let rules = watch.rules();
        let answered = match rules.config.discovery.by {
            Discover::Dns => dns.look(&watch, &rules.config).await,
            Discover::Galera => galera.look(&watch, &rules.config).await,
            Discover::Off => return std::future::pending().await,
        };
        let patience = rules.config.monitor.down_after.max(LOOK);
        // Until then nobody is made the writer, and what was remembered is kept. Answers that stay away, and nodes that are gone
        // for good, are not waited for longer than a silent node.
        if answered != Answered::Nothing {
            let waited = first.get_or_insert_with(Instant::now).elapsed() >= patience;
            if waited || answered == Answered::All && !watch.misses_remembered() {
                watch.discovered();
            }
        }
        if rules.config.discovery.by == Discover::Dns && parting.is_due(&watch, answered, patience) {
            watch.part_from_configured();
        }
        let is_fresh = first.is_some_and(|at| at.elapsed() < LOOK) || parting.is_fresh();
        let next = if is_fresh { FIRST_LOOKS } else { Duration::MAX };
        tokio::time::sleep(rules.config.discovery.interval.min(next)).await;
    }
}

/// When configured nodes go because addresses of names are the nodes now: they serve for as long as a name has no address, none
/// of those serves, or more of them are found.
#[derive(Debug)]
struct Parting {
    /// The nodes as of the last look, and since when they are these.
    nodes: Vec<NodeId>,
    since: Instant,
    /// Looks in a row by which they might have gone.
    looks: u32,
}

impl Default for Parting {
    fn default() -> Self {
        Self { nodes: Vec::new(), since: Instant::now(), looks: 0 }
    }
}

impl Parting {
    fn is_due(&mut self, watch: &ClusterWatch, answered: Answered, patience: Duration) -> bool {
        let nodes: Vec<NodeId> = watch.nodes().iter().map(|n| n.node.id).collect();
        if nodes != self.nodes {
            *self = Self { nodes, ..Self::default() };
        }
        let are_met = || self.since.elapsed() >= patience || watch.unchecked().is_empty();
        let might_go = answered == Answered::All && are_met() && watch.serves_by_names();
        self.looks = if might_go { self.looks.saturating_add(1) } else { 0 };
        self.looks >= SURE_LOOKS
    }

    /// Nodes were found just now.
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < LOOK
    }
}

/// What is not there in this many looks in a row is gone: some DNS servers name only some of many addresses in each answer.
const SURE_LOOKS: u32 = 2;

/// Time between looks right after the start, and after a node was found, when all wait for them.
const FIRST_LOOKS: Duration = Duration::from_secs(1);

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// Nobody said anything.
    Nothing,
    /// Some of those who were asked.
    Some,
    /// All of them.
    All,
}

/// A warning of a kind that may come with each look.
#[derive(Debug)]
struct Warning(Seldom);

impl Default for Warning {
    fn default() -> Self {
        Self(Seldom::new(WARNING_EVERY))
    }
}

impl Warning {
    fn due(&mut self) -> bool {
        self.0.due(Instant::now())
    }
}

/// A node at this address that is like `model` otherwise; `None` where its name is another one's.
fn node_at(watch: &ClusterWatch, address: HostPort, model: &NodeSpec) -> Option<NodeSpec> {
    let named = NodeSpec::new(Place::Host(address));
    let taken = |name: &str| {
        let is_other = |n: &WatchedNode| n.spec.address != named.address || n.origin == Origin::Placeholder;
        watch.nodes().iter().any(|n| is_other(n) && n.node.name().eq_ignore_ascii_case(name))
    };
    let name = [Arc::clone(&named.name), named.address.to_string().into()].into_iter().find(|name| !taken(name))?;
    Some(NodeSpec { name, address: named.address, ..model.clone() })
}

/// Whether what is at this address may be sent the monitor's login.
fn may_be_asked(config: &Cluster, ip: IpAddr) -> bool {
    let allow = &config.discovery.allow;
    allow.is_empty() || allow.iter().any(|net| net.contains(&ip.to_canonical()))
}

/// Whether its clients are gone, or their time is up.
pub(super) fn has_drained(node: &WatchedNode, since: Instant, drain_timeout: Duration) -> bool {
    node.node.active() == 0 || since.elapsed() > drain_timeout
}
