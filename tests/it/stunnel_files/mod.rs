//! Tunnels as stunnel makes them: by files of stunnel, with certificates of openssl, and with the programs themselves at
//! the other end.
//!
//! | file | what |
//! |---|---|
//! | `grid` | a CA in a hashed directory with its CRL, and hosts of all sorts |
//! | `pipes` | a program at whose standard input and output a test sits: `openssl s_client`, `openssl s_server` |
//! | `man06` | the replication link of EGI's MAN06, between real servers |
//! | `interop` | with the real stunnel and with openssl at the other end |
//! | `converted` | a converted file lets in and refuses whom the old one does |

mod converted;
mod grid;
mod interop;
mod man06;
mod pipes;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::{Process, Signal};
use crate::harness::{cli, root, until, watchdog};
use grid::{Host, grid};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What runs a file of stunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `galeway stunnel`.
    Galeway,
    /// `galeway convert`, and `galeway run` with what that printed.
    Converted,
    /// The real one.
    Stunnel,
}

/// One end of a tunnel, or several: a process with a file of stunnel.
struct End {
    program: Program,
    launcher: Vec<String>,
    dir: PathBuf,
    process: Process,
}

impl End {
    /// In the foreground, as nobody, with a log and a pid file, and with these lines. Returns once it listens.
    #[track_caller]
    fn start(program: Program, text: &str) -> Self {
        Self::start_through(Vec::new(), program, text)
    }

    /// The same, started by this command, which has to become what its last arguments say.
    #[track_caller]
    fn start_through(launcher: Vec<String>, program: Program, text: &str) -> Self {
        let dir = watchdog::fresh_path("tunnel");
        fs::create_dir(&dir).unwrap();
        // Who it becomes writes there.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let shown = dir.display();
        let head = format!("foreground = yes\nsyslog = no\npid = {shown}/pid\noutput = {shown}/log\n{}", nobody());
        fs::write(dir.join("stunnel.conf"), head + text).unwrap();
        let process = Self::spawn(program, &launcher, &dir);
        let mut end = Self { program, launcher, dir, process };
        end.wait_ready();
        end
    }

    #[track_caller]
    fn spawn(program: Program, launcher: &[String], dir: &std::path::Path) -> Process {
        let conf = dir.join("stunnel.conf");
        let conf = conf.to_str().unwrap();
        let toml = dir.join("galeway.toml");
        let galeway = binary().display().to_string();
        let words: Vec<&str> = match program {
            Program::Galeway => vec![&galeway, "stunnel", conf],
            Program::Stunnel => vec!["stunnel", conf],
            Program::Converted => {
                let converted = cli::run(Command::new(&galeway).args(["convert", conf]));
                assert_eq!(converted.code, Some(0), "{converted:?}");
                fs::write(&toml, converted.stdout).unwrap();
                vec![&galeway, "run", "-c", toml.to_str().unwrap()]
            }
        };
        let words: Vec<&str> = launcher.iter().map(String::as_str).chain(words).collect();
        let to = fs::OpenOptions::new().create(true).append(true).open(dir.join("stderr")).unwrap();
        let (first, rest) = words.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).stdin(Stdio::null()).stdout(to.try_clone().unwrap()).stderr(to);
        Process::spawn(&mut command)
    }

    /// It writes its number when it listens.
    #[track_caller]
    fn wait_ready(&mut self) {
        let number = format!("{}\n", self.process.id());
        until(LONG, "a pid file", || {
            assert!(self.process.ended().is_none(), "{:?} ended: {}", self.program, self.stderr());
            fs::read_to_string(self.dir.join("pid")).ok().filter(|text| *text == number)
        });
    }

    /// `kill -9`, or a word to end; and the same again.
    #[track_caller]
    fn restart(&mut self, signal: Signal) {
        self.process.signal(signal);
        assert!(self.process.wait(LONG).is_some(), "it does not end: {}", self.log());
        self.process = Self::spawn(self.program, &self.launcher, &self.dir);
        self.wait_ready();
    }

    /// What `output` names.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }

    /// A line of the log with these words, whenever it comes.
    #[track_caller]
    fn wait_line(&self, words: &[&str]) -> String {
        let find = || {
            let log = self.log();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        };
        until(LONG, &format!("a line with {words:?}"), find)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let conf = fs::read_to_string(self.dir.join("stunnel.conf")).unwrap_or_default();
            eprintln!("{:?} with\n{conf}\nsaid:\n{}\n{}", self.program, self.stderr(), self.log());
        }
    }
}

/// The lines by which root becomes nobody; none where the user asked for a run without root, which is said.
fn nobody() -> String {
    if !root("becoming nobody (setuid and setgid)") {
        return String::new();
    }
    // Debian's name, or that of others.
    let groups = fs::read_to_string("/etc/group").unwrap();
    let group = if groups.lines().any(|line| line.starts_with("nogroup:")) { "nogroup" } else { "nobody" };
    format!("setuid = nobody\nsetgid = {group}\n")
}

/// The options of MAN06's two files, the page's mistakes mended, as this host has them; and the CRLs that lie beside the CAs.
fn man06(host: &Host) -> String {
    let certificates = grid().certificates();
    format!(
        "; Some performance tunings\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n; Authentication stuff\n\
         verify = 2\nCApath = {certificates}\nCRLpath = {certificates}\n;debug = 7\n;chroot = /var/lib/stunnel4/\n{}",
        shows(host),
        certificates = certificates.display()
    )
}

/// The lines by which an end shows this host's certificate.
fn shows(host: &Host) -> String {
    format!("cert = {}\nkey = {}\n", host.cert.display(), host.key.display())
}

/// A server that sends all back.
struct Echo {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn new() -> Self {
        let listener = TcpListener::bind(local(0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::spawn(move || {
                    let _ = io::copy(&mut &stream, &mut &stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let woken = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take()
            && woken.is_ok()
        {
            let _ = thread.join();
        }
    }
}

/// Bytes that are another's nowhere.
fn bytes(len: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sends so many bytes to an echo behind `addr` and reads them again, then the end of both; whether they came.
#[track_caller]
fn there_and_back(addr: SocketAddr, len: usize) -> bool {
    carries(addr, len, false)
}

/// The same. `at_once`: the end follows the last byte, while others are still to come back. Not through the real stunnel,
/// which now and then closes with bytes unsent then, also between two of its own.
#[track_caller]
fn carries(addr: SocketAddr, len: usize, at_once: bool) -> bool {
    let stream = match TcpStream::connect_timeout(&addr, LONG) {
        // So soon that it is seen here already.
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return false,
        connected => connected.unwrap(),
    };
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    let sent = bytes(len);
    let mut got = Vec::new();
    let read = std::thread::scope(|scope| {
        let (stream, sent) = (&stream, &sent);
        let end = move || stream.shutdown(Shutdown::Write);
        let write = move || {
            let mut stream = stream;
            stream.write_all(sent)?;
            if at_once { end() } else { Ok(()) }
        };
        scope.spawn(write);
        stream.take(len as u64).read_to_end(&mut got)?;
        let _ = end();
        let mut stream = stream;
        stream.read_to_end(&mut got)
    });
    let stalled = matches!(&read, Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    assert!(!stalled, "{addr} neither goes on nor ends after {} of {len} bytes", got.len());
    // What does not come back whole did not come from the echo.
    assert!(sent.starts_with(&got), "{addr} changes what it carries");
    read.is_ok() && got.len() == len
}
