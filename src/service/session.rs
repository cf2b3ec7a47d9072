//! One session, from accept to close.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Service;
use super::attempt::Established;
use super::close::{Closing, Fate, close, close_reason, detail};
use super::endings::local_ip;
use super::proxy_doubt::REFUSAL_MOST;
use super::record::{Bytes, Record, Withdrawn};
use super::refuse::refuse;
use super::search::{Found, Nothing, search};
use super::secure::{self, Entered};
use super::sources::Source;
use super::vetted::Vetted;
use super::welcome::{Client, welcome};
use crate::config::{Protocol, Role, Service as Settings};
use crate::net::{End, Peer, Side, Stream, Timers, relay};
use crate::pool::{Cause, Lease, Node, Order, SourceAddress};
use crate::telemetry::{CloseReason, Rejection};

/// A client's end of data is held back from a MySQL server for this long: it closes by itself after COM_QUIT, and so
/// the TIME_WAIT is its own and not one of our ports.
const HOLD_FIN: Duration = Duration::from_millis(200);

/// Serves one accepted connection.
pub(super) async fn serve(service: Arc<Service>, stream: Stream, peer: Peer, accepted: std::time::Instant) {
    let mut record = Record::new(service, Client::new(peer), accepted.into());
    // Held until the session is over, however that comes: its address has one client less then.
    let mut source = None;
    // Boxed: its state and the search's are large and short-lived, and a session's future is the memory it costs while idle.
    let found = Box::pin(begin(stream, &mut record, &mut source)).await;
    record.waited = record.accepted.elapsed();
    match found {
        Ok((stream, found)) => relayed(stream, found, &mut record).await,
        Err((stream, nothing)) => {
            record.line.ended();
            record.service.metrics.reject(nothing.rejection);
            record.attempts = nothing.trail.attempts;
            record.end = (nothing.rejection.label(), nothing.rejection.whose());
            record.detail = match stream {
                Some(stream) => Box::pin(refuse(stream, &record.service, &record.settings, &nothing)).await,
                None => nothing.why,
            };
        }
    }
    drop(source);
}

/// A client that gets no node: its connection, where it can still be told anything, and why.
type Refused = (Option<Stream>, Box<Nothing>);

/// Lets the client in and finds a node for it.
async fn begin(
    mut stream: Stream,
    record: &mut Record,
    source: &mut Option<Box<Source>>,
) -> Result<(Stream, Box<Found>), Refused> {
    let mut ticket = usize::try_from(record.service.metrics.accepted()).unwrap_or(0);
    record.line.accepted(&record.settings.name, &record.client.peer);
    let acceptor = record.service.accepting.clone();
    stream.set_buffers(record.service.manners.accepted);
    match welcome(&record.service, &record.settings, &mut stream, &mut record.client, record.accepted).await {
        Ok(entered) => *source = entered,
        Err(away) => {
            record.line.denied(&record.settings.name, &record.client.peer, &away.why);
            // Whoever expects TLS understands nothing else.
            let stream = acceptor.is_none().then_some(stream);
            return Err((stream, Box::new(Nothing::from(away))));
        }
    }
    if let Some(acceptor) = acceptor
        && let Stream::Plain(socket) = stream
    {
        let (accepted, line) = (record.accepted, record.line);
        // Boxed: whoever waits for a node has this behind him, or speaks no TLS at all.
        let entered = Box::pin(secure::accept(&record.service, &record.settings, &acceptor, socket, accepted, line));
        let Entered { stream: inside, link, instead } =
            entered.await.map_err(|away| (None, Box::new(Nothing::from(away))))?;
        stream = inside;
        record.links[0] = Some(link);
        if let Some(instead) = instead {
            ticket = usize::try_from(instead.metrics.accepted()).unwrap_or(0);
            record.settings = Arc::clone(&instead.settings);
            record.service = instead;
        }
    }
    loop {
        let (service, settings) = (&record.service, &record.settings);
        let found = search(service, settings, &stream, &record.client, ticket, record.accepted, record.line).await;
        let mut nothing = match found {
            Ok(found) => return Ok((stream, found)),
            Err(nothing) => nothing,
        };
        let Some(next) = nothing.elsewhere.take() else {
            if !matches!(
                nothing.rejection,
                Rejection::ClientGone | Rejection::Retired | Rejection::AddressLost | Rejection::Shutdown
            ) {
                record.line.no_target();
            }
            return Err((Some(stream), nothing));
        };
        // By another name it is another service's client, and the last to come.
        if !Arc::ptr_eq(&next.metrics, &record.service.metrics) {
            ticket = usize::try_from(next.metrics.accepted()).unwrap_or(0);
        }
        record.meter.metrics = Arc::clone(&next.metrics);
        record.settings = Arc::clone(&next.settings);
        record.service = next;
    }
}

/// Relays between the client and the node that was found.
async fn relayed(mut client: Stream, found: Box<Found>, record: &mut Record) {
    let Found { established, slot, trail } = *found;
    let Established { node, mut stream, link, greeting, mut lease, mut active } = established;
    record.attempts = trail.attempts;
    record.trail = trail.log;
    record.node = Some(Arc::clone(&node));
    record.links[1] = link;
    let (settings, metrics) = (Arc::clone(&record.settings), &record.service.metrics);
    let source = settings.source.filter(|_| !record.service.manners.transparent);
    active.establish(settings.role() == Role::Writer, source);
    let in_service = metrics.enter();
    let route = metrics.route(&node.name()).enter();
    let handshake = Handshake { node: &node, source, greeting: greeting.len() as u64, protocol: settings.protocol };

    let timers = timers(&settings);
    let fate = {
        let withdrawn = record.withdrawn();
        let mut client = Vetted::new(&mut client, settings.protocol == Protocol::Mysql);
        let relay = pin!(relay(&mut client, &mut stream, greeting, &timers, &record.meter));
        fate(relay, |relay| local_ip(relay.client().stream()), &mut lease, record, withdrawn).await
    };
    handshake.judge(&record.meter);
    if settings.send_proxy_protocol.is_some() && handshake.protocol == Protocol::Mysql {
        handshake.judge_header(&record.meter, &fate, &record.service);
    }
    let reason = close_reason(&fate);
    if matches!(reason, CloseReason::Killed | CloseReason::Drained | CloseReason::AddressLost) {
        node.count_killed();
    }
    record.detail = detail(&fate);
    record.end = (reason.label(), reason.whose());
    let encrypted = if record.links[1].is_some() { Side::Node } else { Side::Client };
    record.line.closed(&fate, encrypted, &record.meter);
    route.close(reason);
    let places = (slot, active, in_service, lease);
    let how = Closing { protocol: settings.protocol, no_resets: record.service.manners.no_resets };
    Box::pin(close(fate, client, stream, places, how)).await;
}

/// Relays until the relay ends by itself or an order ends it. `local`: the address of ours that its client connected to.
#[expect(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice over, in every session")]
pub(super) fn fate<'a, R: Future<Output = End>>(
    mut relay: Pin<&'a mut R>,
    local: impl Fn(&R) -> Option<IpAddr> + 'a,
    lease: &'a mut Lease,
    record: &'a Record,
    mut withdrawn: Option<Withdrawn>,
) -> impl Future<Output = Fate> + 'a {
    async move {
        // Its share of a kill that is spread over a time. Nothing takes that back, and a later kill may only hasten it.
        let mut doomed: Option<Instant> = None;
        loop {
            // The lease first: its news counts as heard from here on, so that a nudge for what the service is told later is new.
            let orders = [lease.order(), record.service.house.endings.order(|| local(&relay), record.accepted.into())];
            let mut end = match first(orders, &mut doomed) {
                Ok(end) => end,
                Err(cause) => return Fate::Killed(cause),
            };
            let due = async {
                match &mut end {
                    Some((sleep, _)) => sleep.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            let gone = async {
                match &mut withdrawn {
                    Some(withdrawn) => withdrawn.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                end = relay.as_mut() => return Fate::Relay(end),
                () = lease.changed() => {}
                (side, why) = gone => return Fate::Withdrawn(side, why),
                () = due => {
                    if let Some((_, fate)) = end {
                        return *fate;
                    }
                }
            }
        }
    }
}

/// When the first of these orders ends the session, and how.
type Due = (Pin<Box<Sleep>>, Box<Fate>);

/// The earlier of two orders; an error where one ends the session at once. `doomed`: see [`fate`].
fn first(orders: [Order; 2], doomed: &mut Option<Instant>) -> Result<Option<Due>, Cause> {
    let mut first: Option<(Instant, Fate)> = None;
    for order in orders {
        let (at, fate) = match order {
            Order::Live => continue,
            Order::End(cause, Duration::ZERO) => return Err(cause),
            Order::End(cause, spread) => {
                let share = Instant::now() + spread.mul_f64(fastrand::f64());
                (*doomed.insert(doomed.map_or(share, |at| at.min(share))), Fate::Killed(cause))
            }
            Order::EndAt(at, cause) => (at.into(), Fate::Drained(cause)),
        };
        if first.as_ref().is_none_or(|(before, _)| at < *before) {
            first = Some((at, fate));
        }
    }
    Ok(first.map(|(at, fate)| (Box::pin(sleep_until(at)), Box::new(fate))))
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

/// Notices a handshake that was never finished: the server counts it against our address.
struct Handshake<'a> {
    node: &'a Node,
    source: SourceAddress,
    greeting: u64,
    protocol: Protocol,
}

impl Handshake<'_> {
    fn judge(&self, meter: &Bytes) {
        let answered = meter.from(Side::Client) > 0 && meter.from(Side::Node) > self.greeting;
        if self.protocol == Protocol::Mysql && !answered {
            self.node.count_broken_handshake(self.source);
        }
    }

    /// Notices servers that take our PROXY header for the client's login.
    fn judge_header(&self, meter: &Bytes, fate: &Fate, service: &Service) {
        let answered = meter.from(Side::Node).saturating_sub(self.greeting);
        let by_node = matches!(fate, Fate::Relay(End::Orderly(Side::Node) | End::Broken(Side::Node, _)));
        let was_refused = by_node && answered <= REFUSAL_MOST;
        // A client that left at the greeting shows nothing.
        if (was_refused || answered > 0) && service.proxy_doubt.is_due(was_refused) {
            tracing::warn!(service = %service.settings.name, node = %self.node.name(), "its nodes end every session right after \
                the greeting: do they take PROXY headers? (proxy_protocol_networks there, or send_proxy_protocol = \"off\" here)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::pool::{Pool, PoolCell, Standing};
    use crate::service::Extras;
    use crate::telemetry::{Registry, ServiceMetrics};

    /// The most a session's future may take. With it in the task's header and the two sockets' registrations a session
    /// stays below the 4 kB that `tests/it/limits.rs` measures.
    const FUTURE_MOST: usize = 1600;

    /// And of the search for a node, which has that of a client only while it waits.
    const WAITING_MOST: usize = 2000;

    #[tokio::test]
    async fn a_sessions_future_is_small() {
        let text = "[cluster.c]\nnodes = [\"127.0.0.1\"]\n[cluster.c.monitor]\nuser = \"u\"\n\
                    [service.s]\naccept = \"127.0.0.1:0\"\ncluster = \"c\"\n";
        let config = config::parse(text, std::path::Path::new("t.toml")).unwrap().config;
        let settings = Arc::clone(&config.services[0]);
        let pool = Arc::new(PoolCell::new(Pool::new("c".into(), Vec::new(), Standing::unknown()), Arc::default()));
        let metrics = Arc::new(ServiceMetrics::new(&Registry::new(), "s".into()));
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let service = Arc::new(Service::new(settings, pool, metrics, stopping, Extras::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = Peer::Tcp(client.local_addr().unwrap());
        let now = std::time::Instant::now();
        let mut record = Record::new(Arc::clone(&service), Client::new(peer), now.into());
        let (near, _far) = tokio::net::UnixStream::pair().unwrap();
        let waiting = std::mem::size_of_val(&begin(Stream::from(near), &mut record, &mut None));
        println!("that of a client that waits takes {waiting} bytes besides");
        assert!(waiting <= WAITING_MOST, "{waiting} bytes");
        let size = std::mem::size_of_val(&serve(service, Stream::from(client), peer, now));
        println!("a session's future takes {size} bytes");
        assert!(size <= FUTURE_MOST, "{size} bytes");
    }
}
