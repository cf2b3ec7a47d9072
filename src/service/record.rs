//! What one session counts, and what the access log says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::welcome::Client;
use crate::config::Service as Settings;
use crate::net::{Meter, Side};
use crate::pool::Node;
use crate::telemetry::ServiceMetrics;
use crate::telemetry::access::Access;

/// One session's bytes, which are the service's too.
pub(super) struct Bytes<'a> {
    metrics: &'a ServiceMetrics,
    client: AtomicU64,
    node: AtomicU64,
}

impl Bytes<'_> {
    pub(super) fn from(&self, side: Side) -> u64 {
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
pub(super) struct Record<'a> {
    pub(super) service: &'a Service,
    pub(super) settings: &'a Settings,
    pub(super) client: Client,
    pub(super) accepted: Instant,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    pub(super) trail: String,
    pub(super) node: Option<Arc<Node>>,
    pub(super) meter: Bytes<'a>,
    pub(super) end: (&'static str, &'static str),
    pub(super) detail: String,
}

impl<'a> Record<'a> {
    /// Of a session that has just begun. Until it is said how it ended, a fault of ours has ended it.
    pub(super) fn new(service: &'a Service, settings: &'a Settings, client: Client, accepted: Instant) -> Self {
        Self {
            service,
            settings,
            client,
            accepted,
            waited: Duration::ZERO,
            attempts: 0,
            trail: String::new(),
            node: None,
            meter: Bytes { metrics: &service.metrics, client: AtomicU64::new(0), node: AtomicU64::new(0) },
            end: ("internal_error", "galeway"),
            detail: String::new(),
        }
    }
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
