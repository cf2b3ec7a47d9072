//! Whether files have changed, without reading them.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::reach::Reach;

/// Of one file: device, inode, size, and the times in nanoseconds at which content and inode changed. A symlink is followed,
/// so one that is swapped (Kubernetes) shows as another inode; the change time shows a rewrite that keeps the rest.
pub type Mark = Result<(u64, u64, u64, i128, i128), io::ErrorKind>;

/// Of all files that some paths lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, Mark>);

impl Fingerprint {
    /// Adds a path: a file, or a directory and those of its files with hashed names (see [`super::files::is_hashed`]). Nothing
    /// of one that is not going to be within reach.
    pub(super) fn add(&mut self, path: &Path, infix: &str, reach: &Reach) {
        if reach.leads_out(path) {
            return;
        }
        self.0.insert(path.to_owned(), mark(&reach.here(path)));
        if let Ok(files) = reach.files(path, infix) {
            self.0.extend(files.into_iter().map(|file| (file.clone(), mark(&reach.here(&file)))));
        }
    }

    /// The paths that differ, in order.
    pub(super) fn changed_since(&self, old: &Self) -> Vec<PathBuf> {
        let new = self.0.iter().filter(|(path, mark)| old.0.get(*path) != Some(mark)).map(|(path, _)| path.clone());
        let gone = old.0.keys().filter(|path| !self.0.contains_key(*path)).cloned();
        let mut all: Vec<_> = new.chain(gone).collect();
        all.sort();
        all
    }
}

/// The files of one thing, from look to look.
#[derive(Debug)]
pub(super) struct Watch {
    /// As they were when they were last read.
    read: Fingerprint,
    /// How they were found since, and how often in a row they were found changing.
    changing: Option<(Fingerprint, u32)>,
}

/// After so many looks in a row, none like the one before, what is there is read: some file is written all the time.
const MOST_LOOKS: u32 = 5;

impl Watch {
    pub(super) fn new(read: Fingerprint) -> Self {
        Self { read, changing: None }
    }

    /// The files that have changed and now lie still: found the same by two looks in a row. What is read in the middle of
    /// being written (a directory of CAs that is brought up to date file by file) would end sessions that are good.
    /// With `anew` all that has changed, at once.
    pub(super) fn settled(&mut self, now: Fingerprint, anew: bool) -> Vec<PathBuf> {
        if now == self.read {
            self.changing = None;
            return Vec::new();
        }
        let looks = match &self.changing {
            Some((before, _)) if *before == now => MOST_LOOKS,
            Some((_, looks)) => looks + 1,
            None => 1,
        };
        if looks < MOST_LOOKS && !anew {
            self.changing = Some((now, looks));
            return Vec::new();
        }
        let changed = now.changed_since(&self.read);
        *self = Self::new(now);
        changed
    }
}

/// The mark of one file.
pub(super) fn mark(path: &Path) -> Mark {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    match std::fs::metadata(path) {
        // A directory's own times change with every file beside those that count.
        Ok(m) if m.is_dir() => Ok((m.dev(), m.ino(), 0, 0, 0)),
        Ok(m) => Ok((
            m.dev(),
            m.ino(),
            m.size(),
            nanoseconds(m.mtime(), m.mtime_nsec()),
            nanoseconds(m.ctime(), m.ctime_nsec()),
        )),
        Err(e) => Err(e.kind()),
    }
}
