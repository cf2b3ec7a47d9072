//! Clients that connect, ask for the node's name and quit, again and again, and remember each outcome.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Conn, Failure, Stage};
use super::{millis, secs, until};

/// How the clients behave.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub threads: usize,
    /// Between two iterations of one thread: two cores carry the servers too.
    pub pause: Duration,
    /// For the connect, and for each read.
    pub limit: Duration,
    /// Account, and its password.
    pub user: &'static str,
    /// What the server answers its name to.
    pub name: &'static str,
    /// Run after the question for the node's name.
    pub statement: Option<&'static str>,
    /// How long each session lasts; it runs the statement every 20 ms. Zero: once.
    pub stay: Duration,
}

impl Manner {
    /// Eight clients, one after the other as fast as they go.
    pub const BUSY: Self = Self {
        threads: 8,
        pause: millis(5),
        limit: secs(30),
        user: "app",
        name: "SELECT @@wsrep_node_name",
        statement: None,
        stay: Duration::ZERO,
    };
    /// A state transfer is scripts and rsync, which want the processor too.
    pub const CALM: Self = Self { pause: millis(20), ..Self::BUSY };
    /// A service beside others.
    pub const FEW: Self = Self { threads: 3, ..Self::CALM };
}

impl Default for Manner {
    fn default() -> Self {
        Self::BUSY
    }
}

/// One connect, the question for the node's name, the statement if there is one, quit.
#[derive(Debug)]
pub struct Iteration {
    pub thread: usize,
    pub start: Instant,
    /// Until the greeting, if there was one.
    pub greeted: Option<Duration>,
    /// Until the end, good or bad.
    pub took: Duration,
    /// The client's own address, to find it in an access log.
    pub client: Option<SocketAddr>,
    /// The node's name.
    pub outcome: Result<String, Failure>,
    /// The node's name, where it said so before an error.
    pub node: Option<String>,
}

impl Iteration {
    /// The error before the greeting, if that is how it went.
    pub fn failed_connect(&self) -> Option<&Failure> {
        self.outcome.as_ref().err().filter(|f| f.stage == Stage::BeforeGreeting)
    }

    /// The error after the greeting, if that is how it went.
    pub fn broken(&self) -> Option<&Failure> {
        self.outcome.as_ref().err().filter(|f| f.stage == Stage::AfterGreeting)
    }
}

/// Runs until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    done: Arc<Mutex<Vec<Iteration>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Eight clients.
    pub fn start(addr: SocketAddr) -> Self {
        Self::with(addr, Manner::default())
    }

    pub fn with(addr: SocketAddr, manner: Manner) -> Self {
        let done = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let run = |thread| {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let iteration = iterate(addr, thread, manner);
                    done.lock().unwrap().push(iteration);
                    std::thread::sleep(manner.pause);
                }
            })
        };
        let threads = (0..manner.threads).map(run).collect();
        Self { done, stop, threads }
    }

    /// Iterations ended so far.
    pub fn count(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Waits until every client has come round: `more` iterations further on than now.
    #[track_caller]
    pub fn wait_for(&self, more: usize) {
        let target = self.count() + more;
        until(secs(60), "the clients go round", || (self.count() >= target).then_some(()));
    }

    /// Lets each client end its iteration, and returns all of them.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        Report { iterations: std::mem::take(&mut self.done.lock().unwrap()) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn iterate(addr: SocketAddr, thread: usize, manner: Manner) -> Iteration {
    let start = Instant::now();
    let mut greeted = None;
    let mut client = None;
    let mut node = None;
    let mut go = || -> Result<String, Failure> {
        let conn = Conn::greet(addr, manner.limit)?;
        greeted = Some(start.elapsed());
        client = conn.local;
        let after = |error| Failure { stage: Stage::AfterGreeting, error };
        let mut conn = conn.login(manner.user, manner.user).map_err(after)?;
        let name = conn.one(manner.name).map_err(after)?;
        node = Some(name.clone());
        loop {
            if let Some(statement) = manner.statement {
                conn.query(statement).map_err(after)?;
            }
            if start.elapsed() >= manner.stay {
                break;
            }
            std::thread::sleep(millis(20));
        }
        // What the client wanted it has: an end of the connection by either side is no error any more.
        let _ = conn.quit();
        Ok(name)
    };
    let outcome = go();
    Iteration { thread, start, greeted, took: start.elapsed(), client, outcome, node }
}

/// What the clients met.
#[derive(Debug)]
pub struct Report {
    pub iterations: Vec<Iteration>,
}

impl Report {
    /// Errors before a greeting: what a balancer must prevent.
    pub fn failed_connects(&self) -> Vec<String> {
        self.iterations.iter().filter_map(Iteration::failed_connect).map(ToString::to_string).collect()
    }

    /// Errors after a greeting, with the thread: what nobody can prevent at layer 4.
    pub fn broken(&self) -> Vec<(usize, String)> {
        self.iterations.iter().filter_map(|i| Some((i.thread, i.broken()?.to_string()))).collect()
    }

    /// The most errors after a greeting that any one client met.
    pub fn most_broken_of_one_client(&self) -> usize {
        let mut by_thread = BTreeMap::<usize, usize>::new();
        for (thread, _) in self.broken() {
            *by_thread.entry(thread).or_default() += 1;
        }
        by_thread.into_values().max().unwrap_or(0)
    }

    /// Good iterations by node that started at or after `from`.
    pub fn by_node_since(&self, from: Instant) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for i in self.iterations.iter().filter(|i| i.start >= from) {
            if let Ok(name) = &i.outcome {
                *counts.entry(name.as_str()).or_default() += 1;
            }
        }
        counts
    }

    /// The longest time to an end, good or bad.
    pub fn slowest(&self) -> Duration {
        self.iterations.iter().map(|i| i.took).max().unwrap_or_default()
    }
}
