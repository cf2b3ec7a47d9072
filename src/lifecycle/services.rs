//! Services as they are built from their settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::certificates::{LeftOut, Secured};
use crate::admin::ServiceView;
use crate::config::stunnel::{Launch, ServiceExtras};
use crate::config::{self, Target};
use crate::health::{Fixed, Lookup};
use crate::net::Listener;
use crate::pool::{PoolCell, Wanted};
use crate::service::{Detours, Extras, Manners, Service, TunnelLog};
use crate::telemetry::{Registry, ServiceMetrics};

/// Collects what services are made of.
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
    pub(super) built: Built,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) services: Vec<(Arc<Service>, Vec<Arc<Listener>>)>,
    pub(super) views: Vec<ServiceView>,
    pub(super) fixed: Vec<Fixed>,
    pub(super) secured: Vec<Secured>,
}

impl Builder<'_> {
    /// A service that accepts, and those behind its address.
    pub(super) fn add(
        &mut self,
        settings: &Arc<config::Service>,
        accepting: Vec<Arc<Listener>>,
    ) -> Result<(), StartError> {
        let Some(service) = self.build(settings, &accepting)? else { return Ok(()) };
        self.built.services.push((service, accepting));
        Ok(())
    }

    fn build(
        &mut self,
        settings: &Arc<config::Service>,
        accepting: &[Arc<Listener>],
    ) -> Result<Option<Arc<Service>>, StartError> {
        let known = self.launch.and_then(|launch| launch.services.get(&settings.name));
        let section = &settings.name;
        let Some(service) = self.one(settings, section, accepting, known)? else { return Ok(None) };
        let Some(known) = known else { return Ok(Some(service)) };
        let mut detours = Detours::default();
        for host in &known.hosts {
            let all = self.launch.map(|launch| launch.virtual_services.as_slice()).unwrap_or_default();
            if let Some(settings) = all.iter().find(|s| s.name == host.service)
                && let Some(behind) = self.build(settings, &[])?
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
            detours.refused = self.one(&Arc::new(settings), section, &[], Some(&manners))?;
        }
        service.set_detours(detours);
        Ok(Some(service))
    }

    /// One service alone, of the section of this name. `None`: its cluster is unknown, which the configuration's reading has refused.
    fn one(
        &mut self,
        settings: &Arc<config::Service>,
        section: &Arc<str>,
        accepting: &[Arc<Listener>],
        known: Option<&ServiceExtras>,
    ) -> Result<Option<Arc<Service>>, StartError> {
        let (pool, target) = match &settings.target {
            Target::Cluster { cluster, role, .. } => {
                let Some(pool) = self.pools.get(cluster).map(Arc::clone) else { return Ok(None) };
                self.registry.serves(&settings.name, cluster);
                (pool, format!("{cluster}/{}", role.as_str()))
            }
            Target::Fixed(places) => {
                let targets = Fixed::new(settings, places, self.lookup);
                let pool = targets.pool();
                self.built.fixed.push(targets);
                (pool, places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        let metrics = Arc::new(ServiceMetrics::new(self.registry, Arc::clone(&settings.name)));
        let secured = Secured::new(
            settings,
            &metrics,
            known.is_some_and(|known| !known.redirect.is_empty()),
            self.root,
            &self.left_out,
        )?;
        self.built.views.push(ServiceView {
            name: Arc::clone(&settings.name),
            accept: accepting.iter().map(|l| l.local().clone()).collect(),
            target,
            is_fixed: matches!(settings.target, Target::Fixed(_)),
            wanted: Wanted::of(&settings.target),
            pool: Arc::clone(&pool),
            metrics: Arc::clone(&metrics),
        });
        let extras = Extras {
            accepting: secured.accepting.clone(),
            connecting: secured.connecting.clone(),
            tunnel: known.map(|known| self.log.of(section, known.log_id, known.level)),
            manners: known.map(manners).unwrap_or_default(),
        };
        if secured.any() {
            self.built.secured.push(secured);
        }
        let service = Service::new(Arc::clone(settings), pool, metrics, self.stopping.subscribe(), extras);
        Ok(Some(Arc::new(service)))
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
