//! What only shows when sections are held side by side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::diagnostic::Span;
use super::doc::Doc;
use super::model::{Agreement, Cluster, Config, Failback, HostPort, Role, Service};
use super::nearest::nearest;
use super::source::quote;

/// Where the parts of a cluster are written.
pub(super) struct ClusterPlaces {
    pub(super) header: Span,
    /// One for each of its nodes.
    pub(super) nodes: Vec<Span>,
    /// Where the choice of its writer is spoken of, if anywhere.
    pub(super) writer: Option<Span>,
}

/// Where the parts of a service are written.
pub(super) struct ServicePlaces {
    /// One for each of its addresses.
    pub(super) accept: Vec<Span>,
    pub(super) cluster: Option<Span>,
}

/// Checks the whole; the places are in the order of the configuration's clusters and services.
pub(super) fn check(
    doc: &Doc<'_>,
    config: &Config,
    clusters: &[ClusterPlaces],
    services: &[ServicePlaces],
    admin: Option<(SocketAddr, Span)>,
) {
    dangling(doc, config, services);
    unused(doc, config, clusters);
    taken_twice(doc, config, services, admin);
    loops(doc, config, clusters, services);
    disagreement(doc, config, clusters);
}

fn dangling(doc: &Doc<'_>, config: &Config, services: &[ServicePlaces]) {
    for (service, places) in config.services.iter().zip(services) {
        let Some(span) = places.cluster else { continue };
        if config.clusters.iter().any(|cluster| cluster.name == service.cluster) {
            continue;
        }
        let names = config.clusters.iter().map(|cluster| cluster.name.as_ref());
        let help = match nearest(&service.cluster, names) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None if config.clusters.is_empty() => "there is no [cluster.NAME] yet".to_owned(),
            None => {
                let all: Vec<String> = config.clusters.iter().map(|cluster| quote(&cluster.name)).collect();
                format!("there is {}", all.join(", "))
            }
        };
        doc.error(span, format!("there is no cluster {}", quote(&service.cluster)), Some(help));
    }
}

fn unused(doc: &Doc<'_>, config: &Config, clusters: &[ClusterPlaces]) {
    let known = |name: &str| config.clusters.iter().any(|cluster| cluster.name.as_ref() == name);
    if config.services.is_empty() || !config.services.iter().all(|service| known(&service.cluster)) {
        return; // The service that leads nowhere is the mistake, and probably meant this cluster.
    }
    for (cluster, places) in config.clusters.iter().zip(clusters) {
        if !config.services.iter().any(|service| service.cluster == cluster.name) {
            let help = format!("it is watched all the same; a service uses it with cluster = \"{}\"", cluster.name);
            doc.unused(places.header, format!("no service uses cluster {}", quote(&cluster.name)), help);
        }
    }
}

/// A writer that depends on what one balancer remembers is not the same on the balancer beside it.
fn disagreement(doc: &Doc<'_>, config: &Config, clusters: &[ClusterPlaces]) {
    for (cluster, places) in config.clusters.iter().zip(clusters) {
        let asks = |service: &std::sync::Arc<Service>| service.role == Role::Writer && service.cluster == cluster.name;
        let alone = cluster.writer.agreement == Agreement::Local && cluster.writer.failback == Failback::Never;
        if alone && config.services.iter().any(asks) {
            let name = quote(&cluster.name);
            let message = format!(
                "the writer of cluster {name} is chosen with agreement = \"local\" and failback = \"never\": of several \
                 balancers, one that restarts may pick another writer than the rest"
            );
            let help = "for several balancers write agreement = \"cluster\" with a user of its own; for a single one, or \
                        to have all follow the nodes' order, failback = \"immediate\" or a duration";
            doc.unused(places.writer.unwrap_or(places.header), message, help);
        }
    }
}

/// Two listeners on one address: the second would not start.
fn taken_twice(doc: &Doc<'_>, config: &Config, services: &[ServicePlaces], admin: Option<(SocketAddr, Span)>) {
    let accepts = config.services.iter().zip(services).flat_map(|(service, places)| {
        let owner = format!("service {}", quote(&service.name));
        service.accept.iter().zip(&places.accept).map(move |(address, span)| (*address, Some(*span), owner.clone()))
    });
    // The admin address that nobody wrote counts as well, at the place of the one that takes it.
    let unwritten = config.admin.listen.filter(|_| admin.is_none()).map(|address| (address, None));
    let admin = admin.map(|(address, span)| (address, Some(span))).or(unwritten);
    let mut taken: Vec<(SocketAddr, Option<Span>, String)> =
        accepts.chain(admin.map(|(address, span)| (address, span, "[admin]".to_owned()))).collect();
    taken.sort_by_key(|(_, span, _)| span.map(|span| span.start));

    let mut rest = taken.as_slice();
    let mut before: Vec<&(SocketAddr, Option<Span>, String)> = Vec::new();
    while let Some((this, after)) = rest.split_first() {
        let (address, span, _) = this;
        let first = before.iter().find(|(other, _, _)| overlap(*other, *address));
        if let (Some((other, place, owner)), Some(span)) = (first, span) {
            let message = format!(
                "{} is taken already: {owner} listens on {}",
                quote(&address.to_string()),
                quote(&other.to_string())
            );
            let help = match place {
                Some(place) => format!("see line {}", doc.line(*place)),
                None => "that is its default; give it another in [admin], or listen = \"\" to turn it off".to_owned(),
            };
            doc.error(*span, message, Some(help));
        }
        before.push(this);
        rest = after;
    }
}

/// Whether two listening sockets cannot both be had. `[::]` is all of IPv6 and nothing else: listeners are set so.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let (a, b) = (left.ip(), right.ip());
    let same_family = a.is_ipv4() == b.is_ipv4();
    left.port() != 0
        && left.port() == right.port()
        && same_family
        && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// A service whose node is the service itself would connect to itself until it has no descriptors left.
fn loops(doc: &Doc<'_>, config: &Config, clusters: &[ClusterPlaces], services: &[ServicePlaces]) {
    for (service, service_places) in config.services.iter().zip(services) {
        let of_service = |(cluster, _): &(&std::sync::Arc<Cluster>, _)| cluster.name == service.cluster;
        let Some((cluster, places)) = config.clusters.iter().zip(clusters).find(of_service) else { continue };
        for (node, span) in cluster.nodes.iter().zip(&places.nodes) {
            let accepts = service.accept.iter().zip(&service_places.accept);
            for (address, accept_span) in accepts {
                if leads_to(&node.address, *address) {
                    let message = format!("node {} is service {} itself", quote(&node.name), quote(&service.name));
                    let help = format!("the service accepts on {address}, line {}", doc.line(*accept_span));
                    doc.error(*span, message, Some(help));
                }
            }
        }
    }
}

/// Whether a node's address is, beyond doubt, where a service listens. Names other than `localhost` are not looked up.
fn leads_to(node: &HostPort, accept: SocketAddr) -> bool {
    let ip = if node.host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else if let Ok(ip) = node.host.parse::<IpAddr>() {
        ip
    } else {
        return false;
    };
    let everywhere = accept.ip().is_unspecified() && accept.is_ipv4() == ip.is_ipv4() && ip.is_loopback();
    node.port == accept.port() && (ip == accept.ip() || everywhere)
}
