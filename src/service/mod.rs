//! Services: from an accepted connection to its close.
//!
//! ```text
//!  worker ─ accept ─► session ─ welcome ─► search: slot, turn, pick, connect, greeting, next node ─► relay ─► access log
//!                                  └───────────┴─ nothing found: refuse (ERR packet) ───────────────────────┘
//! ```
//!
//! Each worker is a thread with a current-thread runtime; a session never leaves the worker it was given to.

mod attempt;
mod queue;
mod refuse;
mod search;
mod session;
mod sources;
mod trail;
mod vetted;
mod welcome;
mod worker;

use std::sync::Arc;

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
    /// Who waits for a node.
    queue: Arc<Queue>,
    /// How many clients each address has.
    sources: Arc<Sources>,
    /// True once Galeway stops: who still waits for a node is turned away.
    stopping: watch::Receiver<bool>,
}

impl Service {
    /// A service that accepts nothing yet: see [`Workers::attach`].
    pub fn new(
        settings: Arc<config::Service>,
        pool: Arc<PoolCell>,
        metrics: Arc<ServiceMetrics>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let slots = usize::try_from(settings.max_connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            settings: ArcSwap::new(settings),
            pool,
            metrics,
            slots: Arc::new(Semaphore::new(slots)),
            nameless: Semaphore::new(slots),
            queue: Arc::default(),
            sources: Arc::default(),
            stopping,
        }
    }
}
