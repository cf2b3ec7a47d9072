//! What the admin room may look at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, watch};

use super::reload::ReloadDesk;
use crate::config::{Listen, Secret};
use crate::pool::{AdminState, Commands, PoolCell, Wanted};
use crate::telemetry::{Registry, ServiceMetrics};

/// How far the instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// The first round of checks is under way; nothing is accepted yet.
    Starting,
    /// Accepting.
    Running,
    /// Not accepting any more; sessions go on.
    Draining,
}

impl RunState {
    /// The word of the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// One instance, as seen from outside.
#[derive(Debug)]
pub struct View {
    /// When it was started.
    pub started: Instant,
    /// How far it has come.
    pub state: watch::Sender<RunState>,
    /// What it consists of by its configuration of now.
    pub layout: ArcSwap<Layout>,
    /// Where a reload is asked for.
    pub reloads: ReloadDesk,
    /// Its metrics.
    pub registry: Registry,
    /// Another process is about to take its place: what operators change here would be forgotten.
    pub replaced: AtomicBool,
    /// What operators have set.
    pub operated: broadcast::Sender<Operated>,
}

/// An operator has set a node's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operated {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// What is wanted of it.
    pub state: AdminState,
    /// With `ready`: its history is the one to serve.
    pub accept_history: bool,
}

/// What an instance consists of, by one configuration.
#[derive(Debug)]
pub struct Layout {
    /// Which configuration, counted from 1.
    pub generation: u64,
    /// Its clusters, in the order of the configuration.
    pub clusters: Vec<ClusterView>,
    /// Its services, in the order of the configuration.
    pub services: Vec<Arc<ServiceView>>,
    /// What a change over TCP has to show; `None` = TCP is read-only.
    pub token: Option<Secret>,
}

/// One cluster.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Its name.
    pub name: Arc<str>,
    /// Its snapshots.
    pub pool: Arc<PoolCell>,
    /// Where its health room takes commands.
    pub commands: Commands,
}

/// One service.
#[derive(Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: Arc<str>,
    /// Where it really listens: port 0 replaced by the kernel's choice.
    pub accept: Vec<Listen>,
    /// `CLUSTER/ROLE`, or the addresses that were given.
    pub target: String,
    /// The addresses were given, and no cluster.
    pub is_fixed: bool,
    /// Which of the cluster's nodes.
    pub wanted: Wanted,
    /// The snapshots of its target.
    pub pool: Arc<PoolCell>,
    /// Its counts.
    pub metrics: Arc<ServiceMetrics>,
}

impl View {
    /// What the instance consists of now.
    pub fn layout(&self) -> Arc<Layout> {
        self.layout.load_full()
    }

    /// How far the instance has come.
    pub fn state(&self) -> RunState {
        *self.state.borrow()
    }

    /// Whether a service can take clients and send them somewhere; else why not.
    pub fn readiness(&self, service: &ServiceView) -> Result<(), String> {
        match self.state() {
            RunState::Starting => return Err("starting: the first round of checks is under way".to_owned()),
            RunState::Draining => return Err("draining: Galeway stops".to_owned()),
            RunState::Running => {}
        }
        let pool = service.pool.load();
        let wanted = service.wanted;
        if pool.can_route(wanted) {
            return Ok(());
        }
        let reasons = pool.reasons(wanted, |_| None).join("; ");
        Err(match service.is_fixed {
            true => format!("no address of its target is known: {reasons}"),
            false => format!("no node of cluster {:?} serves role {}: {reasons}", &*pool.cluster, wanted.role.as_str()),
        })
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        for service in &self.layout().services {
            service.metrics.publish();
        }
        self.registry.render()
    }
}
