//! Why a node may or may not serve: the value that decided, in words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::observation::{ConnectFailure, LoginFailure, Unreachable};
use super::server::Grant;

/// Why a node is to be watched no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// Its name does not lead to it any more.
    Name,
    /// The configuration does not name it any more.
    Configuration,
}

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
    /// The same, and it is the writer, which goes on taking writers for this long.
    DonorWriter {
        /// 2 or 3.
        state: u8,
        /// `donor_grace`.
        grace: Duration,
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
    /// `offline_mode=ON`; where the check was refused for it, the server's words.
    OfflineMode(Option<LoginFailure>),
    /// `read_only`; its value.
    ReadOnly(String),
    /// A server by itself that takes writes.
    Writable,
    /// One that does not, and replicates nothing.
    OnlyRead,
    /// One that takes writes, although it replicates.
    WritableReplica,
    /// The writer, which nobody is sent to who only reads; why.
    WritesOnly(Box<Reason>),
    /// It takes writes beside these servers, and lacks what is written there.
    Apart(Arc<str>),
    /// A member of a replication group that is not ONLINE; its state.
    GroupState(String),
    /// One that reaches no majority of its group: how many members reach each other, and how many there are.
    GroupMinority(usize, usize),
    /// The group's members cannot be seen; the server's words.
    GroupUnreadable(String),
    /// A replica that replicates.
    Replicates,
    /// A replica that cannot reach its source, or does not know how far behind it is.
    SourceLost,
    /// The same, for longer than it may be behind.
    SourceLostTooLong,
    /// The same, and it serves since no better node does.
    SourceLostLastResort,
    /// A replica that is too far behind: seconds, and how many it may be.
    Lagging(u64, Duration),
    /// A replica that does not replicate; what does not run.
    ReplicationStopped(String),
    /// Whether it replicates cannot be seen; the server's words.
    ReplicationUnreadable(String),
    /// It is meant to be a replica and is none.
    NoReplica,
    /// It takes connections, and more is not asked.
    Open,
    /// It is to be watched no longer.
    Left(Departure),
    /// It was given as it is, and nobody watches it.
    Given,
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
    /// The same, and nodes that answer list it as a member: it goes on serving, loudly.
    LoginRefusedMember(LoginFailure),
    /// The server lets the check in no further than an error about itself, and never did.
    NoEntry(LoginFailure),
    /// Its check answers on a connection of old, and new ones fail.
    NoNewConnections(ConnectFailure),
    /// The same, and it serves since no other node does.
    NoNewConnectionsLastResort(ConnectFailure),
    /// Its UUID in the group is that of another configured node.
    SameNode(Arc<str>),
    /// It holds another history than the one that may serve.
    Foreign {
        /// `wsrep_cluster_state_uuid`.
        history: Box<str>,
        /// Its own name.
        node: Arc<str>,
        /// The configuration names the history that may serve; else it was learned.
        configured: bool,
    },
    /// It is Primary without a history, and the configuration names one.
    NoHistory,
    /// Its view of the cluster is out of date: it lists this node, whose newer view lacks it.
    StaleView(Arc<str>),
    /// It is Primary in another component than the one that is served, as far as the checks have shown yet. The nodes
    /// that are served.
    Outside(Arc<str>),
    /// Two components are Primary, for certain, and the other one is served. Its nodes.
    Fenced(Arc<str>),
    /// Two components are Primary and nothing decides between them.
    Undecided,
    /// Two components are Primary and `split_brain = "refuse"`.
    Refused,
    /// The operator's word.
    Drained,
    /// The same, for work on it.
    UnderMaintenance,
    /// It is no longer the writer; the node that is.
    Demoted(Arc<str>),
}

impl Reason {
    /// The node takes new connections, but late.
    pub fn is_late(&self) -> bool {
        matches!(
            self,
            Self::NoNewConnections(ConnectFailure::Late { .. })
                | Self::NoNewConnectionsLastResort(ConnectFailure::Late { .. })
        )
    }

    /// A constant word for metrics labels.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Synced => "synced",
            Self::Donor { .. } | Self::DonorWriter { .. } | Self::DonorLastResort { .. } => "donor",
            Self::DonorRejects => "donor_rejects_queries",
            Self::NotPrimary(_) => "non_primary",
            Self::WsrepOff => "wsrep_off",
            Self::NotConnected => "not_connected",
            Self::State(..) => "local_state",
            Self::NotReady => "not_ready",
            Self::RejectsQueries(_) => "reject_queries",
            Self::Maintenance(_) => "pxc_maint_mode",
            Self::OfflineMode(_) => "offline_mode",
            Self::ReadOnly(_) => "read_only",
            Self::Writable => "read_write",
            Self::OnlyRead => "only_read",
            Self::WritableReplica => "writable_replica",
            Self::WritesOnly(why) => why.label(),
            Self::Apart(_) => "apart",
            Self::GroupState(_) => "group_state",
            Self::GroupMinority(..) => "group_minority",
            Self::GroupUnreadable(_) => "group_unreadable",
            Self::Replicates => "replicates",
            Self::SourceLost | Self::SourceLostTooLong | Self::SourceLostLastResort => "source_lost",
            Self::Lagging(..) => "replication_lag",
            Self::ReplicationStopped(_) => "replication_stopped",
            Self::ReplicationUnreadable(_) => "replication_unreadable",
            Self::NoReplica => "no_replica",
            Self::Open => "open",
            Self::Left(_) => "left",
            Self::Given => "given",
            Self::RowMissing(_) | Self::RowStrange(..) => "not_galera",
            Self::Unreachable(_) => "unreachable",
            Self::LoginRefused(_) | Self::LoginRefusedLastResort(_) | Self::LoginRefusedMember(_) => "login_refused",
            Self::NoEntry(_) => "no_entry",
            Self::NoNewConnections(ConnectFailure::Late { .. })
            | Self::NoNewConnectionsLastResort(ConnectFailure::Late { .. }) => "answers_late",
            Self::NoNewConnections(_) | Self::NoNewConnectionsLastResort(_) => "no_new_connections",
            Self::SameNode(_) => "same_node",
            Self::Foreign { .. } => "foreign_history",
            Self::NoHistory => "no_history",
            Self::StaleView(_) => "stale_view",
            Self::Outside(_) => "outside_component",
            Self::Fenced(_) | Self::Undecided | Self::Refused => "split_brain",
            Self::Drained => "drained",
            Self::UnderMaintenance => "maintenance",
            Self::Demoted(_) => "demoted",
        }
    }

    /// It is about how old a server's data may be, which is no hindrance to writing there.
    pub(super) fn is_of_replication(&self) -> bool {
        matches!(
            self,
            Self::ReplicationStopped(_) | Self::ReplicationUnreadable(_) | Self::Lagging(..) | Self::SourceLostTooLong
        )
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
            | Self::Foreign { .. }
            | Self::Fenced(_)
            | Self::Undecided
            | Self::Refused
            | Self::GroupState(_)
            | Self::GroupMinority(..)
            | Self::Unreachable(_) => Consequence::Down,
            Self::RejectsQueries(_)
            | Self::Maintenance(_)
            | Self::OfflineMode(_)
            | Self::ReadOnly(_)
            | Self::DonorRejects
            | Self::Lagging(..)
            | Self::ReplicationStopped(_)
            | Self::NoReplica
            | Self::SourceLostTooLong
            | Self::Apart(_)
            | Self::Left(_) => Consequence::Veto,
            Self::Donor { .. } | Self::DonorWriter { .. } | Self::DonorLastResort { .. } => Consequence::Donor,
            Self::NotChecked
            | Self::Synced
            | Self::Writable
            | Self::OnlyRead
            | Self::WritableReplica
            | Self::WritesOnly(_)
            | Self::GroupUnreadable(_)
            | Self::Replicates
            | Self::SourceLost
            | Self::SourceLostLastResort
            | Self::ReplicationUnreadable(_)
            | Self::Open
            | Self::Given
            | Self::LoginRefused(_)
            | Self::LoginRefusedLastResort(_)
            | Self::LoginRefusedMember(_)
            | Self::NoEntry(_)
            | Self::NoNewConnections(_)
            | Self::NoNewConnectionsLastResort(_)
            | Self::SameNode(_)
            | Self::NoHistory
            | Self::StaleView(_)
            | Self::Outside(_)
            | Self::Drained
            | Self::UnderMaintenance
            | Self::Demoted(_) => Consequence::None,
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
            Self::DonorWriter { state, grace } => {
                let donor = Self::Donor { state: *state };
                write!(f, "{donor}, keeps the writer role for up to {} s (donor_grace)", grace.as_secs_f64())
            }
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
            Self::OfflineMode(None) => f.write_str("offline_mode=ON"),
            Self::OfflineMode(Some(said)) => write!(f, "offline_mode=ON ({})", told(said)),
            Self::ReadOnly(value) => write!(f, "read_only={}", short(value)),
            Self::Writable => f.write_str("takes writes (read_only=OFF)"),
            Self::OnlyRead => f.write_str("read-only"),
            Self::WritableReplica => f.write_str("takes writes and replicates (read_only=OFF)"),
            Self::WritesOnly(why) => write!(f, "takes writes; not for readers: {why}"),
            Self::Apart(others) => write!(f, "takes writes beside {others}, and lacks what is written there"),
            Self::GroupState(state) => write!(f, "Group Replication: {}", short(state)),
            Self::GroupMinority(reachable, total) => {
                write!(f, "Group Replication: no majority ({reachable} of {total} members reach each other)")
            }
            // ER_TABLEACCESS_DENIED_ERROR.
            Self::GroupUnreadable(said) if said.starts_with("error 1142") => write!(
                f,
                "Group Replication unreadable (it needs GRANT SELECT ON performance_schema.replication_group_members; {})",
                told(said)
            ),
            Self::GroupUnreadable(said) => write!(f, "Group Replication unreadable ({})", told(said)),
            Self::Replicates => f.write_str("replicates"),
            Self::SourceLost => f.write_str("replication cannot reach its source"),
            Self::SourceLostTooLong => {
                f.write_str("replication cannot reach its source, perhaps further behind than max_replication_lag")
            }
            Self::SourceLostLastResort => {
                f.write_str("replication cannot reach its source, last resort: no better node serves")
            }
            Self::Lagging(seconds, most) => {
                write!(f, "{seconds} s behind its source (max_replication_lag = {} s)", most.as_secs_f64())
            }
            Self::ReplicationStopped(what) => write!(f, "replication stopped ({})", told(what)),
            // ER_SPECIFIC_ACCESS_DENIED_ERROR.
            Self::ReplicationUnreadable(said) if said.starts_with("error 1227") => {
                write!(f, "replication unreadable ({}; {Grant})", told(said))
            }
            Self::ReplicationUnreadable(said) => write!(f, "replication unreadable ({})", told(said)),
            Self::NoReplica => f.write_str("not a replica"),
            Self::Open => f.write_str("takes connections"),
            Self::Left(Departure::Name) => f.write_str("its name does not lead here any more"),
            Self::Left(Departure::Configuration) => f.write_str("taken out of the configuration"),
            Self::Given => f.write_str("not watched"),
            Self::RowMissing(name) if name.starts_with("wsrep") => write!(f, "not a Galera node ({name} is missing)"),
            Self::RowMissing(name) => write!(f, "the row {name} is missing"),
            Self::RowStrange(name, value) => write!(f, "unknown value {name}={}", short(value)),
            Self::Unreachable(why) => write!(f, "unreachable ({})", told(why)),
            Self::LoginRefused(why) => write!(f, "{} ({})", who_refused(why), told(why)),
            Self::LoginRefusedLastResort(why) => {
                write!(f, "{} ({}), last resort: it was fit before and no node is now", who_refused(why), told(why))
            }
            Self::LoginRefusedMember(why) => {
                write!(f, "{} ({}); the others list it as a member, so it serves on", who_refused(why), told(why))
            }
            Self::NoEntry(why) => write!(f, "check cannot get in ({})", told(why)),
            Self::NoNewConnections(why) => refuses_connections(f, why),
            Self::NoNewConnectionsLastResort(why) => {
                refuses_connections(f, why)?;
                f.write_str(", last resort: no other node serves")
            }
            Self::SameNode(other) => write!(f, "the same server as node {other}"),
            Self::Foreign { history, configured: true, .. } => {
                write!(f, "foreign history {} (state_uuid names another)", short(history))
            }
            Self::Foreign { history, node, configured: false } => {
                write!(
                    f,
                    "foreign history {}; to accept it: galeway node {node} ready --accept-history",
                    short(history)
                )
            }
            Self::NoHistory => f.write_str("no history (wsrep_cluster_state_uuid is zero; state_uuid names one)"),
            Self::StaleView(other) => write!(f, "its view is out of date: {other} does not list it"),
            Self::Outside(served) if served.is_empty() => f.write_str("which component is served is not decided yet"),
            Self::Outside(served) => write!(f, "not in the component that is served ({served})"),
            Self::Fenced(served) => write!(f, "split brain: fenced, {served} is served"),
            Self::Undecided => f.write_str("split brain: nothing decides which side to serve"),
            Self::Refused => f.write_str("split brain: refused (split_brain = \"refuse\")"),
            Self::Drained => f.write_str("drained by the operator"),
            Self::UnderMaintenance => f.write_str("under maintenance"),
            Self::Demoted(writer) => write!(f, "no longer the writer: {writer} is"),
        }
    }
}

fn refuses_connections(f: &mut fmt::Formatter<'_>, why: &ConnectFailure) -> fmt::Result {
    match why {
        ConnectFailure::Late { .. } => write!(
            f,
            "answers late ({}): raise the monitor's timeout and the services' greeting_timeout, or set skip_name_resolve \
             on the server",
            told(why)
        ),
        _ => write!(f, "takes no new connections ({})", told(why)),
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
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
