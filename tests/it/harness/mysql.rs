//! One MySQL server out of [`Root::Mysql`], and how it replicates another.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::client::{Conn, Error, Row};
use super::load::Manner;
use super::process::{Process, Signal};
use super::roots::Root;
use super::{ports, secs, until, watchdog};

/// The accounts: root through the socket, app/app with every right, monitor/monitor with none, repl/repl for replicas. All by
/// caching_sha2_password, which is the server's default.
const ACCOUNTS: [&str; 7] = [
    "SET sql_log_bin = OFF",
    "CREATE USER app@'%' IDENTIFIED BY 'app'",
    "GRANT ALL ON *.* TO app@'%'",
    "CREATE USER monitor@'%' IDENTIFIED BY 'monitor'",
    "CREATE USER repl@'%' IDENTIFIED BY 'repl'",
    "GRANT REPLICATION SLAVE, BACKUP_ADMIN, GROUP_REPLICATION_STREAM, CONNECTION_ADMIN ON *.* TO repl@'%'",
    "RESET BINARY LOGS AND GTIDS",
];

/// What a server answers its name to: `m` and its number.
pub const NAME: &str = "SELECT CONCAT('m', @@server_id)";

/// A few clients who ask for that.
pub const FEW: Manner = Manner { name: NAME, ..Manner::FEW };

/// A MySQL server on loopback, with GTIDs. Dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct Mysql {
    pub name: String,
    id: usize,
    dir: PathBuf,
    port: u16,
    flags: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Mysql {
    /// Server `m` and this number, which runs, with these flags after the usual ones.
    #[track_caller]
    pub fn start(id: usize, flags: &[&str]) -> Self {
        let it = Self::stopped(id, flags);
        it.start_again();
        it
    }

    /// Several at once, numbered from 1.
    #[track_caller]
    pub fn start_all<const N: usize>(flags: [&[&str]; N]) -> [Self; N] {
        let all = std::array::from_fn(|i| Self::stopped(i + 1, flags[i]));
        all.iter().for_each(Self::begin);
        all.iter().for_each(Self::wait_up);
        all
    }

    /// The same, which never ran: its data may still be changed.
    pub fn stopped(id: usize, flags: &[&str]) -> Self {
        let name = format!("m{id}");
        let dir = watchdog::fresh_path(&name);
        let from = seed();
        // The owner is the root's own user.
        let copied = Command::new("cp").arg("-a").arg(from).arg(&dir).status().unwrap();
        assert!(copied.success());
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { name, id, dir, port: ports::free(), flags, process: Mutex::new(None) }
    }

    fn begin(&self) {
        let mut command = mysqld(&self.dir);
        command.arg(format!("--server-id={}", self.id)).arg(format!("--port={}", self.port)).args(&self.flags);
        *self.process() = Some(Process::spawn(&mut command));
    }

    #[track_caller]
    fn wait_up(&self) {
        until(secs(90), "the server takes logins", || {
            assert!(self.running(), "{} ended: {}", self.name, self.tail());
            self.root().ok()
        });
        self.remember("app");
        self.remember("repl");
    }

    /// After a stop or a kill; returns when it takes logins.
    #[track_caller]
    pub fn start_again(&self) {
        self.begin();
        self.wait_up();
    }

    /// Logs this account in, whose password is its name, so that the server remembers it. Who has neither TLS nor the server's
    /// RSA key is let in only then.
    #[track_caller]
    pub fn remember(&self, account: &str) {
        Conn::at(&self.socket(), account, account, secs(20))
            .unwrap_or_else(|e| panic!("{}: {account}: {e}", self.name));
    }

    // ---- where it is

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("mysqld.sock")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    // ---- life and death

    pub fn running(&self) -> bool {
        self.process().as_mut().is_some_and(|p| p.ended().is_none())
    }

    /// An orderly shutdown, to its end.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        let ended = self.process().as_mut().and_then(|p| p.wait(secs(60)));
        assert!(ended.is_some(), "{} does not stop: {}", self.name, self.tail());
    }

    /// `kill -9`.
    pub fn kill(&self) {
        if let Some(mut p) = self.process().take() {
            p.kill();
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.process().as_mut().unwrap_or_else(|| panic!("{} does not run", self.name)).signal(signal);
    }

    // ---- questions and orders

    /// A new connection as root through the socket.
    pub fn root(&self) -> Result<Conn, Error> {
        Conn::root(&self.socket(), secs(20))
    }

    pub fn try_sql(&self, sql: &str) -> Result<Vec<Row>, Error> {
        self.root()?.query(sql)
    }

    /// One statement as root; what it returned.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Vec<Row> {
        self.try_sql(sql).unwrap_or_else(|e| panic!("{}: {sql}: {e}; {}", self.name, self.tail()))
    }

    /// The first field of the first row.
    #[track_caller]
    pub fn one(&self, sql: &str) -> String {
        self.sql(sql).into_iter().flatten().flatten().next().unwrap_or_else(|| panic!("{}: no row: {sql}", self.name))
    }

    /// Waits until a statement brings this.
    #[track_caller]
    pub fn wait(&self, limit: Duration, sql: &str, wanted: &str) {
        let mut last = String::new();
        let found = super::within(limit, || {
            last = match self.try_sql(sql) {
                Ok(rows) => rows.into_iter().flatten().flatten().next().unwrap_or_default(),
                Err(e) => e.to_string(),
            };
            (last == wanted).then_some(())
        });
        assert!(found.is_some(), "{}: {sql} is {last} and not {wanted} after {limit:?}; {}", self.name, self.tail());
    }

    /// Replicates this one, from now on, by GTID.
    #[track_caller]
    pub fn replicate(&self, source: &Self) {
        let port = source.port;
        self.sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'repl', \
             SOURCE_PASSWORD = 'repl', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1"
        ));
        self.sql("START REPLICA");
    }

    /// Has all that this one has committed.
    #[track_caller]
    pub fn wait_caught_up(&self, source: &Self) {
        let gtids = source.one("SELECT @@global.gtid_executed");
        self.wait(secs(30), &format!("SELECT GTID_SUBSET('{gtids}', @@global.gtid_executed)"), "1");
    }

    pub fn tail(&self) -> String {
        tail(&self.dir)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn tail(dir: &Path) -> String {
    let log = std::fs::read_to_string(dir.join("error.err")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    format!("end of its log:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// `mysqld` on the data in this directory.
fn mysqld(dir: &Path) -> Command {
    let launcher = Root::Mysql.launcher();
    let mut command = Command::new(&launcher[0]);
    command.args(&launcher[1..]).args(["mysqld", "--no-defaults", "--user=mysql"]);
    for (flag, file) in
        [("datadir", "data"), ("socket", "mysqld.sock"), ("pid-file", "pid"), ("log-error", "error.err")]
    {
        command.arg(format!("--{flag}={}", dir.join(file).display()));
    }
    command.args(["--bind-address=127.0.0.1", "--mysqlx=OFF", "--skip-name-resolve", "--secure-file-priv=NULL"]);
    command.args(["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--innodb-redo-log-capacity=8M"]);
    command.args(["--innodb-buffer-pool-size=64M", "--max-connections=500", "--innodb-flush-log-at-trx-commit=0"]);
    command.args(["--sync-binlog=0", "--skip-replica-start=OFF", "--replica-net-timeout=4"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A stopped server with the accounts, whose data others begin with; made once per process.
fn seed() -> &'static Path {
    static SEED: OnceLock<PathBuf> = OnceLock::new();
    SEED.get_or_init(|| {
        let dir = watchdog::fresh_path("mysql-seed");
        std::fs::create_dir(&dir).unwrap();
        let launcher = Root::Mysql.launcher();
        let owned =
            Command::new(&launcher[0]).args(&launcher[1..]).args(["chown", "mysql"]).arg(&dir).status().unwrap();
        assert!(owned.success());
        let ended = Process::spawn(mysqld(&dir).arg("--initialize-insecure")).wait(secs(120));
        assert!(ended.is_some_and(|e| e.success()), "no data: {}", tail(&dir));
        let mut server = Process::spawn(mysqld(&dir).arg("--skip-networking"));
        let socket = dir.join("mysqld.sock");
        let mut root = until(secs(60), "the first start", || Conn::root(&socket, secs(20)).ok());
        for sql in ACCOUNTS {
            root.query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        server.signal(Signal::TERM);
        assert!(server.wait(secs(60)).is_some(), "it does not stop: {}", tail(&dir));
        // Each has an identity of its own.
        std::fs::remove_file(dir.join("data/auto.cnf")).unwrap();
        dir
    })
}
