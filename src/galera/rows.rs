//! The rows that a check of a Galera node reads, and which server sends them.
//!
//! [`ALL`] is what the check asks for and what [`super::status`] reads. A row that a supported server does not send
//! ([`Row::absent_in`]) must not be required: a healthy node of that product would be excluded. `tests/fixtures/rows`
//! holds the rows of each product, and the tests compare this table with them.
//!
//! Sources, besides the manuals of MariaDB ("Galera Cluster Status Variables", "Galera Cluster System Variables") and
//! Percona ("Index of wsrep status variables", "Index of wsrep system variables" of 5.7, 8.0 and 8.4): the lists of all
//! names that the products' own test `galera.galera_defaults` recorded, as each fixture names them.

use std::sync::LazyLock;

/// The statement that brings a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// `SHOW GLOBAL STATUS`.
    Status,
    /// `SHOW GLOBAL VARIABLES`.
    Variables,
}

/// A server that may be a node of a Galera cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// MariaDB before 10.1.32, with Galera 3.
    MariaDb101,
    /// MariaDB 10.4 and newer, with Galera 4: 10.11 and 11.8 were asked; for 10.4 stands its own test's result, for 10.5,
    /// 10.6 and 11.4 the manual's pages of the variables. 12 was not asked.
    MariaDb,
    /// Percona XtraDB Cluster 5.7, with Galera 3.
    Pxc57,
    /// Percona XtraDB Cluster 8.0 and newer, with Galera 4.
    Pxc8,
    /// Galera Cluster for MySQL 5.7 (mysql-wsrep), with Galera 3.
    MysqlWsrep57,
    /// Galera Cluster for MySQL 8.0 (mysql-wsrep), with Galera 4.
    MysqlWsrep80,
}

/// What a check reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// In lower case.
    pub name: &'static str,
    /// Where it comes from.
    pub from: Statement,
    /// Without it a node is excluded.
    pub required: bool,
    /// The products that have no such row.
    pub absent_in: &'static [Product],
}

use Product::{MariaDb, MariaDb101, MysqlWsrep57, MysqlWsrep80, Pxc8, Pxc57};

const fn required_status(name: &'static str) -> Row {
    Row { name, from: Statement::Status, required: true, absent_in: &[] }
}

const fn status(name: &'static str) -> Row {
    Row { name, from: Statement::Status, required: false, absent_in: &[] }
}

const fn variable(name: &'static str, absent_in: &'static [Product]) -> Row {
    Row { name, from: Statement::Variables, required: false, absent_in }
}

/// The provider's own word: without a provider this row is missing, while a server goes on printing the others of its
/// own (`wsrep_ready`, `wsrep_connected`, `wsrep_cluster_*`; seen on MariaDB 10.11).
pub const LOCAL_STATE: Row = required_status("wsrep_local_state");
/// `Primary`, or not.
pub const CLUSTER_STATUS: Row = required_status("wsrep_cluster_status");
/// Whether the node is connected to its group.
pub const CONNECTED: Row = required_status("wsrep_connected");
/// Whether it takes queries.
pub const READY: Row = required_status("wsrep_ready");
/// The history it holds.
pub const CLUSTER_STATE_UUID: Row = required_status("wsrep_cluster_state_uuid");
/// How many members its component has.
pub const CLUSTER_SIZE: Row = status("wsrep_cluster_size");
/// The number of its view.
pub const CLUSTER_CONF_ID: Row = status("wsrep_cluster_conf_id");
/// Its component's weight. Percona's manual of 5.7 does not list it.
pub const CLUSTER_WEIGHT: Row = Row { absent_in: &[Pxc57], ..status("wsrep_cluster_weight") };
/// Its place in the component.
pub const LOCAL_INDEX: Row = status("wsrep_local_index");
/// The members' client addresses.
pub const INCOMING_ADDRESSES: Row = status("wsrep_incoming_addresses");
/// Its UUID in the group.
pub const GCOMM_UUID: Row = status("wsrep_gcomm_uuid");
/// Write sets that wait to be applied.
pub const LOCAL_RECV_QUEUE: Row = status("wsrep_local_recv_queue");
/// How long replication was paused.
pub const FLOW_CONTROL_PAUSED_NS: Row = status("wsrep_flow_control_paused_ns");
/// How often it asked the others to pause.
pub const FLOW_CONTROL_SENT: Row = status("wsrep_flow_control_sent");
/// Client connections.
pub const THREADS_CONNECTED: Row = status("threads_connected");

/// OFF takes the node out of replication; MariaDB then sends no [`LOCAL_STATE`] (seen on 10.11 and 11.8). Since
/// 5.6.27-25.13 it is a variable of the session alone in Percona XtraDB Cluster ("Scope: Session" in the manuals of
/// 5.7, 8.0 and 8.4), and such a variable has no row in `SHOW GLOBAL VARIABLES` (MySQL manual, "SHOW VARIABLES").
pub const WSREP_ON: Row = variable("wsrep_on", &[Pxc57, Pxc8]);
/// `NONE`, `ALL` or `ALL_KILL`. MariaDB has it since 10.1.32, mysql-wsrep since 5.6.29-25.14 (its release notes).
pub const REJECT_QUERIES: Row = variable("wsrep_reject_queries", &[MariaDb101]);
/// Whether a donor rejects queries.
pub const SST_DONOR_REJECTS_QUERIES: Row = variable("wsrep_sst_donor_rejects_queries", &[]);
/// ON puts the node into state 2; shown, not judged.
pub const DESYNC: Row = variable("wsrep_desync", &[]);
/// The node's name in its cluster.
pub const NODE_NAME: Row = variable("wsrep_node_name", &[]);
/// The cluster's name; shown, not judged.
pub const CLUSTER_NAME: Row = variable("wsrep_cluster_name", &[]);
/// Which statement bootstraps a non-Primary node: this variable is there where MariaDB's plugin `wsrep_provider` is active,
/// as on Debian 13 (seen on 11.8), so no product sends it always.
pub const PROVIDER_PC_BOOTSTRAP: Row =
    variable("wsrep_provider_pc_bootstrap", &[MariaDb101, MariaDb, Pxc57, Pxc8, MysqlWsrep57, MysqlWsrep80]);
/// `DISABLED`, `SHUTDOWN` or `MAINTENANCE`; Percona's own, since 5.7.16.
pub const PXC_MAINT_MODE: Row = variable("pxc_maint_mode", &[MariaDb101, MariaDb, MysqlWsrep57, MysqlWsrep80]);
/// ON: the server lets in accounts with CONNECTION_ADMIN alone. MySQL's own, since 5.7.5.
pub const OFFLINE_MODE: Row = variable("offline_mode", &[MariaDb101, MariaDb]);
/// Whether the server takes writes. MariaDB 12 has more values than ON and OFF.
pub const READ_ONLY: Row = Row { required: true, ..variable("read_only", &[]) };
/// The same for accounts that are let through by `read_only`; MySQL's own, since 5.7.8. Shown, not judged: it implies
/// `read_only`.
pub const SUPER_READ_ONLY: Row = variable("super_read_only", &[MariaDb101, MariaDb]);
/// How many client connections there may be.
pub const MAX_CONNECTIONS: Row = variable("max_connections", &[]);

/// Every row that a check reads.
pub const ALL: &[Row] = &[
    LOCAL_STATE,
    CLUSTER_STATUS,
    CONNECTED,
    READY,
    CLUSTER_STATE_UUID,
    CLUSTER_SIZE,
    CLUSTER_CONF_ID,
    CLUSTER_WEIGHT,
    LOCAL_INDEX,
    INCOMING_ADDRESSES,
    GCOMM_UUID,
    LOCAL_RECV_QUEUE,
    FLOW_CONTROL_PAUSED_NS,
    FLOW_CONTROL_SENT,
    THREADS_CONNECTED,
    WSREP_ON,
    REJECT_QUERIES,
    SST_DONOR_REJECTS_QUERIES,
    DESYNC,
    NODE_NAME,
    CLUSTER_NAME,
    PROVIDER_PC_BOOTSTRAP,
    PXC_MAINT_MODE,
    OFFLINE_MODE,
    READ_ONLY,
    SUPER_READ_ONLY,
    MAX_CONNECTIONS,
];

/// The status rows of [`ALL`], and the other ones of the provider for the status page. The pattern has no backslash: under
/// `sql_mode = NO_BACKSLASH_ESCAPES` MySQL takes one for itself and would match nothing (MySQL manual, "String
/// Comparison Functions and Operators").
pub const STATUS_QUERY: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep_%' OR Variable_name = 'Threads_connected'";

/// The variables of [`ALL`].
pub static VARIABLES_QUERY: LazyLock<String> = LazyLock::new(|| {
    let names = ALL.iter().filter(|row| row.from == Statement::Variables).map(|row| format!("'{}'", row.name));
    format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.collect::<Vec<_>>().join(", "))
});

#[cfg(test)]
mod tests;
