//! What is kept of a node's observations besides its verdict.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::probe::Probed;
use super::resolve::literal;
use super::roster::WatchedNode;
use crate::config::{Endpoint, Place};
use crate::galera;
use crate::galera::observation::Check;
use crate::galera::status::Rows;
use crate::telemetry::{NodeMetrics, Seldom};

/// At most one warning in this time about a node's checks that were not made.
const NOT_MADE_WARNING_EVERY: Duration = Duration::from_secs(10);

/// For snapshots and the status.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where it can be connected to, what took the last connection first.
    pub(super) addresses: Arc<[Endpoint]>,
    pub(super) checked: bool,
    /// The last check's login was refused.
    pub(super) refused: bool,
    /// For checks that are not made: the verdict stands still then, and nothing else would show it.
    pub(super) not_made: Seldom,
    pub(super) since: Option<Instant>,
    pub(super) rows: Arc<Rows>,
    /// `wsrep_flow_control_paused_ns` and when it was read.
    paused: Option<(u64, Instant)>,
    /// `wsrep_cluster_size` while the node says Primary.
    pub(super) size: Option<u64>,
}

impl Seen {
    /// A node given by address needs no check to be found.
    pub(super) fn new(place: &Place) -> Self {
        Self {
            addresses: literal(place).into_iter().collect(),
            checked: false,
            refused: false,
            not_made: Seldom::new(NOT_MADE_WARNING_EVERY),
            since: None,
            rows: Arc::default(),
            paused: None,
            size: None,
        }
    }

    /// It said so when it answered last.
    pub(super) fn is_primary(&self) -> bool {
        self.rows.get("wsrep_cluster_status").is_some_and(|status| status == "Primary")
    }

    /// Keeps what a check brought. True: where to connect has changed.
    pub(super) fn note(&mut self, watched: &WatchedNode, probed: &Probed, now: Instant) -> bool {
        let metrics = &watched.metrics;
        match &probed.observation.check {
            Check::Answered(status) => {
                self.rows = Arc::new(status.rows.clone());
                self.size = status.cluster_size.filter(|_| status.cluster_status == "Primary");
            }
            Check::Server(status) => self.rows = Arc::new(status.rows.clone()),
            Check::Open => {}
            Check::Unreadable(_, rows) => {
                self.rows = Arc::new(rows.clone());
                self.size = None;
            }
            Check::Unreachable { .. } | Check::LoginRefused(_) | Check::Offline(_) => {
                self.size = None;
                self.paused = None;
                metrics.set_state(None);
            }
            Check::NoEntry(_) | Check::NotMade(_) => {}
        }
        if let Check::Answered(_) | Check::Unreadable(..) = probed.observation.check {
            self.show(metrics);
            if let Some(paused) = self.number("wsrep_flow_control_paused_ns") {
                if let Some((before, at)) = self.paused {
                    let passed = now.saturating_duration_since(at).as_secs_f64() * 1e9;
                    let share = if passed > 0.0 { paused.saturating_sub(before) as f64 / passed } else { 0.0 };
                    metrics.set_flow_control_paused(share.clamp(0.0, 1.0));
                }
                self.paused = Some((paused, now));
            }
        }
        probed.addresses.as_ref().is_some_and(|found| self.found(watched, found))
    }

    /// Shows what was read last in the metrics.
    pub(super) fn show(&self, metrics: &NodeMetrics) {
        metrics.set_state(self.number("wsrep_local_state"));
        metrics.set_recv_queue(self.number("wsrep_local_recv_queue").unwrap_or(0));
    }

    fn number(&self, row: &str) -> Option<u64> {
        self.rows.get(row).and_then(|value| value.parse().ok())
    }

    /// Keeps where the node was found. True: it was elsewhere before.
    pub(super) fn found(&mut self, watched: &WatchedNode, addresses: &[Endpoint]) -> bool {
        // The data port at the addresses that the check goes to.
        let of_data = |found: &Endpoint| match (found, watched.spec.address.host()) {
            (Endpoint::Tcp(address), Some(host)) => Endpoint::Tcp(SocketAddr::new(address.ip(), host.port)),
            _ => found.clone(),
        };
        let addresses: Arc<[Endpoint]> = addresses.iter().map(of_data).collect();
        let changed = self.addresses != addresses;
        self.addresses = addresses;
        changed
    }
}

/// What a check that brought no good answer met, for the status.
pub(super) fn error_of(check: &Check) -> Option<String> {
    match check {
        Check::Answered(_) | Check::Server(_) | Check::Open => None,
        Check::Unreadable(why, _) => Some(galera::fitness::judge_unreadable(why).1.to_string()),
        Check::Unreachable { why: galera::Unreachable::CannotResolve(how), .. } => {
            Some(format!("cannot resolve: {how}"))
        }
        Check::Unreachable { why, .. } => Some(why.to_string()),
        Check::LoginRefused(why) | Check::Offline(why) | Check::NoEntry(why) => Some(why.to_string()),
        Check::NotMade(why) => Some(why.clone()),
    }
}

/// Its label in the metrics.
pub(super) fn failure_label(check: &Check) -> Option<&'static str> {
    match check {
        Check::Answered(_) | Check::Server(_) | Check::Open => None,
        Check::Unreadable(why, _) => Some(galera::fitness::judge_unreadable(why).1.label()),
        Check::Unreachable { .. } => Some("unreachable"),
        Check::LoginRefused(_) => Some("login_refused"),
        Check::Offline(_) => Some("offline_mode"),
        Check::NoEntry(_) => Some("no_entry"),
        Check::NotMade(_) => Some("not_made"),
    }
}
