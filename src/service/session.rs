//! One session, from accept to close.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Service;
use super::attempt::Established;
use super::refuse::{part, refuse};
use super::search::{Found, Nothing, search};
use super::vetted::Vetted;
use super::welcome::{Client, welcome};
use crate::config::{Protocol, Role, Service as Settings};
use crate::net::{End, Meter, Peer, Side, Stream, Timers, Wire, relay};
use crate::pool::{Cause, Lease, Node, Order};
use crate::telemetry::access::Access;
use crate::telemetry::{CloseReason, ServiceMetrics};

/// A client's end of data is held back from a MySQL server for this long: it closes by itself after COM_QUIT, and so
/// the TIME_WAIT is its own and not one of our ports.
const HOLD_FIN: Duration = Duration::from_millis(200);

/// How long an abort waits for the bytes before it to be acknowledged.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Serves one accepted connection.
pub(super) async fn serve(service: Arc<Service>, mut stream: Stream, peer: Peer, accepted: std::time::Instant) {
    let settings = service.settings.load_full();
    let ticket = usize::try_from(service.metrics.accepted()).unwrap_or(0);
    let mut record = Record {
        service: &service,
        settings: &settings,
        client: Client::new(peer),
        accepted: accepted.into(),
        waited: Duration::ZERO,
        attempts: 0,
        trail: String::new(),
        node: None,
        meter: Bytes { metrics: &service.metrics, client: AtomicU64::new(0), node: AtomicU64::new(0) },
        end: ("internal_error", "galeway"),
        detail: String::new(),
    };
    // Boxed: its state and the search's are large and short-lived, and a session's future is the memory it costs while idle.
    // Held until the session is over, however that comes: its address has one client less then.
    let mut source = None;
    let found = Box::pin(async {
        source = welcome(&service, &settings, &mut stream, &mut record.client, record.accepted)
            .await
            .map_err(|away| Box::new(Nothing::from(away)))?;
        search(&service, &settings, &stream, &record.client, ticket, record.accepted).await
    })
    .await;
    record.waited = record.accepted.elapsed();
    match found {
        Ok(found) => relayed(&service, &settings, stream, found, &mut record).await,
        Err(nothing) => {
            service.metrics.reject(nothing.rejection);
            record.attempts = nothing.trail.attempts;
            record.end = (nothing.rejection.label(), nothing.rejection.whose());
            record.detail = Box::pin(refuse(stream, &service, &settings, &nothing)).await;
        }
    }
    drop(source);
}

/// Relays between the client and the node that was found.
async fn relayed(
    service: &Arc<Service>,
    settings: &Settings,
    mut client: Stream,
    found: Box<Found>,
    record: &mut Record<'_>,
) {
    let Found { established, slot, trail } = *found;
    let Established { node, mut stream, greeting, mut lease, mut active } = established;
    record.attempts = trail.attempts;
    record.trail = trail.log;
    record.node = Some(Arc::clone(&node));
    active.establish(settings.role() == Role::Writer);
    let in_service = service.metrics.enter();
    let route = service.metrics.route(&node.name).enter();
    let handshake = Handshake { node: &node, greeting: greeting.len() as u64, protocol: settings.protocol };

    let timers = timers(settings);
    let fate = {
        let mut client = Vetted::new(&mut client, settings.protocol == Protocol::Mysql);
        let relay = pin!(relay(&mut client, &mut stream, greeting, &timers, &record.meter));
        fate(relay, &mut lease).await
    };
    handshake.judge(&record.meter);
    let reason = close_reason(&fate);
    if matches!(reason, CloseReason::Killed | CloseReason::Drained) {
        node.count_killed();
    }
    record.detail = detail(&fate);
    record.end = (reason.label(), reason.whose());
    route.close(reason);
    let places = (slot, active, in_service, lease);
    Box::pin(close(fate, client, stream, places, settings.protocol)).await;
}

/// How a session came to its end.
enum Fate {
    Relay(End),
    Killed(Cause),
    Drained(Cause),
}

/// Relays until the relay ends by itself or an order ends it.
async fn fate(mut relay: Pin<&mut impl Future<Output = End>>, lease: &mut Lease) -> Fate {
    // Its share of a kill that is spread over a time. Nothing takes that back, and a later kill may only hasten it.
    let mut doomed: Option<Instant> = None;
    loop {
        let mut end: Option<(Pin<Box<Sleep>>, Box<Fate>)> = match lease.order() {
            Order::Live => None,
            Order::End(cause, Duration::ZERO) => return Fate::Killed(cause),
            Order::End(cause, spread) => {
                let share = Instant::now() + spread.mul_f64(fastrand::f64());
                let at = *doomed.insert(doomed.map_or(share, |at| at.min(share)));
                Some((Box::pin(sleep_until(at)), Box::new(Fate::Killed(cause))))
            }
            Order::EndAt(at, cause) => Some((Box::pin(sleep_until(at.into())), Box::new(Fate::Drained(cause)))),
        };
        let due = async {
            match &mut end {
                Some((sleep, _)) => sleep.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            end = relay.as_mut() => return Fate::Relay(end),
            () = lease.changed() => {}
            () = due => {
                if let Some((_, fate)) = end {
                    return *fate;
                }
            }
        }
    }
}

/// Closes both sides, each as its fate allows. `places` are what the next client waits for: they are given back when the
/// node's side is closed, or else the node would have one session more than it may; the client's side may take a second
/// of waiting, and nobody need wait for that.
async fn close(fate: Fate, client: Stream, node: Stream, places: impl Sized, protocol: Protocol) {
    match fate {
        Fate::Relay(End::Orderly(_)) => {
            drop(node);
            drop(places);
        }
        Fate::Relay(End::Broken(Side::Client, _) | End::Vanished(Side::Client) | End::Stalled(Side::Client)) => {
            client.abort();
            pass_on_abort(node, protocol).await;
            drop(places);
        }
        Fate::Relay(End::Broken(Side::Node, _) | End::Vanished(Side::Node) | End::Stalled(Side::Node)) => {
            node.abort();
            drop(places);
            match protocol {
                Protocol::Mysql => part(client).await,
                // An end of data would look like a complete answer.
                Protocol::Tcp => abort_after_last_byte(client).await,
            }
        }
        Fate::Relay(End::Idle | End::HalfClosed(_)) => {
            drop(node);
            drop(places);
            part(client).await;
        }
        Fate::Killed(_) | Fate::Drained(_) => {
            node.abort();
            drop(places);
            part(client).await;
        }
    }
}

/// Ends a node's connection after its client's abort, by an abort: it leaves no TIME_WAIT behind, and an orderly end
/// would call complete what was broken off. But it would also throw away what the client had sent and the node has not
/// taken yet, a COMMIT perhaps, so that is waited for; where it takes longer, a MySQL server (whose packets tell their
/// length) gets it and an orderly end.
async fn pass_on_abort(node: Stream, protocol: Protocol) {
    if taken(&node).await || protocol == Protocol::Tcp {
        node.abort();
    }
}

async fn abort_after_last_byte(client: Stream) {
    taken(&client).await;
    client.abort();
}

/// Waits a little for the far end to acknowledge what was sent. True: it has.
async fn taken(stream: &Stream) -> bool {
    let until = Instant::now() + LAST_BYTES;
    while stream.outstanding().is_some_and(|o| o.any) {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

fn timers(settings: &Settings) -> Timers {
    let hold_fin = match settings.protocol {
        Protocol::Mysql => HOLD_FIN,
        Protocol::Tcp => Duration::ZERO,
    };
    Timers {
        idle: settings.idle_timeout,
        half_close: settings.half_close_timeout,
        hold_fin,
        user: settings.user_timeout,
        stall: settings.stall_timeout,
    }
}

fn close_reason(fate: &Fate) -> CloseReason {
    match fate {
        Fate::Killed(Cause::Shutdown) | Fate::Drained(Cause::Shutdown) => CloseReason::Shutdown,
        Fate::Killed(_) => CloseReason::Killed,
        Fate::Drained(_) => CloseReason::Drained,
        Fate::Relay(end) => match end {
            End::Orderly(Side::Client) => CloseReason::ClientClosed,
            End::Orderly(Side::Node) => CloseReason::NodeClosed,
            // Its keepalive probes went unanswered, or the network on the way to it is gone.
            End::Broken(Side::Client, e) if is_silence(e) => CloseReason::ClientVanished,
            End::Broken(Side::Node, e) if is_silence(e) => CloseReason::NodeVanished,
            // Nothing else on this side says so: see vetted.rs.
            End::Broken(Side::Client, e) if e.kind() == io::ErrorKind::InvalidData => CloseReason::NoLogin,
            End::Broken(Side::Client, _) => CloseReason::ClientReset,
            End::Broken(Side::Node, _) => CloseReason::NodeReset,
            End::Vanished(Side::Client) => CloseReason::ClientVanished,
            End::Vanished(Side::Node) => CloseReason::NodeVanished,
            End::Stalled(Side::Client) => CloseReason::ClientStalled,
            End::Stalled(Side::Node) => CloseReason::NodeStalled,
            End::Idle => CloseReason::Idle,
            End::HalfClosed(_) => CloseReason::HalfClose,
        },
    }
}

fn is_silence(e: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(e.kind(), TimedOut | HostUnreachable | NetworkUnreachable)
}

fn detail(fate: &Fate) -> String {
    match fate {
        Fate::Relay(End::Broken(_, e)) => e.to_string(),
        Fate::Relay(_) => String::new(),
        Fate::Killed(cause) | Fate::Drained(cause) => cause.to_string(),
    }
}

/// Notices a handshake that was never finished: the server counts it against our address.
struct Handshake<'a> {
    node: &'a Node,
    greeting: u64,
    protocol: Protocol,
}

impl Handshake<'_> {
    fn judge(&self, meter: &Bytes<'_>) {
        let answered = meter.from(Side::Client) > 0 && meter.from(Side::Node) > self.greeting;
        if self.protocol == Protocol::Mysql && !answered {
            self.node.count_broken_handshake();
        }
    }
}

/// One session's bytes, which are the service's too.
struct Bytes<'a> {
    metrics: &'a ServiceMetrics,
    client: AtomicU64,
    node: AtomicU64,
}

impl Bytes<'_> {
    fn from(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.client.load(Ordering::Relaxed),
            Side::Node => self.node.load(Ordering::Relaxed),
        }
    }
}

impl Meter for Bytes<'_> {
    fn count(&self, from: Side, n: u64) {
        match from {
            Side::Client => {
                self.client.fetch_add(n, Ordering::Relaxed);
                self.metrics.count_in(n);
            }
            Side::Node => {
                self.node.fetch_add(n, Ordering::Relaxed);
                self.metrics.count_out(n);
            }
        }
    }
}

/// What the access log will say; it says it when dropped, so a session that panics is logged as well.
struct Record<'a> {
    service: &'a Service,
    settings: &'a Settings,
    client: Client,
    accepted: Instant,
    waited: Duration,
    attempts: u32,
    trail: String,
    node: Option<Arc<Node>>,
    meter: Bytes<'a>,
    end: (&'static str, &'static str),
    detail: String,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let duration = self.accepted.elapsed();
        self.service.metrics.record_duration(duration.as_secs_f64());
        let (end, by) = self.end;
        let detail = [self.trail.as_str(), self.detail.as_str()];
        let detail = detail.iter().filter(|d| !d.is_empty()).copied().collect::<Vec<_>>().join("; ");
        let via = self.client.via();
        Access {
            service: &self.settings.name,
            client: &self.client,
            via: via.as_ref().map(|via| via as &dyn std::fmt::Display),
            node: self.node.as_deref().map(|n| &*n.name),
            duration,
            wait: self.waited,
            attempts: self.attempts,
            bytes_in: self.meter.from(Side::Client),
            bytes_out: self.meter.from(Side::Node),
            end,
            by,
            detail: &detail,
        }
        .log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::pool::{Pool, PoolCell, Standing};
    use crate::telemetry::Registry;

    /// The most a session's future may take. With it in the task's header and the two sockets' registrations a session
    /// stays below the 4 kB that `tests/it/limits.rs` measures.
    const FUTURE_MOST: usize = 1600;

    #[tokio::test]
    async fn a_sessions_future_is_small() {
        let text = "[cluster.c]\nnodes = [\"127.0.0.1\"]\n[cluster.c.monitor]\nuser = \"u\"\n\
                    [service.s]\naccept = \"127.0.0.1:0\"\ncluster = \"c\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let settings = Arc::clone(&config.services[0]);
        let pool = Arc::new(PoolCell::new(Pool::new("c".into(), Vec::new(), Standing::unknown()), Arc::default()));
        let metrics = Arc::new(ServiceMetrics::new(&Registry::new(), "s".into()));
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let service = Arc::new(Service::new(settings, pool, metrics, stopping));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = Peer::Tcp(client.local_addr().unwrap());
        let size = std::mem::size_of_val(&serve(service, Stream::from(client), peer, std::time::Instant::now()));
        println!("a session's future takes {size} bytes");
        assert!(size <= FUTURE_MOST, "{size} bytes");
    }
}
