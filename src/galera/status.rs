//! The rows a node answers with, parsed.
//!
//! Facts of MariaDB 10.11 with galera-4 26.4 and of Percona XtraDB Cluster; the variables are documented in the
//! Galera manual ("Galera Status Variables", "MySQL wsrep Options").

use std::collections::BTreeMap;
use std::sync::Arc;

/// The members of the node's own component (Galera 4; "mysql.wsrep_cluster_members" in MariaDB's and Percona's manuals).
/// Needs SELECT on the table.
pub const MEMBERS_QUERY: &str = "SELECT node_uuid, node_name FROM mysql.wsrep_cluster_members";

/// `SHOW GLOBAL STATUS` rows that a check reads, beside everything that starts with `wsrep_`.
pub const STATUS_QUERY: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%' OR Variable_name = 'Threads_connected'";

/// `SHOW GLOBAL VARIABLES` rows that a check reads.
pub const VARIABLES_QUERY: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_on', 'wsrep_desync', \
     'wsrep_reject_queries', 'wsrep_sst_donor_rejects_queries', 'wsrep_node_name', 'wsrep_cluster_name', \
     'wsrep_provider_pc_bootstrap', 'pxc_maint_mode', 'read_only', 'super_read_only', 'max_connections')";

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
    /// `wsrep_on`, a system variable: OFF takes the node out of replication.
    pub wsrep_on: bool,
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
    /// `wsrep_reject_queries`: `NONE`, `ALL` or `ALL_KILL`.
    pub reject_queries: String,
    /// `wsrep_sst_donor_rejects_queries`; counts only in state 2.
    pub donor_rejects_queries: bool,
    /// `pxc_maint_mode`, Percona only.
    pub pxc_maint_mode: Option<String>,
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
        let local_state = match text(rows, "wsrep_local_state")? {
            "0" => LocalState::Initialized,
            "1" => LocalState::Joiner,
            "2" => LocalState::Donor,
            "3" => LocalState::Joined,
            "4" => LocalState::Synced,
            "5" => LocalState::Error,
            other => return Err(Unreadable::Strange("wsrep_local_state", other.to_owned())),
        };
        let number = |name: &str| rows.get(name).and_then(|v| v.parse::<u64>().ok());
        Ok(Self {
            wsrep_on: switch(rows, "wsrep_on")?,
            local_state,
            cluster_status: text(rows, "wsrep_cluster_status")?.to_owned(),
            connected: switch(rows, "wsrep_connected")?,
            ready: switch(rows, "wsrep_ready")?,
            state_uuid: text(rows, "wsrep_cluster_state_uuid")?.to_owned(),
            cluster_size: number("wsrep_cluster_size"),
            reject_queries: text(rows, "wsrep_reject_queries")?.to_owned(),
            // Needed only of a donor, and a donor of which it cannot be read is taken as one that rejects.
            donor_rejects_queries: !matches!(switch(rows, "wsrep_sst_donor_rejects_queries"), Ok(false)),
            pxc_maint_mode: rows.get("pxc_maint_mode").cloned(),
            read_only: rows.get("read_only").cloned(),
            connections: number("threads_connected").zip(number("max_connections")),
            uuid: rows.get("wsrep_gcomm_uuid").filter(|v| !v.is_empty()).map(|v| v.to_ascii_lowercase().into()),
            name: rows.get("wsrep_node_name").filter(|v| !v.is_empty()).map(|v| v.as_str().into()),
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

fn text<'a>(rows: &'a Rows, name: &'static str) -> Result<&'a str, Unreadable> {
    match rows.get(name) {
        Some(v) if !v.is_empty() => Ok(v),
        _ => Err(Unreadable::Missing(name)),
    }
}

fn switch(rows: &Rows, name: &'static str) -> Result<bool, Unreadable> {
    match text(rows, name)? {
        "ON" | "1" => Ok(true),
        "OFF" | "0" => Ok(false),
        other => Err(Unreadable::Strange(name, other.to_owned())),
    }
}
