//! Logins as a MariaDB 11.8.9 (Debian 13) conducted them with another client, over TLS, with the certificate that the server had
//! made itself. All accounts have the password "secret".

use std::time::Instant;

use super::*;

/// The SHA-256 of that server's certificate.
const CERTIFICATE: &str = "34a61fc287eb9c604f8f4851b429de4048e0efb0119f3cc767b64a19d0d60cea";

const NATIVE: Recorded = Recorded {
    scramble: "4a50303f2c5c6b29257d69742c7b4c46596d3a78",
    packets: &[],
    proof: "F09F3A3CFB4D8B390E20BD3F1DFCB73304ECB681ACAAAAADBB2EE7168321BFE9",
};

const ED25519: Recorded = Recorded {
    scramble: "357570543342316c502c29282d4a6b5c6a216042",
    packets: &["fe636c69656e745f6564323535313900ea139f9e8532e01451203211c67bcb546e690d475beeedc2a1e4b34595bcfed0"],
    proof: "1B851FD850B4F74F61A8985C0AD4A6276B6A385933013F013F952426926B0772",
};
/// The other client's answer to it.
const ED25519_ANSWER: &str = "3e5c56b0ebabe3911858daaecc99c25ba89699fe7f48d92861785da76cd5cf0c\
                              6ce87d779f0dfb0d4e87148d813f8c275e85eb1fbc4335048a8eaf04712e4207";

const PARSEC: Recorded = Recorded {
    scramble: "7e4d424674395c437c666b66404b366e4758636b",
    packets: &[
        "fe70617273656300338eccdcaefc9090b2fef9e6f057b38e189efb9094b8277881ec5ee41eb2e5b4",
        "015000650e781acea91309123972ea1bc24b040335",
    ],
    proof: "2B77DFBE7C3523B8A5A02C669EFBADFF5619FEAF8960A93DAFBCD63AC87A675B",
};
/// `P0:ZQ54Gs6pEwkSOXLqG8JLBAM1:TLkcwNRZrclzj81MEALNvRcH2u62lTb2WNH2zimQhsU` is that account's authentication_string.
const PARSEC_KEY: &str = "4cb91cc0d459adc9738fcd4c1002cdbd1707daeeb69536f658d1f6ce299086c5";

/// An account of several plugins, of which the last is the one with this password.
const SEVERAL: Recorded = Recorded {
    scramble: "254778452f5c5f4b3978745c4f584c5441273e42",
    packets: &[
        "fe636c69656e745f656432353531390019635bee7e93d4447f5eaa49a85a4ab84cc4b18caf4ce2c2f1365c344be037f0",
        "fe70617273656300a6e4efdd2d49666dfedda244544f9bcbab35c381153b90cbc6528a3bdd0f70b8",
        "0150008e9db64efebd6e0731d61de3c8a281ec3bc7",
    ],
    proof: "16469AD0B8D6ACA8CA05D83E7ADAF6C8CB9232ABF0A67890E92F8C8B85EC5891",
};

/// What a server sent after its greeting.
struct Recorded {
    scramble: &'static str,
    packets: &'static [&'static str],
    proof: &'static str,
}

impl Recorded {
    /// The answers to all but the OK packet.
    fn answered(&self, link: Link) -> Result<(Login<'static>, Vec<Vec<u8>>), Error> {
        let mut login = started_on(link, "mysql_native_password", &bytes(self.scramble));
        let mut answers = Vec::new();
        for packet in self.packets {
            match login.step(&bytes(packet))? {
                Step::Send(answer) => answers.push(answer),
                other => panic!("{other:?}"),
            }
        }
        Ok((login, answers))
    }

    fn ok(&self) -> Vec<u8> {
        [b"\0\0\0\x02\0\0\0\x41\x01", self.proof.as_bytes()].concat()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn self_signed(certificate: &str) -> Link {
    Link::SelfSigned(bytes(certificate).try_into().unwrap())
}

#[test]
fn the_proof_of_a_self_signed_certificate_is_accepted_with_every_plugin_that_has_one() {
    for recorded in [NATIVE, ED25519, PARSEC, SEVERAL] {
        let (mut login, _) = recorded.answered(self_signed(CERTIFICATE)).unwrap();
        assert_eq!(login.step(&recorded.ok()).unwrap(), Step::LoggedIn);
        // The other modes ask for no proof.
        let (mut login, _) = recorded.answered(Link::Tls).unwrap();
        assert_eq!(login.step(&recorded.ok()).unwrap(), Step::LoggedIn);
    }
}

#[test]
fn the_answers_are_those_of_the_other_client() {
    let (_, answers) = ED25519.answered(Link::Clear).unwrap();
    assert_eq!(answers, [bytes(ED25519_ANSWER)]);

    let (_, answers) = PARSEC.answered(Link::Clear).unwrap();
    let [request, answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((request.len(), answer.len()), (0, 96));
    let message = [&bytes(PARSEC.packets[0])[8..], &answer[..32]].concat();
    UnparsedPublicKey::new(&ED25519_ALGORITHM, bytes(PARSEC_KEY)).verify(&message, &answer[32..]).unwrap();
    // And with a nonce of its own each time.
    assert_ne!(PARSEC.answered(Link::Clear).unwrap().1[1][..32], answer[..32]);
}

#[test]
fn a_wrong_missing_or_broken_proof_ends_the_login() {
    let outcome = |recorded: &Recorded, certificate: &str, ok: &[u8]| {
        let (mut login, _) = recorded.answered(self_signed(certificate)).unwrap();
        login.step(ok)
    };
    let other = CERTIFICATE.replace("34a6", "34a7");
    for recorded in [NATIVE, ED25519, PARSEC] {
        let ok = recorded.ok();
        let refused = |result: Result<Step, Error>, expected: &str| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Unproven(_)) && error.is_login_refused(), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        refused(outcome(&recorded, &other, &ok), "may be answering in its place");
        for at in 9..ok.len() {
            let mut changed = ok.clone();
            changed[at] = if ok[at] == b'0' { b'1' } else { b'0' };
            refused(outcome(&recorded, CERTIFICATE, &changed), "proof is wrong");
        }
        for cut in 1..ok.len() {
            refused(outcome(&recorded, CERTIFICATE, &ok[..cut]), "no proof");
        }
        refused(outcome(&recorded, CERTIFICATE, b"\0\0\0\x02\0\0\0"), "no proof");
        refused(outcome(&recorded, CERTIFICATE, &[&ok[..8], &ok[9..]].concat()), "no proof");
    }
    // An OK before the plugin has come to its end.
    let mut login = started_on(self_signed(CERTIFICATE), "mysql_native_password", &bytes(PARSEC.scramble));
    login.step(&bytes(PARSEC.packets[0])).unwrap();
    assert!(matches!(login.step(&PARSEC.ok()), Err(Error::Unproven(_))));
}

#[test]
fn before_the_proof_nothing_is_answered_that_would_give_the_password_away() {
    let link = self_signed(CERTIFICATE);
    for plugin in ["caching_sha2_password", "sha256_password", "mysql_clear_password", "dialog", "x"] {
        let mut login = started_on(link, "mysql_native_password", &NATIVE_NONCE);
        let error = login.step(&switch(plugin, &[&SHA2_NONCE[..], &[0]].concat())).unwrap_err();
        assert!(matches!(error, Error::Unproven(_)), "{plugin}: {error:?}");
        assert!(error.to_string().contains(plugin), "{error}");
    }
    let mut login = Login::new(&greeting("caching_sha2_password", &SHA2_NONCE), SECRET, link).unwrap();
    assert!(matches!(login.response(), Err(Error::Unproven(_))));
    // The stored form of an empty password is no secret.
    let mut login = Login::new(&greeting("mysql_native_password", &NATIVE_NONCE), NOBODY, link).unwrap();
    let error = login.response().unwrap_err();
    assert!(error.to_string().contains("without a password"), "{error}");
}

#[test]
fn parsec_takes_salts_of_one_form_only() {
    let answer = |data: &[u8]| {
        let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
        login.step(&bytes(PARSEC.packets[0])).unwrap();
        login.step(data)
    };
    let salt = [9; 18];
    // MariaDB before 11.8 sends it as it is.
    for data in [[b"\x01P\x00", &salt[..]].concat(), [b"P\x00", &salt[..]].concat()] {
        assert!(matches!(answer(&data), Ok(Step::Send(_))));
    }
    for data in [&b"\x01"[..], b"\x01P", b"\x01P\0", b"P\0short", &[b"P\0", &[9; 19][..]].concat()] {
        assert!(matches!(answer(data), Err(Error::Protocol { .. })), "{data:?}");
    }
    // A form of the account's that is not known here is no error of the server's.
    assert!(answer(&[b"\x01Q\0", &salt[..]].concat()).unwrap_err().is_login_refused());
    for nonce in [0, 20, 31, 33, 64] {
        let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
        assert!(matches!(login.step(&switch("parsec", &vec![1; nonce])), Err(Error::Protocol { .. })), "{nonce}");
    }
}

#[test]
fn a_hostile_server_cannot_make_us_compute_for_long() {
    let salted = |factor: u8| [b"\x01P", &[factor][..], &[9; 18]].concat();
    for factor in 4..=255 {
        let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
        login.step(&bytes(PARSEC.packets[0])).unwrap();
        let error = login.step(&salted(factor)).unwrap_err();
        assert!(error.is_login_refused() && error.to_string().contains("8192 iterations"), "{error}");
    }
    // However often it restarts the exchange.
    let begun = Instant::now();
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    let derived =
        (0..9).take_while(|_| login.step(&bytes(PARSEC.packets[0])).is_ok() && login.step(&salted(0)).is_ok());
    assert_eq!(derived.count(), 8);
    println!("8192 iterations: {:?}", begun.elapsed());
    let mut login = started("mysql_native_password", &NATIVE_NONCE, false);
    login.step(&bytes(PARSEC.packets[0])).unwrap();
    login.step(&salted(3)).unwrap();
    login.step(&bytes(PARSEC.packets[0])).unwrap();
    assert!(login.step(&salted(0)).is_err());
}
