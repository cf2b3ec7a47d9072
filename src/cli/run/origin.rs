//! Where the configuration comes from: a file, or flags and environment variables.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::super::DEFAULT_FILE;
use crate::config::{self, Config, Diagnostics, Environment, Flags, Key, Loaded};

/// What of the arguments says it. Values are read by the rules of the file, with its messages.
#[derive(Debug, Args)]
pub(super) struct OriginArgs {
    /// The configuration file [default: /etc/galeway/galeway.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Accept clients here: IP:PORT or unix:PATH; repeatable [env: GALEWAY_LISTEN]
    #[arg(long, value_name = "ADDR", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    listen: Vec<String>,
    /// The nodes; repeatable, or with commas between them [env: GALEWAY_NODES]
    #[arg(long = "node", value_name = "HOST[:PORT]", num_args = 1.., value_delimiter = ',', conflicts_with = "file",
        help_heading = WITHOUT_FILE)]
    nodes: Vec<String>,
    /// Which nodes clients get: any, writer or reader; the service is named after it [default: any] [env: GALEWAY_ROLE]
    #[arg(long, value_name = "ROLE", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    role: Option<String>,
    /// How they are spread over them: least-connections, round-robin, random, source or first [default: least-connections]
    /// [env: GALEWAY_BALANCE]
    #[arg(long, value_name = "ALGORITHM", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    balance: Option<String>,
    /// The account that the nodes are checked with [env: GALEWAY_MONITOR_USER]
    #[arg(long, value_name = "USER", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    monitor_user: Option<String>,
    /// File that holds its password [env: GALEWAY_MONITOR_PASSWORD_FILE, or the password itself in GALEWAY_MONITOR_PASSWORD]
    #[arg(long, value_name = "FILE", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    monitor_password_file: Option<String>,
    /// TLS of the checks: off, require, verify-ca or verify-identity [default: off] [env: GALEWAY_MONITOR_TLS]
    #[arg(long, value_name = "MODE", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    monitor_tls: Option<String>,
    /// How further nodes are found: off, galera or dns (every address of each name) [default: off] [env: GALEWAY_DISCOVER]
    #[arg(long, value_name = "HOW", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    discover: Option<String>,
    /// Where to answer probes, Prometheus and `galeway status`: IP:PORT or unix:PATH, "" for nowhere [default:
    /// 127.0.0.1:9306, and /run/galeway/admin.sock where that directory exists] [env: GALEWAY_ADMIN]
    #[arg(long, value_name = "ADDR", conflicts_with = "file", help_heading = WITHOUT_FILE)]
    admin: Option<String>,
}

const WITHOUT_FILE: &str = "Without a file";

impl OriginArgs {
    fn flags(&self) -> BTreeMap<Key, Vec<String>> {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let all = [
            (Key::Listen, self.listen.clone()),
            (Key::Nodes, self.nodes.clone()),
            (Key::Role, one(&self.role)),
            (Key::Balance, one(&self.balance)),
            (Key::MonitorUser, one(&self.monitor_user)),
            (Key::MonitorPasswordFile, one(&self.monitor_password_file)),
            (Key::MonitorTls, one(&self.monitor_tls)),
            (Key::Discover, one(&self.discover)),
            (Key::Admin, one(&self.admin)),
        ];
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// Where a process has its configuration from. It can be read again, which tells what has changed there since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file, and the variables that are set and count for nothing beside it.
    File(PathBuf, Vec<&'static str>),
    /// Flags and variables. They stay as they are while the process runs; files that they name may change.
    Flags(Flags),
}

impl Origin {
    /// `-c`, or else what flags and `GALEWAY_LISTEN` say, or else the default file.
    ///
    /// # Errors
    /// A variable that cannot be used.
    pub(super) fn of(args: &OriginArgs) -> Result<Self, Diagnostics> {
        let environment: Environment = std::env::vars_os().collect();
        let unused = || Flags::set(&environment);
        if let Some(file) = &args.file {
            return Ok(Self::File(file.clone(), unused()));
        }
        let flags = Flags::of(&args.flags(), &environment)?;
        Ok(flags.map_or_else(|| Self::File(DEFAULT_FILE.into(), unused()), Self::Flags))
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn load(&self) -> Result<Loaded, Diagnostics> {
        match self {
            Self::File(file, _) => config::load(file),
            Self::Flags(flags) => flags.load(),
        }
    }

    /// What to say besides where it cannot be used: somebody may have meant to start without a file.
    pub(super) fn advice(&self) -> Option<String> {
        match self {
            Self::File(file, unused) if file.as_os_str() == DEFAULT_FILE => Some(match unused.as_slice() {
                [] => "without a file: galeway run --listen ADDR --node HOST[:PORT]…, or GALEWAY_LISTEN and its like; \
                       see galeway run --help"
                    .to_owned(),
                set => format!("without GALEWAY_LISTEN a file is read, and {} count for nothing", set.join(", ")),
            }),
            _ => None,
        }
    }

    /// Says in the log what somebody may have meant otherwise: variables that are not used, a restart that will forget.
    pub(super) fn tell(&self, config: &Config) {
        match self {
            Self::File(file, unused) if !unused.is_empty() => {
                tracing::info!(file = %file.display(), variables = unused.join(", "), "the configuration is this file's: \
                    these environment variables are not used for it");
            }
            Self::Flags(_) if config.process.state_dir.is_none() => {
                tracing::info!(
                    "a restart forgets the writer, the component served, the history learned and what operators \
                    set: there is no /var/lib/galeway that can be written"
                );
            }
            _ => {}
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, _) => file.display().fmt(f),
            Self::Flags(_) => f.write_str("flags and environment"),
        }
    }
}
