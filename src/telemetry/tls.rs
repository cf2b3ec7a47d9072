//! What a service with TLS counts besides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram};

use super::names;
use super::outcome::TlsResult;
use super::registry::Registry;

#[derive(Debug)]
pub(super) struct TlsMetrics {
    accepting: Handshakes,
    connecting: Handshakes,
    pub(super) last_in: LastByte,
    pub(super) last_out: LastByte,
}

/// Those of one side.
#[derive(Debug)]
struct Handshakes {
    results: Vec<(TlsResult, Counter)>,
    duration: Histogram,
}

impl Handshakes {
    fn new(registry: &Registry, service: &str, side: &str) -> Self {
        let labels = [("service", service), ("side", side)];
        let counter = |result: TlsResult| {
            let labels = [("service", service), ("side", side), ("result", result.label())];
            (result, registry.counter(names::TLS_HANDSHAKES, &labels))
        };
        Self {
            results: TlsResult::ALL.into_iter().map(counter).collect(),
            duration: registry.histogram(names::TLS_HANDSHAKE_DURATION, &labels),
        }
    }
}

impl TlsMetrics {
    pub(super) fn new(registry: &Registry, service: &str) -> Self {
        let last = |direction| LastByte {
            at: AtomicU64::new(0),
            gauge: registry.gauge(names::LAST_BYTE, &[("service", service), ("direction", direction)]),
        };
        Self {
            accepting: Handshakes::new(registry, service, "client"),
            connecting: Handshakes::new(registry, service, "node"),
            last_in: last("in"),
            last_out: last("out"),
        }
    }

    pub(super) fn handshake(&self, accepting: bool, result: TlsResult, took: Duration) {
        let side = if accepting { &self.accepting } else { &self.connecting };
        if let Some((_, counter)) = side.results.iter().find(|(r, _)| *r == result) {
            counter.increment(1);
        }
        if result == TlsResult::Ok {
            side.duration.record(took.as_secs_f64());
        }
    }

    pub(super) fn publish(&self) {
        for last in [&self.last_in, &self.last_out] {
            last.gauge.set(Duration::from_millis(last.at.load(Ordering::Relaxed)).as_secs_f64());
        }
    }
}

/// When a byte came last.
#[derive(Debug)]
pub(super) struct LastByte {
    /// Milliseconds since 1970; 0 before the first.
    at: AtomicU64,
    gauge: Gauge,
}

impl LastByte {
    /// Now.
    pub(super) fn touch(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
