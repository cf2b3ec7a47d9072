//! The connecting side: we are the client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::SetupError;
use super::admitted::Admitted;
use super::handshake::{Agreed, HandshakeError, Ours};
use super::identity::{Nothing, Shown};
use super::judge::Of;
use super::names::Wanted;
use super::peers::Peers;
use super::policy::Policy;
use super::provider::{provider, versions};
use super::refresh::{Outside, Refreshed};
use super::stream::TlsStream;
use super::turns::{Turn, Turns};
use super::verifier::{SLOT, Slot, Verifier};
use crate::config::{TlsConnect, TlsVersion};

/// Servers whose sessions are kept for resuming.
const RESUMABLE: usize = 256;

/// The longest wait for a server's word that it took our certificate, see [`Connector::connect`].
const WORD: Duration = Duration::from_secs(2);

/// What a busy server may take for its judgement, beside the way there and back. A word that comes later comes too late: what the
/// local peer has said by then is lost. Only a server that asks for certificates, sends no ticket and does not speak first makes
/// anybody wait for it.
const BUSY: Duration = Duration::from_millis(500);

/// One service's TLS towards its targets, live as an [`super::Acceptor`] is.
pub struct Connector {
    config: Arc<ClientConfig>,
    shown: Option<Arc<Shown>>,
    peers: Arc<Peers>,
    server_name: Option<Arc<str>>,
    /// Whether the certificate has to be for [`Self::server_name`], else for the target's host.
    by_host: bool,
    ours: Ours,
    handshakes: Turns,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("shown", &self.shown).field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Connected<IO> {
    /// The connection.
    pub stream: TlsStream<IO>,
    /// The server's certificate.
    pub peer: Admitted,
    /// What was agreed on.
    pub agreed: Agreed,
}

impl Connector {
    /// Reads all files: to be called before privileges are dropped.
    pub fn new(settings: &TlsConnect) -> Result<Arc<Self>, SetupError> {
        Self::inside(settings, None)
    }

    /// The same for a process whose root directory becomes `root` before the first look: see [`Self::outside`].
    pub fn inside(settings: &TlsConnect, root: Option<&Path>) -> Result<Arc<Self>, SetupError> {
        let provider = provider(&settings.protocol);
        let algorithms = provider.signature_verification_algorithms;
        let shown = settings
            .identity
            .as_ref()
            .map(|identity| Shown::new(identity, &provider, settings.peer.dialect, root))
            .transpose()?;
        let shown = shown.map(Arc::new);
        let peers = Arc::new(Peers::new(Of::Servers, &settings.peer, algorithms, root)?);
        let verifier = Verifier { peers: peers.clone(), algorithms, mandatory: true };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&settings.protocol))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &shown {
            Some(shown) => builder.with_client_cert_resolver(shown.clone()),
            None => builder.with_client_cert_resolver(Arc::new(Nothing)),
        };
        config.enable_sni = settings.sni;
        config.resumption = match settings.resumption {
            true => Resumption::store(Arc::new(ClientSessionMemoryCache::new(RESUMABLE))),
            false => Resumption::disabled(),
        };
        Ok(Arc::new(Self {
            config: Arc::new(config),
            shown,
            peers,
            server_name: settings.server_name.clone(),
            by_host: settings.names && settings.peer.allow_names.is_empty(),
            ours: Ours::new("server", &settings.protocol, settings.peer.dialect),
            handshakes: Turns::new(settings.max_handshakes),
        }))
    }

    /// Waits for one of the `max_handshakes` turns that all targets share. A wait that is too long is a shortage of ours, and no
    /// target's fault.
    pub async fn turn(&self) -> Turn<'_> {
        self.handshakes.turn().await
    }

    /// Performs the handshake. `host` is the target's name or address as the user wrote it: what is asked for and what the
    /// certificate has to be for, unless the configuration says otherwise. It is the caller's to bound it in time.
    ///
    /// With TLS 1.3 a client is done before the server has judged its certificate, or that it has none. Where the server asked, this waits for
    /// its first word (a ticket, or a byte) before it calls the connection good, for as long as an answer may take and at most 2 s:
    /// a refusal is then an error here, before anything was sent, and another target can be tried.
    pub async fn connect<IO>(&self, turn: Turn<'_>, host: &str, io: IO) -> Result<Connected<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let asked = self.server_name.as_deref().unwrap_or(host);
        let name = match ServerName::try_from(asked.to_owned()) {
            Ok(name) => name,
            // No name that could be sent; where it does not matter for the certificate either, do without.
            Err(_) if !self.by_host => ServerName::from(std::net::Ipv4Addr::UNSPECIFIED),
            Err(e) => {
                let what = format!("{asked:?} is no name that a certificate could bear ({e}): set server_name");
                return Err(HandshakeError::Failed(what));
            }
        };
        let wanted = self.by_host.then(|| Wanted::parse(asked));
        let slot = Slot::new(wanted.clone(), false);
        let begun = Instant::now();
        // Boxed: the handshake's state is large, and a caller's future holds it only for these milliseconds.
        let handshake = Box::pin(TlsStream::connect(Arc::clone(&self.config), name, io));
        let done = turn.run(SLOT.scope(slot.clone(), handshake)).await;
        let verdict = slot.take();
        let mut stream = match done {
            Ok(stream) => stream,
            Err(broken) => {
                let first = broken.first().to_vec();
                return Err(self.ours.error(broken.error, &first, verdict.and_then(Result::err)));
            }
        };
        let agreed = Agreed::of(stream.facts());
        let verdict = match verdict {
            Some(verdict) => verdict,
            // A resumed session: what the server showed when it began is judged by what is trusted now.
            None => self.peers.admit(stream.peer_certificates(), wanted.as_ref()),
        };
        let peer = verdict.map_err(HandshakeError::Certificate)?;
        if slot.was_asked() && agreed.version == "TLSv1.3" {
            let patience = (begun.elapsed() * 2 + BUSY).min(WORD);
            match tokio::time::timeout(patience, stream.first_word()).await {
                // A server that sends no ticket and lets its client speak first says nothing yet.
                Err(_) | Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(self.ours.error_after(e)),
            }
        }
        Ok(Connected { stream, peer, agreed })
    }

    /// Reads what has changed, and judges the servers of running sessions again where that, or the time, may concern them. To be
    /// called every second or so: a change counts once two looks in a row have found the files the same. Blocks.
    pub fn refresh(&self) -> Refreshed {
        self.look(false)
    }

    /// As [`super::Acceptor::expire`], of servers.
    pub fn expire(&self) -> Refreshed {
        let mut result = Refreshed::default();
        self.peers.expire(&mut result);
        result
    }

    /// Reads everything anew, changed or not. Blocks.
    pub fn reload(&self) -> Refreshed {
        self.look(true)
    }

    fn look(&self, anew: bool) -> Refreshed {
        let mut result = Refreshed::default();
        if let Some(shown) = &self.shown {
            shown.refresh(anew, &mut result);
        }
        self.peers.refresh(anew, &mut result);
        result
    }

    /// As [`super::Acceptor::outside`].
    pub fn outside(&self) -> Outside {
        self.shown.as_ref().map(|shown| shown.outside()).unwrap_or_default().and(self.peers.outside())
    }

    /// What is in force now.
    pub fn describe(&self) -> Policy {
        Policy::of(self.shown.as_deref(), Some(&self.peers))
    }

    /// As [`super::Acceptor::expiries`].
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        self.describe().expiries()
    }

    /// The oldest and the newest version that is offered.
    pub fn versions(&self) -> (TlsVersion, TlsVersion) {
        (self.ours.oldest, self.ours.newest)
    }
}
