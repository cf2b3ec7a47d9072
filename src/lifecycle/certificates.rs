//! Certificates, keys, CAs and CRLs of running services: read again when they change, and told of.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::StartError;
use crate::config;
use crate::net::tls::{Acceptor, Connector, Refreshed};
use crate::telemetry::{Seldom, ServiceMetrics};

/// How often the files are looked at, and the time. A revoked peer's sessions end within twice this. A look is a `stat` a
/// file; watching by inotify would miss what is changed behind a symbolic link or on another machine.
const LOOK: Duration = Duration::from_secs(1);

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
    /// Reads all files of a service's TLS. `tolerant`: clients whose certificate is refused are served elsewhere.
    pub(super) fn new(
        settings: &config::Service,
        metrics: &Arc<ServiceMetrics>,
        tolerant: bool,
    ) -> Result<Self, StartError> {
        let error = |key| move |source| StartError::ServiceTls { service: settings.name.to_string(), key, source };
        let acceptor =
            |tls: &Arc<config::TlsAccept>| if tolerant { Acceptor::tolerant(tls) } else { Acceptor::new(tls) };
        let accepting = settings.tls.as_ref().map(acceptor).transpose().map_err(error("tls"))?;
        let connecting =
            settings.connect_tls.as_ref().map(|tls| Connector::new(tls)).transpose().map_err(error("connect_tls"))?;
        let secured = Self { service: Arc::clone(&settings.name), metrics: Arc::clone(metrics), accepting, connecting };
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
        let mut all = accepting.unwrap_or_default();
        let other = connecting.unwrap_or_default();
        all.reloaded.extend(other.reloaded);
        all.failed.extend(other.failed);
        all.skipped.extend(other.skipped);
        all.withdrawn.extend(other.withdrawn);
        all.unknown.extend(other.unknown);
        if !all.reloaded.is_empty() {
            self.publish();
        }
        all
    }

    fn publish(&self) {
        let accepting = self.accepting.iter().flat_map(|a| a.expiries());
        for (file, at) in accepting.chain(self.connecting.iter().flat_map(|c| c.expiries())) {
            self.metrics.expires(&file.display().to_string(), at);
        }
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

fn left_out(service: &str, file: &Path, why: &str) {
    tracing::warn!(service, file = %file.display(), why, "does not count");
}

/// Looks after `all` for ever. `again`: everything is to be read anew, changed or not.
pub(super) async fn look_after(all: Vec<Secured>, again: Arc<Notify>) {
    if all.is_empty() {
        return;
    }
    let all = Arc::new(all);
    let mut reminder = Seldom::new(REMIND);
    loop {
        let anew = tokio::time::timeout(LOOK, again.notified()).await.is_ok();
        let files = Arc::clone(&all);
        // Files may lie on a slow disk, and this thread checks the nodes.
        let looked = tokio::task::spawn_blocking(move || files.iter().map(|s| s.look(anew)).collect::<Vec<_>>()).await;
        let Ok(looked) = looked else {
            tracing::error!("a look at the certificates ended by a fault of ours: the old are kept");
            continue;
        };
        let remind = looked.iter().any(|found| !found.unknown.is_empty()) && reminder.due(Instant::now());
        for (secured, found) in all.iter().zip(&looked).filter(|(_, found)| !found.is_quiet()) {
            secured.tell(found, remind);
        }
    }
}
