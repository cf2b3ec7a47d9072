//! Whatever stands in a file, something sensible is said of it.

use proptest::prelude::*;

use super::*;
use crate::config::stunnel::options::OPTIONS;

/// A value that some option may take, and others.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "\\PC{0,20}",
        prop::sample::select(vec![
            "yes",
            "no",
            "2",
            "3",
            "0",
            "-1",
            "1",
            "127.0.0.1:1",
            "::1:5",
            "/p",
            "a:b",
            "mysql:*.x",
            "HIGH:!aNULL",
            "TLSv1.2",
            "all",
            "X25519:P-256",
            "l:TCP_NODELAY=1",
            "a:SO_LINGER=1:60",
            "quiet",
            "rr",
            "NO_TLSv1_2",
            "local0.7",
            "é = verify = 2",
        ])
        .prop_map(str::to_owned),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = OPTIONS.iter().map(|option| option.name).filter(|name| *name != "include").collect();
    prop_oneof![
        8 => (prop::sample::select(names), value()).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => "[a-c]".prop_map(|name| format!("[{name}]")),
        1 => "[;#] ?[ -~]{0,30}",
        1 => "\\PC{0,30}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_ends_the_process(text in "\\PC{0,200}") {
        let text = text.replace("include", "exclude");
        if let Err(refused) = parse(&text) {
            prop_assert!(refused.errors() > 0);
            let _ = refused.to_string();
        }
    }

    #[test]
    fn lines_of_options_are_read_or_refused_at_a_place_in_the_file(lines in prop::collection::vec(line(), 0..20)) {
        let text = lines.join("\n");
        let count = text.split('\n').count();
        match parse(&text) {
            Ok(read) => {
                prop_assert_eq!(read.warnings.errors(), 0);
                for service in &read.config.services {
                    prop_assert!(!service.accept.is_empty());
                    prop_assert!(service.tls.is_some() != service.connect_tls.is_some());
                    prop_assert!(read.launch.services.contains_key(&service.name));
                }
            }
            Err(refused) => {
                prop_assert!(refused.errors() > 0);
                for item in &refused {
                    prop_assert!(item.place().is_some_and(|(line, column)| line <= count && column >= 1));
                }
            }
        }
    }
}
