//! What is known of one node, beside what the checks of it have settled.

use std::time::Instant;

use super::super::node_state::{Contact, NodeState};
use super::super::reason::{Departure, Reason};
use super::super::settings::{Sort, Spec};
use super::super::split::Doubt;
use super::super::verdict::{AdminState, Verdict};

/// What has been ordered about a node's established sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orders {
    Live,
    Draining,
    Ended,
}

/// A view that is out of date.
#[derive(Debug, Clone)]
pub(super) struct Staleness {
    pub(super) doubt: Doubt,
    /// As lists of members show it. Otherwise no session ends for it.
    pub(super) certain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) spec: Spec,
    pub(super) state: NodeState,
    pub(super) verdict: Verdict,
    pub(super) admin: AdminState,
    pub(super) orders: Orders,
    /// It was checked, or could not be for too long.
    pub(super) asked: bool,
    /// When that was first tried.
    pub(super) asked_since: Option<Instant>,
    /// The orders to drain are the operator's, or its name's.
    pub(super) drained: bool,
    /// It is to be watched no longer.
    pub(super) leaving: Option<Departure>,
    /// It was found while others went on until one that was found serves.
    pub(super) is_newcomer: bool,
    /// Its view is out of date.
    pub(super) stale: Option<Staleness>,
    /// Since when it serves without a break.
    pub(super) serves_since: Option<Instant>,
    /// It lost the role of writer and drains: its sessions of writer services end with the drain, or when that is taken back.
    pub(super) owed_demotion: Option<Reason>,
}

impl Entry {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            state: NodeState::new(),
            verdict: Verdict::unknown(),
            admin: AdminState::Ready,
            orders: Orders::Live,
            asked: false,
            asked_since: None,
            drained: false,
            leaving: None,
            is_newcomer: false,
            stale: None,
            serves_since: None,
            owed_demotion: None,
        }
    }

    /// Clients may be sent there, as far as the operator and its name are concerned.
    pub(super) fn is_open(&self) -> bool {
        self.admin == AdminState::Ready && self.spec.takes_clients && self.leaving.is_none()
    }

    /// The name by which an operator's wish is kept: that of the member, where its address is not its own for good.
    pub(super) fn member(&self) -> Option<&str> {
        self.state.name.as_deref().filter(|_| self.spec.is_found)
    }

    /// It is taken out on purpose, and its sessions may finish: by an operator, by the configuration, by the server's own word.
    pub(super) fn drains_by_plan(&self) -> bool {
        let is_planned = self.admin != AdminState::Ready || self.leaving.is_some();
        is_planned || matches!(self.verdict.reason, Reason::Maintenance(_))
    }

    /// A server that answers and takes writes, and that nothing but what it replicates keeps from serving.
    pub(super) fn is_only_for_writers(&self, reason: &Reason) -> bool {
        let is_open = self.spec.sort == Sort::Server && self.state.writable == Some(true);
        is_open && self.state.contact == Contact::Answers && reason.is_of_replication()
    }

    /// What it is, and says of itself, does not keep it from being the writer.
    pub(super) fn may_write(&self) -> bool {
        match self.spec.sort {
            Sort::Member => true,
            Sort::Server => self.state.writable != Some(false),
            Sort::Replica | Sort::Port => false,
        }
    }
}
