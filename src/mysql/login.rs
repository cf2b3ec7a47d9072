//! The login, without I/O: what we answer to a greeting and to each packet that follows.
//!
//! ```text
//! greeting ─► (SSLRequest, TLS) ─► HandshakeResponse ─► OK | ERR
//!                                        │  AuthSwitchRequest: answer its plugin's challenge, again OK | ERR
//!                                        └  more data for the plugin: a key, a salt, a verdict on the cache
//! ```
//!
//! Sources: MySQL "Connection Phase", "Caching_sha2_password information", "SHA-256 Pluggable Authentication"; MariaDB
//! "Connecting", "Authentication Plugin - ed25519", "Authentication Plugin - PARSEC".

mod parsec;
mod proof;

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin, Context, Response};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakeResponse, SslRequest};
use mysql_common::proto::{MyDeserialize, MySerialize};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use super::error::{Error, Phase, ServerError};
use super::framing::MAX_PACKET;
use super::greeting::Greeting;

/// utf8mb4_general_ci, which every server since 5.5.3 knows.
const UTF8MB4_GENERAL_CI: u8 = 45;

/// More packets than any login has: a server cannot keep us busy.
const MAX_STEPS: u8 = 32;

/// Who logs in. Its debug form hides the password.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The account's name.
    pub user: &'a str,
    /// Its password; empty for none.
    pub password: &'a str,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"***").finish()
    }
}

/// What to do after a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this, then read on.
    Send(Vec<u8>),
    /// Read on.
    Wait,
    /// The server said OK.
    LoggedIn,
}

/// What protects the connection that a login runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing.
    Clear,
    /// It does not leave this host: a Unix socket.
    Local,
    /// TLS, to a server whose certificate is as the settings want it.
    Tls,
    /// TLS, to a server with this self-signed certificate (its SHA-256). Until the server has proved that it knows the
    /// password, this is as good as a connection to an impostor.
    SelfSigned([u8; 32]),
}

/// Where the plugin's exchange stands.
#[derive(Debug)]
enum Exchange {
    Plugin(AuthProc),
    /// The server's RSA key was asked for. It never reaches mysql_common, whose reader of keys panics on hostile
    /// ones.
    AwaitKey,
    /// parsec's salt was requested. Holds the server's nonce.
    AwaitSalt([u8; parsec::NONCE]),
    Done,
}

/// A login under way.
pub(super) struct Login<'a> {
    credentials: Credentials<'a>,
    capabilities: CapabilityFlags,
    link: Link,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
    exchange: Exchange,
    steps: u8,
    /// Whether the server is a MySQL and not a MariaDB.
    is_mysql: bool,
    /// The nonce of the greeting, or of mysql_native_password's own where the server sent a second one: what a
    /// server's proof is made with.
    scramble: Vec<u8>,
    parsec: parsec::Budget,
    /// What a server stores of the password for parsec.
    parsec_hash: Option<parsec::StoredHash>,
}

impl<'a> Login<'a> {
    /// Prepares the answer to `greeting`. `link` is what the connection will be by the time the HandshakeResponse is
    /// sent; see [`Self::set_link`].
    pub(super) fn new(greeting: &Greeting, credentials: Credentials<'a>, link: Link) -> Result<Self, Error> {
        use CapabilityFlags as C;
        let tls = matches!(link, Link::Tls | Link::SelfSigned(_));
        let needed = C::CLIENT_PROTOCOL_41 | C::CLIENT_SECURE_CONNECTION;
        if !greeting.capabilities.contains(needed) {
            return Err(protocol("the server is too old: it does not speak the protocol of MySQL 4.1"));
        }
        if tls && !greeting.capabilities.contains(C::CLIENT_SSL) {
            return Err(Error::TlsNotOffered);
        }
        // Without CLIENT_DEPRECATE_EOF, session tracking, LOCAL INFILE, multiple results and metadata extensions:
        // every server then speaks the one plain form of answer.
        let mut capabilities = needed
            | C::CLIENT_LONG_PASSWORD
            | C::CLIENT_LONG_FLAG
            | C::CLIENT_TRANSACTIONS
            | C::CLIENT_PLUGIN_AUTH
            | C::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
            | C::CLIENT_CONNECT_ATTRS;
        if tls {
            capabilities |= C::CLIENT_SSL;
        }
        // The greeting names the server's default plugin, not the account's. Where we cannot or must not answer
        // that one unasked we answer as the oldest, and the server switches to what the account needs.
        let plugin = match greeting.plugin.as_deref().map(AuthPlugin::from_bytes) {
            Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
            Some(AuthPlugin::Ed25519) if greeting.nonce.len() == 32 => AuthPlugin::Ed25519,
            _ => AuthPlugin::MysqlNativePassword,
        };
        Ok(Self {
            credentials,
            capabilities: capabilities & greeting.capabilities,
            link,
            plugin,
            nonce: greeting.nonce.clone(),
            exchange: Exchange::Done,
            steps: 0,
            is_mysql: !greeting.is_mariadb,
            scramble: greeting.nonce.clone(),
            parsec: parsec::Budget::default(),
            parsec_hash: None,
        })
    }

    /// What the TLS handshake has shown of the connection.
    pub(super) fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// The packet that starts TLS: the head of a HandshakeResponse.
    pub(super) fn ssl_request(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        SslRequest::new(self.capabilities, max_packet(), UTF8MB4_GENERAL_CI).serialize(&mut packet);
        packet
    }

    /// The HandshakeResponse.
    pub(super) fn response(&mut self) -> Result<Vec<u8>, Error> {
        let answer = match self.challenge()? {
            Step::Send(answer) => answer,
            Step::Wait | Step::LoggedIn => Vec::new(),
        };
        let has = |flag| self.capabilities.contains(flag);
        // Seen in performance_schema.session_connect_attrs: who this connection is.
        let attributes = has(CapabilityFlags::CLIENT_CONNECT_ATTRS).then(|| {
            let pairs = [
                ("_client_name", "galeway".to_owned()),
                ("_client_version", env!("CARGO_PKG_VERSION").to_owned()),
                ("_pid", std::process::id().to_string()),
                ("program_name", "galeway".to_owned()),
            ];
            pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<HashMap<_, _>>()
        });
        let response = HandshakeResponse::new(
            Some(answer),
            // Only decides between utf8mb4 and utf8mb3.
            (5, 5, 3),
            Some(self.credentials.user.as_bytes()),
            None::<Vec<u8>>,
            has(CapabilityFlags::CLIENT_PLUGIN_AUTH).then(|| self.plugin.borrow()),
            self.capabilities,
            attributes,
            max_packet(),
        );
        let mut packet = Vec::new();
        response.serialize(&mut packet);
        Ok(packet)
    }

    /// What to do after the server's next packet.
    pub(super) fn step(&mut self, packet: &[u8]) -> Result<Step, Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(protocol("the login does not come to an end"));
        }
        match packet.split_first() {
            Some((0x00, _)) => self.accept(packet),
            Some((0xFF, _)) => Err(ServerError::parse(packet)
                .map_or_else(|| protocol("broken error packet"), |error| Error::Server { phase: Phase::Login, error })),
            Some((0xFE, [])) => Err(self.unsupported("mysql_old_password")),
            Some((0xFE, _)) => {
                let request = AuthSwitchRequest::deserialize((), &mut ParseBuf(packet))
                    .map_err(|_| protocol("malformed request to switch the authentication plugin"))?;
                self.plugin = request.auth_plugin().into_owned();
                self.nonce = request.plugin_data().to_vec();
                if self.plugin == AuthPlugin::MysqlNativePassword {
                    self.scramble = self.nonce.clone();
                }
                self.challenge()
            }
            Some((0x01, data)) => self.more_data(data),
            Some((0x02, _)) => Err(Error::Unable("the account needs a second authentication factor".into())),
            // MySQL, and MariaDB 11.8.9, put 0x01 before a plugin's data. Other versions of MariaDB do so only where the
            // data could be mistaken for another packet (server_mpvio_write_packet in sql/sql_acl.cc).
            Some(_) => self.more_data(packet),
            None => Err(protocol("empty packet")),
        }
    }

    /// The server said OK.
    fn accept(&self, packet: &[u8]) -> Result<Step, Error> {
        if let Link::SelfSigned(certificate) = &self.link {
            let hash = match (&self.plugin, &self.parsec_hash) {
                (AuthPlugin::Parsec, hash) => hash.map(|hash| hash.to_vec()),
                (plugin, _) => {
                    let context = Secrets { password: self.credentials.password, nonce: &self.nonce, link: self.link };
                    AuthProc::init(plugin).ok().and_then(|proc| proc.password_hash(context))
                }
            };
            proof::verify(packet, hash.as_deref(), &self.scramble, certificate)?;
        }
        Ok(Step::LoggedIn)
    }

    /// Answers the challenge in `nonce` as `plugin` does.
    fn challenge(&mut self) -> Result<Step, Error> {
        if matches!(self.link, Link::SelfSigned(_)) {
            proof::is_possible(&self.plugin, self.credentials.password)?;
        }
        match &self.plugin {
            AuthPlugin::MysqlNativePassword
            | AuthPlugin::CachingSha2Password
            | AuthPlugin::Sha256Password
            | AuthPlugin::Ed25519 => {}
            AuthPlugin::Parsec => {
                let nonce = parsec::nonce(&self.nonce)?;
                self.exchange = Exchange::AwaitSalt(nonce);
                // An empty packet asks for the salt.
                return Ok(Step::Send(Vec::new()));
            }
            AuthPlugin::MysqlClearPassword if self.link == Link::Tls => {}
            AuthPlugin::MysqlClearPassword => return Err(Error::ClearPasswordWithoutTls),
            other => {
                let name = other.as_bytes();
                return Err(self.unsupported(&super::error::clean_text(name.get(..64).unwrap_or(name))));
            }
        }
        let proc = AuthProc::init(&self.plugin).map_err(|e| self.unsupported(&e.to_string()))?;
        self.exchange = Exchange::Plugin(proc);
        let nonce = self.nonce.clone();
        // An answer is sent even where it is empty: no password.
        Ok(match self.run_plugin(&nonce)? {
            Step::Wait => Step::Send(Vec::new()),
            step => step,
        })
    }

    fn unsupported(&self, name: &str) -> Error {
        Error::UnsupportedPlugin { name: name.to_owned(), is_mysql: self.is_mysql }
    }

    fn more_data(&mut self, data: &[u8]) -> Result<Step, Error> {
        match (&self.exchange, &self.plugin) {
            (Exchange::AwaitKey, _) => {
                self.exchange = Exchange::Done;
                Ok(Step::Send(self.encrypt_password(data)?))
            }
            (Exchange::AwaitSalt(nonce), _) => {
                let (answer, hash) = self.parsec.answer(self.credentials.password, nonce, data)?;
                self.exchange = Exchange::Done;
                self.parsec_hash = Some(hash);
                Ok(Step::Send(answer))
            }
            (Exchange::Plugin(_), AuthPlugin::CachingSha2Password) => self.run_plugin(data),
            _ => Err(protocol("authentication data that the plugin does not know")),
        }
    }

    fn run_plugin(&mut self, challenge: &[u8]) -> Result<Step, Error> {
        let context = Secrets { password: self.credentials.password, nonce: &self.nonce, link: self.link };
        let Exchange::Plugin(proc) = &mut self.exchange else {
            return Err(protocol("authentication data after the end"));
        };
        match proc.run(context, challenge) {
            Ok(Response::Next { packet }) => {
                // The request for the server's key is the only answer of one byte: 0x01 of sha256_password, 0x02 of
                // caching_sha2_password.
                if matches!(packet.as_deref(), Some([0x01 | 0x02])) {
                    self.exchange = Exchange::AwaitKey;
                }
                Ok(packet.map_or(Step::Wait, Step::Send))
            }
            Ok(Response::Last { packet }) => {
                self.exchange = Exchange::Done;
                Ok(packet.map_or(Step::Wait, Step::Send))
            }
            Err(e) => Err(protocol(format!("authentication plugin {}: {e}", name(&self.plugin)))),
        }
    }

    /// The password with its final NUL, XORed with the nonce, under the server's RSA key with OAEP.
    ///
    /// Form: MySQL "Caching_sha2_password information", full authentication without a secure channel; sha256_password
    /// has the same.
    fn encrypt_password(&self, pem: &[u8]) -> Result<Vec<u8>, Error> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| protocol("the server's RSA key is not a public key in PEM form"))?;
        let key = PublicEncryptingKey::from_der(key.as_ref())
            .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into))
            .map_err(unusable_key)?;
        let plain: Vec<u8> =
            self.credentials.password.bytes().chain([0]).zip(self.nonce.iter().cycle()).map(|(p, n)| p ^ n).collect();
        let most = key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1);
        if plain.len() > most {
            return Err(Error::Unable(
                format!(
                    "the password is too long to be sent without TLS: the server's RSA key takes {} bytes of it; \
                     set `tls`",
                    most.saturating_sub(1)
                )
                .into(),
            ));
        }
        let mut encrypted = vec![0; key.ciphertext_size()];
        let encrypted = key
            .encrypt(&OAEP_SHA1_MGF1SHA1, &plain, &mut encrypted, None)
            .map_err(|_| protocol("the server's RSA key is unusable"))?;
        Ok(encrypted.to_vec())
    }
}

/// A key of another size than those that are taken is no error of the server's.
fn unusable_key(e: KeyRejected) -> Error {
    match e.description_() {
        "TooSmall" | "TooLarge" => Error::Unable(
            "the server's RSA key is not of 2048 to 8192 bits, so the password is not sent without TLS: set `tls`"
                .into(),
        ),
        _ => protocol(format!("the server's RSA key is unusable ({e})")),
    }
}

fn name(plugin: &AuthPlugin<'_>) -> String {
    String::from_utf8_lossy(plugin.as_bytes()).into_owned()
}

fn max_packet() -> u32 {
    u32::try_from(MAX_PACKET).unwrap_or(u32::MAX)
}

fn protocol(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::protocol(Phase::Login, what)
}

/// What a plugin of mysql_common may know.
struct Secrets<'a> {
    password: &'a str,
    nonce: &'a [u8],
    link: Link,
}

impl Context for Secrets<'_> {
    fn pass(&self) -> &[u8] {
        self.password.as_bytes()
    }
    fn is_ipc_transport(&self) -> bool {
        self.link == Link::Local
    }
    fn is_tls_transport(&self) -> bool {
        self.link == Link::Tls
    }
    fn scramble(&self) -> &[u8] {
        self.nonce
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests;
