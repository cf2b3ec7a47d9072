//! A writer that holds lines until there is a thread to write them, and never waits.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::sink::Sink;

/// Lines that may wait for a slow reader. Beyond that lines are dropped: a log that nobody reads must not stop the
/// database's front. The channel's 32 bytes for each are resident from the start.
const LINES_HELD: usize = 4 * 1024;

/// One output's.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: OnceLock<NonBlocking>,
    held: Mutex<Vec<Vec<u8>>>,
}

impl Gate {
    /// Starts the thread; it writes what was held first.
    pub(super) fn open(&self, sink: Sink) -> WorkerGuard {
        let name = sink.thread_name();
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_HELD).thread_name(name);
        let (mut writer, guard) = builder.finish(sink);
        // Locked until the gate is open: a line that comes now comes after those that were held.
        let mut held = self.held();
        for line in held.drain(..) {
            let _ = io::Write::write_all(&mut writer, &line);
        }
        // There is one owner, who opens it once.
        let _ = self.0.open.set(writer);
        guard
    }

    /// What was held so far.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.held())
    }

    /// Lines thrown away.
    pub(super) fn lost(&self) -> usize {
        self.0.open.get().map_or(0, |writer| writer.error_counter().dropped_lines())
    }

    fn held(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line is handed over in one piece.
impl io::Write for Gate {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.open.get().is_none() {
            let mut held = self.held();
            // It may have been opened just now.
            if self.0.open.get().is_none() {
                if held.len() < LINES_HELD {
                    held.push(line.to_vec());
                }
                return Ok(line.len());
            }
        }
        match self.0.open.get() {
            Some(writer) => writer.clone().write(line),
            None => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gate {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_of_the_start_come_first_and_in_their_order() {
        let dir = std::env::temp_dir().join(format!("galeway-gate-{}", std::process::id()));
        let gate = Gate::default();
        for n in 0..100 {
            gate.clone().write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        let mut sink = Sink::file(&dir, false);
        sink.open().unwrap();
        let guard = gate.open(sink);
        gate.clone().write_all(b"100\n").unwrap();
        drop(guard);
        let written = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(written, (0..=100).map(|n| format!("{n}\n")).collect::<String>());
        assert!(gate.take().is_empty(), "and are not shown a second time");
    }
}
