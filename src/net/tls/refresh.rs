//! What a look at the files found.

use std::path::PathBuf;

use super::SetupError;

/// What a look at the files found, and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Files and directories that have changed and are in force now.
    pub reloaded: Vec<PathBuf>,
    /// What could not be read, and why: the old is kept.
    pub failed: Vec<String>,
    /// Files among those reloaded that do not count, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// Peers that were admitted and no longer are; their sessions have been told.
    pub withdrawn: Vec<Withdrawn>,
    /// Peers whose sessions stay although no current CRL speaks about them; new sessions are refused in these words.
    pub unknown: Vec<String>,
}

/// A peer that is no longer good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its subject in OpenSSL's slash form.
    pub subject: String,
    /// What is wrong with its certificate now.
    pub words: String,
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
