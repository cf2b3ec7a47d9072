//! Suites and curves by OpenSSL's names.

use super::*;
use crate::config::CipherSuite::{self, *};
use crate::config::Group;

/// The suites of TLS 1.2 that a list stands for.
fn suites(ciphers: &str) -> Vec<CipherSuite> {
    let protocol = accept_tls(&format!("sslVersion = TLSv1.2\nciphers = {ciphers}")).protocol;
    protocol.cipher_suites
}

const ALL: [CipherSuite; 6] = [
    EcdheEcdsaAes256GcmSha384,
    EcdheRsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaChacha20Poly1305Sha256,
    EcdheEcdsaAes128GcmSha256,
    EcdheRsaAes128GcmSha256,
];

#[test]
fn words_that_stand_for_all_suites_are_understood() {
    for list in [
        "HIGH",
        "ALL:!aNULL:!eNULL",
        "HIGH:!aNULL:!SSLv2:!DH:!kDHEPSK",
        "DEFAULT",
        "ECDHE+AESGCM:ECDHE+CHACHA20:@STRENGTH",
        "HIGH:!MD5:!RC4:@SECLEVEL=2",
    ] {
        assert_eq!(suites(list), ALL, "{list}");
    }
}

#[test]
fn words_and_names_choose_in_their_order() {
    for (list, expected) in [
        ("ECDHE-RSA-AES256-GCM-SHA384", vec![EcdheRsaAes256GcmSha384]),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", vec![EcdheRsaAes128GcmSha256]),
        ("ECDHE+AES256+aRSA", vec![EcdheRsaAes256GcmSha384]),
        ("AESGCM:!AES128:!ECDSA", vec![EcdheRsaAes256GcmSha384]),
        (
            "CHACHA20 AES128+aRSA",
            vec![EcdheEcdsaChacha20Poly1305Sha256, EcdheRsaChacha20Poly1305Sha256, EcdheRsaAes128GcmSha256],
        ),
        ("aRSA:+AES256:-CHACHA20", vec![EcdheRsaAes128GcmSha256, EcdheRsaAes256GcmSha384]),
        ("!AES256:aRSA+AES", vec![EcdheRsaAes128GcmSha256]),
        ("CHACHA20+aRSA:CHACHA20+ECDSA", vec![EcdheRsaChacha20Poly1305Sha256, EcdheEcdsaChacha20Poly1305Sha256]),
        (
            "aRSA+CHACHA20:aECDSA+CHACHA20:@STRENGTH",
            vec![EcdheEcdsaChacha20Poly1305Sha256, EcdheRsaChacha20Poly1305Sha256],
        ),
    ] {
        assert_eq!(suites(list), expected, "{list}");
    }
}

#[test]
fn a_name_that_is_spoken_nowhere_here_is_left_out_with_a_word() {
    let text =
        server_with("sslVersion = TLSv1.2\nciphers = AES256-SHA:DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384");
    let expected =
        "6: warning: `ciphers`: left out, since it is not spoken here: `AES256-SHA, DHE-RSA-AES256-GCM-SHA384`";
    assert_eq!(said(&text), [expected]);
}

#[test]
fn what_is_not_understood_is_refused() {
    for list in ["HIGH:!BADSTUFF", "high", "@SECLEVEL=0", "ECDHE+Fast", "HIGH:!"] {
        let (message, _) = only(&server_with(&format!("ciphers = {list}")));
        assert!(message.contains("is not understood, and may be what keeps weak ciphers out"), "{list}: {message}");
    }
}

#[test]
fn a_list_of_which_nothing_is_left_is_an_error_and_one_that_is_not_looked_at_a_warning() {
    let text = server_with("sslVersion = TLSv1.2\nciphers = 3DES:!ALL");
    assert!(said(&text).contains(&"6: error: no suite of TLS 1.2 is left".to_owned()), "{:?}", said(&text));
    let (message, help) = only(&server_with("ciphers = HIGH"));
    assert_eq!(message, "warning: this list has no effect: it is about TLS 1.2");
    assert!(help.contains("sslVersionMin = TLSv1.2 allows both"));
    let text = server_with("ciphersuites = TLS_AES_128_CCM_SHA256");
    assert!(said(&text).contains(&"5: error: no suite of TLS 1.3 is left".to_owned()));
    assert_eq!(
        only(&server_with("sslVersion = TLSv1.2\nciphersuites = TLS_AES_256_GCM_SHA384")).0,
        "warning: this list has no effect: it is about TLS 1.3"
    );
}

#[test]
fn suites_of_both_versions_stand_in_one_list_those_of_1_3_first() {
    let protocol = accept_tls("sslVersion = all\nciphers = ECDHE-RSA-AES256-GCM-SHA384").protocol;
    let all_13 = [Aes256GcmSha384, Chacha20Poly1305Sha256, Aes128GcmSha256];
    assert_eq!(protocol.cipher_suites, [&all_13[..], &[EcdheRsaAes256GcmSha384]].concat());
    let protocol = accept_tls("sslVersion = all\nciphersuites = TLS_AES_128_GCM_SHA256").protocol;
    assert_eq!(protocol.cipher_suites, [&[Aes128GcmSha256][..], &ALL].concat());
    let protocol = accept_tls("ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384").protocol;
    assert_eq!(protocol.cipher_suites, [Aes128GcmSha256, Aes256GcmSha384]);
    assert!(only(&server_with("ciphersuites = HIGH")).0.ends_with("`HIGH` is no suite of TLS 1.3"));
}

#[test]
fn curves_are_taken_by_all_of_their_names() {
    let groups = |list: &str| accept_tls(&format!("curves = {list}")).protocol.groups;
    assert_eq!(groups("X25519:P-256:prime256v1"), [Group::X25519, Group::Secp256r1]);
    assert_eq!(groups("secp384r1:P-521:X25519MLKEM768"), [Group::Secp384r1, Group::Secp521r1, Group::X25519Mlkem768]);
    assert_eq!(accept_tls("curve = P-256").protocol.groups, [Group::Secp256r1]);
    assert_eq!(
        only(&server_with("curves = X448:X25519")).0,
        "warning: `curves`: left out, since it is not spoken here: `X448`"
    );
    assert!(
        said(&server_with("curves = X448")).contains(&"5: error: `X448` names none that is spoken here".to_owned())
    );
    assert_eq!(only(&server_with("curves = a b")).0, "error: `a b` is no name of a curve");
}
