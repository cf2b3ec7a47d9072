//! What the monitor counts.

use std::sync::Arc;

use metrics::{Gauge, Histogram};

use super::names;
use super::registry::Registry;

/// One cluster's series.
#[derive(Debug)]
pub struct ClusterMetrics {
    registry: Registry,
    cluster: Arc<str>,
    size: Gauge,
    split_brain: Gauge,
}

impl ClusterMetrics {
    /// Registers a cluster's series.
    pub fn new(registry: &Registry, cluster: Arc<str>) -> Self {
        registry.remember_cluster(&cluster);
        let size = registry.gauge(names::CLUSTER_SIZE, &[("cluster", &*cluster)]);
        let split_brain = registry.gauge(names::CLUSTER_SPLIT_BRAIN, &[("cluster", &*cluster)]);
        split_brain.set(0.0);
        Self { registry: registry.clone(), cluster, size, split_brain }
    }

    /// There is no such cluster any more: none of its series is shown.
    pub fn forget(&self) {
        self.registry.forget_cluster(&self.cluster);
    }

    /// More than one component is Primary.
    pub fn set_split_brain(&self, split: bool) {
        self.split_brain.set(f64::from(u8::from(split)));
    }

    /// `wsrep_cluster_size` of the Primary component.
    pub fn set_size(&self, size: u64) {
        self.size.set(size as f64);
    }

    /// Registers a node's series.
    pub fn node(&self, node: Arc<str>) -> NodeMetrics {
        let labels = [("cluster", &*self.cluster), ("node", &*node)];
        let gauge = |metric| self.registry.gauge(metric, &labels);
        let metrics = NodeMetrics {
            eligible: gauge(names::NODE_ELIGIBLE),
            writer: gauge(names::NODE_WRITER),
            state: gauge(names::NODE_STATE),
            recv_queue: gauge(names::NODE_RECV_QUEUE),
            flow_control: gauge(names::NODE_FLOW_CONTROL),
            probe_duration: self.registry.histogram(names::PROBE_DURATION, &labels),
            registry: self.registry.clone(),
            cluster: Arc::clone(&self.cluster),
            node,
        };
        self.registry.remember(&self.cluster, &metrics.node);
        metrics.set_state(None);
        metrics.set_eligible(false);
        metrics.set_writer(false);
        metrics
    }
}

/// One node's series.
#[derive(Debug)]
pub struct NodeMetrics {
    registry: Registry,
    cluster: Arc<str>,
    node: Arc<str>,
    eligible: Gauge,
    writer: Gauge,
    state: Gauge,
    recv_queue: Gauge,
    flow_control: Gauge,
    probe_duration: Histogram,
}

impl NodeMetrics {
    /// New sessions may be sent here.
    pub fn set_eligible(&self, eligible: bool) {
        self.eligible.set(f64::from(u8::from(eligible)));
    }

    /// It has the role of writer.
    pub fn set_writer(&self, writer: bool) {
        self.writer.set(f64::from(u8::from(writer)));
    }

    /// `wsrep_local_state`; `None` without an answer.
    pub fn set_state(&self, state: Option<u64>) {
        self.state.set(state.map_or(-1.0, |s| s as f64));
    }

    /// `wsrep_local_recv_queue`.
    pub fn set_recv_queue(&self, length: u64) {
        self.recv_queue.set(length as f64);
    }

    /// Share of time paused since the last check, 0 to 1.
    pub fn set_flow_control_paused(&self, share: f64) {
        self.flow_control.set(share);
    }

    /// Time of one check.
    pub fn record_probe(&self, seconds: f64) {
        self.probe_duration.record(seconds);
    }

    /// A check that brought no answer.
    pub fn count_probe_failure(&self, reason: &'static str) {
        self.count(names::PROBE_FAILURES, reason, 1);
    }

    /// A changed verdict.
    pub fn count_verdict_change(&self, reason: &'static str) {
        self.count(names::VERDICT_CHANGES, reason, 1);
    }

    /// Sessions that were ended.
    pub fn count_killed(&self, reason: &'static str, sessions: u64) {
        self.count(names::SESSIONS_KILLED, reason, sessions);
    }

    /// The node is watched no longer: its series vanish.
    pub fn forget(&self) {
        self.registry.forget(&self.cluster, &self.node);
    }

    fn count(&self, metric: names::Metric, reason: &str, n: u64) {
        let labels = [("cluster", &*self.cluster), ("node", &*self.node), ("reason", reason)];
        self.registry.counter(metric, &labels).increment(n);
    }
}
