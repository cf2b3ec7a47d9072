//! What members name is a node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answered, LOOK, Warning, has_drained, may_be_asked, node_at};
use crate::config::{Cluster, Endpoint, HostPort, NodeKind, NodeSpec, Place};
use crate::galera::{Departure, NodeId, Reason};
use crate::health::lookup::LookupError;
use crate::health::resolve::resolve;
use crate::health::roster::{Origin, WatchedNode};
use crate::health::seen::Seen;
use crate::health::watch::ClusterWatch;

/// A node that nobody names and that does not answer is forgotten after this many looks.
const PATIENCE: u32 = 12;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Since when a node is neither named nor answers.
    gone: BTreeMap<NodeId, Instant>,
    /// Since when a node is known to be another one by a second address.
    twins: BTreeMap<NodeId, Instant>,
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
    /// There is one who was not told its address.
    anybody: bool,
}

/// One member's list, and who it is there.
#[derive(Debug, Clone)]
struct List {
    addresses: String,
    own: Option<usize>,
}

impl Members {
    /// Reads the lists of the component that is served.
    pub(super) async fn look(&mut self, watch: &Arc<ClusterWatch>, config: &Arc<Cluster>) -> Answered {
        watch.all_checked(config.monitor.timeout * 2).await;
        let lists = lists(watch);
        let mut known = known(watch);
        let named = named(&lists, |address| known.iter().any(|(_, k)| k == address));
        if !named.strangers.is_empty() {
            known.extend(unmet(watch).await);
            self.meet(watch, config, &known, &named.strangers).await;
            if !watch.goes_by(config) {
                return Answered::Nothing;
            }
        }
        if lists.is_empty() {
            // Nobody is there who could name anybody. If it is our own network that fails, the nodes live, and so do their
            // sessions.
            self.gone.clear();
        } else {
            self.forget(watch, config, &known, &named);
        }
        if lists.is_empty() { Answered::Nothing } else { Answered::All }
    }

    /// Takes in who is at these addresses.
    async fn meet(
        &mut self,
        watch: &Arc<ClusterWatch>,
        config: &Arc<Cluster>,
        known: &[(NodeId, Endpoint)],
        strangers: &[String],
    ) {
        let cluster = watch.name();
        let mut asked = JoinSet::new();
        for named in strangers {
            let Ok(address) = named.parse::<HostPort>() else {
                if self.unusable.due() {
                    tracing::warn!(
                        cluster,
                        address = named,
                        "wsrep_incoming_addresses names what is no address: left out"
                    );
                }
                continue;
            };
            let lookup = watch.lookup().clone();
            // By its address and not by a name, whose answer could be another one at the next look-up than the one allowed here.
            asked.spawn(async move {
                let found = timeout(LOOK, lookup.addresses(&address.host)).await;
                (address, found.unwrap_or_else(|_elapsed| Err(LookupError::NoAnswer("not in time".to_owned()))))
            });
        }
        while let Some(answer) = asked.join_next().await {
            if !watch.goes_by(config) {
                return;
            }
            let Ok((address, found)) = answer else { continue };
            let ips = match found {
                Ok(ips) => ips,
                Err(why) => {
                    if self.unusable.due() {
                        tracing::warn!(cluster, %address, why = %why, "a member's own address does not resolve here");
                    }
                    continue;
                }
            };
            let at = |ip: &IpAddr| Endpoint::Tcp((ip.to_canonical(), address.port).into());
            if ips.iter().any(|ip| known.iter().any(|(_, known)| *known == at(ip))) {
                continue;
            }
            let Some(ip) = ips.into_iter().map(|ip| ip.to_canonical()).find(|ip| may_be_asked(config, *ip)) else {
                if self.outside.due() {
                    tracing::warn!(cluster, %address, "a member lies outside discover_allow: it is left out, and not sent the \
                        monitor's login");
                }
                continue;
            };
            let address = HostPort { host: ip.to_string(), port: address.port };
            if let Some(spec) = node_at(watch, address, &inherited(&config.nodes)) {
                watch.admit(spec, Origin::Galera, usize::MAX);
            }
        }
    }

    /// Lets go of nodes that are gone for good. An entry without an address may be anybody.
    fn forget(&mut self, watch: &ClusterWatch, config: &Cluster, known: &[(NodeId, Endpoint)], named: &Named) {
        let is_named = |id: NodeId| {
            let mut own = known.iter().filter(|(of, _)| *of == id);
            own.any(|(_, at)| named.all.iter().any(|name| endpoint(name).as_ref() == Some(at)))
        };
        let found: Vec<WatchedNode> = watch.nodes().iter().filter(|n| n.origin == Origin::Galera).cloned().collect();
        self.gone.retain(|id, _| found.iter().any(|n| n.node.id == *id));
        self.twins.retain(|id, _| found.iter().any(|n| n.node.id == *id));
        // Longer than a node may hang.
        let patience = (config.discovery.interval * PATIENCE).max(config.monitor.down_after);
        for node in found {
            let id = node.node.id;
            let (answers, twin) =
                watch.with_seen(|core, _| (core.answers(id), matches!(core.verdict(id).reason, Reason::SameNode(_))));
            if twin {
                // A configured node by another address: nobody new comes, and who is there may finish.
                let since = *self.twins.entry(id).or_insert_with(Instant::now);
                if has_drained(&node, since, config.sessions.drain_timeout) {
                    watch.dismiss(&node, Departure::Name);
                }
            } else if answers || is_named(id) || named.anybody {
                self.gone.remove(&id);
            } else {
                let since = *self.gone.entry(id).or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    watch.dismiss(&node, Departure::Name);
                }
            }
        }
    }
}

/// Where configured nodes are that were not reached yet: by their names.
async fn unmet(watch: &ClusterWatch) -> Vec<(NodeId, Endpoint)> {
    let without_address =
        |n: &&WatchedNode| watch.with_seen(|_, seen| seen.get(&n.node.id).is_some_and(|s| s.addresses.is_empty()));
    let mut asked = JoinSet::new();
    for node in watch.nodes().iter().filter(without_address) {
        let (id, place, lookup) = (node.node.id, node.spec.address.clone(), watch.lookup().clone());
        asked.spawn(async move { (id, timeout(LOOK, resolve(&place, None, &lookup)).await) });
    }
    let mut found = Vec::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok((id, Ok(Ok(addresses)))) = answer {
            found.extend(addresses.iter().map(|at| (id, canonical(at))));
        }
    }
    found
}

/// The lists of the nodes that are served; while none is, of those that say that they are Primary: an address is only a place
/// to ask.
fn lists(watch: &ClusterWatch) -> Vec<List> {
    watch.with_seen(|core, seen| {
        let primary = |id: &NodeId| core.answers(*id) && seen.get(id).is_some_and(Seen::is_primary);
        let asked: Vec<NodeId> = match core.served() {
            [] => seen.keys().copied().filter(primary).collect(),
            served => served.to_vec(),
        };
        let rows = asked.iter().filter_map(|id| seen.get(id)).map(|s| &s.rows);
        let list = |rows: &Arc<crate::galera::status::Rows>| {
            let addresses = rows.get("wsrep_incoming_addresses")?.clone();
            Some(List { addresses, own: rows.get("wsrep_local_index").and_then(|i| i.parse().ok()) })
        };
        rows.filter_map(list).collect()
    })
}

/// Where each node of ours is.
fn known(watch: &ClusterWatch) -> Vec<(NodeId, Endpoint)> {
    watch.with_seen(|_, seen| {
        seen.iter().flat_map(|(id, s)| s.addresses.iter().map(move |at| (*id, canonical(at)))).collect()
    })
}

/// An IPv4 address as such.
fn canonical(at: &Endpoint) -> Endpoint {
    match at {
        Endpoint::Tcp(address) => Endpoint::Tcp((address.ip().to_canonical(), address.port()).into()),
        other => other.clone(),
    }
}

/// Takes lists apart. An empty entry is an arbitrator, `AUTO` somebody who was not told its address. An entry that one of
/// the nodes that answer has as its own is that node, by whatever address we know it.
fn named(lists: &[List], is_known: impl Fn(&Endpoint) -> bool) -> Named {
    let entries = |list: &List| -> Vec<String> { list.addresses.split(',').map(|e| e.trim().to_owned()).collect() };
    let own: Vec<String> = lists.iter().filter_map(|list| entries(list).get(list.own?).cloned()).collect();
    let mut found = Named::default();
    for entry in lists.iter().flat_map(entries) {
        let is_auto = entry.eq_ignore_ascii_case("AUTO");
        found.anybody |= is_auto;
        if is_auto || entry.is_empty() || found.all.contains(&entry) {
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

/// What a node that was found has of the configured members: what all of them have, else the default. Replicas, as of another
/// site, are no model for members.
pub(in crate::health) fn inherited(nodes: &[NodeSpec]) -> NodeSpec {
    let mut model = NodeSpec::new(Place::Host(HostPort { host: String::new(), port: 0 }));
    let seeds: Vec<&NodeSpec> = nodes.iter().filter(|node| node.kind == NodeKind::Galera).collect();
    let Some(first) = seeds.first() else { return model };
    let shared = |same: fn(&NodeSpec, &NodeSpec) -> bool| seeds.iter().all(|seed| same(seed, first));
    if shared(|a, b| a.weight == b.weight) {
        model.weight = first.weight;
    }
    if shared(|a, b| a.priority == b.priority) {
        model.priority = first.priority;
    }
    if shared(|a, b| a.zone == b.zone) {
        model.zone = Arc::clone(&first.zone);
    }
    if shared(|a, b| a.backup == b.backup) {
        model.backup = first.backup;
    }
    if shared(|a, b| a.max_connections == b.max_connections) {
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

    #[test]
    fn a_replica_of_another_site_is_no_model_for_members() {
        let seed = |host: &str| NodeSpec::new(Place::Host(host.parse().unwrap()));
        let mut nodes = [seed("replica"), seed("db1")];
        (nodes[0].kind, nodes[0].backup, nodes[0].zone) = (NodeKind::Mysql, true, "b".into());
        (nodes[1].zone, nodes[1].weight) = ("a".into(), 50);
        let model = inherited(&nodes);
        assert_eq!((&*model.zone, model.weight, model.backup, model.kind), ("a", 50, false, NodeKind::Galera));
        assert_eq!(inherited(&nodes[..1]), inherited(&[]));
    }
}
