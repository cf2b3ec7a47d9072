//! Who is served when there is not room for all: no more than there may be, first come first served, and nobody waits for
//! a place that is free.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fakes::{FAST, Fakes, LONG, greeting, raw, refused, service, set_state, wait_service};
use crate::harness::{Galeway, Settings, millis, ports, secs, until, within};
use crate::peer::Peer;

/// Sessions that a node has and has had at once, by its own count.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    total: AtomicUsize,
}

impl Seen {
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }
}

/// One session at a node that counts.
struct Here(Arc<Seen>);

impl Here {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.total.fetch_add(1, Ordering::SeqCst);
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Clients of node `i` are counted and greeted; their first packet ends the session, as COM_QUIT does.
pub(crate) fn counting(fakes: &Fakes, i: u8) -> (Peer, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let count = Arc::clone(&seen);
    let peer = fakes.peer(i, move |mut conn| {
        let count = Arc::clone(&count);
        async move {
            // Counted down before the connection is closed: Galeway hears of the end afterwards.
            let here = Here::new(&count);
            conn.greet(&greeting(i)).await?;
            let ended = conn.read().await;
            drop(here);
            ended.map(drop)
        }
    });
    (peer, seen)
}

/// Galeway, ready, before these nodes with lines of their own, and further lines at the end of the file.
pub(crate) fn before(fakes: &Fakes, nodes: &[&str], settings: Settings<'_>, more: &str) -> Galeway {
    let galeway = before_unready(fakes, nodes, settings, more);
    galeway.wait_ready();
    galeway
}

fn before_unready(fakes: &Fakes, nodes: &[&str], settings: Settings<'_>, more: &str) -> Galeway {
    let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    let (accept, admin) = (local(), local());
    let monitor = format!("port = {}\n{FAST}", fakes.check(1).addr().port());
    let settings = Settings { monitor: &monitor, ..settings };
    let named: Vec<_> = (1..).zip(nodes).map(|(i, _)| (format!("n{i}"), fakes.data(i))).collect();
    let mut text = settings.text(&named, accept, admin);
    for (i, lines) in (1..).zip(nodes).filter(|(_, lines)| !lines.is_empty()) {
        let name = format!("name = \"n{i}\"");
        assert!(text.contains(&name), "{text}");
        text = text.replace(&name, &format!("{name}, {lines}"));
    }
    Galeway::spawn_text(&format!("{text}\n{more}\n"), accept, admin)
}

/// A service of two workers with these lines: clients that come one after the other land on both.
fn two_workers(lines: &str) -> Settings<'_> {
    Settings { process: "workers = 2", ..service(lines) }
}

/// A connection from this address of loopback, with bytes that it sends first.
fn from(last: u8, galeway: &Galeway, first: &[u8]) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect_timeout(&galeway.addr().into(), LONG).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(first).unwrap();
    stream
}

/// Reads the first packet: whose greeting it is, or the error's code, SQLSTATE and text.
#[track_caller]
fn first_packet(mut client: &TcpStream) -> Result<String, (u16, String, String)> {
    let mut header = [0; 4];
    client.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::from(header[0]) + (usize::from(header[1]) << 8)];
    client.read_exact(&mut payload).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if payload[0] == 0xff {
        return Err((u16::from_le_bytes([payload[1], payload[2]]), text(&payload[4..9]), text(&payload[9..])));
    }
    let end = payload.iter().position(|b| *b == 0).unwrap();
    Ok(text(&payload[1..end]).trim_start_matches("5.5.5-").to_owned())
}

/// A client that has a session.
fn greeted(galeway: &Galeway) -> TcpStream {
    let client = raw(galeway);
    first_packet(&client).unwrap();
    client
}

/// Has its session ended by a node that counts.
fn quit(mut client: TcpStream) {
    client.write_all(&[1, 0, 0, 1, 1]).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
}

fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// Something has come for this client.
fn has_heard(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let heard = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    heard.is_ok()
}

/// As many sessions of the first cluster's node as this.
#[track_caller]
fn wait_active(galeway: &Galeway, node: &str, sessions: u64) {
    until(LONG, &format!("{node} has {sessions} sessions"), || {
        (galeway.node(node)["connections"]["active"] == sessions).then_some(())
    });
}

fn queued(galeway: &Galeway) -> u64 {
    galeway.status()["services"][0]["queued"].as_u64().unwrap()
}

/// `count` clients one after the other, each waiting in the queue before the next one comes.
fn line_up(galeway: &Galeway, count: u64) -> Vec<TcpStream> {
    let before = queued(galeway);
    let come = |n| {
        let client = raw(galeway);
        wait_service(galeway, "queued", before + n);
        client
    };
    (1..=count).map(come).collect()
}

// ---- the node's max_connections

#[test]
fn of_two_hundred_clients_that_come_together_no_node_ever_has_one_too_many() {
    let fakes = Fakes::new(2);
    let ((_one, first), (_two, second)) = (counting(&fakes, 1), counting(&fakes, 2));
    let nodes = ["max_connections = 5", "max_connections = 3"];
    let galeway = before(&fakes, &nodes, two_workers("queue_timeout = \"1h\""), "");
    let barrier = std::sync::Barrier::new(200);
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                barrier.wait();
                let client = raw(&galeway);
                first_packet(&client).unwrap();
                thread::sleep(millis(5));
                quit(client);
            });
        }
    });
    println!("at most {} and {} sessions at once", first.most(), second.most());
    assert_eq!((first.most(), second.most()), (5, 3), "full, and never more");
    assert_eq!(first.total() + second.total(), 200, "each was served once");
    wait_active(&galeway, "n1", 0);
    wait_active(&galeway, "n2", 0);
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[]), 0.0);
}

/// Twenty clients wait for the only place; which of them gets it each time it is free.
#[track_caller]
fn served_in_order(galeway: &Galeway) {
    let holder = greeted(galeway);
    let mut waiting: Vec<_> = (0..20).zip(line_up(galeway, 20)).collect();
    quit(holder);
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let next = until(LONG, "the next one is served", || waiting.iter().position(|(_, client)| has_heard(client)));
        let (number, client) = waiting.remove(next);
        first_packet(&client).unwrap();
        order.push(number);
        quit(client);
    }
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

#[test]
fn clients_that_wait_for_a_nodes_place_are_served_in_the_order_of_their_arrival() {
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    let galeway = before(&fakes, &["max_connections = 1"], two_workers("queue_timeout = \"1h\""), "");
    served_in_order(&galeway);
    assert_eq!((seen.most(), seen.total()), (1, 21));
}

#[test]
fn clients_that_wait_for_a_services_place_are_served_in_the_order_of_their_arrival() {
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    let galeway = before(&fakes, &[""], two_workers("queue_timeout = \"1h\"\nmax_connections = 1"), "");
    served_in_order(&galeway);
    assert_eq!((seen.most(), seen.total()), (1, 21));
}

#[test]
fn beyond_max_queue_a_client_hears_at_once_what_is_full() {
    let lines = "queue_timeout = \"1h\"\nmax_queue = 3";
    for (node, lines, code, text, reason) in [
        ("max_connections = 1", lines.to_owned(), (1047, "08S01"), "full (max_connections = 1)", "queue_full"),
        (
            "",
            format!("{lines}\nmax_connections = 1"),
            (1040, "08004"),
            "galeway: too many connections (max_connections = 1)",
            "too_many_connections",
        ),
    ] {
        let fakes = Fakes::new(1);
        let (_node, _) = counting(&fakes, 1);
        let galeway = before(&fakes, &[node], two_workers(&lines), "");
        let holder = greeted(&galeway);
        let waiting = line_up(&galeway, 3);
        for n in 1..=5 {
            let (said, state, words) = refused(&galeway);
            assert_eq!((said, &*state), code, "{words}");
            assert!(words.contains(text), "{words}");
            let counted = galeway.metric("galeway_connections_rejected_total", &[("reason", reason)]);
            assert_eq!(counted, f64::from(n));
        }
        assert_eq!(queued(&galeway), 3, "those that wait are not concerned");
        assert!(!waiting.iter().any(has_heard));
        quit(holder);
        assert_eq!(first_packet(&waiting[0]).unwrap(), "n1");
    }
}

#[test]
fn with_no_queue_at_all_nobody_waits() {
    let fakes = Fakes::new(1);
    let (_node, _) = counting(&fakes, 1);
    let lines = "queue_timeout = \"1h\"\nmax_queue = 0";
    let galeway = before(&fakes, &["max_connections = 1"], service(lines), "");
    let holder = greeted(&galeway);
    assert_eq!(refused(&galeway).0, 1047);
    quit(holder);
    wait_active(&galeway, "n1", 0);
    assert_eq!(first_packet(&raw(&galeway)).unwrap(), "n1");
}

#[test]
fn who_leaves_the_queue_is_gone_at_once_and_the_next_one_moves_up() {
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    let galeway = before(&fakes, &["max_connections = 1"], two_workers("queue_timeout = \"1h\""), "");
    let holder = greeted(&galeway);
    let mut waiting = line_up(&galeway, 5);
    let last = waiting.pop().unwrap();
    let speaking = |mut client: TcpStream| {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // It is read as little as a silent one, and so it has to be looked after.
        thread::sleep(millis(50));
        client
    };
    let leaves: [(&str, &dyn Fn(TcpStream)); 4] = [
        ("an end of data", &drop),
        ("an end of data after bytes", &|client| drop(speaking(client))),
        ("a reset", &reset),
        ("a reset after bytes", &|client| reset(speaking(client))),
    ];
    for (left, ((what, leave), client)) in (1..=4).rev().zip(leaves.iter().zip(waiting)) {
        leave(client);
        let began = Instant::now();
        until(secs(5), what, || (queued(&galeway) == left).then_some(()));
        println!("after {what}, the queue was shorter within {:?}", began.elapsed());
        assert_eq!(galeway.metric("galeway_queue_depth", &[("service", "any")]), left as f64);
    }
    let gone = [("reason", "client_gone")];
    until(LONG, "four left", || (galeway.metric("galeway_connections_rejected_total", &gone) == 4.0).then_some(()));
    assert!(!has_heard(&last));
    quit(holder);
    assert_eq!(first_packet(&last).unwrap(), "n1");
    assert_eq!(seen.total(), 2, "nobody was connected to the node on behalf of those who left");
}

#[test]
fn a_node_that_may_serve_again_and_each_free_place_wake_as_many_as_there_is_room_for() {
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    set_state(fakes.check(1), "1");
    let galeway = before_unready(&fakes, &["max_connections = 2"], two_workers("queue_timeout = \"1h\""), "");
    until(LONG, "it runs", || (galeway.try_get("/api/status")?.1.contains("\"running\"")).then_some(()));
    let mut waiting = line_up(&galeway, 4);
    set_state(fakes.check(1), "4");
    let first: Vec<_> = waiting.drain(..2).collect();
    assert_eq!(first.iter().map(|c| first_packet(c).unwrap()).collect::<Vec<_>>(), ["n1", "n1"]);
    assert_eq!(queued(&galeway), 2);
    // A few checks later as well.
    thread::sleep(millis(300));
    assert!(!waiting.iter().any(has_heard) && seen.now() == 2);
    assert!(galeway.node("n1")["reason"].as_str().unwrap().contains("full (max_connections = 2)"));
    for (client, next) in first.into_iter().zip(&waiting) {
        quit(client);
        assert_eq!(first_packet(next).unwrap(), "n1");
    }
    assert_eq!((seen.most(), queued(&galeway)), (2, 0));
}

#[test]
fn services_that_share_a_node_share_its_places_and_wake_each_other() {
    let fakes = Fakes::new(1);
    let (_node, seen) = counting(&fakes, 1);
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    let more = format!("[service.other]\naccept = \"{other}\"\ncluster = \"main\"\nqueue_timeout = \"1h\"");
    let galeway = before(&fakes, &["max_connections = 2"], two_workers("queue_timeout = \"1h\""), &more);
    let to_other = || {
        let client = TcpStream::connect(other).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    };
    let (mine, theirs) = (greeted(&galeway), to_other());
    first_packet(&theirs).unwrap();
    let waiting = line_up(&galeway, 1).remove(0);
    let theirs_waiting = to_other();
    until(LONG, "one waits at each", || {
        (galeway.metric("galeway_queue_depth", &[("service", "other")]) == 1.0).then_some(())
    });
    // Each place is left by a client of the other service than the one that waits on.
    quit(theirs);
    let (next, last) =
        until(LONG, "one of them is served", || match (has_heard(&waiting), has_heard(&theirs_waiting)) {
            (false, false) => None,
            (true, _) => Some((&waiting, &theirs_waiting)),
            (false, true) => Some((&theirs_waiting, &waiting)),
        });
    assert_eq!(first_packet(next).unwrap(), "n1");
    assert!(!has_heard(last));
    quit(mine);
    assert_eq!(first_packet(last).unwrap(), "n1");
    assert_eq!((seen.most(), seen.total()), (2, 4));
    wait_active(&galeway, "n1", 2);
}

#[test]
fn a_node_that_has_not_taken_a_broken_sessions_last_bytes_has_that_session_still() {
    let fakes = Fakes::new(1);
    let listener = fakes.listen(1);
    // So little that what a client sends stays on its way while the node does not read.
    socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let galeway = before(&fakes, &["max_connections = 1"], two_workers("queue_timeout = \"1h\""), "");
    let greet = |mut node: &TcpStream| node.write_all(&greeting(1).packet()).unwrap();
    let mut client = raw(&galeway);
    let first = listener.accept().unwrap().0;
    greet(&first);
    first_packet(&client).unwrap();
    let waiting = line_up(&galeway, 1).remove(0);
    client.write_all(&[1; 200_000]).unwrap();
    until(LONG, "all of it is passed on", || {
        (galeway.metric("galeway_bytes_total", &[("direction", "in")]) == 200_000.0).then_some(())
    });
    reset(client);
    let reads = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(millis(100));
            reads.store(true, Ordering::SeqCst);
            let _ = (&first).read_to_end(&mut Vec::new());
        });
        let second = listener.accept().unwrap().0;
        assert!(
            reads.load(Ordering::SeqCst),
            "a second session began while the node had not heard the end of the first"
        );
        greet(&second);
        assert_eq!(first_packet(&waiting).unwrap(), "n1");
    });
}

// ---- clients of one address

fn too_many_of_source(most: u32) -> (u16, String, String) {
    let text = format!("galeway: too many connections of your address (max_connections_per_source = {most})");
    (1040, "08004".to_owned(), text)
}

#[test]
fn each_address_has_so_many_clients_those_that_wait_included() {
    let fakes = Fakes::new(1);
    let (_node, _) = counting(&fakes, 1);
    let lines = "queue_timeout = \"1h\"\nmax_connections_per_source = 2";
    let galeway = before(&fakes, &["max_connections = 3"], two_workers(lines), "");
    let [one, two] = [2, 2].map(|last| from(last, &galeway, b""));
    for client in [&one, &two] {
        assert_eq!(first_packet(client).unwrap(), "n1");
    }
    assert_eq!(first_packet(&from(2, &galeway, b"")).unwrap_err(), too_many_of_source(2));
    // Of another address one is served, and one waits for the node: that is two.
    let other = from(3, &galeway, b"");
    assert_eq!(first_packet(&other).unwrap(), "n1");
    let waiting = from(3, &galeway, b"");
    wait_service(&galeway, "queued", 1);
    assert_eq!(first_packet(&from(3, &galeway, b"")).unwrap_err(), too_many_of_source(2));
    let counted = [("reason", "too_many_connections_of_source")];
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &counted), 2.0);
    // A session that ends frees its place, and so does a client that leaves the queue.
    quit(one);
    assert_eq!(first_packet(&waiting).unwrap(), "n1");
    let again = from(2, &galeway, b"");
    wait_service(&galeway, "queued", 1);
    drop(again);
    wait_service(&galeway, "queued", 0);
    quit(two);
    let freed = within(LONG, || first_packet(&from(2, &galeway, b"")).ok());
    assert_eq!(freed.as_deref(), Some("n1"));
}

#[test]
fn behind_a_balancer_each_client_is_counted_by_its_own_address() {
    let fakes = Fakes::new(1);
    let (_node, _) = counting(&fakes, 1);
    let lines = "proxy_protocol = \"require\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\nmax_connections_per_source = 1";
    let galeway = before(&fakes, &[""], two_workers(lines), "");
    let come = |ip: &str| {
        let family = if ip.contains(':') { 6 } else { 4 };
        let destination = if family == 6 { "2001:db8::1" } else { "192.0.2.1" };
        from(2, &galeway, format!("PROXY TCP{family} {ip} {destination} 1111 3306\r\n").as_bytes())
    };
    let first = come("10.0.0.1");
    assert_eq!(first_packet(&first).unwrap(), "n1");
    assert_eq!(first_packet(&come("10.0.0.1")).unwrap_err(), too_many_of_source(1));
    assert_eq!(first_packet(&come("::ffff:10.0.0.1")).unwrap_err(), too_many_of_source(1), "the same one");
    let others = ["10.0.0.2", "2001:db8::7"].map(come);
    for client in &others {
        assert_eq!(first_packet(client).unwrap(), "n1", "they come from the same balancer");
    }
    quit(first);
    wait_active(&galeway, "n1", 2);
    let freed = within(LONG, || first_packet(&come("10.0.0.1")).ok());
    assert_eq!(freed.as_deref(), Some("n1"));
}

// ---- how nodes are picked, through the real process

/// Whom the next clients meet, one after the other; each ends before the next one comes.
fn met(galeway: &Galeway, clients: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..clients {
        let client = raw(galeway);
        *counts.entry(first_packet(&client).unwrap()).or_default() += 1;
        quit(client);
    }
    counts
}

/// `count` nodes that count, and Galeway before them.
fn balancing(nodes: &[&str], lines: &str) -> (Fakes, Vec<Peer>, Galeway) {
    let count = u8::try_from(nodes.len()).unwrap();
    let fakes = Fakes::new(count);
    let peers = (1..=count).map(|i| counting(&fakes, i).0).collect();
    let galeway = before(&fakes, nodes, two_workers(lines), "");
    // The first check made it ready: the others follow.
    for i in 1..=count {
        galeway.wait_verdict(&format!("n{i}"), "eligible", LONG);
    }
    (fakes, peers, galeway)
}

#[track_caller]
fn about(counts: &BTreeMap<String, usize>, node: &str, expected: usize, percent: usize) {
    let got = counts.get(node).copied().unwrap_or(0);
    assert!(got.abs_diff(expected) * 100 <= expected * percent, "{node}: {got} and not about {expected}: {counts:?}");
}

#[test]
fn round_robin_gives_turns_by_weight_and_none_to_weight_0() {
    let nodes = ["weight = 50", "weight = 100", "weight = 0"];
    let (_fakes, _data, galeway) = balancing(&nodes, "balance = \"round-robin\"");
    let counts = met(&galeway, 300);
    println!("round-robin, weights 50, 100 and 0: {counts:?}");
    about(&counts, "n1", 100, 10);
    about(&counts, "n2", 200, 10);
    assert!(!counts.contains_key("n3"));
}

#[test]
fn least_connections_fills_up_by_weight_and_goes_where_sessions_have_ended() {
    let nodes = ["weight = 50", "weight = 100", "weight = 0"];
    let (_fakes, _data, galeway) = balancing(&nodes, "balance = \"least-connections\"");
    let mut held = BTreeMap::<String, Vec<TcpStream>>::new();
    for _ in 0..90 {
        let client = raw(&galeway);
        held.entry(first_packet(&client).unwrap()).or_default().push(client);
    }
    let counts: BTreeMap<_, _> = held.iter().map(|(node, clients)| (node.clone(), clients.len())).collect();
    about(&counts, "n1", 30, 10);
    about(&counts, "n2", 60, 10);
    assert!(!counts.contains_key("n3"));
    // Twenty sessions of the small node end: the next twenty clients go there.
    let left = counts["n1"] as u64 - 20;
    held.get_mut("n1").unwrap().drain(..20).for_each(quit);
    wait_active(&galeway, "n1", left);
    for _ in 0..20 {
        let client = raw(&galeway);
        held.entry(first_packet(&client).unwrap()).or_default().push(client);
    }
    let now = held["n1"].len();
    assert!((28..=30).contains(&now), "{now}");
}

#[test]
fn random_is_roughly_even() {
    let (_fakes, _data, galeway) = balancing(&["", "", "", "weight = 0"], "balance = \"random\"");
    let counts = met(&galeway, 300);
    println!("random over three nodes: {counts:?}");
    for node in ["n1", "n2", "n3"] {
        about(&counts, node, 100, 40);
    }
    assert!(!counts.contains_key("n4"));
}

#[test]
fn source_keeps_an_address_on_its_node_through_restarts_and_moves_only_those_of_a_node_that_left() {
    let (fakes, _data, mut galeway) = balancing(&["", "", "", "weight = 0"], "balance = \"source\"");
    let homes = |galeway: &Galeway| -> Vec<String> {
        let home = |last| {
            let client = from(last, galeway, b"");
            let node = first_packet(&client).unwrap();
            quit(client);
            node
        };
        (1..=60).map(home).collect()
    };
    let at_first = homes(&galeway);
    let mut counts = BTreeMap::<String, usize>::new();
    for node in &at_first {
        *counts.entry(node.clone()).or_default() += 1;
    }
    println!("60 addresses on three nodes: {counts:?}");
    assert!(counts.len() == 3 && counts.values().all(|n| (8..=32).contains(n)), "{counts:?}");
    assert_eq!(homes(&galeway), at_first, "each comes back to its node");
    galeway.kill();
    galeway.start_again();
    galeway.wait_ready();
    for i in 1..=4 {
        galeway.wait_verdict(&format!("n{i}"), "eligible", LONG);
    }
    assert_eq!(homes(&galeway), at_first, "after a restart");
    set_state(fakes.check(2), "1");
    galeway.wait_verdict("n2", "excluded", LONG);
    for (now, then) in homes(&galeway).iter().zip(&at_first) {
        assert!(if then == "n2" { now != "n2" } else { now == then }, "{then} became {now}");
    }
    set_state(fakes.check(2), "4");
    galeway.wait_verdict("n2", "eligible", LONG);
    assert_eq!(homes(&galeway), at_first, "they return with it");
}

#[test]
fn first_fills_the_nodes_in_their_order_and_waits_when_all_are_full() {
    let nodes = ["max_connections = 2", "weight = 0", "max_connections = 3", "max_connections = 1"];
    let (_fakes, _data, galeway) = balancing(&nodes, "balance = \"first\"\nqueue_timeout = \"1h\"");
    let mut held: Vec<_> = (0..6).map(|_| raw(&galeway)).map(|c| (first_packet(&c).unwrap(), c)).collect();
    assert_eq!(held.iter().map(|(n, _)| &**n).collect::<Vec<_>>(), ["n1", "n1", "n3", "n3", "n3", "n4"]);
    let waiting = line_up(&galeway, 1).remove(0);
    quit(held.remove(3).1);
    assert_eq!(first_packet(&waiting).unwrap(), "n3");
    quit(held.remove(0).1);
    wait_active(&galeway, "n1", 1);
    assert_eq!(first_packet(&raw(&galeway)).unwrap(), "n1");
}

#[test]
fn a_backup_serves_when_the_others_cannot_and_not_because_they_are_full() {
    let nodes = ["max_connections = 1", "backup = true"];
    let (fakes, _data, galeway) = balancing(&nodes, "balance = \"round-robin\"\nqueue_timeout = \"1h\"");
    assert_eq!(met(&galeway, 10), BTreeMap::from([("n1".to_owned(), 10)]));
    let _held = greeted(&galeway);
    let waiting = line_up(&galeway, 1).remove(0);
    thread::sleep(millis(300));
    assert!(!has_heard(&waiting), "full is no reason");
    set_state(fakes.check(1), "1");
    assert_eq!(first_packet(&waiting).unwrap(), "n2");
    assert_eq!(met(&galeway, 10), BTreeMap::from([("n2".to_owned(), 10)]));
    set_state(fakes.check(1), "4");
    galeway.wait_verdict("n1", "eligible", LONG);
    // Sessions of a Joiner are ended.
    let again = raw(&galeway);
    assert_eq!(first_packet(&again).unwrap(), "n1");
    let waiting = line_up(&galeway, 1).remove(0);
    quit(again);
    assert_eq!(first_packet(&waiting).unwrap(), "n1");
}

#[test]
fn nodes_of_the_preferred_zone_come_first_and_the_others_stand_in() {
    let nodes = ["zone = \"a\"", "zone = \"b\"", "zone = \"b\", weight = 0", "zone = \"a\""];
    let (fakes, _data, galeway) = balancing(&nodes, "balance = \"round-robin\"\nprefer_zone = \"b\"");
    assert_eq!(met(&galeway, 20), BTreeMap::from([("n2".to_owned(), 20)]));
    set_state(fakes.check(2), "1");
    galeway.wait_verdict("n2", "excluded", LONG);
    let counts = met(&galeway, 40);
    about(&counts, "n1", 20, 10);
    about(&counts, "n4", 20, 10);
    set_state(fakes.check(2), "4");
    galeway.wait_verdict("n2", "eligible", LONG);
    assert_eq!(met(&galeway, 20), BTreeMap::from([("n2".to_owned(), 20)]));
}
