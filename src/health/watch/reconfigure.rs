//! A new configuration for a cluster that is watched: which nodes stay, come, and go.
//!
//! A node is its address. By another name it keeps its sessions, its counts and what is known of it; at another address it is
//! another node, and whoever is on the old one drains as from a node that was taken out. What goes is forgotten once it has
//! drained, and watched until then: a node that fails while it drains must still lose its sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{ClusterWatch, State};
use crate::config::{Cluster, Discover, NodeSpec, Place};
use crate::galera::{Configured, Departure, Event, NodeId, Spec};
use crate::health::discover::{self, has_drained};
use crate::health::roster::{Origin, WatchedNode, order};
use crate::health::rules::{Rules, spec, spec_of};
use crate::health::seen::Seen;

/// How often it is looked whether a node that goes has drained.
const LOOK: Duration = Duration::from_millis(250);

/// What became of a cluster's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// Names of nodes that are new.
    pub added: Vec<Arc<str>>,
    /// Names of those that go.
    pub gone: Vec<Arc<str>>,
    /// Old names and new ones.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
    /// Names of those of which something else is said now.
    pub changed: Vec<Arc<str>>,
}

impl Reconfigured {
    /// What has changed in cluster `name`, a sentence each.
    pub fn sentences(&self, name: &str) -> Vec<String> {
        let list = |names: &[Arc<str>]| names.join(", ");
        let some = |what: &str, names: &[Arc<str>], then: &str| {
            (!names.is_empty()).then(|| format!("cluster {name}: {what} {}{then}", list(names)))
        };
        let renamed: Vec<Arc<str>> =
            self.renamed.iter().map(|(old, new)| format!("{old} is {new} now").into()).collect();
        let all = [
            some("new:", &self.added, ""),
            some("gone:", &self.gone, "; sessions there drain"),
            some("renamed:", &renamed, ""),
            some("changed:", &self.changed, ""),
        ];
        all.into_iter().flatten().collect()
    }
}

/// What one node is to be, by a new configuration.
enum Fate {
    /// Of the configured node at this place.
    Stays(NodeSpec, Origin, usize),
    /// Addresses of names are the nodes from now on, and it serves until one of those does.
    Waits,
    Goes,
}

impl ClusterWatch {
    /// Goes on with other rules. `rules` were made from the new configuration; whatever in it can be wrong was found then.
    pub(in crate::health) fn reconfigure(&self, rules: Rules) -> Reconfigured {
        let now = Instant::now();
        let old = self.rules();
        let config = Arc::clone(&rules.config);
        let nodes = self.nodes();
        let fates: Vec<(WatchedNode, Fate)> = nodes.iter().map(|n| (n.clone(), fate(&config, n))).collect();
        let mut report = Reconfigured::default();
        let mut told = Configured::default();
        let mut replaced = Vec::new();
        let leaving = self.departing();
        let asks_anew = old.config.monitor != config.monitor;
        for (node, fate) in &fates {
            let id = node.node.id;
            if asks_anew {
                // The kept connection is another account's, or goes to another port.
                node.moved.store(true, Ordering::Relaxed);
            }
            if matches!(fate, Fate::Waits) && !leaving.contains(&id) {
                let spec = spec_of(&node.spec, &node.origin, node.order, &config.monitor);
                told.changed.push((id, Spec { is_stopgap: true, ..spec }));
                continue;
            }
            let Fate::Stays(new, origin, seed) = fate else {
                if node.origin != Origin::Placeholder {
                    told.gone.push(id);
                    // Of one that drains already it was told.
                    if !leaving.contains(&id) {
                        report.gone.push(node.node.name());
                    }
                }
                continue;
            };
            let order = order(new, origin, *seed);
            if *new != *node.spec || *origin != node.origin || order != node.order {
                if new.name == node.spec.name && *new != *node.spec {
                    report.changed.push(Arc::clone(&new.name));
                }
                replaced.push(WatchedNode {
                    spec: Arc::new(new.clone()),
                    origin: origin.clone(),
                    order,
                    ..node.clone()
                });
            }
            told.changed.push((id, spec_of(new, origin, order, &config.monitor)));
        }
        self.make_room(&config, &fates, &mut replaced, &mut told);
        report.renamed = self.rename(&mut replaced);
        self.roster().replace(&replaced);
        let dismissed: Vec<&WatchedNode> = fates
            .iter()
            .filter(|(n, f)| n.origin == Origin::Placeholder && matches!(f, Fate::Goes))
            .map(|(n, _)| n)
            .collect();
        for (place, seed) in config.nodes.iter().enumerate() {
            // Of a name it is enough that one of its addresses is.
            if fates.iter().any(|(_, fate)| matches!(fate, Fate::Stays(_, _, at) if *at == place)) {
                continue;
            }
            let origin = if config.discovery.by == Discover::Dns { Origin::Placeholder } else { Origin::Configured };
            let node = self.roster().add(seed.clone(), origin, place, self.metrics());
            report.added.push(Arc::clone(&seed.name));
            told.added.push((node.node.id, spec(seed, node.order, &config.monitor)));
        }
        self.enforce(rules, told, now);
        dismissed.into_iter().for_each(|node| self.dismiss(node, Departure::Configuration));
        // Thresholds may have moved, and new nodes are waited for.
        self.look();
        report
    }

    /// A node that goes gives its name to one that comes: two of one name could not be told apart.
    fn make_room(
        &self,
        config: &Cluster,
        fates: &[(WatchedNode, Fate)],
        replaced: &mut Vec<WatchedNode>,
        told: &mut Configured,
    ) {
        let taken = |name: &str, by: NodeId| {
            let stays = |(n, f): &(WatchedNode, Fate)| {
                n.node.id != by && matches!(f, Fate::Stays(new, ..) if new.name.eq_ignore_ascii_case(name))
            };
            config.nodes.iter().any(|seed| seed.name.eq_ignore_ascii_case(name)) || fates.iter().any(stays)
        };
        for (node, _) in fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Stays(..))) {
            if node.origin != Origin::Placeholder && taken(&node.spec.name, node.node.id) {
                let name = format!("{}@{}", node.spec.name, node.spec.address).into();
                let renamed = Arc::new(NodeSpec { name, ..NodeSpec::clone(&node.spec) });
                let spec = spec_of(&renamed, &node.origin, node.order, &config.monitor);
                match told.changed.iter_mut().find(|(id, _)| *id == node.node.id) {
                    Some((_, told)) => told.name = spec.name,
                    None => told.changed.push((node.node.id, spec)),
                }
                replaced.push(WatchedNode { spec: renamed, ..node.clone() });
            }
        }
    }

    /// Gives the nodes that have another name that name, and series under it. Pairs of old and new ones.
    fn rename(&self, replaced: &mut [WatchedNode]) -> Vec<(Arc<str>, Arc<str>)> {
        let mut pairs = Vec::new();
        // All old ones first: two nodes may have changed names.
        for node in replaced.iter().filter(|n| n.node.name() != n.spec.name) {
            node.metrics.forget();
        }
        for node in replaced.iter_mut().filter(|n| n.node.name() != n.spec.name) {
            pairs.push((node.node.name(), Arc::clone(&node.spec.name)));
            node.node.rename(Arc::clone(&node.spec.name));
            node.metrics = Arc::new(self.metrics().node(Arc::clone(&node.spec.name)));
        }
        pairs
    }

    /// What is known of each node, in its series, which may be new.
    fn show(&self, state: &State) {
        for node in self.nodes().iter() {
            node.metrics.set_eligible(state.core.verdict(node.node.id).kind.serves());
            if let Some(seen) = state.seen.get(&node.node.id) {
                seen.show(&node.metrics);
            }
        }
    }

    /// Goes on with these rules and nodes.
    fn enforce(&self, rules: Rules, told: Configured, now: Instant) {
        let mut state = self.state();
        for (id, _) in &told.added {
            if let Some(node) = self.watched(*id) {
                state.seen.insert(*id, Seen::new(&node.spec.address));
            }
        }
        self.rules.store(Arc::new(rules));
        let rules = self.rules();
        self.show(&state);
        let outcome = state.core.step(&rules.core, now, Event::Configured(told));
        self.perform(&rules, &mut state, outcome, true, now);
        self.begun.send_modify(|n| *n = n.wrapping_add(1));
        self.moved.notify_one();
    }

    /// A name leads to a node that was configured by its address: it is one of that name's from now on, under the name that it
    /// has on every balancer, and keeps its sessions and what is known of it.
    pub(in crate::health) fn adopt(&self, node: &WatchedNode, spec: NodeSpec, origin: Origin, seed: usize) {
        let order = order(&spec, &origin, seed);
        let mut adopted = [WatchedNode { spec: Arc::new(spec), origin, order, ..node.clone() }];
        for (old, new) in self.rename(&mut adopted) {
            tracing::info!(cluster = self.name(), node = %old, name = %new, "renamed: it is an address of a name now");
        }
        self.roster().replace(&adopted);
        self.show(&self.state());
        let [adopted] = &adopted;
        let told = spec_of(&adopted.spec, &adopted.origin, order, &self.rules().config.monitor);
        self.happened(Event::Configured(Configured { changed: vec![(node.node.id, told)], ..Configured::default() }));
    }

    /// The names lead to nodes by now: those that were configured before go.
    pub(in crate::health) fn part_from_configured(&self) {
        let leaving = self.departing();
        let waits =
            |n: &&WatchedNode| matches!(n.origin, Origin::Configured | Origin::Galera) && !leaving.contains(&n.node.id);
        let nodes = self.nodes();
        let gone: Vec<NodeId> = nodes.iter().filter(waits).map(|n| n.node.id).collect();
        for node in nodes.iter().filter(|n| gone.contains(&n.node.id)) {
            tracing::info!(
                cluster = self.name(),
                node = %node.node.name(),
                "gone: the addresses of names are the nodes now; sessions there drain"
            );
        }
        if !gone.is_empty() {
            // All at once: of several the role must not go from one to the next.
            self.happened(Event::Configured(Configured { gone, ..Configured::default() }));
        }
    }

    /// A node that a name leads to serves, or would if it were not among the configured ones as well; and no server that lacks
    /// the writer's rows would come to write.
    pub(in crate::health) fn serves_by_names(&self) -> bool {
        self.with_seen(|core, _| {
            core.may_part() && self.nodes().iter().any(|n| is_dns(&n.origin) && core.can_replace(n.node.id))
        })
    }

    /// Nodes that the configuration does not name any more.
    fn departing(&self) -> Vec<NodeId> {
        let state = self.state();
        let goes = |n: &&WatchedNode| state.core.is_leaving(n.node.id, Departure::Configuration);
        self.nodes().iter().filter(goes).map(|n| n.node.id).collect()
    }

    /// Forgets what has drained, for as long as the process lives.
    pub(in crate::health) async fn see_off(self: Arc<Self>) {
        let mut leaving: Vec<(NodeId, Instant)> = Vec::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            let gone = self.departing();
            leaving.retain(|(id, _)| gone.contains(id));
            for id in gone {
                if !leaving.iter().any(|(known, _)| *known == id) {
                    leaving.push((id, now));
                }
            }
            if leaving.is_empty() {
                continue;
            }
            let patience = self.rules().config.sessions.drain_timeout;
            for (id, since) in &leaving {
                if let Some(node) = self.watched(*id).filter(|node| has_drained(node, *since, patience)) {
                    self.dismiss(&node, Departure::Configuration);
                }
            }
        }
    }
}

fn is_dns(origin: &Origin) -> bool {
    matches!(origin, Origin::Dns(_))
}

fn fate(config: &Cluster, node: &WatchedNode) -> Fate {
    let by = config.discovery.by;
    let seed = |is: &dyn Fn(&NodeSpec) -> bool| {
        config.nodes.iter().enumerate().find(|(_, seed)| is(seed)).map(|(place, seed)| (place, seed.clone()))
    };
    // As it was found, and otherwise like the one that it comes from.
    let like =
        |seed: NodeSpec| NodeSpec { name: Arc::clone(&node.spec.name), address: node.spec.address.clone(), ..seed };
    let same = seed(&|seed| seed.address.is_same(&node.spec.address));
    match (&node.origin, by) {
        (Origin::Placeholder, Discover::Dns) => match same {
            Some((place, seed)) => Fate::Stays(seed, Origin::Placeholder, place),
            None => Fate::Goes,
        },
        (Origin::Placeholder, _) => Fate::Goes,
        (Origin::Dns(name), Discover::Dns) => {
            let of_name = |seed: &NodeSpec| matches!(&seed.address, Place::Host(host) if host == name);
            match seed(&of_name) {
                Some((place, seed)) => Fate::Stays(like(seed), node.origin.clone(), place),
                None => Fate::Goes,
            }
        }
        (_, Discover::Dns) => Fate::Waits,
        (_, _) => match same {
            Some((place, seed)) => Fate::Stays(seed, Origin::Configured, place),
            // As long as members name it: to take it out of the list alone takes nothing out of the cluster.
            None if by == Discover::Galera && !is_dns(&node.origin) => {
                let model = discover::inherited(&config.nodes);
                Fate::Stays(like(model), Origin::Galera, usize::MAX)
            }
            None => Fate::Goes,
        },
    }
}
