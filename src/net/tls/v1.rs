//! Server certificates of X.509 version 1.
//!
//! The commands in MariaDB's and MySQL's own manuals (`openssl x509 -req` without an extension file) make them, so
//! many clusters carry one; webpki reads version 3 only. Such a certificate has no extensions: no name that
//! verify-identity could check, and nothing that forbids using it as a server's.
//!
//! Accepted here: one signed by a trust anchor itself, within its time. No chain is followed.

use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error as RustlsError};
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// DER's tags of what is taken apart here.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A certificate that says it is of version 1.
pub(super) struct V1<'a> {
    certificate: X509Certificate<'a>,
    /// Contents of `signatureAlgorithm`.
    signed_with: &'a [u8],
    signature: &'a [u8],
    key: Key<'a>,
}

/// A SubjectPublicKeyInfo taken apart.
struct Key<'a> {
    /// Contents of `algorithm`.
    algorithm: &'a [u8],
    /// The key's bits.
    bits: &'a [u8],
}

impl<'a> Key<'a> {
    /// From the contents of a SubjectPublicKeyInfo.
    fn parse(info: &'a [u8]) -> Option<Self> {
        let (algorithm, rest) = contents(info, SEQUENCE)?;
        let (bits, _) = contents(rest, BIT_STRING)?;
        Some(Self { algorithm, bits: bits.strip_prefix(&[0])? })
    }
}

impl<'a> V1<'a> {
    /// `None` for a certificate of another version, or one that cannot be read: webpki's to judge.
    pub(super) fn parse(der: &'a CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        if certificate.version() != X509Version::V1 {
            return None;
        }
        let (outer, _) = contents(der, SEQUENCE)?;
        let (after_tbs, _) = Any::from_der(outer).ok()?;
        let (signed_with, rest) = contents(after_tbs, SEQUENCE)?;
        let (signature, _) = contents(rest, BIT_STRING)?;
        let (info, _) = contents(certificate.tbs_certificate.subject_pki.raw, SEQUENCE)?;
        Some(Self { certificate, signed_with, signature: signature.strip_prefix(&[0])?, key: Key::parse(info)? })
    }

    /// Whether one of `anchors` signed it and `now` lies within its time.
    pub(super) fn verify(
        &self,
        anchors: &[TrustAnchor<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let validity = self.certificate.validity();
        let now = i64::try_from(now.as_secs()).ok().and_then(|secs| ASN1Time::from_timestamp(secs).ok());
        match now {
            Some(now) if now < validity.not_before => return Err(CertificateError::NotValidYet),
            Some(now) if now <= validity.not_after => {}
            _ => return Err(CertificateError::Expired),
        }
        let issuer = contents(self.certificate.issuer().as_raw(), SEQUENCE).map(|(name, _)| name);
        let issuers = anchors.iter().filter(|anchor| issuer.is_some_and(|name| name == anchor.subject.as_ref()));
        let mut keys = issuers.filter_map(|anchor| Key::parse(anchor.subject_public_key_info.as_ref()));
        let signed_by = |key: Key<'_>| {
            let fits = algorithms.all.iter().filter(|algorithm| {
                algorithm.public_key_alg_id().as_ref() == key.algorithm
                    && algorithm.signature_alg_id().as_ref() == self.signed_with
            });
            let signed = self.certificate.tbs_certificate.as_ref();
            fits.into_iter().any(|a| a.verify_signature(key.bits, signed, self.signature).is_ok())
        };
        if keys.any(signed_by) { Ok(()) } else { Err(CertificateError::UnknownIssuer) }
    }

    /// Whether the far end of a TLS 1.2 handshake holds the certificate's key.
    pub(super) fn verify_tls12(
        &self,
        message: &[u8],
        dss: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), RustlsError> {
        let for_scheme = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme).flat_map(|(_, a)| *a);
        let mut fits = for_scheme.filter(|algorithm| algorithm.public_key_alg_id().as_ref() == self.key.algorithm);
        if fits.any(|a| a.verify_signature(self.key.bits, message, dss.signature()).is_ok()) {
            Ok(())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    /// The same for TLS 1.3.
    pub(super) fn verify_tls13(
        &self,
        message: &[u8],
        dss: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), RustlsError> {
        let info = SubjectPublicKeyInfoDer::from(self.certificate.tbs_certificate.subject_pki.raw);
        verify_tls13_signature_with_raw_key(message, &info, dss, algorithms).map(drop)
    }
}

/// The contents of the DER element in front of `input`, if it has that tag, and what follows it.
fn contents(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (rest, element) = Any::from_der(input).ok()?;
    (input.first() == Some(&tag)).then_some((element.data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::pem::PemObject;

    const AUTHORITY: &[u8] = include_bytes!("../../../tests/it/peer/keys/v1-ca.pem");
    const SERVER: &[u8] = include_bytes!("../../../tests/it/peer/keys/v1.pem");

    fn judge(certificate: &CertificateDer<'_>, seconds: u64) -> Option<Result<(), CertificateError>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(AUTHORITY).unwrap()).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        V1::parse(certificate).map(|v1| v1.verify(&roots.roots, now, &algorithms))
    }

    /// 2050.
    const THEN: u64 = 2_524_608_000;

    #[test]
    fn the_authority_and_the_time_decide() {
        let certificate = CertificateDer::from_pem_slice(SERVER).unwrap();
        assert_eq!(judge(&certificate, THEN), Some(Ok(())));
        assert_eq!(judge(&certificate, 0), Some(Err(CertificateError::NotValidYet)));
        for late in [32_503_680_000, u64::MAX] {
            assert_eq!(judge(&certificate, late), Some(Err(CertificateError::Expired)), "{late}");
        }
        let version_3 = CertificateDer::from_pem_slice(AUTHORITY).unwrap();
        assert_eq!(judge(&version_3, THEN), None, "webpki's to judge");
    }

    #[test]
    fn a_certificate_with_any_bit_changed_is_never_accepted() {
        let whole = CertificateDer::from_pem_slice(SERVER).unwrap().to_vec();
        for bit in 0..whole.len() * 8 {
            let mut der = whole.clone();
            der[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(judge(&CertificateDer::from(der), THEN), Some(Ok(())), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert_eq!(judge(&CertificateDer::from(&whole[..cut]), THEN), None, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = judge(&CertificateDer::from(bytes), THEN);
        }
    }
}
