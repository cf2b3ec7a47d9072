//! galeway.toml(5), made of `config/full.toml`: a section a table, an entry a key, what its comment says.

use std::io;

use clap_mangen::roff::{Roff, bold, roman};

use super::head;

/// Every key with its default and a comment; tests hold it to the code.
const FULL: &str = include_str!("../../../config/full.toml");

/// The page as man(7) text.
pub(super) fn page(manual: &str) -> io::Result<Vec<u8>> {
    let mut roff = head("galeway.toml", "5", manual, "configuration of galeway");
    body(FULL, &mut roff);
    roff.control("SH", ["FILES"]);
    roff.control("TP", [])
        .text([bold(super::super::DEFAULT_FILE)])
        .text([roman("Read where no -c names another file.")]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("galeway(1), galeway-check(1), which says what is wrong with a file and, with --print, prints it with every default.")]);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(text)
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `[cluster.main]`, written or commented out.
    Table(String),
    /// `key = value   # comment`, the same.
    Key { key: &'a str, value: &'a str, comment: &'a str },
    /// `# prose`.
    Prose(&'a str),
    /// An empty line, or one of dashes.
    Nothing,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.starts_with('[') && bare.ends_with(']') {
            // Those of the file are examples.
            return Self::Table(
                bare.replace("[cluster.main", "[cluster.NAME").replace("[service.mysql", "[service.NAME"),
            );
        }
        if let Some((key, rest)) = bare.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            let (value, comment) = split_comment(rest);
            return Self::Key { key, value, comment };
        }
        match line.strip_prefix('#') {
            Some(text) if !text.trim().is_empty() && !text.starts_with(" --") => {
                Self::Prose(text.strip_prefix(' ').unwrap_or(text))
            }
            _ => Self::Nothing,
        }
    }
}

/// The value, and what stands behind the `#` that is in no string.
fn split_comment(rest: &str) -> (&str, &str) {
    let mut quoted = false;
    let at = rest.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '#' && !quoted
    });
    match at.and_then(|(at, _)| rest.split_at_checked(at)) {
        Some((value, comment)) => (value.trim_end(), comment.trim_start_matches('#').trim()),
        None => (rest.trim_end(), ""),
    }
}

fn body(file: &str, roff: &mut Roff) {
    roff.control("SH", ["DESCRIPTION"]);
    // What stands before a table or a key is about it.
    let mut prose: Vec<&str> = Vec::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        match Line::of(line) {
            Line::Prose(text) => prose.push(text),
            Line::Nothing => {
                if !prose.is_empty() {
                    paragraph(roff, std::mem::take(&mut prose));
                    roff.control("PP", []);
                }
            }
            Line::Table(table) => {
                roff.control("SH", [table.as_str()]);
                paragraph(roff, std::mem::take(&mut prose));
            }
            Line::Key { key, value, comment } => {
                roff.control("TP", []);
                roff.text([bold(key), roman(format!(" = {value}"))]);
                let before = std::mem::take(&mut prose);
                paragraph(roff, before);
                if !comment.is_empty() {
                    roff.text([roman(comment)]);
                }
                if value == "[" {
                    verbatim(roff, lines.by_ref().take_while(|line| *line != "]").chain(["]"]));
                }
            }
        }
    }
    paragraph(roff, prose);
}

/// Lines of prose, filled. Those that are indented are a list: a word, two spaces or more, and what it is.
fn paragraph(roff: &mut Roff, prose: Vec<&str>) {
    let mut lines = prose.into_iter().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with(' ') {
            roff.text([roman(line)]);
            continue;
        }
        roff.control("RS", []);
        for entry in std::iter::once(line).chain(std::iter::from_fn(|| lines.next_if(|next| next.starts_with(' ')))) {
            let (word, what) = entry.trim_start().split_once("  ").unwrap_or((entry, ""));
            roff.control("TP", []);
            roff.text([bold(word)]).text([roman(what.trim_start())]);
        }
        roff.control("RE", []);
    }
}

fn verbatim<'a>(roff: &mut Roff, lines: impl Iterator<Item = &'a str>) {
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_table_a_key_prose_or_nothing() {
        let key = |key, value, comment| Line::Key { key, value, comment };
        assert_eq!(Line::of("[cluster.main.monitor]"), Line::Table("[cluster.NAME.monitor]".to_owned()));
        assert_eq!(Line::of("# [service.mysql.tls]"), Line::Table("[service.NAME.tls]".to_owned()));
        assert_eq!(Line::of("rise = 2   # good looks"), key("rise", "2", "good looks"));
        assert_eq!(Line::of("# a_file = \"a#b\"   # c"), key("a_file", "\"a#b\"", "c"));
        assert_eq!(Line::of("# An account"), Line::Prose("An account"));
        assert_eq!(Line::of("#   zone   where"), Line::Prose("  zone   where"));
        assert_eq!([Line::of(""), Line::of("# -----")], [Line::Nothing, Line::Nothing]);
    }

    #[test]
    fn every_key_of_the_file_has_an_entry_and_says_something() {
        let mut roff = Roff::new();
        body(FULL, &mut roff);
        let text = roff.to_roff();
        let mut keys = 0;
        for line in FULL.lines() {
            if let Line::Key { key, .. } = Line::of(line) {
                let entry = text.split(".TP\n").find(|entry| entry.starts_with(&format!("\\fB{key}\\fR = ")));
                // A tag without a body would take the next tag for it.
                assert!(entry.is_some_and(|entry| entry.trim_end().lines().count() > 1), "{line}");
                keys += 1;
            }
        }
        assert!(keys > 90, "{keys}");
    }
}
