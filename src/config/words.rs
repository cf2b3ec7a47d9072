//! Every enumerated value, for reading and for printing.

use super::model::{
    Agreement, Balance, DonorRule, Failback, LogFormat, LogLevel, Protocol, ReaderRule, Role, SessionRule, SplitBrain,
    TlsMode,
};

/// A value as written, and what it means; `None` for one that a later version brings.
pub(super) type Words<T> = &'static [(&'static str, Option<T>)];

/// The one kind of monitor there is yet has no type of its own.
pub(super) const MONITOR_KIND: Words<()> = &[("galera", Some(())), ("mysql", None), ("tcp", None)];

pub(super) const TLS: Words<TlsMode> = &[
    ("off", Some(TlsMode::Off)),
    ("require", Some(TlsMode::Require)),
    ("verify-ca", Some(TlsMode::VerifyCa)),
    ("verify-identity", Some(TlsMode::VerifyIdentity)),
];

pub(super) const DONOR: Words<DonorRule> = &[
    ("never", Some(DonorRule::Never)),
    ("last-resort", Some(DonorRule::LastResort)),
    ("always", Some(DonorRule::Always)),
];

pub(super) const SESSION: Words<SessionRule> = &[("kill", Some(SessionRule::Kill)), ("keep", Some(SessionRule::Keep))];

pub(super) const SPLIT_BRAIN: Words<SplitBrain> =
    &[("fence", Some(SplitBrain::Fence)), ("refuse", Some(SplitBrain::Refuse))];

/// The words; a time of stability stands beside them.
pub(super) const FAILBACK: Words<Failback> =
    &[("never", Some(Failback::Never)), ("immediate", Some(Failback::Immediate))];

pub(super) const AGREEMENT: Words<Agreement> =
    &[("local", Some(Agreement::Local)), ("cluster", Some(Agreement::Cluster))];

pub(super) const ROLE: Words<Role> =
    &[("any", Some(Role::Any)), ("writer", Some(Role::Writer)), ("reader", Some(Role::Reader))];

pub(super) const READER: Words<ReaderRule> = &[
    ("never", Some(ReaderRule::Never)),
    ("last-resort", Some(ReaderRule::LastResort)),
    ("always", Some(ReaderRule::Always)),
];

pub(super) const BALANCE: Words<Balance> = &[
    ("round-robin", Some(Balance::RoundRobin)),
    ("least-connections", Some(Balance::LeastConnections)),
    ("random", None),
    ("source", None),
    ("first", None),
];

pub(super) const PROTOCOL: Words<Protocol> = &[("mysql", Some(Protocol::Mysql)), ("tcp", Some(Protocol::Tcp))];

pub(super) const LOG_LEVEL: Words<LogLevel> = &[
    ("error", Some(LogLevel::Error)),
    ("warn", Some(LogLevel::Warn)),
    ("info", Some(LogLevel::Info)),
    ("debug", Some(LogLevel::Debug)),
    ("trace", Some(LogLevel::Trace)),
];

pub(super) const LOG_FORMAT: Words<LogFormat> = &[("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))];

/// How a value is written.
pub(super) fn written<T: PartialEq>(words: Words<T>, value: &T) -> &'static str {
    words.iter().find(|(_, meaning)| meaning.as_ref() == Some(value)).map_or("", |(word, _)| *word)
}
