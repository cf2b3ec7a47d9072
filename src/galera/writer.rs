//! Which node writes. Pure: a choice follows from what is observed and from the last choice.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::NodeId;
use super::settings::Order;

/// When a preferred node takes the role back from a writer that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// Never.
    Never,
    /// As soon as it serves.
    Immediate,
    /// When it has served for this long without a break.
    After(Duration),
}

/// A node that may be the writer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: NodeId,
    /// Comes after all that are none.
    pub(super) backup: bool,
    pub(super) order: Order,
    pub(super) priority: u32,
    /// Since when it serves without a break.
    pub(super) since: Instant,
}

/// What the present writer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// It serves.
    Fit,
    /// It does not serve now, and may do so again at its next answer: it keeps the role for a while.
    Waiting,
    /// It does not serve: it said so, was drained, left, or was silent for too long.
    Lost,
}

/// The writer from now on. A writer that is lost stays named while nobody can take over.
pub(super) fn elect(
    candidates: &[Candidate],
    holder: Option<(NodeId, Holder)>,
    failback: Failback,
    now: Instant,
) -> Option<NodeId> {
    let preferred = preferred(candidates);
    match holder {
        None => preferred.map(|c| c.id),
        Some((id, Holder::Lost)) => Some(preferred.map_or(id, |c| c.id)),
        Some((id, Holder::Waiting)) => Some(id),
        Some((id, Holder::Fit)) => {
            let due = failback_due(candidates, id, failback).is_some_and(|at| at <= now);
            Some(preferred.filter(|_| due).map_or(id, |c| c.id))
        }
    }
}

/// When the preferred node takes the role back from this writer, unless something else happens before.
pub(super) fn failback_due(candidates: &[Candidate], writer: NodeId, failback: Failback) -> Option<Instant> {
    let preferred = preferred(candidates).filter(|c| c.id != writer)?;
    match failback {
        Failback::Never => None,
        Failback::Immediate => Some(preferred.since),
        Failback::After(time) => Some(preferred.since + time),
    }
}

/// No backup, the larger priority, then the order of the nodes.
fn preferred(candidates: &[Candidate]) -> Option<Candidate> {
    candidates.iter().copied().max_by_key(|c| (!c.backup, c.priority, Reverse((c.order, c.id))))
}
