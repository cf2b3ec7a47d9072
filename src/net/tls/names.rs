//! Names: what a certificate is for, and what it is asked to be for (RFC 6125, RFC 5280 4.2.1.6).

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::dn::Dn;

/// What a certificate may be asked to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A host. A leading `*.` stands for one label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI, compared as it stands.
    Uri(String),
    /// A mailbox: the part before the `@` as it stands, the domain in any case.
    Email(String),
}

impl Wanted {
    /// Sorts what a person wrote: `10.0.0.1`, `spiffe://x/y`, `ops@example.org`, `*.example.org`.
    pub(super) fn parse(text: &str) -> Self {
        let address = text.trim_start_matches('[').trim_end_matches(']').parse();
        let scheme = text.split_once(':').is_some_and(|(s, _)| {
            s.starts_with(|c: char| c.is_ascii_alphabetic())
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        match address {
            Ok(ip) => Self::Ip(ip),
            Err(_) if scheme => Self::Uri(text.to_owned()),
            Err(_) if text.contains('@') => Self::Email(text.to_owned()),
            Err(_) => Self::Dns(plain(text)),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) | Self::Email(text) => f.write_str(text),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A host's name for comparing: in small letters, without the dot of a rooted one.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// What a CA allows those below it to be named (nameConstraints, RFC 5280 4.2.1.10), as far as subjects are concerned: webpki
/// holds the alternative names to it, and them alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Domains; none = any.
    permitted: Vec<String>,
    excluded: Vec<String>,
    /// It says something about mailboxes.
    email: bool,
}

impl Limits {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let found = match certificate.name_constraints() {
            Ok(None) => return Self::default(),
            Ok(Some(found)) => found.value,
            // Nobody knows what it leaves of a subject: nothing.
            Err(_) => return Self { excluded: vec![String::new()], email: true, ..Self::default() },
        };
        let mut limits = Self::default();
        for (trees, domains) in
            [(&found.permitted_subtrees, &mut limits.permitted), (&found.excluded_subtrees, &mut limits.excluded)]
        {
            for tree in trees.iter().flatten() {
                match &tree.base {
                    GeneralName::DNSName(domain) => domains.push(plain(domain)),
                    GeneralName::RFC822Name(_) => limits.email = true,
                    _ => {}
                }
            }
        }
        limits
    }

    fn allow(&self, host: &str) -> bool {
        let within = |domain: &String| {
            host.strip_suffix(domain.as_str()).is_some_and(|front| {
                front.is_empty() || front.ends_with('.') || domain.is_empty() || domain.starts_with('.')
            })
        };
        (self.permitted.is_empty() || self.permitted.iter().any(within)) && !self.excluded.iter().any(within)
    }
}

/// Whether names of the subject count; where they do, what each CA above allows.
pub(super) type Fallback<'a> = Option<&'a [&'a Limits]>;

fn allowed(host: &str, fallback: Fallback<'_>) -> bool {
    fallback.is_none_or(|limits| limits.iter().all(|limit| limit.allow(host)))
}

/// What a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    uri: Vec<String>,
    email: Vec<String>,
    /// From the subject: common names without a grid's `host/`, and e-mail addresses.
    common: Vec<String>,
    subject_email: Vec<String>,
}

impl Names {
    pub(super) fn of(certificate: &X509Certificate<'_>, subject: &Dn) -> Self {
        let common = subject.common_names().map(|cn| cn.strip_prefix("host/").map(str::to_owned).unwrap_or(cn));
        let mut names = Self { common: common.collect(), subject_email: subject.emails().collect(), ..Self::default() };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|san| &san.value.general_names) {
            match name {
                GeneralName::DNSName(host) => names.dns.push(plain(host)),
                GeneralName::RFC822Name(mailbox) => names.email.push((*mailbox).to_owned()),
                GeneralName::URI(uri) => names.uri.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => names.ip.extend(
                    <[u8; 4]>::try_from(*bytes)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)),
                ),
                _ => {}
            }
        }
        names
    }

    /// Whether the certificate is for `wanted`. With a `fallback` the subject counts for a host where there is no
    /// alternative name of that kind, as OpenSSL has it.
    pub(super) fn is_for(&self, wanted: &Wanted, fallback: Fallback<'_>) -> bool {
        match wanted {
            // The host too: a star in the subject would cover one that is excluded.
            Wanted::Dns(host) if self.dns.is_empty() => {
                self.counting(fallback).any(|cn| same_host(&plain(cn), host) && allowed(host, fallback))
            }
            Wanted::Dns(host) => self.dns.iter().any(|name| same_host(name, host)),
            Wanted::Ip(ip) => self.ip.iter().any(|name| name.to_canonical() == ip.to_canonical()),
            Wanted::Uri(uri) => self.uri.contains(uri),
            Wanted::Email(mailbox) if self.email.is_empty() => {
                let counts = fallback.is_some_and(|limits| !limits.iter().any(|limit| limit.email));
                counts && self.subject_email.iter().any(|name| same_mailbox(name, mailbox))
            }
            Wanted::Email(mailbox) => self.email.iter().any(|name| same_mailbox(name, mailbox)),
        }
    }

    /// The common names that the CAs above allow.
    fn counting(&self, fallback: Fallback<'_>) -> impl Iterator<Item = &String> {
        self.common.iter().filter(move |cn| fallback.is_some() && allowed(&plain(cn), fallback))
    }

    /// Those that count, as a person would write them; at most eight.
    pub(super) fn list(&self, fallback: Fallback<'_>) -> Vec<String> {
        let ip = self.ip.iter().map(ToString::to_string);
        let common = self.counting(fallback).filter(|_| self.dns.is_empty()).cloned();
        let all = self.dns.iter().cloned().chain(ip).chain(self.uri.iter().cloned()).chain(self.email.iter().cloned());
        all.chain(common).take(8).map(|name| name.escape_default().to_string()).collect()
    }

    /// The lines of a stunnel.conf that name those that count. A pattern is none that could be written there.
    pub(super) fn checks(&self, fallback: Fallback<'_>) -> Vec<String> {
        let common = self.counting(fallback).filter(|_| self.dns.is_empty());
        let hosts = self.dns.iter().chain(common).filter(|name| !name.contains('*'));
        let all = hosts.map(|name| format!("checkHost = {}", name.escape_default()));
        let all = all.chain(self.ip.iter().map(|ip| format!("checkIP = {ip}")));
        all.chain(self.email.iter().map(|name| format!("checkEmail = {}", name.escape_default()))).take(8).collect()
    }

    /// Whether there is any alternative name.
    pub(super) fn has_alternative(&self) -> bool {
        !(self.dns.is_empty() && self.ip.is_empty() && self.uri.is_empty() && self.email.is_empty())
    }

    /// The common names, a grid's `host/` taken off.
    pub(super) fn common(&self) -> &[String] {
        &self.common
    }
}

/// Whether the name of a certificate and the one asked for are the same, where either may stand for any left-most label:
/// that of the certificate by RFC 6125 6.4.3, the one asked for since `*.example.org` in a list means just that. A star for a
/// part of a label (`db*.example.org`) is a star, and one in front of a single label (`*.org`) stands for nothing.
fn same_host(presented: &str, wanted: &str) -> bool {
    fn covers(pattern: &str, name: &str) -> bool {
        let domain = pattern.strip_prefix("*.").filter(|domain| domain.contains('.'));
        let (label, rest) = name.split_once('.').unwrap_or((name, ""));
        domain.is_some_and(|domain| domain == rest && !label.is_empty() && label != "*")
    }
    // Without the second test a name of the certificate like "" would be for everything that is empty too.
    (presented == wanted && !wanted.is_empty()) || covers(presented, wanted) || covers(wanted, presented)
}

fn same_mailbox(presented: &str, wanted: &str) -> bool {
    match (presented.rsplit_once('@'), wanted.rsplit_once('@')) {
        (Some((a, left)), Some((b, right))) => a == b && left.eq_ignore_ascii_case(right),
        _ => false,
    }
}
