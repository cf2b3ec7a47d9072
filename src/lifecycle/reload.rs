//! Another configuration for a running instance.
//!
//! Two steps. [`Reloader::prepare`] reads every key and binds every new address, on whatever thread can wait for a file: what can be
//! wrong with a configuration goes wrong there, and nothing has changed then. [`Reloader::apply`] hands the result to the control
//! thread, which changes everything at once and cannot fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::StartError;
use super::certificates::LeftOut;
use super::instance::view_of;
use super::services::{Builder, Entrance, Made};
use super::standing::{Parts, Standing, Unit};
use crate::admin::ClusterView;
use crate::config::{self, Config, Listen};
use crate::health::{Fresh, Health, Keepers, Lookup};
use crate::net::{Binding, Listener, Listeners};
use crate::service::TunnelLog;
use crate::telemetry::{Registry, names};

/// The control thread takes a change within this time, or it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings new configurations into force. One at a time: who holds a clone sees to that.
#[derive(Debug, Clone)]
pub struct Reloader {
    pub(super) registry: Registry,
    pub(super) lookup: Lookup,
    pub(super) left_out: LeftOut,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) listeners: Arc<Mutex<Listeners>>,
    pub(super) standing: Standing,
    pub(super) keepers: Option<Keepers>,
    pub(super) log: TunnelLog,
    pub(super) reread: watch::Sender<u64>,
    pub(super) changes: mpsc::Sender<(Changes, SyncSender<Reloaded>)>,
}

/// A configuration that has its keys and its addresses, and is not in force yet.
#[derive(Debug)]
pub struct Changes {
    /// As it will run: what cannot change is as it was.
    pub(super) config: Config,
    pub(super) needs_restart: Vec<String>,
    /// Clusters that are watched already.
    pub(super) kept: Vec<(Arc<str>, Fresh)>,
    /// Those that are new.
    pub(super) healths: Vec<(ClusterView, Health)>,
    pub(super) made: Vec<Made>,
    tentative: Tentative,
}

/// What is there for a configuration that is not in force yet, and goes if it does not come into force.
#[derive(Debug)]
struct Tentative {
    /// Sockets that were bound.
    sockets: Vec<Arc<Listener>>,
    /// Services and clusters whose series are new.
    services: Vec<Arc<str>>,
    clusters: Vec<Arc<str>>,
    listeners: Arc<Mutex<Listeners>>,
    registry: Registry,
    standing: Standing,
}

impl Drop for Tentative {
    fn drop(&mut self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        self.sockets.iter().for_each(|listener| listeners.let_go(listener));
        drop(listeners);
        self.services.iter().for_each(|name| self.registry.forget_service(name));
        self.clusters.iter().for_each(|name| self.registry.forget_cluster(name));
        self.standing.parts().prepared -= 1;
    }
}

impl Changes {
    /// It is in force: all that is there for it stays.
    pub(super) fn keep(&mut self) {
        self.tentative.sockets.clear();
        self.tentative.services.clear();
        self.tentative.clusters.clear();
    }
}

/// What a reload has changed, for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Which configuration is in force, counted from 1.
    pub generation: u64,
    /// A sentence for each change.
    pub changes: Vec<String>,
    /// What differs in the file and stays as it was until a restart.
    pub needs_restart: Vec<String>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "reloaded: configuration {} is in force", self.generation)?;
        if self.changes.is_empty() {
            writeln!(f, "  nothing but times and limits differs, if anything")?;
        }
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))?;
        self.needs_restart.iter().try_for_each(|what| writeln!(f, "  needs a restart: {what}"))
    }
}

/// Why a configuration that was prepared did not come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The instance stops.
    #[error("nothing is changed any more while Galeway stops")]
    Stopping,
    /// Nobody took it.
    #[error("the control thread did not take it within {} s, and may take it still: please report it", PATIENCE.as_secs())]
    Hangs,
}

impl Reloader {
    /// Reads all that the configuration names, and binds what it listens on and nobody here does yet. May wait for files.
    ///
    /// # Errors
    /// As at the start, [`super::Instance::prepare`]; nothing has changed then.
    pub fn prepare(&self, config: Config) -> Result<Changes, StartError> {
        let (started, clusters, units) = {
            let mut parts = self.standing.parts();
            parts.prepared += 1;
            (parts.started.clone(), parts.clusters.clone(), parts.units.clone())
        };
        let mut tentative = Tentative {
            sockets: Vec::new(),
            services: Vec::new(),
            clusters: Vec::new(),
            listeners: Arc::clone(&self.listeners),
            registry: self.registry.clone(),
            standing: self.standing.clone(),
        };
        let needs_restart = fixed_parts(&started, &config);
        let config =
            Config { process: kept_process(&started, &config), admin: kept_admin(&started, &config), ..config };
        let (mut kept, mut healths, mut pools) = (Vec::new(), Vec::new(), BTreeMap::new());
        for cluster in &config.clusters {
            let error = |source| StartError::Tls { cluster: cluster.name.to_string(), source };
            let pool = match clusters.get(&cluster.name) {
                Some(known) => {
                    kept.push((Arc::clone(&cluster.name), Fresh::new(cluster).map_err(error)?));
                    Arc::clone(&known.pool)
                }
                None => {
                    tentative.clusters.push(Arc::clone(&cluster.name));
                    let health =
                        Health::new(cluster, &self.registry, self.keepers.as_ref(), &self.lookup).map_err(error)?;
                    let pool = health.pool();
                    healths.push((view_of(cluster, &health), health));
                    pool
                }
            };
            pools.insert(Arc::clone(&cluster.name), pool);
        }
        let builder = Builder {
            registry: &self.registry,
            lookup: &self.lookup,
            stopping: &self.stopping,
            pools,
            launch: None,
            root: None,
            left_out: self.left_out.clone(),
            log: self.log.clone(),
        };
        let mut made = Vec::new();
        for settings in &config.services {
            let entrances = self.entrances(settings, &units, &mut tentative.sockets)?;
            let old = units.iter().find(|unit| *unit.name() == settings.name);
            if old.is_none() {
                tentative.services.push(Arc::clone(&settings.name));
            }
            made.extend(builder.make(settings, entrances, old)?);
        }
        Ok(Changes { config, needs_restart, kept, healths, made, tentative })
    }

    /// Reads certificates, keys, CAs and CRLs anew, soon, and nothing else; what is bad changes nothing, and the log tells.
    pub fn reread_certificates(&self) {
        self.reread.send_modify(|times| *times += 1);
    }

    /// Counts a reload in the metrics.
    pub fn count(&self, done: bool) {
        let result = if done { "ok" } else { "refused" };
        self.registry.counter(names::RELOADS, &[("result", result)]).increment(1);
    }

    /// Where a service accepts: a socket that is open already stays open, whoever accepts there until now.
    fn entrances(
        &self,
        settings: &config::Service,
        units: &[Unit],
        sockets: &mut Vec<Arc<Listener>>,
    ) -> Result<Vec<(Listen, Entrance)>, StartError> {
        let binding = Binding { keepalive: settings.keepalive, freebind: settings.freebind, access: &settings.socket };
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for address in &settings.accept {
            let picked = matches!(address, Listen::Tcp(at) if at.port() == 0);
            let is_same = |unit: &Unit, written: &Listen, listener: &Listener| match picked {
                // The port that was picked for this service, once.
                true => {
                    let taken = |(_, e): &(Listen, Entrance)| std::ptr::eq(&**e.listener(), listener);
                    *unit.name() == settings.name && written == address && !all.iter().any(taken)
                }
                false => written == address || listener.local() == address,
            };
            let doors =
                units.iter().flat_map(|unit| unit.doors.iter().map(move |(written, door)| (unit, written, door)));
            let open = doors.filter(|(unit, written, door)| is_same(unit, written, &door.listener));
            let most = if picked { 1 } else { usize::MAX };
            let open: Vec<_> = open.take(most).map(|(_, _, door)| Arc::clone(door)).collect();
            if !open.is_empty() {
                all.extend(open.into_iter().map(|door| (address.clone(), Entrance::Kept(door))));
                continue;
            }
            let new = listeners.get(address, binding).map_err(|source| StartError::Listen {
                service: settings.name.to_string(),
                address: address.clone(),
                source,
            })?;
            sockets.extend(new.iter().cloned());
            all.extend(new.into_iter().map(|listener| (address.clone(), Entrance::New(listener))));
        }
        Ok(all)
    }

    /// Brings it into force. Blocks until the control thread has done it, ten seconds at most; must not be called on a runtime's
    /// thread.
    ///
    /// # Errors
    /// It is not in force; after [`ApplyError::Hangs`] it may still come into force.
    pub fn apply(&self, changes: Changes) -> Result<Reloaded, ApplyError> {
        let (sender, done) = std_mpsc::sync_channel(1);
        self.changes.try_send((changes, sender)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ApplyError::Hangs,
            mpsc::error::TrySendError::Closed(_) => ApplyError::Stopping,
        })?;
        done.recv_timeout(PATIENCE).map_err(|e| match e {
            RecvTimeoutError::Disconnected => ApplyError::Stopping,
            RecvTimeoutError::Timeout => ApplyError::Hangs,
        })
    }
}

impl Parts {
    /// How long sessions of a service may go on that the configuration does not name any more: as those of a node that drains.
    pub(super) fn drain_timeout(&self, settings: &config::Service) -> Duration {
        let config::Target::Cluster { cluster, .. } = &settings.target else {
            return config::Sessions::default().drain_timeout;
        };
        let of = self.config.clusters.iter().find(|c| c.name == *cluster);
        of.map_or_else(|| config::Sessions::default().drain_timeout, |c| c.sessions.drain_timeout)
    }
}

/// What of `[process]` a reload changes; the rest belongs to the process as it was started.
fn kept_process(started: &Config, new: &Config) -> config::Process {
    let (old, new) = (&started.process, &new.process);
    config::Process {
        shutdown_timeout: new.shutdown_timeout,
        readiness_delay: new.readiness_delay,
        log_level: new.log_level,
        access_log: new.access_log,
        ..old.clone()
    }
}

fn kept_admin(started: &Config, new: &Config) -> config::Admin {
    config::Admin { token: new.admin.token.clone(), ..started.admin.clone() }
}

/// What differs from how the process was started, and cannot change while it runs: the keys and why.
fn fixed_parts(started: &Config, new: &Config) -> Vec<String> {
    let mut all = Vec::new();
    let mut differs = |key: &str, differs: bool, why: &str| {
        if differs {
            all.push(format!("{key} ({why})"));
        }
    };
    let (old, now) = (&started.process, &new.process);
    differs("[process] workers", old.workers != now.workers, "threads are started once");
    let privileges = "privileges are dropped once";
    differs("[process] user", old.user != now.user, privileges);
    differs("[process] group", old.group != now.group, privileges);
    differs("[process] chroot", old.chroot != now.chroot, privileges);
    differs("[process] pid_file", old.pid_file != now.pid_file, "it is held as long as the process lives");
    let log = "the log is opened once";
    differs("[process] log", old.log != now.log, log);
    differs("[process] log_format", old.log_format != now.log_format, log);
    differs("[process] nameservers", old.nameservers != now.nameservers, "resolvers are set up once");
    differs("[process] state_dir", old.state_dir != now.state_dir, "it is locked as long as the process lives");
    let (old, now) = (&started.admin, &new.admin);
    differs("[admin] listen", old.listen != now.listen, "its socket is opened once");
    differs("[admin] socket", old.socket != now.socket, "it is opened once");
    for cluster in &new.clusters {
        let socket = |of: &Config| of.memory().is_some();
        if socket(new) && !socket(started) {
            all.push(format!(
                "[process] state_dir for cluster {:?} (it is opened at the start: until then nothing is remembered)",
                &*cluster.name
            ));
        }
    }
    for service in &new.services {
        let stays = |old: &config::Service| service.accept.iter().any(|address| old.accept.contains(address));
        let before = started.services.iter().find(|old| stays(old));
        let Some(before) = before else { continue };
        if before.socket != service.socket {
            all.push(format!(
                "service {:?}: socket_mode, socket_owner (they are given when the socket is made)",
                &*service.name
            ));
        }
        if before.freebind != service.freebind {
            all.push(format!("service {:?}: freebind (it counts when the socket is bound)", &*service.name));
        }
    }
    all
}
