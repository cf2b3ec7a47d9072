//! Every metric: its name, its meaning, and how it is usually misread.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only rises; ends in `_total`.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Distribution over these upper bounds, in the metric's unit.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// `HELP` text.
    pub help: &'static str,
}

/// From a loopback's tenth of a millisecond to a deadline of seconds.
const CONNECT_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 3.0, 10.0];
/// From one statement to a pooled connection's days.
const SESSION_BUCKETS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 28_800.0, 86_400.0];

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric { name: $name, kind: $kind, help: $help };)*
        /// All of them, for descriptions, buckets and tests.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    ACCEPTED = "galeway_connections_accepted_total", Kind::Counter,
        "Connections accepted, those turned away later included.";
    ACTIVE = "galeway_connections_active", Kind::Gauge,
        "Sessions relayed to a node now. A client that waits in the queue is not in it: see galeway_queue_depth.";
    CLOSED = "galeway_connections_closed_total", Kind::Counter,
        "Sessions that were relayed and ended, by who or what ended them.";
    REJECTED = "galeway_connections_rejected_total", Kind::Counter,
        "Clients that never reached a node, by reason. client_gone left by themselves.";
    ATTEMPTS = "galeway_connect_attempts_total", Kind::Counter,
        "Attempts to get a node's greeting. One client may make several; result local is a failure of our own.";
    CONNECT_DURATION = "galeway_connect_duration_seconds", Kind::Histogram(CONNECT_BUCKETS),
        "From the start of a successful attempt to the node's greeting (protocol tcp: to the connect).";
    CONNECTION_DURATION = "galeway_connection_duration_seconds", Kind::Histogram(SESSION_BUCKETS),
        "From accept to close, the wait for a node included.";
    QUEUE_DEPTH = "galeway_queue_depth", Kind::Gauge,
        "Clients that wait for a node or for a free slot.";
    BYTES = "galeway_bytes_total", Kind::Counter,
        "Bytes passed on: direction in came from clients, out went to them.";
    LAST_BYTE = "galeway_last_byte_timestamp_seconds", Kind::Gauge,
        "When the last byte of a TLS service came, by direction; 0 before the first. A live link that says nothing is quiet, not dead.";
    TLS_HANDSHAKES = "galeway_tls_handshakes_total", Kind::Counter,
        "TLS handshakes by result; side client is the accepting one. Result alert: the peer refused, of its own judgement.";
    TLS_HANDSHAKE_DURATION = "galeway_tls_handshake_duration_seconds", Kind::Histogram(CONNECT_BUCKETS),
        "Time of successful TLS handshakes, the wait for a turn included.";
    TLS_EXPIRY = "galeway_tls_certificate_expiry_timestamp_seconds", Kind::Gauge,
        "When the first certificate of a file expires, or its CRL is out of date. A file that cannot be read keeps its last value.";
    NODE_ELIGIBLE = "galeway_node_eligible", Kind::Gauge,
        "1 where new sessions may be sent, as a last resort too.";
    NODE_WRITER = "galeway_node_writer", Kind::Gauge,
        "1 for the node that has the role of writer, also while it is silent and gets nobody: see galeway_node_eligible.";
    NODE_STATE = "galeway_node_state", Kind::Gauge,
        "wsrep_local_state of the last answer; -1 without one. A node in state 4 need not be eligible.";
    NODE_RECV_QUEUE = "galeway_node_recv_queue", Kind::Gauge,
        "wsrep_local_recv_queue of the last answer.";
    NODE_FLOW_CONTROL = "galeway_node_flow_control_paused", Kind::Gauge,
        "Share of the time between the last two checks in which replication was paused. It rises on all nodes alike.";
    PROBE_DURATION = "galeway_probe_duration_seconds", Kind::Histogram(CONNECT_BUCKETS),
        "Time of one check.";
    PROBE_FAILURES = "galeway_probe_failures_total", Kind::Counter,
        "Checks that brought no answer, by reason. not_made is a failure of our own and says nothing of the node.";
    VERDICT_CHANGES = "galeway_verdict_changes_total", Kind::Counter,
        "Changes of a node's verdict, by the reason of the new one.";
    CLUSTER_SIZE = "galeway_cluster_size", Kind::Gauge,
        "wsrep_cluster_size as the nodes of a Primary component say it; 0 without one.";
    CLUSTER_SPLIT_BRAIN = "galeway_cluster_split_brain", Kind::Gauge,
        "1 while more than one component is Primary, for certain: the others are fenced. Alarm on it.";
    SESSIONS_KILLED = "galeway_sessions_killed_total", Kind::Counter,
        "Sessions ended by an order, by the reason of the verdict behind it.";
    RELOADS = "galeway_reloads_total", Kind::Counter,
        "Reloads of the configuration, by result: ok, or refused, which changed nothing.";
    BUILD_INFO = "galeway_build_info", Kind::Gauge,
        "Always 1; the version is the label.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_times_are_seconds() {
        for m in ALL {
            assert!(m.name.starts_with("galeway_"), "{}", m.name);
            assert_eq!(m.kind == Kind::Counter, m.name.ends_with("_total"), "{}", m.name);
            assert!(!m.name.contains("_ms") && !m.name.ends_with("milliseconds"), "{}", m.name);
        }
    }
}
