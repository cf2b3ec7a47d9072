//! Nodes whose check answers and that take no new connections.

use std::time::Instant;

use super::super::NodeId;
use super::super::fitness::Fitness;
use super::super::observation::NewConnection;
use super::super::reason::Reason;
use super::super::settings::{Settings, Sort};
use super::{Core, Entry, Outcome};
use crate::galera::Effect;

impl Core {
    /// Takes in what an attempt on a new connection to a node met. After a failure the other nodes have to prove that they take
    /// some: where none does the fault may be on our side, and no node is to blame.
    pub(super) fn new_connection(
        &mut self,
        settings: &Settings,
        id: NodeId,
        seen: NewConnection,
        outcome: &mut Outcome,
    ) {
        let Some(entry) = self.nodes.get_mut(&id) else { return };
        entry.state.connected(settings, seen);
        let Some(since) = entry.state.entrance.failing_since() else { return };
        let unproven = |(other, e): &(&NodeId, &Entry)| {
            // A donor could serve in its place. One that is in doubt is tried again at its own pace: asked for at once by each
            // other's failures, nodes that refuse at once would be dialled without a pause.
            let could_serve = e.is_open() && e.state.fitness > Fitness::None && e.spec.sort != Sort::Port;
            let entrance = &e.state.entrance;
            could_serve && **other != id && !entrance.is_in_doubt() && !entrance.has_taken_since(since)
        };
        let unproven = self.nodes.iter().filter(unproven);
        outcome.effects.extend(unproven.map(|(other, _)| Effect::TryConnection(*other)));
    }

    /// Takes the fitness of nodes that take no new connections. Such a node keeps what it has until another one has proven, since
    /// the first failure, that it takes some. Where there is no other, it is left for the last resort.
    pub(super) fn exclude_closed(&self, placed: &mut [(NodeId, Fitness, Reason)]) {
        let fit: Vec<NodeId> = placed.iter().filter(|(_, fitness, _)| *fitness > Fitness::None).map(|p| p.0).collect();
        for (id, fitness, reason) in placed.iter_mut().filter(|(_, fitness, _)| *fitness > Fitness::None) {
            let Some(entry) = self.nodes.get(id) else { continue };
            let Some((why, since)) = entry.state.closed_entrance() else { continue };
            if self.can_do_without(*id, entry, since, &fit) {
                (*fitness, *reason) = (Fitness::None, Reason::NoNewConnections(why.clone()));
            }
        }
    }

    /// Another node is known to take new connections, or there is none that could.
    fn can_do_without(&self, id: NodeId, entry: &Entry, since: Instant, fit: &[NodeId]) -> bool {
        let others = fit.iter().filter(|other| **other != id).filter_map(|other| self.nodes.get(other));
        // A replica is no reason to leave a member out.
        let open: Vec<&Entry> = others
            .filter(|e| e.is_open() && e.state.closed_entrance().is_none())
            .filter(|e| e.spec.sort != Sort::Replica || entry.spec.sort == Sort::Replica)
            .collect();
        open.is_empty() || open.iter().any(|e| e.state.entrance.has_taken_since(since))
    }

    /// Whether this server takes writes and no other one that is open does: then its clients have nowhere else to go.
    pub(super) fn is_alone_in_writing(&self, entry: &Entry) -> bool {
        let takes = |e: &Entry| {
            let is_server = e.spec.sort == Sort::Server && e.is_open();
            is_server && e.state.writable == Some(true) && e.state.fitness > Fitness::None
        };
        let others = self.nodes.values().filter(|e| !std::ptr::eq(*e, entry));
        takes(entry) && !others.into_iter().any(|e| takes(e) && e.state.closed_entrance().is_none())
    }

    /// What a node's new connections are known to be like, for who tries them.
    pub fn entrance(&self, id: NodeId) -> EntranceState {
        let Some(state) = self.nodes.get(&id).map(|e| &e.state) else { return EntranceState::default() };
        EntranceState {
            last_taken: state.entrance.last_taken(),
            is_in_doubt: state.entrance.is_in_doubt(),
            is_closed: state.entrance.closed().is_some(),
            is_late: state.entrance.is_late(),
        }
    }
}

/// What is known of a node's new connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntranceState {
    /// When the last attempt began that was taken.
    pub last_taken: Option<Instant>,
    /// What the last attempt met calls for another one soon.
    pub is_in_doubt: bool,
    /// It counts as a node that takes none.
    pub is_closed: bool,
    /// It takes them, but later than a check waits.
    pub is_late: bool,
}
