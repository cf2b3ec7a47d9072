//! Orders for established sessions.

use std::time::Instant;

use super::super::NodeId;
use super::super::node_state::Contact;
use super::super::reason::{Consequence, Reason};
use super::super::settings::Settings;
use super::super::verdict::AdminState;
use super::{Core, Effect, Entry, Orders, Outcome};

impl Core {
    pub(super) fn order(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        self.look_around(now);
        let (blind, writer) = (self.blind, self.writer);
        let donor_with_role = writer.filter(|id| self.is_donor_with_role(*id));
        for (&node, entry) in &mut self.nodes {
            let wanted = wanted_orders(settings, now, blind, donor_with_role == Some(node), entry);
            if let Some((due, reason)) = wanted {
                order_sessions(node, entry, due, reason, outcome);
            }
            // What drained for the sake of a plan and does so no more would go on writing beside the new writer.
            match entry.orders {
                Orders::Draining => {}
                Orders::Ended => entry.owed_demotion = None,
                Orders::Live => {
                    let owed = entry.owed_demotion.take().filter(|_| writer != Some(node));
                    outcome.effects.extend(owed.map(|reason| Effect::Demote(node, reason)));
                }
            }
        }
    }

    /// When a hung node's sessions end.
    pub(super) fn order_deadline(&self, settings: &Settings) -> Option<Instant> {
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

    /// If every node fell silent the fault may be ours, and ending the sessions would be all we achieve. Once one
    /// serves again the others get their time anew: what was not heard while nothing was heard proves nothing.
    fn look_around(&mut self, now: Instant) {
        if self.nodes.values().all(|e| matches!(e.state.contact, Contact::Silent | Contact::Never)) {
            self.blind = true;
        } else if self.blind && self.nodes.values().any(|e| e.verdict.kind.serves()) {
            self.blind = false;
            self.idle_since = self.idle_since.map(|_| now);
            self.nodes.values_mut().for_each(|entry| entry.state.forgive_silence(now));
        }
    }
}

/// Brings a node's sessions to what is due.
fn order_sessions(node: NodeId, entry: &mut Entry, due: Orders, reason: Reason, outcome: &mut Outcome) {
    // A veto that the node has not taken back by an answer goes on under an order from outside.
    let vetoes = entry.state.reason.consequence() == Consequence::Veto;
    let from_outside = matches!(reason, Reason::Drained | Reason::UnderMaintenance | Reason::Left(_)) && !vetoes;
    match (entry.orders, due) {
        (Orders::Draining, Orders::Draining) => {
            // Whose the drain is may have changed, and with that who ends it.
            entry.drained = from_outside;
            return;
        }
        (old, new) if old == new => return,
        // Sessions that were ended are not brought back by a lesser order.
        (Orders::Ended, Orders::Draining) => return,
        (_, Orders::Ended) => outcome.effects.push(Effect::Kill(node, reason)),
        (_, Orders::Draining) => outcome.effects.push(Effect::Drain(node, reason)),
        (Orders::Draining, Orders::Live) => outcome.effects.push(Effect::Resume(node)),
        (_, Orders::Live) => {}
    }
    entry.orders = due;
    entry.drained = due == Orders::Draining && from_outside;
}

/// What a node's state asks for its sessions, and why; `None`: what was ordered stays. `has_role`: it is a donor that goes on
/// as the writer.
fn wanted_orders(
    settings: &Settings,
    now: Instant,
    blind: bool,
    has_role: bool,
    entry: &Entry,
) -> Option<(Orders, Reason)> {
    let observed = observed_orders(settings, now, blind, has_role, entry);
    let operator = match entry.admin {
        // What the operator or a name ordered they take back themselves: no answer of the node is needed for that.
        AdminState::Ready if observed.is_none() && entry.drained && entry.orders == Orders::Draining => {
            return Some((Orders::Live, entry.verdict.reason.clone()));
        }
        AdminState::Ready => return observed,
        AdminState::Drain => Reason::Drained,
        AdminState::Maintenance => Reason::UnderMaintenance,
    };
    // The operator's drain is at least that, whatever the node is.
    match observed {
        Some((Orders::Ended, reason)) => Some((Orders::Ended, reason)),
        Some((Orders::Draining, reason)) => Some((Orders::Draining, reason)),
        Some((Orders::Live, _)) => Some((Orders::Draining, operator)),
        None => (entry.orders == Orders::Live).then_some((Orders::Draining, operator)),
    }
}

fn observed_orders(
    settings: &Settings,
    now: Instant,
    blind: bool,
    has_role: bool,
    entry: &Entry,
) -> Option<(Orders, Reason)> {
    let state = &entry.state;
    // The settled reason is out of date, and the new one does not count yet: a node that was silent for a moment
    // must not lose its sessions by answering again.
    if state.is_rising() || blind && state.contact == Contact::Silent {
        return None;
    }
    let reason = entry.verdict.reason.clone();
    let is_surely_stale = entry.stale.as_ref().is_some_and(|stale| stale.certain && stale.doubt.is_believed());
    let orders = match reason.consequence() {
        // Who is out of date for certain serves nobody: the others have dropped it, and it will notice in seconds.
        _ if is_surely_stale && settings.kill_on_down => Some(Orders::Ended),
        Consequence::Down if !settings.kill_on_down => None,
        Consequence::Down if state.contact == Contact::Silent => state.is_down(settings, now).then_some(Orders::Ended),
        Consequence::Down => Some(Orders::Ended),
        Consequence::Veto => Some(Orders::Draining),
        // While it serves all the same, its sessions would only come back to it.
        Consequence::Donor if settings.kill_on_donor && !entry.verdict.kind.serves() && !has_role => {
            Some(Orders::Ended)
        }
        Consequence::Donor => Some(Orders::Live),
        // Nobody has come to it since its sessions ended.
        Consequence::None if entry.orders == Orders::Ended && !entry.verdict.kind.serves() => None,
        // A refused login says nothing of a veto: only an answer takes a drain back.
        Consequence::None => (state.contact == Contact::Answers).then_some(Orders::Live),
    };
    Some((orders?, reason))
}
