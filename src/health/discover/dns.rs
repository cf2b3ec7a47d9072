//! Each address of a name is a node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Warning, has_drained, may_be_asked, node_at};
use crate::config::{Cluster, HostPort, NodeSpec};
use crate::galera::observation::{Check, Observation, Unreachable};
use crate::galera::{Event, NodeId};
use crate::health::lookup::LookupError;
use crate::health::probe::{Probed, unreachable};
use crate::health::roster::{Origin, WatchedNode};
use crate::health::watch::ClusterWatch;

/// An address is given up when it was missing in this many answers in a row: some servers name only some of many in each.
const MISSING: u32 = 2;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Names {
    missing: BTreeMap<NodeId, Missing>,
    warnings: BTreeMap<Arc<str>, Warning>,
    outside: Warning,
}

#[derive(Debug)]
struct Missing {
    answers: u32,
    /// Since when it drains.
    leaving: Option<Instant>,
}

impl Names {
    /// Looks every name up.
    pub(super) async fn look(&mut self, watch: &Arc<ClusterWatch>, config: &Cluster) {
        // Side by side: a name whose servers are silent holds up no other.
        let mut asked = tokio::task::JoinSet::new();
        for seed in config.nodes.iter().cloned() {
            let lookup = watch.lookup().clone();
            asked.spawn(async move {
                let found = match seed.address.host() {
                    Some(host) => lookup.addresses(&host.host).await,
                    None => Ok(Vec::new()),
                };
                (seed, found)
            });
        }
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((seed, Ok(addresses))) if !addresses.is_empty() => {
                    self.answered(watch, config, &seed, &addresses);
                }
                Ok((seed, Ok(_))) => self.failed(watch, &seed, &LookupError::NoAddress),
                Ok((seed, Err(why))) => self.failed(watch, &seed, &why),
                Err(fault) => tracing::error!(error = %fault, "a look-up failed by a fault of Galeway's own"),
            }
        }
        self.forget(watch, config.sessions.drain_timeout);
    }

    fn answered(&mut self, watch: &ClusterWatch, config: &Cluster, seed: &NodeSpec, addresses: &[IpAddr]) {
        let Some(port) = seed.address.host().map(|host| host.port) else { return };
        let mut inherited = seed.clone();
        for ip in addresses {
            let address = HostPort { host: ip.to_string(), port };
            let nodes = watch.nodes();
            if nodes.iter().any(|n| n.origin != Origin::Placeholder && n.spec.address.host() == Some(&address)) {
                continue;
            }
            if !may_be_asked(config, *ip) {
                if self.outside.due() {
                    tracing::warn!(cluster = %config.name, name = %seed.address, address = %ip, "an address lies outside \
                        discover_allow: it is left out, and not sent the monitor's login");
                }
                continue;
            }
            inherited.name = Arc::clone(&seed.name);
            let Some(spec) = node_at(watch, address, &inherited) else { continue };
            watch.admit(spec, Origin::Dns(Arc::clone(&seed.name)));
        }
        let origin = Origin::Dns(Arc::clone(&seed.name));
        for node in watch.nodes().iter().filter(|n| n.origin == origin) {
            let id = node.node.id;
            if node.ip().is_some_and(|ip| addresses.contains(&ip)) {
                if self.missing.remove(&id).is_some_and(|missing| missing.leaving.is_some()) {
                    tracing::info!(cluster = %config.name, node = %node.node.name, "its name has it again");
                    watch.happened(Event::Leaving(id, false));
                }
                continue;
            }
            let missing = self.missing.entry(id).or_insert(Missing { answers: 0, leaving: None });
            missing.answers = missing.answers.saturating_add(1);
            if missing.answers >= MISSING && missing.leaving.is_none() {
                missing.leaving = Some(Instant::now());
                watch.happened(Event::Leaving(id, true));
            }
        }
        let stands_for = |n: &&WatchedNode| n.origin == Origin::Placeholder && n.spec.address == seed.address;
        if let Some(placeholder) = watch.nodes().iter().find(stands_for) {
            watch.dismiss(placeholder);
        }
    }

    /// The last answer holds. Where there never was one, the name itself is shown as a node that cannot be reached.
    fn failed(&mut self, watch: &ClusterWatch, seed: &NodeSpec, why: &LookupError) {
        let origin = Origin::Dns(Arc::clone(&seed.name));
        let held = watch.nodes().iter().filter(|n| n.origin == origin).count();
        if self.warnings.entry(Arc::clone(&seed.name)).or_default().due() {
            tracing::warn!(cluster = watch.name(), name = %seed.address, why = %why, nodes = held,
                "cannot resolve: the last answer holds");
        }
        let stands_for = |n: &&WatchedNode| n.origin == Origin::Placeholder && n.spec.address == seed.address;
        let nodes = watch.nodes();
        if let Some(placeholder) = nodes.iter().find(stands_for) {
            let check = match why {
                LookupError::NotMade(why) => Check::NotMade(format!("name resolution: {why}")),
                why => unreachable(Unreachable::CannotResolve(why.to_string())),
            };
            let observation = Observation { begun: Instant::now(), check };
            watch.observed(placeholder, Probed { observation, addresses: None, duration: Duration::ZERO });
        }
    }

    /// Lets go of nodes whose drain is over.
    fn forget(&mut self, watch: &ClusterWatch, drain_timeout: Duration) {
        self.missing.retain(|id, missing| {
            let Some(node) = watch.watched(*id) else { return false };
            let over = missing.leaving.is_some_and(|since| has_drained(&node, since, drain_timeout));
            if over {
                watch.dismiss(&node);
            }
            !over
        });
    }
}
