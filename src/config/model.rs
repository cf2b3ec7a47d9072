//! The resolved configuration: what every other room is built from.
//!
//! Nothing here knows a file format. A value that must not be (a duration of zero where time must pass, a
//! service without a cluster, two nodes of one name) does not get this far: [`super::load`] refuses it with a
//! place in the file.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;

/// One whole configuration, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The clusters, in the order of the file; names are unique.
    pub clusters: Vec<Arc<Cluster>>,
    /// The services, in the order of the file; names are unique.
    pub services: Vec<Arc<Service>>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[process]`.
    pub process: Process,
}

/// `[cluster.NAME]`: a set of nodes and how they are watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The name in the section's header.
    pub name: Arc<str>,
    /// At least one; names are unique within the cluster.
    pub nodes: Vec<NodeSpec>,
    /// `.monitor`.
    pub monitor: Monitor,
    /// `.eligibility`.
    pub eligibility: Eligibility,
    /// `.sessions`.
    pub sessions: Sessions,
}

/// One node as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Label in messages, API and metrics. By default the host where the port is 3306, else `HOST:PORT`.
    pub name: Arc<str>,
    /// Where clients are sent.
    pub address: HostPort,
    /// Share of new sessions, 0 to 256; 0 = no new session.
    pub weight: u16,
}

/// A host (name or address, IPv6 without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// DNS name, IPv4 or IPv6 address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `[cluster.NAME.monitor]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// The account that checks; needs no privilege beyond USAGE.
    pub user: String,
    /// Its password, from `password`, `password_file` or `password_env`; empty if none was given.
    pub password: Secret,
    /// Time between checks of a node that is not in doubt.
    pub interval: Duration,
    /// Time between checks of a node in doubt; at most `interval`.
    pub fast_interval: Duration,
    /// Deadline of one whole check: connect, login, query.
    pub timeout: Duration,
    /// Good checks in a row before a node serves again; at least 1.
    pub rise: u32,
    /// Failed checks in a row before a node stops serving; at least 1.
    pub fall: u32,
    /// After this long without an answer a hung node's sessions end.
    pub down_after: Duration,
    /// The port that is checked, where it is not the node's own.
    pub port: Option<u16>,
    /// TLS inside the MySQL protocol.
    pub tls: MonitorTls,
}

/// How the monitor's connection uses TLS inside the MySQL protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitorTls {
    /// What is asked of the server.
    pub mode: TlsMode,
    /// Trust anchors (PEM file); the system's where absent. Read by `VerifyCa` and `VerifyIdentity` only.
    pub ca: Option<PathBuf>,
    /// Our certificate chain (PEM) and its key, both or neither.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The four modes of TLS inside the MySQL protocol, named as MySQL's clients name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Off,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, the chain ends at a trusted anchor.
    VerifyCa,
    /// The same, and the certificate names the host.
    VerifyIdentity,
}

/// `[cluster.NAME.eligibility]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eligibility {
    /// What a Donor/Desynced node may do.
    pub donor: DonorRule,
    /// A node this close to its `max_connections` gets nobody new while another has room.
    pub connection_margin: u32,
}

/// What a node in state 2, or in state 3 while ready, may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DonorRule {
    /// Never serve.
    Never,
    /// Serve only while no node of the cluster is Synced.
    LastResort,
    /// Serve as a Synced node does.
    Always,
}

/// `[cluster.NAME.sessions]`: what becomes of established sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// … of a node that is unreachable, non-Primary or not ready.
    pub on_down: SessionRule,
    /// … of a node that became Donor/Desynced.
    pub on_donor: SessionRule,
    /// What a drain leaves after this time is ended.
    pub drain_timeout: Duration,
}

/// `kill` or `keep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRule {
    /// End the sessions.
    Kill,
    /// Leave them alone.
    Keep,
}

/// `[service.NAME]`: accepts connections and hands them to a cluster's nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name in the section's header.
    pub name: Arc<str>,
    /// At least one address to listen on. Port 0 means: the kernel picks one.
    pub accept: Vec<SocketAddr>,
    /// The name of one of [`Config::clusters`].
    pub cluster: Arc<str>,
    /// Which of the cluster's nodes.
    pub role: Role,
    /// How one of them is picked.
    pub balance: Balance,
    /// What is known of the bytes.
    pub protocol: Protocol,
    /// Distinct nodes tried from one snapshot; at least 1.
    pub attempts: u32,
    /// TCP connect to a node.
    pub connect_timeout: Duration,
    /// The node's first packet, protocol mysql.
    pub greeting_timeout: Duration,
    /// From accept to a node's greeting: the deadline of the whole search.
    pub queue_timeout: Duration,
    /// Sessions at once; further clients wait in the queue. At least 1.
    pub max_connections: u32,
    /// Clients that wait; further ones are turned away.
    pub max_queue: u32,
    /// No byte either way for this long ends a session; `None` = off.
    pub idle_timeout: Option<Duration>,
    /// TCP keepalive on both sides: first probe after this; `None` = off.
    pub keepalive: Option<Duration>,
    /// No acknowledgement at all for this long while data is outstanding ends a session; `None` = off.
    pub user_timeout: Option<Duration>,
    /// A living peer whose window stays closed this long ends a session; `None` = off.
    pub stall_timeout: Option<Duration>,
    /// After one side's end of data, silence of the other for this long ends the session.
    pub half_close_timeout: Duration,
}

/// Which nodes of a cluster a service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Any node that may serve.
    Any,
}

/// How one of the eligible nodes is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, in proportion to the weights.
    RoundRobin,
    /// The fewest sessions in proportion to the weight.
    LeastConnections,
}

/// What a service knows of the bytes it relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The node greets first: a node without a greeting is not passed on to the client.
    Mysql,
    /// Bytes only.
    Tcp,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// HTTP; `None` = off.
    pub listen: Option<SocketAddr>,
}

/// `[process]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Worker threads; `None` = one per core (`workers = 0`).
    pub workers: Option<u32>,
    /// Least level of log lines.
    pub log_level: LogLevel,
    /// Their form.
    pub log_format: LogFormat,
    /// One line of target `access` for each closed connection.
    pub access_log: bool,
    /// How long sessions may go on after SIGTERM or SIGINT.
    pub shutdown_timeout: Duration,
}

/// `log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed and an operator must act.
    Error,
    /// Something is wrong but goes on.
    Warn,
    /// Starts, stops, verdict changes.
    Info,
    /// Each connection's way.
    Debug,
    /// Each check.
    Trace,
}

/// `log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
