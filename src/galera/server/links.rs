//! Which server replicates from which.
//!
//! A channel names its source by `Source_UUID` (MySQL; equal to the source's `@@server_uuid`) and by `Source_Server_Id`
//! (`Master_Server_Id`; equal to its `@@server_id`). MariaDB has the number alone. Neither is a host or a port: those are a
//! way to the source, by another name, a tunnel or a balancer, and tell nothing of what is there. A source that was not
//! reached since the replica's start has the number 0 there (and on MySQL its UUID all the same); then what was said before
//! of the same host and port counts. Of servers that all have the default number nothing is concluded.

use std::collections::BTreeMap;

use super::super::status::Rows;
use super::Channel;

/// Who a server is, and whose transactions it gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::galera) struct Links {
    /// `@@server_uuid`, MySQL only.
    uuid: Option<String>,
    /// `@@server_id`.
    id: Option<String>,
    /// By the host and port of each channel.
    sources: BTreeMap<(String, String), Source>,
    /// The UUIDs of the other members of its group that it reaches.
    group: Vec<String>,
    /// The history of its Galera cluster, where a member of one is watched as a server: what one gets, all get.
    history: Option<String>,
}

/// A channel's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    uuid: Option<String>,
    id: Option<String>,
}

impl Links {
    pub(super) fn new(rows: &Rows, channels: &[Channel], group: &[String]) -> Self {
        let known = |name: &str| rows.get(name).filter(|value| is_known(value)).cloned();
        let source = |row: &Channel| {
            let value =
                |names: [&str; 2]| names.iter().find_map(|name| row.get(*name)).filter(|v| is_known(v)).cloned();
            let place = [["source_host", "master_host"], ["source_port", "master_port"]].map(value);
            let [host, port] = place.map(Option::unwrap_or_default);
            let uuid = value(["source_uuid", "master_uuid"]);
            ((host, port), Source { uuid, id: value(["source_server_id", "master_server_id"]) })
        };
        Self {
            uuid: known("server_uuid"),
            id: known("server_id"),
            sources: channels.iter().map(source).collect(),
            group: group.to_vec(),
            history: known("wsrep_cluster_state_uuid"),
        }
    }

    /// Fills in what an earlier answer said of the same channels.
    pub(in crate::galera) fn remember(&mut self, before: &Self) {
        for (place, source) in &mut self.sources {
            if let Some(known) = before.sources.get(place).filter(|_| *source == Source::default()) {
                source.clone_from(known);
            }
        }
    }

    /// Whether it gets what is written on `other`, without a third one between them, otherwise than by a group. `is_own`: no
    /// other node of the cluster has the number of `other`.
    pub(in crate::galera) fn names(&self, other: &Self, is_own: bool) -> bool {
        let is = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        let is_source = |source: &Source| match (&source.uuid, &other.uuid) {
            (Some(source), Some(uuid)) => source == uuid,
            _ => is_own && is(&source.id, &other.id),
        };
        self.sources.values().any(is_source) || is(&self.history, &other.history)
    }

    /// Whether both have one `@@server_uuid`; `None` where one of them has none.
    pub(in crate::galera) fn is_same_server(&self, other: &Self) -> Option<bool> {
        Some(self.uuid.as_ref()? == other.uuid.as_ref()?)
    }

    /// It is in a group and reaches the other one there.
    pub(in crate::galera) fn is_grouped_with(&self, other: &Self) -> bool {
        other.uuid.as_ref().is_some_and(|uuid| self.group.contains(uuid))
    }

    /// `@@server_id`.
    pub(in crate::galera) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// Neither empty nor a zero of either kind.
fn is_known(value: &str) -> bool {
    value.chars().any(|c| !matches!(c, '0' | '-'))
}
