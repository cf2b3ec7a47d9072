//! The map of `src/lib.rs` is the territory: who may use whom, how long a file may be, where metric names stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a file may at most hold, so that it can be read in one go.
const MOST_LINES: usize = 450;

/// A room, and the rooms it may use.
type Table = BTreeMap<String, BTreeSet<String>>;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of `src/`, by its path within it.
fn files() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&src(), &mut found);
    assert!(found.len() > 60, "only {} files found", found.len());
    let name = |p: &Path| p.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|p| (name(p), std::fs::read_to_string(p).unwrap())).collect()
}

/// Reads the table in the documentation of `lib.rs`.
fn table(lib: &str) -> Table {
    let rows: Vec<[&str; 3]> = lib
        .lines()
        .filter_map(|l| l.strip_prefix("//! | "))
        .filter_map(|l| match l.trim_end_matches(" |").split(" | ").collect::<Vec<_>>()[..] {
            [room, what, uses] => Some([room, what, uses]),
            _ => None,
        })
        .filter(|[room, ..]| *room != "room")
        .collect();
    let room = |cell: &str| cell.trim_matches(['[', ']', '`']).trim_end_matches(".rs").to_owned();
    let names: Vec<String> = rows.iter().map(|[name, ..]| room(name)).collect();
    let mut table = Table::new();
    for (i, [_, _, uses]) in rows.iter().enumerate() {
        let below = &names[i + 1..];
        let mut may = BTreeSet::new();
        for one in uses.split(", ") {
            // "mysql (greeting only)", "galera's types"
            let word = one.trim_matches('`').split([' ', '\'']).next().unwrap();
            match word {
                "all" => may.extend(below.iter().cloned()),
                "std" | "–" => {}
                _ => {
                    assert!(below.iter().any(|n| n == word), "{}: {one:?} is no room below it", names[i]);
                    may.insert(word.to_owned());
                }
            }
        }
        table.insert(names[i].clone(), may);
    }
    table
}

/// The code of a file without its comments. Crude (a `//` in a string ends the line too), and enough for paths.
fn code(text: &str) -> String {
    text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names that follow `crate::`, grouped imports included.
fn used(code: &str) -> Vec<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (i, c) in group.char_indices() {
            match c {
                ',' | '}' if depth == 0 => {
                    found.push(word(group[start..i].trim()));
                    start = i + 1;
                    if c == '}' {
                        break;
                    }
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found.retain(|w| !w.is_empty());
    found
}

/// What a file uses that its room may not.
fn violations(table: &Table, path: &str, text: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').filter(|p| *p != "mod").collect();
    let room = parts[0];
    if room == "lib" {
        return Vec::new();
    }
    let Some(may) = table.get(room) else { return vec![format!("{path}: {room:?} is no room of the table")] };
    let code = code(text);
    // From a file so many modules below the root that many `super`s are `crate`.
    let to_root = "super::".repeat(parts.len());
    let code = code.replace(&to_root, "crate::");
    // The binary sees the library from outside.
    let code = if room == "main" { code.replace("galeway::", "crate::") } else { code };
    let of_rooms = used(&code).into_iter().filter(|w| table.contains_key(w) && w != room && !may.contains(w));
    of_rooms.map(|w| format!("{path}: {room} may not use {w}")).collect()
}

#[test]
fn every_room_uses_only_the_rooms_below_that_its_row_names() {
    let files = files();
    let lib = &files.iter().find(|(p, _)| p == "lib.rs").unwrap().1;
    let table = table(lib);
    assert_eq!(table.len(), 12, "{table:?}");
    for room in table.keys() {
        assert!(lib.contains(&format!("pub mod {room};")) || room == "main", "{room} is no module");
    }
    for (path, _) in &files {
        let room = path.split(['/', '.']).next().unwrap();
        assert!(room == "lib" || table.contains_key(room), "{path} is in no room of the table");
    }
    let found: Vec<String> = files.iter().flat_map(|(path, text)| violations(&table, path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_violation_is_found_whatever_its_form() {
    let lib = "//! | room | what lives there | may use |\n//! | `main.rs` | x | `a` |\n//! | [`a`] | x | all below |\n\
               //! | [`b`] | x | c's types |\n//! | [`c`] | x | std |\n//! | [`d`] | x | – |\n";
    let table = table(lib);
    let may = |room: &str| table[room].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((may("main"), may("a"), may("b"), may("c")), (vec!["a"], vec!["b", "c", "d"], vec!["c"], vec![]));
    let broken = |path: &str, text: &str| !violations(&table, path, text).is_empty();
    for text in [
        "use crate::a::X;",
        "use crate::{c::Y, a::X};",
        "use crate::{\n    c::{Y, Z},\n    a,\n};",
        "fn f() { crate::d::g(); }",
        "use super::a::X;",
    ] {
        assert!(broken("b/mod.rs", text), "{text}");
    }
    assert!(broken("b/x.rs", "use super::super::d::X;"));
    assert!(broken("main.rs", "galeway::d::f()"));
    assert!(broken("e/mod.rs", ""), "a room that the table does not have");
    for text in ["use crate::c::X;", "use crate::b::X;", "// use crate::a::X;", "use super::d::X;", "/// [`crate::d`]"]
    {
        assert!(!broken("b/x.rs", text), "{text}");
    }
    assert!(!broken("main.rs", "galeway::a::main()"));
}

#[test]
#[should_panic(expected = "is no room below it")]
fn a_table_that_lets_imports_go_up_is_refused() {
    table("//! | [`a`] | x | std |\n//! | [`b`] | x | a |\n");
}

#[test]
fn the_data_plane_knows_of_mysql_only_the_first_packet() {
    for (path, text) in files().iter().filter(|(p, _)| p.starts_with("service/")) {
        for more in ["Connection::", "Credentials", "mysql::connection", "mysql::login"] {
            assert!(!code(text).contains(more), "{path}: {more}");
        }
    }
}

#[test]
fn the_pure_room_reads_no_clock_and_does_no_io() {
    for (path, text) in files().iter().filter(|(p, _)| p.starts_with("galera/") && !p.contains("tests")) {
        for impure in ["Instant::now", "SystemTime", "std::net", "std::fs", "std::io", "std::env", "tokio", "tracing"] {
            assert!(!code(text).contains(impure), "{path}: {impure}");
        }
    }
}

#[test]
fn every_file_can_be_read_in_one_go() {
    for (path, text) in files() {
        let lines = text.lines().count();
        assert!(lines < MOST_LINES, "{path} has {lines} lines: two subjects are two files");
    }
}

#[test]
fn metric_names_stand_in_one_file() {
    let names = galeway::telemetry::names::ALL;
    assert!(names.len() > 15);
    for (path, text) in files().iter().filter(|(p, _)| p != "telemetry/names.rs") {
        for m in names {
            assert!(!text.contains(m.name), "{path} names {}: use the constant of telemetry/names.rs", m.name);
        }
    }
}
