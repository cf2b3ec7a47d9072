//! A MySQL server that does what a test says: what a real one cannot be made to do.
//!
//! [`Peer`] runs a script (an async closure over a [`Conn`]) for every connection; [`FakeNode`] is one with the
//! answers of a Galera node, which a test changes while it runs. Both live on a thread of their own, so that they
//! serve tests with and without a runtime, and end when dropped.
//!
//! The bytes are written here by hand, from the manuals, and not by the code under test.

#![allow(dead_code, reason = "a kit: not every test binary state uses every tool")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a peer that cannot go on fails its test"
)]

pub(crate) mod auth;
mod conn;
mod node;
pub(crate) mod pxc;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub(crate) use conn::{Conn, Greeting};
#[allow(unused_imports, reason = "the bench has no use for modes")]
pub(crate) use node::{FakeNode, Mode};
#[allow(unused_imports, reason = "the bench has no use for a cluster")]
pub(crate) use pxc::Pxc;

/// A TCP server on 127.0.0.1 that runs a script for each connection.
pub(crate) struct Peer {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Told `true`, it waits for its scripts; dropped, it does not.
    stop: Option<oneshot::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts to listen. A script that fails to read or write has been hung up on, which is no failure of the test;
    /// one that panics is, and [`Peer::finish`] (or the drop) says so.
    pub(crate) fn start<S, F>(script: S) -> Self
    where
        S: Fn(Conn) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::on(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same on a socket of the test's own.
    pub(crate) fn on<S, F>(listener: std::net::TcpListener, script: S) -> Self
    where
        S: Fn(Conn) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (stop, mut stopped) = oneshot::channel();
        let count = accepted.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut scripts = JoinSet::new();
                let wait = loop {
                    tokio::select! {
                        biased;
                        wait = &mut stopped => break wait.unwrap_or(false),
                        Some(ended) = scripts.join_next() => check(ended),
                        connection = listener.accept() => {
                            let (stream, _) = connection.unwrap();
                            stream.set_nodelay(true).unwrap();
                            count.fetch_add(1, Ordering::SeqCst);
                            scripts.spawn(script(Conn::new(stream)));
                        }
                    }
                };
                let patience = Duration::from_secs(if wait { 5 } else { 0 });
                let rest = async {
                    while let Some(ended) = scripts.join_next().await {
                        check(ended);
                    }
                };
                let ended = tokio::time::timeout(patience, rest).await;
                assert!(!wait || ended.is_ok(), "a script of the peer did not come to its end");
            });
        });
        Self { addr, accepted, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until every script has ended, and panics if one has panicked or does not end.
    pub(crate) fn finish(mut self) {
        let _ = self.stop.take().map(|stop| stop.send(true));
        self.end().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    fn end(&mut self) -> std::thread::Result<()> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

fn check(ended: Result<io::Result<()>, tokio::task::JoinError>) {
    if let Err(e) = ended {
        std::panic::resume_unwind(e.into_panic());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Err(panic) = self.end()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
