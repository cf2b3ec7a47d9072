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
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, OtherError, RootCertStore,
    SignatureScheme,
};

use super::SetupError;
use super::certificate::{Facts, sha256};
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
    /// The verdict without the exception for self-signed certificates, where there is that exception.
    strict: Option<Arc<dyn ServerCertVerifier>>,
}

/// What is known of a server's certificate after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCertificate {
    /// It is as the settings want it.
    Accepted,
    /// It is self-signed, and no CA vouches for it: its SHA-256. The connection leads to the server only if the server
    /// proves it by the password.
    SelfSigned([u8; 32]),
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
            TlsMode::VerifyIdentity => match roots(settings.ca.as_deref())? {
                // webpki wants anchors; this one refuses all.
                none if none.is_empty() => Arc::new(ChainOnly { roots: Some(none), algorithms }),
                roots => identity_verifier(roots, &provider)?,
            },
        };
        // As MariaDB's own clients have it: a `ca` decides alone. Without one, a self-signed certificate may be proved.
        let is_provable = settings.mode != TlsMode::Require && settings.ca.is_none();
        let strict = is_provable.then(|| Arc::clone(&verifier));
        let verifier = match &strict {
            Some(strict) => {
                Arc::new(OrSelfSigned { strict: Arc::clone(strict), signatures: ChainOnly { roots: None, algorithms } })
            }
            None => verifier,
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
        Ok(Some(Self { config: Arc::new(config), mode: settings.mode, strict }))
    }

    /// Performs the handshake over `socket`. `host` is the name or address as the user wrote it: sent as SNI, and
    /// what the certificate must be for with verify-identity. Errors hold rustls's own, see
    /// [`HandshakeError::from_io`].
    pub async fn connect(&self, host: &str, socket: Plain) -> io::Result<(TlsStream<Plain>, ServerCertificate)> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // Only verify-identity looks at the name; the others must not fail for one that no certificate could bear.
            Err(_) if self.mode != TlsMode::VerifyIdentity => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Err(e) => {
                let why = format!("{host:?} is no name that a certificate could bear: {e}");
                let why = CertificateError::Other(OtherError(Arc::from(Box::from(why))));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, RustlsError::from(why)));
            }
        };
        // Boxed: the handshake's state is large, and a caller's future holds it only for these milliseconds.
        let config = Arc::clone(&self.config);
        let stream = Box::pin(TlsStream::connect(config, name.clone(), socket)).await.map_err(|e| e.error)?;
        let certificate = self.judge(stream.peer_certificates(), &name);
        Ok((stream, certificate))
    }

    /// Which of the two ways admitted these certificates.
    fn judge(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> ServerCertificate {
        let Some(strict) = &self.strict else { return ServerCertificate::Accepted };
        match chain.split_first() {
            Some((leaf, rest)) if strict.verify_server_cert(leaf, rest, name, &[], UnixTime::now()).is_ok() => {
                ServerCertificate::Accepted
            }
            leaf => ServerCertificate::SelfSigned(sha256(leaf.map_or(&[], |(leaf, _)| leaf))),
        }
    }
}

/// The trust anchors of `ca`, or the system's. There may be none of the latter, as in the image: then only proofs are left.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| bad_file(path, e))?;
            }
        }
        None => {
            // System stores hold odd old certificates; those that cannot be read are no anchors.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
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

/// The verifying modes without a `ca`. In addition to what the system's CAs vouch for, a self-signed certificate passes the
/// handshake: MariaDB from 11.4 on makes itself one and proves it at the end of the login ([`ServerCertificate::SelfSigned`]).
#[derive(Debug)]
struct OrSelfSigned {
    strict: Arc<dyn ServerCertVerifier>,
    signatures: ChainOnly,
}

impl ServerCertVerifier for OrSelfSigned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let refusal = match self.strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(accepted) => return Ok(accepted),
            Err(refusal) => refusal,
        };
        // A name is looked at only once a CA has vouched for the chain: then it is the CA that decides.
        let is_of_the_name = matches!(
            refusal,
            RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        );
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let is_self_signed = |facts: &Facts| facts.self_signed() && (facts.not_before..=facts.not_after).contains(&now);
        let provable =
            intermediates.is_empty() && !is_of_the_name && Facts::parse(end_entity).is_ok_and(|f| is_self_signed(&f));
        if provable { Ok(ServerCertVerified::assertion()) } else { Err(refusal) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
