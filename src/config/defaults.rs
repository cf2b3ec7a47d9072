//! What holds where the file is silent: the one place that knows the defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::address::DEFAULT_PORT;
use super::model::{
    Admin, AdminSocket, Agreement, Balance, CaStore, ClientAuth, Cluster, Discover, Discovery, DonorRule, Eligibility,
    Failback, Identity, Listen, LogFormat, LogLevel, LogTo, Monitor, MonitorTls, NodeKind, NodeSpec, PeerRules, Place,
    Process, Protocol, ReaderRule, Role, Service, SessionRule, Sessions, SocketAccess, SplitBrain, StateDir, Target,
    TlsAccept, TlsConnect, TlsProtocol, TlsVersion, Writer,
};
use super::secret::Secret;

/// A node's share of new sessions.
pub(super) const WEIGHT: u16 = 100;
/// A node's place among those that could be the writer.
pub(super) const PRIORITY: u32 = 0;

/// Where operators' tools find the admin address, without a word about it in any file.
pub const ADMIN_SOCKET: &str = "/run/galeway/admin.sock";

/// Where what a restart must not forget is kept.
pub(super) const STATE_DIR: &str = "/var/lib/galeway";

/// TCP and TLS to a target together, where TLS is asked for and the file says no other time.
pub(super) const CONNECT_TLS_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes at once: a storm of them must not hold up the bytes of sessions for long.
const HANDSHAKES: u32 = 256;

impl Monitor {
    /// A monitor that logs in as `user`, everything else by default.
    pub fn new(user: impl Into<String>, password: Secret) -> Self {
        Self {
            kind: NodeKind::Galera,
            user: user.into(),
            password,
            interval: Duration::from_millis(500),
            fast_interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 2,
            // Galera itself suspects a silent peer after 5 s (evs.suspect_timeout).
            down_after: Duration::from_secs(6),
            port: None,
            tls: MonitorTls::default(),
            send_proxy_protocol: None,
        }
    }
}

impl NodeSpec {
    /// A node named after its address, everything else by default.
    pub fn new(address: Place) -> Self {
        let name = match &address {
            Place::Host(host) if host.port == DEFAULT_PORT => host.host.clone(),
            other => other.to_string(),
        };
        Self {
            name: name.into(),
            address,
            weight: WEIGHT,
            priority: PRIORITY,
            zone: "".into(),
            backup: false,
            max_connections: None,
            kind: NodeKind::Galera,
        }
    }
}

impl Cluster {
    /// A cluster of these nodes, everything else by default.
    pub fn new(name: impl Into<Arc<str>>, nodes: Vec<NodeSpec>, monitor: Monitor) -> Self {
        Self {
            name: name.into(),
            nodes,
            discovery: Discovery::default(),
            split_brain: SplitBrain::Fence,
            state_uuid: None,
            monitor,
            eligibility: Eligibility::default(),
            writer: Writer::default(),
            sessions: Sessions::default(),
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self { by: Discover::Off, interval: Duration::from_secs(5), allow: Vec::new() }
    }
}

impl Default for Eligibility {
    fn default() -> Self {
        Self {
            donor: DonorRule::LastResort,
            connection_margin: 2,
            max_recv_queue: None,
            max_flow_control_paused: None,
            max_replication_lag: None,
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            on_down: SessionRule::Kill,
            on_donor: SessionRule::Keep,
            on_demote: SessionRule::Kill,
            drain_timeout: Duration::from_secs(30),
            kill_spread: Duration::ZERO,
            slow_start: Duration::ZERO,
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            failback: Failback::Never,
            donor_grace: Duration::from_secs(60),
            agreement: Agreement::Local,
            login: None,
        }
    }
}

impl Service {
    /// A service of this name for this target, everything else by default.
    pub fn new(name: impl Into<Arc<str>>, accept: Vec<Listen>, target: Target) -> Self {
        let (balance, protocol) = match &target {
            Target::Cluster { .. } => (Balance::LeastConnections, Protocol::Mysql),
            Target::Fixed(_) => (Balance::First, Protocol::Tcp),
        };
        Self {
            name: name.into(),
            accept,
            target,
            balance,
            protocol,
            prefer_zone: None,
            attempts: 3,
            connect_timeout: Duration::from_secs(1),
            greeting_timeout: Duration::from_secs(3),
            queue_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            max_queue: 1000,
            max_connections_per_source: None,
            allow: Vec::new(),
            deny: Vec::new(),
            proxy_protocol_from: None,
            send_proxy_protocol: None,
            first_byte_timeout: Duration::from_secs(10),
            source: None,
            freebind: false,
            socket: SocketAccess::default(),
            idle_timeout: None,
            keepalive: Some(Duration::from_secs(30)),
            user_timeout: Some(Duration::from_secs(60)),
            stall_timeout: Some(Duration::from_secs(600)),
            half_close_timeout: Duration::from_secs(60),
            tls: None,
            connect_tls: None,
        }
    }
}

impl Target {
    /// Any node of a cluster, everything else by default.
    pub fn cluster(name: impl Into<Arc<str>>) -> Self {
        Self::Cluster { cluster: name.into(), role: Role::Any, includes_writer: ReaderRule::LastResort }
    }
}

impl Default for SocketAccess {
    fn default() -> Self {
        Self { mode: 0o660, user: None, group: None }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9306)),
            socket: Some(AdminSocket { path: PathBuf::from(ADMIN_SOCKET), written: false }),
            token: None,
            tls: None,
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self {
            workers: None,
            state_dir: Some(StateDir { path: PathBuf::from(STATE_DIR), written: false }),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            access_log: true,
            nameservers: Vec::new(),
            readiness_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
            user: None,
            group: None,
            chroot: None,
            pid_file: None,
            log: LogTo::Stderr,
        }
    }
}

impl TlsAccept {
    /// A server that shows this and asks its clients for nothing, everything else by default.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            client_auth: ClientAuth::Off,
            peer: PeerRules::default(),
            protocol: TlsProtocol::default(),
            max_handshakes: HANDSHAKES,
            resumption: true,
            resumption_with_certificates: false,
        }
    }
}

impl Default for TlsConnect {
    /// The server's certificate has to chain to the system's CAs and be for the target's host.
    fn default() -> Self {
        Self {
            identity: None,
            server_name: None,
            sni: true,
            names: true,
            peer: PeerRules { chain: true, ca: Some(CaStore::System), ..PeerRules::default() },
            protocol: TlsProtocol::default(),
            max_handshakes: HANDSHAKES,
            resumption: false,
        }
    }
}

impl Default for TlsProtocol {
    fn default() -> Self {
        let only = TlsVersion::V13;
        Self { min_version: only, max_version: only, cipher_suites: Vec::new(), groups: Vec::new() }
    }
}
