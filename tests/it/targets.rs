//! Services that are given their targets, `connect =`, and who may use a service.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::fakes::{LONG, read_all};
use crate::harness::client::tcp_from;
use crate::harness::dns::Dns;
use crate::harness::{Galeway, millis, ports, secs, until, watchdog, within};

/// A server of no protocol: it reads to the end of data, answers with its name and what it read, and closes.
/// Dropped, it ends, and its port refuses.
pub(crate) struct Target {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    pub(crate) fn start(name: &str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    /// On a port that nobody else gets meanwhile.
    pub(crate) fn at(addr: SocketAddr, name: &str) -> Self {
        Self::on(TcpListener::bind(addr).unwrap(), name)
    }

    fn on(listener: TcpListener, name: &str) -> Self {
        let (addr, name) = (listener.local_addr().unwrap(), name.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(LONG)).unwrap();
                let name = name.clone();
                std::thread::spawn(move || answer(stream, &name));
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: impl Read + Write, name: &str) {
    let mut bytes = Vec::new();
    // A client that breaks off gets no answer.
    if stream.read_to_end(&mut bytes).is_ok() {
        let _ = stream.write_all(format!("{name}: ").as_bytes()).and_then(|()| stream.write_all(&bytes));
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Galeway with one service `s` of these lines, and where its clients connect.
fn front(lines: &str) -> (Galeway, SocketAddr) {
    let accept = local(ports::free());
    let galeway = Galeway::sections(&format!("[service.s]\naccept = \"{accept}\"\n{lines}\n"));
    galeway.wait_ready();
    (galeway, accept)
}

fn list(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    format!("connect = [{}]", quoted.join(", "))
}

/// One conversation: what was sent, to its end, and all that came back.
fn talk(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Who answers now.
#[track_caller]
fn who(accept: SocketAddr) -> String {
    let answer = TcpStream::connect(accept).and_then(|stream| talk(stream, b"x"));
    let answer = String::from_utf8(answer.unwrap_or_else(|e| panic!("{e}"))).unwrap();
    answer.strip_suffix(": x").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[track_caller]
fn logged(galeway: &Galeway, client: SocketAddr) -> Value {
    let client = client.to_string();
    until(LONG, "the access log's event", || galeway.access_log().into_iter().find(|e| e["client"] == *client))
}

#[test]
fn the_first_address_that_answers_is_used_and_an_earlier_one_again_when_it_is_back() {
    let (first, second) = (local(ports::free()), Target::start("second"));
    let (galeway, accept) = front(&list(&[first, second.addr()]));
    for _ in 0..3 {
        assert_eq!(who(accept), "second");
    }
    assert!(galeway.metric("galeway_connect_attempts_total", &[("result", "refused")]) >= 1.0);
    let back = Target::at(first, "first");
    until(secs(10), "the first one is used again", || (who(accept) == "first").then_some(()));
    for _ in 0..20 {
        assert_eq!(who(accept), "first", "and stays");
    }
    drop(back);
    for _ in 0..3 {
        assert_eq!(who(accept), "second", "no client fails when it goes");
    }
    drop(second);
    let _back = Target::at(first, "first");
    assert_eq!(who(accept), "first", "a client waits for the next look at worst");
}

#[test]
fn round_robin_takes_each_address_in_turn_and_passes_over_one_that_is_down() {
    let targets = [Target::start("a"), Target::start("b"), Target::start("c")];
    let addresses = targets.each_ref().map(Target::addr);
    let (galeway, accept) = front(&format!("{}\nfailover = \"round-robin\"", list(&addresses)));
    let turns: Vec<_> = (0..9).map(|_| who(accept)).collect();
    for three in turns.chunks(3) {
        let mut three = three.to_vec();
        three.sort();
        assert_eq!(three, ["a", "b", "c"], "{turns:?}");
    }
    let [a, b, c] = targets;
    drop(b);
    let mut turns: Vec<_> = (0..8).map(|_| who(accept)).collect();
    turns.sort();
    turns.dedup();
    assert_eq!(turns, ["a", "c"]);
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[]), 0.0);
    drop((a, c));
}

#[test]
fn bytes_and_ends_of_data_pass_both_ways_whatever_the_protocol() {
    let dir = watchdog::fresh_path("targets");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("t.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(LONG)).unwrap();
            std::thread::spawn(move || answer(stream, "unix"));
        }
    });
    let target = Target::start("tcp");
    let port = target.addr().port();
    let accepts: [u16; 4] = std::array::from_fn(|_| ports::free());
    let connects =
        [target.addr().to_string(), format!("localhost:{port}"), format!("unix:{}", path.display()), String::new()];
    let mut sections = String::new();
    for (i, (accept, connect)) in accepts.iter().zip(&connects).enumerate() {
        let connect = match connect.as_str() {
            "" => format!("[\"unix:{}\", \"unix:{}\"]", dir.join("gone.sock").display(), path.display()),
            one => format!("\"{one}\""),
        };
        sections +=
            &format!("[service.s{i}]\naccept = [\"127.0.0.1:{accept}\", \"unix:s{i}.sock\"]\nconnect = {connect}\n");
    }
    let galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    // More than all buffers between hold.
    let much: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
    for (i, (accept, name)) in accepts.iter().zip(["tcp", "tcp", "unix", "unix"]).enumerate() {
        let whole = [format!("{name}: ").as_bytes(), &much].concat();
        let answer = talk(TcpStream::connect(local(*accept)).unwrap(), &much).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(answer == whole, "{name}: {} bytes", answer.len());
        let mut client = UnixStream::connect(galeway.dir().join(format!("s{i}.sock"))).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), format!("{name}: hello").as_bytes());
    }
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[]), 0.0, "{}", galeway.log());
}

#[test]
fn with_no_address_left_a_client_is_reset_and_the_log_says_why() {
    let addresses = [local(ports::free()), local(ports::free())];
    let lines = format!("{}\nqueue_timeout = \"500ms\"", list(&addresses));
    let (galeway, accept) = front(&lines);
    let mut client = TcpStream::connect(accept).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let event = logged(&galeway, client.local_addr().unwrap());
    assert_eq!((event["end"].as_str(), event["node"].as_str()), (Some("no_node"), None), "{event}");
    let detail = event["detail"].as_str().unwrap();
    for address in addresses {
        assert!(detail.contains(&format!("{address}: connection refused")), "{event}");
    }
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "no_node")]), 1.0);

    // With protocol mysql it is told.
    let (_galeway, accept) = front(&format!("{lines}\nprotocol = \"mysql\""));
    let failure = crate::harness::Conn::greet(accept, LONG).map(drop).unwrap_err();
    assert_eq!(failure.error.code(), Some(1047), "{failure}");
    assert!(failure.to_string().contains("galeway: no address of service \"s\" can be reached: "), "{failure}");
    assert!(failure.to_string().contains("connection refused"), "{failure}");
}

#[test]
fn who_may_not_use_a_service_is_closed_without_a_byte() {
    let target = Target::start("t");
    let accept = local(ports::free());
    let six = format!("[::1]:{}", accept.port());
    let galeway = Galeway::sections(&format!(
        "[service.s]\naccept = [\"{accept}\", \"{six}\", \"unix:s.sock\"]\nconnect = \"{}\"\n\
         allow = [\"127.0.0.0/29\", \"2001:db8::/32\"]\ndeny = [\"127.0.0.2\", \"::ffff:127.0.0.6/127\"]\n",
        target.addr()
    ));
    galeway.wait_ready();
    let try_from = |last: u8| {
        let stream = tcp_from(IpAddr::from([127, 0, 0, last]), accept).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        (stream.local_addr().unwrap(), stream)
    };
    for allowed in [1, 3, 5] {
        assert_eq!(talk(try_from(allowed).1, b"x").unwrap(), b"t: x", "127.0.0.{allowed}");
    }
    for (n, denied) in (1..).zip([2, 6, 7, 8, 77]) {
        let (from, stream) = try_from(denied);
        assert_eq!(read_all(stream), b"", "127.0.0.{denied}");
        let event = logged(&galeway, from);
        assert_eq!(
            (event["end"].as_str(), event["detail"].as_str()),
            (Some("denied"), Some("by allow or deny")),
            "{event}"
        );
        assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "denied")]), f64::from(n));
    }
    let stream = TcpStream::connect(&*six).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(read_all(stream), b"", "::1 is in no allowed network");
    let mut client = UnixStream::connect(galeway.dir().join("s.sock")).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), b"t: x", "of a Unix socket the file's mode decides");
    assert!(within(millis(50), || (galeway.attempts(&target.addr().to_string()) > 4.0).then_some(())).is_none());
}

#[test]
fn a_name_that_is_not_there_yet_is_a_target_once_it_is() {
    let (target, other) = (Target::start("by-name"), Target::start("other"));
    let dns = Dns::start();
    dns.none("late.test");
    let (first, second) = (local(ports::free()), local(ports::free()));
    let late = format!("late.test:{}", target.addr().port());
    let galeway = Galeway::sections(&format!(
        "[service.alone]\naccept = \"{first}\"\nconnect = \"{late}\"\nqueue_timeout = \"300ms\"\n\
         [service.first]\naccept = \"{second}\"\nconnect = [\"{late}\", \"{}\"]\n\
         [process]\nnameservers = [\"{}\"]\n",
        other.addr(),
        dns.address()
    ));
    // Not ready: one of them can send nobody anywhere.
    let accepting = || (galeway.log().matches("\"accepting\"").count() == 2).then_some(());
    until(LONG, "both accept", accepting);
    assert_eq!(who(second), "other", "it holds nobody up");
    let mut client = TcpStream::connect(first).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let event = logged(&galeway, client.local_addr().unwrap());
    assert_eq!(event["end"], "no_node", "{event}");
    assert!(event["detail"].as_str().is_some_and(|d| d.contains("late.test")), "{event}");
    dns.set("late.test", &["127.0.0.9", "127.0.0.1"]);
    until(secs(10), "the name is used", || (who(second) == "by-name").then_some(()));
    assert_eq!(who(first), "by-name");
}

#[test]
fn a_source_that_this_host_does_not_hold_is_no_fault_of_the_node_and_is_named() {
    let target = Target::start("t");
    let lines = format!("{}\nqueue_timeout = \"300ms\"\nsource = \"198.51.100.9\"", list(&[target.addr()]));
    let (galeway, accept) = front(&lines);
    let mut client = TcpStream::connect(accept).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let event = logged(&galeway, client.local_addr().unwrap());
    let told = "this host does not hold source 198.51.100.9";
    assert!(event["detail"].as_str().is_some_and(|d| d.contains(told)), "{event}");
    let count = |result| galeway.metric("galeway_connect_attempts_total", &[("result", result)]);
    assert!(count("local") >= 1.0);
    assert_eq!(count("error"), 0.0);
}
