//! One session, from accept to close.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Service;
use super::attempt::Established;
use super::refuse::{part, refuse};
use super::search::{Found, search};
use crate::config::{Protocol, Service as Settings};
use crate::net::{End, Meter, Side, Stream, Timers, Wire, relay};
use crate::pool::{Cause, Lease, Node, Order};
use crate::telemetry::access::Access;
use crate::telemetry::{CloseReason, Rejection, ServiceMetrics};

/// A client's end of data is held back from a MySQL server for this long: it closes by itself after COM_QUIT, and so
/// the TIME_WAIT is its own and not one of our ports.
const HOLD_FIN: Duration = Duration::from_millis(200);

/// How long an abort towards a client waits for the bytes before it to be acknowledged.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Serves one accepted connection.
pub(super) async fn serve(service: Arc<Service>, client: TcpStream, peer: SocketAddr, accepted: std::time::Instant) {
    let settings = service.settings.load_full();
    let ticket = usize::try_from(service.metrics.accepted()).unwrap_or(0);
    let mut record = Record {
        service: &service,
        settings: &settings,
        client: peer,
        accepted: accepted.into(),
        waited: Duration::ZERO,
        attempts: 0,
        trail: String::new(),
        node: None,
        meter: Bytes { metrics: &service.metrics, client: AtomicU64::new(0), node: AtomicU64::new(0) },
        end: ("internal_error", "galeway"),
        detail: String::new(),
    };
    let client = Stream::Tcp(client);
    // Boxed: the search's state is large and short-lived, and a session's future is the memory it costs while idle.
    let found = match client.tcp() {
        Some(tcp) => Box::pin(search(&service, &settings, tcp, ticket, record.accepted)).await,
        None => return,
    };
    record.waited = record.accepted.elapsed();
    match found {
        Ok(found) => relayed(&service, &settings, client, found, &mut record).await,
        Err(nothing) => {
            service.metrics.reject(nothing.rejection);
            record.attempts = nothing.trail.attempts;
            record.end = (nothing.rejection.label(), "galeway");
            if nothing.rejection == Rejection::ClientGone {
                record.end.1 = "client";
            }
            record.detail = Box::pin(refuse(client, &service, &settings, &nothing)).await;
        }
    }
}

/// Relays between the client and the node that was found.
async fn relayed(
    service: &Arc<Service>,
    settings: &Settings,
    mut client: Stream,
    found: Found,
    record: &mut Record<'_>,
) {
    let Found { established, slot: _slot, trail } = found;
    let Established { node, mut stream, greeting, mut lease, active: _active } = established;
    record.attempts = trail.attempts;
    record.trail = trail.log;
    record.node = Some(Arc::clone(&node));
    node.count_established();
    let _in_service = service.metrics.enter();
    let route = service.metrics.route(&node.name).enter();
    let handshake = Handshake { node: &node, greeting: greeting.len() as u64, protocol: settings.protocol };

    let timers = timers(settings);
    let fate = {
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
    // The counts are done; what is left may take a second of waiting for the client.
    Box::pin(close(fate, client, stream, settings.protocol)).await;
}

/// How a session came to its end.
enum Fate {
    Relay(End),
    Killed(Cause),
    Drained(Cause),
}

/// Relays until the relay ends by itself or an order ends it.
async fn fate(mut relay: Pin<&mut impl Future<Output = End>>, lease: &mut Lease) -> Fate {
    loop {
        let mut drain: Option<(Pin<Box<Sleep>>, Cause)> = match lease.order() {
            Order::Live => None,
            Order::End(cause) => return Fate::Killed(cause),
            Order::EndAt(at, cause) => Some((Box::pin(sleep_until(at.into())), cause)),
        };
        let due = async {
            match &mut drain {
                Some((sleep, _)) => sleep.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            end = relay.as_mut() => return Fate::Relay(end),
            () = lease.changed() => {}
            () = due => {
                if let Some((_, cause)) = drain {
                    return Fate::Drained(cause);
                }
            }
        }
    }
}

/// Closes both sides, each as its fate allows.
async fn close(fate: Fate, client: Stream, node: Stream, protocol: Protocol) {
    match fate {
        Fate::Relay(End::Orderly(_)) => {}
        Fate::Relay(End::Broken(Side::Client, _) | End::Vanished(Side::Client) | End::Stalled(Side::Client)) => {
            pass_on_abort(node);
            client.abort();
        }
        Fate::Relay(End::Broken(Side::Node, _) | End::Vanished(Side::Node) | End::Stalled(Side::Node)) => {
            node.abort();
            match protocol {
                Protocol::Mysql => part(client).await,
                // An end of data would look like a complete answer.
                Protocol::Tcp => abort_after_last_byte(client).await,
            }
        }
        Fate::Relay(End::Idle | End::HalfClosed(_)) => {
            drop(node);
            part(client).await;
        }
        Fate::Killed(_) | Fate::Drained(_) => {
            node.abort();
            part(client).await;
        }
    }
}

/// Ends a node's connection after its client's abort. A reset leaves no TIME_WAIT behind, but it would also throw away
/// what the client had sent and the node has not taken yet: then the end is an orderly one.
fn pass_on_abort(node: Stream) {
    if node.outstanding().is_some_and(|o| !o.any) {
        node.abort();
    }
}

async fn abort_after_last_byte(client: Stream) {
    let until = Instant::now() + LAST_BYTES;
    while client.outstanding().is_some_and(|o| o.any) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.abort();
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
    client: SocketAddr,
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
        Access {
            service: &self.settings.name,
            client: Some(self.client),
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
