//! The command line: a file per subcommand, each thin.
//!
//! Exit codes: 0 yes or done, 1 the answer is no, 2 usage or configuration.

// The one room that speaks to a person instead of a log.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod client;
mod completions;
mod convert;
mod man;
mod node;
mod nodes;
mod notify;
mod probe;
mod process;
mod recover;
mod run;
mod screen;
mod status;
mod stunnel;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{LogFormat, LogLevel};

/// Where the configuration is looked for.
const DEFAULT_FILE: &str = "/etc/galeway/galeway.toml";

/// The answer is no.
const NO: u8 = 1;
/// Wrong usage or configuration.
const WRONG: u8 = 2;

/// A layer-4 load balancer made for Galera clusters.
///
/// Stands before the nodes of a MariaDB Galera or Percona XtraDB cluster, reads their wsrep state, and sends nobody
/// to a node that is a donor, not Primary, or gone.
#[derive(Debug, Parser)]
#[command(name = "galeway", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "\
Without a command galeway runs.

Examples:
  galeway check -c galeway.toml                      is this file right, and what does it mean?
  galeway run -c galeway.toml                        run
  galeway convert stunnel.conf > galeway.toml        the same tunnels as galeway TOML
  galeway probe db1 db2 --user monitor --password-file pw    what do the nodes say?
  galeway status                                     who serves, who does not, and why?
  galeway status --watch                             the same, every second, until Ctrl-C
  galeway node db2 drain                             let its sessions finish and send it nobody new
  galeway recover --file db1=db1 --file db2=db2      everything is down: which node to bootstrap?

Exit codes: 0 yes or done; 1 the answer is no (a node may not serve, nothing to route to, none is
safe to bootstrap); 2 usage or configuration.";

/// Of `galeway run`. Not on its arguments, which are also those of a galeway without a command.
const RUN_HELP: &str = "\
Signals: SIGTERM and SIGINT let sessions finish for shutdown_timeout, a second one ends them at
once. SIGHUP brings a changed configuration into force in place, SIGUSR2 replaces the running
program by the one at its path, SIGUSR1 opens the log file again.

Example:
  galeway run -c /etc/galeway/galeway.toml --log-level debug

Exit codes: 0 ended as asked; 2 the configuration, a key, an address or a file is not usable.";

/// Flags of every command.
#[derive(Debug, Clone, Copy, Args)]
struct Common {
    /// Least level of log lines [default: as configured, else info]
    #[arg(long, global = true, value_enum)]
    log_level: Option<Level>,
    /// Form of log lines [default: as configured, else text]
    #[arg(long, global = true, value_enum)]
    log_format: Option<Format>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run; stop with SIGTERM or Ctrl-C
    #[command(after_help = RUN_HELP)]
    Run(run::RunArgs),
    /// Run a stunnel.conf as it is, in the place of stunnel
    #[command(after_help = stunnel::AFTER_HELP)]
    Stunnel(stunnel::StunnelArgs),
    /// Validate a configuration and say what is wrong, all of it in one go
    Check(check::CheckArgs),
    /// Print a stunnel.conf as galeway TOML
    Convert(convert::ConvertArgs),
    /// Check each node once: its verdict, the reason, and every wsrep value read
    Probe(probe::ProbeArgs),
    /// What a running instance sees: clusters, nodes, services
    Status(status::StatusArgs),
    /// Take a node of a running instance out of service, or put it back
    Node(node::NodeArgs),
    /// Make running instances look at their nodes at once; for the servers' wsrep_notify_cmd
    Notify(notify::NotifyArgs),
    /// After an outage: which node to bootstrap, why, and the commands for it. Changes nothing
    Recover(recover::RecoverArgs),
    /// Print a shell's script for completing galeway's commands and options
    Completions(completions::CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(man::ManArgs),
}

/// The configuration file's flag.
#[derive(Debug, Args)]
struct FileArg {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(in_our_spelling(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers; everything else is wrong usage.
            let code = if e.use_stderr() { WRONG } else { 0 };
            // A closed standard output is the reader's wish to hear no more.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Some(Command::Run(args)) => run::run(&args, cli.common),
        Some(Command::Stunnel(args)) => stunnel::run(&args, cli.common),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Convert(args)) => convert::run(&args),
        Some(Command::Probe(args)) => probe::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Node(args)) => node::run(&args),
        Some(Command::Notify(args)) => notify::run(args),
        Some(Command::Recover(args)) => recover::run(&args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Man(args)) => man::run(&args),
        None => run::run(&cli.run, cli.common),
    }
}

/// The flags of stunnel behind `galeway stunnel` as clap spells them: init scripts and packagers ask `-version` and `-help`.
fn in_our_spelling(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let of_stunnel = args.get(1).is_some_and(|command| command == "stunnel");
    if of_stunnel && args.len() == 3 {
        match args.get(2).and_then(|word| word.to_str()) {
            Some("-version") => args.splice(1.., ["--version".into()]).for_each(drop),
            Some("-help") => args.splice(2.., ["--help".into()]).for_each(drop),
            _ => {}
        }
    }
    args
}

/// To standard output. Whoever reads it may have heard enough (`galeway status | head`): that is no fault.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One clear message for a person, and the exit code for wrong usage or configuration.
fn wrong(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("galeway: {message}");
    ExitCode::from(WRONG)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use super::{Cli, in_our_spelling};

    #[test]
    fn stunnels_own_flags_are_understood_behind_stunnel_alone() {
        let asked = |words: &[&str]| {
            let words = words.iter().map(Into::into);
            Cli::try_parse_from(in_our_spelling(words)).map(|_| ()).map_err(|e| (e.kind(), e.to_string()))
        };
        let (kind, text) = asked(&["galeway", "stunnel", "-version"]).unwrap_err();
        assert_eq!((kind, text), (ErrorKind::DisplayVersion, format!("galeway {}\n", env!("CARGO_PKG_VERSION"))));
        let (kind, text) = asked(&["galeway", "stunnel", "-help"]).unwrap_err();
        assert_eq!(kind, ErrorKind::DisplayHelp);
        assert!(text.contains("galeway stunnel") && text.contains("Signals: SIGHUP"), "{text}");
        assert!(asked(&["galeway", "stunnel", "/etc/stunnel.conf"]).is_ok());
        for wrong in
            [&["galeway", "-version"][..], &["galeway", "stunnel", "-versions"], &["galeway", "check", "-help"]]
        {
            let (kind, _) = asked(wrong).unwrap_err();
            assert!(!matches!(kind, ErrorKind::DisplayVersion), "{wrong:?}");
        }
    }
}
