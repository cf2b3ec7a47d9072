//! Who is connected, as the servers' own process lists say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Conn, Error};
use super::cluster::Cluster;
use super::node::Node;
use super::{millis, secs};

/// A line of a process list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: u64,
    pub user: String,
    /// "Sleep" where it waits for its client.
    pub command: String,
    /// How long it has been at that.
    pub time: Duration,
    pub statement: String,
}

impl Session {
    /// All of accounts whose names begin with `user`, over a connection that is there already.
    pub fn list(conn: &mut Conn, user: &str) -> Result<Vec<Self>, Error> {
        let rows = conn.query(&format!(
            "SELECT ID, USER, COMMAND, TIME_MS, INFO FROM information_schema.PROCESSLIST WHERE USER LIKE '{user}%'"
        ))?;
        let session = |row: Vec<Option<String>>| {
            let mut fields = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || fields.next().unwrap_or_default();
            let (id, user, command) = (next().parse().unwrap_or_default(), next(), next());
            let time = next().parse::<f64>().unwrap_or_default().max(0.0) / 1e3;
            Self { id, user, command, time: Duration::from_secs_f64(time), statement: next() }
        };
        Ok(rows.into_iter().map(session).collect())
    }
}

impl Node {
    /// Sessions of accounts whose names begin with `user`.
    #[track_caller]
    pub fn sessions(&self, user: &str) -> Vec<Session> {
        let listed = self.root().and_then(|mut conn| Session::list(&mut conn, user));
        listed.unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

/// What one node's process list said at one time; nothing of a node that could not be asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub node: String,
    pub sessions: Vec<Session>,
}

/// Polls the process lists of all nodes until dropped.
#[derive(Debug)]
pub struct Lists {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Lists {
    /// Sessions of accounts whose names begin with `user`, every 20 ms.
    pub fn watch(cluster: &Cluster, user: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |node: &Node| {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            let (name, socket, user) = (node.name.clone(), node.socket(), user.to_owned());
            std::thread::spawn(move || {
                let mut conn = None;
                while !stop.load(Ordering::Relaxed) {
                    if conn.is_none() {
                        conn = Conn::root(&socket, secs(2)).ok();
                    }
                    let listed = conn.as_mut().and_then(|c| Session::list(c, &user).ok());
                    if listed.is_none() {
                        conn = None;
                    }
                    let sessions = listed.unwrap_or_default();
                    seen.lock().unwrap().push(Seen { at: Instant::now(), node: name.clone(), sessions });
                    std::thread::sleep(millis(20));
                }
            })
        };
        let threads = cluster.nodes.iter().map(watch).collect();
        Self { seen, stop, threads }
    }

    /// All so far, in the order of time.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = self.seen.lock().unwrap().clone();
        seen.sort_by_key(|s| s.at);
        seen
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A time in which accounts `a` and `b` both had sessions, on different nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    pub began: Instant,
    pub lasted: Duration,
    /// Who was where at its end: node and account.
    pub sessions: Vec<(String, String)>,
}

/// The longest time in which `a` and `b` had sessions on different nodes. A statement that ran when that began is
/// none of it: it stays listed until it ends, whether or not its session was closed.
pub fn longest_apart(seen: &[Seen], a: &str, b: &str) -> Option<Apart> {
    let mut now = BTreeMap::<&str, &Seen>::new();
    let (mut raw, mut counted): (Option<Instant>, Option<Instant>) = (None, None);
    let mut longest: Option<Apart> = None;
    for one in seen {
        now.insert(&one.node, one);
        let since = raw.unwrap_or(one.at);
        let all = |_: &Seen, _: &Session| true;
        let begun_since = |at: &Seen, s: &Session| {
            s.command == "Sleep" || at.at.checked_sub(s.time).is_some_and(|begun| begun > since)
        };
        raw = apart(&now, a, b, all).then_some(since);
        counted = (raw.is_some() && apart(&now, a, b, begun_since)).then(|| counted.unwrap_or(one.at));
        if let Some(began) = counted {
            let lasted = one.at - began;
            if longest.as_ref().is_none_or(|l| lasted > l.lasted) {
                let sessions = now.values().flat_map(|s| s.sessions.iter().map(|x| (s.node.clone(), x.user.clone())));
                longest = Some(Apart { began, lasted, sessions: sessions.collect() });
            }
        }
    }
    longest
}

fn apart(now: &BTreeMap<&str, &Seen>, a: &str, b: &str, counts: impl Fn(&Seen, &Session) -> bool) -> bool {
    let nodes = |user: &str| -> Vec<&str> {
        let has = |seen: &&&Seen| seen.sessions.iter().any(|s| s.user == user && counts(seen, s));
        now.values().filter(has).map(|s| s.node.as_str()).collect()
    };
    let (a, b) = (nodes(a), nodes(b));
    a.iter().any(|x| b.iter().any(|y| x != y))
}
