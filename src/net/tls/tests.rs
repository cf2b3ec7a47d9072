//! Certificates as they occur, through the judge and through handshakes, each with the words that a user sees.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio::net::UnixStream;

use super::*;
use crate::config::{
    CaStore, ClientAuth, Dialect, Identity, PeerRules, TlsAccept, TlsConnect, TlsProtocol, TlsVersion,
};

mod chains;
mod crls;
mod dialects;
mod forms;
mod handshakes;
mod interop;
mod limits;
mod live;

/// A directory of its own, gone with the value.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("galeway-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Under another inode each time, as tools that renew certificates do it.
        let fresh = self.path("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    }

    /// The `openssl` command, in this directory.
    fn openssl(&self, arguments: &str) -> String {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output();
        let done = done.expect("the openssl command makes what rcgen cannot");
        assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A CA.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

/// A certificate and its key.
struct Pair {
    /// With those that belong behind it.
    pem: String,
    key: String,
    serial: Vec<u8>,
}

fn named(name: &str) -> CertificateParams {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Galeway");
    params.distinguished_name.push(DnType::CommonName, name);
    let number = 0x1000 + NEXT.fetch_add(1, Ordering::Relaxed);
    params.serial_number = Some(SerialNumber::from_slice(&number.to_be_bytes()));
    params
}

impl Ca {
    fn root(name: &str) -> Self {
        Self::root_with(name, |_| ())
    }

    fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| ())
    }

    fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    fn issue(&self, name: &str) -> Pair {
        self.issue_with(name, |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())]
        })
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = named(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Pair { pem, key: key.serialize_pem(), serial: params.serial_number.unwrap().to_bytes() }
    }

    /// A CRL that is due in the given year.
    fn crl(&self, revoked: &[&Pair], due: i32) -> String {
        self.crl_with(revoked, due, |_| ())
    }

    fn crl_with(
        &self,
        revoked: &[&Pair],
        due: i32,
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let entry = |pair: &&Pair| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&pair.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(due, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}

/// What a name issued itself, as `openssl req -x509` does: with CA:TRUE.
fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Pair { pem, key: key.serialize_pem(), serial: Vec::new() }
}

/// Rules: a chain to the CAs of a file.
fn chain_to(ca: &Path) -> PeerRules {
    PeerRules { chain: true, ca: Some(CaStore::Paths(vec![ca.to_owned()])), ..PeerRules::default() }
}

fn protocol() -> TlsProtocol {
    TlsProtocol {
        min_version: TlsVersion::V13,
        max_version: TlsVersion::V13,
        cipher_suites: Vec::new(),
        groups: Vec::new(),
    }
}

fn identity(dir: &Dir, name: &str, pair: &Pair) -> Identity {
    Identity {
        cert: dir.write(&format!("{name}.pem"), &pair.pem),
        key: dir.write(&format!("{name}.key"), &pair.key),
        passphrase: None,
    }
}

fn accepting(identity: Identity, client_auth: ClientAuth, peer: PeerRules) -> TlsAccept {
    TlsAccept {
        identity,
        client_auth,
        peer,
        protocol: protocol(),
        max_handshakes: 8,
        resumption: true,
        resumption_with_certificates: false,
    }
}

fn connecting(identity: Option<Identity>, peer: PeerRules) -> TlsConnect {
    TlsConnect {
        identity,
        server_name: None,
        sni: true,
        names: false,
        peer,
        protocol: protocol(),
        max_handshakes: 8,
        resumption: true,
    }
}

type Outcome = (Result<Accepted<UnixStream>, HandshakeError>, Result<Connected<UnixStream>, HandshakeError>);

/// The handshake of the connecting end, in its turn.
async fn connect<IO>(connector: &Connector, host: &str, io: IO) -> Result<Connected<IO>, HandshakeError>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    connector.connect(connector.turn().await, host, io).await
}

/// A handshake of the two: what either end makes of it.
async fn shake(acceptor: &Arc<Acceptor>, connector: &Arc<Connector>, host: &str) -> Outcome {
    let (left, right) = UnixStream::pair().unwrap();
    let (accepted, connected) = tokio::join!(acceptor.accept(left), connect(connector, host, right));
    (accepted.map_err(|refused| refused.error), connected)
}

/// The words of either end's error.
async fn words(acceptor: &Arc<Acceptor>, connector: &Arc<Connector>, host: &str) -> (String, String) {
    let (accepted, connected) = shake(acceptor, connector, host).await;
    let said = |e: Option<HandshakeError>| e.map(|e| e.to_string()).unwrap_or_default();
    (said(accepted.err()), said(connected.err()))
}
