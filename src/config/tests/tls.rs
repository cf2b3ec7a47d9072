//! TLS of services.

use std::time::Duration;

use super::*;
use crate::config::{
    CaStore, CipherSuite, ClientAuth, CrlScope, Group, Identity, PeerRules, Pin, TlsAccept, TlsConnect, TlsProtocol,
    TlsVersion,
};

const PIN: &str = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A file that is there and can be read on any host, but for what is in it.
const FILE: &str = "/dev/null";
/// A directory of that kind.
const DIRECTORY: &str = "/tmp";

/// A tunnel's end with these keys in `tls`, its certificate aside.
fn tls(keys: &str) -> String {
    format!("[service.any]\naccept = '127.0.0.1:1'\nconnect = 'db:1'\n[service.any.tls]\ncert = '{FILE}'\n{keys}\n")
}

/// A tunnel's end with these keys in `connect_tls`.
fn connect_tls(keys: &str) -> String {
    format!("[service.any]\naccept = '127.0.0.1:1'\nconnect = 'db:1'\n[service.any.connect_tls]\n{keys}\n")
}

fn accepts(keys: &str) -> TlsAccept {
    good(&tls(keys)).services[0].tls.as_deref().unwrap().clone()
}

fn connects(keys: &str) -> TlsConnect {
    good(&connect_tls(keys)).services[0].connect_tls.as_deref().unwrap().clone()
}

/// A store of these.
fn store(paths: &[&str]) -> Option<CaStore> {
    Some(CaStore::Paths(paths.iter().map(PathBuf::from).collect()))
}

fn pin() -> Pin {
    Pin(std::array::from_fn(|at| u8::try_from(at).unwrap()))
}

#[test]
fn a_server_shows_a_certificate_and_by_default_asks_for_none() {
    let identity = Identity { cert: FILE.into(), key: FILE.into(), passphrase: None };
    assert_eq!(accepts(""), TlsAccept::new(identity));
    let text =
        "[service.any]\naccept = '127.0.0.1:1'\nconnect = 'db:1'\ntls = { cert = '/dev/null', key = '/dev/zero' }\n";
    let inline = good(text).services[0].tls.as_deref().unwrap().clone();
    assert_eq!((inline.identity.cert, inline.identity.key), (FILE.into(), "/dev/zero".into()));
    let help = "write cert = \"…\" and key = \"…\": a server shows who it is";
    assert_eq!(
        marked(&text.replace("cert = '/dev/null', ", "")),
        [
            format!("tls: `tls` has no `cert` ({help})"),
            "key: `key` without `cert` (a key without its certificate is of no use: write cert = \"…\", or leave it out)"
                .to_owned(),
        ]
    );
}

#[test]
fn files_are_looked_at_where_they_are_named() {
    let scratch = Scratch::new();
    scratch.write("c.pem", "");
    scratch.write("phrase", "x y\n");
    let section = "[service.any.tls]\ncert = '/dev/null'\n";
    let parse = |keys: &str| scratch.parse(&tls("").replace(section, &format!("[service.any.tls]\n{keys}\n")));
    let read = parse("cert = 'c.pem'\npassphrase_file = 'phrase'").unwrap().config;
    let identity = &read.services[0].tls.as_deref().unwrap().identity;
    assert_eq!((&identity.cert, &identity.key), (&scratch.0.join("c.pem"), &scratch.0.join("c.pem")));
    assert_eq!(identity.passphrase.as_ref().unwrap().expose(), "x y");
    for (keys, column, part) in [
        ("cert = 'absent.pem'", 8, "No such file or directory"),
        ("cert = '.'", 8, "Is a directory"),
        ("cert = ''", 8, "`cert` is empty"),
        ("client_ca = 'absent'\ncert = 'c.pem'", 13, "No such file or directory"),
        ("client_ca = ['.', 'absent']\ncert = 'c.pem'", 19, "No such file or directory"),
        ("client_ca = ['.', '']\ncert = 'c.pem'", 19, "`client_ca` is empty"),
        ("client_ca = ['c.pem', 'c.pem']\ncert = 'c.pem'", 23, "is in this list already"),
        ("passphrase_file = ''\ncert = 'c.pem'", 19, "`passphrase_file` is empty"),
    ] {
        let refused = parse(keys).unwrap_err();
        let only = refused.iter().next().unwrap();
        assert_eq!((refused.len(), only.place()), (1, Some((5, column))), "{keys}: {refused}");
        assert!(only.message().contains(part), "{keys}: {refused}");
    }
}

#[test]
fn whoever_names_what_is_good_asks_for_it() {
    let chain = PeerRules { chain: true, ca: store(&[FILE]), ..PeerRules::default() };
    for (keys, peer) in [
        (format!("client_ca = '{FILE}'"), chain.clone()),
        (
            format!("client_ca = ['{FILE}', '{DIRECTORY}']\nverify = 'ca'\nallow_names = ['*.x.example', '::1']"),
            PeerRules {
                ca: store(&[FILE, DIRECTORY]),
                allow_names: vec!["*.x.example".into(), "::1".into()],
                ..chain.clone()
            },
        ),
        (
            format!("client_ca = '{FILE}'\nallow_subjects = '/DC=org/CN=host/db1'\ncrl = '{DIRECTORY}'"),
            PeerRules {
                allow_subjects: vec!["/DC=org/CN=host/db1".into()],
                crl: vec![DIRECTORY.into()],
                ..chain.clone()
            },
        ),
        (format!("pins = ['{PIN}']"), PeerRules { pins: vec![pin()], ..PeerRules::default() }),
        (
            format!("client_ca = '{FILE}'\npeer_in_ca = true\ncrl = ['{FILE}']\ncrl_scope = 'leaf'"),
            PeerRules { in_store: true, crl: vec![FILE.into()], crl_scope: CrlScope::Leaf, ..chain.clone() },
        ),
        (
            format!("client_ca = '{FILE}'\nverify = 'pinned'"),
            PeerRules { chain: false, in_store: true, ..chain.clone() },
        ),
    ] {
        let read = accepts(&keys);
        assert_eq!((read.client_auth, read.peer), (ClientAuth::Require, peer), "{keys}");
    }
    assert_eq!(accepts(&format!("client_ca = '{FILE}'\nclient_auth = 'optional'")).client_auth, ClientAuth::Optional);
}

#[test]
fn a_rule_that_nobody_looks_at_is_refused() {
    let off = "no certificate is asked for then: write client_auth = \"require\", or leave it out";
    for (key, value) in [
        ("client_ca", format!("'{FILE}'")),
        ("verify", "'ca'".to_owned()),
        ("peer_in_ca", "true".to_owned()),
        ("crl", format!("'{FILE}'")),
        ("crl_scope", "'leaf'".to_owned()),
        ("allow_names", "['x']".to_owned()),
        ("allow_subjects", "'/CN=x'".to_owned()),
        ("pins", format!("['{PIN}']")),
        ("cn_fallback", "true".to_owned()),
    ] {
        let said = marked(&tls(&format!("client_auth = 'off'\n{key} = {value}")));
        assert_eq!(said, [format!("{key}: `{key}` is not looked at with client_auth = \"off\" ({off})")]);
    }
    // What asks for nothing may be written down.
    accepts("client_auth = 'off'\nallow_names = []\npins = []\ncrl = []\ncrl_scope = 'chain'\ncn_fallback = false");

    let chain = "they speak about the certificates of a chain: write client_ca = \"…\", with verify = \"ca\"";
    let said = marked(&tls(&format!("pins = '{PIN}'\ncrl = '{FILE}'")));
    assert_eq!(said, [format!("crl: `crl` is not looked at without a chain ({chain})")]);
    let said = marked(&tls(&format!("client_ca = '{FILE}'\nverify = 'pinned'\ncrl = '{FILE}'")));
    assert_eq!(said, [format!("crl: `crl` is not looked at without a chain ({chain})")]);
    let said = marked(&tls(&format!("client_ca = '{FILE}'\ncrl_scope = 'leaf'")));
    assert_eq!(said, ["crl_scope: `crl_scope` is not looked at without `crl` (write crl = \"…\", or leave it out)"]);
    let said = marked(&tls(&format!("client_ca = '{FILE}'\ncn_fallback = true")));
    let help = "it is about the names in `allow_names`; leave it out";
    assert_eq!(said, [format!("cn_fallback: `cn_fallback` is not looked at without `allow_names` ({help})")]);
    let said = marked(&tls(&format!("pins = '{PIN}'\npeer_in_ca = true")));
    let help = "write client_ca = \"…\", or leave it out";
    assert_eq!(said, [format!("peer_in_ca: `peer_in_ca` is not looked at without `client_ca` ({help})")]);
}

#[test]
fn a_name_that_nobody_vouches_for_is_no_rule() {
    let help = "anybody can make a certificate of any name: write client_ca = \"…\", the CA that vouches for them";
    for key in ["allow_names", "allow_subjects"] {
        let said = marked(&tls(&format!("{key} = ['/CN=x']")));
        assert_eq!(said, [format!("{key}: `{key}` without `client_ca` ({help})")]);
        accepts(&format!("{key} = ['/CN=x']\npins = '{PIN}'"));
    }
}

#[test]
fn asking_for_any_certificate_is_a_loud_warning() {
    let help = "anybody can make one: write client_ca = \"…\" or pins = [\"sha256/…\"]";
    for word in ["require", "optional"] {
        let text = tls(&format!("client_auth = '{word}'"));
        let message = "any certificate is good here: there is neither `client_ca` nor `pins`";
        assert_eq!(marked(&text), [format!("'{word}': {message} ({help})")]);
        assert!(parse(&text).is_ok());
    }
}

#[test]
fn a_way_to_verify_needs_what_it_compares_with() {
    let said = marked(&tls(&format!("verify = 'ca'\npins = '{PIN}'")));
    assert_eq!(said, ["'ca': verify = \"ca\" without `client_ca` (write client_ca = \"…\")"]);
    let said = marked(&tls("client_auth = 'require'\nverify = 'pinned'"));
    let help = "write client_ca = \"…\" or pins = [\"sha256/…\"]";
    assert_eq!(said[1..], [format!("'pinned': verify = \"pinned\" without `client_ca` or `pins` ({help})")]);
    let said = messages(&tls("client_ca = []"));
    assert_eq!(said, ["error: nobody could be trusted: `client_ca` is empty"]);
    let said = messages(&tls("client_ca = 'system'"));
    assert_eq!(said, ["error: `client_ca` cannot be the system's CAs"]);
    let said = marked(&connect_tls("verify = 'pinned'"));
    let help =
        "write pins = [\"sha256/…\"], or ca = \"…\", a file or directory that holds the server's own certificate";
    assert_eq!(said, [format!("'pinned': verify = \"pinned\" without `pins` or `ca` ({help})")]);
    let said = messages(&connect_tls("verify = 'pinned'\nca = 'system'"));
    assert_eq!(said, ["error: `ca` cannot be the system's with verify = \"pinned\""]);
    for keys in ["peer_in_ca = true", "peer_in_ca = true\nca = 'system'"] {
        assert_eq!(messages(&connect_tls(keys)), ["error: `peer_in_ca` is not looked at with the system's CAs"]);
    }
}

#[test]
fn a_client_looks_at_the_chain_and_the_name_unless_told_otherwise() {
    assert_eq!(connects(""), TlsConnect::default());
    assert_eq!(connects("ca = 'system'\nverify = 'full'\nserver_name = ''\nsni = true"), TlsConnect::default());
    let chain = PeerRules { chain: true, ca: store(&[DIRECTORY]), ..PeerRules::default() };
    let read = connects(&format!("ca = '{DIRECTORY}'\nverify = 'ca'"));
    assert_eq!((read.names, read.peer), (false, chain.clone()));
    let read = connects(&format!("ca = '{DIRECTORY}'\ncheck_names = ['a.example']\nserver_name = 'b.example'"));
    assert_eq!((read.names, read.server_name.as_deref(), read.sni), (true, Some("b.example"), true));
    assert_eq!(read.peer, PeerRules { allow_names: vec!["a.example".into()], ..chain.clone() });
    let read = connects(&format!("verify = 'pinned'\npins = '{PIN}'"));
    assert_eq!((read.names, read.peer), (false, PeerRules { pins: vec![pin()], ..PeerRules::default() }));
    let read = connects(&format!("verify = 'pinned'\nca = '{DIRECTORY}'\ncheck_names = 'a.example'"));
    let names = vec!["a.example".into()];
    let peer = PeerRules { chain: false, in_store: true, allow_names: names, ..chain };
    assert_eq!((read.names, read.peer), (true, peer));
}

#[test]
fn believing_any_server_is_a_warning_and_then_there_are_no_rules() {
    let help = "whoever stands between can read and change all of it: write verify = \"full\", or \"pinned\" with pins";
    let text = connect_tls("verify = 'off'");
    assert_eq!(marked(&text), [format!("'off': any server is believed with verify = \"off\" ({help})")]);
    let config = parse(&text).unwrap().config;
    let read = config.services[0].connect_tls.as_deref().unwrap();
    assert_eq!((read.names, &read.peer), (false, &PeerRules::default()));
    let help = "no certificate is looked at then: write verify = \"full\", or leave it out";
    for (key, value) in [
        ("ca", "'system'".to_owned()),
        ("ca", format!("'{DIRECTORY}'")),
        ("peer_in_ca", "true".to_owned()),
        ("crl", format!("'{FILE}'")),
        ("check_names", "['x']".to_owned()),
        ("allow_subjects", "'/CN=x'".to_owned()),
        ("pins", format!("['{PIN}']")),
        ("cn_fallback", "true".to_owned()),
    ] {
        let said = marked(&connect_tls(&format!("{key} = {value}\nverify = 'off'")));
        assert_eq!(said[0], format!("{key}: `{key}` is not looked at with verify = \"off\" ({help})"));
    }
}

#[test]
fn names_are_compared_where_names_are_looked_at() {
    let help = "write verify = \"full\", which looks at the names as well";
    let said = marked(&connect_tls("verify = 'ca'\ncheck_names = ['x']"));
    assert_eq!(said, [format!("check_names: `check_names` is not looked at with verify = \"ca\" ({help})")]);
    let help = "it is about names, and none is looked at here: write verify = \"full\", or leave it out";
    let said = marked(&connect_tls("verify = 'ca'\ncn_fallback = true"));
    assert_eq!(said, [format!("cn_fallback: `cn_fallback` is not looked at here ({help})")]);
    let help = "they speak about the certificates of a chain: write verify = \"full\" or \"ca\"";
    let said = marked(&connect_tls(&format!("verify = 'pinned'\npins = '{PIN}'\ncrl = '{FILE}'")));
    assert_eq!(said, [format!("crl: `crl` is not looked at with verify = \"pinned\" ({help})")]);
}

#[test]
fn a_server_name_is_a_name_that_is_sent_or_compared() {
    assert_eq!(connects("server_name = '10.0.0.1'").server_name.as_deref(), Some("10.0.0.1"));
    assert!(!connects("server_name = 'x.example'\nsni = false").sni);
    assert!(!connects("verify = 'ca'\nsni = false").sni);
    let help = "it is neither sent (sni = false) nor compared with the certificate; leave it out";
    for keys in ["verify = 'ca'", "check_names = ['y']"] {
        let said = marked(&connect_tls(&format!("server_name = 'x'\nsni = false\n{keys}")));
        assert_eq!(said, [format!("server_name: `server_name` is not looked at here ({help})")]);
    }
    let help = "write the DNS name or the IP address that the server's certificate is for, without a port";
    for name in ["x:1", "https://x", "a b", "-"] {
        let said = marked(&connect_tls(&format!("server_name = '{name}'")));
        assert_eq!(said, [format!("'{name}': `server_name` cannot be `{name}` ({help})")]);
    }
}

#[test]
fn a_socket_needs_a_name_to_compare() {
    let socket = |keys: &str| connect_tls(keys).replace("'db:1'", "['db:1', 'unix:/tmp/x.sock']");
    let message = "`unix:/tmp/x.sock` has no name to compare with its certificate";
    let help = "write server_name = \"…\", what its certificate is for, or verify = \"ca\"";
    assert_eq!(marked(&socket("")), [format!("connect_tls: {message} ({help})")]);
    for keys in ["server_name = 'x'", "check_names = ['x']", "verify = 'ca'"] {
        good(&socket(keys));
    }
    let node = with("", "", "connect_tls = {}").replace("\"db1\"", "'unix:/tmp/x.sock'");
    let message = "node `unix:/tmp/x.sock` has no name to compare with its certificate";
    assert_eq!(messages(&node), [format!("error: {message}")]);
}

#[test]
fn what_is_negotiated_can_be_chosen() {
    let read = accepts("");
    assert_eq!(read.protocol, TlsProtocol::default());
    assert_eq!((read.max_handshakes, read.resumption, connects("").resumption), (256, true, false));
    let read = accepts(
        "min_version = '1.2'\nmax_version = '1.3'\nmax_handshakes = 1\nresumption = false\n\
         cipher_suites = ['TLS_AES_256_GCM_SHA384', 'TLS13_AES_128_GCM_SHA256', 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384']\n\
         groups = ['secp384r1', 'X25519MLKEM768']",
    );
    let suites = vec![CipherSuite::Aes256GcmSha384, CipherSuite::Aes128GcmSha256, CipherSuite::EcdheRsaAes256GcmSha384];
    let groups = vec![Group::Secp384r1, Group::X25519Mlkem768];
    let (min_version, max_version) = (TlsVersion::V12, TlsVersion::V13);
    assert_eq!(read.protocol, TlsProtocol { min_version, max_version, cipher_suites: suites, groups });
    assert_eq!((read.max_handshakes, read.resumption), (1, false));
}

#[test]
fn what_cannot_be_negotiated_is_refused() {
    let version = "error: expected one of \"1.2\", \"1.3\", found a float";
    let suites = "cipher_suites = ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384'";
    for (keys, said) in [
        ("min_version = 1.2", version),
        ("max_version = '1.2'", "error: no version is left: min_version is \"1.3\", max_version \"1.2\""),
        (&*format!("{suites}]"), "error: `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` is of TLS 1.2, which is not allowed"),
        (
            "min_version = '1.2'\nmax_version = '1.2'\ncipher_suites = ['TLS_AES_128_GCM_SHA256']",
            "error: `TLS_AES_128_GCM_SHA256` is of TLS 1.3, which is not allowed",
        ),
        (
            "min_version = '1.2'\nmax_version = '1.2'\ngroups = ['X25519MLKEM768']",
            "error: X25519MLKEM768 is of TLS 1.3, which is not allowed",
        ),
        (
            "min_version = '1.2'\ncipher_suites = ['TLS_AES_128_GCM_SHA256']",
            "warning: no suite of TLS 1.2 is in `cipher_suites`",
        ),
        ("groups = ['x25519', 'x25519']", "error: `x25519` is in this list already"),
        ("groups = ['x448']", "error: `groups` cannot be `x448`"),
        ("groups = 'x25519'", "error: expected a list, found a string"),
        ("max_handshakes = 0", "error: `max_handshakes` is a whole number from 1 to 1000000"),
    ] {
        let found = messages(&connect_tls(keys));
        assert_eq!(found[0], said, "{keys}: {found:?}");
        assert_eq!(messages(&tls(keys))[0], said, "{keys}");
    }
    let said = messages(&tls("min_version = '1.1'"));
    assert_eq!(said, ["error: `min_version` cannot be `1.1`"]);
}

#[test]
fn a_pin_a_name_or_a_subject_that_is_none_says_what_to_write() {
    let pin = "a pin is the digest of a public key, \"sha256/\" and 44 characters of base64; galeway writes that of a \
               certificate it refuses into its log";
    let name = "write a DNS name (a leading `*.` stands for one label), an IP address, a URI or an e-mail address";
    let subject = "write it as `openssl x509 -noout -subject -nameopt compat` or `-nameopt RFC2253` prints it, without \
                   `subject=`: \"/DC=org/CN=db1\" or \"CN=db1,DC=org\"";
    for (key, text, help) in [
        ("pins", "sha256/AAEC", pin),
        ("pins", "sha1/AAECAwQFBgcICQoLDA0ODxAREhM=", pin),
        ("pins", "", pin),
        ("allow_names", "a b", name),
        ("allow_names", "", name),
        ("allow_subjects", "db1", subject),
    ] {
        let said = marked(&tls(&format!("client_ca = '{FILE}'\n{key} = ['{text}']")));
        assert_eq!(said, [format!("'{text}': `{key}` cannot hold `{text}` ({help})")]);
    }
}

#[test]
fn more_time_is_left_to_connect_where_tls_is_part_of_it() {
    let time = |text: &str| good(text).services[0].connect_timeout;
    assert_eq!(time(&connect_tls("")), Duration::from_secs(5));
    assert_eq!(time(&tls("")), Duration::from_secs(1));
    let text = connect_tls("").replace("connect = 'db:1'", "connect = 'db:1'\nconnect_timeout = '2s'");
    assert_eq!(time(&text), Duration::from_secs(2));
}

#[test]
fn tls_around_mysql_is_a_word_of_warning() {
    let message = "no MySQL client can connect to service `any` by itself";
    let help = "`tls` is for tunnels, whose other end brings TLS from the first byte on; MySQL's own TLS (--ssl) begins \
                later, and passes through a service without `tls`";
    let text = tls("").replace("connect = 'db:1'", "connect = 'db:1'\nprotocol = 'mysql'");
    assert_eq!(marked(&text), [format!("any.tls: {message} ({help})").replace("any.tls", "tls")]);
    good(&connect_tls("").replace("connect = 'db:1'", "connect = 'db:1'\nprotocol = 'mysql'"));
}
