//! `galeway run`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::{Common, FileArg, WRONG, wrong};
use crate::config::{self, Diagnostics, LogFormat, LogLevel, Process};
use crate::lifecycle::{Handle, Instance};
use crate::net::Inherited;
use crate::telemetry::logging::{self, Log, Logging};

/// How often a drain looks whether sessions are left.
const LOOK: Duration = Duration::from_millis(50);

/// How often lost log lines are told of.
const OWN_UP: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    file: FileArg,
}

pub(super) fn run(args: &RunArgs, common: Common) -> ExitCode {
    let loaded = match config::load(&args.file.file) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(WRONG);
        }
    };
    let config = &loaded.config;
    // Before any thread is started: it reads the environment.
    let inherited = Inherited::from_env();
    let log = match logging::start(logging_of(&config.process, common)) {
        Ok(log) => log,
        Err(e) => return wrong(format_args!("cannot start logging: {e}")),
    };
    log_panics();
    // Before anything else starts: a signal that comes during the start must not meet its default action.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return wrong(format_args!("cannot start: {e}")),
    };
    let signals = {
        let _within = runtime.enter();
        Signals::catch()
    };
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(e) => return wrong(format_args!("cannot catch signals: {e}")),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(),
        config = %args.file.file.display(), "starting");
    warn(&loaded.warnings);
    match raise_open_files() {
        Ok(most) => tracing::debug!(most, "open files"),
        Err(e) => tracing::warn!(error = %e, "cannot raise the soft limit of open files to the hard one"),
    }
    let handle = match Instance::start(config, inherited) {
        Ok(handle) => handle,
        Err(e) => {
            // What was logged so far stands above the message, and not behind it.
            drop(log);
            return wrong(e);
        }
    };
    if let Some(address) = handle.admin_addr() {
        tracing::info!(%address, "admin");
    }
    runtime.block_on(async {
        tokio::select! {
            () = serve(&handle, &mut signals, config.process.shutdown_timeout) => {}
            never = own_up(&log) => match never {},
        }
    });
    handle.stop();
    tracing::info!("stopped");
    drop(log);
    ExitCode::SUCCESS
}

/// One line each, as every other event: `galeway check` shows them with the lines they stand in.
fn warn(warnings: &Diagnostics) {
    for warning in warnings {
        let (line, column) = warning.place().unwrap_or((1, 1));
        let place = format_args!("{}:{line}:{column}", warnings.file().display());
        tracing::warn!(%place, help = warning.help(), "configuration: {}", warning.message());
    }
}

/// Every session takes two descriptors, and the soft limit is 1024 where nobody set it; that low it is meant for
/// programs that use `select`.
fn raise_open_files() -> std::io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

fn logging_of(process: &Process, common: Common) -> Logging {
    let level = match common.log_level.map_or(process.log_level, LogLevel::from) {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let json = common.log_format.map_or(process.log_format, LogFormat::from) == LogFormat::Json;
    Logging { level, json, access: process.access_log }
}

/// A panic ends one session, and must be seen where the other events are.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, what, "a fault of Galeway's own ended one session or task: please report it");
    }));
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that ends the process; says of the others what they do not do yet.
    async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: reload is not supported yet; restart to read a changed configuration");
                }
                _ = self.user1.recv() => tracing::info!("SIGUSR1: the log is standard error, there is nothing to reopen"),
                _ = self.user2.recv() => tracing::warn!("SIGUSR2: upgrade in place is not supported yet; restart instead"),
            }
        }
    }
}

/// Says how many log lines are missing: a gap that nobody knows of is worse than the gap.
async fn own_up(log: &Log) -> std::convert::Infallible {
    let mut told = 0;
    loop {
        tokio::time::sleep(OWN_UP).await;
        let lost = log.lost();
        if lost > told {
            tracing::warn!(lines = lost - told, "log lines were thrown away: standard error was not read fast enough");
            told = lost;
        }
    }
}

/// Runs until a signal, then drains. A second signal ends the drain.
async fn serve(handle: &Handle, signals: &mut Signals, patience: Duration) {
    let signal = signals.end().await;
    handle.drain();
    let sessions = || handle.sessions().iter().sum::<usize>();
    let drained = async {
        while !handle.drained() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tracing::info!(signal, sessions = sessions(), up_to_seconds = patience.as_secs_f64(), "draining");
    tokio::select! {
        () = drained => {}
        signal = signals.end() => tracing::info!(signal, sessions = sessions(), "second signal: ending at once"),
        () = tokio::time::sleep(patience) => {
            tracing::warn!(sessions = sessions(), "shutdown_timeout is over: ending what is left");
        }
    }
}
