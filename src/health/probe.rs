//! One check of one node: resolve, connect, log in, ask, read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::deadline::within;
use super::members::Listing;
use super::resolve::Resolver;
use crate::config::{HostPort, Monitor, Secret};
use crate::galera::Members;
use crate::galera::observation::{Check, LoginFailure, Observation, Unreachable};
use crate::galera::status::{NodeStatus, Rows, STATUS_QUERY, VARIABLES_QUERY};
use crate::mysql::{Connection, Credentials, Error, Greeted, Meaning, Phase};
use crate::net::tls::{ClientTls, SetupError};
use crate::net::{Stream, is_local_shortage};

/// A check that missed its deadline says nothing of the node where this share of its time was our own lag.
pub(super) const LAG_TOLERATED: u32 = 4;

/// `ER_UNKNOWN_COM_ERROR` (Galera's "not ready"), `ER_SERVER_SHUTDOWN`, `ER_NORMAL_SHUTDOWN`.
const GOING_DOWN: [u16; 3] = [1047, 1053, 1077];

/// How a node is checked.
#[derive(Debug)]
pub struct Prober {
    host: String,
    port: u16,
    resolver: Arc<Resolver>,
    user: String,
    password: Secret,
    tls: Option<Arc<ClientTls>>,
    timeout: Duration,
}

/// What a check brought besides its observation.
#[derive(Debug)]
pub struct Probed {
    /// For the verdict.
    pub observation: Observation,
    /// The address that answered, resolved at the last connect.
    pub address: Option<SocketAddr>,
    /// How long it took.
    pub duration: Duration,
}

/// The steps of a check, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Resolve,
    Connect,
    Greeting,
    Login,
    Query,
}

impl Step {
    const ALL: [Self; 5] = [Self::Resolve, Self::Connect, Self::Greeting, Self::Login, Self::Query];

    fn name(self) -> &'static str {
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
struct Progress(AtomicU8);

impl Progress {
    fn at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    fn step(&self) -> Step {
        let index = usize::from(self.0.load(Ordering::Relaxed));
        Step::ALL.get(index).copied().unwrap_or(Step::Query)
    }
}

/// The connection that is kept between checks.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) connection: Connection,
    pub(super) since: tokio::time::Instant,
    address: SocketAddr,
    listing: Listing,
}

impl Kept {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Prober {
    /// Checks `address` as `monitor` says. `tls` was made of `monitor.tls`, once for all nodes; `resolver` is of
    /// `address`'s host, and the same for all probers of a node.
    pub fn new(address: &HostPort, monitor: &Monitor, tls: Option<Arc<ClientTls>>, resolver: Arc<Resolver>) -> Self {
        Self {
            host: address.host.clone(),
            port: monitor.port.unwrap_or(address.port),
            resolver,
            user: monitor.user.clone(),
            password: monitor.password.clone(),
            tls,
            timeout: monitor.timeout,
        }
    }

    #[cfg(test)]
    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
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

    /// A login and nothing else: it clears the server's count of handshakes broken off from our address.
    pub(super) async fn log_in_once(&self, address: SocketAddr) {
        if let Ok(Ok(kept)) = within(self.timeout, self.dial(&[address], &Progress::default())).await {
            self.farewell(Some(kept)).await;
        }
    }

    /// The same with another account, for what is no check.
    pub(super) fn with_account(self, user: &str, password: &Secret) -> Self {
        Self { user: user.to_owned(), password: password.clone(), ..self }
    }

    /// A connection for what is no check. It is the caller who has a deadline.
    pub(super) async fn log_in(&self) -> Result<Connection, Check> {
        let addresses = self.resolver.resolve(self.port).await?;
        Ok(self.dial(&addresses, &Progress::default()).await?.connection)
    }

    async fn farewell(&self, kept: Option<Kept>) {
        if let Some(kept) = kept {
            // A server that does not take the goodbye in time is told by the close.
            let _ = within(self.timeout, kept.connection.quit()).await;
        }
    }

    /// One check, on the kept connection where there is one. `closed`: the last one was closed by the server just
    /// now, so a refusal or a missing greeting is proof enough. `relist`: the members are to be read again although
    /// nothing seems to have changed.
    pub(super) async fn check(&self, kept: &mut Option<Kept>, closed: bool, relist: bool) -> Probed {
        let begun = Instant::now();
        let progress = Progress::default();
        let known = kept.as_ref().map(|k| k.address);
        let mut closed = closed;
        let outcome = within(self.timeout, async {
            let was_kept = kept.is_some();
            match self.converse(kept, &progress, relist).await {
                // Closed by the server in the middle of the question, as a kept connection may be while it is idle.
                Err(Check::Unreachable { why: Unreachable::Closed(_), .. }) if was_kept => {
                    closed = true;
                    self.converse(kept, &progress, relist).await
                }
                other => other,
            }
        })
        .await;
        let duration = begun.elapsed();
        let failed = |check| (check, known);
        let (check, address) = match outcome {
            Ok(Ok((rows, members, address))) => (read(rows, members), Some(address)),
            Ok(Err(check)) => failed(check),
            Err(missed) if missed.lag >= self.timeout / LAG_TOLERATED => {
                let lag = missed.lag.as_millis();
                failed(Check::NotMade(format!("this process did not run for {lag} ms")))
            }
            Err(_) => failed(unreachable(match progress.step() {
                Step::Resolve => Unreachable::CannotResolve("no answer in time".to_owned()),
                step => Unreachable::TimedOut(step.name()),
            })),
        };
        let check = match check {
            Check::Unreachable { why, .. } => {
                let sure = closed && matches!(progress.step(), Step::Connect | Step::Greeting);
                Check::Unreachable { why, sure }
            }
            other => other,
        };
        Probed { observation: Observation { begun, check }, address, duration }
    }

    async fn converse(
        &self,
        kept: &mut Option<Kept>,
        progress: &Progress,
        relist: bool,
    ) -> Result<(Rows, Option<Members>, SocketAddr), Check> {
        let mut on = match kept.take() {
            Some(k) => k,
            None => {
                progress.at(Step::Resolve);
                let addresses = self.resolver.resolve(self.port).await?;
                self.dial(&addresses, progress).await?
            }
        };
        progress.at(Step::Query);
        let mut rows = Rows::new();
        for query in [STATUS_QUERY, VARIABLES_QUERY] {
            let answer = match on.connection.query(query).await {
                Ok(answer) => answer,
                Err(e) => {
                    let of_the_account = e.server_error().is_none_or(|e| e.meaning() != Meaning::Other);
                    // After an ERR packet it is as good as before. But what a server holds against an account (an expired
                    // password, its quota) it goes on holding against the session when the account is mended.
                    *kept = Some(on).filter(|on| on.connection.is_usable() && !of_the_account);
                    return Err(failure(e));
                }
            };
            rows.extend(answer.pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
        }
        let members = on.listing.read(&mut on.connection, &rows, relist).await.map_err(failure)?;
        let address = on.address;
        *kept = Some(on);
        Ok((rows, members, address))
    }

    async fn dial(&self, addresses: &[SocketAddr], progress: &Progress) -> Result<Kept, Check> {
        progress.at(Step::Connect);
        let (stream, address) = connect(addresses, self.timeout).await?;
        progress.at(Step::Greeting);
        let credentials = Credentials { user: &self.user, password: self.password.expose() };
        let tls = self.tls.as_deref().map(|t| (t, self.host.as_str()));
        let greeted = Greeted::new(Stream::Tcp(stream)).await.map_err(failure)?;
        progress.at(Step::Login);
        let connection = greeted.login(credentials, tls).await.map_err(failure)?;
        Ok(Kept { connection, since: tokio::time::Instant::now(), address, listing: Listing::default() })
    }
}

/// The first address that takes a connection. One that is silent takes only its share of the check's time: behind a
/// name with an IPv6 address that leads nowhere the node may be well.
async fn connect(addresses: &[SocketAddr], time: Duration) -> Result<(TcpStream, SocketAddr), Check> {
    let share = time / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = None;
    let mut ours = None;
    for &address in addresses {
        let connected = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(_elapsed) => {
                last = Some(Unreachable::TimedOut(Step::Connect.name()));
                continue;
            }
        };
        match connected {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
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

fn read(rows: Rows, members: Option<Members>) -> Check {
    match NodeStatus::from_rows(rows) {
        Ok(status) => Check::Answered(Box::new(status.with_members(members))),
        Err((why, rows)) => Check::Unreadable(why, rows),
    }
}

pub(super) fn unreachable(why: Unreachable) -> Check {
    Check::Unreachable { why, sure: false }
}

/// What a failed conversation says of the node.
fn failure(e: Error) -> Check {
    if e.is_login_refused() {
        return Check::LoginRefused(login_failure(&e));
    }
    let closed = |phase| match phase {
        Phase::Greeting => "greeting",
        Phase::Login => "login",
        Phase::Idle => "idleness",
        Phase::Command => "query",
    };
    match e {
        // In answer to a query too: MAX_QUERIES_PER_HOUR is a limit of the account, and no fault of the node.
        Error::Server { ref error, .. } if error.meaning() == Meaning::CannotGetIn => Check::NoEntry(login_failure(&e)),
        // What else a server answers to a login (a plugin it lacks, an account's rules) is a matter of the account, unless
        // it says that it is going down or cannot serve.
        Error::Server { ref error, phase: Phase::Login } if !GOING_DOWN.contains(&error.code) => {
            Check::LoginRefused(login_failure(&e))
        }
        Error::Server { error, .. } => unreachable(Unreachable::Said(error.to_string())),
        Error::Io { ref source, .. } if is_local_shortage(source) => Check::NotMade(e.to_string()),
        Error::Io { phase, .. } => unreachable(Unreachable::Closed(closed(phase))),
        Error::Tls(e) => unreachable(Unreachable::Tls(e.to_string())),
        other => unreachable(Unreachable::Protocol(other.to_string())),
    }
}

fn login_failure(e: &Error) -> LoginFailure {
    match e.server_error() {
        Some(server) => LoginFailure { code: server.code, message: server.message.clone() },
        None => LoginFailure { code: 0, message: e.to_string() },
    }
}
