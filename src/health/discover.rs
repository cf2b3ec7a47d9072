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
    let mut nodes = watch.rules().config.nodes.clone();
    let mut fit_looks = 0;
    loop {
        let rules = watch.rules();
        if nodes != rules.config.nodes {
            (first, fit_looks) = (None, 0);
            nodes.clone_from(&rules.config.nodes);
        }
        let answered = match rules.config.discovery.by {
            Discover::Dns => dns.look(&watch, &rules.config).await,
            Discover::Galera => galera.look(&watch, &rules.config).await,
            Discover::Off => return std::future::pending().await,
        };
        // Until then nobody is made the writer, and what was remembered is kept. Answers that stay away, and nodes that are gone
        // for good, are not waited for longer than a silent node; but the configured nodes serve for as long as a name has no
        // address, or none of those serves.
        if answered != Answered::Nothing {
            let patience = rules.config.monitor.down_after.max(LOOK);
            let waited = first.get_or_insert_with(Instant::now).elapsed() >= patience;
            if waited || answered == Answered::All && !watch.misses_remembered() {
                watch.discovered();
            }
            let is_dns = rules.config.discovery.by == Discover::Dns;
            let are_met = || waited || watch.unchecked().is_empty();
            let is_fit = is_dns && answered == Answered::All && are_met() && watch.serves_by_names();
            fit_looks = if is_fit { fit_looks + 1 } else { 0 };
            if fit_looks >= SURE_LOOKS {
                watch.part_from_configured();
                fit_looks = 0;
            }
        }
        let next = if first.is_some_and(|at| at.elapsed() < LOOK) { FIRST_LOOKS } else { Duration::MAX };
        tokio::time::sleep(rules.config.discovery.interval.min(next)).await;
    }
}

/// What is not there in this many looks in a row is gone: some DNS servers name only some of many addresses in each answer.
const SURE_LOOKS: u32 = 2;

/// Time between looks right after the start, when all wait for them.
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
