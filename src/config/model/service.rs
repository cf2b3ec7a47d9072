//! Services: where clients come in, and where they are sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::super::words;
use super::{Listen, Place, ProxyVersion, TlsAccept, TlsConnect};

/// `[service.NAME]`: accepts connections and hands them to a cluster's nodes, or to fixed addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name in the section's header.
    pub name: Arc<str>,
    /// At least one address to listen on. Port 0 means: the kernel picks one.
    pub accept: Vec<Listen>,
    /// Where clients are sent.
    pub target: Target,
    /// How one of the nodes is picked.
    pub balance: Balance,
    /// What is known of the bytes.
    pub protocol: Protocol,
    /// Nodes of this zone come before others; `None` = all are alike.
    pub prefer_zone: Option<Arc<str>>,
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
    /// Clients of one address at once, those that wait included; `None` = off.
    pub max_connections_per_source: Option<u32>,
    /// Clients of other networks are turned away; empty = none is.
    pub allow: Vec<IpNet>,
    /// Clients of these networks are turned away.
    pub deny: Vec<IpNet>,
    /// A PROXY protocol header tells who the client is, and is required of these peers; all others are turned away. `None` =
    /// no header is read. Whoever may open a Unix socket is trusted by that.
    pub proxy_protocol_from: Option<Vec<IpNet>>,
    /// A PROXY protocol header tells the node who the client is.
    pub send_proxy_protocol: Option<ProxyVersion>,
    /// How long a client that has to speak first may take for all of its first words.
    pub first_byte_timeout: Duration,
    /// The local address of connections to nodes; `None` = the system's choice.
    pub source: Option<IpAddr>,
    /// Listens on an address that this host does not hold yet.
    pub freebind: bool,
    /// Of Unix sockets in [`Self::accept`].
    pub socket: SocketAccess,
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
    /// TLS of the accepting side, after a PROXY header; `None` = in clear.
    pub tls: Option<Arc<TlsAccept>>,
    /// TLS of the connecting side, after our PROXY header; `None` = in clear. This is not MySQL's own, which passes through.
    pub connect_tls: Option<Arc<TlsConnect>>,
}

impl Service {
    /// The role of its clients; any where they are sent to fixed addresses.
    pub fn role(&self) -> Role {
        match &self.target {
            Target::Cluster { role, .. } => *role,
            Target::Fixed(_) => Role::Any,
        }
    }
}

/// Who may open a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// The file's mode, at most 0o777.
    pub mode: u32,
    /// Its owner, by name or number; `None` = whoever runs us.
    pub user: Option<Arc<str>>,
    /// Its group, likewise.
    pub group: Option<Arc<str>>,
}

impl SocketAccess {
    /// `USER:GROUP` as it is written, either part empty; `None` where neither is given.
    pub fn owner(&self) -> Option<String> {
        let part = |of: &Option<Arc<str>>| of.as_deref().unwrap_or_default().to_owned();
        (self.user.is_some() || self.group.is_some()).then(|| format!("{}:{}", part(&self.user), part(&self.group)))
    }
}

/// Where a service sends its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To nodes of a cluster.
    Cluster {
        /// The name of one of [`Config::clusters`].
        cluster: Arc<str>,
        /// Which of the cluster's nodes.
        role: Role,
        /// Whether the writer is among the readers; looked at with [`Role::Reader`] only.
        includes_writer: ReaderRule,
    },
    /// To these addresses, of which nothing is known but what connecting to them shows. At least one. In the order of
    /// preference with [`Balance::First`] (`failover = "first"`), else in turn.
    Fixed(Vec<Place>),
}

impl Target {
    /// The cluster, where it is one.
    pub fn cluster_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Cluster { cluster, .. } => Some(cluster),
            Self::Fixed(_) => None,
        }
    }
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
    /// The less loaded of two that are drawn, in proportion to the weights.
    Random,
    /// Always the same for one client's address, in proportion to the weights.
    Source,
    /// The first that has room.
    First,
}

/// What a service knows of the bytes it relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The node greets first: a node without a greeting is not passed on to the client.
    Mysql,
    /// Bytes only.
    Tcp,
}
