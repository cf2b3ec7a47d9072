//! What a service manager hears: `NOTIFY_SOCKET` is a socket of the test's.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::fakes::LONG;
use crate::harness::process::Signal;
use crate::harness::{Galeway, millis, ports, secs, until, watchdog};

/// A service manager that listens.
pub(crate) struct Manager {
    pub(crate) path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let path = watchdog::fresh_path("notify-socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        Self { path, socket }
    }

    /// Galeway's environment.
    pub(crate) fn variable(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.path.display())
    }

    /// The next message within this time.
    pub(crate) fn hear(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for one that holds this line; returns all up to it.
    #[track_caller]
    pub(crate) fn wait_for(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            heard.extend(self.hear(secs(1)));
            if heard.last().is_some_and(|last| last.lines().any(|l| l == line)) {
                return heard;
            }
        }
        panic!("no {line}: {heard:?}");
    }
}

fn service(process: &str) -> String {
    let (accept, connect) = (ports::free(), ports::free());
    format!("[service.a]\naccept = \"127.0.0.1:{accept}\"\nconnect = \"127.0.0.1:{connect}\"\n[process]\n{process}")
}

#[test]
fn the_service_manager_hears_of_readiness_and_of_the_end_in_this_order() {
    let manager = Manager::new();
    let mut galeway = Galeway::sections_through(&["env", &manager.variable()], &service(""));
    let heard = manager.wait_for("READY=1");
    assert!(heard.last().unwrap().contains("STATUS=accepting clients"), "{heard:?}");
    assert!(!heard.concat().contains("STOPPING"), "{heard:?}");
    galeway.wait_ready();
    galeway.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0));
}

#[test]
fn a_notify_socket_that_is_not_there_stops_nobody() {
    let galeway = Galeway::sections_through(&["env", "NOTIFY_SOCKET=/nonexistent/notify"], &service(""));
    galeway.wait_ready();
    assert!(galeway.log().contains("cannot be told anything"), "{}", galeway.log());
}

/// The thread of a process that is called so.
fn thread(pid: u32, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |path: PathBuf| {
        let comm = std::fs::read_to_string(path.join("comm")).ok()?;
        (comm.trim() == name).then(|| path.file_name().unwrap().to_string_lossy().parse().unwrap())
    };
    Pid::from_raw(tasks.filter_map(|task| of(task.path())).next().unwrap_or_else(|| panic!("no thread {name}")))
}

#[test]
fn signs_of_life_end_while_any_one_thread_hangs_and_come_again_after_it() {
    let manager = Manager::new();
    let launcher = ["env", &manager.variable(), "WATCHDOG_USEC=1000000"];
    let galeway = Galeway::sections_through(&launcher, &service("workers = 2\n"));
    galeway.wait_ready();
    manager.wait_for("WATCHDOG=1");
    for name in ["control", "worker-0", "worker-1"] {
        manager.wait_for("WATCHDOG=1");
        let (stop, stopped) = channel::<()>();
        let (ended, end) = channel::<()>();
        let one = thread(galeway.pid(), name);
        // A debugger that halts one thread is one thread itself.
        let debugger = std::thread::spawn(move || halt(one, &stop, &end));
        stopped.recv_timeout(LONG).unwrap();
        // One may have been on its way.
        while manager.hear(millis(10)).is_some() {}
        let heard = manager.hear(secs(3));
        assert_eq!(heard, None, "{name} hangs");
        ended.send(()).unwrap();
        debugger.join().unwrap();
    }
    manager.wait_for("WATCHDOG=1");
}

/// Halts a thread until it is told otherwise.
fn halt(thread: Pid, halted: &std::sync::mpsc::Sender<()>, end: &Receiver<()>) {
    ptrace::seize(thread, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(thread).unwrap();
    until(LONG, "the thread halts", || {
        let status = waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).unwrap();
        (status != nix::sys::wait::WaitStatus::StillAlive).then_some(())
    });
    halted.send(()).unwrap();
    end.recv_timeout(LONG).ok();
    ptrace::detach(thread, None).unwrap();
}

#[test]
fn signs_of_life_are_for_the_process_that_is_asked_for_them() {
    let manager = Manager::new();
    let launcher = ["env", &manager.variable(), "WATCHDOG_USEC=100000", "WATCHDOG_PID=1"];
    let galeway = Galeway::sections_through(&launcher, &service(""));
    galeway.wait_ready();
    manager.wait_for("READY=1");
    assert_eq!(manager.hear(secs(1)), None);
}
