//! Versions, cipher suites and groups for rustls.

use std::sync::Arc;

use ::aws_lc_rs::agreement::{ECDH_P521, EphemeralPrivateKey, PublicKey, UnparsedPublicKey, agree_ephemeral};
use ::aws_lc_rs::rand::SystemRandom;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::{Error as RustlsError, NamedGroup, PeerMisbehaved, SupportedCipherSuite, SupportedProtocolVersion};

use crate::config::{CipherSuite, Group, TlsProtocol, TlsVersion};

fn cipher_suite(named: CipherSuite) -> SupportedCipherSuite {
    match named {
        CipherSuite::Aes256GcmSha384 => suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Aes128GcmSha256 => suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Chacha20Poly1305Sha256 => suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheEcdsaAes256GcmSha384 => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaAes128GcmSha256 => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256 => suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheRsaAes256GcmSha384 => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaAes128GcmSha256 => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaChacha20Poly1305Sha256 => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(named: Group) -> &'static dyn SupportedKxGroup {
    match named {
        Group::X25519Mlkem768 => kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
        Group::Secp521r1 => &P521,
    }
}

/// The provider with just what `protocol` names, where it names any.
pub(super) fn provider(protocol: &TlsProtocol) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !protocol.cipher_suites.is_empty() {
        provider.cipher_suites = protocol.cipher_suites.iter().map(|s| cipher_suite(*s)).collect();
    }
    provider.kx_groups = match protocol.groups.as_slice() {
        // rustls's default leaves out P-521, which the peers of old configurations of stunnel may insist on.
        [] => provider.kx_groups.iter().copied().chain([&P521 as &'static dyn SupportedKxGroup]).collect(),
        groups => groups.iter().map(|g| group(*g)).collect(),
    };
    Arc::new(provider)
}

/// Key exchange on P-521, which the library below rustls has and rustls does not list.
#[derive(Debug)]
struct P521;

struct Exchange {
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, RustlsError> {
        let failed = |_| RustlsError::FailedToGetRandomBytes;
        let private = EphemeralPrivateKey::generate(&ECDH_P521, &SystemRandom::new()).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        Ok(Box::new(Exchange { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, RustlsError> {
        let bad = || RustlsError::from(PeerMisbehaved::InvalidKeyShare);
        // RFC 8446 4.2.8.2: no compressed points.
        if peer.first() != Some(&4) {
            return Err(bad());
        }
        agree_ephemeral(self.private, UnparsedPublicKey::new(&ECDH_P521, peer), bad(), |secret| {
            Ok(SharedSecret::from(secret))
        })
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

/// The versions allowed.
pub(super) fn versions(protocol: &TlsProtocol) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V13, &rustls::version::TLS13), (TlsVersion::V12, &rustls::version::TLS12)];
    let allowed = protocol.min_version..=protocol.max_version;
    all.into_iter().filter(|(version, _)| allowed.contains(version)).map(|(_, version)| version).collect()
}
