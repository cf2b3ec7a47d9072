//! Services: from an accepted connection to its close.
//!
//! ```text
//!  worker ─ accept ─► session ─ welcome, TLS ─► search: slot, turn, pick, connect, TLS, greeting, next node ─► relay ─► access log
//!                                  └───────────┴─ nothing found: refuse (ERR packet) ───────────────────────┘
//! ```
//!
//! Each worker is a thread with a current-thread runtime; a session never leaves the worker it was given to.

mod attempt;
mod close;
mod door;
mod endings;
mod proxy_doubt;
mod queue;
mod record;
mod refuse;
mod search;
mod secure;
mod session;
mod slots;
mod sources;
mod trail;
mod tunnel;
mod vetted;
mod welcome;
mod worker;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::config;
use crate::pool::{PoolCell, Wanted};
use crate::telemetry::{Seldom, ServiceMetrics};

use crate::net::tls::{Acceptor, Connector};
pub use door::Door;
use endings::Endings;
use proxy_doubt::ProxyDoubt;
use queue::Queue;
use slots::Slots;
use sources::Sources;
pub use tunnel::{Tunnel, TunnelLog};
pub use worker::Workers;

/// What every session of one service shares.
#[derive(Debug)]
pub struct Service {
    /// Of the sessions that began with it: other settings are another one's, see [`Self::successor`].
    pub settings: Arc<config::Service>,
    /// The snapshots of its target.
    pub pool: Arc<PoolCell>,
    /// Its counts.
    pub metrics: Arc<ServiceMetrics>,
    /// What it goes on with when its settings change.
    house: Arc<House>,
    /// Who waits for a node of its target: whoever waits for one of another target must not hold him up.
    queue: Arc<Queue>,
    /// TLS with clients; `None` = in clear.
    accepting: Option<Arc<Acceptor>>,
    /// TLS with nodes, likewise.
    connecting: Option<Arc<Connector>>,
    /// Where some clients go in place of this service's target.
    detours: OnceLock<Detours>,
    /// Present where lines for operators of stunnel are written.
    tunnel: Option<Tunnel>,
    manners: Manners,
    shortage_warning: Mutex<Seldom>,
    /// Of services that send PROXY headers.
    proxy_doubt: ProxyDoubt,
    /// True once Galeway stops: who still waits for a node is turned away.
    stopping: watch::Receiver<bool>,
}

/// What a service and its successors, of the same name and other settings, have in common.
#[derive(Debug)]
struct House {
    /// Sessions that may still begin.
    slots: Slots,
    /// Clients that may still be waited for to say who they are.
    nameless: Slots,
    /// Clients that are turned away and may still be waited for to leave.
    partings: Semaphore,
    /// Picks so far.
    turns: AtomicUsize,
    /// How many clients each address has.
    sources: Arc<Sources>,
    /// What ends its sessions apart from their nodes.
    endings: Endings,
}

impl House {
    fn new(settings: &config::Service) -> Self {
        let (slots, nameless) = rooms(settings);
        Self {
            slots: Slots::new(slots),
            nameless: Slots::new(nameless),
            partings: Semaphore::new(PARTINGS),
            turns: AtomicUsize::new(0),
            sources: Arc::default(),
            endings: Endings::default(),
        }
    }
}

/// How many clients are served at once, and how many may be on their way in.
fn rooms(settings: &config::Service) -> (usize, usize) {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let (slots, waiting) = (count(settings.max_connections), count(settings.max_queue));
    // As many as may be served and wait: a whole burst of accepts comes before the first header is read.
    (slots, slots.saturating_add(waiting))
}

/// Clients of one service that are turned away in an orderly way at once; further ones are cut. Whoever is refused stands
/// outside every other limit for as long as that takes.
const PARTINGS: usize = 256;

/// At most one warning in this time about connections to nodes that this host could not make.
const SHORTAGE_WARNING_EVERY: Duration = Duration::from_secs(10);

/// What a service does beside balancing.
#[derive(Debug, Default)]
pub struct Extras {
    /// TLS with clients; `None` = in clear.
    pub accepting: Option<Arc<Acceptor>>,
    /// TLS with nodes, likewise.
    pub connecting: Option<Arc<Connector>>,
    /// Present where lines for operators of stunnel are written.
    pub tunnel: Option<Tunnel>,
    /// Of a stunnel.conf.
    pub manners: Manners,
}

/// What stunnel does otherwise, or in another way. By default nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// One round over all targets: where all have failed the client is turned away at once.
    pub one_round: bool,
    /// Errors close in order, never with a TCP reset.
    pub no_resets: bool,
    /// Connections to targets come from the client's own address.
    pub transparent: bool,
    /// SO_RCVBUF and SO_SNDBUF of clients' sockets; `None` = the system tunes them.
    pub accepted: (Option<u32>, Option<u32>),
    /// Of targets' sockets.
    pub connected: (Option<u32>, Option<u32>),
}

/// Where some of a TLS service's clients go in place of its target (stunnel's `redirect`, and `sni` of servers).
#[derive(Debug, Default)]
pub struct Detours {
    /// Those that ask for a name, to a service: first match. A leading `*` stands for any beginning.
    pub by_name: Vec<(Box<str>, Arc<Service>)>,
    /// Those whose certificate is refused.
    pub refused: Option<Arc<Service>>,
}

impl Detours {
    fn by_name(&self, asked: &str) -> Option<&Arc<Service>> {
        self.by_name.iter().find(|(pattern, _)| is_for(pattern, asked)).map(|(_, service)| service)
    }
}

/// Whether a pattern of server names fits the one that a client asks for; letters' case counts nowhere in names.
fn is_for(pattern: &str, asked: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(ending) => {
            asked.len() >= ending.len()
                && asked.get(asked.len() - ending.len()..).is_some_and(|end| end.eq_ignore_ascii_case(ending))
        }
        None => pattern.eq_ignore_ascii_case(asked),
    }
}

impl Service {
    /// Says where some clients go in place of its target. The first word holds.
    pub fn set_detours(&self, detours: Detours) {
        let _ = self.detours.set(detours);
    }

    /// The number of a client's pick, for the algorithms. Not that of its arrival: a client that is turned away takes nobody's
    /// turn.
    fn turn(&self) -> usize {
        self.house.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// A service that accepts nothing yet: see [`Workers::attach`].
    pub fn new(
        settings: Arc<config::Service>,
        pool: Arc<PoolCell>,
        metrics: Arc<ServiceMetrics>,
        stopping: watch::Receiver<bool>,
        extras: Extras,
    ) -> Self {
        let rooms = (Arc::new(House::new(&settings)), Arc::default());
        Self::within(rooms, settings, pool, metrics, stopping, extras)
    }

    /// The same service with other settings: it counts together with this one, whose sessions go on by the
    /// settings that they began with. In force with [`Self::move_in`].
    pub fn successor(&self, settings: Arc<config::Service>, pool: Arc<PoolCell>, extras: Extras) -> Self {
        let same = Arc::ptr_eq(&self.pool, &pool) && Wanted::of(&self.settings.target) == Wanted::of(&settings.target);
        let queue = if same { Arc::clone(&self.queue) } else { Arc::default() };
        let rooms = (Arc::clone(&self.house), queue);
        Self::within(rooms, settings, pool, Arc::clone(&self.metrics), self.stopping.clone(), extras)
    }

    /// Its limits count from now on, and clients that wait for a node of its predecessor's wait for one of its own. Within a runtime.
    pub fn move_in(self: &Arc<Self>) {
        self.followed_by(self);
        let (slots, nameless) = rooms(&self.settings);
        self.house.slots.resize(slots);
        self.house.nameless.resize(nameless);
    }

    fn within(
        (house, queue): (Arc<House>, Arc<Queue>),
        settings: Arc<config::Service>,
        pool: Arc<PoolCell>,
        metrics: Arc<ServiceMetrics>,
        stopping: watch::Receiver<bool>,
        extras: Extras,
    ) -> Self {
        let Extras { accepting, connecting, tunnel, manners } = extras;
        if accepting.is_some() || connecting.is_some() {
            metrics.with_tls();
        }
        Self {
            settings,
            pool,
            metrics,
            house,
            queue,
            accepting,
            connecting,
            detours: OnceLock::new(),
            tunnel,
            manners,
            proxy_doubt: ProxyDoubt::default(),
            shortage_warning: Mutex::new(Seldom::new(SHORTAGE_WARNING_EVERY)),
            stopping,
        }
    }

    /// Says that this host could not make a connection to a node, which is no fault of the node's.
    fn warn_of_shortage(&self, why: &io::Error) {
        let mut warning = self.shortage_warning.lock().unwrap_or_else(PoisonError::into_inner);
        if warning.due(Instant::now()) {
            tracing::warn!(service = %self.settings.name, error = %why, "this host cannot connect to nodes: clients wait");
        }
    }
}
