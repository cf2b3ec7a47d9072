//! What can go wrong between us and a server, told apart by what it means for the node.

use std::borrow::Cow;
use std::fmt;
use std::io;

use super::meaning::Meaning;
use crate::net::tls::HandshakeError;

/// How far a conversation had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Connected; the server's first packet is not complete.
    Greeting,
    /// Between the greeting and the server's OK, the TLS handshake included.
    Login,
    /// Logged in, nothing asked.
    Idle,
    /// A command is under way.
    Command,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "before the greeting",
            Self::Login => "during the login",
            Self::Idle => "while idle",
            Self::Command => "during a command",
        })
    }
}

/// Why a conversation with a server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke. An orderly end where none belongs is [`io::ErrorKind::UnexpectedEof`].
    #[error("{} {phase}", io_words(.source))]
    Io {
        /// When.
        phase: Phase,
        /// How.
        source: io::Error,
    },
    /// The server answered with an ERR packet: in place of the greeting, to the login, to a command, or as its
    /// last word on an idle connection.
    #[error("{error}")]
    Server {
        /// To what.
        phase: Phase,
        /// The packet.
        error: ServerError,
    },
    /// The server sent what the protocol does not allow here, or more than we take.
    #[error("protocol error {phase}: {what}")]
    Protocol {
        /// When.
        phase: Phase,
        /// What was wrong.
        what: Cow<'static, str>,
    },
    /// TLS was asked for and the server's greeting does not offer it.
    #[error("the server does not offer TLS")]
    TlsNotOffered,
    /// The TLS handshake failed: by our verdict on the certificate, by the server's alert, or by garbage.
    #[error("TLS: {0}")]
    Tls(#[from] HandshakeError),
    /// The account's authentication plugin is none of ours.
    #[error(
        "the account's plugin {name:?} is not supported{} \
         (supported: mysql_native_password, caching_sha2_password, sha256_password, client_ed25519, parsec, \
         mysql_clear_password over TLS)",
        decoy_words(.is_mysql)
    )]
    UnsupportedPlugin {
        /// The plugin.
        name: String,
        /// Whether the server is a MySQL.
        is_mysql: bool,
    },
    /// The account asks for what we cannot or will not do. It or our settings have to change; the server keeps to the
    /// protocol.
    #[error("{0}")]
    Unable(Cow<'static, str>),
    /// The server's certificate is self-signed, and the server has not proved that it knows the password.
    #[error("TLS: the server's certificate is self-signed, and {0}")]
    Unproven(Cow<'static, str>),
    /// The server asked for the password in clear and the connection is not encrypted.
    #[error("the server asks for the password in clear (mysql_clear_password), which is sent over TLS only")]
    ClearPasswordWithoutTls,
}

impl Error {
    /// Builds the error for a broken connection, giving rustls's own errors their own kind.
    pub(super) fn io(phase: Phase, source: io::Error) -> Self {
        match HandshakeError::from_io(source) {
            Ok(tls) => Self::Tls(tls),
            Err(source) => Self::Io { phase, source },
        }
    }

    pub(super) fn protocol(phase: Phase, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Protocol { phase, what: what.into() }
    }

    /// The server's ERR packet, if that is what it was.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Server { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether a table, or the right to it, is what is wrong, and not the node.
    pub fn is_of_the_table(&self) -> bool {
        self.server_error().is_some_and(|e| e.is_missing() || e.is_denied())
    }

    /// How far the conversation had come, where that is known.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Io { phase, .. } | Self::Server { phase, .. } | Self::Protocol { phase, .. } => Some(*phase),
            Self::TlsNotOffered
            | Self::Tls(_)
            | Self::UnsupportedPlugin { .. }
            | Self::Unable(_)
            | Self::Unproven(_)
            | Self::ClearPasswordWithoutTls => Some(Phase::Login),
        }
    }

    /// Whether trying again soon is pointless or harmful, because credentials, account or TLS settings must
    /// change first: the server refused the account, or we could not or would not authenticate to it.
    pub fn is_login_refused(&self) -> bool {
        match self {
            Self::Server { error, .. } => error.meaning() == Meaning::Account,
            Self::TlsNotOffered
            | Self::UnsupportedPlugin { .. }
            | Self::Unable(_)
            | Self::Unproven(_)
            | Self::ClearPasswordWithoutTls => true,
            Self::Tls(tls) => {
                matches!(tls, HandshakeError::Certificate(_) | HandshakeError::Alert(_) | HandshakeError::Version(_))
            }
            Self::Io { .. } | Self::Protocol { .. } => false,
        }
    }
}

/// An ERR packet as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The error code; 0 where the packet was too short to hold one.
    pub code: u16,
    /// The SQLSTATE, absent before capabilities are known.
    pub sqlstate: Option<[u8; 5]>,
    /// The text, lossy UTF-8 without control characters, at most [`ServerError::MAX_MESSAGE`] bytes; may be empty.
    pub message: String,
}

impl ServerError {
    /// The most of a text that is kept, in bytes: twice what a server writes (`MYSQL_ERRMSG_SIZE` is 512).
    pub const MAX_MESSAGE: usize = 1024;

    /// Reads an ERR packet's payload, from its 0xFF on. Every part behind the 0xFF may be missing: before the
    /// capabilities are known servers leave the SQLSTATE out, and a text may be empty.
    ///
    /// Layout: MySQL "ERR_Packet", MariaDB "ERR_Packet". mysql_common's reader insists on the SQLSTATE.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let rest = payload.strip_prefix(&[0xFF])?;
        let Some((code, rest)) = rest.split_first_chunk::<2>() else {
            return Some(Self { code: 0, sqlstate: None, message: String::new() });
        };
        let (sqlstate, text) = match rest.strip_prefix(b"#").and_then(<[u8]>::split_first_chunk::<5>) {
            Some((state, text)) if state.iter().all(u8::is_ascii_alphanumeric) => (Some(*state), text),
            _ => (None, rest),
        };
        let text = text.get(..Self::MAX_MESSAGE).unwrap_or(text);
        Some(Self { code: u16::from_le_bytes(*code), sqlstate, message: clean_text(text) })
    }

    /// `ER_NO_SUCH_TABLE`, `ER_BAD_DB_ERROR`, `ER_BAD_FIELD_ERROR`: what was asked for is not there, or another one.
    pub fn is_missing(&self) -> bool {
        matches!(self.code, 1146 | 1049 | 1054)
    }

    /// `ER_TABLEACCESS_DENIED_ERROR`, `ER_COLUMNACCESS_DENIED_ERROR`, `ER_DBACCESS_DENIED_ERROR`.
    pub fn is_denied(&self) -> bool {
        matches!(self.code, 1142 | 1143 | 1044)
    }

    /// What the code means to a check.
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self.code)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.code)?;
        if let Some(state) = self.sqlstate.as_ref().and_then(|s| std::str::from_utf8(s).ok()) {
            write!(f, " ({state})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// A server's text as it may go into a log line: lossy UTF-8, control characters as spaces.
pub(super) fn clean_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches('\0').chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// MySQL answers for an account that does not exist as if it did (`decoy_user` in its sql/auth/sql_authentication.cc).
fn decoy_words(is_mysql: &bool) -> &'static str {
    if *is_mysql { ", or the account does not exist: MySQL shows unknown accounts a plugin by chance" } else { "" }
}

fn io_words(e: &io::Error) -> Cow<'static, str> {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "connection closed by the server".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the server".into(),
        io::ErrorKind::BrokenPipe => "connection lost".into(),
        _ => format!("connection failed ({e})").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_err_packet_is_read_with_any_part_missing() {
        let full = ServerError::parse(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((full.code, full.sqlstate, full.message.as_str()), (1045, Some(*b"28000"), "Access denied"));
        assert_eq!(full.to_string(), "error 1045 (28000): Access denied");

        let stateless = ServerError::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((stateless.code, stateless.sqlstate), (1040, None));
        assert_eq!(stateless.to_string(), "error 1040: Too many connections");

        assert_eq!(ServerError::parse(b"\xff\x10\x04").unwrap().to_string(), "error 1040");
        assert_eq!(ServerError::parse(b"\xff\x10\x04#0800").unwrap().message, "#0800");
        assert_eq!(ServerError::parse(b"\xff\x10").unwrap().code, 0);
        assert_eq!(ServerError::parse(b"\xff").unwrap().code, 0);
        assert_eq!(ServerError::parse(b"\x00"), None);
        assert_eq!(ServerError::parse(b""), None);
    }

    #[test]
    fn a_text_cannot_forge_log_lines_or_fill_memory() {
        let e = ServerError::parse(b"\xff\x15\x04#28000a\nb\x1b[31m\xff\0").unwrap();
        assert_eq!(e.message, "a b [31m\u{fffd}");
        let mut long = b"\xff\x15\x04".to_vec();
        long.resize(1 << 20, b'x');
        assert_eq!(ServerError::parse(&long).unwrap().message.len(), ServerError::MAX_MESSAGE);
    }

    #[test]
    fn an_end_before_the_greeting_is_told_from_one_during_the_login() {
        let eof = |phase| Error::io(phase, io::ErrorKind::UnexpectedEof.into());
        assert_eq!(eof(Phase::Greeting).to_string(), "connection closed by the server before the greeting");
    }
}
