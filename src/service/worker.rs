//! Worker threads.
//!
//! Every worker accepts from every listener: the listening socket is one, so nothing queued on it is lost when a
//! worker or a service goes. Which worker wakes first is the kernel's choice, and with long, pooled connections it
//! piles them up on one; so a worker that is ahead of the least busy one hands the connection over. Short
//! connections stay where they were accepted, which costs nothing.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle as JoinTask;

use super::session::serve;
use super::{Door, Service};
use crate::net::{Detached, Peer, Stream, is_local_shortage};
use crate::telemetry::Seldom;

/// A worker may be ahead of the least busy one by this many sessions, and an eighth of that one's.
const SLACK: usize = 4;

/// Connections on their way from one worker to another. Where this is full the accepting worker keeps them.
const HANDED_OVER: usize = 1024;

/// Wait after an accept that failed for want of descriptors or memory: it would fail again at once.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// At most one warning about a shortage in this time.
const SHORTAGE_WARNING_EVERY: Duration = Duration::from_secs(10);

/// An accepted connection that has no runtime yet.
struct Incoming {
    stream: Detached,
    peer: Peer,
    service: Arc<Service>,
    accepted: Instant,
    /// Counted on its worker from the moment it is placed: a burst would otherwise all be handed to the worker that
    /// was the least busy before the first of it was served.
    session: Counted,
}

enum Command {
    Serve(Incoming),
    Attach { door: Arc<Door>, accepting: Counted },
    Answer(oneshot::Sender<()>),
}

/// One worker, as the others see it.
#[derive(Debug)]
struct Station {
    commands: mpsc::Sender<Command>,
    sessions: AtomicUsize,
    /// Listeners it accepts on, or is about to.
    accepting: AtomicUsize,
}

impl Station {
    fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, sessions: AtomicUsize::new(0), accepting: AtomicUsize::new(0) }
    }
}

/// The worker threads.
#[derive(Debug)]
pub struct Workers {
    stations: Arc<[Station]>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts `count` threads.
    pub fn start(count: usize) -> io::Result<Self> {
        let (stations, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (commands, inbox) = mpsc::channel(HANDED_OVER);
                (Station::new(commands), inbox)
            })
            .unzip();
        let stations: Arc<[Station]> = stations.into();
        let stop = watch::Sender::new(false);
        let mut threads = Vec::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let mut stopped = stop.subscribe();
            let worker = Worker { stations: Arc::clone(&stations), index };
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = worker.run(inbox) => {}
                        _ = stopped.wait_for(|s| *s) => {}
                    }
                });
                // Dropping the runtime drops what sessions are left; their guards give back what they held.
            })?;
            threads.push(thread);
        }
        Ok(Self { stations, stop, threads: Mutex::new(threads) })
    }

    /// Accepts at this door until it is closed.
    pub async fn attach(&self, door: &Arc<Door>) {
        for (index, station) in self.stations.iter().enumerate() {
            let door = Arc::clone(door);
            let accepting = Counted::accepting(&self.stations, index);
            // A closed channel is a worker that has stopped, which accepts nothing anyway.
            let _ = station.commands.send(Command::Attach { door, accepting }).await;
        }
    }

    /// Whether any worker accepts still.
    pub fn accepting(&self) -> bool {
        self.stations.iter().any(|p| p.accepting.load(Ordering::SeqCst) > 0)
    }

    /// Waits until every thread has come round once more. False: one of them has ended.
    pub async fn answer(&self) -> bool {
        for station in self.stations.iter() {
            let (send, receive) = oneshot::channel();
            if station.commands.send(Command::Answer(send)).await.is_err() || receive.await.is_err() {
                return false;
            }
        }
        true
    }

    /// Sessions on each worker, those that wait for a node included.
    pub fn sessions(&self) -> Vec<usize> {
        self.stations.iter().map(|p| p.sessions.load(Ordering::Relaxed)).collect()
    }

    /// Ends the threads, and with them every session that is left.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked outside a session has said so on standard error.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Worker {
    stations: Arc<[Station]>,
    index: usize,
}

impl Worker {
    async fn run(self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Serve(incoming) => incoming.spawn(),
                // Who asked may have stopped waiting.
                Command::Answer(asked) => drop(asked.send(())),
                Command::Attach { door, accepting } => {
                    drop(guarded(accepting, self.clone().accept(door)));
                }
            }
        }
    }

    async fn accept(self, door: Arc<Door>) {
        let local = door.listener.local();
        let mut closed = door.closed();
        let acceptor = match door.listener.acceptor() {
            Ok(a) => a,
            Err(e) => {
                tracing::error!(address = %local, error = %e, "cannot watch a listening socket: it accepts nothing");
                return;
            }
        };
        let mut warning = Seldom::new(SHORTAGE_WARNING_EVERY);
        loop {
            let accepted = tokio::select! {
                r = acceptor.accept() => r,
                _ = closed.wait_for(|closed| *closed) => return self.take_the_rest(&door),
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.place(stream, peer, door.service());
                }
                Err(e) if is_local_shortage(&e) => {
                    if warning.due(Instant::now()) {
                        tracing::warn!(address = %local, error = %e, "cannot accept: clients wait in the kernel's queue \
                            (raise the limit of open files, see LimitNOFILE or ulimit -n)");
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
                // The client was gone before we took it: nothing to tell anybody.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {
                    tracing::debug!(address = %local, error = %e, "a connection ended before it was accepted");
                }
                // Of one connection, or of all that follow.
                Err(e) => {
                    if warning.due(Instant::now()) {
                        tracing::warn!(address = %local, error = %e, "cannot accept");
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    /// Takes what the kernel has completed already: closing the socket would reset those clients.
    fn take_the_rest(&self, door: &Door) {
        for taken in door.listener.queued() {
            match taken.and_then(|(stream, peer)| Ok((stream.attach()?, peer))) {
                Ok((stream, peer)) => self.place(stream, peer, door.service()),
                // One that left already, or a shortage: the next may do better.
                Err(e) => tracing::debug!(address = %door.listener.local(), error = %e, "a queued connection was lost"),
            }
        }
    }

    /// Keeps a connection, or hands it to the least busy worker where this one is well ahead of it.
    fn place(&self, stream: Stream, peer: Peer, service: Arc<Service>) {
        let accepted = Instant::now();
        let load = |p: &Station| p.sessions.load(Ordering::Relaxed);
        let mine = self.stations.get(self.index).map_or(0, load);
        let least_busy = self.stations.iter().enumerate().min_by_key(|(_, p)| load(p));
        let Some((index, other)) = least_busy.filter(|(_, p)| mine > load(p) + SLACK + load(p) / 8) else {
            let session = Counted::session(&self.stations, self.index);
            return spawn(stream, peer, service, accepted, session);
        };
        // Takes it off this worker's runtime; the other one registers it with its own.
        let stream = match stream.detach() {
            Ok(s) => s,
            Err(e) => return tracing::warn!(client = %peer, error = %e, "cannot hand a connection over: closed"),
        };
        let session = Counted::session(&self.stations, index);
        let incoming = Incoming { stream, peer, service, accepted, session };
        if let Err(e) = other.commands.try_send(Command::Serve(incoming))
            && let Command::Serve(mut incoming) = e.into_inner()
        {
            incoming.session = Counted::session(&self.stations, self.index);
            incoming.spawn();
        }
    }
}

impl Incoming {
    /// Serves it in the runtime this is called in.
    fn spawn(self) {
        let Self { stream, peer, service, accepted, session } = self;
        match stream.attach() {
            Ok(stream) => spawn(stream, peer, service, accepted, session),
            Err(e) => tracing::warn!(client = %peer, error = %e, "cannot watch an accepted connection: closed"),
        }
    }
}

fn spawn(stream: Stream, peer: Peer, service: Arc<Service>, accepted: Instant, session: Counted) {
    // Nobody waits for it: it ends by itself, and a panic has been logged by the process's hook.
    drop(guarded(session, serve(service, stream, peer, accepted)));
}

/// A task of its own, so that a panic ends this work only; its count is given back either way.
fn guarded(count: Counted, work: impl Future<Output = ()> + 'static + Send) -> JoinTask<()> {
    tokio::spawn(Guarded { work, _count: count })
}

pin_project! {
    /// Not an async block: that would hold the session's future twice, as what it captured and as what it awaits.
    struct Guarded<F> {
        #[pin]
        work: F,
        _count: Counted,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().work.poll(cx)
    }
}

/// Counts something on a worker until it is dropped, by a panic too.
struct Counted {
    stations: Arc<[Station]>,
    index: usize,
    of: fn(&Station) -> &AtomicUsize,
}

impl Counted {
    fn session(stations: &Arc<[Station]>, index: usize) -> Self {
        Self::enter(stations, index, |p| &p.sessions)
    }

    fn accepting(stations: &Arc<[Station]>, index: usize) -> Self {
        Self::enter(stations, index, |p| &p.accepting)
    }

    fn enter(stations: &Arc<[Station]>, index: usize, of: fn(&Station) -> &AtomicUsize) -> Self {
        if let Some(p) = stations.get(index) {
            of(p).fetch_add(1, Ordering::SeqCst);
        }
        Self { stations: Arc::clone(stations), index, of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(p) = self.stations.get(self.index) {
            (self.of)(p).fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_panics_ends_alone_and_gives_its_count_back() {
        let stations: Arc<[Station]> = [Station::new(mpsc::channel(1).0)].into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let count = || stations.first().map_or(0, |p| p.sessions.load(Ordering::Relaxed));
        runtime.block_on(async {
            let other = guarded(Counted::session(&stations, 0), async move {
                let _ = gone.await;
            });
            let faulty = guarded(Counted::session(&stations, 0), async { panic!("a fault of ours") });
            assert_eq!(count(), 2);
            assert!(faulty.await.is_err_and(|e| e.is_panic()));
            assert_eq!(count(), 1, "the other one lives on the same thread");
            go.send(()).unwrap();
            other.await.unwrap();
            assert_eq!(count(), 0);
        });
    }
}
