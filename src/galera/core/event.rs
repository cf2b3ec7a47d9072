//! What goes into the core, and what comes out.

use super::super::NodeId;
use super::super::agreement::{Proposal, Reading};
use super::super::observation::{NewConnection, Observation};
use super::super::reason::{Departure, Reason};
use super::super::settings::Spec;
use super::super::verdict::{AdminState, Change};

/// What can happen to a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node was configured or discovered.
    Added(NodeId, Spec),
    /// It is to be watched no longer, and drains until [`Event::Removed`]; or it stays after all, and serves again.
    Leaving(NodeId, Option<Departure>),
    /// The configuration has changed: all of it counts at once, or the role of writer would move by a state that is half old.
    Configured(Configured),
    /// It is watched no longer.
    Removed(NodeId),
    /// What can be discovered has been, for the first time.
    Discovered,
    /// A node was checked.
    Observed(NodeId, Observation),
    /// A new connection to a node was tried.
    NewConnection(NodeId, NewConnection),
    /// The record of the writer was read.
    Recorded(Reading),
    /// The operator's wish for a node.
    Operator(NodeId, AdminState),
    /// The operator says that the history that this node holds is the one to serve from now on.
    AcceptHistory(NodeId),
    /// Time passed: [`Core::deadline`] came.
    Tick,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A node's verdict changed in kind or reason: log and count it.
    Changed(Change),
    /// End the node's sessions now.
    Kill(NodeId, Reason),
    /// No new session is coming: end what is left after the drain's time.
    Drain(NodeId, Reason),
    /// A drain that was begun is taken back.
    Resume(NodeId),
    /// It is no longer the writer: end its sessions of writer services.
    Demote(NodeId, Reason),
    /// Check this node at once.
    Look(NodeId),
    /// Try a new connection to this node at once.
    TryConnection(NodeId),
    /// The role of writer went from one node to another, or to none of ours.
    Writer {
        /// Who had it.
        from: Option<NodeId>,
        /// Who has it.
        to: Option<NodeId>,
        /// Why the first one lost it.
        why: String,
    },
    /// Change the cluster's record of the writer, and read it again.
    Propose(Proposal),
    /// The alarm: two components are Primary. `None`: it is over.
    SplitBrain(Option<Split>),
    /// A history was learned: no other is served from now on.
    Learned(Box<str>),
}

/// A split brain, for the alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The nodes of each side.
    pub sides: Vec<Vec<NodeId>>,
    /// Which of them is served.
    pub served: Option<usize>,
    /// Lists of members, addresses or lives show it. Otherwise sizes and indices that contradict each other do, for longer
    /// than any state that passes.
    pub certain: bool,
}

/// What one step brought.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What routing rests on differs from before: publish a snapshot.
    pub publish: bool,
    /// In the order in which they are to be done, after the publishing: a session picked from the new snapshot
    /// must not be ended by an order about the old one.
    pub effects: Vec<Effect>,
}

/// What of a cluster's nodes a new configuration changes. The settings are in force with the step that brings it.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// Nodes that are new.
    pub added: Vec<(NodeId, Spec)>,
    /// Those that stay, and what is said of them now. Their sessions and what is known of them stay.
    pub changed: Vec<(NodeId, Spec)>,
    /// Those that it does not name any more.
    pub gone: Vec<NodeId>,
}
