//! What a restart must not forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::NodeId;
use super::super::settings::Settings;
use super::super::verdict::AdminState;
use super::{Core, Entry};

/// What a restart must not forget. Nodes by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The history that was learned, in lower case.
    pub history: Option<Box<str>>,
    /// The component that is served.
    pub served: BTreeSet<Arc<str>>,
    /// The writer.
    pub writer: Option<Arc<str>>,
    /// Its `wsrep_gcomm_uuid` and `wsrep_node_name`, by which the record of several balancers names it.
    pub writer_member: Option<(Box<str>, Box<str>)>,
    /// Nodes that are not ready by the operator's wish.
    pub operator: BTreeMap<Arc<str>, AdminState>,
    /// The same of nodes that were discovered, by their `wsrep_node_name`: an address goes on to another node.
    pub members: BTreeMap<Box<str>, AdminState>,
}

/// The most discovered nodes of which an operator's wish is kept after they are gone.
const MOST_MEMBERS: usize = 256;

impl Memory {
    /// What of it operators said.
    pub(super) fn of_operators(&self) -> Self {
        Self { operator: self.operator.clone(), members: self.members.clone(), ..Self::default() }
    }
}

impl Core {
    /// Takes back what was remembered, before the first check. Nodes that are not known are left out, unless they may be
    /// discovered yet.
    pub fn recall(&mut self, settings: &Settings, memory: &Memory) {
        // Where `state_uuid` was changed to accept another history, the side that was served and its writer are those
        // that must not serve any more.
        let other =
            settings.state_uuid.as_deref().is_some_and(|ours| memory.history.as_deref().is_some_and(|h| h != ours));
        self.recalled = memory.clone();
        if other {
            self.recalled = memory.of_operators();
        } else {
            self.history.clone_from(&memory.history);
            self.last_writer.clone_from(&memory.writer_member);
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.recognise(settings, id);
        }
        if !self.discovering {
            self.recalled = Memory::default();
        }
    }

    /// Nodes that had a part before a restart are not known again yet.
    pub fn misses_remembered(&self) -> bool {
        !self.recalled.served.is_empty() || self.recalled.writer.is_some()
    }

    /// Gives a node what is remembered of it.
    pub(super) fn recognise(&mut self, settings: &Settings, id: NodeId) {
        let Some(entry) = self.nodes.get_mut(&id) else { return };
        let name = &entry.spec.name;
        if let Some(state) = self.recalled.operator.remove(name) {
            entry.admin = state;
        }
        if self.recalled.served.remove(name) {
            self.served.insert(id);
        }
        if self.recalled.writer.take_if(|writer| writer == name).is_some() {
            self.incumbent = Some(id);
            // Another balancer may have moved it since: then only the record says who it is.
            self.writer = self.incumbent.filter(|_| !settings.agreed);
        }
    }

    /// Keeps what an operator wished of a node that is gone. Of a discovered one that never said who it is there is nothing to
    /// know it by: its address may be another node's tomorrow.
    pub(super) fn remember_operator(&mut self, gone: Entry) {
        if gone.admin == AdminState::Ready {
            return;
        }
        match gone.member() {
            Some(name) if self.recalled.members.len() < MOST_MEMBERS => {
                self.recalled.members.insert(name.into(), gone.admin);
            }
            None if !gone.spec.is_found => {
                self.recalled.operator.insert(gone.spec.name, gone.admin);
            }
            _ => {}
        }
    }

    /// What an operator wished of a discovered node goes with the member, and not with the address: `was` is the name of the
    /// one that was there. True: a wish came or went.
    pub(super) fn follow_member(&mut self, id: NodeId, was: Option<Box<str>>) -> bool {
        let Some(entry) = self.nodes.get_mut(&id) else { return false };
        let Some(is) = entry.member().map(Box::<str>::from).filter(|is| Some(is) != was.as_ref()) else { return false };
        let before = entry.admin;
        if let Some(was) = was.filter(|_| before != AdminState::Ready) {
            self.recalled.members.insert(was, std::mem::take(&mut entry.admin));
        }
        if let Some(state) = self.recalled.members.remove(&is) {
            entry.admin = state;
        }
        if entry.admin != before {
            entry.serves_since = None;
        }
        entry.admin != before
    }

    /// What a restart must not forget.
    pub fn memory(&self) -> Memory {
        let name = |id: &NodeId| self.nodes.get(id).map(|e| Arc::clone(&e.spec.name));
        let served: BTreeSet<NodeId> = match self.served() {
            [] => self.served.clone(),
            now => now.iter().copied().collect(),
        };
        let away = || self.nodes.values().filter(|e| e.admin != AdminState::Ready);
        let by_name = away().filter(|e| e.member().is_none()).map(|e| (Arc::clone(&e.spec.name), e.admin));
        let by_member = away().filter_map(|e| Some((Box::from(e.member()?), e.admin)));
        // Those that are not known again yet are not forgotten meanwhile.
        let unknown = &self.recalled;
        Memory {
            history: self.history.clone(),
            served: served.iter().filter_map(name).chain(unknown.served.iter().cloned()).collect(),
            writer: self.writer.or(self.incumbent).as_ref().and_then(name).or_else(|| unknown.writer.clone()),
            writer_member: self.last_writer.clone(),
            operator: by_name.chain(unknown.operator.iter().map(|(name, state)| (Arc::clone(name), *state))).collect(),
            members: by_member.chain(unknown.members.iter().map(|(name, state)| (name.clone(), *state))).collect(),
        }
    }
}
