//! Lines, columns, excerpts and carets.

use super::*;

/// The place, the excerpt and the caret line of the first diagnostic.
fn first(text: &str) -> (String, String, String) {
    // What is missing would be said first.
    let rest = if text.contains("[service") { "" } else { LEAST };
    let said = bad(&format!("{text}{rest}"));
    let mut lines = said.lines();
    let place = lines.next().unwrap().split(": ").next().unwrap().to_owned();
    let after_bar = |line: &str| line.split_once("| ").unwrap().1.to_owned();
    (place, after_bar(lines.next().unwrap()), after_bar(lines.next().unwrap()))
}

#[test]
fn a_tab_is_one_column_and_the_caret_stands_under_what_is_meant() {
    let (place, line, caret) = first("[process]\n\tworkers\t=\t'x'\n");
    assert_eq!(place, "galeway.toml:2:12");
    assert_eq!(line, "    workers    =    'x'");
    assert_eq!(caret, "                    ^^^");
}

#[test]
fn columns_count_characters_and_carets_count_screen_columns() {
    let (place, line, caret) = first("process = { 'ä日本e\u{301}' = 1 }\n");
    assert_eq!(place, "galeway.toml:1:13");
    assert_eq!(line, "process = { 'ä日本e\u{301}' = 1 }");
    assert_eq!(caret, "            ^^^^^^^^");
    let (place, _, caret) = first("admin = { listen = '日本:1', x = 1 }\n");
    assert_eq!(place, "galeway.toml:1:20");
    assert_eq!(caret, "                   ^^^^^^^^");
}

#[test]
fn a_byte_order_mark_is_no_column() {
    let (place, line, caret) = first("\u{feff}proces = 1\n");
    assert_eq!((place.as_str(), line.as_str(), caret.as_str()), ("galeway.toml:1:1", "proces = 1", "^^^^^^"));
}

#[test]
fn windows_line_ends_are_no_part_of_the_line() {
    let (place, line, caret) = first("[process]\r\nworkers = 'x'\r\n");
    assert_eq!(
        (place.as_str(), line.as_str(), caret.as_str()),
        ("galeway.toml:2:11", "workers = 'x'", "          ^^^")
    );
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let nodes: Vec<String> = (0..100).map(|number| format!("'db{number}'")).collect();
    let text = LEAST.replace("\"db1\", \"db2:3307\"", &format!("{}, 17, {}", nodes.join(", "), "'x', ".repeat(50)));
    let (place, line, caret) = first(&text);
    assert_eq!(place, "galeway.toml:2:800");
    assert!(line.starts_with('…') && line.ends_with('…') && line.chars().count() <= 100, "{line}");
    let under = line.chars().skip(caret.len() - 2).take(2).collect::<String>();
    assert_eq!((under.as_str(), caret.trim_start()), ("17", "^^"));
}

#[test]
fn an_endless_value_does_not_make_an_endless_message() {
    let said = bad(&format!("{LEAST}[process]\nlog_level = '{}'\n", "x".repeat(100_000)));
    assert!(said.len() < 1000, "{said}");
}

#[test]
fn what_spans_lines_is_underlined_to_the_end_of_the_first() {
    let (_, line, caret) = first("[process]\nworkers = '''a\nb'''\n");
    assert_eq!((line.as_str(), caret.as_str()), ("workers = '''a", "          ^^^^"));
}

#[test]
fn what_would_drive_the_terminal_is_shown_harmless() {
    let said = bad("[process]\nlog_level = \"\\u001b[2J\\u202e\" # \u{202e}x\n");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
}

#[test]
fn errors_come_in_the_order_of_the_file() {
    let text =
        "[service.a]\nbalance = 1\naccept = 1\n[cluster.c]\nnodes = 1\n[process]\nworkers = = 1\nlog_level = 1\n";
    let refused = parse(text).unwrap_err();
    let places: Vec<_> = refused.iter().map(|item| item.place().unwrap()).collect();
    assert_eq!(places, [(2, 11), (3, 10), (5, 9), (7, 11), (8, 13)], "{refused}");
}

#[test]
fn the_line_that_is_not_toml_hides_nothing_else() {
    let text = with("", "rise = \ntimeout = 5\nfall = 2s", "cluster 'x'\nmax_queue = -1");
    let refused = parse(&text).unwrap_err();
    let lines: Vec<_> = refused.iter().map(|item| item.place().unwrap().0).collect();
    assert_eq!(lines, [5, 6, 7, 10, 11], "{refused}");
}

#[test]
fn nothing_is_said_to_be_missing_that_may_stand_where_the_file_is_broken() {
    let said = messages("[cluster.c\nnodes = ['a']\n[service.s]\naccept = '127.0.0.1:1'\n");
    assert!(matches!(said.as_slice(), [one] if one.starts_with("error: not TOML")), "{said:?}");
}

#[test]
fn warnings_are_told_along_with_errors() {
    let said = messages(&with("", "timeout = '10s'", "attempts = 0"));
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("warning: ") && said[1].starts_with("error: "), "{said:?}");
}
