//! Nodes that are no members of a Galera cluster: servers by themselves, and asynchronous replicas of it.
//!
//! Facts of MariaDB's and MySQL's manuals ("SHOW REPLICA STATUS", "SHOW ALL SLAVES STATUS", "read_only") and of
//! MariaDB 10.11: `Slave_IO_Running` is `Yes`, `No` or `Connecting`, `Slave_SQL_Running` `Yes` or `No`, the lag is NULL
//! while either of them does not run. MySQL 8.4 knows the names with `Replica` and `Source` only.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::fitness::Fitness;
use super::reason::Reason;
use super::settings::Sort;
use super::status::Rows;
use group::Group;
pub use group::{GROUP_QUERIES, NO_SUCH_COLUMN, is_in_group};
pub(super) use links::Links;

mod group;
mod links;

/// `SHOW GLOBAL VARIABLES` rows that a check of a server reads.
pub const SERVER_VARIABLES_QUERY: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', \
    'offline_mode', 'max_connections', 'version', 'server_id', 'server_uuid', 'group_replication_group_name')";

/// `SHOW GLOBAL STATUS` rows that it reads.
pub const SERVER_STATUS_QUERY: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'wsrep_cluster_state_uuid')";

/// What to ask for all channels of a replica, by what the server calls itself (`version`); the second where it does not
/// understand the first ([`NOT_UNDERSTOOD`]). MariaDB's shorter form shows the unnamed channel only; MySQL learned the new
/// name with 8.0.22.
pub fn replication_queries(version: &str) -> &'static [&'static str] {
    if version.contains("MariaDB") {
        &["SHOW ALL SLAVES STATUS"]
    } else {
        &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]
    }
}

/// `ER_PARSE_ERROR`.
pub const NOT_UNDERSTOOD: u16 = 1064;

/// One row of what was asked, by lower-case name; NULL is left out.
pub type Channel = BTreeMap<String, String>;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// `read_only`: anything but OFF and 0 is read-only. `None`: the row is missing.
    read_only: Option<String>,
    /// `super_read_only`, MySQL only.
    super_read_only: Option<String>,
    replication: Replication,
    takeover: Takeover,
    group: Group,
    links: Links,
    /// `Threads_connected` and `max_connections`.
    pub connections: Option<(u64, u64)>,
    /// Every row as the server sent it, those of the first channel included.
    pub rows: Rows,
}

/// Whether a server that takes writes may be made the writer, as far as its replication goes. The worse is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takeover {
    /// It applies what it gets, or replicates nothing. A source that cannot be reached is no hindrance: that is when it is
    /// needed.
    Ready,
    /// Only where no other server is known to take writes, which it may lack: it was stopped by hand, fails to read from its
    /// source, or does not show what it does.
    Alone,
    /// An error stopped it: it lacks what came after.
    Never,
}

/// What it replicates.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Replication {
    /// Nothing.
    None,
    /// The account may not see it; the server's words.
    Unreadable(String),
    /// A thread does not run; which, and the error that stopped it.
    Stopped(String),
    /// It runs, and cannot reach its source now.
    Cut,
    /// It runs. Seconds behind its source; `None` where the server does not say.
    Runs(Option<u64>),
}

impl ServerStatus {
    /// Reads the rows of the variables, of the replication's channels, and of its group's members where it is in one; an error
    /// is the server's answer to the question for those. Of several channels the worst counts.
    pub fn new(
        mut rows: Rows,
        mut channels: Result<Vec<Channel>, String>,
        members: Option<Result<Vec<Channel>, String>>,
    ) -> Self {
        let number = |name: &str| rows.get(name).and_then(|v| v.parse().ok());
        let connections = number("threads_connected").zip(number("max_connections"));
        let group = Group::new(rows.get("server_uuid").map(String::as_str), members);
        if let Ok(channels) = &mut channels {
            channels.retain(|row| !is_of_group(row));
        }
        let (replication, takeover) = match &channels {
            Err(said) => (Replication::Unreadable(said.clone()), Takeover::Alone),
            Ok(channels) => (
                channels.iter().map(channel).max_by_key(badness).unwrap_or(Replication::None),
                channels.iter().map(takeover).max().unwrap_or(Takeover::Ready),
            ),
        };
        let links = Links::new(&rows, channels.as_deref().unwrap_or_default(), group.others());
        let (read_only, super_read_only) = (rows.get("read_only").cloned(), rows.get("super_read_only").cloned());
        rows.extend(group.rows());
        if let Ok([first, ..]) = channels.as_deref() {
            // What somebody wants to see who asks why. The rest names hosts and accounts, and the texts of errors hold queries.
            let told = |(name, _): &(&String, &String)| {
                name.ends_with("_running") || name.starts_with("seconds_behind") || name.ends_with("_errno")
            };
            rows.extend(first.iter().filter(told).map(|(name, value)| (name.clone(), value.clone())));
        }
        Self { read_only, super_read_only, replication, takeover, group, links, connections, rows }
    }

    /// It takes writes.
    pub fn is_writable(&self) -> bool {
        let is_open =
            self.read_only.as_deref().is_some_and(is_off) && self.super_read_only.as_deref().is_none_or(is_off);
        is_open && self.group.lets_write()
    }

    /// The account misses a right without which it does not serve, or not all.
    pub fn lacks_right(&self) -> bool {
        matches!(self.replication, Replication::Unreadable(_)) || matches!(self.group, Group::Unreadable(_))
    }

    /// It is a member of its group that works, or of none.
    pub(super) fn has_its_group(&self) -> bool {
        self.group.fault().is_none()
    }

    /// Whether it may be made the writer, if it takes writes.
    pub(super) fn takeover(&self) -> Takeover {
        self.takeover
    }

    /// Who it is, and whose transactions it gets.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// Seconds behind its source, where it says so.
    pub(super) fn lag(&self) -> Option<u64> {
        if let Replication::Runs(lag) = self.replication { lag } else { None }
    }

    /// What the server may do as `sort`, by what it holds: whether it takes writes is another matter. `reached`: when its lag
    /// was known last, and what it was.
    ///
    /// A replica that cannot reach its source falls behind without a number that says so. It is taken for as far behind as
    /// it was, and the time since; beyond `most` it serves only where no better node does, which is when its source's site
    /// is lost.
    pub(super) fn judge(
        &self,
        sort: Sort,
        most: Option<Duration>,
        reached: Option<(Instant, u64)>,
        now: Instant,
    ) -> (Fitness, Reason) {
        let unfit = |reason| (Fitness::None, reason);
        if self.rows.get("offline_mode").is_some_and(|value| !is_off(value)) {
            return unfit(Reason::OfflineMode(None));
        }
        if sort == Sort::Server {
            if self.read_only.is_none() {
                return unfit(Reason::RowMissing("read_only"));
            }
            if let Some(fault) = self.group.fault() {
                return unfit(fault);
            }
        }
        let is_writable = sort == Sort::Server && self.is_writable();
        let behind = |lag: u64| most.is_some_and(|most| Duration::from_secs(lag) > most);
        match &self.replication {
            Replication::None if sort == Sort::Replica => unfit(Reason::NoReplica),
            Replication::None if is_writable => (Fitness::Full, Reason::Writable),
            Replication::None => (Fitness::Full, Reason::OnlyRead),
            Replication::Unreadable(said) => unfit(Reason::ReplicationUnreadable(said.clone())),
            Replication::Stopped(what) => unfit(Reason::ReplicationStopped(what.clone())),
            Replication::Runs(Some(lag)) if behind(*lag) => unfit(Reason::Lagging(*lag, most.unwrap_or_default())),
            Replication::Runs(Some(_)) if is_writable => (Fitness::Full, Reason::WritableReplica),
            Replication::Runs(Some(_)) => (Fitness::Full, Reason::Replicates),
            Replication::Runs(None) | Replication::Cut => {
                let lag = reached.map(|(at, lag)| lag.saturating_add(now.saturating_duration_since(at).as_secs()));
                let known = most.is_none() || lag.is_some_and(|lag| !behind(lag));
                if known { (Fitness::Full, Reason::SourceLost) } else { (Fitness::Spare, Reason::SourceLostTooLong) }
            }
        }
    }
}

/// Errors of a client that cannot reach a server or lost it: CR_CONNECTION_ERROR, CR_CONN_HOST_ERROR, CR_UNKNOWN_HOST,
/// CR_SERVER_GONE_ERROR, CR_SERVER_LOST (MySQL "Client Error Message Reference").
const UNREACHABLE: [u32; 5] = [2002, 2003, 2005, 2006, 2013];

fn is_off(value: &str) -> bool {
    matches!(value, "OFF" | "0")
}

/// A channel of Group Replication's own, which its table of members tells of (MySQL manual, "Group Replication Channels").
fn is_of_group(row: &Channel) -> bool {
    row.get("channel_name").is_some_and(|name| name.starts_with("group_replication_"))
}

fn value<'a>(row: &'a Channel, names: [&str; 2]) -> Option<&'a str> {
    names.iter().find_map(|name| row.get(*name)).map(String::as_str)
}

/// The number of an error, and never its text, which holds the statement that failed.
fn errno(row: &Channel, name: &str) -> Option<u32> {
    row.get(name).and_then(|n| n.parse::<u32>().ok()).filter(|n| *n != 0)
}

fn channel(row: &Channel) -> Replication {
    let value = |names| value(row, names);
    let errno = |name| errno(row, name);
    let io = value(["slave_io_running", "replica_io_running"]);
    let sql = value(["slave_sql_running", "replica_sql_running"]);
    let stopped = |thread: &str, state: Option<&str>, errno: Option<u32>| {
        let error = errno.map_or_else(String::new, |n| format!(", error {n}"));
        Replication::Stopped(format!("{thread}={}{error}", state.unwrap_or("?")))
    };
    match (io, sql) {
        (_, sql) if sql != Some("Yes") => stopped("SQL_Running", sql, errno("last_sql_errno")),
        (Some("Yes"), _) => {
            let lag = value(["seconds_behind_master", "seconds_behind_source"]);
            Replication::Runs(lag.and_then(|seconds| seconds.parse().ok()))
        }
        (Some("Connecting" | "Preparing"), _) => Replication::Cut,
        // It has given up trying, as MySQL 8.4 does after 10 minutes.
        (Some("No"), _) if errno("last_io_errno").is_some_and(|n| UNREACHABLE.contains(&n)) => Replication::Cut,
        (io, _) => stopped("IO_Running", io, errno("last_io_errno")),
    }
}

fn takeover(row: &Channel) -> Takeover {
    let applies = value(row, ["slave_sql_running", "replica_sql_running"]) == Some("Yes");
    match channel(row) {
        _ if !applies && errno(row, "last_sql_errno").is_some() => Takeover::Never,
        Replication::Stopped(_) => Takeover::Alone,
        _ => Takeover::Ready,
    }
}

/// The worse is larger.
fn badness(replication: &Replication) -> (u8, u64) {
    match replication {
        Replication::None => (0, 0),
        Replication::Runs(Some(lag)) => (1, *lag),
        Replication::Runs(None) => (2, 0),
        Replication::Cut => (3, 0),
        Replication::Unreadable(_) => (4, 0),
        Replication::Stopped(_) => (5, 0),
    }
}

/// The right that a check of a replica needs, by the server's family.
pub(super) struct Grant;

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it needs GRANT SLAVE MONITOR on MariaDB, REPLICATION CLIENT on MySQL")
    }
}

#[cfg(test)]
mod tests;
