//! A running instance, in its owner's hands.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::admin_sockets::AdminSockets;
use super::notify::Pulse;
use super::reload::Reloader;
use super::standing::Standing;
use crate::admin::{Operated, ReloadRequests, RunState, View};
use crate::config::Process;
use crate::health::Store;
use crate::net::Listeners;
use crate::net::handover::{Good, Order};
use crate::pool::{AdminState, Cause, Command};
use crate::service::{TunnelLog, Workers};

/// How long sessions that were told to end may take to say goodbye.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a waiting thread looks.
const LOOK: Duration = Duration::from_millis(10);

/// An instance. Dropped without [`Self::stop`] it ends at once.
#[derive(Debug)]
pub struct Handle {
    pub(super) view: Arc<View>,
    pub(super) reloader: Reloader,
    /// Until somebody takes them.
    pub(super) reload_requests: Mutex<Option<ReloadRequests>>,
    pub(super) standing: Standing,
    pub(super) admin: Mutex<AdminSockets>,
    /// Another process answers operators.
    pub(super) left: watch::Sender<bool>,
    /// The most that the first round of checks may take.
    pub(super) first_round: Duration,
    pub(super) workers: Arc<Workers>,
    /// Apart from the services, which may change while their sockets stay.
    pub(super) listeners: Arc<Mutex<Listeners>>,
    /// Who still waits for a node is to be turned away.
    pub(super) stopping: watch::Sender<bool>,
    /// The control thread is to end.
    pub(super) end: watch::Sender<bool>,
    pub(super) control: Option<JoinHandle<()>>,
    /// Asks the control thread whether it lives.
    pub(super) ping: mpsc::Sender<oneshot::Sender<()>>,
    pub(super) memory: Option<Store>,
    /// Numbers the connections of tunnels.
    pub(super) log: TunnelLog,
}

/// What of a running instance another one of the same process goes on with: its listening sockets, for as long as it accepts
/// on them, and the numbers of connections.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(super) listeners: Arc<Mutex<Listeners>>,
    pub(super) log: TunnelLog,
}

impl Handle {
    /// For the one that is to take this one's place; on any thread.
    pub fn shared(&self) -> Shared {
        Shared { listeners: Arc::clone(&self.listeners), log: self.log.clone() }
    }

    /// Brings a new configuration into force; on any thread.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Wishes for a reload that come over HTTP. Until they are taken they wait, and `None` after that.
    pub fn reload_requests(&self) -> Option<ReloadRequests> {
        self.reload_requests.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What holds for the process by the configuration of now.
    pub fn process(&self) -> Process {
        self.standing.parts().config.process.clone()
    }

    /// What the status and the metrics are made of.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where the admin address really is.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        held(&self.admin).address()
    }

    /// Waits until the first round of checks is over and clients are accepted. False: not within `limit`.
    pub fn wait_accepting(&self, limit: Duration) -> bool {
        wait(limit, || self.view.state() != RunState::Starting)
    }

    /// The same for who can do something else meanwhile.
    pub async fn accepting(&self) {
        // The sender lives as long as this does.
        let _ = self.view.state.subscribe().wait_for(|state| *state != RunState::Starting).await;
    }

    /// For who wants to know whether all threads live.
    pub fn pulse(&self) -> Pulse {
        Pulse { control: self.ping.clone(), workers: Arc::clone(&self.workers) }
    }

    /// All that this instance listens on, for the process that takes its place; and from now on that one may have the memory.
    /// To be followed by [`Self::leave`] or [`Self::stay`].
    ///
    /// # Errors
    /// There are no descriptors left: nothing has changed.
    pub fn hand_over(&self) -> io::Result<Vec<Good>> {
        let mut goods = held(&self.listeners).goods()?;
        goods.extend(held(&self.admin).goods()?);
        if let Some(memory) = &self.memory {
            memory.hand_over();
        }
        self.view.replaced.store(true, Ordering::SeqCst);
        Ok(goods)
    }

    /// The other process is gone before it took the place.
    pub fn stay(&self) {
        self.view.replaced.store(false, Ordering::SeqCst);
        if let Some(memory) = &self.memory {
            memory.take_back();
        }
    }

    /// The other process has the place: nobody is accepted here any more, sessions go on, and their nodes are watched.
    pub fn leave(&self) {
        self.left.send_replace(true);
        held(&self.admin).leave();
        held(&self.listeners).belong(false);
        self.drain();
    }

    /// An operator has set this at the process that has the place now.
    pub async fn obey(&self, order: Order) {
        let layout = self.view.layout();
        let cluster = layout.clusters.iter().find(|cluster| *cluster.name == *order.cluster);
        let (Some(cluster), Some(state)) = (cluster, AdminState::parse(&order.state)) else {
            return tracing::info!(?order, "operator: not known here");
        };
        let Order { accept_history, .. } = order;
        let node: Arc<str> = order.node.into();
        let word = state.as_str();
        let done = cluster.commands.give(Command::SetState { node: Arc::clone(&node), state, accept_history }).await;
        match done {
            Ok(_) => {
                tracing::info!(cluster = &*cluster.name, node = &*node, state = word, "operator, by the new process");
                let operated = Operated { cluster: Arc::clone(&cluster.name), node, state, accept_history };
                // The one that was before this one.
                let _ = self.view.operated.send(operated);
            }
            Err(why) => {
                tracing::warn!(cluster = &*cluster.name, node = &*node, state = word, %why, "operator: refused")
            }
        }
    }

    /// The place of another process is taken: what it listened on is this one's to remove.
    pub fn settle(&self) {
        held(&self.admin).settle();
        held(&self.listeners).settle();
    }

    /// The most that the first round of checks of one like this may take.
    pub fn first_round(&self) -> Duration {
        self.first_round
    }

    /// Sessions on each worker, those that wait for a node included.
    pub fn sessions(&self) -> Vec<usize> {
        self.workers.sessions()
    }

    /// Whether nothing is accepted any more and every session has ended, after [`Self::drain`].
    pub fn drained(&self) -> bool {
        // In this order: what is accepted last becomes a session first.
        !self.workers.accepting() && self.sessions().iter().all(|n| *n == 0)
    }

    /// Fails readiness. Clients are accepted as before: whoever sends them here needs time to hear of it.
    pub fn fail_readiness(&self) {
        self.view.state.send_replace(RunState::Draining);
    }

    /// Fails readiness, then stops accepting. Sessions go on.
    pub fn drain(&self) {
        self.fail_readiness();
        self.standing.parts().close();
        // Before the addresses: who can listen on them can remember.
        if let Some(memory) = &self.memory {
            memory.hand_over();
        }
        held(&self.listeners).release();
    }

    /// Ends what is left and joins the threads.
    pub fn stop(mut self) {
        self.drain();
        wait(LAST_WORDS, || !self.workers.accepting());
        self.stopping.send_replace(true);
        // By the services and not by the clusters: fixed targets belong to none.
        for service in self.standing.parts().services() {
            for member in &service.pool.load().members {
                member.node.switch.kill(Cause::Shutdown, Duration::ZERO);
            }
        }
        wait(LAST_WORDS, || self.drained());
        self.end_threads();
    }

    fn end_threads(&mut self) {
        self.end.send_replace(true);
        if let Some(control) = self.control.take() {
            // A control thread that panicked has said so on standard error.
            let _ = control.join();
        }
        // Nothing comes any more: what did is written now.
        drop(self.memory.take());
        self.workers.stop();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// What is held is whole after each statement.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for something that another thread does. True: it came within `limit`.
fn wait(limit: Duration, done: impl Fn() -> bool) -> bool {
    let until = Instant::now() + limit;
    while !done() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}
