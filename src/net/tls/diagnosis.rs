//! Which certificate of a chain webpki means, and its reason in words.
//!
//! webpki says what is wrong, not with which certificate. The chain is walked once more here, by names alone, to find the one
//! that the error fits. Nothing is decided: the chain is refused already.

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error as ChainError};

use super::certificate::{Facts, RSA_BITS, date};
use super::judge::{Of, in_time};
use super::refusal::{Reason, Refusal};
use super::remedy;
use super::store::{Crl, Store};
use crate::config::Dialect;

/// What a refusal is worked out from.
pub(super) struct Diagnosis<'a> {
    pub(super) of: Of,
    pub(super) store: &'a Store,
    pub(super) crls: &'a [&'a Crl],
    pub(super) now: i64,
    pub(super) dialect: Dialect,
}

/// One sentence for the peer's own certificate, another for those above it.
pub(super) fn at(depth: usize, own: &'static str, above: &'static str) -> &'static str {
    if depth == 0 { own } else { above }
}

/// Of a CRL that was due.
pub(super) fn overdue(file: &str, due: i64) -> String {
    format!("the CRL of its issuer, in {file}, was due at {}: fetch the new one", date(due))
}

/// Of a CRL that another key signed.
pub(super) fn forged(file: &str) -> String {
    format!("the CRL of its issuer, in {file}, bears a signature that is not its issuer's: fetch it anew")
}

/// Of an issuer whose CRL is none.
pub(super) const NO_CRL_SIGN: &str = "its issuer's keyUsage does not allow it to sign CRLs (cRLSign)";

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl Diagnosis<'_> {
    /// Why webpki does not even read a certificate.
    pub(super) fn unreadable(e: &ChainError, facts: &Facts) -> String {
        match e {
            ChainError::UnsupportedCertVersion => {
                "it is of X.509 version 1, which TLS peers no longer take: have it issued anew as version 3 \
                 (openssl x509 -req with -extfile, or openssl ca)"
                    .into()
            }
            ChainError::UnsupportedCriticalExtension => format!(
                "it has a critical extension that is not known here ({}): have it issued without",
                facts.unknown_critical.join(", ")
            ),
            other => format!("it cannot be used ({other:?}): have it issued anew"),
        }
    }

    /// Every certificate above the leaf that names lead to, the likeliest path alone.
    fn walk(&self, leaf: &Facts, sent: &[CertificateDer<'_>]) -> Vec<(Facts, bool)> {
        let mut pool: Vec<(Facts, bool)> =
            sent.iter().filter_map(|der| Facts::parse(der).ok()).map(|facts| (facts, false)).collect();
        pool.extend(self.store.members.iter().map(|m| (m.facts.clone(), true)));
        let mut path = vec![(leaf.clone(), false)];
        while let Some((last, _)) = path.last() {
            if last.raw_subject == last.raw_issuer {
                break;
            }
            let fits = pool.iter().filter(|(facts, _)| facts.raw_subject == last.raw_issuer);
            let fresh = fits.filter(|(facts, _)| {
                !path.iter().any(|(p, _)| p.key == facts.key && p.raw_subject == facts.raw_subject)
            });
            // One that is trusted ends the search sooner; of several the one in time is meant.
            let best = fresh.max_by_key(|(facts, ours)| (*ours, in_time(facts, 0, self.now).is_ok()));
            match best.cloned() {
                Some(next) => path.push(next),
                None => break,
            }
        }
        path
    }

    /// The refusal that `e` stands for.
    pub(super) fn refusal(&self, e: &ChainError, leaf: &Facts, sent: &[CertificateDer<'_>]) -> Refusal {
        let path = self.walk(leaf, sent);
        // The first that fits, else the leaf.
        let find = |fits: &dyn Fn(&Facts) -> bool| {
            path.iter().enumerate().find(|(_, (f, _))| fits(f)).map_or((0, leaf), |(depth, (facts, _))| (depth, facts))
        };
        let refuse = |reason, (depth, facts): (usize, &Facts), what: String| Refusal::new(reason, depth, facts, what);
        match e {
            ChainError::CertExpired { not_after, .. } => {
                let (depth, facts) = find(&|f| f.not_after == seconds(*not_after));
                in_time(facts, depth, self.now).err().unwrap_or_else(|| {
                    refuse(Reason::Expired, (depth, facts), format!("it expired at {}", date(seconds(*not_after))))
                })
            }
            ChainError::CertNotValidYet { not_before, .. } => {
                let (depth, facts) = find(&|f| f.not_before == seconds(*not_before));
                in_time(facts, depth, self.now).err().unwrap_or_else(|| {
                    refuse(
                        Reason::Expired,
                        (depth, facts),
                        format!("it is not valid before {}", date(seconds(*not_before))),
                    )
                })
            }
            ChainError::UnknownIssuer => self.unknown_issuer(&path, sent),
            ChainError::InvalidSignatureForPublicKey => {
                let issuer = path.iter().find(|(f, _)| f.weak_rsa.is_some());
                match issuer.and_then(|(f, _)| f.weak_rsa.map(|bits| (f, bits))) {
                    Some((facts, bits)) => {
                        let at = find(&|f| f.key == facts.key);
                        refuse(
                            Reason::Bad,
                            at,
                            format!(
                                "its RSA key has {bits} bits, at least {RSA_BITS} are needed: that CA needs another key"
                            ),
                        )
                    }
                    None => refuse(
                        Reason::UnknownCa,
                        (0, leaf),
                        format!(
                            "its signature, or that of a CA above it, is not by the CA of that name in {}: \
                             is that another CA of the same name, or was it made anew?",
                            self.store.words
                        ),
                    ),
                }
            }
            #[expect(deprecated, reason = "webpki may still return them")]
            ChainError::UnsupportedSignatureAlgorithm
            | ChainError::UnsupportedSignatureAlgorithmForPublicKey
            | ChainError::UnsupportedSignatureAlgorithmContext(_)
            | ChainError::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                let found = find(&|f| f.weak_signature.is_some() && !f.self_signed());
                let by = found.1.weak_signature.unwrap_or("an algorithm that is not known here");
                refuse(
                    Reason::Bad,
                    found,
                    format!("it is signed with {by}, which is no longer taken: have it issued anew with SHA-256"),
                )
            }
            ChainError::UnsupportedCertVersion | ChainError::UnsupportedCriticalExtension => {
                let found = find(&|f| !f.version_3 || !f.unknown_critical.is_empty());
                refuse(Reason::Bad, found, Self::unreadable(e, found.1))
            }
            ChainError::CaUsedAsEndEntity if leaf.self_signed() => self.unknown_issuer(&path, sent),
            ChainError::CaUsedAsEndEntity => refuse(
                Reason::Purpose,
                (0, leaf),
                format!(
                    "it is that of a CA, and not itself in {}: issue one that is no CA's, or add it there",
                    self.store.words
                ),
            ),
            ChainError::EndEntityUsedAsCa => {
                let depth = path.iter().skip(1).position(|(f, _)| !f.may_issue()).map_or(0, |i| i + 1);
                let facts = path.get(depth).map_or(leaf, |(f, _)| f);
                refuse(
                    Reason::Bad,
                    (depth, facts),
                    "it issued the one below it and is no CA's (CA:TRUE is not set)".into(),
                )
            }
            ChainError::PathLenConstraintViolated => refuse(
                Reason::Bad,
                (0, leaf),
                "a CA above it may not have so many CAs below it (pathLenConstraint)".into(),
            ),
            ChainError::NameConstraintViolation => {
                refuse(Reason::Bad, (0, leaf), "a CA above it may not issue such names (nameConstraints)".into())
            }
            ChainError::RequiredEkuNotFoundContext(_) | ChainError::EmptyEkuExtension => {
                let (role, purpose) = match self.of {
                    Of::Clients => ("a TLS client", "clientAuth"),
                    Of::Servers => ("a TLS server", "serverAuth"),
                };
                let fits =
                    |f: &Facts| f.purposes.is_some_and(|p| !(if self.of == Of::Clients { p.client } else { p.server }));
                let what = format!("its extendedKeyUsage does not allow it for {role}: have it issued with {purpose}");
                refuse(Reason::Purpose, find(&fits), what)
            }
            other => self.revocation(other, leaf, &path),
        }
    }

    fn unknown_issuer(&self, path: &[(Facts, bool)], sent: &[CertificateDer<'_>]) -> Refusal {
        let Some((depth, (last, ours))) = path.iter().enumerate().next_back() else {
            return Refusal::unread(Reason::UnknownCa, 0, "it is not signed by a trusted CA");
        };
        let store = &self.store.words;
        // What webpki could not even read is no link; say so in place of "not found".
        let unread = sent.iter().enumerate().find_map(|(i, der)| {
            let facts = Facts::parse(der).ok()?;
            let e = EndEntityCert::try_from(der).err()?;
            path.iter().any(|(f, _)| f.key == facts.key).then(|| (i + 1, Self::unreadable(&e, &facts), facts))
        });
        if let Some((depth, what, facts)) = unread {
            return Refusal::new(Reason::Bad, depth, &facts, what);
        }
        let what = if last.self_signed() && *ours && depth > 0 {
            return Refusal::new(
                Reason::UnknownCa,
                depth,
                last,
                format!("it is in {store} and is no CA's (CA:TRUE is not set), so it vouches for no other"),
            );
        } else if last.self_signed() {
            format!("it is self-signed and not in {store}: add it there to trust it")
        } else if *ours && depth > 0 {
            format!("only this intermediate CA is in {store}, its issuer {} is not: add that root too", last.issuer)
        } else if depth == 0 && sent.is_empty() {
            format!(
                "its issuer {} is not in {store}, and the peer sent no CA along: add that CA, or have the peer send the CAs between",
                last.issuer
            )
        } else {
            format!("its issuer {} is not in {store}: add that CA to trust it", last.issuer)
        };
        Refusal::new(Reason::UnknownCa, depth, last, what)
    }

    fn revocation(&self, e: &ChainError, leaf: &Facts, path: &[(Facts, bool)]) -> Refusal {
        let by = |facts: &Facts| self.crls.iter().find(|crl| crl.issuer == facts.raw_issuer);
        let file = |facts: &Facts| by(facts).map_or_else(String::new, |crl| crl.file.display().to_string());
        let place = |fits: &dyn Fn(&Facts) -> bool| {
            path.iter().enumerate().find(|(_, (f, _))| fits(f)).map_or((0, leaf), |(depth, (facts, _))| (depth, facts))
        };
        let (reason, (depth, facts), what) = match e {
            ChainError::CertRevoked => {
                let listed =
                    |f: &Facts| by(f).is_some_and(|crl| crl.list.find_serial(&f.raw_serial).ok().flatten().is_some());
                let (depth, facts) = place(&listed);
                (
                    Reason::Revoked,
                    (depth, facts),
                    format!("it is revoked by the CRL in {}: it has to be replaced", file(facts)),
                )
            }
            ChainError::UnknownRevocationStatus => {
                let what = format!(
                    "no CRL speaks about it, and {}: fetch the CRL of {}",
                    remedy::crl(self.dialect),
                    leaf.issuer
                );
                (Reason::NoRevocationStatus, (0, leaf), what)
            }
            ChainError::CrlExpired { next_update, .. } => {
                let due = seconds(*next_update);
                let (depth, facts) = place(&|f| by(f).is_some_and(|crl| crl.next_update == Some(due)));
                (Reason::NoRevocationStatus, (depth, facts), overdue(&file(facts), due))
            }
            ChainError::InvalidCrlSignatureForPublicKey => (Reason::NoRevocationStatus, (0, leaf), forged(&file(leaf))),
            ChainError::IssuerNotCrlSigner => (Reason::NoRevocationStatus, (0, leaf), NO_CRL_SIGN.into()),
            #[expect(deprecated, reason = "webpki may still return them")]
            ChainError::UnsupportedCrlSignatureAlgorithm
            | ChainError::UnsupportedCrlSignatureAlgorithmForPublicKey
            | ChainError::UnsupportedCrlSignatureAlgorithmContext(_)
            | ChainError::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                let what = format!(
                    "the CRL of its issuer, in {}, is signed with an algorithm that is not taken (SHA-1?)",
                    file(leaf)
                );
                (Reason::NoRevocationStatus, (0, leaf), what)
            }
            other => (Reason::Bad, (0, leaf), format!("it, or a CA above it, cannot be used ({other:?})")),
        };
        Refusal::new(reason, depth, facts, what)
    }
}
