//! Every enumerated value, for reading and for printing.

use super::model::{
    Agreement, Balance, CipherSuite, ClientAuth, CrlScope, Discover, DonorRule, Failback, Group, LogFormat, LogLevel,
    LogTo, NodeKind, Protocol, ProxyVersion, ReaderRule, Role, SessionRule, SplitBrain, TlsMode, TlsVersion,
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

pub(super) const CLIENT_AUTH: Words<ClientAuth> =
    &[("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("require", ClientAuth::Require)];

/// What of a peer's certificate is looked at: the short form of what `PeerRules` says in single rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Its chain and its name.
    Full,
    /// Its chain.
    Ca,
    /// Its key, or that it is itself in the store.
    Pinned,
    /// Nothing.
    Off,
}

/// What is looked at in a server's certificate.
pub(super) const VERIFY: Words<Verify> =
    &[("full", Verify::Full), ("ca", Verify::Ca), ("pinned", Verify::Pinned), ("off", Verify::Off)];

/// What is looked at in a client's certificate. Its names are another key's matter, and nothing is that of `client_auth`.
pub(super) const VERIFY_CLIENT: Words<Verify> = &[("ca", Verify::Ca), ("pinned", Verify::Pinned)];

pub(super) const CRL_SCOPE: Words<CrlScope> = &[("chain", CrlScope::Chain), ("leaf", CrlScope::Leaf)];

pub(super) const TLS_VERSION: Words<TlsVersion> = &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];

/// By the names of IANA's registry "TLS Cipher Suites"; those of TLS 1.3 also as rustls writes them.
pub(super) const CIPHER_SUITE: Words<CipherSuite> = &[
    ("TLS_AES_256_GCM_SHA384", CipherSuite::Aes256GcmSha384),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::Aes128GcmSha256),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::Chacha20Poly1305Sha256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheEcdsaAes256GcmSha384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheEcdsaAes128GcmSha256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdheEcdsaChacha20Poly1305Sha256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdheRsaAes256GcmSha384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdheRsaAes128GcmSha256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdheRsaChacha20Poly1305Sha256),
    ("TLS13_AES_256_GCM_SHA384", CipherSuite::Aes256GcmSha384),
    ("TLS13_AES_128_GCM_SHA256", CipherSuite::Aes128GcmSha256),
    ("TLS13_CHACHA20_POLY1305_SHA256", CipherSuite::Chacha20Poly1305Sha256),
];

/// By the names of IANA's registry "TLS Supported Groups".
pub(super) const GROUP: Words<Group> = &[
    ("X25519MLKEM768", Group::X25519Mlkem768),
    ("x25519", Group::X25519),
    ("secp256r1", Group::Secp256r1),
    ("secp384r1", Group::Secp384r1),
    ("secp521r1", Group::Secp521r1),
];

/// Where log lines go; the path of a file stands beside the words.
pub(super) const LOG: Words<LogTo> =
    &[("stderr", LogTo::Stderr), ("journald", LogTo::Journald), ("syslog", LogTo::Syslog)];

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
