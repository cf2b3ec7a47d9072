//! What a node says of its component.
//!
//! A node that is Primary tells who is in its component, in one of three ways (the best that is at hand counts):
//! UUIDs from `mysql.wsrep_cluster_members`; client addresses, where every member has one of its own; or no more than
//! the component's size and its own index in it.

use std::collections::BTreeSet;
use std::time::Instant;

use super::relation::Evidence;
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
    /// When the check began that told this view first.
    pub(super) since: Instant,
    /// Since when the node tells of Primary components without a break, as far as was seen.
    pub(super) primary_since: Instant,
    /// When the node was last heard in an earlier life, which this one began after, and the last `conf_id` of it.
    pub(super) earlier_life: Option<(Instant, Option<u64>)>,
    /// The node may not have installed yet what the group has delivered to it.
    pub(super) lag: Option<Lag>,
    pub(super) ready: bool,
    /// `wsrep_cluster_state_uuid`; `None` where it is all zero: none yet.
    pub(super) history: Option<Box<str>>,
    pub(super) uuid: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    pub(super) members: Option<Members>,
    /// Its own address and all members', where each has one and no two the same.
    pub(super) addresses: Option<(Box<str>, BTreeSet<Box<str>>)>,
    pub(super) size: Option<u64>,
    pub(super) index: Option<u64>,
    pub(super) conf_id: Option<u64>,
    /// `wsrep_cluster_weight`, which Galera 3 does not tell. 0 is a weight that `pc.weight` can set.
    pub(super) weight: Option<u64>,
}

/// Why a node's view may be older than that of its peers although it is one of them. The provider takes in views in
/// order with write sets, so one that is paused (a backup, FLUSH TABLES WITH READ LOCK) or applies a large transaction
/// goes on telling the view before (seen with MariaDB 10.11 and galera-4 26.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lag {
    /// State 2 or 3.
    Desynced,
    /// Synced with a receive queue: the view that it has not installed yet stands in that queue.
    Queued,
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
        let lag = match status.local_state {
            LocalState::Synced => {
                status.number("wsrep_local_recv_queue").filter(|queue| *queue > 0).map(|_| Lag::Queued)
            }
            _ => Some(Lag::Desynced),
        };
        Some(Self {
            begun,
            since: begun,
            primary_since: begun,
            earlier_life: None,
            lag,
            ready: status.ready,
            history: history(&status.state_uuid),
            uuid: status.uuid.clone(),
            name: status.name.clone(),
            members,
            addresses: addresses(status.rows.get("wsrep_incoming_addresses").map_or("", String::as_str), index, size),
            size,
            index,
            conf_id: status.number("wsrep_cluster_conf_id"),
            weight: status.number("wsrep_cluster_weight"),
        })
    }

    /// The same view as the one that this node told before keeps the time at which it was told first.
    pub(super) fn continue_from(self, before: Option<&Self>) -> Self {
        let numbers = |v: &Self| (v.conf_id, v.size, v.index);
        let Some(before) = before.filter(|v| v.uuid == self.uuid) else { return self };
        let is_same = numbers(before) == numbers(&self) && before.addresses == self.addresses;
        let since = if is_same { before.since } else { self.begun };
        Self { since, primary_since: before.primary_since, ..self }
    }

    /// How its members are told apart.
    pub(super) fn membership(&self, known: &Evidence<'_>) -> Membership {
        let is_listed = || self.uuid.as_deref().is_some_and(|uuid| known.listed.contains(uuid));
        if self.members.is_some() || is_listed() {
            Membership::Uuid
        } else if self.clear_addresses(known).is_some() {
            Membership::Addresses
        } else {
            Membership::Weak
        }
    }

    /// Its addresses, unless one of them is two nodes' own: alone in its component a node behind NAT looks clear.
    pub(super) fn clear_addresses(&self, known: &Evidence<'_>) -> Option<&(Box<str>, BTreeSet<Box<str>>)> {
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
