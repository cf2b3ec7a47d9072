//! Clients of other people: the `mariadb` command and pymysql.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::Process;
use super::secs;

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end; panics after a minute.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command);
    // Both pipes are read while it runs: one that is full would stop it.
    fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    let stdout = reader(process.child().stdout.take().unwrap());
    let stderr = reader(process.child().stderr.take().unwrap());
    let ended = process.wait(secs(60)).unwrap_or_else(|| panic!("{command:?} does not end"));
    Output { code: ended.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// `mariadb` as `app` with these further arguments (`&["--skip-ssl"]`) and this statement; plain rows.
#[track_caller]
pub fn mariadb(addr: SocketAddr, arguments: &[&str], sql: &str) -> Output {
    run(Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "-uapp", "-papp", "-N", "-B"])
        .args(["-h", &addr.ip().to_string(), "-P", &addr.port().to_string()])
        .args(arguments)
        .args(["-e", sql]))
}

/// The same over a Unix socket.
#[track_caller]
pub fn mariadb_at(socket: &Path, arguments: &[&str], sql: &str) -> Output {
    run(Command::new("mariadb")
        .args(["--no-defaults", "-uapp", "-papp", "-N", "-B", "-S"])
        .arg(socket)
        .args(arguments)
        .args(["-e", sql]))
}

/// pymysql as `app`: the rows as JSON on standard output, or `{"code": …, "message": …}` and exit code 1.
#[track_caller]
pub fn pymysql(addr: SocketAddr, sql: &str) -> Output {
    const PROGRAM: &str = r#"
import json, sys, pymysql
try:
    c = pymysql.connect(host=sys.argv[1], port=int(sys.argv[2]), user='app', password='app', connect_timeout=30)
    cursor = c.cursor()
    cursor.execute(sys.argv[3])
    print(json.dumps(cursor.fetchall(), default=str))
    c.close()
except pymysql.Error as e:
    print(json.dumps({'code': e.args[0], 'message': str(e.args[1])}))
    sys.exit(1)
"#;
    run(Command::new("/usr/bin/python3").args(["-c", PROGRAM, &addr.ip().to_string(), &addr.port().to_string(), sql]))
}
