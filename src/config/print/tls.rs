//! `tls` and `connect_tls` as TOML.

use std::path::PathBuf;

use data_encoding::BASE64;

use super::super::model::{
    CaStore, CipherSuite, ClientAuth, CrlScope, Group, Identity, PeerRules, Pin, TlsAccept, TlsConnect, TlsProtocol,
};
use super::super::words::{self, Verify, Words};
use super::Toml;

pub(super) fn accept(out: &mut Toml, header: &str, tls: &TlsAccept) {
    out.section(header);
    identity(out, Some(&tls.identity));
    store(out, "client_ca", tls.peer.ca.as_ref());
    out.text("client_auth", words::written(words::CLIENT_AUTH, &tls.client_auth));
    // Where nothing is asked for, either word would ask for more.
    match verify(&tls.peer, false) {
        some @ (Verify::Ca | Verify::Pinned) if tls.client_auth != ClientAuth::Off => {
            out.text("verify", words::written(words::VERIFY_CLIENT, &some));
        }
        _ => out.line("# verify is not set"),
    }
    rules(out, "allow_names", &tls.peer, !tls.peer.allow_names.is_empty());
    protocol(out, &tls.protocol);
    out.plain("max_handshakes", tls.max_handshakes);
    out.plain("resumption", tls.resumption);
}

pub(super) fn connect(out: &mut Toml, header: &str, tls: &TlsConnect) {
    out.section(header);
    store(out, "ca", tls.peer.ca.as_ref());
    let listed = !tls.peer.allow_names.is_empty();
    let names = tls.names || listed;
    out.text("verify", words::written(words::VERIFY, &verify(&tls.peer, names)));
    // What nothing looks at prints as if it were not there: reading it back would say so.
    let server_name = tls.server_name.as_deref().filter(|_| tls.sni || (tls.names && !listed));
    out.text("server_name", server_name.unwrap_or_default());
    out.plain("sni", tls.sni);
    rules(out, "check_names", &tls.peer, names);
    identity(out, tls.identity.as_ref());
    protocol(out, &tls.protocol);
    out.plain("max_handshakes", tls.max_handshakes);
    out.plain("resumption", tls.resumption);
}

/// The word that stands for what holds.
fn verify(peer: &PeerRules, names: bool) -> Verify {
    match (peer.chain, names) {
        (true, true) => Verify::Full,
        (true, false) => Verify::Ca,
        (false, _) if peer.in_store || !peer.pins.is_empty() => Verify::Pinned,
        (false, _) => Verify::Off,
    }
}

fn identity(out: &mut Toml, identity: Option<&Identity>) {
    out.path("cert", identity.map(|of| of.cert.as_path()));
    out.path("key", identity.map(|of| of.key.as_path()));
    // Where it came from is not kept, and a file of this name would not be there to be read back.
    match identity.and_then(|of| of.passphrase.as_ref()) {
        Some(_) => out.line("# passphrase_file = \"***\""),
        None => out.line("# passphrase_file is not set"),
    }
}

/// How a peer's certificate is judged; `names` is what the key of the names is called, `named` whether any name is looked at.
fn rules(out: &mut Toml, names: &str, peer: &PeerRules, named: bool) {
    out.plain("peer_in_ca", peer.in_store);
    paths(out, "crl", &peer.crl);
    let scope = if peer.crl.is_empty() { CrlScope::default() } else { peer.crl_scope };
    out.text("crl_scope", words::written(words::CRL_SCOPE, &scope));
    out.list(names, &peer.allow_names);
    out.list("allow_subjects", &peer.allow_subjects);
    out.list("pins", &peer.pins);
    out.plain("cn_fallback", peer.cn_fallback && named);
}

fn protocol(out: &mut Toml, protocol: &TlsProtocol) {
    out.text("min_version", words::written(words::TLS_VERSION, &protocol.min_version));
    out.text("max_version", words::written(words::TLS_VERSION, &protocol.max_version));
    out.list("cipher_suites", &of::<CipherSuite>(words::CIPHER_SUITE, &protocol.cipher_suites));
    out.list("groups", &of::<Group>(words::GROUP, &protocol.groups));
}

/// How values are written.
fn of<T: PartialEq>(words: Words<T>, values: &[T]) -> Vec<&'static str> {
    values.iter().map(|value| words::written(words, value)).collect()
}

fn store(out: &mut Toml, key: &str, store: Option<&CaStore>) {
    match store {
        Some(CaStore::System) => out.text(key, "system"),
        Some(CaStore::Paths(list)) => paths(out, key, list),
        None => out.path(key, None),
    }
}

/// One path as a text, several as a list; none as an empty one.
fn paths(out: &mut Toml, key: &str, paths: &[PathBuf]) {
    match paths {
        [one] => out.path(key, Some(one)),
        some => out.list(key, &some.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>()),
    }
}

impl std::fmt::Display for Pin {
    /// As it is written in a configuration.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256/{}", BASE64.encode(&self.0))
    }
}
