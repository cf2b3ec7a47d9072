//! One check of one node: resolve, connect, log in, ask, read.

mod questions;
mod reading;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

pub(super) use reading::unreachable;
use tokio::io::AsyncWriteExt as _;

use super::deadline::within;
use super::lookup::Lookup;
use super::members::Listing;
use super::resolve::resolve;
use super::session;
use crate::config::{Endpoint, Monitor, Place, ProxyVersion, Secret};
use crate::galera::Sort;
use crate::galera::observation::{Check, Observation, Unreachable};
use crate::mysql::{self, Connection, Credentials, Greeted};
use crate::net::proxy::header;
use crate::net::tls::{ClientTls, SetupError};
use crate::net::{self, Stream, is_local_shortage};
use crate::pool::SourceAddress;
use questions::{ask_member, ask_server};
use reading::failure;

/// A check that missed its deadline says nothing of the node where this share of its time was our own lag.
pub(super) const LAG_TOLERATED: u32 = 4;

/// How long after a connection that was closed in place of the greeting the next one is tried.
const SECOND_THOUGHT: Duration = Duration::from_millis(50);

/// How a node is checked.
#[derive(Debug, Clone)]
pub struct Prober {
    place: Place,
    /// Another port than the place's.
    port: Option<u16>,
    sort: Sort,
    lookup: Lookup,
    user: String,
    password: Secret,
    tls: Option<Arc<ClientTls>>,
    /// What its certificate is to name.
    name: String,
    proxy: Option<ProxyVersion>,
    timeout: Duration,
    from: net::From,
}

/// What a check brought besides its observation.
#[derive(Debug)]
pub struct Probed {
    /// For the verdict.
    pub observation: Observation,
    /// Every address of the node, where a connection was made: the one that took it first.
    pub addresses: Option<Vec<Endpoint>>,
    /// How long it took.
    pub duration: Duration,
}

/// The steps of a check, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Resolve,
    Connect,
    Greeting,
    Login,
    Query,
}

impl Step {
    const ALL: [Self; 5] = [Self::Resolve, Self::Connect, Self::Greeting, Self::Login, Self::Query];

    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Resolve => "name resolution",
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Login => "login",
            Self::Query => "query",
        }
    }
}

/// How far a check has come: what a deadline found hanging, and what an error interrupted.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    fn at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    pub(super) fn step(&self) -> Step {
        let index = usize::from(self.0.load(Ordering::Relaxed));
        Step::ALL.get(index).copied().unwrap_or(Step::Query)
    }
}

/// The connection that is kept between checks.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) connection: Connection,
    pub(super) since: tokio::time::Instant,
    at: Endpoint,
    listing: Listing,
    /// What the server said to the session's settings, if it was an error about something else.
    objection: Option<mysql::Error>,
}

impl Kept {
    /// Where it leads.
    pub(super) fn at(&self) -> &Endpoint {
        &self.at
    }
}

impl Prober {
    /// Checks what is at `place`, and of this sort, as `monitor` says. `tls` was made of `monitor.tls`, once for all nodes.
    pub fn new(place: &Place, sort: Sort, monitor: &Monitor, tls: Option<Arc<ClientTls>>, lookup: &Lookup) -> Self {
        Self {
            place: place.clone(),
            port: monitor.port,
            sort,
            lookup: lookup.clone(),
            user: monitor.user.clone(),
            password: monitor.password.clone(),
            tls,
            // The name that a server's certificate has for clients of its own host.
            name: place.host().map_or_else(|| "localhost".to_owned(), |host| host.host.clone()),
            proxy: monitor.send_proxy_protocol,
            timeout: monitor.timeout,
            from: net::From::Any,
        }
    }

    /// The same with another deadline.
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same from this address of ours, as the clients of a service with a `source` come.
    pub(super) fn from(self, source: SourceAddress) -> Self {
        Self { from: source.map_or(net::From::Any, net::From::Address), ..self }
    }

    /// A certificate of this name is asked for, and not of the place's own.
    pub(super) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The TLS configuration for all nodes of a monitor.
    pub fn tls(monitor: &Monitor) -> Result<Option<Arc<ClientTls>>, SetupError> {
        Ok(ClientTls::new(&monitor.tls)?.map(Arc::new))
    }

    /// One check on a connection of its own, which is closed in an orderly way afterwards.
    pub async fn check_once(&self) -> Probed {
        let mut kept = None;
        let probed = self.check(&mut kept, false, false).await;
        self.farewell(kept).await;
        probed
    }

    /// The same, kept.
    pub(super) async fn check_anew(&self, progress: &Progress) -> (Probed, Option<Kept>) {
        let mut kept = None;
        let probed = self.check_noting(&mut kept, false, false, progress).await;
        (probed, kept)
    }

    /// What this check misses may be there after another login: a session has the rights that its account had at its own.
    pub(super) fn misses_a_right(&self, check: &Check) -> bool {
        matches!(check, Check::Server(status) if status.lacks_right())
    }

    /// A login and nothing else: it clears the server's count of handshakes broken off from our address.
    pub(super) async fn log_in_once(&self, at: Endpoint) {
        if let Ok(Ok(kept)) = within(self.timeout, self.dial(&mut [at], &Progress::default())).await {
            self.farewell(Some(kept)).await;
        }
    }

    /// The same with another account, for what is no check.
    pub(super) fn with_account(self, user: &str, password: &Secret) -> Self {
        Self { user: user.to_owned(), password: password.clone(), ..self }
    }

    /// A connection for what is no check. It is the caller who has a deadline.
    pub(super) async fn log_in(&self) -> Result<Connection, Check> {
        let mut addresses = self.resolve().await?;
        Ok(self.dial(&mut addresses, &Progress::default()).await?.connection)
    }

    async fn resolve(&self) -> Result<Vec<Endpoint>, Check> {
        resolve(&self.place, self.port, &self.lookup).await
    }

    async fn farewell(&self, kept: Option<Kept>) {
        if let Some(kept) = kept {
            // A server that does not take the goodbye in time is told by the close.
            let _ = within(self.timeout, kept.connection.quit()).await;
        }
    }

    /// One check, on the kept connection where there is one. `closed`: the last one was closed by the server just
    /// now, so that nobody greets a new one either is proof enough. `relist`: the members are to be read again although
    /// nothing seems to have changed.
    pub(super) async fn check(&self, kept: &mut Option<Kept>, closed: bool, relist: bool) -> Probed {
        self.check_noting(kept, closed, relist, &Progress::default()).await
    }

    async fn check_noting(&self, kept: &mut Option<Kept>, closed: bool, relist: bool, progress: &Progress) -> Probed {
        let begun = Instant::now();
        let mut addresses = None;
        let mut closed = closed;
        let outcome = within(self.timeout, async {
            if self.sort == Sort::Port {
                return self.knock(&mut addresses, progress).await;
            }
            let was_kept = kept.is_some();
            let answer = match self.converse(kept, &mut addresses, progress, relist).await {
                // Closed by the server in the middle of the question, as a kept connection may be while it is idle.
                Err(Check::Unreachable { why: Unreachable::Closed(_) | Unreachable::Ended(_), .. }) if was_kept => {
                    closed = true;
                    self.converse(kept, &mut addresses, progress, relist).await
                }
                other => other,
            };
            // A server that ends all sessions ends some of those that come meanwhile; one that is gone refuses the next.
            if closed && is_unreachable(&answer) && progress.step() == Step::Greeting {
                tokio::time::sleep(SECOND_THOUGHT).await;
                return self.converse(kept, &mut addresses, progress, relist).await;
            }
            answer
        })
        .await;
        let duration = begun.elapsed();
        let check = match outcome {
            Ok(Ok(check) | Err(check)) => check,
            Err(missed) if missed.lag >= self.timeout / LAG_TOLERATED => {
                let lag = missed.lag.as_millis();
                Check::NotMade(format!("this process did not run for {lag} ms"))
            }
            Err(_) => unreachable(match progress.step() {
                Step::Resolve => Unreachable::CannotResolve("no answer in time".to_owned()),
                step => Unreachable::TimedOut(step.name()),
            }),
        };
        let check = match check {
            Check::Unreachable { why, .. } => {
                let is_late = matches!(why, Unreachable::TimedOut(_));
                let sure = closed && !is_late && matches!(progress.step(), Step::Connect | Step::Greeting);
                Check::Unreachable { why, sure }
            }
            other => other,
        };
        Probed { observation: Observation { begun, check }, addresses, duration }
    }

    /// Connects and no more.
    async fn knock(&self, found: &mut Option<Vec<Endpoint>>, progress: &Progress) -> Result<Check, Check> {
        progress.at(Step::Resolve);
        let mut addresses = self.resolve().await?;
        progress.at(Step::Connect);
        let stream = connect(&mut addresses, self.timeout, self.from).await?;
        *found = Some(addresses);
        self.introduce(stream).await.map(|_closed| Check::Open)
    }

    async fn converse(
        &self,
        kept: &mut Option<Kept>,
        found: &mut Option<Vec<Endpoint>>,
        progress: &Progress,
        relist: bool,
    ) -> Result<Check, Check> {
        let mut on = match kept.take() {
            Some(k) => k,
            None => {
                progress.at(Step::Resolve);
                let mut addresses = self.resolve().await?;
                let on = self.dial(&mut addresses, progress).await?;
                *found = Some(addresses);
                on
            }
        };
        progress.at(Step::Query);
        let asked = match self.sort {
            Sort::Member => ask_member(&mut on, relist).await,
            Sort::Server | Sort::Replica | Sort::Port => ask_server(&mut on.connection).await,
        };
        match asked {
            Ok(check) => {
                *kept = Some(on);
                Ok(check)
            }
            Err(e) => {
                // It has hung up, and said why before.
                let e = on.objection.take().filter(|_| e.server_error().is_none()).unwrap_or(e);
                // After an ERR packet it is as good as before. But what a server holds against an account (an expired
                // password, its quota) it goes on holding against the session when the account is mended.
                let goes_on = e.server_error().is_some_and(|e| e.meaning().leaves_session());
                *kept = Some(on).filter(|on| on.connection.is_usable() && goes_on);
                Err(failure(e))
            }
        }
    }

    /// Logs in at the first address that takes a connection, which comes first from then on.
    async fn dial(&self, addresses: &mut [Endpoint], progress: &Progress) -> Result<Kept, Check> {
        progress.at(Step::Connect);
        let stream = connect(addresses, self.timeout, self.from).await?;
        let at = addresses.first().cloned().ok_or_else(|| unreachable(Unreachable::Io("no address".to_owned())))?;
        progress.at(Step::Greeting);
        let stream = self.introduce(stream).await?;
        let credentials = Credentials { user: &self.user, password: self.password.expose() };
        let tls = self.tls.as_deref().map(|t| (t, self.name.as_str()));
        let greeted = Greeted::new(stream).await.map_err(|e| self.with_proxy_hint(failure(e)))?;
        progress.at(Step::Login);
        let login = greeted.login(credentials, tls).await;
        let mut connection = login.map_err(|e| self.with_proxy_hint(failure(e)))?;
        progress.at(Step::Query);
        let objection = session::prepare(&mut connection, self.sort == Sort::Member).await.map_err(failure)?;
        Ok(Kept { connection, since: tokio::time::Instant::now(), at, listing: Listing::default(), objection })
    }

    /// A server that takes no PROXY headers takes one for a broken login: it answers behind its greeting that packets came out of
    /// order or are too large, or hangs up (seen on MySQL 9.7).
    fn with_proxy_hint(&self, check: Check) -> Check {
        if self.proxy.is_none() {
            return check;
        }
        let hinted = |what: &dyn fmt::Display| format!("{what}; does it take PROXY headers? (proxy_protocol_networks)");
        match check {
            Check::Unreachable {
                why: why @ (Unreachable::Closed(_) | Unreachable::Protocol(_) | Unreachable::Said(_)),
                sure,
            } => Check::Unreachable { why: Unreachable::Io(hinted(&why)), sure },
            other => other,
        }
    }

    /// Says that the connection speaks for nobody, where the server wants to be told.
    async fn introduce(&self, mut stream: Stream) -> Result<Stream, Check> {
        if let Some(version) = self.proxy {
            let sent = stream.write_all(&header(version, None)).await;
            sent.map_err(|e| unreachable(Unreachable::Io(e.to_string())))?;
        }
        Ok(stream)
    }
}

fn is_unreachable(answer: &Result<Check, Check>) -> bool {
    matches!(answer, Err(Check::Unreachable { .. }))
}

/// The first address that takes a connection, which is put first. One that is silent takes only its share of the check's
/// time: behind a name with an IPv6 address that leads nowhere the node may be well.
async fn connect(addresses: &mut [Endpoint], time: Duration, from: net::From) -> Result<Stream, Check> {
    let share = time / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = None;
    let mut ours = None;
    for nth in 0..addresses.len() {
        let Some(address) = addresses.get(nth) else { break };
        if let (Endpoint::Tcp(to), net::From::Address(source)) = (address, from)
            && to.is_ipv4() != source.is_ipv4()
        {
            continue;
        }
        let connected = match tokio::time::timeout(share, net::connect(address, from)).await {
            Ok(connected) => connected,
            Err(_elapsed) => {
                last = Some(Unreachable::TimedOut(Step::Connect.name()));
                continue;
            }
        };
        match connected {
            Ok(stream) => {
                let _ = stream.tune(None);
                addresses.swap(0, nth);
                return Ok(stream);
            }
            // Of an IPv6 address on a host without it, say; the next one may be another matter.
            Err(e) if is_local_shortage(&e) => ours = Some(e),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => last = Some(Unreachable::Refused),
            Err(e) => last = Some(Unreachable::Io(e.to_string())),
        }
    }
    Err(match (last, ours) {
        (Some(last), _) => unreachable(last),
        (None, Some(e)) => Check::NotMade(format!("a shortage of this host: {e}")),
        (None, None) => unreachable(Unreachable::Io("no address".to_owned())),
    })
}
