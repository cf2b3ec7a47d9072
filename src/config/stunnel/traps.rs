//! What looks like an option and is none: comments that swallow one, and a second option on one line.

use super::lines::{Piece, blank};
use super::notes::{At, Notes};
use super::options::known;

/// Warns of a comment with words before an option: `# Authentication stuff verify = 2`. One that begins with the option is
/// an option that somebody turned off on purpose, and one that goes on behind it is prose.
pub(super) fn comment(notes: &mut Notes, file: usize, comment: Piece<'_>) {
    let Some(first) = assignments(comment).into_iter().next() else { return };
    let before = comment.text.get(..first.start).unwrap_or_default();
    let words = before.trim_matches(|char: char| blank(char) || matches!(char, ';' | '#'));
    if words.is_empty() || !first.ends {
        return;
    }
    let span = (comment.span.start + first.start..comment.span.end).into();
    notes.warning(
        At { file, span },
        format!("this is a comment, so `{}` does not hold", first.shown),
        "a comment goes on to the end of its line; if the option is to hold, write it on a line of its own",
    );
}

/// Whether a comment is an option that was turned off.
pub(super) fn turned_off(comment: Piece<'_>) -> bool {
    assignments(comment).first().is_some_and(|first| {
        comment
            .text
            .get(..first.start)
            .is_some_and(|before| before.chars().all(|char| blank(char) || matches!(char, ';' | '#')))
    })
}

/// The name of an option that stands within the value of another one: `setuid = nobody setgid = nobody`.
pub(super) fn second(value: Piece<'_>) -> Option<&'static str> {
    assignments(value).into_iter().find(|found| found.start > 0).map(|found| found.name)
}

/// Whether a comment seems to stand behind a value.
pub(super) fn remark(value: &str) -> bool {
    value.char_indices().any(|(at, char)| {
        matches!(char, ';' | '#') && value.get(..at).is_some_and(|before| before.is_empty() || before.ends_with(blank))
    })
}

/// `NAME = VALUE` in a text.
struct Assignment {
    start: usize,
    name: &'static str,
    shown: String,
    /// Nothing follows the value but a further option or a comment.
    ends: bool,
}

fn assignments(piece: Piece<'_>) -> Vec<Assignment> {
    let text = piece.text;
    let mut found = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let Some((before, behind)) = text.split_at_checked(equals) else { continue };
        let before = before.trim_end_matches(blank);
        let start = before.rfind(|char: char| !char.is_ascii_alphanumeric()).map_or(0, |at| {
            let length = before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            at + length
        });
        let Some(option) = before.get(start..).and_then(known) else { continue };
        // `-DSERVICE=x`, "client = yes": no option stands behind these.
        if start > 0 && !before.get(..start).is_some_and(|words| words.ends_with(blank)) {
            continue;
        }
        let behind = behind.get(1..).unwrap_or_default().trim_start_matches(blank);
        if behind.starts_with('=') {
            continue; // A line that is drawn.
        }
        let value = behind.split(blank).next().unwrap_or_default();
        let rest = behind.get(value.len()..).unwrap_or_default().trim_start_matches(blank);
        let next = rest.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default();
        let after = rest.get(next.len()..).unwrap_or_default().trim_start_matches(blank);
        let ends = rest.is_empty() || rest.starts_with([';', '#']) || (after.starts_with('=') && known(next).is_some());
        found.push(Assignment { start, name: option.name, shown: format!("{} = {value}", option.name), ends });
    }
    found
}
