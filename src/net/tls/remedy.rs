//! What to do about a fault, by the names that the user's file has for it.

use super::judge::Of;
use super::names::{Fallback, Names};
use crate::config::Dialect;

/// The option that names revocation lists.
pub(super) fn crl(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "`crl` is set",
        Dialect::Stunnel => "CRLfile or CRLpath is set",
    }
}

/// What stands behind "these lists are not looked at".
pub(super) fn crl_of(dialect: Dialect, directory: &str) -> String {
    match dialect {
        Dialect::Toml => format!("write crl = {directory:?}"),
        Dialect::Stunnel => "write CRLpath = the same directory".into(),
    }
}

/// To be let in by a name. `names`: those of the certificate that count, at least one.
pub(super) fn unlisted(dialect: Dialect, of: Of, names: &Names, fallback: Fallback<'_>) -> String {
    let list = names.list(fallback);
    match (dialect, of) {
        (Dialect::Toml, Of::Clients) => format!("none of allow_names is its name; to let it in add one of {list:?}"),
        (Dialect::Toml, Of::Servers) => format!("none of check_names is its name; to let it in add one of {list:?}"),
        (Dialect::Stunnel, _) => {
            let checks = names.checks(fallback);
            let write = if checks.is_empty() { "checkHost = NAME".into() } else { checks.join(" or ") };
            format!("it is for {}, which no check names; to let it in write {write}", list.join(", "))
        }
    }
}

/// The lists of names, for a certificate that has no name.
pub(super) fn lists(dialect: Dialect, of: Of) -> &'static str {
    match (dialect, of) {
        (Dialect::Toml, Of::Clients) => "none of allow_names",
        (Dialect::Toml, Of::Servers) => "none of check_names",
        (Dialect::Stunnel, _) => "none of checkHost, checkIP and checkEmail",
    }
}

/// For a client that has to show a certificate and does not.
pub(super) fn no_certificate(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => {
            "the client showed no certificate, and one is required (client_auth = \"require\"): give it one (cert, key)"
        }
        Dialect::Stunnel => "the client showed no certificate, and one is required: give it one (cert, key)",
    }
}

/// For a peer that does not take TLS 1.3.
pub(super) fn older(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set min_version = \"1.2\"",
        Dialect::Stunnel => "write sslVersionMin = TLSv1.2",
    }
}

/// For a peer that does not take TLS 1.2.
pub(super) fn newer(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set max_version = \"1.3\"",
        Dialect::Stunnel => "write sslVersionMax = TLSv1.3",
    }
}

/// For a server that has no service of the name it is asked for.
pub(super) fn other_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set server_name",
        Dialect::Stunnel => "write sni = NAME",
    }
}

/// For a client that sends a header of the PROXY protocol.
pub(super) fn proxy(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set proxy_protocol = \"require\" to take it",
        Dialect::Stunnel => "no option of a stunnel.conf takes it: have the client send none",
    }
}

/// For a key in PEM that has a passphrase.
pub(super) fn encrypted(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set passphrase_file, or decrypt it with `openssl pkey`",
        Dialect::Stunnel => "galeway asks nobody for a passphrase, decrypt it with `openssl pkey`",
    }
}

/// For PKCS#12 that has a passphrase.
pub(super) fn passphrase(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Toml => "set passphrase_file",
        Dialect::Stunnel => "galeway asks nobody for it, so take it off",
    }
}
