//! Where a service listens, and how.

use std::net::SocketAddr;

use super::super::address::parse_local;
use super::super::diagnostic::Span;
use super::super::model::{Listen, SocketAccess};
use super::super::place::{can_hold_socket, parse_listen};
use super::super::reader::{Table, Value};
use super::super::source::quote;

/// The addresses to listen on, each with its place.
pub(super) fn accept(name: &str, table: &Table<'_>) -> Vec<(Listen, Span)> {
    let help = || "write accept = \"IP:PORT\"; \"0.0.0.0:3306\" is all of IPv4".to_owned();
    let Some(value) = table.get("accept") else {
        table.doc.missing(Some(table.span), format!("service {} has no `accept`", quote(name)), help());
        return Vec::new();
    };
    let Some(array) = value.array() else {
        let expected = "an address or a list of addresses, \"IP:PORT\", \"unix:/path\" or \"fd:NAME\"";
        return listen(value, expected).into_iter().collect();
    };
    if array.is_empty() {
        table.doc.error(value.span, format!("service {} accepts on no address", quote(name)), Some(help()));
    }
    let expected = "an address, \"IP:PORT\", \"unix:/path\" or \"fd:NAME\"";
    value.items(array).filter_map(|item| listen(item, expected)).collect()
}

fn listen(value: Value<'_>, expected: &str) -> Option<(Listen, Span)> {
    let text = value.string(expected)?;
    match parse_listen(text, value.doc.directory()) {
        Ok(listen) => {
            if let Listen::Unix(path) = &listen
                && let Err(malformed) = can_hold_socket(path, true)
            {
                value.doc.malformed(value.span, malformed);
            }
            Some((listen, value.span))
        }
        Err(malformed) => {
            value.doc.malformed(value.span, malformed);
            None
        }
    }
}

/// An address that is TCP and nothing else.
pub(super) fn local(value: &Value<'_>, expected: &str) -> Option<(SocketAddr, Span)> {
    match parse_local(value.string(expected)?) {
        Ok(address) => Some((address, value.span)),
        Err(malformed) => {
            value.doc.malformed(value.span, malformed);
            None
        }
    }
}

/// Whether addresses are bound that are not there yet.
pub(super) fn freebind(table: &Table<'_>, accept: &[(Listen, Span)]) -> bool {
    let freebind = table.boolean("freebind", false);
    let tcp = accept.iter().any(|(listen, _)| matches!(listen, Listen::Tcp(_)));
    if let Some(span) = table.key_span("freebind").filter(|_| freebind && !tcp && !accept.is_empty()) {
        let help = "it is about addresses that Galeway binds itself; leave it out".to_owned();
        table.doc.error(span, "`freebind` is not looked at: this service accepts on no \"IP:PORT\"", Some(help));
    }
    freebind
}

/// Who may open the service's Unix sockets. Where there are none, only the default may be written down.
pub(super) fn socket(table: &Table<'_>, accept: &[(Listen, Span)]) -> SocketAccess {
    let default = SocketAccess::default();
    let mode = table.get("socket_mode").and_then(|value| mode(&value)).unwrap_or(default.mode);
    let (user, group) = match table.get("socket_owner") {
        Some(value) => owner(&value).unwrap_or_default(),
        None => Default::default(),
    };
    let unix = accept.iter().any(|(listen, _)| matches!(listen, Listen::Unix(_)));
    for (key, changed) in [("socket_mode", mode != default.mode), ("socket_owner", user.is_some() || group.is_some())] {
        if let Some(span) = table.key_span(key).filter(|_| changed && !unix && !accept.is_empty()) {
            let help = "it is about the file of a socket that Galeway makes: accept = \"unix:/path\"".to_owned();
            table.doc.error(
                span,
                format!("`{key}` is not looked at: this service accepts on no \"unix:\""),
                Some(help),
            );
        }
    }
    SocketAccess { mode, user: user.map(Into::into), group: group.map(Into::into) }
}

/// `0660`: octal, and no more than who may read, write and execute.
fn mode(value: &Value<'_>) -> Option<u32> {
    let text = value.string("a mode in octal such as \"0660\"")?;
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        let help = "write it in octal, \"0000\" to \"0777\"; whoever may write to the file may connect".to_owned();
        value.doc.error(value.span, format!("`socket_mode` cannot be {}", quote(text)), Some(help));
    }
    mode
}

/// `USER:GROUP`, either part empty. Whether they exist is a question of the host, and asked when the socket is made.
fn owner(value: &Value<'_>) -> Option<(Option<String>, Option<String>)> {
    let text = value.string("a user and a group, \"USER:GROUP\"")?;
    let fits = |part: &str| !part.contains(|char: char| char.is_control() || char.is_whitespace() || char == ':');
    let parts = text.split_once(':').filter(|(user, group)| fits(user) && fits(group) && text != ":");
    let Some((user, group)) = parts else {
        let help = "write \"USER:GROUP\", \"USER:\" or \":GROUP\"; names or numbers".to_owned();
        value.doc.error(value.span, format!("`socket_owner` cannot be {}", quote(text)), Some(help));
        return None;
    };
    let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    Some((part(user), part(group)))
}
