//! What a check of a running node says about bootstrapping.

use std::collections::BTreeSet;

use crate::galera::files::{Position, Uuid};
use crate::galera::observation::Check;
use crate::galera::status::Rows;

/// What a check brought.
#[derive(Debug, Clone)]
pub enum Live {
    /// It answered.
    Answered(Box<Answer>),
    /// It runs, but what it holds cannot be read; why.
    Unreadable(String),
    /// It did not answer; why.
    Silent(String),
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// How a client reaches it, as options of `mariadb`: `-h db1 -P 3307`.
    pub client_options: String,
    /// `wsrep_cluster_status` is `Primary`.
    pub primary: bool,
    /// `wsrep_cluster_status` is `non-Primary` and `wsrep_connected` ON: in a group that only lacks a quorum.
    pub in_group: bool,
    /// `wsrep_local_state` 1: its data are being replaced.
    pub joiner: bool,
    /// `wsrep_local_state_uuid` and `wsrep_last_committed`. In a component that is not Primary they stay as they were.
    pub position: Option<Position>,
    /// `wsrep_gcomm_uuid`: itself in the group.
    pub member: Option<Uuid>,
    /// `wsrep_cluster_size`.
    pub size: Option<u64>,
    /// `wsrep_local_index`: its place among the members.
    pub index: Option<u64>,
    /// The UUIDs of `mysql.wsrep_cluster_members`, where the account may read it: the members of its component.
    pub members: Option<BTreeSet<String>>,
    /// `wsrep_incoming_addresses`, where every member has one; `AUTO` and an empty entry name nobody.
    pub addresses: Option<BTreeSet<String>>,
    /// It still applies what it has received, so its position moves on (`wsrep_local_recv_queue`).
    pub applying: bool,
    /// `wsrep_local_state` 2 or 3: a donor, desynced, or on the way back. Its view may be late.
    pub desynced: bool,
    /// Percona's: it knows `pxc_maint_mode`.
    pub percona: bool,
    /// Whether it knows `wsrep_provider_pc_bootstrap`, as MariaDB does while its plugin `wsrep_provider` is active (the
    /// default of Debian 13: seen on 11.8); `wsrep_provider_options` is then read-only. `None`: it showed no variable.
    pub provider_variables: Option<bool>,
}

impl Live {
    /// Reads a check. `client_options` as in [`Answer`].
    pub fn from_check(check: &Check, client_options: &str) -> Self {
        match check {
            Check::Answered(status) => match Self::from_rows(&status.rows, client_options) {
                Self::Answered(answer) => {
                    let members = status.members.as_ref().map(|all| all.iter().map(|m| m.uuid.to_string()).collect());
                    Self::Answered(Box::new(Answer { members, ..*answer }))
                }
                other => other,
            },
            Check::Unreadable(_, rows) => Self::from_rows(rows, client_options),
            Check::Server(_) | Check::Open => Self::Unreadable("it was not asked as a Galera node".to_owned()),
            Check::Unreachable { why, .. } => Self::Silent(why.to_string()),
            Check::LoginRefused(why) => Self::Unreadable(format!("it runs and refuses the login ({why})")),
            Check::Offline(why) => Self::Unreadable(format!("it runs in offline mode ({why})")),
            Check::NoEntry(why) => Self::Unreadable(format!("it runs and the check cannot get in ({why})")),
            Check::NotMade(why) => Self::Silent(format!("it could not be checked: {why}")),
        }
    }

    fn from_rows(rows: &Rows, client_options: &str) -> Self {
        let text = |name: &str| rows.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let number = |name: &str| text(name).and_then(|v| v.parse::<u64>().ok());
        let Some(status) = text("wsrep_cluster_status") else {
            return Self::Unreadable("it runs and is no Galera node (wsrep_cluster_status is missing)".to_owned());
        };
        // A server without a provider prints wsrep rows too. One that is Primary is a member, whatever its sessions do.
        if status != "Primary" && matches!(text("wsrep_on"), Some("OFF" | "0")) {
            let why = "it runs outside the cluster (wsrep_on=OFF): what it wrote meanwhile is in no seqno";
            return Self::Unreadable(why.to_owned());
        }
        // What the node itself holds. The cluster's is another one while it waits for a state transfer.
        let uuid = text("wsrep_local_state_uuid").or(text("wsrep_cluster_state_uuid")).and_then(Uuid::parse);
        let seqno = number("wsrep_last_committed").filter(|n| i64::try_from(*n).is_ok());
        let entries: Vec<&str> =
            rows.get("wsrep_incoming_addresses").map(|a| a.split(',').collect()).unwrap_or_default();
        let clear = !entries.is_empty() && entries.iter().all(|e| !e.trim().is_empty() && *e != "AUTO");
        Self::Answered(Box::new(Answer {
            client_options: client_options.to_owned(),
            primary: status == "Primary",
            in_group: status == "non-Primary" && text("wsrep_connected") == Some("ON"),
            joiner: text("wsrep_local_state") == Some("1"),
            position: uuid.map(|uuid| Position { uuid, seqno }),
            member: text("wsrep_gcomm_uuid").and_then(Uuid::parse).filter(|u| !u.is_zero()),
            size: number("wsrep_cluster_size"),
            index: number("wsrep_local_index"),
            members: None,
            addresses: clear.then(|| entries.iter().map(|e| e.trim().to_owned()).collect()),
            applying: number("wsrep_local_recv_queue").is_some_and(|n| n > 0),
            desynced: matches!(text("wsrep_local_state"), Some("2" | "3")),
            percona: rows.contains_key("pxc_maint_mode"),
            provider_variables: rows
                .contains_key("read_only")
                .then(|| rows.contains_key("wsrep_provider_pc_bootstrap")),
        }))
    }
}
