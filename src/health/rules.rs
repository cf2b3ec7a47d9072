//! What a cluster is watched by.

use std::sync::Arc;
use std::time::Duration;

use super::probe::Prober;
use super::watch::WatchedNode;
use crate::config;
use crate::galera::{self, Settings};
use crate::net::tls::{ClientTls, SetupError};

/// Read anew for each check, so that it can change in place.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: Arc<config::Cluster>,
    pub(super) tls: Option<Arc<ClientTls>>,
    pub(super) core: Settings,
}

impl Rules {
    pub(super) fn new(config: &Arc<config::Cluster>) -> Result<Self, SetupError> {
        Ok(Self { config: Arc::clone(config), tls: Prober::tls(&config.monitor)?, core: settings(config) })
    }

    /// A prober of one node.
    pub(super) fn prober(&self, of: &WatchedNode) -> Prober {
        Prober::new(&of.node.address, &self.config.monitor, self.tls.clone(), Arc::clone(&of.resolver))
    }

    /// Time from one check to the next.
    pub(super) fn pace(&self, in_doubt: bool) -> Duration {
        let monitor = &self.config.monitor;
        if in_doubt { monitor.fast_interval } else { monitor.interval }
    }
}

fn settings(config: &config::Cluster) -> Settings {
    Settings {
        rise: config.monitor.rise,
        fall: config.monitor.fall,
        down_after: config.monitor.down_after,
        donor: match config.eligibility.donor {
            config::DonorRule::Never => galera::DonorRule::Never,
            config::DonorRule::LastResort => galera::DonorRule::LastResort,
            config::DonorRule::Always => galera::DonorRule::Always,
        },
        connection_margin: config.eligibility.connection_margin,
        kill_on_down: config.sessions.on_down == config::SessionRule::Kill,
        kill_on_donor: config.sessions.on_donor == config::SessionRule::Kill,
    }
}
