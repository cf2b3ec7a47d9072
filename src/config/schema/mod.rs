//! From the tree to the model, a file for each kind of section.

mod cluster;
mod monitor;
mod process;
mod secret;
mod service;
mod writer;

use std::sync::Arc;

use toml::de::DeTable;

use super::cross::{self, ClusterPlaces, ServicePlaces};
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
    let (admin, listen) = match root.table("admin", &keys::ADMIN) {
        Some(table) => process::admin(&table),
        None => (Admin::default(), None),
    };
    let process = root.table("process", &keys::PROCESS).map_or_else(Process::default, |table| process::process(&table));

    let (clusters, cluster_places): (Vec<_>, Vec<ClusterPlaces>) = clusters.into_iter().unzip();
    let (services, service_places): (Vec<_>, Vec<ServicePlaces>) = services.into_iter().unzip();
    let config = Config {
        clusters: clusters.into_iter().map(Arc::new).collect(),
        services: services.into_iter().map(Arc::new).collect(),
        admin,
        process,
    };
    cross::check(doc, &config, &cluster_places, &service_places, listen);
    if !root.has("service") {
        doc.missing(
            None,
            "no [service.NAME]: there is nothing to accept connections",
            "add one: [service.NAME] with accept = \"127.0.0.1:3306\" and cluster = \"NAME\"",
        );
    }
    config
}
