//! Which components there are, and which of them is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::NodeId;
use super::super::components::{Comparison, Component, Pair, StaleView};
use super::super::node_state::Contact;
use super::super::relation::{Contradiction, Relation, Side, Weak};
use super::super::settings::Settings;
use super::super::split::{Doubt, choose};
use super::super::view::View;
use super::{Core, Effect, Entry, Outcome, Split, Staleness};

/// Doubts by the two nodes whose views contradict each other.
pub(super) type Doubts = BTreeMap<(NodeId, NodeId), Doubt>;

impl Core {
    /// `fresh`: nothing is settled yet that a false alarm could take away, so a contradiction is taken for what it may be.
    pub(super) fn survey(&mut self, settings: &Settings, now: Instant, fresh: bool, outcome: &mut Outcome) {
        let views = self.views();
        let known = self.history(settings);
        let lives = |c: &Component| c.ready && (known.is_none() || c.history.is_none() || c.history == known);

        // Everything that might be a contradiction is looked into; what is weak is believed only after that.
        let compared = Comparison::new(views, &self.served, &self.fenced);
        let (doubts, mut look) = self.look_into(&compared, &lives, now, fresh);
        let level = |pair: &Pair| match doubts.get(&pair.key()) {
            Some(doubt) if doubt.is_believed() && doubt.lasting => Weak::Lasting,
            Some(doubt) if doubt.is_believed() || doubt.fresh => Weak::Believed,
            _ => Weak::Ignored,
        };
        let components = compared.components(level);

        let stale = self.stale(settings, &compared, &components.stale, now);
        look |= stale.values().any(|(_, fresh)| *fresh);
        let living: Vec<&Component> = components.all.iter().filter(|c| lives(c)).collect();
        let is_believed = |pair: &Pair| doubts.get(&pair.key()).is_some_and(Doubt::is_believed);
        let is_apart = |pair: &Pair| level(pair).settle(pair.relation) == Relation::Apart && is_believed(pair);
        // Weak evidence closes a node to new sessions. It ends none, and raises no alarm, before it lasts.
        let is_sure =
            |pair: &Pair| is_apart(pair) && (pair.relation == Relation::Apart || level(pair) == Weak::Lasting);
        let apart = sides(&living, compared.pairs.iter().filter(|p| is_apart(p)));
        let sure = sides(&living, compared.pairs.iter().filter(|p| is_sure(p)));
        let chosen = if !sure.is_empty() && settings.refuse_split_brain {
            None
        } else {
            choose(&living, &self.served, self.writer.or(self.incumbent)).filter(|c| self.may_serve(settings, now, c))
        };
        let split = (!sure.is_empty()).then(|| Split {
            sides: sure.iter().map(|c| c.nodes.clone()).collect(),
            served: chosen.and_then(|chosen| sure.iter().position(|c| *c == chosen)),
            certain: compared.pairs.iter().any(|p| is_sure(p) && p.relation == Relation::Apart),
        });

        if !apart.is_empty() {
            let others = apart.iter().filter(|c| Some(**c) != chosen);
            self.fenced = others.flat_map(|c| c.nodes.iter().copied()).collect();
        }
        let chosen = chosen.and_then(|chosen| components.all.iter().position(|c| c == chosen));
        if look {
            outcome.effects.extend(self.nodes.keys().map(|id| Effect::Look(*id)));
        }
        if (components != self.components) || chosen != self.chosen || split != self.split {
            outcome.publish = true;
        }
        if split != self.split {
            outcome.effects.push(Effect::SplitBrain(split.clone()));
        }
        for (id, entry) in &mut self.nodes {
            entry.stale = stale.get(id).map(|(staleness, _)| staleness.clone());
        }
        (self.components, self.chosen, self.doubts, self.split) = (components, chosen, doubts, split);
        self.fenced.retain(|id| self.nodes.get(id).is_some_and(|e| e.state.view.is_some()));
        self.learn(settings, outcome);
        self.notice_the_dropped();
    }

    /// Goes on doubting that nodes which seem to be of several components are so. True: all are to be checked again.
    fn look_into(
        &self,
        compared: &Comparison,
        lives: &impl Fn(&Component) -> bool,
        now: Instant,
        fresh: bool,
    ) -> (Doubts, bool) {
        let suspected = compared.components(|_| Weak::Suspected);
        let living: Vec<&Component> = suspected.all.iter().filter(|c| lives(c)).collect();
        let lives = |id: &NodeId| living.iter().any(|c| c.nodes.contains(id));
        let is_suspect = |pair: &&Pair| {
            Weak::Suspected.settle(pair.relation) == Relation::Apart && lives(&pair.left) && lives(&pair.right)
        };
        let mut look = false;
        let mut doubts = Doubts::new();
        for pair in compared.pairs.iter().filter(is_suspect) {
            let explained = matches!(pair.relation, Relation::Weak(Contradiction::Behind(..)));
            // What a node that lagged behind told for long is no reason to believe at once what comes after it.
            let known = self.doubts.get(&pair.key()).filter(|doubt| doubt.explained == explained);
            let doubt = match known.cloned() {
                None => {
                    look = true;
                    Doubt::new(now, fresh, explained)
                }
                // Who counts on a node that is gone may have slept since: such a view is not believed before it had time
                // to wake.
                Some(doubt) if !doubt.is_old(now) && self.counts_on_the_gone(pair) => doubt,
                Some(mut doubt) => {
                    // That the older party was asked and told nothing confirms no weak evidence.
                    let older = match pair.relation {
                        Relation::Weak(Contradiction::Slept(side) | Contradiction::Behind(side, _)) => {
                            Some(if side == Side::Left { pair.left } else { pair.right })
                        }
                        _ => None,
                    };
                    let begun = |id| {
                        let counts = doubt.is_old(now) && older != Some(id);
                        let asked = self.nodes.get(&id).and_then(|e| e.state.asked).filter(|_| counts);
                        compared.begun(id).max(asked)
                    };
                    let oldest = begun(pair.left).min(begun(pair.right));
                    look |= doubt.advance(oldest, now);
                    doubt
                }
            };
            doubts.insert(pair.key(), doubt);
        }
        (doubts, look)
    }

    /// Views that count: of two configured nodes that are one server, the first one's, and of two of which one leaves that of the
    /// other.
    fn views(&self) -> Vec<(NodeId, View)> {
        let mut met = BTreeSet::new();
        let seen = |leaving: bool| {
            let those = self.nodes.iter().filter(move |(_, e)| e.leaving.is_some() == leaving);
            those.filter_map(|(id, e)| Some((*id, e.state.view.as_ref()?)))
        };
        let is_first = |(_, view): &(NodeId, &View)| view.uuid.as_ref().is_none_or(|uuid| met.insert(uuid.clone()));
        let views = seen(false).chain(seen(true)).filter(is_first);
        let mut views: Vec<_> = views.map(|(id, view)| (id, view.clone())).collect();
        views.sort_by_key(|(id, _)| *id);
        views
    }

    /// Whether one of these nodes lists one that does not answer, or an earlier life of one.
    fn counts_on_the_gone(&self, pair: &Pair) -> bool {
        let views = || [pair.left, pair.right].into_iter().filter_map(|id| self.nodes.get(&id)?.state.view.as_ref());
        self.nodes.values().any(|e| {
            let state = &e.state;
            let (uuid, address) = (state.uuid.as_deref(), state.address.as_deref());
            let is_silent = state.contact == Contact::Silent;
            let lists_earlier = |v: &View| {
                let earlier = state.earlier_life.as_ref();
                earlier.is_some_and(|life| v.mentions(Some(&life.uuid), address.filter(|_| v.since <= life.heard)))
            };
            views().any(|v| is_silent && v.mentions(uuid, address) || lists_earlier(v))
        })
    }

    /// Goes on doubting nodes whose views are out of date. True: another check is wanted.
    fn stale(
        &self,
        settings: &Settings,
        compared: &Comparison,
        found: &BTreeMap<NodeId, StaleView>,
        now: Instant,
    ) -> BTreeMap<NodeId, (Staleness, bool)> {
        let doubt = |(id, view): (&NodeId, &StaleView)| {
            let known = self.nodes.get(id).and_then(|e| e.stale.clone());
            let (doubt, again) = match known {
                None => (Doubt::new(now, false, false), true),
                Some(Staleness { mut doubt, .. }) => {
                    // Who cannot be asked (it is full, or a shortage of ours) holds the others' word up no longer than one
                    // that is silent.
                    let lasting = now.saturating_duration_since(doubt.first) >= settings.down_after;
                    let (own, by) = (compared.begun(*id), compared.begun(view.by));
                    let oldest = if lasting { by } else { own.min(by) };
                    // What is not certain waits until the node says it itself.
                    let again = doubt.advance(oldest.filter(|_| view.certain), now);
                    (doubt, again)
                }
            };
            (*id, (Staleness { doubt, certain: view.certain }, again))
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
        let is_pending = |stale: &Staleness| pending(&stale.doubt);
        self.doubts.values().any(pending) || self.nodes.values().any(|e| e.stale.as_ref().is_some_and(is_pending))
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
        // Where all that a component counts are before us, nothing else is in it: so it is seen without any list.
        let count = u64::try_from(views.len()).ok();
        let is_complete = views.iter().all(|v| v.size.is_some() && v.size == count && v.uuid.is_some());
        for entry in self.nodes.values_mut().filter(|e| e.state.contact == Contact::Silent) {
            let (Some(since), Some(uuid)) = (entry.state.silent_since, entry.state.uuid.as_deref()) else { continue };
            let newer = |v: &&View| v.begun > since;
            let mut lists = views.iter().filter(newer).filter_map(|v| v.lists_member(Some(uuid), None)).peekable();
            let dropped = lists.peek().is_some() && lists.all(|listed| !listed);
            let counted_out = is_complete && views.iter().all(|v| newer(&v));
            entry.state.surely_down |= dropped || counted_out;
        }
    }
}

/// Those of several components that one of these pairs of nodes, which are apart, tells from another one.
fn sides<'a>(living: &[&'a Component], apart: impl Iterator<Item = &'a Pair>) -> Vec<&'a Component> {
    let of = |id: NodeId| living.iter().position(|c| c.nodes.contains(&id));
    let both = apart.filter_map(|pair| of(pair.left).zip(of(pair.right))).filter(|(a, b)| a != b);
    let found: BTreeSet<usize> = both.flat_map(|(a, b)| [a, b]).collect();
    living.iter().enumerate().filter(|(i, _)| found.contains(i)).map(|(_, c)| *c).collect()
}
