//! What members name is a node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Warning, may_be_asked, node_at};
use crate::config::{Cluster, Endpoint, HostPort, NodeSpec, Place};
use crate::galera::{NodeId, Reason};
use crate::health::roster::{Origin, WatchedNode};
use crate::health::watch::ClusterWatch;

/// A node that nobody names and that does not answer is forgotten after this many looks.
const PATIENCE: u32 = 12;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Since when a node is neither named nor answers.
    gone: BTreeMap<NodeId, Instant>,
    outside: Warning,
    unusable: Warning,
}

/// What one look at the lists brought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Addresses of members that are no node of ours, as they stand there.
    strangers: Vec<String>,
    /// All of them.
    all: Vec<String>,
}

/// One member's list, and who it is there.
#[derive(Debug, Clone)]
struct List {
    addresses: String,
    own: Option<usize>,
}

impl Members {
    /// Reads the lists of the component that is served.
    pub(super) async fn look(&mut self, watch: &Arc<ClusterWatch>, config: &Cluster) {
        watch.all_checked(config.monitor.timeout * 2).await;
        let lists = lists(watch);
        let known = known(watch);
        let named = named(&lists, |address| known.iter().any(|(_, k)| k == address));
        for stranger in &named.strangers {
            self.met(watch, config, stranger).await;
        }
        self.forget(watch, config, &known, &named.all);
    }

    async fn met(&mut self, watch: &ClusterWatch, config: &Cluster, named: &str) {
        let cluster = watch.name();
        let Ok(address) = named.parse::<HostPort>() else {
            if self.unusable.due() {
                tracing::warn!(cluster, address = named, "wsrep_incoming_addresses names what is no address: left out");
            }
            return;
        };
        // By its address and not by a name, whose answer could be another one at the next look-up than the one allowed here.
        let ip = match watch.lookup().addresses(&address.host).await.map(|all| all.into_iter().next()) {
            Ok(Some(ip)) => ip.to_canonical(),
            Ok(None) => return,
            Err(why) => {
                if self.unusable.due() {
                    tracing::warn!(cluster, address = named, why = %why, "a member's own address does not resolve here");
                }
                return;
            }
        };
        if !may_be_asked(config, ip) {
            if self.outside.due() {
                tracing::warn!(
                    cluster,
                    address = named,
                    "a member lies outside discover_allow: it is left out, and not \
                    sent the monitor's login"
                );
            }
            return;
        }
        let address = HostPort { host: ip.to_string(), port: address.port };
        let place = Endpoint::Tcp((ip, address.port).into());
        if known(watch).iter().any(|(_, known)| *known == place) {
            return;
        }
        if let Some(spec) = node_at(watch, address, &inherited(&config.nodes)) {
            watch.admit(spec, Origin::Galera);
        }
    }

    fn forget(&mut self, watch: &ClusterWatch, config: &Cluster, known: &[(NodeId, Endpoint)], named: &[String]) {
        let is_named = |id: NodeId| {
            let mut own = known.iter().filter(|(of, _)| *of == id);
            own.any(|(_, at)| named.iter().any(|name| endpoint(name).as_ref() == Some(at)))
        };
        let found: Vec<WatchedNode> = watch.nodes().iter().filter(|n| n.origin == Origin::Galera).cloned().collect();
        self.gone.retain(|id, _| found.iter().any(|n| n.node.id == *id));
        for node in found {
            let id = node.node.id;
            let (answers, twin) =
                watch.with_seen(|core, _| (core.answers(id), matches!(core.verdict(id).reason, Reason::SameNode(_))));
            if twin {
                // A configured node by another address.
                watch.dismiss(&node);
            } else if answers || is_named(id) {
                self.gone.remove(&id);
            } else {
                let since = *self.gone.entry(id).or_insert_with(Instant::now);
                if since.elapsed() >= config.discovery.interval * PATIENCE {
                    watch.dismiss(&node);
                }
            }
        }
    }
}

/// The lists of the nodes that are served.
fn lists(watch: &ClusterWatch) -> Vec<List> {
    watch.with_seen(|core, seen| {
        let rows = core.served().iter().filter_map(|id| seen.get(id)).map(|s| &s.rows);
        let list = |rows: &Arc<crate::galera::status::Rows>| {
            let addresses = rows.get("wsrep_incoming_addresses")?.clone();
            Some(List { addresses, own: rows.get("wsrep_local_index").and_then(|i| i.parse().ok()) })
        };
        rows.filter_map(list).collect()
    })
}

/// Where each node of ours is.
fn known(watch: &ClusterWatch) -> Vec<(NodeId, Endpoint)> {
    let at = |id: &NodeId, at: &Endpoint| {
        let at = match at {
            Endpoint::Tcp(address) => Endpoint::Tcp((address.ip().to_canonical(), address.port()).into()),
            other => other.clone(),
        };
        (*id, at)
    };
    watch.with_seen(|_, seen| seen.iter().flat_map(|(id, s)| s.addresses.iter().map(move |a| at(id, a))).collect())
}

/// Takes lists apart. An empty entry is an arbitrator, `AUTO` somebody who was not told its address. An entry that one of
/// the nodes that answer has as its own is that node, by whatever address we know it.
fn named(lists: &[List], is_known: impl Fn(&Endpoint) -> bool) -> Named {
    let entries = |list: &List| -> Vec<String> { list.addresses.split(',').map(|e| e.trim().to_owned()).collect() };
    let own: Vec<String> = lists.iter().filter_map(|list| entries(list).get(list.own?).cloned()).collect();
    let mut found = Named::default();
    for entry in lists.iter().flat_map(entries) {
        let is_none = entry.is_empty() || entry.eq_ignore_ascii_case("AUTO");
        if is_none || found.all.contains(&entry) {
            continue;
        }
        if !own.contains(&entry) && !endpoint(&entry).is_some_and(|at| is_known(&at)) {
            found.strangers.push(entry.clone());
        }
        found.all.push(entry);
    }
    found
}

fn endpoint(named: &str) -> Option<Endpoint> {
    let address: HostPort = named.parse().ok()?;
    let ip: IpAddr = address.host.parse().ok()?;
    Some(Endpoint::Tcp((ip.to_canonical(), address.port).into()))
}

/// What a node that was found has of the configured ones: what all of them have, else the default.
fn inherited(seeds: &[NodeSpec]) -> NodeSpec {
    let mut model = NodeSpec::new(Place::Host(HostPort { host: String::new(), port: 0 }));
    let Some((first, rest)) = seeds.split_first() else { return model };
    if rest.iter().all(|s| s.weight == first.weight) {
        model.weight = first.weight;
    }
    if rest.iter().all(|s| s.priority == first.priority) {
        model.priority = first.priority;
    }
    if rest.iter().all(|s| s.zone == first.zone) {
        model.zone = Arc::clone(&first.zone);
    }
    if rest.iter().all(|s| s.backup == first.backup) {
        model.backup = first.backup;
    }
    if rest.iter().all(|s| s.max_connections == first.max_connections) {
        model.max_connections = first.max_connections;
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &str, own: usize) -> List {
        List { addresses: addresses.to_owned(), own: Some(own) }
    }

    fn strangers(lists: &[List], known: &[&str]) -> Vec<String> {
        let known: Vec<Endpoint> = known.iter().map(|k| endpoint(k).unwrap()).collect();
        named(lists, |at| known.contains(at)).strangers
    }

    #[test]
    fn entries_that_name_nobody_are_passed_over() {
        let lists = [list("10.0.0.1:3306,AUTO,,10.0.0.4:3306", 0)];
        assert_eq!(strangers(&lists, &["10.0.0.1:3306"]), ["10.0.0.4:3306"]);
        assert!(strangers(&[list("", 0), list("AUTO", 0)], &[]).is_empty());
    }

    #[test]
    fn a_node_is_known_by_its_own_entry_whatever_its_address_here() {
        // Configured as 192.0.2.1, which the cluster knows as 10.0.0.1.
        let lists = [list("10.0.0.1:3306,10.0.0.2:3306", 0), list("10.0.0.1:3306,10.0.0.2:3306", 1)];
        assert!(strangers(&lists, &[]).is_empty());
        assert_eq!(strangers(&lists[..1], &[]), ["10.0.0.2:3306"], "it does not answer itself");
    }

    #[test]
    fn two_forms_of_one_address_are_one() {
        let lists = [list("[::ffff:10.0.0.2]:3306,db3:3306", 7)];
        assert_eq!(strangers(&lists, &["10.0.0.2:3306"]), ["db3:3306"]);
    }

    #[test]
    fn what_all_seeds_share_is_inherited_and_nothing_else() {
        let seed = |host: &str| NodeSpec::new(Place::Host(host.parse().unwrap()));
        let mut seeds = [seed("db1"), seed("db2")];
        for seed in &mut seeds {
            seed.zone = "b".into();
            seed.max_connections = Some(500);
        }
        seeds[0].weight = 50;
        let model = inherited(&seeds);
        assert_eq!((&*model.zone, model.max_connections, model.weight), ("b", Some(500), 100));
    }
}
