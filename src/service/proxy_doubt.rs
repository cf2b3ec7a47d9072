//! Notices servers that take no PROXY headers although a service sends them: to such a server the header is a broken login,
//! and no client gets further than its error.

use std::sync::atomic::{AtomicU32, Ordering};

/// Sessions that ended so, and no other, before it is said.
const ENOUGH: u32 = 5;

/// What a server says behind its greeting when it refuses a login: at most one ERR packet (header, code, SQLSTATE, text).
pub(super) const REFUSAL_MOST: u64 = 4 + 9 + 512;

/// Sessions so far that their server ended right after its greeting; as many as are enough once it was said, or once a session
/// went well.
#[derive(Debug, Default)]
pub(super) struct ProxyDoubt(AtomicU32);

impl ProxyDoubt {
    /// Takes the end of a session in. True: all so far were refused, and it is to be said now.
    pub(super) fn is_due(&self, was_refused: bool) -> bool {
        if !was_refused {
            self.0.store(ENOUGH, Ordering::Relaxed);
            return false;
        }
        let more = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < ENOUGH).then_some(n + 1));
        more == Ok(ENOUGH - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_and_only_where_no_session_went_well() {
        let doubt = ProxyDoubt::default();
        let due: Vec<bool> = (0..10).map(|_| doubt.is_due(true)).collect();
        assert_eq!(due.iter().position(|due| *due), Some(4));
        assert_eq!(due.iter().filter(|due| **due).count(), 1);
        let doubt = ProxyDoubt::default();
        assert!(!doubt.is_due(true) && !doubt.is_due(false));
        assert!((0..10).all(|_| !doubt.is_due(true)));
    }
}
