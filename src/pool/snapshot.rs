//! The immutable picture of a cluster that every pick is made from.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::balance::schedule;
use super::node::Node;
use crate::galera::{ClusterState, Verdict};

/// One node within a snapshot.
#[derive(Debug, Clone)]
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// Where to connect; `None` while its name does not resolve.
    pub address: Option<SocketAddr>,
    /// Share of new sessions, 0 to 256.
    pub weight: u16,
    /// Whether it may serve, and why.
    pub verdict: Verdict,
}

impl Member {
    /// New sessions may be sent here.
    pub fn serves(&self) -> bool {
        self.verdict.kind.serves() && self.weight > 0 && self.address.is_some()
    }
}

/// A cluster at one moment.
#[derive(Debug)]
pub struct Pool {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// All nodes, in the order of the configuration.
    pub members: Vec<Member>,
    /// The cluster as a whole.
    pub state: ClusterState,
    /// Indices of members that serve, each as often as its weight says, evenly mixed.
    pub(super) turns: Vec<u16>,
}

impl Pool {
    /// A snapshot of these members.
    pub fn new(cluster: Arc<str>, members: Vec<Member>, state: ClusterState) -> Self {
        let turns = schedule(&members);
        Self { cluster, members, state, turns }
    }

    /// Whether any node serves.
    pub fn can_route(&self) -> bool {
        self.members.iter().any(Member::serves)
    }

    /// Each node and why it does not serve; for a node that does serve, `otherwise` says what went wrong there.
    pub fn reasons(&self, otherwise: impl Fn(&Node) -> Option<String>) -> Vec<String> {
        let reason = |m: &Member| {
            if m.verdict.kind.serves() && m.weight == 0 {
                return "weight 0".to_owned();
            }
            if !m.serves() {
                return m.verdict.reason.to_string();
            }
            otherwise(&m.node).unwrap_or_else(|| format!("{}, not tried", m.verdict.reason))
        };
        self.members.iter().map(|m| format!("{}: {}", m.node.name, reason(m))).collect()
    }
}

/// Where the current snapshot is found.
#[derive(Debug)]
pub struct PoolCell {
    current: ArcSwap<Pool>,
    generation: watch::Sender<u64>,
}

impl PoolCell {
    /// Starts with `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { current: ArcSwap::from_pointee(pool), generation: watch::Sender::new(0) }
    }

    /// The current snapshot. An owned one: a guard must not live across an await.
    pub fn load(&self) -> Arc<Pool> {
        self.current.load_full()
    }

    /// Replaces the snapshot and wakes who waits for a new one. Only the health room calls this.
    pub fn publish(&self, pool: Pool) {
        self.current.store(Arc::new(pool));
        self.generation.send_modify(|g| *g = g.wrapping_add(1));
    }

    /// Hears of every snapshot published after this call.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
