//! What a configuration lets happen that its author may not know of.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use x509_parser::time::ASN1Time;

use super::facts::Facts;
use super::policy::{addresses, list, nothing, store};
use crate::config::{
    Balance, CaStore, ClientAuth, Cluster, Config, Dialect, Listen, NodeKind, PeerRules, Place, Role, Service, Target,
    TlsAccept,
};
use crate::net::tls::{Dated, Policy, Trust};

/// What is left of a certificate's time when its end is spoken of.
const SOON: i64 = 30 * DAY;
const DAY: i64 = 86_400;

/// More files of one kind than this are counted, not named.
const NAMED: usize = 5;

/// Something worth knowing that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remark {
    /// Its author probably does not want it.
    Warning(String),
    /// Its author has to do something elsewhere.
    Note(String),
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Warning(text) => write!(f, "warning: {text}"),
            Self::Note(text) => write!(f, "note: {text}"),
        }
    }
}

/// What is to be said of one service. `now` in Unix seconds.
pub(super) fn of_service(config: &Config, service: &Service, facts: &Facts, dialect: Dialect, now: i64) -> Vec<Remark> {
    let mut said = Vec::new();
    let of_it = |text: String| Remark::Warning(format!("service {}: {text}", service.name));
    said.extend(any_of_servers(config, service).map(of_it));
    said.extend(unasked(service, dialect).map(of_it));
    said.extend(chain_only(service, facts, dialect).map(of_it));
    said.extend(plain_hops(config, service, dialect).map(of_it));
    said.extend(moves(service).map(|text| Remark::Note(format!("service {}: {text}", service.name))));
    for policy in [&facts.accept, &facts.connect].into_iter().flatten() {
        of_files(policy, now, &mut said);
    }
    let own = service.connect_tls.as_deref().and_then(|tls| tls.identity.as_ref());
    let keys = service.tls.as_deref().map(|tls| &tls.identity).into_iter().chain(own);
    said.extend(keys.filter_map(|identity| exposed(&identity.key)).map(Remark::Warning));
    said
}

/// What is to be said of the admin address, and of the keys of checks.
pub(super) fn of_others(config: &Config, admin: Option<&Policy>, now: i64) -> Vec<Remark> {
    let mut said = Vec::new();
    let open = config.admin.listen.filter(|address| !address.ip().is_loopback());
    if let Some(address) = open.filter(|_| config.admin.token.is_some() && config.admin.tls.is_none()) {
        let text = format!(
            "admin: the token travels in clear to {address}: whoever hears it may drain nodes; listen \
             on 127.0.0.1, or put a tunnel before it"
        );
        said.push(Remark::Warning(text));
    }
    if let Some(policy) = admin {
        of_files(policy, now, &mut said);
    }
    let of_admin = config.admin.tls.as_deref().map(|tls: &TlsAccept| tls.identity.key.as_path());
    let of_checks =
        config.clusters.iter().filter_map(|cluster| Some(cluster.monitor.tls.identity.as_ref()?.1.as_path()));
    said.extend(of_admin.into_iter().chain(of_checks).filter_map(exposed).map(Remark::Warning));
    said
}

/// A role that leaves out what most servers of such a cluster are.
fn any_of_servers(config: &Config, service: &Service) -> Option<String> {
    let Target::Cluster { cluster, role: Role::Any, .. } = &service.target else { return None };
    let is_of_servers = |one: &&Arc<Cluster>| one.name == *cluster && one.monitor.kind == NodeKind::Mysql;
    config.clusters.iter().find(is_of_servers).map(|_| {
        "in a cluster of kind mysql role any leaves out servers that take no writes: write role = \"writer\", and another \
         service with role = \"reader\" for those who only read"
            .to_owned()
    })
}

/// A server end that anybody may use.
fn unasked(service: &Service, dialect: Dialect) -> Option<String> {
    let tls = service.tls.as_deref()?;
    // Whoever may open a socket's file was let in by its mode.
    if !service.accept.is_empty() && service.accept.iter().all(|listen| matches!(listen, Listen::Unix(_))) {
        return None;
    }
    let whom = if service.allow.is_empty() { "anybody who reaches it" } else { "anybody at the addresses of `allow`" };
    match (tls.client_auth, dialect) {
        (ClientAuth::Off, Dialect::Toml) => Some(format!(
            "no certificate is asked of clients, so {whom} is let in: write client_ca = \"…\" in its tls, or pins"
        )),
        (ClientAuth::Off, Dialect::Stunnel) => Some(format!(
            "no certificate is asked of clients, so {whom} is let in: write verifyChain = yes and CAfile or CApath"
        )),
        (ClientAuth::Optional, Dialect::Toml) => {
            Some(format!("client_auth = \"optional\" lets in {whom} and shows no certificate: write \"require\""))
        }
        // Said where `verify = 1` or `requireCert = no` stands.
        (ClientAuth::Optional, Dialect::Stunnel) | (ClientAuth::Require, _) => None,
    }
}

/// Trust in whatever many CAs sign.
fn chain_only<'a>(service: &'a Service, facts: &'a Facts, dialect: Dialect) -> impl Iterator<Item = String> + use<'a> {
    let clients = service.tls.as_deref().filter(|tls| tls.client_auth != ClientAuth::Off).and_then(|tls| {
        let place = broad(&tls.peer, facts.accept.as_ref())?;
        let remedy = match dialect {
            Dialect::Toml => "name those you mean: allow_names = [\"…\"] or allow_subjects = [\"…\"] in its tls",
            Dialect::Stunnel => "name those you mean: checkHost = NAME, or verifyPeer = yes",
        };
        Some(format!("only the chain of a client's certificate is looked at: each that any CA in {place} ever signed is let in; {remedy}"))
    });
    let server = service.connect_tls.as_deref().filter(|tls| !tls.names && dialect == Dialect::Toml).and_then(|tls| {
        let place = broad(&tls.peer, facts.connect.as_ref())?;
        Some(format!(
            "only the chain of the server's certificate is looked at: each that any CA in {place} ever signed is taken for it; \
             write verify = \"full\" in its connect_tls, or check_names = [\"…\"] with it"
        ))
    });
    clients.into_iter().chain(server)
}

/// Where the CAs are, if a chain to one of many is all that is asked for.
fn broad(rules: &PeerRules, policy: Option<&Policy>) -> Option<String> {
    let narrow = PeerRules { chain: false, ..rules.clone() };
    if !rules.chain || !nothing(&narrow) {
        return None;
    }
    let trust = policy.and_then(|policy| policy.trust.as_ref());
    let many = match &rules.ca {
        Some(CaStore::Paths(paths)) => {
            paths.iter().any(|path| path.is_dir()) || trust.is_some_and(|trust| trust.anchors > 1)
        }
        _ => true,
    };
    many.then(|| store(rules, trust))
}

/// Bytes that are encrypted on one side, and leave or reach this host in clear on the other. A service without TLS on either
/// side is not meant to hide anything.
fn plain_hops<'a>(
    config: &'a Config,
    service: &'a Service,
    dialect: Dialect,
) -> impl Iterator<Item = String> + use<'a> {
    let out = service.tls.as_ref().filter(|_| service.connect_tls.is_none()).and_then(|_| {
        let far: Vec<String> = places(config, service).filter(|place| !stays(place)).map(ToString::to_string).collect();
        let remedy = match dialect {
            Dialect::Toml => "run this end of the tunnel on that host, or give it connect_tls",
            Dialect::Stunnel => "run this end of the tunnel on that host",
        };
        (!far.is_empty()).then(|| {
            let far = list(far.into_iter(), "and");
            format!("what comes by TLS leaves this host in clear, to {far}: {remedy}")
        })
    });
    let open: Vec<Listen> = service.accept.iter().filter(|listen| open(listen)).cloned().collect();
    let inwards = (service.connect_tls.is_some() && service.tls.is_none() && !open.is_empty()).then(|| {
        let addresses = addresses(&open);
        format!(
            "what goes out by TLS may come from other hosts in clear, on {addresses}: accept on 127.0.0.1 or a Unix socket, and \
             run this end of the tunnel where its clients are"
        )
    });
    out.into_iter().chain(inwards)
}

/// Where a service may connect to, as far as the file tells.
fn places<'a>(config: &'a Config, service: &'a Service) -> Box<dyn Iterator<Item = &'a Place> + 'a> {
    match &service.target {
        Target::Fixed(places) => Box::new(places.iter()),
        Target::Cluster { cluster, .. } => {
            let clusters = config.clusters.iter().filter(move |one| one.name == *cluster);
            Box::new(clusters.flat_map(|one| &one.nodes).map(|node| &node.address))
        }
    }
}

/// Whether a connection there does not leave this host, beyond doubt.
fn stays(place: &Place) -> bool {
    let loopback = |host: &str| host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    place.host().is_none_or(|host| host.host.eq_ignore_ascii_case("localhost") || loopback(&host.host))
}

/// Whether other hosts can connect there. Of a socket that is handed over nobody knows.
fn open(listen: &Listen) -> bool {
    matches!(listen, Listen::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

/// A far end that follows a cluster moves replicas between nodes, whose binary logs have the same names and other contents.
fn moves(service: &Service) -> Option<String> {
    service.tls.as_ref()?;
    let Target::Cluster { role, .. } = &service.target else { return None };
    let stays = if service.balance == Balance::First || *role == Role::Writer {
        ""
    } else {
        "; balance = \"first\" keeps it on one node while that is fit"
    };
    Some(format!(
        "a replica behind it has to use GTID (MASTER_USE_GTID = slave_pos, or SOURCE_AUTO_POSITION = 1), since it may be moved to \
         another node, where a file and a position mean something else{stays}"
    ))
}

/// Certificates that end, lists that are overdue, and files that do not count.
fn of_files(policy: &Policy, now: i64, said: &mut Vec<Remark>) {
    let mut warn = |text: String| said.push(Remark::Warning(text));
    for own in &policy.own {
        if let Some(when) = ending(own, now) {
            warn(format!("{}: our certificate {} {when}", place(own), own.subject));
        }
    }
    let Some(trust) = &policy.trust else { return };
    trusted(trust, now, &mut warn);
    // One that is due soon is how they live; one that is overdue keeps everybody out.
    for crl in trust.crls.iter().filter(|crl| crl.not_after < now) {
        let (subject, when) = (&crl.subject, date(crl.not_after));
        warn(format!(
            "{}: the revocation list of {subject} ended on {when}: its certificates are refused until there is a new one",
            place(crl)
        ));
    }
    for skipped in trust.skipped.iter().take(NAMED) {
        warn(format!("{}: left out: {}", skipped.file.display(), skipped.why));
    }
    if let Some(more) = trust.skipped.len().checked_sub(NAMED).filter(|more| *more > 0) {
        warn(format!("{}: {more} more are left out", trust.store));
    }
}

/// Trusted certificates that end. Those of the operating system are its own care.
fn trusted(trust: &Trust, now: i64, warn: &mut impl FnMut(String)) {
    let mut ending: Vec<(&Dated, String)> = trust
        .certificates
        .iter()
        .filter(|dated| dated.file.is_some())
        .filter_map(|dated| Some((dated, ending(dated, now)?)))
        .collect();
    ending.sort_by_key(|(dated, _)| dated.not_after);
    for (dated, when) in ending.iter().take(NAMED) {
        warn(format!("{}: the trusted certificate {} {when}", place(dated), dated.subject));
    }
    if let Some(more) = ending.len().checked_sub(NAMED).filter(|more| *more > 0) {
        warn(format!(
            "{}: {more} more of its {} certificates have expired or do so within 30 days",
            trust.store,
            trust.certificates.len()
        ));
    }
}

fn place(dated: &Dated) -> String {
    dated.file.as_ref().map_or_else(|| "the system's store".to_owned(), |file| file.display().to_string())
}

/// What is to be said of a certificate's end.
fn ending(dated: &Dated, now: i64) -> Option<String> {
    let left = dated.not_after.saturating_sub(now);
    let on = || date(dated.not_after);
    match left {
        ..0 => Some(format!("expired on {}", on())),
        0..DAY => Some(format!("expires within a day, on {}", on())),
        DAY..SOON => Some(format!("expires in {} days, on {}", left / DAY, on())),
        _ => None,
    }
}

/// The day, in UTC.
fn date(at: i64) -> String {
    match ASN1Time::from_timestamp(at).map(|time| time.to_datetime()) {
        Ok(time) => format!("{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day()),
        Err(_) => format!("second {at} after 1970"),
    }
}

/// A private key that others than its owner and group can have, or that its group can exchange.
fn exposed(key: &Path) -> Option<String> {
    let mode = std::fs::metadata(key).ok().filter(std::fs::Metadata::is_file)?.permissions().mode() & 0o777;
    let what = match mode {
        _ if mode & 0o006 != 0 => "everybody on this host may read or change it",
        _ if mode & 0o020 != 0 => "its group may change it",
        _ => return None,
    };
    Some(format!(
        "{}: {what}, and it is a private key (mode {mode:04o}): chmod 0600, or 0640 for a group that may read it",
        key.display()
    ))
}
