//! Handshakes that failed.

use std::fmt;
use std::io;

/// Of the peer's first bytes so many are kept, to tell what it speaks where that is no TLS.
pub(super) const FIRST: usize = 24;

/// A handshake that failed.
pub struct Broken<IO> {
    /// Why.
    pub error: io::Error,
    /// The socket: what is left to be said there is the caller's.
    pub io: IO,
    pub(super) first: First,
}

impl<IO> Broken<IO> {
    /// The peer's first bytes, up to 24.
    pub fn first(&self) -> &[u8] {
        self.first.bytes.get(..self.first.read).unwrap_or_default()
    }
}

impl<IO> fmt::Debug for Broken<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broken").field("error", &self.error).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct First {
    bytes: [u8; FIRST],
    read: usize,
}

impl First {
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.read).zip(bytes) {
            *to = *from;
            self.read += 1;
        }
    }
}
