//! One cluster's watch: takes observations in, steps the core, publishes, and does what the core orders.

mod places;
mod reconfigure;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::lookup::Lookup;
use super::memory::Keeper;
use super::picture::{next_step, snapshot};
use super::probe::Probed;
use super::roster::{Origin, Roster, WatchedNode};
use super::rules::{Rules, spec, spec_of};
use super::seen::{Seen, error_of, failure_label};
use crate::config::{self, Cluster, Discover, NodeSpec};
use crate::galera::agreement::{Proposal, Reading};
use crate::galera::observation::{Check, ConnectOutcome, NewConnection};
use crate::galera::{Core, Departure, Effect, Event, Kind, Membership, Memory, NodeId, Outcome, Reason};
use crate::net::tls::SetupError;
use crate::pool::{Cause, NodeReport, PoolCell, ProbeReport, Vacancies};
use crate::telemetry::{ClusterMetrics, Registry};

pub use reconfigure::Reconfigured;

/// Nodes that a cluster may have with those that are found: far from what Galera can, and a bound on what a list of names costs.
const MOST_NODES: usize = 128;

/// One cluster's nodes, judged together.
#[derive(Debug)]
pub struct ClusterWatch {
    name: Arc<str>,
    rules: ArcSwap<Rules>,
    pool: Arc<PoolCell>,
    roster: Roster,
    metrics: ClusterMetrics,
    lookup: Lookup,
    state: Mutex<State>,
    /// The core's deadline may have moved.
    moved: Notify,
    /// A login succeeded after refusals.
    mended: Notify,
    /// The latest wish to change the writer's record, until somebody takes it up.
    proposal: Mutex<Option<Proposal>>,
    proposed: Notify,
    /// Tells of each node that was checked for the first time, and of the end of the first discovery.
    begun: watch::Sender<u64>,
    /// Where what a restart must not forget is kept.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct State {
    core: Core,
    seen: BTreeMap<NodeId, Seen>,
    /// What can be discovered has been, for the first time.
    discovered: bool,
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
        lookup: &Lookup,
    ) -> Result<Self, SetupError> {
        let metrics = ClusterMetrics::new(registry, Arc::clone(&config.name));
        let vacancies: Arc<Vacancies> = Arc::default();
        let roster = Roster::new(Arc::clone(&vacancies));
        let by = config.discovery.by;
        let mut core = if by == Discover::Off { Core::new() } else { Core::discovering() };
        let rules = Rules::new(config)?;
        let now = Instant::now();
        for (place, seed) in config.nodes.iter().enumerate() {
            let origin = if by == Discover::Dns { Origin::Placeholder } else { Origin::Configured };
            let node = roster.add(seed.clone(), origin, place, &metrics);
            core.step(&rules.core, now, Event::Added(node.node.id, spec(seed, node.order, &config.monitor)));
        }
        let kept = keeper.as_ref().map(Keeper::load).unwrap_or_default();
        core.recall(&rules.core, &kept);
        let seen = roster.nodes().iter().map(|n| (n.node.id, Seen::new(&n.spec.address))).collect();
        let pool = snapshot(&rules, &roster.nodes(), &core, &seen, now);
        Ok(Self {
            name: Arc::clone(&config.name),
            rules: ArcSwap::from_pointee(rules),
            pool: Arc::new(PoolCell::new(pool, vacancies)),
            roster,
            metrics,
            lookup: lookup.clone(),
            state: Mutex::new(State { core, seen, discovered: by == Discover::Off, membership: None, kept }),
            moved: Notify::new(),
            mended: Notify::new(),
            proposal: Mutex::new(None),
            proposed: Notify::new(),
            begun: watch::Sender::new(0),
            keeper,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pool(&self) -> Arc<PoolCell> {
        Arc::clone(&self.pool)
    }

    pub(super) fn nodes(&self) -> Arc<Vec<WatchedNode>> {
        self.roster.nodes()
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Whether this is the configuration still.
    pub(super) fn goes_by(&self, config: &Arc<Cluster>) -> bool {
        Arc::ptr_eq(&self.rules().config, config)
    }

    /// Makes every monitor look now.
    pub(super) fn look(&self) {
        self.nodes().iter().for_each(|n| n.node.look.notify_one());
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
        self.nodes().iter().filter(|n| !checked(n.node.id)).map(|n| n.node.name()).collect()
    }

    /// Resolves when a login succeeded while others were being refused: the account may be mended.
    pub(super) async fn account_mended(&self) {
        self.mended.notified().await;
    }

    pub(super) async fn first_round(&self) {
        // The sender lives as long as we do.
        let _ = self.begun.subscribe().wait_for(|_| self.state().discovered && self.unchecked().is_empty()).await;
    }

    /// Waits until every node was checked once, or for this long.
    pub(super) async fn all_checked(&self, most: Duration) {
        let mut begun = self.begun.subscribe();
        let all = begun.wait_for(|_| self.unchecked().is_empty());
        // Who is late is met at a later look.
        let _ = tokio::time::timeout(most, all).await;
    }

    /// Takes a node in that was not configured; `seed` is the place of the configured one that it comes from. `None`: there are
    /// too many.
    pub(super) fn admit(&self, node: NodeSpec, origin: Origin, seed: usize) -> Option<WatchedNode> {
        let mut state = self.state();
        if self.nodes().len() >= MOST_NODES {
            tracing::error!(cluster = &*self.name, node = %node.name, most = MOST_NODES, "a node was found beyond the most \
                that a cluster may have: left out");
            return None;
        }
        let rules = self.rules();
        let now = Instant::now();
        let node = self.roster.add(node, origin, seed, &self.metrics);
        let told = spec_of(&node.spec, &node.origin, node.order, &rules.config.monitor);
        tracing::info!(cluster = &*self.name, node = %node.node.name(), address = %node.spec.address, "node discovered");
        state.seen.insert(node.node.id, Seen::new(&node.spec.address));
        let outcome = state.core.step(&rules.core, now, Event::Added(node.node.id, told));
        self.perform(&rules, &mut state, outcome, false, now);
        self.moved.notify_one();
        Some(node)
    }

    /// Forgets a node that is gone for good.
    pub(super) fn dismiss(&self, node: &WatchedNode, why: Departure) {
        let id = node.node.id;
        let mut state = self.state();
        let rules = self.rules();
        let now = Instant::now();
        if node.origin == Origin::Placeholder {
            tracing::debug!(cluster = &*self.name, name = %node.node.name(), "its addresses are known");
        } else {
            tracing::info!(cluster = &*self.name, node = %node.node.name(), "node forgotten");
        }
        let mut outcome = state.core.step(&rules.core, now, Event::Removed(id));
        // As long as its name is known.
        let (told, rest) = outcome.effects.into_iter().partition(|e| matches!(e, Effect::Writer { .. }));
        outcome.effects = rest;
        let told: Vec<Effect> = told;
        told.into_iter().for_each(|effect| self.obey(&rules, &state.core, effect, now));
        state.seen.remove(&id);
        self.roster.remove(id);
        node.metrics.forget();
        // It has drained. What is left has no owner from now on.
        node.node.switch.kill(Cause::Verdict(Reason::Left(why)), Duration::ZERO);
        self.perform(&rules, &mut state, outcome, false, now);
        self.begun.send_modify(|n| *n = n.wrapping_add(1));
        self.moved.notify_one();
    }

    /// What can be discovered has been, for the first time.
    pub(super) fn discovered(&self) {
        if std::mem::replace(&mut self.state().discovered, true) {
            return;
        }
        self.happened(Event::Discovered);
        self.begun.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// What was remembered of nodes that are not known yet is missing.
    pub(super) fn misses_remembered(&self) -> bool {
        self.state().core.misses_remembered()
    }

    /// A look at the nodes and what is known of them.
    pub(super) fn with_seen<T>(&self, look: impl FnOnce(&Core, &BTreeMap<NodeId, Seen>) -> T) -> T {
        let state = self.state();
        look(&state.core, &state.seen)
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
        let good = matches!(check, Check::Answered(_) | Check::Server(_) | Check::Open);
        let mut publish = false;
        if let Some(seen) = seen.get_mut(&id) {
            publish |= seen.note(watched, &probed, ended);
            let made = !matches!(check, Check::NotMade(_));
            if let Check::NotMade(_) | Check::NoEntry(_) = check
                && seen.not_made.due(ended)
            {
                let why = error.as_deref().unwrap_or_default();
                tracing::warn!(cluster = &*self.name, node = %watched.node.name(), why,
                    "no check: the verdict stays as it was");
            }
            let refused = matches!(check, Check::LoginRefused(_));
            if std::mem::replace(&mut seen.refused, refused) && good {
                self.mended.notify_waiters();
            }
            if made && !std::mem::replace(&mut seen.checked, true) {
                self.begun.send_modify(|n| *n = n.wrapping_add(1));
            }
        }
        if let Some(reason) = failure_label(check) {
            watched.metrics.count_probe_failure(reason);
        }
        watched.metrics.record_probe(probed.duration.as_secs_f64());
        let rules = self.rules();
        let begun = probed.observation.begun;
        let mut outcome = core.step(&rules.core, ended, Event::Observed(id, probed.observation));
        // Its own connection was a new one.
        if good && probed.addresses.is_some() {
            let taken = NewConnection { begun, outcome: ConnectOutcome::Taken };
            let more = core.step(&rules.core, ended, Event::NewConnection(id, taken));
            outcome.publish |= more.publish;
            outcome.effects.extend(more.effects);
        }
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
        next_step(&self.rules(), &self.nodes(), &self.state().core, Instant::now())
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
            self.pool.publish(snapshot(rules, &self.nodes(), &state.core, &state.seen, now));
            self.show_writer(&state.core);
            self.tell_membership(&state.core, &mut state.membership);
        }
        // Nothing else is remembered than what one of them tells of.
        if outcome.publish || publish || !outcome.effects.is_empty() {
            self.remember(state);
        }
        for effect in outcome.effects {
            self.obey(rules, &state.core, effect, now);
        }
        self.metrics.set_size(state.seen.values().filter_map(|s| s.size).max().unwrap_or(0));
    }

    fn remember(&self, state: &mut State) {
        let Some(keeper) = &self.keeper else { return };
        let memory = state.core.memory();
        if memory != state.kept {
            keeper.keep(&memory);
            state.kept = memory;
        }
    }

    pub(super) fn watched(&self, id: NodeId) -> Option<WatchedNode> {
        self.roster.get(id)
    }

    pub(super) fn metrics(&self) -> &ClusterMetrics {
        &self.metrics
    }
}
