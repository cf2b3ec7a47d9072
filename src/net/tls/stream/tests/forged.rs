//! Peers that seal records of their own making once the handshake is done.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{Connection, ConnectionTrafficSecrets};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use super::*;

const APPLICATION: u8 = 23;
const HANDSHAKE: u8 = 22;

/// One direction's keys (RFC 8446 5.2 and 5.3).
struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Forger {
    fn of(peer: Connection) -> Self {
        let (number, secrets) = peer.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another suite") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), number }
    }

    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut sealed = [content, &[kind]].concat();
        let length = u16::try_from(sealed.len() + 16).unwrap().to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let mut nonce = self.iv;
        for (to, from) in nonce.iter_mut().skip(4).zip(self.number.to_be_bytes()) {
            *to ^= from;
        }
        self.number += 1;
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut sealed).unwrap();
        [&header[..], &sealed].concat()
    }

    /// A handshake message in pieces, a record each.
    fn split(&mut self, message: &[u8], piece: usize) -> Vec<u8> {
        message.chunks(piece).flat_map(|piece| self.record(HANDSHAKE, piece)).collect()
    }
}

/// A NewSessionTicket (RFC 8446 4.6.1) of this length as a whole.
fn ticket(length: usize) -> Vec<u8> {
    let body = u32::try_from(length - 4).unwrap().to_be_bytes();
    let bytes = u16::try_from(length - 18).unwrap().to_be_bytes();
    let head = [4, body[1], body[2], body[3], 0, 0, 0, 60, 1, 2, 3, 4, 1, 0, bytes[0], bytes[1]];
    [&head[..], &vec![7; length - 18], &[0, 0]].concat()
}

async fn shake(peer: Connection, pipe: &mut DuplexStream) -> Forger {
    Forger::of(greeted(peer, pipe).await)
}

/// Our client, and a server that forges.
async fn forging_server() -> (TlsStream<DuplexStream>, DuplexStream, Forger) {
    let (server, client) = configs(BOTH);
    let (ours, mut pipe) = duplex(1 << 22);
    let mut server = ServerConfig::clone(&server);
    (server.enable_secret_extraction, server.send_tls13_tickets) = (true, 0);
    let peer = rustls::ServerConnection::new(server.into()).unwrap();
    let (ours, forger) = tokio::join!(TlsStream::connect(client, name(), ours), shake(peer.into(), &mut pipe));
    (ours.unwrap(), pipe, forger)
}

/// Our server, and a client that forges.
async fn forging_client() -> (TlsStream<DuplexStream>, DuplexStream, Forger) {
    let (server, client) = configs(BOTH);
    let (ours, mut pipe) = duplex(1 << 22);
    let mut client = ClientConfig::clone(&client);
    client.enable_secret_extraction = true;
    let peer = rustls::ClientConnection::new(client.into(), name()).unwrap();
    let (ours, forger) = tokio::join!(TlsStream::accept(server, ours, Vec::new()), shake(peer.into(), &mut pipe));
    (ours.unwrap(), pipe, forger)
}

#[test]
fn a_message_of_the_handshake_in_many_records_is_taken_and_what_follows_is_read() {
    run(async {
        // The longest that rustls takes, and pieces down to 100 bytes.
        for (length, piece) in [(200, 1), (40_000, 16_384), (65_539, 16_384), (65_539, 1000), (65_539, 100)] {
            let (mut ours, mut pipe, mut forger) = forging_server().await;
            pipe.write_all(&forger.split(&ticket(length), piece)).await.unwrap();
            pipe.write_all(&forger.record(APPLICATION, b"greeting")).await.unwrap();
            let mut heard = [0; 8];
            ours.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"greeting", "{length} in pieces of {piece}");
            assert_eq!(ours.partial.capacity(), 0);
        }
    });
}

#[test]
fn a_message_that_does_not_end_is_refused_in_words_of_its_own() {
    run(async {
        let refused = |e: io::Error| {
            assert!(is_tls_error(&e), "{e:?}");
            assert!(e.to_string().contains("a message of the peer's TLS does not end"), "{e}");
        };
        let (mut ours, mut pipe, mut forger) = forging_server().await;
        pipe.write_all(&forger.split(&ticket(65_539), 10)).await.unwrap();
        refused(ours.read(&mut [0; 8]).await.unwrap_err());
        // Again, and by the writer as well.
        refused(ours.read(&mut [0; 8]).await.unwrap_err());
        refused(ours.write(b"x").await.unwrap_err());
        assert!(ours.partial.capacity() <= HANDSHAKE_MOST + SCRATCH);
        ours.shutdown().await.unwrap();

        let (mut ours, mut pipe, mut forger) = forging_client().await;
        pipe.write_all(&forger.split(&ticket(65_539), 500)).await.unwrap();
        refused(ours.read(&mut [0; 8]).await.unwrap_err());
    });
}

#[test]
fn half_a_message_of_the_handshake_does_not_stop_the_writer() {
    run(async {
        let (mut ours, mut pipe, mut forger) = forging_server().await;
        let records = forger.split(&ticket(600), 200);
        let mut heard = [0; 8];
        for half in records.chunks(records.len() / 2 + 1) {
            pipe.write_all(half).await.unwrap();
            let read = tokio::time::timeout(std::time::Duration::from_millis(10), ours.read(&mut heard)).await;
            assert!(read.is_err(), "{read:?}");
            ours.write_all(b"query").await.unwrap();
            ours.flush().await.unwrap();
        }
        pipe.write_all(&forger.record(APPLICATION, b"greeting")).await.unwrap();
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"greeting");
        ours.shutdown().await.unwrap();
    });
}

#[test]
fn what_breaks_into_a_message_of_the_handshake_ends_the_connection_and_no_more() {
    run(async {
        for behind in [&[][..], b"greeting"] {
            let (mut ours, mut pipe, mut forger) = forging_server().await;
            let mut said = match behind {
                [] => Vec::new(),
                behind => forger.record(APPLICATION, behind),
            };
            said.extend(forger.record(HANDSHAKE, &ticket(600)[..300]));
            said.extend(forger.record(APPLICATION, b"not now"));
            pipe.write_all(&said).await.unwrap();
            let mut heard = vec![0; behind.len()];
            ours.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, behind);
            for _ in 0..2 {
                let e = ours.read(&mut [0; 8]).await.unwrap_err();
                assert!(is_tls_error(&e), "{e:?}");
            }
            assert!(is_tls_error(&ours.write(b"x").await.unwrap_err()));
            ours.shutdown().await.unwrap();
        }
    });
}

/// A socket that is always readable: each read is full of whole records, of one message each.
struct Flood {
    pipe: DuplexStream,
    forger: Option<(Forger, Vec<u8>)>,
    reads: u32,
}

impl AsyncRead for Flood {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((forger, message)) = &mut this.forger else { return Pin::new(&mut this.pipe).poll_read(cx, buf) };
        this.reads += 1;
        // Somewhere it has to end, or the test would not.
        while this.reads < 1000 && buf.remaining() > message.len() + OVERHEAD {
            buf.put_slice(&forger.record(HANDSHAKE, message));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn messages_without_an_end_leave_other_tasks_their_turn() {
    let (server, client) = configs(BOTH);
    let (pipe, mut far) = duplex(1 << 20);
    let mut server = ServerConfig::clone(&server);
    (server.enable_secret_extraction, server.send_tls13_tickets) = (true, 0);
    let peer = rustls::ServerConnection::new(server.into()).unwrap();
    let flood = Flood { pipe, forger: None, reads: 0 };
    let (ours, forger) =
        run(async { tokio::join!(TlsStream::connect(client, name(), flood), shake(peer.into(), &mut far)) });
    let mut ours = ours.unwrap();
    ours.io.forger = Some((forger, ticket(100)));
    let wakes = Arc::new(Wakes::default());
    let waker = Arc::clone(&wakes).into();
    let mut room = [0; 100];
    for turn in 1..10 {
        let read = Pin::new(&mut ours).poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut room));
        assert!(read.is_pending(), "{read:?}");
        assert_eq!((ours.io.reads, wakes.0.load(Ordering::Relaxed)), (turn * FRUITLESS, turn));
    }
}
