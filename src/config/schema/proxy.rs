//! The PROXY protocol on a service's accepting side, and the deadline of clients that have to speak first.

use std::time::Duration;

use ipnet::IpNet;

use super::super::diagnostic::Span;
use super::super::model::Listen;
use super::super::reader::{SOME_TIME, Table};
use super::super::words;
use super::networks::networks;

/// Whose header is required; `None` where nobody's is.
pub(super) fn proxy_protocol_from(table: &Table<'_>, accept: &[(Listen, Span)]) -> Option<Vec<IpNet>> {
    let doc = table.doc;
    let required = table.choice("proxy_protocol", false, words::PROXY_IN);
    let from = networks(table, "proxy_protocol_from");
    if !required.good {
        return None;
    }
    if !required.value {
        if let Some(span) = table.key_span("proxy_protocol_from") {
            let help = "no header is read then: write proxy_protocol = \"require\", or leave it out".to_owned();
            doc.error(span, "`proxy_protocol_from` is not looked at without proxy_protocol = \"require\"", Some(help));
        }
        return None;
    }
    let over_tcp = accept.iter().any(|(listen, _)| matches!(listen, Listen::Tcp(_)));
    if over_tcp && from.good && from.value.is_empty() {
        let help = "write proxy_protocol_from = [\"10.0.0.5\"], the balancers in front of this one: anybody else could \
                    claim to be any client";
        match from.span {
            Some(span) => doc.error(span, "nobody may connect over TCP: the list is empty", Some(help.to_owned())),
            None => {
                let message = "proxy_protocol = \"require\" needs `proxy_protocol_from`";
                doc.missing(Some(required.span.unwrap_or(table.span)), message, help);
            }
        }
    }
    Some(from.value)
}

/// How long a client that has to speak first may take. Where none has to, only the default may be written down.
pub(super) fn first_byte_timeout(table: &Table<'_>, default: Duration, speaks_first: bool) -> Duration {
    let time = table.duration("first_byte_timeout", default, SOME_TIME);
    if let Some(span) = time.span.filter(|_| time.value != default && !speaks_first) {
        let help = "without `tls` or proxy_protocol = \"require\" no client has to speak first".to_owned();
        table.doc.warning(span, "`first_byte_timeout` has no effect here", Some(help));
    }
    time.value
}
