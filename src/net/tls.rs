//! TLS: towards clients ([`Acceptor`]), towards targets ([`Connector`]), and the monitor's towards databases ([`ClientTls`]).
//!
//! rustls does the protocol, webpki the mathematics of a chain. What is decided here is whom we let in: [`judge`] holds the
//! verdict, [`peers`] who was admitted by what is trusted now, [`verifier`] carries it into a handshake. Files are read when a
//! configuration is taken in and when they change, never while a connection waits. The crypto provider is named each time;
//! none is installed for the process.
//!
//! ```text
//!  files ─ store ──┐                      ┌─ Acceptor ─┐
//!  rules ──────────┴─ judge ─ peers ─ verifier          ├─ a connection, its peer as Admitted, or a HandshakeError in words
//!  files ─ keys ─ identity ───────────────┴─ Connector ─┘
//! ```

use std::path::PathBuf;

use rustls::Error as RustlsError;

mod acceptor;
mod admitted;
mod certificate;
mod connector;
mod diagnosis;
mod dn;
mod files;
mod fingerprint;
mod handshake;
mod identity;
mod judge;
mod keys;
mod monitor;
mod names;
mod peers;
mod policy;
mod provider;
mod reach;
mod refresh;
mod refusal;
mod remedy;
mod rules;
mod sessions;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod turns;
mod v1;
mod verifier;

pub use acceptor::{Accepted, Acceptor, Pick, Refused};
pub use admitted::Admitted;
pub use connector::{Connected, Connector};
pub use fingerprint::Mark;
pub use handshake::{Agreed, HandshakeError};
pub use monitor::{ClientTls, ServerCertificate};
pub use policy::{Dated, Policy, Trust};
pub use refresh::{Outside, Refreshed, Skipped, Withdrawn};
pub use refusal::{Reason, Refusal};
pub use stream::{Broken, TlsStream, Truncated, is_tls_error};
pub use turns::Turn;

/// Why a TLS configuration could not be built. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read or holds something else.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system offers no trust anchors.
    #[error("no trusted certificates found on this system ({0}): install ca-certificates or set `ca`")]
    NoSystemStore(String),
    /// A rule for peers cannot be read.
    #[error("allow_subjects: {0}")]
    Rule(String),
    /// rustls refuses the combination.
    #[error("TLS: {0}")]
    Rustls(#[from] RustlsError),
}
