//! Who may change something.
//!
//! | asked over | a change | `POST /api/notify` |
//! |---|---|---|
//! | the Unix socket | whoever could open it | the same |
//! | TCP | who shows the token | the same, and a configured node's own address |
//!
//! A browser never may: it sends what any page on the internet tells it to send, from inside the network.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};

use super::reply::{Reply, text};
use super::view::View;
use crate::config::{Endpoint, Secret};

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The Unix socket, opened by a process of this user.
    Socket(Option<u32>),
    /// A TCP connection from this address.
    Tcp(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(Some(user)) => write!(f, "socket, uid {user}"),
            Self::Socket(None) => f.write_str("socket"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// Why a request may not change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A web page made it.
    WebPage,
    /// It came over TCP, and there is no token that could be shown.
    ReadOnly,
    /// The token is missing or wrong.
    Token,
}

impl Refused {
    /// The answer.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::WebPage => {
                text(StatusCode::FORBIDDEN, "not from a web page: use `galeway node` or another HTTP client\n")
            }
            Self::ReadOnly => {
                text(StatusCode::FORBIDDEN, "read-only over TCP: set [admin] token_file or use the socket\n")
            }
            Self::Token => {
                let why = "this needs the token of [admin] token_file: Authorization: Bearer TOKEN\n";
                let mut reply = text(StatusCode::UNAUTHORIZED, why);
                let scheme = HeaderValue::from_static("Bearer realm=\"galeway\"");
                reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                reply
            }
        }
    }
}

/// Whether this request may change something.
pub(super) fn may_change(headers: &HeaderMap, peer: Peer, token: Option<&Secret>) -> Result<(), Refused> {
    no_browser(headers)?;
    match (peer, token) {
        (Peer::Socket(_), _) => Ok(()),
        (Peer::Tcp(_), None) => Err(Refused::ReadOnly),
        (Peer::Tcp(_), Some(token)) if shows(headers, token) => Ok(()),
        (Peer::Tcp(_), Some(_)) => Err(Refused::Token),
    }
}

/// Whether this request may make us look: besides those who may change something the nodes themselves.
pub(super) fn may_notify(headers: &HeaderMap, peer: Peer, view: &View) -> Result<(), Refused> {
    no_browser(headers)?;
    match peer {
        Peer::Tcp(address) if is_node(address, view) => Ok(()),
        _ => may_change(headers, peer, view.layout().token.as_ref()),
    }
}

/// Browsers say where a request that changes something comes from, and others have no reason to.
fn no_browser(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(Refused::WebPage);
    }
    Ok(())
}

/// In a time that does not depend on how much of a guess is right, nor on how long the token is.
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else { return false };
    let Some((scheme, shown)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return false;
    }
    let hash = |bytes: &[u8]| digest(&SHA256, bytes.trim_ascii());
    verify_slices_are_equal(hash(shown).as_ref(), hash(token.expose().as_bytes()).as_ref()).is_ok()
}

/// Whether a node has this very address now. Loopback is no exception: anybody on this host has it.
fn is_node(address: IpAddr, view: &View) -> bool {
    let address = address.to_canonical();
    let of_node = |found: &Endpoint| matches!(found, Endpoint::Tcp(found) if found.ip().to_canonical() == address);
    view.layout()
        .clusters
        .iter()
        .any(|cluster| cluster.pool.load().members.iter().any(|m| m.addresses.iter().any(of_node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Peer = Peer::Tcp(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)));

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn code(result: Result<(), Refused>) -> u16 {
        result.err().map_or(200, |refused| refused.reply().status().as_u16())
    }

    #[test]
    fn over_tcp_only_the_very_token_opens() {
        let token = Secret::new("open-sesame");
        for (sent, expected) in [
            ("Bearer open-sesame", 200),
            ("bearer open-sesame", 200),
            ("Bearer  open-sesame", 200),
            ("Bearer open-sesam", 401),
            ("Bearer open-sesame2", 401),
            ("Bearer OPEN-SESAME", 401),
            ("Bearer ", 401),
            ("Basic open-sesame", 401),
            ("open-sesame", 401),
            ("é", 401),
        ] {
            assert_eq!(code(may_change(&headers(&[("authorization", sent)]), FAR, Some(&token))), expected, "{sent}");
        }
        assert_eq!(code(may_change(&headers(&[]), FAR, Some(&token))), 401);
        let mut twice = headers(&[("authorization", "Bearer open-sesame")]);
        twice.append("authorization", HeaderValue::from_static("Bearer x"));
        assert_eq!(code(may_change(&twice, FAR, Some(&token))), 401);
    }

    #[test]
    fn a_refusal_without_a_token_says_how_to_ask() {
        let refused = may_change(&headers(&[]), FAR, Some(&Secret::new("x"))).unwrap_err().reply();
        assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"galeway\"");
    }

    #[test]
    fn without_a_token_tcp_is_read_only_and_the_socket_is_not() {
        let sent = headers(&[("authorization", "Bearer ")]);
        assert_eq!(code(may_change(&sent, FAR, None)), 403);
        assert_eq!(code(may_change(&headers(&[]), Peer::Socket(Some(0)), None)), 200);
    }

    #[test]
    fn a_web_page_may_not_even_with_the_token() {
        for page in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let sent = headers(&[("authorization", "Bearer x"), page]);
            assert_eq!(code(may_change(&sent, FAR, Some(&Secret::new("x")))), 403, "{page:?}");
            assert_eq!(code(may_change(&sent, Peer::Socket(None), None)), 403, "{page:?}");
        }
    }
}
