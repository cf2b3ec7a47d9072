//! The HTTP server: few connections, one request each, short deadlines; the same routes over TCP and a Unix socket.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::auth::Peer;
use super::routes::respond;
use super::view::View;

/// Connections of one listener at once; further ones wait in the kernel's queue. Probes and a scraper need a handful.
/// Each listener has its own, so that whoever fills TCP does not shut the operator out of the socket.
const CONNECTIONS: usize = 64;

/// A request's head must have come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, which is one request, lives at most this long, so that peers that vanished do not fill [`CONNECTIONS`].
const LIFETIME: Duration = Duration::from_secs(20);

/// Wait after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
trait Accept {
    /// What they are.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and whose it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, from) = self.accept().await?;
        Ok((stream, Peer::Tcp(from.ip())))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let user = stream.peer_cred().ok().map(|who| who.uid());
        Ok((stream, Peer::Socket(user)))
    }
}

/// Serves over TCP until the task is dropped.
pub async fn serve(listener: TcpListener, view: Arc<View>) {
    run(listener, view).await;
}

/// Serves over a Unix socket until the task is dropped.
pub async fn serve_unix(listener: UnixListener, view: Arc<View>) {
    run(listener, view).await;
}

async fn run(listener: impl Accept, view: Arc<View>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Closed never: we hold it.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.next().await {
            Ok((stream, peer)) => {
                let view = Arc::clone(&view);
                tokio::spawn(async move {
                    let _slot = slot;
                    // A deadline or a broken connection concerns only who asked.
                    let _ = tokio::time::timeout(LIFETIME, connection(stream, peer, view)).await;
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "admin address: cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, view: Arc<View>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let view = Arc::clone(&view);
        async move { Ok::<_, Infallible>(respond(request, peer, &view).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Idle connections would hold places that readiness probes need.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "admin connection");
    }
}
