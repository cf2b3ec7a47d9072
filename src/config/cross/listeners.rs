//! Addresses that are listened on: taken by another, or led to by the service itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::diagnostic::Span;
use super::super::model::{HostPort, Listen, Place};
use super::super::source::quote;
use super::Whole;

/// An address that is listened on; one that nobody wrote has no place.
struct Taken {
    listen: Listen,
    place: Option<Span>,
    owner: String,
    /// The key that turns it off.
    key: &'static str,
}

/// Two listeners on one address: the second would not start.
pub(super) fn taken_twice(whole: &Whole<'_>) {
    let of_admin = |listen: Option<Listen>, place, key| {
        listen.map(|listen| Taken { listen, place, owner: "[admin]".to_owned(), key })
    };
    let admin = &whole.config.admin;
    let socket = admin.socket.as_ref().map(|socket| Listen::Unix(socket.path.as_path().into()));
    let mut taken: Vec<Taken> = whole
        .services()
        .flat_map(|(service, places)| {
            let owner = format!("service {}", quote(&service.name));
            let taken = move |(listen, span): (&Listen, &Span)| Taken {
                listen: listen.clone(),
                place: Some(*span),
                owner: owner.clone(),
                key: "accept",
            };
            service.accept.iter().zip(&places.accept).map(taken)
        })
        // The admin addresses that nobody wrote count as well, at the place of the one that takes them.
        .chain(of_admin(admin.listen.map(Listen::Tcp), whole.admin.listen, "listen"))
        .chain(of_admin(socket, whole.admin.socket, "socket"))
        .collect();
    taken.sort_by_key(|taken| taken.place.map(|span| span.start));

    let mut before: Vec<&Taken> = Vec::new();
    for this in &taken {
        let first = before.iter().find(|other| overlap(&other.listen, &this.listen));
        if let (Some(other), Some(span)) = (first, this.place) {
            let shown = |listen: &Listen| quote(&listen.to_string());
            let message = format!(
                "{} is taken already: {} listens on {}",
                shown(&this.listen),
                other.owner,
                shown(&other.listen)
            );
            let help = match other.place {
                Some(place) => format!("see {}", whole.doc.place(place)),
                None => {
                    format!("that is its default; give it another in [admin], or {} = \"\" to turn it off", other.key)
                }
            };
            whole.doc.error(span, message, Some(help));
        }
        before.push(this);
    }
}

/// Whether two listening sockets cannot both be had. `[::]` is all of IPv6 and nothing else: listeners are set so.
fn overlap(left: &Listen, right: &Listen) -> bool {
    let (Listen::Tcp(left), Listen::Tcp(right)) = (left, right) else { return left == right };
    let (a, b) = (left.ip(), right.ip());
    let same_family = a.is_ipv4() == b.is_ipv4();
    left.port() != 0
        && left.port() == right.port()
        && same_family
        && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// A service whose node is the service itself would connect to itself until it has no descriptors left.
pub(super) fn loops(whole: &Whole<'_>) {
    for (service, places) in whole.services() {
        for (place, name, span) in whole.targets(service, places) {
            for (listen, accept_span) in service.accept.iter().zip(&places.accept) {
                if leads_to(place, listen) {
                    let message = format!("{name} is service {} itself", quote(&service.name));
                    let place = whole.doc.place(*accept_span);
                    let help = format!("the service accepts on {}, {place}", quote(&listen.to_string()));
                    whole.doc.error(span, message, Some(help));
                }
            }
        }
    }
}

/// Whether a place is, beyond doubt, where a service listens.
fn leads_to(place: &Place, listen: &Listen) -> bool {
    match (place, listen) {
        (Place::Host(node), Listen::Tcp(accept)) => leads_to_address(node, *accept),
        (Place::Unix(node), Listen::Unix(accept)) => node == accept,
        _ => false,
    }
}

/// The same of TCP. Names other than `localhost` are not looked up.
fn leads_to_address(node: &HostPort, accept: SocketAddr) -> bool {
    let ip = if node.host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else if let Ok(ip) = node.host.parse::<IpAddr>() {
        ip
    } else {
        return false;
    };
    let everywhere = accept.ip().is_unspecified() && accept.is_ipv4() == ip.is_ipv4() && ip.is_loopback();
    node.port == accept.port() && (ip == accept.ip() || everywhere)
}
