//! Where passwords come from, and that they go nowhere else.

use super::*;

const WORD: &str = "hunter2";

/// [`LEAST`] with a line in its monitor, parsed beside these files.
fn beside(scratch: &Scratch, line: &str) -> Result<Loaded, Diagnostics> {
    scratch.parse(&with("", line, ""))
}

fn password(loaded: &Loaded) -> &str {
    loaded.config.clusters[0].monitor.password.expose()
}

#[test]
fn a_password_stands_in_the_file_itself() {
    let config = good(&with("", "password = 'x y'", ""));
    assert_eq!(config.clusters[0].monitor.password.expose(), "x y");
}

#[test]
fn a_password_file_loses_one_newline_at_its_end() {
    let scratch = Scratch::new();
    for (content, expected) in [("x", "x"), ("x\n", "x"), ("x\r\n", "x"), (" x \n", " x ")] {
        scratch.write("p", content);
        let loaded = beside(&scratch, "password_file = 'p'").unwrap();
        assert!(loaded.warnings.is_empty());
        assert_eq!(password(&loaded), expected, "{content:?}");
    }
}

#[test]
fn an_empty_password_file_is_a_warning() {
    let scratch = Scratch::new();
    scratch.write("p", "\n");
    let loaded = beside(&scratch, "password_file = 'p'").unwrap();
    let warning = loaded.warnings.iter().next().unwrap();
    assert!(warning.message().ends_with("p` is empty: logging in without a password"), "{}", loaded.warnings);
    assert_eq!(password(&loaded), "");
}

#[test]
fn a_password_of_several_lines_is_a_warning() {
    let scratch = Scratch::new();
    scratch.write("p", "one\ntwo\n");
    let loaded = beside(&scratch, "password_file = 'p'").unwrap();
    assert!(loaded.warnings.to_string().contains("has several lines, all part of the password"));
    assert_eq!(password(&loaded), "one\ntwo");
    assert!(!loaded.warnings.to_string().contains("two"));
}

#[test]
fn a_password_file_that_cannot_be_used_is_an_error_at_its_place() {
    let scratch = Scratch::new();
    scratch.write("binary", [0xff, 0xfe]);
    scratch.write("long", "x".repeat(70_000));
    for (file, part) in [
        ("absent", "No such file or directory"),
        (".", "Is a directory"),
        ("binary", "is not UTF-8 text"),
        ("long", "is longer than 64 kB: not a password"),
    ] {
        let refused = beside(&scratch, &format!("password_file = '{file}'")).unwrap_err();
        let only = refused.iter().next().unwrap();
        assert_eq!((refused.len(), only.place()), (1, Some((5, 17))), "{refused}");
        assert!(only.message().contains(part), "{refused}");
    }
}

#[test]
fn a_password_comes_from_the_environment() {
    let text = with("", "password_env = 'GW_PASSWORD'", "");
    let set = parse_in(&text, Path::new("f"), &environment("GW_PASSWORD", "x")).unwrap();
    assert_eq!(password(&set), "x");
    let empty = parse_in(&text, Path::new("f"), &environment("GW_PASSWORD", "")).unwrap();
    assert!(empty.warnings.to_string().contains("`GW_PASSWORD` is empty"));
    assert_eq!(messages(&text), ["error: the environment variable `GW_PASSWORD` is not set"]);
}

#[test]
fn a_variable_that_cannot_be_one_is_an_error() {
    for name in ["''", "'A=B'", "\"A\\u0000\""] {
        let said = messages(&with("", &format!("password_env = {name}"), ""));
        assert!(
            matches!(said.as_slice(), [one] if one.contains("is not the name of an environment variable")),
            "{said:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt as _;
    let text = with("", "password_env = 'P'", "");
    let refused = parse_in(&text, Path::new("f"), &environment("P", OsString::from_vec(vec![0xff]))).unwrap_err();
    assert!(refused.to_string().contains("the environment variable `P` is not UTF-8 text"));
}

#[test]
fn two_sources_of_one_password_contradict_each_other() {
    let said = messages(&with("", "password_env = 'P'\npassword = 'x'\npassword_file = 'p'", ""));
    assert!(said.contains(&"error: `password` contradicts `password_env`".to_owned()), "{said:?}");
    assert!(said.contains(&"error: `password_file` contradicts `password_env`".to_owned()), "{said:?}");
}

#[test]
fn no_mistake_around_a_password_prints_it() {
    for line in [
        // Wrong, but TOML.
        "password = ['hunter2']",
        "password = { x = 'hunter2' }",
        "pasword = 'hunter2'",
        "passwd = 'hunter2'",
        "Password = 'hunter2'",
        "passphrase = 'hunter2'",
        "\"password\" = 'hunter2'\nrise = 0",
        "password = '''\nhunter2'''\npassword_file = 'p'",
        "api_token = 'hunter2'",
        // Not TOML.
        "password = hunter2",
        "password 'hunter2'",
        "password: hunter2",
        "password = 'hunter2",
        "password = \"hunter2'",
        "password = \"x\"hunter2\"",
        "password = \"x\\q hunter2\"",
        "password = 'x\nhunter2'",
        "password = \"\"\"\nx\\q\nhunter2\"\"\"",
        "password = '''\nhunter2",
        "password = 'hunter2'\npassword = 'hunter2'",
        "password = 'hunter2' rise = 0",
        "password == 'hunter2'",
        "[password = 'hunter2'",
        "passwort = hunter2",
        "x = = 1\npassword = ['hunter2']",
        // No value at all, or part of another.
        "rise = 0 # password = 'hunter2'",
        "rise = 0 # was: password='hunter2' until May",
        "kind = 'x' # {password = 'x', password = 'hunter2'}",
        "kind = \"\"\"x\npassword = 'hunter2'\n\"\"\"",
        "x = { password = 'x', y = 1 } # password = 'hunter2'",
    ] {
        for text in [with("", line, ""), format!("{LEAST}{line}"), line.to_owned(), line.replace('\n', "\r\n")] {
            let said = bad(&text);
            assert!(!said.contains(WORD), "{line}:\n{said}");
        }
    }
}

#[test]
fn a_password_in_an_inline_table_is_masked_and_the_caret_still_stands_right() {
    let text = LEAST.replace(
        "[cluster.main.monitor]\nuser = \"m\"\n",
        "monitor = { user = 'm', password = 'hunter2', rise = 0 }\n",
    );
    assert_eq!(
        bad(&text),
        "galeway.toml:3:54: error: `rise` is a whole number from 1 to 1000\n    \
         3 | monitor = { user = 'm', password = ***, rise = 0 }\n      \
           |                                                ^"
    );
}

#[test]
fn the_login_of_a_url_is_not_printed() {
    for node in ["mysql://u:hunter2@db1:3306/x", "mysql://u:p@hunter2@db1"] {
        let said = bad(&LEAST.replace("\"db1\"", &format!("'{node}', 5")));
        assert!(said.contains("`mysql://***@db1"), "{said}");
        assert!(said.contains("| nodes = ['mysql://***@db1"), "{said}");
        assert!(!said.contains(WORD), "{said}");
    }
}

#[test]
fn what_is_not_a_password_is_not_masked() {
    let said = bad(&with("", "password_file = 'absent-file'", ""));
    assert!(said.contains("| password_file = 'absent-file'"), "{said}");
}

#[test]
fn neither_a_configuration_nor_its_warnings_print_a_password() {
    let loaded = parse(&with("", "password = 'hunter2'\ntimeout = '10s'", "")).unwrap();
    assert!(!loaded.warnings.is_empty());
    assert!(!format!("{loaded:?}").contains(WORD));
    assert!(!crate::config::print(&loaded.config).contains(WORD));
}
