//! Nothing that a test starts outlives the tests, however they end: by return, panic, Ctrl-C or `kill -9`.
//!
//! A shell holds the reading end of a pipe whose writing end only this process has. It is told every process id that
//! starts and ends; when the pipe closes it kills those left and removes the directory. Ids only, never names.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

// The ids are process groups (see process.rs), which takes a node's state transfer scripts along. A stopped process
// dies of SIGKILL as well, but a stopped shell among them would not run its own end: SIGCONT first.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r what id; do
  case $what in
    started) pids="$pids$id " ;;
    ended) case $pids in *" $id "*) pids="${pids%% $id *} ${pids#* $id }" ;; esac ;;
  esac
done
for id in $pids; do kill -s CONT -- "-$id"; kill -s KILL -- "-$id"; done 2>/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && exit; sleep 0.2; done
"#;

struct Watchdog {
    pipe: Mutex<ChildStdin>,
    dir: PathBuf,
}

#[expect(clippy::zombie_processes, reason = "its work begins when this process has ended")]
fn watchdog() -> &'static Watchdog {
    static ONE: OnceLock<Watchdog> = OnceLock::new();
    ONE.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("galeway-it-{}", std::process::id()));
        // A directory of this name can only be the rest of a long gone process.
        let _ = std::fs::remove_dir_all(&dir);
        // 0711: the servers' own user passes through to its nodes' directories, and nobody lists it.
        DirBuilder::new().mode(0o711).create(&dir).unwrap();
        let mut sh = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "galeway-it-watchdog"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Watchdog { pipe: Mutex::new(sh.stdin.take().unwrap()), dir }
    })
}

/// The directory of this run, removed after it.
pub fn run_dir() -> &'static Path {
    &watchdog().dir
}

/// A new path of this run's directory that starts with `name`; nothing is created.
pub fn fresh_path(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    run_dir().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub fn started(id: u32) {
    tell("started", id);
}

pub fn ended(id: u32) {
    tell("ended", id);
}

fn tell(what: &str, id: u32) {
    let mut pipe = watchdog().pipe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // One write of a few bytes: a pipe takes it whole.
    pipe.write_all(format!("{what} {id}\n").as_bytes()).unwrap();
}
