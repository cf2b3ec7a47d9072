//! What we show: a certificate and its key, exchanged while connections run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error as RustlsError, InconsistentKeys, SignatureScheme};

use super::SetupError;
use super::certificate::Facts;
use super::files::bad_file;
use super::fingerprint::{Fingerprint, Watch};
use super::keys;
use super::reach::Reach;
use super::refresh::{Outside, Refreshed};
use super::verifier::Slot;
use crate::config::{Dialect, Identity};

/// A certificate of ours and its key, as read from their files.
pub(super) struct Shown {
    settings: Identity,
    dialect: Dialect,
    provider: Arc<CryptoProvider>,
    reach: Reach,
    current: ArcSwap<CertifiedKey>,
    watch: Mutex<Watch>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn fingerprint(settings: &Identity, reach: &Reach) -> Fingerprint {
    let mut print = Fingerprint::default();
    print.add(&settings.cert, "", reach);
    print.add(&settings.key, "", reach);
    print
}

impl Shown {
    /// Reads both files. `dialect`: of the file that names them. `root`: the root directory that is entered before the first look.
    pub(super) fn new(
        settings: &Identity,
        provider: &Arc<CryptoProvider>,
        dialect: Dialect,
        root: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let mut reach = Reach::new(root, [settings.cert.as_path(), &settings.key]);
        // Before the reading: a change meanwhile is then seen by the next look.
        let seen = fingerprint(settings, &reach);
        let current = load(settings, provider, dialect, None, &reach)?;
        reach.enter();
        Ok(Self {
            settings: settings.clone(),
            dialect,
            provider: provider.clone(),
            reach,
            current: ArcSwap::from_pointee(current),
            watch: Mutex::new(Watch::new(seen)),
        })
    }

    /// Reads the files again if they have changed, or with `anew`.
    pub(super) fn refresh(&self, anew: bool, result: &mut Refreshed) {
        if !self.reach.lost().is_empty() {
            return;
        }
        let print = fingerprint(&self.settings, &self.reach);
        let changed = self.watch.lock().unwrap_or_else(PoisonError::into_inner).settled(print, anew);
        if !anew && changed.is_empty() {
            return;
        }
        let held = self.current.load_full();
        match load(&self.settings, &self.provider, self.dialect, Some(&held.key), &self.reach) {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                result.reloaded.extend(if anew { vec![self.settings.cert.clone()] } else { changed });
            }
            Err(SetupError::File { path, what }) if path == self.settings.key && what.contains("(we run as ") => {
                result.failed.push(format!(
                    "{}: {what}: a new key needs a restart; what was read before is kept",
                    path.display()
                ));
            }
            Err(e) => result.fail(e),
        }
    }

    /// What is not read again: both files, where one of them lies outside of the root directory.
    pub(super) fn outside(&self) -> Outside {
        let files: BTreeSet<_> = self.reach.lost().into_iter().collect();
        let both = [&self.settings.cert, &self.settings.key].into_iter().cloned();
        let with = both.filter(|file| !files.is_empty() && !files.contains(file)).collect();
        Outside { files, with, system: false }
    }

    /// The certificates shown now, our own first.
    pub(super) fn chain(&self) -> Vec<Facts> {
        self.current.load().cert.iter().filter_map(|der| Facts::parse(der).ok()).collect()
    }

    /// Where they are from.
    pub(super) fn file(&self) -> PathBuf {
        self.settings.cert.clone()
    }
}

/// Reads both files. Where the key cannot be read any more, `held` goes on where it belongs to the certificate: one renewed for the same
/// key.
fn load(
    settings: &Identity,
    provider: &CryptoProvider,
    dialect: Dialect,
    held: Option<&Arc<dyn SigningKey>>,
    reach: &Reach,
) -> Result<CertifiedKey, SetupError> {
    let read = keys::read(settings, dialect, reach)?;
    let belongs = |key: Arc<dyn SigningKey>| {
        let pair = CertifiedKey::new(read.chain.clone(), key);
        match pair.keys_match() {
            Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
            Err(RustlsError::InconsistentKeys(_)) => {
                let what = format!("is not the key of the certificate in {}", settings.cert.display());
                Err(bad_file(&settings.key, what))
            }
            Err(e) => Err(bad_file(&settings.cert, unusable(&read.chain, &e))),
        }
    };
    match (read.key, held) {
        (Ok(key), _) => {
            let key = provider.key_provider.load_private_key(key);
            belongs(key.map_err(|e| bad_file(&settings.key, format!("holds a key that cannot be used ({e})")))?)
        }
        (Err(e), Some(held)) => belongs(held.clone()).map_err(|_| e),
        (Err(e), None) => Err(e),
    }
}

fn unusable(chain: &[CertificateDer<'_>], e: &RustlsError) -> String {
    match chain.first().map(Facts::parse) {
        Some(Ok(facts)) if !facts.version_3 => {
            format!("its certificate {} is of X.509 version 1: have it issued anew as version 3", facts.subject)
        }
        _ => format!("holds a certificate that cannot be used ({e})"),
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Slot::ask();
        let current = self.current.load_full();
        // rustls gives up where the key cannot sign as asked; without a certificate the server can say why it refuses us.
        current.key.choose_scheme(sigschemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// In place of [`Shown`] where there is no certificate: it tells that one was asked for, since the server's refusal comes only
/// after the handshake then.
#[derive(Debug)]
pub(super) struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Slot::ask();
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
