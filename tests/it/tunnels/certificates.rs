//! Certificates that are not good, on either side.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};

use rcgen::date_time_ymd;
use rustls::{AlertDescription, ServerConfig, ServerConnection, StreamOwned};

use super::{NAME, Site, alert, dial, galeway, handshakes, local, patient, pin, service, tcp};
use crate::fakes::{LONG, access};
use crate::harness::until;
use crate::peer::tls::{Authority, Identity, Version, server};
use crate::targets::Target;

#[test]
fn a_client_that_is_refused_is_told_why_and_the_log_names_its_certificate() {
    use AlertDescription as Alert;
    let site = Site::new();
    let (good, revoked) = (site.issue("good"), site.issue("revoked"));
    let expired = site.ca.issue_with("expired", &["expired"], |params| params.not_after = date_time_ymd(2001, 2, 3));
    let stranger = Authority::new("elsewhere").issue("stranger", &["stranger"]);
    site.put("crl.pem", &site.ca.crl(&[&revoked]));
    site.keep("good", &good);
    site.keep("revoked", &revoked);
    let pins = format!("pins = [\"{}\"]", pin(&site.path("good.pem")));

    let target = Target::start("t");
    let (mut text, mut accepts) = (String::new(), Vec::new());
    let rules = [
        ("chain", site.line("crl", "crl.pem")),
        ("names", "allow_names = [\"good\"]".to_owned()),
        ("subjects", "allow_subjects = [\"/CN=good\"]".to_owned()),
        ("pins", pins),
    ];
    for (name, lines) in &rules {
        let (accept, section) = service(name, &[target.addr()], "");
        text += &(section + &site.accepting(name, lines));
        accepts.push((*name, accept));
    }
    let at = |name: &str| accepts.iter().find(|(n, _)| *n == name).unwrap().1;
    let galeway = galeway(&text);

    let in_crl = format!("it is revoked by the CRL in {}", site.path("crl.pem").display());
    let its_pin = format!("its public key is none of pins; to let it in add \"{}\"", pin(&site.path("revoked.pem")));
    let to_add = |what: &str, value: &str| format!("none of {what}; to let it in add {value}");
    let cases: [(&str, Option<&Identity>, Alert, [&str; 2]); 7] = [
        ("chain", None, Alert::CertificateRequired, ["the client showed no certificate", "client_auth = \"require\""]),
        ("chain", Some(&stranger), Alert::UnknownCA, ["/CN=stranger (issuer /CN=elsewhere", "/CN=elsewhere is not in"]),
        (
            "chain",
            Some(&expired),
            Alert::CertificateExpired,
            ["/CN=expired (issuer /CN=site", "it expired at 2001-02-03"],
        ),
        ("chain", Some(&revoked), Alert::CertificateRevoked, ["/CN=revoked (issuer /CN=site", &in_crl]),
        (
            "names",
            Some(&revoked),
            Alert::AccessDenied,
            ["/CN=revoked (issuer", "none of allow_names is its name; to let it in add one of [\"revoked\"]"],
        ),
        (
            "subjects",
            Some(&revoked),
            Alert::AccessDenied,
            ["/CN=revoked (issuer", &to_add("allow_subjects", "\"/CN=revoked\"")],
        ),
        ("pins", Some(&revoked), Alert::AccessDenied, ["/CN=revoked (issuer", &its_pin]),
    ];
    for (name, identity, wanted, words) in &cases {
        let what = words[1];
        let mut client = dial(at(name), site.client(*identity)).unwrap();
        let from = client.sock.local_addr().ok();
        // What it sends before it hears of the refusal goes nowhere.
        let _ = client.write_all(b"first bytes").and_then(|()| client.flush());
        let told = alert(&client.read(&mut [0; 16]).unwrap_err());
        let event = access(&galeway, from);
        println!("{name}: {told:?}: {}", event["detail"]);
        assert_eq!(told, *wanted, "{what}");
        assert_eq!((event["end"].as_str(), event["by"].as_str()), (Some("tls_handshake"), Some("client")), "{event}");
        let detail = event["detail"].as_str().unwrap();
        assert!(words.iter().all(|w| detail.contains(w)), "{words:?}: {detail}");
        assert_eq!((&event["node"], event["bytes_in"].as_u64()), (&serde_json::Value::Null, Some(0)), "{event}");
    }
    for (name, refused) in [("chain", 4.0), ("names", 1.0), ("subjects", 1.0), ("pins", 1.0)] {
        assert_eq!(handshakes(&galeway, name, "client", "certificate"), refused, "{name}");
        assert_eq!(handshakes(&galeway, name, "client", "ok"), 0.0, "{name}");
        // And whoever is meant gets in.
        let mut client = dial(at(name), site.client(Some(&good))).unwrap();
        let from = client.sock.local_addr().ok();
        client.write_all(b"x").unwrap();
        client.conn.send_close_notify();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "t: x", "{name}");
        let event = access(&galeway, from);
        assert_eq!(
            (event["end"].as_str(), event["client_subject"].as_str()),
            (Some("client_closed"), Some("/CN=good"))
        );
        assert_eq!((event["client_tls"].as_str(), event["bytes_in"].as_u64()), (Some("TLSv1.3"), Some(1)), "{event}");
        assert_eq!(handshakes(&galeway, name, "client", "ok"), 1.0, "{name}");
    }
}

/// A far end that shows this certificate and lets in anybody: what each connection's handshake came to, and what it heard.
struct Far {
    addr: SocketAddr,
    heard: mpsc::Receiver<Result<Vec<u8>, std::io::Error>>,
}

impl Far {
    fn new(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(local(0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, patient(stream));
                let mut bytes = Vec::new();
                if say.send(stream.read_to_end(&mut bytes).map(|_| bytes)).is_err() {
                    return;
                }
            }
        });
        Self { addr, heard }
    }
}

#[test]
fn a_far_end_whose_certificate_is_refused_is_told_why_and_hears_nothing() {
    use AlertDescription as Alert;
    let site = Site::new();
    let named = |name: &str| site.ca.issue(name, &[name]);
    let revoked = named(NAME);
    let expired = site.ca.issue_with(NAME, &[NAME], |params| params.not_after = date_time_ymd(2001, 2, 3));
    let stranger = Authority::new("elsewhere").issue(NAME, &[NAME]);
    let other = named("db2");
    site.put("crl.pem", &site.ca.crl(&[&revoked]));
    site.keep("other", &other);
    let other_pin = pin(&site.path("other.pem"));
    let crl = site.line("crl", "crl.pem");
    let server_pin = format!("pins = [\"{other_pin}\"]");
    let cases: [(&str, &Identity, &str, Alert, &str); 6] = [
        ("stranger", &stranger, &crl, Alert::UnknownCA, "its issuer /CN=elsewhere is not in"),
        ("expired", &expired, &crl, Alert::CertificateExpired, "it expired at 2001-02-03"),
        ("revoked", &revoked, &crl, Alert::CertificateRevoked, "it is revoked by the CRL in"),
        ("name", &other, &crl, Alert::BadCertificate, "it is for db2, not for \"db1\""),
        ("subject", &site.server, "allow_subjects = [\"/CN=db2\"]", Alert::AccessDenied, "none of allow_subjects"),
        ("pin", &site.server, &server_pin, Alert::AccessDenied, "its public key is none of pins"),
    ];
    let (mut text, mut all) = (String::new(), Vec::new());
    for (name, identity, lines, ..) in &cases {
        let far = Far::new(server(identity, Version::Tls13, None));
        let (accept, section) = service(name, &[far.addr], "queue_timeout = \"300ms\"");
        text += &(section + &site.connecting(name, None, lines));
        all.push((accept, far));
    }
    // One that asks for a certificate which we do not have.
    let demands = Far::new(server(&site.server, Version::Tls13, Some(&site.ca)));
    let (accept, section) = service("demands", &[demands.addr], "queue_timeout = \"300ms\"");
    let galeway = galeway(&(text + &section + &site.connecting("demands", None, "")));

    for ((name, _, _, wanted, words), (accept, far)) in cases.iter().zip(&all) {
        let told = alert(&reset(*accept, far));
        let event = last(&galeway, name);
        println!("{name}: {told:?}: {}", event["detail"]);
        assert_eq!(told, *wanted, "{name}");
        assert_eq!((event["end"].as_str(), event["bytes_in"].as_u64()), (Some("no_node"), Some(0)), "{event}");
        assert!(event["detail"].as_str().unwrap().contains(words), "{words}: {event}");
        assert!(handshakes(&galeway, name, "node", "certificate") >= 1.0, "{name}");
        assert_eq!(handshakes(&galeway, name, "node", "ok"), 0.0, "{name}");
    }
    let error = reset(accept, &demands);
    assert!(error.to_string().contains("peer sent no certificates"), "{error}");
    let event = last(&galeway, "demands");
    let detail = event["detail"].as_str().unwrap();
    assert!(
        detail.contains("the peer requires a certificate of us (alert certificate_required): set cert and key"),
        "{event}"
    );
    assert!(handshakes(&galeway, "demands", "node", "alert") >= 1.0);
    assert_eq!(handshakes(&galeway, "demands", "node", "ok"), 0.0);
}

/// A local peer that speaks at once is reset; the far end's error.
#[track_caller]
fn reset(accept: SocketAddr, far: &Far) -> std::io::Error {
    let mut peer = tcp(accept);
    peer.write_all(b"first bytes").unwrap();
    let error = peer.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    far.heard.recv_timeout(LONG).unwrap().expect_err("bytes or an orderly end")
}

/// The only event of this service's access log.
#[track_caller]
fn last(galeway: &crate::harness::Galeway, service: &str) -> serde_json::Value {
    until(LONG, "the access log's event", || galeway.access_log().into_iter().find(|e| e["service"] == *service))
}

#[test]
fn a_client_in_clear_and_one_of_an_old_version_are_told_apart() {
    let site = Site::new();
    let target = Target::start("t");
    let (accept, section) = service("s", &[target.addr()], "");
    let galeway = galeway(&(section + &site.accepting("s", "")));
    let mut clear = tcp(accept);
    clear.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    clear.shutdown(Shutdown::Write).unwrap();
    let mut told = Vec::new();
    let _ = clear.read_to_end(&mut told);
    let event = access(&galeway, clear.local_addr().ok());
    assert_eq!(event["end"], "tls_handshake");
    assert!(event["detail"].as_str().unwrap().contains("does not speak TLS: it speaks HTTP in clear"), "{event}");
    assert_eq!(handshakes(&galeway, "s", "client", "not_tls"), 1.0);

    // A ClientHello of TLS 1.2.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(site.server.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    let old = old.unwrap().with_root_certificates(roots).with_no_client_auth();
    let error = dial(accept, Arc::new(old)).unwrap_err();
    assert_eq!(alert(&error), AlertDescription::ProtocolVersion);
    let version =
        until(LONG, "its event", || galeway.access_log().into_iter().find(|e| e["client"] != event["client"]));
    let words =
        "the client does not take TLS 1.3, the only version allowed here: update it, or set min_version = \"1.2\"";
    assert!(version["detail"].as_str().unwrap().contains(words), "{version}");
    assert_eq!(handshakes(&galeway, "s", "client", "version"), 1.0);

    // One that says nothing, and goes.
    let silent = TcpStream::connect(accept).unwrap();
    let from = silent.local_addr().ok();
    drop(silent);
    assert_eq!(access(&galeway, from)["end"], "client_gone");
}
