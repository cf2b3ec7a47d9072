//! A running instance, in its owner's hands.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::reload::Reloader;
use super::standing::Standing;
use crate::admin::{ReloadRequests, RunState, View};
use crate::config::Process;
use crate::health::Store;
use crate::net::{Listeners, SocketFile};
use crate::pool::Cause;
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
    pub(super) admin_addr: Option<SocketAddr>,
    pub(super) workers: Arc<Workers>,
    /// Apart from the services, which may change while their sockets stay.
    pub(super) listeners: Arc<Mutex<Listeners>>,
    /// Who still waits for a node is to be turned away.
    pub(super) stopping: watch::Sender<bool>,
    /// The control thread is to end.
    pub(super) end: watch::Sender<bool>,
    pub(super) control: Option<JoinHandle<()>>,
    /// Removes the admin socket's file at the very end.
    pub(super) _socket_file: Option<SocketFile>,
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
        self.admin_addr
    }

    /// Waits until the first round of checks is over and clients are accepted. False: not within `limit`.
    pub fn wait_accepting(&self, limit: Duration) -> bool {
        wait(limit, || self.view.state() != RunState::Starting)
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

    /// Fails readiness, then stops accepting. Sessions go on.
    pub fn drain(&self) {
        self.view.state.send_replace(RunState::Draining);
        self.standing.parts().close();
        // Before the addresses: who can listen on them can remember.
        if let Some(memory) = &self.memory {
            memory.hand_over();
        }
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).release();
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
