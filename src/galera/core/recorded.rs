//! The role as the record that several balancers share assigns it.

use std::time::Instant;

use super::super::NodeId;
use super::super::agreement::{PROPOSAL_PATIENCE, Proposal, Row};
use super::super::node_state::Contact;
use super::super::reason::Reason;
use super::super::settings::{Settings, Sort};
use super::super::writer::{Candidate, Holder, elect};
use super::{Core, Effect, Entry, Outcome};

impl Core {
    /// By the record. Returns why there is no writer, if that is the record's doing.
    pub(super) fn assign_as_recorded(
        &mut self,
        settings: &Settings,
        now: Instant,
        outcome: &mut Outcome,
    ) -> Option<String> {
        if !self.record.known {
            let why = self.record.trouble.as_deref().unwrap_or("not read yet");
            return Some(format!("no writer: the record galeway.writer cannot be read ({why})"));
        }
        let recorded = match self.recorded(settings, now) {
            Recorded::Node(id) => Some(id),
            Recorded::Free => None,
            Recorded::Stranger(name) => {
                self.retire(settings, &name, outcome);
                let remedy = "add it to `nodes`, or move the writer by hand (docs/agreement.md)";
                return Some(format!(
                    "no writer: the record names {name}, a member that is not configured here: {remedy}"
                ));
            }
            Recorded::Unknown(name) => {
                // Others may write there.
                self.retire(settings, &name, outcome);
                let who = "one of the nodes that did not answer yet, or none of ours";
                return Some(format!("no writer: the record names {name}, {who}"));
            }
        };
        if let Some(id) = recorded {
            self.appoint(settings, now, id, "as the record says", outcome);
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
        // Another balancer may have ruled out the node that had the role last.
        if !matches!(holder, Some((_, Holder::Fit))) {
            let is_last = |c: &Candidate| {
                let name = self.nodes.get(&c.id).and_then(|e| e.state.name.as_deref());
                self.record.is_last_choice(name, now)
            };
            if !candidates.iter().all(is_last) {
                candidates.retain(|c| !is_last(c));
            }
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

    /// Whom the record means: the node of that UUID, or of that name where it was restarted since.
    fn recorded(&self, settings: &Settings, now: Instant) -> Recorded {
        let Some((row, _)) = &self.record.row else { return Recorded::Free };
        // Of two nodes that are one server the one that stays, and then the one that answers.
        let of = |same: &dyn Fn(&Entry) -> bool| {
            let those = self.nodes.iter().filter(|(_, e)| same(e));
            those.min_by_key(|(_, e)| (e.leaving.is_some(), e.state.contact != Contact::Answers)).map(|(id, _)| *id)
        };
        let found = of(&|e| e.state.uuid.as_ref() == Some(&row.uuid))
            .or_else(|| of(&|e| e.state.name.as_ref() == Some(&row.name)));
        if let Some(id) = found {
            return Recorded::Node(id);
        }
        let listed = self.listed_by(self.served(), Some(&row.uuid), Some(&row.name));
        // Only a member has a name there that may be learned yet, and none is waited for longer than a writer that is silent.
        let mut nameless =
            self.nodes.values().filter(|e| e.spec.sort == Sort::Member && e.state.name.is_none()).peekable();
        let is_met = nameless.peek().is_none();
        let is_awaited = |e: &Entry| {
            let is_young = e.asked_since.is_none_or(|at| now.saturating_duration_since(at) < settings.down_after);
            let is_silent = e.state.contact == Contact::Silent && e.state.silent_since.is_some();
            (is_young || is_silent) && !e.state.is_down(settings, now)
        };
        match listed {
            Some(false) => Recorded::Free,
            _ if nameless.any(is_awaited) => Recorded::Unknown(row.name.clone()),
            // What was the writer here, and was taken out of the configuration while this process did not run, hands the role on
            // as at a reload.
            Some(true) if is_met && !self.was_ours(row) => Recorded::Stranger(row.name.clone()),
            _ => Recorded::Free,
        }
    }

    /// Whether the record names the node that was the last writer of ours.
    fn was_ours(&self, row: &Row) -> bool {
        self.last_writer.as_ref().is_some_and(|(uuid, name)| *uuid == row.uuid || *name == row.name)
    }

    /// Remembers the writer as the record names it.
    pub(super) fn note_writer(&mut self) {
        let state = self.writer.and_then(|id| self.nodes.get(&id)).map(|e| &e.state);
        if let Some(now) = state.and_then(|s| s.uuid.clone().zip(s.name.clone()))
            && self.last_writer.as_ref() != Some(&now)
        {
            self.last_writer = Some(now);
        }
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
