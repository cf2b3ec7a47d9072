//! Orders for established sessions.

use std::time::Instant;

use super::super::node_state::Contact;
use super::super::reason::{Consequence, Reason};
use super::super::settings::Settings;
use super::super::split::Doubt;
use super::super::verdict::AdminState;
use super::{Core, Effect, Entry, Orders, Outcome};

impl Core {
    pub(super) fn order(&mut self, settings: &Settings, now: Instant, outcome: &mut Outcome) {
        self.look_around(now);
        for (&node, entry) in &mut self.nodes {
            let Some((due, reason)) = wanted_orders(settings, now, self.blind, entry) else { continue };
            // A veto that the node has not taken back by an answer goes on under an order from outside.
            let vetoes = entry.state.reason.consequence() == Consequence::Veto;
            let from_outside =
                matches!(reason, Reason::Drained | Reason::UnderMaintenance | Reason::Left(_)) && !vetoes;
            match (entry.orders, due) {
                (Orders::Draining, Orders::Draining) => {
                    // Whose the drain is may have changed, and with that who ends it.
                    entry.drained = from_outside;
                    continue;
                }
                (old, new) if old == new => continue,
                // Sessions that were ended are not brought back by a lesser order.
                (Orders::Ended, Orders::Draining) => continue,
                (_, Orders::Ended) => outcome.effects.push(Effect::Kill(node, reason)),
                (_, Orders::Draining) => outcome.effects.push(Effect::Drain(node, reason)),
                (Orders::Draining, Orders::Live) => outcome.effects.push(Effect::Resume(node)),
                (_, Orders::Live) => {}
            }
            entry.orders = due;
            entry.drained = due == Orders::Draining && from_outside;
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
            for entry in self.nodes.values_mut().filter(|e| e.state.contact == Contact::Silent) {
                entry.state.forgive_silence(now);
            }
        }
    }
}

/// What a node's state asks for its sessions, and why; `None`: what was ordered stays.
fn wanted_orders(settings: &Settings, now: Instant, blind: bool, entry: &Entry) -> Option<(Orders, Reason)> {
    let observed = observed_orders(settings, now, blind, entry);
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

fn observed_orders(settings: &Settings, now: Instant, blind: bool, entry: &Entry) -> Option<(Orders, Reason)> {
    let state = &entry.state;
    // The settled reason is out of date, and the new one does not count yet: a node that was silent for a moment
    // must not lose its sessions by answering again.
    if state.is_rising() || blind && state.contact == Contact::Silent {
        return None;
    }
    let reason = entry.verdict.reason.clone();
    let orders = match reason.consequence() {
        // Who is out of date for certain serves nobody: the others have dropped it, and it will notice in seconds.
        _ if entry.stale.as_ref().is_some_and(Doubt::is_believed) && settings.kill_on_down => Some(Orders::Ended),
        Consequence::Down if !settings.kill_on_down => None,
        Consequence::Down if state.contact == Contact::Silent => state.is_down(settings, now).then_some(Orders::Ended),
        Consequence::Down => Some(Orders::Ended),
        Consequence::Veto => Some(Orders::Draining),
        // While it serves all the same, its sessions would only come back to it.
        Consequence::Donor if settings.kill_on_donor && !entry.verdict.kind.serves() => Some(Orders::Ended),
        Consequence::Donor => Some(Orders::Live),
        // A refused login says nothing of a veto: only an answer takes a drain back.
        Consequence::None => (state.contact == Contact::Answers).then_some(Orders::Live),
    };
    Some((orders?, reason))
}
