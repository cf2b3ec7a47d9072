//! `tls` and `connect_tls`: what both sides have in common.

mod accept;
mod connect;
mod rules;

use super::super::diagnostic::Span;
use super::super::model::{CipherSuite, Group, Identity, TlsProtocol, TlsVersion};
use super::super::reader::Table;
use super::super::source::quote;
use super::super::words;
use super::file::file;
use super::secret;

pub(super) use accept::accept;
pub(super) use connect::connect;

/// Far more than any machine can do in the time that a client waits.
const MOST_HANDSHAKES: u32 = 1_000_000;

/// A certificate of ours, and its key; the key may stand in the certificate's file.
fn identity(table: &Table<'_>) -> Option<Identity> {
    let cert = file(table, "cert");
    let key = file(table, "key");
    let passphrase = secret::passphrase(table);
    if !table.has("cert") {
        for one in ["key", "passphrase_file"] {
            if let Some(span) = table.key_span(one) {
                let help = "a key without its certificate is of no use: write cert = \"…\", or leave it out";
                table.doc.error(span, format!("`{one}` without `cert`"), Some(help.to_owned()));
            }
        }
    }
    let cert = cert?;
    let key = if table.has("key") { key? } else { cert.clone() };
    Some(Identity { cert, key, passphrase })
}

/// What is negotiated.
fn protocol(table: &Table<'_>, default: TlsProtocol) -> TlsProtocol {
    let doc = table.doc;
    let min = table.choice("min_version", default.min_version, words::TLS_VERSION);
    let max = table.choice("max_version", default.max_version, words::TLS_VERSION);
    let suites = table.choices("cipher_suites", words::CIPHER_SUITE);
    let groups = table.choices("groups", words::GROUP);
    let word = |version: TlsVersion| words::written(words::TLS_VERSION, &version);
    let (oldest, newest) = (min.value, max.value);
    if min.good && max.good && oldest > newest {
        let message =
            format!("no version is left: min_version is \"{}\", max_version \"{}\"", word(oldest), word(newest));
        let help = format!("write min_version = \"{}\" as well, or leave max_version out", word(newest));
        doc.error(max.span.or(min.span).unwrap_or(table.span), message, Some(help));
    } else if min.good && max.good {
        suites_and_versions(table, &suites, oldest, newest);
        only_of_1_3(table, &groups, newest);
    }
    TlsProtocol {
        min_version: oldest,
        max_version: newest,
        cipher_suites: suites.into_iter().map(|(suite, _)| suite).collect(),
        groups: groups.into_iter().map(|(group, _)| group).collect(),
    }
}

/// Each suite is of a version that is allowed, and each such version has one.
fn suites_and_versions(table: &Table<'_>, suites: &[(CipherSuite, Span)], oldest: TlsVersion, newest: TlsVersion) {
    let allowed = |version: TlsVersion| (oldest..=newest).contains(&version);
    let word = |version: TlsVersion| words::written(words::TLS_VERSION, &version);
    for (suite, span) in suites.iter().filter(|(suite, _)| !allowed(suite.version())) {
        let version = suite.version();
        let name = quote(words::written(words::CIPHER_SUITE, suite));
        let key = if version < oldest { "min_version" } else { "max_version" };
        let help = format!("write {key} = \"{}\", or leave this suite out", word(version));
        let message = format!("{name} is of TLS {}, which is not allowed", word(version));
        table.doc.error(*span, message, Some(help));
    }
    if suites.is_empty() || suites.iter().any(|(suite, _)| !allowed(suite.version())) {
        return;
    }
    for version in [TlsVersion::V12, TlsVersion::V13].into_iter().filter(|version| allowed(*version)) {
        if suites.iter().all(|(suite, _)| suite.version() != version) {
            let span = table.key_span("cipher_suites").unwrap_or(table.span);
            let version = word(version);
            let help = format!("TLS {version} is allowed and cannot be had: name a suite of it, or do not allow it");
            table.doc.warning(span, format!("no suite of TLS {version} is in `cipher_suites`"), Some(help));
        }
    }
}

/// The post-quantum group is defined for TLS 1.3 only (draft-ietf-tls-ecdhe-mlkem).
fn only_of_1_3(table: &Table<'_>, groups: &[(Group, Span)], newest: TlsVersion) {
    if let [(Group::X25519Mlkem768, span)] = groups
        && newest == TlsVersion::V12
    {
        let help = "name another beside it, such as \"x25519\"".to_owned();
        table.doc.error(*span, "X25519MLKEM768 is of TLS 1.3, which is not allowed", Some(help));
    }
}

/// Handshakes at once.
fn max_handshakes(table: &Table<'_>, default: u32) -> u32 {
    table.integer("max_handshakes", default, 1..=MOST_HANDSHAKES)
}
