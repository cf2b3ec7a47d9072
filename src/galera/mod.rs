//! What Galera nodes say, and what it means: rows → status → fitness → verdicts over the whole cluster → effects.
//!
//! Pure functions and types. Nothing here does I/O, reads a clock or knows an address: the time is an argument and
//! a node is a [`NodeId`], so every rule can be tested with invented clusters and invented time.
//!
//! * [`status`]: the rows of one node, parsed; a row that is missing or strange makes the node unfit.
//! * [`fitness`]: what one node's rows allow by themselves.
//! * [`core`]: all nodes' observations over time, settled by rise, fall and the rules that need the whole
//!   cluster, into verdicts, and into orders for the sessions that are already there.

pub mod core;
pub mod fitness;
mod node_state;
pub mod observation;
pub mod reason;
pub mod status;

pub use self::core::{Change, ClusterState, Core, Effect, Event, Kind, Outcome, Settings, Verdict};
pub use fitness::{DonorRule, Fitness};
pub use observation::{Check, LoginFailure, Observation, Unreachable};
pub use reason::Reason;
pub use status::NodeStatus;

/// A node's identity within one cluster for as long as the process lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);
