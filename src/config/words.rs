//! Every enumerated value, for reading and for printing.

use super::model::{
    Agreement, Balance, Discover, DonorRule, Failback, LogFormat, LogLevel, NodeKind, Protocol, ProxyVersion,
    ReaderRule, Role, SessionRule, SplitBrain, TlsMode,
};

/// A value as written, and what it means.
pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const KIND: Words<NodeKind> =
    &[("galera", NodeKind::Galera), ("mysql", NodeKind::Mysql), ("tcp", NodeKind::Tcp)];

pub(super) const DISCOVER: Words<Discover> =
    &[("off", Discover::Off), ("galera", Discover::Galera), ("dns", Discover::Dns)];

pub(super) const TLS: Words<TlsMode> = &[
    ("off", TlsMode::Off),
    ("require", TlsMode::Require),
    ("verify-ca", TlsMode::VerifyCa),
    ("verify-identity", TlsMode::VerifyIdentity),
];

pub(super) const DONOR: Words<DonorRule> =
    &[("never", DonorRule::Never), ("last-resort", DonorRule::LastResort), ("always", DonorRule::Always)];

pub(super) const SESSION: Words<SessionRule> = &[("kill", SessionRule::Kill), ("keep", SessionRule::Keep)];

pub(super) const SPLIT_BRAIN: Words<SplitBrain> = &[("fence", SplitBrain::Fence), ("refuse", SplitBrain::Refuse)];

/// The words; a time of stability stands beside them.
pub(super) const FAILBACK: Words<Failback> = &[("never", Failback::Never), ("immediate", Failback::Immediate)];

pub(super) const AGREEMENT: Words<Agreement> = &[("local", Agreement::Local), ("cluster", Agreement::Cluster)];

pub(super) const ROLE: Words<Role> = &[("any", Role::Any), ("writer", Role::Writer), ("reader", Role::Reader)];

pub(super) const READER: Words<ReaderRule> =
    &[("never", ReaderRule::Never), ("last-resort", ReaderRule::LastResort), ("always", ReaderRule::Always)];

/// The balance of a service for a cluster.
pub(super) const BALANCE: Words<Balance> = &[
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
    ("random", Balance::Random),
    ("source", Balance::Source),
    ("first", Balance::First),
];

/// The balance of a service for fixed addresses.
pub(super) const FAILOVER: Words<Balance> = &[("first", Balance::First), ("round-robin", Balance::RoundRobin)];

pub(super) const PROTOCOL: Words<Protocol> = &[("mysql", Protocol::Mysql), ("tcp", Protocol::Tcp)];

/// Whether clients bring a header of the PROXY protocol.
pub(super) const PROXY_IN: Words<bool> = &[("off", false), ("require", true)];

/// Whether nodes get one.
pub(super) const PROXY_OUT: Words<Option<ProxyVersion>> =
    &[("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))];

pub(super) const LOG_LEVEL: Words<LogLevel> = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

pub(super) const LOG_FORMAT: Words<LogFormat> = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// How a value is written.
pub(super) fn written<T: PartialEq>(words: Words<T>, value: &T) -> &'static str {
    words.iter().find(|(_, meaning)| meaning == value).map_or("", |(word, _)| *word)
}
