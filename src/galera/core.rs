//! The one step: an event goes into the state of a whole cluster, verdicts and effects come out.
//!
//! What always holds (each sentence is a property test, of single nodes in `core/tests/properties.rs`, of the cluster as
//! a whole in `core/tests/whole.rs`):
//!
//! * a node that was never seen fit never serves;
//! * a node whose last answer is unfit does not serve;
//! * a last resort serves only while no node but a replica is eligible;
//! * a verdict rests on observations alone: equal ones, equal verdicts, whatever the time, and a check that was not
//!   made is no observation;
//! * a node that stopped serving by its own fault serves again only after `rise` good checks in a row;
//! * fewer than `fall` failures in a row change nothing, unless one of them is sure;
//! * a node that takes no new connections is passed over only where another node has proven since that it takes some;
//! * sessions are never ended for silence while every node is silent, nor sooner than `down_after` of silence that
//!   began after that, unless the silence is sure;
//! * no two orders contradict each other: nobody drains twice, resumes without a drain, is killed twice without
//!   having been fit in between, or serves while it drains;
//! * a tick does nothing before its deadline, and something at it;
//! * while the world does not change, nothing does;
//! * two components are never served at once, nor a node that is foreign, stale, or not Primary;
//! * a node that is bootstrapped anew, with whatever history, ends no session elsewhere;
//! * sizes and indices alone end no session and raise no alarm in the first 20 s, nor ever for a node that is busy or paused;
//! * while another node is fit, there is a writer that takes writers, but for `down_after` after the last one stopped;
//!   a writer that is a donor and answers is one for `donor_grace`;
//! * the writer is the same for equal inputs; with failback never it changes only when it stops taking writers.

mod entrances;
mod entry;
mod event;
mod judge;
mod memory;
mod orders;
mod recorded;
mod rivals;
mod role;
mod survey;
#[cfg(test)]
mod tests;
mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::NodeId;
use super::agreement::Record;
use super::components::Components;
use super::node_state::{Contact, NodeState};
use super::observation::Check;
use super::reason::{Departure, Reason};
use super::server::Links;
use super::settings::{Settings, Sort, Spec};
use super::verdict::{AdminState, ClusterState, Verdict};
use super::view::Membership;
pub use entrances::EntranceState;
use entry::{Entry, Orders, Staleness};
pub use event::{Configured, Effect, Event, Outcome, Split};
pub use memory::Memory;
use rivals::Rivalry;
use survey::Doubts;

/// A cluster's nodes, observed and judged.
#[derive(Debug, Clone)]
pub struct Core {
    nodes: BTreeMap<NodeId, Entry>,
    /// Every node fell silent at once and none serves again yet.
    blind: bool,
    /// Nodes are still to be discovered for the first time.
    discovering: bool,
    /// When every node had been asked once: before that, who answers first would be the writer for ever.
    settled: Option<Instant>,
    /// What is remembered of nodes that are not known yet.
    recalled: Memory,
    /// The history that was learned.
    history: Option<Box<str>>,
    /// The nodes of the component that was served last.
    served: BTreeSet<NodeId>,
    components: Components,
    /// Which of them is served.
    chosen: Option<usize>,
    /// More than one component seems to live.
    doubts: Doubts,
    /// Nodes that are Primary apart from those that are served, as was believed.
    fenced: BTreeSet<NodeId>,
    /// The alarm that was given.
    split: Option<Split>,
    writer: Option<NodeId>,
    /// Since when the writer takes no writers: whatever it waits for has one bound.
    idle_since: Option<Instant>,
    /// The writer is a donor and takes writers until then.
    donor_until: Option<Instant>,
    /// The last one there was, which decides what is served where a split is found.
    incumbent: Option<NodeId>,
    record: Record,
    /// `wsrep_gcomm_uuid` and `wsrep_node_name` of the last writer that is or was one of the nodes.
    last_writer: Option<(Box<str>, Box<str>)>,
    rivalry: Rivalry,
    /// Why there is no writer, where that is not seen from the nodes' reasons.
    writer_note: Option<String>,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    /// A cluster whose nodes are still to be discovered, until [`Event::Discovered`]: beside those that it has.
    pub fn discovering() -> Self {
        Self { discovering: true, ..Self::new() }
    }

    /// A cluster without nodes.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            blind: false,
            discovering: false,
            settled: None,
            recalled: Memory::default(),
            history: None,
            served: BTreeSet::new(),
            components: Components { all: Vec::new(), stale: BTreeMap::new(), membership: Membership::Uuid },
            chosen: None,
            doubts: Doubts::new(),
            fenced: BTreeSet::new(),
            split: None,
            writer: None,
            idle_since: None,
            donor_until: None,
            incumbent: None,
            record: Record::default(),
            last_writer: None,
            rivalry: Rivalry::default(),
            writer_note: None,
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, settings: &Settings, now: Instant, event: Event) -> Outcome {
        let mut outcome = Outcome::default();
        match event {
            Event::Added(id, spec) => {
                outcome.publish = true;
                self.add(settings, id, spec);
            }
            Event::Leaving(id, leaving) => {
                if let Some(entry) = self.nodes.get_mut(&id) {
                    entry.leaving = leaving;
                }
            }
            Event::Removed(id) => {
                outcome.publish = true;
                let removed = self.nodes.remove(&id);
                // Whoever took it out for work finds it so when it comes back.
                if let Some(entry) = removed {
                    self.remember_operator(entry);
                }
                self.served.remove(&id);
                self.incumbent = self.incumbent.filter(|incumbent| *incumbent != id);
            }
            Event::Discovered => self.discovering = false,
            Event::Observed(id, observation) => {
                let is_server = matches!(observation.check, Check::Server(_));
                let was_known = self.nodes.get(&id).is_some_and(|e| e.state.links != Links::default());
                if let Some(entry) = self.nodes.get_mut(&id) {
                    // A shortage of ours says nothing of who is there; but one that lasts must not hold up everything.
                    let since = *entry.asked_since.get_or_insert(now);
                    let lasting = now.saturating_duration_since(since) >= settings.down_after;
                    entry.asked |= lasting || !matches!(observation.check, Check::NotMade(_));
                    let was = entry.state.name.clone();
                    let before = entry.state.earlier_life.clone();
                    entry.state.observe(settings, entry.spec.sort, entry.verdict.kind.serves(), observation);
                    // It is not the one any more that was served; what may begin a cluster of its own must not take the
                    // role of those that go on. The last one of them is remembered all the same.
                    if entry.state.earlier_life != before && self.served.len() > 1 {
                        self.served.remove(&id);
                    }
                    outcome.publish |= self.follow_member(id, was);
                }
                if is_server {
                    self.note_group(id, !was_known);
                }
            }
            Event::NewConnection(id, seen) => self.new_connection(settings, id, seen, &mut outcome),
            Event::Recorded(reading) => self.record.read(reading, now),
            Event::Operator(id, state) => {
                if let Some(entry) = self.nodes.get_mut(&id)
                    && entry.admin != state
                {
                    entry.admin = state;
                    // It returns: its time of stability and its growing share begin now.
                    entry.serves_since = None;
                    outcome.publish = true;
                }
            }
            Event::AcceptHistory(id) => {
                if let Some(history) = self.history_of(id) {
                    self.served = self
                        .nodes
                        .keys()
                        .filter(|id| self.history_of(**id).as_ref() == Some(&history))
                        .copied()
                        .collect();
                    self.history = Some(history);
                }
            }
            Event::Configured(new) => {
                outcome.publish = true;
                self.configured(settings, new);
            }
            Event::Tick => {}
        }
        let fresh = self.settled.is_none();
        if fresh && !self.discovering && !self.nodes.is_empty() && self.nodes.values().all(|e| e.asked) {
            self.settled = Some(now);
            // But for what an operator wished of a node that may come yet.
            self.recalled = self.recalled.of_operators();
        }
        self.survey(settings, now, fresh, &mut outcome);
        self.judge(settings, now, &mut outcome);
        let writer = self.writer;
        self.assign(settings, now, &mut outcome);
        if self.writer != writer {
            // What a server that takes writes may do depends on which of them is the writer.
            self.judge(settings, now, &mut outcome);
        }
        self.order(settings, now, &mut outcome);
        // Whose sessions all end is not told of some of them.
        let killed = outcome.effects.iter().filter_map(|e| if let Effect::Kill(id, _) = e { Some(*id) } else { None });
        let killed: Vec<NodeId> = killed.collect();
        outcome.effects.retain(|e| !matches!(e, Effect::Demote(id, _) if killed.contains(id)));
        outcome
    }

    fn add(&mut self, settings: &Settings, id: NodeId, spec: Spec) {
        let is_newcomer = spec.is_found && self.has_stopgaps();
        self.nodes.entry(id).or_insert_with(|| Entry { is_newcomer, ..Entry::new(spec) });
        self.recognise(settings, id);
    }

    fn configured(&mut self, settings: &Settings, new: Configured) {
        for (id, spec) in new.changed {
            let Some(entry) = self.nodes.get_mut(&id) else { continue };
            if entry.spec.sort != spec.sort {
                // It was asked other questions.
                entry.state = NodeState::new();
            }
            entry.spec = spec;
            entry.leaving = entry.leaving.filter(|why| *why != Departure::Configuration);
        }
        for id in new.gone {
            if let Some(entry) = self.nodes.get_mut(&id) {
                entry.leaving = Some(Departure::Configuration);
            }
            self.hand_on_wish(id);
        }
        if !self.nodes.values().any(|e| e.spec.is_stopgap) {
            self.nodes.values_mut().for_each(|e| e.is_newcomer = false);
        }
        for (id, spec) in new.added {
            self.add(settings, id, spec);
        }
    }

    /// The verdict of one node; unknown where there is no such node.
    pub fn verdict(&self, id: NodeId) -> Verdict {
        self.nodes.get(&id).map_or_else(Verdict::unknown, |e| e.verdict.clone())
    }

    /// The same as clients of the writer's services meet it: a writer that is a donor says for how long it keeps the role.
    pub fn shown_verdict(&self, settings: &Settings, id: NodeId) -> Verdict {
        let mut verdict = self.verdict(id);
        if let Reason::Donor { state } = verdict.reason
            && self.is_donor_with_role(id)
        {
            verdict.reason = Reason::DonorWriter { state, grace: settings.donor_grace };
        }
        verdict
    }

    /// The operator's wish for a node.
    pub fn admin(&self, id: NodeId) -> AdminState {
        self.nodes.get(&id).map_or(AdminState::Ready, |e| e.admin)
    }

    /// Whether a node is to be watched no longer, for this reason.
    pub fn is_leaving(&self, id: NodeId, why: Departure) -> bool {
        self.nodes.get(&id).is_some_and(|e| e.leaving == Some(why))
    }

    /// Since when a node serves without a break.
    pub fn serves_since(&self, id: NodeId) -> Option<Instant> {
        self.nodes.get(&id).and_then(|e| e.serves_since)
    }

    /// The history that a node's Primary component holds.
    pub fn history_of(&self, id: NodeId) -> Option<Box<str>> {
        self.nodes.get(&id)?.state.view.as_ref()?.history.clone()
    }

    /// The history that may serve.
    pub fn history(&self, settings: &Settings) -> Option<Box<str>> {
        settings.state_uuid.as_deref().map(Box::from).or_else(|| self.history.clone())
    }

    /// The writer. It keeps the role while it is silent and may come back, and then nobody is sent to it.
    pub fn writer(&self) -> Option<NodeId> {
        self.writer
    }

    /// Why there is no writer, where the nodes' own reasons do not tell.
    pub fn writer_note(&self) -> Option<&str> {
        self.writer_note.as_deref()
    }

    /// The nodes of each Primary component, the one that is served first.
    pub fn components(&self) -> Vec<Vec<NodeId>> {
        let nodes = |i: usize| self.components.all.get(i).map(|c| c.nodes.clone());
        let first = self.chosen.and_then(nodes);
        let rest = (0..self.components.all.len()).filter(|i| Some(*i) != self.chosen).filter_map(nodes);
        first.into_iter().chain(rest).collect()
    }

    /// The nodes of the component that is served.
    pub fn served(&self) -> &[NodeId] {
        self.chosen.and_then(|i| self.components.all.get(i)).map_or(&[], |c| &c.nodes)
    }

    /// By what the components' members are told apart; `None` while there is no component.
    pub fn membership(&self) -> Option<Membership> {
        (!self.components.all.is_empty()).then_some(self.components.membership)
    }

    /// Every node was asked at least once.
    pub fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// The cluster as a whole. Servers by themselves are a primary one where one of them serves.
    pub fn cluster(&self, settings: &Settings) -> ClusterState {
        let known = self.history(settings);
        let ours = |of: &Option<Box<str>>| of.is_none() || known.is_none() || *of == known;
        let is_galera = self.nodes.values().any(|e| e.spec.sort == Sort::Member);
        let mut counted = self.nodes.values().filter(|e| !is_galera || e.spec.sort == Sort::Member);
        if self.split.is_some() {
            ClusterState::SplitBrain
        } else if self.components.all.iter().any(|c| ours(&c.history))
            || !is_galera && counted.clone().any(|e| e.verdict.kind.serves())
        {
            ClusterState::Primary
        } else if counted.any(|e| e.state.speaks) {
            ClusterState::NoPrimary
        } else {
            ClusterState::Unknown
        }
    }

    /// Whether the next check of a node is wanted after `fast_interval`.
    pub fn in_doubt(&self, id: NodeId) -> bool {
        let doubted = self.doubts.values().any(|d| !d.is_believed());
        self.nodes.get(&id).is_some_and(|e| doubted || e.stale.is_some() || e.state.in_doubt())
    }

    /// Whether a node's list of members is to be read again although nothing seems to have changed.
    pub fn wants_members(&self) -> bool {
        !self.doubts.is_empty() || !self.components.stale.is_empty()
    }

    /// Whether anything came from a node when it was asked last.
    pub fn answers(&self, id: NodeId) -> bool {
        let contact = self.nodes.get(&id).map(|e| &e.state.contact);
        matches!(contact, Some(Contact::Answers | Contact::Refuses { .. }))
    }

    /// Failed checks of a node in a row.
    pub fn failures(&self, id: NodeId) -> u32 {
        self.nodes.get(&id).map_or(0, |e| e.state.failures)
    }

    /// When [`Event::Tick`] is due. `None` also while time alone can change nothing: a deadline that is past and stays
    /// would make its caller turn in circles.
    pub fn deadline(&self, settings: &Settings) -> Option<Instant> {
        [self.order_deadline(settings), self.role_deadline(settings)].into_iter().flatten().min()
    }

    /// Whether one of these nodes lists a member of this UUID or name; `None` where none of them can tell.
    fn listed_by(&self, nodes: &[NodeId], uuid: Option<&str>, name: Option<&str>) -> Option<bool> {
        let views = nodes.iter().filter_map(|id| self.nodes.get(id)?.state.view.as_ref());
        views.filter_map(|view| view.lists_member(uuid, name)).reduce(|a, b| a || b)
    }

    /// Names, for a reason.
    fn names(&self, ids: &[NodeId]) -> Arc<str> {
        let names: Vec<&str> = ids.iter().filter_map(|id| self.nodes.get(id)).map(|e| &*e.spec.name).collect();
        names.join(", ").into()
    }

    fn name(&self, id: NodeId) -> Arc<str> {
        self.names(&[id])
    }
}
