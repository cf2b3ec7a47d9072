//! `galeway probe`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::client::secret_file;
use super::{NO, wrong};
use crate::config::{Cluster, HostPort, Monitor, MonitorTls, NodeSpec, Secret, TlsMode};
use crate::galera::status::Rows;
use crate::galera::{Check, Core, Event, NodeId, Verdict};
use crate::health::probe::{Probed, Prober};
use crate::health::{self, Resolver};

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The nodes
    #[arg(required = true, value_name = "HOST[:PORT]")]
    nodes: Vec<HostPort>,
    /// The account to check with; it needs no privilege
    #[arg(long)]
    user: String,
    /// File that holds its password [default: no password]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// TLS inside the MySQL protocol
    #[arg(long, value_enum, value_name = "MODE", default_value = "off")]
    tls: Mode,
    /// Trust anchors (PEM) for verify-ca and verify-identity [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Deadline of one check, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Off,
    Require,
    VerifyCa,
    VerifyIdentity,
}

/// One node's check and verdict.
struct Answer {
    address: HostPort,
    name: String,
    verdict: Verdict,
    rows: Rows,
    duration: Duration,
}

pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let monitor = match monitor(args) {
        Ok(monitor) => monitor,
        Err(message) => return wrong(message),
    };
    let tls = match Prober::tls(&monitor) {
        Ok(tls) => tls,
        Err(e) => return wrong(e),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return wrong(format_args!("cannot start: {e}")),
    };
    let prober = |n: &HostPort| Prober::new(n, &monitor, tls.clone(), Arc::new(Resolver::new(&n.host)));
    let probers: Vec<_> = args.nodes.iter().map(|n| Arc::new(prober(n))).collect();
    let probed = runtime.block_on(async {
        let tasks: Vec<_> = probers.into_iter().map(|p| tokio::spawn(async move { p.check_once().await })).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await);
        }
        all
    });
    // A resolver that hangs has had its deadline already.
    runtime.shutdown_background();
    let probed: Vec<Probed> = match probed.into_iter().collect() {
        Ok(probed) => probed,
        Err(e) => return wrong(format_args!("a check failed by a fault of ours: {e}")),
    };
    let answers = judge(&args.nodes, probed);
    if args.json {
        print_json(&answers);
    } else {
        answers.iter().for_each(print_text);
    }
    if answers.iter().all(|a| a.verdict.kind.serves()) { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

fn monitor(args: &ProbeArgs) -> Result<Monitor, String> {
    let password = match &args.password_file {
        None => String::new(),
        Some(path) => secret_file("--password-file", path)?,
    };
    let mode = match args.tls {
        Mode::Off => TlsMode::Off,
        Mode::Require => TlsMode::Require,
        Mode::VerifyCa => TlsMode::VerifyCa,
        Mode::VerifyIdentity => TlsMode::VerifyIdentity,
    };
    if args.ca.is_some() && !matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity) {
        return Err("--ca needs --tls verify-ca or --tls verify-identity: no other mode looks at it".to_owned());
    }
    let tls = MonitorTls { mode, ca: args.ca.clone(), identity: None };
    let timeout = Duration::from_secs(args.timeout);
    Ok(Monitor { tls, timeout, ..Monitor::new(args.user.clone(), Secret::new(password)) })
}

/// Judges all nodes as one cluster, by the defaults: a donor is a last resort only where no node is Synced.
fn judge(nodes: &[HostPort], probed: Vec<Probed>) -> Vec<Answer> {
    let monitor = Monitor::new(String::new(), Secret::default());
    let specs = nodes.iter().map(|address| NodeSpec::new(address.clone())).collect();
    let cluster = Cluster::new("probe", specs, monitor);
    let settings = health::settings(&cluster);
    let mut core = Core::new();
    let now = Instant::now();
    let ids = || (0..).map(NodeId);
    for (id, node) in ids().zip(&cluster.nodes) {
        core.step(&settings, now, Event::Added(id, health::spec(node)));
    }
    let mut answers = Vec::new();
    for ((id, node), p) in ids().zip(&cluster.nodes).zip(probed) {
        let rows = match &p.observation.check {
            Check::Answered(status) => status.rows.clone(),
            Check::Unreadable(_, rows) => rows.clone(),
            _ => Rows::new(),
        };
        core.step(&settings, now, Event::Observed(id, p.observation));
        let (name, verdict) = (node.name.to_string(), Verdict::unknown());
        answers.push(Answer { address: node.address.clone(), name, verdict, rows, duration: p.duration });
    }
    for (id, answer) in ids().zip(&mut answers) {
        answer.verdict = core.verdict(id);
    }
    answers
}

fn print_text(answer: &Answer) {
    let Answer { name, verdict, rows, duration, .. } = answer;
    let room = if verdict.room { "" } else { " (nearly at max_connections)" };
    println!("{name}: {}: {}{room} [{:.1} ms]", verdict.kind.as_str(), verdict.reason, duration.as_secs_f64() * 1e3);
    let width = rows.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in rows {
        println!("    {key:width$}  {value}");
    }
}

fn print_json(answers: &[Answer]) {
    let nodes: Vec<_> = answers
        .iter()
        .map(|a| {
            json!({
                "name": a.name,
                "address": a.address.to_string(),
                "verdict": a.verdict.kind.as_str(),
                "reason": a.verdict.reason.to_string(),
                "room": a.verdict.room,
                "duration_ms": (a.duration.as_secs_f64() * 1e6).round() / 1e3,
                "values": a.rows,
            })
        })
        .collect();
    println!("{}", json!({ "nodes": nodes }));
}
