//! The two ways in, and what a third one shares with them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use toml::de::DeTable;

use super::diagnostic::{Diagnostics, Finding, Severity};
use super::doc::Doc;
use super::mask::Masks;
use super::model::Config;
use super::schema;
use super::source::{Source, line_starts, place};
use super::syntax;

/// A thousand clusters fit many times over; a device or a log given by mistake does not.
const MOST: u64 = 4 * 1024 * 1024;

/// A file that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it says, with every default filled in.
    pub config: Config,
    /// What its author probably wants to know all the same; often empty.
    pub warnings: Diagnostics,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, warnings included, in the order of the file. A file that cannot be read gives
/// one error.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let fail = |message: String, help: Option<&str>| {
        Err(Diagnostics::unreadable(path, None, message, help.map(str::to_owned)))
    };
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(reason) => {
            return match reason.kind() {
                ErrorKind::NotFound => fail("there is no such file".to_owned(), Some("name another with -c FILE")),
                ErrorKind::IsADirectory => fail("this is a directory, not a configuration file".to_owned(), None),
                ErrorKind::PermissionDenied => {
                    fail("no permission to read it".to_owned(), Some("see its owner and mode, and its directories'"))
                }
                _ => fail(format!("cannot read it: {reason}"), None),
            };
        }
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST) {
        return fail("it is larger than 4 MiB: not a configuration file".to_owned(), None);
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let place = place(&text, &line_starts(&text), valid);
            let help = Some("TOML is UTF-8 text; convert the file, for example with iconv".to_owned());
            Err(Diagnostics::unreadable(path, Some(place), "this byte is not UTF-8".to_owned(), help))
        }
    }
}

/// Checks the text of a configuration file. `file` names it in messages, and relative paths start beside it.
///
/// # Errors
/// Everything that is wrong with it, warnings included, in the order of the file.
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Diagnostics> {
    parse_in(text, file, &|name| std::env::var_os(name))
}

/// [`parse`] with an environment of the caller's making.
pub(super) fn parse_in(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Loaded, Diagnostics> {
    let syntax = syntax::check(text);
    let is_toml = syntax.errors.is_empty();
    let readable = syntax.remainder.as_deref().unwrap_or(text);
    let (tree, further) = DeTable::parse_recoverable(readable);
    let masks = Masks::new(text, tree.get_ref(), is_toml);
    let starts = line_starts(text);
    let source = Source::new(text, masks);

    let line = |offset: usize| place(text, &starts, offset).0;
    let doc = Doc::new(file, environment, Box::new(|offset| format!("line {}", line(offset))));
    let config = schema::read(&doc, tree.get_ref());
    let mut findings = syntax.errors;
    // Blanking can break what spanned several lines; of the lines where it did, nothing is said.
    let hollow: Vec<usize> = further.iter().filter_map(|error| Some(line(error.span()?.start))).collect();
    let kept = |finding: &Finding| {
        let on_hollow = finding.span.is_some_and(|span| hollow.contains(&line(span.start)));
        is_toml || !(finding.absence || on_hollow)
    };
    findings.extend(doc.into_findings().into_iter().filter(kept));

    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    let diagnostics = Diagnostics::new(&source, file, findings);
    if refused { Err(diagnostics) } else { Ok(Loaded { config, warnings: diagnostics }) }
}

/// Reads TOML that we wrote ourselves from what a person said elsewhere. `places` is how that person finds the place of an
/// offset again. What is wrong is in the findings, and then the configuration is of no use.
pub(super) fn read_made(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
    places: &dyn Fn(usize) -> String,
) -> (Config, Vec<Finding>) {
    let (tree, _) = DeTable::parse_recoverable(text);
    let doc = Doc::new(file, environment, Box::new(places));
    let config = schema::read(&doc, tree.get_ref());
    (config, doc.into_findings())
}
