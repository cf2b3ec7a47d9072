//! `galeway run`.

mod origin;
mod reload;
mod upgrades;

use std::convert::Infallible;
use std::process::ExitCode;

use clap::Args;
use tokio::sync::oneshot::Sender;
use tracing::Level;

use self::origin::{Origin, OriginArgs};
use self::reload::Reloads;
use self::upgrades::{ACCEPTING, Upgrades, take_over};
use super::process::{Running, Signals, Start, Wish, drained, hold_signals, log_panics, own_up, reopen, warn};
use super::{Common, WRONG, wrong};
use crate::admin::{ReloadRequests, RunState, Told};
use crate::config::{Diagnostics, LogFormat, LogLevel, LogTo, Process};
use crate::lifecycle::{Handle, Predecessor, Program, Sockets, attend};
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
    // Before all else: who rotates logs signals every process of the name, and one that is just being started must not end by it.
    if let Err(e) = hold_signals() {
        return wrong(e);
    }
    // What leads to the program may be laid anew later.
    let program = Program::of_this_process();
    if let Some(code) = program.as_ref().ok().and_then(attend) {
        return ExitCode::from(code);
    }
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
    let log = match logging::install(&logging_of(&config.process, common)) {
        Ok(log) => log,
        Err(e) => return wrong(e),
    };
    log_panics();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(),
        config = %origin, "starting");
    origin.tell(config);
    warn(&loaded.warnings);
    let (predecessor, handed) = match Predecessor::find() {
        Ok(found) => found.unzip(),
        Err(e) => return wrong(e),
    };
    let sockets = Sockets { inherited, handed: handed.unwrap_or_default(), ..Sockets::default() };
    let running = match (Start { config, sockets, log, daemon: false, tunnels: None }).go(|_| ()) {
        Ok(running) => running,
        Err(e) => return wrong(e),
    };
    if let Some(address) = running.handle.admin_addr() {
        tracing::info!(%address, "admin");
    }
    let Running { handle, signals, runtime, log, notifier, pid } = running;
    let Some(requests) = handle.reload_requests() else { return wrong("cannot take wishes for a reload") };
    let inside = config.process.chroot.is_some();
    let runs = Runs {
        signals,
        log: &log,
        upgrades: Upgrades::new(&handle, &notifier, &pid, program, inside),
        requests,
        reloads: Reloads::new(origin, inside, handle.reloader()),
        common,
    };
    runtime.block_on(async {
        tokio::select! {
            () = serve(runs, predecessor) => {}
            never = own_up(&log) => match never {},
            never = notifier.watchdog() => match never {},
        }
    });
    handle.stop();
    drop(pid);
    tracing::info!("stopped");
    drop(log);
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

/// Why this process serves no more.
enum Ended {
    /// By a signal.
    Told(&'static str),
    /// Another process does, and this one has its sessions.
    Replaced,
}

/// What is waited for.
struct Runs<'a> {
    signals: Signals,
    log: &'a Log,
    upgrades: Upgrades<'a>,
    requests: ReloadRequests,
    reloads: Reloads,
    common: Common,
}

impl Runs<'_> {
    /// Waits for what ends the process; of the other signals, and of wishes that come over HTTP, it does what they ask for.
    async fn end(&mut self) -> Ended {
        loop {
            tokio::select! {
                wish = self.signals.next() => match wish {
                    Wish::End(signal) => return Ended::Told(signal),
                    Wish::Reload => self.reload(None),
                    Wish::Reopen => reopen(self.log),
                    Wish::Replace if self.reloads.is_under_way() => {
                        tracing::error!("SIGUSR2: no upgrade: a reload is under way; ask again after it");
                    }
                    Wish::Replace => self.upgrades.ask(),
                },
                asked = self.requests.next() => self.reload(Some(asked)),
                () = self.reloads.done() => {
                    self.log.set_least(least_of(&self.upgrades.handle.process(), self.common));
                    self.upgrades.notifier.ready(ACCEPTING);
                }
                () = self.upgrades.done() => return Ended::Replaced,
            }
        }
    }

    /// `by`: who asked over HTTP; `None` = a signal.
    fn reload(&mut self, by: Option<Sender<Told>>) {
        let why = if self.upgrades.is_under_way() {
            "a new process is being started, and reads everything; ask again if that was too late"
        } else if self.upgrades.handle.view().state() != RunState::Running {
            "this process accepts nobody yet, or nobody any more"
        } else {
            self.upgrades.notifier.reloading();
            return self.reloads.ask(by);
        };
        match by {
            // Whoever asked may have left.
            Some(by) => drop(by.send(Err(format!("{why}\n")))),
            None => tracing::warn!("SIGHUP: no reload: {why}"),
        }
    }

    /// Waits for a signal that ends the process.
    async fn told(&mut self) -> &'static str {
        loop {
            if let Ended::Told(signal) = self.end().await {
                return signal;
            }
        }
    }
}

/// Runs until a signal, then ends in order: readiness fails, listeners close, sessions end. A second signal ends at once.
/// Replaced by another process it runs until the last session has ended, however long that takes.
async fn serve(mut runs: Runs<'_>, predecessor: Option<Predecessor>) {
    let Upgrades { handle, notifier, pid, .. } = runs.upgrades;
    let announce = async {
        if predecessor.is_none() {
            notifier.status("starting: the first round of checks is under way");
        }
        handle.accepting().await;
        match predecessor {
            Some(predecessor) => take_over(predecessor, handle, notifier, pid).await,
            None => notifier.ready(ACCEPTING),
        }
        std::future::pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = runs.end() => ended,
        never = announce => match never {},
    };
    let signal = match ended {
        Ended::Told(signal) => signal,
        Ended::Replaced => tokio::select! {
            () = drained(handle) => return,
            signal = runs.told() => signal,
        },
    };
    runs.upgrades.give_up().await;
    notifier.stopping("ending: sessions may finish");
    tokio::select! {
        () = leave(handle, signal) => {}
        signal = runs.told() => {
            tracing::info!(signal, sessions = handle.sessions().iter().sum::<usize>(), "second signal: ending at once");
        }
    }
}

/// Whoever looks at readiness hears of the end first, while clients that it still sends are accepted.
async fn leave(handle: &Handle, signal: &str) {
    let process = handle.process();
    let sessions = || handle.sessions().iter().sum::<usize>();
    // Where nobody was accepted yet nobody is sent either.
    if !process.readiness_delay.is_zero() && handle.view().state() == RunState::Running {
        handle.fail_readiness();
        let seconds = process.readiness_delay.as_secs_f64();
        tracing::info!(signal, sessions = sessions(), for_seconds = seconds, "not ready any more; accepting still");
        tokio::time::sleep(process.readiness_delay).await;
    }
    handle.drain();
    let patience = process.shutdown_timeout;
    tracing::info!(signal, sessions = sessions(), up_to_seconds = patience.as_secs_f64(), "draining");
    tokio::select! {
        () = drained(handle) => {}
        () = tokio::time::sleep(patience) => {
            tracing::warn!(sessions = sessions(), "shutdown_timeout is over: ending what is left");
        }
    }
}
