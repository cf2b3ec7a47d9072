//! One attempt to get one node's greeting.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::Service;
use super::secure::{self, Link};
use super::tunnel::{Line, Tunnel};
use super::welcome::Client;
use crate::config::{Endpoint, Protocol, Role, Service as Settings};
use crate::mysql::{FirstPacket, MAX_FIRST_PACKET, ServerError, classify_first_packet};
use crate::net::proxy::header;
use crate::net::tls::HandshakeError;
use crate::net::{From, Stream, connect, is_local_shortage};
use crate::pool::{ActiveSession, Lease, Member, Node, Order, PoolCell, SourceAddress, Wanted};
use crate::telemetry::AttemptResult;

/// A node that greeted.
pub(super) struct Established {
    pub(super) node: Arc<Node>,
    pub(super) stream: Stream,
    /// The TLS around it.
    pub(super) link: Option<Box<Link>>,
    /// The first bytes, to be passed on as they came. Empty with protocol tcp.
    pub(super) greeting: Box<[u8]>,
    pub(super) lease: Lease,
    pub(super) active: ActiveSession,
}

/// Why an attempt brought no greeting.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing within this time.
    Connect(Duration),
    /// Connected, and no greeting within this time.
    Greeting(Duration),
    /// An error of the network.
    Io(io::Error),
    /// The connection ended before the greeting.
    Closed,
    /// An ERR packet in its place.
    Err(ServerError),
    /// No MySQL greeting.
    Garbage(&'static str),
    /// Connected, and TLS failed.
    Tls(HandshakeError),
    /// A shortage of ours.
    Local(io::Error),
    /// The node's verdict changed meanwhile.
    Withdrawn,
}

impl Failure {
    pub(super) fn result(&self) -> AttemptResult {
        match self {
            Self::Connect(_) | Self::Greeting(_) => AttemptResult::Timeout,
            Self::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => AttemptResult::Refused,
            Self::Io(_) => AttemptResult::Error,
            Self::Closed => AttemptResult::Closed,
            Self::Err(_) => AttemptResult::ErrPacket,
            Self::Garbage(_) => AttemptResult::Garbage,
            Self::Tls(_) => AttemptResult::Tls,
            Self::Local(_) => AttemptResult::Local,
            Self::Withdrawn => AttemptResult::Withdrawn,
        }
    }

    /// It was the node's doing.
    pub(super) fn blames_node(&self) -> bool {
        !matches!(self, Self::Local(_) | Self::Withdrawn)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(t) => write!(f, "no connection within {} ms", t.as_millis()),
            Self::Greeting(t) => write!(f, "no greeting within {} ms", t.as_millis()),
            Self::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => f.write_str("connection refused"),
            Self::Io(e) => write!(f, "{e}"),
            Self::Closed => f.write_str("closed before the greeting"),
            Self::Err(e) => write!(f, "{e} in place of the greeting"),
            Self::Garbage(what) => write!(f, "no MySQL greeting: {what}"),
            Self::Tls(e) => write!(f, "TLS: {e}"),
            Self::Local(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "not tried, this host does not allow it: {e}")
            }
            Self::Local(e) => write!(f, "not tried, a shortage of this host: {e}"),
            Self::Withdrawn => f.write_str("its verdict changed"),
        }
    }
}

/// How long an attempt may take.
pub(super) struct Patience {
    /// For the connect.
    pub(super) connect: Duration,
    /// For the greeting after it.
    pub(super) greeting: Duration,
}

/// How nodes are connected to on behalf of one client.
pub(super) struct Dial<'a> {
    service: &'a Service,
    pub(super) settings: &'a Settings,
    line: Line,
    from: From,
    /// Tells the node who the client is; empty where nothing does.
    header: Vec<u8>,
}

impl<'a> Dial<'a> {
    pub(super) fn new(
        service: &'a Service,
        settings: &'a Settings,
        client: &Client,
        stream: &Stream,
        line: Line,
    ) -> Self {
        let say = |version| header(version, client.addresses(stream));
        let from = match (client.ip_and_port(), settings.source) {
            (Some(client), _) if service.manners.transparent => From::Client(client),
            (_, Some(source)) => From::Address(source),
            (_, None) => From::Any,
        };
        Self { service, settings, line, from, header: settings.send_proxy_protocol.map(say).unwrap_or_default() }
    }
}

impl Dial<'_> {
    /// The address of ours that connections come from. A client's own is none of ours, and nothing can be tried from it.
    pub(super) fn source(&self) -> SourceAddress {
        if let From::Address(source) = self.from { Some(source) } else { None }
    }
}

/// Connects to `member` and waits for its greeting.
///
/// It was picked from a snapshot that may be old: a client may have waited on other nodes since. So the lease is taken
/// first, then the snapshot of now is asked, and both again after the greeting. A verdict is published before sessions
/// are ended by it, so it is either seen in the snapshot or ends the lease.
pub(super) async fn attempt(
    pool: &PoolCell,
    member: &Member,
    active: ActiveSession,
    dial: &Dial<'_>,
    patience: &Patience,
) -> Result<Established, Failure> {
    let node = &member.node;
    let wanted = wanted(dial.settings);
    let mut lease = node.switch.lease(wanted.role == Role::Writer);
    if !serves(pool, node, wanted) {
        return Err(Failure::Withdrawn);
    }
    let (stream, link, greeting) = tokio::select! {
        r = greeted(node, &member.addresses, dial, patience) => r?,
        () = withdrawn(pool, node, wanted, &mut lease) => return Err(Failure::Withdrawn),
    };
    if is_withdrawn(pool, node, wanted, &mut lease) {
        node.count_broken_handshake(dial.source());
        return Err(Failure::Withdrawn);
    }
    Ok(Established { node: Arc::clone(node), stream, link, greeting, lease, active })
}

/// Which nodes a service wants.
pub(super) fn wanted(settings: &Settings) -> Wanted {
    Wanted::of(&settings.target)
}

fn serves(pool: &PoolCell, node: &Node, wanted: Wanted) -> bool {
    let pool = pool.load();
    pool.members.iter().position(|m| m.node.id == node.id).is_some_and(|index| pool.fits(index, wanted))
}

fn is_withdrawn(pool: &PoolCell, node: &Node, wanted: Wanted, lease: &mut Lease) -> bool {
    matches!(lease.order(), Order::End(..)) || !serves(pool, node, wanted)
}

/// Resolves when the node's verdict takes it from its clients.
async fn withdrawn(pool: &PoolCell, node: &Node, wanted: Wanted, lease: &mut Lease) {
    let mut news = pool.subscribe();
    while !is_withdrawn(pool, node, wanted, lease) {
        tokio::select! {
            () = lease.changed() => {}
            published = news.changed() => if published.is_err() {
                // Nobody is left to publish; the lease tells of the end.
                lease.changed().await;
            },
        }
    }
}

/// Counts a connection that we gave up as a broken handshake, since the server does, wherever its future is dropped.
struct Unfinished<'a>(Option<&'a Node>, SourceAddress);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.0 {
            node.count_broken_handshake(self.1);
        }
    }
}

/// A node's stream, the TLS around it, and its first bytes.
type Greeted = (Stream, Option<Box<Link>>, Box<[u8]>);

async fn greeted(
    node: &Node,
    addresses: &[Endpoint],
    dial: &Dial<'_>,
    patience: &Patience,
) -> Result<Greeted, Failure> {
    let (stream, link) = connected(node, addresses, dial, patience).await?;
    let mut unfinished = Unfinished(Some(node), dial.source());
    let result = match dial.settings.protocol {
        Protocol::Tcp => Ok((stream, link, Box::default())),
        Protocol::Mysql => {
            match timeout_at(Instant::now() + patience.greeting, first_packet(stream, !dial.header.is_empty())).await {
                Ok(greeting) => greeting.map(|(stream, greeting)| (stream, link, greeting)),
                Err(_elapsed) => return Err(Failure::Greeting(patience.greeting)),
            }
        }
    };
    // From here on the server has ended it itself, or the session answers for the handshake.
    unfinished.0 = None;
    result
}

/// The first of a node's addresses that takes a connection, our header and our TLS. One that is silent takes only its share
/// of the time: behind a name with an IPv6 address that leads nowhere the node may be well.
async fn connected(
    node: &Node,
    addresses: &[Endpoint],
    dial: &Dial<'_>,
    patience: &Patience,
) -> Result<(Stream, Option<Box<Link>>), Failure> {
    let settings = dial.settings;
    let begun = Instant::now();
    let can_be_reached = |at: &&Endpoint| match (at, settings.source) {
        (Endpoint::Tcp(at), Some(source)) => at.is_ipv4() == source.is_ipv4(),
        _ => true,
    };
    let addresses: Vec<&Endpoint> = addresses.iter().filter(can_be_reached).collect();
    let share = patience.connect / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let (mut last, mut ours) = (None, None);
    for (nth, address) in (1..).zip(addresses) {
        dial.line.connecting(address);
        let share = Share { from: Instant::now(), until: begun + share * nth, all: patience.connect };
        let failure = match dial.open(node, address, &share).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => failure,
        };
        if !matches!(failure, Failure::Tls(_)) {
            dial.line.not_connected(address, &failure);
        }
        match failure {
            // Of an IPv6 address on a host without it, say; the next one may be another matter.
            Failure::Local(_) => ours = Some(failure),
            _ => last = Some(failure),
        }
    }
    let none = || Failure::Local(io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of the kind of `source`"));
    Err(last.or(ours).unwrap_or_else(none))
}

/// One address's share of the time for the connect.
struct Share {
    from: Instant,
    until: Instant,
    /// What all addresses have, as the user set it.
    all: Duration,
}

impl Share {
    /// The failure of a handshake that waited so long for its turn and did not end. Where it was left less than half of the time
    /// it says nothing of the node.
    fn used_up(&self, waited: Duration) -> Failure {
        match waited * 2 > self.until - self.from {
            true => no_turn(waited),
            false => Failure::Connect(self.all),
        }
    }
}

fn no_turn(waited: Duration) -> Failure {
    let why =
        format!("no turn for the TLS handshake within {} ms: as many are under way as may be", waited.as_millis());
    Failure::Local(io::Error::new(io::ErrorKind::ResourceBusy, why))
}

impl Dial<'_> {
    /// Connects to one address within its share: the socket, our header, our TLS.
    async fn open(
        &self,
        node: &Node,
        address: &Endpoint,
        share: &Share,
    ) -> Result<(Stream, Option<Box<Link>>), Failure> {
        let reaching = timeout_at(share.until, self.reach(address)).await;
        let stream = reaching.unwrap_or(Err(Failure::Connect(share.all)))?;
        match (&self.service.connecting, stream) {
            (Some(connector), Stream::Plain(socket)) => {
                let host = node.address.host().map_or("", |host| &host.host);
                let asked = Instant::now();
                let turn =
                    timeout_at(share.until, connector.turn()).await.map_err(|_| share.used_up(asked.elapsed()))?;
                let waited = turn.waited();
                let opening = Box::pin(secure::connect(self.service, connector, turn, host, socket, self.line));
                match timeout_at(share.until, opening).await {
                    Ok(opened) => opened.map(|(stream, link)| (stream, Some(link))).map_err(Failure::Tls),
                    Err(_elapsed) => Err(share.used_up(waited)),
                }
            }
            (_, stream) => Ok((stream, None)),
        }
    }

    /// The socket and our header.
    async fn reach(&self, address: &Endpoint) -> Result<Stream, Failure> {
        let mut stream = match connect(address, self.from).await {
            Ok(stream) => stream,
            Err(e) if is_local_shortage(&e) => return Err(Failure::Local(e)),
            Err(e) => return Err(lost(e)),
        };
        stream.tune(self.settings.keepalive).map_err(Failure::Io)?;
        stream.set_buffers(self.service.manners.connected);
        let name = self.service.tunnel.as_ref().map_or(&*self.settings.name, Tunnel::name);
        self.line.connected(name, address, stream.tcp().and_then(|tcp| tcp.local_addr().ok()));
        if !self.header.is_empty() {
            stream.write_all(&self.header).await.map_err(lost)?;
        }
        Ok(stream)
    }
}

/// The network's error on the way to the greeting.
fn lost(e: io::Error) -> Failure {
    match HandshakeError::from_io(e) {
        // An alert in place of the greeting: our certificate was judged after our side of the handshake was done.
        Ok(refused) => Failure::Tls(refused),
        // Connected and reset before we looked.
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Failure::Closed,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Failure::Closed,
        Err(e) => Failure::Io(e),
    }
}

/// `introduced`: we have sent a PROXY header.
async fn first_packet(mut stream: Stream, introduced: bool) -> Result<(Stream, Box<[u8]>), Failure> {
    // Greetings are about 100 bytes; one that claims more gets room as it comes, up to the limit.
    let mut bytes = Vec::with_capacity(256);
    loop {
        match classify_first_packet(&bytes) {
            FirstPacket::Greeting { len } if introduced && bytes.len() > len => {
                return Err(Failure::Garbage("bytes behind it; does it take PROXY headers? (proxy_protocol_networks)"));
            }
            FirstPacket::Greeting { .. } => return Ok((stream, bytes.into_boxed_slice())),
            FirstPacket::Err(e) => return Err(Failure::Err(e)),
            FirstPacket::Garbage(what) => return Err(Failure::Garbage(what)),
            FirstPacket::Incomplete { .. } if bytes.len() >= MAX_FIRST_PACKET => {
                return Err(Failure::Garbage("first packet too long for a greeting"));
            }
            FirstPacket::Incomplete { .. } => {}
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {}
            Err(e) => return Err(lost(e)),
        }
    }
}
