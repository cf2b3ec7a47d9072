//! Watching the nodes, and the only publisher of snapshots.
//!
//! ```text
//!  monitor (one task a node) ── observation ──► watch (one a cluster): core.step ──► publish ──► orders, metrics, log
//!       ▲  timer, closed check connection, data path's failure
//! ```
//!
//! Everything here runs on the control thread.

mod deadline;
mod monitor;
pub mod probe;
mod watch;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::config;
use crate::net::tls::SetupError;
use crate::pool::PoolCell;
use crate::telemetry::Registry;

pub use watch::ClusterWatch;

/// One cluster's monitors. Dropping it ends them.
#[derive(Debug)]
pub struct Health {
    watch: Arc<ClusterWatch>,
    tasks: JoinSet<()>,
}

impl Health {
    /// Prepares the watch of a cluster; [`Self::start`] begins it.
    pub fn new(cluster: &Arc<config::Cluster>, registry: &Registry) -> Result<Self, SetupError> {
        Ok(Self { watch: Arc::new(ClusterWatch::new(cluster, registry)?), tasks: JoinSet::new() })
    }

    /// Where the cluster's snapshots are found.
    pub fn pool(&self) -> Arc<PoolCell> {
        self.watch.pool()
    }

    /// Starts the monitors, on the runtime this is called in.
    pub fn start(&mut self) {
        for node in self.watch.nodes() {
            self.tasks.spawn(monitor::run(Arc::clone(&self.watch), node));
        }
        let watch = Arc::clone(&self.watch);
        self.tasks.spawn(async move { watch.tick().await });
    }

    /// Waits until every node was checked once; each check has its deadline.
    pub async fn first_round(&self) {
        self.watch.first_round().await;
    }
}
