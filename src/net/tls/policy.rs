//! What is in force, as facts for whoever puts it in a sentence.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::certificate::Facts;
use super::identity::Shown;
use super::peers::Peers;
use super::refresh::Skipped;
use super::store::Crl;

/// What is in force on one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What we show, our own first; empty where we show nothing.
    pub own: Vec<Dated>,
    /// What peers are judged by; `None` where they are asked for nothing.
    pub trust: Option<Trust>,
}

/// What peers are judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Where the certificates are from: `/etc/ca.pem`; empty where there is no store.
    pub store: String,
    /// Certificates in the store.
    pub certificates: Vec<Dated>,
    /// How many of them others may chain to.
    pub anchors: usize,
    /// CRLs, by their issuer's subject; the moment is that at which the next is due.
    pub crls: Vec<Dated>,
    /// Files, or parts of them, that do not count, and why.
    pub skipped: Vec<Skipped>,
}

/// A certificate or CRL, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// Its subject (a CRL's issuer) in OpenSSL's slash form.
    pub subject: String,
    /// Unix seconds; `i64::MAX` = it does not say.
    pub not_after: i64,
    /// `None` in the system's store.
    pub file: Option<PathBuf>,
    /// Whether it is its own issuer.
    pub self_signed: bool,
}

impl Dated {
    fn of(facts: &Facts, file: Option<PathBuf>) -> Self {
        Self { subject: facts.subject.to_string(), not_after: facts.not_after, file, self_signed: facts.self_signed() }
    }
}

impl Policy {
    pub(super) fn of(shown: Option<&Shown>, peers: Option<&Peers>) -> Self {
        let own = shown.map(|shown| shown.chain().iter().map(|f| Dated::of(f, Some(shown.file()))).collect());
        let trust = peers.map(|peers| {
            let store = peers.store();
            let crl = |crl: &Arc<Crl>| Dated {
                subject: crl.issuer_words.clone(),
                not_after: crl.next_update.unwrap_or(i64::MAX),
                file: Some(crl.file.clone()),
                self_signed: false,
            };
            Trust {
                store: store.words.clone(),
                certificates: store.members.iter().map(|m| Dated::of(&m.facts, m.file.clone())).collect(),
                anchors: store.anchors.len(),
                crls: store.crls.iter().map(crl).collect(),
                skipped: store.skipped.clone(),
            }
        });
        Self { own: own.unwrap_or_default(), trust }
    }

    /// The first end by file.
    pub(super) fn expiries(&self) -> Vec<(PathBuf, i64)> {
        let trust = self.trust.iter().flat_map(|trust| trust.certificates.iter().chain(&trust.crls));
        let mut first: BTreeMap<PathBuf, i64> = BTreeMap::new();
        for dated in self.own.iter().chain(trust).filter(|dated| dated.not_after != i64::MAX) {
            if let Some(file) = &dated.file {
                let end = first.entry(file.clone()).or_insert(i64::MAX);
                *end = dated.not_after.min(*end);
            }
        }
        first.into_iter().collect()
    }
}
