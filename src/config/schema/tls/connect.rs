//! `connect_tls`: we are the client.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::DnsName;

use super::super::super::model::{CaStore, PeerRules, TlsConnect};
use super::super::super::reader::{Read, Table};
use super::super::super::source::quote;
use super::super::super::words::{self, Verify};
use super::rules::{Written, not_looked_at, store};
use super::{identity, max_handshakes, protocol};

/// The table. It can always be used: what is wrong with it has been noted.
pub(in super::super) fn connect(table: &Table<'_>) -> Arc<TlsConnect> {
    let default = TlsConnect::default();
    let verify = table.choice("verify", Verify::Full, words::VERIFY);
    let (peer, names) = server(table, verify);
    let server_name = server_name(table);
    let sni = table.boolean("sni", default.sni);
    if let Some(span) = table.key_span("server_name").filter(|_| server_name.is_some() && verify.good)
        && !sni
        && (!names || !peer.allow_names.is_empty())
    {
        let help = "it is neither sent (sni = false) nor compared with the certificate; leave it out".to_owned();
        table.doc.error(span, "`server_name` is not looked at here", Some(help));
    }
    Arc::new(TlsConnect {
        identity: identity(table),
        server_name,
        sni,
        names,
        peer,
        protocol: protocol(table, default.protocol),
        max_handshakes: max_handshakes(table, default.max_handshakes),
        resumption: table.boolean("resumption", default.resumption),
    })
}

/// What is asked of the server, and whether its certificate has to be for it.
fn server(table: &Table<'_>, verify: Read<Verify>) -> (PeerRules, bool) {
    let written_ca = store(table, "ca");
    let has_ca = table.has("ca");
    let written = Written::read(table, "check_names");
    if !verify.good {
        return (PeerRules::default(), false);
    }
    let chain = matches!(verify.value, Verify::Full | Verify::Ca);
    let in_store = has_ca && (verify.value == Verify::Pinned || written.peer_in_ca);
    // Beside pins, names are looked at where some are asked for; `full` looks at the target's otherwise.
    let names = verify.value == Verify::Full || verify.value == Verify::Pinned && !written.names.is_empty();
    match verify.value {
        Verify::Full => {}
        Verify::Ca => {
            let help = "write verify = \"full\", which looks at the names as well";
            not_looked_at(table, &["check_names"], "with verify = \"ca\"", help);
        }
        Verify::Pinned => pinned(table, verify, &written, written_ca.as_ref()),
        Verify::Off => {
            let help = "no certificate is looked at then: write verify = \"full\", or leave it out";
            let keys = ["ca", "peer_in_ca", "crl", "crl_scope", "check_names", "allow_subjects", "pins", "cn_fallback"];
            not_looked_at(table, &keys, "with verify = \"off\"", help);
            let help = "whoever stands between can read and change all of it: write verify = \"full\", or \"pinned\" with pins";
            let span = verify.span.unwrap_or(table.span);
            table.doc.warning(span, "any server is believed with verify = \"off\"", Some(help.to_owned()));
            return (PeerRules::default(), false);
        }
    }
    if chain && written.crl.is_empty() {
        not_looked_at(table, &["crl_scope"], "without `crl`", "write crl = \"…\", or leave it out");
    }
    if chain && (!has_ca || written_ca == Some(CaStore::System)) {
        let help = "it holds CAs only: name the file or directory that holds the server's own certificate";
        not_looked_at(table, &["peer_in_ca"], "with the system's CAs", help);
    }
    if !names {
        let help = "it is about names, and none is looked at here: write verify = \"full\", or leave it out";
        not_looked_at(table, &["cn_fallback"], "here", help);
    }
    let ca = written_ca.or((chain && !has_ca).then_some(CaStore::System));
    (written.rules(chain, in_store, ca), names)
}

/// What `verify = "pinned"` needs, and what it does not look at.
fn pinned(table: &Table<'_>, verify: Read<Verify>, written: &Written, ca: Option<&CaStore>) {
    let doc = table.doc;
    let span = verify.span.unwrap_or(table.span);
    if written.pins.is_empty() && !table.has("ca") {
        let help =
            "write pins = [\"sha256/…\"], or ca = \"…\", a file or directory that holds the server's own certificate";
        doc.error(span, "verify = \"pinned\" without `pins` or `ca`", Some(help.to_owned()));
    }
    if ca == Some(&CaStore::System) {
        let help = "it holds CAs only: name the file or directory that holds the server's own certificate".to_owned();
        let span = table.key_span("ca").unwrap_or(span);
        doc.error(span, "`ca` cannot be the system's with verify = \"pinned\"", Some(help));
    }
    if !table.has("ca") {
        not_looked_at(table, &["peer_in_ca"], "without `ca`", "write ca = \"…\", or leave it out");
    }
    let help = "they speak about the certificates of a chain: write verify = \"full\" or \"ca\"";
    not_looked_at(table, &["crl", "crl_scope"], "with verify = \"pinned\"", help);
}

/// What is sent, and compared with the certificate, in place of the target's host.
fn server_name(table: &Table<'_>) -> Option<Arc<str>> {
    let value = table.get("server_name")?;
    let text = value.string("a DNS name or an IP address, or \"\" for the target's host")?;
    if text.is_empty() {
        return None;
    }
    if text.parse::<IpAddr>().is_err() && DnsName::try_from(text).is_err() {
        let help = "write the DNS name or the IP address that the server's certificate is for, without a port";
        table.doc.error(value.span, format!("`server_name` cannot be {}", quote(text)), Some(help.to_owned()));
        return None;
    }
    Some(text.into())
}
