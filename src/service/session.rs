//! One session, from accept to close.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Service;
use super::attempt::Established;
use super::close::{Fate, close, close_reason, detail};
use super::record::{Bytes, Record};
use super::refuse::refuse;
use super::search::{Found, Nothing, search};
use super::vetted::Vetted;
use super::welcome::{Client, welcome};
use crate::config::{Protocol, Role, Service as Settings};
use crate::net::{End, Peer, Side, Stream, Timers, relay};
use crate::pool::{Lease, Node, Order};
use crate::telemetry::CloseReason;

/// A client's end of data is held back from a MySQL server for this long: it closes by itself after COM_QUIT, and so
/// the TIME_WAIT is its own and not one of our ports.
const HOLD_FIN: Duration = Duration::from_millis(200);

/// Serves one accepted connection.
pub(super) async fn serve(service: Arc<Service>, mut stream: Stream, peer: Peer, accepted: std::time::Instant) {
    let settings = service.settings.load_full();
    let ticket = usize::try_from(service.metrics.accepted()).unwrap_or(0);
    let mut record = Record::new(&service, &settings, Client::new(peer), accepted.into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::pool::{Pool, PoolCell, Standing};
    use crate::telemetry::{Registry, ServiceMetrics};

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
