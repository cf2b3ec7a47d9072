//! Galeway before nodes whose two sides are scripted apart: what the check sees, and what clients meet.
//!
//! Node `n1` is 127.0.1.1, `n2` is 127.0.1.2 and so on. All are checked on one port, where a [`FakeNode`] each answers;
//! clients are sent to another port, where a test puts a [`Peer`], a listener of its own, or nothing (refused).

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Conn, Galeway, Settings, ports, secs, until};
use crate::peer::{Conn as PeerConn, FakeNode, Greeting, Peer};

/// Short, so that tests are; `Settings::monitor` replaces it.
pub(crate) const FAST: &str = "interval = \"100ms\"\nfast_interval = \"20ms\"";

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = secs(30);

/// The nodes.
pub(crate) struct Fakes {
    checks: Vec<FakeNode>,
    check_port: u16,
    data_port: u16,
}

impl Fakes {
    /// `count` nodes that are Synced to their check. Nobody listens for clients yet.
    pub(crate) fn new(count: u8) -> Self {
        let (check_port, data_port) = (ports::free(), ports::free());
        let check = |i| {
            let listener = TcpListener::bind((ip(i), check_port)).unwrap();
            let node = FakeNode::on(listener, &format!("n{i}"));
            node.set_status("wsrep_cluster_size", &count.to_string());
            node.set_status("wsrep_local_index", &(i - 1).to_string());
            node
        };
        Self { checks: (1..=count).map(check).collect(), check_port, data_port }
    }

    /// Nodes where client and check meet a good node.
    pub(crate) fn good(count: u8) -> (Self, Vec<Peer>) {
        let fakes = Self::new(count);
        let peers = (1..=count).map(|i| fakes.greeter(i)).collect();
        (fakes, peers)
    }

    /// The check's side of node `i`, counted from 1.
    pub(crate) fn check(&self, i: u8) -> &FakeNode {
        &self.checks[usize::from(i) - 1]
    }

    /// Where clients of node `i` are sent.
    pub(crate) fn data(&self, i: u8) -> SocketAddr {
        SocketAddr::from((ip(i), self.data_port))
    }

    /// A listener for clients of node `i`.
    pub(crate) fn listen(&self, i: u8) -> TcpListener {
        TcpListener::bind(self.data(i)).unwrap()
    }

    /// Clients of node `i` meet this script.
    pub(crate) fn peer<S, F>(&self, i: u8, script: S) -> Peer
    where
        S: Fn(PeerConn) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Peer::on(self.listen(i), script)
    }

    /// Clients of node `i` are greeted by its name and then listened to.
    pub(crate) fn greeter(&self, i: u8) -> Peer {
        self.peer(i, move |mut conn| async move {
            conn.greet(&greeting(i)).await?;
            conn.hang().await.map(drop)
        })
    }

    /// Galeway before all nodes, not waited for. Nothing but `Settings::monitor` is replaced.
    pub(crate) fn spawn(&self, settings: Settings<'_>) -> Galeway {
        let nodes: Vec<_> = (1..).zip(&self.checks).map(|(i, _)| (format!("n{i}"), self.data(i))).collect();
        let pace = if settings.monitor.is_empty() { FAST } else { settings.monitor };
        let monitor = format!("port = {}\n{pace}", self.check_port);
        Galeway::spawn(&nodes, Settings { monitor: &monitor, ..settings })
    }

    /// The same, ready.
    pub(crate) fn galeway(&self, settings: Settings<'_>) -> Galeway {
        let galeway = self.spawn(settings);
        galeway.wait_ready();
        galeway
    }
}

/// With these lines in the service's section.
pub(crate) fn service(lines: &str) -> Settings<'_> {
    Settings { service: lines, ..Settings::default() }
}

/// Sets what makes a node unfit or fit again.
pub(crate) fn set_state(node: &FakeNode, state: &str) {
    node.set_status("wsrep_local_state", state);
}

pub(crate) fn ip(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, i)
}

/// Names the node to its client.
pub(crate) fn greeting(i: u8) -> Greeting {
    Greeting { version: format!("5.5.5-n{i}"), ..Greeting::default() }
}

/// The node that greeted.
pub(crate) fn greeted_by(conn: &Conn) -> &str {
    conn.greeting.version.trim_start_matches("5.5.5-")
}

/// Connects and is greeted.
#[track_caller]
pub(crate) fn connect(galeway: &Galeway) -> Conn {
    Conn::greet(galeway.addr(), LONG).unwrap_or_else(|e| panic!("{e}\n{}", galeway.log()))
}

/// The ERR packet a client meets in place of a greeting: code, SQLSTATE, text.
#[track_caller]
pub(crate) fn refused(galeway: &Galeway) -> (u16, String, String) {
    match Conn::greet(galeway.addr(), LONG).map_err(|f| f.error) {
        Err(crate::harness::client::Error::Server { code, state, message }) => (code, state, message),
        other => panic!("{other:?}"),
    }
}

/// A client that reads and writes bytes.
pub(crate) fn raw(galeway: &Galeway) -> TcpStream {
    let stream = TcpStream::connect_timeout(&galeway.addr(), LONG).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Reads to the end of data.
#[track_caller]
pub(crate) fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap_or_else(|e| panic!("after {} bytes: {e}", bytes.len()));
    bytes
}

/// The access log's event of the client with this address.
#[track_caller]
pub(crate) fn access(galeway: &Galeway, client: Option<SocketAddr>) -> Value {
    let client = client.unwrap().to_string();
    until(LONG, "the access log's event", || galeway.access_log().into_iter().find(|e| e["client"] == *client))
}

/// The first service's entry in the status.
#[track_caller]
pub(crate) fn service_status(galeway: &Galeway) -> Value {
    galeway.status()["services"][0].clone()
}

/// Waits until a number of the first service's entry is this.
#[track_caller]
pub(crate) fn wait_service(galeway: &Galeway, key: &str, number: u64) {
    until(LONG, &format!("{key} is {number}"), || (service_status(galeway)[key] == number).then_some(()));
}
