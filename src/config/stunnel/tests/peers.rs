//! Who is let in: verify, verifyChain, verifyPeer, requireCert, and what they are held against.

use super::*;
use crate::config::{CaStore, ClientAuth, CrlScope, Dialect, PeerRules};

const CA: &str = "CAfile = /ca.pem\n";

/// How clients are judged: whether they are asked, chain, in the store.
fn policy(lines: &str) -> (ClientAuth, bool, bool) {
    let tls = accept_tls(&format!("{CA}{lines}"));
    (tls.client_auth, tls.peer.chain, tls.peer.in_store)
}

use ClientAuth::{Off, Optional, Require};

#[test]
fn each_level_of_verify_is_what_stunnel_makes_of_it() {
    for (lines, expected) in [
        ("", (Off, false, false)),
        ("verify = 0", (Optional, false, false)),
        ("verify = 1", (Optional, true, false)),
        ("verify = 2", (Require, true, false)),
        ("verify = 3", (Require, true, true)),
        ("verify = 4", (Require, false, true)),
        ("verifyChain = yes", (Require, true, false)),
        ("verifyPeer = yes", (Require, false, true)),
        ("verifyChain = yes\nverifyPeer = yes", (Require, true, true)),
        ("verifyChain = no\nverifyPeer = no", (Off, false, false)),
        ("requireCert = yes", (Require, false, false)),
        ("requireCert = no", (Off, false, false)),
    ] {
        assert_eq!(policy(lines), expected, "{lines}");
    }
    for wrong in ["5", "-1", "", "two", "02", "+2"] {
        assert_eq!(only(&server_with(&format!("verify = {wrong}"))).0, format!("error: `{wrong}` is no level"));
    }
}

#[test]
fn the_order_of_options_matters_as_it_does_in_stunnel() {
    assert_eq!(policy("verify = 2\nrequireCert = no"), (Optional, true, false));
    assert_eq!(policy("requireCert = no\nverify = 2"), (Require, true, false));
    assert_eq!(policy("verify = 4\nverifyChain = yes"), (Require, true, true));
    assert_eq!(policy("verify = 3\nverify = 1"), (Optional, true, false));
    assert_eq!(policy("verify = 2\nverifyChain = no"), (Require, false, false));
}

#[test]
fn what_lets_strangers_in_is_said_at_every_start() {
    for (lines, expected) in [
        ("verify = 1", "6: warning: `verify = 1` lets every client in that shows no certificate"),
        (
            "verify = 2\nrequireCert = no",
            "7: warning: `requireCert = no` lets every client in that shows no certificate, whatever stands before it",
        ),
        (
            "verifyPeer = yes\nrequireCert = no",
            "7: warning: `requireCert = no` lets every client in that shows no certificate, whatever stands before it",
        ),
    ] {
        assert_eq!(said(&server_with(&format!("{CA}{lines}"))), [expected]);
    }
    assert_eq!(
        said(&server_with("verify = 0")),
        ["5: warning: `verify = 0` lets every peer in: certificates are asked for and not looked at"]
    );
    assert_eq!(
        said(&server_with("requireCert = yes")),
        ["1: warning: section `mysql` wants a client certificate and takes any, self-made ones too"]
    );
    assert_eq!(said(&server_with("requireCert = no")), [""; 0]);
}

#[test]
fn options_about_a_certificate_that_nobody_looks_at_are_warned_of() {
    let text = server_with("CAfile = /a\nCApath = /b\nCRLfile = /c\nCRLpath = /d\ncheckHost = e");
    assert_eq!(
        said(&text),
        [
            "5: warning: `CAfile` is not looked at: no certificate is verified here",
            "6: warning: `CApath` is not looked at: no certificate is verified here",
            "7: warning: `CRLfile` is not looked at: no certificate is verified here",
            "8: warning: `CRLpath` is not looked at: no certificate is verified here",
            "9: warning: the check for `e` is not made: no certificate is verified here",
        ]
    );
}

#[test]
fn a_default_of_all_sections_is_warned_of_once() {
    let text = format!("verify = 1\nCAfile = /ca.pem\n{SERVER}{}", SERVER.replace("mysql", "b"));
    assert_eq!(said(&text), ["1: warning: `verify = 1` lets every client in that shows no certificate"]);
}

#[test]
fn the_store_is_the_file_and_the_directory_together() {
    let peer = accept_tls("verify = 2\nCApath = dir\nCAfile = /ca.pem\nCRLpath = /crls\nCRLfile = crl.pem").peer;
    let paths = ["/ca.pem", "/start/dir"].map(PathBuf::from).to_vec();
    let expected = PeerRules {
        chain: true,
        ca: Some(CaStore::Paths(paths)),
        crl: ["/start/crl.pem", "/crls"].map(PathBuf::from).to_vec(),
        crl_scope: CrlScope::Leaf,
        dialect: Dialect::Stunnel,
        ..PeerRules::default()
    };
    assert_eq!(peer, expected);
    assert_eq!(said(&server_with("verify = 2")), ["1: error: section `mysql` has nothing to verify certificates with"]);
    // An empty value takes a default back.
    let text = format!("CAfile = /ca.pem\nverify = 2\n{SERVER}CAfile =\n");
    assert_eq!(said(&text), ["3: error: section `mysql` has nothing to verify certificates with"]);
}

#[test]
fn revocation_lists_need_a_chain() {
    let text = server_with("verify = 4\nCAfile = /ca\nCRLfile = /crl");
    assert!(only(&text).0.starts_with("error: revocation lists are refused without a chain"));
}

#[test]
fn a_certificate_may_be_for_any_of_the_names() {
    let lines =
        "verify = 2\nCAfile = /ca\ncheckHost = a.example\ncheckIP = 2001:DB8::0:1\ncheckEmail = x@y\ncheckHost = b";
    let names = accept_tls(lines).peer.allow_names;
    assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a.example", "2001:db8::1", "x@y", "b"]);
    assert!(accept_tls(lines).peer.cn_fallback, "OpenSSL takes the CN where there is no alternative name");
    let grid = accept_tls("verify = 2\nCAfile = /ca\ncheckHost = host/db1.example.org").peer.allow_names;
    assert_eq!(grid.iter().map(|name| &**name).collect::<Vec<_>>(), ["db1.example.org"]);
}

#[test]
fn names_that_stunnel_would_take_as_patterns_or_never_match_are_refused() {
    for (line, why) in [
        ("checkHost = .example.com", "`.example.com`: patterns are refused"),
        ("checkHost = *.example.com", "`*.example.com`: patterns are refused"),
        ("checkHost = a b", "`a b` is not a host name"),
        ("checkHost =", "`` is not a host name"),
        ("checkIP = host", "`host` is not an IP address"),
        ("checkEmail = host", "`host` is not an e-mail address"),
        ("checkEmail = a@b@c", "`a@b@c` is not an e-mail address"),
    ] {
        let (message, _) = only(&server_with(&format!("verify = 2\nCAfile = /ca\n{line}")));
        assert!(message.starts_with(&format!("error: {why}")), "{message}");
    }
}

#[test]
fn a_client_end_that_believes_anybody_says_so() {
    let bare = "[a]\nclient = yes\naccept = 1\nconnect = db.example:2\n";
    assert_eq!(said(bare), ["1: warning: Service [a] needs authentication to prevent MITM attacks"]);
    let chain = format!("{bare}verify = 2\nCAfile = /ca\n");
    assert_eq!(said(&chain), ["1: warning: Service [a] uses \"verifyChain\" without subject checks"]);
    assert_eq!(said(&format!("{bare}verify = 4\nCAfile = /ca\n")), [""; 0]);
    assert_eq!(
        said(&format!("{bare}verify = 1\nCAfile = /ca\ncheckHost = db.example\n")),
        ["5: warning: `verify = 1` is as strict as 2 on this side, since a server always shows a certificate"]
    );
}

#[test]
fn a_client_end_verifies_what_the_file_says_and_no_name_besides() {
    let tls = connect_tls("cert = /c.pem\nkey = /k.pem");
    assert!(tls.names && tls.sni && tls.resumption);
    assert!(tls.peer.chain && !tls.peer.in_store && tls.peer.cn_fallback);
    assert_eq!(&*tls.peer.allow_names[0], "db.example");
    assert_eq!(tls.identity.unwrap().key, PathBuf::from("/k.pem"));
    let nobody = only_service(&usable("[a]\nclient = yes\naccept = 1\nconnect = db.example:2\n"));
    let tls = nobody.connect_tls.unwrap();
    assert_eq!(
        (tls.peer.clone(), tls.identity.clone()),
        (PeerRules { dialect: Dialect::Stunnel, ..PeerRules::default() }, None)
    );
}

#[test]
fn the_key_is_in_the_certificates_file_unless_told_otherwise() {
    assert_eq!(accept_tls("").identity.key, PathBuf::from("/c.pem"));
    assert_eq!(accept_tls("key = k.pem").identity.key, PathBuf::from("/start/k.pem"));
    assert_eq!(
        said(&SERVER.replace("cert = /c.pem\n", "")),
        ["1: error: section `mysql` accepts TLS and has no `cert`"]
    );
    assert_eq!(only(&client_with("key = /k")).0, "warning: `key` is not looked at without `cert`");
}

#[test]
fn a_client_end_asks_for_the_name_that_stunnel_would_ask_for() {
    assert_eq!(connect_tls("").server_name, None, "the target's host");
    assert_eq!(connect_tls("sni = x.example").server_name.as_deref(), Some("x.example"));
    assert_eq!(connect_tls("sni = x.example\nsni = y.example").server_name.as_deref(), Some("y.example"));
    assert_eq!(connect_tls("connect = other.example:1").server_name.as_deref(), Some("db.example"));
    let silent = connect_tls("sni =");
    assert_eq!((silent.sni, silent.server_name), (false, None));
    assert_eq!(only(&client_with("sni = a b")).0, "error: `a b` is no host name");
}

#[test]
fn sessions_are_resumed_unless_told_otherwise() {
    assert!(accept_tls("").resumption);
    assert!(!accept_tls("sessionResume = no").resumption);
    assert!(!connect_tls("sessionResume = no").resumption);
}
