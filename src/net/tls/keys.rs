//! Our certificate and key as files hold them: PEM, PKCS#8 with a passphrase, PKCS#12.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::SetupError;
use super::files::{certificates_in, key_in, read as bytes_of};
use crate::config::Identity;

/// What was read.
pub(super) struct Read {
    /// Our own first; at least one.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Result<PrivateKeyDer<'static>, SetupError>,
}

/// Reads the files of `settings`.
pub(super) fn read(settings: &Identity) -> Result<Read, SetupError> {
    let chain = certificates_in(&bytes_of(&settings.cert)?, &settings.cert)?;
    let key = bytes_of(&settings.key).and_then(|bytes| key_in(&bytes, &settings.key));
    Ok(Read { chain, key })
}
