//! Which bytes of a file are secrets, and so never printed in an excerpt.

use toml::de::{DeTable, DeValue};

use super::diagnostic::Span;
use super::nearest::distance;
use super::source::{line_span, line_starts};

/// The secret parts of a text.
#[derive(Debug, Default)]
pub(super) struct Masks(Vec<Span>);

impl Masks {
    /// These and no others.
    pub(super) fn of(secrets: Vec<Span>) -> Self {
        Self(secrets)
    }

    /// Of a text and the tree that was read from it: the values of all secret keys, wherever they stand, and what
    /// follows a secret's key in text that is no value, such as a comment.
    ///
    /// In a text that is not TOML nobody can say for sure where a value ends, or what is one. There, everything after a
    /// word that looks like a secret's key counts, to the end of the line, or of the quotes that were opened there.
    pub(super) fn new(text: &str, tree: &DeTable<'_>, is_toml: bool) -> Self {
        let mut masks = Self::default();
        collect_table(tree, &mut masks.0);
        let starts = line_starts(text);
        let mut done = 0;
        for number in 1..=starts.len() {
            let line = line_span(text, &starts, number);
            let mut from = line.start.max(done);
            while let Some(after) = text.get(from..line.end).and_then(|rest| after_secret_key(rest, is_toml)) {
                let start = from + after;
                from = match masks.covering(start) {
                    Some(value) if is_toml => value.end,
                    _ => {
                        let end = if is_toml { line.end } else { end_of_secret(text, start, line.end) };
                        masks.0.push(Span { start, end });
                        end
                    }
                };
            }
            done = from;
            masks.0.extend(logins(text, line));
        }
        masks
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

/// Where the value begins after the first secret-like word of a line; `assigned`: only after one with a `=` behind it.
fn after_secret_key(line: &str, assigned: bool) -> Option<usize> {
    let mut word_start = None;
    for (at, char) in line.char_indices().chain(std::iter::once((line.len(), ' '))) {
        let in_word = char.is_ascii_alphanumeric() || char == '_' || char == '-';
        match (word_start, in_word) {
            (None, true) => word_start = Some(at),
            (Some(start), false) => {
                let rest = line.get(at..)?.trim_start_matches(['"', '\'']).trim_start();
                let counts = !rest.is_empty() && (rest.starts_with('=') || !assigned);
                if counts && line.get(start..at).is_some_and(is_secret_key) {
                    let value = rest.trim_start_matches('=').trim_start();
                    return Some(line.len() - value.len());
                }
                word_start = None;
            }
            _ => {}
        }
    }
    None
}

/// The `user:password` of the URLs on a line: where an address is meant, the URL of an application is often pasted.
fn logins(text: &str, line: Span) -> Vec<Span> {
    let content = text.get(line.start..line.end).unwrap_or_default();
    let login = |(at, separator): (usize, &str)| {
        let start = at + separator.len();
        let url =
            content.get(start..)?.split(|char: char| char.is_whitespace() || char == '"' || char == '\'').next()?;
        let length = url.rfind('@')?;
        Some(Span { start: line.start + start, end: line.start + start + length })
    };
    content.match_indices("://").filter_map(login).collect()
}

/// Text of the file as it may stand in a message: what looks like a secret in it left out.
pub(super) fn censor(line: &str) -> String {
    let end = after_secret_key(line, true).unwrap_or(line.len());
    let mut shown = String::new();
    let mut from = 0;
    for login in logins(line, Span { start: 0, end }) {
        shown.push_str(line.get(from..login.start).unwrap_or_default());
        shown.push_str("***");
        from = login.end;
    }
    shown.push_str(line.get(from..end).unwrap_or_default());
    if end < line.len() {
        shown.push_str("***");
    }
    shown
}

/// Where a secret ends that begins at `start`, on a line that ends at `line_end`: there, or with the line that closes
/// the quotes that it opens.
fn end_of_secret(text: &str, start: usize, line_end: usize) -> usize {
    let Some(quote) = text.get(start..line_end).and_then(opened_quote) else { return line_end };
    let Some(close) = text.get(line_end..).and_then(|rest| rest.find(quote)) else { return text.len() };
    let rest = text.get(line_end + close..).unwrap_or_default();
    line_end + close + rest.find('\n').unwrap_or(rest.len())
}

/// The quotes that a value opens and does not close on its line.
fn opened_quote(value: &str) -> Option<&'static str> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| value.starts_with(quote))?;
    let inside = value.get(quote.len()..).unwrap_or_default();
    (!inside.contains(quote)).then_some(quote)
}
