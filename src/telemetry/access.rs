//! The access log: one event of target `access` for each closed connection.

use std::fmt::Display;
use std::time::Duration;

/// What is said of one connection. No field can hold a secret or a query.
pub struct Access<'a> {
    /// The service that accepted it.
    pub service: &'a str,
    /// Who connected; where a PROXY header said so, who connected there.
    pub client: &'a dyn Display,
    /// Who sent that header.
    pub via: Option<&'a dyn Display>,
    /// The node it was relayed to; `None` if it never reached one.
    pub node: Option<&'a str>,
    /// TLS with the client, and with the node.
    pub tls: [Option<Tls<'a>>; 2],
    /// From accept to close.
    pub duration: Duration,
    /// From accept to the node's greeting.
    pub wait: Duration,
    /// Nodes tried.
    pub attempts: u32,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// How it ended.
    pub end: &'static str,
    /// Whose doing that was: `client`, `node` or `galeway`.
    pub by: &'static str,
    /// Why, where a word is not enough; failed attempts included.
    pub detail: &'a str,
}

/// One side's TLS.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// As OpenSSL writes it: `TLSv1.3`.
    pub version: &'a str,
    /// By its IANA name.
    pub suite: &'a str,
    /// The subject of the certificate that the peer showed.
    pub subject: Option<&'a str>,
}

impl Access<'_> {
    /// Writes the event.
    pub fn log(&self) {
        let [client, node] = self.tls;
        tracing::info!(
            target: "access",
            service = self.service,
            client = %self.client,
            via = self.via.map(tracing::field::display),
            node = self.node,
            client_tls = client.map(|tls| tls.version),
            client_cipher = client.map(|tls| tls.suite),
            client_subject = client.and_then(|tls| tls.subject),
            node_tls = node.map(|tls| tls.version),
            node_cipher = node.map(|tls| tls.suite),
            node_subject = node.and_then(|tls| tls.subject),
            duration_ms = millis(self.duration),
            wait_ms = millis(self.wait),
            attempts = self.attempts,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            end = self.end,
            by = self.by,
            detail = (!self.detail.is_empty()).then_some(self.detail),
        );
    }
}

/// Milliseconds with microseconds behind the point.
fn millis(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}
