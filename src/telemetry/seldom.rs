//! Warnings about what goes on and on.

use std::time::{Duration, Instant};

/// Says when a warning is due that would otherwise come with every check or every accept.
#[derive(Debug, Clone)]
pub struct Seldom {
    every: Duration,
    last: Option<Instant>,
}

impl Seldom {
    /// Due at once, and then at most once in this time.
    pub const fn new(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Whether it is due; it is not again for a while.
    pub fn due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.every);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_once_and_then_once_in_its_time() {
        let (every, start) = (Duration::from_secs(10), Instant::now());
        let mut seldom = Seldom::new(every);
        let due: Vec<u64> = (0..25).filter(|s| seldom.due(start + Duration::from_secs(*s))).collect();
        assert_eq!(due, [0, 10, 20]);
    }
}
