//! How a MariaDB server proves that its self-signed certificate is its own: "Zero-Configuration SSL", from 11.4 on.
//!
//! The OK packet at the end of a login over TLS bears in its text 0x01 and in hexadecimal digits
//!
//! ```text
//! SHA256(what the plugin stores of the password ‖ the scramble's 20 bytes ‖ SHA256(the server's certificate))
//! ```
//!
//! It takes the account's hash to make one, and a server makes it for its own certificate, so an impostor that relays the login
//! to the server has no proof for the certificate that it shows itself. This needs the password to stay secret until the OK, so
//! [`is_possible`] admits no plugin that would reveal it. It does not keep an impostor from relaying the login.
//!
//! Sources: MariaDB manual "Zero-Configuration SSL"; mariadb.org, "Mission Impossible: Zero-Configuration SSL";
//! plugins/auth/my_auth.c of MariaDB Connector/C.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXUPPER_PERMISSIVE;
use mysql_common::io::ParseBuf;
use mysql_common::packets::AuthPlugin;

use super::name;
use crate::mysql::error::Error;

/// The scramble's bytes that go into it.
const SCRAMBLE: usize = 20;

/// Whether a login by `plugin` with `password` can end in a proof, and reveals neither the password nor what a proof is made of.
pub(super) fn is_possible(plugin: &AuthPlugin<'_>, password: &str) -> Result<(), Error> {
    if !matches!(plugin, AuthPlugin::MysqlNativePassword | AuthPlugin::Ed25519 | AuthPlugin::Parsec) {
        let name: String = name(plugin).chars().take(64).filter(|c| !c.is_control()).collect();
        let why = format!(
            "the authentication plugin {name:?} cannot prove it: set `ca` (mysql_native_password, client_ed25519 and \
             parsec of MariaDB can)"
        );
        return Err(Error::Unproven(why.into()));
    }
    // The stored form of an empty password is no secret, so anything could make the proof.
    if password.is_empty() {
        return Err(Error::Unproven("an account without a password cannot prove it: set `ca`".into()));
    }
    Ok(())
}

/// Checks the proof in the OK packet `ok`. `hash` is what the server stores of the password.
pub(super) fn verify(ok: &[u8], hash: Option<&[u8]>, scramble: &[u8], certificate: &[u8; 32]) -> Result<(), Error> {
    let (Some(claimed), Some(hash), Some(scramble)) = (claimed(ok), hash, scramble.get(..SCRAMBLE)) else {
        let why = "the server sent no proof that it knows the password (MariaDB does from 11.4 on): set `ca`";
        return Err(Error::Unproven(why.into()));
    };
    let mut proof = Context::new(&SHA256);
    for part in [hash, scramble, certificate] {
        proof.update(part);
    }
    verify_slices_are_equal(proof.finish().as_ref(), &claimed)
        .map_err(|_| Error::Unproven("the server's proof is wrong: another host may be answering in its place".into()))
}

/// The proof in an OK packet.
///
/// Layout: MySQL "OK_Packet"; the text is length-encoded (seen on MariaDB 11.8.9), as it is with session tracking.
fn claimed(ok: &[u8]) -> Option<Vec<u8>> {
    let mut rest = ParseBuf(ok.get(1..)?);
    let _affected_rows = rest.checked_eat_lenenc_int()?;
    let _last_insert_id = rest.checked_eat_lenenc_int()?;
    let _status_and_warnings = rest.checked_eat(4)?;
    let text = rest.checked_eat_lenenc_str()?;
    HEXUPPER_PERMISSIVE.decode(text.strip_prefix(&[1])?).ok()
}
