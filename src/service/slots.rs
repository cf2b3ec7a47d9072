//! Places of which there are so many, and how many may change while some are taken.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// So many places.
#[derive(Debug)]
pub(super) struct Slots {
    places: Arc<Semaphore>,
    size: Arc<Mutex<Size>>,
}

#[derive(Debug)]
struct Size {
    /// Those that are there, free or taken.
    now: usize,
    /// Takes away those that become free.
    shrinking: Option<AbortHandle>,
}

impl Slots {
    pub(super) fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(size)), size: Arc::new(Mutex::new(Size { now: size, shrinking: None })) }
    }

    /// A place, to be waited for: who came first is first.
    pub(super) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// A place, if one is free.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// There are to be so many from now on. What is taken beyond that goes when it is given back; whoever waits gets none of it.
    /// Within a runtime.
    pub(super) fn resize(&self, size: usize) {
        let size = size.min(Semaphore::MAX_PERMITS);
        let mut known = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = known.shrinking.take() {
            task.abort();
        }
        if size >= known.now {
            self.places.add_permits(size - known.now);
            known.now = size;
            return;
        }
        known.now -= self.places.forget_permits(known.now - size);
        if known.now > size {
            let (places, shared) = (Arc::clone(&self.places), Arc::clone(&self.size));
            let shrink = async move {
                while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                    let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    place.forget();
                    known.now -= 1;
                    if known.now == size {
                        return;
                    }
                }
            };
            known.shrinking = Some(tokio::spawn(shrink).abort_handle());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_places_take_effect_as_they_are_given_back() {
        let slots = Slots::new(3);
        let mut taken: Vec<_> = (0..3).filter_map(|_| slots.try_take()).collect();
        slots.resize(1);
        taken.pop();
        taken.pop();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(slots.try_take().is_none(), "one is taken, and that is all there are");
        taken.pop();
        tokio::task::yield_now().await;
        let one = slots.try_take();
        assert!(one.is_some() && slots.try_take().is_none());
    }

    #[tokio::test]
    async fn more_places_are_there_at_once_although_fewer_were_asked_for_before() {
        let slots = Slots::new(3);
        let taken: Vec<_> = (0..3).filter_map(|_| slots.try_take()).collect();
        slots.resize(1);
        slots.resize(4);
        assert!(slots.try_take().is_some());
        drop(taken);
        tokio::task::yield_now().await;
        let all: Vec<_> = (0..5).filter_map(|_| slots.try_take()).collect();
        assert_eq!(all.len(), 4);
    }

    #[tokio::test]
    async fn free_places_go_at_once() {
        let slots = Slots::new(5);
        slots.resize(2);
        let all: Vec<_> = (0..5).filter_map(|_| slots.try_take()).collect();
        assert_eq!(all.len(), 2);
    }
}
