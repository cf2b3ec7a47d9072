//! Where log lines go. Set up by the command line only, once a process: the library itself only emits events.

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for a slow standard error. Beyond that lines are dropped: a log that nobody reads must not
/// stop the database's front.
const LINES_HELD: usize = 64 * 1024;

/// What to log and how.
#[derive(Debug, Clone, Copy)]
pub struct Logging {
    /// Least level.
    pub level: Level,
    /// JSON objects instead of text.
    pub json: bool,
    /// Events of target `access`.
    pub access: bool,
}

/// The running log. Dropped, it writes what is still held.
#[derive(Debug)]
pub struct Log {
    _writer: WorkerGuard,
    lost: ErrorCounter,
}

impl Log {
    /// Lines thrown away so far because standard error did not take them in time.
    pub fn lost(&self) -> usize {
        self.lost.dropped_lines()
    }
}

/// Starts logging to standard error. An error means that a subscriber stands already.
pub fn start(logging: Logging) -> Result<Log, tracing_subscriber::util::TryInitError> {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_HELD).finish(std::io::stderr());
    let lost = writer.error_counter();
    let access = if logging.access { LevelFilter::INFO } else { LevelFilter::OFF };
    // Libraries speak only at warn: their debug lines are about sockets, not about databases.
    let targets = Targets::new()
        .with_default(Level::WARN.min(logging.level))
        .with_target("galeway", logging.level)
        .with_target("access", access);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let registry = tracing_subscriber::registry().with(targets);
    if logging.json {
        registry.with(layer.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(layer).try_init()?;
    }
    Ok(Log { _writer: guard, lost })
}
