//! Services as they are built from their settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::certificates::{LeftOut, Secured};
use super::standing::Unit;
use crate::admin::ServiceView;
use crate::config::stunnel::{Launch, ServiceExtras};
use crate::config::{self, Listen, Target};
use crate::health::{Fixed, Lookup};
use crate::net::Listener;
use crate::pool::{PoolCell, Wanted};
use crate::service::{Detours, Door, Extras, Manners, Service, TunnelLog};
use crate::telemetry::{Registry, ServiceMetrics};

/// What services are made of.
pub(super) struct Builder<'a> {
    pub(super) registry: &'a Registry,
    pub(super) lookup: &'a Lookup,
    pub(super) stopping: &'a watch::Sender<bool>,
    /// Of the clusters, by name.
    pub(super) pools: BTreeMap<Arc<str>, Arc<PoolCell>>,
    pub(super) launch: Option<&'a Launch>,
    /// The root directory from soon on, where that changes.
    pub(super) root: Option<&'a Path>,
    /// Shared by all services.
    pub(super) left_out: LeftOut,
    /// Numbers the connections of all services together.
    pub(super) log: TunnelLog,
}

/// Where a service is to accept.
#[derive(Debug)]
pub(super) enum Entrance {
    /// Another service accepts there, or this one by other settings; its socket stays.
    Kept(Arc<Door>),
    /// Nobody does yet.
    New(Arc<Listener>),
}

impl Entrance {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        match self {
            Self::Kept(door) => &door.listener,
            Self::New(listener) => listener,
        }
    }
}

/// A service that does nothing yet.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) unit: Unit,
    /// Of itself, and of the services behind its address.
    pub(super) fixed: Vec<Fixed>,
}

/// What comes of one service and those behind its address.
#[derive(Debug, Default)]
struct Parts {
    views: Vec<Arc<ServiceView>>,
    fixed: Vec<Fixed>,
    secured: Vec<Secured>,
}

impl Builder<'_> {
    /// A service that accepts, and those behind its address. `old`: the one of the same name that it follows. `None`: its cluster is
    /// unknown, which the configuration's reading has refused.
    pub(super) fn make(
        &self,
        settings: &Arc<config::Service>,
        entrances: Vec<(Listen, Entrance)>,
        old: Option<&Unit>,
    ) -> Result<Option<Made>, StartError> {
        let accept: Vec<Listen> = entrances.iter().map(|(_, entrance)| entrance.listener().local().clone()).collect();
        let mut parts = Parts::default();
        let Some(service) = self.build(settings, accept, old, &mut parts)? else { return Ok(None) };
        let door = |(written, entrance)| match entrance {
            Entrance::Kept(door) => (written, door),
            Entrance::New(listener) => (written, Arc::new(Door::new(listener, &service))),
        };
        let doors = entrances.into_iter().map(door).collect();
        let Parts { views, fixed, secured } = parts;
        let targets = match settings.target {
            Target::Fixed(_) => fixed.first().map(Fixed::targets),
            Target::Cluster { .. } => None,
        };
        Ok(Some(Made { unit: Unit { service, doors, views, targets, secured }, fixed }))
    }

    fn build(
        &self,
        settings: &Arc<config::Service>,
        accept: Vec<Listen>,
        old: Option<&Unit>,
        parts: &mut Parts,
    ) -> Result<Option<Arc<Service>>, StartError> {
        let known = self.launch.and_then(|launch| launch.services.get(&settings.name));
        let section = &settings.name;
        let Some(service) = self.one(settings, section, accept, known, old, parts)? else { return Ok(None) };
        let Some(known) = known else { return Ok(Some(service)) };
        let mut detours = Detours::default();
        for host in &known.hosts {
            let all = self.launch.map(|launch| launch.virtual_services.as_slice()).unwrap_or_default();
            if let Some(settings) = all.iter().find(|s| s.name == host.service)
                && let Some(behind) = self.build(settings, Vec::new(), None, parts)?
            {
                detours.by_name.push((host.pattern.as_ref().into(), behind));
            }
        }
        if !known.redirect.is_empty() {
            let settings = config::Service {
                name: format!("{}/redirect", settings.name).into(),
                accept: Vec::new(),
                target: Target::Fixed(known.redirect.clone()),
                // Its clients have come through the handshake already.
                tls: None,
                ..config::Service::clone(settings)
            };
            let manners = ServiceExtras { redirect: Vec::new(), hosts: Vec::new(), ..known.clone() };
            detours.refused = self.one(&Arc::new(settings), section, Vec::new(), Some(&manners), None, parts)?;
        }
        service.set_detours(detours);
        Ok(Some(service))
    }

    /// One service alone, of the section of this name.
    fn one(
        &self,
        settings: &Arc<config::Service>,
        section: &Arc<str>,
        accept: Vec<Listen>,
        known: Option<&ServiceExtras>,
        old: Option<&Unit>,
        parts: &mut Parts,
    ) -> Result<Option<Arc<Service>>, StartError> {
        let (pool, target) = match &settings.target {
            Target::Cluster { cluster, role, .. } => {
                let Some(pool) = self.pools.get(cluster).map(Arc::clone) else { return Ok(None) };
                (pool, format!("{cluster}/{}", role.as_str()))
            }
            Target::Fixed(places) => {
                let targets = match old.and_then(|old| old.targets.as_ref()) {
                    Some(old) => Fixed::successor(old, settings, places, self.lookup),
                    None => Fixed::new(settings, places, self.lookup),
                };
                let pool = targets.pool();
                parts.fixed.push(targets);
                (pool, places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        let metrics = match old {
            Some(old) => Arc::clone(&old.service.metrics),
            None => Arc::new(ServiceMetrics::new(self.registry, Arc::clone(&settings.name))),
        };
        let tolerant = known.is_some_and(|known| !known.redirect.is_empty());
        let secured = match old.filter(|old| has_same_tls(&old.service.settings, settings)) {
            // Files that have changed are read again by whoever looks after them.
            Some(old) => old.secured.first().cloned(),
            None => Some(Secured::new(settings, &metrics, tolerant, self.root, &self.left_out)?).filter(Secured::any),
        };
        parts.views.push(Arc::new(ServiceView {
            name: Arc::clone(&settings.name),
            accept,
            target,
            is_fixed: matches!(settings.target, Target::Fixed(_)),
            wanted: Wanted::of(&settings.target),
            pool: Arc::clone(&pool),
            metrics: Arc::clone(&metrics),
        }));
        let extras = Extras {
            accepting: secured.as_ref().and_then(|s| s.accepting.clone()),
            connecting: secured.as_ref().and_then(|s| s.connecting.clone()),
            tunnel: known.map(|known| self.log.of(section, known.log_id, known.level)),
            manners: known.map(manners).unwrap_or_default(),
        };
        parts.secured.extend(secured);
        let settings = Arc::clone(settings);
        Ok(Some(Arc::new(match old {
            Some(old) => old.service.successor(settings, pool, extras),
            None => Service::new(settings, pool, metrics, self.stopping.subscribe(), extras),
        })))
    }
}

/// Whether two have the same TLS on both sides.
pub(super) fn has_same_tls(old: &config::Service, new: &config::Service) -> bool {
    old.tls == new.tls && old.connect_tls == new.connect_tls
}

/// Tells the metrics which services go where: a series of a node goes with the node.
pub(super) fn tell_targets(registry: &Registry, settings: &config::Service) {
    match &settings.target {
        Target::Cluster { cluster, .. } => registry.serves(&settings.name, cluster),
        Target::Fixed(_) => registry.serves_no_cluster(&settings.name),
    }
}

fn manners(known: &ServiceExtras) -> Manners {
    Manners {
        one_round: known.one_round,
        no_resets: !known.reset,
        transparent: known.transparent,
        accepted: (known.accepted.receive, known.accepted.send),
        connected: (known.connected.receive, known.connected.send),
    }
}
