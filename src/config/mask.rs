//! Which bytes of a file are secrets, and so never printed in an excerpt.

use toml::de::{DeTable, DeValue};

use super::diagnostic::Span;
use super::nearest::distance;
use super::source::{line_span, line_starts};

/// The secret parts of a text.
#[derive(Debug, Default)]
pub(super) struct Masks(Vec<Span>);

impl Masks {
    /// From a file that is TOML: the values of all secret keys, wherever they stand.
    pub(super) fn of_tree(tree: &DeTable<'_>) -> Self {
        let mut spans = Vec::new();
        collect_table(tree, &mut spans);
        Self(spans)
    }

    /// From a text that is not TOML, where nobody can say for sure where a value ends. So everything after a word
    /// that looks like a secret's key counts, to the end of the line, or of the quotes that were opened there.
    pub(super) fn of_text(text: &str) -> Self {
        let starts = line_starts(text);
        let mut spans: Vec<Span> = Vec::new();
        for number in 1..=starts.len() {
            let line = line_span(text, &starts, number);
            if spans.last().is_some_and(|span| line.start < span.end) {
                continue;
            }
            let Some(after) = text.get(line.start..line.end).and_then(after_secret_key) else { continue };
            let start = line.start + after;
            let value = text.get(start..line.end).unwrap_or_default();
            let end = match opened_quote(value) {
                None => line.end,
                Some(quote) => match text.get(line.end..).and_then(|rest| rest.find(quote)) {
                    None => text.len(),
                    Some(close) => {
                        let rest = text.get(line.end + close..).unwrap_or_default();
                        line.end + close + rest.find('\n').unwrap_or(rest.len())
                    }
                },
            };
            spans.push(Span { start, end });
        }
        Self(spans)
    }

    /// Both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The secret that holds this byte; where two overlap, the one that reaches further.
    pub(super) fn covering(&self, at: usize) -> Option<Span> {
        self.0.iter().filter(|span| span.start <= at && at < span.end).max_by_key(|span| span.end).copied()
    }
}

/// Keys whose value is a secret, or will be once the user has corrected the key.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if key.ends_with("_file") || key.ends_with("_env") {
        return false;
    }
    ["pass", "pwd", "secret", "token", "credential"].iter().any(|part| key.contains(part))
        || distance(&key, "password") <= 3
}

fn collect_table(table: &DeTable<'_>, spans: &mut Vec<Span>) {
    for (key, value) in table.iter() {
        if is_secret_key(key.get_ref()) {
            spans.push(value.span().into());
        }
        collect_value(value.get_ref(), spans);
    }
}

fn collect_value(value: &DeValue<'_>, spans: &mut Vec<Span>) {
    match value {
        DeValue::Table(table) => collect_table(table, spans),
        DeValue::Array(array) => array.iter().for_each(|item| collect_value(item.get_ref(), spans)),
        _ => {}
    }
}

/// Where the value begins after the first secret-like word of a line, if there is one outside a comment.
fn after_secret_key(line: &str) -> Option<usize> {
    let mut word_start = None;
    for (at, char) in line.char_indices().chain(std::iter::once((line.len(), ' '))) {
        let in_word = char.is_ascii_alphanumeric() || char == '_' || char == '-';
        match (word_start, in_word) {
            (None, true) => word_start = Some(at),
            (Some(start), false) => {
                if line.get(start..at).is_some_and(is_secret_key) {
                    let rest = line.get(at..)?;
                    let skipped =
                        rest.trim_start_matches(['"', '\'']).trim_start().trim_start_matches('=').trim_start();
                    return Some(line.len() - skipped.len());
                }
                word_start = None;
            }
            _ => {}
        }
    }
    None
}

/// The quotes that a value opens and does not close on its line.
fn opened_quote(value: &str) -> Option<&'static str> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| value.starts_with(quote))?;
    let inside = value.get(quote.len()..).unwrap_or_default();
    (!inside.contains(quote)).then_some(quote)
}
