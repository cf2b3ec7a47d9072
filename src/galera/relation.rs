//! What two views say of each other.
//!
//! Two nodes that list each other are together. Two that do not are apart: two Primary components, unless one of them
//! holds a view that is out of date, as a node does that was suspended and goes on. `wsrep_cluster_conf_id` says which
//! view is the newer, but only within one history of views: a cluster that is bootstrapped anew counts from 1 again,
//! also where it holds the same data. Two views are of one history where they share a member in the same life.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::NodeId;
use super::view::{Lag, View};

/// One of two views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// What two views say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Together,
    Apart,
    /// This one is out of date.
    Stale {
        older: Side,
        /// Otherwise it may also be that both have gone on apart from each other, and one does not tell it yet.
        certain: bool,
    },
    /// Sizes or indices contradict each other, as they also do for a moment whenever a member comes or goes.
    Weak(Contradiction),
}

/// In what way sizes and indices contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// In no way that tells which of them is the older.
    Plain,
    /// The older view is of more members: it is out of date where it soon gives way.
    Slept(Side),
    /// The older view is that of a node which has not installed all that was delivered to it: they are together.
    Behind(Side, Lag),
}

/// How far contradictions between sizes and indices are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weak {
    /// Not yet.
    Ignored,
    /// They outlived the checks that were made because of them.
    Believed,
    /// For longer than a node that was suspended takes to notice.
    Lasting,
    /// Whatever may contradict does: what is to be looked into.
    Suspected,
}

impl Weak {
    /// What remains of a relation.
    pub(super) fn settle(self, relation: Relation) -> Relation {
        use Contradiction::{Behind, Plain, Slept};
        use Relation::{Apart, Stale, Together};
        let Relation::Weak(contradiction) = relation else { return relation };
        match (contradiction, self) {
            (_, Self::Suspected) => Apart,
            (_, Self::Ignored) | (Behind(..), Self::Believed) | (Behind(_, Lag::Queued), Self::Lasting) => Together,
            (Slept(older), Self::Believed) | (Behind(older, Lag::Desynced), Self::Lasting) => {
                Stale { older, certain: false }
            }
            (Plain, Self::Believed) | (Plain | Slept(_), Self::Lasting) => Apart,
        }
    }
}

/// Whether one view lists the other's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Yes,
    /// An earlier life of it: it was restarted since.
    Before,
    No,
}

/// What all views together tell of each of them.
pub(super) struct Evidence<'a> {
    uuids: BTreeSet<&'a str>,
    /// UUIDs that some view lists.
    pub(super) listed: BTreeSet<&'a str>,
    /// Addresses that more than one node calls its own.
    pub(super) shared: BTreeSet<&'a str>,
    /// Nodes that were believed to be apart: that they lag behind explains nothing any more.
    fenced: &'a BTreeSet<NodeId>,
    served: &'a BTreeSet<NodeId>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(views: &'a [(NodeId, View)], served: &'a BTreeSet<NodeId>, fenced: &'a BTreeSet<NodeId>) -> Self {
        let mut met = BTreeSet::new();
        let own = views.iter().filter_map(|(_, v)| Some(&*v.addresses.as_ref()?.0));
        let lists = views.iter().filter_map(|(_, v)| v.members.as_ref());
        Self {
            uuids: views.iter().filter_map(|(_, v)| v.uuid.as_deref()).collect(),
            listed: lists.flat_map(|members| members.iter().map(|m| &*m.uuid)).collect(),
            shared: own.filter(|own| !met.insert(*own)).collect(),
            fenced,
            served,
        }
    }

    pub(super) fn relation(&self, (left_id, left): (NodeId, &View), (right_id, right): (NodeId, &View)) -> Relation {
        // Two histories are never in one group.
        if let (Some(a), Some(b)) = (&left.history, &right.history)
            && a != b
        {
            return Relation::Apart;
        }
        let by_uuid = self.by_uuid(left, right).zip(self.by_uuid(right, left));
        if let Some(lists) = by_uuid.or_else(|| self.by_address(left, right).zip(self.by_address(right, left))) {
            return self.by_lists((left_id, left), (right_id, right), lists, by_uuid.is_some());
        }
        let is_fenced = |older| self.fenced.contains(if older == Side::Left { &left_id } else { &right_id });
        match by_size(left, right) {
            Relation::Weak(Contradiction::Behind(older, _)) if is_fenced(older) => Relation::Weak(Contradiction::Plain),
            relation => relation,
        }
    }

    fn by_uuid(&self, of: &View, node: &View) -> Option<Lists> {
        let (members, uuid) = (of.members.as_ref()?, node.uuid.as_deref()?);
        node.members.as_ref()?;
        if members.iter().any(|m| &*m.uuid == uuid) {
            return Some(Lists::Yes);
        }
        // Names may be the same everywhere (they default to the host's): one that is listed twice, or whose UUID is
        // another node's that we know, tells nothing.
        let mut named = members.iter().filter(|m| Some(&m.name) == node.name.as_ref());
        Some(match (named.next(), named.next()) {
            (Some(m), None) if !self.uuids.contains(&*m.uuid) => Lists::Before,
            _ => Lists::No,
        })
    }

    fn by_address(&self, of: &View, node: &View) -> Option<Lists> {
        let ((_, list), (own, _)) = (of.clear_addresses(self)?, node.clear_addresses(self)?);
        Some(match list.contains(own) {
            true if began_after(node, of) => Lists::Before,
            true => Lists::Yes,
            false => Lists::No,
        })
    }

    fn by_lists(
        &self,
        (left_id, left): (NodeId, &View),
        (right_id, right): (NodeId, &View),
        lists: (Lists, Lists),
        uuids: bool,
    ) -> Relation {
        match lists {
            (Lists::Yes, Lists::Yes) => Relation::Together,
            // They know of each other through a third: it joined, the other left, and the third was asked before that.
            (Lists::No, Lists::No) if overlap(left, right) => older_is_stale(left, right),
            // Each knows an earlier life of the other: no view of the two can be told to be the newer.
            (Lists::No, Lists::No) | (Lists::Before, Lists::Before) => Relation::Apart,
            // It was restarted and is back; the other had not been asked since.
            (Lists::Yes, Lists::Before) | (Lists::Before, Lists::Yes) => Relation::Together,
            (Lists::Before, Lists::No) => slept_or_apart(left, right, Side::Left),
            (Lists::No, Lists::Before) => slept_or_apart(right, left, Side::Right),
            (Lists::Yes, Lists::No) if !uuids && self.is_own_cluster((right_id, right), (left_id, left)) => {
                Relation::Apart
            }
            (Lists::No, Lists::Yes) if !uuids && self.is_own_cluster((left_id, left), (right_id, right)) => {
                Relation::Apart
            }
            (Lists::Yes, Lists::No) => one_sided(left, right, Side::Left),
            (Lists::No, Lists::Yes) => one_sided(right, left, Side::Right),
        }
    }

    /// Whether a node that a newer view lists by its address is all by itself in a cluster that it began anew. If the lister joined
    /// it instead, the node says so as soon as it is asked again, and the lister waits for that. One that lags behind may be late to
    /// say so, but what is served does not join a node that is not.
    fn is_own_cluster(&self, (node_id, node): (NodeId, &View), (lister_id, lister): (NodeId, &View)) -> bool {
        let is_older = node.conf_id.zip(lister.conf_id).is_some_and(|(node, lister)| node < lister);
        let is_up_to_date = node.lag.is_none() || self.served.contains(&lister_id) && !self.served.contains(&node_id);
        // Members without an address are counted by the size alone.
        is_older && node.size == Some(1) && is_up_to_date
    }
}

/// Whether this view can mean no more than an earlier life of the node. Either it was told before the node's life began; or
/// its teller has been Primary since then, and the views of the new life are numbered from the beginning, so that it did not
/// join the teller's component.
fn began_after(node: &View, view: &View) -> bool {
    node.earlier_life.is_some_and(|(heard, last)| {
        let is_numbered_anew = || node.conf_id.zip(last).is_some_and(|(now, last)| now <= last);
        view.since <= heard || view.primary_since <= heard && is_numbered_anew()
    })
}

/// A view lists an earlier life of a node that does not list its teller. It has slept over all of that life's end and the
/// next one's beginning; or that life began a cluster of its own, of which the teller is no part.
fn slept_or_apart(lister: &View, node: &View, older: Side) -> Relation {
    let newer = lister.conf_id.zip(node.conf_id).is_some_and(|(lister, node)| lister < node);
    if newer && overlap(lister, node) { Relation::Stale { older, certain: true } } else { Relation::Apart }
}

/// Whether two lists share a member beside the two nodes themselves.
fn overlap(left: &View, right: &View) -> bool {
    match (&left.members, &right.members, &left.addresses, &right.addresses) {
        (Some(a), Some(b), ..) => a.iter().any(|m| b.iter().any(|n| n.uuid == m.uuid)),
        (_, _, Some((mine, a)), Some((yours, b))) => a.intersection(b).any(|both| both != mine && both != yours),
        _ => false,
    }
}

fn older_is_stale(left: &View, right: &View) -> Relation {
    match older_of(left, right) {
        Some(older) => Relation::Stale { older, certain: true },
        None => Relation::Apart,
    }
}

fn older_of(left: &View, right: &View) -> Option<Side> {
    match left.conf_id?.cmp(&right.conf_id?) {
        Ordering::Less => Some(Side::Left),
        Ordering::Greater => Some(Side::Right),
        Ordering::Equal => None,
    }
}

/// One lists the other and is not listed.
fn one_sided(lister: &View, other: &View, lister_side: Side) -> Relation {
    if lister.conf_id.zip(other.conf_id).is_some_and(|(lister, other)| lister > other) {
        // It joined, and the other had not been asked since.
        return Relation::Together;
    }
    if was_bootstrapped(lister, other) {
        return Relation::Apart;
    }
    // Half of the last component goes on where the other half left in order, and also by itself with `pc.ignore_sb`: then
    // so does the other half, and tells it some moments later.
    let half = next_weights(lister, other).is_some_and(|(before, now)| now.saturating_mul(2) == before);
    Relation::Stale { older: lister_side, certain: !half }
}

/// A component goes on only with the larger part of the last one. A smaller part that is Primary one view later was
/// bootstrapped by hand, and the larger one, which may still count it for a moment, is not out of date.
fn was_bootstrapped(older: &View, newer: &View) -> bool {
    next_weights(older, newer).is_some_and(|(before, now)| now.saturating_mul(2) < before)
}

/// More than half of a component, with the teller of the newer view in it, went on in the next one.
pub(super) fn was_continued(older: &View, newer: &View) -> bool {
    older.lists_member(newer.uuid.as_deref(), None) == Some(true)
        && next_weights(older, newer).is_some_and(|(before, now)| now.saturating_mul(2) > before)
}

/// The weights of two views of which one comes next after the other.
fn next_weights(older: &View, newer: &View) -> Option<(u64, u64)> {
    let next = older.conf_id.zip(newer.conf_id).is_some_and(|(old, new)| new.checked_sub(old) == Some(1));
    older.weight.zip(newer.weight).filter(|_| next)
}

fn by_size(left: &View, right: &View) -> Relation {
    let sizes_differ = left.size.zip(right.size).is_some_and(|(a, b)| a != b);
    // No two members of one component have the same index.
    let same_index = || left.index.is_some() && left.index == right.index;
    if !sizes_differ && !same_index() {
        return Relation::Together;
    }
    let Some(side) = older_of(left, right) else { return Relation::Weak(Contradiction::Plain) };
    let (older, newer) = if side == Side::Left { (left, right) } else { (right, left) };
    // Whatever joined them since would tell a newer view than theirs.
    if began_after(older, newer) {
        return Relation::Apart;
    }
    Relation::Weak(match older.lag {
        Some(lag) => Contradiction::Behind(side, lag),
        None if sizes_differ && older.size > newer.size && !was_bootstrapped(older, newer) => {
            Contradiction::Slept(side)
        }
        None => Contradiction::Plain,
    })
}
