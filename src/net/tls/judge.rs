//! The verdict on a peer's certificate.
//!
//! The chain is webpki's to build and to check, with anchors, intermediates and CRLs that we choose; where it differs from
//! what OpenSSL would say of the same files, the difference is made up for here: only certificates that are their own issuer
//! are anchors, their dates, purpose and pathLenConstraint count, keyUsage counts, nameConstraints hold for a common name that
//! counts as a name, and a self-signed certificate that is itself in the store is good whether or not
//! it says that it is a CA. Pure: files were read before, `now` comes in.

use std::cell::RefCell;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error as ChainError, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::certificate::{Facts, Purposes, RSA_BITS, date, pin_text};
use super::diagnosis::{Diagnosis, NO_CRL_SIGN, at, forged, overdue};
use super::names::{Fallback, Limits, Wanted};
use super::refusal::{Reason, Refusal};
use super::remedy;
use super::rules::Rules;
use super::store::{Crl, Store};
use crate::config::CrlScope;

/// Whose certificates are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Clients,
    Servers,
}

/// A certificate that was found good.
#[derive(Debug)]
pub(super) struct Judged {
    /// From the peer's own to the anchor where a chain was asked for; else the peer's own alone.
    pub(super) path: Vec<Facts>,
    /// The last moment (Unix seconds), not before now, at which the verdict is the same for sure where no file changes: then a
    /// certificate of the path expires, or a CRL is due or comes into force. `i64::MAX` where dates do not count.
    pub(super) good_until: i64,
}

/// All that a verdict depends on, besides the certificate and the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) of: Of,
    pub(super) rules: &'a Rules,
    pub(super) store: &'a Store,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
}

impl Judge<'_> {
    /// `chain` as the peer sent it, its own certificate first. `name` is what it has to be for besides the rules, if anything.
    /// `now` in Unix seconds.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: Option<&Wanted>,
        now: i64,
    ) -> Result<Judged, Refusal> {
        let Some((leaf, sent)) = chain.split_first() else {
            return Err(Refusal::unread(Reason::Missing, 0, "the peer showed no certificate"));
        };
        let facts = Facts::parse(leaf).map_err(|what| Refusal::unread(Reason::Bad, 0, what))?;
        let refuse = |reason, what: String| Err(Refusal::new(reason, 0, &facts, what));
        // These would fail in the handshake's signature all the same, and with fewer words.
        let parsed = match EndEntityCert::try_from(leaf) {
            Ok(parsed) => parsed,
            Err(e) => return refuse(Reason::Bad, Diagnosis::unreadable(&e, &facts)),
        };
        if let Some(bits) = facts.weak_rsa {
            return refuse(
                Reason::Bad,
                format!("its RSA key has {bits} bits, at least {RSA_BITS} are needed: use another key"),
            );
        }
        if self.rules.none() && name.is_none() {
            return Ok(Judged { path: vec![facts], good_until: i64::MAX });
        }
        let mut judged = if self.rules.chain {
            self.chain(leaf, &parsed, &facts, sent, now)?
        } else {
            in_time(&facts, 0, now)?;
            Judged { good_until: facts.not_after, path: vec![facts.clone()] }
        };
        judged.good_until = judged.good_until.min(facts.not_after);
        self.usage(&facts)?;
        if self.rules.in_store && !self.store.knows(&facts) {
            let what = format!(
                "it is not itself in {} (one of the same subject and public key has to be): add it there to let it in",
                self.store.words
            );
            return refuse(Reason::UnknownCa, what);
        }
        let above: Vec<&Limits> = judged.path.iter().skip(1).map(|facts| &facts.limits).collect();
        self.lists(&facts, self.rules.cn_fallback.then_some(&above), name)?;
        Ok(judged)
    }

    fn usage(&self, facts: &Facts) -> Result<(), Refusal> {
        self.purpose(facts, 0)?;
        if facts.may_sign == Some(false) {
            let (role, _) = self.role();
            let what = format!("its keyUsage does not allow it for {role}: have it issued with digitalSignature");
            return Err(Refusal::new(Reason::Purpose, 0, facts, what));
        }
        Ok(())
    }

    fn role(&self) -> (&'static str, &'static str) {
        match self.of {
            Of::Clients => ("a TLS client", "clientAuth"),
            Of::Servers => ("a TLS server", "serverAuth"),
        }
    }

    fn purpose(&self, facts: &Facts, depth: usize) -> Result<(), Refusal> {
        let fits = |p: Purposes| if self.of == Of::Clients { p.client } else { p.server };
        if facts.purposes.is_none_or(fits) {
            return Ok(());
        }
        let (role, purpose) = self.role();
        let what = format!("its extendedKeyUsage does not allow it for {role}: have it issued with {purpose}");
        Err(Refusal::new(Reason::Purpose, depth, facts, what))
    }

    /// What webpki does not look at above the leaf: that keyUsage allows to issue, and of the anchor all but its names and key.
    /// `links` from the leaf's issuer on.
    fn above(&self, links: &[Facts], anchor: &Facts, now: i64) -> Result<(), Refusal> {
        if let Some((i, link)) = links.iter().enumerate().find(|(_, link)| !link.may_issue()) {
            let what = "it issued the one below it, and its keyUsage does not allow that (keyCertSign)";
            return Err(Refusal::new(Reason::Bad, i + 1, link, what));
        }
        let depth = links.len() + 1;
        in_time(anchor, depth, now)?;
        self.purpose(anchor, depth)?;
        // One that issued itself anew is no further step (RFC 5280 4.2.1.9).
        let below = links.iter().filter(|link| link.raw_subject != link.raw_issuer).count();
        if anchor.path_len.is_some_and(|most| usize::try_from(most).is_ok_and(|most| below > most)) {
            let what = format!("there are {below} CAs below it, more than it allows (pathLenConstraint)");
            return Err(Refusal::new(Reason::Bad, depth, anchor, what));
        }
        Ok(())
    }

    /// Names, subjects, pins: each list that there is has to hold it.
    fn lists(&self, facts: &Facts, fallback: Fallback<'_>, name: Option<&Wanted>) -> Result<(), Refusal> {
        let is_for = |wanted: &Wanted| facts.names.is_for(wanted, fallback);
        if !self.rules.names.is_empty() && !self.rules.names.iter().any(is_for) {
            let what = match facts.names.list(fallback).as_slice() {
                [] => {
                    let lists = remedy::lists(self.rules.dialect, self.of);
                    format!("{lists} is its name, {}", self.nameless(facts))
                }
                _ => remedy::unlisted(self.rules.dialect, self.of, &facts.names, fallback),
            };
            return Err(Refusal::new(Reason::NotListed, 0, facts, what));
        }
        if let Some(wanted) = name.filter(|wanted| !is_for(wanted)) {
            let what = match facts.names.list(fallback).as_slice() {
                [] => format!("it is not for \"{wanted}\", {}", self.nameless(facts)),
                names => format!(
                    "it is for {}, not for \"{wanted}\": connect by its name, or set server_name or check_names",
                    names.join(", ")
                ),
            };
            return Err(Refusal::new(Reason::Name, 0, facts, what));
        }
        if !self.rules.subjects.is_empty() && !self.rules.subjects.contains(&facts.subject) {
            let what =
                format!("its subject is none of allow_subjects; to let it in add {:?}", facts.subject.to_string());
            return Err(Refusal::new(Reason::NotListed, 0, facts, what));
        }
        if !self.rules.pins.is_empty() && !self.rules.pins.contains(&facts.pin()) {
            let what = format!("its public key is none of pins; to let it in add {:?}", pin_text(&facts.pin()));
            return Err(Refusal::new(Reason::NotListed, 0, facts, what));
        }
        Ok(())
    }

    /// Why a certificate has no name that counts.
    fn nameless(&self, facts: &Facts) -> String {
        let common = facts.names.common();
        match common {
            _ if facts.names.has_alternative() => "its subjectAltName holds none of that kind".into(),
            [] => "it has none: have it issued with a subjectAltName".into(),
            _ if self.rules.cn_fallback => {
                format!("a CA above it does not allow its common name {:?} (nameConstraints)", common.join(", "))
            }
            _ => format!(
                "it has no subjectAltName, and its common name {:?} does not count: have it issued with one, or set cn_fallback = true",
                common.join(", ")
            ),
        }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &EndEntityCert<'_>,
        facts: &Facts,
        sent: &[CertificateDer<'_>],
        now: i64,
    ) -> Result<Judged, Refusal> {
        let crls = self.crls(facts, now);
        // Told only of a chain that is good otherwise: it spares running sessions, and where a CA is taken out of a directory its
        // CRL goes along.
        let unlisted = || {
            let what = format!(
                "there is no CRL of its issuer, and {}: fetch the CRL of {} (fetch-crl, openssl rehash)",
                remedy::crl(self.rules.dialect),
                facts.issuer
            );
            Refusal::new(Reason::NoRevocationStatus, 0, facts, what)
        };
        let is_listed = !self.rules.crl || crls.iter().any(|crl| crl.issuer == facts.raw_issuer);
        if facts.self_signed() && self.store.holds(leaf) {
            in_time(facts, 0, now)?;
            self.not_by_itself(parsed, facts, &crls, now)?;
            let good_until = facts.not_after.min(self.crls_until(&[facts], now));
            return if is_listed { Ok(Judged { path: vec![facts.clone()], good_until }) } else { Err(unlisted()) };
        }
        // Those that webpki cannot read would only hide what is wrong with the chain.
        let readable = |der: &&CertificateDer<'_>| EndEntityCert::try_from(*der).is_ok();
        let links = sent.iter().filter(readable).chain(&self.store.intermediates);
        let links: Vec<CertificateDer<'_>> = links.map(|der| CertificateDer::from_slice(der)).collect();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        let bad_path = RefCell::new(None);
        let anchor_of = |path: &VerifiedPath<'_>| {
            let anchors = self.store.anchors.iter().zip(&self.store.anchor_of);
            // Equal anchors are certificates of one key, such as one that was prolonged: the one in time counts.
            let of_it = anchors.filter(|(anchor, _)| *anchor == path.anchor()).map(|(_, at)| *at);
            let members = of_it.filter_map(|at| self.store.members.get(at));
            members.max_by_key(|m| (in_time(&m.facts, 0, now).is_ok(), m.facts.not_after))
        };
        let verify = |path: &VerifiedPath<'_>| {
            let links: Result<Vec<Facts>, String> =
                path.intermediate_certificates().map(|link| Facts::parse(&link.der())).collect();
            let links = links.map_err(|_| ChainError::BadDer)?;
            let anchor = anchor_of(path).ok_or(ChainError::UnknownIssuer)?;
            self.above(&links, &anchor.facts, now).map_err(|refusal| {
                bad_path.replace(Some(refusal));
                ChainError::UnknownIssuer
            })
        };
        let usage = match self.of {
            Of::Clients => KeyUsage::client_auth(),
            Of::Servers => KeyUsage::server_auth(),
        };
        let lists: Vec<&CertRevocationList<'_>> = crls.iter().map(|crl| &crl.list).collect();
        let look = |scope: RevocationCheckDepth, unknown: UnknownStatusPolicy| {
            let revocation = RevocationOptionsBuilder::new(&lists).ok();
            let revocation = revocation.filter(|_| self.rules.crl).map(|options| {
                let options = options.with_depth(scope).with_status_policy(unknown);
                options.with_expiration_policy(ExpirationPolicy::Enforce).build()
            });
            parsed.verify_for_usage(
                self.algorithms.all,
                &self.store.anchors,
                &links,
                time,
                usage,
                revocation,
                Some(&verify),
            )
        };
        // The leaf needs a CRL that speaks about it; those above it are looked up where there is one.
        let unknown = if is_listed { UnknownStatusPolicy::Deny } else { UnknownStatusPolicy::Allow };
        let found = look(RevocationCheckDepth::EndEntity, unknown).and_then(|path| match self.rules.crl_scope {
            CrlScope::Chain if self.rules.crl && path.intermediate_certificates().next().is_some() => {
                look(RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow)
            }
            _ => Ok(path),
        });
        let path = match found {
            Ok(path) => path,
            Err(e) => {
                let diagnosis =
                    Diagnosis { of: self.of, store: self.store, crls: &crls, now, dialect: self.rules.dialect };
                let told = diagnosis.refusal(&e, facts, sent);
                // That of another path: what CRLs say comes of one that was good, and decides about running sessions.
                let by_crl = matches!(told.reason(), Reason::Revoked | Reason::NoRevocationStatus);
                return Err(bad_path.take().filter(|_| !by_crl).unwrap_or(told));
            }
        };
        if !is_listed {
            return Err(unlisted());
        }
        let links = path.intermediate_certificates().filter_map(|link| Facts::parse(&link.der()).ok());
        let anchor = anchor_of(&path).map(|anchor| anchor.facts.clone());
        let path: Vec<Facts> = std::iter::once(facts.clone()).chain(links).chain(anchor).collect();
        let ends = path.iter().map(|facts| facts.not_after);
        let about: Vec<&Facts> =
            path.iter().take(if self.rules.crl_scope == CrlScope::Leaf { 1 } else { path.len() }).collect();
        let good_until = ends.min().unwrap_or(i64::MAX).min(self.crls_until(&about, now));
        Ok(Judged { path, good_until })
    }

    /// The last moment before a CRL about one of these is due, or another comes into force.
    fn crls_until(&self, about: &[&Facts], now: i64) -> i64 {
        let theirs = self.store.crls.iter().filter(|crl| about.iter().any(|facts| facts.raw_issuer == crl.issuer));
        // An older one, overdue by now, is not what a good verdict rests on.
        let moments = theirs.flat_map(|crl| [Some(crl.this_update), crl.next_update]).flatten();
        moments.filter(|at| *at > now).min().map_or(i64::MAX, |at| at - 1)
    }

    /// Whether a self-signed certificate that is itself trusted is not revoked by itself. webpki has no path for it.
    fn not_by_itself(&self, own: &EndEntityCert<'_>, facts: &Facts, crls: &[&Crl], now: i64) -> Result<(), Refusal> {
        let named: Vec<&&Crl> = crls.iter().filter(|crl| crl.issuer == facts.raw_issuer).collect();
        let by_it = |crl: &&&&Crl| crl.is_by(own, self.algorithms);
        let good: Vec<&&Crl> = named.iter().filter(by_it).copied().collect();
        let file = |crl: &Crl| crl.file.display().to_string();
        let (reason, what) = match (named.first(), good.first()) {
            // Told by the caller.
            (None, _) => return Ok(()),
            (Some(other), None) => (Reason::NoRevocationStatus, forged(&file(other))),
            _ if facts.may_revoke == Some(false) => (Reason::NoRevocationStatus, NO_CRL_SIGN.to_owned()),
            (_, Some(newest)) => {
                let listed = |crl: &&&Crl| crl.list.find_serial(&facts.raw_serial).ok().flatten().is_some();
                match (good.iter().copied().find(listed), newest.next_update.filter(|due| *due <= now)) {
                    (Some(crl), _) => (Reason::Revoked, format!("it is revoked by the CRL in {}", crl.file.display())),
                    (None, Some(due)) => (Reason::NoRevocationStatus, overdue(&file(newest), due)),
                    (None, None) => return Ok(()),
                }
            }
        };
        Err(Refusal::new(reason, 0, facts, what))
    }

    /// The CRLs that count now, those in front that are by the very key that signed the leaf: a CA that took a new key under
    /// its old name has one by each.
    fn crls(&self, leaf: &Facts, now: i64) -> Vec<&Crl> {
        let mut crls: Vec<&Crl> =
            self.store.crls.iter().map(AsRef::as_ref).filter(|crl: &&Crl| crl.this_update <= now).collect();
        crls.sort_by_key(|crl| crl.authority_key.is_none() || crl.authority_key != leaf.authority_key);
        crls
    }
}

/// Whether `now` lies within the certificate's time.
pub(super) fn in_time(facts: &Facts, depth: usize, now: i64) -> Result<(), Refusal> {
    let what = if now < facts.not_before {
        format!("it is not valid before {}: is a clock wrong? It is {} here", date(facts.not_before), date(now))
    } else if now > facts.not_after {
        format!(
            "it expired at {}: {}",
            date(facts.not_after),
            at(depth, "it has to be renewed", "its CA has to be renewed, and the new one added to the store")
        )
    } else {
        return Ok(());
    };
    Err(Refusal::new(Reason::Expired, depth, facts, what))
}
