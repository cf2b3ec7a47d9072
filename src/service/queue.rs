//! The line of clients that wait for a node: first come, first served.
//!
//! Only the first in line looks for a node. When it has found one it leaves the line, and the next one looks; when it finds
//! none it waits for news, and everybody behind it waits for it. A client whose attempt failed tries the next nodes at once: it
//! had its turn. When all have failed it steps out of the line while it pauses, so that it holds up nobody, and comes back to
//! the place that its arrival gives it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// One service's line.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By the number of the client.
    line: Mutex<BTreeMap<usize, Arc<Notify>>>,
    /// How many there are: asked for every connection, and mostly there is nobody.
    length: AtomicUsize,
}

impl Queue {
    /// Somebody waits who came before this client.
    pub(super) fn is_before(&self, ticket: usize) -> bool {
        self.length.load(Ordering::Acquire) > 0 && self.line().keys().next().is_some_and(|first| *first < ticket)
    }

    /// Takes the place of this client, until the guard is dropped.
    pub(super) fn join(self: &Arc<Self>, ticket: usize) -> Place {
        let news = Arc::new(Notify::new());
        let mut line = self.line();
        line.insert(ticket, Arc::clone(&news));
        self.length.store(line.len(), Ordering::Release);
        drop(line);
        Place { queue: Arc::clone(self), ticket, news }
    }

    /// Nothing here is left half done by a panic: an insert or a remove.
    fn line(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Notify>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    ticket: usize,
    news: Arc<Notify>,
}

impl Place {
    pub(super) fn is_first(&self) -> bool {
        !self.queue.is_before(self.ticket)
    }

    /// Waits until everybody who came before has left the line.
    pub(super) async fn first(&self) {
        while !self.is_first() {
            self.news.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        line.remove(&self.ticket);
        self.queue.length.store(line.len(), Ordering::Release);
        if let Some((_, next)) = line.first_key_value() {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_came_first_is_first_and_the_next_hears_when_he_leaves() {
        let queue = Arc::new(Queue::default());
        assert!(!queue.is_before(5), "nobody waits");
        let (late, early) = (queue.join(7), queue.join(3));
        assert!(early.is_first() && !late.is_first());
        assert!(queue.is_before(5) && !queue.is_before(3) && !queue.is_before(2));
        let waiting = tokio::spawn(async move {
            late.first().await;
            late
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(early);
        let late = waiting.await.unwrap();
        assert!(late.is_first());
        drop(late);
        assert!(queue.line().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_the_middle_of_the_line_holds_up_nobody() {
        let queue = Arc::new(Queue::default());
        let (first, middle, last) = (queue.join(1), queue.join(2), queue.join(3));
        drop(middle);
        drop(first);
        last.first().await;
    }
}
