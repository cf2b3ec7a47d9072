//! Certificates and server configurations for scripted servers.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) serial: Option<SerialNumber>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with a common name, and with these alternative names (none at all if empty).
    pub(crate) fn issue(&self, common_name: &str, alternative: &[&str]) -> Identity {
        self.issue_with(common_name, alternative, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        common_name: &str,
        alternative: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = alternative.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1..)));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            serial: params.serial_number,
        }
    }

    /// A list of these as revoked, current for long.
    pub(crate) fn crl(&self, revoked: &[&Identity]) -> String {
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: identity.serial.clone().unwrap(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Identity {
    /// A certificate that is its own issuer, as MariaDB makes itself one.
    pub(crate) fn self_signed(common_name: &str) -> Self {
        Self::self_signed_with(common_name, |_| ())
    }

    pub(crate) fn self_signed_with(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            serial: None,
        }
    }
}

/// An identity of X.509 version 1, as `openssl x509 -req` without an extension file makes it, and its authority's
/// certificate; both valid for a century. rcgen makes version 3 only.
pub(crate) fn version_1() -> (Identity, &'static str) {
    let certificate_pem = include_str!("keys/v1.pem");
    let key_pem = include_str!("keys/v1-key.pem");
    let identity = Identity {
        certificate: CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap(),
        key: PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap(),
        certificate_pem: certificate_pem.into(),
        key_pem: key_pem.into(),
        serial: None,
    };
    (identity, include_str!("keys/v1-ca.pem"))
}

/// The version of TLS a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// A server's configuration; with `clients`, it demands a certificate of that authority.
pub(crate) fn server(identity: &Identity, version: Version, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Not `with_single_cert`, which would want to read the certificate, and cannot read version 1.
    let key = provider.key_provider.load_private_key(identity.key.clone_key()).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![identity.certificate.clone()], key));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[match version {
            Version::Tls12 => &TLS12,
            Version::Tls13 => &TLS13,
        }])
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    Arc::new(builder.with_cert_resolver(Arc::new(resolver)))
}

/// Writes a file into `directory` and gives its path.
pub(crate) fn file(directory: &Path, name: &str, contents: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}
