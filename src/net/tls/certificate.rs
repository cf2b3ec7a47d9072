//! What a certificate says, taken out once.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::dn::Dn;
use super::names::{Limits, Names};
use crate::config::Pin;

/// The least RSA key whose signatures are looked at; webpki's.
pub(super) const RSA_BITS: usize = 2048;

/// What a certificate says.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) subject: Dn,
    pub(super) issuer: Dn,
    /// Subject, issuer, and SubjectPublicKeyInfo as they are encoded.
    pub(super) raw_subject: Vec<u8>,
    pub(super) raw_issuer: Vec<u8>,
    pub(super) key: Vec<u8>,
    /// Of the whole certificate.
    pub(super) digest: [u8; 32],
    /// In hexadecimal digits.
    pub(super) serial: String,
    pub(super) raw_serial: Vec<u8>,
    /// Unix seconds.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) names: Names,
    /// X.509 version 3.
    pub(super) version_3: bool,
    /// `digitalSignature`; `None` where there is no keyUsage.
    pub(super) may_sign: Option<bool>,
    /// `keyCertSign`, likewise.
    may_certify: Option<bool>,
    /// `cRLSign`, likewise.
    pub(super) may_revoke: Option<bool>,
    /// cA of basicConstraints, likewise.
    pub(super) ca: Option<bool>,
    /// pathLenConstraint: how many CAs may stand between it and a leaf.
    pub(super) path_len: Option<u32>,
    /// What it allows those below it to be named.
    pub(super) limits: Limits,
    /// clientAuth and serverAuth; `None` where there is no extendedKeyUsage.
    pub(super) purposes: Option<Purposes>,
    /// An RSA key of fewer bits than [`RSA_BITS`].
    pub(super) weak_rsa: Option<usize>,
    /// A signature that is no longer taken, by name.
    pub(super) weak_signature: Option<&'static str>,
    /// OIDs of the critical extensions that the parser knows no meaning of.
    pub(super) unknown_critical: Vec<String>,
    pub(super) authority_key: Option<Vec<u8>>,
    subject_key: Option<Vec<u8>>,
}

/// What extendedKeyUsage allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purposes {
    pub(super) client: bool,
    pub(super) server: bool,
}

impl Facts {
    /// The error says what could not be read.
    pub(super) fn parse(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| format!("it cannot be read ({e})"))?;
        if !rest.is_empty() {
            return Err("bytes follow its end".into());
        }
        let (subject, issuer) = (Dn::from(certificate.subject()), Dn::from(certificate.issuer()));
        let usage = certificate.key_usage().map_err(|e| format!("its keyUsage cannot be read ({e})"))?;
        let extended =
            certificate.extended_key_usage().map_err(|e| format!("its extendedKeyUsage cannot be read ({e})"))?;
        let constraints =
            certificate.basic_constraints().map_err(|e| format!("its basicConstraints cannot be read ({e})"))?;
        let constraints = constraints.map(|c| c.value);
        let rsa = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        };
        let weak_signature = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.3.14.3.2.29" | "1.2.840.10040.4.3" => Some("SHA-1"),
            "1.2.840.113549.1.1.4" => Some("MD5"),
            "1.2.840.113549.1.1.2" => Some("MD2"),
            _ => None,
        };
        let (mut unknown_critical, mut authority_key, mut subject_key) = (Vec::new(), None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectKeyIdentifier(id) => subject_key = Some(id.0.to_vec()),
                _ => {}
            }
            let oid = extension.oid.to_id_string();
            // Those that webpki takes where they are critical.
            if extension.critical
                && !["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"]
                    .contains(&oid.as_str())
            {
                unknown_critical.push(oid);
            }
        }
        Ok(Self {
            digest: sha256(der),
            raw_subject: certificate.subject().as_raw().to_vec(),
            raw_issuer: certificate.issuer().as_raw().to_vec(),
            key: certificate.public_key().raw.to_vec(),
            serial: certificate.raw_serial().iter().map(|b| format!("{b:02X}")).collect(),
            raw_serial: certificate.raw_serial().to_vec(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            names: Names::of(&certificate, &subject),
            version_3: certificate.version() == X509Version::V3,
            may_sign: usage.as_ref().map(|u| u.value.digital_signature()),
            may_certify: usage.as_ref().map(|u| u.value.key_cert_sign()),
            may_revoke: usage.as_ref().map(|u| u.value.crl_sign()),
            ca: constraints.map(|c| c.ca),
            path_len: constraints.and_then(|c| c.path_len_constraint),
            limits: Limits::of(&certificate),
            purposes: extended.map(|e| Purposes { client: e.value.client_auth, server: e.value.server_auth }),
            weak_rsa: rsa.filter(|bits| *bits < RSA_BITS),
            weak_signature,
            unknown_critical,
            authority_key,
            subject_key,
            subject,
            issuer,
        })
    }

    /// Whether it is its own issuer, as OpenSSL sees it.
    pub(super) fn self_signed(&self) -> bool {
        let keys = self.authority_key.as_ref().zip(self.subject_key.as_ref());
        self.raw_subject == self.raw_issuer && keys.is_none_or(|(issuer, own)| issuer == own)
    }

    /// Whether it may issue others, as OpenSSL's `X509_check_ca` sees it. One of version 1 may where it is its own issuer.
    pub(super) fn may_issue(&self) -> bool {
        match (self.may_certify, self.ca) {
            (Some(false), _) => false,
            (_, Some(ca)) => ca,
            (Some(true), None) => true,
            (None, None) => !self.version_3 && self.self_signed(),
        }
    }

    /// The digest of its public key.
    pub(super) fn pin(&self) -> Pin {
        Pin(sha256(&self.key))
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// A moment as people write it, in UTC. `at` in Unix seconds.
pub(super) fn date(at: i64) -> String {
    match ASN1Time::from_timestamp(at).map(|t| t.to_datetime()) {
        Ok(t) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        ),
        Err(_) => format!("{at} s after 1970"),
    }
}

/// A pin as it is written in the configuration: `sha256/` and Base64.
pub(super) fn pin_text(pin: &Pin) -> String {
    use base64::Engine as _;
    format!("sha256/{}", base64::engine::general_purpose::STANDARD.encode(pin.0))
}
