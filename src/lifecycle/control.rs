//! The control thread.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::certificates::{Secured, look_after};
use crate::admin::{self, RunState, View};
use crate::health::{Fixed, Health};
use crate::net::Listener;
use crate::service::{Service, Workers};

/// Histograms are condensed this often; without it they keep every sample.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the control thread runs.
pub(super) struct Control {
    pub(super) healths: Vec<Health>,
    pub(super) fixed: Vec<Fixed>,
    pub(super) admin: Option<std::net::TcpListener>,
    pub(super) socket: Option<UnixListener>,
    pub(super) view: Arc<View>,
    pub(super) services: Vec<(Arc<Service>, Vec<Arc<Listener>>)>,
    pub(super) secured: Vec<Secured>,
    /// Certificates are to be read anew.
    pub(super) reread: watch::Receiver<u64>,
    pub(super) workers: Arc<Workers>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) first_round: Duration,
}

impl Control {
    pub(super) async fn run(mut self) {
        if let Some(listener) = self.admin.take() {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(admin::serve(listener, Arc::clone(&self.view)));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin address: it answers nothing"),
            }
        }
        if let Some(listener) = self.socket.take() {
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(admin::serve_unix(listener, Arc::clone(&self.view)));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin socket: it answers nothing"),
            }
        }
        for secured in std::mem::take(&mut self.secured) {
            tokio::spawn(look_after(secured, self.reread.clone()));
        }
        for health in &mut self.healths {
            health.start();
        }
        for targets in &mut self.fixed {
            targets.start();
        }
        let rounds = async {
            for health in &self.healths {
                health.first_round().await;
            }
            for targets in &self.fixed {
                targets.first_round().await;
            }
        };
        if tokio::time::timeout(self.first_round, rounds).await.is_err() {
            for (health, cluster) in self.healths.iter().zip(&self.view.clusters) {
                let unchecked = health.unchecked().join(", ");
                if !unchecked.is_empty() {
                    tracing::warn!(cluster = %cluster.name, unchecked,
                        "accepting although these nodes were not checked yet: they get nobody until they were");
                }
            }
        }
        // Not kept here: the instance owns the sockets, and closes them when it drains.
        for (service, listeners) in self.services.drain(..) {
            for listener in listeners {
                self.workers.attach(&listener, &service, &self.closing).await;
                let name = &service.settings.load().name;
                tracing::info!(service = %name, address = %listener.local(), "accepting");
            }
        }
        // Unless a drain came first.
        self.view.state.send_if_modified(|s| {
            let starting = *s == RunState::Starting;
            if starting {
                *s = RunState::Running;
            }
            starting
        });
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            upkeep.tick().await;
            self.view.registry.upkeep();
        }
    }
}
