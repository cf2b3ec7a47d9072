//! How a peer's certificate is judged: what both sides have in common.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64;

use super::super::super::model::{CaStore, CrlScope, PeerRules, Pin};
use super::super::super::reader::{Table, Value};
use super::super::super::source::quote;
use super::super::super::words;
use super::super::file::files_or_directories;

/// What a word stands for in a store of trusted certificates.
pub(super) const SYSTEM: &str = "system";

/// The rules as they are written, before anything is said about which of them hold.
pub(super) struct Written {
    pub(super) crl: Vec<PathBuf>,
    pub(super) crl_scope: CrlScope,
    pub(super) peer_in_ca: bool,
    pub(super) names: Vec<Arc<str>>,
    pub(super) subjects: Vec<Arc<str>>,
    pub(super) pins: Vec<Pin>,
    pub(super) cn_fallback: bool,
}

impl Written {
    /// Reads them; `names` is what the key of the names is called.
    pub(super) fn read(table: &Table<'_>, names: &str) -> Self {
        Self {
            crl: files_or_directories(table, "crl"),
            crl_scope: table.choice("crl_scope", CrlScope::default(), words::CRL_SCOPE).value,
            peer_in_ca: table.boolean("peer_in_ca", false),
            names: list(table, names, "a name: DNS, IP address, URI or e-mail address", name),
            subjects: list(table, "allow_subjects", "a subject such as \"/DC=org/CN=db1\"", subject),
            pins: list(table, "pins", "a pin, \"sha256/BASE64\"", pin),
            cn_fallback: table.boolean("cn_fallback", false),
        }
    }

    /// What is in force: these, beside a chain to `ca` and the certificate itself in it, as far as they are asked for.
    pub(super) fn rules(self, chain: bool, in_store: bool, ca: Option<CaStore>) -> PeerRules {
        PeerRules {
            chain,
            in_store,
            ca,
            crl: self.crl,
            crl_scope: self.crl_scope,
            allow_names: self.names,
            allow_subjects: self.subjects,
            pins: self.pins,
            cn_fallback: self.cn_fallback,
            ..PeerRules::default()
        }
    }
}

/// Notes each of these keys that is written and asks for something: nothing would look at it, and its author believes in a
/// protection that is not there.
pub(super) fn not_looked_at(table: &Table<'_>, keys: &[&str], why: &str, help: &str) {
    for key in keys {
        let asks = |value: Value<'_>| {
            let nothing = value.inner.as_bool() == Some(false) || value.array().is_some_and(|list| list.is_empty());
            let default = *key == "crl_scope" && value.inner.as_str() == Some("chain");
            !nothing && !default
        };
        if let Some(span) = table.key_span(key).filter(|_| table.get(key).is_some_and(asks)) {
            table.doc.error(span, format!("`{key}` is not looked at {why}"), Some(help.to_owned()));
        }
    }
}

/// Where trusted certificates are; `None` where nothing is written, or nothing that can be used.
pub(super) fn store(table: &Table<'_>, key: &str) -> Option<CaStore> {
    if table.get(key)?.inner.as_str() == Some(SYSTEM) {
        return Some(CaStore::System);
    }
    let paths = files_or_directories(table, key);
    if let Some(value) = table.get(key).filter(|value| value.array().is_some_and(|list| list.is_empty())) {
        let help = format!("name a file or a directory of CAs, or leave `{key}` out");
        table.doc.error(value.span, format!("nobody could be trusted: `{key}` is empty"), Some(help));
    }
    (!paths.is_empty()).then_some(CaStore::Paths(paths))
}

/// A list of texts, each checked and read on its own.
fn list<T>(table: &Table<'_>, key: &str, expected: &str, read: impl Fn(&str) -> Result<T, &'static str>) -> Vec<T> {
    let mut found = Vec::new();
    for (text, value) in table.texts(key, expected) {
        match read(text) {
            Ok(item) => found.push(item),
            Err(help) => {
                let message = format!("`{key}` cannot hold {}", quote(text));
                table.doc.error(value.span, message, Some(help.to_owned()));
            }
        }
    }
    found
}

fn name(text: &str) -> Result<Arc<str>, &'static str> {
    let plain = !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char.is_control());
    if plain {
        Ok(text.into())
    } else {
        Err("write a DNS name (a leading `*.` stands for one label), an IP address, a URI or an e-mail address")
    }
}

fn subject(text: &str) -> Result<Arc<str>, &'static str> {
    if text.contains('=') && !text.contains(char::is_control) {
        Ok(text.into())
    } else {
        Err(
            "write it as `openssl x509 -noout -subject -nameopt compat` or `-nameopt RFC2253` prints it, without `subject=`: \
             \"/DC=org/CN=db1\" or \"CN=db1,DC=org\"",
        )
    }
}

fn pin(text: &str) -> Result<Pin, &'static str> {
    const HELP: &str = "a pin is the digest of a public key, \"sha256/\" and 44 characters of base64; galeway writes that of a \
                        certificate it refuses into its log";
    let digest = text.strip_prefix("sha256/").and_then(|text| BASE64.decode(text.as_bytes()).ok());
    digest.and_then(|digest| digest.try_into().ok()).map(Pin).ok_or(HELP)
}
