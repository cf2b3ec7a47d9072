//! Tells a vanished peer from one that merely does not read, from what the kernel knows (see `net/tcp_info.rs`).

use std::time::Duration;

use tokio::time::Instant;

use super::Timers;
use crate::net::tcp_info::Outstanding;

/// Looks are at most this far apart, so that a death is noticed soon after its time.
const LONGEST_GAP: Duration = Duration::from_secs(15);

/// Window probes in a row without an answer that prove something. One may be under way, one may be lost, and a living
/// Linux answers at most one in 0.5 s (`net.ipv4.tcp_invalid_ratelimit`), which the early ones are too fast for.
const PROBES_UNANSWERED: u8 = 2;

/// What a side died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Vanished,
    Stalled,
}

/// One side's acknowledgements. Costs nothing while everything sent was acknowledged.
#[derive(Debug)]
pub(super) struct AckWatch {
    /// The next look; `None` while nothing was sent since a look found everything acknowledged.
    look: Option<Instant>,
    armed: bool,
    /// Since when every look found bytes outstanding and no acknowledgement came.
    silent_since: Option<Instant>,
    /// Since when every look found the window closed.
    closed_since: Option<Instant>,
}

impl AckWatch {
    pub(super) fn new() -> Self {
        Self { look: None, armed: false, silent_since: None, closed_since: None }
    }

    /// Bytes were sent.
    pub(super) fn arm(&mut self) {
        self.armed = true;
    }

    /// When this watch wants to look.
    pub(super) fn next(&self, timers: &Timers) -> Option<Instant> {
        if !self.armed {
            return None;
        }
        // The first look is one gap after the arming, which is now or a moment ago.
        self.look.or_else(|| gap(timers).map(|g| Instant::now() + g))
    }

    /// Looks, if it is time to.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        timers: &Timers,
        outstanding: impl FnOnce() -> Option<Outstanding>,
    ) -> Option<Death> {
        let gap = gap(timers)?;
        if !self.armed || self.look.is_some_and(|at| now < at) {
            return None;
        }
        let Some(o) = outstanding().filter(|o| o.any) else {
            *self = Self::new();
            return None;
        };
        self.look = Some(now + gap);

        let quiet_for = now.saturating_duration_since(*self.silent_since.get_or_insert(now));
        if o.since_last_ack < quiet_for {
            self.silent_since = Some(now);
        }
        // While the window is closed the kernel asks ever more seldom, up to every 120 s: silence between two
        // probes means nothing, an unanswered probe does.
        let proven = !o.window_closed || o.unanswered_probes >= PROBES_UNANSWERED;
        if proven && o.since_last_ack >= quiet_for && timers.user.is_some_and(|t| quiet_for >= t) {
            return Some(Death::Vanished);
        }

        if !o.window_closed {
            self.closed_since = None;
            return None;
        }
        let closed_for = now.saturating_duration_since(*self.closed_since.get_or_insert(now));
        timers.stall.filter(|t| closed_for >= *t).map(|_| Death::Stalled)
    }
}

fn gap(timers: &Timers) -> Option<Duration> {
    let shortest = [timers.user, timers.stall].into_iter().flatten().min()?;
    Some((shortest / 4).clamp(Duration::from_millis(10), LONGEST_GAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Duration = Duration::from_secs(60);
    const STALL: Duration = Duration::from_secs(600);
    const TIMERS: Timers = Timers {
        idle: None,
        half_close: Duration::from_secs(60),
        hold_fin: Duration::ZERO,
        user: Some(USER),
        stall: Some(STALL),
    };

    /// Looks every gap until a death or `most`; `peer` says what the kernel says after that long.
    fn dies_after(most: Duration, peer: impl Fn(Duration) -> Outstanding) -> Option<(Duration, Death)> {
        dies_with(&TIMERS, most, peer)
    }

    fn dies_with(timers: &Timers, most: Duration, peer: impl Fn(Duration) -> Outstanding) -> Option<(Duration, Death)> {
        let start = Instant::now();
        let mut watch = AckWatch::new();
        watch.arm();
        let mut at = Duration::ZERO;
        while at < most {
            at += gap(timers).expect("a timer");
            if let Some(death) = watch.judge(start + at, timers, || Some(peer(at))) {
                return Some((at, death));
            }
        }
        None
    }

    fn in_flight(since_last_ack: Duration) -> Outstanding {
        Outstanding { any: true, window_closed: false, unanswered_probes: 0, since_last_ack }
    }

    #[test]
    fn a_peer_that_acknowledges_nothing_has_vanished_after_the_user_timeout() {
        let (at, death) = dies_after(STALL, in_flight).expect("it dies");
        assert_eq!(death, Death::Vanished);
        assert!(at >= USER && at <= USER + 2 * LONGEST_GAP, "{at:?}");
    }

    #[test]
    fn an_old_acknowledgement_before_an_idle_hour_is_no_silence() {
        let hour = Duration::from_secs(3600);
        let at = dies_after(USER, |at| in_flight(hour + at));
        assert_eq!(at, None, "the bytes went out a moment ago");
    }

    #[test]
    fn a_peer_that_acknowledges_now_and_then_lives() {
        assert_eq!(dies_after(STALL * 3, |_| in_flight(Duration::from_secs(40))), None);
    }

    #[test]
    fn a_paused_reader_outlives_the_user_timeout_and_ends_with_the_stall_timeout() {
        // Probes are answered, 120 s apart; at every fourth look one is under way.
        let paused = |at: Duration| Outstanding {
            any: true,
            window_closed: true,
            unanswered_probes: u8::from(at.as_secs().is_multiple_of(60)),
            since_last_ack: Duration::from_secs(at.as_secs() % 120),
        };
        let (at, death) = dies_after(STALL * 2, paused).expect("it ends");
        assert_eq!(death, Death::Stalled);
        assert!(at >= STALL, "{at:?}");
    }

    #[test]
    fn a_paused_reader_outlives_a_user_timeout_shorter_than_its_kernel_answers_probes() {
        // As seen on Linux 6.18: probes at 0.2, 0.6 and 1.4 s and so on, of which the second gets no answer.
        const PROBES: [(u64, bool); 5] = [(200, true), (600, false), (1400, true), (3000, true), (6200, true)];
        let paused = |at: Duration| {
            let sent = PROBES.iter().filter(|(ms, _)| Duration::from_millis(*ms) <= at);
            let answered = sent.clone().rfind(|(_, answered)| *answered).map_or(0, |(ms, _)| *ms);
            let unanswered = sent.filter(|(ms, _)| *ms > answered).count();
            Outstanding {
                any: true,
                window_closed: true,
                unanswered_probes: u8::try_from(unanswered).expect("few"),
                since_last_ack: at - Duration::from_millis(answered).min(at),
            }
        };
        for millis in [250, 500, 600, 1000, 2000] {
            let timers = Timers { user: Some(Duration::from_millis(millis)), ..TIMERS };
            assert_eq!(dies_with(&timers, Duration::from_secs(8), paused), None, "{millis} ms");
        }
    }

    #[test]
    fn a_paused_reader_that_vanishes_is_noticed_by_its_unanswered_probes() {
        let gone =
            |at: Duration| Outstanding { any: true, window_closed: true, unanswered_probes: 2, since_last_ack: at };
        assert_eq!(dies_after(STALL, gone).map(|(_, d)| d), Some(Death::Vanished));
    }

    #[test]
    fn everything_acknowledged_puts_the_watch_to_sleep() {
        let mut watch = AckWatch::new();
        watch.arm();
        let idle = Outstanding { any: false, ..in_flight(Duration::ZERO) };
        assert_eq!(watch.judge(Instant::now() + USER, &TIMERS, || Some(idle)), None);
        assert_eq!(watch.next(&TIMERS), None);
    }
}
