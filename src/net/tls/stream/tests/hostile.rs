//! Somebody on the way who changes what he likes, and peers who say what they should not.
//!
//! Time stands still while anything can be done and leaps when nothing can: what waits for ever ends the test at once.

use std::time::Duration;

use super::*;

/// What a peer says after its handshake.
const SAID: usize = 60_000;

/// What happens to the bytes at one place.
#[derive(Debug, Clone)]
enum Change {
    Flip(u8),
    Insert(Vec<u8>),
    /// A record's header, and bytes behind it that nobody has encrypted.
    Record(u8, u16, u8),
    Leave(usize),
    Repeat(usize),
    Cut,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1_u8..).prop_map(Change::Flip),
        2 => proptest::collection::vec(any::<u8>(), 1..600).prop_map(Change::Insert),
        2 => (18_u8..26, any::<u16>(), any::<u8>()).prop_map(|(kind, length, fill)| Change::Record(kind, length, fill)),
        1 => (1_usize..20_000).prop_map(Change::Leave),
        1 => (1_usize..20_000).prop_map(Change::Repeat),
        1 => Just(Change::Cut),
    ]
}

/// Passes bytes on in pieces, changed once behind the first `at` of them. Where nothing more comes, that is the end.
async fn meddle(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    at: usize,
    change: Change,
    piece: usize,
) {
    let mut seen = Vec::new();
    let mut sent = 0;
    let mut change = Some(change);
    let mut buf = vec![0; 8192];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(1), from.read(&mut buf)).await;
        let Ok(Ok(read @ 1..)) = read else { break };
        seen.extend_from_slice(&buf[..read]);
        let mut next = seen[sent..].to_vec();
        let mut cut = false;
        if seen.len() > at
            && let Some(change) = change.take()
        {
            let place = at - sent;
            match change {
                Change::Flip(mask) => next[place] ^= mask,
                Change::Insert(bytes) => drop(next.splice(place..place, bytes)),
                Change::Record(kind, length, fill) => {
                    let [high, low] = length.to_be_bytes();
                    let record = [kind, 3, 3, high, low].into_iter().chain(std::iter::repeat_n(fill, length.into()));
                    drop(next.splice(place..place, record));
                }
                Change::Leave(n) => drop(next.drain(place..next.len().min(place + n))),
                Change::Repeat(n) => {
                    let again = seen[at.saturating_sub(n)..at].to_vec();
                    drop(next.splice(place..place, again));
                }
                Change::Cut => {
                    next.truncate(place);
                    cut = true;
                }
            }
        }
        sent = seen.len();
        for piece in next.chunks(piece) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
        if cut {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Speaks as an honest peer does, until something fails.
async fn honest(peer: io::Result<impl AsyncRead + AsyncWrite + Unpin>) {
    if let Ok(peer) = peer {
        let (mut read, mut write) = tokio::io::split(peer);
        let talk = async {
            write.write_all(&bytes(SAID, 0)).await?;
            write.shutdown().await
        };
        let mut heard = Vec::new();
        let _ = tokio::join!(talk, read.read_to_end(&mut heard));
        assert!(bytes(SAID, 85).starts_with(&heard), "what we said arrives or fails");
    }
}

/// Says its own and hears all it can; returns that, and whether its end was orderly.
async fn ours(stream: Result<TlsStream<DuplexStream>, Broken<DuplexStream>>, room: usize) -> (Vec<u8>, bool) {
    let Ok(mut stream) = stream else { return (Vec::new(), false) };
    let (said, mut at) = (bytes(SAID, 85), 0);
    let mut heard = Vec::new();
    let mut buf = vec![0; room];
    loop {
        if at < said.len() {
            let end = said.len().min(at + 5000);
            // Whoever does not take it is cut off by the one in the middle.
            if stream.write_all(&said[at..end]).await.is_err() || stream.flush().await.is_err() {
                return (heard, false);
            }
            at = end;
        }
        let read = stream.read(&mut buf).await;
        for (kept, most) in [
            (stream.partial.capacity(), HANDSHAKE_MOST + SCRATCH),
            (stream.plain.bytes.capacity(), HANDSHAKE_MOST + SCRATCH),
            (stream.unsent.bytes.capacity(), 3 * SCRATCH),
        ] {
            assert!(kept <= most, "{kept} bytes are kept");
        }
        match read {
            Ok(0) => {
                // Not before: a bad record after our own close_notify meets an assertion of rustls's, where those are compiled in.
                let _ = stream.shutdown().await;
                return (heard, true);
            }
            Ok(n) => heard.extend_from_slice(&buf[..n]),
            Err(_) => return (heard, false),
        }
    }
}

/// Time that leaps.
fn run_leaping<F: Future>(work: F) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await.ok() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn whatever_is_changed_on_the_way_is_noticed_and_nothing_hangs_or_grows(
        at in prop_oneof![0_usize..200, 0_usize..3000, 0_usize..SAID + 5000],
        change in change(), piece in 1_usize..5000, room in 1_usize..20_000, is_server: bool, old: bool,
    ) {
        let versions: &Versions = if old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let (server, client) = configs(versions);
        // Byte by byte is slow over as much.
        let (piece, room) = (piece.max(at / 50), room.max(at / 50).max(1));
        let outcome = run_leaping(async {
            let (near, middle) = duplex(10_000);
            let (other, far) = duplex(10_000);
            let (from_us, to_us) = tokio::io::split(middle);
            let (from_them, to_them) = tokio::io::split(other);
            let way = async {
                tokio::join!(
                    meddle(from_them, to_us, at, change.clone(), piece),
                    meddle(from_us, to_them, usize::MAX, Change::Cut, 5000),
                )
            };
            let ends = async {
                if is_server {
                    let them = async { honest(TlsConnector::from(client).connect(name(), far).await).await };
                    tokio::join!(async { ours(TlsStream::accept(server, near, Vec::new()).await, room).await }, them).0
                } else {
                    let them = async { honest(TlsAcceptor::from(server).accept(far).await).await };
                    tokio::join!(async { ours(TlsStream::connect(client, name(), near).await, room).await }, them).0
                }
            };
            tokio::join!(ends, way).0
        });
        let Some((heard, orderly)) = outcome else { return Err(TestCaseError::fail("it waits for ever")) };
        prop_assert!(bytes(SAID, 0).starts_with(&heard), "bytes that nobody said");
        prop_assert!(!orderly || heard.len() == SAID, "{} bytes look whole", heard.len());
    }

    #[test]
    fn whatever_a_stranger_says_first_it_is_refused(
        said in proptest::collection::vec(any::<u8>(), 0..2000), like_tls: bool, is_server: bool, piece in 1_usize..500,
    ) {
        let (server, client) = configs(BOTH);
        let header: &[u8] = if like_tls { &[22, 3, 1] } else { &[] };
        let said = [header, &said].concat();
        let outcome = run_leaping(async {
            let (near, mut far) = duplex(200_000);
            let them = async {
                for piece in said.chunks(piece) {
                    let _ = far.write_all(piece).await;
                }
                let _ = far.shutdown().await;
                // Kept open the other way.
                let mut told = Vec::new();
                let _ = far.read_to_end(&mut told).await;
            };
            let us = async {
                match is_server {
                    true => TlsStream::accept(server, near, Vec::new()).await.is_ok(),
                    false => TlsStream::connect(client, name(), near).await.is_ok(),
                }
            };
            tokio::join!(us, them).0
        });
        prop_assert_eq!(outcome, Some(false));
    }
}

/// A peer that asks for new keys again and again, and takes no answer.
#[test]
fn requests_for_new_keys_that_nobody_waits_for_do_not_pile_up() {
    let outcome = run_leaping(async {
        let (server, client) = configs(BOTH);
        let (near, mut far) = duplex(1 << 20);
        let them = async {
            let mut peer = rustls::ClientConnection::new(client, name()).unwrap();
            while peer.is_handshaking() {
                let mut out = Vec::new();
                while peer.wants_write() {
                    peer.write_tls(&mut out).unwrap();
                }
                far.write_all(&out).await.unwrap();
                let mut buf = [0; 5000];
                let n = far.read(&mut buf).await.unwrap();
                peer.read_tls(&mut &buf[..n]).unwrap();
                peer.process_new_packets().unwrap();
            }
            let mut out = Vec::new();
            for _ in 0..20_000 {
                peer.refresh_traffic_keys().unwrap();
                while peer.wants_write() {
                    peer.write_tls(&mut out).unwrap();
                }
            }
            // It never reads again; it may be cut off in the middle.
            let _ = far.write_all(&out).await;
            far
        };
        let us = async {
            // Refused by rustls as soon as they are too many, within the handshake's last read if they came along with it.
            let mut stream = match TlsStream::accept(server, near, Vec::new()).await {
                Ok(stream) => stream,
                Err(broken) => return assert!(broken.error.to_string().contains("KeyUpdate"), "{broken:?}"),
            };
            let error = stream.read(&mut [0; 1000]).await.unwrap_err();
            assert!(error.to_string().contains("KeyUpdate"), "{error}");
            assert!(stream.unsent.bytes.capacity() <= SCRATCH, "{}", stream.unsent.bytes.capacity());
            assert!(stream.partial.capacity() <= SCRATCH);
        };
        tokio::join!(us, them).0
    });
    assert_eq!(outcome, Some(()));
}
