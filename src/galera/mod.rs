//! What Galera nodes say, and what it means: rows → status → fitness → verdicts over the whole cluster → effects.
//!
//! Pure functions and types. Nothing here does I/O, reads a clock or knows an address: the time is an argument and
//! a node is a [`NodeId`], so every rule can be tested with invented clusters and invented time.
//!
//! * [`rows`]: the rows that are read, and which product sends them.
//! * [`status`]: the rows of one node, parsed; a required row that is missing or a strange one makes the node unfit.
//! * [`fitness`]: what one node's rows allow by themselves.
//! * [`server`]: nodes that are no members: servers by themselves, replicas.
//! * `entrance`: whether a node takes new connections, which its kept check does not show.
//! * `view`: what a node says of its component; `relation`: what two views say of each other; `components`: from all
//!   views to the components there are.
//! * `split`: which of several components is served.
//! * `writer`, [`agreement`]: who writes, by what is observed or by the cluster's own record.
//! * [`advice`]: which node to bootstrap after an outage; [`files`]: what nodes that do not run have left behind.
//! * [`core`]: all nodes' observations over time, settled by rise, fall and the rules that need the whole
//!   cluster, into verdicts, roles, and orders for the sessions that are already there.

pub mod advice;
pub mod agreement;
mod components;
pub mod core;
mod entrance;
pub mod files;
pub mod fitness;
mod node_state;
pub mod observation;
pub mod reason;
mod relation;
pub mod rows;
pub mod server;
mod settings;
mod split;
pub mod status;
mod verdict;
mod view;
mod writer;

pub use self::core::{Configured, Core, Effect, EntranceState, Event, Memory, Outcome, Split};
pub use fitness::{DonorRule, Fitness};
pub use observation::{Check, ConnectFailure, ConnectOutcome, LoginFailure, NewConnection, Observation, Unreachable};
pub use reason::{Departure, Reason};
pub use server::ServerStatus;
pub use settings::{Order, Settings, Sort, Spec};
pub use status::{Listed, Members, NodeStatus};
pub use verdict::{AdminState, Change, ClusterState, Kind, Scope, Slow, Verdict};
pub use view::Membership;
pub use writer::Failback;

/// A node's identity within one cluster for as long as the process lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

#[cfg(test)]
mod tests;
#[cfg(test)]
use tests::cases;
