//! rustls's questions about a peer's certificate, and where the answers go.
//!
//! rustls asks in the middle of a handshake, and can tell its caller no more than a kind of error. So each handshake runs with
//! a slot of its own (a task-local of tokio's: set while that handshake is polled, and only then), in which the verifier finds what the
//! certificate has to be for and leaves whom it admitted or why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error as RustlsError, SignatureScheme};

use super::admitted::Admitted;
use super::names::Wanted;
use super::peers::Peers;
use super::refusal::Refusal;

tokio::task_local! {
    /// Of the handshake that is being polled.
    pub(super) static SLOT: Arc<Slot>;
}

/// What a handshake and its verifier have to tell each other.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What a server's certificate has to be for.
    pub(super) name: Option<Wanted>,
    /// Whether the handshake goes on with a peer that is refused.
    pub(super) tolerant: bool,
    /// Whether the far end asked for our certificate.
    asked: AtomicBool,
    verdict: Mutex<Option<Result<Admitted, Refusal>>>,
    /// Who began the session that the client offers to resume. Whether it is resumed is the handshake's to say.
    offered: Mutex<Option<Admitted>>,
}

impl Slot {
    pub(super) fn new(name: Option<Wanted>, tolerant: bool) -> Arc<Self> {
        Arc::new(Self { name, tolerant, ..Self::default() })
    }

    /// To be called when the far end asks for our certificate.
    pub(super) fn ask() {
        // Outside of a handshake of ours there is nobody to tell.
        let _ = SLOT.try_with(|slot| slot.asked.store(true, Ordering::Relaxed));
    }

    /// A session of this client's is offered again; `None`: one without a certificate. The last one offered counts.
    pub(super) fn resume(began: Option<Admitted>) {
        let _ = SLOT.try_with(|slot| *slot.offered.lock().unwrap_or_else(PoisonError::into_inner) = began);
    }

    /// Whose session is to be kept: the client's of a full handshake, else the one who began it.
    pub(super) fn shown() -> Option<Admitted> {
        let of = |slot: &Arc<Self>| match slot.verdict.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(verdict) => verdict.as_ref().ok().cloned(),
            None => slot.offered.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        SLOT.try_with(of).ok().flatten()
    }

    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// What the verifier said, if it was asked.
    pub(super) fn take(&self) -> Option<Result<Admitted, Refusal>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, verdict: Result<Admitted, Refusal>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

/// Asks [`Peers`]. Of one side.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) peers: Arc<Peers>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// Whether a client has to show a certificate.
    pub(super) mandatory: bool,
}

impl Verifier {
    fn ask(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), RustlsError> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(leaf).chain(others).map(|der| CertificateDer::from(der.as_ref())).collect();
        // Without a slot nobody said what the certificate is for: no handshake of ours runs so.
        let Ok(slot) = SLOT.try_with(Arc::clone) else {
            return Err(RustlsError::General("a certificate was judged outside a handshake".into()));
        };
        let verdict = self.peers.admit(&chain, slot.name.as_ref());
        let answer = match &verdict {
            Err(refusal) if !slot.tolerant => Err(RustlsError::InvalidCertificate(refusal.reason().for_alert())),
            _ => Ok(()),
        };
        slot.put(verdict);
        answer
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.ask(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// No CA is named to clients, as stunnel names none of a directory: they show the certificate they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // rustls asks in full handshakes alone: no session that was offered is resumed, and a client that shows nothing now is nobody.
        Slot::resume(None);
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        self.ask(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
