//! Two Primary components at once: which of them is served, and when the alarm is raised.

use std::collections::BTreeSet;
use std::time::Instant;

use super::NodeId;
use super::view::Component;

/// Rounds of checks that a contradiction must outlive before it is believed.
const ROUNDS: u8 = 2;

/// A contradiction between nodes' views, and how many rounds of checks made because of it have found it again.
/// Views of one moment contradict each other at every join and leave, since nodes are not asked at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) first: Instant,
    /// It is as old as our knowledge of the cluster.
    pub(super) fresh: bool,
    round: Instant,
    rounds: u8,
}

impl Doubt {
    pub(super) fn new(now: Instant, fresh: bool) -> Self {
        Self { first: now, fresh, round: now, rounds: 0 }
    }

    /// Takes in the oldest of the views that contradict each other; a round is over when all of them are younger than
    /// its beginning. True: another round is wanted.
    pub(super) fn advance(&mut self, oldest: Option<Instant>, now: Instant) -> bool {
        if self.is_believed() || oldest.is_none_or(|oldest| oldest < self.round) {
            return false;
        }
        self.rounds += 1;
        self.round = now;
        !self.is_believed()
    }

    pub(super) fn is_believed(&self) -> bool {
        self.rounds >= ROUNDS
    }
}

/// Chooses among living components: the one that is served already, with the writer's before the others; else that
/// with more of our nodes; else the heavier; else none, since serving both is worse than serving nobody.
pub(super) fn choose<'a>(
    living: &[&'a Component],
    served: &BTreeSet<NodeId>,
    writer: Option<NodeId>,
) -> Option<&'a Component> {
    let is_served = |c: &&&Component| c.nodes.iter().any(|n| served.contains(n));
    let mut left: Vec<&Component> = living.iter().filter(is_served).copied().collect();
    if left.is_empty() {
        left = living.to_vec();
    }
    if let Some(&with_writer) = left.iter().find(|c| writer.is_some_and(|w| c.nodes.contains(&w))) {
        return Some(with_writer);
    }
    keep_largest(&mut left, |c| u64::try_from(c.nodes.len()).unwrap_or(u64::MAX));
    keep_largest(&mut left, |c| c.weight);
    match left.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

fn keep_largest(left: &mut Vec<&Component>, size: impl Fn(&Component) -> u64) {
    let most = left.iter().map(|c| size(c)).max();
    left.retain(|c| Some(size(c)) == most);
}
