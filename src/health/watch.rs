//! One cluster's watch: takes observations in, steps the core, publishes, and does what the core orders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::memory::Keeper;
use super::picture::{next_step, snapshot};
use super::probe::Probed;
use super::resolve::Resolver;
use super::rules::{Rules, spec};
use super::seen::{Seen, error_of, failure_label};
use crate::config;
use crate::galera::agreement::{Proposal, Reading};
use crate::galera::observation::Check;
use crate::galera::{Core, Effect, Event, Kind, Membership, Memory, NodeId, Outcome};
use crate::net::tls::SetupError;
use crate::pool::{Node, NodeReport, PoolCell, ProbeReport};
use crate::telemetry::{ClusterMetrics, NodeMetrics, Registry};

/// A node and its series.
#[derive(Debug, Clone)]
pub(super) struct WatchedNode {
    pub(super) node: Arc<Node>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) metrics: Arc<NodeMetrics>,
}

/// One cluster's nodes, judged together.
#[derive(Debug)]
pub struct ClusterWatch {
    name: Arc<str>,
    rules: ArcSwap<Rules>,
    pool: Arc<PoolCell>,
    nodes: Vec<WatchedNode>,
    metrics: ClusterMetrics,
    state: Mutex<State>,
    /// The core's deadline may have moved.
    moved: Notify,
    /// A login succeeded after refusals.
    mended: Notify,
    /// The latest wish to change the writer's record, until somebody takes it up.
    proposal: Mutex<Option<Proposal>>,
    proposed: Notify,
    /// Nodes that were checked at least once.
    checked: watch::Sender<usize>,
    /// Where what a restart must not forget is kept.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct State {
    core: Core,
    seen: BTreeMap<NodeId, Seen>,
    /// By what members are told apart, as the log says.
    membership: Option<Membership>,
    /// What the keeper has.
    kept: Memory,
}

impl ClusterWatch {
    pub(super) fn new(
        config: &Arc<config::Cluster>,
        registry: &Registry,
        keeper: Option<Keeper>,
    ) -> Result<Self, SetupError> {
        let metrics = ClusterMetrics::new(registry, Arc::clone(&config.name));
        let nodes: Vec<WatchedNode> = (0..)
            .zip(&config.nodes)
            .map(|(id, spec)| WatchedNode {
                resolver: Arc::new(Resolver::new(&spec.address.host)),
                node: Arc::new(Node::new(NodeId(id), Arc::clone(&spec.name), spec.address.clone())),
                metrics: Arc::new(metrics.node(Arc::clone(&spec.name))),
            })
            .collect();
        let mut core = Core::new();
        let rules = Rules::new(config)?;
        let now = Instant::now();
        for (n, configured) in nodes.iter().zip(&config.nodes) {
            core.step(&rules.core, now, Event::Added(n.node.id, spec(configured)));
        }
        let kept = keeper.as_ref().map(Keeper::load).unwrap_or_default();
        core.recall(&rules.core, &kept);
        let seen = nodes.iter().map(|n| (n.node.id, Seen::new())).collect();
        let pool = snapshot(&rules, &nodes, &core, &seen, now);
        Ok(Self {
            name: Arc::clone(&config.name),
            rules: ArcSwap::from_pointee(rules),
            pool: Arc::new(PoolCell::new(pool)),
            nodes,
            metrics,
            state: Mutex::new(State { core, seen, membership: None, kept }),
            moved: Notify::new(),
            mended: Notify::new(),
            proposal: Mutex::new(None),
            proposed: Notify::new(),
            checked: watch::Sender::new(0),
            keeper,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pool(&self) -> Arc<PoolCell> {
        Arc::clone(&self.pool)
    }

    pub(super) fn nodes(&self) -> Vec<WatchedNode> {
        self.nodes.clone()
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Makes every monitor look now.
    pub(super) fn look(&self) {
        self.nodes.iter().for_each(|n| n.node.look.notify_one());
    }

    /// The history that a node's Primary component holds.
    pub(super) fn history_of(&self, id: NodeId) -> Option<Box<str>> {
        self.state().core.history_of(id)
    }

    /// Whether lists of members are to be read although nothing seems to have changed.
    pub(super) fn wants_members(&self) -> bool {
        self.state().core.wants_members()
    }

    pub(super) fn unchecked(&self) -> Vec<Arc<str>> {
        let state = self.state();
        let checked = |id| state.seen.get(&id).is_some_and(|s| s.checked);
        self.nodes.iter().filter(|n| !checked(n.node.id)).map(|n| Arc::clone(&n.node.name)).collect()
    }

    /// Resolves when a login succeeded while others were being refused: the account may be mended.
    pub(super) async fn account_mended(&self) {
        self.mended.notified().await;
    }

    pub(super) async fn first_round(&self) {
        let all = self.nodes.len();
        // The sender lives as long as we do.
        let _ = self.checked.subscribe().wait_for(|n| *n >= all).await;
    }

    /// A panic while the lock was held would leave a state that is whole all the same: the core's step touches
    /// nothing outside itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a check in. True: the node is in doubt, and the next one is wanted soon.
    pub(super) fn observed(&self, watched: &WatchedNode, probed: Probed) -> bool {
        let id = watched.node.id;
        let ended = Instant::now();
        let mut state = self.state();
        let State { core, seen, .. } = &mut *state;
        let check = &probed.observation.check;
        let error = error_of(check);
        let good = matches!(check, Check::Answered(_));
        let mut publish = false;
        if let Some(seen) = seen.get_mut(&id) {
            publish |= seen.note(watched, &probed, ended);
            let made = !matches!(check, Check::NotMade(_));
            if let Check::NotMade(_) | Check::NoEntry(_) = check
                && seen.not_made.due(ended)
            {
                let why = error.as_deref().unwrap_or_default();
                tracing::warn!(cluster = &*self.name, node = %watched.node.name, why,
                    "no check: the verdict stays as it was");
            }
            let refused = matches!(check, Check::LoginRefused(_));
            if std::mem::replace(&mut seen.refused, refused) && good {
                self.mended.notify_waiters();
            }
            if made && !std::mem::replace(&mut seen.checked, true) {
                self.checked.send_modify(|n| *n += 1);
            }
        }
        if let Some(reason) = failure_label(check) {
            watched.metrics.count_probe_failure(reason);
        }
        watched.metrics.record_probe(probed.duration.as_secs_f64());
        let rules = self.rules();
        let outcome = core.step(&rules.core, ended, Event::Observed(id, probed.observation));
        // Who waits for a node that failed in the data path hears that it is well again.
        publish |= good && watched.node.clear_suspect();
        self.perform(&rules, &mut state, outcome, publish, ended);
        // Here and not where a tick ends as well: a tick must not wake itself.
        self.moved.notify_one();
        let State { core, seen, .. } = &*state;
        if let Some(seen) = seen.get(&id) {
            let failures = core.failures(id);
            let probe = ProbeReport { ended, duration: probed.duration, failures, error };
            let since = seen.since.unwrap_or(ended);
            let rows = Arc::clone(&seen.rows);
            watched.node.report.store(Some(Arc::new(NodeReport { rows, probe, since })));
        }
        core.in_doubt(id)
    }

    /// Takes a reading of the writer's record in.
    pub(super) fn recorded(&self, reading: Reading) {
        self.happened(Event::Recorded(reading));
    }

    /// Takes in what is no check.
    pub(super) fn happened(&self, event: Event) {
        let now = Instant::now();
        let mut state = self.state();
        let rules = self.rules();
        let outcome = state.core.step(&rules.core, now, event);
        self.perform(&rules, &mut state, outcome, false, now);
        self.moved.notify_one();
    }

    /// Hands a change of the record to whoever keeps it.
    pub(super) fn propose(&self, proposal: Proposal) {
        *self.wish() = Some(proposal);
        self.proposed.notify_one();
    }

    /// The next change that is to be made.
    pub(super) async fn proposal(&self) -> Proposal {
        loop {
            let wish = self.wish().take();
            if let Some(proposal) = wish {
                return proposal;
            }
            self.proposed.notified().await;
        }
    }

    /// What was proposed and not taken up is out of date.
    pub(super) fn forget_proposal(&self) {
        *self.wish() = None;
    }

    fn wish(&self) -> MutexGuard<'_, Option<Proposal>> {
        self.proposal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes of the component that is served, as of now, through which the record can be reached: the better first, and
    /// of equals the writer last.
    pub(super) fn nodes_of_record(&self) -> Vec<NodeId> {
        let state = self.state();
        let core = &state.core;
        let kind = |id: NodeId| core.verdict(id).kind;
        let mut nodes: Vec<NodeId> = core.served().iter().copied().filter(|id| kind(*id).serves()).collect();
        nodes.sort_by_key(|id| (kind(*id) != Kind::Eligible, core.writer() == Some(*id)));
        nodes
    }

    /// Lets time pass: sessions of a hung node end at their time, not at its next check.
    pub(super) async fn tick(self: Arc<Self>) {
        loop {
            let deadline = self.state().core.deadline(&self.rules().core);
            let step = self.next_step();
            let due = async {
                match deadline.into_iter().chain(step).min() {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.moved.notified() => {}
                () = due => {
                    if !self.pass_time(step) {
                        // Withheld while every node is silent: the next observation decides.
                        self.moved.notified().await;
                    }
                }
            }
        }
    }

    fn next_step(&self) -> Option<Instant> {
        next_step(&self.rules(), &self.nodes, &self.state().core, Instant::now())
    }

    /// True: it was time for something. `step`: when a returning node's share was to grow.
    fn pass_time(&self, step: Option<Instant>) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let rules = self.rules();
        let outcome = state.core.step(&rules.core, now, Event::Tick);
        let ramping = step.is_some_and(|at| at <= now);
        let acted = ramping || outcome.publish || !outcome.effects.is_empty();
        self.perform(&rules, &mut state, outcome, ramping, now);
        acted
    }

    fn perform(&self, rules: &Rules, state: &mut State, outcome: Outcome, publish: bool, now: Instant) {
        for effect in &outcome.effects {
            if let Effect::Changed(change) = effect
                && change.is_of_substance()
                && let Some(seen) = state.seen.get_mut(&change.node)
            {
                seen.since = Some(now);
            }
        }
        // Before any order: who is sent away by it picks from the new snapshot.
        if outcome.publish || publish {
            self.pool.publish(snapshot(rules, &self.nodes, &state.core, &state.seen, now));
            self.show_writer(&state.core);
            self.tell_membership(&state.core, &mut state.membership);
        }
        // Nothing else is remembered than what one of them tells of.
        if outcome.publish || publish || !outcome.effects.is_empty() {
            self.remember(rules, state);
        }
        for effect in outcome.effects {
            self.obey(rules, &state.core, effect, now);
        }
        self.metrics.set_size(state.seen.values().filter_map(|s| s.size).max().unwrap_or(0));
    }

    fn remember(&self, rules: &Rules, state: &mut State) {
        let Some(keeper) = &self.keeper else { return };
        let memory = state.core.memory(&rules.core);
        if memory != state.kept {
            keeper.keep(&memory);
            state.kept = memory;
        }
    }

    pub(super) fn watched(&self, id: NodeId) -> Option<&WatchedNode> {
        self.nodes.iter().find(|n| n.node.id == id)
    }

    pub(super) fn metrics(&self) -> &ClusterMetrics {
        &self.metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each prober with its own would begin a look-up a check where the resolver hangs.
    #[test]
    fn all_checks_of_a_node_share_its_resolver() {
        let text = "[cluster.c]\nnodes = [\"db1.invalid\"]\n[cluster.c.monitor]\nuser = \"u\"\n\
                    [service.s]\naccept = \"127.0.0.1:0\"\ncluster = \"c\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let watch = ClusterWatch::new(&config.clusters[0], &Registry::new(), None).unwrap();
        let node = watch.nodes().pop().unwrap();
        let resolver = || watch.rules().prober(&node).resolver();
        assert!(Arc::ptr_eq(&resolver(), &resolver()));
    }
}
