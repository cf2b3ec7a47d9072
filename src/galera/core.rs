//! The one step: an event goes into the state of a whole cluster, verdicts and effects come out.
//!
//! What always holds (each sentence is a property test in `core/tests/properties.rs`):
//!
//! * a node that was never seen fit never serves;
//! * a node whose last answer is unfit does not serve;
//! * a last resort serves only while no node is eligible;
//! * a verdict rests on observations alone: equal ones, equal verdicts, whatever the time, and a check that was not
//!   made is no observation;
//! * a node that stopped serving by its own fault serves again only after `rise` good checks in a row;
//! * fewer than `fall` failures in a row change nothing, unless one of them is sure;
//! * sessions are never ended for silence while every node is silent, nor sooner than `down_after` of silence that
//!   began after that, unless the silence is sure;
//! * no two orders contradict each other: nobody drains twice, resumes without a drain, is killed twice without
//!   having been fit in between, or serves while it drains;
//! * a tick does nothing before its deadline, and something at it;
//! * while the world does not change, nothing does.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::NodeId;
use super::fitness::{DonorRule, Fitness};
use super::node_state::{Contact, NodeState};
use super::observation::Observation;
use super::reason::{Consequence, Reason};

/// The rules a cluster is judged by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Good checks in a row before a node serves again.
    pub rise: u32,
    /// Failed checks in a row before it stops.
    pub fall: u32,
    /// A hung node's sessions end after this long without an answer.
    pub down_after: Duration,
    /// What a donor may do.
    pub donor: DonorRule,
    /// A node this close to `max_connections` has no room.
    pub connection_margin: u32,
    /// End the sessions of a node that went down.
    pub kill_on_down: bool,
    /// End the sessions of a node that became a donor.
    pub kill_on_donor: bool,
}

/// What can happen to a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node was configured or discovered.
    Added(NodeId),
    /// A node was checked.
    Observed(NodeId, Observation),
    /// Time passed: [`Core::deadline`] came.
    Tick,
}

/// Whether a node may serve, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It serves.
    Eligible,
    /// It serves, since no better node does.
    LastResort,
    /// It gets nobody new.
    Excluded,
    /// Not yet checked; it gets nobody.
    Unknown,
}

impl Kind {
    /// New sessions may be sent there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Eligible | Self::LastResort)
    }

    /// The word of the status and of log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::LastResort => "last-resort",
            Self::Excluded => "excluded",
            Self::Unknown => "unknown",
        }
    }
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub kind: Kind,
    /// Its reason.
    pub reason: Reason,
    /// There is room for new sessions.
    pub room: bool,
}

impl Verdict {
    /// Of a node that was not checked yet.
    pub fn unknown() -> Self {
        Self { kind: Kind::Unknown, reason: Reason::NotChecked, room: true }
    }
}

/// The cluster as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// A node answers and its component is Primary.
    Primary,
    /// Some node answers, none is Primary.
    NoPrimary,
    /// No node answers.
    Unknown,
}

impl ClusterState {
    /// The word of the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::NoPrimary => "no-primary",
            Self::Unknown => "unknown",
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A node's verdict changed in kind or reason: log and count it.
    Changed(Change),
    /// End the node's sessions now.
    Kill(NodeId, Reason),
    /// No new session is coming: end what is left after the drain's time.
    Drain(NodeId, Reason),
    /// A drain that was begun is taken back.
    Resume(NodeId),
}

/// A change of one verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub node: NodeId,
    /// What it was.
    pub from: Verdict,
    /// What it is.
    pub to: Verdict,
}

impl Change {
    /// Whether more than the words changed: a dead node is refused now and times out then, and that is no news.
    pub fn is_of_substance(&self) -> bool {
        self.from.kind != self.to.kind || self.from.reason.label() != self.to.reason.label()
    }
}

/// What one step brought.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The verdicts differ from those before: publish a snapshot.
    pub publish: bool,
    /// In the order in which they are to be done, after the publishing: a session picked from the new snapshot
    /// must not be ended by an order about the old one.
    pub effects: Vec<Effect>,
}

/// What has been ordered about a node's established sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    Live,
    Draining,
    Ended,
}

#[derive(Debug, Clone)]
struct Entry {
    state: NodeState,
    verdict: Verdict,
    orders: Orders,
}

/// A cluster's nodes, observed and judged.
#[derive(Debug, Clone, Default)]
pub struct Core {
    nodes: BTreeMap<NodeId, Entry>,
    /// Every node fell silent at once and none serves again yet.
    blind: bool,
}

impl Core {
    /// A cluster without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event in.
    pub fn step(&mut self, settings: &Settings, now: Instant, event: Event) -> Outcome {
        match event {
            Event::Added(id) => {
                let entry = Entry { state: NodeState::new(), verdict: Verdict::unknown(), orders: Orders::Live };
                self.nodes.entry(id).or_insert(entry);
            }
            Event::Observed(id, observation) => {
                if let Some(entry) = self.nodes.get_mut(&id) {
                    entry.state.observe(settings, observation);
                }
            }
            Event::Tick => {}
        }
        let mut outcome = Outcome::default();
        self.judge(&mut outcome);
        self.order(settings, now, &mut outcome);
        outcome
    }

    /// The verdict of one node; unknown where there is no such node.
    pub fn verdict(&self, id: NodeId) -> Verdict {
        self.nodes.get(&id).map_or_else(Verdict::unknown, |e| e.verdict.clone())
    }

    /// The cluster as a whole.
    pub fn cluster(&self) -> ClusterState {
        let mut answers = self.nodes.values().filter_map(|e| e.state.primary).peekable();
        if answers.peek().is_none() {
            ClusterState::Unknown
        } else if answers.any(|primary| primary) {
            ClusterState::Primary
        } else {
            ClusterState::NoPrimary
        }
    }

    /// Whether the next check of a node is wanted after `fast_interval`.
    pub fn in_doubt(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|e| e.state.in_doubt())
    }

    /// Failed checks of a node in a row.
    pub fn failures(&self, id: NodeId) -> u32 {
        self.nodes.get(&id).map_or(0, |e| e.state.failures)
    }

    /// When [`Event::Tick`] is due: a hung node's sessions end then. `None` also while time alone can end nothing: a
    /// deadline that is past and stays would make its caller turn in circles.
    pub fn deadline(&self, settings: &Settings) -> Option<Instant> {
        if self.blind || !settings.kill_on_down {
            return None;
        }
        self.nodes
            .values()
            .filter(|e| e.orders != Orders::Ended && e.state.contact == Contact::Silent)
            .filter_map(|e| e.state.silent_since)
            .map(|since| since + settings.down_after)
            .min()
    }

    /// Verdicts from all nodes' states together.
    fn judge(&mut self, outcome: &mut Outcome) {
        let best = self.nodes.values().map(|e| e.state.fitness).max().unwrap_or(Fitness::None);
        for (&node, entry) in &mut self.nodes {
            let verdict = verdict(&entry.state, best);
            if verdict == entry.verdict {
                continue;
            }
            outcome.publish = true;
            let from = std::mem::replace(&mut entry.verdict, verdict.clone());
            if from.kind != verdict.kind || from.reason != verdict.reason {
                outcome.effects.push(Effect::Changed(Change { node, from, to: verdict }));
            }
        }
    }

    /// Orders for established sessions.
    fn order(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        self.look_around(now);
        for (&node, entry) in &mut self.nodes {
            if self.blind && entry.state.contact == Contact::Silent {
                continue;
            }
            let Some(due) = wanted_orders(settings, now, entry) else { continue };
            let reason = entry.state.reason.clone();
            match (entry.orders, due) {
                (old, new) if old == new => continue,
                // Sessions that were ended are not brought back by a lesser order.
                (Orders::Ended, Orders::Draining) => continue,
                (_, Orders::Ended) => outcome.effects.push(Effect::Kill(node, reason)),
                (_, Orders::Draining) => outcome.effects.push(Effect::Drain(node, reason)),
                (Orders::Draining, Orders::Live) => outcome.effects.push(Effect::Resume(node)),
                (_, Orders::Live) => {}
            }
            entry.orders = due;
        }
    }

    /// If every node fell silent the fault may be ours, and ending the sessions would be all we achieve. Once one
    /// serves again the others get their time anew: what was not heard while nothing was heard proves nothing.
    fn look_around(&mut self, now: Instant) {
        if self.nodes.values().all(|e| matches!(e.state.contact, Contact::Silent | Contact::Never)) {
            self.blind = true;
        } else if self.blind && self.nodes.values().any(|e| e.verdict.kind.serves()) {
            self.blind = false;
            for entry in self.nodes.values_mut().filter(|e| e.state.contact == Contact::Silent) {
                entry.state.forgive_silence(now);
            }
        }
    }
}

fn verdict(state: &NodeState, best: Fitness) -> Verdict {
    let (kind, reason) = match (&state.contact, state.fitness) {
        (Contact::Never, _) => (Kind::Unknown, state.reason.clone()),
        (_, Fitness::Full) => (Kind::Eligible, state.reason.clone()),
        (_, Fitness::Spare) if best == Fitness::Spare => (Kind::LastResort, last_resort(&state.reason)),
        // A rotated password shuts the check out of every node at once, since Galera replicates accounts; but for a node
        // that was cut off before, which still takes the old one, and is of no use.
        (Contact::Refuses { was_fit: true }, Fitness::None) if best == Fitness::None => {
            (Kind::LastResort, last_resort(&state.reason))
        }
        _ => (Kind::Excluded, state.reason.clone()),
    };
    Verdict { kind, reason, room: state.room }
}

fn last_resort(reason: &Reason) -> Reason {
    match reason {
        Reason::Donor { state } => Reason::DonorLastResort { state: *state },
        Reason::LoginRefused(why) => Reason::LoginRefusedLastResort(why.clone()),
        other => other.clone(),
    }
}

/// What a node's state asks for its sessions; `None`: what was ordered stays.
fn wanted_orders(settings: &Settings, now: Instant, entry: &Entry) -> Option<Orders> {
    let state = &entry.state;
    // The settled reason is out of date, and the new one does not count yet: a node that was silent for a moment
    // must not lose its sessions by answering again.
    if state.is_rising() {
        return None;
    }
    match state.reason.consequence() {
        Consequence::Down if !settings.kill_on_down => None,
        Consequence::Down if state.contact == Contact::Silent && !state.surely_down => {
            let hung =
                state.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= settings.down_after);
            hung.then_some(Orders::Ended)
        }
        Consequence::Down => Some(Orders::Ended),
        Consequence::Veto => Some(Orders::Draining),
        // While it serves all the same, its sessions would only come back to it.
        Consequence::Donor if settings.kill_on_donor && !entry.verdict.kind.serves() => Some(Orders::Ended),
        Consequence::Donor => Some(Orders::Live),
        // A refused login says nothing of a veto: only an answer takes a drain back.
        Consequence::None => (state.contact == Contact::Answers).then_some(Orders::Live),
    }
}
