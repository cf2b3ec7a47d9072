//! What clients' attempts to connect to one node have met, by the address that they come from: news for the check of new
//! connections.
//!
//! A server counts handshakes that break off by address, and blocks addresses one by one. So what was met from a service's
//! `source` is tried again, and cleared, from there and from nowhere else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Handshakes broken off before the monitor logs in once more to clear the server's count for an address. The server
/// blocks it at `max_connect_errors`, 100 by default.
const BROKEN_HANDSHAKES_TOLERATED: u64 = 25;

/// The local address of connections to a node; `None`: the system chooses.
pub type SourceAddress = Option<IpAddr>;

/// What attempts from one address have met.
#[derive(Debug, Clone, Copy, Default)]
struct SourceRecord {
    broken_handshakes: u64,
    /// One failed, and no new connection was tried from here since.
    has_failed: bool,
    /// The last greeting, noted only while somebody asks.
    greeted: Option<Instant>,
}

/// One node's attempts.
#[derive(Debug, Default)]
pub struct AttemptLedger {
    /// Few: one for each `source` of the services.
    by_source: Mutex<BTreeMap<SourceAddress, SourceRecord>>,
    /// A new connection should be tried.
    wanted: Notify,
    /// At once, and not only after the pause since the last one.
    is_urgent: AtomicBool,
    /// Greetings are noted. They are far too many to cost a lock when all is well.
    notes_greetings: AtomicBool,
}

impl AttemptLedger {
    /// An attempt brought no greeting, or none for a suspiciously long time.
    pub fn note_failed(&self, source: SourceAddress) {
        self.records().entry(source).or_default().has_failed = true;
        self.wanted.notify_one();
    }

    /// Has a new connection tried at once.
    pub fn request_trial(&self) {
        self.is_urgent.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// Resolves when a new connection should be tried: true where at once.
    pub async fn trial_wanted(&self) -> bool {
        self.wanted.notified().await;
        self.is_urgent.swap(false, Ordering::Relaxed)
    }

    /// An address from which attempts failed since it was last taken.
    pub fn take_failed(&self) -> Option<SourceAddress> {
        let mut records = self.records();
        let (source, record) = records.iter_mut().find(|(_, record)| record.has_failed)?;
        record.has_failed = false;
        Some(*source)
    }

    /// Has greetings noted, or not any more.
    pub fn note_greetings(&self, wanted: bool) {
        self.notes_greetings.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn note_greeting(&self, source: SourceAddress) {
        if self.notes_greetings.load(Ordering::Relaxed) {
            self.records().entry(source).or_default().greeted = Some(Instant::now());
        }
    }

    /// A client was greeted from this address at that time or later.
    pub fn has_greeted_since(&self, source: SourceAddress, since: Instant) -> bool {
        self.records().get(&source).and_then(|record| record.greeted).is_some_and(|at| at >= since)
    }

    /// A connection ended before its login was done: the server counts that against its address. True: a login is due.
    pub(super) fn note_broken_handshake(&self, source: SourceAddress) -> bool {
        let mut records = self.records();
        let broken = &mut records.entry(source).or_default().broken_handshakes;
        *broken += 1;
        *broken >= BROKEN_HANDSHAKES_TOLERATED
    }

    /// The addresses from which a login is due that clears the server's count; takes their counts back.
    pub fn take_logins_due(&self) -> Vec<SourceAddress> {
        let mut records = self.records();
        let due = records.iter_mut().filter(|(_, record)| record.broken_handshakes >= BROKEN_HANDSHAKES_TOLERATED);
        due.map(|(source, record)| {
            record.broken_handshakes = 0;
            *source
        })
        .collect()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<SourceAddress, SourceRecord>> {
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_due_from_the_addresses_whose_handshakes_broke_off() {
        let ledger = AttemptLedger::default();
        let source = Some(IpAddr::from([127, 0, 0, 2]));
        let due: Vec<bool> = (0..25).map(|_| ledger.note_broken_handshake(source)).collect();
        assert!(!due[23] && due[24]);
        assert!(!ledger.note_broken_handshake(None), "another address has a count of its own");
        assert_eq!(ledger.take_logins_due(), [source]);
        assert!(ledger.take_logins_due().is_empty());
    }

    #[test]
    fn a_failure_is_taken_once_and_from_its_own_address() {
        let ledger = AttemptLedger::default();
        let source = Some(IpAddr::from([127, 0, 0, 2]));
        ledger.note_failed(source);
        ledger.note_failed(source);
        assert_eq!((ledger.take_failed(), ledger.take_failed()), (Some(source), None));
    }

    #[test]
    fn greetings_are_noted_while_somebody_asks() {
        let (ledger, start) = (AttemptLedger::default(), Instant::now());
        ledger.note_greeting(None);
        assert!(!ledger.has_greeted_since(None, start));
        ledger.note_greetings(true);
        ledger.note_greeting(None);
        assert!(ledger.has_greeted_since(None, start) && !ledger.has_greeted_since(None, Instant::now()));
    }
}
