//! SIGUSR2: a new process takes the place of the old one, or does not.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::addresses::HAND_OVER;
use crate::fakes::{Fakes, LONG, connect, greeted_by, greeting, raw};
use crate::harness::galeway::{binary, wait_closed};
use crate::harness::process::Signal;
use crate::harness::{Conn, Galeway, Load, Settings, cli, millis, ports, secs, until, watchdog, within};
use crate::notified::Manager;
use crate::peer::{FakeNode, Mode, Peer};

/// Starts the program that its first argument names in place of the one behind it.
const INSTEAD: &str = "shift; exec \"$0\" \"$@\"";

/// A program of a test's own, which can be replaced.
pub(crate) struct Program(PathBuf);

impl Program {
    fn new() -> Self {
        let dir = watchdog::fresh_path("program");
        fs::create_dir(&dir).unwrap();
        let program = Self(dir.join("galeway"));
        program.replace();
        program
    }

    /// By another copy, as a package does it.
    pub(crate) fn replace(&self) {
        let new = self.0.with_extension("new");
        fs::copy(binary(), &new).unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    /// By a script, to which the good program is `$GOOD`.
    pub(crate) fn replace_by(&self, script: &str) {
        let (new, good) = (self.0.with_extension("new"), self.0.with_extension("good"));
        if !good.exists() {
            fs::copy(binary(), &good).unwrap();
        }
        fs::write(&new, format!("#!/bin/sh\nGOOD={}\n{script}\n", good.display())).unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// What starts it, behind these.
    fn launcher<'a>(&'a self, before: &[&'a str]) -> Vec<&'a str> {
        before.iter().copied().chain(["/bin/sh", "-c", INSTEAD, self.path()]).collect()
    }
}

/// A Galeway that was started from it. Dropped, it ends with all that have come of it.
pub(crate) struct Upgrading {
    pub(crate) program: Program,
    pub(crate) galeway: Galeway,
    /// Its group, in which all of them are.
    pub(crate) group: u32,
}

impl Upgrading {
    fn start(fakes: &Fakes, settings: Settings<'_>) -> Self {
        Self::behind(&[], |launcher| fakes.galeway(Settings { launcher, ..settings }))
    }

    pub(crate) fn behind(before: &[&str], start: impl FnOnce(&[&str]) -> Galeway) -> Self {
        let program = Program::new();
        let galeway = start(&program.launcher(before));
        let group = galeway.pid();
        Self { program, galeway, group }
    }

    /// Who answers at the admin address.
    pub(crate) fn serving(&self) -> Option<u32> {
        let (_, body) = self.galeway.try_get("/api/status")?;
        serde_json::from_str::<Value>(&body).ok()?["pid"].as_u64()?.try_into().ok()
    }

    /// SIGUSR2 to who serves; the new process's number once it has the place.
    #[track_caller]
    pub(crate) fn upgrade(&self) -> u32 {
        let old = until(LONG, "somebody answers", || self.serving());
        self.ask(old);
        self.replaced(old)
    }

    /// The number of who has the place of this one, once it answers.
    #[track_caller]
    pub(crate) fn replaced(&self, old: u32) -> u32 {
        let replaced = || {
            let log = self.galeway.log();
            let line = log.lines().rfind(|line| line.contains("another process has taken over"))?;
            let pid = serde_json::from_str::<Value>(line).unwrap()["new"].as_u64()? as u32;
            (pid != old).then_some(pid)
        };
        let new = within(LONG, replaced).unwrap_or_else(|| panic!("no upgrade: {}", self.galeway.log()));
        let settled = || self.galeway.log().contains("taken over;").then(|| self.serving()).flatten();
        until(LONG, "the new one answers", || settled().filter(|pid| *pid == new))
    }

    /// SIGUSR2.
    pub(crate) fn ask(&self, pid: u32) {
        kill(pid, Signal::USR2);
    }

    /// Waits for a line of the log.
    #[track_caller]
    pub(crate) fn wait_log(&self, words: &str) -> String {
        self.wait_log_for(words, LONG)
    }

    #[track_caller]
    fn wait_log_for(&self, words: &str, limit: Duration) -> String {
        let found = || self.galeway.log().lines().find(|line| line.contains(words)).map(str::to_owned);
        within(limit, found).unwrap_or_else(|| panic!("no {words:?} in {}", self.galeway.log()))
    }

    /// The process that is being started, whatever it is.
    #[track_caller]
    pub(crate) fn child(&self, of: u32) -> u32 {
        until(LONG, "a new process", || children(of).into_iter().next())
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Of clients the last ones are shown besides.
            let log = self.galeway.log();
            let events: Vec<_> = log.lines().filter(|line| !line.contains("\"target\":\"access\"")).collect();
            eprintln!("galeway's log:\n{}", events.join("\n"));
        }
        for pid in members(self.group) {
            let _ = kill_process(id(pid), Signal::KILL);
        }
    }
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(pid as i32).unwrap()
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(id(pid), signal).unwrap();
}

/// Numbers of all processes with this in a field of /proc/PID/stat, counted behind the name: 1 = parent, 2 = group.
fn by_stat(field: usize, number: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let fits = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind = stat.rfind(')').map(|at| stat[at + 2..].to_owned()).unwrap_or_default();
        let fields: Vec<&str> = behind.split(' ').collect();
        fields.first().is_some_and(|state| *state != "Z") && fields.get(field) == Some(&number.to_string().as_str())
    };
    pids.filter(fits).collect()
}

fn children(of: u32) -> Vec<u32> {
    by_stat(1, of)
}

pub(crate) fn members(of: u32) -> Vec<u32> {
    by_stat(2, of)
}

pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(')').is_some_and(|at| !stat[at + 2..].starts_with('Z'))
}

#[track_caller]
pub(crate) fn wait_gone(pid: u32) {
    until(LONG, "the process ends", || (!lives(pid)).then_some(()));
}

/// Two nodes, to which check and client go; both answer queries.
fn two() -> (Fakes, Vec<FakeNode>) {
    let fakes = Fakes::new(2);
    let nodes = (1..=2).map(|i| FakeNode::on(fakes.listen(i), &format!("n{i}"))).collect();
    (fakes, nodes)
}

fn one() -> (Fakes, Vec<Peer>) {
    Fakes::good(1)
}

#[test]
fn clients_come_and_go_over_an_upgrade_and_a_session_goes_on_past_it_and_ends_by_itself() {
    let (fakes, _nodes) = two();
    let mut up = Upgrading::start(&fakes, Settings::default());
    let old = up.galeway.pid();
    up.galeway.set_node("n2", "drain");
    let mut session = Conn::app(up.galeway.addr(), LONG).unwrap();
    let load = Load::start(up.galeway.addr());
    load.wait_for(50);
    up.program.replace();
    let new = up.upgrade();
    assert_ne!(old, new);
    assert_eq!(fs::read_link(format!("/proc/{new}/exe")).unwrap(), up.program.0);
    load.wait_for(200);
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    assert_eq!(report.broken(), []);
    assert_eq!(up.galeway.node("n2")["admin_state"], "drain", "what operators set is remembered");
    assert_eq!(up.galeway.get("/readyz"), (200, "ready\n".to_owned()));
    // No shutdown_timeout ends it.
    assert_eq!(session.one("SELECT @@wsrep_node_name").unwrap(), "n1");
    assert!(lives(old));
    session.quit().unwrap();
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0), "{}", up.galeway.log());
    up.galeway.set_node("n2", "ready");
    Conn::app(up.galeway.addr(), LONG).unwrap().quit().unwrap();
    assert_eq!(up.serving(), Some(new));
}

#[test]
fn a_node_that_fails_still_ends_its_sessions_in_the_old_process() {
    let (fakes, _peers) = one();
    let mut up = Upgrading::start(&fakes, Settings::default());
    let mut session = connect(&up.galeway);
    up.upgrade();
    assert!(up.galeway.wait(millis(200)).is_none());
    fakes.check(1).set_status("wsrep_cluster_status", "non-Primary");
    assert!(session.ends_within(LONG), "{}", up.galeway.log());
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0), "{}", up.galeway.log());
}

/// Else a node would be stopped that the operator believes empty.
#[test]
fn a_drain_reaches_the_sessions_of_every_process_that_has_any() {
    let (fakes, _peers) = one();
    let settings = Settings { sessions: "drain_timeout = \"200ms\"", ..Settings::default() };
    let mut up = Upgrading::start(&fakes, settings);
    let mut sessions = vec![connect(&up.galeway)];
    let second = up.upgrade();
    sessions.push(connect(&up.galeway));
    let third = up.upgrade();
    sessions.push(connect(&up.galeway));
    up.galeway.set_node("n1", "drain");
    for session in &mut sessions {
        assert!(session.ends_within(LONG), "{}", up.galeway.log());
    }
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0), "{}", up.galeway.log());
    wait_gone(second);
    assert_eq!(up.serving(), Some(third));
}

#[test]
fn who_waits_in_the_kernels_queue_at_the_hand_over_is_served() {
    let fakes = Fakes::new(1);
    // The standard library's listeners have a queue of 128: the node would let most of them wait for the next SYN.
    let node = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    node.set_reuse_address(true).unwrap();
    node.bind(&fakes.data(1).into()).unwrap();
    node.listen(4096).unwrap();
    let _peer = Peer::on(node.into(), |mut conn| async move {
        conn.greet(&greeting(1)).await?;
        conn.hang().await.map(drop)
    });
    let patient = "queue_timeout = \"60s\"\nconnect_timeout = \"20s\"\ngreeting_timeout = \"20s\"\nmax_queue = 5000";
    let up = Upgrading::start(&fakes, Settings { service: patient, ..Settings::default() });
    let old = up.galeway.pid();
    // The new process begins while the old one stands still and the queue fills.
    up.program.replace_by("sleep 0.5; exec $GOOD \"$@\"");
    up.ask(old);
    let parent = up.child(old);
    kill(old, Signal::STOP);
    let mut clients: Vec<_> = (0..300).map(|_| raw(&up.galeway)).collect();
    until(LONG, "the program runs", || {
        fs::read_link(format!("/proc/{parent}/exe")).is_ok_and(|exe| exe.ends_with("galeway.good")).then_some(())
    });
    let new = up.child(parent);
    kill(new, Signal::STOP);
    clients.extend((0..300).map(|_| raw(&up.galeway)));
    kill(new, Signal::CONT);
    kill(old, Signal::CONT);
    clients.extend((0..100).map(|_| raw(&up.galeway)));
    up.wait_log("another process has taken over");
    clients.extend((0..50).map(|_| raw(&up.galeway)));
    for mut client in clients {
        let mut header = [0; 5];
        client.read_exact(&mut header).unwrap();
        let mut rest = [0; 400];
        let length = if header[4] == 10 { 0 } else { client.read(&mut rest).unwrap_or(0) };
        assert_eq!(header[4], 10, "a greeting: {}", String::from_utf8_lossy(&rest[..length]));
    }
}

#[test]
fn a_new_program_that_fails_changes_nothing_and_the_next_good_one_takes_over() {
    let (fakes, _peers) = one();
    let pid_file = watchdog::fresh_path("pid");
    let process = format!("pid_file = {pid_file:?}");
    let up = Upgrading::start(&fakes, Settings { process: &process, ..Settings::default() });
    let old = up.galeway.pid();
    let session = connect(&up.galeway);
    let goes_on = || {
        assert_eq!(greeted_by(&connect(&up.galeway)), "n1");
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{old}\n"));
        up.galeway.set_node("n1", "ready");
        assert_eq!(up.serving(), Some(old));
        assert_eq!(children(old), Vec::<u32>::new());
    };
    for (script, words) in [
        ("exit 7", "exit status: 7"),
        ("kill -SEGV $$", "signal: 11"),
        ("$GOOD check -c /nonexistent", "exit status: 2"),
    ] {
        up.program.replace_by(script);
        up.ask(old);
        let line = up.wait_log(words);
        assert!(line.contains("no upgrade") && line.contains("goes on as before"), "{line}");
        goes_on();
    }
    // A good program with a configuration that is wrong.
    up.program.replace();
    let config = fs::read_to_string(&up.galeway.config).unwrap();
    fs::write(&up.galeway.config, format!("{config}\nnonsense = 1\n")).unwrap();
    let before = up.galeway.log().matches("no upgrade").count();
    up.ask(old);
    until(LONG, "it fails", || (up.galeway.log().matches("no upgrade").count() > before).then_some(()));
    let log = up.galeway.log();
    assert!(log.contains("nonsense") && log.contains("exit status: 2"), "{log}");
    goes_on();
    // It is gone.
    fs::rename(&up.program.0, up.program.0.with_extension("away")).unwrap();
    up.ask(old);
    up.wait_log("No such file");
    goes_on();
    up.program.replace();
    fs::write(&up.galeway.config, config).unwrap();
    let new = up.upgrade();
    until(LONG, "the pid file", || (fs::read_to_string(&pid_file).unwrap() == format!("{new}\n")).then_some(()));
    drop(session);
}

#[test]
fn a_new_program_that_hangs_is_ended_and_the_old_one_goes_on() {
    let (fakes, _peers) = one();
    let up = Upgrading::start(&fakes, Settings::default());
    let old = up.galeway.pid();
    up.program.replace_by("exec sleep 1000");
    up.ask(old);
    let child = up.child(old);
    // Nobody is told that something was changed which the new process would not know of.
    let mut drain = Command::new(binary());
    let refused = cli::run(drain.args(["node", "n1", "drain", "--admin", &up.galeway.admin_socket()]));
    assert!(refused.code != Some(0) && format!("{refused:?}").contains("about to take over"), "{refused:?}");
    up.ask(old);
    up.wait_log("one is under way");
    let line = up.wait_log_for("was not ready within", secs(60));
    assert!(line.contains("goes on as before"), "{line}");
    assert!(!lives(child));
    assert_eq!(greeted_by(&connect(&up.galeway)), "n1");
    up.galeway.set_node("n1", "drain");
}

#[test]
fn sigterm_during_an_upgrade_ends_both() {
    let (fakes, _peers) = one();
    let mut up = Upgrading::start(&fakes, Settings::default());
    up.program.replace_by("exec sleep 1000");
    up.ask(up.galeway.pid());
    let child = up.child(up.galeway.pid());
    up.galeway.signal(Signal::TERM);
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0), "{}", up.galeway.log());
    assert!(!lives(child), "{}", up.galeway.log());
}

/// Settings with a pid file and, as all have, an admin socket and a memory.
struct Kept {
    pid_file: PathBuf,
    process: String,
}

impl Kept {
    fn new() -> Self {
        let pid_file = watchdog::fresh_path("pid");
        let process = format!("pid_file = {pid_file:?}");
        Self { pid_file, process }
    }

    fn settings(&self) -> Settings<'_> {
        Settings { process: &self.process, ..Settings::default() }
    }

    /// This process has everything.
    #[track_caller]
    fn belongs_to(&self, up: &Upgrading, pid: u32) {
        assert_eq!(greeted_by(&connect(&up.galeway)), "n1");
        let written = || fs::read_to_string(&self.pid_file).unwrap_or_default();
        until(LONG, "its number in the pid file", || (written() == format!("{pid}\n")).then_some(()));
        // Over the admin socket, and it is remembered.
        up.galeway.set_node("n1", "drain");
        up.galeway.set_node("n1", "ready");
        assert_eq!(up.serving(), Some(pid));
        let locked = up.galeway.dir().join("state/lock");
        assert_eq!(fs::read_to_string(locked).unwrap().trim(), pid.to_string());
    }
}

#[test]
fn the_old_process_killed_before_the_new_one_is_ready_leaves_the_place_to_it() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let mut up = Upgrading::start(&fakes, kept.settings());
    up.program.replace_by("sleep 1; exec $GOOD \"$@\"");
    let old = up.galeway.pid();
    up.ask(old);
    let parent = up.child(old);
    // What goes over is sent at once; the new process reads it later.
    std::thread::sleep(millis(300));
    up.galeway.signal(Signal::KILL);
    assert!(up.galeway.wait(LONG).is_some());
    // Nobody accepts now, and nobody is refused.
    assert_eq!(greeted_by(&connect(&up.galeway)), "n1");
    up.wait_log("has ended, and its sessions with it");
    let new = up.serving().unwrap();
    kept.belongs_to(&up, new);
    assert!(new != old && new != parent);
    wait_gone(parent);
}

#[test]
fn the_old_process_killed_after_it_handed_over_takes_nothing_along() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let mut up = Upgrading::start(&fakes, kept.settings());
    let session = connect(&up.galeway);
    let new = up.upgrade();
    kept.belongs_to(&up, new);
    up.galeway.signal(Signal::KILL);
    assert!(up.galeway.wait(LONG).is_some());
    kept.belongs_to(&up, new);
    drop(session);
}

#[test]
fn the_old_process_told_to_end_after_it_handed_over_removes_nothing() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let process = format!("{}\nshutdown_timeout = \"200ms\"", kept.process);
    let mut up = Upgrading::start(&fakes, Settings { process: &process, ..Settings::default() });
    let mut session = connect(&up.galeway);
    let new = up.upgrade();
    up.galeway.signal(Signal::TERM);
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0), "{}", up.galeway.log());
    assert!(session.ends_within(LONG), "as always");
    kept.belongs_to(&up, new);
    kill(new, Signal::TERM);
    wait_gone(new);
    assert!(!kept.pid_file.exists() && !up.galeway.dir().join("admin.sock").exists(), "the last one cleans up");
}

#[test]
fn the_new_process_killed_before_it_is_ready_is_none() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let up = Upgrading::start(&fakes, kept.settings());
    up.program.replace_by("exec sleep 1000");
    let old = up.galeway.pid();
    up.ask(old);
    kill(up.child(old), Signal::KILL);
    let line = up.wait_log("no upgrade");
    assert!(line.contains("signal: 9"), "{line}");
    kept.belongs_to(&up, old);
}

/// The parent that the new process has until then tells of its end, and takes it along.
#[test]
fn neither_the_new_process_nor_the_parent_of_its_start_can_end_unseen() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let monitor = "interval = \"100ms\"\ntimeout = \"10s\"";
    let up = Upgrading::start(&fakes, Settings { monitor, ..kept.settings() });
    let old = up.galeway.pid();
    for (killed, words) in [(2, "exit status: 137"), (1, "signal: 9")] {
        // Its first round of checks takes this long.
        fakes.check(1).set_mode(Mode::Slow(secs(4)));
        up.ask(old);
        let parent = up.child(old);
        let new = up.child(parent);
        until(LONG, "it has begun", || up.galeway.log().contains(&format!("\"pid\":{new},")).then_some(()));
        kill(if killed == 2 { new } else { parent }, Signal::KILL);
        let line = up.wait_log(words);
        assert!(line.contains("no upgrade"), "{line}");
        wait_gone(new);
        wait_gone(parent);
        fakes.check(1).set_mode(Mode::Serve);
        kept.belongs_to(&up, old);
    }
    assert!(up.upgrade() != old);
}

/// systemd waits for the end of its own children only: see midwife.rs.
#[test]
fn the_new_process_is_a_child_of_whoever_started_the_first_one_once_it_is_ready() {
    let (fakes, _peers) = one();
    let up = Upgrading::start(&fakes, Settings::default());
    let session = connect(&up.galeway);
    let old = up.galeway.pid();
    let new = up.upgrade();
    assert!(lives(old) && lives(new));
    assert_eq!(children(old), Vec::<u32>::new());
    drop(session);
}

#[test]
fn a_second_upgrade_does_not_wait_for_the_sessions_of_the_first() {
    let (fakes, _nodes) = two();
    let mut up = Upgrading::start(&fakes, Settings::default());
    let first = up.galeway.pid();
    let mut of_first = Conn::app(up.galeway.addr(), LONG).unwrap();
    let second = up.upgrade();
    let mut of_second = Conn::app(up.galeway.addr(), LONG).unwrap();
    up.ask(first);
    up.wait_log(&format!("process {second} has taken over: send it the signal"));
    let third = up.upgrade();
    assert!(lives(first) && lives(second) && lives(third));
    for session in [&mut of_first, &mut of_second] {
        session.one("SELECT @@wsrep_node_name").unwrap();
    }
    of_second.quit().unwrap();
    wait_gone(second);
    of_first.quit().unwrap();
    assert_eq!(up.galeway.wait(LONG).and_then(|status| status.code()), Some(0));
    Conn::app(up.galeway.addr(), LONG).unwrap().quit().unwrap();
    assert_eq!(up.serving(), Some(third));
}

#[test]
fn the_service_manager_is_told_of_the_new_process_before_it_speaks() {
    let (fakes, _peers) = one();
    let manager = Manager::new();
    let (variable, dog) = (manager.variable(), "WATCHDOG_USEC=400000");
    let up = Upgrading::behind(&["env", &variable, dog], |launcher| {
        fakes.galeway(Settings { launcher, ..Settings::default() })
    });
    manager.wait_for("READY=1");
    let session = connect(&up.galeway);
    let new = up.upgrade();
    let heard = manager.wait_for(&format!("MAINPID={new}"));
    assert!(heard.last().unwrap().contains("READY=1"), "{heard:?}");
    assert!(!heard.concat().contains("STOPPING"), "{heard:?}");
    // The new one says the same of itself, and gives the signs of life.
    manager.wait_for(&format!("MAINPID={new}"));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    // With the old one gone, nothing changes.
    drop(session);
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn a_service_manager_that_has_lost_the_old_process_is_told_of_the_new_one_until_it_has_heard() {
    let (fakes, _peers) = one();
    let manager = Manager::new();
    let variable = manager.variable();
    let mut up =
        Upgrading::behind(&["env", &variable], |launcher| fakes.galeway(Settings { launcher, ..Settings::default() }));
    manager.wait_for("READY=1");
    up.program.replace_by("sleep 1; exec $GOOD \"$@\"");
    let old = up.galeway.pid();
    up.ask(old);
    up.child(old);
    std::thread::sleep(millis(300));
    up.galeway.signal(Signal::KILL);
    assert!(up.galeway.wait(LONG).is_some());
    let new = until(LONG, "the new one answers", || up.serving().filter(|pid| *pid != old));
    for _ in 0..3 {
        let heard = manager.wait_for(&format!("MAINPID={new}"));
        assert!(heard.last().unwrap().contains("READY=1"), "{heard:?}");
    }
    kill(new, Signal::TERM);
    manager.wait_for("STOPPING=1");
    wait_gone(new);
}

#[test]
fn sockets_that_a_service_manager_has_bound_go_over_by_name_also_those_that_nobody_uses_yet() {
    let (fakes, _peers) = one();
    let program = Program::new();
    let (front, spare) = (ports::free(), ports::free());
    let (front_is, spare_is) = (format!("front=127.0.0.1:{front}"), format!("spare=127.0.0.1:{spare}"));
    let launcher = program.launcher(&["python3", "-c", HAND_OVER, &front_is, &spare_is, "--"]);
    let node = fakes.data(1);
    let service =
        |name: &str| format!("[service.{name}]\nconnect = \"{node}\"\nprotocol = \"mysql\"\naccept = \"fd:{name}\"\n");
    let galeway = Galeway::sections_through(&launcher, &service("front"));
    galeway.wait_ready();
    let group = galeway.pid();
    let up = Upgrading { program, galeway, group };
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    Conn::greet(at(front), LONG).unwrap();
    for _ in 0..2 {
        up.upgrade();
        Conn::greet(at(front), LONG).unwrap();
    }
    // Sections come before `[process]`.
    let config = fs::read_to_string(&up.galeway.config).unwrap();
    fs::write(&up.galeway.config, format!("{}{config}", service("spare"))).unwrap();
    up.upgrade();
    Conn::greet(at(front), LONG).unwrap();
    Conn::greet(at(spare), LONG).unwrap();
}

#[test]
fn addresses_that_the_new_configuration_no_longer_names_are_closed_and_new_ones_opened() {
    let (fakes, _peers) = one();
    let node = fakes.data(1);
    let (stays, goes, comes) = (ports::free(), ports::free(), ports::free());
    let service = |name: &str, accept: &str| {
        format!("[service.{name}]\nconnect = \"{node}\"\nprotocol = \"mysql\"\naccept = [{accept}]\n")
    };
    let first =
        service("a", &format!("\"127.0.0.1:{stays}\", \"127.0.0.1:{goes}\", \"unix:stays.sock\", \"unix:goes.sock\""));
    let then = service("a", &format!("\"127.0.0.1:{stays}\", \"127.0.0.1:{comes}\", \"unix:stays.sock\""));
    let up = Upgrading::behind(&[], |launcher| {
        let galeway = Galeway::sections_through(launcher, &first);
        galeway.wait_ready();
        galeway
    });
    let socket = |name: &str| up.galeway.dir().join(name);
    let made = fs::metadata(socket("stays.sock")).unwrap().ino();
    let config = fs::read_to_string(&up.galeway.config).unwrap();
    fs::write(&up.galeway.config, config.replace(&first, &then)).unwrap();
    let new = up.upgrade();
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    Conn::greet(at(stays), LONG).unwrap();
    Conn::greet(at(comes), LONG).unwrap();
    wait_closed(at(goes));
    until(LONG, "the socket's file goes", || (!socket("goes.sock").exists()).then_some(()));
    assert_eq!(fs::metadata(socket("stays.sock")).unwrap().ino(), made, "the same socket");
    let mut greeting = [0; 5];
    UnixStream::connect(socket("stays.sock")).unwrap().read_exact(&mut greeting).unwrap();
    kill(new, Signal::TERM);
    wait_gone(new);
    assert!(!socket("stays.sock").exists());
}

#[test]
fn the_new_process_has_no_more_descriptors_than_the_one_before() {
    let (fakes, _peers) = one();
    let kept = Kept::new();
    let mut up = Upgrading::start(&fakes, kept.settings());
    drop(connect(&up.galeway));
    let open = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut counts = Vec::new();
    let mut old = None;
    for _ in 0..5 {
        let new = up.upgrade();
        match old {
            None => assert!(up.galeway.wait(LONG).is_some()),
            Some(old) => wait_gone(old),
        }
        kept.belongs_to(&up, new);
        // The check's connection and that of the last question close in their time.
        let steady = until(LONG, "a steady number", || {
            let before = open(new);
            std::thread::sleep(millis(200));
            (open(new) == before).then_some(before)
        });
        counts.push(steady);
        old = Some(new);
    }
    assert!(counts.iter().all(|count| count.abs_diff(counts[0]) <= 1), "{counts:?}");
}

/// The user `nobody` of Debian and most others.
const NOBODY: u32 = 65534;

fn root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let allowed = std::env::var_os("GALEWAY_TEST_UNPRIVILEGED").is_some_and(|v| v == "1");
        assert!(allowed, "only root may become someone else (GALEWAY_TEST_UNPRIVILEGED=1 leaves these tests out)");
        println!("NOT RUN: only root may become someone else, and GALEWAY_TEST_UNPRIVILEGED=1 is set");
    }
    is_root
}

/// A port that only root may bind.
fn low_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (600..1000).find(free).expect("a free port below 1024")
}

#[test]
fn a_process_that_gave_its_user_up_is_replaced_with_its_low_ports_and_says_which_file_is_in_the_way() {
    if !root() {
        return;
    }
    let (fakes, _peers) = one();
    let dir = watchdog::fresh_path("nobody");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
    let (accept, pid_file) = (low_port(), dir.join("pid"));
    let sections = format!(
        "[service.a]\nconnect = \"{}\"\nprotocol = \"mysql\"\naccept = \"127.0.0.1:{accept}\"\n\
         [process]\nuser = \"nobody\"\npid_file = {pid_file:?}\n",
        fakes.data(1)
    );
    let up = Upgrading::behind(&[], |launcher| {
        let galeway = Galeway::sections_through(launcher, &sections);
        galeway.wait_ready();
        galeway
    });
    let at = SocketAddr::from(([127, 0, 0, 1], accept));
    let new = up.upgrade();
    assert_eq!(fs::metadata(format!("/proc/{new}")).unwrap().uid(), NOBODY);
    Conn::greet(at, LONG).unwrap();
    until(LONG, "the pid file", || (fs::read_to_string(&pid_file).unwrap() == format!("{new}\n")).then_some(()));
    fs::set_permissions(&up.galeway.config, PermissionsExt::from_mode(0o600)).unwrap();
    up.ask(new);
    let line = up.wait_log("no upgrade");
    assert!(line.contains("exit status: 2"), "{line}");
    let log = up.galeway.log();
    assert!(log.contains("no permission to read it") && log.contains("galeway.toml"), "{log}");
    Conn::greet(at, LONG).unwrap();
    kill(new, Signal::TERM);
    wait_gone(new);
    assert!(!pid_file.exists());
}

#[test]
fn inside_a_chroot_and_as_the_first_process_of_a_container_it_is_refused_with_the_reason() {
    if !root() {
        return;
    }
    let (fakes, _peers) = one();
    let service = |more: &str| {
        format!(
            "[service.a]\nconnect = \"{}\"\nprotocol = \"mysql\"\naccept = \"127.0.0.1:{}\"\n{more}",
            fakes.data(1),
            ports::free()
        )
    };
    let jail = watchdog::fresh_path("jail");
    fs::create_dir(&jail).unwrap();
    let chroot = service(&format!("[process]\nchroot = {jail:?}\nuser = \"nobody\"\n"));
    let up = Upgrading::behind(&[], |launcher| Galeway::sections_through(launcher, &chroot));
    up.galeway.wait_ready();
    up.ask(up.galeway.pid());
    let line = up.wait_log("no upgrade");
    assert!(line.contains("chroot") && line.contains("restart it"), "{line}");
    assert!(children(up.galeway.pid()).is_empty());

    let contained = service("");
    let up = Upgrading::behind(&["unshare", "--pid", "--fork", "--kill-child"], |launcher| {
        Galeway::sections_through(launcher, &contained)
    });
    up.galeway.wait_ready();
    assert_eq!(up.serving(), Some(1));
    let outside = up.child(up.galeway.pid());
    up.ask(outside);
    let line = up.wait_log("no upgrade");
    assert!(line.contains("process 1") && line.contains("container"), "{line}");
    up.galeway.wait_ready();
}

#[test]
fn one_that_is_called_by_a_link_follows_the_link() {
    let (fakes, _peers) = one();
    let (old, new) = (Program::new(), Program::new());
    let link = Program(old.0.with_file_name("current"));
    std::os::unix::fs::symlink(&old.0, &link.0).unwrap();
    let launcher = link.launcher(&[]);
    let galeway = fakes.galeway(Settings { launcher: &launcher, ..Settings::default() });
    let group = galeway.pid();
    let up = Upgrading { program: Program(link.0.clone()), galeway, group };
    let next = link.0.with_extension("next");
    std::os::unix::fs::symlink(&new.0, &next).unwrap();
    fs::rename(next, &link.0).unwrap();
    let pid = up.upgrade();
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).unwrap(), new.0);
}

/// Whatever the environment says, a process that nobody starts to take over starts as any other.
#[test]
fn the_variable_alone_makes_no_upgrade() {
    let (fakes, _peers) = one();
    let settings = Settings { launcher: &["env", "GALEWAY_UPGRADE=1"], ..Settings::default() };
    let galeway = fakes.galeway(settings);
    assert_eq!(greeted_by(&connect(&galeway)), "n1");
}
