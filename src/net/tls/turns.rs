//! Whose turn it is to shake hands.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A handshake has its turn for this long at most. Its work is done in two pieces of a millisecond; the rest is waiting for the
/// peer, and one that never answers must not keep others out until its own deadline.
const TURN: Duration = Duration::from_secs(1);

/// So many handshakes at once; others wait, in the order of their coming.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    /// At least one.
    pub(super) fn new(most: u32) -> Self {
        Self(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let asked = Instant::now();
        // Never closed.
        Turn { _permit: self.0.acquire().await.ok(), asked, waited: asked.elapsed() }
    }
}

/// The right to begin a handshake.
#[derive(Debug)]
pub struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    asked: Instant,
    waited: Duration,
}

impl Turn<'_> {
    /// When it was asked for.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// How long others of ours held it up.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Runs `handshake`, which goes on without a turn once this one is over.
    pub(super) async fn run<F: Future>(self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        if let Ok(done) = tokio::time::timeout(TURN, handshake.as_mut()).await {
            return done;
        }
        drop(self);
        handshake.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_for_silent_peers_keep_others_out_for_a_moment_only() {
        let turns = Turns::new(2);
        let hang = async || turns.turn().await.run(std::future::pending::<()>()).await;
        let silent = async { tokio::join!(hang(), hang()) };
        let begun = Instant::now();
        let third = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let turn = turns.turn().await;
            assert_eq!(turn.waited(), turn.asked().elapsed());
            turn.run(async { begun.elapsed() }).await
        };
        tokio::select! {
            _ = silent => unreachable!("nobody answers them"),
            waited = third => assert!(waited >= TURN - Duration::from_millis(10) && waited < TURN * 2, "{waited:?}"),
        }
    }
}
