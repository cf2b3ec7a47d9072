//! `tls`: we are the server.

use std::sync::Arc;

use super::super::super::model::{CaStore, ClientAuth, Identity, PeerRules, TlsAccept};
use super::super::super::reader::{Read, Table};
use super::super::super::words::{self, Verify};
use super::rules::{Written, not_looked_at, store};
use super::{identity, max_handshakes, protocol};

/// Keys about a client's certificate, in the order in which they matter.
const ABOUT_CLIENTS: [&str; 9] =
    ["client_ca", "verify", "peer_in_ca", "crl", "crl_scope", "allow_names", "allow_subjects", "pins", "cn_fallback"];

/// The table; `None` where it cannot be used, which has been noted.
pub(in super::super) fn accept(table: &Table<'_>) -> Option<Arc<TlsAccept>> {
    let identity = identity(table);
    if !table.has("cert") {
        let help = "write cert = \"…\" and key = \"…\": a server shows who it is";
        table.doc.missing(Some(table.span), "`tls` has no `cert`", help);
    }
    // Nothing that is wrong with the rest is to wait until the certificate is there.
    let default = TlsAccept::new(Identity { cert: "".into(), key: "".into(), passphrase: None });
    let (client_auth, peer) = clients(table);
    let tls = TlsAccept {
        client_auth,
        peer,
        protocol: protocol(table, default.protocol),
        max_handshakes: max_handshakes(table, default.max_handshakes),
        resumption: table.boolean("resumption", default.resumption),
        resumption_with_certificates: default.resumption_with_certificates,
        identity: default.identity,
    };
    Some(Arc::new(TlsAccept { identity: identity?, ..tls }))
}

/// What is asked of clients.
fn clients(table: &Table<'_>) -> (ClientAuth, PeerRules) {
    let doc = table.doc;
    let ca = client_ca(table);
    let has_ca = table.has("client_ca");
    let written = Written::read(table, "allow_names");
    let named = [("allow_names", written.names.is_empty()), ("allow_subjects", written.subjects.is_empty())];
    let asked = has_ca || !written.pins.is_empty() || named.iter().any(|(_, empty)| !empty);

    let default = if asked { ClientAuth::Require } else { ClientAuth::Off };
    let auth = table.choice("client_auth", default, words::CLIENT_AUTH);
    let verify = table.choice("verify", if has_ca { Verify::Ca } else { Verify::Pinned }, words::VERIFY_CLIENT);
    if !auth.good || !verify.good {
        return (auth.value, PeerRules::default());
    }
    if auth.value == ClientAuth::Off {
        let help = "no certificate is asked for then: write client_auth = \"require\", or leave it out";
        not_looked_at(table, &ABOUT_CLIENTS, "with client_auth = \"off\"", help);
        return (ClientAuth::Off, PeerRules::default());
    }

    let chain = has_ca && verify.value == Verify::Ca;
    let in_store = has_ca && (verify.value == Verify::Pinned || written.peer_in_ca);
    if !has_ca {
        without_ca(table, verify, &written);
    }
    if !chain {
        let help = "they speak about the certificates of a chain: write client_ca = \"…\", with verify = \"ca\"";
        not_looked_at(table, &["crl", "crl_scope"], "without a chain", help);
    }
    if written.crl.is_empty() && chain {
        not_looked_at(table, &["crl_scope"], "without `crl`", "write crl = \"…\", or leave it out");
    }
    if written.names.is_empty() {
        let help = "it is about the names in `allow_names`; leave it out";
        not_looked_at(table, &["cn_fallback"], "without `allow_names`", help);
    }
    if !asked {
        let span = auth.span.unwrap_or(table.span);
        let help = "anybody can make one: write client_ca = \"…\" or pins = [\"sha256/…\"]".to_owned();
        doc.warning(span, "any certificate is good here: there is neither `client_ca` nor `pins`", Some(help));
    }
    (auth.value, written.rules(chain, in_store, ca))
}

/// What cannot be asked of a client's certificate where there is no CA.
fn without_ca(table: &Table<'_>, verify: Read<Verify>, written: &Written) {
    let doc = table.doc;
    if let Some(span) = verify.span
        && (verify.value == Verify::Ca || written.pins.is_empty())
    {
        let (word, other) = match verify.value {
            Verify::Ca => ("ca", ""),
            _ => ("pinned", " or pins = [\"sha256/…\"]"),
        };
        let help = format!("write client_ca = \"…\"{other}");
        doc.error(
            span,
            format!("verify = \"{word}\" without `client_ca`{}", if other.is_empty() { "" } else { " or `pins`" }),
            Some(help),
        );
    }
    not_looked_at(table, &["peer_in_ca"], "without `client_ca`", "write client_ca = \"…\", or leave it out");
    if written.pins.is_empty() {
        for (key, empty) in [("allow_names", written.names.is_empty()), ("allow_subjects", written.subjects.is_empty())]
        {
            if let Some(span) = table.key_span(key).filter(|_| !empty) {
                let help =
                    "anybody can make a certificate of any name: write client_ca = \"…\", the CA that vouches for them";
                doc.error(span, format!("`{key}` without `client_ca`"), Some(help.to_owned()));
            }
        }
    }
}

/// The CA of the clients.
fn client_ca(table: &Table<'_>) -> Option<CaStore> {
    let ca = store(table, "client_ca")?;
    if ca == CaStore::System {
        let help = "any holder of a certificate for any web site would be a client: name the CA of yours, and a file of this \
                    name as \"./system\"";
        let span = table.get("client_ca").map_or(table.span, |value| value.span);
        table.doc.error(span, "`client_ca` cannot be the system's CAs", Some(help.to_owned()));
        return None;
    }
    Some(ca)
}
