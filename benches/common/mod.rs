//! What the benches share: a server, loads of clients, and what a contestant's processes cost.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Odd, for a median.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
pub(crate) const CLIENTS: usize = 32;
const MESSAGE: usize = 100;
const CHUNK: usize = 64 * 1024;

/// A greeting as MariaDB sends it, in length; nobody here reads more of it.
fn greeting() -> Vec<u8> {
    let mut packet = vec![74, 0, 0, 0, 10];
    packet.extend(b"11.4.2-MariaDB\0");
    packet.resize(78, 1);
    packet
}

/// A client's first packet, which asks a server for one of these: as a login's its sequence number is 1.
const fn ask(what: u8) -> [u8; 5] {
    [1, 0, 0, 1, what]
}

const QUIT: u8 = b'q';
const ECHO: u8 = b'e';
/// An echo by a thread of its own.
const ECHO_OF_A_THREAD: u8 = b't';
const SOURCE: u8 = b's';
const SINK: u8 = b'd';

/// One thread that serves many, as most applications and the thread pools of servers do.
fn event_loop<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn serve(mut client: tokio::net::TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    client.write_all(&greeting()).await?;
    let mut buf = vec![0; CHUNK];
    let mut asked = ask(0);
    client.read_exact(&mut asked).await?;
    match asked[4] {
        ECHO => loop {
            client.read_exact(&mut buf[..MESSAGE]).await?;
            client.write_all(&buf[..MESSAGE]).await?;
        },
        ECHO_OF_A_THREAD => {
            let client = client.into_std()?;
            client.set_nonblocking(false)?;
            thread::Builder::new().stack_size(128 * 1024).spawn(move || echo(client))?;
            Ok(())
        }
        SOURCE => loop {
            client.write_all(&buf).await?;
        },
        SINK => loop {
            if client.read(&mut buf).await? == 0 {
                return Ok(());
            }
        },
        _ => Ok(()),
    }
}

fn echo(mut client: TcpStream) -> std::io::Result<()> {
    let mut buf = [0; MESSAGE];
    loop {
        client.read_exact(&mut buf)?;
        client.write_all(&buf)?;
    }
}

pub(crate) fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        event_loop(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client));
            }
        })
    });
    addr
}

/// What is measured: processes in a row, each before the next.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    children: Vec<Child>,
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
}

impl Drop for Contestant {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address that is free now.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Contestant {
    /// Starts `commands` and waits until a client that connects to `addr` is greeted.
    pub(crate) fn start(name: &'static str, commands: Vec<Command>, addr: SocketAddr) -> Self {
        let spawn = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let contestant = Self { name, children: commands.into_iter().map(spawn).collect(), addr };
        let until = Instant::now() + Duration::from_secs(10);
        while connect(addr).is_err() {
            assert!(Instant::now() < until, "{name} does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        contestant
    }

    /// CPU time of the processes so far, of threads that have ended too: stunnel starts one for each connection.
    fn cpu(&self) -> Duration {
        let of = |child: &Child| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            // Behind the name in parentheses, which may hold blanks: utime and stime are fields 14 and 15 (proc(5)).
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        Duration::from_millis(10) * u32::try_from(self.children.iter().map(of).sum::<u64>()).unwrap()
    }

    /// Private memory, in bytes.
    fn memory(&self) -> u64 {
        let of = |child: &Child| {
            let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
            let kb = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
            rollup.lines().filter(|l| l.starts_with("Private_")).filter_map(kb).sum::<u64>() * 1024
        };
        self.children.iter().map(of).sum()
    }
}

/// A connection past its greeting.
pub(crate) fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.read_exact(&mut [0; 78])?;
    Ok(stream)
}

/// Runs `work` on `threads` threads for one round; it counts what it did. CPU per thing done.
pub(crate) fn round(b: &Contestant, threads: usize, work: impl Fn(SocketAddr, &AtomicBool, &AtomicU64) + Sync) -> f64 {
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

pub(crate) fn new_connections(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut c = connect(addr).unwrap();
        c.write_all(&ask(QUIT)).unwrap();
        // The server closes first, as MySQL does after COM_QUIT.
        let _ = c.read(&mut [0]);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients that wait together, in one thread, and so are woken together; as the server is.
pub(crate) fn round_trips(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let client = async || {
        let stream = connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut c = tokio::net::TcpStream::from_std(stream).unwrap();
        c.write_all(&ask(ECHO)).await.unwrap();
        let mut buf = [7; MESSAGE];
        while !stop.load(Ordering::Relaxed) {
            c.write_all(&buf).await.unwrap();
            c.read_exact(&mut buf).await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    event_loop(futures_util::future::join_all((0..CLIENTS).map(|_| client())));
}

/// A client with a thread of its own, as its server has: each message wakes a thread, and whoever sends it pays for that.
pub(crate) fn round_trips_of_a_thread(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&ask(ECHO_OF_A_THREAD)).unwrap();
    let mut buf = [7; MESSAGE];
    while !stop.load(Ordering::Relaxed) {
        c.write_all(&buf).unwrap();
        c.read_exact(&mut buf).unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn download(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&ask(SOURCE)).unwrap();
    let mut buf = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        let n = c.read(&mut buf).unwrap();
        done.fetch_add(n as u64, Ordering::Relaxed);
    }
}

pub(crate) fn upload(addr: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let mut c = connect(addr).unwrap();
    c.write_all(&ask(SINK)).unwrap();
    let buf = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        c.write_all(&buf).unwrap();
        done.fetch_add(CHUNK as u64, Ordering::Relaxed);
    }
}

/// Private bytes for each of `most` connections that have said something once.
pub(crate) fn idle_memory(b: &Contestant, most: usize) -> f64 {
    let open = |n: usize| {
        (0..n)
            .map(|_| {
                let mut c = connect(b.addr).unwrap();
                c.write_all(&ask(ECHO)).unwrap();
                c.write_all(&[0; MESSAGE]).unwrap();
                c.read_exact(&mut [0; MESSAGE]).unwrap();
                c
            })
            .collect::<Vec<_>>()
    };
    // The first connections pay for the threads' buffers and pools.
    let _warm = open(50);
    let before = b.memory();
    let _held = open(most);
    thread::sleep(Duration::from_millis(300));
    b.memory().saturating_sub(before) as f64 / most as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether this row is asked for: `cargo bench --bench tunnel -- GB` prints those whose name holds `GB`.
pub(crate) fn is_wanted(row: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    asked.peek().is_none() || asked.any(|part| row.contains(&part))
}

pub(crate) fn compare(
    what: &str,
    unit: &str,
    scale: f64,
    pair: [&Contestant; 2],
    measure: impl Fn(&Contestant) -> f64,
) {
    if !is_wanted(what) {
        return;
    }
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (measure(pair[0]) * scale, measure(pair[1]) * scale);
        ours.push(a);
        theirs.push(b);
        ratios.push(a / b);
    }
    println!("{what:32} {:>10.2} {:>10.2} {unit:14} ratio {:.2}", median(ours), median(theirs), median(ratios));
}

/// Of what is no different the second time.
pub(crate) fn compare_once(what: &str, unit: &str, pair: [&Contestant; 2], measure: impl Fn(&Contestant) -> f64) {
    if is_wanted(what) {
        let [ours, theirs] = pair.map(measure);
        println!("{what:32} {ours:>10.0} {theirs:>10.0} {unit:14} ratio {:.2}", ours / theirs);
    }
}

/// A directory that goes with its owner.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("galeway-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
