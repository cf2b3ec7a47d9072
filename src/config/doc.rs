//! What all readers of one file share.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::address::Malformed;
use super::diagnostic::{Finding, Severity, Span};
use super::source::harmless;

/// Where the file lies, its environment, and what was found so far.
pub(super) struct Doc<'a> {
    directory: PathBuf,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    places: Box<dyn Fn(usize) -> String + 'a>,
    findings: RefCell<Vec<Finding>>,
}

impl<'a> Doc<'a> {
    /// `places`: how a person finds the place of an offset again.
    pub(super) fn new(
        file: &Path,
        environment: &'a dyn Fn(&str) -> Option<OsString>,
        places: Box<dyn Fn(usize) -> String + 'a>,
    ) -> Self {
        // Absolute, so that the paths still lead there for whoever uses or prints them elsewhere.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let directory = file.parent().map(Path::to_owned).unwrap_or_default();
        Self { directory, environment, places, findings: RefCell::default() }
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    /// A path of the file, relative to the file.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.directory.join(written)
    }

    /// Where relative paths start.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name)
    }

    /// Where a span begins, for messages that point back: `line 7`.
    pub(super) fn place(&self, span: Span) -> String {
        (self.places)(span.start)
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>, help: Option<String>) {
        self.note(Severity::Error, Some(span), message.into(), help, false);
    }

    pub(super) fn warning(&self, span: Span, message: impl Into<String>, help: Option<String>) {
        self.note(Severity::Warning, Some(span), message.into(), help, false);
    }

    /// Something that has to be there is not: in the section at `span`, or in the file as a whole.
    pub(super) fn missing(&self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, span, message.into(), Some(help.into()), true);
    }

    /// A warning about something that is not there.
    pub(super) fn unused(&self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, Some(span), message.into(), Some(help.into()), true);
    }

    pub(super) fn malformed(&self, span: Span, malformed: Malformed) {
        let (message, help) = malformed.into_parts();
        self.error(span, message, help);
    }

    pub(super) fn not_supported(&self, span: Span, what: &str) {
        let help = "a later version brings it; take it out until then".to_owned();
        self.error(span, format!("`{what}` is not supported yet"), Some(help));
    }

    fn note(&self, severity: Severity, span: Option<Span>, message: String, help: Option<String>, absence: bool) {
        let (message, help) = (harmless(&message), help.map(|help| harmless(&help)));
        self.findings.borrow_mut().push(Finding { severity, span, message, help, absence });
    }
}
