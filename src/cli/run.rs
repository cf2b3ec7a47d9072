//! `galeway run`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use super::{Common, FileArg, WRONG, wrong};
use crate::config::{self, LogFormat, LogLevel, Process};
use crate::lifecycle::{Handle, Instance};
use crate::telemetry::logging::{self, Logging};

/// How often a drain looks whether sessions are left.
const LOOK: Duration = Duration::from_millis(50);

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
    if !loaded.warnings.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    let config = loaded.config;
    let guard = match logging::start(logging_of(&config.process, common)) {
        Ok(guard) => guard,
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
    let handle = match Instance::start(&config) {
        Ok(handle) => handle,
        Err(e) => {
            // What was logged so far stands above the message, and not behind it.
            drop(guard);
            return wrong(e);
        }
    };
    if let Some(address) = handle.admin_addr() {
        tracing::info!(%address, "admin");
    }
    runtime.block_on(serve(&handle, &mut signals, config.process.shutdown_timeout));
    handle.stop();
    tracing::info!("stopped");
    drop(guard);
    ExitCode::SUCCESS
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

/// Runs until a signal, then drains. A second signal ends the drain.
async fn serve(handle: &Handle, signals: &mut Signals, patience: Duration) {
    let signal = signals.end().await;
    handle.drain();
    let sessions = || handle.sessions().iter().sum::<usize>();
    tracing::info!(signal, sessions = sessions(), up_to_seconds = patience.as_secs_f64(), "draining");
    let drained = async {
        while sessions() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = drained => {}
        signal = signals.end() => tracing::info!(signal, sessions = sessions(), "second signal: ending at once"),
        () = tokio::time::sleep(patience) => {
            tracing::warn!(sessions = sessions(), "shutdown_timeout is over: ending what is left");
        }
    }
}
