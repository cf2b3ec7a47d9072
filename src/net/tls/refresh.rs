//! What a look at the files found.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::SetupError;
use super::fingerprint::Mark;

/// What a look at the files found, and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Files and directories that have changed and are in force now.
    pub reloaded: Vec<PathBuf>,
    /// What could not be read, and why: the old is kept.
    pub failed: Vec<String>,
    /// Files among those reloaded that do not count, and why.
    pub skipped: Vec<Skipped>,
    /// Peers that were admitted and no longer are; their sessions have been told.
    pub withdrawn: Vec<Withdrawn>,
    /// Peers whose sessions stay although no current CRL speaks about them; new sessions are refused in these words.
    pub unknown: Vec<String>,
}

/// A file or directory, or a part of it, that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// As it is written, which inside a chroot may not be where it is found.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// Of the file, right before it was read. `None` = a directory, of which something is said that its files do not show.
    pub mark: Option<Mark>,
}

/// A peer that is no longer good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its subject in OpenSSL's slash form.
    pub subject: String,
    /// What is wrong with its certificate now.
    pub words: String,
}

/// What is not read again once the root directory has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Files and directories that lie outside of the new root directory or lead out of it.
    pub files: BTreeSet<PathBuf>,
    /// Files inside that stay with one of those: a certificate and its key are exchanged together.
    pub with: BTreeSet<PathBuf>,
    /// The certificates of the operating system stay too.
    pub system: bool,
}

impl Outside {
    /// What stays of either.
    pub fn and(mut self, other: Self) -> Self {
        self.files.extend(other.files);
        self.with.extend(other.with);
        self.system |= other.system;
        self
    }
}

impl Refreshed {
    /// Whether there is nothing to tell.
    pub fn is_quiet(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn fail(&mut self, e: SetupError) {
        self.failed.push(format!("{e}: what was read before is kept"));
    }
}
