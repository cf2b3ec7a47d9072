//! The old process's side of an upgrade: it starts the program that it was started from, hands it what it listens on, and
//! waits until the new process serves.
//!
//! ```text
//!  old                                             new
//!  start, goods ──────────────────────────────►    configuration, keys, sockets that are new
//!                                                  first round of checks, accepts
//!             ◄──────────────────────────── ready
//!  MAINPID, lets go of files; yours ──────────►    pid file, admin sockets' files
//!  accepts no more; sessions end by themselves
//! ```
//!
//! Up to "ready" nothing has changed for the old process but that the new one has the lock of `state_dir`: whatever becomes
//! of the new one until then, the old one goes on. Both accept for a moment, and nobody is refused.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal, test_kill_process};
use tokio::sync::oneshot;

use super::predecessor::VARIABLE;
use crate::net::handover::{Channel, Good, HandoverError, Order, Word};

/// The value of [`VARIABLE`] for who is to be the new process's parent.
pub(super) const START_ME: &str = "start";

/// What the new process has for its start, apart from the first round of checks.
const START: Duration = Duration::from_secs(30);

/// For each word on the channel.
const WORD: Duration = Duration::from_secs(5);

/// How often it is looked whether the new process lives, and whether it is wanted still.
const LOOK: Duration = Duration::from_millis(50);

/// What is heard at once; the rest comes next time.
const MOST_ORDERS: usize = 100;

/// A process that lets go of the channel is about to end.
const ENDING: Duration = Duration::from_secs(1);

/// How this process was started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// As it was called.
    called: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: where the program is found by its name then, a new one will be found later. The way that leads
    /// through links is kept, so that a link that is laid anew leads to the new one.
    ///
    /// # Errors
    /// The system does not say (`/proc` is not mounted).
    pub fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let called = arguments.next().unwrap_or_default();
        let running = env::current_exe()?;
        let path = named(&called).filter(|path| same(path, &running)).unwrap_or(running);
        Ok(Self { path, called, arguments: arguments.collect() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What starts it as this process was started; `as_what`: see [`VARIABLE`].
    pub(super) fn command(&self, as_what: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.called).args(&self.arguments).env(VARIABLE, as_what);
        // Each says whose it is, and the sockets go another way.
        for ours in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(ours);
        }
        if sd_notify::watchdog_enabled().is_none() {
            command.env_remove("WATCHDOG_USEC");
        }
        command
    }
}

/// The path that a shell would have taken.
fn named(called: &OsString) -> Option<PathBuf> {
    if called.as_bytes().contains(&b'/') {
        return std::path::absolute(called).ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(called))
        .filter_map(|path| std::path::absolute(path).ok())
        .find(|path| path.is_file())
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A new process that is being started. Dropped, it is ended.
#[derive(Debug)]
pub struct Upgrade {
    outcome: oneshot::Receiver<Result<Successor, String>>,
    unwanted: Arc<AtomicBool>,
}

impl Upgrade {
    /// Starts it. `checks`: how long its first round of checks may take besides.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(program: &Program, goods: Vec<Good>, checks: Duration) -> io::Result<Self> {
        let (send, outcome) = oneshot::channel();
        let unwanted = Arc::new(AtomicBool::new(false));
        let (program, given_up) = (program.clone(), Arc::clone(&unwanted));
        std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            // Where nobody waits any more, the new process is ended with what is thrown away here.
            let _ = send.send(bring_up(&program, goods, START + checks, &given_up));
        })?;
        Ok(Self { outcome, unwanted })
    }

    /// The new process, which accepts clients; or what became of it. To be asked until it answers, once. Dropped before it is
    /// ready it loses nothing.
    pub async fn outcome(&mut self) -> Result<Successor, String> {
        (&mut self.outcome).await.unwrap_or_else(|_| Err("a fault of Galeway's own: please report it".to_owned()))
    }

    /// Ends the new process, and waits for that.
    pub async fn give_up(mut self) {
        self.unwanted.store(true, Ordering::SeqCst);
        drop(self.outcome().await);
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::SeqCst);
    }
}

/// The process that takes the place of this one.
#[derive(Debug)]
pub struct Successor {
    /// The process that was started: its parent, and nobody's once it is ready (see midwife.rs).
    midwife: Child,
    /// Known once it is ready.
    itself: Option<Itself>,
    channel: Channel,
    /// It was told that the place is its own.
    told: bool,
}

#[derive(Debug)]
struct Itself {
    pid: Pid,
    /// Tells of its end, and is no other process's. An old kernel has none.
    handle: Option<OwnedFd>,
}

impl Itself {
    fn has_ended(&self) -> bool {
        match &self.handle {
            // pidfd_open(2): readable, once it has ended.
            Some(handle) => {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
            }
            None => test_kill_process(self.pid).is_err(),
        }
    }

    fn end(&self) {
        let _ = match &self.handle {
            Some(handle) => pidfd_send_signal(handle, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }
}

impl Successor {
    /// Its number; until it is ready that of the process which starts it.
    pub fn pid(&self) -> u32 {
        self.itself.as_ref().map_or(self.midwife.id(), |itself| itself.pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// It is ready: from now on it is a child of whoever collects orphans, which is the service manager.
    fn is_ready(&mut self, pid: u32) -> bool {
        let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) else { return false };
        // While its parent lives no other process has the number.
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
        let itself = self.itself.insert(Itself { pid, handle });
        let lives = !itself.has_ended();
        let _ = self.midwife.kill();
        let _ = self.midwife.wait();
        lives
    }

    /// Says that this process is about to serve no more. From now on the new one lives or ends by itself.
    ///
    /// # Errors
    /// It does not live any more.
    pub fn hand_over(&mut self) -> Result<(), String> {
        match self.channel.say(Word::Yours, Instant::now() + WORD) {
            Ok(()) => {
                self.told = true;
                Ok(())
            }
            Err(e) => Err(format!("the new process (process {}) ended as soon as it was ready: {e}", self.pid())),
        }
    }

    /// What operators have set at the new process since this was asked last.
    pub fn orders(&self) -> Vec<Order> {
        let heard = || self.channel.hear(Instant::now()).ok();
        let words = std::iter::from_fn(heard).take(MOST_ORDERS);
        words.filter_map(|word| if let Word::Order(order) = word { Some(order) } else { None }).collect()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.itself.as_ref().is_some_and(Itself::has_ended)
    }

    /// How the start has ended, if it has.
    fn failed(&mut self) -> Option<ExitStatus> {
        self.midwife.try_wait().ok().flatten()
    }

    fn end(&mut self) {
        // It goes with its parent, unless it has said its word just now.
        let _ = self.midwife.kill();
        let _ = self.midwife.wait();
        if self.itself.is_none()
            && let Ok(Word::Ready(pid)) = self.channel.hear(Instant::now())
        {
            self.is_ready(pid);
        }
        if let Some(itself) = &self.itself {
            itself.end();
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.told {
            self.end();
        }
    }
}

fn bring_up(
    program: &Program,
    goods: Vec<Good>,
    patience: Duration,
    unwanted: &AtomicBool,
) -> Result<Successor, String> {
    let (ours, theirs) = Channel::pair().map_err(|e| format!("cannot make a pair of sockets: {e}"))?;
    let path = program.path.display();
    let started = program.command(START_ME).stdin(Stdio::from(theirs.into_fd())).spawn();
    let midwife = started.map_err(|e| format!("cannot start {path}: {e}"))?;
    let mut new = Successor { midwife, itself: None, channel: ours, told: false };
    let pid = new.pid();
    let late = || format!("{path} (process {pid}) was not ready within {} s, and was ended", patience.as_secs());
    let until = Instant::now() + patience;
    match new.channel.send(&goods, Instant::now() + WORD) {
        // Its end tells more.
        Ok(()) | Err(HandoverError::Gone | HandoverError::Late) => {}
        Err(e) => return Err(format!("cannot hand over what this process listens on: {e}")),
    }
    drop(goods);
    loop {
        match new.channel.hear(Instant::now() + LOOK) {
            Ok(Word::Ready(pid)) if new.is_ready(pid) => return Ok(new),
            Ok(_) | Err(HandoverError::Late) => {}
            Err(HandoverError::Gone) => return Err(end_of(&mut new, &path)),
            Err(e) => return Err(format!("{path} (process {pid}) said what cannot be understood, and was ended: {e}")),
        }
        if new.failed().is_some() {
            return Err(end_of(&mut new, &path));
        }
        if unwanted.load(Ordering::SeqCst) {
            return Err(format!("{path} (process {pid}) is not wanted any more"));
        }
        if Instant::now() >= until {
            return Err(late());
        }
    }
}

/// How a process ended that has let go of the channel.
fn end_of(new: &mut Successor, path: &impl std::fmt::Display) -> String {
    let (pid, until) = (new.pid(), Instant::now() + ENDING);
    while Instant::now() < until {
        if let Some(status) = new.failed() {
            return format!(
                "{path} (process {pid}) ended before it was ready: {status}; what it said stands before this line, \
                or where its standard error goes"
            );
        }
        std::thread::sleep(LOOK);
    }
    new.end();
    format!("{path} (process {pid}) is no Galeway that can take over, and was ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Program {
        let arguments = ["-c", script].map(OsString::from).to_vec();
        Program { path: "/bin/sh".into(), called: "sh".into(), arguments }
    }

    fn brought_up(script: &str, patience: Duration) -> Result<Successor, String> {
        bring_up(&program(script), Vec::new(), patience, &AtomicBool::new(false))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn how_a_program_ended_is_told() {
        let said = brought_up("exit 7", LONG).unwrap_err();
        assert!(said.contains("/bin/sh (process ") && said.contains("exit status: 7"), "{said}");
        let said = brought_up("kill -9 $$", LONG).unwrap_err();
        assert!(said.contains("signal: 9"), "{said}");
        let none = Program { path: "/nonexistent/galeway".into(), called: "galeway".into(), arguments: Vec::new() };
        let said = bring_up(&none, Vec::new(), LONG, &AtomicBool::new(false)).unwrap_err();
        assert!(said.starts_with("cannot start /nonexistent/galeway: No such file"), "{said}");
    }

    #[test]
    fn one_that_hangs_and_one_that_is_not_wanted_are_ended() {
        let said = brought_up("exec sleep 1000", Duration::from_millis(100)).unwrap_err();
        assert!(said.contains("was not ready within") && said.contains("was ended"), "{said}");
        let said = bring_up(&program("exec sleep 1000"), Vec::new(), LONG, &AtomicBool::new(true)).unwrap_err();
        assert!(said.contains("not wanted"), "{said}");
        let said = brought_up("exec 0<&-; exec sleep 1000", LONG).unwrap_err();
        assert!(said.contains("no Galeway that can take over"), "{said}");
    }

    #[test]
    fn the_way_to_the_program_is_kept_with_its_links() {
        let dir = env::temp_dir().join(format!("galeway-program-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let link = dir.join("galeway");
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        assert_eq!(named(&link.clone().into()), Some(link.clone()));
        assert!(same(&link, Path::new("/bin/sh")) && !same(&link, Path::new("/bin/cat")));
        assert!(named(&"sh".into()).is_some_and(|path| path.is_absolute()));
        assert_eq!(named(&"no-program-of-this-name".into()), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
