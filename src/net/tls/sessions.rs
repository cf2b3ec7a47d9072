//! Sessions that clients with a certificate may resume.
//!
//! In a resumed session a client shows its certificate no more; rustls has it from the first one, and asks nobody about it. Once the
//! handshake is done a refusal could no longer be told: rustls has no alert for us to choose then. So the certificate is kept
//! beside the session and judged before that is handed out: a client that is refused gets a full handshake in its place, shows its
//! certificate there, and hears the alert of the verdict on it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use super::peers::Peers;
use super::verifier::Slot;

#[derive(Debug)]
pub(super) struct Sessions {
    kept: Arc<ServerSessionMemoryCache>,
    peers: Arc<Peers>,
}

impl Sessions {
    /// Room for this many.
    pub(super) fn new(most: usize, peers: Arc<Peers>) -> Arc<Self> {
        Arc::new(Self { kept: ServerSessionMemoryCache::new(most), peers })
    }

    /// The session, if whoever began it is let in by what is trusted now.
    fn open(&self, kept: &[u8]) -> Option<Vec<u8>> {
        let (chain, session) = parse(kept)?;
        // A client may offer several, and rustls takes the first that it can resume: nothing of one before that counts.
        Slot::resume(None);
        if !chain.is_empty() {
            Slot::resume(Some(self.peers.admit(&chain, None).ok()?));
        }
        Some(session.to_vec())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, session: Vec<u8>) -> bool {
        let shown = Slot::shown();
        let chain = shown.as_ref().map(|admitted| admitted.chain()).unwrap_or_default();
        write(chain, &session).is_some_and(|kept| self.kept.put(key, kept))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.open(&self.kept.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.open(&self.kept.take(key)?)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// How many certificates; of each its length and its bytes; the session.
fn write(chain: &[CertificateDer<'_>], session: &[u8]) -> Option<Vec<u8>> {
    let mut kept = vec![u8::try_from(chain.len()).ok()?];
    for certificate in chain {
        kept.extend(u32::try_from(certificate.len()).ok()?.to_be_bytes());
        kept.extend_from_slice(certificate);
    }
    kept.extend_from_slice(session);
    Some(kept)
}

fn parse(kept: &[u8]) -> Option<(Vec<CertificateDer<'_>>, &[u8])> {
    let (count, mut rest) = kept.split_first()?;
    let mut chain = Vec::new();
    for _ in 0..*count {
        let (length, behind) = rest.split_first_chunk()?;
        let (certificate, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        chain.push(certificate.into());
        rest = behind;
    }
    Some((chain, rest))
}
