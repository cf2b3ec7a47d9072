//! Doing what the core orders: switches, metrics, log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rules::Rules;
use super::watch::ClusterWatch;
use crate::galera::{AdminState, Change, Core, Effect, Kind, Membership, NodeId, Reason, Split, Verdict};
use crate::pool::Cause;

impl ClusterWatch {
    /// Does one thing.
    pub(super) fn obey(&self, rules: &Rules, core: &Core, effect: Effect, now: Instant) {
        let cluster = self.name();
        let sessions = &rules.config.sessions;
        match effect {
            Effect::Changed(change) => self.changed(rules, core, &change),
            Effect::Kill(node, reason) => self.end_sessions(node, reason, sessions.kill_spread, false),
            Effect::Demote(node, reason) => self.end_sessions(node, reason, sessions.kill_spread, true),
            Effect::Drain(node, reason) => {
                let Some(w) = self.watched(node) else { return };
                let after = sessions.drain_timeout;
                tracing::info!(cluster, node = %w.node.name(), sessions = w.node.established(), reason = %reason,
                    after_seconds = after.as_secs_f64(), "sessions drain");
                w.node.switch.drain(now + after, Cause::Verdict(reason));
            }
            Effect::Resume(node) => {
                if let Some(w) = self.watched(node) {
                    w.node.switch.resume();
                }
            }
            Effect::Look(node) => {
                if let Some(w) = self.watched(node) {
                    w.node.look.notify_one();
                }
            }
            Effect::TryConnection(node) => {
                if let Some(w) = self.watched(node) {
                    w.node.attempts.request_trial();
                }
            }
            Effect::Writer { from: None, to: Some(to), .. } => {
                tracing::info!(cluster, writer = %self.node_name(to), "writer");
            }
            Effect::Writer { from, to: None, why } => {
                let was = from.map_or_else(|| "none".into(), |id| self.node_name(id));
                tracing::warn!(cluster, %was, writer = "none of ours", why, "writer changed");
            }
            Effect::Writer { from: Some(from), to: Some(to), why } => {
                tracing::warn!(cluster, was = %self.node_name(from), writer = %self.node_name(to), why, "writer changed");
            }
            Effect::Propose(proposal) => self.propose(proposal),
            Effect::SplitBrain(split) => self.split_brain(split.as_ref()),
            Effect::Learned(history) => {
                tracing::info!(cluster, history = %history, "history learned: no other one is served from now on");
            }
        }
    }

    /// `writers`: those of writer services only.
    fn end_sessions(&self, node: NodeId, reason: Reason, spread: Duration, writers: bool) {
        let Some(w) = self.watched(node) else { return };
        let sessions = if writers { w.node.writing() } else { w.node.established() };
        w.metrics.count_killed(reason.label(), u64::try_from(sessions).unwrap_or(u64::MAX));
        if sessions > 0 {
            let message = if writers { "sessions of writer services end" } else { "sessions end" };
            tracing::warn!(cluster = self.name(), node = %w.node.name(), sessions, reason = %reason,
                within_seconds = spread.as_secs_f64(), "{message}");
        }
        let cause = Cause::Verdict(reason);
        if writers { w.node.switch.demote(cause, spread) } else { w.node.switch.kill(cause, spread) }
    }

    fn changed(&self, rules: &Rules, core: &Core, change: &Change) {
        let Some(w) = self.watched(change.node) else { return };
        // With what the role makes of it.
        let shown = core.shown_verdict(&rules.core, change.node);
        let to = if shown.kind == change.to.kind { &shown } else { &change.to };
        if change.is_of_substance() {
            w.metrics.set_eligible(to.kind.serves());
            w.metrics.count_verdict_change(to.reason.label());
            let worked_on = core.admin(change.node) == AdminState::Maintenance;
            log_change(self.name(), &w.node.name(), &change.from, to, worked_on);
        } else {
            tracing::debug!(cluster = self.name(), node = %w.node.name(), verdict = to.kind.as_str(), reason = %to.reason,
                "the same verdict in other words");
        }
    }

    fn split_brain(&self, split: Option<&Split>) {
        let cluster = self.name();
        self.metrics().set_split_brain(split.is_some());
        let Some(split) = split else {
            tracing::warn!(
                cluster,
                "one Primary component is left that answers: the split brain is over, unless the other side merely cannot \
                be reached from here (make sure, it would go on writing)"
            );
            return;
        };
        let names =
            |ids: &[NodeId]| ids.iter().map(|id| self.node_name(*id).to_string()).collect::<Vec<_>>().join(", ");
        let sides: Vec<String> = split.sides.iter().map(|side| names(side)).collect();
        let served = split.served.and_then(|i| sides.get(i)).map_or("none", String::as_str);
        let sides = sides.join(" | ");
        if !split.certain {
            tracing::error!(
                cluster,
                sides,
                served,
                "possible SPLIT BRAIN: for more than 20 s the sizes and indexes that nodes report have contradicted each \
                other; nobody is sent to the nodes that are not served. Change nothing on them yet: give the grant \
                (GRANT SELECT ON mysql.wsrep_cluster_members TO the monitor's account), and then look which nodes list \
                each other"
            );
            return;
        }
        tracing::error!(
            cluster,
            sides,
            served,
            "SPLIT BRAIN: more than one component is Primary, and \
            their data drift apart; nobody is sent to the others. Stop the nodes that are not served, wipe their data \
            and let them rejoin"
        );
    }

    /// Tells by what components are told apart, when that changes: by less than UUIDs a split brain is seen late, or not
    /// for certain.
    pub(super) fn tell_membership(&self, core: &Core, told: &mut Option<Membership>) {
        let now = core.membership().filter(|_| core.is_settled());
        if now.is_none() || now == *told {
            return;
        }
        let before = std::mem::replace(told, now);
        let cluster = self.name();
        let grant = "GRANT SELECT ON mysql.wsrep_cluster_members TO the monitor's account";
        match now {
            Some(Membership::Weak) => tracing::warn!(
                cluster,
                membership = "weak",
                grant,
                "members are told apart by sizes \
                and indices alone: a split brain is told after 20 s, and some are not; a node that lags behind the others may \
                be taken for one that is apart, and get no new sessions. Please give the grant, or set \
                wsrep_node_incoming_address on every node"
            ),
            Some(Membership::Addresses) => tracing::warn!(
                cluster,
                membership = "addresses",
                grant,
                "members are told apart \
                by their addresses: with the grant, by their UUIDs"
            ),
            Some(Membership::Uuid) if before.is_some() => {
                tracing::info!(cluster, membership = "uuid", "members are told apart by their UUIDs");
            }
            _ => {}
        }
    }

    /// Shows who the writer is.
    pub(super) fn show_writer(&self, core: &Core) {
        for w in self.nodes().iter() {
            w.metrics.set_writer(core.writer() == Some(w.node.id));
        }
    }

    fn node_name(&self, id: NodeId) -> Arc<str> {
        self.watched(id).map_or_else(|| "?".into(), |w| w.node.name())
    }
}

fn log_change(cluster: &str, node: &str, from: &Verdict, to: &Verdict, worked_on: bool) {
    let (was, is) = (from.kind.as_str(), to.kind.as_str());
    let reason = &to.reason;
    match reason {
        Reason::LoginRefusedLastResort(_) => {
            tracing::error!(cluster, node, was, verdict = is, %reason, "verdict: the check's login is refused and no node \
                is fit; nodes that were go on serving unwatched (mend the monitor's account or password)");
        }
        Reason::LoginRefusedMember(_) => {
            tracing::error!(cluster, node, was, verdict = is, %reason, "verdict: it serves unwatched (mend the monitor's \
                account or password)");
        }
        reason if reason.is_late() && !worked_on => {
            let raise = format!("timeout in [cluster.{cluster}.monitor], greeting_timeout of its services");
            tracing::warn!(cluster, node, was, verdict = is, %reason, raise, "verdict: the server answers late; if it looks \
                up its clients' names, set skip_name_resolve on it");
        }
        Reason::Apart(_) => {
            tracing::warn!(cluster, node, was, verdict = is, %reason, "verdict: two servers take writes and this one does \
                not replicate what the other is sent; set read_only on one of them, or let it replicate");
        }
        Reason::WritableReplica => {
            tracing::warn!(cluster, node, was, verdict = is, %reason, "verdict: a replica that takes writes may become the \
                writer when its source is gone; unless it is meant to, set read_only there");
        }
        Reason::WritesOnly(_) => {
            tracing::warn!(cluster, node, was, verdict = is, %reason, "verdict");
        }
        _ if !worked_on && (from.kind.serves() && !to.kind.serves() || to.kind == Kind::LastResort) => {
            tracing::warn!(cluster, node, was, verdict = is, %reason, "verdict");
        }
        _ => tracing::info!(cluster, node, was, verdict = is, %reason, "verdict"),
    }
}
