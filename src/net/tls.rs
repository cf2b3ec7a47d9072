//! rustls configurations.
//!
//! A [`ClientTls`] is built once, from files, and then used for every dial: nothing is read or parsed while a
//! connection waits. The crypto provider is named each time; none is installed for the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme,
};

use super::Plain;
use crate::config::{MonitorTls, TlsMode};

mod stream;
mod v1;

pub use stream::{TlsStream, Truncated};
use v1::V1;

/// Why a TLS configuration could not be built. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A PEM file cannot be read or holds something else.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system offers no trust anchors.
    #[error("no trusted certificates found on this system ({0}): install ca-certificates or set `ca`")]
    NoSystemStore(String),
    /// rustls refuses the combination.
    #[error("TLS: {0}")]
    Rustls(#[from] RustlsError),
}

/// Why a TLS handshake failed, and whose doing it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// We refuse the far end's certificate.
    #[error("{0}")]
    Certificate(String),
    /// The far end ended the handshake, or the connection, with an alert.
    #[error("the server refused with the alert {0}")]
    Alert(String),
    /// No common version, cipher suite or group, or not TLS at all.
    #[error("{0}")]
    Failed(String),
}

impl HandshakeError {
    /// Takes rustls's error out of the I/O error that tokio-rustls puts it in; any other error is given back.
    pub fn from_io(e: io::Error) -> Result<Self, io::Error> {
        match e.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
            Some(RustlsError::InvalidCertificate(why)) => Ok(Self::Certificate(certificate_words(why))),
            Some(RustlsError::AlertReceived(alert)) => Ok(Self::Alert(format!("{alert:?}"))),
            Some(other) => Ok(Self::Failed(other.to_string())),
            None => Err(e),
        }
    }
}

/// What verify-identity says of a certificate that could not be for any host.
const NO_NAME: &str = "the server's certificate has no subject alternative name, so it cannot be verified for a host \
                       (a common name alone does not count): use a certificate with one, or verify-ca";

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "the server's certificate is not signed by a trusted CA".into(),
        // Mostly a CA that was made anew under its old name.
        CertificateError::BadSignature => {
            "the server's certificate bears a wrong signature (is it signed by another CA of the same name?)".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => NO_NAME.into(),
        // verify-identity only: the other modes read version 1.
        CertificateError::Other(e) if e.to_string().contains("UnsupportedCertVersion") => NO_NAME.into(),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for {}, not for {:?}",
            presented.iter().take(8).map(|name| bare(name)).collect::<Vec<_>>().join(", "),
            expected.to_str()
        ),
        other => format!("the server's certificate is refused: {other}"),
    }
}

/// The name alone of webpki's `DnsName("db1")`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// A client's TLS towards servers of one configuration.
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
                let private = PrivateKeyDer::from_pem_file(key).map_err(|e| bad_file(key, e))?;
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
            Err(_) if self.mode != TlsMode::VerifyIdentity => match socket.tcp() {
                Some(tcp) => tcp.peer_addr()?.ip().into(),
                None => std::net::IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED).into(),
            },
            Err(e) => {
                let why = RustlsError::General(format!("{host:?} is no name that a certificate could bear: {e}"));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        // Boxed: the handshake's state is large, and a caller's future holds it only for these milliseconds.
        Box::pin(TlsStream::connect(Arc::clone(&self.config), name, socket)).await
    }
}

fn bad_file(path: &Path, what: impl ToString) -> SetupError {
    SetupError::File { path: path.to_owned(), what: what.to_string() }
}

/// Every certificate of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(bad_file(path, "holds no certificate in PEM form")),
        Ok(found) => Ok(found),
        Err(e) => Err(bad_file(path, e)),
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
/// for one; for certificates of X.509 version 1 see [`v1`].
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
