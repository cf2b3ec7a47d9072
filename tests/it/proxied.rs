//! The PROXY protocol before a real server: it sees the client, and not who is between.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::fakes::LONG;
use crate::harness::cli;
use crate::harness::client::{Error, tcp_from};
use crate::harness::{Conn, Galeway, Node, ports, standalone, until};
use crate::targets::Target;

/// Whom the server sees.
const WHO: &str = "SELECT SUBSTRING_INDEX(USER(), '@', -1)";

/// The client's own address, which nobody else here has.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn six(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// A server that believes headers of this host, with an account `own` that nobody but [`OWN`] may use.
fn server() -> Node {
    let node = standalone(&["--bind-address=127.0.0.1,::1", "--proxy-protocol-networks=127.0.0.0/8,::1,localhost"]);
    node.sql("CREATE USER own@'127.0.0.77' IDENTIFIED BY 'own'");
    node
}

/// Cluster `NAME` of this node.
fn cluster(name: &str, node: &str, monitor: &str) -> String {
    format!(
        "[cluster.{name}]\nnodes = [{{ address = \"{node}\", name = \"solo\" }}]\n\
         [cluster.{name}.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n{monitor}\n"
    )
}

/// What the server calls a client from [`OWN`] that logs in to the account of that address.
#[track_caller]
fn own(accept: SocketAddr) -> String {
    let conn = Conn::greet_from(OWN, accept, LONG).unwrap_or_else(|e| panic!("{e}"));
    let mut conn = conn.login("own", "own").unwrap_or_else(|e| panic!("{e}"));
    conn.one("SELECT USER()").unwrap()
}

#[track_caller]
fn seen(output: &cli::Output) -> &str {
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout.trim_end()
}

#[test]
fn a_real_server_sees_the_client_itself_through_one_galeway_and_through_two() {
    let node = server();
    let port = node.addr().port();
    let mut sections = cluster("four", &format!("127.0.0.1:{port}"), "send_proxy_protocol = \"v1\"");
    sections += &cluster("six", &format!("[::1]:{port}"), "send_proxy_protocol = \"v2\"");
    sections += &cluster("socket", &format!("unix:{}", node.socket().display()), "");
    let mut services = Vec::new();
    for cluster in ["four", "six", "socket"] {
        for version in ["off", "v1", "v2"] {
            let accept = ports::free();
            services.push((cluster, version, accept));
            sections += &format!(
                "[service.{cluster}-{version}]\ncluster = \"{cluster}\"\nsend_proxy_protocol = \"{version}\"\n\
                 accept = [\"127.0.0.1:{accept}\", \"[::1]:{accept}\", \"unix:{cluster}-{version}.sock\"]\n"
            );
        }
    }
    let mut inner = Vec::new();
    for version in ["v1", "v2"] {
        let accept = ports::free();
        inner.push((version, accept));
        sections += &format!(
            "[service.inner-{version}]\ncluster = \"four\"\nsend_proxy_protocol = \"{version}\"\n\
             proxy_protocol = \"require\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\n\
             accept = [\"127.0.0.1:{accept}\", \"unix:inner-{version}.sock\"]\n"
        );
    }
    let galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    for (cluster, version, accept) in services {
        let what = format!("{cluster} {version}");
        // What the server calls Galeway itself.
        let us = match cluster {
            "four" => "127.0.0.1",
            "six" => "::1",
            _ => "localhost",
        };
        let sees = |client| if version == "off" { us } else { client };
        let by_tcp = cli::mariadb(local(accept), &[], WHO);
        assert_eq!(seen(&by_tcp), sees("127.0.0.1"), "{what}");
        let by_six = cli::mariadb(six(accept), &[], WHO);
        assert_eq!(seen(&by_six), sees("::1"), "{what}");
        // One of a Unix socket has no address: the header speaks for nobody.
        let by_socket = cli::mariadb_at(&galeway.dir().join(format!("{what}.sock").replace(' ', "-")), &[], WHO);
        assert_eq!(seen(&by_socket), us, "{what}");
        if version == "off" {
            let refused = Conn::greet_from(OWN, local(accept), LONG).unwrap().login("own", "own").map(drop);
            assert_eq!(refused.unwrap_err().code(), Some(1045), "{what}");
        } else {
            assert_eq!(own(local(accept)), "own@127.0.0.77", "{what}");
        }
    }
    two(&galeway, &inner);
    // The server counts no client of ours as one that broke off.
    assert_eq!(node.status("Aborted_connects_preauth"), "0");
}

/// A second Galeway before these services of a first one.
fn two(behind: &Galeway, inner: &[(&str, u16)]) {
    let mut sections = String::new();
    let mut outer = Vec::new();
    for (then, to) in inner {
        for first in ["v1", "v2"] {
            let accept = ports::free();
            outer.push((format!("{first}-{then}"), accept));
            sections += &format!(
                "[service.{first}-{then}]\nconnect = \"127.0.0.1:{to}\"\nsend_proxy_protocol = \"{first}\"\n\
                 accept = [\"127.0.0.1:{accept}\", \"[::1]:{accept}\", \"unix:{first}-{then}.sock\"]\n\
                 protocol = \"{}\"\n",
                if first == "v1" { "mysql" } else { "tcp" },
            );
            sections += &format!(
                "[service.{first}-{then}-socket]\nsend_proxy_protocol = \"{first}\"\n\
                 connect = \"unix:{}\"\naccept = \"unix:{first}-{then}-socket.sock\"\n",
                behind.dir().join(format!("inner-{then}.sock")).display()
            );
        }
    }
    let galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    for (versions, accept) in outer {
        assert_eq!(own(local(accept)), "own@127.0.0.77", "{versions}");
        assert_eq!(seen(&cli::mariadb(local(accept), &[], WHO)), "127.0.0.1", "{versions}");
        assert_eq!(seen(&cli::mariadb(six(accept), &[], WHO)), "::1", "{versions}");
        for socket in [format!("{versions}.sock"), format!("{versions}-socket.sock")] {
            let by_socket = cli::mariadb_at(&galeway.dir().join(&socket), &[], WHO);
            assert_eq!(seen(&by_socket), "127.0.0.1", "{socket}: the last Galeway's own");
        }
    }
    // Both logs tell of the client, and the inner one's of the Galeway between as well.
    let told = until(LONG, "the client in the inner log", || {
        behind.access_log().into_iter().find(|e| {
            e["client"].as_str().is_some_and(|c| c.starts_with("127.0.0.77:"))
                && e["service"].as_str().is_some_and(|s| s.starts_with("inner"))
        })
    });
    assert!(told["via"].as_str().is_some_and(|via| via.starts_with("127.0.0.1:")), "{told}");
    // Who talks to it without a header is closed without a byte, though a server greets first.
    let (_, plain) = inner[0];
    let mut stream = TcpStream::connect(local(plain)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(rest(stream), b"");
    assert_eq!(behind.metric("galeway_connections_rejected_total", &[("reason", "bad_proxy_header")]), 1.0);
}

/// All that comes; a reset is an end as well.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(e) = stream.read_to_end(&mut bytes) {
        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    }
    bytes
}

/// A way to the server that lets nobody in whose first bytes are not these.
fn demanding(server: SocketAddr, header: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&wrong);
    std::thread::spawn(move || {
        for mut from in listener.incoming().flatten() {
            let wrong = Arc::clone(&told);
            std::thread::spawn(move || {
                let mut first = vec![0; header.len()];
                from.set_read_timeout(Some(LONG)).unwrap();
                if from.read_exact(&mut first).is_err() || first != header {
                    wrong.lock().unwrap().push(first);
                    return;
                }
                let to = TcpStream::connect(server).unwrap();
                (&to).write_all(header).unwrap();
                from.set_read_timeout(None).unwrap();
                let (mut from2, mut to2) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut to2, &mut from2);
                    let _ = from2.shutdown(Shutdown::Write);
                });
                let _ = std::io::copy(&mut from, &mut &to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    (addr, wrong)
}

#[test]
fn a_client_that_says_by_itself_who_it_is_does_not_reach_the_server() {
    let node = server();
    let (with, without) = (ports::free(), ports::free());
    let mut sections = cluster("main", &node.addr().to_string(), "");
    for (version, accept) in [("v2", with), ("off", without)] {
        sections += &format!(
            "[service.{version}]\ncluster = \"main\"\nsend_proxy_protocol = \"{version}\"\n\
             accept = \"127.0.0.1:{accept}\"\n"
        );
    }
    let galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[127, 0, 0, 77], &[127, 0, 0, 1], &[4, 0, 12, 234]].concat();
    for header in [&b"PROXY TCP4 127.0.0.77 127.0.0.1 1024 3306\r\n"[..], &v2] {
        // The server would believe it.
        let mut conn = Conn::greet(node.addr(), LONG).unwrap();
        conn.raw(header).unwrap();
        assert_eq!(conn.login("own", "own").unwrap().one("SELECT USER()").unwrap(), "own@127.0.0.77");
        for accept in [with, without] {
            let mut conn = Conn::greet(local(accept), LONG).unwrap();
            conn.raw(header).unwrap();
            let refused = conn.login("own", "own").map(drop).unwrap_err();
            assert!(matches!(refused, Error::Io(_)), "{refused}");
        }
    }
    let told = |e: &Value| e["detail"].as_str().is_some_and(|d| d.contains("its first packet is no login"));
    until(LONG, "four such sessions in the log", || {
        (galeway.access_log().iter().filter(|e| told(e)).count() == 4).then_some(())
    });
}

#[test]
fn a_check_gets_in_where_nobody_does_without_a_header_and_the_server_sees_galeway() {
    const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let node = server();
    for (version, header) in [("v1", UNKNOWN), ("v2", LOCAL)] {
        let (addr, wrong) = demanding(node.addr(), header);
        let service = format!("[service.s]\ncluster = \"main\"\naccept = \"127.0.0.1:{}\"\n", ports::free());
        let monitor = format!("send_proxy_protocol = \"{version}\"");
        let galeway = Galeway::sections(&(cluster("main", &addr.to_string(), &monitor) + &service));
        galeway.wait_ready();
        galeway.wait_verdict("solo", "eligible", LONG);
        let hosts = node.sql("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = 'monitor'");
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        assert!(hosts[0][0].as_deref().is_some_and(|h| h.starts_with("127.0.0.1:")), "{hosts:?}");
        assert_eq!(*wrong.lock().unwrap(), Vec::<Vec<u8>>::new(), "{version}");
        drop(galeway);
        until(LONG, "the check has left", || node.sessions("monitor").is_empty().then_some(()));
    }
}

#[test]
fn who_may_not_send_a_header_is_closed_without_a_byte_whatever_it_sends() {
    let target = Target::start("t");
    let accept = ports::free();
    let galeway = Galeway::sections(&format!(
        "[service.s]\naccept = [\"127.0.0.1:{accept}\", \"[::1]:{accept}\"]\nconnect = \"{}\"\n\
         proxy_protocol = \"require\"\nproxy_protocol_from = [\"127.0.0.9\"]\n\
         allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndeny = [\"192.0.2.66\"]\n",
        target.addr()
    ));
    galeway.wait_ready();
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 3306\r\n";
    let mut denied = 0.0;
    for (source, to) in [(local(0).ip(), local(accept)), (OWN, local(accept)), (six(0).ip(), six(accept))] {
        for bytes in [&b""[..], header] {
            let mut stream = tcp_from(source, to).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            let _ = stream.write_all(bytes);
            assert_eq!(rest(stream), b"", "{source}");
            denied += 1.0;
            assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "denied")]), denied);
        }
    }
    let told = |e: &Value| e["detail"] == "not in proxy_protocol_from";
    until(LONG, "six of them in the log", || {
        (galeway.access_log().iter().filter(|e| told(e)).count() == 6).then_some(())
    });

    // Of who may, the header's client is the one that allow and deny are about; the log names both.
    let friend = || tcp_from(IpAddr::from([127, 0, 0, 9]), local(accept)).unwrap();
    let say = |header: &str| {
        let mut stream = friend();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let from = stream.local_addr().unwrap().to_string();
        stream.write_all(format!("{header}\r\nx").as_bytes()).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        (from, rest(stream))
    };
    let comes_in = [
        ("PROXY TCP4 192.0.2.1 192.0.2.9 1000 3306", "192.0.2.1:1000"),
        ("PROXY TCP6 ::ffff:192.0.2.2 ::1 1001 3306", "192.0.2.2:1001"),
        ("PROXY TCP6 2001:db8::7 ::1 1002 3306", "[2001:db8::7]:1002"),
    ];
    let turned_away = [
        ("PROXY TCP4 192.0.2.66 192.0.2.9 1003 3306", "192.0.2.66:1003"),
        ("PROXY TCP6 ::ffff:192.0.2.66 ::1 1004 3306", "192.0.2.66:1004"),
        ("PROXY TCP4 198.51.100.1 192.0.2.9 1005 3306", "198.51.100.1:1005"),
    ];
    for (header, client) in comes_in.into_iter().chain(turned_away) {
        let (from, answer) = say(header);
        let may = comes_in.iter().any(|(h, _)| *h == header);
        assert_eq!(answer, if may { &b"t: x"[..] } else { b"" }, "{header}");
        let event = until(LONG, "the event of who sent the header", || {
            galeway.access_log().into_iter().find(|e| e["via"] == *from || e["client"] == *from)
        });
        assert_eq!((event["client"].as_str(), event["via"].as_str()), (Some(client), Some(&*from)), "{event}");
    }
    // One that speaks for nobody, as of the front's own checks, comes in.
    let (_, answer) = say("PROXY UNKNOWN");
    assert_eq!(answer, b"t: x");
}

#[test]
fn over_a_unix_socket_whoever_may_open_it_may_send_a_header_and_has_to() {
    let target = Target::start("t");
    let galeway = Galeway::sections(&format!(
        "[service.s]\naccept = \"unix:s.sock\"\nconnect = \"{}\"\nproxy_protocol = \"require\"\n\
         deny = [\"192.0.2.66\"]\n",
        target.addr()
    ));
    galeway.wait_ready();
    let say = |bytes: &str| {
        let mut stream = UnixStream::connect(galeway.dir().join("s.sock")).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(say("PROXY TCP4 192.0.2.1 192.0.2.9 1000 3306\r\nx"), "t: x");
    assert_eq!(say("PROXY TCP4 192.0.2.66 192.0.2.9 1000 3306\r\nx"), "", "denied");
    assert_eq!(say("x"), "", "no header");
    let count = |reason| galeway.metric("galeway_connections_rejected_total", &[("reason", reason)]);
    assert_eq!((count("denied"), count("bad_proxy_header")), (1.0, 1.0));
    let event =
        |e: &Value| e["client"] == "192.0.2.1:1000" && e["via"].as_str().is_some_and(|v| v.starts_with("unix:uid="));
    until(LONG, "client and sender in the log", || galeway.access_log().iter().any(event).then_some(()));
}
