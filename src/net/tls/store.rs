//! Trusted certificates and CRLs, as read from their files.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::revocation_list::CertificateRevocationList;

use super::SetupError;
use super::certificate::{Facts, sha256};
use super::dn::Dn;
use super::files::{bad_file, certificates_in, crls_in, denied};
use super::fingerprint::{Fingerprint, Mark, mark};
use super::reach::Reach;
use super::refresh::Skipped;
use super::remedy;
use crate::config::{CaStore, PeerRules};

/// Where the certificates of the operating system are looked for; watched, the reading is rustls-native-certs'.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate of the store.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) der: CertificateDer<'static>,
    pub(super) facts: Facts,
    /// `None` in the system's store.
    pub(super) file: Option<PathBuf>,
}

/// A CRL.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) list: CertRevocationList<'static>,
    /// As it is encoded.
    pub(super) issuer: Vec<u8>,
    /// In the slash form.
    pub(super) issuer_words: String,
    pub(super) file: PathBuf,
    /// Unix seconds.
    pub(super) this_update: i64,
    /// `None` = it does not say.
    pub(super) next_update: Option<i64>,
    /// Which of the issuer's keys signed it, where it says.
    pub(super) authority_key: Option<Vec<u8>>,
    /// What is signed, and the signature: webpki looks at them only for a certificate that another issued.
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// What is trusted. Immutable: a change of the files makes a new one.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Every certificate, in the order of reading.
    pub(super) members: Vec<Member>,
    /// Those that others may chain to: only what is its own issuer, as with OpenSSL.
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// Which of [`Self::members`] each of [`Self::anchors`] is.
    pub(super) anchor_of: Vec<usize>,
    /// The others that may issue: links of a chain.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    /// Digests of subject and public key.
    keys: HashSet<[u8; 32]>,
    /// The newest first.
    pub(super) crls: Vec<Arc<Crl>>,
    /// Where they are from.
    crl_files: HashMap<PathBuf, CrlFile>,
    /// Files, or certificates of them, that could not be used, and why.
    pub(super) skipped: Vec<Skipped>,
    /// Where it is from, for messages: `"/etc/ca.pem"`.
    pub(super) words: String,
}

/// What was trusted before.
#[derive(Clone, Copy)]
pub(super) struct Previous<'a> {
    pub(super) store: &'a Store,
    /// Everything is to be read again, changed or not.
    pub(super) is_anew: bool,
}

/// Where the system's certificates stand among paths.
const SYSTEMS: &str = "the system's store";

/// Whether one of [`paths`] stands for them.
pub(super) fn is_systems(path: &Path) -> bool {
    path == Path::new(SYSTEMS)
}

/// Every path of `rules`.
pub(super) fn paths(rules: &PeerRules) -> impl Iterator<Item = &Path> {
    let ca = match &rules.ca {
        Some(CaStore::Paths(paths)) => paths.as_slice(),
        Some(CaStore::System) | None => &[],
    };
    let system = matches!(rules.ca, Some(CaStore::System)).then_some(Path::new(SYSTEMS));
    system.into_iter().chain(ca.iter().chain(&rules.crl).map(PathBuf::as_path))
}

/// The marks of every file that `rules` lead to.
pub(super) fn fingerprint(rules: &PeerRules, reach: &Reach) -> Fingerprint {
    let mut print = Fingerprint::default();
    match &rules.ca {
        None => {}
        Some(CaStore::System) if reach.leads_out(Path::new(SYSTEMS)) => {}
        Some(CaStore::System) => {
            let set = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(std::env::var_os).map(PathBuf::from);
            set.chain(SYSTEM.iter().map(PathBuf::from)).for_each(|path| print.add(&path, "", reach));
        }
        Some(CaStore::Paths(paths)) => paths.iter().for_each(|path| print.add(path, "", reach)),
    }
    rules.crl.iter().for_each(|path| print.add(path, "r", reach));
    print
}

impl Store {
    /// Reads all files that `rules` lead to, but for CRLs that `previous` has from files unchanged since. What cannot be used is skipped and named, unless nothing is left then.
    /// Of what is not within reach `previous` is kept.
    pub(super) fn load(rules: &PeerRules, previous: Option<Previous<'_>>, reach: &Reach) -> Result<Self, SetupError> {
        let before = previous.map(|previous| previous.store);
        let mut store = Self::default();
        match &rules.ca {
            None => {}
            Some(CaStore::System) => {
                // Of what is kept as well: refusals name it.
                store.words = SYSTEMS.into();
                match before.filter(|_| reach.is_lost(Path::new(SYSTEMS))) {
                    Some(before) => store.keep(before, |file| file.is_none()),
                    None => store.load_system()?,
                }
            }
            Some(CaStore::Paths(paths)) => {
                store.words = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
                // What stays comes first: of two files with one certificate the one that goes must not take it along.
                let (stays, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| reach.leads_out(path));
                for path in stays.into_iter().chain(others) {
                    match before.filter(|_| reach.is_lost(path)) {
                        Some(before) => store.keep(before, |file| file.is_some_and(|file| is_of(file, path))),
                        None => store.load_path(path, reach)?,
                    }
                }
            }
        }
        if rules.chain && store.anchors.is_empty() && !store.members.iter().any(|m| m.facts.self_signed()) {
            let only = match store.members.len() {
                0 => String::new(),
                n => format!(" (of its {n} none is self-signed: the root belongs there, not only an intermediate CA)"),
            };
            let path = match &rules.ca {
                Some(CaStore::Paths(paths)) => paths.first().cloned().unwrap_or_default(),
                _ => PathBuf::from("system"),
            };
            return Err(bad_file(&path, format!("holds no certificate of a CA that could be trusted{only}")));
        }
        for path in &rules.crl {
            match before.filter(|_| reach.is_lost(path)) {
                Some(before) => store.keep_crls(before, path),
                None => store.load_crls(path, previous.filter(|p| !p.is_anew).map(|p| p.store), reach)?,
            }
        }
        if rules.chain && rules.crl.is_empty() {
            store.overlooked(rules, reach);
        }
        store.crls.sort_by_key(|crl| std::cmp::Reverse(crl.this_update));
        Ok(store)
    }

    /// Names a directory of CAs that has CRLs as well where nobody is to look at them: fetch-crl and stunnel's manual put both
    /// into one, and a revoked certificate is let in all the same.
    fn overlooked(&mut self, rules: &PeerRules, reach: &Reach) {
        let Some(CaStore::Paths(paths)) = &rules.ca else { return };
        for path in paths.iter().filter(|path| !reach.is_lost(path) && reach.here(path).is_dir()) {
            let lists = reach.files(path, "r").unwrap_or_default();
            if let Some(name) = lists.first().and_then(|list| list.file_name()) {
                let more = if lists.len() > 1 { ", …" } else { "" };
                let what = format!(
                    "its CRLs ({}{more}) are not looked at, so certificates that they revoke are let in: {}",
                    name.display(),
                    remedy::crl_of(rules.dialect, &path.display().to_string())
                );
                // In front: of many files that do not count only the first are told.
                self.skipped.insert(0, Skipped { file: path.clone(), why: what, mark: None });
            }
        }
    }

    /// Whether it holds a certificate of the same subject and public key.
    pub(super) fn knows(&self, facts: &Facts) -> bool {
        self.keys.contains(&identity(facts))
    }

    /// Whether this very certificate is in it.
    pub(super) fn holds(&self, der: &CertificateDer<'_>) -> bool {
        self.members.iter().any(|m| m.der.as_ref() == der.as_ref())
    }

    fn add(&mut self, der: CertificateDer<'static>, file: Option<PathBuf>) -> Result<(), String> {
        let facts = Facts::parse(&der)?;
        if self.holds(&der) {
            return Ok(());
        }
        self.keys.insert(identity(&facts));
        if facts.may_issue() && facts.self_signed() {
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|e| format!("it is no anchor ({e})"))?;
            self.anchors.push(anchor.to_owned());
            self.anchor_of.push(self.members.len());
        } else if facts.may_issue() && EndEntityCert::try_from(&der).is_ok() {
            self.intermediates.push(der.clone());
        }
        self.members.push(Member { der, facts, file });
        Ok(())
    }

    fn load_system(&mut self) -> Result<(), SetupError> {
        let system = rustls_native_certs::load_native_certs();
        for der in system.certs {
            // System stores hold odd old certificates; those that cannot be read are no anchors.
            let _ = self.add(der, None);
        }
        if self.members.is_empty() {
            let why = system.errors.first().map_or_else(|| "none installed".to_owned(), ToString::to_string);
            return Err(SetupError::NoSystemStore(why));
        }
        Ok(())
    }

    /// Takes the certificates of these files over.
    fn keep(&mut self, before: &Self, of: impl Fn(Option<&Path>) -> bool) {
        for member in before.members.iter().filter(|member| of(member.file.as_deref())) {
            // It could be used before.
            let _ = self.add(member.der.clone(), member.file.clone());
        }
    }

    /// Takes the CRLs of a path over.
    fn keep_crls(&mut self, before: &Self, path: &Path) {
        for (file, read) in before.crl_files.iter().filter(|(file, _)| is_of(file, path)) {
            self.crls.extend(read.crls.iter().cloned());
            self.crl_files.insert(file.clone(), read.clone());
        }
    }

    fn load_path(&mut self, path: &Path, reach: &Reach) -> Result<(), SetupError> {
        let files = reach.files(path, "").map_err(|e| bad_file(path, denied(&e)))?;
        let directory = files.as_slice() != [path];
        let before = self.members.len();
        for file in &files {
            // Before the reading: a change meanwhile is then told as one.
            let mark = mark(&reach.here(file));
            let skipped = |why| Skipped { file: file.clone(), why, mark: Some(mark) };
            match reach.read(file).and_then(|bytes| certificates_in(&bytes, file)) {
                Ok(found) => {
                    for (i, der) in found.into_iter().enumerate() {
                        if let Err(what) = self.add(der, Some(file.clone())) {
                            self.skipped.push(skipped(format!("certificate {}: {what}", i + 1)));
                        }
                    }
                }
                Err(e) if !directory => return Err(e),
                Err(SetupError::File { what, .. }) => self.skipped.push(skipped(what)),
                Err(e) => self.skipped.push(skipped(e.to_string())),
            }
        }
        if self.members.len() == before {
            let first = self.skipped.first().map(|first| format!(" ({}: {})", first.file.display(), first.why));
            let first = first.unwrap_or_default();
            let what = match directory {
                true => format!(
                    "holds no certificate under a hashed name like 5f15c80c.0{first}: run `openssl rehash` on it"
                ),
                // All of them are in another path too.
                false if first.is_empty() => return Ok(()),
                false => format!("holds no certificate that can be used{first}"),
            };
            return Err(bad_file(path, what));
        }
        Ok(())
    }

    fn load_crls(&mut self, path: &Path, previous: Option<&Self>, reach: &Reach) -> Result<(), SetupError> {
        let files = reach.files(path, "r").map_err(|e| bad_file(path, denied(&e)))?;
        let directory = files.as_slice() != [path];
        let before = self.crls.len();
        let skipped = self.skipped.len();
        for file in &files {
            let read = match previous.and_then(|store| store.crl_files.get(file)) {
                // CRLs are the one thing here that is large.
                Some(read) if read.mark.is_ok() && read.mark == mark(&reach.here(file)) => read.clone(),
                _ => match CrlFile::read(file, reach) {
                    Err(e) if !directory => return Err(e),
                    Err(SetupError::File { what, .. }) => {
                        CrlFile { mark: mark(&reach.here(file)), crls: Vec::new(), skipped: vec![what] }
                    }
                    Err(e) => return Err(e),
                    Ok(read) => read,
                },
            };
            self.crls.extend(read.crls.iter().cloned());
            let skipped = |why: &String| Skipped { file: file.clone(), why: why.clone(), mark: Some(read.mark) };
            self.skipped.extend(read.skipped.iter().map(skipped));
            self.crl_files.insert(file.clone(), read);
        }
        if self.crls.len() > before {
            return Ok(());
        }
        // A directory may fill later; until then every peer is refused, and told so.
        match self.skipped.get(skipped) {
            Some(first) if !directory => Err(bad_file(&first.file, &first.why)),
            _ if files.is_empty() => {
                let what = "holds no CRL under a hashed name like 5f15c80c.r0, so no peer is let in (run `openssl rehash` on it)";
                self.skipped.push(Skipped { file: path.to_owned(), why: what.to_owned(), mark: None });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What a file of CRLs held.
#[derive(Debug, Clone)]
struct CrlFile {
    /// When it was read.
    mark: Mark,
    crls: Vec<Arc<Crl>>,
    /// What in it does not count.
    skipped: Vec<String>,
}

impl CrlFile {
    fn read(file: &Path, reach: &Reach) -> Result<Self, SetupError> {
        // Before the reading: a change meanwhile is then seen by the next look.
        let mut read = Self { mark: mark(&reach.here(file)), crls: Vec::new(), skipped: Vec::new() };
        for (i, der) in crls_in(&reach.read(file)?, file)?.iter().enumerate() {
            match Crl::parse(der, file) {
                Ok(crl) => read.crls.push(Arc::new(crl)),
                Err(what) => read.skipped.push(format!("CRL {}: {what}", i + 1)),
            }
        }
        Ok(read)
    }
}

/// Of a CRL as `openssl ca -gencrl` makes it from a file that says nothing of it (RFC 5280 wants version 2, section 5.1.2.1).
const FIRST_VERSION: &str = "it is of version 1, which is not taken: have it issued as version 2 (openssl.cnf: crlnumber, and \
                             crl_extensions with authorityKeyIdentifier)";

impl Crl {
    fn parse(der: &[u8], file: &Path) -> Result<Self, String> {
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|e| format!("it cannot be read ({e})"))?;
        if parsed.version().is_none() {
            return Err(FIRST_VERSION.into());
        }
        let list = OwnedCertRevocationList::from_der(der).map_err(|e| format!("it cannot be used ({e:?})"))?;
        let authority_key = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            list: list.into(),
            issuer: parsed.issuer().as_raw().to_vec(),
            issuer_words: Dn::from(parsed.issuer()).to_string(),
            file: file.to_owned(),
            this_update: parsed.last_update().timestamp(),
            next_update: parsed.next_update().map(|t| t.timestamp()),
            authority_key,
            signed: parsed.tbs_cert_list.as_ref().to_vec(),
            signature: parsed.signature_value.as_ref().to_vec(),
        })
    }

    /// Whether the key of `issuer` signed it.
    pub(super) fn is_by(&self, issuer: &EndEntityCert<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        // Each that fits the key: which one it says that it is does not matter where one of them finds it good.
        algorithms.all.iter().any(|with| issuer.verify_signature(*with, &self.signed, &self.signature).is_ok())
    }
}

/// Whether a file is what `path` leads to, or one of that directory.
fn is_of(file: &Path, path: &Path) -> bool {
    file == path || file.parent() == Some(path)
}

/// Of subject and public key together.
fn identity(facts: &Facts) -> [u8; 32] {
    let mut both = sha256(&facts.raw_subject).to_vec();
    both.extend(sha256(&facts.key));
    sha256(&both)
}
