//! TLS inside the MySQL protocol: the four modes against the certificates that servers have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use galeway::config::{MonitorTls, TlsMode};
use galeway::mysql::Error;
use galeway::net::tls::{ClientTls, HandshakeError};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;

use crate::login::dial;
use crate::peer::tls::{Authority, Identity, Version, file, server, version_1};
use crate::peer::{Greeting, Peer, auth};

/// A directory of this test's own.
fn directory(test: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn client(mode: TlsMode, ca: Option<PathBuf>) -> ClientTls {
    ClientTls::new(&MonitorTls { mode, ca, identity: None }).unwrap().unwrap()
}

/// A MySQL 8 that insists on TLS and on the whole exchange of caching_sha2_password.
fn tls_server(config: Arc<ServerConfig>) -> Peer {
    Peer::start(move |mut conn| {
        let config = config.clone();
        async move {
            conn.greet(&Greeting::mysql8().with_tls()).await?;
            conn.start_tls(config).await?;
            conn.login().await?;
            conn.more_data(&[4]).await?;
            assert_eq!(conn.read().await?, b"secret\0");
            conn.ok().await?;
            conn.command().await?;
            conn.rows(&["a"], &[vec![Some("x".repeat(100_000))]]).await?;
            conn.hang().await?;
            Ok(())
        }
    })
}

async fn outcome(peer: &Peer, tls: &ClientTls, host: &str) -> Result<(), Error> {
    let mut connection = dial(peer.addr(), Some((tls, host))).await?;
    let rows = connection.query("SELECT a").await?;
    assert_eq!(rows.value().unwrap().len(), 100_000);
    Ok(())
}

fn certificate_error(outcome: Result<(), Error>) -> String {
    match outcome.unwrap_err() {
        error @ Error::Tls(HandshakeError::Certificate(_)) => {
            assert!(error.is_login_refused());
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_mode_accepts_what_its_name_says() {
    let dir = directory("modes");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let named = ours.issue("db1", &["localhost", "127.0.0.1"]);
    let nameless = ours.issue("db1", &[]);
    let foreign = theirs.issue("db1", &["localhost"]);
    let ca = file(&dir, "ca.pem", &ours.pem());
    let require = client(TlsMode::Require, None);
    let verify_ca = client(TlsMode::VerifyCa, Some(ca.clone()));
    let verify_identity = client(TlsMode::VerifyIdentity, Some(ca));

    for version in [Version::Tls12, Version::Tls13] {
        let peer = |identity: &Identity| tls_server(server(identity, version, None));

        let at = peer(&named);
        outcome(&at, &require, "anything").await.unwrap();
        outcome(&at, &verify_ca, "anything").await.unwrap();
        outcome(&at, &verify_identity, "localhost").await.unwrap();
        outcome(&at, &verify_identity, "127.0.0.1").await.unwrap();
        let why = certificate_error(outcome(&at, &verify_identity, "db9").await);
        assert_eq!(why, "TLS: the server's certificate is for localhost, 127.0.0.1, not for \"db9\"");

        let at = peer(&nameless);
        outcome(&at, &require, "db1").await.unwrap();
        outcome(&at, &verify_ca, "db1").await.unwrap();
        let why = certificate_error(outcome(&at, &verify_identity, "db1").await);
        assert!(why.contains("no subject alternative name"), "{why}");

        let at = peer(&foreign);
        outcome(&at, &require, "localhost").await.unwrap();
        for tls in [&verify_ca, &verify_identity] {
            let why = certificate_error(outcome(&at, tls, "localhost").await);
            assert_eq!(why, "TLS: the server's certificate is not signed by a trusted CA");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_checked_too() {
    let dir = directory("version_1");
    let (identity, authority) = version_1();
    let ca = file(&dir, "ca.pem", authority);
    let other = file(&dir, "other.pem", &Authority::new("Galeway test authority").pem());
    for version in [Version::Tls12, Version::Tls13] {
        let peer = tls_server(server(&identity, version, None));
        outcome(&peer, &client(TlsMode::Require, None), "db1").await.unwrap();
        outcome(&peer, &client(TlsMode::VerifyCa, Some(ca.clone())), "db1").await.unwrap();
        // An authority of the same name with another key.
        let why = certificate_error(outcome(&peer, &client(TlsMode::VerifyCa, Some(other.clone())), "db1").await);
        assert_eq!(why, "TLS: the server's certificate is not signed by a trusted CA");
        let why = certificate_error(outcome(&peer, &client(TlsMode::VerifyIdentity, Some(ca.clone())), "db1").await);
        assert!(why.contains("no subject alternative name"), "{why}");

        // Somebody who shows this certificate without its key.
        let thief = Identity { key: Authority::new("x").issue("x", &[]).key, ..version_1().0 };
        let peer = tls_server(server(&thief, version, None));
        let error = outcome(&peer, &client(TlsMode::Require, None), "db1").await.unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error:?}");
    }
}

#[tokio::test]
async fn expired_certificates_and_those_for_clients_are_refused_by_the_verifying_modes() {
    let dir = directory("expired");
    let ours = Authority::new("ours");
    let verify_ca = client(TlsMode::VerifyCa, Some(file(&dir, "ca.pem", &ours.pem())));
    let expired = ours.issue_with("db1", &[], |params| params.not_after = date_time_ymd(2001, 1, 1));
    let for_clients =
        ours.issue_with("db1", &[], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    for (identity, expected) in [(expired, "expired"), (for_clients, "server authentication")] {
        let peer = tls_server(server(&identity, Version::Tls13, None));
        let why = certificate_error(outcome(&peer, &verify_ca, "db1").await).to_lowercase();
        assert!(why.contains(expected), "{why}");
        outcome(&peer, &client(TlsMode::Require, None), "db1").await.unwrap();
    }
}

#[tokio::test]
async fn the_system_store_is_used_without_a_ca() {
    let peer = tls_server(server(&Authority::new("ours").issue("db1", &["db1"]), Version::Tls13, None));
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        // A machine without ca-certificates trusts no CA.
        let why = certificate_error(outcome(&peer, &client(mode, None), "db1").await);
        assert_eq!(why, "TLS: the server's certificate is not signed by a trusted CA");
    }
}

/// A MariaDB with a certificate that it made itself. It ends the login with what `ok` makes of the greeting's scramble and the
/// certificate.
fn self_signed(
    identity: &Identity,
    version: Version,
    ok: impl Fn(&[u8], &[u8]) -> Vec<u8> + Clone + Send + 'static,
) -> Peer {
    let (config, certificate) = (server(identity, version, None), identity.certificate.to_vec());
    Peer::start(move |mut conn| {
        let (config, certificate, ok) = (config.clone(), certificate.clone(), ok.clone());
        async move {
            let greeting = Greeting::default().with_tls();
            conn.greet(&greeting).await?;
            conn.start_tls(config).await?;
            let login = conn.login().await?;
            assert_eq!(login.plugin, "mysql_native_password");
            conn.send(&ok(&greeting.nonce, &certificate)).await?;
            conn.command().await?;
            conn.rows(&["a"], &[vec![Some("x".repeat(100_000))]]).await?;
            conn.hang().await?;
            Ok(())
        }
    })
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_with_the_proof_that_the_server_knows_the_password_and_without_a_ca_only()
{
    let dir = directory("self_signed");
    let (identity, other) = (Identity::self_signed("MariaDB Server"), Identity::self_signed("MariaDB Server"));
    let proof =
        |hash: Vec<u8>| move |scramble: &[u8], certificate: &[u8]| auth::ok_with_proof(&hash, scramble, certificate);
    let secret = auth::native_hash("secret");
    for version in [Version::Tls12, Version::Tls13] {
        let good = self_signed(&identity, version, proof(secret.clone()));
        for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
            // Whatever its name: the password says more of the server than a name does.
            outcome(&good, &client(mode, None), "db1").await.unwrap();
            let with_ca = client(mode, Some(file(&dir, "ca.pem", &Authority::new("ours").pem())));
            let why = certificate_error(outcome(&good, &with_ca, "db1").await);
            assert_eq!(why, "TLS: the server's certificate is not signed by a trusted CA");
        }

        // What an impostor can do: pass on what a server said of another certificate, guess, or say nothing.
        let theirs = other.certificate.to_vec();
        let hash = secret.clone();
        let relayed = move |scramble: &[u8], _: &[u8]| auth::ok_with_proof(&hash, scramble, &theirs);
        let guessed = proof(auth::native_hash("guess"));
        for (peer, expected) in [
            (self_signed(&identity, version, relayed), "may be answering in its place"),
            (self_signed(&identity, version, guessed), "may be answering in its place"),
            (self_signed(&identity, version, |_, _| vec![0, 0, 0, 2, 0, 0, 0]), "the server sent no proof"),
        ] {
            let error = outcome(&peer, &client(TlsMode::VerifyIdentity, None), "db1").await.unwrap_err();
            assert!(matches!(error, Error::Unproven(_)) && error.is_login_refused(), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
            outcome(&peer, &client(TlsMode::Require, None), "db1").await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_impostor_with_a_self_signed_certificate_receives_no_password() {
    let identity = Identity::self_signed("MariaDB Server");
    for plugin in ["mysql_clear_password", "sha256_password", "caching_sha2_password", "dialog"] {
        let config = server(&identity, Version::Tls13, None);
        let peer = Peer::start(move |mut conn| {
            let config = config.clone();
            async move {
                conn.greet(&Greeting::default().with_tls()).await?;
                conn.start_tls(config).await?;
                conn.login().await?;
                conn.send(&[b"\xfe", plugin.as_bytes(), b"\0abcdefghijABCDEFGHIJ\0"].concat()).await?;
                assert_eq!(conn.hang().await.unwrap_or_default(), b"", "{plugin}");
                Ok(())
            }
        });
        let error = outcome(&peer, &client(TlsMode::VerifyCa, None), "db1").await.unwrap_err();
        assert!(matches!(error, Error::Unproven(_)), "{error:?}");
        assert!(error.to_string().contains(plugin), "{error}");
        peer.finish();
    }
}

#[tokio::test]
async fn an_expired_self_signed_certificate_is_refused_before_the_login() {
    let expired = Identity::self_signed_with("MariaDB Server", |params| params.not_after = date_time_ymd(2001, 1, 1));
    let peer = self_signed(&expired, Version::Tls13, |_, _| panic!("no login"));
    certificate_error(outcome(&peer, &client(TlsMode::VerifyCa, None), "db1").await);
}

#[tokio::test]
async fn sha256_password_sends_the_password_in_clear_over_tls() {
    let config = server(&Authority::new("ours").issue("db1", &[]), Version::Tls13, None);
    let peer = Peer::start(move |mut conn| {
        let config = config.clone();
        async move {
            conn.greet(&Greeting::mysql8().with_tls()).await?;
            conn.start_tls(config).await?;
            conn.login().await?;
            assert_eq!(conn.switch("sha256_password", b"abcdefghijABCDEFGHIJ\0").await?, b"secret\0");
            conn.ok().await
        }
    });
    dial(peer.addr(), Some((&client(TlsMode::Require, None), "db1"))).await.unwrap();
    peer.finish();
}

#[tokio::test]
async fn a_server_of_older_versions_of_tls_than_ours_is_a_refused_login() {
    // A ServerHello of TLS 1.1 (RFC 4346 7.4.1.3).
    let hello = [&[22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
    let peer = Peer::start(move |mut conn| {
        let hello = hello.clone();
        async move {
            conn.greet(&Greeting::mysql8().with_tls()).await?;
            assert_eq!(conn.read().await?.len(), 32);
            conn.raw(&hello).await?;
            conn.hang().await?;
            Ok(())
        }
    });
    let error = dial(peer.addr(), Some((&client(TlsMode::Require, None), "db1"))).await.unwrap_err();
    assert!(error.is_login_refused(), "{error:?}");
    assert!(error.to_string().contains("no version of TLS"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_server_asks_and_its_refusal_is_the_servers_alert() {
    let dir = directory("client_certificate");
    let ours = Authority::new("ours");
    let ca = file(&dir, "ca.pem", &ours.pem());
    let me = ours.issue("galeway", &[]);
    let pair = (file(&dir, "me.pem", &me.certificate_pem), file(&dir, "me.key", &me.key_pem));
    let with = MonitorTls { mode: TlsMode::VerifyCa, ca: Some(ca.clone()), identity: Some(pair) };
    let with = ClientTls::new(&with).unwrap().unwrap();
    let without = client(TlsMode::VerifyCa, Some(ca));
    for version in [Version::Tls12, Version::Tls13] {
        let peer = tls_server(server(&ours.issue("db1", &[]), version, Some(&ours)));
        outcome(&peer, &with, "db1").await.unwrap();
        let error = outcome(&peer, &without, "db1").await.unwrap_err();
        assert!(matches!(&error, Error::Tls(HandshakeError::Alert(_))), "{version:?}: {error:?}");
        assert!(error.is_login_refused());
    }
}

#[tokio::test]
async fn tls_that_the_server_does_not_offer_is_not_silently_left_out() {
    let peer = Peer::start(|mut conn| async move {
        conn.greet(&Greeting::mysql8()).await?;
        assert_eq!(conn.hang().await?, b"", "nothing is sent in clear");
        Ok(())
    });
    let tls = client(TlsMode::Require, None);
    let error = dial(peer.addr(), Some((&tls, "db1"))).await.unwrap_err();
    assert_eq!(error.to_string(), "the server does not offer TLS");
    assert!(error.is_login_refused());
    peer.finish();
}

#[tokio::test]
async fn a_server_that_answers_the_request_for_tls_in_clear_gets_no_further() {
    for in_clear in [&b"\x07\0\0\x02\0\0\0\x02\0\0\0"[..], b"\x0a\0\0\x02\xff\x15\x04#28000no", b"HTTP/1.1 400\r\n\r\n"]
    {
        let peer = Peer::start(move |mut conn| async move {
            conn.greet(&Greeting::mysql8().with_tls()).await?;
            assert_eq!(conn.read().await?.len(), 32);
            conn.raw(in_clear).await?;
            let hello = conn.hang().await?;
            assert!(!hello.windows(6).any(|w| w == b"secret"));
            Ok(())
        });
        let tls = client(TlsMode::Require, None);
        let error = dial(peer.addr(), Some((&tls, "db1"))).await.unwrap_err();
        assert!(matches!(error, Error::Tls(HandshakeError::Failed(_))), "{error:?}");
        assert!(!error.is_login_refused());
        peer.finish();
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = directory("files");
    let ours = Authority::new("ours");
    let me = ours.issue("galeway", &[]);
    let ca = file(&dir, "ca.pem", &ours.pem());
    let (cert, key) = (file(&dir, "me.pem", &me.certificate_pem), file(&dir, "me.key", &me.key_pem));
    let other_key = file(&dir, "other.key", &ours.issue("x", &[]).key_pem);
    let (empty, absent) = (file(&dir, "empty.pem", ""), dir.join("absent.pem"));
    let build = |ca: &PathBuf, identity: Option<(&PathBuf, &PathBuf)>| {
        let identity = identity.map(|(c, k)| (c.clone(), k.clone()));
        ClientTls::new(&MonitorTls { mode: TlsMode::VerifyCa, ca: Some(ca.clone()), identity })
    };
    build(&ca, Some((&cert, &key))).unwrap();
    for (settings, culprit) in [
        (build(&absent, None), &absent),
        (build(&empty, None), &empty),
        (build(&key, None), &key),
        (build(&ca, Some((&absent, &key))), &absent),
        (build(&ca, Some((&cert, &absent))), &absent),
        (build(&ca, Some((&cert, &cert))), &cert),
        (build(&ca, Some((&cert, &other_key))), &other_key),
    ] {
        let message = settings.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", culprit.display())), "{message}");
    }
    assert!(ClientTls::new(&MonitorTls::default()).unwrap().is_none(), "off");
}
