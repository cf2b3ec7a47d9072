//! From a node's place to what can be connected to.

use std::net::{IpAddr, SocketAddr};

use super::lookup::{Lookup, LookupError};
use super::probe::unreachable;
use crate::config::{Endpoint, Place};
use crate::galera::observation::{Check, Unreachable};

/// Every address of a place, in the resolver's order; at least one. Looked up anew each time, unless it is an address
/// itself. `port`: another one than its own.
pub(super) async fn resolve(place: &Place, port: Option<u16>, lookup: &Lookup) -> Result<Vec<Endpoint>, Check> {
    let host = match place {
        Place::Unix(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
        Place::Host(host) => host,
    };
    match lookup.in_order(&host.host).await {
        Ok(ips) => {
            Ok(ips.into_iter().map(|ip| Endpoint::Tcp(SocketAddr::new(ip, port.unwrap_or(host.port)))).collect())
        }
        Err(LookupError::NotMade(why)) => Err(Check::NotMade(format!("name resolution: {why}"))),
        Err(e) => Err(unreachable(Unreachable::CannotResolve(e.to_string()))),
    }
}

/// Where a place is that need not be looked up.
pub(super) fn literal(place: &Place) -> Option<Endpoint> {
    match place {
        Place::Unix(path) => Some(Endpoint::Unix(path.clone())),
        Place::Host(host) => Some(Endpoint::Tcp(SocketAddr::new(host.host.parse::<IpAddr>().ok()?, host.port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let place = Place::Host("[::1]:3307".parse().unwrap());
        let found = resolve(&place, None, &Lookup::system()).await.unwrap();
        assert_eq!(found, [Endpoint::Tcp("[::1]:3307".parse().unwrap())]);
        assert_eq!(literal(&place), found.first().cloned());
        let found = resolve(&place, Some(3308), &Lookup::system()).await.unwrap();
        assert_eq!(found, [Endpoint::Tcp("[::1]:3308".parse().unwrap())]);
        assert_eq!(literal(&Place::Host("db1:3306".parse().unwrap())), None);
    }
}
