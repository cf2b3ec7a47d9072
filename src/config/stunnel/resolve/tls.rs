//! TLS of a section, and what it lets in that its author may not know of.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::super::model::{
    CaStore, CipherSuite, ClientAuth, CrlScope, Dialect, Identity, PeerRules, Place, Service, Target, TlsAccept,
    TlsConnect, TlsProtocol, TlsVersion,
};
use super::super::super::source::quote;
use super::super::ciphers::{SUITES_13, suites_12};
use super::super::notes::Notes;
use super::super::settings::{Settings, Weakener};
use super::Whole;

/// Sets the section's TLS; `None` where it cannot be made out, which is noted.
pub(super) fn of_section(
    whole: &Whole<'_>,
    settings: &Settings,
    service: &mut Service,
    notes: &mut Notes,
) -> Option<()> {
    let identity = settings.cert.as_ref().map(|cert| Identity {
        cert: cert.value.clone(),
        key: settings.key.as_ref().unwrap_or(cert).value.clone(),
        passphrase: None,
    });
    if let (None, Some(key), false) = (&identity, &settings.key, settings.is_wrong(&["cert", "client"])) {
        notes.warning(key.at, "`key` is not looked at without `cert`", "write cert = FILE, or take it out");
    }
    let peer = rules(whole, settings, service, notes);
    let protocol = protocol(settings, notes)?;
    warn(settings, service, notes);
    if settings.client {
        service.connect_tls = Some(Arc::new(TlsConnect {
            identity,
            server_name: server_name(settings, &service.target, notes),
            sni: settings.sni.last().is_none_or(|sni| !sni.value.is_empty()),
            // No name is looked at but those of the checks: stunnel does not compare the one it asks for.
            names: !peer.allow_names.is_empty(),
            peer,
            protocol,
            resumption: settings.resume,
            ..TlsConnect::default()
        }));
        return Some(());
    }
    let Some(identity) = identity else {
        if settings.is_wrong(&["cert", "client"]) {
            return None;
        }
        let help = "write cert = FILE with its certificate, and key = FILE unless the key is in the same file";
        notes.error(settings.header, format!("section {} accepts TLS and has no `cert`", quote(&service.name)), help);
        return None;
    };
    service.tls = Some(Arc::new(TlsAccept {
        client_auth: match (settings.verify.request, settings.verify.require) {
            (false, _) => ClientAuth::Off,
            (true, false) => ClientAuth::Optional,
            (true, true) => ClientAuth::Require,
        },
        peer,
        protocol,
        resumption: settings.resume,
        resumption_with_certificates: true,
        ..TlsAccept::new(identity)
    }));
    Some(())
}

/// The name that is asked for: that of `sni`, else the first target's host for all targets.
fn server_name(settings: &Settings, target: &Target, notes: &mut Notes) -> Option<Arc<str>> {
    if let Some(sni) = settings.sni.last().filter(|sni| !sni.value.is_empty()) {
        if host_name(&sni.value) {
            return Some(sni.value.as_str().into());
        }
        let help = "write one host name; an empty value sends none";
        notes.error(sni.at, format!("{} is no host name", quote(&sni.value)), help);
        return None;
    }
    let Target::Fixed(places) = target else { return None };
    // Of one target the host is the default anyway.
    let first = places.first().filter(|_| places.len() > 1).and_then(Place::host)?;
    first.host.parse::<std::net::IpAddr>().is_err().then(|| first.host.as_str().into())
}

fn host_name(text: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    text.len() <= 253 && text.chars().all(plain) && text.split('.').all(|label| !label.is_empty() && label.len() <= 63)
}

fn rules(whole: &Whole<'_>, settings: &Settings, service: &Service, notes: &mut Notes) -> PeerRules {
    let verify = settings.verify;
    let ca: Vec<PathBuf> = [
        settings.ca_file.as_ref().map(|file| file.value.clone()),
        settings.ca_path.as_ref().map(|path| whole.inside(&path.value)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let crl: Vec<PathBuf> = [
        settings.crl_file.as_ref().map(|file| file.value.clone()),
        settings.crl_path.as_ref().map(|path| whole.inside(&path.value)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !verify.looks() {
        if !settings.is_verify_wrong() {
            unused(settings, notes);
        }
        return PeerRules { dialect: Dialect::Stunnel, ..PeerRules::default() };
    }
    if ca.is_empty() && !settings.is_wrong(&["CAfile", "CApath", "CAstore"]) {
        let help = "write CAfile = FILE or CApath = DIRECTORY";
        notes.error(
            settings.header,
            format!("section {} has nothing to verify certificates with", quote(&service.name)),
            help,
        );
    }
    let no_chain = !verify.chain && !settings.is_verify_wrong();
    if let Some(crl) = settings.crl_file.as_ref().or(settings.crl_path.as_ref()).filter(|_| no_chain) {
        let help = "write verifyChain = yes as well, or take the peer's certificate out of the CAfile to shut it out";
        notes.error(crl.at, "revocation lists are refused without a chain: a list is believed by its issuer's signature, and no issuer is looked at", help);
    }
    PeerRules {
        chain: verify.chain,
        in_store: verify.peer,
        ca: Some(CaStore::Paths(ca)),
        crl_scope: if crl.is_empty() { CrlScope::default() } else { CrlScope::Leaf },
        crl,
        allow_names: settings.names.iter().map(|name| Arc::clone(&name.value)).collect(),
        cn_fallback: !settings.names.is_empty(),
        dialect: Dialect::Stunnel,
        ..PeerRules::default()
    }
}

/// Options that are about a certificate at which nobody looks.
fn unused(settings: &Settings, notes: &mut Notes) {
    let help = "write verifyChain = yes or verifyPeer = yes (or verify = 2, 3 or 4) to have it looked at";
    let paths = [
        ("CAfile", &settings.ca_file),
        ("CApath", &settings.ca_path),
        ("CRLfile", &settings.crl_file),
        ("CRLpath", &settings.crl_path),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            notes.warning(path.at, format!("`{name}` is not looked at: no certificate is verified here"), help);
        }
    }
    for name in &settings.names {
        let message = format!("the check for {} is not made: no certificate is verified here", quote(&name.value));
        notes.warning(name.at, message, help);
    }
}

/// What is said at every start.
fn warn(settings: &Settings, service: &Service, notes: &mut Notes) {
    // What else would hold nobody knows yet, and there is no start.
    if settings.is_verify_wrong() || settings.is_wrong(&["client"]) {
        return;
    }
    let verify = settings.verify;
    let name = &service.name;
    let unnamed = settings.names.is_empty() && !settings.is_wrong(&["checkHost", "checkIP", "checkEmail"]);
    if settings.client {
        if !verify.looks() {
            let message = format!("Service [{name}] needs authentication to prevent MITM attacks");
            let help = "any server at all is believed; write verifyChain = yes, CAfile and checkHost, or verifyPeer = yes and CAfile";
            notes.warning(settings.header, message, help);
        } else if !verify.peer && unnamed {
            let message = format!("Service [{name}] uses \"verifyChain\" without subject checks");
            let help = "any certificate of any CA in the store is taken for the server's; write checkHost = NAME";
            notes.warning(settings.header, message, help);
        }
    } else if verify.request && verify.require && !verify.looks() {
        let help = "write verifyChain = yes or verifyPeer = yes, and CAfile";
        let message = format!("section {} wants a client certificate and takes any, self-made ones too", quote(name));
        notes.warning(settings.header, message, help);
    }
    let Some(weakened) = verify.weakened else { return };
    let (message, help) = match (weakened.by, settings.client) {
        (Weakener::Ignore, _) => (
            "`verify = 0` lets every peer in: certificates are asked for and not looked at",
            "write verifyChain = yes or verifyPeer = yes",
        ),
        (Weakener::IfPresented, true) => (
            "`verify = 1` is as strict as 2 on this side, since a server always shows a certificate",
            "write verifyChain = yes, which says so",
        ),
        (Weakener::IfPresented, false) => (
            "`verify = 1` lets every client in that shows no certificate",
            "write verifyChain = yes, which requires one",
        ),
        (Weakener::NotRequired, false) if verify.request => (
            "`requireCert = no` lets every client in that shows no certificate, whatever stands before it",
            "take the line out: verify = 2, verifyChain and verifyPeer require one by themselves",
        ),
        (Weakener::NotRequired, _) => return,
    };
    notes.warning(weakened.at, message, help);
}

fn protocol(settings: &Settings, notes: &mut Notes) -> Option<TlsProtocol> {
    let doubtful = settings.is_wrong(&["sslVersion", "sslVersionMin", "sslVersionMax", "options", "client"]);
    let (min_version, max_version) = match settings.versions.range(settings.client) {
        Ok(range) => range,
        Err(_) if doubtful => return None,
        Err(at) => {
            let help = "allow TLSv1.3, the default, or TLSv1.2";
            notes.error(at.unwrap_or(settings.header), "no version of TLS is left", help);
            return None;
        }
    };
    let groups = settings.curves.as_ref().map(|curves| curves.value.clone()).unwrap_or_default();
    let with_12 = min_version == TlsVersion::V12;
    let with_13 = max_version == TlsVersion::V13;
    for (list, used, version) in [(&settings.ciphers, with_12, "TLS 1.2"), (&settings.ciphersuites, with_13, "TLS 1.3")]
    {
        let Some(list) = list else { continue };
        if !used && doubtful {
            continue;
        }
        if !used {
            let help = if version == "TLS 1.2" {
                "TLS 1.3 alone is spoken, whose suites `ciphersuites` names; sslVersionMin = TLSv1.2 allows both"
            } else {
                "TLS 1.2 alone is spoken, whose suites `ciphers` names"
            };
            notes.warning(list.at, format!("this list has no effect: it is about {version}"), help);
        } else if list.value.is_empty() {
            let help = "name some that are spoken here; docs/stunnel.md lists them";
            notes.error(list.at, format!("no suite of {version} is left"), help);
            return None;
        }
    }
    let chosen =
        |list: &Option<super::super::settings::Written<Vec<CipherSuite>>>| list.as_ref().map(|list| list.value.clone());
    let ciphers = chosen(&settings.ciphers).filter(|_| with_12);
    let suites = chosen(&settings.ciphersuites).filter(|_| with_13);
    let cipher_suites = if ciphers.is_none() && suites.is_none() {
        Vec::new()
    } else {
        let all_13 = || SUITES_13.iter().map(|(_, suite)| *suite).collect();
        let of_13 = if with_13 { suites.unwrap_or_else(all_13) } else { Vec::new() };
        let of_12 = if with_12 { ciphers.unwrap_or_else(suites_12) } else { Vec::new() };
        of_13.into_iter().chain(of_12).collect()
    };
    Some(TlsProtocol { min_version, max_version, cipher_suites, groups })
}
