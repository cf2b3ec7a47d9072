//! A terminal that is drawn on again and again, and given back as it was.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// ECMA-48 and xterm's private modes, which every terminal of today has: the alternate screen, without a cursor, and
/// without wrapping, since a character may be wider than it counts.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const ERASE_LINE: &str = "\x1b[2K";
const ERASE_BELOW: &str = "\x1b[J";

/// Of a terminal that does not know its own size.
const USUAL: Size = Size { rows: 24, columns: 80 };

#[derive(Debug, Clone, Copy)]
struct Size {
    rows: usize,
    columns: usize,
}

/// Standard output as a screen, while this lives: dropped, it gives the terminal back.
#[derive(Debug)]
pub(super) struct Screen {
    /// How keys were treated before, where standard input is a terminal as well.
    before: Option<Termios>,
}

impl Screen {
    /// `None` where standard output is no terminal, or none that can be drawn on.
    pub(super) fn open() -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() || std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
            return Ok(None);
        }
        // First of all: from here on every way out leads through the drop.
        let mut screen = Self { before: None };
        screen.enter()?;
        Ok(Some(screen))
    }

    /// Takes the terminal.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        write(ENTER)?;
        // What is typed would be printed into the picture, and a new line would shift it. Ctrl-C goes on working.
        if let Ok(modes) = tcgetattr(io::stdin()) {
            let mut quiet = modes.clone();
            quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
            self.before = Some(modes);
        }
        Ok(())
    }

    /// Gives it back. What was typed meanwhile was for nobody: it is thrown away.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let modes = self.before.take().map_or(Ok(()), |modes| tcsetattr(io::stdin(), OptionalActions::Flush, &modes));
        write(LEAVE)?;
        Ok(modes?)
    }

    /// Shows this text and nothing else, as much as there is room for.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        write(&frame(text, size()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.leave();
    }
}

/// At once.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn size() -> Size {
    let known = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    known.map_or(USUAL, |size| Size { rows: size.ws_row.into(), columns: size.ws_col.into() })
}

/// The picture of a text that holds no control characters but ends of lines. It is drawn over the last one, and not on
/// an empty screen, which would flicker. The last line has no end: there it would scroll.
fn frame(text: &str, size: Size) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let missing = lines.len().saturating_sub(size.rows);
    // The line that says so takes the place of one more.
    let shown = if missing == 0 { lines.len() } else { size.rows.saturating_sub(1) };
    let more = (missing > 0).then(|| format!("... and {} more lines", missing + 1));
    let mut out = HOME.to_owned();
    for (i, line) in lines.iter().copied().take(shown).chain(more.as_deref()).enumerate() {
        let end = if i == 0 { "" } else { "\r\n" };
        // Writing to a string does not fail.
        let _ = write!(out, "{end}{ERASE_LINE}{}", line.chars().take(size.columns).collect::<String>());
    }
    out + ERASE_BELOW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_fits_is_shown_whole_and_one_that_does_not_says_so() {
        let size = |rows, columns| Size { rows, columns };
        assert_eq!(frame("one\ntwo\n", size(2, 3)), "\x1b[H\x1b[2Kone\r\n\x1b[2Ktwo\x1b[J");
        let cut = frame("one\ntwo\nthree\nfour\n", size(3, 14));
        assert_eq!(cut, "\x1b[H\x1b[2Kone\r\n\x1b[2Ktwo\r\n\x1b[2K... and 2 more\x1b[J");
        assert_eq!(frame("", size(3, 13)), "\x1b[H\x1b[J");
    }

    proptest! {
        #[test]
        fn nothing_is_drawn_beyond_the_edges(text in "([a-zäß字]{0,30}\n){0,30}", rows in 1..20_usize, columns in 1..20_usize) {
            let frame = frame(&text, Size { rows, columns });
            let drawn = frame.strip_prefix(HOME).and_then(|f| f.strip_suffix(ERASE_BELOW)).unwrap();
            let lines: Vec<&str> = drawn.split("\r\n").collect();
            prop_assert!(lines.len() <= rows);
            for line in lines {
                let line = line.strip_prefix(ERASE_LINE).unwrap_or(line);
                prop_assert!(line.chars().count() <= columns && !line.contains('\x1b'), "{line:?}");
            }
        }
    }
}
