//! Certificates, keys, CAs and CRLs of running services: read again when they change, and told of.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::StartError;
use crate::config;
use crate::net::tls::{Acceptor, Connector, Mark, Refreshed, Skipped};
use crate::telemetry::{Seldom, ServiceMetrics};

/// How often the files are looked at, and the time. A revoked peer's sessions end within twice this. A look is a `stat` a
/// file; watching by inotify would miss what is changed behind a symbolic link or on another machine.
const LOOK: Duration = Duration::from_secs(1);

/// A look that takes longer is told of.
const SLOW: Duration = Duration::from_secs(5);

/// Of peers without a current CRL at most so often.
const REMIND: Duration = Duration::from_secs(600);

/// What of the files does not count, as it was told: services share directories of CAs, and each file is told of once.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut(Arc<Mutex<HashMap<(PathBuf, String), Seen>>>);

/// How often everything was to be read anew until then, and the file as it was read.
type Seen = (u64, Mark);

impl LeftOut {
    /// Whether this is to be told: the file was not told of, or has changed since, or all are read anew by `turn`. What is said of a
    /// directory is about the service as well, and always told.
    fn is_news(&self, skipped: &Skipped, turn: u64) -> bool {
        // Not looked at here: inside a chroot the path as it is written leads nowhere.
        let Some(mark) = skipped.mark else { return true };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((skipped.file.clone(), skipped.why.clone()), (turn, mark)) != Some((turn, mark))
    }

    /// What is mended is told of again where it breaks again.
    fn forget(&self, mended: &[PathBuf]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(file, _), _| !mended.contains(file));
    }
}

/// One service's TLS.
#[derive(Debug, Clone)]
pub(super) struct Secured {
    pub(super) service: Arc<str>,
    pub(super) metrics: Arc<ServiceMetrics>,
    pub(super) accepting: Option<Arc<Acceptor>>,
    pub(super) connecting: Option<Arc<Connector>>,
    left_out: LeftOut,
    /// The service has other TLS by now, and this is that of sessions that began before.
    former: Arc<AtomicBool>,
}

impl Secured {
    /// Reads all files of a service's TLS. `tolerant`: clients whose certificate is refused are served elsewhere. `root`: the root
    /// directory from soon on, where that changes.
    pub(super) fn new(
        settings: &config::Service,
        metrics: &Arc<ServiceMetrics>,
        tolerant: bool,
        root: Option<&Path>,
        told: &LeftOut,
    ) -> Result<Self, StartError> {
        let error = |key, peer: Option<&config::PeerRules>| {
            let key = peer.map_or(key, |peer| peer.dialect.side(key));
            move |source| StartError::ServiceTls { service: settings.name.to_string(), key, source }
        };
        let (of_clients, of_servers) = (settings.tls.as_ref(), settings.connect_tls.as_ref());
        let acceptor = |tls: &Arc<config::TlsAccept>| Acceptor::inside(tls, tolerant, root);
        let accepting = of_clients.map(acceptor).transpose().map_err(error("tls", of_clients.map(|tls| &tls.peer)))?;
        let connecting = of_servers.map(|tls| Connector::inside(tls, root)).transpose();
        let connecting = connecting.map_err(error("connect_tls", of_servers.map(|tls| &tls.peer)))?;
        let (service, metrics, left_out) = (Arc::clone(&settings.name), Arc::clone(metrics), told.clone());
        let secured = Self { service, metrics, accepting, connecting, left_out, former: Arc::default() };
        secured.tell_left_out();
        Ok(secured)
    }

    /// One bad CRL among hundreds of files keeps its CA's peers out, whom nothing else tells why.
    fn tell_left_out(&self) {
        let policies = self.accepting.iter().map(|a| a.describe()).chain(self.connecting.iter().map(|c| c.describe()));
        for skipped in policies.filter_map(|policy| policy.trust).flat_map(|trust| trust.skipped) {
            if self.left_out.is_news(&skipped, 0) {
                left_out(&self.service, &skipped);
            }
        }
    }

    /// Whether there is anything to look after.
    pub(super) fn any(&self) -> bool {
        self.accepting.is_some() || self.connecting.is_some()
    }

    /// `turn`: how often everything was to be read anew until now.
    fn look(&self, anew: bool, turn: u64) -> Refreshed {
        let accepting = self.accepting.as_ref().map(|a| if anew { a.reload() } else { a.refresh() });
        let connecting = self.connecting.as_ref().map(|c| if anew { c.reload() } else { c.refresh() });
        let mut all = both(accepting, connecting);
        if !all.reloaded.is_empty() {
            self.publish();
            let mended = all.reloaded.iter().filter(|file| !all.skipped.iter().any(|bad| bad.file == **file));
            self.left_out.forget(&mended.cloned().collect::<Vec<_>>());
            all.skipped.retain(|skipped| self.left_out.is_news(skipped, turn));
        }
        all
    }

    /// Judges running sessions by the time alone.
    fn expire(&self) -> Refreshed {
        both(self.accepting.as_ref().map(|a| a.expire()), self.connecting.as_ref().map(|c| c.expire()))
    }

    /// Names the files that stay as they are because they lie outside of the root directory.
    fn tell_outside(&self) {
        let accepting = self.accepting.as_ref().map(|a| a.outside()).unwrap_or_default();
        let outside = accepting.and(self.connecting.as_ref().map(|c| c.outside()).unwrap_or_default());
        let (service, files) = (&*self.service, listed(&outside.files));
        if !outside.files.is_empty() {
            let with = match outside.with.is_empty() {
                true => String::new(),
                false => {
                    format!("; with them: {}, since a certificate and its key count together", listed(&outside.with))
                }
            };
            tracing::warn!(
                service,
                files,
                "lie outside of the chroot or lead out of it, and are not read again: a change of \
                them needs a restart{with}"
            );
        }
        if outside.system {
            tracing::warn!(
                service,
                "the system's store of certificates is not read again inside the chroot: a change of \
                it needs a restart"
            );
        }
    }

    /// The service has other TLS from now on, whose files are those that the metrics tell of.
    pub(super) fn succeed(&self) {
        self.former.store(true, Ordering::SeqCst);
    }

    fn publish(&self) {
        if self.former.load(Ordering::SeqCst) {
            return;
        }
        let accepting = self.accepting.iter().flat_map(|a| a.expiries());
        let all = accepting.chain(self.connecting.iter().flat_map(|c| c.expiries()));
        self.metrics.expires(all.map(|(file, at)| (file.display().to_string(), at)));
    }

    fn tell(&self, found: &Refreshed, remind: bool) {
        let service = &*self.service;
        for file in &found.reloaded {
            tracing::info!(service, file = %file.display(), "read again: in force for new sessions, and running ones were judged by it");
        }
        for skipped in &found.skipped {
            left_out(service, skipped);
        }
        for why in &found.failed {
            tracing::warn!(service, "not read again: {why}");
        }
        for peer in &found.withdrawn {
            tracing::warn!(service, subject = peer.subject, why = peer.words, "no longer good: its sessions end");
        }
        if remind {
            for why in &found.unknown {
                tracing::warn!(service, why, "sessions go on and new ones are refused");
            }
        }
    }
}

fn both(one: Option<Refreshed>, other: Option<Refreshed>) -> Refreshed {
    let mut all = one.unwrap_or_default();
    let other = other.unwrap_or_default();
    all.reloaded.extend(other.reloaded);
    all.failed.extend(other.failed);
    all.skipped.extend(other.skipped);
    all.withdrawn.extend(other.withdrawn);
    all.unknown.extend(other.unknown);
    all
}

fn listed(files: &BTreeSet<PathBuf>) -> String {
    files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn left_out(service: &str, skipped: &Skipped) {
    tracing::warn!(service, file = %skipped.file.display(), why = skipped.why, "does not count");
}

/// Looks after one service until it is dropped. `again`: everything is to be read anew, changed or not.
///
/// Each has a task of its own: a file that hangs (on a network's disk) must not hide that another service's peer was revoked.
pub(super) async fn look_after(secured: Secured, mut again: watch::Receiver<u64>) {
    let mut reminder = Seldom::new(REMIND);
    let mut tell = |secured: &Secured, found: &Refreshed| {
        if !found.is_quiet() {
            secured.tell(found, !found.unknown.is_empty() && reminder.due(Instant::now()));
        }
    };
    // Not before: a configuration that is refused changes nothing.
    secured.publish();
    secured.tell_outside();
    loop {
        let anew = tokio::time::timeout(LOOK, again.changed()).await.is_ok_and(|changed| changed.is_ok());
        if anew {
            secured.tell_outside();
        }
        let (files, turn) = (secured.clone(), *again.borrow());
        // This thread checks the nodes.
        let mut look = tokio::task::spawn_blocking(move || files.look(anew, turn));
        let mut slow = false;
        let looked = loop {
            if let Ok(looked) = tokio::time::timeout(SLOW, &mut look).await {
                break looked;
            }
            if !std::mem::replace(&mut slow, true) {
                tracing::warn!(service = %secured.service, "its certificates, CAs or CRLs take long to read: until they are, \
                    what was read before is in force");
            }
            tell(&secured, &secured.expire());
        };
        match looked {
            Ok(found) => tell(&secured, &found),
            Err(_) => tracing::error!(service = %secured.service,
                "a look at the certificates ended by a fault of ours: the old are kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_count_is_told_of_once_until_it_changes() {
        // No such file is there: what is found at a path may be another inside a chroot.
        let (file, mark) = (PathBuf::from("/jail/certs/5f15c80c.0"), Ok((1, 2, 3, 4, 4)));
        let bad = |why: &str, mark| Skipped { file: file.clone(), why: why.into(), mark };
        let (one, mut news) = (LeftOut::default(), Vec::new());
        let other = one.clone();
        news.push(one.is_news(&bad("why", Some(mark)), 0));
        news.push(other.is_news(&bad("why", Some(mark)), 0));
        news.push(other.is_news(&bad("another", Some(mark)), 0));
        assert_eq!(news, [true, false, true]);
        let again = bad("why", Some(mark));
        assert!(other.is_news(&again, 1) && !one.is_news(&again, 1), "SIGHUP tells all again, once");
        // The inode of the one before, within one tick of the clock.
        let longer = bad("why", Some(Ok((1, 2, 5, 4, 4))));
        assert!(one.is_news(&longer, 1) && !other.is_news(&longer, 1));
        one.forget(std::slice::from_ref(&file));
        assert!(one.is_news(&longer, 1), "mended meanwhile");
        let directory = bad("why", None);
        assert!(one.is_news(&directory, 1) && other.is_news(&directory, 1), "each service's own");
    }
}
