//! How a session ends: why, and how each side is closed then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::refuse::part;
use crate::config::Protocol;
use crate::net::tls::{HandshakeError, Truncated, is_tls_error};
use crate::net::{End, Side, Stream, Wire as _};
use crate::pool::Cause;
use crate::telemetry::CloseReason;

/// How long an abort waits for the bytes before it to be acknowledged.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How a session came to its end.
pub(super) enum Fate {
    Relay(End),
    Killed(Cause),
    Drained(Cause),
    /// This side's certificate is no longer good, and why.
    Withdrawn(Side, Arc<str>),
}

/// How sides are closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) protocol: Protocol,
    /// Never by a reset (stunnel's `reset = no`): then an error looks like an end, which its users have asked for.
    pub(super) no_resets: bool,
}

impl Closing {
    fn abort(self, stream: Stream) {
        if !self.no_resets {
            stream.abort();
        }
    }
}

/// Closes both sides, each as its fate allows. `places` are what the next client waits for: they are given back when the
/// node's side is closed, or else the node would have one session more than it may; the client's side may take a second
/// of waiting, and nobody need wait for that.
pub(super) async fn close(fate: Fate, client: Stream, node: Stream, places: impl Sized, how: Closing) {
    match fate {
        Fate::Relay(End::Orderly(_)) => {
            drop(node);
            drop(places);
        }
        // Where our address is lost, no end of ours reaches the client, and the node is well: to it this is a client that went.
        Fate::Relay(End::Broken(Side::Client, _) | End::Vanished(Side::Client) | End::Stalled(Side::Client))
        | Fate::Killed(Cause::AddressLost(_)) => {
            how.abort(client);
            pass_on_abort(node, how).await;
            drop(places);
        }
        Fate::Relay(End::Broken(Side::Node, _) | End::Vanished(Side::Node) | End::Stalled(Side::Node)) => {
            how.abort(node);
            drop(places);
            match how.protocol {
                Protocol::Mysql => part(client).await,
                // An end of data would look like a complete answer.
                Protocol::Tcp => abort_after_last_byte(client, how).await,
            }
        }
        Fate::Relay(End::Idle | End::HalfClosed(_)) => {
            drop(node);
            drop(places);
            part(client).await;
        }
        Fate::Withdrawn(Side::Client, _) => {
            // Whoever has lost its right gets nothing more, and its half a conversation is not made to look whole.
            how.abort(client);
            how.abort(node);
            drop(places);
        }
        Fate::Withdrawn(Side::Node, _) => {
            how.abort(node);
            drop(places);
            match how.protocol {
                Protocol::Mysql => part(client).await,
                Protocol::Tcp => abort_after_last_byte(client, how).await,
            }
        }
        Fate::Killed(_) | Fate::Drained(_) => {
            how.abort(node);
            drop(places);
            match how.protocol {
                Protocol::Mysql => part(client).await,
                // An end of data would look like a complete answer.
                Protocol::Tcp => abort_after_last_byte(client, how).await,
            }
        }
    }
}

/// Ends a node's connection after its client's abort, by an abort: it leaves no TIME_WAIT behind, and an orderly end
/// would call complete what was broken off. But it would also throw away what the client had sent and the node has not
/// taken yet, a COMMIT perhaps, so that is waited for; where it takes longer, a MySQL server (whose packets tell their
/// length) gets it and an orderly end.
async fn pass_on_abort(node: Stream, how: Closing) {
    if taken(&node).await || how.protocol == Protocol::Tcp {
        how.abort(node);
    }
}

async fn abort_after_last_byte(client: Stream, how: Closing) {
    taken(&client).await;
    how.abort(client);
}

/// Waits a little for the far end to acknowledge what was sent. True: it has.
async fn taken(stream: &Stream) -> bool {
    let until = Instant::now() + LAST_BYTES;
    while stream.outstanding().is_some_and(|o| o.any) {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

pub(super) fn close_reason(fate: &Fate) -> CloseReason {
    match fate {
        Fate::Killed(Cause::Shutdown) | Fate::Drained(Cause::Shutdown) => CloseReason::Shutdown,
        Fate::Killed(Cause::AddressLost(_)) | Fate::Drained(Cause::AddressLost(_)) => CloseReason::AddressLost,
        Fate::Killed(_) => CloseReason::Killed,
        Fate::Drained(_) => CloseReason::Drained,
        Fate::Withdrawn(..) => CloseReason::Certificate,
        Fate::Relay(end) => match end {
            End::Orderly(Side::Client) => CloseReason::ClientClosed,
            End::Orderly(Side::Node) => CloseReason::NodeClosed,
            // Its keepalive probes went unanswered, or the network on the way to it is gone.
            End::Broken(Side::Client, e) if is_silence(e) => CloseReason::ClientVanished,
            End::Broken(Side::Node, e) if is_silence(e) => CloseReason::NodeVanished,
            End::Broken(Side::Client, e) if is_truncated(e) => CloseReason::ClientTruncated,
            End::Broken(Side::Node, e) if is_truncated(e) => CloseReason::NodeTruncated,
            End::Broken(Side::Client, e) if is_tls_error(e) => CloseReason::ClientTls,
            End::Broken(Side::Node, e) if is_tls_error(e) => CloseReason::NodeTls,
            // Nothing else on this side says so: see vetted.rs.
            End::Broken(Side::Client, e) if e.kind() == io::ErrorKind::InvalidData => CloseReason::NoLogin,
            End::Broken(Side::Client, _) => CloseReason::ClientReset,
            End::Broken(Side::Node, _) => CloseReason::NodeReset,
            End::Vanished(Side::Client) => CloseReason::ClientVanished,
            End::Vanished(Side::Node) => CloseReason::NodeVanished,
            End::Stalled(Side::Client) => CloseReason::ClientStalled,
            End::Stalled(Side::Node) => CloseReason::NodeStalled,
            End::Idle => CloseReason::Idle,
            End::HalfClosed(_) => CloseReason::HalfClose,
        },
    }
}

fn is_truncated(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<Truncated>())
}

fn is_silence(e: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(e.kind(), TimedOut | HostUnreachable | NetworkUnreachable)
}

pub(super) fn detail(fate: &Fate) -> String {
    match fate {
        Fate::Relay(End::Broken(_, e)) => match HandshakeError::of_io(e) {
            // An alert that came late, say: its words tell what to do.
            Some(words) => words.to_string(),
            None => e.to_string(),
        },
        Fate::Relay(_) => String::new(),
        Fate::Killed(cause) | Fate::Drained(cause) => cause.to_string(),
        Fate::Withdrawn(_, why) => why.to_string(),
    }
}
