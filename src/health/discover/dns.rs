//! Each address of a name is a node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Answered, LOOK, SURE_LOOKS, Warning, has_drained, may_be_asked, node_at};
use crate::config::{Cluster, HostPort, NodeSpec};
use crate::galera::observation::{Check, Observation, Unreachable};
use crate::galera::{Departure, Event, NodeId};
use crate::health::lookup::LookupError;
use crate::health::probe::{Probed, unreachable};
use crate::health::roster::{Origin, WatchedNode};
use crate::health::watch::ClusterWatch;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Names {
    missing: BTreeMap<NodeId, Missing>,
    /// Names that had an address at some time.
    resolved: BTreeSet<HostPort>,
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
    /// Looks every name up. What the names of a configuration lead to that was replaced meanwhile is not acted on.
    pub(super) async fn look(&mut self, watch: &Arc<ClusterWatch>, config: &Arc<Cluster>) -> Answered {
        // Side by side: a name whose servers are silent holds up no other.
        let mut asked = tokio::task::JoinSet::new();
        for (place, seed) in config.nodes.iter().enumerate() {
            let (lookup, host) = (watch.lookup().clone(), seed.address.host().map(|host| host.host.clone()));
            asked.spawn(async move {
                let found = match host {
                    Some(host) => timeout(LOOK, lookup.addresses(&host)).await,
                    None => Ok(Ok(Vec::new())),
                };
                (place, found.unwrap_or_else(|_elapsed| Err(LookupError::NoAnswer("not in time".to_owned()))))
            });
        }
        while let Some(answer) = asked.join_next().await {
            if !watch.goes_by(config) {
                return Answered::Nothing;
            }
            let (place, found) = match answer {
                Ok(answer) => answer,
                Err(fault) => {
                    tracing::error!(error = %fault, "a look-up failed by a fault of Galeway's own");
                    continue;
                }
            };
            let Some(seed) = config.nodes.get(place) else { continue };
            match found {
                Ok(addresses) if !addresses.is_empty() => {
                    self.resolved.extend(seed.address.host().cloned());
                    self.answered(watch, config, place, seed, &addresses);
                }
                Ok(_) => self.failed(watch, seed, &LookupError::NoAddress),
                Err(why) => self.failed(watch, seed, &why),
            }
        }
        self.forget(watch, config.sessions.drain_timeout);
        let names = || config.nodes.iter().filter_map(|node| node.address.host());
        self.resolved.retain(|name| names().any(|known| known == name));
        match self.resolved.len() {
            0 => Answered::Nothing,
            n if n < names().collect::<BTreeSet<_>>().len() => Answered::Some,
            _ => Answered::All,
        }
    }

    fn answered(
        &mut self,
        watch: &ClusterWatch,
        config: &Cluster,
        place: usize,
        seed: &NodeSpec,
        addresses: &[IpAddr],
    ) {
        let Some(name) = seed.address.host() else { return };
        let (port, origin) = (name.port, Origin::Dns(name.clone()));
        for ip in addresses {
            let address = HostPort { host: ip.to_string(), port };
            let nodes = watch.nodes();
            let is_there =
                |n: &&WatchedNode| n.origin != Origin::Placeholder && n.spec.address.host() == Some(&address);
            let known = nodes.iter().find(is_there);
            if known.is_some_and(|node| matches!(node.origin, Origin::Dns(_))) {
                continue;
            }
            if !may_be_asked(config, *ip) {
                if self.outside.due() {
                    tracing::warn!(cluster = %config.name, name = %seed.address, address = %ip, "an address lies outside \
                        discover_allow: it is left out, and not sent the monitor's login");
                }
                continue;
            }
            let Some(spec) = node_at(watch, address, seed) else { continue };
            match known {
                Some(node) => watch.adopt(node, spec, origin.clone(), place),
                None => drop(watch.admit(spec, origin.clone(), place)),
            }
        }
        for node in watch.nodes().iter().filter(|n| n.origin == origin) {
            let id = node.node.id;
            if node.ip().is_some_and(|ip| addresses.contains(&ip)) {
                if self.missing.remove(&id).is_some_and(|missing| missing.leaving.is_some()) {
                    tracing::info!(cluster = %config.name, node = %node.node.name(), "its name has it again");
                    watch.happened(Event::Leaving(id, None));
                }
                continue;
            }
            let missing = self.missing.entry(id).or_insert(Missing { answers: 0, leaving: None });
            missing.answers = missing.answers.saturating_add(1);
            if missing.answers >= SURE_LOOKS && missing.leaving.is_none() {
                missing.leaving = Some(Instant::now());
                watch.happened(Event::Leaving(id, Some(Departure::Name)));
            }
        }
        let stands_for = |n: &&WatchedNode| n.origin == Origin::Placeholder && n.spec.address == seed.address;
        let nodes = watch.nodes();
        if let Some(placeholder) = nodes.iter().find(stands_for) {
            if nodes.iter().any(|n| n.origin == origin) {
                watch.dismiss(placeholder, Departure::Name);
            } else {
                let why = format!("none of its {} addresses lies in discover_allow", addresses.len());
                show_unresolved(watch, placeholder, unreachable(Unreachable::Io(why)));
            }
        }
    }

    /// The last answer holds. Where there never was one, the name itself is shown as a node that cannot be reached.
    fn failed(&mut self, watch: &ClusterWatch, seed: &NodeSpec, why: &LookupError) {
        let Some(name) = seed.address.host() else { return };
        let origin = Origin::Dns(name.clone());
        let held = watch.nodes().iter().filter(|n| n.origin == origin).count();
        if self.warnings.entry(Arc::clone(&seed.name)).or_default().due() {
            let message =
                if held > 0 { "cannot resolve: the last answer holds" } else { "cannot resolve: no node is known yet" };
            tracing::warn!(cluster = watch.name(), name = %seed.address, why = %why, nodes = held, "{message}");
        }
        let stands_for = |n: &&WatchedNode| n.origin == Origin::Placeholder && n.spec.address == seed.address;
        let nodes = watch.nodes();
        if let Some(placeholder) = nodes.iter().find(stands_for) {
            let check = match why {
                LookupError::NotMade(why) => Check::NotMade(format!("name resolution: {why}")),
                why => unreachable(Unreachable::CannotResolve(why.to_string())),
            };
            show_unresolved(watch, placeholder, check);
        }
    }

    /// Lets go of nodes whose drain is over.
    fn forget(&mut self, watch: &ClusterWatch, drain_timeout: Duration) {
        self.missing.retain(|id, missing| {
            let Some(node) = watch.watched(*id) else { return false };
            let over = missing.leaving.is_some_and(|since| has_drained(&node, since, drain_timeout));
            if over {
                watch.dismiss(&node, Departure::Name);
            }
            !over
        });
    }
}

/// A name without a node is shown as one that cannot be reached.
fn show_unresolved(watch: &ClusterWatch, placeholder: &WatchedNode, check: Check) {
    let observation = Observation { begun: Instant::now(), check };
    watch.observed(placeholder, Probed { observation, addresses: None, duration: Duration::ZERO });
}
