//! `galeway run`.

mod origin;
mod reload;

use std::process::ExitCode;

use clap::Args;
use tracing::Level;

use self::origin::{Origin, OriginArgs};
use self::reload::Reloads;
use super::process::{Signals, Start, Wish, drained, hold_signals, log_panics, own_up, reopen, warn};
use super::{Common, WRONG, wrong};
use crate::admin::ReloadRequests;
use crate::config::{Diagnostics, LogFormat, LogLevel, LogTo, Process};
use crate::lifecycle::{Handle, Sockets};
use crate::net::Inherited;
use crate::telemetry::logging::{self, Least, Log, Logging, Output, Style};

/// What we are called in the system's log. As stunnel and others do, we log as `daemon`.
const IDENT: &str = "galeway";
/// The number of `daemon` in syslog(3).
const DAEMON: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    origin: OriginArgs,
}

pub(super) fn run(args: &RunArgs, common: Common) -> ExitCode {
    let refused = |diagnostics: &Diagnostics, advice: Option<String>| {
        eprintln!("{diagnostics}");
        advice.map_or(ExitCode::from(WRONG), wrong)
    };
    let origin = match Origin::of(&args.origin) {
        Ok(origin) => origin,
        Err(diagnostics) => return refused(&diagnostics, None),
    };
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(diagnostics) => return refused(&diagnostics, origin.advice()),
    };
    let config = &loaded.config;
    // Before any thread is started: it reads the environment.
    let inherited = Inherited::from_env();
    if let Err(e) = hold_signals() {
        return wrong(e);
    }
    let log = match logging::install(&logging_of(&config.process, common)) {
        Ok(log) => log,
        Err(e) => return wrong(e),
    };
    log_panics();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(),
        config = %origin, "starting");
    origin.tell(config);
    warn(&loaded.warnings);
    let sockets = Sockets { inherited, ..Sockets::default() };
    let mut running = match (Start { config, sockets, log, daemon: false, tunnels: None }).go(|_| ()) {
        Ok(running) => running,
        Err(e) => return wrong(e),
    };
    if let Some(address) = running.handle.admin_addr() {
        tracing::info!(%address, "admin");
    }
    let Some(requests) = running.handle.reload_requests() else { return wrong("cannot take wishes for a reload") };
    let reloads = Reloads::new(origin, config.process.chroot.is_some(), running.handle.reloader());
    let log = &running.log;
    let runs = Runs { handle: &running.handle, signals: &mut running.signals, log, requests, reloads, common };
    running.runtime.block_on(async {
        tokio::select! {
            () = serve(runs) => {}
            never = own_up(log) => match never {},
        }
    });
    running.handle.stop();
    drop(running.pid);
    tracing::info!("stopped");
    drop(running.log);
    ExitCode::SUCCESS
}

/// What is told. A flag of the command line counts more than the file.
fn least_of(process: &Process, common: Common) -> Least {
    let level = match common.log_level.map_or(process.log_level, LogLevel::from) {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    Least::Native { level, access: process.access_log }
}

fn logging_of(process: &Process, common: Common) -> Logging {
    let style = match common.log_format.map_or(process.log_format, LogFormat::from) {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::Text,
    };
    let output = match &process.log {
        LogTo::Stderr => Output::Stderr(style),
        LogTo::File(path) => Output::File { path: path.clone(), append: true, style },
        LogTo::Syslog => Output::Syslog { facility: DAEMON, ident: IDENT.into(), style, asked: true },
        LogTo::Journald => Output::Journald { ident: IDENT.into() },
    };
    Logging { level: least_of(process, common), outputs: vec![output] }
}

/// Waits for a signal that ends the process; of the others, and of wishes that come over HTTP, it does what they ask for.
async fn end(running: &mut Runs<'_>) -> &'static str {
    loop {
        tokio::select! {
            wish = running.signals.next() => match wish {
                Wish::End(signal) => return signal,
                Wish::Reload => running.reloads.ask(None),
                Wish::Reopen => reopen(running.log),
                Wish::Replace => tracing::warn!("SIGUSR2: upgrade in place is not supported yet; restart instead"),
            },
            asked = running.requests.next() => running.reloads.ask(Some(asked)),
            () = running.reloads.done() => running.log.set_least(least_of(&running.handle.process(), running.common)),
        }
    }
}

/// What is waited for.
struct Runs<'a> {
    handle: &'a Handle,
    signals: &'a mut Signals,
    log: &'a Log,
    requests: ReloadRequests,
    reloads: Reloads,
    common: Common,
}

/// Runs until a signal, then drains. A second signal ends the drain.
async fn serve(mut running: Runs<'_>) {
    let signal = end(&mut running).await;
    let handle = running.handle;
    let patience = handle.process().shutdown_timeout;
    handle.drain();
    let sessions = || handle.sessions().iter().sum::<usize>();
    tracing::info!(signal, sessions = sessions(), up_to_seconds = patience.as_secs_f64(), "draining");
    tokio::select! {
        () = drained(handle) => {}
        signal = end(&mut running) => tracing::info!(signal, sessions = sessions(), "second signal: ending at once"),
        () = tokio::time::sleep(patience) => {
            tracing::warn!(sessions = sessions(), "shutdown_timeout is over: ending what is left");
        }
    }
}
