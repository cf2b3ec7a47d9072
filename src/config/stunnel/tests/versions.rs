//! Which versions of TLS are spoken.

use super::*;
use crate::config::TlsVersion::{self, V12, V13};

fn range(lines: &str) -> (TlsVersion, TlsVersion) {
    let protocol = accept_tls(lines).protocol;
    (protocol.min_version, protocol.max_version)
}

#[test]
fn without_a_word_it_is_tls_1_3_alone() {
    assert_eq!(range(""), (V13, V13));
}

#[test]
fn older_ones_are_spoken_where_the_file_asks_for_them() {
    for (lines, expected) in [
        ("sslVersion = all", (V12, V13)),
        ("sslVersion = TLSv1.2", (V12, V12)),
        ("sslVersion = tlsv1.3", (V13, V13)),
        ("sslVersionMin = TLSv1.2", (V12, V13)),
        ("sslVersionMin = all", (V12, V13)),
        ("sslVersionMax = all", (V13, V13)),
        ("sslVersionMax = TLSv1.2", (V12, V12)),
        ("sslVersionMax = TLSv1.3", (V13, V13)),
        ("sslVersion = TLSv1.2\nsslVersionMax = TLSv1.3", (V12, V13)),
        ("options = NO_TLSv1_3", (V12, V12)),
        ("sslVersion = all\noptions = NO_TLSv1_2", (V13, V13)),
        ("sslVersion = all\noptions = NO_TLSv1_3", (V12, V12)),
        ("sslVersion = all\noptions = NO_TLSv1_2\noptions = -NO_TLSv1_2", (V12, V13)),
        ("options = NO_SSLv2\noptions = NO_SSLv3\noptions = NO_TLSv1\noptions = NO_TLSv1_1", (V13, V13)),
    ] {
        assert_eq!(range(lines), expected, "{lines}");
        assert!(good(&server_with(lines)).warnings.is_empty());
    }
}

#[test]
fn where_none_is_left_the_last_word_about_it_is_named() {
    for lines in [
        "sslVersionMax = TLSv1.2\nsslVersionMin = TLSv1.3",
        "sslVersion = TLSv1.2\noptions = NO_TLSv1_2",
        "sslVersion = TLSv1.3\noptions = NO_TLSv1_3",
    ] {
        assert_eq!(said(&server_with(lines)), ["6: error: no version of TLS is left"], "{lines}");
    }
}

#[test]
fn versions_that_can_be_broken_are_refused() {
    for option in ["sslVersion", "sslVersionMin", "sslVersionMax"] {
        for value in ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"] {
            let (message, help) = only(&server_with(&format!("{option} = {value}")));
            assert!(
                message.starts_with(&format!("error: `{value}` is refused: nothing older than TLS 1.2")),
                "{message}"
            );
            assert!(help.starts_with("write TLSv1.2"), "{help}");
        }
    }
    assert_eq!(only(&server_with("sslVersion = TLS")).0, "error: `TLS` is no version of TLS");
}

#[test]
fn library_options_hold_are_idle_or_are_refused() {
    for idle in
        ["NO_TICKET", "-NO_TICKET", "no_ticket", "CIPHER_SERVER_PREFERENCE", "SINGLE_DH_USE", "ALL", "NO_COMPRESSION"]
    {
        good(&server_with(&format!("options = {idle}")));
    }
    for weak in ["LEGACY_SERVER_CONNECT", "IGNORE_UNEXPECTED_EOF", "ALLOW_UNSAFE_LEGACY_RENEGOTIATION"] {
        let (message, _) = only(&server_with(&format!("options = {weak}")));
        assert_eq!(message, format!("error: `options = {weak}` is refused: it takes a safeguard of TLS away"));
        good(&server_with(&format!("options = -{weak}")));
    }
    assert!(only(&server_with("options = NO_SSL_MASK")).0.contains("forbids every version"));
    let (message, _) = only(&server_with("options = -NO_SSLv3"));
    assert_eq!(message, "warning: `options = -NO_SSLv3` has no effect here: nothing older than TLS 1.2 is spoken");
    let (message, help) = only(&server_with("options = NO_TICKETS"));
    assert_eq!((&*message, &*help), ("error: `NO_TICKETS` is no library option", "did you mean NO_TICKET?"));
}
