//! Two Primary components at once: which of them is served, and when the alarm is raised.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::NodeId;
use super::components::Component;

/// Rounds of checks that a contradiction must outlive before it is believed.
const ROUNDS: u8 = 2;

/// A node that was suspended says so itself within about 6 s (seen: its own `evs` timers run anew). A contradiction by
/// sizes alone that lasts longer than this is none of a view that is out of date; and one whose parties cannot be asked
/// again for so long (they are full, or a shortage of ours) is taken for what they told last.
pub(super) const SUSPENDED: Duration = Duration::from_secs(20);

/// A contradiction between nodes' views, and how many rounds of checks made because of it have found it again.
/// Views of one moment contradict each other at every join and leave, since nodes are not asked at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) first: Instant,
    /// It is as old as our knowledge of the cluster.
    pub(super) fresh: bool,
    /// One of the two nodes lags behind, which explains it.
    pub(super) explained: bool,
    /// It was still found in views that were asked for [`SUSPENDED`] after it came to be believed. Time in which nodes were not
    /// asked does not count.
    pub(super) lasting: bool,
    believed_since: Option<Instant>,
    round: Instant,
    rounds: u8,
}

impl Doubt {
    pub(super) fn new(now: Instant, fresh: bool, explained: bool) -> Self {
        Self { first: now, fresh, explained, lasting: false, believed_since: None, round: now, rounds: 0 }
    }

    /// Takes in the oldest of the views that contradict each other; a round is over when all of them are younger than
    /// its beginning. True: another round is wanted.
    pub(super) fn advance(&mut self, oldest: Option<Instant>, now: Instant) -> bool {
        let Some(oldest) = oldest else { return false };
        self.lasting |= self.believed_since.is_some_and(|since| oldest >= since + SUSPENDED);
        if self.is_believed() || oldest < self.round {
            return false;
        }
        self.rounds += 1;
        self.round = now;
        self.believed_since = self.is_believed().then_some(now);
        !self.is_believed()
    }

    /// It began longer ago than a node that was suspended takes to notice.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) >= SUSPENDED
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
