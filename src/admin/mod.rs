//! The admin address: HTTP routes over snapshots and counters, on TCP and on a Unix socket.
//!
//! It changes nothing itself. What an operator asks for goes to the health room as a command.

mod auth;
mod change;
mod clustercheck;
mod reload;
mod reply;
mod routes;
mod server;
mod status;
mod view;

pub use reload::{ReloadDesk, ReloadRequests, Told};
pub use server::{serve, serve_unix};
pub use status::status;
pub use view::{ClusterView, Layout, Operated, RunState, ServiceView, View};
