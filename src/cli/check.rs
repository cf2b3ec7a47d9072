//! `galeway check`.

use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;

use super::{FileArg, WRONG, say, wrong};
use crate::config::{self, Config};
use crate::health::probe::Prober;

/// A resolver may take this long for all names together.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    file: FileArg,
    /// Print the resolved configuration with every default; secrets as ***
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let path = &args.file.file;
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(WRONG);
        }
    };
    if !loaded.warnings.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    let config = loaded.config;
    for cluster in &config.clusters {
        // The files are there; whether they hold what they should shows only when they are read.
        if let Err(e) = Prober::tls(&cluster.monitor) {
            return wrong(format_args!("{}: cluster {:?}: monitor TLS: {e}", path.display(), &*cluster.name));
        }
    }
    for name in unresolved(&config) {
        eprintln!(
            "{}: warning: {name} does not resolve now; its node will be unreachable, and retried, until it does",
            path.display()
        );
    }
    if args.print {
        say(&config::print(&config));
    } else {
        let nodes: usize = config.clusters.iter().map(|c| c.nodes.len()).sum();
        say(&format!(
            "{}: right ({} in {}, {}, {})\n",
            path.display(),
            count(nodes, "node"),
            count(config.clusters.len(), "cluster"),
            count(config.services.len(), "service"),
            admin(&config),
        ));
    }
    ExitCode::SUCCESS
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn admin(config: &Config) -> String {
    config.admin.listen.map_or_else(|| "admin off".to_owned(), |a| format!("admin on {a}"))
}

/// Host names of nodes that do not resolve. Looked up beside this thread, since the system's resolver knows no
/// deadline; names it has not answered in time count as unresolved.
fn unresolved(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config
        .clusters
        .iter()
        .flat_map(|c| &c.nodes)
        .filter_map(|n| n.address.host())
        .map(|h| h.host.clone())
        .filter(|h| h.parse::<std::net::IpAddr>().is_err())
        .collect();
    names.sort();
    names.dedup();
    let (sender, receiver) = mpsc::channel();
    let asked = names.clone();
    std::thread::spawn(move || {
        for name in asked {
            let found = (name.as_str(), 0).to_socket_addrs().is_ok_and(|mut a| a.next().is_some());
            if sender.send((name, found)).is_err() {
                return;
            }
        }
    });
    let until = std::time::Instant::now() + RESOLVER_PATIENCE;
    while !names.is_empty() {
        let rest = until.saturating_duration_since(std::time::Instant::now());
        match receiver.recv_timeout(rest) {
            Ok((name, true)) => names.retain(|n| *n != name),
            Ok((_, false)) => {}
            Err(_) => break,
        }
    }
    names
}
