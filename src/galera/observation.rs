//! What one check of one node brought.

use std::fmt;
use std::time::{Duration, Instant};

use super::server::ServerStatus;
use super::status::{NodeStatus, Rows, Unreadable};

/// One check.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When it began: nothing it saw is older.
    pub begun: Instant,
    /// What it brought.
    pub check: Check,
}

/// How a check ended.
#[derive(Debug, Clone)]
pub enum Check {
    /// The node answered with rows that can be read.
    Answered(Box<NodeStatus>),
    /// The node answered with rows that cannot.
    Unreadable(Unreadable, Rows),
    /// A server that is no member answered.
    Server(Box<ServerStatus>),
    /// It took the connection, and nothing more was asked.
    Open,
    /// No answer.
    Unreachable {
        /// Why.
        why: Unreachable,
        /// The check's own connection was closed, and the node then refused new ones or closed them without a greeting: that
        /// needs no second opinion.
        sure: bool,
    },
    /// The server refused the login: a matter of accounts, not of the node's health.
    LoginRefused(LoginFailure),
    /// The server's own word that it was taken away from its clients (`offline_mode`).
    Offline(LoginFailure),
    /// The server cannot let the check in just now (full, host blocked): says nothing of its health.
    NoEntry(LoginFailure),
    /// It could not be made for a reason of our own; says nothing of the node.
    NotMade(String),
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreachable {
    /// The name does not resolve; the resolver's words.
    CannotResolve(String),
    /// Connection refused.
    Refused,
    /// Nothing within the check's deadline; which step hung.
    TimedOut(&'static str),
    /// The connection ended at this step.
    Closed(&'static str),
    /// The server's error in place of an answer.
    Said(String),
    /// The server's last word on a session that had been well: a new one tells what is true.
    Ended(String),
    /// Bytes that are no MySQL server's.
    Protocol(String),
    /// TLS failed.
    Tls(String),
    /// Any other error of the network.
    Io(String),
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotResolve(_) => f.write_str("cannot resolve"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut(step) => write!(f, "no answer: {step} timed out"),
            Self::Closed(step) => write!(f, "connection closed during {step}"),
            Self::Said(error) | Self::Ended(error) => write!(f, "it answers: {error}"),
            Self::Protocol(what) => write!(f, "not understood: {what}"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Io(what) => f.write_str(what),
        }
    }
}

/// A server's ERR packet to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFailure {
    /// The server's error code; 0 where we ourselves would not log in.
    pub code: u16,
    /// Its text.
    pub message: String,
}

impl fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.message.as_str()) {
            (0, message) => f.write_str(message),
            (code, "") => write!(f, "{code}"),
            (code, message) => write!(f, "{code} {message}"),
        }
    }
}

/// One attempt to log in on a new connection, beside the kept check or in its place.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// When it began.
    pub begun: Instant,
    /// How it ended.
    pub outcome: ConnectOutcome,
}

/// How an attempt on a new connection ended.
#[derive(Debug, Clone)]
pub enum ConnectOutcome {
    /// The server greeted and dealt with the login, whatever it thought of the account.
    Taken,
    /// The same, but only after the check's own deadline.
    Late {
        /// What hung at the deadline.
        step: &'static str,
        /// How long it took in all.
        after: Duration,
    },
    /// The server has no connection left (error 1040).
    Full(LoginFailure),
    /// It did not come to that.
    Failed(Unreachable),
}

/// Why a node counts as one that takes no new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// No greeting, or an error in its place.
    NotTaken(Unreachable),
    /// Full for too long.
    Full(LoginFailure),
    /// Too late: see [`ConnectOutcome::Late`].
    Late {
        /// What hung at the check's deadline.
        step: &'static str,
        /// How long it took in all.
        after: Duration,
    },
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(why) => why.fmt(f),
            Self::Full(why) => why.fmt(f),
            Self::Late { step, after } => write!(f, "{step} timed out, done after {:.1} s", after.as_secs_f64()),
        }
    }
}
