//! The rules a cluster is judged by.

use std::sync::Arc;
use std::time::Duration;

use super::fitness::DonorRule;
use super::writer::Failback;

/// The rules a cluster is judged by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Good checks in a row before a node serves again.
    pub rise: u32,
    /// Failed checks in a row before it stops.
    pub fall: u32,
    /// A hung node's sessions end after this long without an answer, and another one may become the writer.
    pub down_after: Duration,
    /// What a donor may do.
    pub donor: DonorRule,
    /// A node this close to `max_connections` has no room.
    pub connection_margin: u32,
    /// A node with a longer `wsrep_local_recv_queue` is slow, until it is below half.
    pub max_recv_queue: Option<u64>,
    /// A node that sends flow control is slow while a larger share of time is paused, until it is below half.
    pub max_flow_control_paused: Option<f64>,
    /// End the sessions of a node that went down.
    pub kill_on_down: bool,
    /// End the sessions of a node that became a donor.
    pub kill_on_donor: bool,
    /// End the writer services' sessions of a node that is no longer the writer.
    pub kill_on_demote: bool,
    /// With two Primary components, serve none instead of one.
    pub refuse_split_brain: bool,
    /// The only history that may serve, in lower case; without one it is learned.
    pub state_uuid: Option<Arc<str>>,
    /// When a preferred node takes the role of writer back.
    pub failback: Failback,
    /// A writer that becomes a donor and goes on answering keeps the role for this long.
    pub donor_grace: Duration,
    /// The writer is the one that the cluster's own record names.
    pub agreed: bool,
    /// A replica that is further behind is unfit.
    pub max_replication_lag: Option<Duration>,
}

/// What a node is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// A member of a Galera cluster.
    #[default]
    Member,
    /// An asynchronous replica of one: never the writer, and no reason to keep a donor from serving.
    Replica,
    /// A MySQL or MariaDB server by itself: a writer unless it is read-only.
    Server,
    /// Something that takes connections. Nothing tells a writer there.
    Port,
}

/// A node's place among the others: that of the configured one it comes from, and an address as a number.
pub type Order = (u32, u128);

/// What a configuration says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name in messages.
    pub name: Arc<str>,
    /// The larger is preferred as the writer; then the order of the nodes.
    pub priority: u32,
    /// The node's place in that order, the same on every balancer: where it stands in the configuration, and by what address it
    /// was found.
    pub order: Order,
    /// Clients are sent to it at all: its weight is not 0.
    pub takes_clients: bool,
    /// As the writer it comes after all that are none.
    pub backup: bool,
    /// What it is.
    pub sort: Sort,
    /// It was discovered: its address, which is its name, may be another node's later.
    pub is_found: bool,
    /// Discovered nodes are to replace it, and it serves until one of those does. It may be the same server as one of them.
    pub is_stopgap: bool,
}
