//! What one session counts, and what the access log says of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::secure::{Link, withdrawn};
use super::tunnel::{Line, Tunnel};
use super::welcome::Client;
use crate::config::Service as Settings;
use crate::net::{Meter, Side};
use crate::pool::Node;
use crate::telemetry::ServiceMetrics;
use crate::telemetry::access::Access;

/// One session's bytes, which are the service's too.
pub(super) struct Bytes {
    pub(super) metrics: Arc<ServiceMetrics>,
    client: AtomicU64,
    node: AtomicU64,
}

impl Bytes {
    pub(super) fn from(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.client.load(Ordering::Relaxed),
            Side::Node => self.node.load(Ordering::Relaxed),
        }
    }
}

impl Meter for Bytes {
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
pub(super) struct Record {
    pub(super) service: Arc<Service>,
    pub(super) settings: Arc<Settings>,
    /// For operators of stunnel.
    pub(super) line: Line,
    /// The client's TLS, and the node's.
    pub(super) links: [Option<Box<Link>>; 2],
    pub(super) client: Client,
    pub(super) accepted: Instant,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    pub(super) trail: String,
    pub(super) node: Option<Arc<Node>>,
    pub(super) meter: Bytes,
    pub(super) end: (&'static str, &'static str),
    pub(super) detail: String,
}

impl Record {
    /// Of a session that has just begun. Until it is said how it ended, a fault of ours has ended it.
    pub(super) fn new(service: Arc<Service>, client: Client, accepted: Instant) -> Self {
        let meter = Bytes { metrics: Arc::clone(&service.metrics), client: AtomicU64::new(0), node: AtomicU64::new(0) };
        let line = service.tunnel.as_ref().map(Tunnel::begin).unwrap_or_default();
        Self {
            settings: Arc::clone(&service.settings),
            service,
            line,
            links: [None, None],
            client,
            accepted,
            waited: Duration::ZERO,
            attempts: 0,
            trail: String::new(),
            node: None,
            meter,
            end: ("internal_error", "galeway"),
            detail: String::new(),
        }
    }
}

/// Resolves when a certificate of the session is no longer good.
pub(super) type Withdrawn = Pin<Box<dyn Future<Output = (Side, Arc<str>)> + Send>>;

impl Record {
    /// `None` where nobody has shown a certificate: then it costs nothing.
    pub(super) fn withdrawn(&self) -> Option<Withdrawn> {
        let [client, node] = self.links.each_ref().map(|link| link.as_ref().and_then(|link| link.peer.clone()));
        (client.is_some() || node.is_some()).then(|| Box::pin(withdrawn(client, node)) as Withdrawn)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.accepted.elapsed();
        self.service.metrics.record_duration(duration.as_secs_f64());
        let (end, by) = self.end;
        let detail = [self.trail.as_str(), self.detail.as_str()];
        let detail = detail.iter().filter(|d| !d.is_empty()).copied().collect::<Vec<_>>().join("; ");
        let via = self.client.via();
        let node = self.node.as_deref().map(Node::name);
        Access {
            service: &self.settings.name,
            client: &self.client,
            via: via.as_ref().map(|via| via as &dyn std::fmt::Display),
            node: node.as_deref(),
            tls: self.links.each_ref().map(|link| link.as_deref().map(Link::shown)),
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
