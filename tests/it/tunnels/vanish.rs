//! The far end's network goes silent behind TLS: no reset, no close_notify, no acknowledgement. Needs root.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{Site, dial, galeway, patient, serve, tcp};
use crate::fakes::LONG;
use crate::harness::{Far, Galeway, ports, secs, until};
use crate::vanishing::{ROLE, start};

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn certificate(path: PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&read(&path)).unwrap()
}

fn key(path: PathBuf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(&read(&path)).unwrap()
}

/// The process over there: "client DIR ADDR" or "server DIR ADDR". A byte goes each way, and nothing happens then.
fn play(role: &str) -> ! {
    let [what, dir, addr] = role.split(' ').collect::<Vec<_>>()[..] else { panic!("{role}") };
    let (dir, addr): (&Path, SocketAddr) = (dir.as_ref(), addr.parse().unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let _held: Box<dyn std::any::Any> = match what {
        "client" => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(dir.join("ca.pem"))).unwrap();
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let chain = vec![certificate(dir.join("client.pem"))];
            let config =
                builder.with_root_certificates(roots).with_client_auth_cert(chain, key(dir.join("client.key")));
            let mut client = dial(addr, Arc::new(config.unwrap())).unwrap();
            client.write_all(&[1]).unwrap();
            client.read_exact(&mut [0]).unwrap();
            Box::new(client)
        }
        "server" => {
            let listener = TcpListener::bind(addr).unwrap();
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let chain = vec![certificate(dir.join("server.pem"))];
            let config = builder.with_no_client_auth().with_single_cert(chain, key(dir.join("server.key")));
            let mut server = serve(listener.accept().unwrap().0, Arc::new(config.unwrap())).unwrap();
            server.read_exact(&mut [0]).unwrap();
            server.write_all(&[1]).unwrap();
            server.flush().unwrap();
            Box::new(server)
        }
        other => panic!("{other}"),
    };
    std::thread::sleep(secs(1000));
    unreachable!("killed before")
}

/// The end of the only session, which came within the time that was set, and not at once.
#[track_caller]
fn ended(galeway: &Galeway, since: Instant) -> String {
    let event = until(LONG, "the session ends", || galeway.access_log().pop());
    assert!(since.elapsed() >= secs(2) && since.elapsed() < secs(12), "{:?}: {event}", since.elapsed());
    event["end"].as_str().unwrap().to_owned()
}

/// A server end and a client over there that vanishes; `talks`: while the node goes on talking to it.
fn a_client_vanishes(test: &str, lines: &str, talks: bool) {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let Some(far) = Far::new() else { return };
    let site = Site::new();
    site.keep("client", &site.issue("client"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = SocketAddr::from((far.near, ports::free()));
    let node = listener.local_addr().unwrap();
    let section = format!("[service.s]\naccept = \"{accept}\"\nconnect = \"{node}\"\n{lines}\n");
    let galeway = galeway(&(section + &site.accepting("s", "")));
    let _client = start(&far, test, &format!("client {} {accept}", site.dir.display()));
    let mut node = patient(listener.accept().unwrap().0);
    node.read_exact(&mut [0]).unwrap();
    node.write_all(&[1]).unwrap();
    // What was said before is acknowledged.
    until(LONG, "it has its byte", || {
        (galeway.metric("galeway_bytes_total", &[("direction", "out")]) > 0.0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    far.vanish();
    let since = Instant::now();
    if talks {
        node.write_all(&[0; 1000]).unwrap();
    }
    assert_eq!(ended(&galeway, since), "client_vanished");
    assert_eq!(node.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset, "no orderly end");
}

#[test]
fn an_idle_client_behind_tls_that_vanished_is_noticed_by_keepalive() {
    let test = "tunnels::vanish::an_idle_client_behind_tls_that_vanished_is_noticed_by_keepalive";
    a_client_vanishes(test, "keepalive = \"2s\"", false);
}

#[test]
fn a_client_behind_tls_that_acknowledges_nothing_ends_at_user_timeout() {
    let test = "tunnels::vanish::a_client_behind_tls_that_acknowledges_nothing_ends_at_user_timeout";
    a_client_vanishes(test, "user_timeout = \"2s\"\nkeepalive = \"1h\"", true);
}

/// A client end, whose far end vanishes.
fn a_far_end_vanishes(test: &str, lines: &str, talks: bool) {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let Some(far) = Far::new() else { return };
    let site = Site::new();
    let addr = SocketAddr::from((far.far, 3307));
    let _server = start(&far, test, &format!("server {} {addr}", site.dir.display()));
    let (accept, section) = super::service("s", &[addr], lines);
    let galeway = galeway(&(section + &site.connecting("s", None, "")));
    let mut client: TcpStream = until(LONG, "the server over there", || {
        let mut client = tcp(accept);
        (client.write_all(&[1]).is_ok() && client.read_exact(&mut [0]).is_ok()).then_some(client)
    });
    let from = client.local_addr().unwrap().to_string();
    std::thread::sleep(Duration::from_millis(300));
    far.vanish();
    let since = Instant::now();
    if talks {
        client.write_all(&[0; 1000]).unwrap();
    }
    let end = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset, "no orderly end");
    let event = until(LONG, "its event", || galeway.access_log().into_iter().find(|e| e["client"] == *from));
    assert_eq!(event["end"], "node_vanished", "{event}");
    assert!(since.elapsed() >= secs(2) && since.elapsed() < secs(12), "{:?}", since.elapsed());
}

#[test]
fn an_idle_far_end_behind_tls_that_vanished_is_noticed_by_keepalive() {
    let test = "tunnels::vanish::an_idle_far_end_behind_tls_that_vanished_is_noticed_by_keepalive";
    a_far_end_vanishes(test, "keepalive = \"2s\"", false);
}

#[test]
fn a_far_end_behind_tls_that_acknowledges_nothing_ends_at_user_timeout() {
    let test = "tunnels::vanish::a_far_end_behind_tls_that_acknowledges_nothing_ends_at_user_timeout";
    a_far_end_vanishes(test, "user_timeout = \"2s\"\nkeepalive = \"1h\"", true);
}
