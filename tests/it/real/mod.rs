//! Galeway before real MariaDB Galera nodes: what clients, sessions and operators see while nodes fail.
//!
//! | file | what |
//! |---|---|
//! | `spread` | where sessions go while nothing is wrong |
//! | `check` | what the check costs a server |
//! | `faults` | a node is killed, frozen, cut off, desynced, closed to queries, full |
//! | `membership` | nodes leave, come back by state transfer, and all go |
//! | `scenarios` | the ways in which a cluster is lost and recovered: stopped, crashed, without a quorum, split evenly |
//! | `writer` | the writer moves, and comes back or not |
//! | `split_brain` | two Primary components at once |
//! | `bootstrapped` | a node that was restarted by mistake as a cluster of its own |
//! | `late_views` | a healthy node that tells an old view, where only sizes tell |
//! | `thawed` | a node that was stopped for longer than its peers wait |
//! | `notify` | the server's own call makes Galeway look |
//! | `agreement` | two Galeways have one writer |
//! | `bulk` | bytes in and out while the node or the client is slow; a large dump and load |
//! | `long_run` | sysbench and clients that come and go, through many reloads and upgrades |
//! | `logins` | accounts, plugins and TLS of the check |
//! | `record` | several balancers, one writer, by the record that the cluster replicates |
//! | `commands` | `galeway probe`, SIGTERM |
//! | `dba` | what docs/dba.md says of clients: Ctrl-C, certificates |
//! | `recover` | `galeway recover`, and its commands carried out |
//! | `discovery` | members that are found, and forgotten |
//! | `replica` | an asynchronous replica: a reader, and what is left when the cluster is lost |
//! | `tunnel` | a replication link through TLS, whose far end follows a node that may serve |
//! | `mariadb11` | MariaDB 11.8: served, upgraded to, recovered |
//! | `mysql9` | MySQL 9: logins, replication, `offline_mode` |
//! | `group_replication` | MySQL's Group Replication |
//! | `self_signed` | certificates that MariaDB makes itself, verified by the password; the check over the socket of a MySQL |
//! | `servers` | clusters of other kinds: servers by themselves, and anything that takes a connection |
//!
//! Times: bounds on what Galeway does add [`SLACK`] for a busy machine and are printed as measured. The causal half of
//! each sentence (not before, not there, not one) has no slack.

pub(crate) mod agreement;
mod bootstrapped;
mod bulk;
mod check;
mod commands;
mod dba;
mod discovery;
mod faults;
mod group_replication;
mod late_views;
mod logins;
mod long_run;
mod mariadb11;
mod membership;
mod mysql9;
mod notify;
mod record;
mod recover;
mod replica;
mod scenarios;
mod self_signed;
mod servers;
mod split_brain;
mod spread;
mod thawed;
mod tunnel;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::Error;
use crate::harness::galeway::{WRITER_AND_READER, http_get};
use crate::harness::load::{Iteration, Load, Manner, Report};
use crate::harness::node::{Observer, Sample, State};
use crate::harness::{Cluster, Conn, Galeway, Settings, millis, secs, until};

/// What a loaded machine of two cores, which carries three servers and the clients too, may add to a bounded time.
const SLACK: Duration = secs(1);

/// A session through the first service of Galeway on the node of this name.
#[track_caller]
fn session_on(galeway: &Galeway, name: &str) -> Conn {
    galeway.session_on(name)
}

/// The same through the service of this address.
#[track_caller]
fn session_of(service: SocketAddr, name: &str) -> Conn {
    Conn::on(service, name)
}

/// The session still answers.
#[track_caller]
fn assert_alive(conn: &mut Conn) {
    assert_eq!(conn.one("SELECT 6 * 7").unwrap(), "42");
}

/// Waits until Galeway has ended a check of this node that it began after `since`.
#[track_caller]
fn wait_checked(galeway: &Galeway, name: &str, since: Instant) {
    until(secs(20), "a check begun since then", || {
        let asked = Instant::now();
        let probe = galeway.node(name)["probe"].clone();
        let age = Duration::from_secs_f64((probe["age_ms"].as_f64()? + probe["duration_ms"].as_f64()?) / 1e3);
        (asked.checked_sub(age)? > since).then_some(())
    });
}

/// No client met an error before a greeting.
#[track_caller]
fn assert_no_failed_connect(report: &Report) {
    let failed = report.failed_connects();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), report.iterations.len(), failed.first());
}

/// Handshakes that the node had begun with its greeting cannot be tried again: at most one of each client.
#[track_caller]
fn assert_at_most_one_broken_each(report: &Report) {
    assert!(report.most_broken_of_one_client() <= 1, "{:?}", report.broken());
}

/// The end of a test of one node's fault: it is Synced again and gets its clients, and no client was refused meanwhile.
#[track_caller]
fn whole_again(cluster: &Cluster, galeway: &Galeway, node: &str, load: Load) -> Report {
    cluster.wait_whole();
    galeway.wait_verdict(node, "eligible", secs(20));
    let back = Instant::now();
    load.wait_for(100);
    let report = load.stop();
    assert_no_failed_connect(&report);
    assert_at_most_one_broken_each(&report);
    assert!(report.by_node_since(back).contains_key(node), "{:?}", report.by_node_since(back));
    report
}

/// The iteration that an event of the access log is about. The kernel may give a port twice within a test, so the
/// duration decides as well.
fn iteration_of<'a>(report: &'a Report, event: &Value) -> Option<&'a Iteration> {
    let client = event["client"].as_str()?.parse().ok()?;
    let same = report.iterations.iter().filter(|i| i.client == Some(client));
    same.min_by(|a, b| off(a, event).total_cmp(&off(b, event)))
}

/// The event of the access log that tells of an iteration.
fn event_of<'a>(log: &'a [Value], iteration: &Iteration) -> Option<&'a Value> {
    let client = iteration.client?.to_string();
    let same = log.iter().filter(|e| e["client"] == *client);
    same.min_by(|a, b| off(iteration, a).total_cmp(&off(iteration, b)))
}

/// How far their durations are apart, in seconds.
fn off(iteration: &Iteration, event: &Value) -> f64 {
    (iteration.took.as_secs_f64() - event["duration_ms"].as_f64().unwrap_or(f64::INFINITY) / 1e3).abs()
}

/// A client that was sent to a node: not before `start`, not after `greeted`.
#[derive(Debug)]
struct Sent {
    start: Instant,
    greeted: Instant,
}

/// The clients that got this node's greeting: by what the node answered, or by the access log where it no longer could.
fn sent_to(report: &Report, galeway: &Galeway, name: &str) -> Vec<Sent> {
    let log = galeway.access_log();
    let met = |i: &&Iteration| match &i.outcome {
        Ok(node) => node == name,
        Err(_) => i.greeted.is_some() && event_of(&log, i).is_some_and(|e| e["node"] == name),
    };
    let sent = |i: &Iteration| Some(Sent { start: i.start, greeted: i.start + i.greeted? });
    report.iterations.iter().filter(met).filter_map(sent).collect()
}

/// Nobody who came and was greeted between these two moments was greeted by this node.
#[track_caller]
fn assert_nobody_sent(report: &Report, galeway: &Galeway, name: &str, from: Instant, to: Instant) {
    let sent = sent_to(report, galeway, name);
    let between = sent.iter().filter(|s| s.start >= from && s.greeted < to).count();
    assert_eq!(between, 0, "clients were sent to {name}");
    let others = report.iterations.iter().filter(|i| i.start >= from && i.start < to && i.outcome.is_ok());
    assert!(others.count() > 0, "no client came in that time: this showed nothing");
}

/// From the first to the last question that the node answered with anything but fit, or not at all.
fn unfit_span(samples: &[Sample], fit: impl Fn(&Sample) -> bool) -> Option<(Instant, Instant)> {
    let mut unfit = samples.iter().filter(|s| !fit(s));
    let first = unfit.next()?;
    Some((first.answered, unfit.next_back().unwrap_or(first).asked))
}

fn is_server_error(error: &Error, code: u16) -> bool {
    error.code() == Some(code)
}

/// What Galeway does by default, for tests of bounds: `interval` and `timeout` of the check.
const INTERVAL: Duration = millis(500);
const TIMEOUT: Duration = secs(1);

/// A round of checks, by default.
const ROUND: Duration = INTERVAL.saturating_add(TIMEOUT);

/// Clients of a writer and of a reader service at once.
struct Both {
    writers: Load,
    readers: Load,
}

/// What they met.
struct Reports {
    writers: Report,
    readers: Report,
}

impl Both {
    /// Writers write, into the table that [`Both::prepare`] made.
    fn start(galeway: &Galeway) -> Self {
        let writes =
            Manner { statement: Some("INSERT INTO load_test.t (node) VALUES (@@wsrep_node_name)"), ..Manner::FEW };
        Self {
            writers: Load::with(galeway.service("writer"), writes),
            readers: Load::with(galeway.service("reader"), Manner::FEW),
        }
    }

    /// The table that the writers write into.
    fn prepare(cluster: &Cluster) {
        cluster.nodes[0].sql("CREATE DATABASE load_test");
        cluster.nodes[0]
            .sql("CREATE TABLE load_test.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, node VARCHAR(64) NOT NULL)");
    }

    /// What is left of them, where the cluster is whole again.
    fn clear(cluster: &Cluster) {
        cluster.nodes[0].sql("DROP DATABASE load_test");
    }

    /// Waits until the clients of both have come round.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        self.writers.wait_for(more);
        self.readers.wait_for(more);
    }

    fn stop(self) -> Reports {
        Reports { writers: self.writers.stop(), readers: self.readers.stop() }
    }
}

impl Reports {
    fn each(&self) -> [(&'static str, &Report); 2] {
        [("writer", &self.writers), ("reader", &self.readers)]
    }

    #[track_caller]
    fn assert_no_failed_connect(&self) {
        for (role, report) in self.each() {
            println!(
                "{role}: {} clients, {} broken, slowest connect {:?}",
                report.iterations.len(),
                report.broken().len(),
                report.iterations.iter().filter_map(|i| i.greeted).max()
            );
            assert_no_failed_connect(report);
        }
    }

    /// Nobody who came and was greeted between these moments was greeted by this node.
    #[track_caller]
    fn assert_nobody_sent(&self, galeway: &Galeway, name: &str, from: Instant, to: Instant) {
        for (_, report) in self.each() {
            assert_nobody_sent(report, galeway, name, from, to);
        }
    }

    /// The same where nobody is served elsewhere either.
    #[track_caller]
    fn assert_nobody_sent_there(&self, galeway: &Galeway, name: &str, from: Instant, to: Instant) {
        for (role, report) in self.each() {
            let sent = sent_to(report, galeway, name);
            let between = sent.iter().filter(|s| s.start >= from && s.greeted < to).count();
            assert_eq!(between, 0, "{role}: clients were sent to {name}");
        }
    }

    /// Clients who came in this time were told 1047 with this in it, and nothing else.
    #[track_caller]
    fn assert_refused(&self, from: Instant, to: Instant, wanted: &str) {
        for (role, report) in self.each() {
            let between = report.iterations.iter().filter(|i| i.start >= from && i.start + i.took < to);
            let mut count = 0;
            for iteration in between {
                let failure = iteration.failed_connect().unwrap_or_else(|| panic!("{role}: {iteration:?}"));
                assert!(is_server_error(&failure.error, 1047), "{role}: {failure}");
                let text = failure.to_string();
                assert!(text.contains("galeway: no node of cluster \"main\" can serve role"), "{role}: {text}");
                assert!(text.contains(wanted), "{role}: {text}");
                count += 1;
            }
            println!("{role}: {count} clients were told 1047 in {:?}", to - from);
            assert!(count > 0, "{role}: no client came in that time: this showed nothing");
        }
    }

    /// How long after `since` the first client came that was served.
    #[track_caller]
    fn served_after(&self, since: Instant) -> Duration {
        let served = |report: &Report| {
            let mut good = report.iterations.iter().filter(|i| i.outcome.is_ok()).map(|i| i.start + i.took);
            good.by_ref().filter(|end| *end > since).min().unwrap_or_else(|| panic!("nobody was served")) - since
        };
        self.each().map(|(_, report)| served(report)).into_iter().max().unwrap_or_default()
    }
}

/// Clients come often, and are told soon that there is nobody.
const TOLD_SOON: &str = "queue_timeout = \"500ms\"";

/// From Synced to the first client, at most: the clients' own time to be told and to come again is not Galeway's.
const RECOVERY: Duration = INTERVAL.saturating_mul(3).saturating_add(TIMEOUT);

/// When an observed node said for the first time after `since` that it is Synced.
#[track_caller]
fn synced_since(observers: &[Observer], since: Instant) -> Instant {
    let first = |o: &Observer| {
        let good = |s: &State| s.synced();
        o.samples().into_iter().find(|s| s.asked > since && s.state.as_ref().is_some_and(good)).map(|s| s.answered)
    };
    observers.iter().filter_map(first).min().expect("a node that is Synced again")
}

/// Asks Galeway for the state of its cluster all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(Instant, Value)>>>,
}

impl Watch {
    /// Every `every`, until [`Watch::end`]; nothing of times in which nobody answers.
    fn start(galeway: &Galeway, every: Duration) -> Self {
        let (stop, admin) = (Arc::new(AtomicBool::new(false)), galeway.admin());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let answer = http_get(admin, "/api/status").filter(|(code, _)| *code == 200);
                if let Some(Ok(status)) = answer.map(|(_, body)| serde_json::from_str::<Value>(&body)) {
                    seen.push((Instant::now(), status["clusters"][0].clone()));
                }
                std::thread::sleep(every);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// All that was seen.
    fn end(mut self) -> Vec<(Instant, Value)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("ended once").join().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A node's entry in a cluster's.
fn entry<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let nodes = cluster["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    nodes.iter().find(|n| n["name"] == name).unwrap_or(&Value::Null)
}

/// With a writer and a reader service.
fn roles() -> Settings<'static> {
    Settings { roles: WRITER_AND_READER, ..Settings::default() }
}
