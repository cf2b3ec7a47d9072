//! One `mariadbd`, its faults, and what it says of itself through its own Unix socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cli::{Output, run};
use super::client::{Conn, Error, Row};
use super::process::{Process, Signal};
use super::{ports, secs, until};

/// `wsrep_local_state` of a node that may serve.
pub const SYNCED: u8 = 4;
/// `wsrep_local_state` of a donor, a desynced node, and one under FLUSH TABLES WITH READ LOCK.
pub const DONOR: u8 = 2;

/// The one place where the servers' flags stand, shared with `scripts/demo`.
pub(super) const GALERA_NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/galera-node");

/// How a node begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// One of several that begin together with the same seed; the number counts from 1.
    Together(&'a Path, usize),
    /// Alone, as a new Primary component, with this seed if it has no data yet.
    Bootstrap(Option<&'a Path>),
    /// Joins those that run; without data, by a state transfer of everything.
    Join,
}

/// What a node said in one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub local_state: u8,
    pub cluster_status: String,
    pub ready: bool,
    pub connected: bool,
    pub size: u32,
    pub conf_id: u64,
    pub state_uuid: String,
    /// `None`: no place in the view, as a node has just after it came back.
    pub local_index: Option<u32>,
    pub gcomm_uuid: String,
    pub incoming_addresses: String,
    pub weight: u32,
    pub last_committed: u64,
}

/// A row of `mysql.wsrep_cluster_members`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub uuid: String,
    pub name: String,
    pub incoming_address: String,
}

impl State {
    /// Reads it over a connection that is there already.
    pub fn read(conn: &mut Conn) -> Result<Self, Error> {
        let rows = conn.query("SHOW GLOBAL STATUS LIKE 'wsrep\\_%'")?;
        let get = |name: &str| {
            let found = rows.iter().find(|row| row[0].as_deref() == Some(name)).and_then(|row| row[1].clone());
            found.ok_or_else(|| Error::Protocol(format!("no {name}")))
        };
        let number = |name| get(name).map(|v| v.parse().unwrap_or(u64::MAX));
        Ok(Self {
            local_state: number("wsrep_local_state")? as u8,
            cluster_status: get("wsrep_cluster_status")?,
            ready: get("wsrep_ready")? == "ON",
            connected: get("wsrep_connected")? == "ON",
            size: number("wsrep_cluster_size")? as u32,
            conf_id: number("wsrep_cluster_conf_id")?,
            state_uuid: get("wsrep_cluster_state_uuid")?,
            local_index: u32::try_from(number("wsrep_local_index")?).ok(),
            gcomm_uuid: get("wsrep_gcomm_uuid")?,
            incoming_addresses: get("wsrep_incoming_addresses")?,
            weight: number("wsrep_cluster_weight")? as u32,
            last_committed: number("wsrep_last_committed")?,
        })
    }

    pub fn primary(&self) -> bool {
        self.cluster_status == "Primary"
    }

    pub fn synced(&self) -> bool {
        self.local_state == SYNCED && self.primary() && self.ready
    }
}

/// A MariaDB Galera node on loopback. Dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    dir: PathBuf,
    ports: [u16; 4],
    cluster: String,
    flags: Vec<String>,
    launcher: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Node {
    /// Not started. `ports` are SQL, group, IST and SST; `cluster` the group addresses of all nodes.
    pub fn new<S: ToString>(name: &str, dir: PathBuf, ports: [u16; 4], cluster: String, flags: &[S]) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { name: name.into(), dir, ports, cluster, flags, launcher: Vec::new(), process: Mutex::new(None) }
    }

    /// The same, started by this command, which has to become what its last arguments say.
    #[must_use]
    pub fn through(mut self, launcher: Vec<String>) -> Self {
        self.launch_through(launcher);
        self
    }

    /// Started by this command from the next start on.
    pub fn launch_through(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Four ports for [`Node::new`].
    pub fn free_ports() -> [u16; 4] {
        std::array::from_fn(|_| ports::free())
    }

    // ---- where it is

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[0]).into()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("mysqld.sock")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Holds all that is its own.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The group addresses of all nodes, comma-separated.
    pub fn group(&self) -> &str {
        &self.cluster
    }

    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.dir.join("error.log")).unwrap_or_default()
    }

    /// The command that starts it, if there is one.
    pub(super) fn launcher(&self) -> &[String] {
        &self.launcher
    }

    /// It runs as this process from now on.
    pub(super) fn run_as(&self, command: &mut Command) {
        assert!(!self.running(), "{} runs already", self.name);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.process() = Some(Process::spawn(command));
    }

    pub fn pid(&self) -> Option<u32> {
        let mut process = self.process();
        let process = process.as_mut()?;
        process.ended().is_none().then(|| process.id())
    }

    pub fn running(&self) -> bool {
        self.pid().is_some()
    }

    // ---- life and death

    /// Begins, and returns at once.
    pub fn start(&self, how: Start<'_>) {
        self.start_with(how, &[]);
    }

    /// The same with these further flags of `mariadbd`, this once.
    pub fn start_with(&self, how: Start<'_>, flags: &[&str]) {
        self.run_as(&mut self.command(how, flags));
    }

    /// Runs `mariadbd` on its data with these further flags, to its end: for what is no server, as `--wsrep-recover`.
    #[track_caller]
    pub fn run_to_end(&self, flags: &[&str]) -> Output {
        run(&mut self.command(Start::Join, flags))
    }

    fn command(&self, how: Start<'_>, flags: &[&str]) -> Command {
        let mut command = through(&self.launcher, GALERA_NODE);
        command.arg("run").arg("--dir").arg(&self.dir).args(["--name", &self.name]);
        command.args(["--ports", &self.ports.map(|p| p.to_string()).join(",")]);
        match how {
            Start::Together(seed, i) => {
                command.args(["--cluster", &self.cluster, "--first-start", &i.to_string()]).arg("--from").arg(seed);
            }
            Start::Bootstrap(seed) => {
                command.args(["--cluster", "new"]);
                if let Some(seed) = seed {
                    command.arg("--from").arg(seed);
                }
            }
            Start::Join => {
                command.args(["--cluster", &self.cluster]);
            }
        }
        command.arg("--").args(&self.flags).args(flags);
        command
    }

    /// Joins again after a stop, a kill or a wipe; returns at once.
    pub fn rejoin(&self) {
        self.start(Start::Join);
    }

    /// An orderly shutdown (SIGTERM), to its end.
    #[track_caller]
    pub fn stop(&self) {
        self.begin_stop();
        let ended = self.process().as_mut().and_then(|p| p.wait(secs(60)));
        assert!(ended.is_some(), "{} does not stop: {}", self.name, self.tail());
    }

    /// The same, without waiting for the end.
    pub fn begin_stop(&self) {
        if let Some(p) = self.process().as_mut() {
            p.signal(Signal::TERM);
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        if let Some(mut p) = self.process().take() {
            p.kill();
        }
    }

    /// SIGSTOP: the kernel still accepts connections for it, and nothing ever answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Removes all its data; it must not run. The next [`Node::rejoin`] is a state transfer of everything.
    pub fn wipe(&self) {
        assert!(!self.running(), "{} runs", self.name);
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    /// History and last seqno of a node that does not run, by `mariadbd --wsrep-recover`.
    #[track_caller]
    pub fn recovered_position(&self) -> (String, i64) {
        self.start_with(Start::Join, &["--wsrep-recover"]);
        let ended = self.process().as_mut().and_then(|p| p.wait(secs(60)));
        assert!(ended.is_some(), "{} does not end: {}", self.name, self.tail());
        let log = self.error_log();
        let line = log.lines().rev().find_map(|l| l.split_once("WSREP: Recovered position: "));
        let (_, position) = line.unwrap_or_else(|| panic!("{} has no position: {}", self.name, self.tail()));
        // With GTIDs `,D-S-N` may follow.
        let position = position.split(',').next().unwrap_or_default();
        let (uuid, seqno) = position.rsplit_once(':').unwrap_or_else(|| panic!("{position}"));
        (uuid.into(), seqno.parse().unwrap())
    }

    /// Begins after a crash as Debian's unit does: with its recovered position, since `grastate.dat` has none. Without,
    /// a whole cluster would restore itself with an all-zero history.
    #[track_caller]
    pub fn start_recovered(&self, how: Start<'_>) {
        let (uuid, seqno) = self.recovered_position();
        self.start_with(how, &[&format!("--wsrep-start-position={uuid}:{seqno}")]);
    }

    /// What an operator does to a stopped node before the others may join it: says that its data is the newest.
    pub fn allow_bootstrap(&self) {
        let file = self.data().join("grastate.dat");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1")).unwrap();
        // Or it would look for the members of its last view first.
        let _ = std::fs::remove_file(self.data().join("gvwstate.dat"));
    }

    fn signal(&self, signal: Signal) {
        self.process().as_mut().unwrap_or_else(|| panic!("{} does not run", self.name)).signal(signal);
    }

    // ---- faults by SQL

    /// Cut off from its peers: non-Primary after Galera's own 5 s.
    pub fn isolate(&self) {
        self.sql("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'");
    }

    /// Ends [`Node::isolate`].
    pub fn heal(&self) {
        self.sql("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'");
    }

    /// Makes what is left of a component without quorum the Primary component.
    pub fn bootstrap(&self) {
        self.sql("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'");
    }

    /// Donor/Desynced until [`Node::resync`].
    pub fn desync(&self) {
        self.sql("SET GLOBAL wsrep_desync = ON");
    }

    pub fn resync(&self) {
        self.sql("SET GLOBAL wsrep_desync = OFF");
    }

    /// Sets a global variable (`value` is SQL: quote text) until the returned guard is dropped.
    #[must_use = "the old value comes back when this is dropped"]
    pub fn set(&self, variable: &str, value: &str) -> Changed<'_> {
        let old = self.variable(variable);
        self.sql(&format!("SET GLOBAL {variable} = {value}"));
        Changed { node: self, variable: variable.into(), old }
    }

    // ---- questions

    /// A new connection as root through the node's socket; use one for many questions where time matters.
    pub fn root(&self) -> Result<Conn, Error> {
        Conn::root(&self.socket(), secs(5))
    }

    /// One statement as root; what it returned.
    pub fn try_sql(&self, sql: &str) -> Result<Vec<Row>, Error> {
        self.root()?.query(sql)
    }

    /// The same where failing fails the test.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Vec<Row> {
        self.try_sql(sql).unwrap_or_else(|e| panic!("{}: {sql}: {e}", self.name))
    }

    /// A global status variable.
    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.second_column(&format!("SHOW GLOBAL STATUS WHERE Variable_name = '{name}'"))
    }

    /// A global system variable.
    #[track_caller]
    pub fn variable(&self, name: &str) -> String {
        self.second_column(&format!("SHOW GLOBAL VARIABLES WHERE Variable_name = '{name}'"))
    }

    #[track_caller]
    fn second_column(&self, sql: &str) -> String {
        let row = self.sql(sql).into_iter().next().unwrap_or_else(|| panic!("{}: no row: {sql}", self.name));
        row.into_iter().nth(1).flatten().unwrap_or_default()
    }

    /// What it says of itself; an error while it cannot be asked.
    pub fn state(&self) -> Result<State, Error> {
        State::read(&mut self.root()?)
    }

    /// Who it says is in its component, by uuid. A node that is not Primary tells of its last Primary component.
    #[track_caller]
    pub fn members(&self) -> Vec<Member> {
        const SQL: &str =
            "SELECT node_uuid, node_name, node_incoming_address FROM mysql.wsrep_cluster_members ORDER BY 1";
        let member = |row: Row| {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || fields.next().unwrap_or_default();
            Member { uuid: next(), name: next(), incoming_address: next() }
        };
        self.sql(SQL).into_iter().map(member).collect()
    }

    /// Waits until what it says of itself fits; `what` is for the message.
    #[track_caller]
    pub fn wait(&self, limit: Duration, what: &str, fits: impl Fn(&State) -> bool) -> State {
        let mut last = String::from("nothing");
        let found = super::within(limit, || {
            assert!(self.running(), "{} ended while waiting for {what}: {}", self.name, self.tail());
            match self.state() {
                Ok(state) if fits(&state) => return Some(state),
                Ok(state) => last = format!("{state:?}"),
                Err(e) => last = e.to_string(),
            }
            None
        });
        found.unwrap_or_else(|| panic!("{} not {what} within {limit:?}; last: {last}; {}", self.name, self.tail()))
    }

    /// Synced, Primary and ready, in a component of `size`.
    #[track_caller]
    pub fn wait_synced(&self, size: u32) -> State {
        self.wait(secs(60), "Synced", |s| s.synced() && s.size == size)
    }

    /// Asks all the time from a thread of its own: a second observer beside the balancer's monitor.
    pub fn observe(&self, every: Duration) -> Observer {
        Observer::start(self.socket(), every)
    }

    pub fn tail(&self) -> String {
        let log = self.error_log();
        let lines: Vec<_> = log.lines().collect();
        format!("end of its log:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A global variable that gets its old value back when this is dropped, if its node can still be asked.
#[derive(Debug)]
pub struct Changed<'a> {
    node: &'a Node,
    variable: String,
    old: String,
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        let Self { node, variable, old } = self;
        let value = if old.parse::<f64>().is_ok() { old.clone() } else { format!("'{old}'") };
        let _ = node.try_sql(&format!("SET GLOBAL {variable} = {value}"));
    }
}

/// One answer of an observed node.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When the question was sent.
    pub asked: Instant,
    /// When the answer was there.
    pub answered: Instant,
    /// `None`: it could not be asked, or did not answer.
    pub state: Option<State>,
}

/// Polls a node over one kept connection until dropped.
#[derive(Debug)]
pub struct Observer {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    fn start(socket: PathBuf, every: Duration) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (samples, stop) = (Arc::clone(&samples), Arc::clone(&stop));
            move || {
                let mut conn = None;
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    if conn.is_none() {
                        conn = Conn::root(&socket, secs(1)).ok();
                    }
                    let state = conn.as_mut().and_then(|c| State::read(c).ok());
                    if state.is_none() {
                        conn = None;
                    }
                    let answered = Instant::now();
                    samples.lock().unwrap().push(Sample { asked, answered, state });
                    std::thread::sleep(every.saturating_sub(asked.elapsed()));
                }
            }
        });
        Self { samples, stop, thread: Some(thread) }
    }

    /// All answers so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }

    /// The first answer that fits.
    pub fn first(&self, fits: impl Fn(&State) -> bool) -> Option<Sample> {
        self.samples.lock().unwrap().iter().find(|s| s.state.as_ref().is_some_and(&fits)).cloned()
    }

    /// Waits for it.
    #[track_caller]
    pub fn wait_first(&self, limit: Duration, what: &str, fits: impl Fn(&State) -> bool) -> Sample {
        until(limit, what, || self.first(&fits))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The program, started by this command if there is one.
pub(super) fn through(launcher: &[String], program: &str) -> Command {
    let mut words = launcher.iter().map(String::as_str).chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    command
}

/// Runs `galera-node seed`, by this command if there is one.
pub fn make_seed(dir: &Path, launcher: &[String]) {
    let mut command = through(launcher, GALERA_NODE);
    command.arg("seed").arg("--dir").arg(dir).args(["--ports", &Node::free_ports().map(|p| p.to_string()).join(",")]);
    let log = dir.with_extension("out");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let mut process = Process::spawn(&mut command);
    let ended = process.wait(secs(60));
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(
        ended.is_some_and(|e| e.success()),
        "no seed node (are the packages there? scripts/install-packages test): {ended:?}: {}",
        said()
    );
}
