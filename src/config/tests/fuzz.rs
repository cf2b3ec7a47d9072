//! No text can make the reader panic, and what it says of any text keeps to the form.

use proptest::prelude::*;

use super::printing::masked;
use super::*;

const EXAMPLES: &[&str] =
    &[include_str!("../../../config/galeway.toml"), include_str!("../../../config/full.toml"), LEAST];

/// What breaks files: bits of syntax, extremes, and text that is not plain.
const BITS: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    "#",
    ".",
    "\n",
    "\r\n",
    "\t",
    "\\",
    "\\u",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "nan",
    "true",
    "1979-05-27",
    "ä",
    "日本",
    "e\u{301}",
    "\u{feff}",
    "\u{0}",
    "\u{202e}",
    "\"\"",
    "[cluster.main]",
    "[service.x]",
    "nodes = ",
    "password = ",
    "monitor.",
    "cluster = ",
    "\"0s\"",
    "unix:",
    "unix:/tmp/x",
    "fd:x",
    "[::]:",
    ":mysql",
    "10.0.0.0/8",
    "::ffff:",
    "connect = ",
    "kind = \"tcp\"",
    "discover = \"dns\"",
    "zone = ",
];

/// A way to break a text: what to do, where, how far, and with which bit.
fn break_text(text: &str, (how, at, length, bit): (u8, usize, usize, usize)) -> String {
    let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
    let start = boundary(at % (text.len() + 1));
    let end = boundary(start + length);
    let bit = BITS[bit % BITS.len()];
    match how % 4 {
        0 => format!("{}{}", &text[..start], &text[end..]),
        1 => format!("{}{bit}{}", &text[..start], &text[start..]),
        2 => format!("{}{bit}{}", &text[..start], &text[end..]),
        _ => format!("{}{}{}", &text[..end], &text[start..end], &text[end..]),
    }
}

fn check(text: &str) {
    // Files are looked for where none are.
    let found = match parse_in(text, Path::new("/nonexistent/galeway.toml"), &|_| None) {
        Ok(loaded) => {
            let printed = crate::config::print(&loaded.config);
            let read = parse(&printed).unwrap_or_else(|refused| panic!("{text}\nprints as\n{printed}\n{refused}"));
            assert_eq!(masked(&read.config), masked(&loaded.config), "{text}\nprints as\n{printed}");
            loaded.warnings
        }
        Err(refused) => {
            assert!(refused.errors() > 0);
            refused
        }
    };
    let lines = text.matches('\n').count() + 1;
    let mut last = (1, 1);
    for item in &found {
        let place = item.place().unwrap();
        assert!(place >= last && place.0 <= lines, "{found}");
        assert!(!item.message().contains(char::is_control), "{found:?}");
        assert!(!item.help().unwrap_or_default().contains(char::is_control), "{found:?}");
        last = place;
    }
    assert!(found.to_string().lines().all(|line| line.chars().count() < 400), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_broken_example_makes_the_reader_panic(
        example in 0..EXAMPLES.len(),
        breaks in prop::collection::vec((any::<u8>(), any::<usize>(), 0_usize..40, any::<usize>()), 1..6),
    ) {
        let text = breaks.into_iter().fold(EXAMPLES[example].to_owned(), |text, how| break_text(&text, how));
        check(&text);
    }

    #[test]
    fn no_mistake_before_or_behind_a_password_prints_it(
        before in prop::collection::vec((any::<u8>(), any::<usize>(), 0_usize..40, any::<usize>()), 0..3),
        behind in prop::collection::vec((any::<u8>(), any::<usize>(), 0_usize..40, any::<usize>()), 0..3),
    ) {
        let (head, tail) = LEAST.split_at(LEAST.find("user = ").unwrap());
        let head = before.into_iter().fold(head.to_owned(), |text, how| break_text(&text, how));
        let tail = behind.into_iter().fold(format!("\n{tail}"), |text, how| break_text(&text, how));
        let text = format!("{head}password = 'hunter2'{tail}");
        let found = parse(&text).map_or_else(|refused| refused, |loaded| loaded.warnings);
        prop_assert!(!found.to_string().contains("hunter2"), "{text}\n{found}");
    }

    #[test]
    fn no_heap_of_syntax_makes_the_reader_panic(bits in prop::collection::vec(0..BITS.len(), 0..40)) {
        check(&bits.into_iter().map(|bit| BITS[bit]).collect::<String>());
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    check(&format!("a = {}", "[".repeat(100_000)));
    check(&format!("a = {}", "{a=".repeat(100_000)));
    check(&format!("[{}a]", "a.".repeat(5000)));
}
