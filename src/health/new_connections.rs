//! Tries new connections to one node, beside its kept check.
//!
//! A client that fails has one tried at once, from the address that the client's connection came from; without failures one is
//! tried once a minute, unless the check itself has just logged in. There is never more than one under way that counts, and a
//! pause between them.
//!
//! One that misses the check's deadline has failed. It goes on beside the next one for a while: a server that looks up its
//! clients' names before it greets is late and not dead, and what to do about that is another matter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::deadline::within;
use super::monitor::shortened;
use super::probe::{Kept, LAG_TOLERATED, Probed, Progress};
use super::roster::WatchedNode;
use super::rules::Rules;
use super::watch::ClusterWatch;
use crate::galera::observation::{Check, ConnectOutcome, LoginFailure, NewConnection, Unreachable};
use crate::galera::{EntranceState, Event, NodeId, Sort};
use crate::pool::SourceAddress;
use crate::telemetry::Seldom;

/// A new connection is tried at least once in this time.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// A login this short a time ago has shown that new connections are taken. Below the shortest time that jitter leaves of the above.
const RECENT: Duration = Duration::from_secs(50);

/// Clients' failures have one tried no sooner than this after the last one. Where those are good all the same (the fault
/// is on another port, or between us and the clients' port) the pause doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// From one attempt to the next on a node that takes no new connections.
const PAUSE_CLOSED: Duration = Duration::from_secs(2);

/// The same on one that is late: each takes its time, and each waits for the same look-up.
const PAUSE_LATE: Duration = Duration::from_secs(10);

/// An attempt that is late is waited for this many times the check's deadline, and at least and at most so long. Resolvers ask
/// each of their servers for 5 s, twice (resolv.conf(5)).
const LATE_FACTOR: u32 = 10;
const LATE_AT_LEAST: Duration = Duration::from_secs(15);
const LATE_AT_MOST: Duration = Duration::from_secs(60);

/// At most one warning in this time about an account that could not log in now.
const REFUSED_WARNING_EVERY: Duration = Duration::from_secs(600);

/// `ER_CON_COUNT_ERROR`.
const TOO_MANY_CONNECTIONS: u16 = 1040;
/// `ER_HOST_IS_BLOCKED`.
const HOST_IS_BLOCKED: u16 = 1129;

/// A connection that was logged in too late for its check, for a check that has none.
#[derive(Debug, Default)]
pub(super) struct SpareConnection(Mutex<Option<Kept>>);

impl SpareConnection {
    pub(super) fn take(&self) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn offer(&self, kept: Kept) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(kept)
    }
}

impl ClusterWatch {
    /// Takes an attempt on a new connection in.
    fn connected(&self, node: &WatchedNode, seen: NewConnection) {
        if !matches!(seen.outcome, ConnectOutcome::Taken) {
            node.metrics.count_probe_failure("new_connection");
        }
        self.happened(Event::NewConnection(node.node.id, seen));
    }

    /// What is known of a node's new connections.
    pub(super) fn entrance(&self, id: NodeId) -> EntranceState {
        self.with_seen(|core, _| core.entrance(id))
    }

    /// Whether anything came from a node when it was asked last.
    fn answers(&self, id: NodeId) -> bool {
        self.with_seen(|core, _| core.answers(id))
    }
}

/// Tries new connections to one node for as long as it is watched.
pub(super) async fn run(watch: Arc<ClusterWatch>, id: NodeId, spare: Arc<SpareConnection>) {
    let mut late = JoinSet::new();
    let mut warning = Seldom::new(REFUSED_WARNING_EVERY);
    let mut pause = PAUSE_FIRST;
    let mut last = Instant::now();
    let mut next = last + shortened(AT_LEAST_EVERY);
    // Failures that are under way are tried again from where they were met.
    let mut source = None;
    loop {
        let is_asked = wait(&watch, id, last + pause, next).await;
        while late.try_join_next().is_some() {}
        // Of a node that was forgotten the monitor is about to be ended.
        let Some(node) = watch.watched(id) else { return std::future::pending().await };
        let rules = watch.rules();
        let before = watch.entrance(id);
        if let Some(failed) = node.node.attempts.take_failed() {
            source = failed;
        } else if !before.is_in_doubt {
            source = None;
            // Each check of a node that does not answer dials it; and one that has just logged in has shown the same.
            let answers = watch.answers(id);
            let taken = before.last_taken.map(Instant::from_std).filter(|_| answers);
            if !is_asked && (!answers || taken.is_some_and(|at| at.elapsed() < RECENT)) {
                next = taken.unwrap_or_else(Instant::now) + shortened(AT_LEAST_EVERY);
                continue;
            }
        }
        if !watch.answers(id) && !late.is_empty() {
            // The one that is under way is the one whose end is of interest.
            (last, next) = (Instant::now(), Instant::now() + PAUSE_LATE);
            continue;
        }
        node.node.attempts.note_greetings(true);
        last = Instant::now();
        let trial = Trial { watch: &watch, node: &node, rules: &rules, source, begun: last };
        let is_refused = trial.run(&mut late, &spare, before.is_late, &mut warning).await;
        let after = watch.entrance(id);
        let interval = rules.config.monitor.interval;
        let was_taken = after.last_taken != before.last_taken;
        (pause, next) = if is_refused {
            (AT_LEAST_EVERY, last + AT_LEAST_EVERY)
        } else if !after.is_in_doubt {
            let longer = if is_asked { (pause * 2).min(PAUSE_MOST) } else { PAUSE_FIRST };
            (longer, last + shortened(AT_LEAST_EVERY))
        } else if was_taken || !after.is_closed {
            // One more like this decides.
            (PAUSE_FIRST, last + interval.max(PAUSE_FIRST))
        } else if after.is_late {
            (PAUSE_FIRST, Instant::now() + PAUSE_LATE)
        } else {
            (PAUSE_FIRST, last + PAUSE_CLOSED.max(interval))
        };
        if !after.is_in_doubt {
            node.node.attempts.note_greetings(false);
        }
    }
}

/// Waits for the next attempt: until `next`, or until one is asked for, but then no sooner than `soonest` unless it is urgent. True:
/// it was asked for.
async fn wait(watch: &ClusterWatch, id: NodeId, soonest: Instant, next: Instant) -> bool {
    let Some(node) = watch.watched(id) else { return std::future::pending().await };
    if watch.rules().sort(&node) == Sort::Port {
        // Each of its checks is a new connection, and there is no more to it.
        return std::future::pending().await;
    }
    let asked = async {
        if !node.node.attempts.trial_wanted().await {
            tokio::select! {
                () = sleep_until(soonest.min(next)) => {}
                () = urgent(&node) => {}
            }
        }
    };
    tokio::select! {
        () = asked => true,
        () = sleep_until(next) => false,
    }
}

async fn urgent(node: &WatchedNode) {
    while !node.node.attempts.trial_wanted().await {}
}

/// One attempt.
struct Trial<'a> {
    watch: &'a Arc<ClusterWatch>,
    node: &'a WatchedNode,
    rules: &'a Rules,
    source: SourceAddress,
    begun: Instant,
}

impl Trial<'_> {
    /// True: the account was refused, and trying again soon would lock it. `is_late`: the node is known to be, and no deadline but the
    /// last counts.
    async fn run(
        self,
        late: &mut JoinSet<()>,
        spare: &Arc<SpareConnection>,
        is_late: bool,
        warning: &mut Seldom,
    ) -> bool {
        let timeout = self.rules.config.monitor.timeout;
        let most = (timeout * LATE_FACTOR).clamp(LATE_AT_LEAST, LATE_AT_MOST).max(timeout);
        let prober = self.rules.prober(self.node, self.watch.lookup()).with_timeout(most).from(self.source);
        let progress = Arc::new(Progress::default());
        let noted = Arc::clone(&progress);
        let has_own_port = self.rules.config.monitor.port.is_some();
        let mut trial = Box::pin(async move { prober.check_anew(&noted).await });
        let ended = within(timeout, &mut trial).await;
        let step = progress.step().name();
        match ended {
            Ok((probed, kept)) => {
                say_goodbye(kept, timeout);
                let refused = matches!(probed.observation.check, Check::LoginRefused(_));
                if let Check::LoginRefused(why) = &probed.observation.check {
                    self.warn_of_refusal(why, warning);
                }
                if let Some(outcome) = outcome(&probed, has_own_port) {
                    self.report(outcome);
                }
                return refused;
            }
            // Nothing is known of who did not run.
            Err(missed) if missed.lag >= timeout / LAG_TOLERATED => return false,
            Err(_) if !is_late => self.report(ConnectOutcome::Failed(Unreachable::TimedOut(step))),
            Err(_) => {}
        }
        if late.is_empty() {
            let (watch, node, spare, begun) =
                (Arc::clone(self.watch), self.node.clone(), Arc::clone(spare), self.begun);
            late.spawn(async move {
                let (probed, kept) = trial.await;
                let after = begun.elapsed();
                let outcome = match outcome(&probed, has_own_port) {
                    Some(ConnectOutcome::Taken) => ConnectOutcome::Late { step, after },
                    // Told when it missed the deadline.
                    Some(ConnectOutcome::Failed(_)) if !is_late => return,
                    Some(other) => other,
                    None => return,
                };
                if let Some(addresses) = &probed.addresses {
                    watch.reached(&node, addresses);
                }
                watch.connected(&node, NewConnection { begun: begun.into_std(), outcome });
                // A check that cannot log in by itself goes on with this connection.
                let unwanted = if watch.answers(node.node.id) { kept } else { kept.and_then(|kept| spare.offer(kept)) };
                say_goodbye(unwanted, timeout);
            });
        }
        false
    }

    fn report(&self, outcome: ConnectOutcome) {
        let begun = self.begun.into_std();
        // Clients that got through from the same address meanwhile know better.
        let failed = matches!(outcome, ConnectOutcome::Failed(_) | ConnectOutcome::Full(_));
        if failed && self.node.node.attempts.has_greeted_since(self.source, begun) {
            return;
        }
        self.watch.connected(self.node, NewConnection { begun, outcome });
    }

    fn warn_of_refusal(&self, why: &LoginFailure, warning: &mut Seldom) {
        if self.watch.answers(self.node.node.id) && warning.due(Instant::now().into_std()) {
            tracing::warn!(cluster = self.watch.name(), node = %self.node.node.name(), why = %why, "a new login of the check \
                is refused: the connection that is kept goes on, but none could replace it");
        }
    }
}

/// What an attempt says of new connections; `None`: nothing.
fn outcome(probed: &Probed, has_own_port: bool) -> Option<ConnectOutcome> {
    match &probed.observation.check {
        // In offline mode its own verdict says that clients are shut out.
        Check::Answered(_)
        | Check::Unreadable(..)
        | Check::Server(_)
        | Check::Open
        | Check::LoginRefused(_)
        | Check::Offline(_) => Some(ConnectOutcome::Taken),
        // Another port than the clients' has a limit of its own: MariaDB's `extra_max_connections` is 1, which the kept check uses.
        Check::NoEntry(why) if why.code == TOO_MANY_CONNECTIONS && has_own_port => None,
        Check::NoEntry(why) if why.code == TOO_MANY_CONNECTIONS => Some(ConnectOutcome::Full(why.clone())),
        // It is this host that is blocked, and so are its clients.
        Check::NoEntry(why) if why.code == HOST_IS_BLOCKED => {
            Some(ConnectOutcome::Failed(Unreachable::Said(format!("error {why}"))))
        }
        // The account's quota.
        Check::NoEntry(_) => Some(ConnectOutcome::Taken),
        // Clients go to the addresses that are known.
        Check::Unreachable { why: Unreachable::CannotResolve(_), .. } | Check::NotMade(_) => None,
        Check::Unreachable { why, .. } => Some(ConnectOutcome::Failed(why.clone())),
    }
}

/// Ends a connection in an orderly way, beside everything else.
pub(super) fn say_goodbye(kept: Option<Kept>, timeout: Duration) {
    if let Some(kept) = kept {
        tokio::spawn(async move { within(timeout, kept.connection.quit()).await });
    }
}
