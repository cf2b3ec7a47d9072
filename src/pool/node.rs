//! One node: what outlives a snapshot.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use super::attempts::{AttemptLedger, SourceAddress};
use super::balance::key_of;
use super::snapshot::Vacancies;
use super::switch::KillSwitch;
use crate::config::Place;
use crate::galera::NodeId;
use crate::galera::status::Rows;

/// The second failure in a row keeps a node at the back for this long, the third for twice that, and so on.
const SUSPICION_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const SUSPICION_MOST: Duration = Duration::from_secs(30);

/// Counters, kill switch and last report of one node.
#[derive(Debug)]
pub struct Node {
    /// Identity within the cluster.
    pub id: NodeId,
    /// Label in messages, API and metrics, which a reload may change.
    name: ArcSwap<Arc<str>>,
    /// As configured, or as it was found.
    pub address: Place,
    /// Spreads clients by their address; of its name, so that it is the same everywhere.
    key: AtomicU64,
    /// Ends its sessions.
    pub switch: KillSwitch,
    /// Wakes its monitor.
    pub look: Notify,
    /// What clients' attempts met.
    pub attempts: AttemptLedger,
    /// What its last check brought, for the status.
    pub report: ArcSwapOption<NodeReport>,
    active: AtomicUsize,
    established: AtomicUsize,
    writing: AtomicUsize,
    total: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    /// Somebody was kept out because there were as many as there may be.
    was_full: AtomicBool,
    suspect: AtomicBool,
    /// The suspicion below is not as new: asked on every session's way, so that only a failure costs a lock.
    has_failed: AtomicBool,
    suspicion: Mutex<Suspicion>,
    /// Those of its cluster.
    vacancies: Arc<Vacancies>,
}

/// How long a node stays at the back.
#[derive(Debug)]
struct Suspicion {
    /// Good checks clear it from here on.
    until: Instant,
    /// What the next failure adds to the wait for a good check.
    next: Duration,
}

impl Suspicion {
    /// The first failure waits only for a good check.
    fn none() -> Self {
        Self { until: Instant::now(), next: Duration::ZERO }
    }
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
    pub fn new(id: NodeId, name: Arc<str>, address: Place, vacancies: Arc<Vacancies>) -> Self {
        Self {
            id,
            key: AtomicU64::new(key_of(name.as_bytes())),
            name: ArcSwap::from_pointee(name),
            address,
            switch: KillSwitch::default(),
            look: Notify::new(),
            attempts: AttemptLedger::default(),
            report: ArcSwapOption::empty(),
            active: AtomicUsize::new(0),
            established: AtomicUsize::new(0),
            writing: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            killed: AtomicU64::new(0),
            was_full: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            suspicion: Mutex::new(Suspicion::none()),
            vacancies,
        }
    }

    /// Label in messages, API and metrics.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.load())
    }

    /// The same node by another name: its sessions and counts stay. Clients that are spread by their address go elsewhere, as they
    /// do on every balancer that calls it so.
    pub fn rename(&self, name: Arc<str>) {
        self.key.store(key_of(name.as_bytes()), Ordering::Relaxed);
        self.name.store(Arc::new(name));
    }

    pub(super) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self, most: u32) -> bool {
        let is_full = self.active() >= usize::try_from(most).unwrap_or(usize::MAX);
        if is_full {
            self.was_full.store(true, Ordering::Relaxed);
        }
        is_full
    }

    /// Sessions now, those that are still connecting included.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Sessions now that have got this node's greeting: those an order can end.
    pub fn established(&self) -> usize {
        self.established.load(Ordering::Relaxed)
    }

    /// Those of them that belong to writer services.
    pub fn writing(&self) -> usize {
        self.writing.load(Ordering::Relaxed)
    }

    /// Sessions so far that got this node's greeting.
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

    /// Counts a session that an order ended.
    pub fn count_killed(&self) {
        self.killed.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed by the node's doing: it goes to the back of the pick until its next good check, which is
    /// made at once, and a new connection is tried from the same address. A failure of ours must not come here.
    ///
    /// A node that passes its checks and fails clients all the same (another port is checked, a firewall lies between)
    /// stays at the back for longer each time.
    pub fn count_failed(&self, source: SourceAddress) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        // The clients that were on their way there together are one failure.
        if !self.suspect.swap(true, Ordering::Relaxed) {
            self.has_failed.store(true, Ordering::Relaxed);
            let mut suspicion = self.suspicion();
            suspicion.until = Instant::now() + suspicion.next;
            suspicion.next = (suspicion.next * 2).clamp(SUSPICION_FIRST, SUSPICION_MOST);
        }
        self.attempts.note_failed(source);
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

    /// After a good check. True if it was suspect and is not any more.
    pub fn clear_suspect(&self) -> bool {
        self.is_suspect() && self.suspicion().until <= Instant::now() && self.suspect.swap(false, Ordering::Relaxed)
    }

    fn suspicion(&self) -> MutexGuard<'_, Suspicion> {
        self.suspicion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the node ended before its login was done: the server counts that against its address.
    pub fn count_broken_handshake(&self, source: SourceAddress) {
        if self.attempts.note_broken_handshake(source) {
            self.look.notify_one();
        }
    }

    /// Counts a session as active until the guard is dropped. `None` where there are as many as there may be.
    pub fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<ActiveSession> {
        let most_active = most.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        // One step, not two: of clients that come together none may be one too many.
        let room = |n| Some(n + 1).filter(|_| n < most_active);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(ActiveSession { node: Arc::clone(self), limited: most.is_some(), established: false, writes: false })
    }
}

/// Holds one session's place in the node's count.
#[derive(Debug)]
pub struct ActiveSession {
    node: Arc<Node>,
    /// Others may wait for its place.
    limited: bool,
    established: bool,
    writes: bool,
}

impl ActiveSession {
    /// The node has greeted a connection from `source`. `writes`: a session of a writer service.
    pub fn establish(&mut self, writes: bool, source: SourceAddress) {
        let node = &self.node;
        node.attempts.note_greeting(source);
        if writes {
            node.writing.fetch_add(1, Ordering::Relaxed);
            self.writes = true;
        }
        node.total.fetch_add(1, Ordering::Relaxed);
        node.established.fetch_add(1, Ordering::Relaxed);
        self.established = true;
        // Picked as the last choice while it was suspect, one success says little of the others that failed.
        if !node.is_suspect() && node.has_failed.swap(false, Ordering::Relaxed) {
            *node.suspicion() = Suspicion::none();
        }
    }
}

impl Drop for ActiveSession {
    fn drop(&mut self) {
        self.node.active.fetch_sub(1, Ordering::Relaxed);
        if self.established {
            self.node.established.fetch_sub(1, Ordering::Relaxed);
        }
        if self.writes {
            self.node.writing.fetch_sub(1, Ordering::Relaxed);
        }
        // It may have begun before there was a limit.
        if self.limited || self.node.was_full.load(Ordering::Relaxed) {
            self.node.vacancies.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let address = Place::Host("db1".parse().unwrap());
        Node::new(NodeId(0), "db1".into(), address, Arc::default())
    }

    #[test]
    fn a_first_failure_is_forgotten_at_the_next_good_check_and_a_second_one_later() {
        let node = node();
        node.count_failed(None);
        node.count_failed(None);
        assert!(node.is_suspect(), "failures of one moment are one");
        assert!(node.clear_suspect() && !node.is_suspect());
        node.count_failed(None);
        assert!(!node.clear_suspect() && node.is_suspect(), "it failed again right after a good check");
    }

    #[test]
    fn a_node_takes_no_more_than_it_may_and_tells_when_a_place_is_free() {
        let vacancies = Arc::new(Vacancies::default());
        let address = Place::Host("db1".parse().unwrap());
        let node = Arc::new(Node::new(NodeId(0), "db1".into(), address, Arc::clone(&vacancies)));
        let mut told = vacancies.0.subscribe();
        let early = node.enter(None);
        drop(node.enter(None));
        assert!(!told.has_changed().unwrap(), "nobody waits for a place where there is no end of them");
        assert!(node.is_full(1), "there is a limit from now on");
        drop(early);
        assert!(told.has_changed().unwrap(), "who began before may be the one too many");
        told.mark_unchanged();
        let sessions: Vec<_> = (0..3).filter_map(|_| node.enter(Some(2))).collect();
        assert_eq!((sessions.len(), node.is_full(2)), (2, true));
        assert!(!told.has_changed().unwrap());
        drop(sessions);
        assert!(told.has_changed().unwrap() && !node.is_full(1));
    }

    #[test]
    fn a_session_that_was_greeted_wipes_the_slate() {
        let node = Arc::new(node());
        node.count_failed(None);
        assert!(node.clear_suspect());
        node.enter(None).unwrap().establish(false, None);
        node.count_failed(None);
        assert!(node.clear_suspect(), "a first failure again");
    }
}
