//! `galeway probe`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::nodes::CheckFlags;
use super::{NO, say, wrong};
use crate::config::{Cluster, HostPort, Monitor, NodeKind, NodeSpec, Place, Secret};
use crate::galera::status::Rows;
use crate::galera::{Check, Core, Event, NodeId, Verdict};
use crate::health;
use crate::health::probe::Probed;

const AFTER_HELP: &str = "\
It needs no running galeway and no configuration. Name all nodes: they are judged together, as a
running galeway would on its first look.

Examples:
  galeway probe db1 db2 db3 --user monitor --password-file monitor.password
  galeway probe db1:3307 --user monitor --password-file pw --tls verify-identity --ca ca.pem
  galeway probe source replica --kind mysql --user monitor --password-file monitor.password

Exit codes: 0 every node may serve; 1 one may not; 2 usage, or a file that cannot be read.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ProbeArgs {
    /// The nodes
    #[arg(required = true, value_name = "HOST[:PORT]")]
    nodes: Vec<HostPort>,
    /// What they are: members of a Galera cluster, or servers by themselves (with or without replication)
    #[arg(long, value_enum, value_name = "KIND", default_value = "galera")]
    kind: Kind,
    /// The account to check with; SELECT on mysql.wsrep_cluster_members lets it tell components apart
    #[arg(long)]
    user: String,
    #[command(flatten)]
    check: CheckFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A connection that is merely taken needs no command to try it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Galera,
    Mysql,
}

/// One node's check and verdict.
struct Answer {
    address: String,
    name: String,
    verdict: Verdict,
    rows: Rows,
    duration: Duration,
}

pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let kind = match args.kind {
        Kind::Galera => NodeKind::Galera,
        Kind::Mysql => NodeKind::Mysql,
    };
    let probed = match args.check.check(&args.nodes, &args.user, kind) {
        Ok(probed) => probed,
        Err(message) => return wrong(message),
    };
    let answers = judge(&args.nodes, kind, probed);
    let answer = if args.json { json_of(&answers) } else { answers.iter().map(text_of).collect() };
    say(&answer);
    if answers.iter().all(|a| a.verdict.kind.serves()) { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

/// Judges all nodes as one cluster, by the defaults: a donor is a last resort only where no node is Synced.
fn judge(addresses: &[HostPort], kind: NodeKind, probed: Vec<Probed>) -> Vec<Answer> {
    let monitor = Monitor { kind, ..Monitor::new(String::new(), Secret::default()) };
    let spec = |address: &HostPort| NodeSpec { kind, ..NodeSpec::new(Place::Host(address.clone())) };
    let specs = addresses.iter().map(spec).collect();
    let cluster = Cluster::new("probe", specs, monitor);
    let settings = health::settings(&cluster);
    let mut core = Core::new();
    let now = Instant::now();
    let ids = || (0..).map(NodeId);
    for (id, node) in ids().zip(&cluster.nodes) {
        core.step(&settings, now, Event::Added(id, health::spec(node, (id.0, 0), &cluster.monitor)));
    }
    let mut answers = Vec::new();
    for ((id, node), p) in ids().zip(&cluster.nodes).zip(probed) {
        let rows = match &p.observation.check {
            Check::Answered(status) => status.rows.clone(),
            Check::Server(status) => status.rows.clone(),
            Check::Unreadable(_, rows) => rows.clone(),
            _ => Rows::new(),
        };
        core.step(&settings, now, Event::Observed(id, p.observation));
        let (name, verdict) = (node.name.to_string(), Verdict::unknown());
        answers.push(Answer { address: node.address.to_string(), name, verdict, rows, duration: p.duration });
    }
    for (id, answer) in ids().zip(&mut answers) {
        answer.verdict = core.verdict(id);
    }
    answers
}

fn text_of(answer: &Answer) -> String {
    let Answer { name, verdict, rows, duration, .. } = answer;
    let room = if verdict.room { "" } else { " (nearly at max_connections)" };
    let (kind, millis) = (verdict.kind.as_str(), duration.as_secs_f64() * 1e3);
    let mut text = format!("{name}: {kind}: {}{room} [{millis:.1} ms]\n", verdict.reason);
    let width = rows.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in rows {
        text += &format!("    {key:width$}  {value}\n");
    }
    text
}

fn json_of(answers: &[Answer]) -> String {
    let nodes: Vec<_> = answers
        .iter()
        .map(|a| {
            json!({
                "name": a.name,
                "address": a.address,
                "verdict": a.verdict.kind.as_str(),
                "reason": a.verdict.reason.to_string(),
                "room": a.verdict.room,
                "duration_ms": (a.duration.as_secs_f64() * 1e6).round() / 1e3,
                "values": a.rows,
            })
        })
        .collect();
    format!("{}\n", json!({ "nodes": nodes }))
}
