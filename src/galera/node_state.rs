//! One node's observations over time, settled by rise and fall. Rules that need other nodes are in [`super::core`].

use std::time::Instant;

use super::core::Settings;
use super::fitness::{Fitness, judge, judge_unreadable};
use super::observation::{Check, LoginFailure, Observation, Unreachable};
use super::reason::Reason;
use super::status::NodeStatus;

/// What the last check that got an answer of any kind said about the node's place among the reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// Never observed.
    Never,
    /// It answers.
    Answers,
    /// Its server refuses our login.
    Refuses {
        /// It was fit when the refusals began, and has answered with an ERR packet ever since: only the account
        /// changed.
        was_fit: bool,
    },
    /// It does not answer.
    Silent,
}

/// Good checks that do not count yet.
#[derive(Debug, Clone)]
struct Rising {
    checks: u32,
    /// The least of them: what they prove together.
    fitness: Fitness,
    /// Its own.
    reason: Reason,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    /// What it may do after rise and fall.
    pub(super) fitness: Fitness,
    /// Why.
    pub(super) reason: Reason,
    pub(super) contact: Contact,
    /// It has room for new sessions, as of the last answer.
    pub(super) room: bool,
    /// Its component is Primary, as of the last answer; `None` while it does not answer.
    pub(super) primary: Option<bool>,
    /// Better checks in a row than `fitness`, and the least of them.
    rising: Option<Rising>,
    /// Failed checks in a row.
    pub(super) failures: u32,
    /// When the first of them began.
    pub(super) silent_since: Option<Instant>,
    /// A failed check that needs no second opinion.
    pub(super) surely_down: bool,
}

impl NodeState {
    pub(super) fn new() -> Self {
        Self {
            fitness: Fitness::None,
            reason: Reason::NotChecked,
            contact: Contact::Never,
            room: true,
            primary: None,
            rising: None,
            failures: 0,
            silent_since: None,
            surely_down: false,
        }
    }

    /// Takes one observation in.
    pub(super) fn observe(&mut self, settings: &Settings, observation: Observation) {
        match observation.check {
            Check::Answered(status) => {
                let (fitness, reason) = judge(&status, settings.donor);
                self.room = has_room(&status, settings.connection_margin);
                self.answered(settings, fitness, reason, status.cluster_status == "Primary");
            }
            Check::Unreadable(why, _) => {
                let (fitness, reason) = judge_unreadable(&why);
                self.answered(settings, fitness, reason, false);
            }
            Check::Unreachable { why, sure } => self.silent(settings, observation.begun, why, sure),
            Check::LoginRefused(why) => self.login_refused(why),
            Check::NoEntry(why) => self.no_entry(why),
            Check::NotMade(_) => {}
        }
    }

    fn answered(&mut self, settings: &Settings, fitness: Fitness, reason: Reason, primary: bool) {
        // A refused login was no fault of the node's, so its end needs no second opinion; nor does the first check ever.
        let at_once = matches!(self.contact, Contact::Never | Contact::Refuses { was_fit: true });
        self.alive(Contact::Answers);
        self.primary = Some(primary);
        if at_once || fitness <= self.fitness {
            self.settle(fitness, reason);
            return;
        }
        let rising = match self.rising.take() {
            Some(r) if r.fitness < fitness => Rising { checks: r.checks.saturating_add(1), ..r },
            Some(r) => Rising { checks: r.checks.saturating_add(1), fitness, reason },
            None => Rising { checks: 1, fitness, reason },
        };
        if rising.checks >= settings.rise {
            self.settle(rising.fitness, rising.reason);
        } else {
            self.rising = Some(rising);
        }
    }

    fn silent(&mut self, settings: &Settings, begun: Instant, why: Unreachable, sure: bool) {
        self.failures = self.failures.saturating_add(1);
        self.silent_since.get_or_insert(begun);
        self.surely_down |= sure;
        self.rising = None;
        // What gets nobody has nothing to lose by a first failure. A node that serves although its login is refused has.
        let known_unfit = self.fitness == Fitness::None && self.contact != Contact::Refuses { was_fit: true };
        if sure || known_unfit || self.failures >= settings.fall {
            self.contact = Contact::Silent;
            self.primary = None;
            self.settle(Fitness::None, Reason::Unreachable(why));
        }
    }

    fn login_refused(&mut self, why: LoginFailure) {
        let was_fit = match self.contact {
            Contact::Refuses { was_fit } => was_fit,
            Contact::Answers => self.fitness > Fitness::None,
            Contact::Never | Contact::Silent => false,
        };
        self.alive(Contact::Refuses { was_fit });
        self.primary = None;
        self.rising = None;
        self.settle(Fitness::None, Reason::LoginRefused(why));
    }

    fn no_entry(&mut self, why: LoginFailure) {
        match self.contact {
            // It speaks, so a run of failures is over; what it may do stays as it was last seen.
            Contact::Answers | Contact::Refuses { .. } => {
                self.failures = 0;
                self.silent_since = None;
                self.surely_down = false;
                self.room = false;
            }
            Contact::Never | Contact::Silent => {
                self.alive(Contact::Silent);
                self.settle(Fitness::None, Reason::NoEntry(why));
            }
        }
    }

    fn alive(&mut self, contact: Contact) {
        self.contact = contact;
        self.failures = 0;
        self.silent_since = None;
        self.surely_down = false;
    }

    fn settle(&mut self, fitness: Fitness, reason: Reason) {
        self.fitness = fitness;
        self.reason = reason;
        self.rising = None;
    }

    /// It answered better than it is settled, but not often enough yet.
    pub(super) fn is_rising(&self) -> bool {
        self.rising.is_some()
    }

    /// Silence up to now proves nothing: it is counted from `now` on.
    pub(super) fn forgive_silence(&mut self, now: Instant) {
        self.surely_down = false;
        self.silent_since = self.silent_since.map(|_| now);
    }

    /// Between two settled states: the next check is wanted soon.
    pub(super) fn in_doubt(&self) -> bool {
        let failing = self.failures > 0 && self.contact != Contact::Silent;
        failing || self.is_rising() || self.contact == Contact::Never
    }
}

fn has_room(status: &NodeStatus, margin: u32) -> bool {
    status.connections.is_none_or(|(connected, most)| connected.saturating_add(u64::from(margin)) < most)
}
