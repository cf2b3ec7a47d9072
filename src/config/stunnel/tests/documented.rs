//! docs/stunnel.md against the code.

use crate::config::stunnel::options::{OPTIONS, Scope};
use crate::config::stunnel::refused;

const PAGE: &str = include_str!("../../../../docs/stunnel.md");

/// Each option of the page's tables, and what stands in its row.
fn rows() -> Vec<(&'static str, &'static str)> {
    let tables = PAGE.split("\n## ").find(|part| part.starts_with("Options")).unwrap();
    let tables = tables
        .split("\n### ")
        .filter(|part| ["The process", "Where bytes", "TLS"].iter().any(|title| part.starts_with(title)));
    tables
        .flat_map(str::lines)
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            let (names, rest) = line.trim_start_matches("| ").split_once(" | ").unwrap();
            names.split(", ").map(move |name| (name.trim_matches('`'), rest))
        })
        .collect()
}

#[test]
fn the_page_explains_every_option_once_and_no_other() {
    let mut explained: Vec<&str> = rows().into_iter().map(|(name, _)| name).collect();
    let mut known: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    explained.sort_unstable();
    known.sort_unstable();
    assert_eq!(explained, known);
}

#[test]
fn the_page_says_of_each_whether_it_is_refused_or_idle() {
    for (name, row) in rows() {
        let key = name.to_ascii_lowercase();
        assert_eq!(row.starts_with("Refused"), refused::always(&key).is_some(), "{name}");
        assert_eq!(row.starts_with("No effect (warning)"), refused::idle(&key).is_some(), "{name}");
    }
}

#[test]
fn options_of_the_process_stand_in_their_own_table() {
    let process = PAGE.split("### The process").nth(1).unwrap().split("\n###").next().unwrap();
    for option in OPTIONS.iter().filter(|option| option.scope == Scope::Global) {
        assert!(process.contains(&format!("`{}`", option.name)), "{}", option.name);
    }
}
