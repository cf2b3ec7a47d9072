//! What `galeway run` and `galeway stunnel` have in common: from a configuration to a process that serves, and to its end.
//!
//! The order of the start is stunnel's: keys are read and addresses bound as who started the process; then the root is
//! changed and privileges are dropped; what has to be opened again later (the log) or removed (the pid file) is opened
//! after that. Threads come last, once the process is a daemon, if it is to be one.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as Number};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::stunnel::Launch;
use crate::config::{Config, Diagnostics};
use crate::lifecycle::{Handle, Instance, Notifier, Null, PidFile, Plan, Prepared, Sockets, unreadable};
use crate::telemetry::logging::{Held, Log};

/// How often a drain looks whether sessions are left.
const LOOK: Duration = Duration::from_millis(50);

/// How often lost log lines are told of.
const OWN_UP: Duration = Duration::from_secs(10);

/// What the process is to be.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) config: &'a Config,
    pub(super) sockets: Sockets,
    pub(super) log: Held,
    pub(super) daemon: bool,
    /// Of a stunnel.conf.
    pub(super) tunnels: Option<&'a Launch>,
}

/// A process that serves.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) signals: Signals,
    pub(super) runtime: Runtime,
    pub(super) log: Log,
    /// Hears what becomes of us.
    pub(super) notifier: Notifier,
    /// Removed at the end.
    pub(super) pid: PidFiles,
}

/// Where the process's number is written.
#[derive(Debug)]
pub(super) struct PidFiles {
    pub(super) ours: Option<PidFile>,
    /// Of the process whose place this one takes, and at another path.
    pub(super) others: Mutex<Vec<PidFile>>,
}

/// Keeps signals waiting until somebody can hear them. One that comes before that would end the process.
pub(super) fn hold_signals() -> Result<(), String> {
    ours().thread_block().map_err(|e| format!("cannot hold signals back: {e}"))
}

fn ours() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGUSR1, Number::SIGUSR2].into_iter().collect()
}

impl Start<'_> {
    /// Starts. `bound` hears what the sockets are before anything else happens to the process.
    ///
    /// # Errors
    /// What a person has to be told; what was logged so far has been shown by then.
    pub(super) fn go(self, bound: impl FnOnce(&Prepared)) -> Result<Running, String> {
        let Self { config, mut sockets, log, daemon, tunnels } = self;
        let told = |e: &dyn std::fmt::Display| e.to_string();
        match raise_open_files() {
            Ok(most) => tracing::debug!(most, "open files"),
            Err(e) => tracing::warn!(error = %e, "cannot raise the soft limit of open files to the hard one"),
        }
        let notifier = Notifier::from_env();
        let null = if daemon { Some(Null::open().map_err(|e| format!("cannot open /dev/null: {e}"))?) } else { None };
        let plan = Plan::of(&config.process).map_err(|e| told(&e))?;
        let (had, others) = sockets.handed.pid_file(config.process.pid_file.as_deref());
        let prepared = Instance::prepare(config, sockets, tunnels).map_err(|e| told(&e))?;
        bound(&prepared);
        if let Some(dir) = config.memory() {
            plan.hand_over(&dir.path);
        }
        plan.enter().map_err(|e| told(&e))?;
        if !plan.is_empty() {
            tracing::info!(user = plan.whom(), "privileges are dropped");
            warn_of_unreadable(config, tunnels, plan.whom());
        }
        let log = log.open().map_err(|e| told(&e))?;
        // One that was handed over holds the other process's number until its place is taken.
        let claim = config.process.pid_file.as_deref().filter(|_| had.is_none());
        let claimed = claim.map(PidFile::claim).transpose().map_err(|e| told(&e))?;
        if let Some(null) = null {
            null.detach().map_err(|e| format!("cannot become a daemon: {e}"))?;
        }
        if let Some(pid) = &claimed {
            pid.write().map_err(|e| told(&e))?;
        }
        let pid = PidFiles { ours: had.or(claimed), others: Mutex::new(others) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
        let signals = {
            let _within = runtime.enter();
            Signals::catch().map_err(|e| format!("cannot catch signals: {e}"))?
        };
        let log = log.begin();
        match prepared.launch() {
            Ok(handle) => {
                notifier.watch_over(handle.pulse());
                Ok(Running { handle, signals, runtime, log, notifier, pid })
            }
            Err(e) => {
                // A daemon has nobody who would hear of it.
                if daemon {
                    tracing::error!(error = %e, "cannot start");
                }
                drop(log);
                Err(told(&e))
            }
        }
    }
}

/// A change of these files will go unseen, and only now can it be known.
fn warn_of_unreadable(config: &Config, tunnels: Option<&Launch>, whom: &str) {
    let behind = tunnels.map(|launch| launch.virtual_services.as_slice()).unwrap_or_default();
    for file in unreadable(config, behind) {
        tracing::warn!(file = %file.path.display(), user = whom, why = file.why, "this file cannot be read any more: what it \
            holds now is kept until a restart, and a change of it goes unseen; let that user read it");
    }
}

/// One line each, as every other event: `galeway check` shows them with the lines they stand in.
pub(super) fn warn(warnings: &Diagnostics) {
    for warning in warnings {
        let file = warning.file().unwrap_or(warnings.file()).display();
        let place =
            warning.place().map_or_else(|| file.to_string(), |(line, column)| format!("{file}:{line}:{column}"));
        tracing::warn!(place, help = warning.help(), "configuration: {}", warning.message());
    }
}

/// Every session takes two descriptors, and the soft limit is 1024 where nobody set it; that low it is meant for
/// programs that use `select`.
fn raise_open_files() -> std::io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

/// A panic ends one session, and must be seen where the other events are.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, what, "a fault of Galeway's own ended one session or task: please report it");
    }));
}

/// The file of a configuration, so that it is found again from a daemon's `/`.
pub(super) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What somebody wants of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end; by which signal.
    End(&'static str),
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Reopen,
    /// SIGUSR2.
    Replace,
}

#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Within a runtime. What was held back comes now.
    fn catch() -> std::io::Result<Self> {
        let all = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        ours().thread_unblock()?;
        Ok(all)
    }

    /// The next one. Dropped before it is ready it loses none.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user1.recv() => Wish::Reopen,
            _ = self.user2.recv() => Wish::Replace,
        }
    }
}

/// SIGUSR1.
pub(super) fn reopen(log: &Log) {
    match log.reopen() {
        Ok(0) => tracing::info!("SIGUSR1: the log is no file, there is nothing to reopen"),
        Ok(_) => tracing::info!("SIGUSR1: the log file was opened again"),
        Err(e) => tracing::error!(error = %e, "SIGUSR1: going on with the log file that was open"),
    }
}

/// Says how many log lines are missing: a gap that nobody knows of is worse than the gap.
pub(super) async fn own_up(log: &Log) -> std::convert::Infallible {
    let (mut told, mut told_failed) = (0, 0);
    loop {
        tokio::time::sleep(OWN_UP).await;
        let lost = log.lost();
        if lost > told {
            tracing::warn!(
                lines = lost - told,
                "log lines were thrown away: standard error, or whatever else the log \
                goes to, was not read fast enough"
            );
            told = lost;
        }
        if let Some((failed, why)) = log.failed().filter(|(failed, _)| *failed > told_failed) {
            tracing::warn!(lines = failed - told_failed, why, "log lines could not be written");
            told_failed = failed;
        }
    }
}

/// Waits until every session of a draining instance has ended.
pub(super) async fn drained(handle: &Handle) {
    while !handle.drained() {
        tokio::time::sleep(LOOK).await;
    }
}
