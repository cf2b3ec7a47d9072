//! No text can make the reader panic, and what it says of any text keeps to the form.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

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

/// Keys and what they may be, right and wrong, by where they stand.
const NODE: &[(&str, &[&str])] = &[
    ("name", &["'x'"]),
    ("weight", &["0", "256"]),
    ("zone", &["'a'", "'b'"]),
    ("backup", &["true"]),
    ("max_connections", &["1", "0"]),
    ("kind", &["'galera'", "'mysql'", "'tcp'"]),
    ("priority", &["3"]),
];
const CLUSTER: &[(&str, &[&str])] = &[
    ("discover", &["'off'", "'galera'", "'dns'"]),
    ("discover_interval", &["'1ms'"]),
    ("discover_allow", &["[]", "['10.0.0.0/8', '::ffff:10.1.0.0/112', '::1']", "['10.0.0.1/8']"]),
];
const MONITOR: &[(&str, &[&str])] =
    &[("send_proxy_protocol", &["'v1'", "'v2'", "'off'"]), ("tls", &["'off'", "'require'", "'verify-identity'"])];
const ELIGIBILITY: &[(&str, &[&str])] =
    &[("max_replication_lag", &["'1s'", "'0s'"]), ("donor", &["'never'"]), ("connection_margin", &["0"])];
const SERVICE: &[(&str, &[&str])] = &[
    ("failover", &["'first'", "'round-robin'"]),
    ("role", &["'any'", "'writer'", "'reader'"]),
    ("balance", &["'random'", "'source'", "'first'"]),
    ("prefer_zone", &["'a'", "''"]),
    ("protocol", &["'mysql'", "'tcp'"]),
    ("max_connections_per_source", &["0", "5"]),
    ("allow", &["['0.0.0.0/0', '::/0']"]),
    ("deny", &["['10.0.0.7']"]),
    ("proxy_protocol", &["'off'", "'require'"]),
    ("proxy_protocol_from", &["['10.0.0.5']", "[]"]),
    ("send_proxy_protocol", &["'off'", "'v1'", "'v2'"]),
    ("first_byte_timeout", &["'10s'", "'1s'"]),
    ("source", &["''", "'10.0.0.9'", "'::1'"]),
    ("freebind", &["true", "false"]),
    ("socket_mode", &["'0660'", "'0'", "'777'"]),
    ("socket_owner", &["'a:b'", "':b'"]),
];

/// What a service cannot be without.
const ACCEPT: &[&str] =
    &["accept = '127.0.0.1:1'", "accept = ['unix:/tmp/a', 'fd:b']", "accept = ['[::1]:2', 'unix:/tmp/b c']", ""];
const TARGET: &[&str] = &[
    "cluster = 'main'",
    "cluster = 'main'",
    "connect = 'db:1'",
    "connect = ['db:1', '[::1]:1', 'unix:/tmp/d']",
    "connect = 'db:1'\ncluster = 'main'",
];
/// What kinds of monitor cannot be without.
const WATCH: &[&str] = &["user = 'm'", "user = 'm'\nkind = 'mysql'", "kind = 'tcp'", "user = 'm'\nkind = 'tcp'"];

/// Some of the keys, each with one of its values.
fn some_of(keys: &[(&str, &[&str])], choices: &mut impl Iterator<Item = usize>) -> Vec<String> {
    let chosen = keys.iter().zip(choices).filter_map(|((key, values), choice)| Some((key, values.get(choice)?)));
    chosen.map(|(key, value)| format!("{key} = {value}")).collect()
}

#[test]
fn whatever_keys_stand_together_what_is_accepted_prints_as_itself() {
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let choices = prop::collection::vec(0_usize..20, 64);
    TestRunner::new(config)
        .run(&choices, |choices| {
            let mut choices = choices.into_iter();
            let node = some_of(NODE, &mut choices).join(", ");
            let comma = if node.is_empty() { "" } else { ", " };
            let mut one_of = |lines: &[&str]| lines[choices.next().unwrap() % lines.len()].to_owned();
            let (accept, target, watch) = (one_of(ACCEPT), one_of(TARGET), one_of(WATCH));
            let mut section = |header: &str, keys| format!("[{header}]\n{}\n", some_of(keys, &mut choices).join("\n"));
            let text = [
                section("cluster.main", CLUSTER)
                    + &format!("nodes = [{{ address = 'db1'{comma}{node} }}, 'db2', 'unix:/tmp/c']\n"),
                section("cluster.main.monitor", MONITOR) + &watch + "\n",
                section("cluster.main.eligibility", ELIGIBILITY),
                section("service.any", SERVICE) + &accept + "\n" + &target,
            ]
            .concat();
            let count = if parse(&text).is_ok() { &accepted } else { &refused };
            count.set(count.get() + 1);
            check(&text);
            Ok(())
        })
        .unwrap();
    assert!(accepted.get() > 100 && refused.get() > 100, "{accepted:?} {refused:?}");
}

/// A file that is there and can be read on any host.
const CERT: &[&str] = &["cert = '/dev/null'"];
const TLS: &[(&str, &[&str])] = &[
    ("client_ca", &["'/dev/null'", "'/dev/null'", "['/dev/null', '/tmp']", "'/tmp'", "'/tmp'", "[]"]),
    ("client_auth", &["'require'", "'optional'", "'off'"]),
    ("verify", &["'ca'", "'pinned'"]),
    ("peer_in_ca", &["true", "false"]),
    ("allow_names", &["['*.x', 'a@x']", "'::1'", "[]"]),
];
const CONNECT_TLS: &[(&str, &[&str])] = &[
    ("ca", &["'/dev/null'", "'/dev/null'", "['/dev/null', '/tmp']", "'system'", "'system'", "'/tmp'"]),
    ("verify", &["'full'", "'ca'", "'pinned'", "'pinned'", "'off'"]),
    ("peer_in_ca", &["true", "false"]),
    ("server_name", &["'x.example'", "'::1'", "''"]),
    ("sni", &["true", "false"]),
    ("check_names", &["['*.x', 'a@x']", "'::1'", "[]"]),
    ("cert", &["'/dev/null'", "'/dev/null'"]),
];
const BOTH_TLS: &[(&str, &[&str])] = &[
    ("key", &["'/dev/null'"]),
    ("crl", &["'/dev/null'", "['/tmp']", "[]"]),
    ("crl_scope", &["'leaf'", "'chain'"]),
    ("allow_subjects", &["'/CN=x'", "['CN=\"x', 'A=B']"]),
    ("pins", &["'sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='", "['sha256/x']"]),
    ("cn_fallback", &["true", "false"]),
    ("min_version", &["'1.2'", "'1.3'"]),
    ("max_version", &["'1.2'", "'1.3'"]),
    ("cipher_suites", &["['TLS_AES_128_GCM_SHA256']", "['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256']", "[]"]),
    ("groups", &["['X25519MLKEM768']", "['secp256r1', 'x25519']"]),
    ("max_handshakes", &["1"]),
    ("resumption", &["true", "false"]),
];

#[test]
fn whatever_keys_of_tls_stand_together_what_is_accepted_prints_as_itself() {
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(config)
        .run(&prop::collection::vec(0_usize..24, 64), |choices| {
            let mut choices = choices.into_iter();
            let mut keys = |of: &[(&str, &[&str])]| some_of(of, &mut choices).join("\n");
            let text = [
                "[service.any]\naccept = '127.0.0.1:1'\nconnect = ['db:1', 'unix:/tmp/d']\n[service.any.tls]"
                    .to_owned(),
                CERT.concat(),
                keys(TLS),
                keys(BOTH_TLS),
                "[service.any.connect_tls]".to_owned(),
                keys(CONNECT_TLS),
                keys(BOTH_TLS),
            ]
            .join("\n");
            let count = if parse(&text).is_ok() { &accepted } else { &refused };
            count.set(count.get() + 1);
            check(&text);
            Ok(())
        })
        .unwrap();
    assert!(accepted.get() > 100 && refused.get() > 100, "{accepted:?} {refused:?}");
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    check(&format!("a = {}", "[".repeat(100_000)));
    check(&format!("a = {}", "{a=".repeat(100_000)));
    check(&format!("[{}a]", "a.".repeat(5000)));
}
