//! The text of the file: lines, columns, and the excerpt printed under a diagnostic.

use super::diagnostic::Span;
use super::mask::{Masks, censor};

/// Columns of an excerpt, the marks of what was cut off included.
const WIDTH: usize = 100;
/// How much of them may stand before the caret where the line has to be cut.
const BEFORE: usize = 40;
/// What a tab is printed as. A tab itself would be as wide as the terminal likes, and the caret would miss.
const TAB: &str = "    ";

/// The text and where its lines start.
pub(super) struct Source<'a> {
    text: &'a str,
    starts: Vec<usize>,
    masks: Masks,
}

/// One line of the file, fit to print, and where the carets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) line: String,
    /// Columns before the first caret.
    pub(super) pad: usize,
    /// At least 1.
    pub(super) carets: usize,
}

/// What one character, or one masked secret, is printed as.
struct Cell {
    shown: String,
    width: usize,
    start: usize,
    end: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, masks: Masks) -> Self {
        Self { text, starts: line_starts(text), masks }
    }

    /// Line and column of an offset, from 1, the column in characters.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        place(self.text, &self.starts, offset)
    }

    /// The line a span begins on, cut to a sensible width around the span, with the secrets left out.
    pub(super) fn excerpt(&self, span: Span) -> Excerpt {
        let (number, _) = self.place(span.start);
        let line = line_span(self.text, &self.starts, number);
        let start = floor(self.text, span.start.clamp(line.start, line.end));
        let (mut cells, at) = self.cells(line, start);

        let total: usize = cells.iter().map(|cell| cell.width).sum();
        let whole = cells.first().is_none_or(|cell| cell.start == line.start)
            && cells.last().is_none_or(|cell| cell.end == line.end);
        let (mut cut_before, mut cut_after) = (false, false);
        if total > WIDTH || !whole {
            let room = WIDTH.saturating_sub(2);
            let mut first = at;
            let mut used = 0;
            while let Some(cell) = first.checked_sub(1).and_then(|index| cells.get(index)) {
                if used + cell.width > BEFORE {
                    break;
                }
                used += cell.width;
                first -= 1;
            }
            let mut last = at;
            while let Some(cell) = cells.get(last) {
                if used + cell.width > room && last > at {
                    break;
                }
                used += cell.width;
                last += 1;
            }
            cut_before = cells.get(first).is_some_and(|cell| cell.start > line.start);
            cut_after = last.checked_sub(1).and_then(|index| cells.get(index)).is_some_and(|cell| cell.end < line.end);
            cells.truncate(last);
            cells.drain(..first.min(last));
        }

        let mark = |cut: bool| if cut { "…" } else { "" };
        let mut shown = String::from(mark(cut_before));
        let mut pad = usize::from(cut_before);
        let mut carets = 0;
        for cell in &cells {
            shown.push_str(&cell.shown);
            if cell.end <= start {
                pad += cell.width;
            } else if cell.start < span.end {
                carets += cell.width;
            }
        }
        shown.push_str(mark(cut_after));
        Excerpt { line: shown.trim_end().to_owned(), pad, carets: carets.max(1) }
    }

    /// The characters around `start` as cells, and the index of the cell that holds it. Far more than a screen's
    /// width is left out here, so that a file of one endless line costs no more than any other.
    fn cells(&self, line: Span, start: usize) -> (Vec<Cell>, usize) {
        let text = |from: usize, to: usize| self.text.get(from..to).unwrap_or_default();
        let reach = WIDTH * 2;
        let from =
            text(line.start, start).char_indices().rev().nth(reach).map_or(line.start, |(at, _)| line.start + at);
        let to = text(start, line.end).char_indices().nth(reach).map_or(line.end, |(at, _)| start + at);
        let mut cells: Vec<Cell> = Vec::new();
        let mut masked_until = from;
        for (at, char) in text(from, to).char_indices().map(|(at, char)| (from + at, char)) {
            if at < masked_until {
                continue;
            }
            let end = at + char.len_utf8();
            let cell = if let Some(secret) = self.masks.covering(at) {
                masked_until = secret.end.min(line.end);
                Cell {
                    shown: "***".to_owned(),
                    width: 3,
                    start: secret.start.max(line.start).min(at),
                    end: masked_until,
                }
            } else {
                let (shown, width) = show(char);
                Cell { shown, width, start: at, end }
            };
            cells.push(cell);
        }
        let at = cells.iter().position(|cell| cell.end > start).unwrap_or(cells.len());
        (cells, at)
    }
}

/// The offsets at which lines start.
pub(super) fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Line and column of an offset, from 1, the column in characters. A byte order mark is no character.
pub(super) fn place(text: &str, starts: &[usize], offset: usize) -> (usize, usize) {
    let offset = floor(text, offset.min(text.len()));
    let line = starts.partition_point(|start| *start <= offset).max(1);
    let start = starts.get(line - 1).copied().unwrap_or(0);
    let before = text.get(start..offset).unwrap_or_default();
    (line, before.trim_start_matches('\u{feff}').chars().count() + 1)
}

/// The bytes of line `number` (from 1) without its line end.
pub(super) fn line_span(text: &str, starts: &[usize], number: usize) -> Span {
    let start = starts.get(number.saturating_sub(1)).copied().unwrap_or(text.len());
    let end = starts.get(number).copied().unwrap_or(text.len());
    let line = text.get(start..end).unwrap_or_default();
    Span { start, end: start + line.trim_end_matches(['\n', '\r']).len() }
}

/// The nearest character boundary at or before an offset.
fn floor(text: &str, offset: usize) -> usize {
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A character as it is safe to print, and its columns.
fn show(char: char) -> (String, usize) {
    match char {
        '\t' => (TAB.to_owned(), TAB.len()),
        '\u{feff}' => (String::new(), 0),
        _ if unsafe_to_print(char) => ("\u{fffd}".to_owned(), 1),
        _ => (char.to_string(), width(char)),
    }
}

/// Control characters drive terminals, and marks of writing direction make a line read as what it is not.
fn unsafe_to_print(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text with nothing in it that a terminal would act on.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|char| if unsafe_to_print(char) { '\u{fffd}' } else { char }).collect()
}

/// Text of the file inside a message: in backticks, and neither endless nor secret.
pub(super) fn quote(text: &str) -> String {
    const MOST: usize = 60;
    // One line of it: with quotes that are closed in the wrong place, the next may hold what is nobody's business.
    let line = text.lines().next().unwrap_or_default();
    let whole = censor(line);
    let mut shown: String = whole.chars().take(MOST).collect();
    if line.len() < text.len() || whole.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Columns of a character in a terminal: the wide blocks of East Asian scripts and emoji take two, combining marks
/// none. Not the whole of Unicode's tables, but what people write in comments.
fn width(char: char) -> usize {
    match u32::from(char) {
        0x0300..=0x036f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
