//! The snapshot that routing rests on, from the core's verdicts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::roster::WatchedNode;
use super::rules::Rules;
use super::seen::Seen;
use crate::galera::{Core, NodeId};
use crate::pool::{Member, Pool, Standing};

/// A returning node's share grows in this many steps.
const STEPS: u32 = 20;

/// The snapshot of now.
pub(super) fn snapshot(
    rules: &Rules,
    nodes: &[WatchedNode],
    core: &Core,
    seen: &BTreeMap<NodeId, Seen>,
    now: Instant,
) -> Pool {
    let config = &rules.config;
    let member = |n: &WatchedNode| {
        let (id, spec) = (n.node.id, &n.spec);
        Member {
            node: Arc::clone(&n.node),
            addresses: seen.get(&id).map_or_else(Arc::default, |s| Arc::clone(&s.addresses)),
            weight: ramped(spec.weight, core.serves_since(id), config.sessions.slow_start, now),
            full_weight: spec.weight,
            priority: spec.priority,
            zone: Arc::clone(&spec.zone),
            backup: spec.backup,
            max_connections: spec.max_connections,
            admin: core.admin(id),
            verdict: core.shown_verdict(&rules.core, id),
        }
    };
    let standing = Standing {
        state: core.cluster(&rules.core),
        writer: core.writer(),
        writer_note: core.writer_note().map(str::to_owned),
        components: core.components(),
        membership: core.membership(),
        history: core.history(&rules.core),
    };
    Pool::new(Arc::clone(&config.name), nodes.iter().map(member).collect(), standing)
}

/// A node's share of new sessions while it has served for less than `slow_start`.
fn ramped(weight: u16, since: Option<Instant>, slow_start: Duration, now: Instant) -> u16 {
    let Some(since) = since.filter(|_| weight > 0 && !slow_start.is_zero()) else { return weight };
    let served = now.saturating_duration_since(since);
    if served >= slow_start {
        return weight;
    }
    // In whole steps, each of which is a snapshot of its own. Never nothing: it may be the only node.
    let step = (served.as_secs_f64() / slow_start.as_secs_f64() * f64::from(STEPS)).floor() + 1.0;
    let share = f64::from(weight) * step / f64::from(STEPS);
    // Between 1 and the weight, which is a u16.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = share.round().clamp(1.0, f64::from(weight)) as u16;
    share
}

/// When the next step of some node's share is due.
pub(super) fn next_step(rules: &Rules, nodes: &[WatchedNode], core: &Core, now: Instant) -> Option<Instant> {
    let slow_start = rules.config.sessions.slow_start;
    let step = slow_start / STEPS;
    let next = |n: &WatchedNode| {
        let since = core.serves_since(n.node.id)?;
        let served = now.saturating_duration_since(since);
        let steps = served.as_nanos().checked_div(step.as_nanos())?;
        let steps = u32::try_from(steps).ok().filter(|n| *n < STEPS)?;
        Some(since + step * (steps + 1))
    };
    nodes.iter().filter_map(next).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returning_nodes_share_grows_to_its_weight_and_is_never_nothing() {
        let start = Instant::now();
        let at = |secs: u64| ramped(100, Some(start), Duration::from_secs(20), start + Duration::from_secs(secs));
        assert_eq!([at(0), at(9), at(19), at(20), at(1000)], [5, 50, 100, 100, 100]);
        assert_eq!(ramped(1, Some(start), Duration::from_secs(20), start), 1);
        assert_eq!(ramped(0, Some(start), Duration::from_secs(20), start), 0, "nobody is what the operator asked for");
        assert_eq!(ramped(100, Some(start), Duration::ZERO, start), 100);
    }
}
