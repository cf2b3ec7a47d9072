//! Nodes as the data plane sees them: the snapshot, the pick, the kill switch.
//!
//! One writer (the health room) publishes [`Pool`] snapshots through a [`PoolCell`]; each connection reads one
//! snapshot at its pick. What outlives a snapshot (counters, the kill switch, the last report) is the [`Node`],
//! which every snapshot shares. What operators ask of the health room is a [`Command`].

mod attempts;
mod balance;
mod command;
mod node;
mod snapshot;
mod switch;

// They name a node and a cluster's state in a snapshot; the data plane knows nothing else of the galera room.
pub use crate::galera::{AdminState, ClusterState, Membership, NodeId, Scope, Verdict};
pub use attempts::{AttemptLedger, SourceAddress};
pub use balance::{Ask, Tried, pick, source_key};
pub use command::{Answer, Command, CommandQueue, Commands, Refusal};
pub use node::{ActiveSession, Node, NodeReport, ProbeReport};
pub use snapshot::{Member, Pool, PoolCell, Standing, Vacancies, Wanted};
pub use switch::{Cause, KillSwitch, Lease, Order};
