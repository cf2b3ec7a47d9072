//! TLS of a session: the handshakes on both sides, within their bounds.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::Service;
use super::refuse::part;
use super::tunnel::Line;
use super::welcome::TurnedAway;
use crate::config::Service as Settings;
use crate::net::tls::{
    Accepted, Acceptor, Admitted, Agreed, Connected, Connector, HandshakeError, Pick, Refused, Turn,
};
use crate::net::{Plain, Side, Stream};
use crate::telemetry::{Rejection, TlsResult, access};

/// One side's TLS, for as long as its session lives.
#[derive(Debug)]
pub(super) struct Link {
    version: &'static str,
    suite: &'static str,
    /// Whom the peer has shown itself to be.
    pub(super) peer: Option<Admitted>,
}

impl Link {
    fn new(agreed: &Agreed, peer: Option<Admitted>) -> Box<Self> {
        Box::new(Self { version: agreed.version, suite: agreed.suite, peer })
    }

    /// For the access log.
    pub(super) fn shown(&self) -> access::Tls<'_> {
        access::Tls { version: self.version, suite: self.suite, subject: self.peer.as_ref().map(Admitted::subject) }
    }
}

/// Resolves when a certificate that was good at the handshake is no longer: whose it is, and why.
pub(super) async fn withdrawn(client: Option<Admitted>, node: Option<Admitted>) -> (Side, Arc<str>) {
    let of = |peer: Option<Admitted>| async move {
        match peer {
            Some(peer) => peer.withdrawn().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        why = of(client) => (Side::Client, why),
        why = of(node) => (Side::Node, why),
    }
}

/// Who comes out of the accepting side's handshake.
pub(super) struct Entered {
    pub(super) stream: Stream,
    pub(super) link: Box<Link>,
    /// The service that serves this client in place of the one that accepted it.
    pub(super) instead: Option<Arc<Service>>,
}

/// The server's handshake with a client, until `first_byte_timeout` after its arrival.
pub(super) async fn accept(
    service: &Service,
    settings: &Settings,
    acceptor: &Arc<Acceptor>,
    socket: Plain,
    accepted: Instant,
    line: Line,
) -> Result<Entered, TurnedAway> {
    // They hold no slot yet: without a bound of their own those that say nothing would have none.
    let _nameless = service.house.nameless.try_take().ok_or(Rejection::TooManyConnections)?;
    let mut stopping = service.stopping.clone();
    let begun = Instant::now();
    let mut instead = None;
    let detours = service.detours.get();
    let mut pick = |name: &str| {
        let chosen = detours.and_then(|detours| detours.by_name(name))?;
        instead = Some(Arc::clone(chosen));
        chosen.accepting.clone()
    };
    let pick: Option<&mut Pick<'_>> =
        if detours.is_some_and(|detours| !detours.by_name.is_empty()) { Some(&mut pick) } else { None };
    let outcome = tokio::select! {
        outcome = timeout_at(accepted + settings.first_byte_timeout, acceptor.accept_with(socket, pick)) => outcome,
        _ = stopping.wait_for(|stop| *stop) => return Err(Rejection::Shutdown.into()),
    };
    let Accepted { stream, peer, refused, agreed } = match outcome {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(Refused { error, io })) => {
            service.metrics.handshake(true, result(&error), begun.elapsed());
            line.refused("SSL_accept", &error);
            if let Some(socket) = io
                && let Ok(_parting) = service.house.partings.try_acquire()
            {
                // The alert tells the client why; a close with bytes unread would overtake it.
                part(socket.into()).await;
            }
            let rejection = match error {
                HandshakeError::Closed(_) => Rejection::ClientGone,
                _ => Rejection::Tls,
            };
            return Err(TurnedAway { rejection, why: error.to_string() });
        }
        Err(_elapsed) => {
            service.metrics.handshake(true, TlsResult::Timeout, begun.elapsed());
            line.timed_out("SSL_accept");
            return Err(Rejection::SlowHeader.into());
        }
    };
    service.metrics.handshake(true, TlsResult::Ok, begun.elapsed());
    line.secured("accepted", &agreed, peer.as_ref());
    if let Some(refusal) = refused {
        line.redirecting(&refusal);
        let front = instead.as_ref().map_or(service, |chosen| chosen);
        instead = front.detours.get().and_then(|detours| detours.refused.clone());
        if instead.is_none() {
            // Nobody serves those whose certificate is refused: then they are refused.
            return Err(TurnedAway { rejection: Rejection::Tls, why: refusal.to_string() });
        }
    }
    Ok(Entered { link: Link::new(&agreed, peer), stream: stream.into(), instead })
}

/// The client's handshake with a far end, its word on our certificate included. The caller has a deadline, and waited for the turn.
pub(super) async fn connect(
    service: &Service,
    connector: &Connector,
    turn: Turn<'_>,
    host: &str,
    socket: Plain,
    line: Line,
) -> Result<(Stream, Box<Link>), HandshakeError> {
    // Where this future is dropped that is by its deadline.
    let mut count = Counted { service, begun: turn.asked(), line, result: TlsResult::Timeout };
    match connector.connect(turn, host, socket).await {
        Ok(Connected { stream, peer, agreed }) => {
            count.result = TlsResult::Ok;
            line.secured("connected", &agreed, Some(&peer));
            Ok((stream.into(), Link::new(&agreed, Some(peer))))
        }
        Err(error) => {
            count.result = result(&error);
            line.refused("SSL_connect", &error);
            Err(error)
        }
    }
}

/// Counts a handshake wherever its future is dropped.
struct Counted<'a> {
    service: &'a Service,
    begun: Instant,
    line: Line,
    result: TlsResult,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.service.metrics.handshake(false, self.result, self.begun.elapsed());
        if self.result == TlsResult::Timeout {
            self.line.timed_out("SSL_connect");
        }
    }
}

fn result(error: &HandshakeError) -> TlsResult {
    match error {
        HandshakeError::Certificate(_) => TlsResult::Certificate,
        HandshakeError::Alert(_) => TlsResult::Alert,
        HandshakeError::NotTls(_) => TlsResult::NotTls,
        HandshakeError::Version(_) => TlsResult::Version,
        HandshakeError::Closed(_) => TlsResult::Closed,
        HandshakeError::Io(_) | HandshakeError::Failed(_) => TlsResult::Error,
    }
}
