//! Configured nodes and found ones that are the same servers, while found ones are to replace the configured.
//!
//! After a reload to the addresses of names the nodes that were configured go on until found ones serve: they are stopgaps.
//! What is found meanwhile may be one of them by another address. A member of a cluster is known by its `wsrep_gcomm_uuid`,
//! a server by itself by its `@@server_uuid`, or by its `@@server_id` where no other one has that.

use super::super::NodeId;
use super::super::fitness::Fitness;
use super::super::node_state::Contact;
use super::super::reason::Reason;
use super::super::server::Links;
use super::super::settings::Sort;
use super::super::verdict::AdminState;
use super::super::writer::Candidate;
use super::{Core, Entry};

impl Core {
    /// It was found beside stopgaps that go on still.
    pub(super) fn is_stand_in(&self, entry: &Entry) -> bool {
        entry.is_newcomer && self.has_stopgaps()
    }

    /// Nodes go on until others replace them.
    pub(super) fn has_stopgaps(&self) -> bool {
        self.nodes.values().any(|e| e.spec.is_stopgap && e.leaving.is_none())
    }

    /// The stopgap that is the same server as this node, which was found.
    pub(super) fn twin(&self, id: NodeId) -> Option<NodeId> {
        let entry = self.nodes.get(&id).filter(|e| e.is_newcomer)?;
        self.nodes.iter().find(|(_, e)| e.spec.is_stopgap && self.is_one_server(entry, e)).map(|(id, _)| *id)
    }

    /// The same, where that one goes on: it is not silent, or what it lacks the found one lacks as well.
    pub(super) fn living_twin(&self, id: NodeId) -> Option<NodeId> {
        let goes_on = |id: &NodeId| {
            let is_silent = self.nodes.get(id).is_some_and(|e| e.state.contact == Contact::Silent);
            !is_silent || self.apart_from(*id).is_some()
        };
        self.twin(id).filter(goes_on)
    }

    fn is_one_server(&self, one: &Entry, other: &Entry) -> bool {
        match one.spec.sort {
            Sort::Member => one.state.uuid.is_some() && one.state.uuid == other.state.uuid,
            Sort::Server => {
                let (links, other) = (&one.state.links, &other.state.links);
                let is_own = || self.is_own_id(links);
                links
                    .is_same_server(other)
                    .unwrap_or_else(|| links.id().is_some() && links.id() == other.id() && is_own())
            }
            Sort::Replica | Sort::Port => false,
        }
    }

    /// No other server has its `@@server_id`. One that leaves may be the same server as one that came, and one that came the
    /// same as one that goes on.
    pub(super) fn is_own_id(&self, links: &Links) -> bool {
        let counts = |e: &&Entry| e.spec.sort == Sort::Server && e.leaving.is_none() && !self.is_stand_in(e);
        self.nodes.values().filter(counts).filter(|e| e.state.links.id() == links.id()).count() <= 1
    }

    /// The candidate that is the same server as a writer that leaves.
    pub(super) fn heir(&self, candidates: &[Candidate]) -> Option<NodeId> {
        let writer = self.writer.and_then(|id| self.nodes.get(&id)).filter(|e| e.leaving.is_some())?;
        let is_same = |id: &NodeId| self.nodes.get(id).is_some_and(|e| self.is_one_server(e, writer));
        candidates.iter().map(|c| c.id).find(is_same)
    }

    /// Stopgaps may go, as far as the writer is concerned: where another server takes writes that lacks what was written there,
    /// only once it takes them under the address that was found.
    pub fn may_part(&self) -> bool {
        let Some(writer) = self.writer.or(self.incumbent).filter(|id| self.has_rivals(*id)) else { return true };
        self.nodes.keys().any(|id| self.twin(*id) == Some(writer) && self.takes_writes(*id))
    }

    /// A stopgap goes: what an operator wished of it is wished of the same server.
    pub(super) fn hand_on_wish(&mut self, id: NodeId) {
        let gone = self.nodes.get(&id).filter(|e| e.spec.is_stopgap && e.admin != AdminState::Ready);
        let Some(wish) = gone.map(|e| e.admin) else { return };
        let twin = self.nodes.keys().copied().find(|other| self.twin(*other) == Some(id));
        if let Some(entry) = twin.and_then(|twin| self.nodes.get_mut(&twin)) {
            entry.admin = wish;
            entry.serves_since = None;
        }
    }

    /// Whether a found node serves, or would if it were not a node that serves as well.
    pub fn can_replace(&self, id: NodeId) -> bool {
        let open = |id: NodeId| self.nodes.get(&id).filter(|e| e.is_open());
        let serves = |id: NodeId| open(id).is_some_and(|e| e.verdict.kind.serves());
        let is_fit = |e: &Entry| e.state.fitness != Fitness::None && matches!(e.verdict.reason, Reason::SameNode(_));
        serves(id) || open(id).is_some_and(is_fit) && self.twin(id).is_some_and(serves)
    }
}
