//! Asking the nameservers that the configuration names.
//!
//! The library's resolver is given one server, one name and one kind of record at a time, and is thrown away with the
//! look-up. What it would decide by itself is decided here, since from its answers nodes are added and removed:
//!
//! - It takes addresses of one family for the whole answer when the question for the other one fails.
//! - It goes on to the next name of the search list, and to its "no such name", when a name could not be answered.
//! - It takes a server's SERVFAIL for the answer and asks no other server.
//! - It caches.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::{Answer, LookupError};
use crate::net::is_local_shortage;

/// The deadline of one whole look-up: every name of the search list, every server.
const DEADLINE: Duration = Duration::from_secs(5);

const TIMED_OUT: &str = "timed out";

/// The nameservers, and the two files that are asked before them.
#[derive(Debug)]
pub(super) struct Servers {
    addresses: Box<[SocketAddr]>,
    /// The index of the one that answered last. The order of the configuration holds until one does not.
    first: AtomicUsize,
    hosts: SystemFile,
    resolv_conf: SystemFile,
}

/// What one question came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Addresses(Vec<IpAddr>),
    /// The name has other records.
    NoAddress,
    NoSuchName,
    /// Every server says that it does not answer for this name.
    Refused,
    /// Nobody gave an answer that counts.
    Failed(LookupError),
}

impl Servers {
    /// At least one address.
    pub(super) fn new(addresses: &[SocketAddr], hosts: &Path, resolv_conf: &Path) -> Self {
        let (hosts, resolv_conf) = (SystemFile::new(hosts), SystemFile::new(resolv_conf));
        Self { addresses: addresses.into(), first: AtomicUsize::new(0), hosts, resolv_conf }
    }

    pub(super) async fn ask(self: &Arc<Self>, host: &str) -> Answer {
        timeout(DEADLINE, self.search(host)).await.unwrap_or_else(|_| Err(no_answer(TIMED_OUT)))
    }

    async fn search(self: &Arc<Self>, host: &str) -> Answer {
        let (servers, name) = (Arc::clone(self), host.to_owned());
        let read = move || (listed(&servers.hosts.text(), &name), servers.resolv_conf.text());
        let read = tokio::task::spawn_blocking(read).await;
        let (listed, resolv_conf) = read.map_err(|e| LookupError::NotMade(e.to_string()))?;
        if !listed.is_empty() {
            return Ok(listed);
        }
        // A line that it does not understand, the C library passes over as well.
        let conf = resolv_conf::Config::parse_with_errors(&resolv_conf).0;
        let (names, written) = names(host, &conf).ok_or(LookupError::NoSuchName)?;
        let built: Result<Vec<_>, _> = self.addresses.iter().map(|&a| self.resolver(a)).collect();
        let resolvers = built.map_err(|e| failure(&e))?;
        let mut nothing = LookupError::NoSuchName;
        for name in names {
            let of = |e: &str| if name == written { no_answer(e) } else { no_answer(format!("{e} for {name}")) };
            match self.both(&resolvers, &name, !conf.no_aaaa).await {
                Told::Addresses(found) => return Ok(found),
                Told::NoSuchName => {}
                Told::NoAddress if nothing == LookupError::NoSuchName => nothing = LookupError::NoAddress,
                Told::NoAddress => {}
                // A server that knows its own zones only, and refuses all else, has nothing under this suffix: the name
                // as it was written may be of its own.
                Told::Refused if name != written => nothing = of("REFUSED"),
                Told::Refused => return Err(of("REFUSED")),
                // Whatever the names that follow had, it could be of another host.
                Told::Failed(LookupError::NoAnswer(why)) => return Err(of(&why)),
                Told::Failed(other) => return Err(other),
            }
        }
        Err(nothing)
    }

    /// Both families, at the same time.
    async fn both(&self, resolvers: &[TokioResolver], name: &Name, aaaa: bool) -> Told {
        let a = self.question(resolvers, name, RecordType::A);
        if !aaaa {
            return a.await;
        }
        let (a, aaaa) = tokio::join!(a, self.question(resolvers, name, RecordType::AAAA));
        whole(a, aaaa)
    }

    /// One question, to one server after the other until one answers.
    async fn question(&self, resolvers: &[TokioResolver], name: &Name, kind: RecordType) -> Told {
        let first = self.first.load(Ordering::Relaxed).min(resolvers.len());
        let (before, after) = resolvers.split_at(first);
        let mut told = None;
        for (index, resolver) in (first..).zip(after).chain((0..).zip(before)) {
            let asked = timeout(self.share(), resolver.lookup(name.clone(), kind)).await;
            let said = match asked {
                Ok(Ok(lookup)) => match lookup.answers().iter().filter_map(|r| r.data.ip_addr()).collect::<Vec<_>>() {
                    none if none.is_empty() => Told::Failed(no_answer("an answer without its record")),
                    found => Told::Addresses(found),
                },
                Ok(Err(e)) => said(&e),
                Err(_) => Told::Failed(no_answer(TIMED_OUT)),
            };
            told = match (told, said) {
                (Some(Told::Failed(why)), Told::Refused) => Some(Told::Failed(why)),
                (_, said @ (Told::Failed(_) | Told::Refused)) => Some(said),
                (_, answer) => {
                    self.first.store(index, Ordering::Relaxed);
                    return answer;
                }
            };
        }
        told.unwrap_or_else(|| Told::Failed(no_answer("no nameserver")))
    }

    /// The time that each server has.
    fn share(&self) -> Duration {
        DEADLINE / u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).max(1)
    }

    /// That asks this server and no other: by UDP, repeated until the time is up, and by TCP where the answer did not
    /// fit.
    fn resolver(&self, server: SocketAddr) -> Result<TokioResolver, NetError> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = self.share();
        options.attempts = 0;
        options.cache_size = 0;
        options.positive_max_ttl = Some(Duration::ZERO);
        options.negative_max_ttl = Some(Duration::ZERO);
        options.num_concurrent_reqs = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.use_hosts_file = ResolveHosts::Never;
        // From the kernel's range for outgoing traffic: a port of any number may be one that a service here will bind.
        options.os_port_selection = true;
        builder.build()
    }
}

/// What the two families come to. Half an answer is none: a node whose record could not be read would look removed.
fn whole(a: Told, aaaa: Told) -> Told {
    match (a, aaaa) {
        (Told::Failed(why), _) | (_, Told::Failed(why)) => Told::Failed(why),
        (Told::Refused, _) | (_, Told::Refused) => Told::Refused,
        (Told::Addresses(mut a), Told::Addresses(aaaa)) => {
            a.extend(aaaa);
            Told::Addresses(a)
        }
        (Told::Addresses(found), _) | (_, Told::Addresses(found)) => Told::Addresses(found),
        (Told::NoAddress, _) | (_, Told::NoAddress) => Told::NoAddress,
        (Told::NoSuchName, Told::NoSuchName) => Told::NoSuchName,
    }
}

fn said(e: &NetError) -> Told {
    let NetError::Dns(e) = e else { return Told::Failed(failure(e)) };
    match e {
        DnsError::NoRecordsFound(none) => match none.response_code {
            ResponseCode::NXDomain => Told::NoSuchName,
            // It names other servers instead of asking them: nothing of the name itself (RFC 2308, 2.1 and 2.2).
            ResponseCode::NoError if none.ns.is_some() && none.soa.is_none() => Told::Failed(no_answer("a referral")),
            ResponseCode::NoError => Told::NoAddress,
            code => Told::Failed(no_answer(code_name(code))),
        },
        DnsError::ResponseCode(ResponseCode::Refused) => Told::Refused,
        DnsError::ResponseCode(code) => Told::Failed(no_answer(code_name(*code))),
        other => Told::Failed(no_answer(other.to_string())),
    }
}

/// As administrators know it.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => other.to_string(),
    }
}

/// Of the network, or our own.
fn failure(e: &NetError) -> LookupError {
    match e {
        NetError::Io(e) if is_local_shortage(e) => LookupError::NotMade(e.to_string()),
        NetError::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => no_answer("connection refused"),
        NetError::Io(e) => no_answer(e.to_string()),
        NetError::Timeout => no_answer(TIMED_OUT),
        other => no_answer(other.to_string()),
    }
}

fn no_answer(why: impl Into<String>) -> LookupError {
    LookupError::NoAnswer(why.into())
}

/// The names to ask for, in their order, and the one among them that was written: as resolv.conf(5) has it, the written
/// one first if it has `ndots` dots, and last if it has fewer. A final dot means that it is whole already. `None`: no
/// such name can be.
fn names(host: &str, conf: &resolv_conf::Config) -> Option<(Vec<Name>, Name)> {
    let name = Name::from_str_relaxed(host).ok()?;
    let mut written = name.clone();
    written.set_fqdn(true);
    if name.is_fqdn() {
        return Some((vec![written.clone()], written));
    }
    let suffixes = conf.get_last_search_or_domain().filter_map(|suffix| Name::from_str_relaxed(suffix).ok());
    let mut names: Vec<Name> = suffixes.filter_map(|suffix| name.clone().append_domain(&suffix).ok()).collect();
    names.retain(|name| *name != written);
    let dots = host.matches('.').count();
    // RFC 6761, 6.3: localhost is this host, whatever anybody has beneath its own domain.
    let whole = u32::try_from(dots).is_ok_and(|dots| dots >= conf.ndots) || written.is_localhost();
    names.insert(if whole { 0 } else { names.len() }, written.clone());
    Some((names, written))
}

/// The addresses that hosts(5) has for a name.
fn listed(hosts: &[u8], host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(hosts).lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// A file of the system's. Where it cannot be read any more (in a chroot, say) what was last read of it holds.
#[derive(Debug)]
struct SystemFile {
    path: PathBuf,
    last: Mutex<Arc<[u8]>>,
}

impl SystemFile {
    fn new(path: &Path) -> Self {
        let file = Self { path: path.to_owned(), last: Mutex::default() };
        file.text();
        file
    }

    /// What it holds now. It blocks.
    fn text(&self) -> Arc<[u8]> {
        let read = std::fs::read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(text) = read {
            *last = text.into();
        }
        Arc::clone(&last)
    }
}
