//! One node's observations over time, settled by rise and fall. Rules that need other nodes are in [`super::core`].

use std::time::Instant;

use super::entrance::Entrance;
use super::fitness::{Fitness, judge, judge_unreadable};
use super::observation::{Check, ConnectFailure, LoginFailure, NewConnection, Observation, Unreachable};
use super::reason::Reason;
use super::server::{Links, ServerStatus, Takeover};
use super::settings::{Settings, Sort};
use super::status::NodeStatus;
use super::verdict::Slow;
use super::view::{View, history};

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

/// Flow control's counters.
#[derive(Debug, Clone, Copy)]
struct Flow {
    at: Instant,
    /// `wsrep_flow_control_paused_ns`.
    paused: u64,
    /// `wsrep_flow_control_sent`.
    sent: u64,
}

/// A server from one start of its provider to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// `wsrep_gcomm_uuid`.
    pub(super) uuid: Box<str>,
    /// When the last check began to which it answered.
    pub(super) heard: Instant,
    /// The last `wsrep_cluster_conf_id` that it told of a Primary component.
    conf_id: Option<u64>,
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
    /// It answers, and its answer can be read.
    pub(super) speaks: bool,
    /// Its component, as of the last answer; `None` while it is in none that is Primary, or does not answer.
    pub(super) view: Option<View>,
    /// When the last check began that was not met by silence. What it tells without rows (it is full), or could not be asked
    /// for a shortage of ours, leaves its view as it was.
    pub(super) asked: Option<Instant>,
    /// Its UUID and name in the group, as of its last answer in this life.
    pub(super) uuid: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    /// The one before, if it was heard in it.
    pub(super) earlier_life: Option<Life>,
    life: Option<Life>,
    /// Its client address there.
    pub(super) address: Option<Box<str>>,
    pub(super) slow: Option<Slow>,
    flow: Option<Flow>,
    /// Whether a server by itself takes writes, as of its last answer.
    pub(super) writable: Option<bool>,
    /// When it became a donor, as far as is known; silence does not end that, an answer does.
    pub(super) donor_since: Option<Instant>,
    /// The same, as of its last answer while its group worked or it had none: one that its group closed still holds what it was
    /// sent before.
    pub(super) took_writes: bool,
    /// It is a member of a group that works, or of none, as of its last answer.
    pub(super) has_group: bool,
    /// It was seen to turn from one that does not into one that does, while it answered: somebody wanted that.
    pub(super) was_opened: bool,
    /// Whether it may be made the writer, and whose transactions it gets, as of its last answer.
    pub(super) takeover: Takeover,
    pub(super) links: Links,
    /// When a replica last knew how far behind it was, and how far.
    reached: Option<(Instant, u64)>,
    /// Better checks in a row than `fitness`, and the least of them.
    rising: Option<Rising>,
    /// Failed checks in a row.
    pub(super) failures: u32,
    /// When the first of them began.
    pub(super) silent_since: Option<Instant>,
    /// A failed check that needs no second opinion.
    pub(super) surely_down: bool,
    /// Whether it takes new connections.
    pub(super) entrance: Entrance,
}

impl NodeState {
    pub(super) fn new() -> Self {
        Self {
            fitness: Fitness::None,
            reason: Reason::NotChecked,
            contact: Contact::Never,
            room: true,
            speaks: false,
            view: None,
            asked: None,
            uuid: None,
            name: None,
            earlier_life: None,
            life: None,
            address: None,
            slow: None,
            flow: None,
            writable: None,
            donor_since: None,
            took_writes: false,
            has_group: false,
            was_opened: false,
            takeover: Takeover::Alone,
            links: Links::default(),
            reached: None,
            rising: None,
            failures: 0,
            silent_since: None,
            surely_down: false,
            entrance: Entrance::default(),
        }
    }

    /// Takes in what an attempt on a new connection met.
    pub(super) fn connected(&mut self, settings: &Settings, seen: NewConnection) {
        let answers = self.contact == Contact::Answers && self.failures == 0;
        self.entrance.observe(settings.rise, settings.fall, answers, seen);
    }

    /// Why it takes no new connections although its check answers, and since when.
    pub(super) fn closed_entrance(&self) -> Option<(&ConnectFailure, Instant)> {
        self.entrance.closed().filter(|_| self.contact == Contact::Answers)
    }

    /// Takes one observation in. `serves`: the node serves now.
    pub(super) fn observe(&mut self, settings: &Settings, sort: Sort, serves: bool, observation: Observation) {
        if !matches!(observation.check, Check::Unreachable { .. }) {
            self.asked = Some(observation.begun);
        }
        match observation.check {
            Check::Answered(status) => {
                let (fitness, reason) = judge(&status, settings.donor);
                self.room = has_room(status.connections, settings.connection_margin);
                self.load(settings, observation.begun, &status);
                let view = View::of(observation.begun, &status).map(|v| v.continue_from(self.view.as_ref()));
                self.recognise_life(observation.begun, &status);
                if let (Some(view), Some(life)) = (&view, &mut self.life) {
                    life.conf_id = view.conf_id;
                }
                let earlier_life = self.earlier_life.as_ref().map(|life| (life.heard, life.conf_id));
                self.view = view.map(|view| View { earlier_life, ..view });
                self.uuid.clone_from(&status.uuid);
                self.name.clone_from(&status.name);
                if let Some(view) = &self.view {
                    self.address = view.address().map(Box::from);
                }
                self.answered(settings, serves, fitness, reason);
                self.note_donor_state(observation.begun);
            }
            Check::Unreadable(why, _) => {
                let (fitness, reason) = judge_unreadable(&why);
                self.view = None;
                self.answered(settings, serves, fitness, reason);
            }
            Check::Server(status) => self.served(settings, sort, serves, observation.begun, &status),
            Check::Open => self.answered(settings, serves, Fitness::Full, Reason::Open),
            Check::Unreachable { why, sure } => self.silent(settings, observation.begun, why, sure),
            Check::LoginRefused(why) => self.login_refused(why),
            Check::Offline(why) => self.offline(why),
            Check::NoEntry(why) => self.no_entry(why),
            Check::NotMade(_) => {}
        }
    }

    fn served(&mut self, settings: &Settings, sort: Sort, serves: bool, at: Instant, status: &ServerStatus) {
        if let Some(lag) = status.lag() {
            self.reached = Some((at, lag));
        }
        let (fitness, reason) = status.judge(sort, settings.max_replication_lag, self.reached, at);
        self.room = has_room(status.connections, settings.connection_margin);
        if sort == Sort::Server {
            let is_writable = status.is_writable();
            let is_new = self.writable == Some(false) && !self.took_writes;
            self.was_opened = self.contact == Contact::Answers && is_writable && (is_new || self.was_opened);
            self.writable = Some(is_writable);
            self.has_group = status.has_its_group();
            self.took_writes = if self.has_group { is_writable } else { self.took_writes };
            self.takeover = status.takeover();
            let before = std::mem::replace(&mut self.links, status.links().clone());
            self.links.remember(&before);
        }
        self.answered(settings, serves, fitness, reason);
    }

    /// `wsrep_gcomm_uuid` changes at every start of the provider (seen with galera-4 26.4). All zero: it has none.
    fn recognise_life(&mut self, at: Instant, status: &NodeStatus) {
        let Some(uuid) = status.uuid.as_deref().filter(|uuid| history(uuid).is_some()) else { return };
        if let Some(life) = self.life.take_if(|life| *life.uuid != *uuid) {
            self.earlier_life = Some(life);
        }
        let life = self.life.get_or_insert_with(|| Life { uuid: uuid.into(), heard: at, conf_id: None });
        life.heard = at;
    }

    /// Whether it lags behind, with hysteresis. Flow control pauses all nodes alike: a node that makes the others wait is
    /// one that has sent flow control since its last check.
    fn load(&mut self, settings: &Settings, at: Instant, status: &NodeStatus) {
        let number = |name| status.number(name);
        let flow = number("wsrep_flow_control_paused_ns").zip(number("wsrep_flow_control_sent"));
        let flow = flow.map(|(paused, sent)| Flow { at, paused, sent });
        let before = std::mem::replace(&mut self.flow, flow);
        let queue = settings.max_recv_queue.zip(number("wsrep_local_recv_queue"));
        let (long, still_long) = queue.map_or((false, false), |(most, n)| (n > most, n.saturating_mul(2) >= most));
        let share = before.zip(flow).map(|(before, now)| {
            let passed = now.at.saturating_duration_since(before.at).as_nanos().max(1) as f64;
            (now.paused.saturating_sub(before.paused) as f64 / passed, now.sent > before.sent)
        });
        let (paused, still_paused) = settings
            .max_flow_control_paused
            .zip(share)
            .map_or((false, false), |(most, (share, sent))| (share > most && sent, share * 2.0 >= most));
        self.slow = match self.slow {
            _ if long => Some(Slow::RecvQueue),
            _ if paused => Some(Slow::FlowControl),
            Some(Slow::RecvQueue) if still_long => Some(Slow::RecvQueue),
            Some(Slow::FlowControl) if still_paused => Some(Slow::FlowControl),
            _ => None,
        };
    }

    fn answered(&mut self, settings: &Settings, serves: bool, fitness: Fitness, reason: Reason) {
        // A refused login was no fault of the node's, so its end needs no second opinion; nor does the first check ever;
        // nor does a last resort that is better than one: it serves already, beside others that are none.
        let is_spare = serves && self.fitness == Fitness::Spare;
        let at_once = is_spare || matches!(self.contact, Contact::Never | Contact::Refuses { was_fit: true });
        self.alive(Contact::Answers);
        self.speaks = true;
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

    /// Counts a donor's time from the first answer that said so. While a better answer does not count yet, it goes on.
    fn note_donor_state(&mut self, at: Instant) {
        if self.rising.is_none() {
            let is_donor = matches!(self.reason, Reason::Donor { .. });
            self.donor_since = is_donor.then(|| self.donor_since.unwrap_or(at));
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
            if self.contact != Contact::Silent {
                self.entrance.forget();
            }
            self.contact = Contact::Silent;
            self.forget();
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
        self.forget();
        self.settle(Fitness::None, Reason::LoginRefused(why));
    }

    /// It answers, and lets nobody in but administrators.
    fn offline(&mut self, why: LoginFailure) {
        self.alive(Contact::Answers);
        self.forget();
        self.speaks = true;
        self.settle(Fitness::None, Reason::OfflineMode(Some(why)));
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

    /// The last answer of a node that does not answer now tells of no component.
    fn forget(&mut self) {
        self.speaks = false;
        self.view = None;
        self.slow = None;
        self.flow = None;
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

    /// Ends its rise where that makes a last resort a Synced node: true if it did.
    pub(super) fn rise_at_once(&mut self) -> bool {
        let full = self.rising.take_if(|r| self.fitness == Fitness::Spare && r.fitness == Fitness::Full);
        full.map(|r| self.settle(r.fitness, r.reason)).is_some()
    }

    /// Its silence is that of a node that is gone: it was refused, or the others have dropped it, or it was silent for
    /// long enough.
    pub(super) fn is_down(&self, settings: &Settings, now: Instant) -> bool {
        let long = |since| now.saturating_duration_since(since) >= settings.down_after;
        self.contact == Contact::Silent && (self.surely_down || self.silent_since.is_some_and(long))
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

fn has_room(connections: Option<(u64, u64)>, margin: u32) -> bool {
    connections.is_none_or(|(connected, most)| connected.saturating_add(u64::from(margin)) < most)
}
