//! A stunnel.conf as the TOML that behaves the same: what differs from Galeway's defaults, and a word about the rest.

mod stores;
mod wanting;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::super::defaults::CONNECT_TLS_TIMEOUT;
use super::super::diagnostic::Diagnostics;
use super::super::model::{Admin, Config, PeerRules, Process, Service, Target, TlsAccept, TlsConnect};
use super::super::print::print;
use super::super::source::harmless;
#[cfg(test)]
use super::load::World;
use super::load::{self, Read};
use super::settings::Settings;
use wanting::Wanting;

/// The text of a galeway.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Ends with a newline.
    pub toml: String,
    /// What the text cannot say, each in a sentence; it says so in comments as well. Empty = it behaves the same.
    pub missing: Vec<String>,
    /// What there is to say about the file that was converted.
    pub warnings: Diagnostics,
}

/// Reads a stunnel.conf and writes it as TOML. Paths in it are absolute.
///
/// # Errors
/// The file cannot be used: everything that is wrong with it, as [`super::load`] says it.
pub fn convert(path: &Path) -> Result<Converted, Diagnostics> {
    load::read_file(path).map(|read| written(&read, path))
}

/// The same of a text, in a world of the caller's making.
#[cfg(test)]
pub(super) fn convert_in(text: &str, file: &Path, world: &World<'_>) -> Result<Converted, Diagnostics> {
    load::read_in(text, file, world).map(|read| written(&read, file))
}

fn written(read: &Read, file: &Path) -> Converted {
    let mut config = read.stunnel.config.clone();
    // A section that only sends its clients elsewhere has nothing that TOML could say.
    config.services.retain(|service| !matches!(&service.target, Target::Fixed(targets) if targets.is_empty()));
    // Names in TOML are words; those of sections are any text.
    let mut names: Vec<Arc<str>> = Vec::new();
    for service in &mut config.services {
        let name = word(&service.name, &names);
        names.push(Arc::clone(&name));
        if name != service.name {
            *service = Arc::new(Service { name, ..service.as_ref().clone() });
        }
    }
    config.process.access_log = Process::default().access_log;
    let wanting = wanting::wanting(&read.stunnel.launch, &read.stunnel.config);
    let toml = text(read, &config, &wanting, file);
    Converted { toml, missing: wanting.missing, warnings: read.stunnel.warnings.clone() }
}

/// A name that TOML's services may have, and that none before it has.
fn word(name: &str, taken: &[Arc<str>]) -> Arc<str> {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | ':' | '[' | ']');
    let base: String = name.chars().take(100).map(|char| if plain(char) { char } else { '-' }).collect();
    let mut word: Arc<str> = base.as_str().into();
    let mut number = 2;
    while taken.contains(&word) {
        word = format!("{base}-{number}").into();
        number += 1;
    }
    word
}

fn text(read: &Read, config: &Config, wanting: &Wanting, file: &Path) -> String {
    let mut out = String::new();
    let shown = harmless(&file.display().to_string());
    // Writing to a string does not fail.
    let _ = writeln!(out, "# Converted from {shown}, with `galeway convert`. What is not here has Galeway's default.");
    for missing in &wanting.missing {
        let _ = writeln!(out, "# NOT CONVERTED: {}", harmless(missing));
    }
    for note in &wanting.notes {
        let _ = writeln!(out, "# Note: {}", harmless(note));
    }
    let full = print(config);
    let plain = print(&baseline(config));
    let plain: Vec<(&str, Vec<&str>)> = sections(&plain);
    let mut services = config.services.iter();
    let mut rules = None;
    let mut headers =
        read.sections.sections.iter().filter(|settings| !settings.accept.is_empty() && !settings.connect.is_empty());
    for (header, lines) in sections(&full) {
        let default = plain.iter().find(|(known, _)| *known == header).map(|(_, lines)| lines.as_slice());
        let kept: Vec<&str> = lines.into_iter().filter(|line| keeps(line, default.unwrap_or_default())).collect();
        let of_tls = header.ends_with(".tls]") || header.ends_with(".connect_tls]");
        let is_service = header.starts_with("[service.") && !of_tls;
        if kept.is_empty() && !is_service && !of_tls {
            continue;
        }
        out.push('\n');
        if is_service && let Some(settings) = headers.next() {
            heading(&mut out, read, settings);
            rules = services.next().and_then(|service| peer(service));
        }
        if of_tls && let Some(rules) = rules {
            out.push_str(&stores::comments(rules));
        }
        for line in [header].into_iter().chain(kept) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// How the other end of a service's TLS is judged.
fn peer(service: &Service) -> Option<&PeerRules> {
    service.tls.as_ref().map(|tls| &tls.peer).or(service.connect_tls.as_ref().map(|tls| &tls.peer))
}

/// What stands above a service: where it comes from, and what its author wrote above it.
fn heading(out: &mut String, read: &Read, settings: &Settings) {
    let line = read.line(settings.header);
    let side = if settings.client {
        "takes connections in clear and sends them out in TLS"
    } else {
        "takes TLS and sends it on in clear"
    };
    let _ = writeln!(out, "# [{}], {line}: {side}.", harmless(&settings.name));
    for remark in &settings.remarks {
        let _ = writeln!(out, "# {}", harmless(remark));
    }
}

/// The same services with nothing said of them but where they listen and connect.
fn baseline(config: &Config) -> Config {
    let plain = |service: &Arc<Service>| {
        let mut plain = Service::new(Arc::clone(&service.name), service.accept.clone(), service.target.clone());
        plain.tls = service.tls.as_ref().map(|tls| {
            let mut identity = tls.identity.clone();
            identity.key = identity.cert.clone();
            Arc::new(TlsAccept::new(identity))
        });
        if let Some(tls) = &service.connect_tls {
            // A key needs to be said where it is not in the certificate's file.
            let identity = tls.identity.clone().map(|mut identity| {
                identity.key = identity.cert.clone();
                identity
            });
            plain.connect_tls = Some(Arc::new(TlsConnect { identity, ..TlsConnect::default() }));
            plain.connect_timeout = CONNECT_TLS_TIMEOUT;
        }
        Arc::new(plain)
    };
    Config {
        clusters: Vec::new(),
        services: config.services.iter().map(plain).collect(),
        admin: Admin::default(),
        process: Process::default(),
    }
}

/// Whether a line says anything that the defaults do not. Where a service listens, connects to and what it shows is always
/// said.
fn keeps(line: &str, default: &[&str]) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    !line.starts_with('#') && (matches!(key, "accept" | "connect" | "cert") || !default.contains(&line))
}

/// The headers of a printed configuration, each with its lines. No printed value of a service goes over a line's end.
fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            all.push((line, Vec::new()));
        } else if let Some((_, lines)) = all.last_mut() {
            lines.push(line);
        }
    }
    all
}
