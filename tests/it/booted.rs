//! The units under a real systemd: one that is booted in a container over a copy of this machine's files, without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::Process;
use crate::harness::{cli, secs, until, watchdog};

/// Lays a writable copy over this machine's files, in a mount namespace that goes with the process, puts Galeway into it as the
/// package does, and boots. Nothing of this machine's own services starts: they are wanted by nobody.
const BOOT: &str = r#"
mount -t tmpfs tmpfs "$1"
mkdir "$1"/upper "$1"/work "$1"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
rm -rf etc/systemd/system/*.wants etc/systemd/system/galeway* etc/galeway var/lib/galeway var/log/galeway
cp "$2" usr/bin/galeway
cp "$3"/config/systemd/* usr/lib/systemd/system/
cp "$3"/config/debian/galeway.sysusers usr/lib/sysusers.d/galeway.conf
cp "$3"/config/logrotate/galeway etc/logrotate.d/galeway
chroot . systemd-sysusers galeway.conf
mkdir etc/galeway
chroot . chgrp galeway /etc/galeway   # a group that is known there only
chmod 2750 etc/galeway
unit=(--keep-unit)   # where there is a systemd, it wants to give one
[ ! -d /run/systemd/system ] || unit=()
exec systemd-nspawn --directory="$1/root" --register=no "${unit[@]}" --private-network --boot systemd.unit=basic.target
"#;

/// A service and its admin address, in a network of their own.
const CONFIG: &str = r#"
[cluster.main]
nodes = ["127.0.0.1:3307", "db2.invalid"]
[cluster.main.monitor]
user = "monitor"
password = "secret"
[service.mysql]
accept = "ACCEPT"
cluster = "main"
[process]
log = "LOG"
"#;

struct Booted {
    container: Process,
    dir: PathBuf,
}

impl Drop for Booted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default());
            println!("{}", self.run("journalctl --no-pager -n 60 -o short-monotonic").stdout);
        }
        // A container survives its nspawn, but not the namespace of processes that both are in.
        self.container.kill();
    }
}

impl Booted {
    /// `None` only where the user asked for a run without root, which is said.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let allowed = std::env::var_os("GALEWAY_TEST_UNPRIVILEGED").is_some_and(|v| v == "1");
            assert!(allowed, "only root may boot a container (GALEWAY_TEST_UNPRIVILEGED=1 leaves this test out)");
            println!("NOT RUN: only root may boot a container, and GALEWAY_TEST_UNPRIVILEGED=1 is set");
            return None;
        }
        let dir = watchdog::fresh_path("booted");
        fs::create_dir(&dir).unwrap();
        let log = fs::File::create(dir.with_extension("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["bash", "-ec", BOOT, "boot"]);
        command.args([&dir, binary(), Path::new(env!("CARGO_MANIFEST_DIR"))]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let booted = Self { container: Process::spawn(&mut command), dir };
        until(secs(60), "systemd is up", || {
            booted.first()?;
            booted.run("systemctl is-system-running").stdout.trim().ends_with("ing").then_some(())?;
            (booted.run("systemctl is-active basic.target").stdout.trim() == "active").then_some(())
        });
        booted.does("ip link set lo up");
        Some(booted)
    }

    /// The container's first process, as it is numbered here.
    fn first(&self) -> Option<String> {
        let child = |id: &str| {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            children.split_whitespace().next().map(str::to_owned)
        };
        // unshare, nspawn, systemd.
        let first = child(&child(&self.container.id().to_string())?)?;
        (fs::read_to_string(format!("/proc/{first}/comm")).ok()?.trim() == "systemd").then_some(first)
    }

    /// What a command says inside.
    fn run(&self, command: &str) -> cli::Output {
        let Some(first) = self.first() else {
            return cli::Output { code: None, stdout: String::new(), stderr: "there is no container".to_owned() };
        };
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &first, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i", "LC_ALL=C"]);
        entered.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", command]);
        cli::run(&mut entered)
    }

    /// The same; it must end well.
    #[track_caller]
    fn does(&self, command: &str) -> String {
        let said = self.run(command);
        assert_eq!(said.code, Some(0), "{command}: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// The configuration of the service; `log` and `accept` differ.
    fn configure(&self, accept: &str, log: &str) {
        let text = CONFIG.replace("ACCEPT", accept).replace("LOG", log);
        self.does(&format!("umask 027; cat > /etc/galeway/galeway.toml <<'EOF'\n{text}\nEOF"));
    }

    fn property(&self, unit: &str, name: &str) -> String {
        self.does(&format!("systemctl show --value -p {name} {unit}")).trim().to_owned()
    }

    /// Waits until another process than this one is the main one, and serves. Its number.
    fn successor(&self, old: &str) -> String {
        until(LONG, "another process serves", || {
            let new = self.property("galeway", "MainPID");
            let serves = self.property("galeway", "ActiveState") == "active" && new != "0" && new != old;
            serves.then_some(new)
        })
    }
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn the_units_work_under_a_real_systemd() {
    let Some(booted) = Booted::new() else { return };
    booted.configure("127.0.0.1:443", "/var/log/galeway/galeway.log");
    booted.does("systemctl start galeway");
    let first = booted.property("galeway", "MainPID");
    // Ready is ready: nobody has to wait after the start. A port below 1024, as a user without any other right.
    assert!(booted.does("galeway status --json || [ $? = 1 ]").contains(&format!("\"pid\":{first}")));
    booted.does("exec 3<>/dev/tcp/127.0.0.1/443");
    let status = booted.does(&format!("cat /proc/{first}/status"));
    for line in ["CapBnd:\t0000000000000400", "CapEff:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let paths = booted.does(
        "stat -c '%n %U:%G %a' /run/galeway /run/galeway/admin.sock /var/lib/galeway /var/log/galeway/galeway.log",
    );
    assert_eq!(
        paths,
        "/run/galeway galeway:galeway 750\n/run/galeway/admin.sock galeway:galeway 660\n/var/lib/galeway galeway:galeway 700\n\
        /var/log/galeway/galeway.log galeway:galeway 640\n"
    );

    println!("a file with a mistake, and one without");
    booted.does("sed -i 's/^cluster =/clutter =/' /etc/galeway/galeway.toml");
    assert_eq!(booted.run("systemctl reload galeway").code, Some(1));
    assert!(booted.does("journalctl --no-pager -u galeway").contains("did you mean `cluster`?"));
    booted.does("sed -i 's/^clutter =/cluster =/' /etc/galeway/galeway.toml; systemctl reload galeway");
    let log = || booted.does("cat /var/log/galeway/galeway.log");
    until(LONG, "SIGHUP was heard", || (log().contains("SIGHUP") || log().contains("reload")).then_some(()));
    assert_eq!(booted.property("galeway", "MainPID"), first);

    println!("rotation");
    booted.does("logrotate --force /etc/logrotate.d/galeway");
    until(LONG, "a new log", || log().contains("SIGUSR1").then_some(()));
    booted.does("test -s /var/log/galeway/galeway.log.1");

    println!("a crash, and one that hangs");
    booted.does(&format!("kill -KILL {first}"));
    let second = booted.successor(&first);
    booted.does(
        "mkdir -p /run/systemd/system/galeway.service.d; cd /run/systemd/system/galeway.service.d
        printf '[Service]\\nWatchdogSec=2s\\n' > quick.conf; systemctl daemon-reload; systemctl restart galeway",
    );
    let third = booted.successor(&second);
    // Signs of life are given: without them it would be ended by now, and it is the same one.
    std::thread::sleep(secs(5));
    assert_eq!(booted.property("galeway", "MainPID"), third);
    booted.does(&format!("kill -STOP {third}"));
    booted.successor(&third);
    assert_eq!(booted.property("galeway", "NRestarts"), "1");

    println!("sockets of systemd, and the journal");
    booted.does("systemctl stop galeway");
    booted.configure("fd:mysql", "journald");
    booted.does("systemctl start galeway.socket; exec 3<>/dev/tcp/127.0.0.1/3306");
    until(LONG, "a client has started it", || (booted.property("galeway", "ActiveState") == "active").then_some(()));
    until(LONG, "fields in the journal", || {
        (booted
            .does("journalctl --no-pager -u galeway TARGET=galeway::lifecycle::control -o cat")
            .contains("accepting service=mysql"))
        .then_some(())
    });
    booted.does("systemctl stop galeway.socket galeway");
    assert_eq!(booted.property("galeway", "Result"), "success");

    println!("another instance, and one started as root");
    booted.does(
        "cd /etc/galeway; (sed 's/fd:mysql/127.0.0.1:3308/' galeway.toml; echo 'state_dir = \"/var/lib/galeway-b\"
        [admin]\nsocket = \"/run/galeway-b/admin.sock\"') > b.toml; systemctl start galeway@b",
    );
    booted.does("galeway status --json --admin unix:/run/galeway-b/admin.sock || [ $? = 1 ]; systemctl stop galeway@b");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/service.md")).unwrap();
    let root = page.split("```ini\n").find(|block| block.contains("User=root")).unwrap().split_once("```").unwrap().0;
    booted.does(&format!(
        "printf '%s' '{root}' > /run/systemd/system/galeway.service.d/root.conf; systemctl daemon-reload
        sed -i 's/fd:mysql/127.0.0.1:443/; $a user = \"galeway\"' /etc/galeway/galeway.toml; systemctl restart galeway; systemctl reload galeway"
    ));
    let pid = booted.property("galeway", "MainPID");
    assert!(booted.does(&format!("stat -c %U /proc/{pid}")).starts_with("galeway"));
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_file_of_stunnel_is_run_and_read_again_under_a_real_systemd() {
    let Some(booted) = Booted::new() else { return };
    booted.does("cd /etc; mkdir -p stunnel; openssl req -x509 -newkey rsa:2048 -nodes -keyout stunnel/k.pem -out stunnel/c.pem -days 90 -subj /CN=x
        chmod 600 stunnel/k.pem
        printf '%s\\n' 'setuid = nobody' 'setgid = nogroup' 'pid = /tmp/t.pid' '[a]' 'accept = 127.0.0.1:444' 'connect = 127.0.0.1:3307' \
            'cert = /etc/stunnel/c.pem' 'key = /etc/stunnel/k.pem' > stunnel/t.conf
        systemctl start galeway-stunnel@t");
    until(LONG, "it accepts", || (booted.run("exec 3<>/dev/tcp/127.0.0.1/444").code == Some(0)).then_some(()));
    let pid = booted.property("galeway-stunnel@t", "MainPID");
    assert_eq!(booted.does(&format!("stat -c %U /proc/{pid}")), "nobody\n");
    // The one who sends it is root, and this one is not.
    booted.does("systemctl reload galeway-stunnel@t");
    assert_eq!(booted.property("galeway-stunnel@t", "MainPID"), pid);
    booted.does("systemctl stop galeway-stunnel@t");
    assert_eq!(booted.property("galeway-stunnel@t", "Result"), "success");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn an_upgrade_is_followed_by_a_real_systemd_and_the_old_process_keeps_its_session() {
    let Some(booted) = Booted::new() else { return };
    booted.configure("127.0.0.1:3306", "/var/log/galeway/galeway.log");
    // A server that says everything twice, and a client that asks once more when it is told to.
    booted.does("printf '%s\\n' '[service.raw]' 'accept = \"127.0.0.1:3310\"' 'connect = \"127.0.0.1:3311\"' >> /etc/galeway/galeway.toml
        mkdir -p /run/systemd/system/galeway.service.d; cd /run/systemd/system/galeway.service.d
        printf '[Service]\\nWatchdogSec=2s\\n' > quick.conf; systemctl daemon-reload; systemctl start galeway
        systemd-run --quiet --unit=server python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 3311)); c = s.accept()[0]
while b := c.recv(9): c.sendall(b + b)'");
    until(LONG, "a server", || booted.does("ss -Hltn sport = 3311").contains("3311").then_some(()));
    booted.does("systemd-run --quiet --unit=client bash -c 'exec 3<>/dev/tcp/127.0.0.1/3310; echo a >&3; read -u 3; touch /run/began
        until [ -e /run/go ]; do sleep 0.05; done; echo b >&3; read -u 3; read -u 3; echo \"$REPLY\" > /run/answer'");
    until(LONG, "a session", || (booted.run("test -e /run/began").code == Some(0)).then_some(()));
    let old = booted.property("galeway", "MainPID");
    let upgrade = "systemctl kill --signal=USR2 --kill-whom=main galeway";

    println!("a program that does not start");
    booted.does("cp /usr/bin/galeway /root/galeway; cp /usr/bin/false /usr/bin/new; mv /usr/bin/new /usr/bin/galeway");
    booted.does(upgrade);
    let log = || booted.does("cat /var/log/galeway/galeway.log");
    until(LONG, "the failure is told", || {
        log().contains("WARN").then_some(()).or_else(|| log().contains("ERROR").then_some(()))
    });
    assert_eq!(booted.property("galeway", "MainPID"), old);
    booted.does("cp /root/galeway /usr/bin/new; mv /usr/bin/new /usr/bin/galeway");

    println!("one that does");
    booted.does(upgrade);
    let new = booted.successor(&old);
    assert_eq!(booted.property("galeway", "NRestarts"), "0");
    booted.does(&format!(
        "kill -0 {old}; galeway status --json | grep -q '\"pid\":{new}'; exec 3<>/dev/tcp/127.0.0.1/3306"
    ));
    // Signs of life of the new one count.
    std::thread::sleep(secs(5));
    assert_eq!(booted.property("galeway", "MainPID"), new);

    println!("which crashes");
    let began = std::time::Instant::now();
    booted.does(&format!("kill -KILL {new}"));
    booted.successor(&new);
    println!("another one served {:.1} s after it", began.elapsed().as_secs_f64());
    booted.does(&format!("kill -0 {old}; touch /run/go"));
    until(LONG, "the session of before goes on", || (booted.run("cat /run/answer").stdout == "b\n").then_some(()));
    until(LONG, "the old process has ended", || (booted.run(&format!("kill -0 {old}")).code == Some(1)).then_some(()));
    booted.does("systemctl is-active galeway");
}

/// Else it would serve with nobody to watch it, and systemd would start another one each second without end.
#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_real_systemd_finds_the_new_process_where_the_old_one_was_killed_during_an_upgrade() {
    let Some(booted) = Booted::new() else { return };
    booted.configure("127.0.0.1:3306", "stderr");
    booted.does("systemctl start galeway");
    let old = booted.property("galeway", "MainPID");
    // A new one that takes its time.
    booted.does(
        "cp /usr/bin/galeway /usr/bin/galeway.good
        printf '#!/bin/sh\\n[ -z \"$GALEWAY_UPGRADE\" ] || sleep 2\\nexec /usr/bin/galeway.good \"$@\"\\n' > /usr/bin/new
        chmod 755 /usr/bin/new; mv /usr/bin/new /usr/bin/galeway; systemctl kill --signal=USR2 --kill-whom=main galeway",
    );
    until(LONG, "it is started", || {
        let children = booted.run(&format!("cat /proc/{old}/task/*/children")).stdout;
        (!children.trim().is_empty()).then_some(())
    });
    // It has been sent all by then.
    booted.does(&format!("sleep 0.3; kill -KILL {old}"));
    // The one that answers, and not one that is about to find its address in use.
    let new = until(LONG, "systemd knows it", || {
        let active = booted.property("galeway", "ActiveState") == "active";
        let (pid, said) = (booted.property("galeway", "MainPID"), booted.run("galeway status --json").stdout);
        (active && said.contains(&format!("\"pid\":{pid},"))).then_some(pid)
    });
    assert!(booted.does("journalctl --no-pager -u galeway").contains("has ended, and its sessions with it"));
    let restarts = booted.property("galeway", "NRestarts");
    println!("after {restarts} starts in vain");
    booted.does("exec 3<>/dev/tcp/127.0.0.1/3306; sleep 5; systemctl is-active galeway");
    assert_eq!((booted.property("galeway", "MainPID"), booted.property("galeway", "NRestarts")), (new, restarts));
    booted.does("systemctl stop galeway");
    assert_eq!(booted.run("exec 3<>/dev/tcp/127.0.0.1/3306").code, Some(1), "it is the one that is stopped");
}
