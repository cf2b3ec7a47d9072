//! What a user is told to do, by the names of the file that the user wrote.

use super::super::judge::Of;
use super::chains::{chain, peers, says};
use super::*;

/// Keys of galeway.toml that no stunnel.conf has.
const OF_TOML: [&str; 8] = [
    "allow_names",
    "check_names",
    "client_auth",
    "server_name",
    "min_version",
    "passphrase_file",
    "proxy_protocol",
    "`crl`",
];

#[track_caller]
fn in_stunnels_words(said: &str, parts: &[&str]) {
    says(said, parts);
    assert!(!OF_TOML.iter().any(|key| said.contains(key)), "{said}");
}

#[test]
fn a_refusal_names_the_keys_of_the_file_that_its_rules_are_in() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let toml = PeerRules { allow_names: vec!["x.example.org".into()], ..chain_to(&dir.write("ca.pem", &ca.pem)) };
    let stunnel = PeerRules { dialect: Dialect::Stunnel, ..toml.clone() };
    let fallback = PeerRules { cn_fallback: true, ..stunnel.clone() };
    let pem = ca.issue("db1.example.org").pem;
    let grid = ca.issue_with("host/db1.example.org", |_| ()).pem;
    let judged =
        |of: Of, rules: &PeerRules, pem: &str| peers(of, rules).admit(&chain(pem), None).unwrap_err().to_string();
    let to_add = "none of check_names is its name; to let it in add one of [\"db1.example.org\"]";
    says(&judged(Of::Servers, &toml, &pem), &[to_add]);
    for of in [Of::Clients, Of::Servers] {
        let words = ["it is for db1.example.org, which no check names; to let it in write checkHost = db1.example.org"];
        in_stunnels_words(&judged(of, &stunnel, &pem), &words);
        in_stunnels_words(&judged(of, &fallback, &grid), &["/O=Galeway/CN=host/db1.example.org (issuer", words[0]]);
    }
    let nameless = ca.issue_with("db1", |_| ()).pem;
    let words = ["none of checkHost, checkIP and checkEmail is its name"];
    says(&judged(Of::Clients, &stunnel, &nameless), &words);
    let unlisted = PeerRules { crl: vec![dir.write("crl.pem", Ca::root("other").crl(&[], 4000))], ..stunnel };
    let words = ["there is no CRL of its issuer, and CRLfile or CRLpath is set"];
    in_stunnels_words(&judged(Of::Clients, &unlisted, &pem), &words);
}

#[test]
fn a_side_of_tls_is_called_by_its_key_where_it_has_one() {
    assert_eq!((Dialect::Toml.side("connect_tls"), Dialect::Stunnel.side("connect_tls")), ("connect_tls", "TLS"));
}

#[tokio::test]
async fn so_does_a_handshake_that_fails() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = PeerRules { dialect: Dialect::Stunnel, ..chain_to(&dir.write("ca.pem", &ca.pem)) };
    let ours = identity(&dir, "server", &ca.issue("db1.example.org"));
    let acceptor = Acceptor::new(&accepting(ours, ClientAuth::Require, rules.clone())).unwrap();
    let v12 = TlsProtocol { min_version: TlsVersion::V12, max_version: TlsVersion::V12, ..protocol() };
    let connector = |protocol| Connector::new(&TlsConnect { protocol, ..connecting(None, rules.clone()) }).unwrap();
    let (said, _) = words(&acceptor, &connector(v12), "db1.example.org").await;
    in_stunnels_words(&said, &["update it, or write sslVersionMin = TLSv1.2"]);
    let (said, _) = words(&acceptor, &connector(protocol()), "db1.example.org").await;
    in_stunnels_words(&said, &["the client showed no certificate, and one is required: give it one (cert, key)"]);
}

#[test]
fn so_does_a_key_that_cannot_be_opened() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    identity(&dir, "own", &ca.issue("db1.example.org"));
    dir.openssl("pkcs8 -topk8 -in own.key -out locked.key -passout pass:x");
    dir.openssl("pkcs12 -export -in own.pem -inkey own.key -out own.p12 -passout pass:x");
    for (cert, key, remedy) in
        [("own.pem", "locked.key", "decrypt it with `openssl pkey`"), ("own.p12", "own.p12", "so take it off")]
    {
        let ours = Identity { cert: dir.path(cert), key: dir.path(key), passphrase: None };
        let said = |dialect| {
            let rules = PeerRules { dialect, ..PeerRules::default() };
            Acceptor::new(&accepting(ours.clone(), ClientAuth::Off, rules)).unwrap_err().to_string()
        };
        says(&said(Dialect::Toml), &["set passphrase_file"]);
        in_stunnels_words(&said(Dialect::Stunnel), &[remedy]);
    }
}
