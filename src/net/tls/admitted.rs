//! Peers as admitted: who they are, and the word that they no longer are.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::certificate::{Facts, sha256};
use super::judge::Judged;
use super::names::Wanted;
use crate::config::Pin;

/// A peer's certificate as it was found good at the handshake. A handle: clones, and the sessions of the same certificate, share one.
#[derive(Clone)]
pub struct Admitted(Arc<Inner>);

struct Inner {
    /// The peer's own, and of those that it sent along the ones that the verdict rests on; judged again when something changes.
    chain: Vec<CertificateDer<'static>>,
    /// Digests of those after the first.
    links: Vec<[u8; 32]>,
    /// What it had to be for.
    name: Option<Wanted>,
    subject: String,
    issuer: String,
    serial: String,
    chain_dns: Vec<String>,
    pin: Pin,
    not_after: i64,
    withdrawn: watch::Sender<Option<Arc<str>>>,
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admitted").field(&self.0.subject).finish()
    }
}

impl Admitted {
    pub(super) fn new(chain: &[CertificateDer<'_>], name: Option<Wanted>, judged: &Judged) -> Self {
        let leaf = judged.path.first();
        let text = |of: &dyn Fn(&Facts) -> String| leaf.map(of).unwrap_or_default();
        // Only what the verdict rests on is kept: a peer may send any number of certificates along.
        let needed = |der: &CertificateDer<'_>| judged.path.iter().skip(1).any(|f| f.digest == sha256(der));
        let mut kept: Vec<&CertificateDer<'_>> = Vec::new();
        for (i, der) in chain.iter().enumerate() {
            if i == 0 || needed(der) && !kept.contains(&der) {
                kept.push(der);
            }
        }
        let mut links: Vec<[u8; 32]> = kept.iter().skip(1).map(|der| sha256(der)).collect();
        links.sort_unstable();
        Self(Arc::new(Inner {
            links,
            chain: kept.into_iter().map(|der| der.clone().into_owned()).collect(),
            name,
            subject: text(&|f| f.subject.to_string()),
            issuer: text(&|f| f.issuer.to_string()),
            serial: text(&|f| f.serial.clone()),
            chain_dns: judged.path.iter().map(|f| f.subject.to_string()).collect(),
            pin: leaf.map_or(Pin([0; 32]), Facts::pin),
            not_after: judged.path.iter().map(|f| f.not_after).min().unwrap_or(i64::MAX),
            withdrawn: watch::Sender::new(None),
        }))
    }

    /// Its subject in OpenSSL's slash form: `/DC=org/CN=db1`.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Its issuer in the slash form.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Its serial number in hexadecimal digits.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// The subjects of its chain in the slash form, each with its depth: its own at 0, the anchor last. Its own alone where no
    /// chain was asked for.
    pub fn chain_dns(&self) -> impl DoubleEndedIterator<Item = (usize, &str)> + ExactSizeIterator {
        self.0.chain_dns.iter().map(String::as_str).enumerate()
    }

    /// The digest of its public key.
    pub fn pin(&self) -> Pin {
        self.0.pin
    }

    /// When the first certificate of its chain expires, in Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// Resolves once it is no longer good, with the words that say so. Costs no timer: who reads the files anew tells.
    pub async fn withdrawn(&self) -> Arc<str> {
        let mut words = self.0.withdrawn.subscribe();
        match words.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(words)) => words,
            // The sender lives as long as this handle.
            _ => std::future::pending().await,
        }
    }

    /// The words of [`Self::withdrawn`], if it is.
    pub fn is_withdrawn(&self) -> Option<Arc<str>> {
        self.0.withdrawn.borrow().clone()
    }

    pub(super) fn withdraw(&self, words: &str) {
        self.0.withdrawn.send_replace(Some(words.into()));
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    pub(super) fn name(&self) -> Option<&Wanted> {
        self.0.name.as_ref()
    }

    /// Whether the verdict rests on nothing but the peer's own certificate, the store, and what is among these.
    pub(super) fn rests_on(&self, sent: &[[u8; 32]]) -> bool {
        self.0.links.iter().all(|link| sent.contains(link))
    }

    /// Whether both verdicts rest on the same of what was sent.
    pub(super) fn rests_alike(&self, other: &Self) -> bool {
        self.0.links == other.0.links
    }

    /// Whether both are the same handle.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether any session still holds it, besides the one handle of the register.
    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// What verdicts belong to: the peer's own certificate, by its digest, and the name it had to be for.
pub(super) fn digest(leaf: Option<&[u8; 32]>, name: Option<&Wanted>) -> [u8; 32] {
    let mut all = leaf.copied().unwrap_or_default().to_vec();
    all.extend(name.map(|name| format!("{name:?}")).unwrap_or_default().into_bytes());
    sha256(&all)
}
