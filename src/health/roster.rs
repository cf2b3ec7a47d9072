//! The nodes of a cluster that are watched now: those of the configuration, and those that were discovered.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::config::{HostPort, NodeSpec};
use crate::galera::{NodeId, Order};
use crate::pool::{Node, Vacancies};
use crate::telemetry::{ClusterMetrics, NodeMetrics};

/// Why a node is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration names it.
    Configured,
    /// It stands for a configured name as long as nothing is known of where that leads; never checked.
    Placeholder,
    /// An address of this configured name.
    Dns(HostPort),
    /// Another node named it.
    Galera,
}

/// A node and its series.
#[derive(Debug, Clone)]
pub(super) struct WatchedNode {
    pub(super) node: Arc<Node>,
    pub(super) spec: Arc<NodeSpec>,
    pub(super) origin: Origin,
    /// Where it stands among the others, on every balancer.
    pub(super) order: Order,
    pub(super) metrics: Arc<NodeMetrics>,
    /// Its name leads elsewhere than to where the check is connected.
    pub(super) moved: Arc<AtomicBool>,
}

impl WatchedNode {
    /// The address that it was discovered by.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.spec.address.host().and_then(|host| host.host.parse().ok())
    }
}

/// Where a node stands among the others. `seed`: the place of the configured node that it is, or comes from.
pub(super) fn order(spec: &NodeSpec, origin: &Origin, seed: usize) -> Order {
    let address = spec.address.host().filter(|_| *origin != Origin::Configured);
    let ip = address.and_then(|host| host.host.parse::<IpAddr>().ok());
    let number = ip.map_or(0, |ip| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    });
    (u32::try_from(seed).unwrap_or(u32::MAX), number)
}

/// All of them, in the order of the configuration, then as they were found.
#[derive(Debug)]
pub(super) struct Roster {
    nodes: ArcSwap<Vec<WatchedNode>>,
    next: AtomicU32,
    changes: watch::Sender<u64>,
    /// Shared by all nodes of the cluster.
    vacancies: Arc<Vacancies>,
}

impl Roster {
    pub(super) fn new(vacancies: Arc<Vacancies>) -> Self {
        Self { nodes: ArcSwap::default(), next: AtomicU32::new(0), changes: watch::Sender::new(0), vacancies }
    }

    pub(super) fn nodes(&self) -> Arc<Vec<WatchedNode>> {
        self.nodes.load_full()
    }

    /// Hears of every node that comes or goes after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn get(&self, id: NodeId) -> Option<WatchedNode> {
        self.nodes.load().iter().find(|n| n.node.id == id).cloned()
    }

    /// Takes a node in. Its number is its own for good. `seed`: the place of the configured node that it is, or comes from.
    pub(super) fn add(&self, spec: NodeSpec, origin: Origin, seed: usize, metrics: &ClusterMetrics) -> WatchedNode {
        let id = NodeId(self.next.fetch_add(1, Ordering::Relaxed));
        let node = Node::new(id, Arc::clone(&spec.name), spec.address.clone(), Arc::clone(&self.vacancies));
        let node = WatchedNode {
            order: order(&spec, &origin, seed),
            node: Arc::new(node),
            metrics: Arc::new(metrics.node(Arc::clone(&spec.name))),
            spec: Arc::new(spec),
            origin,
            moved: Arc::default(),
        };
        // In an order that does not depend on who was found first: `first`, and the writer where nothing else decides, must be
        // the same node for balancers beside each other.
        self.change(|nodes| {
            nodes.push(node.clone());
            nodes.sort_by_key(|n| (n.order, n.node.id));
        });
        node
    }

    /// Another state of nodes that are known: what is said of them, where they stand, how they are counted.
    pub(super) fn replace(&self, with: &[WatchedNode]) {
        self.change(|nodes| {
            for node in nodes.iter_mut() {
                if let Some(new) = with.iter().find(|new| new.node.id == node.node.id) {
                    *node = new.clone();
                }
            }
            nodes.sort_by_key(|n| (n.order, n.node.id));
        });
    }

    pub(super) fn remove(&self, id: NodeId) {
        self.change(|nodes| nodes.retain(|n| n.node.id != id));
    }

    fn change(&self, how: impl Fn(&mut Vec<WatchedNode>)) {
        self.nodes.rcu(|nodes| {
            let mut nodes = Vec::clone(nodes);
            how(&mut nodes);
            nodes
        });
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}
