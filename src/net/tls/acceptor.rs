//! The accepting side: we are the server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::SetupError;
use super::admitted::Admitted;
use super::handshake::{Agreed, HandshakeError, Ours};
use super::identity::Shown;
use super::judge::Of;
use super::peers::Peers;
use super::policy::Policy;
use super::provider::{provider, versions};
use super::refresh::{Outside, Refreshed};
use super::refusal::{Reason, Refusal};
use super::remedy;
use super::sessions::Sessions;
use super::stream::TlsStream;
use super::turns::Turns;
use super::verifier::{SLOT, Slot, Verifier};
use crate::config::{ClientAuth, TlsAccept};

/// Sessions that clients without a certificate may resume, of one service. Each takes about 1 kB.
const RESUMABLE: usize = 4096;

/// The same of clients that are asked for one: each is kept with all the certificates that it has sent, up to 64 kB.
const RESUMABLE_WITH_CERTIFICATES: usize = 256;

/// As much of a client's first bytes as tells what it speaks.
const FIRST: usize = 24;

/// A record's header.
const HEADER: usize = 5;

/// The most that a record in clear may hold (RFC 8446 5.1); the handshake itself refuses one that claims more.
const MOST: usize = 16 * 1024;

/// Room for an ordinary ClientHello, the post-quantum key share in it.
const HELLO: usize = 2048;

/// One service's TLS towards its clients, live: files are read again, and sessions whose certificate is no longer good are told.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// `None` = clients are asked for no certificate.
    peers: Option<Arc<Peers>>,
    client_auth: ClientAuth,
    tolerant: bool,
    ours: Ours,
    handshakes: Turns,
}

/// Chooses the acceptor for the name that a client asks for; `None` = the one that it came to.
pub type Pick<'a> = dyn FnMut(&str) -> Option<Arc<Acceptor>> + Send + 'a;

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("shown", &self.shown).field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The connection.
    pub stream: TlsStream<IO>,
    /// The client's certificate; `None` where it showed none or is refused.
    pub peer: Option<Admitted>,
    /// Why the client is refused; with [`Acceptor::tolerant`] only.
    pub refused: Option<Refusal>,
    /// What was agreed on.
    pub agreed: Agreed,
}

/// A connection whose handshake failed.
#[derive(Debug)]
pub struct Refused<IO> {
    /// Why. The peer has been told by an alert as far as that could be sent at once.
    pub error: HandshakeError,
    /// The socket, where it is still open: closed with bytes unread it would overtake the alert.
    pub io: Option<IO>,
}

impl Acceptor {
    /// Reads all files: to be called before privileges are dropped.
    pub fn new(settings: &TlsAccept) -> Result<Arc<Self>, SetupError> {
        Self::inside(settings, false, None)
    }

    /// One whose handshake goes on with a client that is refused, so that it can be sent elsewhere: see [`Accepted::refused`].
    pub fn tolerant(settings: &TlsAccept) -> Result<Arc<Self>, SetupError> {
        Self::inside(settings, true, None)
    }

    /// Either of them, for a process whose root directory becomes `root` before the first look: see [`Self::outside`].
    pub fn inside(settings: &TlsAccept, tolerant: bool, root: Option<&Path>) -> Result<Arc<Self>, SetupError> {
        let provider = provider(&settings.protocol);
        let shown = Arc::new(Shown::new(&settings.identity, &provider, settings.peer.dialect, root)?);
        let peers = match settings.client_auth {
            ClientAuth::Off => None,
            _ => Some(Arc::new(Peers::new(
                Of::Clients,
                &settings.peer,
                provider.signature_verification_algorithms,
                root,
            )?)),
        };
        let mandatory = settings.client_auth == ClientAuth::Require && !tolerant;
        let config = config(settings, &provider, shown.clone(), peers.clone(), mandatory)?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            shown,
            peers,
            client_auth: settings.client_auth,
            tolerant,
            ours: Ours::new("client", &settings.protocol, settings.peer.dialect),
            handshakes: Turns::new(settings.max_handshakes),
        }))
    }

    /// Performs the handshake. It is the caller's to bound it in time.
    ///
    /// Of the handshakes that are past the client's first bytes no more than `max_handshakes` go on at once; a client that says
    /// nothing takes no place.
    pub async fn accept<IO>(self: &Arc<Self>, io: IO) -> Result<Accepted<IO>, Refused<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_with(io, None).await
    }

    /// Performs the handshake by the acceptor that `pick` chooses for the name the client asks for (SNI); `None` = by this one.
    pub async fn accept_with<IO>(
        self: &Arc<Self>,
        mut io: IO,
        pick: Option<&mut Pick<'_>>,
    ) -> Result<Accepted<IO>, Refused<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut hello = Vec::new();
        if let Err(error) = self.first_bytes(&mut io, &mut hello).await {
            return Err(Refused { error, io: Some(io) });
        }
        let mut chosen = Arc::clone(self);
        if let Some(pick) = pick {
            match self.asked(&mut io, &mut hello).await {
                Ok(name) => chosen = name.and_then(|name| pick(&name)).unwrap_or(chosen),
                Err(error) => return Err(Refused { error, io: Some(io) }),
            }
        }
        chosen.finish(io, hello).await
    }

    async fn finish<IO>(&self, io: IO, hello: Vec<u8>) -> Result<Accepted<IO>, Refused<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let slot = Slot::new(None, self.tolerant);
        // Boxed: the handshake's state is large, and a caller's future holds it only for these milliseconds.
        let handshake = Box::pin(TlsStream::accept(Arc::clone(&self.config), io, hello));
        let done = self.handshakes.turn().await.run(SLOT.scope(slot.clone(), handshake)).await;
        let verdict = slot.take();
        let stream = match done {
            Ok(stream) => stream,
            Err(broken) => {
                let first = broken.first().to_vec();
                let error = self.ours.error(broken.error, &first, verdict.and_then(Result::err));
                return Err(Refused { error, io: Some(broken.io) });
            }
        };
        let agreed = Agreed::of(stream.facts());
        let verdict = match verdict {
            // A resumed session: what the client showed when it began is judged by what is trusted now.
            None if !stream.peer_certificates().is_empty() => {
                self.peers.as_ref().map(|peers| peers.admit(stream.peer_certificates(), None))
            }
            verdict => verdict,
        };
        let (peer, refused) = match verdict {
            Some(Ok(peer)) => (Some(peer), None),
            Some(Err(refusal)) => (None, Some(refusal)),
            None if self.client_auth == ClientAuth::Require => {
                (None, Some(Refusal::words(Reason::Missing, remedy::no_certificate(self.ours.dialect))))
            }
            None => (None, None),
        };
        // rustls refused it already unless told otherwise, and see `Sessions`; this holds whatever those were told, and where a
        // change came in between. The handshake is done, and of alerts rustls sends none at our word but close_notify.
        if let Some(refusal) = refused.clone().filter(|_| !self.tolerant) {
            let io = Some(stream.close().await);
            return Err(Refused { error: HandshakeError::Certificate(refusal), io });
        }
        Ok(Accepted { stream, peer, refused, agreed })
    }

    /// Waits for the client's first record whole: one that drips its bytes has no turn to hold.
    async fn first_bytes<IO: AsyncRead + Unpin>(&self, io: &mut IO, hello: &mut Vec<u8>) -> Result<(), HandshakeError> {
        hello.reserve(HELLO);
        loop {
            match io.read_buf(hello).await {
                Ok(0) => return Err(self.ours.error(io::ErrorKind::UnexpectedEof.into(), hello, None)),
                Ok(_) => {}
                Err(e) => return Err(self.ours.error(e, hello, None)),
            }
            if let Some(error) = self.ours.not_tls(hello.get(..hello.len().min(FIRST)).unwrap_or_default()) {
                return Err(error);
            }
            // Type, version, and the length of what follows (RFC 8446 5.1).
            if let Some([_, _, _, high, low]) = hello.first_chunk()
                && hello.len() >= HEADER + usize::from(u16::from_be_bytes([*high, *low])).min(MOST)
            {
                return Ok(());
            }
        }
    }

    /// The name that the client asks for. What it sends beyond that is for the handshake, which sees all of it again.
    async fn asked<IO: AsyncRead + Unpin>(
        &self,
        io: &mut IO,
        hello: &mut Vec<u8>,
    ) -> Result<Option<Box<str>>, HandshakeError> {
        loop {
            let mut reader = rustls::server::Acceptor::default();
            let mut rest = hello.as_slice();
            while !rest.is_empty() {
                // It takes no more than a ClientHello may have.
                match reader.read_tls(&mut rest) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(e) => return Err(self.ours.error(e, hello, None)),
                }
            }
            match reader.accept() {
                Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(Into::into)),
                Ok(None) => {}
                // The handshake itself finds the same fault, and tells the client.
                Err(_) => return Ok(None),
            }
            match io.read_buf(hello).await {
                Ok(0) => return Err(self.ours.error(io::ErrorKind::UnexpectedEof.into(), hello, None)),
                Ok(_) => {}
                Err(e) => return Err(self.ours.error(e, hello, None)),
            }
        }
    }

    /// Reads what has changed, and judges the clients of running sessions again where that, or the time, may concern them. To be
    /// called every second or so: a change counts once two looks in a row have found the files the same. Blocks.
    pub fn refresh(&self) -> Refreshed {
        self.look(false)
    }

    /// Judges the clients of running sessions again as far as the time may concern them. Reads nothing.
    pub fn expire(&self) -> Refreshed {
        let mut result = Refreshed::default();
        if let Some(peers) = &self.peers {
            peers.expire(&mut result);
        }
        result
    }

    /// Reads everything anew, changed or not. Blocks.
    pub fn reload(&self) -> Refreshed {
        self.look(true)
    }

    fn look(&self, anew: bool) -> Refreshed {
        let mut result = Refreshed::default();
        self.shown.refresh(anew, &mut result);
        if let Some(peers) = &self.peers {
            peers.refresh(anew, &mut result);
        }
        result
    }

    /// What is never read again, since it lies outside of the new root directory.
    pub fn outside(&self) -> Outside {
        self.shown.outside().and(self.peers.as_ref().map(|peers| peers.outside()).unwrap_or_default())
    }

    /// What is in force now.
    pub fn describe(&self) -> Policy {
        Policy::of(Some(&self.shown), self.peers.as_deref())
    }

    /// When our certificate, those trusted and the CRLs end, by file, in Unix seconds: of several in a file the first.
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        self.describe().expiries()
    }
}

fn config(
    settings: &TlsAccept,
    provider: &Arc<CryptoProvider>,
    shown: Arc<Shown>,
    peers: Option<Arc<Peers>>,
    mandatory: bool,
) -> Result<ServerConfig, SetupError> {
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions(&settings.protocol))?;
    let mutual = peers.is_some() && !(settings.resumption && settings.resumption_with_certificates);
    let builder = match peers.clone() {
        Some(peers) => builder.with_client_cert_verifier(Arc::new(Verifier { peers, algorithms, mandatory })),
        None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
    };
    let mut config = builder.with_cert_resolver(shown);
    config.ignore_client_order = !settings.protocol.cipher_suites.is_empty();
    (config.session_storage, config.send_tls13_tickets) = match (mutual, settings.resumption) {
        // A resumed session is not asked for its certificate again; that it resumes nothing, see `Token`.
        (true, _) => (Arc::new(NoServerSessionStorage {}) as _, 1),
        (false, true) => match peers {
            Some(peers) => (Sessions::new(RESUMABLE_WITH_CERTIFICATES, peers) as _, 2),
            None => (ServerSessionMemoryCache::new(RESUMABLE) as _, 2),
        },
        (false, false) => (Arc::new(NoServerSessionStorage {}) as _, 0),
    };
    if mutual {
        config.ticketer = Arc::new(Token);
    }
    Ok(config)
}

/// A ticket that resumes nothing. With TLS 1.3 a client is done before the server has looked at its certificate; that a ticket
/// comes tells it that the certificate was taken, before it has sent a byte.
#[derive(Debug)]
struct Token;

impl ProducesTickets for Token {
    fn enabled(&self) -> bool {
        true
    }

    /// 0: to be thrown away at once (RFC 8446 4.6.1).
    fn lifetime(&self) -> u32 {
        0
    }

    /// Nothing of the session: clients that send it back show no more than noise.
    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        let mut noise = vec![0; 16];
        aws_lc_rs::rand::fill(&mut noise).ok()?;
        Some(noise)
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
