//! Asking the nameservers that the configuration names.
//!
//! The library speaks DNS to one server; what an answer means, and who is asked next, is decided here, since nodes are
//! added and removed by it. So nothing is cached, a server that fails is followed by the next one, and neither the
//! other family's addresses nor the next name of the search list stand in for a question that was not answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle as _, FirstAnswer as _};
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use super::{Answer, LookupError};
use crate::net::is_local_shortage;

/// The deadline of one whole look-up: every name of the search list, every server.
const DEADLINE: Duration = Duration::from_secs(5);

/// Aliases that are followed, one after the other, in an answer and by further questions. More are a circle.
const MOST_ALIASES: usize = 16;

const TIMED_OUT: &str = "timed out";
const ENDLESS: &str = "aliases without an end";

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
        // RFC 6761, 6.3: it is this host, whatever a server says, and whatever anybody has beneath its own domain.
        if written.is_localhost() {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let mut nothing = LookupError::NoSuchName;
        for name in names {
            let of = |e: &str| if name == written { no_answer(e) } else { no_answer(format!("{e} for {name}")) };
            match self.both(&name, !conf.no_aaaa).await {
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
    async fn both(&self, name: &Name, aaaa: bool) -> Told {
        let a = self.question(name, RecordType::A);
        if !aaaa {
            return a.await;
        }
        let (a, aaaa) = tokio::join!(a, self.question(name, RecordType::AAAA));
        whole(a, aaaa)
    }

    /// One question, to one server after the other until one answers.
    async fn question(&self, name: &Name, kind: RecordType) -> Told {
        let first = self.first.load(Ordering::Relaxed).min(self.addresses.len());
        let (before, after) = self.addresses.split_at(first);
        let mut told = None;
        for (index, &server) in (first..).zip(after).chain((0..).zip(before)) {
            let share = self.share();
            let asked = timeout(share, answered(server, name, kind, share)).await;
            told = match (told, asked.unwrap_or_else(|_| Told::Failed(no_answer(TIMED_OUT)))) {
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
}

/// What one server says, aliases followed.
async fn answered(server: SocketAddr, name: &Name, kind: RecordType, limit: Duration) -> Told {
    let mut query = Query::query(name.clone(), kind);
    for _ in 0..MOST_ALIASES {
        match exchange(server, &query, limit).await {
            Ok(answer) => match read(&answer, &query) {
                Read::Told(told) => return told,
                Read::Alias(name) => query = Query::query(name, kind),
            },
            Err(e) => return Told::Failed(failure(&e)),
        }
    }
    Told::Failed(no_answer(ENDLESS))
}

/// By UDP, repeated while the server is silent, and by TCP where the answer did not fit.
async fn exchange(server: SocketAddr, query: &Query, limit: Duration) -> Result<DnsResponse, NetError> {
    // What it runs in the background ends with it.
    let runtime = TokioRuntimeProvider::new();
    let udp = UdpClientStream::builder(server, runtime.clone())
        .with_timeout(Some(limit))
        // From the kernel's range for outgoing traffic: a port of any number may be one that a service here will bind.
        .with_os_port_selection(true)
        .exchange();
    let answer = udp.lookup(query.clone(), DnsRequestOptions::default()).first_answer().await?;
    if !answer.truncation {
        return Ok(answer);
    }
    let tcp = TcpClientStream::exchange(server, None, limit, None, runtime).await?;
    tcp.lookup(query.clone(), DnsRequestOptions::default()).first_answer().await
}

/// What one answer says.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Told(Told),
    /// The name is an alias of this one, of which nothing is said.
    Alias(Name),
}

fn read(answer: &Message, query: &Query) -> Read {
    let failed = |why: &str| Read::Told(Told::Failed(no_answer(why)));
    if answer.queries != [query.clone()] {
        return failed("an answer to another question");
    }
    if answer.metadata.truncation {
        return failed("an answer that does not fit");
    }
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Read::Told(Told::NoSuchName),
        ResponseCode::Refused => return Read::Told(Told::Refused),
        ResponseCode::ServFail => return failed("SERVFAIL"),
        ResponseCode::FormErr => return failed("FORMERR"),
        ResponseCode::NotImp => return failed("NOTIMP"),
        other => return failed(&other.to_string()),
    }
    let ours = |record: &&Record| record.dns_class == query.query_class();
    let mut name = query.name();
    let alias = |of: &Name| {
        answer.answers.iter().filter(ours).find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *of => Some(&target.0),
            _ => None,
        })
    };
    let mut followed = 0;
    while let Some(target) = alias(name) {
        followed += 1;
        if followed > MOST_ALIASES {
            return failed(ENDLESS);
        }
        name = target;
    }
    let of_it = answer.answers.iter().filter(ours).filter(|r| r.name == *name && r.record_type() == query.query_type());
    let found: Vec<IpAddr> = of_it.filter_map(|record| record.data.ip_addr()).collect();
    let has = |kind| answer.authorities.iter().any(|record| record.record_type() == kind);
    match (found.is_empty(), name == query.name(), has(RecordType::SOA)) {
        (false, ..) => Read::Told(Told::Addresses(found)),
        (true, _, true) => Read::Told(Told::NoAddress),
        (true, false, false) => Read::Alias(name.clone()),
        // It names other servers instead of asking them: nothing of the name itself (RFC 2308, 2.1 and 2.2).
        (true, true, false) if has(RecordType::NS) => failed("a referral"),
        (true, true, false) => Read::Told(Told::NoAddress),
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
    let whole = u32::try_from(dots).is_ok_and(|dots| dots >= conf.ndots);
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

#[cfg(test)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::DNSClass;
    use hickory_proto::rr::rdata::{CNAME, NS};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn record(of: &str, data: RData) -> Record {
        Record::from_rdata(name(of), 60, data)
    }

    fn address(of: &str) -> Record {
        record(of, RData::from(IpAddr::from([192, 0, 2, 1])))
    }

    fn alias(of: &str, target: &str) -> Record {
        record(of, RData::CNAME(CNAME(name(target))))
    }

    fn question() -> Query {
        Query::query(name("db.example."), RecordType::A)
    }

    /// What these records say to the question.
    fn reading(answers: Vec<Record>) -> Read {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(question());
        message.insert_answers(answers);
        read(&message, &question())
    }

    #[test]
    fn an_answer_is_read_along_its_aliases_in_whatever_order_they_stand() {
        let found = Read::Told(Told::Addresses(vec![IpAddr::from([192, 0, 2, 1])]));
        let chain = [address("C.example."), alias("b.example.", "c.example."), alias("DB.example.", "b.example.")];
        assert_eq!(reading(chain.to_vec()), found);
        assert_eq!(reading(vec![address("db.example."), address("other.example.")]), found);
        assert_eq!(reading(vec![alias("db.example.", "b.example.")]), Read::Alias(name("b.example.")));
        let circle = vec![alias("db.example.", "b.example."), alias("b.example.", "db.example.")];
        assert_eq!(reading(circle), Read::Told(Told::Failed(no_answer(ENDLESS))));
    }

    #[test]
    fn what_answers_something_else_is_no_answer() {
        let none = Read::Told(Told::NoAddress);
        assert_eq!(reading(vec![address("other.example.")]), none);
        assert_eq!(reading(vec![record("db.example.", RData::NS(NS(name("ns.example."))))]), none);
        let mut chaos = address("db.example.");
        chaos.dns_class = DNSClass::CH;
        assert_eq!(reading(vec![chaos]), none);
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name("other.example."), RecordType::A));
        message.add_answer(address("db.example."));
        let told = Told::Failed(no_answer("an answer to another question"));
        assert_eq!(read(&message, &question()), Read::Told(told));
    }

    fn any_told() -> impl Strategy<Value = Told> {
        let address = any::<[u8; 4]>().prop_map(IpAddr::from);
        prop_oneof![
            prop::collection::vec(address, 1..4).prop_map(Told::Addresses),
            Just(Told::NoAddress),
            Just(Told::NoSuchName),
            Just(Told::Refused),
            Just(Told::Failed(no_answer("SERVFAIL"))),
        ]
    }

    proptest! {
        #[test]
        fn only_two_answers_make_one(a in any_told(), aaaa in any_told()) {
            let answered = |told: &Told| !matches!(told, Told::Refused | Told::Failed(_));
            let both = whole(a.clone(), aaaa.clone());
            prop_assert_eq!(answered(&both), answered(&a) && answered(&aaaa));
            let addresses = |told| if let Told::Addresses(found) = told { found } else { Vec::new() };
            if answered(&both) {
                prop_assert_eq!(addresses(both), [addresses(a), addresses(aaaa)].concat());
            }
        }
    }

    #[test]
    fn a_shortage_of_ours_is_not_the_servers_silence() {
        let io = |code| failure(&NetError::from(io::Error::from_raw_os_error(code))).to_string();
        assert!(io(libc::EMFILE).starts_with("not asked: "), "{}", io(libc::EMFILE));
        assert_eq!(io(libc::ECONNREFUSED), "no answer: connection refused");
        assert!(io(libc::ENETUNREACH).starts_with("no answer: "), "{}", io(libc::ENETUNREACH));
    }
}
