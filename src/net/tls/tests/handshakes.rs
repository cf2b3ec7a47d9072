//! Whole handshakes: what either end says, and what a connection carries.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::StoresServerSessions as _;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::judge::Of;
use super::super::sessions::Sessions;
use super::super::verifier::{SLOT, Slot, Verifier};
use super::chains::{chain, peers};
use super::*;
use crate::config::{CipherSuite, Group};

/// Mutual TLS between two ends of one CA.
struct Mutual {
    dir: Dir,
    ca: Ca,
    accept: TlsAccept,
    connect: TlsConnect,
}

fn mutual() -> Mutual {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let store = dir.write("ca.pem", &ca.pem);
    let accept =
        accepting(identity(&dir, "server", &ca.issue("db1.example.org")), ClientAuth::Require, chain_to(&store));
    let ours = identity(&dir, "client", &ca.issue("client"));
    let connect = TlsConnect { names: true, ..connecting(Some(ours), chain_to(&store)) };
    Mutual { dir, ca, accept, connect }
}

#[tokio::test]
async fn both_ends_know_each_other_and_what_was_agreed_on() {
    let m = mutual();
    let (acceptor, connector) = (Acceptor::new(&m.accept).unwrap(), Connector::new(&m.connect).unwrap());
    let (accepted, connected) = shake(&acceptor, &connector, "db1.example.org").await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let client = accepted.peer.unwrap();
    assert_eq!(client.subject(), "/O=Galeway/CN=client");
    let chain: Vec<_> = client.chain_dns().collect();
    assert_eq!(chain, [(0, "/O=Galeway/CN=client"), (1, "/O=Galeway/CN=ca")]);
    assert_eq!(connected.peer.subject(), "/O=Galeway/CN=db1.example.org");
    for agreed in [&accepted.agreed, &connected.agreed] {
        assert_eq!((agreed.version, agreed.group), ("TLSv1.3", "X25519MLKEM768"));
        assert_eq!((agreed.suite, agreed.resumed), ("TLS_AES_256_GCM_SHA384", false));
    }
    // The wait for the server's word has eaten none of its bytes.
    accepted.stream.write_all(b"greeting").await.unwrap();
    accepted.stream.flush().await.unwrap();
    let mut greeting = [0; 8];
    connected.stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"greeting");
}

#[tokio::test]
async fn sessions_of_one_certificate_share_one_handle() {
    let m = mutual();
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let protocol = TlsProtocol { min_version: version, max_version: version, ..protocol() };
        let acceptor = Acceptor::new(&TlsAccept { protocol: protocol.clone(), ..m.accept.clone() }).unwrap();
        let connector = Connector::new(&TlsConnect { protocol, ..m.connect.clone() }).unwrap();
        let mut handles = Vec::new();
        for _ in 0..3 {
            let (accepted, connected) = shake(&acceptor, &connector, "db1.example.org").await;
            assert!(!connected.unwrap().agreed.resumed, "no resumption where a certificate is asked for");
            handles.push(accepted.unwrap().peer.unwrap());
        }
        assert!(handles.windows(2).all(|two| two[0].same(&two[1])));
    }
}

#[tokio::test]
async fn a_client_hears_that_its_certificate_is_refused_before_it_has_a_connection() {
    let m = mutual();
    let foreign = Ca::root("other");
    let connect =
        TlsConnect { identity: Some(identity(&m.dir, "foreign", &foreign.issue("client"))), ..m.connect.clone() };
    let (acceptor, connector) = (Acceptor::new(&m.accept).unwrap(), Connector::new(&connect).unwrap());
    let (ours, theirs) = words(&acceptor, &connector, "db1.example.org").await;
    assert!(
        ours.starts_with("certificate at depth 0, /O=Galeway/CN=client (issuer /O=Galeway/CN=other, serial "),
        "{ours}"
    );
    assert!(ours.contains("its issuer /O=Galeway/CN=other is not in "), "{ours}");
    assert_eq!(theirs, "the peer rejected our certificate (alert unknown_ca): its log says why");
    let none = TlsConnect { identity: None, ..m.connect };
    let connector = Connector::new(&none).unwrap();
    let (accepted, connected) = shake(&acceptor, &connector, "db1.example.org").await;
    let error = accepted.unwrap_err();
    assert_eq!(error.result(), "certificate");
    assert_eq!(error.to_string(), remedy::no_certificate(Dialect::Toml));
    assert_eq!(
        connected.unwrap_err().to_string(),
        "the peer requires a certificate of us (alert certificate_required): set cert and key"
    );
}

#[tokio::test]
async fn the_alert_fits_the_reason() {
    let m = mutual();
    let expired = m.ca.issue_with("client", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let server_only = m.ca.issue_with("client", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let revoked = m.ca.issue("client");
    let crl = m.dir.write("crl.pem", m.ca.crl(&[&revoked], 4000));
    let unlisted = PeerRules { allow_names: vec!["x.example.org".into()], ..m.accept.peer.clone() };
    let with_crl = PeerRules { crl: vec![crl], ..m.accept.peer.clone() };
    for (pair, peer, alert) in [
        (&expired, &m.accept.peer, "certificate_expired"),
        (&server_only, &m.accept.peer, "unsupported_certificate"),
        (&revoked, &with_crl, "certificate_revoked"),
        (&m.ca.issue("client"), &unlisted, "access_denied"),
    ] {
        let accept = TlsAccept { peer: peer.clone(), ..m.accept.clone() };
        let connect = TlsConnect { identity: Some(identity(&m.dir, "case", pair)), ..m.connect.clone() };
        let (acceptor, connector) = (Acceptor::new(&accept).unwrap(), Connector::new(&connect).unwrap());
        let (_, theirs) = words(&acceptor, &connector, "db1.example.org").await;
        assert_eq!(theirs, format!("the peer rejected our certificate (alert {alert}): its log says why"));
    }
}

#[tokio::test]
async fn a_server_for_another_name_is_refused_by_the_client() {
    let m = mutual();
    let (acceptor, connector) = (Acceptor::new(&m.accept).unwrap(), Connector::new(&m.connect).unwrap());
    let (theirs, ours) = words(&acceptor, &connector, "db2.example.org").await;
    assert!(ours.ends_with("it is for db1.example.org, not for \"db2.example.org\": connect by its name, or set server_name or check_names"), "{ours}");
    assert_eq!(theirs, "the peer rejected our certificate (alert bad_certificate): its log says why");
    let named = TlsConnect { server_name: Some("db1.example.org".into()), ..m.connect.clone() };
    assert_eq!(words(&acceptor, &Connector::new(&named).unwrap(), "10.0.0.1").await, <_>::default());
    let any = TlsConnect { names: false, ..m.connect.clone() };
    assert_eq!(words(&acceptor, &Connector::new(&any).unwrap(), "no name at all").await, <_>::default());
    let (_, ours) = words(&acceptor, &Connector::new(&m.connect).unwrap(), "no name at all").await;
    assert!(ours.starts_with("\"no name at all\" is no name that a certificate could bear"), "{ours}");
}

#[tokio::test]
async fn versions_suites_and_groups_are_those_of_the_configuration() {
    let m = mutual();
    let v12 = TlsProtocol { min_version: TlsVersion::V12, max_version: TlsVersion::V12, ..protocol() };
    let both = TlsProtocol { min_version: TlsVersion::V12, ..protocol() };
    let narrow = TlsProtocol {
        cipher_suites: vec![CipherSuite::Chacha20Poly1305Sha256],
        groups: vec![Group::Secp521r1],
        ..protocol()
    };
    let run = async |ours: &TlsProtocol, theirs: &TlsProtocol| {
        let accept = TlsAccept { protocol: ours.clone(), ..m.accept.clone() };
        let connect = TlsConnect { protocol: theirs.clone(), ..m.connect.clone() };
        shake(&Acceptor::new(&accept).unwrap(), &Connector::new(&connect).unwrap(), "db1.example.org").await
    };
    let agreed = run(&both, &v12).await.0.unwrap().agreed;
    assert_eq!((agreed.version, agreed.suite), ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"));
    let agreed = run(&narrow, &protocol()).await.0.unwrap().agreed;
    assert_eq!((agreed.suite, agreed.group), ("TLS_CHACHA20_POLY1305_SHA256", "secp521r1"));
    let (accepted, connected) = run(&protocol(), &v12).await;
    let (ours, theirs) = (accepted.unwrap_err(), connected.unwrap_err());
    assert_eq!((ours.result(), theirs.result()), ("version", "version"));
    assert_eq!(
        ours.to_string(),
        "the client does not take TLS 1.3, the only version allowed here: update it, or set min_version = \"1.2\""
    );
    let (accepted, connected) = run(&v12, &protocol()).await;
    assert_eq!((accepted.unwrap_err().result(), connected.unwrap_err().result()), ("version", "version"));
}

#[tokio::test]
async fn what_is_not_tls_is_called_by_its_name() {
    let m = mutual();
    let (acceptor, connector) = (Acceptor::new(&m.accept).unwrap(), Connector::new(&m.connect).unwrap());
    for (bytes, name) in [
        (&b"GET / HTTP/1.1\r\n"[..], "it speaks HTTP in clear"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it speaks SSH"),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "it sends a PROXY protocol header (set proxy_protocol = \"require\" to take it)",
        ),
        (
            b"\x4a\0\0\0\x0a8.0.36\0",
            "it greets as MySQL does in clear (is this the database's own port, or is TLS missing in between?)",
        ),
        (b"\x01\x02nonsense", "its first bytes are \"\\x01\\x02nonsense\""),
    ] {
        let (left, mut right) = UnixStream::pair().unwrap();
        right.write_all(bytes).await.unwrap();
        let error = acceptor.accept(left).await.unwrap_err().error;
        assert_eq!((error.result(), error.to_string()), ("not_tls", format!("the client does not speak TLS: {name}")));
        let (left, mut right) = UnixStream::pair().unwrap();
        right.write_all(bytes).await.unwrap();
        let error = connect(&connector, "db1.example.org", left).await.unwrap_err();
        assert_eq!((error.result(), error.to_string()), ("not_tls", format!("the server does not speak TLS: {name}")));
    }
    let (left, right) = UnixStream::pair().unwrap();
    drop(right);
    let error = acceptor.accept(left).await.unwrap_err().error;
    assert_eq!(error.to_string(), "the client closed the connection before it sent a byte of TLS");
    assert_eq!(error.result(), "closed");
}

#[tokio::test]
async fn a_client_without_certificate_is_let_in_where_none_is_required() {
    let m = mutual();
    let anonymous = Connector::new(&TlsConnect { identity: None, ..m.connect.clone() }).unwrap();
    for client_auth in [ClientAuth::Off, ClientAuth::Optional] {
        let acceptor = Acceptor::new(&TlsAccept { client_auth, ..m.accept.clone() }).unwrap();
        let (accepted, connected) = shake(&acceptor, &anonymous, "db1.example.org").await;
        assert!(accepted.unwrap().peer.is_none() && connected.is_ok(), "{client_auth:?}");
    }
    // One that is shown has to be good.
    let optional = Acceptor::new(&TlsAccept { client_auth: ClientAuth::Optional, ..m.accept.clone() }).unwrap();
    let foreign = identity(&m.dir, "foreign", &Ca::root("other").issue("client"));
    let connector = Connector::new(&TlsConnect { identity: Some(foreign), ..m.connect.clone() }).unwrap();
    assert!(words(&optional, &connector, "db1.example.org").await.0.contains("is not in"));
}

#[tokio::test]
async fn a_session_that_is_resumed_has_its_certificate_judged_again() {
    let m = mutual();
    let acceptor = Acceptor::new(&TlsAccept { client_auth: ClientAuth::Off, ..m.accept.clone() }).unwrap();
    let connector = Connector::new(&TlsConnect { identity: None, ..m.connect.clone() }).unwrap();
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let (accepted, connected) = shake(&acceptor, &connector, "db1.example.org").await;
        let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
        accepted.stream.write_all(b"x").await.unwrap();
        accepted.stream.flush().await.unwrap();
        connected.stream.read_exact(&mut [0]).await.unwrap();
        resumed.push(connected.agreed.resumed);
    }
    assert_eq!(resumed, [false, true]);
    // Another CA is trusted now: what the session began with no longer counts.
    m.dir.write("ca.pem", Ca::root("other").pem);
    assert!(!connector.reload().reloaded.is_empty());
    let (_, connected) = shake(&acceptor, &connector, "db1.example.org").await;
    assert!(connected.unwrap_err().to_string().contains("its issuer /O=Galeway/CN=ca is not in"));
}

#[tokio::test]
async fn a_client_that_is_no_longer_let_in_hears_so_by_an_alert_where_it_would_resume_too() {
    for (min_version, max_version) in [(TlsVersion::V13, TlsVersion::V13), (TlsVersion::V12, TlsVersion::V12)] {
        let m = mutual();
        let protocol = TlsProtocol { min_version, max_version, ..protocol() };
        let accept = TlsAccept { resumption_with_certificates: true, protocol: protocol.clone(), ..m.accept.clone() };
        let acceptor = Acceptor::new(&accept).unwrap();
        let connector = Connector::new(&TlsConnect { protocol, ..m.connect.clone() }).unwrap();
        let mut resumed = Vec::new();
        for _ in 0..3 {
            let (accepted, connected) = shake(&acceptor, &connector, "db1.example.org").await;
            let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
            assert_eq!(accepted.peer.unwrap().subject(), "/O=Galeway/CN=client");
            accepted.stream.write_all(b"x").await.unwrap();
            accepted.stream.flush().await.unwrap();
            connected.stream.read_exact(&mut [0]).await.unwrap();
            resumed.push(accepted.agreed.resumed);
        }
        assert_eq!(resumed, [false, true, true]);
        // The server's own CA is read by the client alone, which does not look again.
        m.dir.write("ca.pem", Ca::root("other").pem);
        assert!(!acceptor.reload().reloaded.is_empty());
        let (server, client) = words(&acceptor, &connector, "db1.example.org").await;
        assert!(server.contains("its issuer /O=Galeway/CN=ca is not in"), "{server}");
        assert_eq!(client, "the peer rejected our certificate (alert unknown_ca): its log says why");
    }
}

#[test]
fn a_session_is_kept_with_the_certificate_of_the_one_that_was_resumed_alone() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let peers = Arc::new(peers(Of::Clients, &chain_to(&dir.write("ca.pem", &ca.pem))));
    let admitted = peers.admit(&chain(&ca.issue("client").pem), None).unwrap();
    let sessions = Sessions::new(8, Arc::clone(&peers));
    // Each in a handshake of its own, as rustls calls it.
    let handshake = |of_it: &dyn Fn()| SLOT.sync_scope(Slot::new(None, false), of_it);
    let put = |key: u8, began: Option<&Admitted>| {
        handshake(&|| {
            Slot::resume(began.cloned());
            assert!(sessions.put(vec![key], vec![key; 3]));
        });
    };
    put(1, Some(&admitted));
    put(2, None);
    put(3, Some(&admitted));
    handshake(&|| {
        assert_eq!(sessions.take(&[1]).unwrap(), [1; 3]);
        assert!(Slot::shown().is_some_and(|shown| shown.same(&admitted)));
        // The first could not be resumed, say for another server name.
        assert_eq!(sessions.take(&[2]).unwrap(), [2; 3]);
        assert!(Slot::shown().is_none());
    });
    handshake(&|| {
        assert!(sessions.take(&[3]).is_some());
        // Neither could this one, and the client is asked for a certificate.
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let verifier = Verifier { peers: Arc::clone(&peers), algorithms, mandatory: false };
        assert!(ClientCertVerifier::root_hint_subjects(&verifier).is_empty());
        assert!(Slot::shown().is_none());
    });
}

#[tokio::test]
async fn a_tolerant_end_hands_over_whom_it_would_refuse() {
    let m = mutual();
    let tolerant = Acceptor::tolerant(&m.accept).unwrap();
    let foreign = identity(&m.dir, "foreign", &Ca::root("other").issue("client"));
    for (identity, reason) in [(Some(foreign), Reason::UnknownCa), (None, Reason::Missing)] {
        let connector = Connector::new(&TlsConnect { identity, ..m.connect.clone() }).unwrap();
        let (accepted, connected) = shake(&tolerant, &connector, "db1.example.org").await;
        let accepted = accepted.unwrap();
        assert_eq!(accepted.refused.unwrap().reason(), reason);
        assert!(accepted.peer.is_none() && connected.is_ok());
    }
}

#[tokio::test]
async fn the_name_a_client_asks_for_picks_the_end_it_gets() {
    let m = mutual();
    let other = identity(&m.dir, "second", &m.ca.issue("db2.example.org"));
    let first = Acceptor::new(&m.accept).unwrap();
    let second = Acceptor::new(&TlsAccept { identity: other, ..m.accept.clone() }).unwrap();
    let connector = Connector::new(&m.connect).unwrap();
    for host in ["db1.example.org", "db2.example.org"] {
        let (left, right) = UnixStream::pair().unwrap();
        let mut pick = |name: &str| (name == "db2.example.org").then(|| second.clone());
        let (accepted, connected) =
            tokio::join!(first.accept_with(left, Some(&mut pick)), connect(&connector, host, right));
        assert_eq!(connected.unwrap().peer.subject(), format!("/O=Galeway/CN={host}"));
        assert!(accepted.is_ok());
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_takes_no_place_among_the_handshakes() {
    let m = mutual();
    let acceptor = Acceptor::new(&TlsAccept { max_handshakes: 1, ..m.accept.clone() }).unwrap();
    let connector = Connector::new(&m.connect).unwrap();
    let (silent, _held) = UnixStream::pair().unwrap();
    let waiting = tokio::spawn({
        let acceptor = acceptor.clone();
        async move { acceptor.accept(silent).await.is_ok() }
    });
    tokio::task::yield_now().await;
    assert_eq!(words(&acceptor, &connector, "db1.example.org").await, <_>::default());
    waiting.abort();
}

#[tokio::test]
async fn a_server_that_closes_right_after_the_handshake_is_told_with_the_likely_cause() {
    let m = mutual();
    // As one that sends no tickets, judges certificates by itself, and ends the connection without an alert.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain(&m.ca.pem).remove(0)).unwrap();
    let asks = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let pair = m.ca.issue("db1.example.org");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(asks.allow_unauthenticated().build().unwrap())
        .with_single_cert(chain(&pair.pem), PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap())
        .unwrap();
    config.send_tls13_tickets = 0;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    for identity in [None, m.connect.identity.clone()] {
        let connector = Connector::new(&TlsConnect { identity, ..m.connect.clone() }).unwrap();
        let (left, right) = UnixStream::pair().unwrap();
        let accept = async { drop(acceptor.accept(left).await.unwrap()) };
        let ((), connected) = tokio::join!(accept, connect(&connector, "db1.example.org", right));
        let error = connected.unwrap_err();
        assert_eq!(error.result(), "closed");
        assert_eq!(
            error.to_string(),
            "the server closed the connection right after the TLS handshake, without an alert: most likely it refused our \
             certificate, or that we showed none (cert, key); its log says why"
        );
        // By a reset, as where something of ours lies unread.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let accept = async {
            let (socket, _) = listener.accept().await.unwrap();
            let accepted = acceptor.accept(socket).await.unwrap();
            accepted.get_ref().0.set_zero_linger().unwrap();
        };
        let socket = tokio::net::TcpStream::connect(at).await.unwrap();
        let ((), connected) = tokio::join!(accept, connect(&connector, "db1.example.org", socket));
        let error = connected.unwrap_err();
        assert_eq!(error.result(), "closed");
        assert!(
            error.to_string().starts_with("the server reset the connection right after the TLS handshake"),
            "{error}"
        );
    }
}
