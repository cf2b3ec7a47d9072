//! What an instance consists of now. A reload reads it to see what stays, and changes it once nothing can go wrong any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::certificates::Secured;
use crate::admin::{ClusterView, ServiceView};
use crate::config::{Config, Listen};
use crate::health::Targets;
use crate::service::{Door, Service};

/// The parts of an instance, shared by whoever runs, reloads or ends it.
#[derive(Debug, Clone)]
pub(super) struct Standing(Arc<Mutex<Parts>>);

/// The parts.
#[derive(Debug)]
pub(super) struct Parts {
    /// As it was started: the measure of what a reload cannot change.
    pub(super) started: Config,
    /// As it runs.
    pub(super) config: Config,
    /// Those that are watched, by name; one that the configuration does not name any more until its nodes have drained.
    pub(super) clusters: BTreeMap<Arc<str>, ClusterView>,
    /// Those that accept, in the order of the configuration.
    pub(super) units: Vec<Unit>,
    /// Services that accept no longer, and may have sessions.
    pub(super) gone: Vec<Weak<Service>>,
    /// Counts configurations, from 1.
    pub(super) generation: u64,
    /// Configurations that are being prepared: no cluster that one of them may have found is forgotten meanwhile.
    pub(super) prepared: usize,
    /// Nothing is to be accepted any more.
    pub(super) closed: bool,
}

/// A service and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) service: Arc<Service>,
    /// Where it accepts, as it was written and as it is.
    pub(super) doors: Vec<(Listen, Arc<Door>)>,
    /// Its own, and those of the services behind its address.
    pub(super) views: Vec<Arc<ServiceView>>,
    /// Of a service that is not sent to a cluster.
    pub(super) targets: Option<Targets>,
    /// Its TLS, and that of the services behind its address.
    pub(super) secured: Vec<Secured>,
}

impl Unit {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.service.settings.name
    }
}

impl Standing {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(Mutex::new(parts)))
    }

    /// What is held is changed as a whole or not at all.
    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// Workers are to stop accepting, now and for good.
    pub(super) fn close(&mut self) {
        self.closed = true;
        // Not kept: the last worker that has stopped there is to close the socket.
        for (_, door) in self.units.iter_mut().flat_map(|unit| unit.doors.drain(..)) {
            door.close();
        }
    }

    /// Every service that may have sessions.
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        let accept = self.units.iter().map(|unit| Arc::clone(&unit.service));
        accept.chain(self.gone.iter().filter_map(Weak::upgrade)).collect()
    }
}
