//! Why a peer's certificate is refused, in words that its owner can act on.

use std::fmt;

use rustls::CertificateError;

use super::certificate::Facts;

/// What sort of reason it is; it decides the alert that the peer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It does not lead to a certificate that we trust.
    UnknownCa,
    /// It, or one it leads to, is not valid now.
    Expired,
    /// It, or one it leads to, is revoked.
    Revoked,
    /// Nothing current says whether it is revoked.
    NoRevocationStatus,
    /// It cannot be read, or is made in a way that is not taken.
    Bad,
    /// It is made for something else.
    Purpose,
    /// It is for another name.
    Name,
    /// It is good, and none of those that are let in.
    NotListed,
    /// There is none.
    Missing,
}

impl Reason {
    /// rustls's error for it, for the sake of the alert that it stands for (RFC 8446 6.2).
    pub(super) fn for_alert(self) -> CertificateError {
        match self {
            Self::UnknownCa => CertificateError::UnknownIssuer,
            Self::Expired => CertificateError::Expired,
            Self::Revoked => CertificateError::Revoked,
            Self::NoRevocationStatus => CertificateError::UnknownRevocationStatus,
            Self::Bad | Self::Missing => CertificateError::BadEncoding,
            Self::Purpose => CertificateError::InvalidPurpose,
            Self::Name => CertificateError::NotValidForName,
            Self::NotListed => CertificateError::ApplicationVerificationFailure,
        }
    }
}

/// Why a peer's certificate is refused: which certificate, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    /// 0 is the peer's own.
    depth: usize,
    who: About,
    what: String,
}

/// What a refusal says of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// Its names.
    Known(Who),
    /// It could not be read.
    Unread,
    /// Nothing that its words do not say.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    subject: String,
    issuer: String,
    serial: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, depth: usize, facts: &Facts, what: impl Into<String>) -> Self {
        let who =
            Who { subject: facts.subject.to_string(), issuer: facts.issuer.to_string(), serial: facts.serial.clone() };
        Self { reason, depth, who: About::Known(who), what: what.into() }
    }

    /// Of a certificate that cannot be read.
    pub(super) fn unread(reason: Reason, depth: usize, what: impl Into<String>) -> Self {
        Self { reason, depth, who: About::Unread, what: what.into() }
    }

    /// In words that say which certificate they mean.
    pub(super) fn words(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, depth: 0, who: About::Nothing, what: what.into() }
    }

    /// What sort of reason it is.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Which certificate of the chain it is about; 0 is the peer's own.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Its subject in OpenSSL's slash form; empty where it could not be read.
    pub fn subject(&self) -> &str {
        match &self.who {
            About::Known(who) => &who.subject,
            About::Unread | About::Nothing => "",
        }
    }

    /// What is wrong, and what to do, without the certificate's names.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            About::Known(Who { subject, issuer, serial }) => {
                // A certificate may have no subject at all.
                let subject = if subject.is_empty() { "(no subject)" } else { subject };
                write!(
                    f,
                    "certificate at depth {}, {subject} (issuer {issuer}, serial {serial}): {}",
                    self.depth, self.what
                )
            }
            About::Nothing => f.write_str(&self.what),
            About::Unread => write!(f, "certificate at depth {}: {}", self.depth, self.what),
        }
    }
}
