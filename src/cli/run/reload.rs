//! The reload of a galeway.toml: SIGHUP, and `POST /api/reload`.
//!
//! The file is read, and its certificates and addresses with it, on a thread of its own: a file may hang (a pipe, a dead server of
//! files), and signals are to be answered all the same. One reload is under way at a time; whoever asks meanwhile gets one more
//! after it, since it may have read the file before it was changed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, Receiver, Sender};

use super::origin::Origin;
use crate::admin::Told;
use crate::cli::process::warn;
use crate::lifecycle::Reloader;

/// No file that can be had takes longer to be read: whoever asks once more after that may want to know what hangs.
const HANGS: Duration = Duration::from_secs(5);

/// Reloads of one instance.
pub(super) struct Reloads {
    origin: Origin,
    /// The process has its chroot: the file's path leads nowhere from there.
    jailed: bool,
    reloader: Reloader,
    under_way: Option<UnderWay>,
    /// Whoever asked meanwhile; `None` a signal.
    waiting: Vec<Option<Sender<Told>>>,
}

struct UnderWay {
    since: Instant,
    end: Receiver<Told>,
    asked: Vec<Option<Sender<Told>>>,
}

impl Reloads {
    pub(super) fn new(origin: Origin, jailed: bool, reloader: Reloader) -> Self {
        Self { origin, jailed, reloader, under_way: None, waiting: Vec::new() }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins one, or remembers that it is to be done once more. `by`: where what becomes of it is told; `None` = a signal.
    pub(super) fn ask(&mut self, by: Option<Sender<Told>>) {
        if let Some(under_way) = &self.under_way {
            tell_under_way(&self.origin, under_way.since.elapsed());
            // Whoever has left needs no answer: with a file that hangs he would be kept for ever.
            self.waiting.retain(|by| by.as_ref().is_none_or(|by| !by.is_closed()));
            // A hundred signals are one wish.
            if by.is_some() || !self.waiting.iter().any(Option::is_none) {
                self.waiting.push(by);
            }
            return;
        }
        self.begin(vec![by]);
    }

    fn begin(&mut self, asked: Vec<Option<Sender<Told>>>) {
        let (send, end) = oneshot::channel();
        let (origin, jailed, reloader) = (self.origin.clone(), self.jailed, self.reloader.clone());
        let by = if asked.iter().any(Option::is_none) { "SIGHUP" } else { "HTTP" };
        tracing::info!(config = %self.origin, by, "reload: reading");
        let work = move || {
            // Nobody wants it any more where the process ends.
            let _ = send.send(reload(&origin, jailed, &reloader));
        };
        match std::thread::Builder::new().name("reload".to_owned()).spawn(work) {
            Ok(_) => self.under_way = Some(UnderWay { since: Instant::now(), end, asked }),
            Err(e) => tell(asked, &Err(format!("cannot start a thread: {e}\n")), &self.reloader),
        }
    }

    /// Goes on with the one that is under way; without one, never. Dropped before it is ready it loses nothing.
    pub(super) async fn done(&mut self) {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        // The panic has been logged.
        let told = (&mut under_way.end).await;
        let told = told.unwrap_or_else(|_| Err("it failed by a fault of Galeway's own\n".to_owned()));
        let asked = self.under_way.take().map(|under_way| under_way.asked).unwrap_or_default();
        tell(asked, &told, &self.reloader);
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.begin(waiting);
        }
    }
}

fn tell(asked: Vec<Option<Sender<Told>>>, told: &Told, reloader: &Reloader) {
    reloader.count(told.is_ok());
    if let Err(why) = told {
        tracing::error!("reload refused: {}", why.trim_end());
    }
    for asked in asked.into_iter().flatten() {
        // Whoever asked may have left.
        let _ = asked.send(told.clone());
    }
}

fn tell_under_way(file: &Origin, taken: Duration) {
    let seconds = taken.as_secs();
    if taken < HANGS {
        tracing::info!("reload: {file} is being read, and is read once more after that");
    } else {
        tracing::warn!(
            "reload: reading {file} has taken {seconds} s so far, and it is read once more after that; if it hangs, see whether it \
            or a file that it names is a pipe, or on a server that does not answer"
        );
    }
}

/// What may wait for a file, and what takes force after it.
fn reload(origin: &Origin, jailed: bool, reloader: &Reloader) -> Told {
    if jailed {
        reloader.reread_certificates();
        let why = "[process] chroot is set: the configuration lies outside of it, and a change of it needs a restart; certificates, \
            keys, CAs and CRLs are read again";
        return Err(format!("{why}\n"));
    }
    let loaded = origin.load().map_err(|diagnostics| {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{diagnostics}");
        text
    })?;
    warn(&loaded.warnings);
    let changes = reloader.prepare(loaded.config).map_err(|e| format!("{e}\n"))?;
    let reloaded = reloader.apply(changes).map_err(|e| format!("{e}\n"))?;
    for change in &reloaded.changes {
        tracing::info!("reload: {change}");
    }
    for what in &reloaded.needs_restart {
        tracing::warn!("reload: {what}: as it was until a restart");
    }
    tracing::info!(generation = reloaded.generation, "reloaded");
    Ok(reloaded.to_string())
}
