//! What a restart must not forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::NodeId;
use super::super::settings::Settings;
use super::super::verdict::AdminState;
use super::Core;

/// What a restart must not forget. Nodes by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The history that was learned, in lower case.
    pub history: Option<Box<str>>,
    /// The component that is served.
    pub served: BTreeSet<Arc<str>>,
    /// The writer.
    pub writer: Option<Arc<str>>,
    /// Nodes that are not ready by the operator's wish.
    pub operator: BTreeMap<Arc<str>, AdminState>,
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
            self.recalled = Memory { operator: memory.operator.clone(), ..Memory::default() };
        } else {
            self.history.clone_from(&memory.history);
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

    /// What a restart must not forget.
    pub fn memory(&self) -> Memory {
        let name = |id: &NodeId| self.nodes.get(id).map(|e| Arc::clone(&e.spec.name));
        let served: BTreeSet<NodeId> = match self.served() {
            [] => self.served.clone(),
            now => now.iter().copied().collect(),
        };
        let away = self.nodes.values().filter(|e| e.admin != AdminState::Ready);
        let away = away.map(|e| (Arc::clone(&e.spec.name), e.admin));
        // Those that are not known again yet are not forgotten meanwhile.
        let unknown = &self.recalled;
        Memory {
            history: self.history.clone(),
            served: served.iter().filter_map(name).chain(unknown.served.iter().cloned()).collect(),
            writer: self.writer.or(self.incumbent).as_ref().and_then(name).or_else(|| unknown.writer.clone()),
            operator: away.chain(unknown.operator.iter().map(|(name, state)| (Arc::clone(name), *state))).collect(),
        }
    }
}
