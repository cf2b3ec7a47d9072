//! What a restart must not forget, in files of `state_dir`.
//!
//! | file | what |
//! |---|---|
//! | `cluster-NAME.json` | one cluster's memory; a person may read it, and change it while Galeway is stopped |
//! | `cluster-NAME.json.damaged` | one that could not be used, kept for who wants to know why |
//! | `lock` | locked while a Galeway writes here; it holds that one's process id |
//!
//! A thread of its own writes, since a disk can hang: of each cluster the latest memory, and nothing else. What cannot be
//! written is tried again, and stops nobody.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use self::file::{Found, path_of};
use crate::config::StateDir;
use crate::galera::Memory;
use crate::telemetry::Seldom;

/// Who stops frees the directory for its successor but for the moments in which it still writes.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How often a lock that is held is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What could not be written is tried again after this time, if nothing newer came.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// At most one warning in this time about a disk that takes nothing.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// How long the end of the process waits for what is being written.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Why a directory that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made, or not be written.
    #[error(
        "state_dir {path:?} cannot be used: {source} (make it, owned by the user that Galeway runs as, or set another one)"
    )]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two that write one file would each bring back what the other has left behind.
    #[error("state_dir {path:?} is in use by another Galeway{}: give each its own", by(.pid))]
    Taken {
        /// Which one.
        path: PathBuf,
        /// By whom, as far as it says so.
        pid: Option<u32>,
    },
}

fn by(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The directory, locked, and the thread that writes there. Dropped, it finishes what is being written.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// Whether it was asked for.
    written: bool,
    /// Until its thread is started.
    writer: Option<Writer>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be written, by cluster.
    wanted: BTreeMap<Arc<str>, Memory>,
    /// Something was added to it since the writer last looked.
    news: bool,
    /// A successor may take the directory over.
    yielding: bool,
    /// It did not begin: the directory is ours again.
    returned: bool,
    closing: bool,
    /// The writer has ended.
    ended: bool,
}

impl Store {
    /// Opens the directory, and makes it if need be. One that nobody asked for may fail with a warning: `None`. Nothing is
    /// written before [`Self::begin`].
    pub fn open(dir: &StateDir) -> Result<Option<Self>, OpenError> {
        match Self::locked(&dir.path, dir.written) {
            Ok(store) => Ok(Some(store)),
            Err(e) if dir.written => Err(e),
            Err(e) => {
                warn_of_oblivion(&e);
                Ok(None)
            }
        }
    }

    fn locked(path: &Path, written: bool) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        // Node names and histories are nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = lock(path)?;
        let shared = Arc::new(Shared { dir: path.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let writer = Writer { shared: Arc::clone(&shared), lock, held: true, lost: false, unwritten: BTreeMap::new() };
        Ok(Self { shared, written, writer: Some(writer), thread: None })
    }

    /// Starts the thread that writes. Apart from opening: a process drops its privileges while it has one thread.
    ///
    /// # Errors
    /// The directory cannot be written any more, by the user that we have become or from inside a chroot; or there is no
    /// thread to be had. One that nobody asked for is a warning here as well.
    pub fn begin(&mut self) -> Result<(), OpenError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let dir = self.shared.dir.clone();
        let unusable = |source| OpenError::Unusable { path: dir.clone(), source };
        let thread = try_out(&dir).map_err(unusable).and_then(|()| {
            let thread = std::thread::Builder::new().name("memory".to_owned());
            thread.spawn(move || writer.run()).map_err(unusable)
        });
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(e) => {
                // There is no thread that would end.
                self.shared.state().ended = true;
                if self.written {
                    return Err(e);
                }
                warn_of_oblivion(&e);
            }
        }
        Ok(())
    }

    /// Where clusters' memories are kept.
    pub fn keepers(&self) -> Keepers {
        Keepers(Arc::clone(&self.shared))
    }

    /// This process stops, and its successor may begin while its last sessions end. Until it does, changes are written
    /// still.
    pub fn hand_over(&self) {
        self.shared.state().yielding = true;
        self.shared.changed.notify_all();
    }

    /// The successor is gone before it began: this process goes on remembering, what changed meanwhile included.
    pub fn take_back(&self) {
        let mut state = self.shared.state();
        state.yielding = false;
        state.returned = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.writer.is_some() {
            return;
        }
        let mut state = self.shared.state();
        state.closing = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, LAST_WRITE, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.ended {
            tracing::warn!(dir = %self.shared.dir.display(), "the disk does not answer: the last change is not remembered");
            return;
        }
        drop(state);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// What is held is whole after each statement.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives each cluster its own; a cluster may come while the process runs.
#[derive(Debug, Clone)]
pub struct Keepers(Arc<Shared>);

impl Keepers {
    pub(super) fn of(&self, cluster: &Arc<str>) -> Keeper {
        Keeper { shared: Arc::clone(&self.0), cluster: Arc::clone(cluster) }
    }
}

/// One cluster's memory.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    cluster: Arc<str>,
}

impl Keeper {
    /// What was remembered; nothing where there is nothing, or nothing that can be used.
    pub(super) fn load(&self) -> Memory {
        let path = path_of(&self.shared.dir, &self.cluster);
        let cluster = &*self.cluster;
        let why = match file::read(&path, cluster) {
            Found::Nothing => {
                tracing::info!(cluster, file = %path.display(), "nothing is remembered: a cold start");
                return Memory::default();
            }
            Found::Memory(memory) => {
                let by_name = memory.operator.iter().map(|(n, state)| format!("{n} {}", state.as_str()));
                let by_member = memory.members.iter().map(|(n, state)| format!("{n} {}", state.as_str()));
                let operator: Vec<_> = by_name.chain(by_member).collect();
                let served: Vec<&str> = memory.served.iter().map(|n| &**n).collect();
                tracing::info!(cluster, file = %path.display(), writer = memory.writer.as_deref().unwrap_or_default(),
                    served = served.join(", "), history = memory.history.as_deref().unwrap_or_default(),
                    operator = operator.join(", "), "remembered");
                return memory;
            }
            Found::Useless(why) => why,
        };
        let aside = path.with_added_extension("damaged");
        let kept = match std::fs::rename(&path, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(e) => format!("it cannot be kept aside: {e}"),
        };
        tracing::warn!(cluster, file = %path.display(), why, kept, "what was remembered cannot be used, and this is a cold \
            start: writer, component served and history are found anew, and nodes that operators had drained get clients");
        Memory::default()
    }

    /// To be written soon. Costs no time.
    pub(super) fn keep(&self, memory: &Memory) {
        let mut state = self.shared.state();
        state.wanted.insert(Arc::clone(&self.cluster), memory.clone());
        state.news = true;
        self.shared.changed.notify_all();
    }
}

#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    lock: File,
    held: bool,
    /// The directory belongs to a successor.
    lost: bool,
    /// The latest memories that came since then.
    unwritten: BTreeMap<Arc<str>, Memory>,
}

impl Writer {
    fn run(mut self) {
        let mut warning = Seldom::new(WARNING_EVERY);
        let mut again = None;
        loop {
            let (batch, closing) = self.wait(again);
            again = None;
            for (cluster, memory) in batch {
                if let Err(e) = self.write(&cluster, &memory) {
                    if warning.due(Instant::now()) {
                        tracing::warn!(cluster = &*cluster, dir = %self.shared.dir.display(), error = %e,
                            "what a restart must not forget cannot be written: it is tried again");
                    }
                    // Unless there is a newer one by now.
                    self.shared.state().wanted.entry(cluster).or_insert(memory);
                    again = Some(Instant::now() + TRY_AGAIN);
                }
            }
            if closing {
                break;
            }
        }
        drop(self.lock);
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits for something to do. True: it is the last time.
    fn wait(&mut self, again: Option<Instant>) -> (BTreeMap<Arc<str>, Memory>, bool) {
        let mut state = self.shared.state();
        loop {
            if std::mem::take(&mut state.returned) {
                self.lost = false;
                // Where it cannot be had, the next write asks for it again.
                self.held = self.held || self.lock.try_lock().is_ok();
                if self.held {
                    sign(&self.lock);
                }
                for (cluster, memory) in std::mem::take(&mut self.unwritten) {
                    state.wanted.entry(cluster).or_insert(memory);
                    state.news = true;
                }
            }
            if state.closing || state.news || again.is_some_and(|at| at <= Instant::now()) {
                state.news = false;
                return (std::mem::take(&mut state.wanted), state.closing);
            }
            if state.yielding && self.held {
                self.held = self.lock.unlock().is_err();
            }
            state = match again {
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn write(&mut self, cluster: &str, memory: &Memory) -> io::Result<()> {
        if !self.held && !self.lost {
            match self.lock.try_lock() {
                Ok(()) => self.held = true,
                Err(TryLockError::WouldBlock) => {
                    tracing::info!(dir = %self.shared.dir.display(), "another Galeway remembers there from now on");
                    self.lost = true;
                }
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        if self.lost {
            self.unwritten.insert(cluster.into(), memory.clone());
            return Ok(());
        }
        file::write(&self.shared.dir, cluster, memory)
    }
}

fn warn_of_oblivion(why: &OpenError) {
    tracing::warn!(%why, "a restart of this process will forget the writer, the component served, the history learned and \
        what operators set: see `state_dir`");
}

/// Makes sure that the directory can be written, and only by us.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Unusable { path: dir.to_owned(), source };
    let path = dir.join("lock");
    let mut how = OpenOptions::new();
    how.read(true).write(true).create(true).truncate(false).mode(0o600);
    // We may be root still, and the directory the user's that we become: what that one links to here is not to be overwritten.
    how.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let lock = how.open(path).map_err(unusable)?;
    let about = lock.metadata().map_err(unusable)?;
    if !about.is_file() || about.nlink() != 1 {
        return Err(unusable(io::Error::other("its `lock` is no file of its own: remove it")));
    }
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&lock).take(20).read_to_string(&mut pid);
                return Err(OpenError::Taken { path: dir.to_owned(), pid: pid.trim().parse().ok() });
            }
        }
    }
    sign(&lock);
    try_out(dir).map_err(unusable)?;
    Ok(lock)
}

/// Says whose the lock is. Only for who is turned away: a full disk is no reason not to start.
fn sign(lock: &File) {
    let number = format!("{}\n", std::process::id());
    let _ = lock.set_len(0).and_then(|()| lock.write_all_at(number.as_bytes(), 0));
}

/// Whether the directory can be written. A full disk is no reason not to start.
fn try_out(dir: &Path) -> io::Result<()> {
    match file::try_out(dir) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Err(e),
        _ => Ok(()),
    }
}
