//! What the local peer says first, where the first target fails after the connect: all of it goes to the next one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};

use super::{NAME, Site, dial, galeway, handshakes, local, patient, pattern, service, tcp};
use crate::fakes::{LONG, access, greeting};
use crate::harness::client::Error;
use crate::harness::{Conn, Galeway, millis, ports, secs, until};
use crate::peer::tls::{Authority, Version, server};
use crate::targets::Target;

/// More than any handshake, and more than one record.
const FIRST: usize = 64 * 1024;

/// A far end of the test's own: what each connection's script has read beyond the handshake, or all where there is none.
struct Bad {
    addr: SocketAddr,
    heard: mpsc::Receiver<Vec<u8>>,
}

impl Bad {
    fn new(script: impl Fn(TcpStream) -> Vec<u8> + Send + Clone + 'static) -> Self {
        let listener = TcpListener::bind(local(0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, say) = (script.clone(), say.clone());
                std::thread::spawn(move || say.send(script(patient(stream))));
            }
        });
        Self { addr, heard }
    }

    /// As far away as another continent, with a CA of its own: each of its flights takes its time, and the client's part of the
    /// handshake is over long before the alert.
    fn late(config: std::sync::Arc<ServerConfig>) -> Self {
        Self::new(move |mut stream| {
            let mut tls = ServerConnection::new(config.clone()).unwrap();
            let read = |tls: &mut ServerConnection, stream: &mut TcpStream, pause| {
                tls.read_tls(stream).unwrap();
                std::thread::sleep(pause);
                let read = tls.process_new_packets();
                while tls.wants_write() {
                    tls.write_tls(stream).unwrap();
                }
                read
            };
            read(&mut tls, &mut stream, millis(500)).unwrap();
            // The client's own flight may come in pieces.
            let refused = loop {
                if let Err(e) = read(&mut tls, &mut stream, millis(300)) {
                    break e;
                }
            };
            assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
            rest(stream)
        })
    }

    /// A certificate that the client does not trust.
    fn stranger(config: std::sync::Arc<ServerConfig>) -> Self {
        Self::new(move |mut stream| {
            let mut tls = ServerConnection::new(config.clone()).unwrap();
            let refused = tls.complete_io(&mut stream).unwrap_err();
            super::alert(&refused);
            rest(stream)
        })
    }

    /// A database's own port.
    fn clear() -> Self {
        Self::new(|mut stream| {
            let _ = stream.write_all(&greeting(1).packet());
            rest(stream)
        })
    }

    /// One that takes connections and nothing else happens.
    fn silent() -> Self {
        Self::new(rest)
    }

    /// What it has read is no more than TLS's own.
    #[track_caller]
    fn heard_nothing(&self, payload: &[u8]) {
        let heard = self.heard.recv_timeout(LONG).unwrap();
        assert!(heard.len() < 4096, "{} bytes", heard.len());
        assert!(!heard.windows(16).any(|w| w == &payload[..16]), "in clear");
    }
}

/// All that still comes.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // However it ends.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// The client end with one service per bad target, in front of a good server end.
struct Ends {
    site: Site,
    other: Authority,
    good: (SocketAddr, Galeway),
    /// A server end of another site, which does not know the client's CA.
    foreign: (SocketAddr, Galeway),
    _target: Target,
}

impl Ends {
    fn new() -> Self {
        let (site, other) = (Site::new(), Authority::new("elsewhere"));
        site.keep("client", &site.issue("client"));
        site.put("other.pem", &other.pem());
        let target = Target::start("second");
        let end = |client_ca: &str| {
            let (accept, section) = service("far", &[target.addr()], "");
            let table = site.accepting("far", "").replace("ca.pem", client_ca);
            (accept, galeway(&(section + &table)))
        };
        let (good, foreign) = (end("ca.pem"), end("other.pem"));
        Self { site, other, good, foreign, _target: target }
    }

    /// Of a site whose server has our CA's certificate, and whose own clients have others.
    fn late(&self) -> Bad {
        Bad::late(server(&self.site.server, Version::Tls13, Some(&self.other)))
    }

    fn stranger(&self) -> Bad {
        Bad::stranger(server(&self.other.issue(NAME, &[NAME]), Version::Tls13, None))
    }

    fn section(&self, name: &str, connect: &[SocketAddr], lines: &str) -> (SocketAddr, String) {
        let (accept, section) = service(name, connect, lines);
        (accept, section + &self.site.connecting(name, Some("client"), ""))
    }
}

/// One conversation: all that is said before anything is heard.
fn talk(accept: SocketAddr, bytes: &[u8]) -> (Option<SocketAddr>, io::Result<Vec<u8>>) {
    let mut stream = tcp(accept);
    let mut answer = Vec::new();
    let said = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let heard = said.and_then(|()| stream.read_to_end(&mut answer));
    (stream.local_addr().ok(), heard.map(|_| answer))
}

#[test]
fn first_bytes_go_to_the_target_whose_tls_is_good_all_of_them_and_once() {
    let ends = Ends::new();
    let (late, stranger, clear, silent) = (ends.late(), ends.stranger(), Bad::clear(), Bad::silent());
    let cases: [(&str, SocketAddr, Option<&Bad>, &str); 5] = [
        ("late", late.addr, Some(&late), "the peer rejected our certificate (alert unknown_ca)"),
        ("foreign", ends.foreign.0, None, "the peer rejected our certificate (alert unknown_ca)"),
        ("stranger", stranger.addr, Some(&stranger), "its issuer /CN=elsewhere is not in"),
        ("clear", clear.addr, Some(&clear), "it greets as MySQL does in clear"),
        ("silent", silent.addr, Some(&silent), "no connection within 3000 ms"),
    ];
    let (mut text, mut accepts) = (String::new(), Vec::new());
    for (name, bad, ..) in &cases {
        let (accept, section) =
            ends.section(name, &[*bad, ends.good.0], "connect_timeout = \"3s\"\nqueue_timeout = \"30s\"");
        text += &section;
        accepts.push(accept);
    }
    let near = galeway(&text);
    let payload = pattern(FIRST);
    std::thread::scope(|scope| {
        for ((name, bad, _, words), accept) in cases.iter().zip(&accepts) {
            let (payload, near, good) = (&payload, &near, ends.good.0.to_string());
            let (name, bad, words) = (*name, *bad, *words);
            scope.spawn(move || {
                let (from, heard) = talk(*accept, payload);
                let event = access(near, from);
                let heard = heard.unwrap_or_else(|e| panic!("{name}: {e}: {event}"));
                assert!(heard == [b"second: ", &payload[..]].concat(), "{name}: {} bytes", heard.len());
                println!("{name}: {}", event["detail"]);
                let detail = event["detail"].as_str().unwrap();
                assert!(detail.starts_with(&format!("{bad}: ")) && detail.contains(words), "{name}: {detail}");
                assert_eq!((event["node"].as_str(), event["attempts"].as_u64()), (Some(&*good), Some(2)), "{event}");
                let all = (Some("client_closed"), Some(FIRST as u64));
                assert_eq!((event["end"].as_str(), event["bytes_in"].as_u64()), all, "{event}");
            });
        }
    });
    cases.iter().filter_map(|(_, _, far, _)| *far).for_each(|far| far.heard_nothing(&payload));
    // Nobody else came in there, and nothing twice.
    let count = cases.len() as f64;
    assert_eq!(handshakes(&ends.good.1, "far", "client", "ok"), count);
    assert_eq!(ends.good.1.metric("galeway_bytes_total", &[("direction", "in")]), count * FIRST as f64);
    assert_eq!(handshakes(&ends.foreign.1, "far", "client", "certificate"), 1.0);
    assert_eq!(ends.foreign.1.metric("galeway_bytes_total", &[]), 0.0);
    for (name, result) in [
        ("late", "alert"),
        ("foreign", "alert"),
        ("stranger", "certificate"),
        ("clear", "not_tls"),
        ("silent", "timeout"),
    ] {
        assert_eq!(handshakes(&near, name, "node", result), 1.0, "{name}");
        assert_eq!(handshakes(&near, name, "node", "ok"), 1.0, "{name}");
    }
}

#[test]
fn where_every_target_fails_a_mysql_client_is_told_the_reason_of_tls() {
    let ends = Ends::new();
    let (stranger, clear) = (ends.stranger(), Bad::clear());
    let lines = "protocol = \"mysql\"\nqueue_timeout = \"700ms\"";
    let sections = [
        ("stranger", stranger.addr, "its issuer /CN=elsewhere is not in"),
        ("clear", clear.addr, "TLS: the server does not speak TLS: it greets as MySQL does in clear"),
        ("foreign", ends.foreign.0, "TLS: the peer rejected our certificate (alert unknown_ca): its log says why"),
    ]
    .map(|(name, addr, words)| (name, addr, words, ends.section(name, &[addr], lines)));
    let near = galeway(&sections.iter().map(|(.., (_, text))| text.as_str()).collect::<String>());
    for (name, addr, words, (accept, _)) in &sections {
        let failure = Conn::greet(*accept, LONG).unwrap_err();
        let event = until(LONG, "its event", || near.access_log().into_iter().find(|e| e["service"] == *name));
        let Error::Server { code, state, message } = &failure.error else { panic!("{name}: {failure}") };
        println!("{message}");
        assert_eq!((*code, state.as_str()), (1047, "08S01"), "{name}");
        let head = format!("galeway: no address of service \"{name}\" can be reached: {addr}: TLS: ");
        assert!(message.starts_with(&head) && message.contains(words), "{message}");
        assert_eq!(
            (event["end"].as_str(), event["detail"].as_str()),
            (Some("no_node"), Some(message.as_str())),
            "{event}"
        );
    }
    stranger.heard_nothing(&pattern(16));
}

#[test]
fn where_every_target_fails_a_peer_of_bytes_is_reset_and_nobody_has_read_it() {
    let ends = Ends::new();
    let (late, stranger, clear, silent) = (ends.late(), ends.stranger(), Bad::clear(), Bad::silent());
    let all = [late.addr, stranger.addr, clear.addr, silent.addr];
    let (accept, text) = ends.section("s", &all, "attempts = 4\nconnect_timeout = \"2s\"\nqueue_timeout = \"5s\"");
    let near = galeway(&text);
    let payload = pattern(FIRST);
    let began = std::time::Instant::now();
    let (from, heard) = talk(accept, &payload);
    assert_eq!(heard.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let event = access(&near, from);
    println!("{:?}: {event}", began.elapsed());
    assert_eq!((event["end"].as_str(), event["bytes_in"].as_u64()), (Some("no_node"), Some(0)), "{event}");
    assert!(began.elapsed() < Duration::from_secs(5) + secs(5), "{:?}", began.elapsed());
    for far in [&late, &stranger, &clear, &silent] {
        far.heard_nothing(&payload);
    }
}

#[test]
fn a_client_behind_tls_is_told_inside_it_and_ended_in_order() {
    let site = Site::new();
    let nobody = local(ports::free());
    let (accept, section) = service("db", &[nobody], "protocol = \"mysql\"\nqueue_timeout = \"300ms\"");
    let galeway = galeway(&(section + &site.accepting("db", "")));
    let mut client = dial(accept, site.client(Some(&site.issue("one")))).unwrap();
    let mut told = Vec::new();
    // An end without close_notify would be an error here.
    client.read_to_end(&mut told).unwrap();
    let text = String::from_utf8_lossy(&told[4..]).into_owned();
    assert_eq!(told[4..7], [0xff, 0x17, 0x04], "1047: {text}");
    let words = format!("galeway: no address of service \"db\" can be reached: {nobody}: connection refused");
    assert!(text.ends_with(&words), "{text}");
    let event = access(&galeway, client.sock.local_addr().ok());
    assert_eq!(
        (event["end"].as_str(), event["client_subject"].as_str()),
        (Some("no_node"), Some("/CN=one")),
        "{event}"
    );
}
