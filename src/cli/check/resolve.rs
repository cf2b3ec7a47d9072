//! Names that have to be looked up.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{Config, Place, Target};
use crate::health::Lookup;

/// A resolver may take this long for all names together.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(5);

/// Host names of nodes and targets that do not resolve, and why. One that is not answered in time counts as unresolved.
pub(super) fn unresolved(config: &Config) -> Vec<(String, String)> {
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
