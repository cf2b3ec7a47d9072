//! The search for a node that greets: slot, turn, pick, attempt, next node, wait for news.
//!
//! `queue_timeout`, counted from accept, bounds all of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Service;
use super::attempt::{Dial, Established, Failure, Patience, attempt, wanted};
use super::endings::Away;
use super::trail::Trail;
use super::tunnel::Line;
use super::welcome::{Client, TurnedAway};
use crate::config::{Protocol, Service as Settings};
use crate::mysql::ServerError;
use crate::net::Stream;
use crate::pool::{ActiveSession, Ask, Member, Pool, Tried, pick, source_key};
use crate::telemetry::{AttemptResult, Gauged, Rejection, RouteMetrics};

/// How often a client that spoke before its time is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// Pause after a round in which every node failed. It doubles, and is never exactly the same: many clients that wait
/// must not knock on an overloaded node's door together, each time its check says that it lives.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest one.
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// A node that has sent no greeting for this long may be one that takes no new connections.
const SUSPICIOUS: Duration = Duration::from_secs(1);

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
    /// More about that, where the word does not tell.
    pub(super) why: String,
    /// The code that every node of the last round sent in place of its greeting, if it was one.
    pub(super) passed_on: Option<ServerError>,
    pub(super) trail: Trail,
    /// The service that is to search in this one's place.
    pub(super) elsewhere: Option<Arc<Service>>,
}

impl From<TurnedAway> for Nothing {
    fn from(TurnedAway { rejection, why }: TurnedAway) -> Self {
        Self { rejection, why, passed_on: None, trail: Trail::default(), elsewhere: None }
    }
}

/// Searches until a node greets, the deadline passes, the client leaves or Galeway stops. What it brings is boxed: the
/// session's future would hold it several times over.
pub(super) async fn search(
    service: &Arc<Service>,
    settings: &Settings,
    stream: &Stream,
    client: &Client,
    ticket: usize,
    accepted: Instant,
    line: Line,
) -> Result<Box<Found>, Box<Nothing>> {
    let mut search = Search {
        service,
        settings,
        ticket,
        turn: service.turn(),
        source: source_key(client.ip()),
        dial: Dial::new(service, settings, client, stream, line),
        deadline: accepted + settings.queue_timeout,
        trail: Trail::default(),
        passed_on: None,
        queued: None,
    };
    let mut stopping = service.stopping.clone();
    let mut elsewhere = None;
    let outcome = tokio::select! {
        // In this order: a node that has greeted must not be thrown away for a client that leaves at once.
        biased;
        found = search.run() => found,
        () = gone(stream, settings.protocol) => Err(Rejection::ClientGone),
        _ = stopping.wait_for(|s| *s) => Err(Rejection::Shutdown),
        away = service.house.endings.turn_away(service, stream, &accepted) => match away {
            Away::Rejected(why) => Err(why),
            Away::To(next) => {
                elsewhere = Some(next);
                Err(Rejection::Retired)
            }
        },
    };
    let Search { trail, passed_on, .. } = search;
    match outcome {
        Ok((established, slot)) => Ok(Box::new(Found { established, slot, trail })),
        Err(rejection) => Err(Box::new(Nothing { rejection, why: String::new(), passed_on, trail, elsewhere })),
    }
}

struct Search<'a> {
    service: &'a Arc<Service>,
    settings: &'a Settings,
    /// Its place in the line.
    ticket: usize,
    /// Its turn at the nodes.
    turn: usize,
    source: u64,
    dial: Dial<'a>,
    deadline: Instant,
    trail: Trail,
    passed_on: Option<ServerError>,
    queued: Option<Gauged>,
}

/// The first node of a round, with a place on it.
struct Turn {
    pool: Arc<Pool>,
    index: usize,
    place: ActiveSession,
}

/// How a round over one snapshot ended.
enum Round {
    Found(Established),
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
        let mut pause = PAUSE_FIRST;
        loop {
            let Turn { pool, index, place } = self.turn().await?;
            // Boxed: a client that waits, for a slot or in the line, is most of a search's life and does not pay for this.
            let round = Box::pin(self.round(&pool, index, place)).await;
            match round {
                Round::Found(established) => return Ok((established, slot)),
                // Nobody failed: there is a new snapshot, and perhaps a better node.
                Round::Withdrawn if !Arc::ptr_eq(&pool, &self.service.pool.load()) => continue,
                _ => {}
            }
            if self.service.manners.one_round {
                return Err(Rejection::NoNode);
            }
            self.enqueue(Rejection::QueueFull)?;
            // Out of the line meanwhile: it holds up nobody.
            let wait = async {
                sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
                if !matches!(round, Round::Local) {
                    self.better_than(&pool).await;
                }
            };
            if timeout_at(self.deadline, wait).await.is_err() {
                return Err(Rejection::NoNode);
            }
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// Resolves when there is a newer snapshot than `old`, or a node that has not failed this client: whether that one has room is
    /// for the line to say.
    async fn better_than(&self, old: &Arc<Pool>) {
        let mut news = self.service.pool.subscribe();
        let wanted = wanted(self.settings);
        let fresh = |pool: &Pool| {
            let mut members = pool.members.iter().enumerate();
            members.any(|(i, m)| !self.trail.has_failed(m.node.id) && pool.fits(i, wanted))
        };
        loop {
            let now = self.service.pool.load();
            if !Arc::ptr_eq(old, &now) || fresh(&now) {
                return;
            }
            drop(now);
            // The sender lives as long as the service.
            let _ = news.changed().await;
        }
    }

    /// Waits for one of `max_connections`; who came first is first.
    async fn slot(&mut self) -> Result<OwnedSemaphorePermit, Rejection> {
        let service = self.service;
        let slots = &service.house.slots;
        if let Some(slot) = slots.try_take() {
            return Ok(slot);
        }
        let places = slots.places();
        self.enqueue(Rejection::TooManyConnections)?;
        let slot = timeout_at(self.deadline, Arc::clone(places).acquire_owned()).await;
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

    /// Waits for a node that can be tried, behind those who came before and wait as well.
    async fn turn(&mut self) -> Result<Turn, Rejection> {
        if Instant::now() >= self.deadline {
            // What the last round learned stands.
            return Err(Rejection::NoNode);
        }
        if !self.service.queue.is_before(self.ticket)
            && let Some(turn) = self.begin()
        {
            return Ok(turn);
        }
        if self.service.manners.one_round {
            return Err(Rejection::NoNode);
        }
        self.passed_on = None;
        self.enqueue(Rejection::QueueFull)?;
        let place = self.service.queue.join(self.ticket);
        let waited = timeout_at(self.deadline, async {
            let mut news = self.service.pool.subscribe();
            let mut vacancies = self.service.pool.vacancies();
            loop {
                // Somebody who came before may be back from his pause.
                place.first().await;
                if let Some(turn) = self.begin() {
                    return turn;
                }
                // The senders live as long as the service.
                tokio::select! {
                    _ = news.changed() => {}
                    _ = vacancies.changed() => {}
                }
            }
        });
        waited.await.map_err(|_elapsed| Rejection::NoNode)
    }

    /// Picks a first node from the snapshot of now; `None`: there is none, or none with room.
    fn begin(&self) -> Option<Turn> {
        let pool = self.service.pool.load();
        let (index, place) = self.enter(&pool, &Tried::default())?;
        Some(Turn { pool, index, place })
    }

    /// Picks a node and takes a place there.
    fn enter(&self, pool: &Pool, tried: &Tried) -> Option<(usize, ActiveSession)> {
        loop {
            let index = self.pick(pool, tried)?;
            let member = pool.members.get(index)?;
            // Another client may have taken the last place since: then the next pick sees that it is full.
            if let Some(place) = member.node.enter(member.max_connections) {
                return Some((index, place));
            }
        }
    }

    /// Tries distinct nodes of one snapshot, this one first.
    async fn round(&mut self, pool: &Pool, index: usize, place: ActiveSession) -> Round {
        let mut next = Some((index, place));
        let mut tried = Tried::default();
        let mut codes: Vec<ServerError> = Vec::new();
        let (mut shortage, mut withdrawn) = (false, false);
        let most = usize::try_from(self.settings.attempts).unwrap_or(usize::MAX);
        while let Some((index, place)) = next.take()
            && let Some(member) = pool.members.get(index)
        {
            tried.add(index);
            let is_last = self.pick_among(pool, &tried).is_none();
            if self.trail.attempts > 0 {
                self.service.metrics.count_retry();
            }
            self.trail.attempts += 1;

            let route = self.service.metrics.route(&member.node.name());
            let started = Instant::now();
            // Where nodes that are late serve there are no others: nothing is won by asking the next one.
            let is_late = member.verdict.reason.is_late();
            let patience = self.patience(started, is_last || is_late);
            // Counted as the client's leaving where this future is dropped.
            let mut outcome = Counted { route: &route, result: AttemptResult::ClientGone };
            match self.ask(member, place, &patience, started, is_last || is_late).await {
                Ok(established) => {
                    outcome.result = AttemptResult::Ok;
                    route.record_connect(started.elapsed().as_secs_f64());
                    return Round::Found(established);
                }
                Err(failure) => {
                    outcome.result = failure.result();
                    if failure.blames_node() {
                        member.node.count_failed(self.dial.source());
                        self.service.metrics.count_failed();
                    }
                    if let Failure::Local(why) = &failure {
                        shortage = true;
                        self.service.warn_of_shortage(why);
                    }
                    tracing::debug!(service = %self.settings.name, node = %member.node.name(), error = %failure,
                        "attempt failed");
                    withdrawn |= matches!(failure, Failure::Withdrawn);
                    self.trail.failed(&member.node.name(), member.node.id, &failure);
                    if let Failure::Err(e) = failure {
                        codes.push(e);
                    }
                }
            }
            if tried.len() < most && Instant::now() < self.deadline {
                next = self.enter(pool, &tried);
            }
        }
        // One answer of all of them is the servers' own word; a mixture is ours to tell.
        let same = codes.windows(2).all(|w| matches!(w, [a, b] if a.code == b.code));
        self.passed_on = codes.pop().filter(|_| same && codes.len() + 1 == tried.len());
        if shortage {
            Round::Local
        } else if withdrawn {
            Round::Withdrawn
        } else {
            Round::Failed
        }
    }

    /// Asks one node for its greeting. One that has not sent any after [`SUSPICIOUS`] has a new connection tried while this one still
    /// waits: the last untried node is waited for so long that other clients would wait in vain.
    async fn ask(
        &self,
        member: &Member,
        place: ActiveSession,
        patience: &Patience,
        started: Instant,
        has_all_the_time: bool,
    ) -> Result<Established, Failure> {
        let mut asked = pin!(async {
            tokio::select! {
                biased;
                asked = attempt(&self.service.pool, member, place, &self.dial, patience) => asked,
                () = self.fresh_node(member, started), if has_all_the_time => {
                    Err(Failure::Greeting(self.settings.greeting_timeout))
                }
            }
        });
        match timeout_at(started + SUSPICIOUS, &mut asked).await {
            Ok(asked) => asked,
            Err(_elapsed) => {
                member.node.attempts.note_failed(self.dial.source());
                asked.await
            }
        }
    }

    /// Nodes that have not failed this client come first: what it was in a round before may hold still, and with few
    /// `attempts` the same nodes would be tried for ever.
    fn pick(&self, pool: &Pool, tried: &Tried) -> Option<usize> {
        if self.trail.attempts == 0 {
            return self.pick_among(pool, tried);
        }
        self.pick_among(pool, &self.failed(pool, tried)).or_else(|| self.pick_among(pool, tried))
    }

    /// Those, and the members that have failed this client before.
    fn failed(&self, pool: &Pool, tried: &Tried) -> Tried {
        let mut failed = tried.clone();
        for (index, _) in pool.members.iter().enumerate().filter(|(_, m)| self.trail.has_failed(m.node.id)) {
            failed.add(index);
        }
        failed
    }

    fn pick_among(&self, pool: &Pool, tried: &Tried) -> Option<usize> {
        let ask = Ask {
            wanted: wanted(self.settings),
            balance: self.settings.balance,
            zone: self.settings.prefer_zone.as_deref(),
            ticket: self.turn,
            source: self.source,
        };
        pick(pool, &ask, tried)
    }

    /// Resolves once the node that was asked at `since` has had its `greeting_timeout` and another one serves that
    /// has not failed this client, and is not as late: then there is something better to do than to go on waiting for it.
    async fn fresh_node(&self, asked: &Member, since: Instant) {
        sleep_until(since + self.settings.greeting_timeout).await;
        let mut news = self.service.pool.subscribe();
        let fresh = |pool: &Pool| {
            pool.members.iter().enumerate().any(|(i, m)| {
                let new = m.node.id != asked.node.id && !self.trail.has_failed(m.node.id);
                let is_better = !asked.verdict.reason.is_late() || !m.verdict.reason.is_late();
                new && is_better && pool.fits(i, wanted(self.settings))
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
    route: &'a RouteMetrics,
    result: AttemptResult,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.route.attempt(self.result);
    }
}

/// Resolves when the client has left. A MySQL client says nothing before the greeting, so its end of data means that
/// it left; with protocol tcp an end of data is part of the conversation, and only a broken connection counts.
async fn gone(client: &Stream, protocol: Protocol) {
    match protocol {
        Protocol::Mysql => {
            // The socket is asked, and not its readiness: with tokio 1.54 a FIN was seen to come as readable and not
            // as read-closed.
            if client.peek().await.is_ok_and(|n| n > 0) {
                // It spoke first (a scanner, or a client of another protocol), and what it said lies before its end.
                while !client.has_ended() {
                    sleep(LOOK_AFTER).await;
                }
            }
        }
        Protocol::Tcp => client.broken().await,
    }
}
