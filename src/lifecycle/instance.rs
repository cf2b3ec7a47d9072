//! Starting.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::handle::Handle;
use crate::admin::{self, ClusterView, RunState, ServiceView, View};
use crate::config::{self, Config};
use crate::health::Health;
use crate::net::tls::SetupError;
use crate::net::{Listener, Listeners};
use crate::pool::Wanted;
use crate::service::{Service, Workers};
use crate::telemetry::{Registry, ServiceMetrics};

/// Histograms are condensed this often; without it they keep every sample.
const UPKEEP: Duration = Duration::from_secs(5);

/// The first round of checks is bounded by each check's own deadline; this is for the machine's slowness.
const FIRST_ROUND_SLACK: Duration = Duration::from_secs(2);

/// Threads that may wait for the system's resolver at once.
const RESOLVER_THREADS: usize = 8;

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be made.
    #[error("service {service:?}: cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// Whose.
        service: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin address could not be bound.
    #[error("[admin] cannot listen on {address}: {source}{}", hint(.source))]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A monitor's certificates cannot be used.
    #[error("cluster {cluster:?}: monitor TLS: {source}")]
    Tls {
        /// Whose.
        cluster: String,
        /// Why.
        source: SetupError,
    },
    /// The operating system refused a thread or its event queue.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there: see `ss -ltnp`)",
        io::ErrorKind::AddrNotAvailable => " (this host does not hold that address)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        _ => "",
    }
}

/// One Galeway.
#[derive(Debug)]
pub struct Instance;

impl Instance {
    /// Binds every address, starts the threads, and begins to accept after the first round of checks.
    ///
    /// Clients that connect meanwhile wait in the kernel's queue. Must not be called on an async runtime's thread
    /// that the caller cannot block: it does blocking system calls, but waits for no network.
    pub fn start(config: &Config) -> Result<Handle, StartError> {
        let registry = Registry::new();
        let mut healths = Vec::new();
        let mut pools = BTreeMap::new();
        for cluster in &config.clusters {
            let health = Health::new(cluster, &registry)
                .map_err(|source| StartError::Tls { cluster: cluster.name.to_string(), source })?;
            pools.insert(Arc::clone(&cluster.name), health.pool());
            healths.push(health);
        }
        let (stopping, _) = watch::channel(false);
        let (closing, _) = watch::channel(false);
        let mut listeners = Listeners::default();
        let mut services = Vec::new();
        let mut views = Vec::new();
        for settings in &config.services {
            // Resolution of the configuration has refused a service without its cluster.
            let Some(pool) = pools.get(&settings.cluster).map(Arc::clone) else { continue };
            let accepting = listen(settings, &mut listeners)?;
            let metrics = Arc::new(ServiceMetrics::new(&registry, Arc::clone(&settings.name)));
            views.push(ServiceView {
                name: Arc::clone(&settings.name),
                accept: accepting.iter().map(|l| l.local()).collect(),
                target: format!("{}/{}", settings.cluster, settings.role.as_str()),
                wanted: Wanted { role: settings.role, includes_writer: settings.reader_includes_writer },
                pool: Arc::clone(&pool),
                metrics: Arc::clone(&metrics),
            });
            let service = Service::new(Arc::clone(settings), pool, metrics, stopping.subscribe());
            services.push((Arc::new(service), accepting));
        }
        let admin = config.admin.listen.map(bind_admin).transpose()?;
        let clusters = config.clusters.iter().zip(&healths);
        let clusters = clusters.map(|(c, health)| ClusterView { name: Arc::clone(&c.name), pool: health.pool() });
        let view = Arc::new(View {
            started: Instant::now(),
            state: watch::Sender::new(RunState::Starting),
            clusters: clusters.collect(),
            services: views,
            registry,
        });
        let admin_addr = admin.as_ref().and_then(|l| l.local_addr().ok());
        let workers = Arc::new(Workers::start(worker_count(config)).map_err(StartError::Threads)?);
        let control = Control {
            healths,
            admin,
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
        Ok(Handle { view, admin_addr, workers, listeners, closing, stopping, end, control: Some(thread) })
    }
}

fn listen(settings: &config::Service, listeners: &mut Listeners) -> Result<Vec<Arc<Listener>>, StartError> {
    let mut bind = |&address: &SocketAddr| {
        let name = || settings.name.to_string();
        let listener = listeners.get(address, settings.keepalive);
        listener.map_err(|source| StartError::Listen { service: name(), address, source })
    };
    settings.accept.iter().map(&mut bind).collect()
}

fn bind_admin(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    Listener::bind(address, None).map(Listener::into_std).map_err(|source| StartError::Admin { address, source })
}

fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.process.workers.and_then(|w| usize::try_from(w).ok()).filter(|w| *w > 0).unwrap_or_else(cores)
}

fn first_round_limit(config: &Config) -> Duration {
    config.clusters.iter().map(|c| c.monitor.timeout).max().unwrap_or_default() + FIRST_ROUND_SLACK
}

/// What the control thread runs.
struct Control {
    healths: Vec<Health>,
    admin: Option<std::net::TcpListener>,
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
        for health in &mut self.healths {
            health.start();
        }
        let rounds = async {
            for health in &self.healths {
                health.first_round().await;
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
