//! `galeway check`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FileArg, WRONG, say, wrong};
use crate::config::{self, Config, Place, Target};
use crate::health::Lookup;
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
    for (name, why) in unresolved(&config) {
        eprintln!(
            "{}: warning: {name} does not resolve now ({why}); its node will be unreachable, and retried, until it does",
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

/// Host names of nodes and targets that do not resolve, and why. One that is not answered in time counts as unresolved.
fn unresolved(config: &Config) -> Vec<(String, String)> {
    let lookup = match config.process.nameservers.as_slice() {
        [] => Lookup::system(),
        servers => Lookup::with(servers),
    };
    let nodes = config.clusters.iter().flat_map(|c| &c.nodes).map(|n| &n.address);
    let targets = config.services.iter().filter_map(|s| match &s.target {
        Target::Fixed(places) => Some(places),
        Target::Cluster { .. } => None,
    });
    let hosts = nodes.chain(targets.flatten()).filter_map(Place::host).map(|host| host.host.clone());
    let names: BTreeSet<String> = hosts.filter(|host| host.parse::<std::net::IpAddr>().is_err()).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let missing = runtime.block_on(async {
        let ask = |name: String| {
            let lookup = lookup.clone();
            async move {
                let found = tokio::time::timeout(RESOLVER_PATIENCE, lookup.addresses(&name)).await;
                let why = match found {
                    Ok(Ok(_)) => return None,
                    Ok(Err(why)) => why.to_string(),
                    Err(_elapsed) => "no answer in time".to_owned(),
                };
                Some((name, why))
            }
        };
        // Side by side: all of them take no longer than one.
        let asked: Vec<_> = names.into_iter().map(|name| tokio::spawn(ask(name))).collect();
        let mut missing = Vec::new();
        for answer in asked {
            missing.extend(answer.await.ok().flatten());
        }
        missing
    });
    // The system's resolver knows no deadline: what it still waits for is left alone.
    runtime.shutdown_background();
    missing
}
