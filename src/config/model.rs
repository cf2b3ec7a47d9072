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
use super::words;

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
    /// `.writer`.
    pub writer: Writer,
    /// `.sessions`.
    pub sessions: Sessions,
    /// What is served while there are two Primary components.
    pub split_brain: SplitBrain,
    /// The only history that may serve, as a lower case UUID; `None` = the one that is learned.
    pub state_uuid: Option<Arc<str>>,
}

/// What is served while there are two Primary components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBrain {
    /// One of them, the others are fenced.
    Fence,
    /// None.
    Refuse,
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
    /// Where it stands among those that could be the writer: the larger first, then the order of the nodes.
    pub priority: u32,
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
    /// The account that checks; needs SELECT on `mysql.wsrep_cluster_members` and nothing else.
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eligibility {
    /// What a Donor/Desynced node may do.
    pub donor: DonorRule,
    /// A node this close to its `max_connections` gets nobody new while another has room.
    pub connection_margin: u32,
    /// A node with a longer `wsrep_local_recv_queue` gets nobody new, until it is below half of it; `None` = off.
    pub max_recv_queue: Option<u64>,
    /// A node whose own flow control paused the cluster for a larger share of the time, over 0 and up to 1, gets nobody
    /// new, until it is below half of it; `None` = off.
    pub max_flow_control_paused: Option<f64>,
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

/// `[cluster.NAME.writer]`: which node the services of role writer are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// When a preferred writer that returned takes the role back.
    pub failback: Failback,
    /// How balancers beside each other come to one writer.
    pub agreement: Agreement,
    /// The account that reads and writes the record; present exactly with [`Agreement::Cluster`].
    pub login: Option<RecordLogin>,
}

/// When a preferred writer that returned takes the role back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// Not while the present one is eligible.
    Never,
    /// At once.
    Immediate,
    /// Once it has been eligible this long.
    After(Duration),
}

/// How balancers beside each other come to one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Each by itself: equal inputs, equal choice.
    Local,
    /// Through a record that the cluster replicates.
    Cluster,
}

/// The account for the record of the writer; never the monitor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLogin {
    /// Its name; not empty.
    pub user: String,
    /// Its password; empty if none was given.
    pub password: Secret,
}

/// `[cluster.NAME.sessions]`: what becomes of established sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// … of a node that is unreachable, non-Primary or not ready.
    pub on_down: SessionRule,
    /// … of a node that became Donor/Desynced.
    pub on_donor: SessionRule,
    /// … of services of role writer, of a node that lost the role.
    pub on_demote: SessionRule,
    /// What a drain leaves after this time is ended.
    pub drain_timeout: Duration,
    /// Sessions that are ended are ended spread over this time; zero = at once.
    pub kill_spread: Duration,
    /// A returning node's weight rises to its own over this time; zero = at once.
    pub slow_start: Duration,
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
    /// Whether the writer is among the readers; looked at with [`Role::Reader`] only.
    pub reader_includes_writer: ReaderRule,
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
    /// The one node that is the cluster's writer.
    Writer,
    /// Those that are not, see [`ReaderRule`].
    Reader,
}

impl Role {
    /// As configured, shown and logged.
    pub fn as_str(self) -> &'static str {
        words::written(words::ROLE, &self)
    }
}

/// Whether a service of role reader sends clients to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderRule {
    /// Never.
    Never,
    /// Only while no other node may serve.
    LastResort,
    /// As to any other node.
    Always,
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
    /// HTTP over a Unix socket; `None` = off.
    pub socket: Option<AdminSocket>,
    /// What a change over TCP has to show; `None` = TCP is read-only. Visible ASCII, not empty.
    pub token: Option<Secret>,
}

/// Where the admin address listens on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    /// Absolute, and short enough for a socket.
    pub path: PathBuf,
    /// Whether it was asked for: it is not the default. What nobody asked for may fail with a warning.
    pub written: bool,
}

/// `[process]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Worker threads; `None` = one per core (`workers = 0`).
    pub workers: Option<u32>,
    /// Where what a restart must not forget is kept; `None` = it is forgotten.
    pub state_dir: Option<StateDir>,
    /// Least level of log lines.
    pub log_level: LogLevel,
    /// Their form.
    pub log_format: LogFormat,
    /// One line of target `access` for each closed connection.
    pub access_log: bool,
    /// How long sessions may go on after SIGTERM or SIGINT.
    pub shutdown_timeout: Duration,
}

/// The directory of what a restart must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    /// Absolute.
    pub path: PathBuf,
    /// Whether it was asked for: it is not the default. What nobody asked for may fail with a warning.
    pub written: bool,
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
