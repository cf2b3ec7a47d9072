//! Which components there are, and which of them is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::NodeId;
use super::super::node_state::Contact;
use super::super::settings::Settings;
use super::super::split::{Doubt, choose};
use super::super::view::{Component, View, Weak, components};
use super::{Core, Effect, Entry, Outcome, Split};

/// A node that was suspended says so itself within about 6 s (seen: its own `evs` timers run anew). An older view that
/// contradicts the others by its size alone, and does so for longer than this, is not out of date.
const SUSPENDED: Duration = Duration::from_secs(20);

impl Core {
    /// `fresh`: nothing is settled yet that a false alarm could take away, so a contradiction is taken for what it may be.
    pub(super) fn survey(&mut self, settings: &Settings, now: Instant, fresh: bool, outcome: &mut Outcome) {
        let views = self.views();
        let known = self.history(settings);
        let lives = |c: &&Component| c.ready && (known.is_none() || c.history.is_none() || c.history == known);

        // Everything that might be a contradiction is looked into; what is weak is believed only after that.
        let suspected = components(&views, Weak::Lasting);
        let parties: BTreeSet<NodeId> = match suspected.all.iter().filter(lives).collect::<Vec<_>>().as_slice() {
            [] | [_] => BTreeSet::new(),
            several => several.iter().flat_map(|c| c.nodes.iter().copied()).collect(),
        };
        let (doubt, mut look) = self.look_into(&views, &parties, now, fresh);
        let weak = match &doubt {
            Some(d) if d.is_believed() && now.saturating_duration_since(d.first) >= SUSPENDED => Weak::Lasting,
            Some(d) if d.is_believed() || d.fresh => Weak::Believed,
            _ => Weak::Ignored,
        };
        let components = components(&views, weak);

        let stale = self.stale(settings, &views, &components.stale, now);
        look |= stale.values().any(|(_, fresh)| *fresh);
        let living: Vec<&Component> = components.all.iter().filter(lives).collect();
        let believed = doubt.as_ref().is_some_and(Doubt::is_believed) && living.len() > 1;
        let chosen = if believed && settings.refuse_split_brain {
            None
        } else {
            choose(&living, &self.served, self.writer.or(self.incumbent)).filter(|c| self.may_serve(settings, now, c))
        };
        let place = |c: &Component| components.all.iter().position(|other| other == c);
        let chosen = chosen.and_then(place);
        let split = believed.then(|| Split {
            sides: living.iter().map(|c| c.nodes.clone()).collect(),
            served: chosen.and_then(|i| living.iter().position(|c| place(c) == Some(i))),
        });

        if look {
            outcome.effects.extend(self.nodes.keys().map(|id| Effect::Look(*id)));
        }
        if (components != self.components) || chosen != self.chosen || split != self.split {
            outcome.publish = true;
        }
        if split != self.split {
            outcome.effects.push(Effect::SplitBrain(split.clone()));
        }
        if let Some(split) = &split {
            let sides = split.sides.iter().enumerate().filter(|(i, _)| Some(*i) != split.served);
            self.fenced = sides.flat_map(|(_, nodes)| nodes.iter().copied()).collect();
        }
        for (id, entry) in &mut self.nodes {
            entry.stale = stale.get(id).map(|(doubt, _)| doubt.clone());
        }
        (self.components, self.chosen, self.doubt, self.split) = (components, chosen, doubt, split);
        self.fenced.retain(|id| self.nodes.get(id).is_some_and(|e| e.state.view.is_some()));
        self.learn(settings, outcome);
        self.notice_the_dropped();
    }

    /// Goes on doubting that these nodes, which seem to be of several components, are so. True: all are to be checked again.
    fn look_into(
        &self,
        views: &[(NodeId, &View)],
        parties: &BTreeSet<NodeId>,
        now: Instant,
        fresh: bool,
    ) -> (Option<Doubt>, bool) {
        if parties.is_empty() {
            return (None, false);
        }
        let Some(mut doubt) = self.doubt.clone() else { return (Some(Doubt::new(now, fresh)), true) };
        // Who counts on a node that is gone may have slept since: such a view is not believed before it had time to wake.
        let is_young = now.saturating_duration_since(doubt.first) < SUSPENDED;
        if is_young && self.counts_on_the_silent(parties) {
            return (Some(doubt), false);
        }
        let oldest = views.iter().filter(|(id, _)| parties.contains(id)).map(|(_, v)| v.begun).min();
        let again = doubt.advance(oldest, now);
        (Some(doubt), again)
    }

    /// Views that count: of two configured nodes that are one server, the first one's, and of two of which one leaves that of the
    /// other.
    fn views(&self) -> Vec<(NodeId, &View)> {
        let mut met = BTreeSet::new();
        let seen = |leaving: bool| {
            let those = self.nodes.iter().filter(move |(_, e)| e.leaving.is_some() == leaving);
            those.filter_map(|(id, e)| Some((*id, e.state.view.as_ref()?)))
        };
        let is_first = |(_, view): &(NodeId, &View)| view.uuid.as_ref().is_none_or(|uuid| met.insert(uuid.clone()));
        let mut views: Vec<_> = seen(false).chain(seen(true)).filter(is_first).collect();
        views.sort_by_key(|(id, _)| *id);
        views
    }

    /// Whether one of these nodes lists one that does not answer us.
    fn counts_on_the_silent(&self, parties: &BTreeSet<NodeId>) -> bool {
        let silent = || self.nodes.values().filter(|e| e.state.contact == Contact::Silent);
        let mut views = parties.iter().filter_map(|id| self.nodes.get(id)?.state.view.as_ref());
        views.any(|v| silent().any(|e| v.mentions(e.state.uuid.as_deref(), e.state.address.as_deref())))
    }

    /// Goes on doubting nodes whose views are out of date. True: another check is wanted.
    fn stale(
        &self,
        settings: &Settings,
        views: &[(NodeId, &View)],
        found: &BTreeMap<NodeId, NodeId>,
        now: Instant,
    ) -> BTreeMap<NodeId, (Doubt, bool)> {
        let begun = |id: &NodeId| views.iter().find(|(other, _)| other == id).map(|(_, view)| view.begun);
        let doubt = |(id, by): (&NodeId, &NodeId)| {
            let known = self.nodes.get(id).and_then(|e| e.stale.clone());
            let entry = match known {
                None => (Doubt::new(now, false), true),
                Some(mut doubt) => {
                    // Who cannot be asked (it is full, or a shortage of ours) holds the others' word up no longer than one
                    // that is silent.
                    let lasting = now.saturating_duration_since(doubt.first) >= settings.down_after;
                    let oldest = if lasting { begun(by) } else { begun(id).min(begun(by)) };
                    let again = doubt.advance(oldest, now);
                    (doubt, again)
                }
            };
            (*id, entry)
        };
        found.iter().map(doubt).collect()
    }

    /// Nodes that are served are not given up for others while they may still live: a component of which nothing is
    /// heard for a moment goes on writing.
    fn may_serve(&self, settings: &Settings, now: Instant, component: &Component) -> bool {
        // Those that were served before a restart may be found yet.
        if self.discovering && self.served.is_empty() && !self.recalled.served.is_empty() {
            return false;
        }
        if self.served.is_empty() || component.nodes.iter().any(|id| self.served.contains(id)) {
            return true;
        }
        let lists = |e: &Entry| self.listed_by(&component.nodes, e.state.uuid.as_deref(), None);
        // Without lists of members, only a split that was seen tells that the two are apart.
        let was_fenced = component.nodes.iter().any(|id| self.fenced.contains(id));
        let is_apart = |e: &Entry| lists(e).map_or(was_fenced, |listed| !listed);
        let may_live_elsewhere = |id: &NodeId| {
            self.nodes.get(id).is_some_and(|e| match e.state.contact {
                Contact::Never => !e.asked && lists(e) != Some(true),
                Contact::Silent => !e.state.is_down(settings, now) && is_apart(e),
                Contact::Answers => e.state.view.is_some() && is_apart(e),
                Contact::Refuses { was_fit } => was_fit && is_apart(e),
            })
        };
        !self.served.iter().any(may_live_elsewhere)
    }

    /// Nodes contradict each other, and the checks that were made because of it have not all ended yet.
    pub(super) fn is_looking(&self) -> bool {
        let pending = |doubt: &Doubt| !doubt.is_believed();
        self.doubt.as_ref().is_some_and(pending) || self.nodes.values().any(|e| e.stale.as_ref().is_some_and(pending))
    }

    fn learn(&mut self, settings: &Settings, outcome: &mut Outcome) {
        let Some(chosen) = self.chosen.and_then(|i| self.components.all.get(i)).filter(|_| self.settled.is_some())
        else {
            return;
        };
        // Views of one moment may change sides with each answer: which side was served is not settled by the first of them.
        if !self.is_looking() {
            self.served = chosen.nodes.iter().copied().collect();
        }
        self.fenced.retain(|id| !self.served.contains(id));
        let Some(history) = chosen.history.clone().filter(|history| self.history.as_ref() != Some(history)) else {
            return;
        };
        // One that the configuration names and that is served is the learned one as well: it stays when the name is taken out.
        if settings.state_uuid.is_some() {
            self.history = Some(history);
        } else if self.history.is_none() {
            self.history = Some(history.clone());
            outcome.effects.push(Effect::Learned(history));
        }
    }

    /// A silent node that the others have dropped from the cluster since is gone: Galera waited for it as long as it does.
    fn notice_the_dropped(&mut self) {
        let Some(chosen) = self.chosen.and_then(|i| self.components.all.get(i)) else { return };
        let views: Vec<View> = chosen.nodes.iter().filter_map(|id| self.nodes.get(id)?.state.view.clone()).collect();
        for entry in self.nodes.values_mut().filter(|e| e.state.contact == Contact::Silent) {
            let (Some(since), Some(uuid)) = (entry.state.silent_since, entry.state.uuid.as_deref()) else { continue };
            let newer = |v: &&View| v.begun > since;
            let mut lists = views.iter().filter(newer).filter_map(|v| v.lists_member(Some(uuid), None)).peekable();
            let dropped = lists.peek().is_some() && lists.all(|listed| !listed);
            entry.state.surely_down |= dropped;
        }
    }
}
