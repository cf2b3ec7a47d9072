//! From what each node says of its component to the components there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::NodeId;
use super::relation::{Evidence, Relation, Side, Weak, was_continued};
use super::view::{Membership, View};

/// Nodes in one Primary component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// Those that were asked; in their order.
    pub(super) nodes: Vec<NodeId>,
    /// One of them is ready.
    pub(super) ready: bool,
    pub(super) weight: u64,
    pub(super) history: Option<Box<str>>,
}

/// All Primary components that the views show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Components {
    pub(super) all: Vec<Component>,
    /// Nodes whose view is out of date.
    pub(super) stale: BTreeMap<NodeId, StaleView>,
    /// The weakest of the evidence.
    pub(super) membership: Membership,
}

/// Why a view is taken to be out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StaleView {
    /// A node whose newer view lacks the one that told it.
    pub(super) by: NodeId,
    pub(super) certain: bool,
}

/// Two nodes and what their views say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) left: NodeId,
    pub(super) right: NodeId,
    pub(super) relation: Relation,
}

impl Pair {
    /// The two nodes, which name the pair.
    pub(super) fn key(&self) -> (NodeId, NodeId) {
        (self.left, self.right)
    }
}

/// Each two of several views, and what they say of each other.
#[derive(Debug)]
pub(super) struct Comparison {
    views: Vec<(NodeId, View)>,
    pub(super) pairs: Vec<Pair>,
    membership: Membership,
}

impl Comparison {
    /// `served`: the nodes that are served; `fenced`: those that were believed to be apart from them.
    pub(super) fn new(mut views: Vec<(NodeId, View)>, served: &BTreeSet<NodeId>, fenced: &BTreeSet<NodeId>) -> Self {
        share_lists(&mut views);
        let evidence = Evidence::new(&views, served, fenced);
        let membership = views.iter().map(|(_, v)| v.membership(&evidence)).max().unwrap_or(Membership::Uuid);
        let mut pairs = Vec::new();
        for (i, (left, left_view)) in views.iter().enumerate() {
            for (right, right_view) in views.iter().skip(i + 1) {
                let relation = evidence.relation((*left, left_view), (*right, right_view));
                pairs.push(Pair { left: *left, right: *right, relation });
            }
        }
        keep_served(&mut pairs, &views, served);
        Self { views, pairs, membership }
    }

    /// When the check of this node began.
    pub(super) fn begun(&self, id: NodeId) -> Option<Instant> {
        self.views.iter().find(|(other, _)| *other == id).map(|(_, view)| view.begun)
    }

    /// Sorts the views into components. `level`: how far the weak evidence between two nodes is believed.
    pub(super) fn components(&self, level: impl Fn(&Pair) -> Weak) -> Components {
        let settled = |pair: &Pair| Pair { relation: level(pair).settle(pair.relation), ..*pair };
        let pairs: Vec<Pair> = self.pairs.iter().map(settled).collect();
        let mut stale = stale_views(&pairs);
        if stale.len() == self.views.len() {
            // In a circle nobody is newer than all others.
            stale.clear();
        }
        let current = || self.views.iter().filter(|(id, _)| !stale.contains_key(id));
        let group = group(current().map(|(id, _)| *id), &pairs);
        let mut all: BTreeMap<NodeId, Component> = BTreeMap::new();
        for (id, view) in current() {
            let Some(of) = group.get(id) else { continue };
            let empty = || Component { nodes: Vec::new(), ready: false, weight: 0, history: None };
            let component = all.entry(*of).or_insert_with(empty);
            component.nodes.push(*id);
            component.ready |= view.ready;
            component.weight = component.weight.max(view.weight.unwrap_or(0));
            if component.history.is_none() {
                component.history = view.history.clone();
            }
        }
        let mut all: Vec<Component> = all.into_values().collect();
        all.sort_by_key(|c| c.nodes.first().copied());
        Components { all, stale, membership: self.membership }
    }
}

/// A node whose list cannot be read (`wsrep_reject_queries` closes the table, too) is judged by that of a member which
/// lists it and tells the same view.
fn share_lists(views: &mut [(NodeId, View)]) {
    let lists: Vec<View> = views.iter().map(|(_, v)| v).filter(|v| v.members.is_some()).cloned().collect();
    for (_, view) in views.iter_mut().filter(|(_, v)| v.members.is_none() && v.uuid.is_some()) {
        let numbers = |v: &View| (v.conf_id, v.size);
        let of_it = |v: &&View| numbers(v) == numbers(view) && v.lists_member(view.uuid.as_deref(), None) == Some(true);
        view.members = lists.iter().find(of_it).and_then(|v| v.members.clone());
    }
}

/// Only a member of what is served puts a node that is served out of date: one that began a cluster of its own, or
/// belongs to another side, is apart from it, however its views are numbered. One that was a member with it and went on with
/// the larger part is of the same side, also where nobody has asked it before.
fn keep_served(pairs: &mut [Pair], views: &[(NodeId, View)], served: &BTreeSet<NodeId>) {
    let view = |id: NodeId| views.iter().find(|(other, _)| *other == id).map(|(_, view)| view);
    let together = |p: &&Pair| p.relation == Relation::Together;
    let ends = |p: &Pair| [(p.left, p.right), (p.right, p.left)];
    let with_served = pairs.iter().filter(together).flat_map(ends).filter(|(_, other)| served.contains(other));
    let with_served: BTreeSet<(NodeId, NodeId)> = with_served.collect();
    let is_of_served =
        |id: NodeId, but: NodeId| served.contains(&id) || with_served.iter().any(|(a, b)| *a == id && *b != but);
    for pair in pairs {
        let Relation::Stale { older, .. } = pair.relation else { continue };
        let (old, new) = if older == Side::Left { (pair.left, pair.right) } else { (pair.right, pair.left) };
        let is_continued = || view(old).zip(view(new)).is_some_and(|(old, new)| was_continued(old, new));
        if served.contains(&old) && !is_of_served(new, old) && !is_continued() {
            pair.relation = Relation::Apart;
        }
    }
}

fn stale_views(pairs: &[Pair]) -> BTreeMap<NodeId, StaleView> {
    let mut stale: BTreeMap<NodeId, StaleView> = BTreeMap::new();
    for pair in pairs {
        let Relation::Stale { older, certain } = pair.relation else { continue };
        let (old, by) = if older == Side::Left { (pair.left, pair.right) } else { (pair.right, pair.left) };
        let known = stale.entry(old).or_insert(StaleView { by, certain });
        if certain && !known.certain {
            *known = StaleView { by, certain };
        }
    }
    stale
}

/// The nodes, each with one that stands for its component.
fn group(nodes: impl Iterator<Item = NodeId>, pairs: &[Pair]) -> BTreeMap<NodeId, NodeId> {
    let mut group: BTreeMap<NodeId, NodeId> = nodes.map(|id| (id, id)).collect();
    for pair in pairs.iter().filter(|p| p.relation == Relation::Together) {
        if let (Some(&one), Some(&other)) = (group.get(&pair.left), group.get(&pair.right)) {
            group.values_mut().filter(|g| **g == other).for_each(|g| *g = one);
        }
    }
    // Two that are apart cannot both belong to a third: who is with whom is not known, so each stands alone.
    for pair in pairs.iter().filter(|p| p.relation == Relation::Apart) {
        if let (Some(&one), Some(&other)) = (group.get(&pair.left), group.get(&pair.right))
            && one == other
        {
            group.iter_mut().filter(|(_, g)| **g == one).for_each(|(id, g)| *g = *id);
        }
    }
    group
}
