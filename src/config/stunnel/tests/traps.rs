//! Comments that swallow an option, and two options on one line.

use super::*;

fn warned(line: &str) -> Option<String> {
    let said = said(&server_with(line));
    assert!(said.len() < 2, "{said:?}");
    said.into_iter().next()
}

#[test]
fn words_before_an_option_make_a_comment_of_it() {
    for (line, option) in [
        ("# Authentication stuff verify = 2", "verify = 2"),
        (";the port: accept = 1 connect = 2", "accept = 1"),
        ("# use sslVersion=TLSv1.2", "sslVersion = TLSv1.2"),
        ("; mine: key = /k ; secret", "key = /k"),
        ("# OCSP too: ocsp = http://x", "OCSP = http://x"),
    ] {
        assert_eq!(warned(line), Some(format!("5: warning: this is a comment, so `{option}` does not hold")), "{line}");
    }
}

#[test]
fn an_option_that_was_turned_off_and_prose_are_left_alone() {
    for line in [
        ";verify = 2",
        "# debug = 7",
        ";; chroot = /var/lib/stunnel",
        "# verify",
        "; set client = yes for a client end",
        "; \"client = yes\" is for the other side",
        "# a = b",
        "# verify stuff = 2",
        "; https://x/?verify=2",
        ";",
        "# === key ===",
    ] {
        assert_eq!(warned(line), None, "{line}");
    }
}

#[test]
fn a_second_option_on_a_line_is_said_to_be_one() {
    let (message, help) = only(&format!("setuid = nobody setgid = nobody\n{SERVER}"));
    assert_eq!(message, "error: `setgid =` stands in the value of `setuid`, and so is not read");
    assert_eq!(help, "give each option a line of its own");
    assert!(only(&server_with("cert = /a key=/b")).0.contains("`key =` stands in the value of `cert`"));
}

#[test]
fn what_only_follows_from_a_wrong_line_is_not_said() {
    let server = |lines: &str| format!("[mysql]\naccept = 127.0.0.1:1\nconnect = 127.0.0.1:2\nkey = /k.pem\n{lines}");
    let peers = "verify = 2\ncheckHost = a.example\n";
    let client = "[mysql]\nclient = yes\naccept = 127.0.0.1:1\nconnect = 127.0.0.1:2\nCAfile = /ca.pem\n";
    for text in [
        server("cert = /c.pem ; mine\n"),
        server("crt = /c.pem\n"),
        server("cert /c.pem\n"),
        format!("cert = # none\n{}", server("")),
        server(&format!("cert = /c.pem\n{peers}CAfile = /ca.pem ; theirs\n")),
        server(&format!("cert = /c.pem\n{peers}CApath /ca\n")),
        server("cert = /c.pem\nverify = 2 ; both ends\nCAfile = /ca.pem\nCRLfile = /crl.pem\nredirect = 127.0.0.1:3\n"),
        server("client = maybe\n"),
        server("cert = /c.pem\nsslVersionMin = TLSv1.2 ; old ones\nciphers = HIGH\n"),
        format!("{client}verifyChain = ye\ncheckHost = a.example\n"),
        format!("{client}verify = 2\ncheckHost = a b\n"),
        "[mysql]\nacept = 127.0.0.1:1\nconnect = 127.0.0.1:2\ncert = /c.pem\n".to_owned(),
        "[mysql]\naccept = 127.0.0.1:1\nconnect = 127.0.0.1:2 ; the server\ncert = /c.pem\n".to_owned(),
        "[mysql\naccept = 127.0.0.1:1\nconnect = 127.0.0.1:2\ncert = /c.pem\n".to_owned(),
    ] {
        let said = said(&text);
        assert!(matches!(said.as_slice(), [one] if one.contains("error: ")), "{text}{said:?}");
    }
    // What is wrong by itself is said all the same.
    for (text, also) in [
        (server("debug = 9\n"), "accepts TLS and has no `cert`"),
        (server("foo = bar\n"), "accepts TLS and has no `cert`"),
        (format!("{client}delay = ye\n"), "needs authentication to prevent MITM attacks"),
        (server("cert = /c.pem\nkey = ; none\nverify = 2\n"), "has nothing to verify certificates with"),
        (format!("cert = ; none\n{}[other]\nclient = yes\n", server("")), "has no `accept`"),
    ] {
        assert!(said(&text).iter().any(|one| one.contains(also)), "{text}{:?}", said(&text));
    }
}

#[test]
fn a_remark_behind_a_value_is_said_to_belong_to_it() {
    for line in ["verify = 2 ; both ends", "cert = /a # mine", "key = ; none"] {
        assert!(only(&server_with(line)).0.starts_with("error: what stands behind the value of"), "{line}");
    }
    assert_eq!(accept_tls("cert = /a#b;c").identity.cert, PathBuf::from("/a#b;c"));
}
