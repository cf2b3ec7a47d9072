//! Checking named nodes once, for the commands that do no more than that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::client::secret_file;
use crate::config::{HostPort, Monitor, MonitorTls, NodeKind, NodeSpec, Place, Secret, TlsMode};
use crate::health;
use crate::health::Lookup;
use crate::health::probe::{Probed, Prober};

/// How nodes are checked; the user is an argument of each command's own.
#[derive(Debug, Args)]
pub(super) struct CheckFlags {
    /// File that holds the account's password [default: no password]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// TLS inside the MySQL protocol
    #[arg(long, value_enum, value_name = "MODE", default_value = "off")]
    tls: Mode,
    /// Trust anchors (PEM) for verify-ca and verify-identity [default: the system's, or MariaDB's proof by the password]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Deadline of one check, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Off,
    Require,
    VerifyCa,
    VerifyIdentity,
}

impl CheckFlags {
    fn monitor(&self, user: &str) -> Result<Monitor, String> {
        let password = match &self.password_file {
            None => String::new(),
            Some(path) => secret_file("--password-file", path)?,
        };
        let mode = match self.tls {
            Mode::Off => TlsMode::Off,
            Mode::Require => TlsMode::Require,
            Mode::VerifyCa => TlsMode::VerifyCa,
            Mode::VerifyIdentity => TlsMode::VerifyIdentity,
        };
        if self.ca.is_some() && !matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity) {
            return Err("--ca needs --tls verify-ca or --tls verify-identity: no other mode looks at it".to_owned());
        }
        let tls = MonitorTls { mode, ca: self.ca.clone(), identity: None };
        let timeout = Duration::from_secs(self.timeout);
        Ok(Monitor { tls, timeout, ..Monitor::new(user.to_owned(), Secret::new(password)) })
    }

    /// Checks each node once as one of this kind, all at the same time; the answers are in the order of `nodes`.
    pub(super) fn check(&self, nodes: &[HostPort], user: &str, kind: NodeKind) -> Result<Vec<Probed>, String> {
        let monitor = Monitor { kind, ..self.monitor(user)? };
        let tls = Prober::tls(&monitor).map_err(|e| e.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
        let lookup = Lookup::system();
        let place = |n: &HostPort| Place::Host(n.clone());
        let sort = health::sort(&monitor, kind);
        let prober = |n: &HostPort| Prober::new(&place(n), sort, &monitor, tls.clone(), &lookup);
        let probers: Vec<_> = nodes.iter().map(|n| Arc::new(prober(n))).collect();
        let probed = runtime.block_on(async {
            let tasks: Vec<_> =
                probers.into_iter().map(|p| tokio::spawn(async move { p.check_once().await })).collect();
            let mut all = Vec::new();
            for task in tasks {
                all.push(task.await);
            }
            all
        });
        // A resolver that hangs has had its deadline already.
        runtime.shutdown_background();
        probed.into_iter().collect::<Result<_, _>>().map_err(|e| format!("a check failed by a fault of ours: {e}"))
    }
}

/// A node's name by default: its host where the port is the usual one.
pub(super) fn name(address: &HostPort) -> String {
    NodeSpec::new(Place::Host(address.clone())).name.to_string()
}
