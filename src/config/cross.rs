//! What only shows when sections are held side by side.

mod listeners;

use std::net::IpAddr;
use std::sync::Arc;

use super::diagnostic::Span;
use super::doc::Doc;
use super::model::{Agreement, Cluster, Config, Failback, NodeKind, Place, Role, Service, Target};
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
    pub(super) role: Option<Span>,
    /// One for each fixed address.
    pub(super) addresses: Vec<Span>,
    pub(super) prefer_zone: Option<Span>,
    pub(super) source: Option<Span>,
    pub(super) connect_tls: Option<Span>,
}

/// Where the admin addresses are written.
#[derive(Default)]
pub(super) struct AdminPlaces {
    pub(super) listen: Option<Span>,
    pub(super) socket: Option<Span>,
}

/// One whole file, and where its parts are written, in the order of the configuration's clusters and services.
pub(super) struct Whole<'a> {
    pub(super) doc: &'a Doc<'a>,
    pub(super) config: &'a Config,
    pub(super) clusters: &'a [ClusterPlaces],
    pub(super) services: &'a [ServicePlaces],
    pub(super) admin: AdminPlaces,
}

impl<'a> Whole<'a> {
    fn clusters(&self) -> impl Iterator<Item = (&'a Arc<Cluster>, &'a ClusterPlaces)> + use<'a> {
        self.config.clusters.iter().zip(self.clusters)
    }

    fn services(&self) -> impl Iterator<Item = (&'a Arc<Service>, &'a ServicePlaces)> + use<'a> {
        self.config.services.iter().zip(self.services)
    }

    /// The cluster that a service is sent to.
    fn cluster_of(&self, service: &Service) -> Option<(&'a Arc<Cluster>, &'a ClusterPlaces)> {
        let name = cluster_name(service)?;
        self.clusters().find(|(cluster, _)| cluster.name == *name)
    }

    /// Where a service is sent, each with what it is called and where it is written.
    fn targets(&self, service: &'a Service, places: &'a ServicePlaces) -> Vec<(&'a Place, String, Span)> {
        if let Target::Fixed(list) = &service.target {
            let named = |(place, span): (&'a Place, &Span)| (place, quote(&place.to_string()), *span);
            return list.iter().zip(&places.addresses).map(named).collect();
        }
        let Some((cluster, places)) = self.cluster_of(service) else { return Vec::new() };
        let nodes = cluster.nodes.iter().zip(&places.nodes);
        nodes.map(|(node, span)| (&node.address, format!("node {}", quote(&node.name)), *span)).collect()
    }

    /// Checks the whole.
    pub(super) fn check(&self) {
        dangling(self);
        unused(self);
        listeners::taken_twice(self);
        listeners::loops(self);
        disagreement(self);
        for (service, places) in self.services() {
            role_of_nobody(self, service, places);
            zone_of_nobody(self, service, places);
            wrong_family(self, service, places);
            nameless(self, service, places);
        }
    }
}

fn cluster_name(service: &Service) -> Option<&Arc<str>> {
    match &service.target {
        Target::Cluster { cluster, .. } => Some(cluster),
        Target::Fixed(_) => None,
    }
}

fn dangling(whole: &Whole<'_>) {
    let (doc, config) = (whole.doc, whole.config);
    for (service, places) in whole.services() {
        let Some((span, name)) = places.cluster.zip(cluster_name(service)) else { continue };
        if whole.cluster_of(service).is_some() {
            continue;
        }
        let names = config.clusters.iter().map(|cluster| cluster.name.as_ref());
        let help = match nearest(name, names) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None if config.clusters.is_empty() => "there is no [cluster.NAME] yet".to_owned(),
            None => {
                let all: Vec<String> = config.clusters.iter().map(|cluster| quote(&cluster.name)).collect();
                format!("there is {}", all.join(", "))
            }
        };
        doc.error(span, format!("there is no cluster {}", quote(name)), Some(help));
    }
}

fn unused(whole: &Whole<'_>) {
    let services = &whole.config.services;
    let known = |service: &Arc<Service>| cluster_name(service).is_none() || whole.cluster_of(service).is_some();
    if services.is_empty() || !services.iter().all(known) {
        return; // The service that leads nowhere is the mistake, and probably meant this cluster.
    }
    for (cluster, places) in whole.clusters() {
        if !services.iter().any(|service| cluster_name(service) == Some(&cluster.name)) {
            let help = format!("it is watched all the same; a service uses it with cluster = \"{}\"", cluster.name);
            whole.doc.unused(places.header, format!("no service uses cluster {}", quote(&cluster.name)), help);
        }
    }
}

/// A writer that depends on what one balancer remembers is not the same on the balancer beside it. Where servers say by
/// themselves who takes writes, there is one at a time.
fn disagreement(whole: &Whole<'_>) {
    for (cluster, places) in whole.clusters() {
        let asks =
            |service: &Arc<Service>| service.role() == Role::Writer && cluster_name(service) == Some(&cluster.name);
        let alone = cluster.writer.agreement == Agreement::Local && cluster.writer.failback == Failback::Never;
        if alone && cluster.monitor.kind == NodeKind::Galera && whole.config.services.iter().any(asks) {
            let name = quote(&cluster.name);
            let message = format!(
                "the writer of cluster {name} is chosen with agreement = \"local\" and failback = \"never\": of several \
                 balancers, one that restarts may pick another writer than the rest"
            );
            let help = "for several balancers write agreement = \"cluster\" with a user of its own; for a single one, or \
                        to have all follow the nodes' order, failback = \"immediate\" or a duration";
            whole.doc.unused(places.writer.unwrap_or(places.header), message, help);
        }
    }
}

/// A role needs somebody who tells the writer from the others.
fn role_of_nobody(whole: &Whole<'_>, service: &Service, places: &ServicePlaces) {
    if let Some((span, (cluster, _))) = places.role.zip(whole.cluster_of(service))
        && cluster.monitor.kind == NodeKind::Tcp
        && service.role() != Role::Any
    {
        let message = format!(
            "role = \"{}\": nothing tells a writer in cluster {}",
            service.role().as_str(),
            quote(&cluster.name)
        );
        let help =
            "its monitor has kind = \"tcp\" and does not log in; write role = \"any\", or another kind".to_owned();
        whole.doc.error(span, message, Some(help));
    }
}

/// A zone that no node is in would prefer nobody.
fn zone_of_nobody(whole: &Whole<'_>, service: &Service, places: &ServicePlaces) {
    let Some((span, zone)) = places.prefer_zone.zip(service.prefer_zone.as_ref()) else { return };
    let Some((cluster, _)) = whole.cluster_of(service) else { return };
    if cluster.nodes.iter().any(|node| node.zone == *zone) {
        return;
    }
    let mut zones: Vec<&str> =
        cluster.nodes.iter().map(|node| node.zone.as_ref()).filter(|zone| !zone.is_empty()).collect();
    zones.sort_unstable();
    zones.dedup();
    let help = match nearest(zone, zones.iter().copied()) {
        Some(zone) => format!("did you mean \"{zone}\"?"),
        None if zones.is_empty() => "none of its nodes has a `zone` yet: { address = \"…\", zone = \"…\" }".to_owned(),
        None => format!("there is {}", zones.iter().map(|zone| quote(zone)).collect::<Vec<_>>().join(", ")),
    };
    whole.doc.error(
        span,
        format!("no node of cluster {} is in zone {}", quote(&cluster.name), quote(zone)),
        Some(help),
    );
}

/// From an address of one family nobody of the other can be reached, and a Unix socket has neither.
fn wrong_family(whole: &Whole<'_>, service: &Service, places: &ServicePlaces) {
    let Some((span, source)) = places.source.zip(service.source) else { return };
    let targets = whole.targets(service, places);
    if !targets.is_empty() && targets.iter().all(|(place, _, _)| place.host().is_none()) {
        let help = "a connection to a Unix socket comes from no address; leave it out".to_owned();
        return whole.doc.error(span, "`source` is not looked at here", Some(help));
    }
    let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    for (place, name, at) in targets {
        let Some(ip) = place.host().and_then(|host| host.host.parse::<IpAddr>().ok()) else { continue };
        if ip.is_ipv4() != source.is_ipv4() {
            let message = format!("{name} cannot be reached from {source}, which is {}", family(source));
            let help = format!("it is {}, {}", family(ip), whole.doc.place(at));
            whole.doc.error(span, message, Some(help));
        }
    }
}

/// A Unix socket has no name that a certificate could be for.
fn nameless(whole: &Whole<'_>, service: &Service, places: &ServicePlaces) {
    let Some((span, tls)) = places.connect_tls.zip(service.connect_tls.as_ref()) else { return };
    if !tls.names || tls.server_name.is_some() || !tls.peer.allow_names.is_empty() {
        return;
    }
    if let Some((_, name, _)) = whole.targets(service, places).iter().find(|(place, _, _)| place.host().is_none()) {
        let help = "write server_name = \"…\", what its certificate is for, or verify = \"ca\"".to_owned();
        whole.doc.error(span, format!("{name} has no name to compare with its certificate"), Some(help));
    }
}
