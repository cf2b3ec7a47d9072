//! What the front costs, beside HAProxy in TCP mode in the same run: `cargo bench --bench front`.
//!
//! Clients and servers run in this process and the balancers in their own, so the figures are the balancers' CPU time
//! (`/proc/PID/task/*/schedstat`) and not wall time: on a small, noisy machine only that and the ratio mean something.
//! Rounds alternate between the two, and the medians of the rounds are printed. HAProxy comes from Debian:
//! `scripts/install-packages bench`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench fails by panicking and tells by printing"
)]

#[path = "../tests/it/peer/mod.rs"]
mod peer;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peer::FakeNode;

/// Odd, for a median.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const CLIENTS: usize = 32;
const MESSAGE: usize = 100;
const CHUNK: usize = 64 * 1024;
const IDLE: usize = 2000;

/// A greeting as MariaDB sends it, in length; nobody here reads more of it.
fn greeting() -> Vec<u8> {
    let mut packet = vec![74, 0, 0, 0, 10];
    packet.extend(b"11.4.2-MariaDB\0");
    packet.resize(78, 1);
    packet
}

/// What the first byte after the greeting asks a server for.
const QUIT: u8 = b'q';
const ECHO: u8 = b'e';
const SOURCE: u8 = b's';
const SINK: u8 = b'd';

fn serve(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    client.write_all(&greeting())?;
    let mut kind = [0];
    client.read_exact(&mut kind)?;
    let mut buf = vec![0; CHUNK];
    match kind[0] {
        ECHO => loop {
            client.read_exact(&mut buf[..MESSAGE])?;
            client.write_all(&buf[..MESSAGE])?;
        },
        SOURCE => loop {
            client.write_all(&buf)?;
        },
        SINK => loop {
            if client.read(&mut buf)? == 0 {
                return Ok(());
            }
        },
        _ => Ok(()),
    }
}

fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::Builder::new().stack_size(128 * 1024).spawn(move || serve(client)).unwrap();
        }
    });
    addr
}

struct Balancer {
    name: &'static str,
    child: Child,
    addr: SocketAddr,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Balancer {
    fn start(name: &'static str, mut command: Command, addr: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let balancer = Self { name, child, addr };
        let until = Instant::now() + Duration::from_secs(10);
        while connect(addr).is_err() {
            assert!(Instant::now() < until, "{name} does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        balancer
    }

    fn galeway(dir: &Path, node: SocketAddr, monitor: SocketAddr) -> Self {
        let addr = free();
        let file = dir.join("galeway.toml");
        let text = format!(
            "[cluster.c]\nnodes = [\"{node}\"]\n[cluster.c.monitor]\nuser = \"m\"\nport = {}\n\
             [service.s]\naccept = \"{addr}\"\ncluster = \"c\"\nbalance = \"round-robin\"\n\
             [admin]\nlisten = \"\"\n[process]\nworkers = 2\naccess_log = false\nstate_dir = \"\"\n",
            monitor.port()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_galeway"));
        command.arg("run").arg("-c").arg(&file);
        Self::start("galeway", command, addr)
    }

    fn haproxy(dir: &Path, node: SocketAddr) -> Self {
        let addr = free();
        let file = dir.join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 2\n  maxconn 8000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\nlisten l\n  bind {addr}\n  server s {node}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Self::start("haproxy", command, addr)
    }

    /// CPU time of all its threads so far.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let ns = tasks.flatten().filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok());
        Duration::from_nanos(ns.filter_map(|s| s.split(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Private memory, in bytes.
    fn memory(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let kb = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
        rollup.lines().filter(|l| l.starts_with("Private_")).filter_map(kb).sum::<u64>() * 1024
    }
}

/// A connection past its greeting.
fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_exact(&mut [0; 78])?;
    Ok(stream)
}

/// Runs `work` on `threads` threads for one round; it counts what it did. CPU per thing done.
fn round(b: &Balancer, threads: usize, work: impl Fn(SocketAddr, &AtomicBool, &AtomicU64) + Sync) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(b.addr, &stop, &done));
        }
        thread::sleep(Duration::from_millis(300));
        let (cpu, before) = (b.cpu(), done.load(Ordering::Relaxed));
        thread::sleep(ROUND);
        let spent = b.cpu() - cpu;
        let n = done.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        spent.as_secs_f64() / (n.max(1) as f64)
    })
}

fn new_connections(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut c = connect(addr).unwrap();
        c.write_all(&[QUIT]).unwrap();
        // The server closes first, as MySQL does after COM_QUIT.
        let _ = c.read(&mut [0]);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn round_trips(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&[ECHO]).unwrap();
    let mut buf = [7; MESSAGE];
    while !stop.load(Ordering::Relaxed) {
        c.write_all(&buf).unwrap();
        c.read_exact(&mut buf).unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn download(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&[SOURCE]).unwrap();
    let mut buf = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        let n = c.read(&mut buf).unwrap();
        done.fetch_add(n as u64, Ordering::Relaxed);
    }
}

fn upload(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&[SINK]).unwrap();
    let buf = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        c.write_all(&buf).unwrap();
        done.fetch_add(CHUNK as u64, Ordering::Relaxed);
    }
}

fn idle_memory(b: &Balancer) -> f64 {
    let open = |n: usize| {
        (0..n)
            .map(|_| {
                let mut c = connect(b.addr).unwrap();
                c.write_all(&[ECHO]).unwrap();
                c.write_all(&[0; MESSAGE]).unwrap();
                c.read_exact(&mut [0; MESSAGE]).unwrap();
                c
            })
            .collect::<Vec<_>>()
    };
    // The first connections pay for the threads' buffers and pools.
    let _warm = open(50);
    let before = b.memory();
    let _held = open(IDLE);
    thread::sleep(Duration::from_millis(300));
    b.memory().saturating_sub(before) as f64 / IDLE as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(what: &str, unit: &str, scale: f64, pair: &[Balancer; 2], measure: impl Fn(&Balancer) -> f64) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (measure(&pair[0]) * scale, measure(&pair[1]) * scale);
        ours.push(a);
        theirs.push(b);
        ratios.push(a / b);
    }
    println!("{what:32} {:>10.2} {:>10.2} {unit:14} ratio {:.2}", median(ours), median(theirs), median(ratios));
}

fn main() {
    let monitor = FakeNode::start("bench");
    let node = server();
    let dir = std::env::temp_dir().join(format!("galeway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let dir = Arc::new(Dir(dir));
    let pair = [Balancer::galeway(&dir.0, node, monitor.addr()), Balancer::haproxy(&dir.0, node)];
    println!("{:32} {:>10} {:>10}", "", pair[0].name, pair[1].name);
    compare("CPU per new connection", "us", 1e6, &pair, |b| round(b, 8, new_connections));
    compare("CPU per round trip, 32 clients", "us", 1e6, &pair, |b| round(b, CLIENTS, round_trips));
    compare("CPU per GB to the client", "s", 1e9, &pair, |b| round(b, 2, download));
    compare("CPU per GB from the client", "s", 1e9, &pair, |b| round(b, 2, upload));
    let memory = pair.each_ref().map(idle_memory);
    println!("{:32} {:>10.0} {:>10.0} bytes", "memory per idle connection", memory[0], memory[1]);
}

struct Dir(std::path::PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
