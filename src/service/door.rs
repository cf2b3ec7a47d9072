//! Where clients of a service come in. The service may change while its socket, and whoever the kernel has queued on it, stays.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Service;
use crate::net::Listener;

/// One listening socket, and whose it is.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listener: Arc<Listener>,
    service: ArcSwap<Service>,
    closed: watch::Sender<bool>,
}

impl Door {
    /// Leads to this service. Nobody accepts yet: see [`super::Workers::attach`].
    pub fn new(listener: Arc<Listener>, service: &Arc<Service>) -> Self {
        Self { listener, service: ArcSwap::new(Arc::clone(service)), closed: watch::Sender::new(false) }
    }

    /// Whose clients come in.
    pub fn service(&self) -> Arc<Service> {
        self.service.load_full()
    }

    /// Clients that are accepted from now on are another service's.
    pub fn lead_to(&self, service: &Arc<Service>) {
        self.service.store(Arc::clone(service));
    }

    /// Workers are to take what the kernel has queued, and to stop accepting.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// True once it is closed.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }
}
