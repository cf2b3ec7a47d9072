//! One node's monitor: when to look, and on which connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::new_connections::{self, SpareConnection, say_goodbye};
use super::probe::Kept;
use super::roster::WatchedNode;
use super::watch::ClusterWatch;
use crate::galera::NodeId;
use crate::galera::observation::{Check, Unreachable};
use crate::telemetry::Seldom;

/// After a refused login: hammering locks accounts.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest back-off.
const BACK_OFF_MOST: Duration = Duration::from_secs(60);

/// A connection whose account missed a right is kept no longer: the right may have been given since.
const RIGHTS_ANEW: Duration = Duration::from_secs(5);

/// At most one warning in this time about a connection that is not kept by the server.
const CUT_SHORT_WARNING_EVERY: Duration = Duration::from_secs(60);

/// Timers run up to this share short, so that the checks of many balancers and nodes spread out. Never long: a verdict
/// is at most one interval old.
const JITTER: f64 = 0.1;

/// Watches one node for as long as it is configured: its kept check, and new connections beside it.
pub(super) async fn run(watch: Arc<ClusterWatch>, id: NodeId) {
    let spare = Arc::default();
    tokio::join!(check(&watch, id, &spare), new_connections::run(Arc::clone(&watch), id, Arc::clone(&spare)));
}

async fn check(watch: &Arc<ClusterWatch>, id: NodeId, spare: &SpareConnection) {
    let mut kept: Option<Kept> = None;
    let mut closed = false;
    let mut back_off = None;
    // The last check's account missed a right.
    let mut poor = false;
    // The server ended the last kept connection right after its login.
    let mut cut_short = false;
    let mut warning = Seldom::new(CUT_SHORT_WARNING_EVERY);
    // Somebody asked for the last look. What he heard of may show in the rows only a little later, so one more follows.
    let mut asked = false;
    loop {
        let begun = Instant::now();
        let rules = watch.rules();
        // As the configuration has it now. Of a node that was forgotten the monitor is about to be ended.
        let Some(node) = watch.watched(id) else { return std::future::pending().await };
        let prober = rules.prober(&node, watch.lookup());
        let moved = node.moved.swap(false, Ordering::Relaxed);
        let is_old = |k: &mut Kept| moved || poor && k.since.elapsed() >= RIGHTS_ANEW;
        if let Some(old) = kept.take_if(is_old) {
            // Beside the check: it may hang where it is not needed any more.
            say_goodbye(Some(old), rules.config.monitor.timeout);
        }
        if let Some(late) = spare.take() {
            say_goodbye(kept.replace(late), rules.config.monitor.timeout);
        }
        let probed = prober.check(&mut kept, closed, watch.wants_members()).await;
        poor = prober.misses_a_right(&probed.observation.check);
        back_off = match (&probed.observation.check, back_off) {
            (Check::LoginRefused(_), None) => Some(BACK_OFF_FIRST),
            (Check::LoginRefused(_), Some(last)) => Some((last * 2).min(BACK_OFF_MOST)),
            _ => None,
        };
        let was_good = matches!(probed.observation.check, Check::Answered(_) | Check::Server(_));
        if let Check::Unreachable { why: Unreachable::TimedOut(_), .. } = probed.observation.check
            && kept.is_none()
        {
            // It may be late and not dead.
            node.node.attempts.note_failed(None);
        }
        let in_doubt = watch.observed(&node, probed);
        if let Some(at) = kept.as_ref().map(Kept::at) {
            for source in node.node.attempts.take_logins_due() {
                // Beside the checks: on a node that hangs it takes its whole deadline.
                let (prober, at) = (prober.clone().from(source), at.clone());
                tokio::spawn(async move { prober.log_in_once(at).await });
            }
        }
        let pace = back_off.unwrap_or_else(|| rules.pace(in_doubt || asked));
        // A look that somebody asked for comes no sooner than this after the last one began.
        let soonest = begun + back_off.map_or(rules.config.monitor.fast_interval, |_| BACK_OFF_FIRST);
        let mended = async {
            match back_off {
                Some(_) => watch.account_mended().await,
                None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            woken = wait(&node, &mut kept, begun + shortened(pace), soonest) => woken,
            () = mended => Woken::Due,
        };
        closed = false;
        asked = matches!(woken, Woken::Asked);
        if let Woken::Cut(lived_since) = woken {
            let lived_short = lived_since.elapsed() < rules.config.monitor.fast_interval;
            if std::mem::replace(&mut cut_short, lived_short) && lived_short {
                // One that met an error was told why.
                if was_good && warning.due(Instant::now().into_std()) {
                    tracing::warn!(cluster = watch.name(), node = %node.node.name(), "the check's connection is closed as \
                        soon as it has answered: every check is a login (is there a proxy between?)");
                }
                // Twice in a row is no crash: dialled as fast as it answers, it would be logged in to without end.
                wait(&node, &mut kept, begun + pace, soonest).await;
            } else {
                // It may be a crash, whose proof is the redial. Until that has succeeded new clients try the other
                // nodes first.
                closed = true;
                node.node.suspect();
            }
        }
    }
}

/// What ended a wait.
enum Woken {
    /// Its time.
    Due,
    /// Somebody wants a look.
    Asked,
    /// The server closed the kept connection, which had lived since then.
    Cut(Instant),
}

/// Waits for the next look.
async fn wait(node: &WatchedNode, kept: &mut Option<Kept>, next: Instant, soonest: Instant) -> Woken {
    let ended = async {
        match kept {
            Some(k) => {
                k.connection.closed().await;
            }
            None => std::future::pending().await,
        }
    };
    let asked = async {
        node.node.look.notified().await;
        // Not behind the end of the wait: the wish would be heard and forgotten.
        sleep_until(soonest.min(next)).await;
    };
    let woken = tokio::select! {
        biased;
        () = ended => None,
        () = asked => Some(Woken::Asked),
        () = sleep_until(next) => Some(Woken::Due),
    };
    woken.unwrap_or_else(|| kept.take().map_or(Woken::Due, |k| Woken::Cut(k.since)))
}

pub(super) fn shortened(pace: Duration) -> Duration {
    pace.mul_f64(1.0 - JITTER * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::health::Lookup;
    use crate::telemetry::Registry;

    #[tokio::test(start_paused = true)]
    async fn a_wish_that_comes_just_before_a_look_is_not_forgotten() {
        let text = "[cluster.c]\nnodes = [\"127.0.0.1\"]\n[cluster.c.monitor]\nuser = \"u\"\n\
                    [service.s]\naccept = \"127.0.0.1:0\"\ncluster = \"c\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let watch = ClusterWatch::new(&config.clusters[0], &Registry::new(), None, &Lookup::system()).unwrap();
        let node = watch.nodes().first().cloned().unwrap();
        let now = Instant::now();
        let (due, soonest) = (now + Duration::from_millis(90), now + Duration::from_millis(100));
        node.node.look.notify_one();
        assert!(matches!(wait(&node, &mut None, due, soonest).await, Woken::Asked));
        assert!(matches!(wait(&node, &mut None, due, soonest).await, Woken::Due));
    }
}
