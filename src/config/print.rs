//! A configuration as TOML, every default written out.

mod tls;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::model::{
    Admin, Cluster, Config, Failback, LogTo, Monitor, NodeKind, NodeSpec, Process, Service, Target, Writer,
};
use super::secret::Secret;
use super::words;

/// The configuration as a TOML file that says everything: what was written and what holds by default, paths as they
/// were resolved. A password prints as `***`; an empty one as empty.
pub fn print(config: &Config) -> String {
    let mut out = Toml::default();
    for cluster in &config.clusters {
        print_cluster(&mut out, cluster);
    }
    for service in &config.services {
        print_service(&mut out, service);
    }
    print_admin(&mut out, &config.admin);
    print_process(&mut out, &config.process);
    out.0
}

fn print_cluster(out: &mut Toml, cluster: &Cluster) {
    let name = key(&cluster.name);
    out.section(&format!("cluster.{name}"));
    out.line("nodes = [");
    for node in &cluster.nodes {
        out.line(&format!("    {},", inline(node)));
    }
    out.line("]");
    out.text("discover", words::written(words::DISCOVER, &cluster.discovery.by));
    out.time("discover_interval", cluster.discovery.interval);
    out.list("discover_allow", &cluster.discovery.allow);
    out.text("split_brain", words::written(words::SPLIT_BRAIN, &cluster.split_brain));
    out.text("state_uuid", cluster.state_uuid.as_deref().unwrap_or_default());

    print_monitor(out, &name, &cluster.monitor);

    out.section(&format!("cluster.{name}.eligibility"));
    out.text("donor", words::written(words::DONOR, &cluster.eligibility.donor));
    out.plain("connection_margin", cluster.eligibility.connection_margin);
    out.plain("max_recv_queue", cluster.eligibility.max_recv_queue.unwrap_or(0));
    // `{:?}` keeps the point of 0.0 and 1.0, without which TOML reads another type.
    out.plain(
        "max_flow_control_paused",
        format_args!("{:?}", cluster.eligibility.max_flow_control_paused.unwrap_or(0.0)),
    );

    out.time("max_replication_lag", cluster.eligibility.max_replication_lag.unwrap_or_default());

    print_writer(out, &name, &cluster.writer);

    out.section(&format!("cluster.{name}.sessions"));
    out.text("on_down", words::written(words::SESSION, &cluster.sessions.on_down));
    out.text("on_donor", words::written(words::SESSION, &cluster.sessions.on_donor));
    out.text("on_demote", words::written(words::SESSION, &cluster.sessions.on_demote));
    out.time("drain_timeout", cluster.sessions.drain_timeout);
    out.time("kill_spread", cluster.sessions.kill_spread);
    out.time("slow_start", cluster.sessions.slow_start);
}

/// A node as an inline table.
fn inline(node: &NodeSpec) -> String {
    let (address, name, zone) = (string(&node.address.to_string()), string(&node.name), string(&node.zone));
    let (weight, priority, backup) = (node.weight, node.priority, node.backup);
    let kind = words::written(words::KIND, &node.kind);
    // No number stands for "any number of them".
    let limit = node.max_connections.map(|most| format!(", max_connections = {most}")).unwrap_or_default();
    format!(
        "{{ address = {address}, name = {name}, weight = {weight}, priority = {priority}, zone = {zone}, \
         backup = {backup}{limit}, kind = \"{kind}\" }}"
    )
}

fn print_writer(out: &mut Toml, cluster: &str, writer: &Writer) {
    out.section(&format!("cluster.{cluster}.writer"));
    match writer.failback {
        Failback::After(time) => out.time("failback", time),
        word => out.text("failback", words::written(words::FAILBACK, &word)),
    }
    out.time("donor_grace", writer.donor_grace);
    out.text("agreement", words::written(words::AGREEMENT, &writer.agreement));
    match &writer.login {
        Some(login) => {
            out.text("user", &login.user);
            out.text("password", masked(&login.password));
        }
        None => {
            out.line("# user is not set");
            out.line("# password is not set");
        }
    }
}

fn masked(secret: &Secret) -> &'static str {
    if secret.is_empty() { "" } else { "***" }
}

fn print_monitor(out: &mut Toml, cluster: &str, monitor: &Monitor) {
    out.section(&format!("cluster.{cluster}.monitor"));
    out.text("kind", words::written(words::KIND, &monitor.kind));
    // Reading them back would say that nothing logs in.
    if monitor.kind == NodeKind::Tcp {
        out.line("# user is not set");
        out.line("# password is not set");
    } else {
        out.text("user", &monitor.user);
        out.text("password", masked(&monitor.password));
    }
    out.time("interval", monitor.interval);
    out.time("fast_interval", monitor.fast_interval);
    out.time("timeout", monitor.timeout);
    out.plain("rise", monitor.rise);
    out.plain("fall", monitor.fall);
    out.time("down_after", monitor.down_after);
    out.plain("port", monitor.port.unwrap_or(0));
    out.text("send_proxy_protocol", words::written(words::PROXY_OUT, &monitor.send_proxy_protocol));
    out.text("tls", words::written(words::TLS, &monitor.tls.mode));
    out.path("ca", monitor.tls.ca.as_deref());
    out.path("cert", monitor.tls.identity.as_ref().map(|(cert, _)| cert.as_path()));
    out.path("key", monitor.tls.identity.as_ref().map(|(_, key)| key.as_path()));
}

fn print_service(out: &mut Toml, service: &Service) {
    out.section(&format!("service.{}", key(&service.name)));
    out.list("accept", &service.accept);
    match &service.target {
        Target::Cluster { cluster, role, includes_writer } => {
            out.text("cluster", cluster);
            out.text("role", role.as_str());
            out.text("reader_includes_writer", words::written(words::READER, includes_writer));
            out.text("balance", words::written(words::BALANCE, &service.balance));
            out.text("prefer_zone", service.prefer_zone.as_deref().unwrap_or_default());
        }
        Target::Fixed(list) => {
            out.list("connect", list);
            out.text("failover", words::written(words::FAILOVER, &service.balance));
        }
    }
    out.text("protocol", words::written(words::PROTOCOL, &service.protocol));
    out.plain("attempts", service.attempts);
    out.time("connect_timeout", service.connect_timeout);
    // The key is of no use to the other protocol, and reading it back would say so.
    if service.protocol == super::model::Protocol::Mysql {
        out.time("greeting_timeout", service.greeting_timeout);
    }
    out.time("queue_timeout", service.queue_timeout);
    out.plain("max_connections", service.max_connections);
    out.plain("max_queue", service.max_queue);
    out.plain("max_connections_per_source", service.max_connections_per_source.unwrap_or(0));
    out.list("allow", &service.allow);
    out.list("deny", &service.deny);
    out.text("proxy_protocol", words::written(words::PROXY_IN, &service.proxy_protocol_from.is_some()));
    match &service.proxy_protocol_from {
        Some(from) => out.list("proxy_protocol_from", from),
        None => out.line("# proxy_protocol_from is not set"),
    }
    out.text("send_proxy_protocol", words::written(words::PROXY_OUT, &service.send_proxy_protocol));
    out.time("first_byte_timeout", service.first_byte_timeout);
    out.text("source", &service.source.map_or_else(String::new, |ip| ip.to_string()));
    out.plain("freebind", service.freebind);
    out.text("socket_mode", &format!("{:04o}", service.socket.mode));
    match service.socket.owner() {
        Some(owner) => out.text("socket_owner", &owner),
        None => out.line("# socket_owner is not set"),
    }
    out.time("idle_timeout", service.idle_timeout.unwrap_or_default());
    out.time("keepalive", service.keepalive.unwrap_or_default());
    out.time("user_timeout", service.user_timeout.unwrap_or_default());
    out.time("stall_timeout", service.stall_timeout.unwrap_or_default());
    out.time("half_close_timeout", service.half_close_timeout);
    for (key, written) in [("tls", service.tls.is_some()), ("connect_tls", service.connect_tls.is_some())] {
        if !written {
            out.line(&format!("# {key} is not set"));
        }
    }
    if let Some(accept) = &service.tls {
        tls::accept(out, &format!("service.{}.tls", key(&service.name)), accept);
    }
    if let Some(connect) = &service.connect_tls {
        tls::connect(out, &format!("service.{}.connect_tls", key(&service.name)), connect);
    }
}

fn print_admin(out: &mut Toml, admin: &Admin) {
    out.section("admin");
    out.text("listen", &admin.listen.map_or_else(String::new, |address| address.to_string()));
    out.text("socket", &admin.socket.as_ref().map_or_else(String::new, |socket| socket.path.to_string_lossy().into()));
    match admin.token {
        // Where it came from is not kept, and a file of this name would not be there to be read back.
        Some(_) => out.line("# token_file = \"***\""),
        None => out.text("token_file", ""),
    }
}

fn print_process(out: &mut Toml, process: &Process) {
    out.section("process");
    out.plain("workers", process.workers.unwrap_or(0));
    out.list("nameservers", &process.nameservers);
    let state_dir = process.state_dir.as_ref().map_or_else(String::new, |dir| dir.path.to_string_lossy().into());
    out.text("state_dir", &state_dir);
    out.text("user", process.user.as_deref().unwrap_or_default());
    out.text("group", process.group.as_deref().unwrap_or_default());
    let path = |path: &Option<PathBuf>| path.as_deref().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    out.text("chroot", &path(&process.chroot));
    out.text("pid_file", &path(&process.pid_file));
    match &process.log {
        LogTo::File(path) => out.text("log", &path.to_string_lossy()),
        word => out.text("log", words::written(words::LOG, word)),
    }
    out.text("log_level", words::written(words::LOG_LEVEL, &process.log_level));
    out.text("log_format", words::written(words::LOG_FORMAT, &process.log_format));
    out.plain("access_log", process.access_log);
    out.time("readiness_delay", process.readiness_delay);
    out.time("shutdown_timeout", process.shutdown_timeout);
}

/// A TOML text that grows.
#[derive(Default)]
struct Toml(String);

impl Toml {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn section(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(&format!("[{header}]"));
    }

    fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.line(&format!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", string(value)));
    }

    fn list(&mut self, key: &str, values: &[impl std::fmt::Display]) {
        let values: Vec<String> = values.iter().map(|value| string(&value.to_string())).collect();
        self.line(&format!("{key} = [{}]", values.join(", ")));
    }

    fn time(&mut self, key: &str, value: Duration) {
        self.text(key, &duration::format(value));
    }

    /// A path has no value for "none": the key is there as a comment, so that nobody has to guess.
    fn path(&mut self, key: &str, value: Option<&Path>) {
        match value {
            Some(path) => self.text(key, &path.to_string_lossy()),
            None => self.line(&format!("# {key} is not set")),
        }
    }
}

/// A name as a TOML key.
fn key(name: &str) -> String {
    let bare = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { string(name) }
}

/// A basic string of TOML.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            _ if char.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}
