//! Starting.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, watch};

use super::admin_sockets::AdminSockets;
use super::certificates::LeftOut;
use super::control::Control;
use super::handed::Handed;
use super::handle::{Handle, Shared};
use super::reload::Reloader;
use super::services::{Builder, Entrance, Made, tell_targets};
use super::standing::{Parts, Standing};
use crate::admin::{ClusterView, Layout, ReloadDesk, ReloadRequests, RunState, View};
use crate::config::stunnel::Launch;
use crate::config::{self, Config, Discover, Listen};
use crate::health::memory::OpenError;
use crate::health::{Health, Lookup, Store};
use crate::net::tls::SetupError;
use crate::net::{Binding, Inherited, ListenError, Listener, Listeners, UnixError};
use crate::service::{TunnelLog, Workers};
use crate::telemetry::Registry;

/// The first round of checks is bounded by each check's own deadline; this is for the machine's slowness.
const FIRST_ROUND_SLACK: Duration = Duration::from_secs(2);

/// What operators set while nobody listens to it; more than a person does at once.
const OPERATED: usize = 256;

/// Threads that may wait for the system's resolver, for the list of this host's addresses, and for files of certificates that hang, at once. Each service's files are
/// looked at by one at most; with more services than that some wait for others.
const BLOCKING_THREADS: usize = 256;

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be made.
    #[error("service {service:?}: cannot listen on {address}: {source}")]
    Listen {
        /// Whose.
        service: String,
        /// Where.
        address: Listen,
        /// Why.
        source: ListenError,
    },
    /// The admin address could not be bound.
    #[error("[admin] cannot listen on {address}: {source}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: ListenError,
    },
    /// The admin socket that was asked for could not be had.
    #[error("[admin] cannot listen on unix:{}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: UnixError,
    },
    /// What another process has handed over is nothing to listen on.
    #[error("cannot use a socket of the running Galeway: {0}")]
    Handed(#[source] io::Error),
    /// A monitor's certificates cannot be used.
    #[error("cluster {cluster:?}: monitor TLS: {source}")]
    Tls {
        /// Whose.
        cluster: String,
        /// Why.
        source: SetupError,
    },
    /// A service's certificates cannot be used.
    #[error("service {service:?}: {key}: {source}")]
    ServiceTls {
        /// Whose.
        service: String,
        /// `tls` or `connect_tls`, or what stands for them in the file.
        key: &'static str,
        /// Why.
        source: SetupError,
    },
    /// What a restart must not forget cannot be kept where the configuration says.
    #[error("[process] {0}")]
    Memory(#[from] OpenError),
    /// The operating system refused a thread or its event queue.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
}

/// One Galeway.
#[derive(Debug)]
pub struct Instance;

impl Instance {
    /// [`Self::prepare`] and [`Prepared::launch`] in one.
    pub fn start(config: &Config, inherited: Inherited) -> Result<Handle, StartError> {
        Self::prepare(config, Sockets { inherited, ..Sockets::default() }, None)?.launch()
    }

    /// Reads every key and binds every address. What can go wrong for a reason of the configuration's goes wrong here.
    ///
    /// No thread is started and no runtime is made: privileges are dropped for the whole process, and a process becomes
    /// a daemon, while there is one thread only.
    ///
    /// `tunnels`: what a stunnel.conf says of its services besides.
    pub fn prepare(config: &Config, mut sockets: Sockets, tunnels: Option<&Launch>) -> Result<Prepared, StartError> {
        let registry = Registry::new();
        let lookup = match config.process.nameservers.as_slice() {
            [] => Lookup::system(),
            servers => Lookup::with(servers),
        };
        let memory = config.memory().map(Store::open).transpose()?.flatten();
        let keepers = memory.as_ref().map(Store::keepers);
        let mut healths = BTreeMap::new();
        let mut clusters = Vec::new();
        for cluster in &config.clusters {
            let health = Health::new(cluster, &registry, keepers.as_ref(), &lookup)
                .map_err(|source| StartError::Tls { cluster: cluster.name.to_string(), source })?;
            clusters.push(view_of(cluster, &health));
            healths.insert(Arc::clone(&cluster.name), health);
        }
        let (stopping, _) = watch::channel(false);
        let mut listeners = Listeners::new(sockets.inherited);
        if let Some(other) = &sockets.shared_with {
            listeners.share(&other.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sockets.handed.services(&mut listeners).map_err(StartError::Handed)?;
        let mut unbound = Vec::new();
        let left_out = LeftOut::default();
        // Of a later instance the root is the one that it was made in.
        let root = config.process.chroot.as_deref().filter(|_| sockets.shared_with.is_none());
        // The numbers of connections go on over a reload.
        let log = sockets.shared_with.map(|other| other.log).unwrap_or_default();
        let builder = Builder {
            registry: &registry,
            lookup: &lookup,
            stopping: &stopping,
            pools: clusters.iter().map(|c| (Arc::clone(&c.name), Arc::clone(&c.pool))).collect(),
            launch: tunnels,
            left_out: left_out.clone(),
            root,
            log: log.clone(),
        };
        let mut made = Vec::new();
        for settings in &config.services {
            let entrances = listen(settings, &mut listeners, sockets.some_suffice, &mut unbound)?;
            made.extend(builder.make(settings, entrances, None)?);
            tell_targets(&registry, settings);
        }
        // Held on here, a socket that no service accepts on would let clients in whom nobody serves.
        listeners.unshare();
        for name in listeners.unclaimed() {
            tracing::warn!(
                name,
                "a socket was handed over that no service accepts on: whoever connects there waits; write \
                accept = \"fd:NAME\", or take it out of the .socket unit"
            );
        }
        let admin = AdminSockets::new(&config.admin, &mut sockets.handed)?;
        let (reloads, reload_requests) = ReloadDesk::channel();
        let layout = Layout {
            generation: 1,
            clusters,
            services: made.iter().flat_map(|made| made.unit.views.clone()).collect(),
            token: config.admin.token.clone(),
        };
        let view = Arc::new(View {
            started: Instant::now(),
            state: watch::Sender::new(RunState::Starting),
            layout: ArcSwap::from_pointee(layout),
            reloads,
            registry,
            replaced: AtomicBool::new(false),
            operated: broadcast::Sender::new(OPERATED),
        });
        warn_of_open_token(config, admin.address());
        let workers = worker_count(config);
        let first_round = first_round_limit(config);
        Ok(Prepared {
            config: config.clone(),
            healths,
            made,
            admin,
            replaces: sockets.handed.is_from_another(),
            view,
            reload_requests,
            lookup,
            left_out,
            listeners,
            unbound,
            stopping,
            workers,
            first_round,
            memory,
            log,
        })
    }
}

/// Where sockets come from that need not be bound, and what is enough.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those that whoever started the process has bound.
    pub inherited: Inherited,
    /// Those of the process whose place this one takes.
    pub handed: Handed,
    /// Another instance of this process, which goes on accepting until it is told to drain: an address that it listens on
    /// is not bound a second time, so that no client is refused in between. A port 0 is bound anew.
    pub shared_with: Option<Shared>,
    /// A service begins with those of its addresses that could be bound, if there is one; else each has to be.
    pub some_suffice: bool,
}

/// An instance that has its keys and its addresses, and does nothing yet. Clients that connect meanwhile wait in the
/// kernel's queue.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    healths: BTreeMap<Arc<str>, Health>,
    made: Vec<Made>,
    admin: AdminSockets,
    /// Another process serves until this one does.
    replaces: bool,
    view: Arc<View>,
    reload_requests: ReloadRequests,
    lookup: Lookup,
    left_out: LeftOut,
    listeners: Listeners,
    unbound: Vec<StartError>,
    stopping: watch::Sender<bool>,
    workers: usize,
    first_round: Duration,
    memory: Option<Store>,
    log: TunnelLog,
}

impl Prepared {
    /// Each service's name and the sockets it is going to accept on.
    pub fn bound(&self) -> impl Iterator<Item = (Arc<str>, Vec<Arc<Listener>>)> {
        self.made.iter().map(|made| {
            let listeners = made.unit.doors.iter().map(|(_, door)| Arc::clone(&door.listener)).collect();
            (Arc::clone(made.unit.name()), listeners)
        })
    }

    /// What could not be bound, where some addresses suffice.
    pub fn unbound(&self) -> &[StartError] {
        &self.unbound
    }

    /// Starts the threads, and begins to accept after the first round of checks.
    ///
    /// Must not be called on an async runtime's thread that the caller cannot block: it does blocking system calls, but
    /// waits for no network.
    pub fn launch(mut self) -> Result<Handle, StartError> {
        if let Some(memory) = &mut self.memory {
            memory.begin()?;
        }
        let reread = watch::Sender::new(0);
        let workers = Arc::new(Workers::start(self.workers).map_err(StartError::Threads)?);
        let (admin, socket) = self.admin.accepting().map_err(StartError::Threads)?;
        let left = watch::Sender::new(false);
        let (ping, pings) = mpsc::channel(1);
        let clusters = self.view.layout().clusters.iter().map(|c| (Arc::clone(&c.name), c.clone())).collect();
        let standing = Standing::new(Parts {
            started: self.config.clone(),
            config: self.config,
            clusters,
            units: self.made.iter().map(|made| made.unit.clone()).collect(),
            gone: Vec::new(),
            generation: 1,
            prepared: 0,
            closed: false,
        });
        self.listeners.after_others();
        let listeners = Arc::new(Mutex::new(self.listeners));
        let (changes, changed) = mpsc::channel(1);
        let control = Control {
            healths: self.healths,
            made: self.made,
            running: BTreeMap::new(),
            admin,
            socket,
            admin_late: self.replaces,
            left: left.subscribe(),
            view: Arc::clone(&self.view),
            standing: standing.clone(),
            listeners: Arc::clone(&listeners),
            changed,
            reread: reread.clone(),
            workers: Arc::clone(&workers),
            first_round: self.first_round,
            pings,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(StartError::Threads)?;
        let (end, mut ended) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = control.run() => {}
                        _ = ended.wait_for(|e| *e) => {}
                    }
                });
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(StartError::Threads)?;
        let control = Some(thread);
        let Self { view, stopping, memory, log, .. } = self;
        let reloader = Reloader {
            registry: view.registry.clone(),
            lookup: self.lookup,
            left_out: self.left_out,
            stopping: stopping.clone(),
            listeners: Arc::clone(&listeners),
            standing: standing.clone(),
            keepers: memory.as_ref().map(Store::keepers),
            log: log.clone(),
            reread,
            changes,
        };
        Ok(Handle {
            view,
            reloader,
            reload_requests: Mutex::new(Some(self.reload_requests)),
            standing,
            admin: Mutex::new(self.admin),
            left,
            first_round: self.first_round,
            workers,
            listeners,
            stopping,
            end,
            control,
            ping,
            memory,
            log,
        })
    }
}

fn listen(
    settings: &config::Service,
    listeners: &mut Listeners,
    some_suffice: bool,
    unbound: &mut Vec<StartError>,
) -> Result<Vec<(Listen, Entrance)>, StartError> {
    let binding = Binding { keepalive: settings.keepalive, freebind: settings.freebind, access: &settings.socket };
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for address in &settings.accept {
        let error =
            |source| StartError::Listen { service: settings.name.to_string(), address: address.clone(), source };
        match listeners.get(address, binding).map_err(error) {
            Ok(bound) => all.extend(bound.into_iter().map(|l| (address.clone(), Entrance::New(l)))),
            Err(e) if some_suffice => failed.push(e),
            Err(e) => return Err(e),
        }
    }
    if all.is_empty()
        && let Some(e) = failed.pop()
    {
        return Err(e);
    }
    unbound.append(&mut failed);
    Ok(all)
}

/// A cluster, for whoever looks at it or commands it.
pub(super) fn view_of(cluster: &config::Cluster, health: &Health) -> ClusterView {
    ClusterView { name: Arc::clone(&cluster.name), pool: health.pool(), commands: health.commands() }
}

/// Whoever hears the token once can drain every node.
fn warn_of_open_token(config: &Config, admin: Option<SocketAddr>) {
    if let (Some(_), Some(address)) = (&config.admin.token, admin)
        && !address.ip().is_loopback()
    {
        tracing::warn!(%address, "the admin token travels this network in plain text: listen on 127.0.0.1 and use the \
            socket, or reach it through a tunnel");
    }
}

fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.process.workers.and_then(|w| usize::try_from(w).ok()).filter(|w| *w > 0).unwrap_or_else(cores)
}

fn first_round_limit(config: &Config) -> Duration {
    let round = |c: &Arc<config::Cluster>| {
        // What is discovered is checked after what is configured.
        if c.discovery.by == Discover::Off { c.monitor.timeout } else { c.monitor.timeout * 2 }
    };
    config.clusters.iter().map(round).max().unwrap_or_default() + FIRST_ROUND_SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_clusters_no_directory_of_states_is_opened() {
        let path = PathBuf::from("/dev/null/state");
        let process =
            config::Process { state_dir: Some(config::StateDir { path, written: true }), ..Default::default() };
        let admin = config::Admin { listen: None, socket: None, ..Default::default() };
        let mut config = Config { clusters: Vec::new(), services: Vec::new(), admin, process };
        Instance::prepare(&config, Sockets::default(), None).unwrap();
        let monitor = config::Monitor::new("monitor", config::Secret::default());
        config.clusters.push(Arc::new(config::Cluster::new("c", Vec::new(), monitor)));
        assert!(matches!(Instance::prepare(&config, Sockets::default(), None), Err(StartError::Memory(_))));
    }
}
