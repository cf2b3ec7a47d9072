//! The configuration written out.

use std::sync::Arc;

use super::*;
use crate::config::keys::SECTIONS;
use crate::config::{CrlScope, Secret, print};

/// A configuration in which nothing is as it is by default.
fn unusual(scratch: &Scratch) -> Config {
    for name in ["ca \"1\".pem", "cert.pem", "key.pem", "passphrase"] {
        scratch.write(name, "");
    }
    for name in ["cas", "crls"] {
        std::fs::create_dir(scratch.0.join(name)).unwrap();
    }
    scratch.write("token", "open-sesame\n");
    let text = r#"
[cluster.'eu.west']
nodes = [
    { address = "[::1]:3307", name = "a", weight = 0, priority = 1000000, zone = "b", max_connections = 1 },
    { address = "unix:db.sock", backup = true },
    { address = "replica", kind = "mysql" },
    "db2",
]
discover = "galera"
discover_interval = "1m"
discover_allow = ["10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::1"]
split_brain = "refuse"
state_uuid = "0E0B2A3C-7d8e-11ee-b962-0242ac120002"
[cluster.'eu.west'.monitor]
user = "we\"ird\\ \u0007 ü"
password = "x"
interval = "2s"
fast_interval = "1500ms"
timeout = "3s"
rise = 1
fall = 9
down_after = "1h"
port = 3399
send_proxy_protocol = "v2"
tls = "verify-ca"
ca = 'ca "1".pem'
cert = "cert.pem"
key = "key.pem"
[cluster.'eu.west'.eligibility]
donor = "never"
connection_margin = 7
max_recv_queue = 4294967295
max_flow_control_paused = 1
max_replication_lag = "90s"
[cluster.'eu.west'.writer]
failback = "10m"
donor_grace = "5s"
agreement = "cluster"
user = "record"
password = "y"
[cluster.'eu.west'.sessions]
on_down = "keep"
on_donor = "kill"
on_demote = "keep"
drain_timeout = "0s"
kill_spread = "5s"
slow_start = "1m"
[cluster.plain]
nodes = ["localhost:25", { address = "db2:1", kind = "tcp" }]
discover = "dns"
[cluster.plain.monitor]
kind = "tcp"
port = 8080
[cluster.replicated]
nodes = ["10.0.0.1", { address = "10.0.0.2", zone = "c", priority = 3 }]
monitor = { kind = "mysql", user = "m", send_proxy_protocol = "v1" }
eligibility = { max_replication_lag = "1ms", connection_margin = 0 }
[service.one]
accept = ["127.0.0.1:1", "[::1]:2", "unix:one \"1\".sock", "fd:one"]
cluster = "eu.west"
role = "reader"
reader_includes_writer = "always"
balance = "round-robin"
prefer_zone = "b"
protocol = "tcp"
attempts = 1
connect_timeout = "2s"
queue_timeout = "20s"
max_connections = 1
max_queue = 0
max_connections_per_source = 3
allow = ["0.0.0.0/0"]
deny = ["10.0.0.7", "::1"]
proxy_protocol = "require"
proxy_protocol_from = ["10.0.0.0/8"]
send_proxy_protocol = "v1"
first_byte_timeout = "250ms"
source = "::1"
freebind = true
socket_mode = "0007"
socket_owner = "0:"
idle_timeout = "8h"
keepalive = "0s"
user_timeout = "0s"
stall_timeout = "0s"
half_close_timeout = "1ms"
[service.two]
accept = "unix:two.sock"
connect = ["db1:1", "[::1]:3306", "unix:db.sock"]
failover = "round-robin"
protocol = "mysql"
proxy_protocol = "require"
send_proxy_protocol = "v2"
socket_owner = ":app"
[service.three]
accept = "fd:three"
connect = "db1:1"
[service.three.tls]
cert = "cert.pem"
key = "key.pem"
passphrase_file = "passphrase"
client_ca = ['ca "1".pem', "cas"]
client_auth = "optional"
peer_in_ca = true
crl = "crls"
crl_scope = "leaf"
allow_names = ["*.a.example", "10.0.0.1", "spiffe://a/b"]
allow_subjects = ["/DC=org/CN=db1", "CN=db\\,2,O=\"x\""]
pins = ["sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
cn_fallback = true
min_version = "1.2"
max_version = "1.2"
cipher_suites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
groups = ["secp521r1", "X25519MLKEM768"]
max_handshakes = 1
resumption = false
[service.three.connect_tls]
ca = "system"
verify = "full"
server_name = "db.example"
check_names = ["one.example", "two.example"]
crl = ["crls", 'ca "1".pem']
allow_subjects = ["/CN=x"]
pins = ["sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
cn_fallback = true
cert = "cert.pem"
min_version = "1.2"
cipher_suites = ["TLS13_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
groups = ["x25519"]
max_handshakes = 1000000
resumption = true
[service.six]
accept = "localhost:6"
connect = "unix:db.sock"
tls = { cert = "cert.pem", client_ca = "cas", verify = "pinned" }
connect_tls = { verify = "ca", ca = "cas", peer_in_ca = true, sni = false }
[service.seven]
accept = "localhost:7"
connect = "db1:2"
tls = { cert = "cert.pem", pins = ["sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="] }
connect_tls = { verify = "pinned", ca = "cas", check_names = "x" }
[service.eight]
accept = "localhost:8"
connect = "db1:3"
tls = { cert = "cert.pem" }
connect_tls = { verify = "pinned", pins = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" }
[service.four]
accept = "localhost:4"
cluster = "plain"
balance = "source"
[service.five]
accept = "localhost:5"
cluster = "replicated"
role = "writer"
balance = "random"
prefer_zone = "c"
source = "10.0.0.9"
[admin]
listen = "127.0.0.1:9"
socket = "admin.sock"
token_file = "token"
[process]
user = "0"
group = "root"
chroot = "/"
pid_file = "cas/galeway.pid"
log = "galeway.log"
workers = 4
nameservers = ["10.0.0.2:5353", "::1"]
state_dir = "state"
log_level = "trace"
log_format = "json"
access_log = false
readiness_delay = "5s"
shutdown_timeout = "1d"
"#;
    let loaded = scratch.parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.config
}

/// The same with the passwords that [`print`] shows, and without the token, whose file it cannot name.
pub(super) fn masked(config: &Config) -> Config {
    let mut config = config.clone();
    for cluster in &mut config.clusters {
        let cluster = std::sync::Arc::make_mut(cluster);
        let record = cluster.writer.login.as_mut().map(|login| &mut login.password);
        for password in record.into_iter().chain([&mut cluster.monitor.password]) {
            if !password.is_empty() {
                *password = Secret::new("***");
            }
        }
    }
    config.admin.token = None;
    for service in &mut config.services {
        let tls = std::sync::Arc::make_mut(service).tls.as_mut();
        if let Some(tls) = tls {
            std::sync::Arc::make_mut(tls).identity.passphrase = None;
        }
    }
    config
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let scratch = Scratch::new();
    for config in [unusual(&scratch), good(LEAST)] {
        assert_eq!(good(&print(&config)), masked(&config), "{}", print(&config));
    }
}

#[test]
fn every_key_that_works_is_printed() {
    let scratch = Scratch::new();
    let mut config = unusual(&scratch);
    let service = std::sync::Arc::make_mut(&mut config.services[0]);
    service.protocol = crate::config::Protocol::Mysql;
    let printed = print(&config);
    for key in SECTIONS.iter().flat_map(|section| section.now) {
        // Passwords print as what they are, not as where they came from.
        if ["password_file", "password_env", "passphrase_file"].contains(key) {
            continue;
        }
        let section = printed.contains(&format!("[{key}.")) || printed.contains(&format!(".{key}]"));
        let plain = printed.contains(&format!("\n{key} = ")) || printed.contains(&format!("[{key}]"));
        assert!(section || plain || printed.contains(&format!(" {key} = ")), "{key} is not in\n{printed}");
    }
}

#[test]
fn the_least_configuration_prints_all_its_defaults() {
    let expected = r##"[cluster.main]
nodes = [
    { address = "db1:3306", name = "db1", weight = 100, priority = 0, zone = "", backup = false, kind = "galera" },
    { address = "db2:3307", name = "db2:3307", weight = 100, priority = 0, zone = "", backup = false, kind = "galera" },
]
discover = "off"
discover_interval = "5s"
discover_allow = []
split_brain = "fence"
state_uuid = ""

[cluster.main.monitor]
kind = "galera"
user = "m"
password = ""
interval = "500ms"
fast_interval = "100ms"
timeout = "1s"
rise = 2
fall = 2
down_after = "6s"
port = 0
send_proxy_protocol = "off"
tls = "off"
# ca is not set
# cert is not set
# key is not set

[cluster.main.eligibility]
donor = "last-resort"
connection_margin = 2
max_recv_queue = 0
max_flow_control_paused = 0.0
max_replication_lag = "0s"

[cluster.main.writer]
failback = "never"
donor_grace = "1m"
agreement = "local"
# user is not set
# password is not set

[cluster.main.sessions]
on_down = "kill"
on_donor = "keep"
on_demote = "kill"
drain_timeout = "30s"
kill_spread = "0s"
slow_start = "0s"

[service.any]
accept = ["127.0.0.1:3306"]
cluster = "main"
role = "any"
reader_includes_writer = "last-resort"
balance = "least-connections"
prefer_zone = ""
protocol = "mysql"
attempts = 3
connect_timeout = "1s"
greeting_timeout = "3s"
queue_timeout = "10s"
max_connections = 10000
max_queue = 1000
max_connections_per_source = 0
allow = []
deny = []
proxy_protocol = "off"
# proxy_protocol_from is not set
send_proxy_protocol = "off"
first_byte_timeout = "10s"
source = ""
freebind = false
socket_mode = "0660"
# socket_owner is not set
idle_timeout = "0s"
keepalive = "30s"
user_timeout = "1m"
stall_timeout = "10m"
half_close_timeout = "1m"
# tls is not set
# connect_tls is not set

[admin]
listen = "127.0.0.1:9306"
socket = "/run/galeway/admin.sock"
token_file = ""

[process]
workers = 0
nameservers = []
state_dir = "/var/lib/galeway"
user = ""
group = ""
chroot = ""
pid_file = ""
log = "stderr"
log_level = "info"
log_format = "text"
access_log = true
readiness_delay = "0s"
shutdown_timeout = "30s"
"##;
    assert_eq!(print(&good(LEAST)), expected);
}

#[test]
fn what_nothing_looks_at_is_not_printed_as_if_it_held() {
    // As a stunnel.conf gives them: a rule for names that there are none of, and a scope of lists that there are none of.
    let text = "[service.any]\naccept = '127.0.0.1:1'\nconnect = 'db:1'\ntls = { cert = '/dev/null', client_ca = '/tmp' }\n\
                connect_tls = { ca = '/tmp', verify = 'ca' }\n";
    let plain = good(text);
    let mut config = plain.clone();
    let service = Arc::make_mut(&mut config.services[0]);
    let (accept, connect) = (service.tls.as_mut().unwrap(), service.connect_tls.as_mut().unwrap());
    let (accept, connect) = (Arc::make_mut(accept), Arc::make_mut(connect));
    for peer in [&mut accept.peer, &mut connect.peer] {
        (peer.cn_fallback, peer.crl_scope) = (true, CrlScope::Leaf);
    }
    (connect.server_name, connect.sni) = (Some("db".into()), false);
    let mut read = good(&print(&config));
    let connect = Arc::make_mut(Arc::make_mut(&mut read.services[0]).connect_tls.as_mut().unwrap());
    assert!(!std::mem::replace(&mut connect.sni, true));
    assert_eq!(read, plain);

    // Names that are looked at by the rules are what verify = "full" looks at.
    let connect = Arc::make_mut(Arc::make_mut(&mut config.services[0]).connect_tls.as_mut().unwrap());
    connect.peer.allow_names = vec!["db.example".into()];
    let read = good(&print(&config));
    let connect = read.services[0].connect_tls.as_deref().unwrap();
    assert_eq!((connect.names, &*connect.peer.allow_names), (true, &["db.example".into()][..]));
    assert!(connect.peer.cn_fallback);
}
