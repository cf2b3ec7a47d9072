//! How many clients each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One service's clients by their address. Holds an entry for each address that has a client now, and no other.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<IpAddr, u32>>);

impl Sources {
    /// Counts a client until the guard is dropped. `None` where its address has `most` already.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, most: u32) -> Option<Source> {
        let mut counts = self.counts();
        let count = counts.entry(ip).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Source { all: Arc::clone(self), ip })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's place in its address's count.
#[derive(Debug)]
pub(super) struct Source {
    all: Arc<Sources>,
    ip: IpAddr,
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_leaves_nothing_behind() {
        let all = Arc::new(Sources::default());
        let (one, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let two = [all.enter(one, 2), all.enter(one, 2)];
        assert!(two.iter().all(Option::is_some) && all.enter(one, 2).is_none());
        assert!(all.enter(other, 2).is_some(), "another address");
        drop(two);
        assert!(all.counts().is_empty());
    }
}
