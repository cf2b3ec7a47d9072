//! Galeway before real MariaDB Galera nodes: what clients, sessions and operators see while nodes fail.
//!
//! | file | what |
//! |---|---|
//! | `spread` | where sessions go while nothing is wrong |
//! | `check` | what the check costs a server |
//! | `faults` | a node is killed, frozen, cut off, desynced, closed to queries, full |
//! | `membership` | nodes leave, come back by state transfer, and all go |
//! | `bulk` | bytes in and out while the node or the client is slow; a large dump and load |
//! | `logins` | accounts, plugins and TLS of the check |
//! | `commands` | `galeway probe`, SIGTERM |
//! | `recover` | `galeway recover`, and its commands carried out |
//!
//! Times: bounds on what Galeway does add [`SLACK`] for a busy machine and are printed as measured. The causal half of
//! each sentence (not before, not there, not one) has no slack.

mod bulk;
mod check;
mod commands;
mod faults;
mod logins;
mod membership;
mod recover;
mod spread;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::Error;
use crate::harness::load::{Iteration, Load, Report};
use crate::harness::node::Sample;
use crate::harness::{Cluster, Conn, Galeway, secs, until};

/// What a loaded machine of two cores, which carries three servers and the clients too, may add to a bounded time.
const SLACK: Duration = secs(1);

/// A session through Galeway on the node of this name.
#[track_caller]
fn session_on(galeway: &Galeway, name: &str) -> Conn {
    until(secs(20), "a session on the wanted node", || {
        let mut conn = Conn::app(galeway.addr(), secs(20)).unwrap_or_else(|e| panic!("{e}"));
        (conn.one("SELECT @@wsrep_node_name").unwrap() == name).then_some(conn)
    })
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
