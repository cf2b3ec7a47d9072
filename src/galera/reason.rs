//! Why a node may or may not serve: the value that decided, in words.

use std::fmt;

use super::observation::{LoginFailure, Unreachable};

/// The deciding value of a verdict. `Display` is the short sentence of the status, the log and the ERR packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Never checked yet.
    NotChecked,
    /// State 4 and nothing against it.
    Synced,
    /// State 2, or a former donor in state 3 that is ready.
    Donor {
        /// 2 or 3.
        state: u8,
    },
    /// The same, and it serves since no Synced node does.
    DonorLastResort {
        /// 2 or 3.
        state: u8,
    },
    /// A donor with `wsrep_sst_donor_rejects_queries=ON`.
    DonorRejects,
    /// `wsrep_cluster_status` is not `Primary`; its value.
    NotPrimary(String),
    /// `wsrep_on=OFF`.
    WsrepOff,
    /// `wsrep_connected=OFF`.
    NotConnected,
    /// `wsrep_local_state` 0, 1, 3 (not ready) or 5, named.
    State(&'static str, u8),
    /// `wsrep_ready=OFF`.
    NotReady,
    /// `wsrep_reject_queries`; its value.
    RejectsQueries(String),
    /// `pxc_maint_mode`; its value.
    Maintenance(String),
    /// `read_only`; its value.
    ReadOnly(String),
    /// A row that every Galera node sends is missing.
    RowMissing(&'static str),
    /// A row holds what no known version sends.
    RowStrange(&'static str, String),
    /// The check got no answer.
    Unreachable(Unreachable),
    /// The server refuses the check's login.
    LoginRefused(LoginFailure),
    /// The same while no node is fit, and this one was before: it serves, loudly.
    LoginRefusedLastResort(LoginFailure),
    /// The server lets the check in no further than an error about itself, and never did.
    NoEntry(LoginFailure),
}

impl Reason {
    /// A constant word for metrics labels.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Synced => "synced",
            Self::Donor { .. } | Self::DonorLastResort { .. } => "donor",
            Self::DonorRejects => "donor_rejects_queries",
            Self::NotPrimary(_) => "non_primary",
            Self::WsrepOff => "wsrep_off",
            Self::NotConnected => "not_connected",
            Self::State(..) => "local_state",
            Self::NotReady => "not_ready",
            Self::RejectsQueries(_) => "reject_queries",
            Self::Maintenance(_) => "pxc_maint_mode",
            Self::ReadOnly(_) => "read_only",
            Self::RowMissing(_) | Self::RowStrange(..) => "not_galera",
            Self::Unreachable(_) => "unreachable",
            Self::LoginRefused(_) | Self::LoginRefusedLastResort(_) => "login_refused",
            Self::NoEntry(_) => "no_entry",
        }
    }

    /// What the reason means for sessions that are already there.
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::NotPrimary(_)
            | Self::WsrepOff
            | Self::NotConnected
            | Self::State(..)
            | Self::NotReady
            | Self::RowMissing(_)
            | Self::RowStrange(..)
            | Self::Unreachable(_) => Consequence::Down,
            Self::RejectsQueries(_) | Self::Maintenance(_) | Self::ReadOnly(_) | Self::DonorRejects => {
                Consequence::Veto
            }
            Self::Donor { .. } | Self::DonorLastResort { .. } => Consequence::Donor,
            Self::NotChecked
            | Self::Synced
            | Self::LoginRefused(_)
            | Self::LoginRefusedLastResort(_)
            | Self::NoEntry(_) => Consequence::None,
        }
    }
}

/// What becomes of a node's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// They stay.
    None,
    /// `on_down` decides.
    Down,
    /// They drain.
    Veto,
    /// `on_donor` decides.
    Donor,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotChecked => f.write_str("not checked yet"),
            Self::Synced => f.write_str("Synced"),
            Self::Donor { state: 2 } => f.write_str("Donor/Desynced"),
            Self::Donor { state } => write!(f, "Joined, catching up (wsrep_local_state={state})"),
            Self::DonorLastResort { state: 2 } => f.write_str("Donor/Desynced, last resort: no node is Synced"),
            Self::DonorLastResort { state } => {
                write!(f, "Joined, catching up (wsrep_local_state={state}), last resort: no node is Synced")
            }
            Self::DonorRejects => f.write_str("Donor/Desynced (wsrep_sst_donor_rejects_queries=ON)"),
            Self::NotPrimary(value) if matches!(value.as_str(), "non-Primary" | "Disconnected") => f.write_str(value),
            Self::NotPrimary(value) => write!(f, "wsrep_cluster_status={}", short(value)),
            Self::WsrepOff => f.write_str("not replicating (wsrep_on=OFF)"),
            Self::NotConnected => f.write_str("not connected to the group (wsrep_connected=OFF)"),
            Self::State(name, state) => write!(f, "{name} (wsrep_local_state={state})"),
            Self::NotReady => f.write_str("not ready (wsrep_ready=OFF)"),
            Self::RejectsQueries(value) => write!(f, "wsrep_reject_queries={}", short(value)),
            Self::Maintenance(value) => write!(f, "pxc_maint_mode={}", short(value)),
            Self::ReadOnly(value) => write!(f, "read_only={}", short(value)),
            Self::RowMissing(name) if name.starts_with("wsrep") => write!(f, "not a Galera node ({name} is missing)"),
            Self::RowMissing(name) => write!(f, "the row {name} is missing"),
            Self::RowStrange(name, value) => write!(f, "unknown value {name}={}", short(value)),
            Self::Unreachable(why) => write!(f, "unreachable ({})", told(why)),
            Self::LoginRefused(why) => write!(f, "{} ({})", who_refused(why), told(why)),
            Self::LoginRefusedLastResort(why) => {
                write!(f, "{} ({}), last resort: it was fit before and no node is now", who_refused(why), told(why))
            }
            Self::NoEntry(why) => write!(f, "check cannot get in ({})", told(why)),
        }
    }
}

/// Code 0: no server said no, it was us who would not or could not log in there.
fn who_refused(why: &LoginFailure) -> &'static str {
    if why.code == 0 { "check does not log in" } else { "check's login refused" }
}

/// A value from a peer.
fn short(value: &str) -> String {
    plain(value, 40)
}

/// A failure in a peer's words.
fn told(why: &impl fmt::Display) -> String {
    plain(&why.to_string(), 160)
}

/// A peer's text, cut so that it cannot flood a log line or crowd the other nodes out of an ERR packet, and without
/// characters that could begin a line of their own.
fn plain(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
