//! Peers that vanish without a word: their packets stop, and no reset says so. Needs root.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use crate::fakes::{FAST, Fakes, LONG, greeting, raw, wait_service};
use crate::harness::process::Process;
use crate::harness::{Conn, Far, Galeway, Settings, ports, secs, until};
use crate::peer::FakeNode;

/// What this process is when a test has started it inside a namespace: "client ADDR", which waits for its greeting, "silent ADDR"
/// and "eager ADDR", which do not, or "node ADDR".
pub(crate) const ROLE: &str = "GALEWAY_IT_INSIDE";

/// Starts `test` of this binary over there, in a role.
pub(crate) fn start(far: &Far, test: &str, role: &str) -> Process {
    let exe = std::env::current_exe().unwrap();
    let mut command = far.command(exe.as_os_str());
    command.args([test, "--exact", "--nocapture"]).env(ROLE, role);
    Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The process in the namespace: plays its role until it is killed.
fn play(role: &str) -> ! {
    let (what, addr) = role.split_once(' ').unwrap();
    let addr: SocketAddr = addr.parse().unwrap();
    let _kept: Box<dyn std::any::Any> = match what {
        "client" => {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.read_exact(&mut vec![0; greeting(1).packet().len()]).unwrap();
            Box::new(stream)
        }
        "silent" => Box::new(TcpStream::connect(addr).unwrap()),
        "eager" => {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&[3, 0, 0, 1, 1, 2, 3]).unwrap();
            Box::new(stream)
        }
        "node" => Box::new(FakeNode::on(TcpListener::bind(addr).unwrap(), "far")),
        other => panic!("{other}"),
    };
    std::thread::sleep(secs(1000));
    unreachable!("killed before")
}

/// A client over there with a session, and the node's end of it.
struct FarClient {
    far: Far,
    galeway: Galeway,
    listener: TcpListener,
    node: TcpStream,
    _client: Process,
    _fakes: Fakes,
}

/// Galeway where the far side reaches it, before one node with lines of its own.
fn near(far: &Far, fakes: &Fakes, node: &str, service: &str) -> Galeway {
    let (accept, admin) =
        (SocketAddr::from((far.near, ports::free())), SocketAddr::from(([127, 0, 0, 1], ports::free())));
    let monitor = format!("port = {}\n{FAST}", fakes.check(1).addr().port());
    let settings = Settings { monitor: &monitor, service, ..Settings::default() };
    let text = settings.text(&[("n1".to_owned(), fakes.data(1))], accept, admin);
    let text = text.replace("name = \"n1\"", &format!("name = \"n1\"{node}"));
    let galeway = Galeway::spawn_text(&text, accept, admin);
    galeway.wait_ready();
    galeway
}

impl FarClient {
    fn new(test: &str, service: &str) -> Option<Self> {
        Self::with(test, "", service)
    }

    fn with(test: &str, node: &str, service: &str) -> Option<Self> {
        if let Ok(role) = std::env::var(ROLE) {
            play(&role);
        }
        let far = Far::new()?;
        let fakes = Fakes::new(1);
        let listener = fakes.listen(1);
        let galeway = near(&far, &fakes, node, service);
        let client = start(&far, test, &format!("client {}", galeway.addr()));
        let mut node = listener.accept().unwrap().0;
        node.write_all(&greeting(1).packet()).unwrap();
        until(LONG, "the client has its greeting", || {
            (galeway.metric("galeway_bytes_total", &[("direction", "out")]) > 50.0).then_some(())
        });
        Some(Self { far, galeway, listener, node, _client: client, _fakes: fakes })
    }

    /// How its session ended.
    fn end(&self) -> String {
        let event = until(LONG, "the session ends", || self.galeway.access_log().pop());
        event["end"].as_str().unwrap().to_owned()
    }
}

#[test]
fn an_idle_client_that_vanished_is_noticed_by_keepalive() {
    let test = "vanishing::an_idle_client_that_vanished_is_noticed_by_keepalive";
    let Some(pair) = FarClient::new(test, "keepalive = \"2s\"") else { return };
    pair.far.vanish();
    let start = Instant::now();
    assert_eq!(pair.end(), "client_vanished");
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(12), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_acknowledges_nothing_ends_at_user_timeout() {
    let test = "vanishing::a_client_that_acknowledges_nothing_ends_at_user_timeout";
    let Some(mut pair) = FarClient::new(test, "user_timeout = \"2s\"\nkeepalive = \"1h\"") else { return };
    pair.far.vanish();
    pair.node.write_all(&[0; 1000]).unwrap();
    let start = Instant::now();
    assert_eq!(pair.end(), "client_vanished");
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(12), "{:?}", start.elapsed());
}

#[test]
fn a_node_that_acknowledges_nothing_ends_the_session_at_user_timeout() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let Some(far) = Far::new() else { return };
    let addr = SocketAddr::from((far.far, 3306));
    let test = "vanishing::a_node_that_acknowledges_nothing_ends_the_session_at_user_timeout";
    let _node = start(&far, test, &format!("node {addr}"));
    let settings = Settings {
        monitor: "interval = \"100ms\"\nfast_interval = \"20ms\"\ntimeout = \"300ms\"\ndown_after = \"1h\"",
        service: "user_timeout = \"2s\"\nkeepalive = \"1h\"",
        ..Settings::default()
    };
    let galeway = Galeway::spawn(&[("far".to_owned(), addr)], settings);
    galeway.wait_ready();
    let mut session = Conn::app(galeway.addr(), LONG).unwrap();
    assert_eq!(session.one("SELECT @@wsrep_node_name").unwrap(), "far");
    let from = session.local;
    far.vanish();
    let start = Instant::now();
    session.query("SELECT 1").unwrap_err();
    assert_eq!(crate::fakes::access(&galeway, from)["end"], "node_vanished");
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(12), "{:?}", start.elapsed());
}

/// The only place is a client's that vanishes: another one, which waits for it, gets it.
fn its_place_is_freed(test: &str, node: &str, service: &str) {
    let service = format!("keepalive = \"2s\"\nqueue_timeout = \"1h\"\n{service}");
    let Some(pair) = FarClient::with(test, node, &service) else { return };
    let mut waiting = raw(&pair.galeway);
    wait_service(&pair.galeway, "queued", 1);
    pair.far.vanish();
    let start = Instant::now();
    pair.listener.set_nonblocking(true).unwrap();
    let mut node = until(LONG, "the next client's session begins", || pair.listener.accept().ok()).0;
    node.set_nonblocking(false).unwrap();
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(12), "{:?}", start.elapsed());
    node.write_all(&greeting(1).packet()).unwrap();
    waiting.read_exact(&mut vec![0; greeting(1).packet().len()]).unwrap();
    assert_eq!(pair.galeway.node("n1")["connections"]["active"], 1);
    wait_service(&pair.galeway, "active", 1);
}

#[test]
fn a_client_that_vanished_frees_its_place_at_the_service() {
    its_place_is_freed("vanishing::a_client_that_vanished_frees_its_place_at_the_service", "", "max_connections = 1");
}

#[test]
fn a_client_that_vanished_frees_its_place_at_the_node() {
    its_place_is_freed("vanishing::a_client_that_vanished_frees_its_place_at_the_node", ", max_connections = 1", "");
}

/// Clients that vanish while they wait for a node leave the queue long before their time is over.
fn leaves_the_queue(test: &str, protocol: &str) {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let Some(far) = Far::new() else { return };
    let (fakes, _data) = Fakes::good(1);
    let service = format!("keepalive = \"2s\"\nqueue_timeout = \"1h\"\nprotocol = \"{protocol}\"");
    let galeway = near(&far, &fakes, ", max_connections = 1", &service);
    let _holder = raw(&galeway);
    wait_service(&galeway, "active", 1);
    let client = |role: &str| start(&far, test, &format!("{role} {}", galeway.addr()));
    let _clients = [client("silent"), client("eager")];
    wait_service(&galeway, "queued", 2);
    far.vanish();
    let start = Instant::now();
    wait_service(&galeway, "queued", 0);
    assert!(start.elapsed() >= secs(2) && start.elapsed() < secs(12), "{:?}", start.elapsed());
    let gone = [("reason", "client_gone")];
    until(LONG, "they are counted", || {
        (galeway.metric("galeway_connections_rejected_total", &gone) == 2.0).then_some(())
    });
}

#[test]
fn clients_of_mysql_that_vanish_in_the_queue_leave_it() {
    leaves_the_queue("vanishing::clients_of_mysql_that_vanish_in_the_queue_leave_it", "mysql");
}

#[test]
fn clients_of_bytes_that_vanish_in_the_queue_leave_it() {
    leaves_the_queue("vanishing::clients_of_bytes_that_vanish_in_the_queue_leave_it", "tcp");
}

#[test]
fn a_client_that_vanishes_before_its_header_ends_at_first_byte_timeout() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let test = "vanishing::a_client_that_vanishes_before_its_header_ends_at_first_byte_timeout";
    let Some(far) = Far::new() else { return };
    let (fakes, _data) = Fakes::good(1);
    // One that has not said who it is may be waited for.
    let service = "proxy_protocol = \"require\"\nproxy_protocol_from = [\"198.18.0.0/15\"]\nkeepalive = \"1h\"\n\
                   first_byte_timeout = \"3s\"\nmax_connections = 1";
    let galeway = near(&far, &fakes, "", service);
    let _client = start(&far, test, &format!("silent {}", galeway.addr()));
    let accepted = || galeway.metric("galeway_connections_accepted_total", &[]);
    until(LONG, "it has come", || (accepted() == 1.0).then_some(()));
    far.vanish();
    let ended = [("reason", "first_byte_timeout")];
    until(LONG, "it is given up", || {
        (galeway.metric("galeway_connections_rejected_total", &ended) == 1.0).then_some(())
    });
    let mut next = raw(&galeway);
    next.write_all(b"PROXY TCP4 10.0.0.1 192.0.2.1 1111 3306\r\n").unwrap();
    next.read_exact(&mut vec![0; greeting(1).packet().len()]).unwrap();
}
