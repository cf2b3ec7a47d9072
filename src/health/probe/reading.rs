//! What a conversation's outcome says of the node.

use crate::galera::Members;
use crate::galera::observation::{Check, LoginFailure, Unreachable};
use crate::galera::status::{NodeStatus, Rows};
use crate::mysql::{Error, Meaning, Phase};
use crate::net::is_local_shortage;

pub(super) fn read(rows: Rows, members: Option<Members>) -> Check {
    match NodeStatus::from_rows(rows) {
        Ok(status) => Check::Answered(Box::new(status.with_members(members))),
        Err((why, rows)) => Check::Unreadable(why, rows),
    }
}

pub(in crate::health) fn unreachable(why: Unreachable) -> Check {
    Check::Unreachable { why, sure: false }
}

/// What a failed conversation says of the node.
pub(super) fn failure(e: Error) -> Check {
    if e.is_login_refused() {
        return Check::LoginRefused(login_failure(&e));
    }
    let closed = |phase| match phase {
        Phase::Greeting => "greeting",
        Phase::Login => "login",
        Phase::Idle => "idleness",
        Phase::Command => "query",
    };
    match e {
        Error::Server { phase, ref error } => match (error.meaning(), phase) {
            // What a server sends unasked is its last word on that connection.
            (_, Phase::Idle) => unreachable(Unreachable::Ended(error.to_string())),
            // In answer to a query too: MAX_QUERIES_PER_HOUR is a limit of the account, and no fault of the node.
            (Meaning::CannotGetIn, _) => Check::NoEntry(login_failure(&e)),
            (Meaning::Offline, _) => Check::Offline(login_failure(&e)),
            // Of a session that was killed MySQL says too that the server is shutting down.
            (Meaning::SessionOver | Meaning::GoingDown, Phase::Command) => {
                unreachable(Unreachable::Ended(error.to_string()))
            }
            _ => unreachable(Unreachable::Said(error.to_string())),
        },
        Error::Io { ref source, .. } if is_local_shortage(source) => Check::NotMade(e.to_string()),
        Error::Io { phase, .. } => unreachable(Unreachable::Closed(closed(phase))),
        Error::Tls(e) => unreachable(Unreachable::Tls(e.to_string())),
        other => unreachable(Unreachable::Protocol(other.to_string())),
    }
}

fn login_failure(e: &Error) -> LoginFailure {
    match e.server_error() {
        Some(server) => LoginFailure { code: server.code, message: server.message.clone() },
        None => LoginFailure { code: 0, message: e.to_string() },
    }
}
