//! Certificates, keys, CAs and CRLs of running services: read again when they change, and told of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::StartError;
use crate::config;
use crate::net::tls::{Acceptor, Connector, Refreshed};
use crate::telemetry::{Seldom, ServiceMetrics};

/// How often the files are looked at, and the time. A revoked peer's sessions end within twice this. A look is a `stat` a
/// file; watching by inotify would miss what is changed behind a symbolic link or on another machine.
const LOOK: Duration = Duration::from_secs(1);

/// A look that takes longer is told of.
const SLOW: Duration = Duration::from_secs(5);

/// Of peers without a current CRL at most so often.
const REMIND: Duration = Duration::from_secs(600);

/// One service's TLS.
#[derive(Debug, Clone)]
pub(super) struct Secured {
    pub(super) service: Arc<str>,
    pub(super) metrics: Arc<ServiceMetrics>,
    pub(super) accepting: Option<Arc<Acceptor>>,
    pub(super) connecting: Option<Arc<Connector>>,
}

impl Secured {
    /// Reads all files of a service's TLS. `tolerant`: clients whose certificate is refused are served elsewhere. `root`: the root
    /// directory from soon on, where that changes.
    pub(super) fn new(
        settings: &config::Service,
        metrics: &Arc<ServiceMetrics>,
        tolerant: bool,
        root: Option<&Path>,
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
        let (service, metrics) = (Arc::clone(&settings.name), Arc::clone(metrics));
        let secured = Self { service, metrics, accepting, connecting };
        secured.publish();
        secured.tell_left_out();
        Ok(secured)
    }

    /// One bad CRL among hundreds of files keeps its CA's peers out, whom nothing else tells why.
    fn tell_left_out(&self) {
        let policies = self.accepting.iter().map(|a| a.describe()).chain(self.connecting.iter().map(|c| c.describe()));
        for (file, why) in policies.filter_map(|policy| policy.trust).flat_map(|trust| trust.skipped) {
            left_out(&self.service, &file, &why);
        }
    }

    /// Whether there is anything to look after.
    pub(super) fn any(&self) -> bool {
        self.accepting.is_some() || self.connecting.is_some()
    }

    fn look(&self, anew: bool) -> Refreshed {
        let accepting = self.accepting.as_ref().map(|a| if anew { a.reload() } else { a.refresh() });
        let connecting = self.connecting.as_ref().map(|c| if anew { c.reload() } else { c.refresh() });
        let all = both(accepting, connecting);
        if !all.reloaded.is_empty() {
            self.publish();
        }
        all
    }

    /// Judges running sessions by the time alone.
    fn expire(&self) -> Refreshed {
        both(self.accepting.as_ref().map(|a| a.expire()), self.connecting.as_ref().map(|c| c.expire()))
    }

    /// Names the files that stay as they are because they lie outside of the root directory.
    fn tell_outside(&self) {
        let accepting = self.accepting.iter().flat_map(|a| a.outside());
        let outside: BTreeSet<PathBuf> = accepting.chain(self.connecting.iter().flat_map(|c| c.outside())).collect();
        if !outside.is_empty() {
            let service = &*self.service;
            let files = outside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            tracing::warn!(
                service,
                files,
                "lie outside of the chroot or lead out of it, and are not read again: a change of \
                them needs a restart"
            );
        }
    }

    fn publish(&self) {
        let accepting = self.accepting.iter().flat_map(|a| a.expiries());
        let all = accepting.chain(self.connecting.iter().flat_map(|c| c.expiries()));
        self.metrics.expires(all.map(|(file, at)| (file.display().to_string(), at)));
    }

    fn tell(&self, found: &Refreshed, remind: bool) {
        let service = &*self.service;
        for file in &found.reloaded {
            tracing::info!(service, file = %file.display(), "read again: in force for new sessions, and running ones were judged by it");
        }
        for (file, why) in &found.skipped {
            left_out(service, file, why);
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

fn left_out(service: &str, file: &Path, why: &str) {
    tracing::warn!(service, file = %file.display(), why, "does not count");
}

/// Looks after one service for ever. `again`: everything is to be read anew, changed or not.
///
/// Each has a task of its own: a file that hangs (on a network's disk) must not hide that another service's peer was revoked.
pub(super) async fn look_after(secured: Secured, mut again: watch::Receiver<u64>) {
    let mut reminder = Seldom::new(REMIND);
    let mut tell = |secured: &Secured, found: &Refreshed| {
        if !found.is_quiet() {
            secured.tell(found, !found.unknown.is_empty() && reminder.due(Instant::now()));
        }
    };
    secured.tell_outside();
    loop {
        let anew = tokio::time::timeout(LOOK, again.changed()).await.is_ok_and(|changed| changed.is_ok());
        if anew {
            secured.tell_outside();
        }
        let files = secured.clone();
        // This thread checks the nodes.
        let mut look = tokio::task::spawn_blocking(move || files.look(anew));
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
