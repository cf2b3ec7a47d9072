//! What a cluster is watched by.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::Lookup;
use super::probe::Prober;
use super::roster::{Origin, WatchedNode};
use crate::config::{self, NodeKind};
use crate::galera::{self, Order, Settings, Sort, Spec};
use crate::net::tls::{ClientTls, SetupError};

/// Read anew for each check, so that it can change in place.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: Arc<config::Cluster>,
    pub(super) tls: Option<Arc<ClientTls>>,
    pub(super) core: Settings,
}

/// What a cluster is to be watched by from a reload on. Whatever can be wrong with it was found when it was made.
#[derive(Debug)]
pub struct Fresh(pub(super) Rules);

impl Fresh {
    /// Reads the monitor's certificates.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(config: &Arc<config::Cluster>) -> Result<Self, SetupError> {
        Rules::new(config).map(Self)
    }
}

impl Rules {
    pub(super) fn new(config: &Arc<config::Cluster>) -> Result<Self, SetupError> {
        Ok(Self { config: Arc::clone(config), tls: Prober::tls(&config.monitor)?, core: settings(config) })
    }

    /// These, for another configuration with the same monitor.
    pub(super) fn with(&self, config: &Arc<config::Cluster>) -> Self {
        Self { config: Arc::clone(config), tls: self.tls.clone(), core: settings(config) }
    }

    /// A prober of one node.
    pub(super) fn prober(&self, of: &WatchedNode, lookup: &Lookup) -> Prober {
        let sort = self.sort(of);
        let prober = Prober::new(&of.spec.address, sort, &self.config.monitor, self.tls.clone(), lookup);
        match &of.origin {
            // Certificates name what the configuration names.
            Origin::Dns(name) => prober.named(&name.host),
            _ => prober,
        }
    }

    /// What a node is to the cluster.
    pub(super) fn sort(&self, of: &WatchedNode) -> Sort {
        sort(&self.config.monitor, of.spec.kind)
    }

    /// Time from one check to the next.
    pub(super) fn pace(&self, in_doubt: bool) -> Duration {
        let monitor = &self.config.monitor;
        if in_doubt { monitor.fast_interval } else { monitor.interval }
    }
}

/// What the core is told of a cluster's configuration.
pub fn settings(config: &config::Cluster) -> Settings {
    let (monitor, eligibility, sessions) = (&config.monitor, &config.eligibility, &config.sessions);
    Settings {
        rise: monitor.rise,
        fall: monitor.fall,
        down_after: monitor.down_after,
        donor: match eligibility.donor {
            config::DonorRule::Never => galera::DonorRule::Never,
            config::DonorRule::LastResort => galera::DonorRule::LastResort,
            config::DonorRule::Always => galera::DonorRule::Always,
        },
        connection_margin: eligibility.connection_margin,
        max_recv_queue: eligibility.max_recv_queue,
        max_flow_control_paused: eligibility.max_flow_control_paused,
        kill_on_down: sessions.on_down == config::SessionRule::Kill,
        kill_on_donor: sessions.on_donor == config::SessionRule::Kill,
        kill_on_demote: sessions.on_demote == config::SessionRule::Kill,
        refuse_split_brain: config.split_brain == config::SplitBrain::Refuse,
        state_uuid: config.state_uuid.clone(),
        failback: match config.writer.failback {
            config::Failback::Never => galera::Failback::Never,
            config::Failback::Immediate => galera::Failback::Immediate,
            config::Failback::After(time) => galera::Failback::After(time),
        },
        donor_grace: config.writer.donor_grace,
        agreed: config.writer.agreement == config::Agreement::Cluster,
        max_replication_lag: eligibility.max_replication_lag,
    }
}

/// What the core is told of a node at this place among the others.
pub fn spec(node: &config::NodeSpec, order: Order, monitor: &config::Monitor) -> Spec {
    Spec {
        name: Arc::clone(&node.name),
        priority: node.priority,
        order,
        takes_clients: node.weight > 0,
        backup: node.backup,
        sort: sort(monitor, node.kind),
        is_found: false,
        is_stopgap: false,
    }
}

/// The same of a node that may have been discovered.
pub(super) fn spec_of(node: &config::NodeSpec, origin: &Origin, order: Order, monitor: &config::Monitor) -> Spec {
    let is_found = matches!(origin, Origin::Dns(_) | Origin::Galera);
    Spec { is_found, ..spec(node, order, monitor) }
}

/// What a node is to a cluster that is watched like this.
pub fn sort(monitor: &config::Monitor, node: NodeKind) -> Sort {
    match (monitor.kind, node) {
        (NodeKind::Galera, NodeKind::Galera) => Sort::Member,
        (NodeKind::Galera, NodeKind::Mysql) => Sort::Replica,
        (NodeKind::Mysql, _) | (_, NodeKind::Mysql) => Sort::Server,
        (NodeKind::Tcp, _) | (_, NodeKind::Tcp) => Sort::Port,
    }
}
