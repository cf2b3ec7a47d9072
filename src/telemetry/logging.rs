//! Where log lines go. Set up by the command line only, once a process: the library itself only emits events.
//!
//! ```text
//!  event ─ filter ─┬─ style ─► gate ─► writer thread ─► standard error
//!                  ├─ style ─► gate ─► writer thread ─► file
//!                  └─ style ─► gate ─► writer thread ─► /dev/log, the journal's socket
//! ```
//!
//! A gate holds lines until it is opened: keys are read and addresses bound before privileges are dropped, the log file is
//! opened after that, and threads come last of all. Each line is one write, and so one datagram.

mod gate;
mod sink;
mod style;

use std::path::PathBuf;
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use gate::Gate;
use sink::{Failures, Reopen, Sink};
use style::{Journald, Plain, Stunnel, Syslog, Zone};

pub use sink::OpenError;

/// What to log and how.
#[derive(Debug, Clone)]
pub struct Logging {
    /// Which events.
    pub level: Least,
    /// Where to, each with all of them. None: nowhere.
    pub outputs: Vec<Output>,
}

/// Which events are logged.
#[derive(Debug, Clone, Copy)]
pub enum Least {
    /// As `[process]` says.
    Native {
        /// Least level.
        level: Level,
        /// Events of target `access`.
        access: bool,
    },
    /// The largest numbers of syslog(3), as stunnel's `debug`: 0 to 7. Connections are told in stunnel's words by events of
    /// target `tunnel`, and not by those of target `access`.
    Stunnel {
        /// Of our own events.
        ours: u8,
        /// Of the tunnel's: the largest that any service has; each service looks at its own before it speaks.
        tunnel: u8,
    },
}

/// One place that log lines go to.
#[derive(Debug, Clone)]
pub enum Output {
    /// Standard error.
    Stderr(Style),
    /// A file, opened at [`Opened`] and again at [`Log::reopen`].
    File {
        /// Which one.
        path: PathBuf,
        /// What is there stays; else it is overwritten at each opening.
        append: bool,
        /// How lines look.
        style: Style,
    },
    /// The system's log: datagrams of RFC 3164 to `/dev/log`.
    Syslog {
        /// The number of syslog(3), not shifted: 3 is `daemon`.
        facility: u8,
        /// The name that stands before each line.
        ident: Arc<str>,
        /// How lines look behind it.
        style: Style,
        /// Somebody asked for it. Else, where there is no such log (in a container), it is done without.
        asked: bool,
    },
    /// systemd's journal, by its native protocol: each field of an event is one of the journal's entry.
    Journald {
        /// `SYSLOG_IDENTIFIER`.
        ident: Arc<str>,
    },
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// `YYYY.MM.DD HH:MM:SS LOGn[id]: message`, in local time.
    Stunnel,
}

/// The subscriber stands, and holds what is said until it is [`Self::open`]. Dropped before, it shows what it held on
/// standard error.
#[derive(Debug)]
pub struct Held {
    sinks: Vec<(Gate, Sink)>,
    level: LevelHandle,
}

/// Every file and socket is open; nothing is written yet.
#[derive(Debug)]
pub struct Opened {
    sinks: Vec<(Gate, Sink)>,
    level: LevelHandle,
}

/// The running log. Dropped, it writes what is still held.
#[derive(Debug)]
pub struct Log {
    _writers: Vec<WorkerGuard>,
    gates: Vec<Gate>,
    failures: Vec<Failures>,
    files: Vec<Reopen>,
    level: LevelHandle,
}

/// Sets the process's subscriber. Sockets are connected and the time zone is read now, since a chroot has neither.
///
/// # Errors
/// A subscriber stands already, or a socket cannot be had.
pub fn install(logging: &Logging) -> Result<Held, OpenError> {
    let zone = Zone::system();
    let (filter, level) = reload::Layer::new(targets(logging.level));
    let mut layers: Vec<Box<dyn Layer<Filtered> + Send + Sync>> = Vec::new();
    let (mut sinks, mut without) = (Vec::new(), Vec::new());
    for output in &logging.outputs {
        let gate = Gate::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(gate.clone()).with_ansi(false);
        let (layer, sink) = match output {
            Output::Stderr(style) => (styled(layer, *style, &zone), Sink::stderr()),
            Output::File { path, append, style } => (styled(layer, *style, &zone), Sink::file(path, *append)),
            Output::Syslog { facility, ident, style, asked } => {
                let plain = if *style == Style::Stunnel { Plain::Stunnel } else { Plain::Words };
                let form = Syslog { facility: *facility, ident: Arc::clone(ident), plain, zone: zone.clone() };
                match Sink::datagrams(sink::SYSLOG) {
                    Ok(sink) => (layer.event_format(form).boxed(), sink),
                    Err(e) if !asked => {
                        without.push(e);
                        continue;
                    }
                    Err(e) => return Err(e),
                }
            }
            Output::Journald { ident } => {
                (layer.event_format(Journald { ident: Arc::clone(ident) }).boxed(), Sink::datagrams(sink::JOURNAL)?)
            }
        };
        layers.push(layer);
        sinks.push((gate, sink));
    }
    tracing_subscriber::registry().with(filter).with(layers).try_init().map_err(OpenError::Taken)?;
    for e in without {
        // Whoever is to hear it hears it elsewhere.
        tracing::warn!("{e}: done without; write syslog = no, or give this host a log");
    }
    Ok(Held { sinks, level })
}

/// What a line has passed before it comes to an output.
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;

/// Changes what is told while the process runs.
type LevelHandle = reload::Handle<Targets, Registry>;

type Fmt<S> = tracing_subscriber::fmt::Layer<
    S,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    Gate,
>;

fn styled<S>(layer: Fmt<S>, style: Style, zone: &Zone) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    match style {
        Style::Text => layer.boxed(),
        Style::Json => layer.json().flatten_event(true).boxed(),
        Style::Stunnel => layer.event_format(Stunnel { zone: zone.clone() }).boxed(),
    }
}

/// Libraries speak only at warn: their debug lines are about sockets, not about databases.
fn targets(least: Least) -> Targets {
    match least {
        Least::Native { level, access } => Targets::new()
            .with_default(Level::WARN.min(level))
            .with_target("galeway", level)
            .with_target("tunnel", LevelFilter::OFF)
            .with_target("access", if access { LevelFilter::INFO } else { LevelFilter::OFF }),
        Least::Stunnel { ours, tunnel } => {
            let ([ours, _], [_, tunnel]) = (style::stunnel_levels(ours), style::stunnel_levels(tunnel));
            Targets::new()
                .with_default(LevelFilter::WARN.min(tunnel))
                .with_target("galeway", ours)
                .with_target("tunnel", tunnel)
                .with_target("access", LevelFilter::OFF)
        }
    }
}

impl Held {
    /// Opens the files: after the change of root and the drop of privileges, so that the same process can open them again.
    pub fn open(mut self) -> Result<Opened, OpenError> {
        for (_, sink) in &mut self.sinks {
            sink.open()?;
        }
        Ok(Opened { sinks: std::mem::take(&mut self.sinks), level: self.level.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        show(&self.sinks);
    }
}

impl Opened {
    /// Starts the threads that write, and writes what was held: after a daemon's fork, which no thread survives.
    pub fn begin(mut self) -> Log {
        let level = self.level.clone();
        let mut log = Log { _writers: Vec::new(), gates: Vec::new(), failures: Vec::new(), files: Vec::new(), level };
        for (gate, sink) in std::mem::take(&mut self.sinks) {
            log.failures.push(sink.failures());
            log.files.extend(sink.reopen());
            log._writers.push(gate.open(sink));
            log.gates.push(gate);
        }
        log
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        show(&self.sinks);
    }
}

/// The lines of a start that failed: of one output, since each has all of them.
fn show(sinks: &[(Gate, Sink)]) {
    use std::io::Write as _;
    if let Some((gate, _)) = sinks.iter().max_by_key(|(_, sink)| sink.is_for_people()) {
        let mut err = std::io::stderr().lock();
        for line in gate.take() {
            // Nobody hears of it then.
            let _ = err.write_all(&line);
        }
    }
}

impl Log {
    /// Lines thrown away so far because they could not be written as fast as they came.
    pub fn lost(&self) -> usize {
        self.gates.iter().map(Gate::lost).sum()
    }

    /// Lines that could not be written, and why the last of them could not: a full disk, a log service that has gone.
    pub fn failed(&self) -> Option<(usize, String)> {
        let failures: Vec<(usize, String)> = self.failures.iter().filter_map(Failures::told).collect();
        let lines = failures.iter().map(|(lines, _)| lines).sum();
        failures.into_iter().next_back().map(|(_, why)| (lines, why))
    }

    /// Tells more or less from now on.
    pub fn set_least(&self, least: Least) {
        // Fails only where the subscriber is gone, and with it every line.
        let _ = self.level.reload(targets(least));
    }

    /// Opens every file again, under its path: what held the old name was moved away. Lines that come meanwhile are
    /// written to one of the two. The number of files; where one cannot be opened the old one is kept.
    pub fn reopen(&self) -> Result<usize, OpenError> {
        for file in &self.files {
            file.again()?;
        }
        Ok(self.files.len())
    }
}
