//! The tree with its spans, and what is left of a file that is not TOML.

use toml::de::DeTable;

use super::diagnostic::{Finding, Severity, Span};
use super::source::{line_span, line_starts, place};

/// A text as far as it is TOML.
pub(super) struct Parsed {
    /// One error a broken line, in no order.
    pub(super) errors: Vec<Finding>,
    /// The text with the broken lines blanked out, to be parsed for what else is wrong; `None` if nothing is broken.
    pub(super) remainder: Option<String>,
}

/// Finds what is not TOML.
pub(super) fn check(text: &str) -> Parsed {
    let (_, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Parsed { errors: Vec::new(), remainder: None };
    }
    let starts = line_starts(text);
    let mut broken: Vec<usize> = Vec::new();
    let mut findings = Vec::new();
    for error in errors {
        let span = error.span().map_or(Span { start: text.len(), end: text.len() }, Span::from);
        let (line, _) = place(text, &starts, span.start);
        // After the first error of a line the parser guesses, and what it says of its guesses helps nobody.
        if broken.contains(&line) {
            continue;
        }
        broken.push(line);
        let (message, help) = explain(error.message());
        findings.push(Finding { severity: Severity::Error, span: Some(span), message, help, absence: false });
    }
    Parsed { errors: findings, remainder: Some(blank(text, &starts, &broken)) }
}

/// The text with the lines of `broken` turned to blanks of the same length, so that all other spans stay true. Of a
/// broken header the whole section goes: its keys would be read as those of the section before.
fn blank(text: &str, starts: &[usize], broken: &[usize]) -> String {
    let line = |number: usize| {
        let span = line_span(text, starts, number);
        text.get(span.start..span.end).unwrap_or_default()
    };
    let is_header = |number: usize| line(number).trim_start().starts_with('[');
    let mut bytes = text.as_bytes().to_vec();
    let mut in_broken_section = false;
    for number in 1..=starts.len() {
        let is_broken = broken.contains(&number);
        if is_header(number) {
            in_broken_section = is_broken;
        }
        if is_broken || in_broken_section {
            let span = line_span(text, starts, number);
            bytes.iter_mut().take(span.end).skip(span.start).for_each(|byte| *byte = b' ');
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The parser's words, with a hint where its users are known to stumble.
fn explain(message: &str) -> (String, Option<String>) {
    let help = if message.contains("string values must be quoted") {
        Some("text and durations stand in quotes: \"500ms\"")
    } else if message.contains("duplicate key") {
        Some("it is already set above; a key may stand once in a section, a section once in a file")
    } else if message.contains("between array elements") {
        Some("or the list that was opened before is not closed with `]`")
    } else if message.contains("invalid basic string") || message.contains("invalid literal string") {
        Some("the quotes are opened and not closed, or hold what they may not")
    } else {
        None
    };
    (format!("not TOML: {message}"), help.map(str::to_owned))
}
