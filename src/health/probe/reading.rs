//! What a conversation's outcome says of the node.

use crate::galera::Members;
use crate::galera::observation::{Check, LoginFailure, Unreachable};
use crate::galera::status::{NodeStatus, Rows};
use crate::mysql::{Error, Meaning, Phase};
use crate::net::is_local_shortage;

/// `ER_UNKNOWN_COM_ERROR` (Galera's "not ready"), `ER_SERVER_SHUTDOWN`, `ER_NORMAL_SHUTDOWN`.
const GOING_DOWN: [u16; 3] = [1047, 1053, 1077];

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
        // In answer to a query too: MAX_QUERIES_PER_HOUR is a limit of the account, and no fault of the node.
        Error::Server { ref error, .. } if error.meaning() == Meaning::CannotGetIn => Check::NoEntry(login_failure(&e)),
        // What else a server answers to a login (a plugin it lacks, an account's rules) is a matter of the account, unless
        // it says that it is going down or cannot serve.
        Error::Server { ref error, phase: Phase::Login } if !GOING_DOWN.contains(&error.code) => {
            Check::LoginRefused(login_failure(&e))
        }
        Error::Server { error, .. } => unreachable(Unreachable::Said(error.to_string())),
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
