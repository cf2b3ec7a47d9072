//! One node: what outlives a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::switch::KillSwitch;
use crate::config::HostPort;
use crate::galera::NodeId;
use crate::galera::status::Rows;

/// Handshakes broken off before the monitor logs in once more to clear the server's count for our address. The
/// server blocks us at `max_connect_errors`, 100 by default.
const BROKEN_HANDSHAKES_TOLERATED: u64 = 25;

/// Counters, kill switch and last report of one node.
#[derive(Debug)]
pub struct Node {
    /// Identity within the cluster.
    pub id: NodeId,
    /// Label in messages, API and metrics.
    pub name: Arc<str>,
    /// As configured.
    pub address: HostPort,
    /// Ends its sessions.
    pub switch: KillSwitch,
    /// Wakes its monitor.
    pub look: Notify,
    /// What its last check brought, for the status.
    pub report: ArcSwapOption<NodeReport>,
    active: AtomicUsize,
    total: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    broken_handshakes: AtomicU64,
    suspect: AtomicBool,
}

/// What the status says of a node's checks.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The rows of the last answer.
    pub rows: Arc<Rows>,
    /// The last check.
    pub probe: ProbeReport,
    /// Since when the verdict holds.
    pub since: Instant,
}

/// One check, for the status.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// When it ended.
    pub ended: Instant,
    /// How long it took.
    pub duration: Duration,
    /// Failed checks in a row, this one included.
    pub failures: u32,
    /// What went wrong.
    pub error: Option<String>,
}

impl Node {
    /// A node without sessions, not yet checked.
    pub fn new(id: NodeId, name: Arc<str>, address: HostPort) -> Self {
        Self {
            id,
            name,
            address,
            switch: KillSwitch::default(),
            look: Notify::new(),
            report: ArcSwapOption::empty(),
            active: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            killed: AtomicU64::new(0),
            broken_handshakes: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
        }
    }

    /// Sessions now, those that are still connecting included.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Sessions that got this node's greeting.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Attempts that did not get it.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sessions that were ended by an order.
    pub fn killed(&self) -> u64 {
        self.killed.load(Ordering::Relaxed)
    }

    /// Counts a session that got the greeting.
    pub fn count_established(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a session that an order ended.
    pub fn count_killed(&self) {
        self.killed.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed by the node's doing: it goes to the back of the pick until its next good check, which is
    /// made at once. A failure of ours must not come here.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.suspect();
        self.look.notify_one();
    }

    /// Sends the node to the back of the pick until its next good check.
    pub fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// The data path failed here since the last good check.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// After a good check. True if it was suspect.
    pub fn clear_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::Relaxed)
    }

    /// A connection to the node ended before its login was done: the server counts that against our address.
    pub fn count_broken_handshake(&self) {
        if self.broken_handshakes.fetch_add(1, Ordering::Relaxed) + 1 >= BROKEN_HANDSHAKES_TOLERATED {
            self.look.notify_one();
        }
    }

    /// Whether a login is due that clears the server's count; takes the count back.
    pub fn take_login_due(&self) -> bool {
        let due = self.broken_handshakes.load(Ordering::Relaxed) >= BROKEN_HANDSHAKES_TOLERATED;
        if due {
            self.broken_handshakes.store(0, Ordering::Relaxed);
        }
        due
    }

    /// Counts a session as active until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> ActiveSession {
        self.active.fetch_add(1, Ordering::Relaxed);
        ActiveSession { node: Arc::clone(self) }
    }
}

/// Holds one session's place in the node's count.
#[derive(Debug)]
pub struct ActiveSession {
    node: Arc<Node>,
}

impl Drop for ActiveSession {
    fn drop(&mut self) {
        self.node.active.fetch_sub(1, Ordering::Relaxed);
    }
}
