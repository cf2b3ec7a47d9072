//! One node's monitor: when to look, and on which connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::probe::Kept;
use super::watch::{ClusterWatch, WatchedNode};
use crate::galera::observation::Check;

/// After a refused login: hammering locks accounts.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest back-off.
const BACK_OFF_MOST: Duration = Duration::from_secs(60);

/// At most one warning in this time about a connection that is not kept by the server.
const CUT_SHORT_WARNING_EVERY: Duration = Duration::from_secs(60);

/// Timers run up to this share short, so that the checks of many balancers and nodes spread out. Never long: a verdict
/// is at most one interval old.
const JITTER: f64 = 0.1;

/// Checks one node for as long as the process lives.
pub(super) async fn run(watch: Arc<ClusterWatch>, node: WatchedNode) {
    let mut kept: Option<Kept> = None;
    let mut closed = false;
    let mut back_off = None;
    let mut cut_short_in_a_row: u32 = 0;
    let mut told_cut_short = None;
    loop {
        let begun = Instant::now();
        let rules = watch.rules();
        let prober = rules.prober(&node);
        let probed = prober.check(&mut kept, closed).await;
        back_off = match (&probed.observation.check, back_off) {
            (Check::LoginRefused(_), None) => Some(BACK_OFF_FIRST),
            (Check::LoginRefused(_), Some(last)) => Some((last * 2).min(BACK_OFF_MOST)),
            _ => None,
        };
        let in_doubt = watch.observed(&node, probed);
        // Without a kept connection the next check is a login.
        if let Some(address) = kept.as_ref().map(Kept::address)
            && node.node.take_login_due()
        {
            // Beside the checks: on a node that hangs it takes its whole deadline.
            tokio::spawn(async move { prober.log_in_once(address).await });
        }
        let pace = back_off.unwrap_or_else(|| rules.pace(in_doubt));
        // A look that somebody asked for comes no sooner than this after the last one began.
        let soonest = begun + back_off.map_or(rules.config.monitor.fast_interval, |_| BACK_OFF_FIRST);
        let mended = async {
            match back_off {
                Some(_) => watch.account_mended().await,
                None => std::future::pending().await,
            }
        };
        let redial = tokio::select! {
            redial = wait(&node, &mut kept, begun + shortened(pace), soonest) => redial,
            () = mended => None,
        };
        closed = false;
        if let Some(lived_since) = redial {
            let cut_short = lived_since.elapsed() < rules.config.monitor.fast_interval;
            cut_short_in_a_row = if cut_short { cut_short_in_a_row.saturating_add(1) } else { 0 };
            if cut_short_in_a_row > 1 {
                if told_cut_short.is_none_or(|at: Instant| at.elapsed() >= CUT_SHORT_WARNING_EVERY) {
                    told_cut_short = Some(Instant::now());
                    tracing::warn!(cluster = watch.name(), node = %node.node.name, "the check's connection is closed as \
                        soon as it has answered: every check is a login (is there a proxy between?)");
                }
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

/// Waits for the next look. The server closed the kept connection: since when it had lived. A server, or something
/// before it, that closes each one right after its login must not be dialled as fast as it answers.
async fn wait(node: &WatchedNode, kept: &mut Option<Kept>, next: Instant, soonest: Instant) -> Option<Instant> {
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
        sleep_until(soonest).await;
    };
    let closed = tokio::select! {
        () = ended => true,
        () = asked => false,
        () = sleep_until(next) => false,
    };
    if closed { kept.take().map(|k| k.since) } else { None }
}

fn shortened(pace: Duration) -> Duration {
    pace.mul_f64(1.0 - JITTER * fastrand::f64())
}
