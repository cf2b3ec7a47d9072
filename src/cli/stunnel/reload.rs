//! What of a reload may wait for a file: reading the configuration, its certificates and keys, and binding its addresses.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::sync::oneshot::{self, Receiver};

use super::{tell, tell_bound};
use crate::config::Config;
use crate::config::stunnel::{self, Launch, Stunnel};
use crate::lifecycle::{Instance, Prepared, Shared, Sockets};

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
            let seconds = since.elapsed().as_secs();
            tracing::warn!(target: "tunnel", "SIGHUP: {} has been being read for {seconds} s, and is read once more after that; \
                if it hangs, see whether it or a file that it names is a pipe, or on a server that does not answer",
                self.file.display());
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
