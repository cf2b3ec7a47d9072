//! TLS of the monitor towards a database, inside the MySQL protocol.
//!
//! A [`ClientTls`] is built once, from files, and then used for every dial: nothing is read or parsed while a
//! connection waits.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme};

use super::SetupError;
use super::files::{bad_file, certificates, key_in, read};
use super::stream::TlsStream;
use super::v1::V1;
use crate::config::{MonitorTls, TlsMode};
use crate::net::Plain;

/// The monitor's TLS towards servers of one configuration.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    mode: TlsMode,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads the files of `settings`. `None` where TLS is off.
    pub fn new(settings: &MonitorTls) -> Result<Option<Self>, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match settings.mode {
            TlsMode::Off => return Ok(None),
            TlsMode::Require => Arc::new(ChainOnly { roots: None, algorithms }),
            TlsMode::VerifyCa => Arc::new(ChainOnly { roots: Some(roots(settings.ca.as_deref())?), algorithms }),
            TlsMode::VerifyIdentity => identity_verifier(roots(settings.ca.as_deref())?, &provider)?,
        };
        // TLS 1.2 too: MySQL 5.7 and older MariaDB know no other.
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.identity {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let private = key_in(&read(key)?, key)?;
                config.with_client_auth_cert(certificates(cert)?, private).map_err(|e| bad_file(key, e))?
            }
        };
        // A resumed session skips the verdict on the certificate; dials are rare enough to do without.
        config.resumption = Resumption::disabled();
        Ok(Some(Self { config: Arc::new(config), mode: settings.mode }))
    }

    /// Performs the handshake over `socket`. `host` is the name or address as the user wrote it: sent as SNI, and
    /// what the certificate must be for with verify-identity. Errors hold rustls's own, see
    /// [`HandshakeError::from_io`].
    pub async fn connect(&self, host: &str, socket: Plain) -> io::Result<TlsStream<Plain>> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // Only verify-identity looks at the name; the others must not fail for one that no certificate could bear.
            Err(_) if self.mode != TlsMode::VerifyIdentity => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Err(e) => {
                let why = RustlsError::General(format!("{host:?} is no name that a certificate could bear: {e}"));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        // Boxed: the handshake's state is large, and a caller's future holds it only for these milliseconds.
        Box::pin(TlsStream::connect(Arc::clone(&self.config), name, socket)).await.map_err(|e| e.error)
    }
}

/// The trust anchors of `ca`, or the system's.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| bad_file(path, e))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            // System stores hold odd old certificates; those that cannot be read are no anchors.
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                let why = system.errors.first().map_or_else(|| "none installed".to_owned(), ToString::to_string);
                return Err(SetupError::NoSystemStore(why));
            }
        }
    }
    Ok(roots)
}

fn identity_verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, SetupError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    Ok(verifier.map_err(|e| RustlsError::General(e.to_string()))?)
}

/// `require` (no anchors: any certificate) and `verify-ca` (the chain, whatever the name). The handshake's
/// signature is checked in both: the far end holds the key of the certificate it shows.
///
/// The tools of MariaDB and MySQL make certificates without a subject alternative name, so verify-ca must not look
/// for one; for certificates of X.509 version 1 see [`super::v1`].
#[derive(Debug)]
struct ChainOnly {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        if let Some(roots) = &self.roots {
            if let Some(v1) = V1::parse(end_entity) {
                v1.verify(&roots.roots, now, &self.algorithms)?;
                return Ok(ServerCertVerified::assertion());
            }
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match V1::parse(cert) {
            Some(v1) => v1.verify_tls12(message, dss, &self.algorithms).map(|()| HandshakeSignatureValid::assertion()),
            None => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match V1::parse(cert) {
            Some(v1) => v1.verify_tls13(message, dss, &self.algorithms).map(|()| HandshakeSignatureValid::assertion()),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
