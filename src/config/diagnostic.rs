//! Errors and warnings with a place in the file, and how they read.

use std::fmt;
use std::path::{Path, PathBuf};

use super::source::{Excerpt, Source};

/// Whether the file can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used; the user probably meant something else.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end.max(range.start) }
    }
}

/// What was found, before it is tied to lines and columns.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// `None`: the file as a whole.
    pub(super) span: Option<Span>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Something is not there. In a file that is not TOML it may well stand in the part that could not be read.
    pub(super) absence: bool,
}

/// One error or warning. It holds no more of the file than the excerpt it prints, secrets masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is not the file of all of them.
    file: Option<PathBuf>,
    severity: Severity,
    place: Option<(usize, usize)>,
    message: String,
    help: Option<String>,
    excerpt: Option<Excerpt>,
}

impl Diagnostic {
    /// The file it was found in, where it is not [`Diagnostics::file`] but one that file includes.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Line and column, both from 1, the column in characters; `None` where the file could not be read at all.
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was probably meant, or what to do.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// Everything found in one file, in the order of the file. Prints as the user is to see it, without a newline
/// at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    file: PathBuf,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(source: &Source<'_>, file: &Path, mut findings: Vec<Finding>) -> Self {
        // Stable: what was found first at a place is said first.
        findings.sort_by_key(|finding| finding.span.map_or(0, |span| span.start));
        let items = findings
            .into_iter()
            .map(|finding| {
                let place = finding.span.map_or((1, 1), |span| source.place(span.start));
                Diagnostic {
                    file: None,
                    severity: finding.severity,
                    place: Some(place),
                    message: finding.message,
                    help: finding.help,
                    excerpt: finding.span.map(|span| source.excerpt(span)),
                }
            })
            .collect();
        Self { file: file.to_owned(), items }
    }

    /// Of findings that each have a place of another kind than a line: a flag, a variable.
    pub(super) fn named(whole: &Path, findings: Vec<(String, Finding)>) -> Self {
        let item = |(place, finding): (String, Finding)| Diagnostic {
            file: Some(place.into()),
            severity: finding.severity,
            place: None,
            message: finding.message,
            help: finding.help,
            excerpt: None,
        };
        Self { file: whole.to_owned(), items: findings.into_iter().map(item).collect() }
    }

    /// The one error of a file whose text is not to be had.
    pub(super) fn unreadable(
        file: &Path,
        place: Option<(usize, usize)>,
        message: String,
        help: Option<String>,
    ) -> Self {
        let only = Diagnostic { file: None, severity: Severity::Error, place, message, help, excerpt: None };
        Self { file: file.to_owned(), items: vec![only] }
    }

    /// Nothing at all.
    pub(super) fn none(file: &Path) -> Self {
        Self { file: file.to_owned(), items: Vec::new() }
    }

    /// Takes in what was found in another file, or in the same one.
    pub(super) fn append(&mut self, other: Self) {
        let of = (other.file != self.file).then_some(other.file);
        self.items.extend(other.items.into_iter().map(|mut item| {
            item.file = item.file.or_else(|| of.clone());
            item
        }));
    }

    /// The file they were found in, as it was named by the user.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.items.iter().filter(|item| item.severity == Severity::Error).count()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", item.file.as_ref().unwrap_or(&self.file).display())?;
            if let Some((line, column)) = item.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}: {}", item.severity, item.message)?;
            let number = item.place.map_or(1, |(line, _)| line).to_string();
            // The bar stands in one column for all but very long files, so that the eye can follow it.
            let gutter = number.len().max(4);
            if let Some(excerpt) = &item.excerpt {
                write!(f, "\n {number:>gutter$} | {}", excerpt.line)?;
                let (pad, carets) = (excerpt.pad, excerpt.carets);
                write!(f, "\n {:gutter$} | {:pad$}{:^<carets$}", "", "", "")?;
            }
            if let Some(help) = &item.help {
                write!(f, "\n {:gutter$} = help: {help}", "")?;
            }
        }
        Ok(())
    }
}
