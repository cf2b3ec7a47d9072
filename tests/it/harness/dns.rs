//! A DNS server that answers as a test says, over UDP and TCP on one port of 127.0.0.1.
//!
//! It knows names, not zones: what a test has not set is no such name. It ends with its owner.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use hickory_proto::rr::RecordType;

use super::ports;

/// What a question for one name and one type is answered with.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Those of them that are of the type; where none is, "no data".
    Addresses(Vec<IpAddr>),
    /// A CNAME, and what the other name has.
    Alias(String),
    /// No such name.
    None,
    Servfail,
    Refused,
    /// The names of other servers, as one that does not look up for others answers.
    Referral,
    /// Nothing at all.
    Silence,
}

/// A running server; dropped, it ends.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Zone {
    replies: HashMap<(String, RecordType), Reply>,
    otherwise: Reply,
    /// Names whose answers do not fit into a datagram.
    long: Vec<String>,
    /// Questions by name: over UDP, over TCP.
    asked: HashMap<String, (usize, usize)>,
}

const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

impl Dns {
    pub fn start() -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let zone = Zone { replies: HashMap::new(), otherwise: Reply::None, long: Vec::new(), asked: HashMap::new() };
        let zone = Arc::new(Mutex::new(zone));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&zone);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (udp, tcp) = (UdpSocket::from_std(udp).unwrap(), TcpListener::from_std(tcp).unwrap());
                tokio::select! {
                    _ = stopped => {}
                    () = datagrams(&udp, &served) => {}
                    () = connections(&tcp, &served) => {}
                }
            });
        });
        Self { address, zone, stop: Some(stop), thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name has these addresses, IPv4 and IPv6.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        self.reply(name, &Reply::Addresses(addresses.iter().map(|a| a.parse().unwrap()).collect()));
    }

    /// SERVFAIL.
    pub fn fail(&self, name: &str) {
        self.reply(name, &Reply::Servfail);
    }

    /// No answer.
    pub fn silent(&self, name: &str) {
        self.reply(name, &Reply::Silence);
    }

    /// NXDOMAIN.
    pub fn none(&self, name: &str) {
        self.reply(name, &Reply::None);
    }

    /// From now on the name's answers over UDP are empty, and say that they are cut short.
    pub fn truncate(&self, name: &str) {
        self.zone().long.push(name.to_owned());
    }

    /// The reply for both families.
    pub fn reply(&self, name: &str, reply: &Reply) {
        for kind in FAMILIES {
            self.reply_for(name, kind, reply.clone());
        }
    }

    /// The reply for one family; what was set for the other one stays.
    pub fn reply_for(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone().replies.insert((name.to_owned(), kind), reply);
    }

    /// The reply for every name that was not set.
    pub fn otherwise(&self, reply: Reply) {
        self.zone().otherwise = reply;
    }

    /// Questions for the name so far, of either family and over either protocol; one that was repeated counts again.
    pub fn asked(&self, name: &str) -> usize {
        let (udp, tcp) = self.zone().asked.get(name).copied().unwrap_or_default();
        udp + tcp
    }

    /// Those of them over TCP.
    pub fn asked_by_tcp(&self, name: &str) -> usize {
        self.zone().asked.get(name).copied().unwrap_or_default().1
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On the same port.
fn sockets() -> (std::net::UdpSocket, std::net::TcpListener) {
    for _ in 0..100 {
        let address = (Ipv4Addr::LOCALHOST, ports::free());
        if let (Ok(udp), Ok(tcp)) = (std::net::UdpSocket::bind(address), std::net::TcpListener::bind(address)) {
            udp.set_nonblocking(true).unwrap();
            tcp.set_nonblocking(true).unwrap();
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP");
}

async fn datagrams(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut bytes = [0; 4096];
    loop {
        // An error is that of an earlier answer, which nobody took.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else { continue };
        if let Some(answer) = answer(zone, &bytes[..length], false) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn connections(listener: &TcpListener, zone: &Arc<Mutex<Zone>>) {
    // Dropped with this future, it ends them.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, zone) = (accepted.unwrap().0, Arc::clone(zone));
                open.spawn(async move { converse(stream, &zone).await });
            }
            // That a client hangs up is no failure of the test.
            Some(_) = open.join_next() => {}
        }
    }
}

/// Messages with their length before them (RFC 1035, 4.2.2).
async fn converse(mut stream: TcpStream, zone: &Mutex<Zone>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await?;
        if let Some(answer) = answer(zone, &bytes, true) {
            stream.write_u16(answer.len() as u16).await?;
            stream.write_all(&answer).await?;
        }
    }
}

fn answer(zone: &Mutex<Zone>, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).expect("a DNS message");
    let [query] = &question.queries[..] else { panic!("not one question: {question:?}") };
    let host = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.add_query(query.clone());
    let mut zone = lock(zone);
    let (udp, by_tcp) = zone.asked.entry(host.clone()).or_default();
    *(if tcp { by_tcp } else { udp }) += 1;
    zone.fill(&mut message, query.name(), &host, query.query_type())?;
    if !tcp && zone.long.contains(&host) {
        message = message.truncate();
    }
    Some(message.to_vec().unwrap())
}

impl Zone {
    /// `None`: silence.
    fn fill(&self, message: &mut Message, name: &Name, host: &str, kind: RecordType) -> Option<()> {
        const TTL: u32 = 3600;
        let reply = self.replies.get(&(host.to_owned(), kind)).unwrap_or(&self.otherwise);
        let record = |data| Record::from_rdata(name.clone(), TTL, data);
        let other = || Name::from_ascii("ns.example.").unwrap();
        let soa = || record(RData::SOA(SOA::new(other(), other(), 1, 3600, 3600, 3600, 3600)));
        match reply {
            Reply::Addresses(addresses) => {
                let of_kind = addresses.iter().filter(|a| a.is_ipv4() == (kind == RecordType::A));
                message.add_answers(of_kind.map(|&a| record(RData::from(a))));
                if message.answers.is_empty() {
                    message.add_authority(soa());
                }
            }
            Reply::Alias(target) => {
                let target_name = Name::from_ascii(format!("{target}.")).unwrap();
                message.add_answer(record(RData::CNAME(CNAME(target_name.clone()))));
                return self.fill(message, &target_name, target, kind);
            }
            Reply::None => {
                message.metadata.response_code = ResponseCode::NXDomain;
                message.add_authority(soa());
            }
            Reply::Servfail => message.metadata.response_code = ResponseCode::ServFail,
            Reply::Refused => message.metadata.response_code = ResponseCode::Refused,
            Reply::Referral => {
                message.metadata.recursion_available = false;
                message.add_authority(record(RData::NS(NS(other()))));
            }
            Reply::Silence => return None,
        }
        Some(())
    }
}
