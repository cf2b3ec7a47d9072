//! A running instance, in its owner's hands.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::admin::{RunState, View};
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
    pub(super) admin_addr: Option<SocketAddr>,
    pub(super) workers: Arc<Workers>,
    /// Apart from the services, which may change while their sockets stay.
    pub(super) listeners: Arc<Mutex<Listeners>>,
    /// Workers are to stop accepting.
    pub(super) closing: watch::Sender<bool>,
    /// Who still waits for a node is to be turned away.
    pub(super) stopping: watch::Sender<bool>,
    /// Certificates are to be read anew.
    pub(super) reread: watch::Sender<u64>,
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

    /// Reads certificates, keys, CAs and CRLs anew, soon; what is bad changes nothing, and the log tells.
    pub fn reread_certificates(&self) {
        self.reread.send_modify(|times| *times += 1);
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
        self.closing.send_replace(true);
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
        for service in &self.view.services {
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
