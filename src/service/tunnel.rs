//! The lines that an operator of stunnel knows, as events of target `tunnel`.
//!
//! They are emitted for services of a stunnel.conf only; other services have the access log. Their texts are stunnel 5's, since
//! people and their tools look for them. Levels: ERROR, WARN, INFO, DEBUG stand for stunnel's 3, 4, 5, 6.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::close::{Fate, detail};
use super::record::Bytes;
use crate::config::stunnel::LogId;
use crate::net::tls::{Admitted, Agreed, HandshakeError, Reason, Refusal};
use crate::net::{End, Peer, Side};

/// Numbers the connections of all services of one process, from 0 on.
#[derive(Debug, Clone, Default)]
pub struct TunnelLog {
    next: Arc<AtomicU64>,
}

impl TunnelLog {
    /// One service's. `name`: that of its section. `level`: the largest number of syslog(3) that is told, 0 to 7.
    pub fn of(&self, name: &Arc<str>, id: LogId, level: u8) -> Tunnel {
        Tunnel { log: self.clone(), name: Arc::clone(name), id, level }
    }
}

/// What one service tells.
#[derive(Debug, Clone)]
pub struct Tunnel {
    log: TunnelLog,
    name: Arc<str>,
    id: LogId,
    level: u8,
}

impl Tunnel {
    /// The section's name. Where a `redirect` leads is a service of another name here, and the same section to an operator of
    /// stunnel.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn begin(&self) -> Line {
        let number = match self.id {
            LogId::Sequential => self.log.next.fetch_add(1, Ordering::Relaxed),
            // Shorter by the bits that the level takes, and still no other's.
            LogId::Unique => fastrand::u64(..) >> LEVEL_BITS,
            LogId::Thread => u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()),
            LogId::Process => u64::from(std::process::id()),
        };
        Line((number << LEVEL_BITS) | (u64::from(self.level & LEVEL) + 1))
    }
}

/// A level is 0 to 7, counted from 1.
const LEVEL_BITS: u32 = 4;
const LEVEL: u8 = 0x0f;

/// One connection's number, and the level up to which it is told of in the lowest bits, counted from 1; 0 where nothing is
/// told. One word: every session has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line(u64);

/// The numbers of syslog(3) that the levels stand for.
const ERROR: u64 = 3;
const WARN: u64 = 4;
const INFO: u64 = 5;
const DEBUG: u64 = 6;

macro_rules! tell {
    ($line:expr, $level:ident, $($text:tt)*) => {
        if $line.tells($level) {
            let id = $line.0 >> LEVEL_BITS;
            tracing::event!(target: "tunnel", tracing::Level::$level, id, $($text)*);
        }
    };
}

impl Line {
    fn tells(self, level: u64) -> bool {
        self.0 & u64::from(LEVEL) > level
    }

    pub(super) fn accepted(self, service: &str, peer: &Peer) {
        tell!(self, INFO, "Service [{service}] accepted connection from {peer}");
    }

    pub(super) fn denied(self, service: &str, peer: &Peer, why: &str) {
        tell!(self, WARN, "Service [{service}] refused connection from {peer}: {why}");
    }

    /// `how`: "accepted" or "connected".
    pub(super) fn secured(self, how: &str, agreed: &Agreed, peer: Option<&Admitted>) {
        if !self.tells(ERROR) {
            return;
        }
        for (depth, name) in peer.iter().flat_map(|peer| peer.chain_dns().rev()) {
            tell!(self, INFO, "Certificate accepted at depth={depth}: {name}");
        }
        let session = if agreed.resumed { "previous session reused" } else { "new session negotiated" };
        tell!(self, DEBUG, "TLS {how}: {session}");
        tell!(self, DEBUG, "{} ciphersuite: {}", agreed.version, agreed.suite);
    }

    /// `call`: "SSL_accept" or "SSL_connect".
    pub(super) fn refused(self, call: &str, error: &HandshakeError) {
        if !self.tells(ERROR) {
            return;
        }
        match error {
            HandshakeError::Certificate(refusal) if refusal.reason() == Reason::Missing => {
                tell!(self, ERROR, "{call}: peer did not return a certificate");
            }
            HandshakeError::Certificate(refusal) => {
                self.rejected(refusal);
                tell!(self, ERROR, "{call}: certificate verify failed: {refusal}");
            }
            other => tell!(self, ERROR, "{call}: {other}"),
        }
    }

    fn rejected(self, refusal: &Refusal) {
        tell!(self, WARN, "Rejected by CERT at depth={}: {}", refusal.depth(), refusal.subject());
    }

    pub(super) fn timed_out(self, call: &str) {
        tell!(self, ERROR, "{call}: TIMEOUTbusy exceeded: the handshake did not end in time");
    }

    pub(super) fn redirecting(self, refusal: &Refusal) {
        tell!(self, WARN, "{refusal}");
        tell!(self, INFO, "Redirecting connection");
    }

    pub(super) fn connecting(self, to: &dyn fmt::Display) {
        tell!(self, DEBUG, "s_connect: connecting {to}");
    }

    pub(super) fn connected(self, service: &str, to: &dyn fmt::Display, from: Option<SocketAddr>) {
        tell!(self, INFO, "s_connect: connected {to}");
        if let Some(from) = from {
            tell!(self, INFO, "Service [{service}] connected remote server from {from}");
        }
    }

    pub(super) fn not_connected(self, to: &dyn fmt::Display, why: &dyn fmt::Display) {
        tell!(self, ERROR, "s_connect: connect {to}: {why}");
    }

    pub(super) fn no_target(self) {
        tell!(self, ERROR, "No more addresses to connect");
    }

    /// One that never had a target ends too: whoever pairs the lines of a connection waits for this one.
    pub(super) fn ended(self) {
        tell!(self, INFO, "Connection reset: 0 byte(s) sent to TLS, 0 byte(s) sent to socket");
    }

    /// `tls`: the side that is encrypted; of two the far one.
    pub(super) fn closed(self, fate: &Fate, tls: Side, bytes: &Bytes) {
        if !self.tells(ERROR) {
            return;
        }
        if let Fate::Relay(End::Broken(side, _)) = fate {
            tell!(self, ERROR, "{} error: {}", if *side == tls { "TLS" } else { "socket" }, detail(fate));
        }
        if let Fate::Withdrawn(_, why) = fate {
            tell!(self, WARN, "no longer good: {why}");
        }
        let how = match fate {
            Fate::Relay(End::Orderly(_)) => "closed",
            _ => "reset",
        };
        let (from_client, from_node) = (bytes.from(Side::Client), bytes.from(Side::Node));
        let (to_tls, to_socket) = match tls {
            Side::Node => (from_client, from_node),
            Side::Client => (from_node, from_client),
        };
        tell!(self, INFO, "Connection {how}: {to_tls} byte(s) sent to TLS, {to_socket} byte(s) sent to socket");
    }
}
