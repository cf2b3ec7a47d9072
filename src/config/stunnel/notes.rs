//! Errors and warnings, which may lie in several files.

use std::path::{Path, PathBuf};

use super::super::address::Malformed;
use super::super::diagnostic::{Diagnostics, Finding, Severity, Span};
use super::super::mask::Masks;
use super::super::source::{Source, harmless, line_starts};

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// The number of the file, in the order in which they were read.
    pub(super) file: usize,
    pub(super) span: Span,
}

/// The files that were read, and what was found in them.
#[derive(Default)]
pub(super) struct Notes {
    files: Vec<Read>,
    errors: usize,
}

struct Read {
    path: PathBuf,
    text: String,
    findings: Vec<Finding>,
    secrets: Vec<Span>,
    /// The text is not to be had.
    absent: bool,
}

impl Notes {
    /// Takes a file in and gives its number.
    pub(super) fn open(&mut self, path: &Path, text: &str) -> usize {
        self.files.push(Read {
            path: path.to_owned(),
            text: text.to_owned(),
            findings: Vec::new(),
            secrets: Vec::new(),
            absent: false,
        });
        self.files.len() - 1
    }

    /// A file that cannot be read.
    pub(super) fn unreadable(&mut self, path: &Path, message: impl Into<String>, help: Option<&str>) {
        let file = self.open(path, "");
        if let Some(read) = self.files.get_mut(file) {
            read.absent = true;
            read.findings.push(Finding {
                severity: Severity::Error,
                span: None,
                message: harmless(&message.into()),
                help: help.map(harmless),
                absence: false,
            });
        }
    }

    pub(super) fn error(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.errors += 1;
        self.note(Severity::Error, at, message.into(), help.into());
    }

    pub(super) fn warning(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, at, message.into(), help.into());
    }

    /// How many errors there have been.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn malformed(&mut self, at: At, malformed: Malformed) {
        let (message, help) = malformed.into_parts();
        self.error(at, message, help.unwrap_or_default());
    }

    /// Keeps what stands here out of every excerpt.
    pub(super) fn hide(&mut self, at: At) {
        if let Some(read) = self.files.get_mut(at.file) {
            read.secrets.push(at.span);
        }
    }

    /// One place says one thing once, however many sections inherit it.
    fn note(&mut self, severity: Severity, at: At, message: String, help: String) {
        let Some(read) = self.files.get_mut(at.file) else { return };
        let message = harmless(&message);
        let help = Some(harmless(&help)).filter(|help| !help.is_empty());
        let span = Some(at.span);
        if !read.findings.iter().any(|known| known.span == span && known.message == message) {
            read.findings.push(Finding { severity, span, message, help, absence: false });
        }
    }

    /// The files, and the offsets at which their lines start.
    pub(super) fn lines(&self) -> Vec<(PathBuf, Vec<usize>)> {
        self.files.iter().map(|read| (read.path.clone(), line_starts(&read.text))).collect()
    }

    /// Whether anything forbids to use the files.
    pub(super) fn refused(&self) -> bool {
        self.files.iter().flat_map(|read| &read.findings).any(|finding| finding.severity == Severity::Error)
    }

    /// All of it, file by file in the order in which they were read; `main` is the file that named the others.
    pub(super) fn into_diagnostics(self, main: &Path) -> Diagnostics {
        let mut all = Diagnostics::none(main);
        for read in self.files {
            if read.absent {
                for finding in read.findings {
                    all.append(Diagnostics::unreadable(&read.path, None, finding.message, finding.help));
                }
            } else {
                let source = Source::new(&read.text, Masks::of(read.secrets));
                all.append(Diagnostics::new(&source, &read.path, read.findings));
            }
        }
        all
    }
}
