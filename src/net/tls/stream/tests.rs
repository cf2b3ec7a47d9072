//! Against tokio-rustls, which stands on rustls's other, buffered API.

mod forged;
mod hostile;

use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

type Versions = [&'static SupportedProtocolVersion];

/// Both sides' configurations for "localhost".
fn configs(versions: &Versions) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    (server.into(), client.with_root_certificates(roots).with_no_client_auth().into())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// The handshakes of our server and a client of tokio-rustls, over a pipe of this many bytes.
fn our_server(
    pipe: usize,
    versions: &Versions,
) -> (impl Future<Output = TlsStream<DuplexStream>>, impl Future<Output = impl AsyncRead + AsyncWrite + Unpin>) {
    let (server, client) = configs(versions);
    let (ours, theirs) = duplex(pipe);
    let ours = async { TlsStream::accept(server, ours, Vec::new()).await.unwrap() };
    (ours, async { TlsConnector::from(client).connect(name(), theirs).await.unwrap() })
}

/// Those of our client and a server of tokio-rustls.
fn our_client(
    pipe: usize,
    versions: &Versions,
) -> (impl Future<Output = TlsStream<DuplexStream>>, impl Future<Output = impl AsyncRead + AsyncWrite + Unpin>) {
    let (server, client) = configs(versions);
    let (ours, theirs) = duplex(pipe);
    let ours = async { TlsStream::connect(client, name(), ours).await.unwrap() };
    (ours, async { TlsAcceptor::from(server).accept(theirs).await.unwrap() })
}

/// Sends `up` and `down` at once in pieces of these sizes, each side ending its direction behind them. Each begins as soon as
/// its own handshake is done: a server's tickets fill a narrow pipe, and only a client that reads makes room for them.
async fn exchange<A, B>(
    a: impl Future<Output = A>,
    b: impl Future<Output = B>,
    up: &[u8],
    down: &[u8],
    pieces: (usize, usize),
) -> (Vec<u8>, Vec<u8>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    async fn speak<S>(handshake: impl Future<Output = S>, say: &[u8], piece: usize) -> Vec<u8>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut read, mut write) = tokio::io::split(handshake.await);
        let mut heard = Vec::new();
        let talk = async {
            for bytes in say.chunks(piece) {
                write.write_all(bytes).await.unwrap();
                write.flush().await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let listen = read.read_to_end(&mut heard);
        let ((), end) = tokio::join!(talk, listen);
        end.unwrap();
        heard
    }
    let (heard_by_a, heard_by_b) = tokio::join!(speak(a, up, pieces.0), speak(b, down, pieces.1));
    (heard_by_b, heard_by_a)
}

/// A minute is for a loaded machine; these tests take milliseconds.
fn run<F: Future>(work: F) -> F::Output {
    let bounded = async { tokio::time::timeout(std::time::Duration::from_secs(60), work).await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bounded).expect("whoever waits here waits for ever")
}

fn bytes(n: usize, seed: u8) -> Vec<u8> {
    (0..=250_u8).cycle().take(n).map(|byte| byte ^ seed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_arrive_whole_whatever_the_sizes_of_pipe_and_pieces(
        pipe in 1_usize..40_000, up in 0_usize..120_000, down in 0_usize..120_000,
        piece in 1_usize..70_000, other in 1_usize..70_000, is_server: bool, old: bool,
    ) {
        let versions: &Versions = if old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        // A pipe that is narrower than this only makes the test slow.
        let (pipe, piece, other) = (pipe.max(64), piece.max(up / 200 + 1), other.max(down / 200 + 1));
        let (up, down) = (bytes(up, 0), bytes(down, 85));
        let (at_peer, at_us) = run(async {
            if is_server {
                let (a, b) = our_server(pipe, versions);
                exchange(a, b, &up, &down, (piece, other)).await
            } else {
                let (a, b) = our_client(pipe, versions);
                exchange(a, b, &up, &down, (piece, other)).await
            }
        });
        prop_assert!(at_peer == up && at_us == down, "{} of {}, {} of {}", at_peer.len(), up.len(), at_us.len(), down.len());
    }
}

#[test]
fn a_pipe_narrower_than_the_servers_tickets_holds_nobody_up() {
    run(async {
        for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
            let (a, b) = our_client(64, versions);
            assert_eq!(exchange(a, b, b"up", b"down", (1, 1)).await, (b"up".to_vec(), b"down".to_vec()));
            let (a, b) = our_server(64, versions);
            assert_eq!(exchange(a, b, b"up", b"down", (1, 1)).await, (b"up".to_vec(), b"down".to_vec()));
        }
    });
}

const BOTH: &Versions = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn both_sides_can_be_ours_and_say_what_was_negotiated() {
    run(async {
        let (server, client) = configs(BOTH);
        let (a, b) = duplex(4096);
        let (a, b) = tokio::join!(TlsStream::accept(server, a, Vec::new()), TlsStream::connect(client, name(), b));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.facts().protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(b.peer_certificates().len(), 1);
        assert!(a.peer_certificates().is_empty());
        let (up, down) = (bytes(100_000, 1), bytes(50_000, 2));
        let (at_b, at_a) = exchange(async { a }, async { b }, &up, &down, (30_000, 999)).await;
        assert!(at_b == up && at_a == down);
    });
}

#[test]
fn an_end_without_close_notify_is_a_truncation_and_one_with_it_is_none() {
    run(async {
        let (ours, theirs) = our_server(4096, BOTH);
        let (mut ours, mut theirs) = tokio::join!(ours, theirs);
        theirs.write_all(b"half a ro").await.unwrap();
        theirs.flush().await.unwrap();
        let mut buf = [0; 64];
        assert_eq!(ours.read(&mut buf).await.unwrap(), 9);
        drop(theirs);
        let e = ours.read(&mut buf).await.unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
        assert!(e.to_string().contains("close_notify"), "{e}");

        let (ours, theirs) = our_server(4096, BOTH);
        let (mut ours, mut theirs) = tokio::join!(ours, theirs);
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut buf).await.unwrap(), 0);
        // The other direction is still open.
        ours.write_all(b"rest").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"rest");
    });
}

#[test]
fn an_orderly_end_stays_one_where_the_peer_takes_no_more() {
    run(async {
        let (ours, theirs) = our_server(4096, BOTH);
        let (mut ours, mut theirs) = tokio::join!(ours, theirs);
        // More than the pipe takes: some of it waits to be sent.
        assert!(ours.write(&bytes(60_000, 0)).await.unwrap() > 4096);
        theirs.write_all(b"last words").await.unwrap();
        theirs.shutdown().await.unwrap();
        drop(theirs);
        let mut buf = [0; 64];
        assert_eq!(ours.read(&mut buf).await.unwrap(), 10);
        assert_eq!(ours.read(&mut buf).await.unwrap(), 0);
        assert_eq!(ours.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn keys_are_changed_in_the_middle_and_no_byte_is_lost() {
    run(async {
        let (server, client) = configs(BOTH);
        let (ours, mut pipe) = duplex(1 << 20);
        let theirs = async {
            let mut peer = rustls::ClientConnection::new(client, name()).unwrap();
            let mut heard = Vec::new();
            let mut said = 0;
            while heard.len() < 300_000 {
                if !peer.is_handshaking() && said < 30 {
                    std::io::Write::write_all(&mut peer.writer(), &bytes(10_000, 7)).unwrap();
                    // Asks for new keys of the other side too.
                    peer.refresh_traffic_keys().unwrap();
                    said += 1;
                }
                while peer.wants_write() {
                    let mut out = Vec::new();
                    peer.write_tls(&mut out).unwrap();
                    pipe.write_all(&out).await.unwrap();
                }
                let mut buf = [0; 5000];
                let n = pipe.read(&mut buf).await.unwrap();
                let mut got = &buf[..n];
                while !got.is_empty() {
                    peer.read_tls(&mut got).unwrap();
                    peer.process_new_packets().unwrap();
                    let _ = std::io::Read::read_to_end(&mut peer.reader(), &mut heard);
                }
            }
            heard
        };
        let echo = async {
            let mut stream = TlsStream::accept(server, ours, Vec::new()).await.unwrap();
            let mut buf = [0; 4096];
            let mut all = 0;
            while all < 300_000 {
                let n = stream.read(&mut buf).await.unwrap();
                all += n;
                stream.write_all(&buf[..n]).await.unwrap();
                stream.flush().await.unwrap();
            }
            stream
        };
        let (heard, _stream) = tokio::join!(theirs, echo);
        let whole: Vec<u8> = (0..30).flat_map(|_| bytes(10_000, 7)).collect();
        assert!(heard == whole);
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    run(async {
        let (server, client) = configs(BOTH);
        let (a, b) = duplex(1 << 20);
        let (a, b) = tokio::join!(TlsStream::accept(server, a, Vec::new()), TlsStream::connect(client, name(), b));
        let (mut a, mut b) = (a.unwrap(), b.unwrap());
        a.write_all(&bytes(100_000, 0)).await.unwrap();
        a.flush().await.unwrap();
        let mut heard = vec![0; 100_000];
        b.read_exact(&mut heard).await.unwrap();
        // Takes the session tickets in.
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), b.read(&mut [0; 1])).await.is_err());
        for held in [&a.partial, &a.plain.bytes, &a.unsent.bytes, &b.partial, &b.plain.bytes, &b.unsent.bytes] {
            assert_eq!(held.capacity(), 0);
        }
    });
}

#[test]
fn what_is_no_tls_fails_and_the_peer_is_told() {
    run(async {
        let (server, client) = configs(BOTH);
        let (ours, mut theirs) = duplex(4096);
        theirs.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let e = TlsStream::accept(server, ours, Vec::new()).await.unwrap_err();
        assert_eq!(e.first(), b"GET / HTTP/1.0\r\n\r\n");
        assert!(e.error.get_ref().is_some_and(|e| e.is::<RustlsError>()), "{e:?}");
        drop(e);
        let mut told = Vec::new();
        theirs.read_to_end(&mut told).await.unwrap();
        assert_eq!(told.first(), Some(&21), "an alert: {told:?}");
        // A peer that never ends its handshake message does not grow without bound.
        let (ours, mut theirs) = duplex(1 << 20);
        let record = [&[22_u8, 3, 3, 0x40, 0][..], &[2, 0xff, 0xff, 0xff], &vec![0; 0x4000 - 4]].concat();
        for _ in 0..8 {
            theirs.write_all(&record).await.unwrap();
        }
        let e = TlsStream::connect(client, name(), ours).await.unwrap_err();
        assert!(e.error.get_ref().is_some_and(|e| e.is::<RustlsError>()), "{e:?}");
    });
}

/// A rustls peer that has gone through its handshake over this pipe, and has said all that it had to.
async fn greeted(mut peer: rustls::Connection, pipe: &mut DuplexStream) -> rustls::Connection {
    while peer.is_handshaking() || peer.wants_write() {
        let mut out = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut out).unwrap();
        }
        pipe.write_all(&out).await.unwrap();
        if peer.is_handshaking() {
            let mut buf = [0; 5000];
            let n = pipe.read(&mut buf).await.unwrap();
            peer.read_tls(&mut &buf[..n]).unwrap();
            peer.process_new_packets().unwrap();
        }
    }
    peer
}

#[test]
fn bytes_in_front_of_a_bad_record_are_read_before_the_error() {
    run(async {
        let (server, client) = configs(BOTH);
        let (ours, mut pipe) = duplex(1 << 16);
        let theirs = async {
            let peer = rustls::ClientConnection::new(client, name()).unwrap();
            let mut peer = greeted(peer.into(), &mut pipe).await;
            std::io::Write::write_all(&mut peer.writer(), b"last words").unwrap();
            let mut out = Vec::new();
            peer.write_tls(&mut out).unwrap();
            // In one piece: a good record, and one that cannot be decrypted.
            out.extend([23, 3, 3, 0, 32]);
            out.extend([7; 32]);
            pipe.write_all(&out).await.unwrap();
            pipe
        };
        let (stream, _pipe) = tokio::join!(TlsStream::accept(server, ours, Vec::new()), theirs);
        let mut stream = stream.unwrap();
        let mut buf = [0; 64];
        let n = stream.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"last words");
        assert!(is_tls_error(&stream.read(&mut buf).await.unwrap_err()));
    });
}
