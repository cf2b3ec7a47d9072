//! Whom the process becomes, what it leaves behind, and where its log goes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::Signal;
use crate::harness::{self, Galeway, certs, cli, ports, until, watchdog};

/// The user `nobody` of Debian and most others.
const NOBODY: u32 = 65534;

fn root() -> bool {
    harness::root("becoming someone else")
}

/// A directory that anybody may write.
fn open_dir() -> PathBuf {
    let dir = watchdog::fresh_path("privileges");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

/// A service that nobody uses, and these lines of `[process]`.
fn sections(process: &str) -> String {
    let (accept, connect) = (ports::free(), ports::free());
    format!("[service.a]\naccept = \"127.0.0.1:{accept}\"\nconnect = \"127.0.0.1:{connect}\"\n[process]\n{process}")
}

fn status_of(pid: u32, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_dropped_user_keeps_nothing_of_root_and_owns_what_it_writes() {
    if !root() {
        return;
    }
    let dir = open_dir();
    let (pid_file, log) = (dir.join("pid"), dir.join("log"));
    let process = format!("user = \"nobody\"\npid_file = {pid_file:?}\nlog = {log:?}\n");
    let mut galeway = Galeway::sections(&sections(&process));
    galeway.wait_ready();
    let pid = galeway.pid();
    // Each thread has its own: one that was there before would have kept root.
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let task: u32 = task.file_name().to_string_lossy().parse().unwrap();
        assert_eq!(
            status_of(task, "Uid"),
            [NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string()]
        );
        assert_eq!(
            status_of(task, "Gid"),
            [NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string()]
        );
        assert_eq!(status_of(task, "Groups"), [NOBODY.to_string()]);
        assert_eq!(status_of(task, "CapEff"), ["0000000000000000"]);
    }
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"));
    for file in [&pid_file, &log] {
        assert_eq!(fs::metadata(file).unwrap().uid(), NOBODY, "{}", file.display());
    }
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o640);
    galeway.stop();
    assert!(!pid_file.exists());
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("privileges are dropped") && said.contains("\"stopped\""), "{said}");
    assert_eq!(galeway.log(), "", "it all went to the file");
}

#[test]
fn a_chroot_holds_the_pid_file_and_the_log() {
    if !root() {
        return;
    }
    // A path that is there outside as well as inside: the configuration is read outside.
    let dir = open_dir();
    let jail = dir.join("jail");
    let inside = jail.join(dir.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let process = format!(
        "chroot = {jail:?}\nuser = \"nobody\"\npid_file = {:?}\nlog = {:?}\n",
        dir.join("pid"),
        dir.join("log")
    );
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).unwrap();
    let mut galeway = Galeway::sections(&sections(&process));
    galeway.wait_ready();
    assert_eq!(fs::read_link(format!("/proc/{}/root", galeway.pid())).unwrap(), jail);
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", galeway.pid())).unwrap(), jail);
    assert_eq!(fs::read_to_string(inside.join("pid")).unwrap(), format!("{}\n", galeway.pid()));
    galeway.stop();
    assert!(!inside.join("pid").exists() && !dir.join("log").exists());
    assert!(fs::read_to_string(inside.join("log")).unwrap().contains("stopped"));
}

#[test]
fn a_key_that_can_no_longer_be_read_is_told_with_what_is_in_the_way() {
    if !root() {
        return;
    }
    let dir = open_dir();
    let secret = dir.join("secret");
    let certs = certs::certificate(&secret, &["localhost"]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", certs.cert, certs.key);
    let text = sections("user = \"nobody\"\n").replace("[process]", &format!("{tls}\n[process]"));
    let galeway = Galeway::sections(&text);
    galeway.wait_ready();
    let said = galeway.log();
    for file in [&certs.cert, &certs.key] {
        let about = said.lines().find(|line| line.contains(&format!("{:?}", file.display().to_string())));
        let about = about.unwrap_or_else(|| panic!("nothing of {}: {said}", file.display()));
        assert!(about.contains("cannot be read any more"), "{about}");
        assert!(about.contains(&format!("{} has mode 0700, uid 0, gid 0", secret.display())), "{about}");
    }
}

#[test]
fn who_is_not_root_is_told_that_only_root_may() {
    if !root() {
        return;
    }
    let dir = open_dir();
    // Where the tests are built others need not get to.
    let copy = dir.join("galeway");
    fs::copy(binary(), &copy).unwrap();
    let config = dir.join("galeway.toml");
    let rest = "state_dir = \"\"\n[admin]\nlisten = \"\"\nsocket = \"\"\n";
    fs::write(&config, sections(&format!("user = \"root\"\n{rest}"))).unwrap();
    let seen = cli::run(Command::new(&copy).arg("run").arg("-c").arg(&config).uid(NOBODY).gid(NOBODY));
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.stderr.contains("Operation not permitted"), "{seen:?}");
    assert!(seen.stderr.contains("this process runs as nobody (uid 65534), and only root may"), "{seen:?}");
}

#[test]
fn a_log_file_that_is_moved_away_goes_on_under_its_name_after_sigusr1() {
    let dir = open_dir();
    let (log, moved) = (dir.join("log"), dir.join("log.1"));
    let mut galeway = Galeway::sections(&sections(&format!("log = {log:?}\n")));
    galeway.wait_ready();
    fs::rename(&log, &moved).unwrap();
    galeway.signal(Signal::USR1);
    until(LONG, "the new file", || fs::read_to_string(&log).ok().filter(|text| text.contains("opened again")));
    galeway.stop();
    let [old, new] = [&moved, &log].map(|path| fs::read_to_string(path).unwrap());
    assert!(old.contains("starting") && !old.contains("stopped"), "{old}");
    assert!(new.contains("stopped") && !new.contains("starting"), "{new}");
}

#[test]
fn a_pid_file_of_a_running_galeway_is_not_taken() {
    let pid_file = open_dir().join("pid");
    let process = format!("pid_file = {pid_file:?}\n");
    let galeway = Galeway::sections(&sections(&process));
    galeway.wait_ready();
    // Nobody can only read it, and sees the lock all the same.
    let users: &[&str] = if root() { &["", "user = \"nobody\"\n"] } else { &[""] };
    for user in users {
        let second = Galeway::refused(&sections(&format!("{process}{user}")));
        assert_eq!(second.code, Some(2), "{second:?}");
        assert!(second.stderr.contains(&format!("belongs to process {}, which runs", galeway.pid())), "{second:?}");
    }
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", galeway.pid()), "and is left as it is");
}

/// A command that becomes its last arguments, with nothing but this in a mount of its own.
fn hidden(mount: &str, script: &str) -> Vec<String> {
    let script = format!("set -e; mount -t tmpfs none {mount}; {script} exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Galeway where this path leads to a socket of the test, and the first datagrams it sends there.
fn datagrams(mount: &str, path: &str, log: &str) -> Vec<String> {
    let dir = open_dir();
    let socket = dir.join("socket");
    let service = UnixDatagram::bind(&socket).unwrap();
    service.set_read_timeout(Some(LONG)).unwrap();
    let parent = Path::new(path).parent().unwrap().display();
    let launcher = hidden(mount, &format!("mkdir -p {parent}; ln -s {} {path};", socket.display()));
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let mut galeway = Galeway::sections_through(&launcher, &sections(&format!("log = \"{log}\"\n")));
    galeway.wait_ready();
    galeway.stop();
    let mut all = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let n = service.recv(&mut bytes).unwrap();
        all.push(String::from_utf8(bytes[..n].to_vec()).unwrap());
        if all.iter().any(|one| one.contains("stopped")) {
            return all;
        }
    }
}

#[test]
fn lines_reach_the_systems_log() {
    if !root() {
        return;
    }
    let all = datagrams("/dev", "/dev/log", "syslog");
    // daemon.info is 3 * 8 + 6.
    let first = all.first().unwrap();
    assert!(first.starts_with("<30>") && first.contains(" galeway["), "{first}");
    assert!(first.contains("]: starting version="), "{first}");
}

#[test]
fn events_reach_the_journal_field_by_field() {
    if !root() {
        return;
    }
    let all = datagrams("/run", "/run/systemd/journal/socket", "journald");
    let accepting = all.iter().find(|one| one.contains("\nMESSAGE=accepting ")).unwrap();
    for line in ["PRIORITY=6", "SYSLOG_IDENTIFIER=galeway", "F_SERVICE=a"] {
        assert!(accepting.lines().any(|l| l == line), "{line}: {accepting}");
    }
}

#[test]
fn a_log_service_that_is_not_there_is_an_error() {
    if !root() {
        return;
    }
    // This host may have either of them.
    for (mount, path, log) in [("/dev", "/dev/log", "syslog"), ("/run", "/run/systemd/journal/socket", "journald")] {
        let launcher = hidden(mount, "");
        let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
        let seen = Galeway::refused_through(&launcher, &sections(&format!("log = \"{log}\"\n")));
        assert_eq!(seen.code, Some(2), "{seen:?}");
        assert!(seen.stderr.contains(&format!("cannot log to {path}: ")), "{seen:?}");
    }
}
