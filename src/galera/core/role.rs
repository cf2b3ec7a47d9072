//! Who is the writer.

use std::time::Instant;

use super::super::NodeId;
use super::super::node_state::Contact;
use super::super::reason::{Reason, plain};
use super::super::settings::Settings;
use super::super::verdict::{AdminState, Kind, Verdict};
use super::super::writer::{Candidate, Holder, elect, failback_due};
use super::{Core, Effect, Entry, Outcome};

/// A note is the first thing that a client of a writer service reads, and must leave room for the nodes' own reasons.
const NOTE_MOST: usize = 280;

impl Core {
    /// Assigns the role.
    pub(super) fn assign(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        let was_donor_until = self.donor_until;
        self.donor_until = self.donor_until(settings, now);
        let note = if self.settled.is_none() {
            let waits: Vec<NodeId> = self.nodes.iter().filter(|(_, e)| !e.asked).map(|(id, _)| *id).collect();
            // At the start they all wait, and that is no news.
            let some = waits.len() < self.nodes.len();
            some.then(|| format!("no writer yet: not every node was checked ({})", self.names(&waits)))
        } else if settings.agreed {
            self.assign_as_recorded(settings, now, outcome)
        } else {
            let holder = self.writer.map(|id| (id, self.holder(settings, now, id)));
            let candidates = self.candidates(None);
            let elected = self.heir(&candidates).or_else(|| elect(&candidates, holder, settings.failback, now));
            if let Some(elected) = elected {
                self.appoint(settings, now, elected, "another node is preferred", outcome);
            }
            self.rivalry_note()
        };
        self.resign(settings, outcome);
        self.donor_until = self.donor_until.filter(|_| self.writer.is_some());
        self.note_idleness(now);
        self.note_writer();
        outcome.publish |= was_donor_until != self.donor_until;
        let note = note.map(|note| plain(&note, NOTE_MOST));
        if note != self.writer_note {
            self.writer_note = note;
            outcome.publish = true;
        }
    }

    /// `otherwise`: why, where the last one could go on.
    pub(super) fn appoint(
        &mut self,
        settings: &Settings,
        now: Instant,
        to: NodeId,
        otherwise: &str,
        outcome: &mut Outcome,
    ) {
        if self.writer == Some(to) {
            return;
        }
        let from = self.writer;
        let why = from.map_or_else(String::new, |id| self.why_not(settings, id, otherwise));
        (self.writer, self.incumbent, self.idle_since) = (Some(to), Some(to), None);
        self.donor_until = self.donor_until(settings, now);
        outcome.publish = true;
        outcome.effects.push(Effect::Writer { from, to: Some(to), why });
        if let Some(from) = from
            && settings.kill_on_demote
        {
            self.demote(from, Reason::Demoted(self.name(to)), outcome);
        }
    }

    /// Ends the sessions of writer services: at once, or with all others where the move was planned and the node drains.
    fn demote(&mut self, node: NodeId, reason: Reason, outcome: &mut Outcome) {
        match self.nodes.get_mut(&node).filter(|e| e.drains_by_plan()) {
            Some(entry) => entry.owed_demotion = Some(reason),
            None => outcome.effects.push(Effect::Demote(node, reason)),
        }
    }

    /// Since when the writer takes no writers.
    fn note_idleness(&mut self, now: Instant) {
        let idle = self.writer.filter(|id| !self.takes_writers(*id));
        self.idle_since = idle.map(|_| self.idle_since.unwrap_or(now));
    }

    /// Until when a writer that is a donor keeps the role: `None` where it is none, does not answer, or its time is over. A
    /// node that sends an incremental state transfer is a donor for a second and takes writes all the while.
    fn donor_until(&self, settings: &Settings, now: Instant) -> Option<Instant> {
        let is_well = |e: &&Entry| e.state.contact == Contact::Answers && e.state.closed_entrance().is_none();
        let entry = self.writer.and_then(|id| self.nodes.get(&id)).filter(is_well)?;
        let excluded = matches!(entry.verdict, Verdict { kind: Kind::Excluded, reason: Reason::Donor { .. }, .. });
        let until = entry.state.donor_since.filter(|_| excluded)? + settings.donor_grace;
        (now < until).then_some(until)
    }

    /// Whether new sessions of writer services may be sent to this node, if it has the role.
    fn takes_writers(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|e| e.verdict.kind.serves()) || self.is_donor_with_role(id)
    }

    /// Whether this node is the writer, a donor, and keeps the role for now.
    pub(super) fn is_donor_with_role(&self, id: NodeId) -> bool {
        self.writer == Some(id) && self.donor_until.is_some()
    }

    /// Nobody could take over from a writer that was removed, or that serves and takes no writes any more: then there is none,
    /// and nobody is sent there to write.
    fn resign(&mut self, settings: &Settings, outcome: &mut Outcome) {
        let writes = |id: &NodeId| self.nodes.get(id).is_some_and(Entry::may_write);
        let Some(from) = self.writer.take_if(|id| !writes(id)) else { return };
        outcome.publish = true;
        let why = self.why_not(settings, from, "");
        outcome.effects.push(Effect::Writer { from: Some(from), to: None, why });
        if settings.kill_on_demote && self.nodes.contains_key(&from) {
            outcome.effects.push(Effect::Demote(from, Reason::Demoted("nobody".into())));
        }
    }

    /// Why a node is not the writer any more.
    fn why_not(&self, settings: &Settings, id: NodeId, otherwise: &str) -> String {
        match self.nodes.get(&id) {
            None => "it is no longer one of the nodes".to_owned(),
            Some(e) if e.admin == AdminState::Drain => Reason::Drained.to_string(),
            Some(e) if e.admin == AdminState::Maintenance => Reason::UnderMaintenance.to_string(),
            Some(e) if !e.may_write() => "it takes no writes".to_owned(),
            Some(_) if self.takes_writers(id) => otherwise.to_owned(),
            Some(e) if matches!(e.verdict.reason, Reason::Donor { .. }) && !settings.donor_grace.is_zero() => {
                format!("{}, donor_grace ({} s) is over", e.verdict.reason, settings.donor_grace.as_secs_f64())
            }
            Some(e) => e.verdict.reason.to_string(),
        }
    }

    /// Who may be the writer: among eligible nodes and the one that has the role and takes writers; where there is none, among
    /// those that are the last resort, and then among servers that are only too far behind to be read. Of servers those come
    /// first whose writes all the others get.
    pub(super) fn candidates(&self, except: Option<NodeId>) -> Vec<Candidate> {
        let may =
            |id: NodeId, e: &Entry| e.is_open() && e.may_write() && self.may_take_over(id, e) && Some(id) != except;
        let open = || self.nodes.iter().filter(|(id, e)| may(**id, e));
        let of = |fits: &dyn Fn(&Entry) -> bool| -> Vec<Candidate> {
            let candidate = |(id, e): (&NodeId, &Entry)| {
                let donor_since = e.state.donor_since.filter(|_| self.is_donor_with_role(*id));
                let since = e.serves_since.or(e.asked_since).filter(|_| fits(e)).or(donor_since);
                Some(Candidate {
                    id: *id,
                    backup: e.spec.backup,
                    order: e.spec.order,
                    priority: e.spec.priority,
                    since: since?,
                })
            };
            let all: Vec<Candidate> = open().filter_map(candidate).collect();
            let heads = self.heads(&all.iter().map(|c| c.id).collect::<Vec<_>>());
            let heads: Vec<Candidate> = all.iter().copied().filter(|c| heads.contains(&c.id)).collect();
            if heads.is_empty() { all } else { heads }
        };
        let eligible = of(&|e| e.verdict.kind == Kind::Eligible);
        let last_resort = || Some(of(&|e| e.verdict.kind == Kind::LastResort)).filter(|class| !class.is_empty());
        let behind = || of(&|e| e.is_only_for_writers(&e.verdict.reason));
        if eligible.is_empty() { last_resort().unwrap_or_else(behind) } else { eligible }
    }

    /// What the node that has the role is good for.
    pub(super) fn holder(&self, settings: &Settings, now: Instant, id: NodeId) -> Holder {
        let Some(entry) = self.nodes.get(&id) else { return Holder::Lost };
        if !entry.is_open() || !entry.may_write() {
            return Holder::Lost;
        }
        if self.takes_writers(id) {
            return Holder::Fit;
        }
        // Whatever it waits for, and however often it seems to come back. While nothing is heard of any node the fault may be
        // ours.
        let is_over = |since: Instant| now.saturating_duration_since(since) >= settings.down_after;
        if !self.blind && self.idle_since.is_some_and(is_over) {
            return Holder::Lost;
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

    /// When time alone may move the role.
    pub(super) fn role_deadline(&self, settings: &Settings) -> Option<Instant> {
        // The record is read all the time, and each reading is a step.
        let writer = self.writer.filter(|_| self.settled.is_some() && !settings.agreed)?;
        let entry = self.nodes.get(&writer)?;
        let candidates = self.candidates(None);
        if self.takes_writers(writer) && entry.is_open() {
            return self.donor_until.into_iter().chain(failback_due(&candidates, writer, settings.failback)).min();
        }
        if self.blind || candidates.is_empty() {
            return None;
        }
        // One that waits: when it has done so, or was silent, for too long, if another node can take over.
        let hung = entry.state.contact == Contact::Silent && !entry.state.surely_down;
        let since = self.idle_since.into_iter().chain(entry.state.silent_since.filter(|_| hung)).min();
        since.filter(|_| entry.is_open()).map(|since| since + settings.down_after)
    }
}
