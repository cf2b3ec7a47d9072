//! The login's answers against published vectors (of go-sql-driver's tests), and against what real servers sent.

use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{ED25519 as ED25519_ALGORITHM, UnparsedPublicKey};
use proptest::prelude::*;

use super::*;

/// From go-sql-driver's auth tests: challenge and answers for the password "secret".
const NATIVE_NONCE: [u8; 20] = [70, 114, 92, 94, 1, 38, 11, 116, 63, 114, 23, 101, 126, 103, 26, 95, 81, 17, 24, 21];
const NATIVE_ANSWER: [u8; 20] =
    [53, 177, 140, 159, 251, 189, 127, 53, 109, 252, 172, 50, 211, 192, 240, 164, 26, 48, 207, 45];
const SHA2_NONCE: [u8; 20] = [90, 105, 74, 126, 30, 48, 37, 56, 3, 23, 115, 127, 69, 22, 41, 84, 32, 123, 43, 118];
const SHA2_ANSWER: [u8; 32] = [
    102, 32, 5, 35, 143, 161, 140, 241, 171, 232, 56, 139, 43, 14, 107, 196, 249, 170, 147, 60, 220, 204, 120, 178,
    214, 15, 184, 150, 26, 61, 57, 235,
];

const SECRET: Credentials<'static> = Credentials { user: "monitor", password: "secret" };
const NOBODY: Credentials<'static> = Credentials { user: "monitor", password: "" };

fn greeting(plugin: &str, nonce: &[u8]) -> Greeting {
    Greeting {
        capabilities: CapabilityFlags::all(),
        nonce: nonce.to_vec(),
        plugin: Some(plugin.as_bytes().to_vec()),
        is_mariadb: true,
    }
}

fn link(tls: bool) -> Link {
    if tls { Link::Tls } else { Link::Clear }
}

/// What the HandshakeResponse says.
fn response(greeting: &Greeting, credentials: Credentials<'_>, tls: bool) -> HandshakeResponse<'static> {
    let bytes = Login::new(greeting, credentials, link(tls)).unwrap().response().unwrap().leak();
    HandshakeResponse::deserialize((), &mut ParseBuf(bytes)).unwrap()
}

fn started(plugin: &str, nonce: &[u8], tls: bool) -> Login<'static> {
    started_on(link(tls), plugin, nonce)
}

fn started_on(link: Link, plugin: &str, nonce: &[u8]) -> Login<'static> {
    let mut login = Login::new(&greeting(plugin, nonce), SECRET, link).unwrap();
    login.response().unwrap();
    login
}

fn switch(plugin: &str, data: &[u8]) -> Vec<u8> {
    [b"\xfe", plugin.as_bytes(), b"\0", data].concat()
}

#[test]
fn the_native_answer_is_the_published_one() {
    let r = response(&greeting("mysql_native_password", &NATIVE_NONCE), SECRET, false);
    assert_eq!(r.scramble_buf(), NATIVE_ANSWER);
    assert_eq!(r.auth_plugin(), Some(&AuthPlugin::MysqlNativePassword));
    let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
    let packet = switch("mysql_native_password", &[&NATIVE_NONCE[..], &[0]].concat());
    assert_eq!(login.step(&packet).unwrap(), Step::Send(NATIVE_ANSWER.to_vec()));
    assert_eq!(login.step(b"\0\0\0\x02\0\0\0").unwrap(), Step::LoggedIn);
}

#[test]
fn the_caching_sha2_answer_is_the_published_one_and_the_fast_path_needs_no_more() {
    let r = response(&greeting("caching_sha2_password", &SHA2_NONCE), SECRET, false);
    assert_eq!(r.scramble_buf(), SHA2_ANSWER);
    assert_eq!(r.auth_plugin(), Some(&AuthPlugin::CachingSha2Password));
    let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
    assert_eq!(login.step(b"\x01\x03").unwrap(), Step::Wait);
    assert_eq!(login.step(b"\0\0\0\x02\0\0\0").unwrap(), Step::LoggedIn);
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    let packet = switch("caching_sha2_password", &[&SHA2_NONCE[..], &[0]].concat());
    assert_eq!(login.step(&packet).unwrap(), Step::Send(SHA2_ANSWER.to_vec()));
}

#[test]
fn without_a_password_the_answer_is_empty() {
    for (plugin, nonce) in [("mysql_native_password", NATIVE_NONCE), ("caching_sha2_password", SHA2_NONCE)] {
        assert_eq!(response(&greeting(plugin, &nonce), NOBODY, false).scramble_buf(), b"");
    }
}

#[test]
fn full_caching_sha2_sends_the_password_in_clear_over_tls_and_within_the_host_only() {
    // MySQL 9.7 takes an encrypted password over its socket for a wrong one.
    for link in [Link::Tls, Link::Local] {
        let mut login = started_on(link, "caching_sha2_password", &SHA2_NONCE);
        assert_eq!(login.step(b"\x01\x04").unwrap(), Step::Send(b"secret\0".to_vec()));
    }
    let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
    assert_eq!(login.step(b"\x01\x04").unwrap(), Step::Send(vec![2]));
}

#[test]
fn full_caching_sha2_without_tls_encrypts_the_scrambled_password_for_the_servers_key() {
    const PUBLIC: &[u8] = include_bytes!("../../../tests/it/peer/keys/rsa-public.pem");
    const PRIVATE: &[u8] = include_bytes!("../../../tests/it/peer/keys/rsa-private.pem");
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(PRIVATE).unwrap();
    let private = PrivateDecryptingKey::from_pkcs8(private.secret_pkcs8_der()).unwrap();
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let plain: Vec<u8> = b"secret\0".iter().zip(SHA2_NONCE).map(|(p, n)| p ^ n).collect();
    let decrypt = |encrypted: &[u8]| {
        let mut out = vec![0; private.min_output_size()];
        private.decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut out, None).unwrap().to_vec()
    };

    let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
    login.step(b"\x01\x04").unwrap();
    let Step::Send(encrypted) = login.step(&[b"\x01", PUBLIC].concat()).unwrap() else { panic!() };
    assert_eq!(decrypt(&encrypted), plain);
    // sha256_password has the same form and another request. A server may leave the 0x01 before a plugin's data out.
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    let packet = switch("sha256_password", &[&SHA2_NONCE[..], &[0]].concat());
    assert_eq!(login.step(&packet).unwrap(), Step::Send(vec![1]));
    let Step::Send(encrypted) = login.step(PUBLIC).unwrap() else { panic!() };
    assert_eq!(decrypt(&encrypted), plain);
    // The other implementation of the same step, mysql_common's, means the same.
    assert_eq!(decrypt(&mysql_common::crypto::encrypt(&plain, PUBLIC).unwrap()), plain);
}

/// MySQL 9.7.4: sha256_password takes the password in clear over TLS alone, and encrypted over its socket.
#[test]
fn sha256_password_sends_the_password_in_clear_over_tls_only() {
    let packet = switch("sha256_password", &[&SHA2_NONCE[..], &[0]].concat());
    for (link, expected) in [(Link::Tls, &b"secret\0"[..]), (Link::Local, &[1]), (Link::Clear, &[1])] {
        let mut login = started_on(link, "caching_sha2_password", &SHA2_NONCE);
        assert_eq!(login.step(&packet).unwrap(), Step::Send(expected.to_vec()), "{link:?}");
    }
    let mut login = Login::new(&greeting("caching_sha2_password", &SHA2_NONCE), NOBODY, Link::Clear).unwrap();
    login.response().unwrap();
    assert_eq!(login.step(&packet).unwrap(), Step::Send(vec![]));
}

#[test]
fn a_password_that_the_servers_key_cannot_take_is_a_refused_login_that_tls_would_mend() {
    const PUBLIC: &[u8] = include_bytes!("../../../tests/it/peer/keys/rsa-public.pem");
    // 2048 bits take 214 bytes with OAEP and SHA-1 (RFC 8017 7.1.1), the final NUL among them.
    let encrypt = |len: usize| {
        let password = "x".repeat(len);
        let credentials = Credentials { user: "monitor", password: &password };
        let mut login = Login::new(&greeting("caching_sha2_password", &SHA2_NONCE), credentials, Link::Clear).unwrap();
        login.response().unwrap();
        login.step(b"\x01\x04").unwrap();
        login.step(&[b"\x01", PUBLIC].concat())
    };
    assert!(matches!(encrypt(213), Ok(Step::Send(_))));
    let error = encrypt(214).unwrap_err();
    assert!(error.is_login_refused());
    assert_eq!(
        error.to_string(),
        "the password is too long to be sent without TLS: the server's RSA key takes 213 bytes of it; set `tls`"
    );
}

#[test]
fn an_rsa_key_of_a_size_that_is_not_taken_is_a_refused_login() {
    // `openssl genrsa 1024 | openssl rsa -pubout`
    const SMALL: &[u8] = b"-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDX7iIjMl9ITBuxJ5Vdxc3HmyPT
vbomBJVICHLNn6/hGEsM/rKTZubl3stokAgpVz8rz0QvSDfMNRlRHdz48e03q4CQ
bO6RA+ea+po+1IyfgmJ65bzWoXTi1AZURiSCb/VkOCGGdxFMn+iwV0/paix+VPs1
wBXJFDLouPv9Ry/CJQIDAQAB
-----END PUBLIC KEY-----
";
    let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
    login.step(b"\x01\x04").unwrap();
    let error = login.step(&[b"\x01", SMALL].concat()).unwrap_err();
    assert!(error.is_login_refused(), "{error:?}");
    assert!(error.to_string().contains("2048 to 8192 bits"), "{error}");
}

#[test]
fn a_hostile_rsa_key_is_an_error() {
    let keys: [&[u8]; 6] = [
        b"",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nMIGf////////////////////////////////\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN RSA PUBLIC KEY-----\nMAYCAQACAQA=\n-----END RSA PUBLIC KEY-----\n",
        b"\xff\xfe\x00",
    ];
    for key in keys {
        let mut login = started("caching_sha2_password", &SHA2_NONCE, false);
        login.step(b"\x01\x04").unwrap();
        assert!(matches!(login.step(&[b"\x01", key].concat()), Err(Error::Protocol { .. })), "{key:?}");
    }
}

#[test]
fn the_ed25519_answer_is_a_signature_of_the_challenge_by_the_key_in_mariadbs_manual() {
    // USING 'ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY' is PASSWORD('secret') there: base64 without padding.
    const PUBLIC: [u8; 32] = [
        0x64, 0x88, 0x14, 0x44, 0x45, 0x20, 0xe4, 0xf5, 0x60, 0x43, 0xa2, 0xec, 0x92, 0x15, 0xe6, 0x3b, 0xe7, 0x99,
        0x2d, 0x2d, 0x27, 0x0b, 0xc6, 0xde, 0xe8, 0x73, 0xe3, 0x61, 0x64, 0x78, 0x60, 0x96,
    ];
    let nonce = [7; 32];
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    let Step::Send(signature) = login.step(&switch("client_ed25519", &nonce)).unwrap() else { panic!() };
    UnparsedPublicKey::new(&ED25519_ALGORITHM, PUBLIC).verify(&nonce, &signature).unwrap();
}

#[test]
fn the_clear_password_goes_over_tls_only() {
    let mut login = started("mysql_native_password", &NATIVE_NONCE, true);
    assert_eq!(login.step(&switch("mysql_clear_password", b"")).unwrap(), Step::Send(b"secret\0".to_vec()));
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    assert!(matches!(login.step(&switch("mysql_clear_password", b"")), Err(Error::ClearPasswordWithoutTls)));
    // And never unasked, whatever the greeting names.
    let error =
        started_on(Link::Local, "mysql_native_password", &NATIVE_NONCE).step(&switch("mysql_clear_password", b""));
    assert!(matches!(error, Err(Error::ClearPasswordWithoutTls)));
    for tls in [false, true] {
        let r = response(&greeting("mysql_clear_password", &NATIVE_NONCE), SECRET, tls);
        assert_eq!((r.auth_plugin(), r.scramble_buf()), (Some(&AuthPlugin::MysqlNativePassword), &NATIVE_ANSWER[..]));
    }
}

#[test]
fn an_unknown_plugin_is_named() {
    let unsupported = |packet: &[u8]| match started("mysql_native_password", &NATIVE_NONCE, true).step(packet) {
        Err(Error::UnsupportedPlugin { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(unsupported(&switch("authentication_ldap_sasl_client", b"x")), "authentication_ldap_sasl_client");
    assert_eq!(unsupported(b"\xfe"), "mysql_old_password");
    assert_eq!(unsupported(&switch(&"x".repeat(100_000), b"")).len(), 64);
}

#[test]
fn a_mysql_that_names_an_unknown_plugin_may_mean_that_there_is_no_such_account() {
    for (is_mariadb, expected) in [(true, false), (false, true)] {
        let greeting = Greeting { is_mariadb, ..greeting("mysql_native_password", &NATIVE_NONCE) };
        let mut login = Login::new(&greeting, SECRET, Link::Clear).unwrap();
        login.response().unwrap();
        let error = login.step(&switch("authentication_ldap_sasl_client", b"x")).unwrap_err();
        assert!(error.is_login_refused());
        // In the part that a reason still shows of it (160 characters).
        let shown: String = error.to_string().chars().take(160).collect();
        assert_eq!(shown.contains("shows unknown accounts a plugin by chance"), expected, "{error}");
    }
}

#[test]
fn an_unknown_default_plugin_in_the_greeting_waits_for_the_switch() {
    let r = response(&greeting("sha256_password", &NATIVE_NONCE), SECRET, false);
    assert_eq!(r.auth_plugin(), Some(&AuthPlugin::MysqlNativePassword));
}

#[test]
fn only_what_both_sides_know_is_asked_for() {
    use CapabilityFlags as C;
    let all = response(&greeting("mysql_native_password", &NATIVE_NONCE), SECRET, false);
    let unwanted = C::CLIENT_LOCAL_FILES | C::CLIENT_DEPRECATE_EOF | C::CLIENT_MULTI_RESULTS | C::CLIENT_SSL;
    assert!(!all.capabilities().intersects(unwanted | C::CLIENT_COMPRESS | C::CLIENT_SESSION_TRACK));
    assert_eq!((all.user(), all.collation()), (&b"monitor"[..], UTF8MB4_GENERAL_CI));
    let attributes = all.connect_attributes().unwrap();
    assert_eq!(attributes["program_name"], "galeway");
    assert_eq!(attributes["_client_version"], env!("CARGO_PKG_VERSION"));

    let mut old = greeting("mysql_native_password", &NATIVE_NONCE);
    old.capabilities = C::CLIENT_PROTOCOL_41 | C::CLIENT_SECURE_CONNECTION;
    let few = response(&old, SECRET, false);
    assert_eq!((few.capabilities(), few.auth_plugin(), few.connect_attributes()), (old.capabilities, None, None));
    assert_eq!(few.scramble_buf(), NATIVE_ANSWER);

    assert!(matches!(Login::new(&old, SECRET, Link::Tls), Err(Error::TlsNotOffered)));
    old.capabilities = C::CLIENT_PROTOCOL_41;
    assert!(matches!(Login::new(&old, SECRET, Link::Clear), Err(Error::Protocol { .. })));
}

#[test]
fn the_request_for_tls_is_the_head_of_the_response() {
    let mut login = Login::new(&greeting("mysql_native_password", &NATIVE_NONCE), SECRET, Link::Tls).unwrap();
    let request = login.ssl_request();
    assert_eq!(request.len(), 32);
    assert_eq!(login.response().unwrap()[..32], request);
}

#[test]
fn a_login_that_never_ends_is_ended() {
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    let packet = switch("mysql_native_password", &NATIVE_NONCE);
    let error = (0..1000).find_map(|_| login.step(&packet).err()).unwrap();
    assert_eq!(error.to_string(), "protocol error during the login: the login does not come to an end");
}

#[test]
fn what_belongs_to_no_login_is_an_error() {
    for packet in [&b""[..], b"\x02second factor", b"\x03", b"\x01\x03", b"\x01", b"\xfeno end", b"\xfe\0"] {
        assert!(started("mysql_native_password", &NATIVE_NONCE, false).step(packet).is_err(), "{packet:?}");
    }
    // A second factor is the account's affair and no error of the server's.
    let factor = started("mysql_native_password", &NATIVE_NONCE, false).step(b"\x02second factor").unwrap_err();
    assert!(factor.is_login_refused());
    for packet in [&b"\x01"[..], b"\x01\x05", b"\x01\x04more"] {
        assert!(started("caching_sha2_password", &SHA2_NONCE, false).step(packet).is_err(), "{packet:?}");
    }
    let refused = started("mysql_native_password", &NATIVE_NONCE, false).step(b"\xff\x15\x04#28000no").unwrap_err();
    assert_eq!(refused.phase(), Some(Phase::Login));
    assert!(refused.is_login_refused());
}

#[test]
fn no_password_is_printed() {
    assert!(!format!("{SECRET:?}").contains("secret"));
}

mod recorded;

/// Packets as a hostile server would choose them: near the real ones.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let plugin = prop_oneof![
        Just("mysql_native_password"),
        Just("caching_sha2_password"),
        Just("client_ed25519"),
        Just("sha256_password"),
        Just("parsec"),
        Just("mysql_clear_password"),
        Just("x"),
    ];
    prop_oneof![
        bytes(),
        (plugin, bytes()).prop_map(|(plugin, data)| switch(plugin, &data)),
        (any::<bool>(), bytes()).prop_map(|(nul, mut data)| {
            data.resize(20, 9);
            if nul {
                data.push(0)
            }
            switch("caching_sha2_password", &data)
        }),
        Just(b"\x01\x04".to_vec()),
        Just(switch("parsec", &[7; 32])),
        (any::<bool>(), any::<u8>(), 16usize..20).prop_map(|(escaped, factor, salt)| {
            [if escaped { &b"\x01P"[..] } else { b"P" }, &[factor][..], &vec![9; salt]].concat()
        }),
        bytes().prop_map(|data| [b"\0\0\0\x02\0\0\0".to_vec(), data].concat()),
        bytes().prop_map(|data| [b"\x01".to_vec(), data].concat()),
        bytes().prop_map(|data| [b"\xff".to_vec(), data].concat()),
    ]
}

proptest! {
    #[test]
    fn no_packets_panic(
        nonce in proptest::collection::vec(any::<u8>(), 20..40),
        first in prop_oneof![Just("caching_sha2_password"), Just("client_ed25519"), Just("x")],
        link in prop_oneof![Just(Link::Clear), Just(Link::Local), Just(Link::Tls), Just(Link::SelfSigned([3; 32]))],
        packets in proptest::collection::vec(hostile(), 0..6),
    ) {
        let mut login = Login::new(&greeting(first, &nonce), SECRET, link).unwrap();
        let mut answers = vec![login.response().unwrap_or_default()];
        for packet in packets {
            match login.step(&packet) {
                Ok(Step::Send(answer)) => answers.push(answer),
                Ok(Step::Wait) => {}
                Ok(Step::LoggedIn) => {
                    prop_assert!(!matches!(link, Link::SelfSigned(_)), "let in without a proof");
                    break;
                }
                Err(_) => break,
            }
        }
        // Under no plugin does an unproven server receive the password.
        if matches!(link, Link::Clear | Link::SelfSigned(_)) {
            prop_assert!(!answers.iter().any(|answer| answer.windows(6).any(|w| w == b"secret")));
        }
    }
}
