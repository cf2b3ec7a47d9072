//! Clusters: nodes, and how they are watched and judged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::super::secret::Secret;
use super::Place;

/// `[cluster.NAME]`: a set of nodes and how they are watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The name in the section's header.
    pub name: Arc<str>,
    /// At least one; names are unique within the cluster. With discovery they are the seeds.
    pub nodes: Vec<NodeSpec>,
    /// Whether nodes come and go by themselves.
    pub discovery: Discovery,
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

/// How nodes beside the configured ones are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// By what.
    pub by: Discover,
    /// Time between looks.
    pub interval: Duration,
    /// Addresses outside these networks are not taken in; empty = all are. They receive the monitor's login.
    pub allow: Vec<IpNet>,
}

/// By what nodes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discover {
    /// The configured nodes are all there are.
    Off,
    /// `wsrep_incoming_addresses` of the nodes that are served.
    Galera,
    /// Each address of a configured name is a node, for as long as the name has it.
    Dns,
}

/// One node as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Label in messages, API and metrics. By default the host where the port is 3306, else the address as written.
    pub name: Arc<str>,
    /// Where clients are sent.
    pub address: Place,
    /// Share of new sessions, 0 to 256; 0 = no new session.
    pub weight: u16,
    /// Where it stands among those that could be the writer: the larger first, then the order of the nodes.
    pub priority: u32,
    /// Where it is, for services with [`Service::prefer_zone`]; empty = nowhere in particular.
    pub zone: Arc<str>,
    /// It serves only while no other node of the service's role does.
    pub backup: bool,
    /// Sessions at once, of all services together; `None` = as many as come.
    pub max_connections: Option<u32>,
    /// What it is and how it is checked. [`NodeKind::Mysql`] in a cluster of kind Galera: an asynchronous replica.
    pub kind: NodeKind,
}

/// What a node is, and so how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeKind {
    /// A member of a Galera cluster: its wsrep state decides.
    #[default]
    Galera,
    /// A MySQL or MariaDB server: it lets us log in, `read_only` tells writers from readers, replicas must replicate.
    Mysql,
    /// Whatever takes connections.
    Tcp,
}

/// `[cluster.NAME.monitor]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// How the cluster's nodes are checked, where a node does not say otherwise.
    pub kind: NodeKind,
    /// The account that checks. A Galera check needs SELECT on `mysql.wsrep_cluster_members` and nothing else. Empty with
    /// [`NodeKind::Tcp`].
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
    /// A PROXY protocol header that speaks for nobody begins each of its connections; `None` = none does.
    pub send_proxy_protocol: Option<ProxyVersion>,
}

/// The PROXY protocol's two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
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
    /// A replica that is further behind gets nobody; `None` = however far, as long as it replicates.
    pub max_replication_lag: Option<Duration>,
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
    /// A writer that becomes a donor and goes on answering keeps the role for this long.
    pub donor_grace: Duration,
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
