//! Clients that are none, or mean no good: what they send, what they do not send, and that they come in thousands.
//!
//! Each test asks the same: the process lives, others are served meanwhile, memory and descriptors stay bounded and come
//! back, and the counters say what happened.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fair::{before, counting};
use crate::fakes::{
    Fakes, LONG, access, connect, greeted_by, greeting, raw, read_all, service, set_state, wait_service,
};
use crate::harness::load::Manner;
use crate::harness::{Conn, Galeway, Load, Settings, ports, secs, until};
use crate::peer::FakeNode;

/// Behind a balancer of this host, which says for whom it speaks.
const PROXIED: &str = "proxy_protocol = \"require\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";

/// A good one of each version.
const V1: &[u8] = b"PROXY TCP4 10.0.0.1 192.0.2.1 1111 3306\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\xc0\0\x02\x01\x04\x57\x0c\xea";

fn rejected(galeway: &Galeway, reason: &str) -> f64 {
    galeway.metric("galeway_connections_rejected_total", &[("reason", reason)])
}

#[track_caller]
fn wait_rejected(galeway: &Galeway, reason: &str, count: f64) {
    until(LONG, &format!("{count} of {reason}"), || (rejected(galeway, reason) == count).then_some(()));
}

/// A client that comes with a good header is greeted.
#[track_caller]
fn is_served(galeway: &Galeway, header: &[u8]) {
    let mut client = raw(galeway);
    client.write_all(header).unwrap();
    let mut packet = vec![0; greeting(1).packet().len()];
    client.read_exact(&mut packet).unwrap();
    assert_eq!(packet, greeting(1).packet());
}

/// It is closed, in whatever way, without a byte.
#[track_caller]
fn is_closed_without_a_word(mut client: TcpStream, what: &str) {
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes);
    assert!(bytes.is_empty(), "{what}: {bytes:?}");
    assert!(
        end.as_ref().map_or_else(|e| e.kind() == std::io::ErrorKind::ConnectionReset, |_| true),
        "{what}: not closed: {end:?}"
    );
}

#[test]
fn what_is_no_header_is_closed_without_a_word_counted_and_told_in_the_access_log() {
    let (fakes, _data) = Fakes::good(1);
    let galeway = fakes.galeway(service(PROXIED));
    let v2 = |command: u8, family: u8, length: u16, block: &[u8]| {
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length.to_be_bytes(), block].concat()
    };
    let long = [b"PROXY TCP4 10.0.0.1 192.0.2.1 1111 3306", &[b' '; 200][..]].concat();
    let bad: &[(&str, Vec<u8>, &str)] = &[
        ("version 1 with LF alone", b"PROXY TCP4 10.0.0.1 192.0.2.1 1111 3306\n".to_vec(), "a port is no number"),
        ("version 1 without an end", long, "a port is no number"),
        ("version 1 of noise", [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), "more than 107 bytes"),
        ("a port out of range", b"PROXY TCP4 10.0.0.1 192.0.2.1 99999 3306\r\n".to_vec(), "a port is no number"),
        ("the families mixed", b"PROXY TCP4 ::1 192.0.2.1 1111 3306\r\n".to_vec(), "an address is none of its family"),
        ("version 2 of 65535 bytes", v2(0x21, 0x11, 65535, &[0; 5000]), "more than 4112 bytes"),
        ("version 2 shorter than its addresses", v2(0x21, 0x11, 4, &[0; 4]), "shorter than its addresses"),
        ("version 2 of another command", v2(0x2f, 0x11, 12, &[0; 12]), "neither LOCAL nor PROXY"),
        ("version 2 of version 3", v2(0x31, 0x11, 12, &[0; 12]), "version is not 2"),
        ("version 2 of datagrams", v2(0x21, 0x12, 12, &[0; 12]), "datagrams"),
        ("version 2 with an extension cut off", v2(0x21, 0x11, 14, &[0; 14]), "cut off"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03random".to_vec(), "no PROXY header"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: db\r\n\r\n".to_vec(), "it begins with \"GET / HTTP/1.1\\r\""),
        ("a login of MySQL", [&[60, 0, 0, 1][..], &[0x85; 60]].concat(), "no PROXY header"),
        ("zeros", vec![0; 64], "no PROXY header"),
    ];
    for (n, (what, bytes, why)) in (1..).zip(bad) {
        let mut client = raw(&galeway);
        let from = client.local_addr().ok();
        // It may be closed before all of it is written.
        let _ = client.write_all(bytes);
        is_closed_without_a_word(client, what);
        let event = access(&galeway, from);
        assert_eq!((&event["end"], &event["by"]), (&"bad_proxy_header".into(), &"client".into()), "{what}: {event}");
        assert!(event["detail"].as_str().unwrap().contains(why), "{what}: {event}");
        assert_eq!(rejected(&galeway, "bad_proxy_header"), f64::from(n), "{what}");
        is_served(&galeway, if n % 2 == 0 { V1 } else { V2 });
    }
    // Cut off at every place, which is how a client leaves, and no fault.
    let mut left = 0.0;
    for header in [V1, V2] {
        for end in 0..header.len() {
            let mut client = raw(&galeway);
            client.write_all(&header[..end]).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            is_closed_without_a_word(client, "cut off");
            left += 1.0;
        }
    }
    wait_rejected(&galeway, "client_gone", left);
    assert_eq!(rejected(&galeway, "bad_proxy_header"), bad.len() as f64);
    is_served(&galeway, V1);
    wait_service(&galeway, "active", 0);
}

#[test]
fn a_header_that_comes_too_slowly_ends_at_its_deadline_and_holds_up_nobody() {
    let (fakes, _data) = Fakes::good(1);
    // With a place for one: who has not said who he is holds none.
    let lines = format!("{PROXIED}\nfirst_byte_timeout = \"3s\"\nmax_connections = 4");
    let galeway = fakes.galeway(service(&lines));
    let began = Instant::now();
    let silent = raw(&galeway);
    let mut slow = [raw(&galeway), raw(&galeway)];
    let from: Vec<_> = [&silent, &slow[0], &slow[1]].map(|c| c.local_addr().ok()).into();
    for (v1, v2) in V1.iter().zip(V2) {
        for (client, byte) in slow.iter_mut().zip([v1, v2]) {
            // It is closed meanwhile.
            let _ = client.write_all(&[*byte]);
        }
        is_served(&galeway, V1);
        if rejected(&galeway, "first_byte_timeout") >= 3.0 {
            break;
        }
        thread::sleep(secs(1));
    }
    wait_rejected(&galeway, "first_byte_timeout", 3.0);
    assert!(began.elapsed() >= secs(3), "{:?}", began.elapsed());
    for from in from {
        let event = access(&galeway, from);
        assert_eq!((&event["end"], &event["by"]), (&"first_byte_timeout".into(), &"client".into()), "{event}");
    }
    is_closed_without_a_word(silent, "a silent client");
    for client in slow {
        is_closed_without_a_word(client, "a slow client");
    }
}

#[test]
fn a_thousand_clients_of_random_bytes_cost_nothing_that_lasts_and_no_other_client_anything() {
    const CLIENTS: u64 = 1000;
    let (fakes, _data) = Fakes::good(1);
    let galeway = fakes.galeway(service(&format!("{PROXIED}\nfirst_byte_timeout = \"2s\"")));
    fastrand::seed(4);
    let client = |n: u64| {
        let mut bytes: Vec<u8> = (0..fastrand::usize(1..6000)).map(|_| fastrand::u8(..)).collect();
        // Noise alone is seen through at its first byte: half of it is a good header with one byte changed.
        if n.is_multiple_of(2) {
            let mut header = if n.is_multiple_of(4) { V1 } else { V2 }.to_vec();
            let at = fastrand::usize(..header.len());
            header[at] ^= 1 << fastrand::u32(..8);
            bytes.splice(..0, header);
        }
        let mut client = raw(&galeway);
        let _ = client.write_all(&bytes);
        client
    };
    (0..100).for_each(|n| drop(client(n)));
    wait_service(&galeway, "active", 0);
    let (memory, descriptors) = (galeway.memory(), galeway.descriptors());
    let (done, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Also where this thread fails: the scope waits for the other one.
        let _ended = SetAtEnd(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                is_served(&galeway, if served.load(Ordering::Relaxed).is_multiple_of(2) { V1 } else { V2 });
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..CLIENTS {
            drop(client(n));
            // However the threads take turns, good clients are spread over the bad ones.
            let before = n / 50;
            until(LONG, "good clients are served", || (served.load(Ordering::Relaxed) >= before).then_some(()));
        }
    });
    let served = served.into_inner();
    wait_service(&galeway, "active", 0);
    // A changed address or port is a good header.
    let total = || {
        let closed = galeway.metric("galeway_connections_closed_total", &[]);
        let turned_away =
            ["bad_proxy_header", "client_gone", "first_byte_timeout"].map(|reason| rejected(&galeway, reason));
        (turned_away, closed, turned_away.iter().sum::<f64>() + closed)
    };
    let all = (CLIENTS + 100 + served) as f64;
    until(LONG, "each is counted once", || (total().2 == all).then_some(()));
    let grown = galeway.memory().saturating_sub(memory);
    println!("{served} good clients beside {CLIENTS} bad ones: {:?}; memory grew by {grown} bytes", total());
    assert!(rejected(&galeway, "bad_proxy_header") > CLIENTS as f64 / 2.0);
    assert!(served > 10 && grown < 8 << 20, "{served} good clients, {grown} bytes");
    assert_eq!(galeway.metric("galeway_connections_closed_total", &[("reason", "internal_error")]), 0.0);
    until(LONG, "its descriptors are closed", || (galeway.descriptors() <= descriptors + 4).then_some(()));
}

#[test]
fn a_client_that_speaks_before_the_greeting_waits_as_others_do_and_only_a_login_reaches_the_node() {
    const LOGIN: &[u8] = &[3, 0, 0, 1, b'a', b'b', b'c'];
    const HTTP: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    let fakes = Fakes::new(1);
    set_state(fakes.check(1), "1");
    let listener = fakes.listen(1);
    let galeway = fakes.spawn(service("queue_timeout = \"1h\""));
    until(LONG, "it runs", || (galeway.try_get("/api/status")?.1.contains("\"running\"")).then_some(()));
    let clients = (1..).zip([LOGIN, HTTP, HTTP, LOGIN]).map(|(n, bytes)| {
        let mut client = raw(&galeway);
        client.write_all(bytes).unwrap();
        wait_service(&galeway, "queued", n);
        client
    });
    let [eager, scanner, leaves, resets] = <[TcpStream; 4]>::try_from(clients.collect::<Vec<_>>()).unwrap();
    drop(leaves);
    wait_service(&galeway, "queued", 3);
    socket2::SockRef::from(&resets).set_linger(Some(Duration::ZERO)).unwrap();
    drop(resets);
    wait_service(&galeway, "queued", 2);
    wait_rejected(&galeway, "client_gone", 2.0);
    set_state(fakes.check(1), "4");
    // Both are woken together and may come in either order.
    let mut logins = 0;
    for _ in 0..2 {
        let node = listener.accept().unwrap().0;
        node.set_read_timeout(Some(LONG)).unwrap();
        (&node).write_all(&greeting(1).packet()).unwrap();
        let mut said = Vec::new();
        // The scanner's session ends, however: by a reset as a rule.
        let _ = (&node).take(LOGIN.len() as u64).read_to_end(&mut said);
        assert!(said == LOGIN || said.is_empty(), "{said:?}");
        logins += usize::from(said == LOGIN);
    }
    assert_eq!(logins, 1);
    assert_eq!(read_all(&eager), greeting(1).packet());
    assert_eq!(access(&galeway, scanner.local_addr().ok())["end"], "no_login");
}

#[test]
fn a_storm_of_resets_leaves_nothing_behind_and_others_are_served() {
    const STORM: usize = 2000;
    let node = FakeNode::start("n1");
    let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    let (accept, admin) = (local(), local());
    let settings = Settings {
        process: "workers = 2",
        monitor: crate::fakes::FAST,
        ..service("queue_timeout = \"1h\"\nmax_queue = 5000\nmax_connections = 20")
    };
    let text = settings.text(&[("n1".to_owned(), node.addr())], accept, admin);
    // Full now and then: resets meet the queue as well.
    let text = text.replace("name = \"n1\"", "name = \"n1\", max_connections = 10");
    let galeway = Galeway::spawn_text(&text, accept, admin);
    galeway.wait_ready();
    // A packet of 500 bytes is announced.
    let part_of_a_login = |bytes: usize| [&[0xf4, 1, 0, 1][..], &vec![0x85; bytes]].concat();
    let storm = |count: usize| {
        for n in 0..count {
            let mut client = raw(&galeway);
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            match n % 5 {
                // At once; after a moment; behind bytes; once greeted; in the middle of a login.
                0 => {}
                1 => thread::sleep(Duration::from_micros(fastrand::u64(..2000))),
                2 => drop(client.write_all(&part_of_a_login(300))),
                3 => drop(client.read(&mut [0; 200])),
                _ => {
                    let _ = client.read(&mut [0; 200]);
                    let _ = client.write_all(&part_of_a_login(1));
                }
            }
        }
    };
    let quiet = || {
        wait_service(&galeway, "active", 0);
        wait_service(&galeway, "queued", 0);
        until(LONG, "n1 has no session", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
    };
    storm(200);
    quiet();
    let (descriptors, memory) = (galeway.descriptors(), galeway.memory());
    let load = Load::with(galeway.addr(), Manner { threads: 3, ..Manner::BUSY });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| storm(STORM / 4));
        }
    });
    load.wait_for(10);
    let report = load.stop();
    println!("{} iterations of others beside {STORM} resets, at most {:?}", report.iterations.len(), report.slowest());
    assert_eq!(report.failed_connects(), [""; 0]);
    assert_eq!(report.broken(), []);
    assert!(report.iterations.len() >= 10);
    quiet();
    let all = galeway.metric("galeway_connections_accepted_total", &[]);
    until(LONG, "each is counted once", || {
        let ended = galeway.metric("galeway_connections_closed_total", &[])
            + galeway.metric("galeway_connections_rejected_total", &[]);
        (ended == all).then_some(())
    });
    assert_eq!(galeway.metric("galeway_connections_closed_total", &[("reason", "internal_error")]), 0.0);
    assert_eq!(galeway.node("n1")["connections"]["failed"], 0, "that was not the node's doing");
    until(LONG, "its descriptors are closed", || (galeway.descriptors() <= descriptors + 4).then_some(()));
    let grown = galeway.memory().saturating_sub(memory);
    println!("memory grew by {grown} bytes");
    assert!(grown < 8 << 20, "{grown} bytes");
    // All twenty places of the service and ten of the node are there still.
    let held: Vec<_> = (0..10).map(|_| connect(&galeway)).collect();
    assert_eq!(galeway.node("n1")["connections"]["active"], held.len());
}

/// Is set when this goes out of scope.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One flood at a time: the limit of open files is the whole process's.
fn alone() -> MutexGuard<'static, ()> {
    static FLOOD: Mutex<()> = Mutex::new(());
    FLOOD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many connections this machine allows a flood to have; 10,000 unless its limit of open files is lower.
fn flood_size() -> usize {
    const FLOOD: usize = 10_000;
    // Beside them: the sockets of up to 2,000 sessions at the nodes, which this process is too, and what other tests have open.
    const BESIDE: u64 = 4_000;
    let limit = getrlimit(Resource::Nofile);
    // Also what Galeway inherits and raises by itself.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let most = limit.maximum.map_or(FLOOD, |n| usize::try_from(n.saturating_sub(BESIDE)).unwrap());
    if most < FLOOD {
        println!("the limit of open files allows {most} connections instead of {FLOOD}");
    }
    assert!(most > 4000, "the hard limit of open files ({limit:?}) is too low for this test: see ulimit -Hn");
    most.min(FLOOD)
}

/// Opens connections that are never used: of three addresses, which have ports enough. Those that were turned away meanwhile
/// are not among them.
fn flood(galeway: &Galeway, count: usize) -> Vec<TcpStream> {
    let open = |n: usize| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // No port of it stays taken.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        let last = 11 + (n % 3) as u8;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
        match socket.connect_timeout(&galeway.addr().into(), LONG) {
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            connected => Some(connected.map(|()| TcpStream::from(socket)).unwrap()),
        }
    };
    (0..count).filter_map(open).collect()
}

/// The most that a client that only waits may cost, in bytes.
const WAITING_MOST: u64 = 6144;

fn never_used(protocol: &str) {
    const SESSIONS: usize = 2000;
    const QUEUE: usize = 1000;
    let _alone = alone();
    let all = flood_size();
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    let lines =
        format!("protocol = \"{protocol}\"\nqueue_timeout = \"1h\"\nmax_connections = {SESSIONS}\nmax_queue = {QUEUE}");
    let more = format!("[service.other]\naccept = \"{other}\"\ncluster = \"main\"");
    // One worker: see limits.rs.
    let galeway = before(&fakes, &[""], Settings { process: "workers = 1", ..service(&lines) }, &more);
    let is_served = || assert_eq!(greeted_by(&Conn::greet(other, LONG).unwrap()), "n1");
    is_served();
    let (descriptors, start) = (galeway.descriptors(), galeway.memory());
    let mut clients = flood(&galeway, SESSIONS);
    wait_service(&galeway, "active", SESSIONS as u64);
    let full = galeway.memory();
    clients.extend(flood(&galeway, QUEUE));
    wait_service(&galeway, "queued", QUEUE as u64);
    let waiting = galeway.memory().saturating_sub(full) / QUEUE as u64;
    is_served();
    clients.extend(flood(&galeway, all - SESSIONS - QUEUE));
    let turned_away = (all - SESSIONS - QUEUE) as f64;
    wait_rejected(&galeway, "too_many_connections", turned_away);
    is_served();
    let grown = galeway.memory().saturating_sub(start);
    let idle = full.saturating_sub(start) / SESSIONS as u64;
    println!(
        "{protocol}: {all} connections: {idle} bytes a session, {waiting} bytes a client that waits, {grown} in all"
    );
    assert!(waiting <= WAITING_MOST, "a client that waits costs {waiting} bytes");
    assert!(grown < 48 << 20, "{grown} bytes for {all} connections");
    // Those that are turned away are told and let go: their descriptors are free again.
    let held = 2 * SESSIONS + QUEUE;
    until(LONG, "only those that may stay are held", || {
        (galeway.descriptors() <= descriptors + held + 16).then_some(())
    });
    assert_eq!(galeway.metric("galeway_connections_accepted_total", &[("service", "any")]), all as f64);
    let status = galeway.status();
    assert_eq!((&status["services"][0]["active"], &status["services"][0]["queued"]), (&SESSIONS.into(), &QUEUE.into()));
    // And those of the other service, which may end late.
    assert!(seen.most() <= SESSIONS + 3, "{} sessions at the node", seen.most());
    drop(clients);
    wait_service(&galeway, "queued", 0);
    wait_service(&galeway, "active", 0);
    until(LONG, "the node has no session", || (galeway.node("n1")["connections"]["active"] == 0).then_some(()));
    until(LONG, "its descriptors are closed", || (galeway.descriptors() <= descriptors + 16).then_some(()));
    is_served();
}

#[test]
fn ten_thousand_connections_that_are_never_used_are_bounded_with_protocol_mysql() {
    never_used("mysql");
}

#[test]
fn ten_thousand_connections_that_are_never_used_are_bounded_with_protocol_tcp() {
    never_used("tcp");
}

#[test]
fn of_ten_thousand_that_never_say_who_they_are_no_more_are_held_than_may_have_sessions() {
    const SESSIONS: usize = 2000;
    let _alone = alone();
    let all = flood_size();
    for protocol in ["mysql", "tcp"] {
        let fakes = Fakes::new(1);
        let (_node, seen) = counting(&fakes, 1);
        let other = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let lines = format!(
            "{PROXIED}\nprotocol = \"{protocol}\"\nfirst_byte_timeout = \"4s\"\nmax_connections = {SESSIONS}\nmax_queue = 1000"
        );
        let more = format!("[service.other]\naccept = \"{other}\"\ncluster = \"main\"");
        let galeway = before(&fakes, &[""], Settings { process: "workers = 1", ..service(&lines) }, &more);
        let is_served = || assert_eq!(greeted_by(&Conn::greet(other, LONG).unwrap()), "n1");
        is_served();
        let (descriptors, start) = (galeway.descriptors(), galeway.memory());
        let mut most = 0;
        let began = Instant::now();
        let mut clients = Vec::new();
        for n in 0..20 {
            clients.extend(flood(&galeway, all * (n + 1) / 20 - all * n / 20));
            most = most.max(galeway.memory().saturating_sub(start));
            is_served();
        }
        println!("{protocol}: {all} came within {:?}; memory grew by at most {most} bytes", began.elapsed());
        assert!(most < 48 << 20, "{most} bytes");
        until(LONG, "each is turned away", || {
            let reasons = ["first_byte_timeout", "too_many_connections"].map(|reason| rejected(&galeway, reason));
            (reasons.iter().sum::<f64>() == all as f64).then(|| println!("{protocol}: {reasons:?}"))
        });
        assert!(began.elapsed() >= secs(4), "nobody is turned away before the deadline for want of a header");
        assert!(rejected(&galeway, "first_byte_timeout") >= SESSIONS as f64);
        until(LONG, "none is held", || (galeway.descriptors() <= descriptors + 16).then_some(()));
        // Nobody came to the node on their behalf.
        until(LONG, "the others' sessions have ended", || (seen.now() == 0).then_some(()));
        assert_eq!(galeway.metric("galeway_connect_attempts_total", &[("service", "any")]), 0.0);
        drop(clients);
        crate::hostile::is_served(&galeway, if protocol == "tcp" { V2 } else { V1 });
    }
}
