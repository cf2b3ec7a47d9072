//! The built `galeway` behind a configuration, and what can be seen of it from outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::client::Conn;
use super::cluster::Cluster;
use super::process::{Process, Signal};
use super::{cli, ports, secs, until, watchdog, within};

/// A running `galeway run`. Dropped, it gets SIGTERM, and after 5 s SIGKILL; if the test is failing, its log is shown.
///
/// It keeps its memory and its admin socket in a directory of its own, and so does the next process of [`Galeway::start_again`].
#[derive(Debug)]
pub struct Galeway {
    process: Process,
    launcher: Vec<String>,
    admin: SocketAddr,
    accepts: Vec<SocketAddr>,
    roles: Vec<String>,
    dir: PathBuf,
    log: PathBuf,
    pub config: PathBuf,
}

/// Lines of TOML for the sections of a usual configuration: cluster `main`, a service named after each role, nodes named
/// as they are.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    pub cluster: &'a str,
    pub monitor: &'a str,
    pub eligibility: &'a str,
    pub writer: &'a str,
    pub sessions: &'a str,
    pub roles: &'a [&'a str],
    /// In each service.
    pub service: &'a str,
    pub admin: &'a str,
    /// In the service of role "reader".
    pub reader: &'a str,
    pub process: &'a str,
    /// A command that starts it, which has to become what its last arguments say.
    pub launcher: &'a [&'a str],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            cluster: "",
            monitor: "",
            eligibility: "",
            writer: "",
            sessions: "",
            roles: &["any"],
            service: ROUND_ROBIN,
            admin: "",
            reader: "",
            process: "",
            launcher: &[],
        }
    }
}

/// A service for those who write and one for those who read.
pub const WRITER_AND_READER: &[&str] = &["writer", "reader"];

// A Galeway of a test must not touch /run and /var/lib, its defaults.
const NO_SOCKET: &str = "socket = \"\"\n";
const NO_STATE: &str = "state_dir = \"\"\n";

/// What [`Settings::service`] holds by default.
pub const ROUND_ROBIN: &str = "balance = \"round-robin\"";

/// A node in the list of a cluster's nodes, with these further keys.
pub fn table(name: &str, addr: SocketAddr, keys: &str) -> String {
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!("{{ address = \"{addr}\", name = \"{name}\"{keys} }}")
}

impl Settings<'_> {
    /// The whole file, with neither admin socket nor memory, and with the first role only.
    pub fn text(&self, nodes: &[(String, SocketAddr)], accept: SocketAddr, admin: SocketAddr) -> String {
        let nodes: Vec<_> = nodes.iter().map(|(name, addr)| table(name, *addr, "")).collect();
        self.text_of(&nodes, &[accept], admin)
    }

    fn text_of(&self, nodes: &[String], accepts: &[SocketAddr], admin: SocketAddr) -> String {
        let mut text = format!("[cluster.main]\nnodes = [{}]\n{}\n", nodes.join(", "), self.cluster);
        let logs_in = !self.monitor.contains("kind = \"tcp\"");
        let login = if logs_in { "user = \"monitor\"\npassword = \"monitor\"" } else { "" };
        let _ = write!(text, "[cluster.main.monitor]\n{login}\n{}\n", self.monitor);
        let _ = write!(text, "[cluster.main.eligibility]\n{}\n", self.eligibility);
        let _ = write!(text, "[cluster.main.writer]\n{}\n", self.writer);
        let _ = write!(text, "[cluster.main.sessions]\n{}\n", self.sessions);
        for (role, accept) in self.roles.iter().zip(accepts) {
            let _ = write!(
                text,
                "[service.{role}]\naccept = \"{accept}\"\ncluster = \"main\"\nrole = \"{role}\"\n{}\n{}\n",
                self.service,
                if *role == "reader" { self.reader } else { "" }
            );
        }
        let socket = if self.admin.contains("socket =") { "" } else { NO_SOCKET };
        let _ = write!(text, "[admin]\nlisten = \"{admin}\"\n{socket}{}\n", self.admin);
        let state = if self.process.contains("state_dir") { "" } else { NO_STATE };
        let _ = write!(text, "[process]\n{state}log_format = \"json\"\n{}\n", self.process);
        text
    }
}

impl Galeway {
    /// In front of a whole cluster, ready.
    #[track_caller]
    pub fn before(cluster: &Cluster, settings: Settings<'_>) -> Self {
        let galeway = Self::beside(cluster, settings);
        galeway.wait_ready();
        galeway
    }

    /// In front of a whole cluster, and not waited for.
    #[track_caller]
    pub fn beside(cluster: &Cluster, settings: Settings<'_>) -> Self {
        let nodes: Vec<_> = cluster.nodes.iter().map(|n| (n.name.clone(), n.addr())).collect();
        Self::spawn(&nodes, settings)
    }

    /// In front of any addresses, and not waited for: `readyz` may never be 200 here.
    #[track_caller]
    pub fn spawn(nodes: &[(String, SocketAddr)], settings: Settings<'_>) -> Self {
        let nodes: Vec<_> = nodes.iter().map(|(name, addr)| table(name, *addr, "")).collect();
        Self::spawn_nodes(&nodes, settings)
    }

    /// The same with nodes as they stand in the file: see [`table`].
    #[track_caller]
    pub fn spawn_nodes(nodes: &[String], settings: Settings<'_>) -> Self {
        let accepts: Vec<_> = settings.roles.iter().map(|_| local(ports::free())).collect();
        let admin = local(ports::free());
        let dir = fresh_dir();
        let path = |name: &str| dir.join(name).display().to_string();
        let text = settings.text_of(nodes, &accepts, admin);
        let text = text.replace(NO_SOCKET, &format!("socket = \"{}\"\n", path("admin.sock")));
        let text = text.replace(NO_STATE, &format!("state_dir = \"{}\"\n", path("state")));
        std::fs::create_dir(dir.join("state")).unwrap();
        let roles = settings.roles.iter().map(ToString::to_string).collect();
        Self::launch_through(settings.launcher, dir, &text, accepts, roles, admin)
    }

    /// With a file of the test's own; `accept` and `admin` say what stands in it.
    #[track_caller]
    pub fn spawn_text(text: &str, accept: SocketAddr, admin: SocketAddr) -> Self {
        Self::launch(fresh_dir(), text, vec![accept], vec!["any".into()], admin)
    }

    /// With these sections, and an `[admin]` and `[process]` that keep it from the machine's own places; not waited for.
    /// More lines of `[process]` may end them. What is relative is relative to [`Galeway::dir`].
    #[track_caller]
    pub fn sections(sections: &str) -> Self {
        Self::sections_through(&[], sections)
    }

    /// The same, started by this command, which has to become what its last arguments say.
    #[track_caller]
    pub fn sections_through(launcher: &[&str], sections: &str) -> Self {
        let admin = local(ports::free());
        let text = Self::whole(sections, admin);
        Self::launch_through(launcher, fresh_dir(), &text, Vec::new(), Vec::new(), admin)
    }

    /// Runs with these sections, where that ends by itself.
    #[track_caller]
    pub fn refused(sections: &str) -> cli::Output {
        Self::refused_through(&[], sections)
    }

    /// The same, started by this command, which has to become what its last arguments say.
    #[track_caller]
    pub fn refused_through(launcher: &[&str], sections: &str) -> cli::Output {
        let config = fresh_dir().join("galeway.toml");
        std::fs::write(&config, Self::whole(sections, local(ports::free()))).unwrap();
        cli::run(through(launcher).arg("run").arg("-c").arg(config))
    }

    fn whole(sections: &str, admin: SocketAddr) -> String {
        let process = if sections.contains("[process]") { "" } else { "[process]\n" };
        let admin = format!("[admin]\nlisten = \"{admin}\"\n{NO_SOCKET}");
        format!("{admin}{sections}\n{process}{NO_STATE}log_format = \"json\"\n")
    }

    fn launch(dir: PathBuf, text: &str, accepts: Vec<SocketAddr>, roles: Vec<String>, admin: SocketAddr) -> Self {
        Self::launch_through(&[], dir, text, accepts, roles, admin)
    }

    fn launch_through(
        launcher: &[&str],
        dir: PathBuf,
        text: &str,
        accepts: Vec<SocketAddr>,
        roles: Vec<String>,
        admin: SocketAddr,
    ) -> Self {
        let (config, log) = (dir.join("galeway.toml"), dir.join("log"));
        std::fs::write(&config, text).unwrap();
        let process = run(launcher, &config, &log);
        let launcher = launcher.iter().map(|word| (*word).to_owned()).collect();
        Self { process, launcher, admin, accepts, roles, dir, log, config }
    }

    // ---- restarts

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, to its end; sessions that do not end by themselves hold it up.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait(secs(40)).is_some(), "galeway does not stop; its log:\n{}", self.log());
    }

    /// A new process with the same file, addresses and memory; its log goes on.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.ended().is_some(), "galeway runs");
        let launcher: Vec<&str> = self.launcher.iter().map(String::as_str).collect();
        self.process = run(&launcher, &self.config, &self.log);
    }

    /// Removes all that it would remember; it must not run.
    #[track_caller]
    pub fn forget(&mut self) {
        assert!(self.process.ended().is_some(), "galeway runs");
        std::fs::remove_dir_all(self.dir.join("state")).unwrap();
        std::fs::create_dir(self.dir.join("state")).unwrap();
    }

    // ---- where it is

    /// Where clients of this service connect.
    #[track_caller]
    pub fn service(&self, role: &str) -> SocketAddr {
        let place = self.roles.iter().position(|r| r == role);
        self.accepts[place.unwrap_or_else(|| panic!("no service {role}"))]
    }

    /// Of its admin socket, as `--admin` wants it.
    pub fn admin_socket(&self) -> String {
        format!("unix:{}", self.dir.join("admin.sock").display())
    }

    /// `galeway node NAME STATE`, over the admin socket.
    #[track_caller]
    pub fn set_node(&self, name: &str, state: &str) {
        let mut command = Command::new(binary());
        command.args(["node", name, state, "--admin", &self.admin_socket()]);
        let seen = cli::run(&mut command);
        assert_eq!(seen.code, Some(0), "galeway node {name} {state}: {seen:?}");
    }

    /// Where clients of the first service connect.
    pub fn addr(&self) -> SocketAddr {
        self.accepts[0]
    }

    /// Where its configuration lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A session through the first service on the node of this name.
    #[track_caller]
    pub fn session_on(&self, name: &str) -> Conn {
        Conn::on(self.addr(), name)
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    #[track_caller]
    pub fn wait_ready(&self) {
        let ready = within(secs(15), || (self.try_get("/readyz")?.0 == 200).then_some(()));
        assert!(
            ready.is_some(),
            "galeway is not ready; /readyz: {:?}; its log:\n{}",
            self.try_get("/readyz"),
            self.log()
        );
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    // ---- the admin address

    /// Status code and body; panics where nobody answers.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|| panic!("no answer to GET {path}; log:\n{}", self.log()))
    }

    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        http_get(self.admin, path)
    }

    /// `/api/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let (code, body) = self.get("/api/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }

    /// One node's entry of it.
    #[track_caller]
    pub fn node(&self, name: &str) -> Value {
        let status = self.status();
        let nodes = status["clusters"][0]["nodes"].as_array().cloned().unwrap_or_default();
        nodes.into_iter().find(|n| n["name"] == name).unwrap_or_else(|| panic!("no node {name} in {status}"))
    }

    /// Waits for a node's verdict: "eligible", "last-resort", "excluded", "unknown"; returns its entry.
    #[track_caller]
    pub fn wait_verdict(&self, name: &str, verdict: &str, limit: Duration) -> Value {
        let fits = || Some(self.node(name)).filter(|n| n["verdict"] == verdict);
        within(limit, fits).unwrap_or_else(|| panic!("{name} not {verdict} within {limit:?}: {}", self.node(name)))
    }

    /// The cluster's entry of `/api/status`.
    #[track_caller]
    pub fn cluster(&self) -> Value {
        self.status()["clusters"][0].clone()
    }

    /// Waits until the cluster's entry fits, and returns it.
    #[track_caller]
    pub fn wait_cluster(&self, limit: Duration, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = within(limit, || Some(self.cluster()).filter(|c| fits(c)));
        found.unwrap_or_else(|| panic!("not {what} within {limit:?}: {}", self.cluster()))
    }

    /// Waits until this node is the writer.
    #[track_caller]
    pub fn wait_writer(&self, name: &str, limit: Duration) {
        self.wait_cluster(limit, &format!("writer {name}"), |c| c["writer"] == name);
    }

    /// Connections that it has tried to open to this node so far, checks not counted.
    #[track_caller]
    pub fn attempts(&self, node: &str) -> f64 {
        self.metric("galeway_connect_attempts_total", &[("node", node)])
    }

    /// The sum of all series of `name` whose labels hold all of `labels`; 0 if there is none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.get("/metrics");
        let wanted: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let value = |line: &str| -> Option<f64> {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, held) = series.split_once('{').unwrap_or((series, ""));
            (found == name && wanted.iter().all(|w| held.contains(w.as_str()))).then(|| value.parse().ok())?
        };
        text.lines().filter_map(value).sum()
    }

    // ---- the log

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The events of target `access` so far, one a closed connection.
    pub fn access_log(&self) -> Vec<Value> {
        let events = self.log();
        let parsed = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|event| event["target"] == "access").collect()
    }

    // ---- what it costs

    /// Processor time so far by thread id: name, seconds.
    pub fn cpu(&self) -> BTreeMap<u32, (String, f64)> {
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten() {
            // A thread may end between the two reads.
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let (start, end) = (stat.find('(').unwrap(), stat.rfind(')').unwrap());
            let fields: Vec<_> = stat[end + 2..].split(' ').collect();
            let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            let id = entry.file_name().to_string_lossy().parse().unwrap();
            // proc(5): in clock ticks, of which Linux shows user space 100 a second.
            threads.insert(id, (stat[start + 1..end].to_string(), ticks as f64 / 100.0));
        }
        threads
    }

    /// Its resident memory now, in bytes. All of it: how much of the program's own pages counts as private changes by
    /// megabytes whenever another process of the same program begins or ends.
    pub fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let line = text.lines().find(|l| l.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Galeway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            // Thousands of connections are no news: the last of them are enough.
            let (access, events): (Vec<_>, Vec<_>) = log.lines().partition(|l| l.contains("\"target\":\"access\""));
            let last = |lines: Vec<&str>, most| lines[lines.len().saturating_sub(most)..].join("\n");
            eprintln!("galeway's log ends:\n{}\nits access log:\n{}", last(events, 40), last(access, 50));
        }
        self.process.signal(Signal::TERM);
        // Sessions that a test left open keep a draining process for its shutdown_timeout: no test waits for that.
        if self.process.wait(Duration::from_millis(500)).is_none() {
            self.process.kill();
        }
    }
}

/// The binary, started by this command if there is one.
fn through(launcher: &[&str]) -> Command {
    match launcher {
        [] => Command::new(binary()),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary());
            command
        }
    }
}

fn run(launcher: &[&str], config: &Path, log: &Path) -> Process {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut command = through(launcher);
    command.arg("run").arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Process::spawn(&mut command)
}

fn fresh_dir() -> PathBuf {
    let dir = watchdog::fresh_path("galeway");
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The binary where the servers' own user may run it: the directory of a checkout may be closed to it.
pub fn public_binary() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = watchdog::fresh_path("galeway-bin");
        std::fs::copy(binary(), &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        copy
    })
}

/// The binary that cargo built with these tests.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_galeway"))
}

/// A GET on a connection of its own; `None` where nobody answers within 5 s.
pub fn http_get(addr: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, secs(5)).ok()?;
    stream.set_read_timeout(Some(secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "this little client reads no chunks: {head}");
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
}

/// Waits until nothing listens there any more.
#[track_caller]
pub fn wait_closed(addr: SocketAddr) {
    until(secs(10), "the listener closes", || TcpStream::connect_timeout(&addr, secs(1)).is_err().then_some(()));
}
