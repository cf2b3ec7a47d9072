//! Starting.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::handle::Handle;
use crate::admin::{self, ClusterView, RunState, ServiceView, View};
use crate::config::{self, AdminSocket, Config, Discover, Listen, SocketAccess, Target};
use crate::health::memory::OpenError;
use crate::health::{Fixed, Health, Lookup, Store};
use crate::net::tls::SetupError;
use crate::net::{Binding, Inherited, ListenError, Listener, Listeners, SocketFile, UnixError, bind_unix};
use crate::pool::Wanted;
use crate::service::{Service, Workers};
use crate::telemetry::{Registry, ServiceMetrics};

/// Histograms are condensed this often; without it they keep every sample.
const UPKEEP: Duration = Duration::from_secs(5);

/// The first round of checks is bounded by each check's own deadline; this is for the machine's slowness.
const FIRST_ROUND_SLACK: Duration = Duration::from_secs(2);

/// Of the admin socket: whoever may open it is an operator.
const SOCKET_MODE: u32 = 0o660;

/// Threads that may wait for the system's resolver at once.
const RESOLVER_THREADS: usize = 8;

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
    /// A monitor's certificates cannot be used.
    #[error("cluster {cluster:?}: monitor TLS: {source}")]
    Tls {
        /// Whose.
        cluster: String,
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
    /// Binds every address, starts the threads, and begins to accept after the first round of checks.
    ///
    /// Clients that connect meanwhile wait in the kernel's queue. Must not be called on an async runtime's thread
    /// that the caller cannot block: it does blocking system calls, but waits for no network.
    ///
    /// `inherited`: sockets that whoever started the process has bound.
    pub fn start(config: &Config, inherited: Inherited) -> Result<Handle, StartError> {
        let registry = Registry::new();
        let lookup = match config.process.nameservers.as_slice() {
            [] => Lookup::system(),
            servers => Lookup::with(servers),
        };
        let memory = config.process.state_dir.as_ref().map(Store::open).transpose()?.flatten();
        let mut healths = Vec::new();
        let mut pools = BTreeMap::new();
        for cluster in &config.clusters {
            let health = Health::new(cluster, &registry, memory.as_ref(), &lookup)
                .map_err(|source| StartError::Tls { cluster: cluster.name.to_string(), source })?;
            pools.insert(Arc::clone(&cluster.name), health.pool());
            healths.push(health);
        }
        let (stopping, _) = watch::channel(false);
        let (closing, _) = watch::channel(false);
        let mut listeners = Listeners::new(inherited);
        let mut fixed = Vec::new();
        let mut services = Vec::new();
        let mut views = Vec::new();
        for settings in &config.services {
            let (pool, target) = match &settings.target {
                Target::Cluster { cluster, role, .. } => {
                    // The configuration's reading has refused a service without its cluster.
                    let Some(pool) = pools.get(cluster).map(Arc::clone) else { continue };
                    registry.serves(&settings.name, cluster);
                    (pool, format!("{cluster}/{}", role.as_str()))
                }
                Target::Fixed(places) => {
                    let targets = Fixed::new(settings, places, &lookup);
                    let pool = targets.pool();
                    fixed.push(targets);
                    (pool, places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
            };
            let accepting = listen(settings, &mut listeners)?;
            let metrics = Arc::new(ServiceMetrics::new(&registry, Arc::clone(&settings.name)));
            views.push(ServiceView {
                name: Arc::clone(&settings.name),
                accept: accepting.iter().map(|l| l.local().clone()).collect(),
                target,
                is_fixed: matches!(settings.target, Target::Fixed(_)),
                wanted: Wanted::of(&settings.target),
                pool: Arc::clone(&pool),
                metrics: Arc::clone(&metrics),
            });
            let service = Service::new(Arc::clone(settings), pool, metrics, stopping.subscribe());
            services.push((Arc::new(service), accepting));
        }
        for name in listeners.unclaimed() {
            tracing::warn!(
                name,
                "a socket was handed over that no service accepts on: whoever connects there waits; write \
                accept = \"fd:NAME\", or take it out of the .socket unit"
            );
        }
        let admin = config.admin.listen.map(bind_admin).transpose()?;
        let (socket, socket_file) = config.admin.socket.as_ref().map(bind_socket).transpose()?.flatten().unzip();
        let clusters = config.clusters.iter().zip(&healths).map(|(c, health)| ClusterView {
            name: Arc::clone(&c.name),
            pool: health.pool(),
            commands: health.commands(),
        });
        let view = Arc::new(View {
            started: Instant::now(),
            state: watch::Sender::new(RunState::Starting),
            clusters: clusters.collect(),
            services: views,
            token: config.admin.token.clone(),
            registry,
        });
        let admin_addr = admin.as_ref().and_then(|l| l.local_addr().ok());
        warn_of_open_token(config, admin_addr);
        let workers = Arc::new(Workers::start(worker_count(config)).map_err(StartError::Threads)?);
        let control = Control {
            healths,
            fixed,
            admin,
            socket,
            view: Arc::clone(&view),
            services,
            workers: Arc::clone(&workers),
            closing: closing.subscribe(),
            first_round: first_round_limit(config),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVER_THREADS)
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
        let listeners = Mutex::new(listeners);
        let control = Some(thread);
        let _socket_file = socket_file;
        Ok(Handle { view, admin_addr, workers, listeners, closing, stopping, end, control, _socket_file, memory })
    }
}

fn listen(settings: &config::Service, listeners: &mut Listeners) -> Result<Vec<Arc<Listener>>, StartError> {
    let binding = Binding { keepalive: settings.keepalive, freebind: settings.freebind, access: &settings.socket };
    let mut all = Vec::new();
    for address in &settings.accept {
        let bound = listeners.get(address, binding);
        let service = || settings.name.to_string();
        all.extend(bound.map_err(|source| StartError::Listen {
            service: service(),
            address: address.clone(),
            source,
        })?);
    }
    Ok(all)
}

fn bind_admin(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let bound = Listener::bind(address, None, false).and_then(Listener::into_tcp);
    bound.map_err(|source| StartError::Admin { address, source: source.into() })
}

/// The admin socket. Nobody asked for the default one: that it cannot be had is no reason not to start.
fn bind_socket(socket: &AdminSocket) -> Result<Option<(UnixListener, SocketFile)>, StartError> {
    let access = SocketAccess { mode: SOCKET_MODE, ..SocketAccess::default() };
    match bind_unix(&socket.path, &access) {
        Ok(bound) => Ok(Some(bound)),
        Err(source) if socket.written => Err(StartError::Socket { path: socket.path.clone(), source }),
        Err(why) => {
            tracing::warn!(path = %socket.path.display(), why = %why, "no admin socket: `galeway node` and changes need it, \
                or a token over TCP; [admin] socket = \"\" turns it off");
            Ok(None)
        }
    }
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

/// What the control thread runs.
struct Control {
    healths: Vec<Health>,
    fixed: Vec<Fixed>,
    admin: Option<std::net::TcpListener>,
    socket: Option<UnixListener>,
    view: Arc<View>,
    services: Vec<(Arc<Service>, Vec<Arc<Listener>>)>,
    workers: Arc<Workers>,
    closing: watch::Receiver<bool>,
    first_round: Duration,
}

impl Control {
    async fn run(mut self) {
        if let Some(listener) = self.admin.take() {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(admin::serve(listener, Arc::clone(&self.view)));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin address: it answers nothing"),
            }
        }
        if let Some(listener) = self.socket.take() {
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(admin::serve_unix(listener, Arc::clone(&self.view)));
                }
                Err(e) => tracing::error!(error = %e, "cannot watch the admin socket: it answers nothing"),
            }
        }
        for health in &mut self.healths {
            health.start();
        }
        for targets in &mut self.fixed {
            targets.start();
        }
        let rounds = async {
            for health in &self.healths {
                health.first_round().await;
            }
            for targets in &self.fixed {
                targets.first_round().await;
            }
        };
        if tokio::time::timeout(self.first_round, rounds).await.is_err() {
            for (health, cluster) in self.healths.iter().zip(&self.view.clusters) {
                let unchecked = health.unchecked().join(", ");
                if !unchecked.is_empty() {
                    tracing::warn!(cluster = %cluster.name, unchecked,
                        "accepting although these nodes were not checked yet: they get nobody until they were");
                }
            }
        }
        // Not kept here: the instance owns the sockets, and closes them when it drains.
        for (service, listeners) in self.services.drain(..) {
            for listener in listeners {
                self.workers.attach(&listener, &service, &self.closing).await;
                let name = &service.settings.load().name;
                tracing::info!(service = %name, address = %listener.local(), "accepting");
            }
        }
        // Unless a drain came first.
        self.view.state.send_if_modified(|s| {
            let starting = *s == RunState::Starting;
            if starting {
                *s = RunState::Running;
            }
            starting
        });
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            upkeep.tick().await;
            self.view.registry.upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_asked_for_may_be_missing_and_one_that_was_asked_for_may_not() {
        let nowhere = |written| AdminSocket { path: PathBuf::from("/nonexistent/galeway/admin.sock"), written };
        assert!(bind_socket(&nowhere(false)).unwrap().is_none());
        let said = bind_socket(&nowhere(true)).unwrap_err().to_string();
        assert!(
            said.starts_with("[admin] cannot listen on unix:/nonexistent/galeway/admin.sock: there is no"),
            "{said}"
        );
    }
}
