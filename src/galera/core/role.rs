//! Who is the writer.

use std::time::Instant;

use super::super::NodeId;
use super::super::agreement::{PROPOSAL_PATIENCE, Proposal};
use super::super::node_state::Contact;
use super::super::reason::{Reason, plain};
use super::super::settings::{Settings, Sort};
use super::super::verdict::{AdminState, Kind};
use super::super::writer::{Candidate, Holder, elect, failback_due};
use super::{Core, Effect, Entry, Outcome};

/// A note is the first thing that a client of a writer service reads, and must leave room for the nodes' own reasons.
const NOTE_MOST: usize = 280;

impl Core {
    /// Assigns the role.
    pub(super) fn assign(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        let note = if self.settled.is_none() {
            let waits: Vec<NodeId> = self.nodes.iter().filter(|(_, e)| !e.asked).map(|(id, _)| *id).collect();
            // At the start they all wait, and that is no news.
            let some = waits.len() < self.nodes.len();
            some.then(|| format!("no writer yet: not every node was checked ({})", self.names(&waits)))
        } else if settings.agreed {
            self.assign_as_recorded(settings, now, outcome)
        } else {
            let holder = self.writer.map(|id| (id, self.holder(settings, now, id)));
            if let Some(elected) = elect(&self.candidates(None), holder, settings.failback, now) {
                self.appoint(settings, elected, "another node is preferred", outcome);
            }
            None
        };
        self.resign(settings, outcome);
        let note = note.map(|note| plain(&note, NOTE_MOST));
        if note != self.writer_note {
            self.writer_note = note;
            outcome.publish = true;
        }
    }

    /// By the record. Returns why there is no writer, if that is the record's doing.
    fn assign_as_recorded(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) -> Option<String> {
        if !self.record.known {
            let why = self.record.trouble.as_deref().unwrap_or("not read yet");
            return Some(format!("no writer: the record galeway.writer cannot be read ({why})"));
        }
        let recorded = match self.recorded(settings, now) {
            Recorded::Node(id) => Some(id),
            Recorded::Free => None,
            Recorded::Stranger(name) => {
                self.retire(settings, &name, outcome);
                return Some(format!("no writer: the record names {name}, a member that is not configured here"));
            }
            Recorded::Unknown(name) => {
                // Others may write there.
                self.retire(settings, &name, outcome);
                let who = "one of the nodes that did not answer yet, or none of ours";
                return Some(format!("no writer: the record names {name}, {who}"));
            }
        };
        if let Some(id) = recorded {
            self.appoint(settings, id, "as the record says", outcome);
        }
        // A record that names nobody who is there: whoever we have goes on, and is recorded.
        let holder = self.writer.map(|id| (id, self.holder(settings, now, id)));
        // A writer that is lost is no candidate for its own succession.
        let lost = holder.filter(|(_, state)| *state == Holder::Lost).map(|(id, _)| id);
        let mut candidates = self.candidates(lost);
        // Of a failback only who was seen to return since the record was written is a reason: what one balancer alone sees of
        // a node, or what an operator has told another one alone, must not send the role to and fro. Whom we met serving when
        // we started did not return.
        if let (Some((_, written)), Some((id, Holder::Fit)), Some(settled)) = (&self.record.row, holder, self.settled) {
            let from = settled.max(*written);
            candidates.retain(|c| c.id == id || c.since > from);
        }
        let elected = elect(&candidates, holder, settings.failback, now);
        let wanted = elected.filter(|id| recorded != Some(*id) && lost != Some(*id));
        if let Some(id) = wanted {
            self.propose(id, now, outcome);
        }
        match (&self.record.trouble, &self.record.unwritten) {
            (Some(why), _) => {
                Some(format!("the writer cannot be changed: the record galeway.writer cannot be read ({why})"))
            }
            _ if wanted.is_none() => None,
            (None, Some(why)) => Some(format!("the writer cannot be changed: the record cannot be written ({why})")),
            (None, None) if self.record.takeover_from().is_some_and(|at| now < at) => {
                Some("the writer was changed less than 30 s ago: it waits for that time".to_owned())
            }
            (None, None) => Some("the change of the writer is being recorded".to_owned()),
        }
    }

    fn propose(&mut self, id: NodeId, now: Instant, outcome: &mut Outcome) {
        let under_way = self.record.proposed.is_some_and(|at| now.saturating_duration_since(at) < PROPOSAL_PATIENCE);
        let too_soon = self.record.takeover_from().is_some_and(|at| now < at);
        if under_way || too_soon || self.record.trouble.is_some() {
            return;
        }
        let Some(state) = self.nodes.get(&id).map(|e| &e.state) else { return };
        let Some((uuid, name)) = state.uuid.clone().zip(state.name.clone()) else { return };
        self.record.proposed = Some(now);
        let epoch = self.record.row.as_ref().map(|(row, _)| row.epoch);
        outcome.effects.push(Effect::Propose(Proposal { epoch, node: id, uuid, name }));
    }

    /// `otherwise`: why, where the last one could go on.
    fn appoint(&mut self, settings: &Settings, to: NodeId, otherwise: &str, outcome: &mut Outcome) {
        if self.writer == Some(to) {
            return;
        }
        let from = self.writer.replace(to);
        self.incumbent = Some(to);
        outcome.publish = true;
        let why = from.map_or_else(String::new, |id| self.why_not(id, otherwise));
        outcome.effects.push(Effect::Writer { from, to: Some(to), why });
        if let Some(from) = from
            && settings.kill_on_demote
        {
            outcome.effects.push(Effect::Demote(from, Reason::Demoted(self.name(to))));
        }
    }

    /// Nobody could take over from a writer that was removed, or that serves and takes no writes any more: then there is none,
    /// and nobody is sent there to write.
    fn resign(&mut self, settings: &Settings, outcome: &mut Outcome) {
        let writes = |id: &NodeId| self.nodes.get(id).is_some_and(Entry::may_write);
        let Some(from) = self.writer.take_if(|id| !writes(id)) else { return };
        outcome.publish = true;
        let why = self.why_not(from, "");
        outcome.effects.push(Effect::Writer { from: Some(from), to: None, why });
        if settings.kill_on_demote && self.nodes.contains_key(&from) {
            outcome.effects.push(Effect::Demote(from, Reason::Demoted("nobody".into())));
        }
    }

    /// Another balancer knows a better one, which is not among our nodes.
    fn retire(&mut self, settings: &Settings, stranger: &str, outcome: &mut Outcome) {
        let Some(from) = self.writer.take() else { return };
        outcome.publish = true;
        let why = format!("the record names {stranger}");
        outcome.effects.push(Effect::Writer { from: Some(from), to: None, why });
        if settings.kill_on_demote {
            outcome.effects.push(Effect::Demote(from, Reason::Demoted(stranger.into())));
        }
    }

    /// Why a node is not the writer any more.
    fn why_not(&self, id: NodeId, otherwise: &str) -> String {
        match self.nodes.get(&id) {
            None => "it is no longer one of the nodes".to_owned(),
            Some(e) if e.admin == AdminState::Drain => Reason::Drained.to_string(),
            Some(e) if e.admin == AdminState::Maintenance => Reason::UnderMaintenance.to_string(),
            Some(e) if !e.may_write() => "it takes no writes".to_owned(),
            Some(e) if e.verdict.kind.serves() => otherwise.to_owned(),
            Some(e) => e.verdict.reason.to_string(),
        }
    }

    /// Who may be the writer: among eligible nodes; where there is none, among those that are the last resort.
    fn candidates(&self, except: Option<NodeId>) -> Vec<Candidate> {
        let open = || self.nodes.iter().filter(|(id, e)| e.is_open() && e.may_write() && Some(**id) != except);
        let of = |kind: Kind| -> Vec<Candidate> {
            let candidate = |(id, e): (&NodeId, &Entry)| {
                Some(Candidate {
                    id: *id,
                    backup: e.spec.backup,
                    order: e.spec.order,
                    priority: e.spec.priority,
                    since: e.serves_since?,
                })
            };
            open().filter(|(_, e)| e.verdict.kind == kind).filter_map(candidate).collect()
        };
        let eligible = of(Kind::Eligible);
        if eligible.is_empty() { of(Kind::LastResort) } else { eligible }
    }

    /// What the node that has the role is good for.
    fn holder(&self, settings: &Settings, now: Instant, id: NodeId) -> Holder {
        let Some(entry) = self.nodes.get(&id) else { return Holder::Lost };
        if !entry.is_open() || !entry.may_write() {
            return Holder::Lost;
        }
        if entry.verdict.kind.serves() {
            return Holder::Fit;
        }
        let state = &entry.state;
        // It answers again, was not asked yet, or is contradicted by another node's first look: whether it keeps the role the
        // next checks will show.
        let contradicted =
            matches!(entry.verdict.reason, Reason::StaleView(_) | Reason::Outside(_)) && self.is_looking();
        if state.is_rising() || state.contact == Contact::Never || contradicted {
            return Holder::Waiting;
        }
        // One that was silent and now says that it is full speaks, and was not served to before.
        let is_silent = state.contact == Contact::Silent && state.silent_since.is_some();
        if !is_silent || !self.blind && state.is_down(settings, now) {
            return Holder::Lost;
        }
        Holder::Waiting
    }

    /// Whom the record means: the node of that UUID, or of that name where it was restarted since.
    fn recorded(&self, settings: &Settings, now: Instant) -> Recorded {
        let Some((row, _)) = &self.record.row else { return Recorded::Free };
        let of = |same: &dyn Fn(&Entry) -> bool| self.nodes.iter().find(|(_, e)| same(e)).map(|(id, _)| *id);
        let found = of(&|e| e.state.uuid.as_ref() == Some(&row.uuid))
            .or_else(|| of(&|e| e.state.name.as_ref() == Some(&row.name)));
        if let Some(id) = found {
            return Recorded::Node(id);
        }
        let listed = self.listed_by(self.served(), Some(&row.uuid), Some(&row.name));
        // Only a member has a name there that may be learned yet.
        let nameless = || self.nodes.values().filter(|e| e.spec.sort == Sort::Member && e.state.name.is_none());
        match listed {
            Some(false) => Recorded::Free,
            Some(true) if nameless().next().is_none() => Recorded::Stranger(row.name.clone()),
            None if nameless().all(|e| e.state.is_down(settings, now)) => Recorded::Free,
            _ => Recorded::Unknown(row.name.clone()),
        }
    }

    /// When time alone may move the role.
    pub(super) fn role_deadline(&self, settings: &Settings) -> Option<Instant> {
        // The record is read all the time, and each reading is a step.
        let writer = self.writer.filter(|_| self.settled.is_some() && !settings.agreed)?;
        let entry = self.nodes.get(&writer)?;
        let candidates = self.candidates(None);
        if entry.verdict.kind.serves() && entry.is_open() {
            return failback_due(&candidates, writer, settings.failback);
        }
        // A silent one: when it has been silent for too long, if somebody can take over.
        let hung = entry.is_open() && entry.state.contact == Contact::Silent && !entry.state.surely_down;
        let since = entry.state.silent_since.filter(|_| hung && !self.blind && !candidates.is_empty())?;
        Some(since + settings.down_after)
    }
}

enum Recorded {
    Node(NodeId),
    /// It names nobody who is a member.
    Free,
    /// A member that is not one of our nodes.
    Stranger(Box<str>),
    /// Perhaps one of our nodes that did not answer yet.
    Unknown(Box<str>),
}
