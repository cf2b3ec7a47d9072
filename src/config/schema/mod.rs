//! From the tree to the model, a file for each kind of section.

mod accept;
mod cluster;
mod file;
mod monitor;
mod networks;
mod node;
mod process;
mod proxy;
mod secret;
mod service;
mod target;
mod tls;
mod writer;

use std::sync::Arc;

use toml::de::DeTable;

use super::cross::{AdminPlaces, ClusterPlaces, ServicePlaces, Whole};
use super::diagnostic::Span;
use super::doc::Doc;
use super::keys;
use super::model::{Admin, Config, Process};
use super::reader::Table;

/// Reads a whole file; what is wrong with it is noted in `doc`.
pub(super) fn read(doc: &Doc<'_>, tree: &DeTable<'_>) -> Config {
    let root = Table::open(doc, Span { start: 0, end: 0 }, &keys::ROOT, tree);

    let clusters: Vec<_> =
        root.named("cluster", &keys::CLUSTER).into_iter().map(|(name, table)| cluster::read(name, &table)).collect();
    let services: Vec<_> =
        root.named("service", &keys::SERVICE).into_iter().map(|(name, table)| service::read(name, &table)).collect();
    let (admin, admin_places) = match root.table("admin", &keys::ADMIN) {
        Some(table) => process::admin(&table),
        None => (Admin::default(), AdminPlaces::default()),
    };
    let process = root
        .table("process", &keys::PROCESS)
        .map_or_else(Process::default, |table| process::process(&table, !clusters.is_empty()));

    let (clusters, cluster_places): (Vec<_>, Vec<ClusterPlaces>) = clusters.into_iter().unzip();
    let (services, service_places): (Vec<_>, Vec<ServicePlaces>) = services.into_iter().unzip();
    let config = Config {
        clusters: clusters.into_iter().map(Arc::new).collect(),
        services: services.into_iter().map(Arc::new).collect(),
        admin,
        process,
    };
    let (clusters, services) = (&cluster_places, &service_places);
    Whole { doc, config: &config, clusters, services, admin: admin_places }.check();
    if !root.has("service") {
        doc.missing(
            None,
            "no [service.NAME]: there is nothing to accept connections",
            "add one: [service.NAME] with accept = \"127.0.0.1:3306\" and cluster = \"NAME\"",
        );
    }
    config
}
