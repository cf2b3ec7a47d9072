//! What a front of databases goes through in years, in a minute: reloads and upgrades under sysbench and under clients
//! that come and go.
//!
//! Each test has a long form, in numbers that are worth the name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Watch, assert_alive};
use crate::addresses::HAND_OVER;
use crate::fakes::LONG;
use crate::harness::cluster::Shared;
use crate::harness::galeway::table;
use crate::harness::load::{Iteration, Load, Manner};
use crate::harness::process::{Process, Signal};
use crate::harness::{Conn, Galeway, cli, cluster, millis, ports, secs, until, watchdog, within};
use crate::upgrade::{Upgrading, kill, lives, members, wait_gone};

/// Long enough for every session of a reconnecting client to end by itself on a node that was taken out.
const DRAIN: Duration = secs(3);

/// Sysbench's, and the database in which it works.
const THREADS: usize = 16;
const DATABASE: &str = "long_run";

/// What measurements of one state differ by: connections of checks that open and close, and of the question itself.
const FEW_DESCRIPTORS: usize = 4;

/// What memory may be larger by, in bytes. Two thousand clients and more come between: a kilobyte that each left behind would
/// be beyond it.
const SOME_MEMORY: u64 = 2 << 20;

/// One that comes and goes beside sysbench.
const RECONNECTING: Manner = Manner { threads: 4, pause: millis(10), ..Manner::BUSY };

// ---- sysbench

/// `oltp_read_write` until it is told to end. It never connects anew: an error of a connection ends it.
struct Sysbench {
    process: Process,
    out: PathBuf,
    /// Its sessions, by the server's own numbers.
    ids: String,
}

/// Of Galera's certification, and of InnoDB's locks between the threads: the application's to repeat.
const CONFLICTS: &str = "--mysql-ignore-errors=1213,1180,1205";

fn sysbench(service: SocketAddr, more: &[&str]) -> Command {
    let mut command = Command::new("sysbench");
    command.args(["oltp_read_write", "--db-driver=mysql", "--mysql-user=app", "--mysql-password=app"]);
    command.args([format!("--mysql-host={}", service.ip()), format!("--mysql-port={}", service.port())]);
    command.args([&format!("--mysql-db={DATABASE}"), "--mysql-ssl=off", "--tables=4", "--table-size=1000"]);
    command.args(more);
    command
}

impl Sysbench {
    /// Runs on this node, through a service that leads to it.
    #[track_caller]
    fn start(cluster: &Shared, node: usize, service: SocketAddr) -> Self {
        let out = watchdog::fresh_path("sysbench");
        let file = File::create(&out).unwrap();
        let threads = format!("--threads={THREADS}");
        let mut command = sysbench(service, &[&threads, "--time=0", "--report-interval=1", CONFLICTS, "run"]);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut it = Self { process: Process::spawn(&mut command), out, ids: String::new() };
        until(secs(60), "sysbench works", || {
            it.assert_runs();
            (it.seconds().len() >= 2).then_some(())
        });
        it.ids = it.sessions(cluster, node);
        assert_eq!(it.ids.split(',').count(), THREADS, "{}", it.ids);
        it
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    #[track_caller]
    fn assert_runs(&mut self) {
        assert!(self.process.ended().is_none(), "sysbench has ended: {}", self.said());
    }

    fn sessions(&self, cluster: &Shared, node: usize) -> String {
        let sql = format!(
            "SELECT GROUP_CONCAT(id ORDER BY id) FROM information_schema.processlist WHERE user = 'app' AND db = '{DATABASE}'"
        );
        cluster.nodes[node].root().unwrap().one(&sql).unwrap_or_default()
    }

    /// What it did, second by second: queries, and connections that it had to open anew.
    fn seconds(&self) -> Vec<(f64, f64)> {
        let number = |line: &str, behind: &str| -> Option<f64> {
            line.split_once(behind)?.1.split_whitespace().next()?.parse().ok()
        };
        let said = self.said();
        said.lines().filter_map(|line| Some((number(line, " qps: ")?, number(line, "reconn/s: ")?))).collect()
    }

    /// Still at work, over the connections that it began with; how many queries that were.
    #[track_caller]
    fn stop(mut self, cluster: &Shared, node: usize) -> u64 {
        let so_far = self.seconds().len();
        until(secs(60), "sysbench works on", || {
            self.assert_runs();
            (self.seconds().iter().skip(so_far).map(|(queries, _)| queries).sum::<f64>() > 0.0).then_some(())
        });
        assert_eq!(self.sessions(cluster, node), self.ids, "{}", self.said());
        let seconds = self.seconds();
        assert!(seconds.iter().all(|(_, anew)| *anew == 0.0), "{}", self.said());
        assert!(!self.said().contains("FATAL"), "{}", self.said());
        self.process.signal(Signal::TERM);
        assert!(self.process.wait(LONG).is_some());
        seconds.iter().map(|(queries, _)| *queries as u64).sum()
    }
}

/// The tables, made directly.
fn prepare(cluster: &Shared) {
    cluster.nodes[0].sql(&format!("CREATE DATABASE {DATABASE}"));
    cluster.nodes[0].sql(&format!("CREATE TABLE {DATABASE}.own (id INT PRIMARY KEY)"));
    let seen = cli::run(&mut sysbench(cluster.nodes[0].addr(), &["prepare"]));
    assert_eq!(seen.code, Some(0), "{seen:?} (scripts/install-packages test)");
}

fn clear(cluster: &Shared) {
    cluster.nodes[0].sql(&format!("DROP DATABASE {DATABASE}"));
    for node in &cluster.nodes {
        // Hundreds of megabytes.
        node.sql("FLUSH BINARY LOGS");
        node.sql("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY");
    }
}

// ---- Galeway and its file

/// A node as a step has it: its name, which of the real ones it is, further keys.
type Listed = (&'static str, usize, &'static str);

const AS_THEY_ARE: &[Listed] = &[("n1", 0, ""), ("n2", 1, ""), ("n3", 2, "")];

/// One reload each. The first node, on which sysbench is, always stays.
const STEPS: &[&[Listed]] = &[
    // renamed
    &[("east", 0, ""), ("n2", 1, ""), ("west", 2, "")],
    // one removed
    &[("east", 0, ""), ("n2", 1, "")],
    // added, by another name
    &[("east", 0, ""), ("n2", 1, ""), ("n3", 2, "weight = 50")],
    // reweighted; two exchange their names
    &[("n2", 0, "weight = 30"), ("east", 1, "weight = 100"), ("n3", 2, "weight = 70")],
    // one removed, one has its name, one is reweighted
    &[("n2", 0, "weight = 10"), ("east", 2, "")],
    // added in front of the others, with a priority that would make it the writer elsewhere
    &[("n3", 1, "priority = 10"), ("n2", 0, ""), ("east", 2, "")],
    // the order and the names turn round
    &[("n3", 0, ""), ("east", 1, ""), ("n2", 2, "weight = 20, zone = \"b\"")],
    // two removed at once
    &[("n3", 0, "")],
    // two added at once, and the one that was there has another name
    &[("n1", 0, "weight = 200"), ("n3", 2, ""), ("n2", 1, "")],
    AS_THEY_ARE,
];

struct Addresses {
    writer: SocketAddr,
    any: SocketAddr,
    tight: SocketAddr,
}

impl Addresses {
    fn new() -> Self {
        let free = || SocketAddr::from(([127, 0, 0, 1], ports::free()));
        Self { writer: free(), any: free(), tight: free() }
    }

    /// `tight` listens with a backlog of 16, which [`HAND_OVER`] gives it.
    fn sections(&self, cluster: &Shared, listed: &[Listed]) -> String {
        let nodes: Vec<_> = listed.iter().map(|(name, i, keys)| table(name, cluster.nodes[*i].addr(), keys)).collect();
        // Three servers and sysbench share two cores with the checks.
        let mut text = format!(
            "[cluster.main]\nnodes = [{}]\n[cluster.main.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n\
             timeout = \"4s\"\n[cluster.main.sessions]\ndrain_timeout = \"{}s\"\n",
            nodes.join(", "),
            DRAIN.as_secs()
        );
        for (name, accept, keys) in [
            ("writer", self.writer.to_string(), "role = \"writer\""),
            ("any", self.any.to_string(), "balance = \"round-robin\"\nqueue_timeout = \"30s\""),
            ("tight", "fd:tight".to_owned(), "balance = \"round-robin\"\nqueue_timeout = \"30s\""),
        ] {
            text += &format!("[service.{name}]\naccept = \"{accept}\"\ncluster = \"main\"\n{keys}\n");
        }
        text + "[process]\n"
    }
}

struct Front<'a> {
    cluster: &'a Shared,
    at: Addresses,
    up: Upgrading,
    /// The file, without what [`Addresses::sections`] says.
    head: String,
}

impl<'a> Front<'a> {
    fn start(cluster: &'a Shared) -> Self {
        let at = Addresses::new();
        let sections = at.sections(cluster, AS_THEY_ARE);
        let tight = format!("tight={}", at.tight);
        let up = Upgrading::behind(&["/usr/bin/python3", "-c", HAND_OVER, &tight, "--"], |launcher| {
            let galeway = Galeway::sections_through(launcher, &sections);
            galeway.wait_ready();
            galeway
        });
        let head = fs::read_to_string(&up.galeway.config).unwrap().replace(&sections, "@SECTIONS@");
        up.galeway.wait_writer("n1", LONG);
        for name in ["n1", "n2", "n3"] {
            up.galeway.wait_verdict(name, "eligible", LONG);
        }
        Self { cluster, at, up, head }
    }

    fn galeway(&self) -> &Galeway {
        &self.up.galeway
    }

    fn write(&self, listed: &[Listed]) {
        let sections = self.at.sections(self.cluster, listed);
        fs::write(&self.galeway().config, self.head.replace("@SECTIONS@", &sections)).unwrap();
    }

    fn address(&self, node: usize) -> String {
        self.cluster.nodes[node].addr().to_string()
    }

    fn service(&self, status: &Value, name: &str) -> Value {
        let all = status["services"].as_array().unwrap();
        all.iter().find(|s| s["name"] == name).cloned().unwrap_or_else(|| panic!("no service {name} in {status}"))
    }

    /// What counts and health of the nodes say, by address.
    fn nodes(&self, status: &Value) -> BTreeMap<String, Value> {
        let nodes = status["clusters"][0]["nodes"].as_array().unwrap();
        nodes.iter().map(|n| (n["address"].as_str().unwrap().to_owned(), n.clone())).collect()
    }

    /// SIGHUP, to its end; what stays keeps its counts and its health.
    #[track_caller]
    fn reload(&self, before: &[Listed], after: &[Listed]) {
        let old = self.galeway().status();
        self.write(after);
        kill(old["pid"].as_u64().unwrap() as u32, Signal::HUP);
        let now = within(LONG, || {
            let status = self.galeway().status();
            (status["generation"].as_u64() > old["generation"].as_u64()).then_some(status)
        });
        let now = now.expect("reloaded");
        let (old_nodes, nodes) = (self.nodes(&old), self.nodes(&now));
        for (name, i, _) in after {
            let node = &nodes[&self.address(*i)];
            assert_eq!(node["name"], *name);
            if before.iter().any(|(_, was, _)| was == i) {
                let was = &old_nodes[&self.address(*i)];
                assert_eq!(node["verdict"], "eligible", "{node}");
                let total = |node: &Value| node["connections"]["total"].as_u64().unwrap();
                assert!(total(node) >= total(was), "counts were lost: {was}, {node}");
            }
        }
        for name in ["writer", "any", "tight"] {
            let (was, is) = (self.service(&old, name), self.service(&now, name));
            assert!(is["total"].as_u64() >= was["total"].as_u64(), "counts were lost: {was}, {is}");
        }
    }

    /// Sessions that Galeway has ended, as the log has them.
    fn cut(&self) -> Vec<Value> {
        self.galeway().access_log().into_iter().filter(|event| event["by"] == "galeway").collect()
    }
}

/// At no moment that was seen was the first node unfit, or another one the writer.
#[track_caller]
fn assert_always_served(front: &Front<'_>, seen: &[(Instant, Value)]) {
    let address = front.address(0);
    assert!(seen.len() > 20, "{} answers", seen.len());
    for (_, cluster) in seen {
        let nodes = cluster["nodes"].as_array().unwrap();
        let first = nodes.iter().find(|n| n["address"] == *address).unwrap_or_else(|| panic!("{cluster}"));
        assert_eq!(first["verdict"], "eligible", "{cluster}");
        assert_eq!(cluster["writer"], first["name"], "{cluster}");
    }
}

// ---- sessions that stay, and what is open

/// Idle sessions by node.
#[derive(Default)]
struct Held(BTreeMap<usize, Vec<Conn>>);

impl Held {
    const EACH: usize = 2;

    fn open(&mut self, front: &Front<'_>, node: usize) {
        let open = |_| Conn::on(front.at.any, &front.cluster.nodes[node].name);
        self.0.insert(node, (0..Self::EACH).map(open).collect());
    }

    fn on_all(front: &Front<'_>) -> Self {
        let mut held = Self::default();
        (0..3).for_each(|node| held.open(front, node));
        held
    }

    /// Each answers, from the node that it always had.
    #[track_caller]
    fn assert_stay(&mut self, front: &Front<'_>) {
        for (node, conns) in &mut self.0 {
            for conn in conns {
                assert_eq!(conn.one("SELECT @@wsrep_node_name").unwrap(), front.cluster.nodes[*node].name);
            }
        }
    }

    /// All are cut that are on this node.
    #[track_caller]
    fn assert_end(&mut self, node: usize) -> usize {
        let mut conns = self.0.remove(&node).unwrap_or_default();
        assert!(conns.iter_mut().all(|conn| conn.ends_within(LONG)), "one of node {node} goes on");
        conns.len()
    }

    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn quit(self) {
        self.0.into_values().flatten().for_each(|conn| conn.quit().unwrap());
    }
}

/// What a process has open, and the memory that is its own.
#[derive(Debug, Clone, Copy)]
struct Level {
    descriptors: usize,
    memory: u64,
}

impl Level {
    /// The least of a second, with nobody coming or going: transient connections come on top of it.
    fn of(pid: u32) -> Self {
        let descriptors = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let memory = || {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = text.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        let look = |_| {
            std::thread::sleep(millis(100));
            Self { descriptors: descriptors(), memory: memory() }
        };
        let seen: Vec<Self> = (0..10).map(look).collect();
        Self {
            descriptors: seen.iter().map(|l| l.descriptors).min().unwrap(),
            memory: seen.iter().map(|l| l.memory).min().unwrap(),
        }
    }

    #[track_caller]
    fn assert_no_more_than(self, before: Self, when: &str) {
        println!(
            "{when}: {} descriptors and {} KiB of memory, and before {} and {}",
            self.descriptors,
            self.memory >> 10,
            before.descriptors,
            before.memory >> 10
        );
        assert!(self.descriptors <= before.descriptors + FEW_DESCRIPTORS);
        assert!(self.memory <= before.memory + SOME_MEMORY);
    }
}

/// All clients came through; how many that were.
#[track_caller]
fn all_served(load: Load) -> usize {
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    assert_eq!(report.broken(), []);
    let slowest = report.iterations.iter().filter_map(|i: &Iteration| i.greeted).max();
    println!("{} clients, the slowest greeted after {slowest:?}", report.iterations.len());
    report.iterations.len()
}

// ---- reloads

#[test]
fn through_six_reloads_of_all_kinds_nobody_is_refused_and_only_sessions_of_removed_nodes_end() {
    reloads(6);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn through_twenty_reloads_of_all_kinds_nobody_is_refused_and_only_sessions_of_removed_nodes_end() {
    reloads(20);
}

fn reloads(count: usize) {
    let began = Instant::now();
    let cluster = cluster();
    prepare(&cluster);
    let front = Front::start(&cluster);
    let pid = front.galeway().pid();
    let watch = Watch::start(front.galeway(), millis(50));
    let sysbench = Sysbench::start(&cluster, 0, front.at.writer);
    let mut held = Held::on_all(&front);

    // The level is that of a process which has served and reloaded before.
    let load = Load::with(front.at.any, RECONNECTING);
    load.wait_for(300);
    front.reload(AS_THEY_ARE, AS_THEY_ARE);
    load.wait_for(100);
    let mut clients = all_served(load);
    let before = Level::of(pid);

    let load = Load::with(front.at.any, RECONNECTING);
    let mut listed = AS_THEY_ARE;
    let mut cut = 0;
    // The last one is back to how it began.
    for step in STEPS.iter().cycle().take(count - 1).chain([&AS_THEY_ARE]) {
        front.reload(listed, step);
        held.assert_stay(&front);
        let has = |nodes: &[Listed], i: usize| nodes.iter().any(|(_, node, _)| *node == i);
        for i in (0..3).filter(|i| has(listed, *i) && !has(step, *i)) {
            cut += held.assert_end(i);
        }
        for (name, i, _) in step.iter().filter(|(_, i, _)| !has(listed, *i)) {
            front.galeway().wait_verdict(name, "eligible", LONG);
            held.open(&front, *i);
        }
        load.wait_for(50);
        held.assert_stay(&front);
        listed = step;
    }
    clients += all_served(load);

    // Sysbench is there all the while, and is counted by its node's name of now.
    let status = front.galeway().status();
    let writer = front.service(&status, "writer");
    assert_eq!((writer["active"].as_u64(), writer["total"].as_u64()), (Some(16), Some(16)), "{writer}");
    let active =
        |service| front.galeway().metric("galeway_connections_active", &[("service", service), ("node", "n1")]);
    assert_eq!((active("writer"), active("any")), (16.0, Held::EACH as f64));
    assert_eq!(held.count(), 3 * Held::EACH);
    let metrics = front.galeway().get("/metrics").1;
    assert!(metrics.contains(&format!("galeway_reloads_total{{result=\"ok\"}} {}", count + 1)), "{metrics}");
    assert!(!metrics.contains("east") && !metrics.contains("west"), "{metrics}");
    assert_eq!(front.cut().len(), cut, "{:?}", front.cut());
    Level::of(pid).assert_no_more_than(before, &format!("after {count} reloads more"));

    let queries = sysbench.stop(&cluster, 0);
    assert_always_served(&front, &watch.end());
    held.quit();
    drop(front);
    clear(&cluster);
    println!(
        "{} reloads, {clients} clients, {queries} queries of sysbench: 0 failed connects, {cut} sessions cut, all of removed nodes; {:?}",
        count + 1,
        began.elapsed()
    );
}

// ---- upgrades

#[test]
fn through_two_upgrades_nobody_is_refused_and_no_session_is_cut() {
    upgrades(2, secs(8));
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn through_five_upgrades_nobody_is_refused_and_no_session_is_cut_nor_a_transaction_of_a_minute() {
    upgrades(5, secs(60));
}

fn upgrades(count: usize, open_for: Duration) {
    let began = Instant::now();
    let cluster = cluster();
    prepare(&cluster);
    let mut front = Front::start(&cluster);
    let first = front.galeway().pid();
    let watch = Watch::start(front.galeway(), millis(50));
    let sysbench = Sysbench::start(&cluster, 0, front.at.writer);
    let mut all_held = vec![Held::on_all(&front)];
    let mut transaction = Some(Transaction::begin(front.at.writer));

    // A new process is killed before it is ready: as if nothing had been.
    let load = Load::with(front.at.any, RECONNECTING);
    load.wait_for(50);
    front.up.program.replace_by("exec sleep 1000");
    front.up.ask(first);
    kill(front.up.child(first), Signal::KILL);
    front.up.wait_log("no upgrade");
    load.wait_for(50);
    assert_eq!(front.up.serving(), Some(first));
    let mut clients = all_served(load);

    let (mut pids, mut levels) = (vec![first], Vec::new());
    for round in 1..=count {
        let load = Load::with(front.at.any, RECONNECTING);
        load.wait_for(50);
        front.up.program.replace();
        // Names may change along with the program.
        front.write(if round % 2 == 1 { STEPS[0] } else { AS_THEY_ARE });
        let new = if round < count { front.up.upgrade() } else { upgrade_with_full_backlog(&front) };
        load.wait_for(200);
        for held in &mut all_held {
            held.assert_stay(&front);
        }
        let held = Held::on_all(&front);
        if let Some(open) = &mut transaction {
            open.goes_on();
        }
        if round == count
            && let Some(open) = transaction.take()
        {
            // While clients come and go.
            std::thread::sleep(open_for.saturating_sub(open.began.elapsed()));
            open.commit(&cluster);
        }
        load.wait_for(50);
        clients += all_served(load);
        all_held.push(held);
        pids.push(new);
        levels.push(Level::of(new));
    }
    assert_eq!(front.cut(), Vec::<Value>::new());
    levels[count - 1].assert_no_more_than(levels[0], &format!("after {count} upgrades"));
    let queries = sysbench.stop(&cluster, 0);
    assert_always_served(&front, &watch.end());

    // One that has handed over is killed: its own sessions go, and nothing else.
    let load = Load::with(front.at.any, RECONNECTING);
    load.wait_for(50);
    kill(pids[1], Signal::KILL);
    let mut lost = all_held.remove(1);
    let lost: usize = (0..3).map(|node| lost.assert_end(node)).sum();
    load.wait_for(50);
    clients += all_served(load);
    for held in &mut all_held {
        held.assert_stay(&front);
    }

    // The last sessions end, and with them all processes but the last.
    for held in all_held.drain(..all_held.len() - 1) {
        held.quit();
    }
    assert_eq!(front.up.galeway.wait(LONG).and_then(|status| status.code()), Some(0));
    let last = *pids.last().unwrap();
    pids.iter().filter(|pid| **pid != last).for_each(|pid| wait_gone(*pid));
    assert_eq!(members(front.up.group), [last]);
    all_held.remove(0).quit();
    let quiet = Level::of(last);
    let fewer = levels[count - 1].descriptors - quiet.descriptors;
    assert!(fewer >= 2 * 3 * Held::EACH, "{quiet:?}: the old processes and sessions leave nothing open");
    println!("the last process alone: {} descriptors, {} KiB", quiet.descriptors, quiet.memory >> 10);
    assert!(lives(last));
    drop(front);
    clear(&cluster);
    println!(
        "{count} upgrades, {clients} clients, {queries} queries of sysbench: 0 failed connects, 0 sessions cut, {lost} lost with \
         the process that was killed; a transaction of {open_for:?}; {:?}",
        began.elapsed()
    );
}

/// One that is open for long.
struct Transaction {
    conn: Conn,
    began: Instant,
}

impl Transaction {
    fn begin(service: SocketAddr) -> Self {
        let mut conn = Conn::app(service, LONG).unwrap();
        conn.query("BEGIN").unwrap();
        conn.query(&format!("INSERT INTO {DATABASE}.own VALUES (1)")).unwrap();
        Self { conn, began: Instant::now() }
    }

    #[track_caller]
    fn goes_on(&mut self) {
        assert_alive(&mut self.conn);
        assert_eq!(self.conn.one("SELECT @@in_transaction").unwrap(), "1");
    }

    #[track_caller]
    fn commit(mut self, cluster: &Shared) {
        self.conn.query(&format!("INSERT INTO {DATABASE}.own VALUES (2)")).unwrap();
        self.conn.query("COMMIT").unwrap();
        let sql = format!("SELECT id FROM {DATABASE}.own");
        for node in &cluster.nodes {
            until(LONG, "both rows, everywhere", || (node.sql(&sql).len() == 2).then_some(()));
        }
        self.conn.quit().unwrap();
    }
}

/// More clients than the kernel keeps for `tight` come while neither process accepts.
fn upgrade_with_full_backlog(front: &Front<'_>) -> u32 {
    const CLIENTS: usize = 60;
    let old = front.up.serving().unwrap();
    let go = watchdog::fresh_path("go");
    front.up.program.replace_by(&format!("until [ -e {go:?} ]; do sleep 0.02; done; exec $GOOD \"$@\""));
    front.up.ask(old);
    front.up.child(old);
    kill(old, Signal::STOP);
    let (connected, greeted) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let client = |_| {
        let (at, connected, greeted) = (front.at.tight, Arc::clone(&connected), Arc::clone(&greeted));
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect_timeout(&at, secs(60)).unwrap();
            connected.fetch_add(1, Ordering::Relaxed);
            stream.set_read_timeout(Some(secs(60))).unwrap();
            let mut header = [0; 5];
            stream.read_exact(&mut header).unwrap();
            greeted.lock().unwrap().push(header[4]);
        })
    };
    // One after the other, as their SYNs will be sent again. Of many in one moment the kernel would answer some with SYN cookies,
    // and forget them where the queue is full: who waits for a greeting then waits for ever, whoever listens.
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS).map(client).inspect(|_| std::thread::sleep(millis(20))).collect();
    let (waiting, most) = until(LONG, "the backlog is full", || backlog(front.at.tight).filter(|(n, most)| n > most));
    let before = connected.load(Ordering::Relaxed);
    assert!(before < CLIENTS, "all have come in: {waiting} of {most}");
    // The new process begins on a full queue, and the old one goes on in the middle of it.
    File::create(&go).unwrap();
    until(LONG, "the new one accepts", || backlog(front.at.tight).filter(|(n, most)| n <= most));
    kill(old, Signal::CONT);
    let new = front.up.replaced(old);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(*greeted.lock().unwrap(), [10; CLIENTS], "a greeting each");
    println!("{CLIENTS} clients, {before} of them in a backlog of {most} that was full at the hand-over: all greeted");
    new
}

/// Connections that wait to be accepted there, and how many may.
fn backlog(at: SocketAddr) -> Option<(usize, usize)> {
    let seen = cli::run(Command::new("ss").args(["-ltnH", "sport", "=", &format!(":{}", at.port())]));
    let mut fields = seen.stdout.split_whitespace().skip(1).map(|f| f.parse().unwrap());
    fields.next().zip(fields.next())
}
