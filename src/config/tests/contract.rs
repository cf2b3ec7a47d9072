//! The documented block, as far as this version goes.

use std::time::Duration;

use super::*;
use crate::config::{
    Admin, AdminSocket, Agreement, Balance, DonorRule, Eligibility, Failback, HostPort, LogFormat, LogLevel, Monitor,
    MonitorTls, NodeSpec, Process, Protocol, ReaderRule, Role, Secret, SessionRule, Sessions, Severity, SplitBrain,
    StateDir, TlsMode, Writer,
};

const BLOCK: &str = include_str!("../../../tests/fixtures/contract.toml");

/// What is still missing of the documented block, in its order, with its lines. This list only gets shorter.
const NOT_YET: &[&str] = &[
    "2 zone",
    "2 backup",
    "2 max_connections",
    "2 kind",
    "3 discover",
    "4 discover_interval",
    "5 discover_allow",
    "21 send_proxy_protocol",
    "29 max_replication_lag",
    "53 prefer_zone",
    "60 max_connections_per_source",
    "61 allow",
    "62 deny",
    "63 proxy_protocol",
    "64 send_proxy_protocol",
    "70 first_byte_timeout",
    "71 source",
    "73 freebind",
    "74 socket_mode",
    "75 tls",
    "78 connect_tls",
    "90 user",
    "91 group",
    "92 chroot",
    "93 pid_file",
    "94 log",
    "95 nameservers",
    "96 readiness_delay",
    "101 sandbox",
];

#[test]
fn the_documented_block_holds_nothing_but_what_works_and_what_is_not_supported_yet() {
    let refused = parse(BLOCK).unwrap_err();
    let (errors, warnings): (Vec<_>, Vec<_>) = refused.iter().partition(|item| item.severity() == Severity::Error);
    assert_eq!(warnings.iter().map(|item| item.message()).collect::<Vec<_>>(), [ALONE]);
    let found: Vec<String> = errors
        .iter()
        .map(|item| {
            let what = item.message().strip_suffix("` is not supported yet").unwrap_or_else(|| panic!("{refused}"));
            format!("{} {}", item.place().unwrap().0, what.trim_start_matches('`'))
        })
        .collect();
    assert_eq!(found, NOT_YET);
}

/// The block without the keys of [`NOT_YET`].
fn what_works() -> String {
    let mut text = String::new();
    for (index, line) in BLOCK.lines().enumerate() {
        let number = (index + 1).to_string();
        let dropped: Vec<&str> =
            NOT_YET.iter().filter_map(|entry| entry.strip_prefix(&number)?.strip_prefix(' ')).collect();
        if index == 1 {
            let start = line.find(", zone").unwrap();
            text += &format!("{} }}]\n", &line[..start]);
        } else if dropped.is_empty() {
            text += &format!("{line}\n");
        }
    }
    text
}

#[test]
fn what_works_of_the_documented_block_is_its_own_default() {
    let config = but_for_one_warning(&what_works(), ALONE);
    let least = but_for_one_warning(
        "[cluster.main]\nnodes = ['db1', 'db2', { address = 'db3', weight = 50, priority = 10 }]\n\
         monitor.user = 'monitor'\n[service.writer]\naccept = '0.0.0.0:3306'\ncluster = 'main'\nrole = 'writer'\n",
        ALONE,
    );
    assert_eq!(config, least);
}

#[test]
fn the_defaults_are_the_documented_values() {
    let config = but_for_one_warning(&what_works(), ALONE);
    let (millis, secs) = (Duration::from_millis, Duration::from_secs);
    let [cluster] = config.clusters.as_slice() else { panic!("{config:?}") };
    let [service] = config.services.as_slice() else { panic!("{config:?}") };
    let node = |name: &str, weight, priority| NodeSpec {
        name: name.into(),
        address: HostPort { host: name.to_owned(), port: 3306 },
        weight,
        priority,
    };
    assert_eq!(cluster.name.as_ref(), "main");
    assert_eq!(cluster.nodes, [node("db1", 100, 0), node("db2", 100, 0), node("db3", 50, 10)]);
    assert_eq!(
        cluster.monitor,
        Monitor {
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
        }
    );
    assert_eq!(
        cluster.eligibility,
        Eligibility {
            donor: DonorRule::LastResort,
            connection_margin: 2,
            max_recv_queue: None,
            max_flow_control_paused: None,
        }
    );
    assert_eq!(cluster.writer, Writer { failback: Failback::Never, agreement: Agreement::Local, login: None });
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
            accept: vec!["0.0.0.0:3306".parse().unwrap()],
            cluster: "main".into(),
            role: Role::Writer,
            reader_includes_writer: ReaderRule::LastResort,
            balance: Balance::LeastConnections,
            protocol: Protocol::Mysql,
            attempts: 3,
            connect_timeout: secs(1),
            greeting_timeout: secs(3),
            queue_timeout: secs(10),
            max_connections: 10000,
            max_queue: 1000,
            idle_timeout: None,
            keepalive: Some(secs(30)),
            user_timeout: Some(secs(60)),
            stall_timeout: Some(secs(600)),
            half_close_timeout: secs(60),
        }
    );
    let socket = AdminSocket { path: "/run/galeway/admin.sock".into(), written: false };
    let listen = Some("127.0.0.1:9306".parse().unwrap());
    assert_eq!(config.admin, Admin { listen, socket: Some(socket), token: None });
    assert_eq!(
        config.process,
        Process {
            workers: None,
            state_dir: Some(StateDir { path: "/var/lib/galeway".into(), written: false }),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            access_log: true,
            shutdown_timeout: secs(30),
        }
    );
}

#[test]
fn keys_that_the_documented_block_holds_in_comments_are_not_unknown_either() {
    for key in ["connect = 'db:3306'", "failover = 'first'", "proxy_protocol_from = []", "socket_owner = 'a:b'"] {
        let name = key.split(' ').next().unwrap();
        let said = messages(&with("", "", key));
        assert_eq!(said, [format!("error: `{name}` is not supported yet")]);
    }
    let said = messages(&format!("{LEAST}[admin]\ntls = {{}}\n"));
    assert_eq!(said, ["error: `tls` is not supported yet"]);
}

#[test]
fn a_service_that_says_connect_is_not_told_that_it_has_no_cluster() {
    let text = LEAST.replace("cluster = \"main\"", "connect = 'db1'");
    let said = messages(&text);
    assert!(said.contains(&"error: `connect` is not supported yet".to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("has no `cluster`")), "{said:?}");
}
