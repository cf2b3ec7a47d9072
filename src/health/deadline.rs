//! A deadline that knows when it was missed by us.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How closely our own lag is measured.
const STEP: Duration = Duration::from_millis(50);

/// The deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elapsed {
    /// How long, of the time given, this thread did not run: a suspended machine, a starved process. What was missed
    /// meanwhile says nothing of the other side.
    pub(super) lag: Duration,
}

/// Gives `work` this long. The lag costs nothing to measure while work is fast: it is looked at only every [`STEP`].
pub(super) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let end = Instant::now() + time;
    let mut work = std::pin::pin!(work);
    let mut lag = Duration::ZERO;
    loop {
        let wake = (Instant::now() + STEP).min(end);
        tokio::select! {
            biased;
            result = &mut work => return Ok(result),
            () = sleep_until(wake) => {}
        }
        let now = Instant::now();
        let late = now.saturating_duration_since(wake);
        // Timers are rounded up to whole milliseconds, and waking takes its time on a busy machine.
        if late > STEP {
            lag += late;
        }
        if now >= end {
            return Err(Elapsed { lag });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_missed_by_the_other_side_has_no_lag() {
        let missed = within(Duration::from_secs(1), std::future::pending::<()>()).await;
        assert_eq!(missed, Err(Elapsed { lag: Duration::ZERO }));
    }

    #[tokio::test]
    async fn a_thread_that_did_not_run_is_noticed() {
        let stuck = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            // Stands for a suspended machine: the whole thread stops.
            std::thread::sleep(Duration::from_millis(400));
            std::future::pending::<()>().await;
        };
        let Err(missed) = within(Duration::from_millis(300), stuck).await else { panic!("it never ends") };
        assert!(missed.lag >= Duration::from_millis(200), "{missed:?}");
    }
}
