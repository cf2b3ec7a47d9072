//! `galeway stunnel`.

mod reload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use nix::errno::Errno;

use super::process::{Running, Start, Wish, absolute, hold_signals, log_panics, own_up, reopen};
use super::{Common, Format, Level, WRONG, wrong};
use crate::config::stunnel::{self, Launch, Stunnel};
use crate::config::{Config, Diagnostics, Listen, Process, Severity};
use crate::lifecycle::{Handle, Prepared, Sockets, StartError};
use crate::net::ListenError;
use crate::telemetry::logging::{self, Least, Logging, Output, Style};
use reload::{Fresh, Reloads};

/// How often it is looked whether the services of an old configuration have ended their last session, and whether a new
/// one accepts.
const LOOK: Duration = Duration::from_millis(50);

/// Whoever reads the log of a stunnel looks for these words.
const FAILED: &str = "Configuration failed";

#[derive(Debug, Args)]
pub(super) struct StunnelArgs {
    /// A stunnel.conf, as it is
    #[arg(value_name = "CONF")]
    file: PathBuf,
    /// Stay in the foreground whatever the file says, as systemd and other supervisors want it
    #[arg(long)]
    foreground: bool,
}

/// What `galeway stunnel --help` says behind the options.
pub(super) const AFTER_HELP: &str = "\
The file is read as stunnel 5 reads it. An option that galeway does not have is an error that says
what to do instead; none is ignored. `galeway check -c CONF` says what each service lets in,
`galeway convert CONF` prints the same as galeway.toml.

As stunnel it becomes a daemon unless `foreground = yes` (or --foreground), writes `pid`, logs to
`output` and to the system's log, and becomes `setuid` and `setgid` once it has its keys and its
addresses, inside `chroot` if there is one. `pid` and `output` are opened after that: they belong
to that user, and lie in the chroot.

Signals: SIGHUP reads the file again (a bad one changes nothing), SIGUSR1 opens `output` again,
SIGTERM ends at once.

Example:
  galeway stunnel /etc/stunnel/stunnel.conf

Exit codes: 0 ended as asked, or a daemon now; 2 the configuration, a key, an address or a file is
not usable.";

pub(super) fn run(args: &StunnelArgs, common: Common) -> ExitCode {
    let file = absolute(&args.file);
    let Stunnel { config, launch, warnings } = match stunnel::load(&file) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            eprintln!("{diagnostics}\n[!] {FAILED}");
            return ExitCode::from(WRONG);
        }
    };
    if let Err(e) = hold_signals() {
        return wrong(e);
    }
    let log = match logging::install(&logging_of(&launch, common)) {
        Ok(log) => log,
        Err(e) => return wrong(e),
    };
    log_panics();
    tracing::info!(target: "tunnel", "galeway {} as stunnel, process {}", env!("CARGO_PKG_VERSION"), std::process::id());
    tracing::info!(target: "tunnel", "Reading configuration from file {}", file.display());
    tell(&warnings);
    let sockets = Sockets { some_suffice: true, ..Sockets::default() };
    let daemon = !launch.foreground && !args.foreground;
    let started = Start { config: &config, sockets, log, daemon, tunnels: Some(&launch) }.go(|prepared| {
        tracing::info!(target: "tunnel", "Configuration successful");
        tell_bound(prepared);
    });
    let Running { handle, mut signals, runtime, log, notifier, pid } = match started {
        Ok(running) => running,
        Err(e) => return wrong(format_args!("{e}\n[!] {FAILED}")),
    };
    let started = Started { process: config.process.clone(), launch };
    let mut tunnels = Tunnels { config, started, handle, leaving: Vec::new() };
    runtime.block_on(async {
        let mut reloads = Reloads::new(file, tunnels.started.process.chroot.is_some());
        let serve = async {
            tunnels.accepting().await;
            notifier.ready("accepting clients");
            loop {
                let wish = tokio::select! {
                    wish = signals.next() => wish,
                    read = reloads.done() => {
                        if let Err(why) = read.and_then(|fresh| tunnels.renew(fresh)) {
                            unchanged(reloads.file(), &why);
                        }
                        notifier.watch_over(tunnels.handle.pulse());
                        if reloads.once_more() {
                            ask(&mut reloads, &tunnels);
                        }
                        continue;
                    }
                    () = tokio::time::sleep(LOOK), if !tunnels.leaving.is_empty() => {
                        tunnels.sweep();
                        continue;
                    }
                };
                match wish {
                    Wish::End(signal) => return signal,
                    Wish::Reload => {
                        // As stunnel does; at once, whatever the file is waited for.
                        if let Err(e) = log.reopen() {
                            tracing::error!(error = %e, "going on with the log file that was open");
                        }
                        ask(&mut reloads, &tunnels);
                    }
                    Wish::Reopen => reopen(&log),
                    Wish::Replace => tracing::warn!(
                        "SIGUSR2: `galeway stunnel` is not replaced in place: as stunnel it ends its sessions at SIGTERM, and \
                        what a new process would need (keys, chroot, setuid) is behind it; restart it. `galeway convert` \
                        makes a galeway.toml of it, which `galeway run` upgrades without a cut"
                    ),
                }
            }
        };
        let signal = tokio::select! {
            signal = serve => signal,
            never = own_up(&log) => match never {},
            never = notifier.watchdog() => match never {},
        };
        // What it comes to now would only hold sockets that nobody accepts on.
        drop(reloads);
        notifier.stopping("ending");
        tracing::info!(target: "tunnel", "{signal}: ending");
        let patience = tokio::time::sleep(tunnels.config.process.shutdown_timeout);
        tunnels.drain();
        tokio::select! {
            () = tunnels.drained() => {}
            () = patience => {}
            _ = signals.next() => {}
        }
    });
    tunnels.stop();
    drop(pid);
    tracing::info!(target: "tunnel", "Terminated");
    drop(log);
    ExitCode::SUCCESS
}

/// What runs, and what ran before the last reloads and has sessions left.
struct Tunnels {
    config: Config,
    started: Started,
    handle: Handle,
    leaving: Vec<Handle>,
}

/// What the process was started with, whatever was read since.
struct Started {
    process: Process,
    launch: Launch,
}

impl Started {
    /// Those things of a new configuration that a process is only once, and is otherwise.
    fn differs(&self, process: &Process, launch: &Launch) -> Vec<&'static str> {
        let (old, new) = (&self.process, process);
        let changed = [
            ("chroot", old.chroot != new.chroot),
            ("setuid", old.user != new.user),
            ("setgid", old.group != new.group),
            ("pid", old.pid_file != new.pid_file),
            ("foreground", (self.launch.foreground, self.launch.stderr) != (launch.foreground, launch.stderr)),
            ("output", self.launch.output != launch.output),
            ("syslog", self.launch.syslog != launch.syslog),
            ("debug", self.launch.level != launch.level),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| what).collect()
    }
}

impl Tunnels {
    /// Says once that clients are served.
    async fn accepting(&self) {
        while !self.handle.wait_accepting(Duration::ZERO) {
            tokio::time::sleep(LOOK).await;
        }
        tracing::debug!(target: "tunnel", "Accepting new connections");
    }

    /// New connections meet the new configuration, on the same sockets where the address stays, and the sessions that there
    /// are go on. Where that fails nothing has changed.
    fn renew(&mut self, Fresh { config, launch, prepared }: Fresh) -> Result<(), String> {
        for what in self.started.differs(&config.process, &launch) {
            tracing::warn!(target: "tunnel", "{what} has changed since the start: that needs a restart, and stays as it was \
                until then");
        }
        let handle = prepared.launch().map_err(|e| e.to_string())?;
        let old = std::mem::replace(&mut self.handle, handle);
        old.drain();
        self.leaving.push(old);
        self.config = config;
        Ok(())
    }

    /// Ends the threads of what has no session left.
    fn sweep(&mut self) {
        let (done, left): (Vec<_>, Vec<_>) = self.leaving.drain(..).partition(Handle::drained);
        self.leaving = left;
        done.into_iter().for_each(Handle::stop);
    }

    fn all(&self) -> impl Iterator<Item = &Handle> {
        self.leaving.iter().chain([&self.handle])
    }

    fn drain(&self) {
        self.all().for_each(Handle::drain);
    }

    async fn drained(&self) {
        while !self.all().all(Handle::drained) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn stop(self) {
        let began = Instant::now();
        self.leaving.into_iter().chain([self.handle]).for_each(Handle::stop);
        tracing::debug!(seconds = began.elapsed().as_secs_f64(), "ended what was left");
    }
}

/// SIGHUP.
fn ask(reloads: &mut Reloads, tunnels: &Tunnels) {
    if let Err(why) = reloads.ask(tunnels.handle.shared()) {
        unchanged(reloads.file(), &why);
    }
}

fn unchanged(file: &Path, why: &str) {
    tracing::error!(target: "tunnel", "Failed to reload the configuration file {}: {why}; what was read before stays in force",
        file.display());
}

fn logging_of(launch: &Launch, common: Common) -> Logging {
    let level = match common.log_level {
        None => launch.level,
        Some(Level::Error) => 3,
        Some(Level::Warn) => 4,
        Some(Level::Info) => 5,
        Some(Level::Debug) => 6,
        Some(Level::Trace) => 7,
    };
    let style = if matches!(common.log_format, Some(Format::Json)) { Style::Json } else { Style::Stunnel };
    let file = |output: &stunnel::Output| Output::File { path: output.path.clone(), append: output.append, style };
    let system = |syslog: &stunnel::Syslog| Output::Syslog {
        facility: syslog.facility,
        ident: syslog.ident.clone(),
        style: Style::Stunnel,
        // It is stunnel's default; nobody need have meant it.
        asked: false,
    };
    let outputs = launch.stderr.then_some(Output::Stderr(style)).into_iter();
    let outputs = outputs.chain(launch.output.as_ref().map(file)).chain(launch.syslog.as_ref().map(system));
    let of_services = launch.services.values().map(|service| service.level).max();
    let tunnel = of_services.filter(|_| common.log_level.is_none()).map_or(level, |most| most.max(level));
    Logging { level: Least::Stunnel { ours: level, tunnel }, outputs: outputs.collect() }
}

/// What the author of the file wants to know, at every start.
fn tell(diagnostics: &Diagnostics) {
    for one in diagnostics {
        let (line, _) = one.place().unwrap_or((1, 1));
        let help = one.help().map(|help| format!(" ({help})")).unwrap_or_default();
        let file = one.file().unwrap_or(diagnostics.file());
        let place = format_args!("{}:{line}", file.display());
        match one.severity() {
            Severity::Error => {
                tracing::error!(target: "tunnel", "{place}: {}{help}", one.message());
            }
            Severity::Warning => {
                tracing::warn!(target: "tunnel", "{place}: {}{help}", one.message());
            }
        }
    }
}

/// Each address in stunnel's words: tools read the port from here where it was 0.
fn tell_bound(prepared: &Prepared) {
    for unbound in prepared.unbound() {
        if let StartError::Listen { service, address, source } = unbound {
            let (address, why) = (Address(address), reason(source));
            tracing::info!(target: "tunnel", "Binding service [{service}] to {address}: {why}");
        }
    }
    for (service, listeners) in prepared.bound() {
        for listener in listeners {
            let (number, address) = (listener.number(), Address(listener.local()));
            tracing::debug!(target: "tunnel", "Service [{service}] (FD={number}) bound to {address}");
        }
    }
}

/// `Address already in use (98)`.
fn reason(e: &ListenError) -> String {
    match e {
        ListenError::Tcp(e) => match e.raw_os_error() {
            Some(code) => format!("{} ({code})", Errno::from_raw(code).desc()),
            None => e.to_string(),
        },
        other => other.to_string(),
    }
}

/// As stunnel writes one: IPv6 without brackets.
struct Address<'a>(&'a Listen);

impl std::fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Listen::Tcp(SocketAddr::V6(address)) => write!(f, "{}:{}", address.ip(), address.port()),
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => Path::display(path).fmt(f),
            other @ Listen::Inherited(_) => other.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_compared_with_the_start_and_not_with_the_reload_before() {
        let read = |lines: &str| {
            let text = format!("{lines}[a]\naccept = 127.0.0.1:1\nconnect = 127.0.0.1:2\ncert = /c.pem\n");
            stunnel::parse(&text, Path::new("stunnel.conf")).unwrap()
        };
        let Stunnel { config, launch, .. } = read("pid = /run/a.pid\n");
        let started = Started { process: config.process, launch };
        let differs = |lines: &str| {
            let Stunnel { config, launch, .. } = read(lines);
            started.differs(&config.process, &launch)
        };
        let other = "pid = /run/b.pid\ndebug = 7\nforeground = yes\n";
        for _ in 0..2 {
            assert_eq!(differs(other), ["pid", "foreground", "debug"]);
        }
        assert_eq!(differs("pid = /run/a.pid\n"), Vec::<&str>::new());
        assert_eq!(
            differs("chroot = /\nsetuid = 1\nsetgid = 1\noutput = /x\nsyslog = no\n"),
            ["chroot", "setuid", "setgid", "pid", "output", "syslog"]
        );
    }

    #[test]
    fn addresses_and_reasons_read_as_stunnels() {
        let listen = |address: &str| Listen::Tcp(address.parse().unwrap());
        assert_eq!(Address(&listen("[::1]:33")).to_string(), "::1:33");
        assert_eq!(Address(&listen("127.0.0.1:33")).to_string(), "127.0.0.1:33");
        assert_eq!(Address(&Listen::Unix(Path::new("/run/a.sock").into())).to_string(), "/run/a.sock");
        let e = std::io::Error::from_raw_os_error(98);
        assert_eq!(reason(&ListenError::Tcp(e)), "Address already in use (98)");
    }
}
