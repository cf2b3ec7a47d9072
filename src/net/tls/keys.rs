//! Our certificate and key as files hold them: PEM, its key perhaps encrypted (PKCS#8), or both in PKCS#12.

use std::path::Path;

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::SetupError;
use super::certificate::Facts;
use super::files::{bad_file, certificates_in, has_section, key_in};
use super::reach::Reach;
use super::remedy;
use crate::config::{Dialect, Identity, Secret};

/// Where an encrypted key starts and ends in PEM.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----"];

/// What was read.
pub(super) struct Read {
    /// Our own first; at least one.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Result<PrivateKeyDer<'static>, SetupError>,
}

/// Reads the files of `settings`.
/// `dialect`: of the file that names them.
pub(super) fn read(settings: &Identity, dialect: Dialect, reach: &Reach) -> Result<Read, SetupError> {
    let Identity { cert, key, passphrase } = settings;
    let bytes = reach.read(cert)?;
    let other = || key_of(reach.read(key)?, key, passphrase.as_ref(), dialect);
    if is_der(&bytes) && Facts::parse(&CertificateDer::from(bytes.as_slice())).is_err() {
        let (chain, own) = pkcs12(&bytes, cert, passphrase.as_ref(), dialect)?;
        let key = if key == cert { Ok(own) } else { other() };
        return Ok(Read { chain, key });
    }
    let chain = certificates_in(&bytes, cert)?;
    Ok(Read { chain, key: other() })
}

/// Whether a file is DER: it starts with a SEQUENCE, which no PEM does.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn key_of(
    bytes: Vec<u8>,
    path: &Path,
    passphrase: Option<&Secret>,
    dialect: Dialect,
) -> Result<PrivateKeyDer<'static>, SetupError> {
    if is_der(&bytes) {
        return pkcs12(&bytes, path, passphrase, dialect).map(|(_, key)| key);
    }
    if !has_section(&bytes, "ENCRYPTED PRIVATE KEY") {
        return key_in(&bytes, path);
    }
    let Some(passphrase) = passphrase else {
        let what = format!("its key is encrypted: {}", remedy::encrypted(dialect));
        return Err(bad_file(path, what));
    };
    let text = String::from_utf8_lossy(&bytes);
    let (_, from) = text.split_once(ENCRYPTED[0]).unwrap_or_default();
    let (body, _) = from.split_once(ENCRYPTED[1]).unwrap_or((from, ""));
    let pem = format!("{}{body}{}\n", ENCRYPTED[0], ENCRYPTED[1]);
    let unreadable = |e: &dyn std::fmt::Display| bad_file(path, format!("its encrypted key cannot be read ({e})"));
    let (_, document) = SecretDocument::from_pem(&pem).map_err(|e| unreadable(&e))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| {
        let what = format!(
            "its key is encrypted in a way that is not taken ({e}): write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
        );
        bad_file(path, what)
    })?;
    let key = encrypted
        .decrypt(passphrase.expose())
        .map_err(|_| bad_file(path, "its key does not open with this passphrase"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// The certificates and the key of a PKCS#12 file.
fn pkcs12(
    bytes: &[u8],
    path: &Path,
    passphrase: Option<&Secret>,
    dialect: Dialect,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, passphrase.map_or("", Secret::expose)).map_err(|e| {
        let what = match (e, passphrase) {
            (Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError, None) => {
                format!("is PKCS#12 with a passphrase: {}", remedy::passphrase(dialect))
            }
            (Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError, Some(_)) => {
                "is PKCS#12 and does not open with this passphrase".into()
            }
            (Pkcs12Error::DerError(_), _) => "is neither PEM nor PKCS#12".into(),
            (e, _) => format!("is PKCS#12 that cannot be read ({e}): write it anew with `openssl pkcs12 -export`"),
        };
        bad_file(path, what)
    })?;
    let key = archive.keys.first().ok_or_else(|| bad_file(path, "is PKCS#12 without a private key"))?;
    let id = key.local_key_id.as_ref().map(|id| id.0.as_slice());
    let own = archive.certs.iter().find(|bag| id.is_some() && bag.local_key_id.as_deref() == id);
    let own = own.or(archive.certs.first()).ok_or_else(|| bad_file(path, "is PKCS#12 without a certificate"))?;
    let mut chain = vec![CertificateDer::from(own.cert.as_der().to_vec())];
    let others = archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()));
    let others: Vec<_> = others.filter_map(|der| Some((Facts::parse(&der).ok()?, der))).collect();
    // In the order in which they issued each other; a root is the far end's to have.
    while let Some(last) = chain.last().and_then(|der| Facts::parse(der).ok()) {
        let issuer = others
            .iter()
            .find(|(facts, der)| facts.raw_subject == last.raw_issuer && !facts.self_signed() && !chain.contains(der));
        match issuer {
            Some((_, der)) => chain.push(der.clone()),
            None => break,
        }
    }
    Ok((chain, PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into()))
}
