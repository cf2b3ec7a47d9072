//! MySQL's Group Replication: what a member says of itself and of the others.
//!
//! MySQL 8.4 manual, "The replication_group_members Table" and "Server States": a row for each member as this one sees it;
//! `MEMBER_STATE` is ONLINE, RECOVERING, OFFLINE, ERROR or UNREACHABLE, `MEMBER_ROLE` PRIMARY or SECONDARY and empty while
//! it takes no part. Where the plugin is configured and not started there is one row, OFFLINE, with or without an id. A
//! group goes on only while more than half of its members reach each other; the others wait for ever, and say
//! UNREACHABLE of those that they have lost. MySQL 5.7 has no `MEMBER_ROLE`.

use super::super::reason::Reason;
use super::super::status::Rows;
use super::Channel;

#[cfg(test)]
mod tests;

/// The members of the group, by a server that is configured for one; the second where it does not know the column of the
/// first ([`NO_SUCH_COLUMN`]).
pub const GROUP_QUERIES: [&str; 2] = [
    "SELECT MEMBER_ID, MEMBER_STATE, MEMBER_ROLE FROM performance_schema.replication_group_members",
    "SELECT MEMBER_ID, MEMBER_STATE FROM performance_schema.replication_group_members",
];

/// `ER_BAD_FIELD_ERROR`.
pub const NO_SUCH_COLUMN: u16 = 1054;

/// Whether these variables are those of a server that is configured for a group. MariaDB has none of them, and neither has
/// a MySQL server without the plugin.
pub fn is_in_group(rows: &Rows) -> bool {
    rows.get("group_replication_group_name").is_some_and(|name| !name.is_empty())
}

/// What a server says of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// It is in none.
    None,
    /// The account may not see it; the server's words.
    Unreadable(String),
    /// What it sees.
    Seen(GroupView),
}

/// A group as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupView {
    /// The member's own state.
    state: String,
    /// Its role, empty where it has none or the server knows of none.
    role: String,
    /// Members that reach each other, of all.
    reachable: usize,
    total: usize,
    /// The UUIDs of the others that it reaches.
    others: Vec<String>,
}

impl Group {
    /// Reads the rows of the server with this UUID.
    pub(super) fn new(uuid: Option<&str>, members: Option<Result<Vec<Channel>, String>>) -> Self {
        let members = match members {
            None => return Self::None,
            Some(Err(said)) => return Self::Unreadable(said),
            Some(Ok(members)) => members,
        };
        let value = |row: &Channel, name: &str| row.get(name).cloned().unwrap_or_default();
        let is_own = |row: &&Channel| {
            let id = value(row, "member_id");
            // A plugin that was never started knows no id.
            id.is_empty() && members.len() == 1 || Some(id.as_str()) == uuid
        };
        let reached = |row: &&Channel| value(row, "member_state") != "UNREACHABLE";
        let own = members.iter().find(is_own);
        Self::Seen(GroupView {
            state: own.map_or_else(|| "not a member".to_owned(), |row| value(row, "member_state")),
            role: own.map_or_else(String::new, |row| value(row, "member_role")),
            reachable: members.iter().filter(reached).count(),
            total: members.len(),
            others: members
                .iter()
                .filter(|row| !is_own(row) && reached(row))
                .map(|row| value(row, "member_id"))
                .collect(),
        })
    }

    /// Why nobody may be sent there.
    pub(super) fn fault(&self) -> Option<Reason> {
        match self {
            Self::None => None,
            Self::Unreadable(said) => Some(Reason::GroupUnreadable(said.clone())),
            Self::Seen(view) if view.state != "ONLINE" => Some(Reason::GroupState(view.state.clone())),
            Self::Seen(view) if view.reachable * 2 <= view.total => {
                Some(Reason::GroupMinority(view.reachable, view.total))
            }
            Self::Seen(_) => None,
        }
    }

    /// What it does not forbid: a secondary takes no writes, whatever its variables say, and a member without its group none
    /// that last.
    pub(super) fn lets_write(&self) -> bool {
        match self {
            Self::None | Self::Unreadable(_) => true,
            Self::Seen(view) => view.role != "SECONDARY" && self.fault().is_none(),
        }
    }

    /// The UUIDs of the others whose transactions it gets.
    pub(super) fn others(&self) -> &[String] {
        match self {
            Self::Seen(view) => &view.others,
            Self::None | Self::Unreadable(_) => &[],
        }
    }

    /// What it rests on, for the status.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, String)> {
        let Self::Seen(view) = self else { return Vec::new().into_iter() };
        vec![
            ("group_replication_member_state".to_owned(), view.state.clone()),
            ("group_replication_member_role".to_owned(), view.role.clone()),
            ("group_replication_reachable".to_owned(), format!("{} of {}", view.reachable, view.total)),
        ]
        .into_iter()
    }
}
