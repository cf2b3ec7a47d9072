//! What one node's rows allow by themselves, before the rest of the cluster is asked.

use super::reason::Reason;
use super::status::{LocalState, NodeStatus, Unreadable};

/// What a donor may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DonorRule {
    /// Never serve.
    Never,
    /// Serve only while no Synced node does.
    LastResort,
    /// Serve as a Synced node does.
    Always,
}

/// How much a node may do, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// Nothing.
    None,
    /// Serve where no other can.
    Spare,
    /// Serve.
    Full,
}

/// Judges rows. The first rule that holds decides, the gravest first, so that the reason names the cause and not
/// one of its effects: a partitioned node is also not ready and in state 0.
pub fn judge(status: &NodeStatus, donor: DonorRule) -> (Fitness, Reason) {
    let unfit = |reason| (Fitness::None, reason);
    if status.cluster_status != "Primary" {
        return unfit(Reason::NotPrimary(status.cluster_status.clone()));
    }
    if !status.connected {
        return unfit(Reason::NotConnected);
    }
    let donor_state = match status.local_state {
        LocalState::Initialized => return unfit(Reason::State("Initialized", 0)),
        // A joiner reports Primary, with a list of members that lacks itself.
        LocalState::Joiner => return unfit(Reason::State("Joiner", 1)),
        LocalState::Error => return unfit(Reason::State("Error", 5)),
        LocalState::Joined if !status.ready => return unfit(Reason::State("Joined, not ready", 3)),
        _ if !status.ready => return unfit(Reason::NotReady),
        LocalState::Donor => Some(2),
        LocalState::Joined => Some(3),
        LocalState::Synced => None,
    };
    if let Some(value) = status.reject_queries.as_deref().filter(|value| *value != "NONE") {
        return unfit(Reason::RejectsQueries(value.to_owned()));
    }
    if let Some(mode) = status.pxc_maint_mode.as_deref().filter(|m| *m != "DISABLED") {
        return unfit(Reason::Maintenance(mode.to_owned()));
    }
    if status.offline {
        return unfit(Reason::OfflineMode(None));
    }
    match status.read_only.as_deref() {
        Some("OFF" | "0") => {}
        Some(value) => return unfit(Reason::ReadOnly(value.to_owned())),
        None => return unfit(Reason::RowMissing("read_only")),
    }
    let Some(state) = donor_state else { return (Fitness::Full, Reason::Synced) };
    // Only in state 2: set for good on a Synced node it means nothing.
    if state == 2 && status.donor_rejects_queries {
        return unfit(Reason::DonorRejects);
    }
    match donor {
        DonorRule::Never => unfit(Reason::Donor { state }),
        DonorRule::LastResort => (Fitness::Spare, Reason::Donor { state }),
        DonorRule::Always => (Fitness::Full, Reason::Donor { state }),
    }
}

/// Judges rows that could not be read.
pub fn judge_unreadable(why: &Unreadable) -> (Fitness, Reason) {
    let reason = match why {
        Unreadable::WsrepOff => Reason::WsrepOff,
        Unreadable::Missing(name) => Reason::RowMissing(name),
        Unreadable::Strange(name, value) => Reason::RowStrange(name, value.clone()),
    };
    (Fitness::None, reason)
}
