//! What a service counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, Histogram};

use super::names;
use super::outcome::{AttemptResult, CloseReason, Rejection, TlsResult};
use super::registry::Registry;
use super::tls::TlsMetrics;

/// One service's counts. The plain numbers are what the status shows; [`Self::publish`] copies them into the
/// metrics when somebody asks for those.
#[derive(Debug)]
pub struct ServiceMetrics {
    registry: Registry,
    service: Arc<str>,
    total: AtomicU64,
    active: AtomicU64,
    queued: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    rejections: HashMap<&'static str, Counter>,
    duration: Histogram,
    handles: Published,
    routes: Mutex<HashMap<Arc<str>, Arc<RouteMetrics>>>,
    /// Of a service with TLS.
    tls: OnceLock<TlsMetrics>,
    /// Files whose end is shown.
    expiring: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Published {
    accepted: Copied,
    queue_depth: Gauge,
    bytes_in: Copied,
    bytes_out: Copied,
}

/// A number that is copied into a counter, whose series may have been another's of the same name before: a service that comes back.
#[derive(Debug)]
struct Copied {
    counter: Counter,
    /// So much of it.
    so_far: AtomicU64,
}

impl Copied {
    fn into(counter: Counter) -> Self {
        Self { counter, so_far: AtomicU64::new(0) }
    }

    fn set(&self, now: u64) {
        // Of two that copy at once the one that looked first may come last.
        let before = self.so_far.fetch_max(now, Ordering::Relaxed);
        self.counter.increment(now.saturating_sub(before));
    }
}

impl ServiceMetrics {
    /// Registers a service's series.
    pub fn new(registry: &Registry, service: Arc<str>) -> Self {
        registry.remember_service(&service);
        let labels = [("service", &*service)];
        let rejections = Rejection::ALL
            .into_iter()
            .map(|r| (r.label(), registry.counter(names::REJECTED, &[("service", &*service), ("reason", r.label())])))
            .collect();
        let bytes = |direction| {
            Copied::into(registry.counter(names::BYTES, &[("service", &*service), ("direction", direction)]))
        };
        let handles = Published {
            accepted: Copied::into(registry.counter(names::ACCEPTED, &labels)),
            queue_depth: registry.gauge(names::QUEUE_DEPTH, &labels),
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
        };
        Self {
            registry: registry.clone(),
            total: AtomicU64::new(0),
            active: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            rejections,
            duration: registry.histogram(names::CONNECTION_DURATION, &labels),
            handles,
            routes: Mutex::new(HashMap::new()),
            tls: OnceLock::new(),
            expiring: Mutex::default(),
            service,
        }
    }

    /// Counts an accepted connection and returns how many there were before it.
    pub fn accepted(&self) -> u64 {
        self.total.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a session as active until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Gauged {
        Gauged::new(self, |m| &m.active)
    }

    /// Counts a client as waiting until the guard is dropped. `None` where `most` wait already.
    pub fn enqueue(self: &Arc<Self>, most: u32) -> Option<Gauged> {
        // One step, not two: of two that come together for the last place, one gets it.
        let room = |waiting| Some(waiting + 1).filter(|_| waiting < u64::from(most));
        self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Gauged { metrics: Arc::clone(self), of: |m| &m.queued })
    }

    /// Counts a client that never reached a node.
    pub fn reject(&self, reason: Rejection) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        if let Some(c) = self.rejections.get(reason.label()) {
            c.increment(1);
        }
    }

    /// Counts an attempt that failed by a node's doing.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a further attempt of one client.
    pub fn count_retry(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes from the client.
    pub fn count_in(&self, n: u64) {
        self.bytes_in.fetch_add(n, Ordering::Relaxed);
        if let Some(tls) = self.tls.get() {
            tls.last_in.touch();
        }
    }

    /// Counts bytes to the client.
    pub fn count_out(&self, n: u64) {
        self.bytes_out.fetch_add(n, Ordering::Relaxed);
        if let Some(tls) = self.tls.get() {
            tls.last_out.touch();
        }
    }

    /// Records a connection's life, from accept to close.
    pub fn record_duration(&self, seconds: f64) {
        self.duration.record(seconds);
    }

    /// The series of this service towards one node; made once.
    pub fn route(&self, node: &Arc<str>) -> Arc<RouteMetrics> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            self.registry.remember_route(&self.service, node);
            let series = RouteSeries::new(&self.registry, &self.service, node);
            Arc::new(RouteMetrics { active: AtomicU64::new(0), series: ArcSwap::from_pointee(series) })
        };
        Arc::clone(routes.entry(Arc::clone(node)).or_insert_with(new))
    }

    /// Nodes have other names from now on: pairs of the old one and the new one. Counters begin anew under the new name, as any
    /// series does whose labels change; sessions that go on are counted there.
    pub fn rename_nodes(&self, names: &[(Arc<str>, Arc<str>)]) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once: two nodes may have changed places.
        let moved: Vec<_> = names.iter().filter_map(|(old, new)| Some((new, routes.remove(old)?))).collect();
        for (new, route) in moved {
            route.series.store(Arc::new(RouteSeries::new(&self.registry, &self.service, new)));
            self.registry.remember_route(&self.service, new);
            routes.insert(Arc::clone(new), route);
        }
    }

    /// The service goes to other nodes from now on: series of the old ones vanish.
    pub fn forget_routes(&self) {
        for (node, _) in self.routes.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            self.registry.forget_route(&self.service, &node);
        }
    }

    /// There is no such service any more: none of its series is shown.
    pub fn forget(&self) {
        self.registry.forget_service(&self.service);
    }

    /// From now on counts TLS as well.
    pub fn with_tls(&self) {
        self.tls.get_or_init(|| TlsMetrics::new(&self.registry, &self.service));
    }

    /// Counts a handshake with a client (`accepting`) or with a node, and how long it took.
    pub fn handshake(&self, accepting: bool, result: TlsResult, took: Duration) {
        if let Some(tls) = self.tls.get() {
            tls.handshake(accepting, result, took);
        }
    }

    /// Tells when what each file holds is out of date, in seconds since 1970. The series of files that were told of before and
    /// are not among them vanish.
    pub fn expires(&self, files: impl IntoIterator<Item = (String, i64)>) {
        let mut now: BTreeMap<String, i64> = BTreeMap::new();
        for (file, at) in files {
            let first = now.entry(file).or_insert(at);
            *first = at.min(*first);
        }
        let mut told = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in told.iter().filter(|file| !now.contains_key(*file)) {
            self.registry.hide(names::TLS_EXPIRY, &[("service", &self.service), ("file", gone)]);
        }
        for (file, at) in &now {
            let labels = [("service", &*self.service), ("file", file)];
            self.registry.gauge(names::TLS_EXPIRY, &labels).set(*at as f64);
            self.registry.unhide(names::TLS_EXPIRY, &labels);
        }
        *told = now.into_keys().collect();
    }

    /// Copies the numbers into the metrics.
    pub fn publish(&self) {
        self.handles.accepted.set(self.total());
        self.handles.queue_depth.set(self.queued() as f64);
        self.handles.bytes_in.set(self.bytes_in());
        self.handles.bytes_out.set(self.bytes_out());
        for route in self.routes.lock().unwrap_or_else(PoisonError::into_inner).values() {
            route.series.load().active.set(route.active.load(Ordering::Relaxed) as f64);
        }
        if let Some(tls) = self.tls.get() {
            tls.publish();
        }
    }

    /// Connections accepted.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
    /// Sessions now.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }
    /// Clients that wait now.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }
    /// Clients that never reached a node.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
    /// Attempts beyond a client's first.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }
    /// Bytes from clients.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }
    /// Bytes to clients.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }
}

impl Drop for ServiceMetrics {
    /// A service of the same name that comes back shows these series again, and sets only those that it has itself.
    fn drop(&mut self) {
        self.handles.queue_depth.set(0.0);
        for route in self.routes.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            route.series.load().active.set(0.0);
        }
    }
}

/// Holds one place in a count; gives it back when dropped, however the session ends.
#[derive(Debug)]
pub struct Gauged {
    metrics: Arc<ServiceMetrics>,
    of: fn(&ServiceMetrics) -> &AtomicU64,
}

impl Gauged {
    fn new(metrics: &Arc<ServiceMetrics>, of: fn(&ServiceMetrics) -> &AtomicU64) -> Self {
        of(metrics).fetch_add(1, Ordering::Relaxed);
        Self { metrics: Arc::clone(metrics), of }
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        (self.of)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

/// One service towards one node.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Sessions now.
    active: AtomicU64,
    /// By the node's name of now.
    series: ArcSwap<RouteSeries>,
}

#[derive(Debug)]
struct RouteSeries {
    attempts: Vec<(AttemptResult, Counter)>,
    closed: Vec<(CloseReason, Counter)>,
    active: Gauge,
    connect: Histogram,
}

impl RouteSeries {
    fn new(registry: &Registry, service: &str, node: &str) -> Self {
        let labels = [("service", service), ("node", node)];
        let with = |key, value| [("service", service), ("node", node), (key, value)];
        Self {
            attempts: AttemptResult::ALL
                .into_iter()
                .map(|r| (r, registry.counter(names::ATTEMPTS, &with("result", r.label()))))
                .collect(),
            closed: CloseReason::ALL
                .into_iter()
                .map(|r| (r, registry.counter(names::CLOSED, &with("reason", r.label()))))
                .collect(),
            active: registry.gauge(names::ACTIVE, &labels),
            connect: registry.histogram(names::CONNECT_DURATION, &labels),
        }
    }
}

impl RouteMetrics {
    /// Counts an attempt.
    pub fn attempt(&self, result: AttemptResult) {
        if let Some((_, c)) = self.series.load().attempts.iter().find(|(r, _)| *r == result) {
            c.increment(1);
        }
    }

    /// Records the time of a successful attempt.
    pub fn record_connect(&self, seconds: f64) {
        self.series.load().connect.record(seconds);
    }

    /// A session is relayed from now on; the guard ends that.
    pub fn enter(self: &Arc<Self>) -> ActiveRoute {
        self.active.fetch_add(1, Ordering::Relaxed);
        ActiveRoute { route: Arc::clone(self), reason: CloseReason::Internal }
    }
}

/// One relayed session. Dropped without [`Self::close`] (a panic) it counts as an internal error.
#[derive(Debug)]
pub struct ActiveRoute {
    route: Arc<RouteMetrics>,
    reason: CloseReason,
}

impl ActiveRoute {
    /// The session ended for this reason.
    pub fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for ActiveRoute {
    fn drop(&mut self) {
        self.route.active.fetch_sub(1, Ordering::Relaxed);
        if let Some((_, c)) = self.route.series.load().closed.iter().find(|(r, _)| *r == self.reason) {
            c.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_that_is_gone_vanishes_and_comes_back_with_it() {
        let registry = Registry::new();
        let (one, other) = ["s", "other"].map(|name| ServiceMetrics::new(&registry, name.into())).into();
        let told = |metrics: &ServiceMetrics, files: &[(&str, i64)]| {
            metrics.expires(files.iter().map(|(file, at)| ((*file).to_owned(), *at)));
        };
        let shown = |service: &str, file: &str, at: i64| {
            let line = format!("{}{{service=\"{service}\",file=\"{file}\"}} {at}\n", names::TLS_EXPIRY.name);
            registry.render().contains(&line)
        };
        let odd = "/b \"c\\d\"";
        told(&one, &[("/a", 5), ("/a b", 7), ("/a", 6), (odd, 8)]);
        told(&other, &[("/a", 5)]);
        let escaped = r#"/b \"c\\d\""#;
        assert!(shown("s", "/a", 5) && shown("s", "/a b", 7) && shown("s", escaped, 8), "{}", registry.render());
        told(&one, &[("/a b", 7)]);
        assert!(!shown("s", "/a", 5) && !shown("s", escaped, 8), "{}", registry.render());
        assert!(shown("s", "/a b", 7) && shown("other", "/a", 5), "{}", registry.render());
        told(&one, &[("/a", 9)]);
        assert!(shown("s", "/a", 9) && !shown("s", "/a b", 7), "{}", registry.render());
    }
}
