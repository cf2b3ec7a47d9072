//! The control thread.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::certificates::{Secured, look_after};
use super::orphans::end_orphans;
use super::reload::{Changes, Reloaded};
use super::services::{Made, has_same_tls, tell_targets};
use super::standing::{Parts, Standing, Unit};
use crate::admin::{self, RunState, View};
use crate::health::{Fixed, Health};
use crate::net::Listeners;
use crate::service::{Door, Service, Workers};

/// Histograms are condensed this often; without it they keep every sample.
const UPKEEP: Duration = Duration::from_secs(5);

/// How often it is looked whether what a reload took out has no sessions left.
const TIDY: Duration = Duration::from_millis(500);

/// What the control thread runs.
pub(super) struct Control {
    pub(super) healths: BTreeMap<Arc<str>, Health>,
    /// Until they are started.
    pub(super) made: Vec<Made>,
    pub(super) running: BTreeMap<Arc<str>, Running>,
    pub(super) admin: Option<std::net::TcpListener>,
    pub(super) socket: Option<UnixListener>,
    /// Another process answers there until clients are accepted here.
    pub(super) admin_late: bool,
    /// Another process answers there.
    pub(super) left: watch::Receiver<bool>,
    pub(super) view: Arc<View>,
    pub(super) standing: Standing,
    pub(super) listeners: Arc<Mutex<Listeners>>,
    /// New configurations.
    pub(super) changed: mpsc::Receiver<(Changes, SyncSender<Reloaded>)>,
    /// Certificates are to be read anew.
    pub(super) reread: watch::Sender<u64>,
    pub(super) workers: Arc<Workers>,
    pub(super) first_round: Duration,
    /// Asked whether this thread lives.
    pub(super) pings: mpsc::Receiver<oneshot::Sender<()>>,
}

/// What is done for one service beside serving.
pub(super) struct Running {
    pub(super) fixed: Vec<Fixed>,
    /// Looks after its certificates.
    pub(super) keepers: JoinSet<()>,
    /// What is done for sessions that began with other settings, until the last of them has ended.
    pub(super) former: Vec<(Weak<Service>, JoinSet<()>)>,
}

impl Control {
    pub(super) async fn run(mut self) {
        tokio::spawn(answer(std::mem::replace(&mut self.pings, mpsc::channel(1).1)));
        if !self.admin_late {
            self.answer_operators();
        }
        tokio::spawn(end_orphans(self.standing.clone()));
        for health in self.healths.values_mut() {
            health.start();
        }
        let mut doors: Vec<Arc<Door>> = Vec::new();
        for mut made in std::mem::take(&mut self.made) {
            made.fixed.iter_mut().for_each(Fixed::start);
            doors.extend(made.unit.doors.iter().map(|(_, door)| Arc::clone(door)));
            let keepers = self.keepers_of(&made.unit.secured);
            let running = Running { fixed: made.fixed, keepers, former: Vec::new() };
            self.running.insert(Arc::clone(made.unit.name()), running);
        }
        self.first_round().await;
        // Not kept here: the instance owns the sockets, and closes them when it drains.
        for door in doors {
            self.open(&door).await;
        }
        // Who replaces another process is not to say "starting" where that one said "ready".
        self.answer_operators();
        // Unless a drain came first.
        self.view.state.send_if_modified(|s| {
            let starting = *s == RunState::Starting;
            if starting {
                *s = RunState::Running;
            }
            starting
        });
        let mut upkeep = tokio::time::interval(UPKEEP);
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                _ = upkeep.tick() => self.view.registry.upkeep(),
                _ = tidy.tick() => self.tidy(),
                Some((changes, done)) = self.changed.recv() => {
                    let reloaded = self.change(changes, Instant::now()).await;
                    // Who asked may have left: it is in force all the same.
                    let _ = done.try_send(reloaded);
                }
            }
        }
    }

    /// Serves the admin address and the admin socket; the first time.
    fn answer_operators(&mut self) {
        if let Some(listener) = self.admin.take() {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(until(self.left.clone(), admin::serve(listener, Arc::clone(&self.view))));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin address: it answers nothing"),
            }
        }
        if let Some(listener) = self.socket.take() {
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(until(self.left.clone(), admin::serve_unix(listener, Arc::clone(&self.view))));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin socket: it answers nothing"),
            }
        }
    }

    async fn first_round(&self) {
        let rounds = async {
            for health in self.healths.values() {
                health.first_round().await;
            }
            for targets in self.running.values().flat_map(|running| &running.fixed) {
                targets.first_round().await;
            }
        };
        if tokio::time::timeout(self.first_round, rounds).await.is_err() {
            for (cluster, health) in &self.healths {
                let unchecked = health.unchecked().join(", ");
                if !unchecked.is_empty() {
                    tracing::warn!(cluster = %cluster, unchecked,
                        "accepting although these nodes were not checked yet: they get nobody until they were");
                }
            }
        }
    }

    /// Accepts there from now on.
    async fn open(&self, door: &Arc<Door>) {
        self.workers.attach(door).await;
        tracing::info!(service = %door.service().settings.name, address = %door.listener.local(), "accepting");
    }

    fn keepers_of(&self, secured: &[Secured]) -> JoinSet<()> {
        let mut keepers = JoinSet::new();
        for secured in secured {
            keepers.spawn(look_after(secured.clone(), self.reread.subscribe()));
        }
        keepers
    }

    /// Brings another configuration into force. Clusters first: a service may go to one that is new.
    async fn change(&mut self, mut changes: Changes, now: Instant) -> Reloaded {
        let mut told = Vec::new();
        self.change_clusters(&mut changes, &mut told);
        let opened = self.change_services(&mut changes, now, &mut told);
        let generation = self.publish(&changes);
        for door in opened {
            self.open(&door).await;
        }
        // Their files may have changed where the configuration did not.
        self.reread.send_modify(|times| *times += 1);
        Reloaded { generation, changes: told, needs_restart: changes.needs_restart }
    }

    fn change_clusters(&mut self, changes: &mut Changes, told: &mut Vec<String>) {
        for (name, fresh) in changes.kept.drain(..) {
            let Some(health) = self.healths.get_mut(&name) else { continue };
            let report = health.reconfigure(fresh);
            if !report.renamed.is_empty() {
                let mut services = self.standing.parts().services();
                services.retain(|service| service.settings.target.cluster_name() == Some(&name));
                // Those of one name count together. Twice, and two nodes that exchange their names would have them back.
                services.sort_by_key(|service| Arc::as_ptr(&service.metrics));
                services.dedup_by_key(|service| Arc::as_ptr(&service.metrics));
                services.iter().for_each(|service| service.metrics.rename_nodes(&report.renamed));
            }
            told.extend(report.sentences(&name));
        }
        let names: Vec<Arc<str>> = changes.config.clusters.iter().map(|c| Arc::clone(&c.name)).collect();
        for (view, mut health) in changes.healths.drain(..) {
            told.push(format!("cluster {}: new", view.name));
            health.start();
            self.healths.insert(Arc::clone(&view.name), health);
            self.standing.parts().clusters.insert(Arc::clone(&view.name), view);
        }
        let before: Vec<Arc<str>> = self.view.layout().clusters.iter().map(|c| Arc::clone(&c.name)).collect();
        for name in before.iter().filter(|name| !names.contains(name)) {
            if let Some(health) = self.healths.get_mut(name) {
                told.push(format!("cluster {name}: gone, its sessions drain"));
                health.retire();
            }
        }
    }

    /// The doors where nobody accepted until now.
    fn change_services(&mut self, changes: &mut Changes, now: Instant, told: &mut Vec<String>) -> Vec<Arc<Door>> {
        let standing = self.standing.clone();
        let mut parts = standing.parts();
        let old = std::mem::take(&mut parts.units);
        let mut opened = Vec::new();
        for made in changes.made.drain(..) {
            let Made { unit, mut fixed } = made;
            let service = &unit.service;
            let name = Arc::clone(unit.name());
            let before = old.iter().find(|old| *old.name() == name);
            service.move_in();
            tell_targets(&self.view.registry, &service.settings);
            self.view.registry.remember_service(&name);
            let was = self.running.remove(&name);
            let mut former = Vec::new();
            let mut keepers = None;
            match before {
                None => {
                    told.push(format!("service {name}: new, on {}", listed(&unit)));
                    fixed.iter_mut().for_each(Fixed::start);
                }
                Some(before) => {
                    parts.gone.push(Arc::downgrade(&before.service));
                    if before.service.settings != service.settings {
                        told.push(format!("service {name}: changed"));
                    }
                    if before.service.settings.target.cluster_name() != service.settings.target.cluster_name() {
                        service.metrics.forget_routes();
                    }
                    let until = now + parts.drain_timeout(&service.settings);
                    match (&before.targets, fixed.first_mut()) {
                        (Some(targets), Some(next)) => {
                            for gone in next.replace(targets, until) {
                                told.push(format!("service {name}: target {gone} is gone, its sessions drain"));
                                self.view.registry.forget_route(&name, &gone);
                            }
                        }
                        (Some(targets), None) => targets.drain(until),
                        (None, _) => fixed.iter_mut().for_each(Fixed::start),
                    }
                    if let Some(running) = was {
                        former = running.former;
                        if has_same_tls(&before.service.settings, &service.settings) {
                            keepers = Some(running.keepers);
                        } else {
                            before.secured.iter().for_each(Secured::succeed);
                            former.push((Arc::downgrade(&before.service), running.keepers));
                        }
                    }
                }
            }
            let keepers = keepers.unwrap_or_else(|| {
                if unit.secured.is_empty() {
                    service.metrics.expires([]);
                }
                self.keepers_of(&unit.secured)
            });
            self.running.insert(Arc::clone(&name), Running { fixed, keepers, former });
            for (_, door) in &unit.doors {
                let is_open = old.iter().flat_map(|old| &old.doors).any(|(_, open)| Arc::ptr_eq(open, door));
                if is_open {
                    // A socket that cannot be tuned accepts all the same.
                    let _ = door.listener.keep_alive(service.settings.keepalive);
                    door.lead_to(service);
                } else {
                    opened.push(Arc::clone(door));
                }
            }
            parts.units.push(unit);
        }
        changes.keep();
        self.close_what_is_gone(&old, &mut parts, now, told);
        if parts.closed {
            // A drain came first, and what was bound since is not let go of by it.
            parts.close();
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).release();
        }
        opened
    }

    fn close_what_is_gone(&self, old: &[Unit], parts: &mut Parts, now: Instant, told: &mut Vec<String>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for unit in old {
            for (_, door) in &unit.doors {
                if !parts.units.iter().flat_map(|unit| &unit.doors).any(|(_, open)| Arc::ptr_eq(open, door)) {
                    tracing::info!(address = %door.listener.local(), "no longer accepting");
                    door.close();
                    listeners.let_go(&door.listener);
                }
            }
            if !parts.units.iter().any(|new| new.name() == unit.name()) {
                told.push(format!("service {}: gone, its sessions drain", unit.name()));
                let is_ours = |door: &Arc<Door>| unit.doors.iter().any(|(_, own)| Arc::ptr_eq(own, door));
                if let Some(heir) = parts.units.iter().find(|new| new.doors.iter().any(|(_, door)| is_ours(door))) {
                    unit.service.followed_by(&heir.service);
                }
                let until = now + parts.drain_timeout(&unit.service.settings);
                parts.gone.push(Arc::downgrade(&unit.service));
                // Sessions that began with other settings may be on nodes of another target, and only those of its own are woken by it.
                let former =
                    parts.gone.iter().filter_map(Weak::upgrade).filter(|gone| gone.settings.name == *unit.name());
                former.for_each(|service| service.retire(until));
            }
        }
    }

    /// Shows the new configuration, and keeps it as the one that runs.
    fn publish(&self, changes: &Changes) -> u64 {
        let mut parts = self.standing.parts();
        parts.config = changes.config.clone();
        parts.generation += 1;
        let clusters = changes.config.clusters.iter().filter_map(|c| parts.clusters.get(&c.name).cloned());
        let layout = admin::Layout {
            generation: parts.generation,
            clusters: clusters.collect(),
            services: parts.units.iter().flat_map(|unit| unit.views.clone()).collect(),
            token: changes.config.admin.token.clone(),
        };
        self.view.layout.store(Arc::new(layout));
        parts.generation
    }

    /// Lets go of what nobody needs any more.
    fn tidy(&mut self) {
        let layout = self.view.layout();
        let mut parts = self.standing.parts();
        parts.gone.retain(|service| service.strong_count() > 0);
        let lives = |name: &Arc<str>, parts: &Parts| {
            let accepts = parts.units.iter().any(|unit| unit.name() == name);
            accepts || parts.gone.iter().filter_map(Weak::upgrade).any(|service| service.settings.name == *name)
        };
        self.running.retain(|name, running| {
            running.former.retain(|(service, _)| service.strong_count() > 0);
            let keep = lives(name, &parts);
            if !keep {
                self.view.registry.forget_service(name);
            }
            keep
        });
        if parts.prepared > 0 {
            return;
        }
        self.healths.retain(|name, health| {
            let keep = layout.clusters.iter().any(|c| c.name == *name) || !health.is_over();
            if !keep {
                health.forget();
                parts.clusters.remove(name);
            }
            keep
        });
    }
}

/// Does something until another process does it.
async fn until(mut left: watch::Receiver<bool>, what: impl Future<Output = ()>) {
    tokio::select! {
        () = what => {}
        // A sender that is gone is the end of the instance.
        _ = left.wait_for(|left| *left) => {}
    }
}

/// Answers whoever asks whether this thread lives.
async fn answer(mut pings: mpsc::Receiver<oneshot::Sender<()>>) {
    while let Some(asked) = pings.recv().await {
        // Who asked may have stopped waiting.
        let _ = asked.send(());
    }
}

fn listed(unit: &Unit) -> String {
    unit.doors.iter().map(|(_, door)| door.listener.local().to_string()).collect::<Vec<_>>().join(", ")
}
