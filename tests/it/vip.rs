//! Balancers behind an address that moves.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::{Conn, Error};
use crate::harness::galeway::binary;
use crate::harness::process::Process;
use crate::harness::{Galeway, Lan, Machine, cluster, millis, secs, until, watchdog};
use crate::peer::FakeNode;
use crate::real::agreement as record;

const LONG: Duration = secs(30);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 100);

/// Fake nodes on a machine of theirs.
fn nodes(db: &Machine, count: u8) -> Vec<FakeNode> {
    let one = |i: u8| {
        let at = SocketAddr::from((Ipv4Addr::new(198, 18, 2, 100 + i), 3306));
        if i > 1 {
            db.ip(&format!("addr add {}/24 dev back", at.ip()));
        }
        let node = FakeNode::on(db.within(|| TcpListener::bind(at)).unwrap(), &format!("n{i}"));
        node.set_status("wsrep_cluster_size", &count.to_string());
        node.set_status("wsrep_local_index", &(i - 1).to_string());
        node
    };
    (1..=count).map(one).collect()
}

fn open(nodes: &[FakeNode]) -> usize {
    nodes.iter().map(FakeNode::open).sum()
}

/// A client's session through this address; queries go through.
fn session(client: &Machine, at: IpAddr) -> Conn {
    let mut conn = client.within(|| Conn::connect((at, 3306).into(), "app", "app", LONG)).unwrap();
    conn.query("SELECT 1").unwrap();
    conn
}

#[test]
fn sessions_end_when_their_address_leaves_the_host_for_longer_than_a_moment_and_no_others_do() {
    let Some(lan) = Lan::new(&["front", "back"]) else { return };
    let balancer = lan.machine("lb1", &[("front", "198.18.1.11/24"), ("back", "198.18.2.11/24")]);
    let client = lan.machine("client", &[("front", "198.18.1.50/24")]);
    let db = lan.machine("db", &[("back", "198.18.2.101/24")]);
    let nodes = nodes(&db, 1);

    // A second VIP, which flaps, one of IPv6, and addresses that are taken in without being on any interface.
    let flapping: IpAddr = "198.18.1.101".parse().unwrap();
    let v6: IpAddr = "fd00:6a1e::100".parse().unwrap();
    let anything: IpAddr = "198.18.3.7".parse().unwrap();
    balancer.ip(&format!("addr add {VIP}/32 dev front"));
    balancer.ip(&format!("addr add {flapping}/32 dev front"));
    balancer.ip(&format!("addr add {v6}/64 dev front nodad"));
    balancer.ip("route add local 198.18.3.0/24 dev lo");
    client.ip("addr add fd00:6a1e::50/64 dev front nodad");
    client.ip("route add 198.18.3.0/24 via 198.18.1.11");
    let sections = "[cluster.main]\nnodes = [\"198.18.2.101\"]\n[cluster.main.monitor]\nuser = \"monitor\"\n\
        password = \"monitor\"\n[service.any]\naccept = [\"0.0.0.0:3306\", \"[::]:3306\"]\ncluster = \"main\"\n";
    let launcher = balancer.launcher();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let galeway = Galeway::sections_through(&launcher, sections);
    balancer.within(|| galeway.wait_ready());

    let mut stay: Vec<_> =
        [IpAddr::from([198, 18, 1, 11]), flapping, anything].iter().map(|at| session(&client, *at)).collect();
    let go = [VIP.into(), v6].map(|at| session(&client, at));
    let all = open(&nodes);

    balancer.ip(&format!("addr del {flapping}/32 dev front"));
    balancer.ip(&format!("addr add {flapping}/32 dev front"));
    balancer.ip(&format!("addr del {VIP}/32 dev front"));
    balancer.ip(&format!("addr del {v6}/64 dev front"));
    until(LONG, "their sessions on the node end", || (open(&nodes) == all - go.len()).then_some(()));
    for conn in &mut stay {
        conn.query("SELECT 1").unwrap();
    }

    let ended = until(LONG, "the access log tells", || Some(galeway.access_log()).filter(|log| log.len() == go.len()));
    let told: Vec<_> = ended.iter().map(|e| (e["end"].as_str(), e["by"].as_str(), e["detail"].as_str())).collect();
    for at in [VIP.to_string(), v6.to_string()] {
        let words = format!("{at} has left this host");
        let expected = (Some("address_lost"), Some("galeway"), Some(words.as_str()));
        assert!(told.contains(&expected), "{told:?}");
    }
    let labels = [("reason", "address_lost")];
    let closed = balancer.within(|| galeway.metric("galeway_connections_closed_total", &labels));
    assert_eq!(closed, 2.0);
    assert!(galeway.log().contains("this host has lost an address"), "{}", galeway.log());

    // It may come back: then it serves as before.
    balancer.ip(&format!("addr add {VIP}/32 dev front"));
    let mut again = session(&client, VIP.into());
    std::thread::sleep(millis(2500));
    again.query("SELECT 1").unwrap();
}

// ---- keepalived

/// VRRP's own time for a host that vanishes: `3 × advert_int + (256 - priority) / 256` of config/keepalived.conf.
const HOST_CUT: Duration = millis(3610);

/// For a Galeway that is gone: `fall` checks, one each `interval`, and the other host's skew time.
const PROCESS_GONE: Duration = millis(2610);

/// For one that cannot route: `fall` of the other check, an advertisement of the lower priority, and what a vanished host takes.
const NOT_READY: Duration = millis(5000 + 1000 + 3610);

/// For two cores that are busy, which VRRP's own timers are not made for.
const SLACK: Duration = secs(6);

/// A host with a Galeway and a keepalived, both as config/ has them but for addresses and paths.
struct Host {
    machine: Machine,
    name: &'static str,
    galeway: Mutex<Galeway>,
    keepalived: Option<Process>,
    log: PathBuf,
}

impl Host {
    fn new(lan: &Lan, name: &'static str, last: u8, sections: &str) -> Self {
        let [front, back] = [1, 2].map(|net| format!("198.18.{net}.{last}/24"));
        let machine = lan.machine(name, &[("front", &front), ("back", &back)]);
        let galeway = galeway(&machine, sections);
        Self { machine, name, galeway: Mutex::new(galeway), keepalived: None, log: watchdog::fresh_path("keepalived") }
    }

    fn start_keepalived(&mut self) {
        let dir = watchdog::fresh_path("keepalived");
        std::fs::create_dir(&dir).unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let admin = self.galeway.lock().unwrap().admin();
        let socket = self.galeway.lock().unwrap().admin_socket();
        let mut text = std::fs::read_to_string(config.join("keepalived.conf")).unwrap();
        for (theirs, ours) in [
            ("$VIP=192.0.2.100", format!("$VIP={VIP}")),
            ("$INTERFACE=eth0", "$INTERFACE=front".to_owned()),
            ("@lb1 $OWN=192.0.2.11", "@lb1 $OWN=198.18.1.11".to_owned()),
            ("@lb1 $OTHER=192.0.2.12", "@lb1 $OTHER=198.18.1.12".to_owned()),
            ("@lb2 $OWN=192.0.2.12", "@lb2 $OWN=198.18.1.12".to_owned()),
            ("@lb2 $OTHER=192.0.2.11", "@lb2 $OTHER=198.18.1.11".to_owned()),
            // The directory of these tests is not root's alone.
            ("    enable_script_security\n", String::new()),
            ("/etc/keepalived/keepalived-check alive", format!("{}/keepalived-check alive {admin}", config.display())),
            ("/etc/keepalived/keepalived-check ready", format!("{}/keepalived-check ready {admin}", config.display())),
            ("/etc/keepalived/keepalived-notify", format!("{}/keepalived-notify --admin {socket}", config.display())),
        ] {
            assert_eq!(text.matches(theirs).count(), 1, "{theirs}");
            text = text.replace(theirs, &ours);
        }
        let conf = dir.join("keepalived.conf");
        std::fs::write(&conf, text).unwrap();
        // The scripts call the program by its name.
        std::os::unix::fs::symlink(binary(), dir.join("galeway")).unwrap();
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", dir.display());
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.machine.command("keepalived".as_ref());
        command.args([
            "--dont-fork",
            "--log-console",
            "--no-syslog",
            "--log-detail",
            "--vrrp",
            "--config-id",
            self.name,
        ]);
        command.arg("-f").arg(&conf).arg("-p").arg(dir.join("pid")).arg("-r").arg(dir.join("vrrp.pid"));
        command.env("PATH", path).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.keepalived = Some(Process::spawn(&mut command));
    }

    fn holds_vip(&self) -> bool {
        self.machine.holds(VIP.into())
    }

    fn keepalived_says(&self, what: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches(what).count()
    }

    /// What GET says there, if anybody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let galeway = self.galeway.lock().unwrap();
        self.machine.within(|| galeway.try_get(path))
    }

    /// The writer that its Galeway names.
    fn writer(&self) -> Option<String> {
        let (_, body) = self.get("/api/status")?;
        let status: serde_json::Value = serde_json::from_str(&body).ok()?;
        status["clusters"][0]["writer"].as_str().map(str::to_owned)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("keepalived of {}:\n{}", self.name, std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        if let Some(keepalived) = &mut self.keepalived {
            // Its own children go with it, in order.
            keepalived.signal(crate::harness::process::Signal::TERM);
            keepalived.wait(secs(5));
        }
    }
}

fn galeway(machine: &Machine, sections: &str) -> Galeway {
    let launcher = machine.launcher();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    Galeway::sections_through(&launcher, sections)
}

/// What clients met: when each attempt began, and how it ended.
#[derive(Debug, Default)]
struct Met(Mutex<Vec<(Instant, Result<(), String>)>>);

impl Met {
    /// The longest time between two connections that came through since then.
    fn longest_gap(&self, since: Instant) -> Duration {
        let met = self.0.lock().unwrap();
        let good = met.iter().filter(|(at, met)| *at >= since && met.is_ok()).map(|(at, _)| *at);
        let mut last = since;
        good.fold(Duration::ZERO, |longest, at| longest.max(at.duration_since(std::mem::replace(&mut last, at))))
    }

    fn failed(&self, since: Instant) -> usize {
        self.0.lock().unwrap().iter().filter(|(at, met)| *at >= since && met.is_err()).count()
    }

    /// Waits for `count` connections in a row from now on.
    #[track_caller]
    fn wait_good(&self, count: usize) {
        let from = Instant::now();
        until(LONG, "new connections come through", || {
            let met = self.0.lock().unwrap();
            let good = met.iter().rev().take_while(|(at, met)| *at >= from && met.is_ok()).count();
            (good >= count).then_some(())
        });
    }
}

/// A client of short patience, for as long as it is left on.
fn knock(client: &Machine, met: &Met, on: &AtomicBool) {
    client.within(|| {
        while on.load(Ordering::Relaxed) {
            let began = Instant::now();
            let ended = Conn::app((VIP, 3306).into(), millis(500)).map(drop).map_err(|e| e.to_string());
            met.0.lock().unwrap().push((began, ended));
            std::thread::sleep(millis(20));
        }
    });
}

#[test]
fn keepalived_moves_the_vip_to_a_balancer_that_serves_and_keeps_it_where_nobody_can() {
    let Some(lan) = Lan::new(&["front", "back"]) else { return };
    let client = lan.machine("client", &[("front", "198.18.1.50/24")]);
    let db = lan.machine("db", &[("back", "198.18.2.101/24")]);
    let nodes = nodes(&db, 3);
    // The standby is bound to the VIP as well.
    let sections = format!(
        "[cluster.main]\nnodes = [\"198.18.2.101\", \"198.18.2.102\", \"198.18.2.103\"]\n\
        [cluster.main.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n\
        [service.writer]\naccept = \"{VIP}:3306\"\ncluster = \"main\"\nrole = \"writer\"\nfreebind = true\n\
        queue_timeout = \"200ms\"\n"
    );
    let mut lb1 = Host::new(&lan, "lb1", 11, &sections);
    let mut lb2 = Host::new(&lan, "lb2", 12, &sections);
    for host in [&lb1, &lb2] {
        host.machine.within(|| host.galeway.lock().unwrap().wait_ready());
    }
    lb1.start_keepalived();
    until(LONG, "lb1 has the VIP", || lb1.holds_vip().then_some(()));
    lb2.start_keepalived();
    until(LONG, "lb2 stands by", || (lb2.keepalived_says("Entering BACKUP STATE") > 0).then_some(()));
    let (lb1, lb2) = (&lb1, &lb2);

    let (met, on, named) = (Met::default(), AtomicBool::new(true), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        // Also where an assertion fails: the scope waits for its threads.
        let _off = Off(&on);
        scope.spawn(|| knock(&client, &met, &on));
        scope.spawn(|| {
            while on.load(Ordering::Relaxed) {
                for host in [lb1, lb2] {
                    named.lock().unwrap().extend(host.writer());
                }
                std::thread::sleep(millis(100));
            }
        });
        met.wait_good(10);

        // ---- kill Galeway on the master
        let began = Instant::now();
        lb1.galeway.lock().unwrap().kill();
        until(LONG, "lb2 has the VIP", || lb2.holds_vip().then_some(()));
        met.wait_good(10);
        report("kill -9 of Galeway", met.longest_gap(began), PROCESS_GONE);
        assert!(!lb1.holds_vip());

        // ---- bring it back: whoever has the VIP keeps it
        let began = Instant::now();
        lb1.galeway.lock().unwrap().start_again();
        until(LONG, "lb1 stands by", || (lb1.keepalived_says("Entering BACKUP STATE") > 1).then_some(()));
        met.wait_good(50);
        assert!(lb2.holds_vip() && !lb1.holds_vip());
        assert_eq!(met.failed(began), 0, "nothing moved");

        // ---- cut the host off: its sessions are orphans
        let mut orphan = session(&client, VIP.into());
        let began = Instant::now();
        lan.cut("front", &lb2.machine);
        until(LONG, "lb1 has the VIP", || lb1.holds_vip().then_some(()));
        met.wait_good(10);
        report("a host cut off", met.longest_gap(began), HOST_CUT);
        until(LONG, "the orphan ends", || {
            let log = lb2.galeway.lock().unwrap().access_log();
            log.iter().any(|e| e["end"] == "address_lost" && e["bytes_in"] != 0).then_some(())
        });
        println!("the orphan ended {:?} after the cut", began.elapsed());
        assert!(orphan.query("SELECT 1").is_err(), "its client is connected to lb1 now, which knows nothing of it");

        // ---- bring it back
        let began = Instant::now();
        lan.mend("front", &lb2.machine);
        until(LONG, "lb2 stands by", || (lb2.keepalived_says("Entering BACKUP STATE") > 1).then_some(()));
        met.wait_good(50);
        assert!(lb1.holds_vip() && !lb2.holds_vip());
        assert_eq!(met.failed(began), 0, "nothing moved");

        // ---- the one that has it cannot route, and the other can
        let began = Instant::now();
        lan.cut("back", &lb1.machine);
        until(LONG, "lb2 has the VIP", || lb2.holds_vip().then_some(()));
        met.wait_good(10);
        // What it takes to know that is the checks' timeouts, twice.
        report("no way to the nodes", met.longest_gap(began), NOT_READY + secs(3));
        assert_eq!(lb1.get("/readyz").map(|(code, _)| code), Some(503));
        lan.mend("back", &lb1.machine);
        until(LONG, "lb1 can route", || (lb1.get("/readyz")?.0 == 200).then_some(()));
        until(LONG, "lb1's priority is whole", || {
            (lb1.keepalived_says("Changing effective priority from 50 to 100") > 0).then_some(())
        });
    });
    let named = named.into_inner().unwrap();
    assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), ["198.18.2.101"], "one writer throughout");

    // ---- nobody can route: the VIP stays, and clients are told
    for node in &nodes {
        node.set_status("wsrep_cluster_status", "non-Primary");
        node.set_status("wsrep_ready", "OFF");
    }
    let lowered = "Changing effective priority from 100 to 50";
    let before = [lb1, lb2].map(|host| host.keepalived_says("Entering MASTER STATE"));
    until(LONG, "both priorities are lower", || {
        (lb1.keepalived_says(lowered) > 1 && lb2.keepalived_says(lowered) > 0).then_some(())
    });
    // As long as VRRP takes to notice anything.
    std::thread::sleep(HOST_CUT);
    assert!(lb2.holds_vip() && !lb1.holds_vip());
    let moved = [lb1, lb2].map(|host| host.keepalived_says("Entering MASTER STATE"));
    let told = client.within(|| Conn::greet((VIP, 3306).into(), LONG)).unwrap_err().error;
    assert!(matches!(&told, Error::Server { code: 1047, message, .. } if message.contains("non-Primary")), "{told}");
    assert_eq!(moved, before, "nobody became master meanwhile");
    println!("with all nodes non-Primary: {told}");
}

fn report(what: &str, gap: Duration, vrrp: Duration) {
    println!("{what}: new connections failed for {gap:.1?}; VRRP itself needs up to {vrrp:.1?}");
    assert!(gap <= vrrp + SLACK, "{what}: {gap:?}");
}

// ---- the scripts by themselves

/// Runs one of the scripts of config/ where `galeway` and `logger` only write down what they are called with; the first of them
/// ends with this code. Returns the script's own code, and what was written.
fn script(name: &str, arguments: &[&str], galeway: u8) -> (Option<i32>, String) {
    let dir = watchdog::fresh_path("scripts");
    std::fs::create_dir(&dir).unwrap();
    let told = dir.join("told");
    for (program, code) in [("galeway", galeway), ("logger", 0)] {
        let text = format!("#!/bin/sh\necho \"{program} $*\" >> '{}'\nexit {code}\n", told.display());
        std::fs::write(dir.join(program), text).unwrap();
        std::fs::set_permissions(dir.join(program), Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let output = Command::new(script).args(arguments).env("PATH", path).output().unwrap();
    (output.status.code(), std::fs::read_to_string(told).unwrap_or_default())
}

#[test]
fn the_check_tells_alive_from_ready_by_the_exit_code_of_galeway_status() {
    let code = |what: &str, galeway| script("keepalived-check", &[what], galeway).0;
    for (galeway, alive, ready) in [(0, 0, 0), (1, 0, 1), (2, 1, 1), (127, 1, 1)] {
        assert_eq!((code("alive", galeway), code("ready", galeway)), (Some(alive), Some(ready)), "{galeway}");
    }
    assert_eq!(code("well", 0), Some(2));
    assert_eq!(script("keepalived-check", &["ready"], 0).1, "galeway status\n");
    assert_eq!(script("keepalived-check", &["ready", "unix:/x"], 0).1, "galeway status --admin unix:/x\n");
}

#[test]
fn the_notify_script_makes_the_new_master_look_and_fails_nobody() {
    for galeway in [0, 1] {
        let (code, told) = script("keepalived-notify", &["INSTANCE", "galeway", "MASTER", "100"], galeway);
        assert_eq!(code, Some(0));
        assert!(told.contains("galeway is MASTER, priority 100\ngaleway notify\n"), "{told}");
    }
    let (code, told) = script("keepalived-notify", &["--admin", "unix:/x", "GROUP", "both", "BACKUP", "50"], 0);
    assert_eq!(code, Some(0));
    assert!(told.ends_with("both is BACKUP, priority 50\n") && !told.contains("galeway notify"), "{told}");
    assert_eq!(script("keepalived-notify", &[], 0).0, Some(2));
}

// ---- with real nodes

/// Takes connections on a machine, and goes on with each to a server that is on the host itself.
struct Forward {
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Forward {
    fn new(machine: &Machine, from: SocketAddr, to: SocketAddr) -> Self {
        let listener = machine.within(|| TcpListener::bind(from)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let accept = async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((mut here, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        if let Ok(mut there) = tokio::net::TcpStream::connect(to).await {
                            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                        }
                    });
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self { _stop: stop }
    }
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn two_balancers_behind_a_vip_agree_on_the_writer_and_leave_no_row_locked() {
    let Some(lan) = Lan::new(&["front", "back"]) else { return };
    let cluster = cluster();
    let client = lan.machine("client", &[("front", "198.18.1.50/24")]);
    let db = lan.machine("db", &[("back", "198.18.2.101/24")]);
    let _forwards: Vec<_> = (101..)
        .zip(&cluster.nodes)
        .map(|(last, node)| {
            let at = Ipv4Addr::new(198, 18, 2, last);
            if last > 101 {
                db.ip(&format!("addr add {at}/24 dev back"));
            }
            Forward::new(&db, (at, 3306).into(), node.addr())
        })
        .collect();
    record::prepare(&cluster);
    cluster.nodes[0].sql("CREATE TABLE demo.counter (id INT PRIMARY KEY, n INT NOT NULL)");
    cluster.nodes[0].sql("INSERT INTO demo.counter VALUES (1, 0)");
    let sections = format!(
        "[cluster.main]\nnodes = [\"198.18.2.101\", \"198.18.2.102\", \"198.18.2.103\"]\n\
        [cluster.main.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n\
        [cluster.main.writer]\nagreement = \"cluster\"\nuser = \"galeway\"\npassword = \"galeway\"\n\
        [service.writer]\naccept = \"{VIP}:3306\"\ncluster = \"main\"\nrole = \"writer\"\nfreebind = true\n\
        queue_timeout = \"200ms\"\n"
    );
    let mut lb1 = Host::new(&lan, "lb1", 11, &sections);
    let mut lb2 = Host::new(&lan, "lb2", 12, &sections);
    for host in [&lb1, &lb2] {
        host.machine.within(|| host.galeway.lock().unwrap().wait_ready());
    }
    lb1.start_keepalived();
    until(LONG, "lb1 has the VIP", || lb1.holds_vip().then_some(()));
    lb2.start_keepalived();
    until(LONG, "lb2 stands by", || (lb2.keepalived_says("Entering BACKUP STATE") > 0).then_some(()));
    let (lb1, lb2) = (&lb1, &lb2);

    // The writer fails over, and comes back as another node: by itself each balancer would prefer the first.
    let both = |what: &str, fits: &dyn Fn(&str) -> bool| {
        until(LONG, what, || {
            let (one, other) = (lb1.writer()?, lb2.writer()?);
            (one == other && fits(&one)).then_some(one)
        })
    };
    let first = both("one writer", &|_| true);
    let number: usize = first.rsplit('.').next().unwrap().parse().unwrap();
    cluster.nodes[number - 101].kill();
    let writer = both("another writer", &|name| name != first);
    cluster.nodes[number - 101].rejoin();
    cluster.wait_whole();
    until(LONG, "both can route", || {
        [lb1, lb2].iter().all(|host| host.get("/readyz").is_some_and(|(code, _)| code == 200)).then_some(())
    });
    assert_eq!(
        lb2.keepalived_says("Entering MASTER STATE"),
        0,
        "a writer that fails over is no reason to move the VIP"
    );

    let (met, on, named) = (Met::default(), AtomicBool::new(true), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let _off = Off(&on);
        scope.spawn(|| knock(&client, &met, &on));
        scope.spawn(|| {
            while on.load(Ordering::Relaxed) {
                for host in [lb1, lb2] {
                    named.lock().unwrap().extend(host.writer());
                }
                std::thread::sleep(millis(100));
            }
        });
        met.wait_good(10);

        let began = Instant::now();
        lb1.galeway.lock().unwrap().kill();
        until(LONG, "lb2 has the VIP", || lb2.holds_vip().then_some(()));
        met.wait_good(10);
        report("kill -9 of Galeway", met.longest_gap(began), PROCESS_GONE);
        // It has no memory: what it knows of the writer is the record.
        lb1.galeway.lock().unwrap().start_again();
        until(LONG, "lb1 stands by", || (lb1.keepalived_says("Entering BACKUP STATE") > 1).then_some(()));

        let mut orphan = session(&client, VIP.into());
        orphan.query("BEGIN").unwrap();
        orphan.query("UPDATE demo.counter SET n = n + 1 WHERE id = 1").unwrap();
        let began = Instant::now();
        lan.cut("front", &lb2.machine);
        until(LONG, "lb1 has the VIP", || lb1.holds_vip().then_some(()));
        met.wait_good(10);
        report("a host cut off", met.longest_gap(began), HOST_CUT);
        // It waits for the orphan's row lock, at most innodb_lock_wait_timeout, 50 s.
        client.within(|| {
            let mut next = Conn::app((VIP, 3306).into(), LONG).unwrap();
            next.query("UPDATE demo.counter SET n = n + 10 WHERE id = 1").unwrap();
            assert_eq!(next.one("SELECT n FROM demo.counter WHERE id = 1").unwrap(), "10", "the orphan rolled back");
        });
        println!("the row that the orphan had locked was free {:?} after the cut", began.elapsed());
        lan.mend("front", &lb2.machine);
        until(LONG, "lb2 stands by", || (lb2.keepalived_says("Entering BACKUP STATE") > 1).then_some(()));
        let began = Instant::now();
        met.wait_good(50);
        assert_eq!(met.failed(began), 0, "nothing moved");
    });
    let named = named.into_inner().unwrap();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [writer], "one writer throughout");
    cluster.nodes[0].sql("DROP TABLE demo.counter");
    record::clear(&cluster);
}

/// Ends the threads that ask it.
struct Off<'a>(&'a AtomicBool);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
