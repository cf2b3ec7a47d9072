//! TLS of services: what we show, what we ask for, and how a peer's certificate is judged.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::secret::Secret;

/// TLS of the accepting side: we are the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsAccept {
    /// What we show.
    pub identity: Identity,
    /// Whether clients have to show a certificate.
    pub client_auth: ClientAuth,
    /// How theirs is judged; looked at unless [`ClientAuth::Off`].
    pub peer: PeerRules,
    /// Versions, suites, groups.
    pub protocol: TlsProtocol,
    /// Handshakes at once; further ones wait. At least 1.
    pub max_handshakes: u32,
    /// Whether a client without a certificate may resume a session.
    pub resumption: bool,
    /// Whether, with [`Self::resumption`], one that is asked for a certificate may as well. What it showed first is judged again
    /// then, by what is trusted now. stunnel's way; no key of galeway.toml.
    pub resumption_with_certificates: bool,
}

/// TLS of the connecting side: we are the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConnect {
    /// What we show where the server asks; `None` = nothing.
    pub identity: Option<Identity>,
    /// Sent as SNI, and what the certificate has to be for where [`Self::names`] says so. `None` = the target's host. An
    /// address is never sent.
    pub server_name: Option<Arc<str>>,
    /// Whether SNI is sent at all.
    pub sni: bool,
    /// Whether the certificate has to be for the server: for one of [`PeerRules::names`] where there are any, else for
    /// [`Self::server_name`], else for the target's host.
    pub names: bool,
    /// How the server's certificate is judged.
    pub peer: PeerRules,
    /// Versions, suites, groups.
    pub protocol: TlsProtocol,
    /// Handshakes at once; further ones wait. At least 1.
    pub max_handshakes: u32,
    /// Whether sessions are resumed. The certificate that was shown first is judged again then.
    pub resumption: bool,
}

/// A certificate of ours and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM, our own certificate first and those between it and the CA behind it; or PKCS#12.
    pub cert: PathBuf,
    /// PEM; may be the same file.
    pub key: PathBuf,
    /// Of an encrypted key or a PKCS#12 file.
    pub passphrase: Option<Secret>,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    Off,
    /// One that is shown has to be good.
    Optional,
    /// One has to be shown, and be good.
    Require,
}

/// How a peer's certificate is judged. All that is asked for has to hold; with nothing asked for, every certificate is good,
/// and only the possession of its key is proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerRules {
    /// It chains to an anchor of [`Self::ca`].
    pub chain: bool,
    /// It is itself in [`Self::ca`]: one of the same subject and public key.
    pub in_store: bool,
    /// The store. Given wherever [`Self::chain`] or [`Self::in_store`] holds.
    pub ca: Option<CaStore>,
    /// Files of CRLs in PEM, or directories of them under hashed names (`HASH.rN`); looked at with [`Self::chain`].
    pub crl: Vec<PathBuf>,
    /// Which certificates of a chain CRLs speak about.
    pub crl_scope: CrlScope,
    /// It is for one of these: DNS names (a leading `*.` stands for one label), IP addresses, URIs, e-mail addresses. Empty = any.
    pub allow_names: Vec<Arc<str>>,
    /// Its subject is one of these, in the slash form of OpenSSL or the comma form of RFC 2253. Empty = any.
    pub allow_subjects: Vec<Arc<str>>,
    /// Its public key is one of these. Empty = any.
    pub pins: Vec<Pin>,
    /// A name may stand in the subject's CN where the certificate has no alternative name, a grid's `host/` in front of it.
    pub cn_fallback: bool,
    /// Where these rules, and the rest of this side's TLS, are written.
    pub dialect: Dialect,
}

/// Which sort of file says something: words about it name the keys of that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// galeway.toml.
    #[default]
    Toml,
    /// stunnel.conf, whose reader says some of this itself, at its place.
    Stunnel,
}

impl Dialect {
    /// What a side of TLS is called: its key, where the file has one.
    pub fn side(self, key: &'static str) -> &'static str {
        if self == Self::Toml { key } else { "TLS" }
    }
}

/// The SHA-256 digest of a certificate's SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// Where trusted certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaStore {
    /// Those of the operating system.
    System,
    /// All of these files in PEM and directories of certificates under hashed names (`HASH.N`). At least one.
    Paths(Vec<PathBuf>),
}

/// Which certificates of a chain CRLs speak about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CrlScope {
    /// All of them, each where there is a CRL of its issuer; one for the leaf's issuer has to be there.
    #[default]
    Chain,
    /// The peer's own; one of its issuer has to be there (stunnel).
    Leaf,
}

/// What is negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProtocol {
    /// The oldest version.
    pub min_version: TlsVersion,
    /// The newest; not older than the oldest.
    pub max_version: TlsVersion,
    /// In the order of preference; empty = all that are safe. Each belongs to a version that is allowed.
    pub cipher_suites: Vec<CipherSuite>,
    /// Key exchange groups in the order of preference; empty = all, X25519MLKEM768 first.
    pub groups: Vec<Group>,
}

/// A version of TLS. There is nothing older here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2. With AES-GCM a connection ends after 2^24 records.
    V12,
    /// 1.3.
    V13,
}

/// A cipher suite, by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum CipherSuite {
    Aes256GcmSha384,
    Aes128GcmSha256,
    Chacha20Poly1305Sha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaAes128GcmSha256,
    EcdheRsaChacha20Poly1305Sha256,
}

/// A key exchange group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Group {
    X25519Mlkem768,
    X25519,
    Secp256r1,
    Secp384r1,
    Secp521r1,
}

impl CipherSuite {
    /// The version it belongs to.
    pub fn version(self) -> TlsVersion {
        match self {
            Self::Aes256GcmSha384 | Self::Aes128GcmSha256 | Self::Chacha20Poly1305Sha256 => TlsVersion::V13,
            _ => TlsVersion::V12,
        }
    }
}
