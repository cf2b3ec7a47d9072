//! `galeway run` without a file: flags, environment variables, and what a container's health check asks.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fakes::LONG;
use crate::harness::cli::{self, Output};
use crate::harness::galeway::{binary, http_get};
use crate::harness::process::{Process, Signal};
use crate::harness::{Conn, ports, secs, until, watchdog};
use crate::peer::FakeNode;

/// From exec to the first greeting, with nodes that answer.
const START_MOST: Duration = Duration::from_millis(50);

/// Resident when idle, and what of it is no file's. What ships has less: `scripts/image-test` holds it to 10 MiB. Here the program
/// is not linked as that one is, and it is larger by what assertions and unused code take of its file's pages.
const RESIDENT_MOST: u64 = 16_000_000;
const ANONYMOUS_MOST: u64 = 2_500_000;

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The default places of a service, which are used without a file where they can be written.
const PLACES: [&str; 2] = ["/run/galeway", "/var/lib/galeway"];

/// Starts what its arguments say where nothing can be written in [`PLACES`]: what this machine has there is not the tests'.
const HIDING: &str = "for place in /run/galeway /var/lib/galeway; do
    [ ! -d $place ] || mount -t tmpfs -o ro tmpfs $place || exit 99
done
exec \"$@\"";

/// `galeway`, without what the environment of the tests may say of it, and without its default places.
fn galeway(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let hide = rustix::process::geteuid().is_root() && PLACES.iter().any(|place| Path::new(place).exists());
    let mut command = Command::new(if hide { Path::new("unshare") } else { binary() });
    if hide {
        command.args(["--mount", "sh", "-c", HIDING, "sh"]).arg(binary());
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GALEWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied());
    command
}

/// One that runs, and its log.
struct Sidecar {
    process: Process,
    accept: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
}

impl Sidecar {
    /// Started by environment alone.
    fn by_environment(node: &FakeNode, more: &[(&str, &str)]) -> Self {
        let (accept, admin) = (local(ports::free()), local(ports::free()));
        let (listen, nodes, asked) = (accept.to_string(), node.addr().to_string(), admin.to_string());
        let mut variables = vec![
            ("GALEWAY_LISTEN", &*listen),
            ("GALEWAY_NODES", &*nodes),
            ("GALEWAY_MONITOR_USER", "monitor"),
            ("GALEWAY_ADMIN", &*asked),
        ];
        variables.extend(more);
        Self::start(galeway(&[], &variables), accept, admin)
    }

    fn start(mut command: Command, accept: SocketAddr, admin: SocketAddr) -> Self {
        let log = watchdog::fresh_path("sidecar-log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { process: Process::spawn(&mut command), accept, admin, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    fn wait_ready(&self) {
        until(LONG, "it is ready", || http_get(self.admin, "/readyz").filter(|(code, _)| *code == 200));
    }

    fn status(&self) -> Value {
        serde_json::from_str(&http_get(self.admin, "/api/status").unwrap().1).unwrap()
    }

    #[track_caller]
    fn serves(&self, node: &str) {
        let mut session = Conn::app(self.accept, LONG).unwrap_or_else(|e| panic!("{e:?}; its log:\n{}", self.log()));
        assert_eq!(session.one("SELECT @@wsrep_node_name").unwrap(), node);
        session.quit().unwrap();
    }
}

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let seen = cli::run(&mut galeway(arguments, variables));
    assert_eq!(seen.code, Some(2), "{seen:?}");
    seen
}

#[test]
fn flags_alone_serve() {
    let node = FakeNode::start("n1");
    let (accept, admin) = (local(ports::free()), local(ports::free()));
    let (listen, address, asked) = (accept.to_string(), node.addr().to_string(), admin.to_string());
    let arguments =
        ["run", "--listen", &listen, "--node", &address, "--role", "writer", "--monitor-user", "m", "--admin", &asked];
    let sidecar = Sidecar::start(galeway(&arguments, &[]), accept, admin);
    sidecar.wait_ready();
    sidecar.serves("n1");
    let status = sidecar.status();
    assert_eq!((&status["clusters"][0]["name"], &status["services"][0]["name"]), (&"main".into(), &"writer".into()));
    assert_eq!(status["services"][0]["target"], "main/writer");
}

#[test]
fn the_environment_alone_serves_and_without_a_command() {
    let node = FakeNode::start("n1");
    let mut sidecar = Sidecar::by_environment(&node, &[("GALEWAY_MONITOR_PASSWORD", "hidden-word")]);
    sidecar.wait_ready();
    sidecar.serves("n1");
    assert_eq!(sidecar.status()["services"][0]["name"], "any");
    assert!(!sidecar.log().contains("hidden-word"), "{}", sidecar.log());
    // Nobody asked for the default places of a service, and where they are missing there is nothing to warn of. The node has no
    // table of members, which is another matter.
    let warns = |line: &str| line.contains(" WARN ") && !line.contains("membership");
    assert!(!sidecar.log().lines().any(warns), "{}", sidecar.log());
    assert!(sidecar.log().contains("there is no /var/lib/galeway that can be written"), "{}", sidecar.log());

    sidecar.process.signal(Signal::HUP);
    until(LONG, "SIGHUP reads what flags and variables name", || sidecar.log().contains("reloaded").then_some(()));
    assert!(sidecar.log().contains("config=flags and environment by=\"SIGHUP\""), "{}", sidecar.log());
    sidecar.serves("n1");

    sidecar.process.signal(Signal::TERM);
    assert_eq!(sidecar.process.wait(LONG).and_then(|s| s.code()), Some(0), "{}", sidecar.log());
}

#[test]
fn a_flag_beats_its_variable() {
    let node = FakeNode::start("n1");
    let (accept, admin) = (local(ports::free()), local(ports::free()));
    let (listen, address, asked) = (accept.to_string(), node.addr().to_string(), admin.to_string());
    let arguments = ["run", "--listen", &listen, "--node", &address, "--admin", &asked];
    let variables = [
        ("GALEWAY_LISTEN", "nowhere"),
        ("GALEWAY_NODES", "a b"),
        ("GALEWAY_ADMIN", "nowhere"),
        ("GALEWAY_MONITOR_USER", "monitor"),
        ("GALEWAY_ROLE", "reader"),
    ];
    let sidecar = Sidecar::start(galeway(&arguments, &variables), accept, admin);
    sidecar.wait_ready();
    assert_eq!(sidecar.status()["services"][0]["name"], "reader");
}

#[test]
fn a_file_and_flags_together_are_wrong_usage() {
    for flag in [["--listen", "127.0.0.1:1"], ["--node", "db1"], ["--admin", ""]] {
        for before in [&["run"][..], &[]] {
            let arguments: Vec<_> = before.iter().chain(&["-c", "galeway.toml"]).chain(&flag).copied().collect();
            let seen = refused(&arguments, &[]);
            assert!(seen.stderr.contains("cannot be used with") && seen.stderr.contains(flag[0]), "{}", seen.stderr);
        }
    }
}

#[test]
fn a_file_beats_the_variables_and_the_log_says_so() {
    let node = FakeNode::start("n1");
    let (accept, admin) = (local(ports::free()), local(ports::free()));
    let dir = watchdog::fresh_path("sidecar");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("galeway.toml");
    let text = format!(
        "[cluster.main]\nnodes = [\"{}\"]\n[cluster.main.monitor]\nuser = \"m\"\n[service.of_file]\n\
         accept = \"{accept}\"\ncluster = \"main\"\n[admin]\nlisten = \"{admin}\"\nsocket = \"\"\n\
         [process]\nstate_dir = \"state\"\n",
        node.addr()
    );
    std::fs::write(&file, text).unwrap();
    let variables = [("GALEWAY_LISTEN", "127.0.0.1:1"), ("GALEWAY_ROLE", "writer"), ("GALEWAY_NODES", "a b")];
    let sidecar = Sidecar::start(galeway(&["-c", file.to_str().unwrap()], &variables), accept, admin);
    sidecar.wait_ready();
    assert_eq!(sidecar.status()["services"][0]["name"], "of_file");
    let log = sidecar.log();
    let line = log.lines().find(|l| l.contains("not used")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("INFO") && line.contains("GALEWAY_LISTEN, GALEWAY_NODES, GALEWAY_ROLE"), "{line}");
}

#[test]
fn what_is_wrong_is_said_of_the_flag_or_variable_all_in_one_go() {
    let seen = refused(&["run", "--listen", "3306"], &[("GALEWAY_NODES", "db1,db1"), ("GALEWAY_ROLE", "master")]);
    for expected in [
        "--listen: error: `3306` is a port without an address",
        "GALEWAY_NODES: error: `db1:3306` is in this cluster already",
        "GALEWAY_ROLE: error: `role`",
        "--monitor-user or GALEWAY_MONITOR_USER: error: no account is named",
    ] {
        assert!(seen.stderr.contains(expected), "{expected}\n{}", seen.stderr);
    }
}

#[test]
fn nodes_without_listen_mean_the_default_file_and_the_error_says_so() {
    if Path::new("/etc/galeway/galeway.toml").exists() {
        println!("this machine has a default file: nothing to see here");
        return;
    }
    let seen = refused(&["run"], &[("GALEWAY_NODES", "db1")]);
    assert!(seen.stderr.contains("/etc/galeway/galeway.toml: error: there is no such file"), "{}", seen.stderr);
    assert!(seen.stderr.contains("without GALEWAY_LISTEN a file is read, and GALEWAY_NODES count"), "{}", seen.stderr);
    let seen = refused(&[], &[]);
    assert!(seen.stderr.contains("--listen ADDR --node HOST[:PORT]"), "{}", seen.stderr);
}

#[test]
fn the_health_check_of_a_container_is_the_binary_and_finds_the_instance_by_the_same_variable() {
    let node = FakeNode::start("n1");
    node.set_status("wsrep_local_state", "2");
    node.set_status("wsrep_ready", "OFF");
    let mut sidecar = Sidecar::by_environment(&node, &[]);
    until(LONG, "it answers", || http_get(sidecar.admin, "/healthz"));
    let every = format!("0.0.0.0:{}", sidecar.admin.port());
    let ask = |arguments: &[&str], admin: &str| cli::run(&mut galeway(arguments, &[("GALEWAY_ADMIN", admin)]));
    for admin in [sidecar.admin.to_string(), every] {
        // Alive, and nothing to route to: no reason to restart it, and one to send it nobody.
        let alive = ask(&["status", "--alive"], &admin);
        assert_eq!((alive.code, &*alive.stdout), (Some(0), "alive\n"), "{alive:?}");
        let ready = ask(&["status"], &admin);
        assert_eq!(ready.code, Some(1), "{ready:?}");
        assert!(ready.stdout.contains("! not ready: any: "), "{ready:?}");
    }
    node.set_status("wsrep_local_state", "4");
    node.set_status("wsrep_ready", "ON");
    sidecar.wait_ready();
    let admin = sidecar.admin.to_string();
    assert_eq!(ask(&["status"], &admin).code, Some(0));
    // Docker keeps 2 for itself, so that who does not answer is a plain no.
    sidecar.process.kill();
    let dead = ask(&["status", "--alive"], &admin);
    assert_eq!(dead.code, Some(1), "{dead:?}");
    assert!(dead.stderr.starts_with(&format!("galeway: {admin}: cannot connect")), "{dead:?}");
    assert_eq!(ask(&["status", "--alive"], "nonsense").code, Some(2));
}

#[test]
fn it_serves_within_fifty_milliseconds_of_its_start() {
    // On a machine that has other tests to run, until it was once let run.
    const ROUNDS: usize = 50;
    let node = FakeNode::start("n1");
    let mut best = Duration::MAX;
    for round in 0..ROUNDS {
        if round >= 5 && best < START_MOST {
            break;
        }
        let begun = Instant::now();
        let mut sidecar = Sidecar::by_environment(&node, &[]);
        let greeted = until(LONG, "a client is greeted", || {
            let limit = Instant::now() + secs(1);
            while Instant::now() < limit {
                if Conn::greet(sidecar.accept, secs(5)).is_ok() {
                    return Some(Instant::now());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        });
        best = best.min(greeted - begun);
        sidecar.process.signal(Signal::TERM);
        sidecar.process.wait(LONG);
    }
    println!("from exec to the first greeting: {:.1} ms at best", best.as_secs_f64() * 1e3);
    assert!(best < START_MOST, "{best:?}");
}

#[test]
fn an_idle_one_holds_little_memory() {
    let node = FakeNode::start("n1");
    let sidecar = Sidecar::by_environment(&node, &[]);
    sidecar.wait_ready();
    sidecar.serves("n1");
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", sidecar.process.id())).unwrap();
    let bytes = |key: &str| {
        let line = rollup.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let (resident, anonymous) = (bytes("Rss:"), bytes("Anonymous:"));
    println!("resident when idle: {:.1} MB, of it anonymous {:.1} MB", resident as f64 / 1e6, anonymous as f64 / 1e6);
    // The profile of who works on the code is not optimised, and three times as large.
    let factor = if binary().to_string_lossy().contains("/debug/") { 4 } else { 1 };
    assert!(resident < factor * RESIDENT_MOST && anonymous < factor * ANONYMOUS_MOST, "{resident}, {anonymous} bytes");
}
