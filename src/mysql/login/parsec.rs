//! MariaDB's plugin `parsec` (from 11.6 on): the client signs both sides' nonces with a key derived from its password.
//!
//! ```text
//! server: nonce (32)            client: empty packet
//! server: 'P', factor, salt     client: nonce (32), Ed25519 signature (64) of both nonces
//! ```
//!
//! The key's seed is PBKDF2-HMAC-SHA512 of the password, with 1024 << factor iterations.
//!
//! Sources: MariaDB manual "Authentication Plugin - PARSEC"; plugin/auth_parsec/server_parsec.cc of MariaDB 11.8, which takes the
//! factors 0 to 3 and makes accounts with 0.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::protocol;
use crate::mysql::error::Error;

/// Bytes of either side's nonce.
pub(super) const NONCE: usize = 32;

const SALT: usize = 18;
const SEED: usize = 32;

/// What a server stores of a password: 'P', factor, salt, public key.
pub(super) type StoredHash = [u8; 2 + SALT + SEED];

/// The largest factor that a server takes.
const MAX_FACTOR: u8 = 3;

/// The iterations that one login may still cost. They bound what a hostile server can make us compute, however often it
/// restarts the exchange: a few milliseconds.
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(1024 << MAX_FACTOR)
    }
}

/// The server's nonce out of its request to switch to this plugin.
pub(super) fn nonce(data: &[u8]) -> Result<[u8; NONCE], Error> {
    data.try_into().map_err(|_| protocol("authentication plugin parsec: a nonce of a wrong length"))
}

impl Budget {
    /// The answer to the server's salt, and what the server stores of the password.
    pub(super) fn answer(
        &mut self,
        password: &str,
        server_nonce: &[u8; NONCE],
        parameters: &[u8],
    ) -> Result<(Vec<u8>, StoredHash), Error> {
        let (factor, salt) = match parameters {
            [b'P', factor, salt @ ..] if salt.len() == SALT => (*factor, salt),
            [b'P', ..] | [] => return Err(protocol("authentication plugin parsec: a salt of a wrong length")),
            [_, ..] => return Err(Error::Unable("the account uses a form of parsec that is not supported".into())),
        };
        let iterations = if factor > MAX_FACTOR { None } else { Some(1024_u32 << factor) };
        let left = iterations.and_then(|iterations| self.0.checked_sub(iterations));
        let (Some(iterations), Some(left)) = (iterations.and_then(NonZeroU32::new), left) else {
            return Err(Error::Unable(
                format!("parsec is to derive a key with more than {} iterations", 1024 << MAX_FACTOR).into(),
            ));
        };
        self.0 = left;

        let mut seed = [0; SEED];
        pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, salt, password.as_bytes(), &mut seed);
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| broken())?;
        let mut own_nonce = [0; NONCE];
        rand::fill(&mut own_nonce).map_err(|_| broken())?;
        let signature = key.try_sign(&[*server_nonce, own_nonce].concat()).map_err(|_| broken())?;

        let mut hash = [0; 2 + SALT + SEED];
        let stored = parameters.iter().chain(key.public_key().as_ref());
        hash.iter_mut().zip(stored).for_each(|(to, from)| *to = *from);
        Ok(([&own_nonce, signature.as_ref()].concat(), hash))
    }
}

/// A failure of the cryptographic library.
fn broken() -> Error {
    Error::Unable("parsec: this host cannot make a key, a nonce or a signature".into())
}
