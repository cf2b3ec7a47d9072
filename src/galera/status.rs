//! The rows a node answers with, parsed.
//!
//! Facts of MariaDB 10.11 with galera-4 26.4 and of Percona XtraDB Cluster; the variables are documented in the
//! Galera manual ("Galera Status Variables", "MySQL wsrep Options"). Which server sends which row: [`super::rows`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{self, Row};

/// The members of the node's own component (Galera 4; "mysql.wsrep_cluster_members" in MariaDB's and Percona's manuals).
/// Needs SELECT on the table.
pub const MEMBERS_QUERY: &str = "SELECT node_uuid, node_name FROM mysql.wsrep_cluster_members";

/// All rows of one check by lower-case name. A name occurs in only one of the two queries.
pub type Rows = BTreeMap<String, String>;

/// `wsrep_local_state` (Galera manual, "Node States").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalState {
    /// 0: not connected to a component, or just started.
    Initialized,
    /// 1: asks for or receives a state transfer.
    Joiner,
    /// 2: sends a state transfer, or was desynced by hand or by a backup.
    Donor,
    /// 3: has its state and catches up; also a former donor on its way back.
    Joined,
    /// 4: serves.
    Synced,
    /// 5: the provider failed.
    Error,
}

/// One row of `mysql.wsrep_cluster_members`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `node_uuid`: the member's `wsrep_gcomm_uuid`, in lower case. Changes with each of its restarts.
    pub uuid: Box<str>,
    /// `node_name`: its `wsrep_node_name`, which a restart does not change. An arbitrator's is `garb`.
    pub name: Box<str>,
}

/// The members of a component, as one of them lists them.
pub type Members = Arc<[Listed]>;

/// What a node's rows say, as far as a verdict needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// `wsrep_local_state`.
    pub local_state: LocalState,
    /// `wsrep_cluster_status` as it stands; only `Primary` may serve.
    pub cluster_status: String,
    /// `wsrep_connected`. Stays ON in a partitioned node, so it never proves Primary.
    pub connected: bool,
    /// `wsrep_ready`.
    pub ready: bool,
    /// `wsrep_cluster_state_uuid`: the history this node holds.
    pub state_uuid: String,
    /// `wsrep_cluster_size`, where it could be read.
    pub cluster_size: Option<u64>,
    /// `wsrep_reject_queries`: `NONE`, `ALL` or `ALL_KILL`; `None` where the server has no such variable.
    pub reject_queries: Option<String>,
    /// `wsrep_sst_donor_rejects_queries`; counts only in state 2.
    pub donor_rejects_queries: bool,
    /// `pxc_maint_mode`, Percona only.
    pub pxc_maint_mode: Option<String>,
    /// `offline_mode`, MySQL's and Percona's: anything but OFF and 0 shuts ordinary accounts out.
    pub offline: bool,
    /// `read_only`: anything but OFF and 0 is read-only.
    pub read_only: Option<String>,
    /// `Threads_connected` and `max_connections`.
    pub connections: Option<(u64, u64)>,
    /// `wsrep_gcomm_uuid`: this node in the group, in lower case.
    pub uuid: Option<Box<str>>,
    /// `wsrep_node_name`.
    pub name: Option<Box<str>>,
    /// `mysql.wsrep_cluster_members`, where the account may read it and the node is Primary.
    pub members: Option<Members>,
    /// Every row as the node sent it.
    pub rows: Rows,
}

/// Why rows do not make a [`NodeStatus`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// `wsrep_on` is OFF: the server replicates nothing, whatever its other rows say.
    WsrepOff,
    /// The row that every Galera node sends is not there.
    Missing(&'static str),
    /// A value that no known version sends.
    Strange(&'static str, String),
}

impl NodeStatus {
    /// Reads rows. A missing or strange row that a verdict needs is an error: the caller must treat the node as
    /// unfit, since MariaDB without a provider prints some static `wsrep_*` rows too.
    pub fn from_rows(rows: Rows) -> Result<Self, (Unreadable, Rows)> {
        match Self::read(&rows) {
            Ok(status) => Ok(Self { rows, ..status }),
            Err(e) => Err((e, rows)),
        }
    }

    fn read(rows: &Rows) -> Result<Self, Unreadable> {
        // First: MariaDB sends no rows of the provider while it is OFF. Where it is missing it is no global variable, and
        // says nothing of the node.
        if switch(rows, &rows::WSREP_ON)? == Some(false) {
            return Err(Unreadable::WsrepOff);
        }
        let local_state = match required(rows, &rows::LOCAL_STATE)? {
            "0" => LocalState::Initialized,
            "1" => LocalState::Joiner,
            "2" => LocalState::Donor,
            "3" => LocalState::Joined,
            "4" => LocalState::Synced,
            "5" => LocalState::Error,
            other => return Err(Unreadable::Strange(rows::LOCAL_STATE.name, other.to_owned())),
        };
        let owned = |row: &Row| value(rows, row).map(str::to_owned);
        let number = |row: &Row| value(rows, row).and_then(|v| v.parse::<u64>().ok());
        Ok(Self {
            local_state,
            cluster_status: required(rows, &rows::CLUSTER_STATUS)?.to_owned(),
            connected: required_switch(rows, &rows::CONNECTED)?,
            ready: required_switch(rows, &rows::READY)?,
            state_uuid: required(rows, &rows::CLUSTER_STATE_UUID)?.to_owned(),
            cluster_size: number(&rows::CLUSTER_SIZE),
            reject_queries: owned(&rows::REJECT_QUERIES),
            // Needed only of a donor, and one whose value is not understood is taken as one that rejects.
            donor_rejects_queries: !matches!(switch(rows, &rows::SST_DONOR_REJECTS_QUERIES), Ok(None | Some(false))),
            pxc_maint_mode: owned(&rows::PXC_MAINT_MODE),
            offline: value(rows, &rows::OFFLINE_MODE).is_some_and(|v| !matches!(v, "OFF" | "0")),
            read_only: owned(&rows::READ_ONLY),
            connections: number(&rows::THREADS_CONNECTED).zip(number(&rows::MAX_CONNECTIONS)),
            uuid: value(rows, &rows::GCOMM_UUID).map(|v| v.to_ascii_lowercase().into()),
            name: value(rows, &rows::NODE_NAME).map(Into::into),
            members: None,
            rows: Rows::new(),
        })
    }
}

impl NodeStatus {
    /// The same with the members that were read beside the rows.
    pub fn with_members(self, members: Option<Members>) -> Self {
        Self { members, ..self }
    }

    /// A row that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.rows.get(name).and_then(|v| v.parse().ok())
    }
}

/// A row's value; an empty one counts as none.
fn value<'a>(rows: &'a Rows, row: &Row) -> Option<&'a str> {
    rows.get(row.name).map(String::as_str).filter(|v| !v.is_empty())
}

fn required<'a>(rows: &'a Rows, row: &Row) -> Result<&'a str, Unreadable> {
    value(rows, row).ok_or(Unreadable::Missing(row.name))
}

fn switch(rows: &Rows, row: &Row) -> Result<Option<bool>, Unreadable> {
    match value(rows, row) {
        None => Ok(None),
        Some("ON" | "1") => Ok(Some(true)),
        Some("OFF" | "0") => Ok(Some(false)),
        Some(other) => Err(Unreadable::Strange(row.name, other.to_owned())),
    }
}

fn required_switch(rows: &Rows, row: &Row) -> Result<bool, Unreadable> {
    switch(rows, row)?.ok_or(Unreadable::Missing(row.name))
}
