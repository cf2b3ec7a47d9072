//! The documented block, as far as this version goes.

use std::time::Duration;

use super::*;
use crate::config::{
    Admin, AdminSocket, Agreement, Balance, CaStore, ClientAuth, Discover, Discovery, DonorRule, Eligibility, Failback,
    HostPort, Identity, Listen, LogFormat, LogLevel, Monitor, MonitorTls, NodeKind, NodeSpec, PeerRules, Place,
    Process, Protocol, ReaderRule, Role, Secret, SessionRule, Sessions, Severity, SocketAccess, SplitBrain, StateDir,
    Target, TlsAccept, TlsConnect, TlsMode, Writer,
};

const BLOCK: &str = include_str!("../../../tests/fixtures/contract.toml");

/// What is still missing of the documented block, in its order, with its lines. This list only gets shorter.
const NOT_YET: &[&str] = &["102 sandbox"];

/// A directory of the files that the block names.
fn files() -> Scratch {
    let scratch = Scratch::new();
    for name in ["c.pem", "k.pem", "file or hashed dir", "system | file | hashed dir"] {
        scratch.write(name, "");
    }
    scratch
}

/// What is said of the block's service, which has a cluster's protocol and TLS of its own.
const TUNNEL: &str = "no MySQL client can connect to service `writer` by itself";

#[test]
fn the_documented_block_holds_nothing_but_what_works_and_what_is_not_supported_yet() {
    let refused = files().parse(BLOCK).unwrap_err();
    let (errors, warnings): (Vec<_>, Vec<_>) = refused.iter().partition(|item| item.severity() == Severity::Error);
    assert_eq!(warnings.iter().map(|item| item.message()).collect::<Vec<_>>(), [ALONE, TUNNEL]);
    let found: Vec<String> = errors
        .iter()
        .map(|item| {
            let what = item.message().strip_suffix("` is not supported yet").unwrap_or_else(|| panic!("{refused}"));
            format!("{} {}", item.place().unwrap().0, what.trim_start_matches('`'))
        })
        .collect();
    assert_eq!(found, NOT_YET);
}

/// The block without the lines of [`NOT_YET`].
fn what_works() -> String {
    let later = |number: usize| {
        NOT_YET.iter().any(|entry| entry.split(' ').next().is_some_and(|line| line == number.to_string()))
    };
    let kept = BLOCK.lines().zip(1..).filter(|(_, number)| !later(*number));
    kept.map(|(line, _)| format!("{line}\n")).collect()
}

/// The same without what is no default, but an example.
fn what_is_default() -> String {
    let kept = |line: &&str| !line.starts_with("tls = {") && !line.starts_with("connect_tls = {");
    let text = what_works();
    assert_eq!(text.lines().filter(|line| !kept(line)).count(), 2);
    text.lines().filter(kept).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_documented_tls_is_read() {
    let scratch = files();
    let loaded = scratch.parse(&what_works()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let service = &loaded.config.services[0];
    let path = |name: &str| scratch.0.join(name);
    let identity = Identity { cert: path("c.pem"), key: path("k.pem"), passphrase: None };
    let ca = |name: &str| Some(CaStore::Paths(vec![path(name)]));
    let accept = TlsAccept {
        client_auth: ClientAuth::Require,
        peer: PeerRules { chain: true, ca: ca("file or hashed dir"), ..PeerRules::default() },
        ..TlsAccept::new(identity)
    };
    assert_eq!(service.tls.as_deref(), Some(&accept));
    let peer = PeerRules { chain: true, ca: ca("system | file | hashed dir"), ..PeerRules::default() };
    assert_eq!(service.connect_tls.as_deref(), Some(&TlsConnect { peer, ..TlsConnect::default() }));
    // That is "1s" in the block, which holds without `connect_tls`.
    assert_eq!(service.connect_timeout, Duration::from_secs(1));
}

#[test]
fn what_works_of_the_documented_block_is_its_own_default() {
    let config = but_for_one_warning(&what_is_default(), ALONE);
    let least = but_for_one_warning(
        "[cluster.main]\nnodes = ['db1', 'db2', { address = 'db3', weight = 50, priority = 10, zone = 'b', \
         max_connections = 500 }]\n\
         monitor.user = 'monitor'\n[service.writer]\naccept = '0.0.0.0:3306'\ncluster = 'main'\nrole = 'writer'\n",
        ALONE,
    );
    assert_eq!(config, least);
}

#[test]
fn the_defaults_are_the_documented_values() {
    let config = but_for_one_warning(&what_is_default(), ALONE);
    let (millis, secs) = (Duration::from_millis, Duration::from_secs);
    let [cluster] = config.clusters.as_slice() else { panic!("{config:?}") };
    let [service] = config.services.as_slice() else { panic!("{config:?}") };
    let node = |name: &str| NodeSpec {
        name: name.into(),
        address: Place::Host(HostPort { host: name.to_owned(), port: 3306 }),
        weight: 100,
        priority: 0,
        zone: "".into(),
        backup: false,
        max_connections: None,
        kind: NodeKind::Galera,
    };
    let third = NodeSpec { weight: 50, priority: 10, zone: "b".into(), max_connections: Some(500), ..node("db3") };
    assert_eq!(cluster.name.as_ref(), "main");
    assert_eq!(cluster.nodes, [node("db1"), node("db2"), third]);
    assert_eq!(cluster.discovery, Discovery { by: Discover::Off, interval: secs(5), allow: Vec::new() });
    assert_eq!(
        cluster.monitor,
        Monitor {
            kind: NodeKind::Galera,
            user: "monitor".to_owned(),
            password: Secret::default(),
            interval: millis(500),
            fast_interval: millis(100),
            timeout: secs(1),
            rise: 2,
            fall: 2,
            down_after: secs(6),
            port: None,
            tls: MonitorTls { mode: TlsMode::Off, ca: None, identity: None },
            send_proxy_protocol: None,
        }
    );
    assert_eq!(
        cluster.eligibility,
        Eligibility {
            donor: DonorRule::LastResort,
            connection_margin: 2,
            max_recv_queue: None,
            max_flow_control_paused: None,
            max_replication_lag: None,
        }
    );
    assert_eq!(
        cluster.writer,
        Writer { failback: Failback::Never, donor_grace: secs(60), agreement: Agreement::Local, login: None }
    );
    assert_eq!(
        cluster.sessions,
        Sessions {
            on_down: SessionRule::Kill,
            on_donor: SessionRule::Keep,
            on_demote: SessionRule::Kill,
            drain_timeout: secs(30),
            kill_spread: Duration::ZERO,
            slow_start: Duration::ZERO,
        }
    );
    assert_eq!((cluster.split_brain, &cluster.state_uuid), (SplitBrain::Fence, &None));
    assert_eq!(
        **service,
        Service {
            name: "writer".into(),
            accept: vec![Listen::Tcp("0.0.0.0:3306".parse().unwrap())],
            target: Target::Cluster {
                cluster: "main".into(),
                role: Role::Writer,
                includes_writer: ReaderRule::LastResort,
            },
            balance: Balance::LeastConnections,
            protocol: Protocol::Mysql,
            prefer_zone: None,
            attempts: 3,
            connect_timeout: secs(1),
            greeting_timeout: secs(3),
            queue_timeout: secs(10),
            max_connections: 10000,
            max_queue: 1000,
            max_connections_per_source: None,
            allow: Vec::new(),
            deny: Vec::new(),
            proxy_protocol_from: None,
            send_proxy_protocol: None,
            first_byte_timeout: secs(10),
            source: None,
            freebind: false,
            socket: SocketAccess { mode: 0o660, user: None, group: None },
            idle_timeout: None,
            keepalive: Some(secs(30)),
            user_timeout: Some(secs(60)),
            stall_timeout: Some(secs(600)),
            half_close_timeout: secs(60),
            tls: None,
            connect_tls: None,
        }
    );
    let socket = AdminSocket { path: "/run/galeway/admin.sock".into(), written: false };
    let listen = Some("127.0.0.1:9306".parse().unwrap());
    assert_eq!(config.admin, Admin { listen, socket: Some(socket), token: None, tls: None });
    assert_eq!(
        config.process,
        Process {
            workers: None,
            state_dir: Some(StateDir { path: "/var/lib/galeway".into(), written: false }),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            access_log: true,
            nameservers: Vec::new(),
            readiness_delay: secs(0),
            shutdown_timeout: secs(30),
            ..Process::default()
        }
    );
}

#[test]
fn keys_that_the_documented_block_holds_in_comments_are_known_as_well() {
    for key in ["connect = 'db:3306'", "failover = 'first'", "proxy_protocol_from = []", "socket_owner = 'a:b'"] {
        let said = messages(&with("", "", key));
        assert!(!said.is_empty() && !said.iter().any(|line| line.contains("unknown key")), "{said:?}");
    }
    let said = messages(&format!("{LEAST}[admin]\ntls = {{}}\n"));
    assert_eq!(said, ["error: `tls` is not supported yet"]);
}
