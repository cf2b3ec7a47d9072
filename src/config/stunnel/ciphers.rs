//! Cipher suites and curves by OpenSSL's names (ciphers(1), SSL_CTX_set1_groups_list(3)).

use super::super::address::Malformed;
use super::super::model::{CipherSuite, Group};
use super::super::source::quote;

use CipherSuite::{
    Aes128GcmSha256, Aes256GcmSha384, Chacha20Poly1305Sha256, EcdheEcdsaAes128GcmSha256, EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256, EcdheRsaAes128GcmSha256, EcdheRsaAes256GcmSha384, EcdheRsaChacha20Poly1305Sha256,
};

/// What a list came to, and what of it there is not here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen<T> {
    pub(super) list: Vec<T>,
    pub(super) missing: Vec<String>,
}

/// A suite of TLS 1.2: its two names and every word of ciphers(1) that stands for it among others.
struct Suite {
    suite: CipherSuite,
    names: [&'static str; 2],
    words: &'static [&'static str],
}

/// Those there are, the strongest first, as OpenSSL orders them.
static SUITES: [Suite; 6] = [
    Suite {
        suite: EcdheEcdsaAes256GcmSha384,
        names: ["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        words: &["aECDSA", "ECDSA", "AESGCM", "AES256", "AES", "SHA384", "SUITEB192"],
    },
    Suite {
        suite: EcdheRsaAes256GcmSha384,
        names: ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
        words: &["aRSA", "AESGCM", "AES256", "AES", "SHA384"],
    },
    Suite {
        suite: EcdheEcdsaChacha20Poly1305Sha256,
        names: ["ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
        words: &["aECDSA", "ECDSA", "CHACHA20"],
    },
    Suite {
        suite: EcdheRsaChacha20Poly1305Sha256,
        names: ["ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
        words: &["aRSA", "CHACHA20"],
    },
    Suite {
        suite: EcdheEcdsaAes128GcmSha256,
        names: ["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        words: &["aECDSA", "ECDSA", "AESGCM", "AES128", "AES", "SHA256"],
    },
    Suite {
        suite: EcdheRsaAes128GcmSha256,
        names: ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        words: &["aRSA", "AESGCM", "AES128", "AES", "SHA256"],
    },
];

/// Words that stand for all of ours.
const ALL_OF_OURS: &[&str] =
    &["ALL", "DEFAULT", "HIGH", "ECDH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2", "FIPS"];

/// Words of ciphers(1) that stand for none of ours.
const NONE_OF_OURS: &[&str] = &[
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "eNULL",
    "NULL",
    "aNULL",
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "DH",
    "DHE",
    "EDH",
    "ADH",
    "kDH",
    "kDHr",
    "kDHd",
    "aDH",
    "AECDH",
    "kECDH",
    "kECDHr",
    "kECDHe",
    "aECDH",
    "aDSS",
    "DSS",
    "TLSv1",
    "TLSv1.0",
    "SSLv3",
    "SSLv2",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA",
    "SHA1",
    "PSK",
    "kPSK",
    "kDHEPSK",
    "kECDHEPSK",
    "kRSAPSK",
    "aPSK",
    "SRP",
    "kSRP",
    "aSRP",
    "aGOST",
    "aGOST01",
    "kGOST",
    "GOST94",
    "GOST89MAC",
    "KRB5",
    "kKRB5",
    "aKRB5",
    "kFZA",
    "aFZA",
    "eFZA",
    "FZA",
    "CBC",
];

/// Reads `ciphers`: suites of TLS 1.2, in the language of ciphers(1).
///
/// # Errors
/// A part that is not understood. What it keeps out is not to be guessed at.
pub(super) fn ciphers(text: &str) -> Result<Chosen<CipherSuite>, Malformed> {
    let mut active: Vec<usize> = Vec::new();
    let mut killed: Vec<usize> = Vec::new();
    let mut missing = Vec::new();
    for token in text.split([':', ',', ' ', ';']).filter(|token| !token.is_empty()) {
        if let Some(command) = token.strip_prefix('@') {
            match command {
                // Ours stand in the order of their strength.
                "STRENGTH" => active.sort_unstable(),
                "SECLEVEL=2" => {}
                _ => return Err(unknown(text, token)),
            }
            continue;
        }
        let sign = token.chars().next().filter(|char| matches!(char, '!' | '-' | '+'));
        let words = token.get(usize::from(sign.is_some())..).unwrap_or_default();
        let meant = matching(words).ok_or_else(|| unknown(text, token))?;
        match sign {
            Some('!') => {
                active.retain(|suite| !meant.contains(suite));
                killed.extend(meant);
            }
            Some('-') => active.retain(|suite| !meant.contains(suite)),
            Some(_) => {
                let (moved, kept): (Vec<usize>, Vec<usize>) = active.iter().partition(|suite| meant.contains(suite));
                active = kept.into_iter().chain(moved).collect();
            }
            None => {
                if meant.is_empty() {
                    missing.push(token.to_owned());
                }
                let new: Vec<usize> =
                    meant.into_iter().filter(|suite| !active.contains(suite) && !killed.contains(suite)).collect();
                active.extend(new);
            }
        }
    }
    let list = active.into_iter().filter_map(|index| SUITES.get(index)).map(|suite| suite.suite).collect();
    Ok(Chosen { list, missing })
}

/// The suites that all words between `+` stand for; `None` where one is not understood.
fn matching(words: &str) -> Option<Vec<usize>> {
    let mut meant: Vec<usize> = (0..SUITES.len()).collect();
    for word in words.split('+') {
        let of = |suite: &Suite| suite.names.contains(&word) || suite.words.contains(&word);
        if ALL_OF_OURS.contains(&word) {
            continue;
        }
        if !SUITES.iter().any(of) && !NONE_OF_OURS.contains(&word) && !is_name(word) {
            return None;
        }
        meant.retain(|index| SUITES.get(*index).is_some_and(of));
    }
    Some(meant)
}

/// Whether this is the form of a suite's name: `DHE-RSA-AES256-SHA`, `TLS_RSA_WITH_AES_128_CBC_SHA`.
fn is_name(word: &str) -> bool {
    let parts = word.split(['-', '_']);
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    word.contains(['-', '_']) && parts.into_iter().all(plain)
}

fn unknown(text: &str, token: &str) -> Malformed {
    let message = if token == text {
        format!("{} is not understood, and may be what keeps weak ciphers out", quote(text))
    } else {
        format!("{}: {} is not understood, and may be what keeps weak ciphers out", quote(text), quote(token))
    };
    Malformed::hint(message, "name the suites, for example ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305")
}

/// The suites of TLS 1.3, in the order of their strength.
pub(super) const SUITES_13: [(&str, CipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", Aes256GcmSha384),
    ("TLS_CHACHA20_POLY1305_SHA256", Chacha20Poly1305Sha256),
    ("TLS_AES_128_GCM_SHA256", Aes128GcmSha256),
];

/// Those that OpenSSL has and we have not.
const OTHERS_13: [&str; 4] =
    ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256", "TLS_SHA256_SHA256", "TLS_SHA384_SHA384"];

/// Reads `ciphersuites`: suites of TLS 1.3, by name.
pub(super) fn ciphersuites(text: &str) -> Result<Chosen<CipherSuite>, Malformed> {
    let mut chosen = Chosen { list: Vec::new(), missing: Vec::new() };
    for name in text.split(':').filter(|name| !name.is_empty()) {
        match SUITES_13.iter().find(|(known, _)| *known == name) {
            Some((_, suite)) if !chosen.list.contains(suite) => chosen.list.push(*suite),
            Some(_) => {}
            None if OTHERS_13.contains(&name) => chosen.missing.push(name.to_owned()),
            None => {
                let all: Vec<&str> = SUITES_13.iter().map(|(name, _)| *name).collect();
                let help = format!("there is {}", all.join(", "));
                return Err(Malformed::hint(format!("{} is no suite of TLS 1.3", quote(name)), help));
            }
        }
    }
    Ok(chosen)
}

/// Every suite of TLS 1.2, the strongest first.
pub(super) fn suites_12() -> Vec<CipherSuite> {
    SUITES.iter().map(|suite| suite.suite).collect()
}

const GROUPS: &[(&str, Group)] = &[
    ("X25519MLKEM768", Group::X25519Mlkem768),
    ("X25519", Group::X25519),
    ("P-256", Group::Secp256r1),
    ("prime256v1", Group::Secp256r1),
    ("secp256r1", Group::Secp256r1),
    ("P-384", Group::Secp384r1),
    ("secp384r1", Group::Secp384r1),
    ("P-521", Group::Secp521r1),
    ("secp521r1", Group::Secp521r1),
];

/// Reads `curves`.
pub(super) fn curves(text: &str) -> Result<Chosen<Group>, Malformed> {
    let mut chosen = Chosen { list: Vec::new(), missing: Vec::new() };
    for name in text.split(':').filter(|name| !name.is_empty()) {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        match GROUPS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, group)) if !chosen.list.contains(group) => chosen.list.push(*group),
            Some(_) => {}
            None if name.chars().all(plain) => chosen.missing.push(name.to_owned()),
            None => {
                let help = "write names with colons between them: X25519:P-256:P-384";
                return Err(Malformed::hint(format!("{} is no name of a curve", quote(name)), help));
            }
        }
    }
    Ok(chosen)
}
