//! The peers of one side: what is trusted now, and who was admitted by it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::SetupError;
use super::admitted::{Admitted, digest};
use super::certificate::sha256;
use super::fingerprint::Watch;
use super::judge::{Judge, Of};
use super::names::Wanted;
use super::reach::Reach;
use super::refresh::{Outside, Refreshed, Withdrawn};
use super::refusal::{Reason, Refusal};
use super::rules::Rules;
use super::store::{Previous, Store, fingerprint, is_systems, paths};
use crate::config::PeerRules;

/// How many verdicts are remembered that no session needs.
const MOST_REMEMBERED: usize = 1024;

/// The peers of one side.
pub(super) struct Peers {
    of: Of,
    settings: PeerRules,
    reach: Reach,
    pub(super) rules: Rules,
    algorithms: WebPkiSupportedAlgorithms,
    store: ArcSwap<Store>,
    register: Mutex<Register>,
    watch: Mutex<Watch>,
}

/// Verdicts, by [`digest`]: several where a certificate came with different chains, each of them good. What else a peer sends along makes
/// no further ones, or anyone who is let in could fill this.
#[derive(Default)]
struct Register {
    verdicts: HashMap<[u8; 32], Vec<Verdict>>,
    /// How many there are.
    count: usize,
    /// At how many those that no session needs are looked for.
    sweep_at: usize,
    /// Grows with each store; a verdict by an older one is not used again.
    generation: u64,
}

struct Verdict {
    admitted: Admitted,
    /// Of the store it was made by.
    generation: u64,
    /// Unix seconds. Until then it is good for new sessions, by the same store.
    good_until: i64,
    /// When no CRL spoke about it any more, and the running sessions stayed. Not good for new ones.
    unknown_since: Option<i64>,
}

impl Register {
    fn known(&self, key: &[u8; 32], sent: &[[u8; 32]], now: i64) -> Option<&Admitted> {
        let mut known = self.verdicts.get(key).into_iter().flatten();
        let good = known.find(|v| v.good_for_new(self.generation, now) && v.admitted.rests_on(sent));
        good.map(|verdict| &verdict.admitted)
    }

    fn find(&mut self, key: &[u8; 32], is_it: impl Fn(&Admitted) -> bool) -> Option<&mut Verdict> {
        self.verdicts.get_mut(key).into_iter().flatten().find(|verdict| is_it(&verdict.admitted))
    }

    fn insert(&mut self, key: [u8; 32], verdict: Verdict) {
        if self.count >= self.sweep_at {
            self.sweep();
        }
        self.verdicts.entry(key).or_default().push(verdict);
        self.count += 1;
    }

    /// Forgets those that no session needs. The next one is when there are twice as many as are left: with thousands of sessions
    /// each handshake would else look at all of them.
    fn sweep(&mut self) {
        self.retain(|verdict| verdict.admitted.in_use());
        self.sweep_at = MOST_REMEMBERED.max(2 * self.count);
    }

    fn retain(&mut self, keep: impl Fn(&Verdict) -> bool) {
        self.verdicts.retain(|_, of_it| {
            of_it.retain(&keep);
            !of_it.is_empty()
        });
        self.count = self.verdicts.values().map(Vec::len).sum();
    }

    fn remove(&mut self, key: &[u8; 32], admitted: &Admitted) {
        if let Some(of_it) = self.verdicts.get_mut(key) {
            let before = of_it.len();
            of_it.retain(|verdict| !verdict.admitted.same(admitted));
            self.count -= before - of_it.len();
            if of_it.is_empty() {
                self.verdicts.remove(key);
            }
        }
    }
}

/// How long after [`Verdict::unknown_since`] a verdict is made again where nothing changes.
const UNKNOWN: i64 = 60;

impl Verdict {
    fn good_for_new(&self, generation: u64, now: i64) -> bool {
        self.generation == generation
            && self.unknown_since.is_none()
            && now <= self.good_until
            && self.admitted.is_withdrawn().is_none()
    }

    fn renew(&mut self, generation: u64, good_until: i64) {
        (self.generation, self.good_until, self.unknown_since) = (generation, good_until, None);
    }

    /// Whether it has to be made again. One by an older store comes from a handshake that a change of the files overtook.
    fn is_due(&self, generation: u64, now: i64) -> bool {
        self.admitted.is_withdrawn().is_none()
            && match self.unknown_since {
                Some(since) => now > since + UNKNOWN,
                None => self.generation != generation || now > self.good_until,
            }
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("of", &self.of).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Unix seconds by the wall clock, which is what certificates speak of.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole between any two statements; a panic elsewhere must not end all handshakes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Reads the files of `settings`. `root`: the root directory that is entered before the first look.
    pub(super) fn new(
        of: Of,
        settings: &PeerRules,
        algorithms: WebPkiSupportedAlgorithms,
        root: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let rules = Rules::new(settings)?;
        let mut reach = Reach::new(root, paths(settings));
        // Before the reading: a change meanwhile is then seen by the next look.
        let seen = fingerprint(settings, &reach);
        let store = Store::load(settings, None, &reach)?;
        reach.enter();
        Ok(Self {
            of,
            settings: settings.clone(),
            reach,
            rules,
            algorithms,
            store: ArcSwap::from_pointee(store),
            register: Mutex::default(),
            watch: Mutex::new(Watch::new(seen)),
        })
    }

    /// What is trusted now.
    pub(super) fn store(&self) -> Arc<Store> {
        self.store.load_full()
    }

    pub(super) fn judge<'a>(&'a self, store: &'a Store) -> Judge<'a> {
        Judge { of: self.of, rules: &self.rules, store, algorithms: &self.algorithms }
    }

    /// The verdict on a chain: remembered, or made. Of equal ones all share one handle.
    pub(super) fn admit(&self, chain: &[CertificateDer<'_>], name: Option<&Wanted>) -> Result<Admitted, Refusal> {
        if self.rules.none() && name.is_none() {
            // Nothing can change about it, and anyone may come with any number of them: nothing is remembered.
            let judged = self.judge(&self.store.load()).judge(chain, name, now())?;
            return Ok(Admitted::new(chain, None, &judged));
        }
        let sent: Vec<[u8; 32]> = chain.iter().map(|der| sha256(der)).collect();
        let (key, now) = (digest(sent.first(), name), now());
        let generation = {
            let register = lock(&self.register);
            if let Some(known) = register.known(&key, &sent, now) {
                return Ok(known.clone());
            }
            register.generation
        };
        // Outside the lock: signatures are checked. The generation was taken first, so that a store that comes in
        // meanwhile makes this verdict an old one.
        let store = self.store.load_full();
        let judged = self.judge(&store).judge(chain, name, now)?;
        let admitted = Admitted::new(chain, name.cloned(), &judged);
        let good_until = judged.good_until;
        let mut register = lock(&self.register);
        let same = |known: &Admitted| known.is_withdrawn().is_none() && known.rests_alike(&admitted);
        if let Some(known) = register.find(&key, same) {
            known.renew(generation, good_until);
            return Ok(known.admitted.clone());
        }
        register.insert(key, Verdict { admitted: admitted.clone(), generation, good_until, unknown_since: None });
        Ok(admitted)
    }

    /// Looks whether the files have changed (or takes it that they have, with `anew`), reads them, and judges again whom that or
    /// the passing of time may concern. What cannot be read changes nothing.
    pub(super) fn refresh(&self, anew: bool, result: &mut Refreshed) {
        let print = fingerprint(&self.settings, &self.reach);
        let changed = lock(&self.watch).settled(print, anew);
        let mut fresh = false;
        if anew || !changed.is_empty() {
            let previous = Previous { store: &self.store.load_full(), is_anew: anew };
            match Store::load(&self.settings, Some(previous), &self.reach) {
                Ok(store) => {
                    result.reloaded.extend(if anew { self.paths() } else { changed });
                    result.skipped.extend(store.skipped.iter().cloned());
                    self.store.store(Arc::new(store));
                    fresh = true;
                }
                Err(e) => result.fail(e),
            }
        }
        self.judge_again(fresh, now(), result);
    }

    fn paths(&self) -> Vec<PathBuf> {
        paths(&self.settings).filter(|path| !self.reach.is_lost(path)).map(Path::to_owned).collect()
    }

    /// What is not read again, since it lies outside of the root directory.
    pub(super) fn outside(&self) -> Outside {
        let (system, files): (BTreeSet<_>, _) = self.reach.lost().into_iter().partition(|path| is_systems(path));
        Outside { files, with: BTreeSet::new(), system: !system.is_empty() }
    }

    /// Judges again whom the passing of time may concern.
    pub(super) fn expire(&self, result: &mut Refreshed) {
        self.judge_again(false, now(), result);
    }

    fn judge_again(&self, fresh: bool, now: i64, result: &mut Refreshed) {
        let (generation, concerned) = {
            let mut register = lock(&self.register);
            register.generation += u64::from(fresh);
            let generation = register.generation;
            let old = |v: &Verdict| v.is_due(generation, now) || fresh && v.admitted.is_withdrawn().is_none();
            let all = register.verdicts.iter().flat_map(|(key, of_it)| of_it.iter().map(move |verdict| (key, verdict)));
            let concerned: Vec<_> = all.filter(|(_, v)| old(v)).map(|(k, v)| (*k, v.admitted.clone())).collect();
            (register.generation, concerned)
        };
        if concerned.is_empty() {
            return;
        }
        let store = self.store.load_full();
        for (key, admitted) in concerned {
            let verdict = self.judge(&store).judge(admitted.chain(), admitted.name(), now);
            let mut register = lock(&self.register);
            match verdict {
                Ok(judged) => {
                    if let Some(verdict) = register.find(&key, |known| known.same(&admitted)) {
                        verdict.renew(generation, judged.good_until);
                    }
                }
                // A CRL that came late says nothing about the peer. New sessions are refused, running ones stay; they are
                // judged again once there is one.
                Err(refusal) if refusal.reason() == Reason::NoRevocationStatus => {
                    if let Some(verdict) = register.find(&key, |known| known.same(&admitted))
                        && verdict.unknown_since.replace(now).is_none()
                    {
                        result.unknown.push(refusal.to_string());
                    }
                }
                Err(refusal) => {
                    register.remove(&key, &admitted);
                    drop(register);
                    let words = refusal.to_string();
                    admitted.withdraw(&words);
                    result.withdrawn.push(Withdrawn { subject: admitted.subject().to_owned(), words });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::*;
    use crate::config::CaStore;

    impl Peers {
        /// How many verdicts are remembered.
        pub(in super::super) fn remembered(&self) -> usize {
            let register = lock(&self.register);
            assert_eq!(register.count, register.verdicts.values().map(Vec::len).sum::<usize>());
            register.count
        }
    }

    #[test]
    fn the_systems_store_is_no_file_that_lies_outside() {
        let settings = PeerRules { ca: Some(CaStore::System), crl: vec!["/out/crl.pem".into()], ..<_>::default() };
        let peers = Peers {
            of: Of::Servers,
            reach: Reach::new(Some(&std::env::temp_dir()), paths(&settings)),
            rules: Rules::new(&settings).unwrap(),
            settings,
            algorithms: rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
            store: ArcSwap::default(),
            register: Mutex::default(),
            watch: Mutex::new(Watch::new(<_>::default())),
        };
        let files = [PathBuf::from("/out/crl.pem")].into();
        assert_eq!(peers.outside(), Outside { files, with: BTreeSet::new(), system: true });
    }

    #[test]
    fn with_many_sessions_the_register_is_seldom_looked_through() {
        let mut register = Register::default();
        let mut add = |i: u64, held: &mut Vec<Admitted>| {
            let admitted = Admitted::new(&[], None, &Judged { path: Vec::new(), good_until: 0 });
            held.push(admitted.clone());
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_be_bytes());
            let sweeps = register.count >= register.sweep_at;
            register.insert(key, Verdict { admitted, generation: 0, good_until: 0, unknown_since: None });
            (register.count, sweeps)
        };
        let mut held = Vec::new();
        let sweeps = (0..20_000).filter(|i| add(*i, &mut held).1).count();
        assert!(sweeps <= 6, "{sweeps}");
        // Those whose sessions are gone do not stay for ever.
        held.clear();
        let left = (20_000..60_000).map(|i| (add(i, &mut held).0, held.clear()).0).min().unwrap();
        assert!(left <= 1, "{left}");
        assert!(register.count <= MOST_REMEMBERED, "{}", register.count);
    }
}
