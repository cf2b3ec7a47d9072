//! The search for a node that greets: slot, pick, attempt, next node, wait for the next snapshot.
//!
//! `queue_timeout`, counted from accept, bounds all of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Service;
use super::attempt::{Established, Failure, Patience, attempt, wanted};
use crate::config::{Protocol, Service as Settings};
use crate::mysql::ServerError;
use crate::pool::{NodeId, Pool, Tried, Wanted, pick};
use crate::telemetry::{AttemptResult, Gauged, Rejection};

/// Pause after a round in which every node failed. It doubles, and is never exactly the same: many clients that wait
/// must not knock on an overloaded node's door together, each time its check says that it lives.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest one.
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// What a search found.
pub(super) struct Found {
    pub(super) established: Established,
    /// Held as long as the session lives.
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) trail: Trail,
}

/// Why it found nothing.
pub(super) struct Nothing {
    pub(super) rejection: Rejection,
    /// The code that every node of the last round sent in place of its greeting, if it was one.
    pub(super) passed_on: Option<ServerError>,
    pub(super) trail: Trail,
}

/// What happened on the way, for messages.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) attempts: u32,
    /// The last failure of each node that was tried.
    failures: HashMap<NodeId, String>,
    /// In order, for the access log; bounded.
    pub(super) log: String,
}

impl Trail {
    /// The access log shows this much of a long search.
    const LOG_MOST: usize = 400;

    /// And this much of one failure: a server's own text must not crowd the other nodes out of the answer.
    const FAILURE_MOST: usize = 120;

    fn failed(&mut self, name: &str, id: NodeId, failure: &Failure) {
        let mut text = failure.to_string();
        if text.len() > Self::FAILURE_MOST {
            text.truncate(text.floor_char_boundary(Self::FAILURE_MOST));
            text.push('…');
        }
        if self.log.len() < Self::LOG_MOST {
            if !self.log.is_empty() {
                self.log.push_str("; ");
            }
            self.log.push_str(name);
            self.log.push_str(": ");
            self.log.push_str(&text);
        }
        // Another verdict is nothing that the node did to this client, and says its reason itself.
        if !matches!(failure, Failure::Withdrawn) {
            self.failures.insert(id, text);
        }
    }

    /// Why no node of `pool` serves, each in words.
    pub(super) fn reasons(&self, pool: &Pool, wanted: Wanted) -> Vec<String> {
        pool.reasons(wanted, |node| self.failures.get(&node.id).cloned())
    }
}

/// Searches until a node greets, the deadline passes, the client leaves or Galeway stops. What it brings is boxed: the
/// session's future would hold it several times over.
pub(super) async fn search(
    service: &Arc<Service>,
    settings: &Settings,
    client: &TcpStream,
    ticket: usize,
    accepted: Instant,
) -> Result<Box<Found>, Box<Nothing>> {
    let mut search = Search {
        service,
        settings,
        ticket,
        deadline: accepted + settings.queue_timeout,
        trail: Trail::default(),
        passed_on: None,
        queued: None,
    };
    let mut stopping = service.stopping.clone();
    let outcome = tokio::select! {
        // In this order: a node that has greeted must not be thrown away for a client that leaves at once.
        biased;
        found = search.run() => found,
        () = gone(client, settings.protocol) => Err(Rejection::ClientGone),
        _ = stopping.wait_for(|s| *s) => Err(Rejection::Shutdown),
    };
    let Search { trail, passed_on, .. } = search;
    match outcome {
        Ok((established, slot)) => Ok(Box::new(Found { established, slot, trail })),
        Err(rejection) => Err(Box::new(Nothing { rejection, passed_on, trail })),
    }
}

struct Search<'a> {
    service: &'a Arc<Service>,
    settings: &'a Settings,
    ticket: usize,
    deadline: Instant,
    trail: Trail,
    passed_on: Option<ServerError>,
    queued: Option<Gauged>,
}

/// How a round over one snapshot ended.
enum Round {
    Found(Established),
    /// No node serves.
    Empty,
    /// Those that serve failed.
    Failed,
    /// The verdict of one changed while it was asked.
    Withdrawn,
    /// A shortage of ours kept us from trying: no snapshot will tell of its end.
    Local,
}

impl Search<'_> {
    async fn run(&mut self) -> Result<(Established, OwnedSemaphorePermit), Rejection> {
        let slot = self.slot().await?;
        let mut news = self.service.pool.subscribe();
        let mut pause = PAUSE_FIRST;
        loop {
            news.mark_unchanged();
            let pool = self.service.pool.load();
            let round = self.round(&pool).await;
            drop(pool);
            match round {
                Round::Found(established) => return Ok((established, slot)),
                // Nobody failed: there is a new snapshot, and perhaps a better node.
                Round::Withdrawn if news.has_changed().unwrap_or(false) => continue,
                _ => {}
            }
            self.enqueue(Rejection::QueueFull)?;
            let wait = async {
                if !matches!(round, Round::Empty) {
                    sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
                }
                if !matches!(round, Round::Local) {
                    // The sender lives as long as the service.
                    let _ = news.changed().await;
                }
            };
            if timeout_at(self.deadline, wait).await.is_err() {
                return Err(Rejection::NoNode);
            }
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// Waits for one of `max_connections`.
    async fn slot(&mut self) -> Result<OwnedSemaphorePermit, Rejection> {
        let slots = Arc::clone(&self.service.slots);
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(slot);
        }
        self.enqueue(Rejection::TooManyConnections)?;
        let slot = timeout_at(self.deadline, slots.acquire_owned()).await;
        match slot {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_closed)) => Err(Rejection::Shutdown),
            Err(_elapsed) => Err(Rejection::TooManyConnections),
        }
    }

    /// Takes a place in the queue, once for the whole search.
    fn enqueue(&mut self, full: Rejection) -> Result<(), Rejection> {
        if self.queued.is_none() {
            self.queued = Some(self.service.metrics.enqueue(self.settings.max_queue).ok_or(full)?);
        }
        Ok(())
    }

    /// Tries distinct nodes of one snapshot.
    async fn round(&mut self, pool: &Pool) -> Round {
        if Instant::now() >= self.deadline {
            // What the last round learned stands.
            return Round::Failed;
        }
        let mut tried = Tried::default();
        let mut codes: Vec<ServerError> = Vec::new();
        let (mut shortage, mut withdrawn) = (false, false);
        let most = usize::try_from(self.settings.attempts).unwrap_or(usize::MAX);
        while tried.len() < most && Instant::now() < self.deadline {
            let Some(index) = self.pick(pool, &tried) else { break };
            let Some((member, address)) = pool.members.get(index).and_then(|m| Some((m, m.address?))) else { break };
            tried.add(index);
            let is_last = self.pick_among(pool, &tried).is_none();
            if self.trail.attempts > 0 {
                self.service.metrics.count_retry();
            }
            self.trail.attempts += 1;

            let route = self.service.metrics.route(&member.node.name);
            let started = Instant::now();
            let patience = self.patience(started, is_last);
            // Counted as the client's leaving where this future is dropped.
            let mut outcome = Counted { route: &route, result: AttemptResult::ClientGone };
            let asked = tokio::select! {
                biased;
                asked = attempt(&self.service.pool, &member.node, address, self.settings, &patience) => asked,
                () = self.fresh_node(member.node.id, started), if is_last => {
                    Err(Failure::Greeting(self.settings.greeting_timeout))
                }
            };
            match asked {
                Ok(established) => {
                    outcome.result = AttemptResult::Ok;
                    route.record_connect(started.elapsed().as_secs_f64());
                    return Round::Found(established);
                }
                Err(failure) => {
                    outcome.result = failure.result();
                    if failure.blames_node() {
                        member.node.count_failed();
                        self.service.metrics.count_failed();
                    }
                    shortage |= matches!(failure, Failure::Local(_));
                    tracing::debug!(service = %self.settings.name, node = %member.node.name, error = %failure,
                        "attempt failed");
                    withdrawn |= matches!(failure, Failure::Withdrawn);
                    self.trail.failed(&member.node.name, member.node.id, &failure);
                    if let Failure::Err(e) = failure {
                        codes.push(e);
                    }
                }
            }
        }
        // One answer of all of them is the servers' own word; a mixture is ours to tell.
        let same = codes.windows(2).all(|w| matches!(w, [a, b] if a.code == b.code));
        self.passed_on = codes.pop().filter(|_| same && codes.len() + 1 == tried.len());
        if shortage {
            Round::Local
        } else if withdrawn {
            Round::Withdrawn
        } else if tried.is_empty() {
            Round::Empty
        } else {
            Round::Failed
        }
    }

    /// Nodes that have not failed this client come first: what it was in a round before may hold still, and with few
    /// `attempts` the same nodes would be tried for ever.
    fn pick(&self, pool: &Pool, tried: &Tried) -> Option<usize> {
        let mut failed = tried.clone();
        for (index, _) in pool.members.iter().enumerate().filter(|(_, m)| self.trail.failures.contains_key(&m.node.id))
        {
            failed.add(index);
        }
        self.pick_among(pool, &failed).or_else(|| self.pick_among(pool, tried))
    }

    fn pick_among(&self, pool: &Pool, tried: &Tried) -> Option<usize> {
        pick(pool, wanted(self.settings), self.settings.balance, self.ticket, tried)
    }

    /// Resolves once the node that was asked at `since` has had its `greeting_timeout` and another one serves that
    /// has not failed this client: then there is something better to do than to go on waiting for it.
    async fn fresh_node(&self, asked: NodeId, since: Instant) {
        sleep_until(since + self.settings.greeting_timeout).await;
        let mut news = self.service.pool.subscribe();
        let fresh = |pool: &Pool| {
            pool.members.iter().enumerate().any(|(i, m)| {
                let new = m.node.id != asked && !self.trail.failures.contains_key(&m.node.id);
                new && pool.fits(i, wanted(self.settings))
            })
        };
        while !fresh(&self.service.pool.load()) {
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The last untried node gets the rest of the time: giving up on it leaves nothing better to do.
    fn patience(&self, now: Instant, is_last: bool) -> Patience {
        let rest = self.deadline.saturating_duration_since(now);
        let greeting = if is_last { rest } else { self.settings.greeting_timeout.min(rest) };
        Patience { connect: self.settings.connect_timeout.min(rest), greeting }
    }
}

struct Counted<'a> {
    route: &'a crate::telemetry::RouteMetrics,
    result: AttemptResult,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.route.attempt(self.result);
    }
}

/// Resolves when the client has left. A MySQL client says nothing before the greeting, so its end of data means that
/// it left; with protocol tcp an end of data is part of the conversation, and only a broken connection counts.
async fn gone(client: &TcpStream, protocol: Protocol) {
    match protocol {
        Protocol::Mysql => {
            // The socket is asked, and not its readiness: with tokio 1.54 a FIN was seen to come as readable and not
            // as read-closed.
            if client.peek(&mut [0]).await.is_ok_and(|n| n > 0) {
                // It spoke first (a scanner, or a client of another protocol). Its end can no longer be seen without
                // reading what it sent; the deadline ends this wait.
                std::future::pending::<()>().await;
            }
        }
        Protocol::Tcp => {
            if client.ready(Interest::ERROR).await.is_ok_and(|ready| !ready.is_error()) {
                std::future::pending::<()>().await;
            }
        }
    }
}
