//! Whether a node takes new connections.
//!
//! The check lives on one connection. While that answers it proves nothing of new ones: with a filtered port, a full accept
//! queue, no thread left for a greeting (error 1135) or this host blocked (1129), the node looks well for ever and every client
//! fails. So new connections are tried too, and what they meet is kept here.

use std::time::{Duration, Instant};

use super::observation::{ConnectFailure, ConnectOutcome, NewConnection, Unreachable};

/// A server that is full (error 1040) for this long, and lets in neither a check nor a client meanwhile, counts as one that takes
/// no new connections. Much longer than a burst of clients lasts: as soon as one of its sessions ends, it takes another.
const FULL_FOR_GOOD: Duration = Duration::from_secs(30);

/// What attempts on new connections have met.
#[derive(Debug, Clone, Default)]
pub(super) struct Entrance {
    /// When the last attempt began that was taken.
    taken: Option<Instant>,
    /// Failed attempts in a row.
    failures: u32,
    /// When the first of them began.
    failing_since: Option<Instant>,
    /// Since when the server has been full.
    full_since: Option<Instant>,
    /// Why the last attempt failed.
    why: Option<ConnectFailure>,
    is_closed: bool,
    /// Attempts in a row that were taken since it closed.
    successes: u32,
}

impl Entrance {
    /// Takes an attempt in. `answers`: the node answers on its kept check connection, so that a failure is news.
    pub(super) fn observe(&mut self, rise: u32, fall: u32, answers: bool, seen: NewConnection) {
        // A later attempt has succeeded meanwhile.
        if self.taken.is_some_and(|taken| taken > seen.begun) {
            return;
        }
        match seen.outcome {
            ConnectOutcome::Taken => self.taken(rise, seen.begun),
            ConnectOutcome::Late { step, after } => {
                self.failing_since.get_or_insert(seen.begun);
                // One that is let in only so has been silent to every other check.
                self.is_closed |= !answers;
                self.why = Some(ConnectFailure::Late { step, after });
            }
            ConnectOutcome::Failed(_) | ConnectOutcome::Full(_) if !answers => {}
            ConnectOutcome::Full(why) => {
                (self.failures, self.successes) = (0, 0);
                let since = *self.full_since.get_or_insert(seen.begun);
                if self.is_closed || seen.begun.saturating_duration_since(since) >= FULL_FOR_GOOD {
                    self.close(since, ConnectFailure::Full(why));
                }
            }
            ConnectOutcome::Failed(why) => {
                self.full_since = None;
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                let since = *self.failing_since.get_or_insert(seen.begun);
                // It hangs as it did when it was found to be merely late.
                let is_known =
                    matches!((&self.why, &why), (Some(ConnectFailure::Late { .. }), Unreachable::TimedOut(_)));
                if !is_known {
                    self.why = Some(ConnectFailure::NotTaken(why));
                }
                self.is_closed |= self.failures >= fall;
                self.failing_since = Some(since);
            }
        }
    }

    fn taken(&mut self, rise: u32, begun: Instant) {
        self.successes = self.successes.saturating_add(1);
        if !self.is_closed || self.successes >= rise {
            *self = Self { taken: Some(begun), ..Self::default() };
        } else {
            self.taken = Some(begun);
            (self.failures, self.full_since) = (0, None);
        }
    }

    fn close(&mut self, since: Instant, why: ConnectFailure) {
        self.failing_since.get_or_insert(since);
        self.why = Some(why);
        self.is_closed = true;
    }

    /// The node answers its check no more, or hangs in it: that verdict says it all.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Why no new connection is taken, and when the first attempt began that was not.
    pub(super) fn closed(&self) -> Option<(&ConnectFailure, Instant)> {
        self.why.as_ref().zip(self.failing_since).filter(|_| self.is_closed)
    }

    /// When the first of the failed attempts in a row began.
    pub(super) fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }

    /// A new connection was taken by an attempt that began at this time or later.
    pub(super) fn has_taken_since(&self, since: Instant) -> bool {
        self.taken.is_some_and(|taken| taken >= since)
    }

    /// When the last attempt began that was taken.
    pub(super) fn last_taken(&self) -> Option<Instant> {
        self.taken
    }

    /// It is closed, or what it is the next attempts will show.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.failing_since.is_some() || self.full_since.is_some()
    }

    /// It takes new connections, but later than a check waits.
    pub(super) fn is_late(&self) -> bool {
        self.is_closed && matches!(self.why, Some(ConnectFailure::Late { .. }))
    }
}
