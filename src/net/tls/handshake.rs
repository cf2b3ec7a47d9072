//! Why a handshake failed, and what one agreed on.

use std::io;

use rustls::{
    AlertDescription, CertificateError, CipherSuite, CommonState, Error as RustlsError, InvalidMessage, NamedGroup,
    PeerIncompatible, PeerMisbehaved, ProtocolVersion,
};

use super::refusal::{Reason, Refusal};
use super::remedy;
use crate::config::{Dialect, TlsProtocol, TlsVersion};

/// Why a TLS handshake failed, and whose doing it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// We refuse the far end's certificate, or that it shows none.
    #[error("{0}")]
    Certificate(Refusal),
    /// The far end ended the handshake, or the connection, with an alert.
    #[error("{0}")]
    Alert(String),
    /// The far end does not speak TLS.
    #[error("{0}")]
    NotTls(String),
    /// No common version of TLS.
    #[error("{0}")]
    Version(String),
    /// The far end closed the connection in the middle.
    #[error("{0}")]
    Closed(String),
    /// The connection broke.
    #[error("{0}")]
    Io(String),
    /// No common cipher suite or group, or the far end does not keep to the protocol.
    #[error("{0}")]
    Failed(String),
}

impl HandshakeError {
    /// Takes rustls's error out of the I/O error that tokio-rustls puts it in; any other error is given back. For errors of a
    /// connection that is up as well: with TLS 1.3 a client hears only then that its certificate was refused.
    pub fn from_io(e: io::Error) -> Result<Self, io::Error> {
        Self::of_io(&e).ok_or(e)
    }

    /// The same of an error that is only looked at.
    pub fn of_io(e: &io::Error) -> Option<Self> {
        e.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()).map(|e| match e {
            RustlsError::InvalidCertificate(why) => Self::Certificate(certificate_words(why)),
            RustlsError::AlertReceived(alert) => Self::Alert(alert_words(*alert, Dialect::Toml)),
            RustlsError::PeerIncompatible(why) => Self::Version(format!(
                "the server knows no version of TLS (1.2, 1.3) or no parameters that we take ({why:?})"
            )),
            other => Self::Failed(other.to_string()),
        })
    }

    /// In fewer words where it is about a certificate: whose it is and what is wrong, without its issuer and number.
    pub fn brief(&self) -> String {
        match self {
            Self::Certificate(refusal) if !refusal.subject().is_empty() => {
                format!("certificate {}: {}", refusal.subject(), refusal.what())
            }
            other => other.to_string(),
        }
    }

    /// One word for it: `certificate`, `alert`, `not_tls`, `version`, `closed`, `error`. With `ok` and `timeout`, which are the
    /// caller's to say, the values of a metric's label.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Alert(_) => "alert",
            Self::NotTls(_) => "not_tls",
            Self::Version(_) => "version",
            Self::Closed(_) => "closed",
            Self::Io(_) | Self::Failed(_) => "error",
        }
    }
}

/// Which end of a handshake we are, and what we allow: the errors' words depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ours {
    /// The far end's name in messages: `client` or `server`.
    pub(super) peer: &'static str,
    pub(super) oldest: TlsVersion,
    pub(super) newest: TlsVersion,
    pub(super) dialect: Dialect,
}

impl Ours {
    pub(super) fn new(peer: &'static str, protocol: &TlsProtocol, dialect: Dialect) -> Self {
        Self { peer, oldest: protocol.min_version, newest: protocol.max_version, dialect }
    }

    /// The error in words. `first` is what the far end sent first, `refusal` what the verifier said.
    pub(super) fn error(&self, e: io::Error, first: &[u8], refusal: Option<Refusal>) -> HandshakeError {
        let peer = self.peer;
        if let Some(refusal) = refusal {
            return HandshakeError::Certificate(refusal);
        }
        let Some(inner) = e.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) else {
            return match e.kind() {
                io::ErrorKind::UnexpectedEof if first.is_empty() => {
                    HandshakeError::Closed(format!("the {peer} closed the connection before it sent a byte of TLS"))
                }
                io::ErrorKind::UnexpectedEof => {
                    HandshakeError::Closed(format!("the {peer} closed the connection during the TLS handshake"))
                }
                _ => HandshakeError::Io(format!("the connection broke during the TLS handshake: {e}")),
            };
        };
        if let Some(error) = self.not_tls(first) {
            return error;
        }
        match inner {
            RustlsError::NoCertificatesPresented => {
                HandshakeError::Certificate(Refusal::words(Reason::Missing, remedy::no_certificate(self.dialect)))
            }
            RustlsError::AlertReceived(AlertDescription::ProtocolVersion) => HandshakeError::Version(self.version()),
            RustlsError::AlertReceived(alert) => HandshakeError::Alert(alert_words(*alert, self.dialect)),
            RustlsError::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls13RequiredForQuic,
            )
            | RustlsError::PeerMisbehaved(PeerMisbehaved::OfferedDuplicateKeyShares) => {
                HandshakeError::Version(self.version())
            }
            RustlsError::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
                HandshakeError::Version(self.version())
            }
            RustlsError::InvalidCertificate(CertificateError::BadSignature) => {
                let what =
                    format!("the {peer} does not hold the key of the certificate it shows (its signature is wrong)");
                HandshakeError::Certificate(Refusal::words(Reason::Bad, what))
            }
            RustlsError::InvalidCertificate(why) => HandshakeError::Certificate(certificate_words(why)),
            other => HandshakeError::Failed(other.to_string()),
        }
    }

    /// The error in words, where our side of the handshake was done. With TLS 1.3 a server judges our certificate after that; not
    /// every one says so with an alert, and a reset overtakes those that are said.
    pub(super) fn error_after(&self, e: io::Error) -> HandshakeError {
        let peer = self.peer;
        let how = match e.kind() {
            io::ErrorKind::UnexpectedEof => "closed",
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => "reset",
            _ if e.get_ref().is_some_and(|inner| inner.is::<RustlsError>()) => return self.error(e, &[], None),
            _ => return HandshakeError::Io(format!("the connection broke right after the TLS handshake: {e}")),
        };
        HandshakeError::Closed(format!(
            "the {peer} {how} the connection right after the TLS handshake, without an alert: most likely it refused our \
             certificate, or that we showed none (cert, key); its log says why"
        ))
    }

    /// The error, where the far end's first bytes are no record of TLS: that starts with its type, 20 to 23, and the version's 3.
    pub(super) fn not_tls(&self, first: &[u8]) -> Option<HandshakeError> {
        let peer = self.peer;
        match first {
            [] | [20..=23] | [20..=23, 3, ..] => None,
            _ => Some(HandshakeError::NotTls(format!(
                "the {peer} does not speak TLS: {}",
                looks_like(first, self.dialect)
            ))),
        }
    }

    fn version(&self) -> String {
        let peer = self.peer;
        match (self.oldest, self.newest) {
            (TlsVersion::V13, _) => {
                format!(
                    "the {peer} does not take TLS 1.3, the only version allowed here: update it, or {}",
                    remedy::older(self.dialect)
                )
            }
            (TlsVersion::V12, TlsVersion::V12) => {
                let remedy = remedy::newer(self.dialect);
                format!("the {peer} does not take TLS 1.2, the only version allowed here: {remedy}")
            }
            (TlsVersion::V12, TlsVersion::V13) => {
                format!("the {peer} takes neither TLS 1.2 nor 1.3: update it, there is nothing older here")
            }
        }
    }
}

/// An alert in words (RFC 8446 6.2).
fn alert_words(alert: AlertDescription, dialect: Dialect) -> String {
    let name = match alert {
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::CertificateRequired => {
            return "the peer requires a certificate of us (alert certificate_required): set cert and key".into();
        }
        AlertDescription::HandshakeFailure => {
            return "the peer found no common ground (alert handshake_failure): \
                    no common version, cipher suite or group, or it requires a certificate of us"
                .into();
        }
        AlertDescription::ProtocolVersion => {
            return "the peer takes none of our versions of TLS (alert protocol_version)".into();
        }
        AlertDescription::UnrecognisedName => {
            return format!(
                "the peer knows no service of the name we asked for (alert unrecognized_name): {}",
                remedy::other_name(dialect)
            );
        }
        other => return format!("the peer refused with the alert {other:?}"),
    };
    format!("the peer rejected our certificate (alert {name}): its log says why")
}

/// What the first bytes of something that is not TLS look like.
fn looks_like(first: &[u8], dialect: Dialect) -> String {
    let verbs: [&[u8]; 9] =
        [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"HTTP/"];
    // A packet of MySQL: length, sequence 0, and a greeting of protocol 10 or an ERR.
    if matches!(first, [_, _, 0, 0, 10 | 0xff, ..]) {
        return "it greets as MySQL does in clear (is this the database's own port, or is TLS missing in between?)"
            .into();
    }
    if verbs.iter().any(|verb| first.starts_with(verb)) {
        return "it speaks HTTP in clear".into();
    }
    if first.starts_with(b"PROXY ") || first.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        return format!("it sends a PROXY protocol header ({})", remedy::proxy(dialect));
    }
    if first.starts_with(b"SSH-") {
        return "it speaks SSH".into();
    }
    if first.starts_with(&[0x80]) || first.get(2) == Some(&1) && first.first().is_some_and(|b| b & 0x80 != 0) {
        return "it speaks SSL 2, which nothing should any more".into();
    }
    format!("its first bytes are \"{}\"", first.escape_ascii())
}

/// What a handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub suite: &'static str,
    /// The key exchange group, by its IANA name; empty in a resumed TLS 1.2 session.
    pub group: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl Agreed {
    pub(super) fn of(session: &CommonState) -> Self {
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            suite: match session.negotiated_cipher_suite().map(|s| s.suite()) {
                // rustls has names of its own for these.
                Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
                Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
                Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
                other => other.and_then(|suite| suite.as_str()).unwrap_or_default(),
            },
            group: session.negotiated_key_exchange_group().map_or("", |group| match group.name() {
                NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
                NamedGroup::X25519 => "x25519",
                NamedGroup::secp256r1 => "secp256r1",
                NamedGroup::secp384r1 => "secp384r1",
                NamedGroup::secp521r1 => "secp521r1",
                _ => "other",
            }),
            resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }
}

/// What verify-identity says of a certificate that could not be for any host.
const NO_NAME: &str = "the server's certificate has no subject alternative name, so it cannot be verified for a host \
                       (a common name alone does not count): use a certificate with one, or verify-ca";

fn certificate_words(why: &CertificateError) -> Refusal {
    let what = match why {
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
    };
    Refusal::words(Reason::Bad, what)
}

/// The name alone of webpki's `DnsName("db1")`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}
