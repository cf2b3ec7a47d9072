//! `galeway stunnel` as a process: what init scripts, operators and tools of a stunnel hold on to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal as Sig, kill_process, test_kill_process};

use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::{Process, Signal};
use crate::harness::{certs, cli, ports, secs, until, watchdog};

/// A directory with a certificate in it that anybody may write.
fn open_dir() -> PathBuf {
    let dir = watchdog::fresh_path("stunnel");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let certs = certs::certificate(&dir, &["localhost"]);
    let both = fs::read_to_string(certs.cert).unwrap() + &fs::read_to_string(certs.key).unwrap();
    fs::write(dir.join("server.pem"), both).unwrap();
    dir
}

/// A server end.
fn section(dir: &Path, name: &str, accept: &str) -> String {
    let cert = dir.join("server.pem");
    format!("[{name}]\naccept = {accept}\nconnect = 127.0.0.1:{}\ncert = {}\n", ports::free(), cert.display())
}

fn write(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("stunnel.conf");
    fs::write(&path, text).unwrap();
    path
}

/// One in the foreground; its standard error is a file.
struct Running {
    process: Process,
    log: PathBuf,
}

impl Running {
    fn start(dir: &Path, text: &str) -> Self {
        let conf = write(dir, &format!("foreground = yes\nsyslog = no\ndebug = debug\n{text}"));
        let log = dir.join("stderr");
        let to = fs::File::create(&log).unwrap();
        let mut command = Command::new(binary());
        command.arg("stunnel").arg(conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(to);
        let running = Self { process: Process::spawn(&mut command), log };
        running.wait_for("Accepting new connections");
        running
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        until(LONG, &format!("{words:?} in {:?}", self.said()), || self.said().contains(words).then_some(()));
    }

    fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        self.process.wait(LONG).and_then(|status| status.code())
    }
}

/// Answers each line with the same line.
fn echo() -> u16 {
    let listener = TcpListener::bind(local(0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
        }
    });
    port
}

/// One line there and back.
#[track_caller]
fn ask(stream: &TcpStream, line: &str) {
    (&*stream).write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert_eq!(answer.trim_end(), line);
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn it_tells_in_stunnels_words_where_it_listens_and_one_address_of_a_service_is_enough() {
    let dir = open_dir();
    let taken = TcpListener::bind(local(0)).unwrap();
    let taken = taken.local_addr().unwrap();
    let accept = format!("{taken}\naccept = 127.0.0.1:0\naccept = ::1:0");
    let mut running = Running::start(&dir, &section(&dir, "a", &accept));
    // Held until here, and free for the next test only now.
    let said = running.said();
    let line = |words: &str| {
        let line = said.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?}: {said}"));
        // 2026.01.31 12:00:00
        let (stamp, rest) = line.split_at(19);
        assert!(stamp.chars().all(|c| c.is_ascii_digit() || ". :".contains(c)), "{line}");
        rest.to_owned()
    };
    assert_eq!(line("Configuration successful"), " LOG5[ui]: Configuration successful");
    assert_eq!(
        line("Binding service"),
        format!(" LOG5[ui]: Binding service [a] to {taken}: Address already in use (98)")
    );
    let bound: Vec<&str> = said.lines().filter(|line| line.contains(" bound to ")).collect();
    assert_eq!(bound.len(), 2, "{said}");
    for (line, host) in bound.iter().zip(["127.0.0.1", "::1"]) {
        let (before, port) = line.rsplit_once(':').unwrap();
        assert!(
            before.contains("LOG6[ui]: Service [a] (FD=") && before.ends_with(&format!(" bound to {host}")),
            "{line}"
        );
        TcpStream::connect((host, port.parse::<u16>().unwrap())).unwrap();
    }
    assert_eq!(said.matches("Accepting new connections").count(), 1, "{said}");
    assert_eq!(running.stop(), Some(0));
    assert!(running.said().contains("LOG5[ui]: Terminated"), "{}", running.said());
}

#[test]
fn a_daemon_lets_its_starter_go_and_leaves_its_terminal() {
    let dir = open_dir();
    let (pid_file, output) = (dir.join("pid"), dir.join("log"));
    let global = format!("syslog = no\npid = {}\noutput = {}\n", pid_file.display(), output.display());
    let conf = write(&dir, &(global + &section(&dir, "a", "127.0.0.1:0")));
    let seen = cli::run(Command::new(binary()).arg("stunnel").arg(&conf));
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("", ""));
    let number = until(LONG, "the pid file", || fs::read_to_string(&pid_file).ok()?.trim().parse::<i32>().ok());
    watchdog::started(number.cast_unsigned());
    let pid = Pid::from_raw(number).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid, "it has a session of its own");
    for descriptor in 0..3 {
        let to = fs::read_link(format!("/proc/{number}/fd/{descriptor}")).unwrap();
        assert_eq!(to, Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{number}/cwd")).unwrap(), Path::new("/"));
    let said = || fs::read_to_string(&output).unwrap_or_default();
    until(LONG, "a log file", || said().contains("Configuration successful").then_some(()));
    kill_process(pid, Sig::TERM).unwrap();
    until(LONG, "its end", || test_kill_process(pid).is_err().then_some(()));
    watchdog::ended(number.cast_unsigned());
    assert!(!pid_file.exists());
    assert!(said().contains("Terminated"), "{}", said());
}

#[test]
fn what_is_wrong_with_a_start_is_said_to_the_starter_by_words_and_exit_code() {
    let dir = open_dir();
    let taken = TcpListener::bind(local(0)).unwrap();
    let in_use = section(&dir, "a", &taken.local_addr().unwrap().to_string());
    let good = section(&dir, "a", "127.0.0.1:0");
    let keyless = good.replace("server.pem", "cert.pem");
    for (text, words) in [
        (in_use, "Address already in use"),
        ("nonsense".to_owned(), "Configuration failed"),
        (keyless, "cert.pem"),
        (format!("pid = /nonexistent/pid\n{good}"), "cannot write the pid file /nonexistent/pid"),
        (format!("output = /nonexistent/log\n{good}"), "/nonexistent"),
    ] {
        let conf = write(&dir, &format!("syslog = no\n{text}"));
        let seen = cli::run(Command::new(binary()).arg("stunnel").arg(&conf));
        assert_eq!(seen.code, Some(2), "{words}: {seen:?}");
        assert!(seen.stderr.contains(words), "{words}: {seen:?}");
    }
}

#[test]
fn output_is_appended_to_unless_it_is_to_be_overwritten() {
    let dir = open_dir();
    let output = dir.join("log");
    let text = |how: &str| format!("output = {}\nlog = {how}\n{}", output.display(), section(&dir, "a", "127.0.0.1:0"));
    fs::write(&output, "old\n").unwrap();
    Running::start(&dir, &text("append")).stop();
    let said = fs::read_to_string(&output).unwrap();
    assert!(said.starts_with("old\n") && said.contains("Terminated"), "{said}");
    Running::start(&dir, &text("overwrite")).stop();
    let said = fs::read_to_string(&output).unwrap();
    assert!(!said.contains("old\n") && said.matches("Terminated").count() == 1, "{said}");
}

#[test]
fn sighup_takes_a_good_file_and_a_bad_one_changes_nothing() {
    let dir = open_dir();
    let [kept, gone, new] = [(); 3].map(|()| ports::free());
    let at = |port: u16| format!("127.0.0.1:{port}");
    let both = section(&dir, "kept", &at(kept)) + &section(&dir, "gone", &at(gone));
    let mut running = Running::start(&dir, &both);
    let listens = |port: u16| TcpStream::connect_timeout(&local(port), secs(5)).is_ok();
    assert!(listens(kept) && listens(gone) && !listens(new));

    write(&dir, "foreground = yes\nsyslog = no\n[kept]\nnonsense\n");
    running.process.signal(Signal::HUP);
    running.wait_for("Failed to reload the configuration file");
    assert!(listens(kept) && listens(gone) && !listens(new));

    // Whoever connects while the good one comes into force is never refused.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(listens(kept), "refused after {asked}");
                asked += 1;
            }
            asked
        });
        for round in 0..5 {
            let other = if round % 2 == 0 { ("new", new) } else { ("gone", gone) };
            let text = section(&dir, "kept", &at(kept)) + &section(&dir, other.0, &at(other.1));
            write(&dir, &format!("foreground = yes\nsyslog = no\ndebug = debug\n{text}"));
            running.process.signal(Signal::HUP);
            until(LONG, other.0, || listens(other.1).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
        assert!(asker.join().unwrap() > 0);
    });
    until(LONG, "the removed service's end", || (!listens(gone)).then_some(()));
    assert!(listens(new));
    assert_eq!(running.said().matches("Accepting new connections").count(), 1);

    // What a process is only once.
    write(&dir, &format!("foreground = yes\nsyslog = no\npid = {}/pid\n{both}", dir.display()));
    running.process.signal(Signal::HUP);
    running.wait_for("pid has changed since the start: that needs a restart");
    // The bad file, the good ones, of which two that come together are read once, and this one.
    let read = format!("Reading configuration from file {} (SIGHUP)", dir.join("stunnel.conf").display());
    let reads = running.said().matches(&read).count();
    assert!((3..=7).contains(&reads), "{reads}");
    assert!(!dir.join("pid").exists());
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn sessions_outlive_a_reload_and_new_ones_meet_the_new_file() {
    let (dir, far) = (open_dir(), open_dir());
    let [near, middle] = [(); 2].map(|()| ports::free());
    let server = section(&far, "server", &format!("127.0.0.1:{middle}"));
    let (echo, nowhere) = (echo(), ports::free());
    let server = |connect: u16| {
        let lines = server.lines().filter(|line| !line.starts_with("connect"));
        lines.collect::<Vec<_>>().join("\n") + &format!("\nconnect = 127.0.0.1:{connect}\n")
    };
    let client = format!("[client]\nclient = yes\naccept = 127.0.0.1:{near}\nconnect = 127.0.0.1:{middle}\n");
    let mut behind = Running::start(&far, &server(echo));
    let mut front = Running::start(&dir, &client);
    let open = || {
        let stream = TcpStream::connect(local(near)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    };
    let old = open();
    ask(&old, "before");

    write(&far, &format!("foreground = yes\nsyslog = no\ndebug = debug\n{}", server(nowhere)));
    behind.process.signal(Signal::HUP);
    until(LONG, "the new file", || (behind.said().matches("Configuration successful").count() == 2).then_some(()));
    ask(&old, "after");
    // Of the new file nobody is behind it: the client end tells that by closing.
    let mut nothing = Vec::new();
    until(LONG, "the new target", || {
        let new = open();
        let _ = (&new).write_all(b"x");
        std::io::Read::read_to_end(&mut &new, &mut nothing).map_or(Some(()), |read| (read == 0).then_some(()))
    });
    ask(&old, "still");
    assert_eq!(front.stop(), Some(0), "sessions do not hold it up");
    assert_eq!(behind.stop(), Some(0));
}

#[test]
fn a_file_that_hangs_holds_up_no_other_signal_and_no_session() {
    let dir = open_dir();
    let [near, other] = [(); 2].map(|()| ports::free());
    let text = |port: u16| section(&dir, "a", &format!("127.0.0.1:{port}"));
    let output = dir.join("log");
    let global = format!("output = {}\n", output.display());
    let mut running = Running::start(&dir, &(global.clone() + &text(near)));
    let whole = |port: u16| format!("foreground = yes\nsyslog = no\ndebug = debug\n{global}{}", text(port));
    let conf = dir.join("stunnel.conf");
    let hang = || {
        fs::remove_file(&conf).unwrap();
        nix::unistd::mkfifo(&conf, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    let log = running.log.clone();
    let said = |words: &str| fs::read_to_string(&log).unwrap().matches(words).count();
    let reads = || said("(SIGHUP)");

    // A pipe that nobody writes to, asked for three times: read once, and once more when it ends.
    hang();
    running.process.signal(Signal::HUP);
    until(LONG, "the reload", || (reads() == 1).then_some(()));
    for times in 1..3 {
        running.process.signal(Signal::HUP);
        until(LONG, "that it is told", || (said("is read once more") == times).then_some(()));
    }
    // So is SIGUSR1, where the log has become a pipe as well.
    fs::rename(&output, dir.join("log.1")).unwrap();
    nix::unistd::mkfifo(&output, nix::sys::stat::Mode::S_IRWXU).unwrap();
    running.process.signal(Signal::USR1);
    running.wait_for("SIGUSR1: going on with the log file that was open");
    fs::remove_file(&output).unwrap();
    running.process.signal(Signal::USR1);
    running.wait_for("SIGUSR1: the log file was opened again");
    TcpStream::connect_timeout(&local(near), secs(5)).unwrap();
    assert_eq!(reads(), 1);

    let mut pipe = fs::OpenOptions::new().write(true).open(&conf).unwrap();
    fs::remove_file(&conf).unwrap();
    fs::write(&conf, whole(other)).unwrap();
    pipe.write_all(whole(near).as_bytes()).unwrap();
    drop(pipe);
    until(LONG, "the file that was written meanwhile", || {
        TcpStream::connect_timeout(&local(other), secs(5)).is_ok().then_some(())
    });
    running.wait_for(&format!("bound to 127.0.0.1:{other}"));
    assert_eq!(reads(), 2);

    hang();
    running.process.signal(Signal::HUP);
    until(LONG, "the reload", || (reads() == 3).then_some(()));
    assert_eq!(running.stop(), Some(0), "whatever hangs");
    assert!(running.said().contains("Terminated"), "{}", running.said());
}
