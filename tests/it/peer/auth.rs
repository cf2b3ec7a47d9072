//! The server's side of authentication, written from the manuals with nothing but hashes.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use super::conn::LoginRequest;
use super::{Conn, Greeting};

/// An account of caching_sha2_password.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    /// The server's cache knows it, since a full login or `FLUSH PRIVILEGES`.
    pub(crate) cached: Arc<AtomicBool>,
}

/// The server's side of caching_sha2_password over a link without TLS: by the cache where it knows the account, else by
/// the password under the server's RSA key, which the client asks for (MySQL, "Caching_sha2_password information").
pub(crate) async fn lets_in(
    conn: &mut Conn,
    greeting: &Greeting,
    login: &LoginRequest,
    account: &Account,
) -> io::Result<bool> {
    let answer = if login.plugin == "caching_sha2_password" {
        login.answer.clone()
    } else {
        conn.switch("caching_sha2_password", &[&greeting.nonce[..], &[0]].concat()).await?
    };
    if login.user != account.user {
        return Ok(false);
    }
    if account.cached.load(Ordering::SeqCst) && fast_path_accepts(account.password, &greeting.nonce, &answer) {
        conn.more_data(&[0x03]).await?;
        return Ok(true);
    }
    conn.more_data(&[0x04]).await?;
    if conn.read().await? != [0x02] {
        return Ok(false);
    }
    conn.more_data(RSA_PUBLIC).await?;
    let encrypted = conn.read().await?;
    let right = decrypt_password(&greeting.nonce, &encrypted) == [account.password.as_bytes(), &[0]].concat();
    account.cached.store(right, Ordering::SeqCst);
    Ok(right)
}

/// The RSA key a server hands out for caching_sha2_password.
pub(crate) const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa-public.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("keys/rsa-private.pem");

/// Whether `answer` proves `password` to a server whose cache holds SHA256(SHA256(password)) only (MySQL,
/// "Caching_sha2_password information"): answer = SHA256(password) XOR SHA256(cached || nonce).
pub(crate) fn fast_path_accepts(password: &str, nonce: &[u8], answer: &[u8]) -> bool {
    let cached = sha256(&[&sha256(&[password.as_bytes()])]);
    let mask = sha256(&[&cached, nonce]);
    let claimed: Vec<u8> = answer.iter().zip(mask).map(|(a, m)| a ^ m).collect();
    answer.len() == 32 && sha256(&[&claimed]) == cached
}

/// The password in what a client encrypted for [`RSA_PUBLIC`], the final NUL included.
pub(crate) fn decrypt_password(nonce: &[u8], encrypted: &[u8]) -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA_PRIVATE).unwrap();
    let key = PrivateDecryptingKey::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let key = OaepPrivateDecryptingKey::new(key).unwrap();
    let mut plain = vec![0; key.min_output_size()];
    let plain = key.decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut plain, None).unwrap();
    plain.iter().zip(nonce.iter().cycle()).map(|(p, n)| p ^ n).collect()
}

/// What a MariaDB stores of `password` for parsec: 'P', factor, salt, public key (MariaDB, "Authentication Plugin - PARSEC").
pub(crate) fn parsec_hash(password: &str, factor: u8, salt: &[u8; 18]) -> Vec<u8> {
    let mut seed = [0; 32];
    let iterations = NonZeroU32::new(1024 << factor).unwrap();
    pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, salt, password.as_bytes(), &mut seed);
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    [b"P", &[factor][..], salt, key.public_key().as_ref()].concat()
}

/// Whether `answer` (the client's nonce, its signature of both) is of the one with this hash.
pub(crate) fn parsec_accepts(hash: &[u8], nonce: &[u8; 32], answer: &[u8]) -> bool {
    let message = [nonce, &answer[..32]].concat();
    UnparsedPublicKey::new(&ED25519, &hash[20..]).verify(&message, &answer[32..]).is_ok()
}

/// What a server stores of `password` for mysql_native_password: SHA1(SHA1(password)).
pub(crate) fn native_hash(password: &str) -> Vec<u8> {
    let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    sha1(sha1(password.as_bytes()).as_ref()).as_ref().to_vec()
}

/// An OK packet with the proof that MariaDB gives of its self-signed certificate ("Zero-Configuration SSL").
pub(crate) fn ok_with_proof(hash: &[u8], scramble: &[u8], certificate: &[u8]) -> Vec<u8> {
    let proof = sha256(&[hash, &scramble[..20], &sha256(&[certificate])]);
    let proof = data_encoding::HEXUPPER.encode(&proof);
    [b"\0\0\0\x02\0\0\0\x41\x01", proof.as_bytes()].concat()
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}
