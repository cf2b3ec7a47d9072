//! From what each node says of its component to the components there are.
//!
//! A node that is Primary tells who is in its component, in one of three ways (the best that is at hand counts):
//! UUIDs from `mysql.wsrep_cluster_members`; client addresses, where every member has one of its own; or no more than
//! the component's size and its own index in it. Two nodes that list each other are together. Two that do not are
//! apart: two Primary components, unless one of them holds a view that is out of date, as a node does that was
//! suspended and goes on.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::NodeId;
use super::status::{LocalState, Members, NodeStatus};

/// By what members are told apart, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Membership {
    /// By the UUIDs of `mysql.wsrep_cluster_members`.
    Uuid,
    /// By `wsrep_incoming_addresses`.
    Addresses,
    /// By `wsrep_cluster_size` and `wsrep_local_index` alone.
    Weak,
}

impl Membership {
    /// The word of the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Addresses => "addresses",
            Self::Weak => "weak",
        }
    }
}

/// What one answer says of its node's component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// When the check began: the view is not older.
    pub(super) begun: Instant,
    pub(super) ready: bool,
    /// `wsrep_cluster_state_uuid`; `None` where it is all zero: none yet.
    pub(super) history: Option<Box<str>>,
    pub(super) uuid: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    pub(super) members: Option<Members>,
    /// Its own address and all members', where each has one and no two the same.
    addresses: Option<(Box<str>, BTreeSet<Box<str>>)>,
    size: Option<u64>,
    index: Option<u64>,
    conf_id: Option<u64>,
    /// `wsrep_cluster_weight`.
    weight: u64,
}

impl View {
    /// The view of an answer; `None` where the node is in no Primary component. A joiner in state 1 says Primary with a
    /// list that lacks itself: it is not in yet.
    pub(super) fn of(begun: Instant, status: &NodeStatus) -> Option<Self> {
        let in_component = matches!(status.local_state, LocalState::Donor | LocalState::Joined | LocalState::Synced);
        if status.cluster_status != "Primary" || !in_component {
            return None;
        }
        let size = status.cluster_size;
        let index = status.number("wsrep_local_index");
        // A table that lags behind the status tells of another view.
        let members = status.members.clone().filter(|list| {
            let whole = size.is_none_or(|size| u64::try_from(list.len()).is_ok_and(|n| n == size));
            whole && list.iter().any(|m| Some(&m.uuid) == status.uuid.as_ref())
        });
        Some(Self {
            begun,
            ready: status.ready,
            history: history(&status.state_uuid),
            uuid: status.uuid.clone(),
            name: status.name.clone(),
            members,
            addresses: addresses(status.rows.get("wsrep_incoming_addresses").map_or("", String::as_str), index, size),
            size,
            index,
            conf_id: status.number("wsrep_cluster_conf_id"),
            weight: status.number("wsrep_cluster_weight").unwrap_or(0),
        })
    }

    /// How its members are told apart.
    fn membership(&self, known: &Known<'_>) -> Membership {
        if self.members.is_some() {
            Membership::Uuid
        } else if self.clear_addresses(known).is_some() {
            Membership::Addresses
        } else {
            Membership::Weak
        }
    }

    /// Its addresses, unless one of them is two nodes' own: alone in its component a node behind NAT looks clear.
    fn clear_addresses(&self, known: &Known<'_>) -> Option<&(Box<str>, BTreeSet<Box<str>>)> {
        self.addresses.as_ref().filter(|(_, all)| all.iter().all(|a| !known.shared.contains(&**a)))
    }

    /// Whether the member of this UUID, or one of this name, is listed; `None` where the list is not known.
    pub(super) fn lists_member(&self, uuid: Option<&str>, name: Option<&str>) -> Option<bool> {
        let members = self.members.as_ref()?;
        Some(members.iter().any(|m| Some(&*m.uuid) == uuid || Some(&*m.name) == name))
    }
}

impl View {
    /// Its own client address, where it has one.
    pub(super) fn address(&self) -> Option<&str> {
        self.addresses.as_ref().map(|(own, _)| &**own)
    }

    /// Whether a member of this UUID, or of this address where there is no list of UUIDs, is in it as far as can be told.
    pub(super) fn mentions(&self, uuid: Option<&str>, address: Option<&str>) -> bool {
        match (&self.members, &self.addresses) {
            (Some(members), _) => members.iter().any(|m| Some(&*m.uuid) == uuid),
            (None, Some((_, all))) => address.is_some_and(|address| all.contains(address)),
            (None, None) => false,
        }
    }
}

/// A state UUID in lower case, unless it is the one of a node without data.
pub(super) fn history(state_uuid: &str) -> Option<Box<str>> {
    let named = state_uuid.bytes().any(|b| b != b'0' && b != b'-');
    named.then(|| state_uuid.to_ascii_lowercase().into())
}

/// Takes `wsrep_incoming_addresses` apart: its entries stand in the order of `wsrep_local_index` (seen with galera-4
/// 26.4). The default `AUTO` tells nobody from anybody, and neither does `unspecified`, nor an address behind which
/// several nodes stand (NAT). An arbitrator's is empty.
fn addresses(list: &str, index: Option<u64>, size: Option<u64>) -> Option<(Box<str>, BTreeSet<Box<str>>)> {
    let entries: Vec<&str> = list.split(',').map(str::trim).collect();
    if size.is_some_and(|size| u64::try_from(entries.len()).is_ok_and(|n| n != size)) {
        return None;
    }
    let own = entries.get(usize::try_from(index?).ok()?).filter(|own| !own.is_empty())?;
    let named = || entries.iter().filter(|e| !e.is_empty());
    let distinct: BTreeSet<Box<str>> = named().map(|e| Box::from(*e)).collect();
    let address = |e: &&str| !e.to_ascii_uppercase().starts_with("AUTO") && *e != "unspecified";
    let clear = distinct.len() == named().count() && named().all(address);
    clear.then(|| (Box::from(*own), distinct))
}

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
    /// Nodes whose view is out of date, and a node whose newer view lacks them.
    pub(super) stale: BTreeMap<NodeId, NodeId>,
    /// The weakest of the evidence.
    pub(super) membership: Membership,
}

/// What two views say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Together,
    Apart,
    LeftIsStale,
    RightIsStale,
    /// Sizes or indices contradict each other, as they also do for a moment whenever a member comes or goes.
    PerhapsApart,
    /// The same, and the older view is of more members: it is out of date where it soon gives way.
    PerhapsLeftIsStale,
    PerhapsRightIsStale,
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
}

impl Weak {
    /// What remains of a relation.
    fn settle(self, relation: Relation) -> Relation {
        use Relation::{
            Apart, LeftIsStale, PerhapsApart, PerhapsLeftIsStale, PerhapsRightIsStale, RightIsStale, Together,
        };
        match (relation, self) {
            (PerhapsApart | PerhapsLeftIsStale | PerhapsRightIsStale, Self::Ignored) => Together,
            (PerhapsApart, _) | (PerhapsLeftIsStale | PerhapsRightIsStale, Self::Lasting) => Apart,
            (PerhapsLeftIsStale, Self::Believed) => LeftIsStale,
            (PerhapsRightIsStale, Self::Believed) => RightIsStale,
            (sure, _) => sure,
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
struct Known<'a> {
    uuids: BTreeSet<&'a str>,
    /// Addresses that more than one node calls its own.
    shared: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(views: &[(NodeId, &'a View)]) -> Self {
        let mut met = BTreeSet::new();
        let own = views.iter().filter_map(|(_, v)| Some(&*v.addresses.as_ref()?.0));
        Self {
            uuids: views.iter().filter_map(|(_, v)| v.uuid.as_deref()).collect(),
            shared: own.filter(|own| !met.insert(*own)).collect(),
        }
    }
}

/// Sorts views into components.
pub(super) fn components(views: &[(NodeId, &View)], weak: Weak) -> Components {
    let known = Known::new(views);
    let membership = views.iter().map(|(_, v)| v.membership(&known)).max().unwrap_or(Membership::Uuid);
    let mut pairs = Vec::new();
    let mut stale = BTreeMap::new();
    for (i, (a, left)) in views.iter().enumerate() {
        for (b, right) in views.iter().skip(i + 1) {
            let relation = weak.settle(relation(left, right, &known));
            match relation {
                Relation::LeftIsStale => {
                    stale.entry(*a).or_insert(*b);
                }
                Relation::RightIsStale => {
                    stale.entry(*b).or_insert(*a);
                }
                _ => {}
            }
            pairs.push((*a, *b, relation));
        }
    }
    if stale.len() == views.len() {
        // In a circle nobody is newer than all others.
        stale.clear();
    }
    let current = || views.iter().filter(|(id, _)| !stale.contains_key(id));
    let mut group: BTreeMap<NodeId, NodeId> = current().map(|(id, _)| (*id, *id)).collect();
    for (a, b, _) in pairs.iter().filter(|(_, _, r)| *r == Relation::Together) {
        if let (Some(&one), Some(&other)) = (group.get(a), group.get(b)) {
            group.values_mut().filter(|g| **g == other).for_each(|g| *g = one);
        }
    }
    // Two that are apart cannot both belong to a third: who is with whom is not known, so everyone stands alone.
    for (a, b, _) in pairs.iter().filter(|(_, _, r)| *r == Relation::Apart) {
        if let (Some(&one), Some(&other)) = (group.get(a), group.get(b))
            && one == other
        {
            group.iter_mut().filter(|(_, g)| **g == one).for_each(|(id, g)| *g = *id);
        }
    }
    let mut all: BTreeMap<NodeId, Component> = BTreeMap::new();
    for (id, view) in current() {
        let Some(of) = group.get(id) else { continue };
        let empty = || Component { nodes: Vec::new(), ready: false, weight: 0, history: None };
        let component = all.entry(*of).or_insert_with(empty);
        component.nodes.push(*id);
        component.ready |= view.ready;
        component.weight = component.weight.max(view.weight);
        if component.history.is_none() {
            component.history = view.history.clone();
        }
    }
    let mut all: Vec<Component> = all.into_values().collect();
    all.sort_by_key(|c| c.nodes.first().copied());
    Components { all, stale, membership }
}

fn relation(left: &View, right: &View, known: &Known<'_>) -> Relation {
    // Two histories are never in one group.
    if let (Some(a), Some(b)) = (&left.history, &right.history)
        && a != b
    {
        return Relation::Apart;
    }
    let lists = match (by_uuid(left, right, known), by_uuid(right, left, known)) {
        (Some(a), Some(b)) => Some((a, b)),
        _ => by_address(left, right, known).zip(by_address(right, left, known)),
    };
    match lists {
        None => by_size(left, right),
        Some((Lists::Yes, Lists::Yes)) => Relation::Together,
        // They know of each other through a third: it joined, the other left, and the third was asked before that.
        Some((Lists::No, Lists::No)) if overlap(left, right) => older_is_stale(left, right),
        // Each knows an earlier life of the other: no view of the two can be told to be the newer.
        Some((Lists::No, Lists::No) | (Lists::Before, Lists::Before)) => Relation::Apart,
        // It was restarted and is back; the other had not been asked since.
        Some((Lists::Yes, Lists::Before) | (Lists::Before, Lists::Yes)) => Relation::Together,
        // Who lists an earlier life of a node that does not know him has slept over all of it.
        Some((Lists::Before, Lists::No)) => Relation::LeftIsStale,
        Some((Lists::No, Lists::Before)) => Relation::RightIsStale,
        Some((Lists::Yes, Lists::No)) => one_sided(left, right, Relation::LeftIsStale),
        Some((Lists::No, Lists::Yes)) => one_sided(right, left, Relation::RightIsStale),
    }
}

/// Whether two lists share a member.
fn overlap(left: &View, right: &View) -> bool {
    match (&left.members, &right.members, &left.addresses, &right.addresses) {
        (Some(a), Some(b), ..) => a.iter().any(|m| b.iter().any(|n| n.uuid == m.uuid)),
        (_, _, Some((_, a)), Some((_, b))) => !a.is_disjoint(b),
        _ => false,
    }
}

fn older_is_stale(left: &View, right: &View) -> Relation {
    match left.conf_id.zip(right.conf_id).map(|(a, b)| a.cmp(&b)) {
        Some(Ordering::Less) => Relation::LeftIsStale,
        Some(Ordering::Greater) => Relation::RightIsStale,
        Some(Ordering::Equal) | None => Relation::Apart,
    }
}

/// One lists the other and is not listed.
fn one_sided(lister: &View, other: &View, stale: Relation) -> Relation {
    let numbers = lister.conf_id.zip(other.conf_id);
    if numbers.is_some_and(|(lister, other)| lister > other) {
        // It joined, and the other had not been asked since.
        return Relation::Together;
    }
    if was_bootstrapped(lister, other) { Relation::Apart } else { stale }
}

/// A component goes on only with the larger part of the last one. A smaller part that is Primary one view later was
/// bootstrapped by hand, and the larger one, which may still count it for a moment, is not out of date.
fn was_bootstrapped(older: &View, newer: &View) -> bool {
    let next = older.conf_id.zip(newer.conf_id).is_some_and(|(old, new)| new.checked_sub(old) == Some(1));
    next && older.weight > 0 && newer.weight > 0 && newer.weight.saturating_mul(2) < older.weight
}

fn by_uuid(of: &View, node: &View, known: &Known<'_>) -> Option<Lists> {
    let (members, uuid) = (of.members.as_ref()?, node.uuid.as_deref()?);
    node.members.as_ref()?;
    if members.iter().any(|m| &*m.uuid == uuid) {
        return Some(Lists::Yes);
    }
    // Names may be the same everywhere (they default to the host's): one that is listed twice, or whose UUID is
    // another node's that we know, tells nothing.
    let mut named = members.iter().filter(|m| Some(&m.name) == node.name.as_ref());
    Some(match (named.next(), named.next()) {
        (Some(m), None) if !known.uuids.contains(&*m.uuid) => Lists::Before,
        _ => Lists::No,
    })
}

fn by_address(of: &View, node: &View, known: &Known<'_>) -> Option<Lists> {
    let ((_, list), (own, _)) = (of.clear_addresses(known)?, node.clear_addresses(known)?);
    Some(if list.contains(own) { Lists::Yes } else { Lists::No })
}

fn by_size(left: &View, right: &View) -> Relation {
    let pair = |of: fn(&View) -> Option<u64>| of(left).zip(of(right));
    let sizes = pair(|v| v.size);
    let older = pair(|v| v.conf_id).map(|(a, b)| a.cmp(&b));
    match (sizes.map(|(a, b)| a.cmp(&b)), older) {
        (Some(Ordering::Greater), Some(Ordering::Less)) if was_bootstrapped(left, right) => Relation::PerhapsApart,
        (Some(Ordering::Less), Some(Ordering::Greater)) if was_bootstrapped(right, left) => Relation::PerhapsApart,
        (Some(Ordering::Greater), Some(Ordering::Less)) => Relation::PerhapsLeftIsStale,
        (Some(Ordering::Less), Some(Ordering::Greater)) => Relation::PerhapsRightIsStale,
        (Some(Ordering::Less | Ordering::Greater), _) => Relation::PerhapsApart,
        // No two members of one component have the same index.
        _ if pair(|v| v.index).is_some_and(|(a, b)| a == b) => Relation::PerhapsApart,
        _ => Relation::Together,
    }
}
