//! Metrics, the access log and the tracing set-up.
//!
//! There is no global recorder: each instance owns a [`Registry`], so that two run side by side in one test and a
//! removed node's series can vanish with it. Every metric name stands in [`names`].

pub mod access;
mod cluster;
pub mod logging;
pub mod names;
mod outcome;
mod registry;
mod seldom;
mod service;
mod tls;

pub use cluster::{ClusterMetrics, NodeMetrics};
pub use outcome::{AttemptResult, CloseReason, Rejection, TlsResult};
pub use registry::Registry;
pub use seldom::Seldom;
pub use service::{ActiveRoute, Gauged, RouteMetrics, ServiceMetrics};
