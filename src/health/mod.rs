//! Watching the nodes, and the only publisher of snapshots.
//!
//! ```text
//!  monitor (one task a node) ── observation ──► watch (one a cluster): core.step ──► publish ──► orders, metrics, log
//!       ▲  timer, closed check connection, data path's failure
//! ```
//!
//! Everything here runs on the control thread.

mod deadline;
mod discover;
mod fixed;
mod lookup;
mod members;
pub mod memory;
mod monitor;
mod names;
mod new_connections;
mod obey;
mod operator;
mod picture;
pub mod probe;
mod record;
mod resolve;
mod roster;
mod rules;
mod seen;
mod session;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use crate::config::{self, Discover};
use crate::net::tls::SetupError;
use crate::pool::{CommandQueue, Commands, NodeId, PoolCell};
use crate::telemetry::Registry;

pub use fixed::{Fixed, Targets};
pub use lookup::{Lookup, LookupError};
pub use memory::{Keepers, Store};
use roster::Origin;
pub use rules::{Fresh, settings, sort, spec};
pub use watch::{ClusterWatch, Reconfigured};

/// One cluster's monitors. Dropping it ends them.
#[derive(Debug)]
pub struct Health {
    watch: Arc<ClusterWatch>,
    commands: Commands,
    /// Until [`Self::start`] takes it.
    queue: Option<CommandQueue>,
    tasks: JoinSet<()>,
    /// Those that the configuration asks for: another one begins them anew.
    asked_for: JoinSet<()>,
}

impl Health {
    /// Prepares the watch of a cluster, with what is remembered of it; [`Self::start`] begins it. Names of its nodes are
    /// looked up by `lookup`.
    pub fn new(
        cluster: &Arc<config::Cluster>,
        registry: &Registry,
        memory: Option<&Keepers>,
        lookup: &Lookup,
    ) -> Result<Self, SetupError> {
        let keeper = memory.map(|keepers| keepers.of(&cluster.name));
        let watch = Arc::new(ClusterWatch::new(cluster, registry, keeper, lookup)?);
        let (commands, queue) = Commands::channel();
        Ok(Self { watch, commands, queue: Some(queue), tasks: JoinSet::new(), asked_for: JoinSet::new() })
    }

    /// Where operators' commands for the cluster are given.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Where the cluster's snapshots are found.
    pub fn pool(&self) -> Arc<PoolCell> {
        self.watch.pool()
    }

    /// Starts the monitors, on the runtime this is called in.
    pub fn start(&mut self) {
        let watch = Arc::clone(&self.watch);
        self.tasks.spawn(monitor_all(watch));
        let watch = Arc::clone(&self.watch);
        self.tasks.spawn(kept_alive(move || Arc::clone(&watch).tick()));
        let watch = Arc::clone(&self.watch);
        self.tasks.spawn(kept_alive(move || names::run(Arc::clone(&watch))));
        let watch = Arc::clone(&self.watch);
        self.tasks.spawn(kept_alive(move || Arc::clone(&watch).see_off()));
        if let Some(queue) = self.queue.take() {
            let watch = Arc::clone(&self.watch);
            let queue = Arc::new(tokio::sync::Mutex::new(queue));
            self.tasks.spawn(kept_alive(move || obey_operators(Arc::clone(&watch), Arc::clone(&queue))));
        }
        self.begin_what_is_asked_for();
    }

    fn begin_what_is_asked_for(&mut self) {
        self.asked_for = JoinSet::new();
        let config = Arc::clone(&self.watch.rules().config);
        if config.discovery.by != Discover::Off {
            let watch = Arc::clone(&self.watch);
            self.asked_for.spawn(kept_alive(move || discover::run(Arc::clone(&watch))));
        }
        if config.writer.login.is_some() {
            let watch = Arc::clone(&self.watch);
            self.asked_for.spawn(kept_alive(move || record::run(Arc::clone(&watch))));
        }
    }

    /// Goes on with another configuration, on the runtime that [`Self::start`] was called in.
    pub fn reconfigure(&mut self, fresh: Fresh) -> Reconfigured {
        let old = self.watch.rules();
        let new = Arc::clone(&fresh.0.config);
        let report = self.watch.reconfigure(fresh.0);
        // A cluster that was retired and is back has the same configuration, and nobody who does what it asks for.
        if old.config.discovery != new.discovery || old.config.writer != new.writer || self.asked_for.is_empty() {
            self.begin_what_is_asked_for();
        }
        report
    }

    /// The configuration does not name the cluster any more: its nodes drain. It is watched until [`Self::is_over`].
    pub fn retire(&mut self) {
        let rules = self.watch.rules();
        let empty = config::Cluster {
            nodes: Vec::new(),
            discovery: config::Discovery { by: Discover::Off, ..rules.config.discovery.clone() },
            ..config::Cluster::clone(&rules.config)
        };
        self.asked_for = JoinSet::new();
        self.watch.reconfigure(rules.with(&Arc::new(empty)));
    }

    /// After [`Self::retire`]: every node has been forgotten.
    pub fn is_over(&self) -> bool {
        self.watch.nodes().is_empty()
    }

    /// None of the cluster's series is shown from now on.
    pub fn forget(&self) {
        self.watch.metrics().forget();
    }

    /// Names of the nodes that were not checked yet.
    pub fn unchecked(&self) -> Vec<Arc<str>> {
        self.watch.unchecked()
    }

    /// Waits until every node was checked once; each check has its deadline.
    pub async fn first_round(&self) {
        self.watch.first_round().await;
    }
}

/// Keeps a monitor for each node that is watched, and none for others.
async fn monitor_all(watch: Arc<ClusterWatch>) {
    let mut changes = watch.roster().changes();
    let mut monitors = JoinSet::new();
    let mut of: BTreeMap<NodeId, AbortHandle> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let nodes = watch.nodes();
        of.retain(|id, monitor| {
            let stays = nodes.iter().any(|n| n.node.id == *id);
            if !stays {
                monitor.abort();
            }
            stays
        });
        for node in nodes.iter().filter(|n| n.origin != Origin::Placeholder) {
            of.entry(node.node.id).or_insert_with(|| {
                let (watch, id) = (Arc::clone(&watch), node.node.id);
                monitors.spawn(kept_alive(move || monitor::run(Arc::clone(&watch), id)))
            });
        }
        drop(nodes);
        tokio::select! {
            // The sender lives as long as the watch.
            _ = changes.changed() => {}
            // One that was ended: nothing is kept of it.
            Some(_) = monitors.join_next() => {}
        }
    }
}

/// Does what operators ask, one after the other.
async fn obey_operators(watch: Arc<ClusterWatch>, queue: Arc<tokio::sync::Mutex<CommandQueue>>) {
    // Its own: it is here only so that a task that is started again finds it.
    let mut queue = queue.lock().await;
    while let Some((command, answer)) = queue.next().await {
        // Who asked may have left: it is done all the same.
        let _ = answer.send(watch.command(command));
    }
    // Nobody is left who could ask.
    std::future::pending::<()>().await;
}

/// Pause before a task that panicked is started again.
const REVIVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a task that never ends, again if a fault of ours ends it: a node whose monitor is gone would keep its last
/// verdict for ever, and nobody would know.
async fn kept_alive<F: Future<Output = ()> + Send + 'static>(make: impl Fn() -> F) {
    loop {
        // A set and not a handle: dropped with this future, it takes the task along.
        let mut task = JoinSet::new();
        task.spawn(make());
        if task.join_next().await.is_some_and(|end| end.is_err()) {
            tracing::error!(
                "a monitor's task ended by a fault of Galeway's own: it is started again; please report it"
            );
        }
        tokio::time::sleep(REVIVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_cluster_that_comes_back_while_it_drains_has_its_record_read_again() {
        let text = "[cluster.c]\nnodes = [\"127.0.0.1:1\"]\n[cluster.c.monitor]\nuser = \"u\"\n\
                    [cluster.c.writer]\nagreement = \"cluster\"\nuser = \"w\"\npassword = \"w\"\n\
                    [service.s]\naccept = \"127.0.0.1:0\"\ncluster = \"c\"\nrole = \"writer\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let cluster = config.clusters.first().unwrap();
        let mut health = Health::new(cluster, &Registry::new(), None, &Lookup::system()).unwrap();
        health.start();
        let asked_for = health.asked_for.len();
        health.retire();
        assert!(asked_for > 0 && health.asked_for.is_empty());
        health.reconfigure(Fresh::new(cluster).unwrap());
        assert_eq!(health.asked_for.len(), asked_for);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again() {
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        let task = kept_alive(move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(start > 1, "on purpose");
                std::future::pending::<()>().await;
            }
        });
        let _ = tokio::time::timeout(std::time::Duration::from_secs(60), task).await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
