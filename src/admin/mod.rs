//! The admin address: HTTP routes over snapshots and counters. Reads; changes nothing.

mod http;
mod status;
mod view;

pub use http::serve;
pub use status::status;
pub use view::{ClusterView, RunState, ServiceView, View};
