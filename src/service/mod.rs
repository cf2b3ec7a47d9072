//! Services: from an accepted connection to its close.
//!
//! ```text
//!  worker ─ accept ─► session ─ welcome ─► search: slot, turn, pick, connect, greeting, next node ─► relay ─► access log
//!                                  └───────────┴─ nothing found: refuse (ERR packet) ───────────────────────┘
//! ```
//!
//! Each worker is a thread with a current-thread runtime; a session never leaves the worker it was given to.

mod attempt;
mod close;
mod queue;
mod record;
mod refuse;
mod search;
mod session;
mod sources;
mod trail;
mod vetted;
mod welcome;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use crate::config;
use crate::pool::PoolCell;
use crate::telemetry::ServiceMetrics;

use queue::Queue;
use sources::Sources;
pub use worker::Workers;

/// What every session of one service shares.
#[derive(Debug)]
pub struct Service {
    /// The current settings; a session reads them once.
    pub settings: ArcSwap<config::Service>,
    /// The snapshots of its target.
    pub pool: Arc<PoolCell>,
    /// Its counts.
    pub metrics: Arc<ServiceMetrics>,
    /// Sessions that may still begin.
    slots: Arc<Semaphore>,
    /// Clients that may still be waited for to say who they are.
    nameless: Semaphore,
    /// Clients that are turned away and may still be waited for to leave.
    partings: Semaphore,
    /// Picks so far.
    turns: AtomicUsize,
    /// Who waits for a node.
    queue: Arc<Queue>,
    /// How many clients each address has.
    sources: Arc<Sources>,
    /// True once Galeway stops: who still waits for a node is turned away.
    stopping: watch::Receiver<bool>,
}

/// Clients of one service that are turned away in an orderly way at once; further ones are cut. Whoever is refused stands
/// outside every other limit for as long as that takes.
const PARTINGS: usize = 256;

impl Service {
    /// The number of a client's pick, for the algorithms. Not that of its arrival: a client that is turned away takes nobody's
    /// turn.
    fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// A service that accepts nothing yet: see [`Workers::attach`].
    pub fn new(
        settings: Arc<config::Service>,
        pool: Arc<PoolCell>,
        metrics: Arc<ServiceMetrics>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (slots, waiting) = (count(settings.max_connections), count(settings.max_queue));
        Self {
            settings: ArcSwap::new(settings),
            pool,
            metrics,
            slots: Arc::new(Semaphore::new(slots)),
            // As many as may be served and wait: a whole burst of accepts comes before the first header is read.
            nameless: Semaphore::new(slots.saturating_add(waiting).min(Semaphore::MAX_PERMITS)),
            partings: Semaphore::new(PARTINGS),
            turns: AtomicUsize::new(0),
            queue: Arc::default(),
            sources: Arc::default(),
            stopping,
        }
    }
}
