//! What of a reload may wait for a file: reading the configuration, its certificates and keys, and binding its addresses.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, Receiver};

use super::{tell, tell_bound};
use crate::config::Config;
use crate::config::stunnel::{self, Launch, Stunnel};
use crate::lifecycle::{Instance, Prepared, Shared, Sockets};

/// No file that can be had takes longer to be read: whoever asks once more after that may want to know what hangs.
const HANGS: Duration = Duration::from_secs(5);

/// A configuration that was read again, with its keys and its addresses.
pub(super) struct Fresh {
    pub(super) config: Config,
    pub(super) launch: Launch,
    pub(super) prepared: Prepared,
}

/// At most one reload at a time, on a thread of its own: a file may hang (a pipe, a dead server of files), and signals are to be
/// answered all the same. A thread that hangs ends with the process, and nobody waits for it.
pub(super) struct Reloads {
    file: PathBuf,
    /// The process has its chroot: paths are counted from there.
    inside: bool,
    under_way: Option<(Instant, Receiver<Result<Fresh, String>>)>,
    /// Somebody asked while one was under way, which may have read the file before it was changed.
    again: bool,
}

impl Reloads {
    pub(super) fn new(file: PathBuf, inside: bool) -> Self {
        Self { file, inside, under_way: None, again: false }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Begins one, or remembers that it is to be done once more. `shared`: of what runs now.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn ask(&mut self, shared: Shared) -> Result<(), String> {
        if let Some((since, _)) = &self.under_way {
            tell_under_way(&self.file, since.elapsed());
            self.again = true;
            return Ok(());
        }
        let (send, receive) = oneshot::channel();
        let (file, inside) = (self.file.clone(), self.inside);
        let read = move || {
            // Nobody wants it any more where the process ends.
            let _ = send.send(read(&file, inside, shared));
        };
        let thread = std::thread::Builder::new().name("reload".to_owned()).spawn(read);
        thread.map_err(|e| format!("cannot start a thread: {e}"))?;
        self.under_way = Some((Instant::now(), receive));
        Ok(())
    }

    /// What the one that is under way comes to; without one, never. Dropped before it is ready it loses nothing.
    pub(super) async fn done(&mut self) -> Result<Fresh, String> {
        let Some((_, receive)) = &mut self.under_way else { return std::future::pending().await };
        let read = receive.await;
        self.under_way = None;
        // The panic has been logged.
        read.unwrap_or_else(|_| Err("reading it failed by a fault of Galeway's own".to_owned()))
    }

    /// Whether it was asked for once more. Asked but once.
    pub(super) fn once_more(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

/// Two quick SIGHUPs are no fault.
fn tell_under_way(file: &Path, taken: Duration) {
    let (file, seconds) = (file.display(), taken.as_secs());
    if taken < HANGS {
        tracing::info!(target: "tunnel", "SIGHUP: {file} is being read, and is read once more after that");
    } else {
        tracing::warn!(target: "tunnel", "SIGHUP: reading {file} has taken {seconds} s so far, and it is read once more after \
            that; if it hangs, see whether it or a file that it names is a pipe, or on a server that does not answer");
    }
}

fn read(file: &Path, inside: bool, shared: Shared) -> Result<Fresh, String> {
    tracing::info!(target: "tunnel", "Reading configuration from file {} (SIGHUP)", file.display());
    let loaded = if inside { stunnel::load_inside(file) } else { stunnel::load(file) };
    let Stunnel { config, launch, warnings } = loaded.map_err(|diagnostics| {
        tell(&diagnostics);
        "it is refused".to_owned()
    })?;
    tell(&warnings);
    let sockets = Sockets { shared_with: Some(shared), some_suffice: true, ..Sockets::default() };
    let prepared = Instance::prepare(&config, sockets, Some(&launch)).map_err(|e| e.to_string())?;
    tracing::info!(target: "tunnel", "Configuration successful");
    tell_bound(&prepared);
    Ok(Fresh { config, launch, prepared })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn only_a_reload_that_takes_long_is_warned_of() {
        let said = |seconds: u64| {
            let lines = Lines::default();
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
            tracing::subscriber::with_default(subscriber, || {
                tell_under_way(Path::new("/etc/a.conf"), Duration::from_secs(seconds));
            });
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
        };
        for seconds in [0, 4] {
            let said = said(seconds);
            assert!(
                said.contains(" INFO ") && said.contains("/etc/a.conf is being read, and is read once more"),
                "{said}"
            );
            assert!(!said.contains("hangs"), "{said}");
        }
        let said = said(5);
        assert!(said.contains(" WARN ") && said.contains("reading /etc/a.conf has taken 5 s so far"), "{said}");
        assert!(said.contains("is read once more after that; if it hangs, see whether"), "{said}");
    }
}
