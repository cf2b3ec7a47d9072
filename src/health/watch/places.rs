//! Where the nodes of a cluster that is watched are reached.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ClusterWatch;
use crate::config::Endpoint;
use crate::galera::Outcome;
use crate::health::roster::WatchedNode;

impl ClusterWatch {
    /// A name leads there now. If the check is connected elsewhere it goes there next, and clients follow when it has seen
    /// what is there.
    pub(in crate::health) fn found(&self, watched: &WatchedNode, addresses: &[Endpoint]) {
        let ip = |at: &Endpoint| if let Endpoint::Tcp(at) = at { Some(at.ip()) } else { None };
        let at = self.state().seen.get(&watched.node.id).and_then(|seen| seen.addresses.first().cloned());
        let elsewhere = at.is_some_and(|at| !addresses.iter().any(|found| ip(found) == ip(&at)));
        if elsewhere {
            watched.moved.store(true, Ordering::Relaxed);
            watched.node.look.notify_one();
        }
    }

    /// A new connection found a node whose checks have not connected in time yet: without its addresses no client could be sent
    /// there.
    pub(in crate::health) fn reached(&self, watched: &WatchedNode, addresses: &[Endpoint]) {
        let rules = self.rules();
        let mut state = self.state();
        let seen = state.seen.get_mut(&watched.node.id);
        if seen.is_some_and(|seen| seen.addresses.is_empty() && seen.found(watched, addresses)) {
            self.perform(&rules, &mut state, Outcome::default(), true, Instant::now());
        }
    }
}
