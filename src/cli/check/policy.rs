//! What a service lets in and where it sends it, in one sentence.

use super::facts::Facts;
use crate::config::{
    CaStore, ClientAuth, Listen, PeerRules, Place, Role, Service, Target, TlsAccept, TlsConnect, TlsProtocol,
    TlsVersion,
};
use crate::net::tls::{Policy, Trust};

/// More of a list than this is counted, not named.
const NAMED: usize = 3;

/// The policy that is in force once the service runs: `accepts … ; forwards …`. Clients that are refused go to `redirect`, if
/// that is anywhere.
pub(super) fn sentence(service: &Service, facts: &Facts, redirect: &[Place]) -> String {
    let mut said = accepts(service, facts.accept.as_ref()) + &sources(service);
    said += "; ";
    said += &forwards(service, facts.connect.as_ref());
    if !redirect.is_empty() {
        said += &format!("; all others go to {}", list(redirect.iter().map(Place::to_string), "or"));
    }
    said
}

/// Where a service listens.
pub(super) fn addresses(accept: &[Listen]) -> String {
    list(accept.iter().map(ToString::to_string), "and")
}

/// Where a service sends its clients.
pub(super) fn target(target: &Target) -> String {
    match target {
        Target::Fixed(places) => list(places.iter().map(Place::to_string), "or"),
        Target::Cluster { cluster, role, .. } => {
            let who = match role {
                Role::Any => "the nodes",
                Role::Writer => "the writer",
                Role::Reader => "the readers",
            };
            format!("{who} of cluster {cluster}")
        }
    }
}

fn accepts(service: &Service, policy: Option<&Policy>) -> String {
    let Some(tls) = service.tls.as_deref() else { return "accepts in clear from anybody".to_owned() };
    format!("accepts {} from {}", versions(&tls.protocol), clients(tls, policy))
}

fn clients(tls: &TlsAccept, policy: Option<&Policy>) -> String {
    let shown = || certificates(&tls.peer, policy.and_then(|policy| policy.trust.as_ref()));
    match tls.client_auth {
        ClientAuth::Off => "anybody: no certificate is asked for".to_owned(),
        ClientAuth::Optional => format!("anybody who shows no certificate, and from {}", shown()),
        ClientAuth::Require => shown(),
    }
}

/// Which addresses clients may have, as far as anything is said of it.
fn sources(service: &Service) -> String {
    let mut said = String::new();
    if !service.allow.is_empty() {
        said += &format!(", at {} only", list(service.allow.iter().map(ToString::to_string), "or"));
    }
    if !service.deny.is_empty() {
        said += &format!(", but not at {}", list(service.deny.iter().map(ToString::to_string), "or"));
    }
    said
}

fn forwards(service: &Service, policy: Option<&Policy>) -> String {
    let target = target(&service.target);
    let Some(tls) = service.connect_tls.as_deref() else { return format!("forwards in clear to {target}") };
    let own =
        policy.and_then(|policy| policy.own.first()).map(|own| format!(" as {}", own.subject)).unwrap_or_default();
    format!("forwards by {}{own} to {target}, {}", versions(&tls.protocol), server(tls, policy))
}

/// What is asked of the server.
fn server(tls: &TlsConnect, policy: Option<&Policy>) -> String {
    if nothing(&tls.peer) && !tls.names {
        return "whoever answers there: no certificate is looked at".to_owned();
    }
    let mut rules = tls.peer.clone();
    if tls.names && rules.allow_names.is_empty() {
        rules.allow_names = vec![tls.server_name.clone().unwrap_or_else(|| "the host that is connected to".into())];
    }
    format!("if it shows {}", certificates(&rules, policy.and_then(|policy| policy.trust.as_ref())))
}

/// The certificates that are good.
fn certificates(rules: &PeerRules, trust: Option<&Trust>) -> String {
    let place = store(rules, trust);
    let mut left = Vec::new();
    let mut said = if rules.chain {
        let of = counted(trust.map(|trust| trust.anchors), "CA");
        if rules.in_store {
            left.push("that is itself in there".to_owned());
        }
        format!("any certificate of {of} in {place}")
    } else if rules.in_store {
        format!("{} in {place}", counted(trust.map(|trust| trust.certificates.len()), "certificate"))
    } else if nothing(rules) {
        return "any certificate at all, whoever made it".to_owned();
    } else {
        "any certificate".to_owned()
    };
    if !rules.pins.is_empty() {
        let pins: Vec<String> = rules.pins.iter().map(ToString::to_string).collect();
        left.push(format!("whose key is {}", one_of(&pins, "pins")));
    }
    if !rules.allow_subjects.is_empty() {
        let subjects: Vec<String> = rules.allow_subjects.iter().map(ToString::to_string).collect();
        left.push(format!("whose subject is {}", one_of(&subjects, "subjects")));
    }
    if !rules.allow_names.is_empty() {
        left.push(format!("that is for {}", list(rules.allow_names.iter().map(ToString::to_string), "or")));
    }
    let unnamed = left.is_empty();
    if !unnamed {
        said += &format!(" {}", left.join(" and "));
    }
    if !rules.crl.is_empty() {
        let crl = list(rules.crl.iter().map(|path| path.display().to_string()), "or");
        said += &format!(", unless revoked by {crl}");
    }
    if unnamed && rules.chain {
        said += ", no name check";
    }
    said
}

/// The one there is, or how many there are.
fn one_of(values: &[String], what: &str) -> String {
    match values {
        [one] => one.clone(),
        some => format!("one of {} {what}", some.len()),
    }
}

/// Whether nothing is asked for but the possession of a key.
pub(super) fn nothing(rules: &PeerRules) -> bool {
    !rules.chain
        && !rules.in_store
        && rules.allow_names.is_empty()
        && rules.allow_subjects.is_empty()
        && rules.pins.is_empty()
}

/// Where the trusted certificates are.
pub(super) fn store(rules: &PeerRules, trust: Option<&Trust>) -> String {
    match (&rules.ca, trust) {
        (Some(CaStore::System), _) => "the system's store".to_owned(),
        (Some(CaStore::Paths(paths)), _) => list(paths.iter().map(|path| path.display().to_string()), "and"),
        (None, Some(trust)) => trust.store.clone(),
        (None, None) => "no store".to_owned(),
    }
}

/// `the 94 CAs`, `the one CA`; without a number `the CAs`.
fn counted(number: Option<usize>, what: &str) -> String {
    match number {
        Some(1) => format!("the one {what}"),
        Some(number) => format!("the {number} {what}s"),
        None => format!("the {what}s"),
    }
}

fn versions(protocol: &TlsProtocol) -> &'static str {
    match (protocol.min_version, protocol.max_version) {
        (TlsVersion::V12, TlsVersion::V12) => "TLS 1.2",
        (TlsVersion::V12, TlsVersion::V13) => "TLS 1.2 and 1.3",
        _ => "TLS 1.3",
    }
}

/// `a, b or c`; of a long list the first and how many more.
pub(super) fn list(items: impl Iterator<Item = String>, last: &str) -> String {
    let mut items: Vec<String> = items.collect();
    if items.len() > NAMED {
        let more = items.len() - (NAMED - 1);
        items.truncate(NAMED - 1);
        items.push(format!("{more} more"));
        return joined(&items, "and");
    }
    joined(&items, last)
}

fn joined(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., end] => format!("{} {last} {end}", before.join(", ")),
    }
}
