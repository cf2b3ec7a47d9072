//! Clusters of other kinds: servers by themselves, one of which takes writes, and whatever takes a connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::{INTERVAL, ROUND, SLACK, assert_alive, assert_no_failed_connect, session_of};
use crate::harness::galeway::{WRITER_AND_READER, table};
use crate::harness::load::Manner;
use crate::harness::{Galeway, Load, Node, Settings, cluster, ports, secs, server};

/// Keys of each service: a client who comes between two writers waits.
const SERVICE: &str = "balance = \"round-robin\"";

/// The second takes no writes. Of one that does not the check asks whether it replicates.
fn pair() -> [Node; 2] {
    let servers = [server("s1", &["--read-only=OFF"]), server("s2", &["--read-only=ON"])];
    for server in &servers {
        server.sql("GRANT SLAVE MONITOR ON *.* TO monitor@'%'");
    }
    servers
}

fn before(servers: &[Node], monitor: &str, reader: &str) -> Galeway {
    let nodes: Vec<String> = servers.iter().map(|s| table(&s.name, s.addr(), "")).collect();
    let monitor = format!("kind = \"mysql\"\n{monitor}");
    let settings =
        Settings { monitor: &monitor, roles: WRITER_AND_READER, service: SERVICE, reader, ..Settings::default() };
    let galeway = Galeway::spawn_nodes(&nodes, settings);
    galeway.wait_ready();
    galeway
}

#[test]
fn the_writer_is_the_server_that_takes_writes_and_moves_with_read_only() {
    // Servers and no cluster: but two tests never work on real servers at once.
    let _turn = cluster();
    let servers = pair();
    let galeway = before(&servers, "", "reader_includes_writer = \"always\"");
    galeway.wait_writer("s1", secs(5));
    assert_eq!(galeway.node("s1")["reason"], "takes writes (read_only=OFF)");
    assert_eq!(galeway.node("s2")["reason"], "read-only");
    assert_eq!(galeway.cluster()["verdict"], "primary");
    let mut writing = session_of(galeway.service("writer"), "s1");
    let mut reading = session_of(galeway.service("reader"), "s1");
    let writers = Load::with(galeway.service("writer"), Manner::FEW);
    let readers = Load::with(galeway.service("reader"), Manner::FEW);
    writers.wait_for(20);
    readers.wait_for(20);

    // As an operator or a manager of replicas does it: first nobody takes writes, then the other one does.
    let swapped = Instant::now();
    servers[0].sql("SET GLOBAL read_only = ON");
    assert!(writing.ends_within(secs(5)), "a session stays where nothing can be written any more");
    println!("read_only: the writer's sessions ended after {:?}", swapped.elapsed());
    assert!(swapped.elapsed() < ROUND + SLACK, "{:?}", swapped.elapsed());
    // Nobody is sent to a server that takes no writes.
    let gap = Instant::now();
    galeway.wait_cluster(secs(5), "no writer", |c| c["writer"].is_null());
    assert_eq!(galeway.get("/readyz?service=writer").0, 503);
    std::thread::sleep(2 * INTERVAL);
    let opened = Instant::now();
    servers[1].sql("SET GLOBAL read_only = OFF");
    galeway.wait_writer("s2", ROUND + SLACK);
    println!("read_only: another writer after {:?}", opened.elapsed());
    let moved = Instant::now();
    writers.wait_for(20);
    readers.wait_for(20);
    let (writers, readers) = (writers.stop(), readers.stop());
    assert_no_failed_connect(&writers);
    assert_no_failed_connect(&readers);
    let between = writers.iterations.iter().filter(|i| i.start > gap && i.outcome.is_ok());
    let nodes: Vec<&str> = between.filter_map(|i| i.node.as_deref()).collect();
    assert!(!nodes.is_empty() && nodes.iter().all(|n| *n == "s2"), "{nodes:?}");
    assert!(writers.by_node_since(moved).contains_key("s2"));
    let read = readers.by_node_since(moved);
    assert!(read.contains_key("s1") && read.contains_key("s2"), "{read:?}");
    // A reader's session stays on the server that went on reading.
    assert_alive(&mut reading);
    let log = galeway.log();
    assert!(log.contains("it takes no writes"), "{log}");
}

#[test]
fn a_writer_that_is_killed_is_replaced_by_the_server_that_was_opened_for_writing() {
    let _turn = cluster();
    let servers = pair();
    let galeway = before(&servers, "interval = \"100ms\"", "");
    galeway.wait_writer("s1", secs(5));
    let load = Load::with(galeway.service("writer"), Manner::FEW);
    load.wait_for(10);
    servers[1].sql("SET GLOBAL read_only = OFF");
    let apart = galeway.wait_verdict("s2", "excluded", secs(5));
    assert_eq!(apart["reason"], "takes writes beside s1, and lacks what is written there");
    servers[0].kill();
    galeway.wait_writer("s2", ROUND + SLACK);
    load.wait_for(20);
    assert_no_failed_connect(&load.stop());
}

/// Says its name to everybody and closes.
struct Sayer {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    met: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Sayer {
    fn start(port: u16, name: u8) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, met) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (stop, met) = (Arc::clone(&stop), Arc::clone(&met));
            move || {
                for mut stream in listener.incoming().flatten() {
                    if stop.load(Ordering::Relaxed) {
                        // Closing would not do: a process that another test is just starting holds a copy until its exec, and
                        // clients would go on being taken, and reset then.
                        let _ = socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
                        return;
                    }
                    met.fetch_add(1, Ordering::Relaxed);
                    // A check is gone by now.
                    let _ = std::io::Write::write_all(&mut stream, &[name]);
                }
            }
        });
        Self { addr, stop, met, thread: Some(thread) }
    }
}

impl Drop for Sayer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What one client hears, and which one it is where it hears nothing.
fn hear(addr: SocketAddr) -> Result<u8, String> {
    let began = Instant::now();
    let mut from = None;
    let mut heard = [0; 1];
    let mut listen = || {
        let mut stream = TcpStream::connect(addr)?;
        from = stream.local_addr().ok();
        stream.set_read_timeout(Some(secs(5)))?;
        std::io::Read::read_exact(&mut stream, &mut heard)
    };
    let end = listen();
    end.map(|()| heard[0]).map_err(|e| format!("{from:?} after {:?}: {e}", began.elapsed()))
}

#[test]
fn whatever_takes_a_connection_is_balanced_while_it_does() {
    let [first, second] = [ports::free(), ports::free()];
    let one = Sayer::start(first, b'1');
    let two = Sayer::start(second, b'2');
    let nodes = [table("one", one.addr, ""), table("two", two.addr, "")];
    let settings = Settings {
        monitor: "kind = \"tcp\"\ninterval = \"100ms\"\nfast_interval = \"20ms\"",
        service: "protocol = \"tcp\"\nbalance = \"round-robin\"\nqueue_timeout = \"500ms\"",
        ..Settings::default()
    };
    let galeway = Galeway::spawn_nodes(&nodes, settings);
    galeway.wait_ready();
    for name in ["one", "two"] {
        let node = galeway.wait_verdict(name, "eligible", secs(5));
        assert_eq!(node["reason"], "takes connections");
    }
    assert!(galeway.cluster()["writer"].is_null());
    let heard = |n: usize| -> Vec<_> { (0..n).map(|_| hear(galeway.addr())).collect() };
    let both = heard(20);
    assert_eq!([b'1', b'2'].map(|name| both.iter().filter(|heard| **heard == Ok(name)).count()), [10, 10], "{both:?}");

    drop(one);
    // From the first moment on: who is refused is no loss to a client.
    assert_eq!(heard(20), vec![Ok(b'2'); 20]);
    let node = galeway.wait_verdict("one", "excluded", secs(5));
    assert_eq!(node["reason"], "unreachable (connection refused)");
    drop(two);
    galeway.wait_verdict("two", "excluded", secs(5));
    assert!(hear(galeway.addr()).is_err());
    assert_eq!(galeway.get("/readyz").0, 503);

    // Both return.
    let one = Sayer::start(first, b'1');
    galeway.wait_verdict("one", "eligible", secs(5));
    assert_eq!(heard(5), vec![Ok(b'1'); 5]);
    assert!(one.met.load(Ordering::Relaxed) > 5, "the checks knock too");
}
