//! The grammar: lines, comments, sections, and options split at their first `=`.

use super::super::diagnostic::Span;

/// One line that says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// What stands behind the first `;` or `#`.
    Comment(Piece<'a>),
    /// The name in the brackets.
    Section(Piece<'a>),
    /// A name and a value, either of which may be empty.
    Option(Piece<'a>, Piece<'a>),
    /// Neither.
    Broken(Piece<'a>),
}

/// A part of the text, blanks around it cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) span: Span,
}

impl<'a> Piece<'a> {
    fn new(text: &'a str, start: usize) -> Self {
        let rest = text.trim_start_matches(blank);
        let start = start + (text.len() - rest.len());
        let text = rest.trim_end_matches(blank);
        Self { text, span: Span { start, end: start + text.len() } }
    }

    /// The parts before and behind the byte at `at`, without it.
    fn split(self, at: usize) -> (Self, Self) {
        let (before, behind) = (self.text.get(..at), self.text.get(at + 1..));
        let start = self.span.start;
        (Piece::new(before.unwrap_or_default(), start), Piece::new(behind.unwrap_or_default(), start + at + 1))
    }
}

/// What `isspace(3)` calls a blank in the C locale.
pub(super) fn blank(char: char) -> bool {
    char.is_ascii_whitespace() || char == '\u{b}'
}

/// The lines of a file that say something, in their order. A byte order mark at its start is no part of the first.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut at = first;
    text.get(first..).unwrap_or_default().split_inclusive('\n').filter_map(move |line| {
        let piece = Piece::new(line, at);
        at += line.len();
        read(piece)
    })
}

fn read(line: Piece<'_>) -> Option<Line<'_>> {
    let first = line.text.chars().next()?;
    if matches!(first, ';' | '#') {
        return Some(Line::Comment(line.split(0).1));
    }
    let inside = line.text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inside) = inside {
        return Some(Line::Section(Piece::new(inside, line.span.start + 1)));
    }
    Some(match line.text.find('=') {
        Some(at) => {
            let (name, value) = line.split(at);
            Line::Option(name, value)
        }
        None => Line::Broken(line),
    })
}
