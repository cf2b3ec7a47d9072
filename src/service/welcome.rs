//! Who a client is, and whether it may come in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tokio::time::{Instant, timeout_at};

use super::Service;
use super::sources::Source;
use crate::config::Service as Settings;
use crate::net::proxy::{HeaderError, Said, read_header};
use crate::net::{Peer, Stream, canonical};
use crate::telemetry::Rejection;

/// Who a connection speaks for.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Who connected.
    pub(super) peer: Peer,
    /// For whom it says that it speaks. Boxed: it is rare, and a session holds it as long as it lives.
    said: Option<Box<Said>>,
}

impl Client {
    /// A client that has come by itself.
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, said: None }
    }

    /// Its address; `None` of one that came over a Unix socket, here or at whoever sent it on.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.said.as_deref() {
            Some(Said::Tcp { source, .. }) => Some(source.ip().to_canonical()),
            Some(Said::Unix) => None,
            None | Some(Said::Nobody) => self.peer.ip(),
        }
    }

    /// Where it comes from, for connections in its name; `None` over Unix sockets.
    pub(super) fn ip_and_port(&self) -> Option<SocketAddr> {
        match (self.said.as_deref(), self.peer) {
            (Some(Said::Tcp { source, .. }), _) => Some(canonical(*source)),
            (None, Peer::Tcp(source)) => Some(canonical(source)),
            _ => None,
        }
    }

    /// Its own two addresses, for a header of ours: where it comes from, and where it connected to. `None` where there are
    /// none, and then the header speaks for nobody.
    pub(super) fn addresses(&self, stream: &Stream) -> Option<(SocketAddr, SocketAddr)> {
        match (self.said.as_deref(), self.peer) {
            (Some(Said::Tcp { source, destination }), _) => Some((*source, *destination)),
            (None, Peer::Tcp(source)) => Some((source, stream.tcp()?.local_addr().ok()?)),
            _ => None,
        }
    }

    /// Who sent it on, where it did not come by itself.
    pub(super) fn via(&self) -> Option<Peer> {
        matches!(self.said.as_deref(), Some(Said::Tcp { .. } | Said::Unix)).then_some(self.peer)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said.as_deref() {
            Some(Said::Tcp { source, .. }) => canonical(*source).fmt(f),
            Some(Said::Unix) => f.write_str("unix"),
            None | Some(Said::Nobody) => self.peer.fmt(f),
        }
    }
}

/// A client that does not come in.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) rejection: Rejection,
    /// Why, where the word does not tell.
    pub(super) why: String,
}

impl From<Rejection> for TurnedAway {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, why: String::new() }
    }
}

/// Finds out who the client is, and lets it in. Who it is stands in `client` as soon as that is known, of one that is
/// turned away too: the log has to tell.
pub(super) async fn welcome(
    service: &Service,
    settings: &Settings,
    stream: &mut Stream,
    client: &mut Client,
    accepted: Instant,
) -> Result<Option<Box<Source>>, TurnedAway> {
    if settings.proxy_protocol_from.is_some() {
        *client = Box::pin(introduced(service, settings, stream, client.peer, accepted)).await?;
    }
    let ip = client.ip();
    // Whoever sends headers may also connect for itself, as its health checks do: it was let in by proxy_protocol_from. But
    // who is to be kept out is kept out whatever he says.
    let is_allowed = matches!(client.said.as_deref(), Some(Said::Nobody)) || ip.is_none_or(|ip| allows(settings, ip));
    let is_denied = ip.into_iter().chain(client.peer.ip()).any(|ip| denies(settings, ip));
    if !is_allowed || is_denied {
        return Err(TurnedAway { rejection: Rejection::Denied, why: "by allow or deny".to_owned() });
    }
    let source = match (settings.max_connections_per_source, ip) {
        (Some(most), Some(ip)) => {
            let source = service.house.sources.enter(ip, most).ok_or(Rejection::TooManyOfSource)?;
            // Boxed, as above.
            Some(Box::new(source))
        }
        _ => None,
    };
    Ok(source)
}

/// Reads the header that tells who the client is.
async fn introduced(
    service: &Service,
    settings: &Settings,
    stream: &mut Stream,
    peer: Peer,
    accepted: Instant,
) -> Result<Client, TurnedAway> {
    let trusted = settings.proxy_protocol_from.as_deref().unwrap_or_default();
    // Whoever may open a Unix socket is trusted by that.
    if peer.ip().is_some_and(|ip| !trusted.iter().any(|net| net.contains(&ip))) {
        return Err(TurnedAway { rejection: Rejection::Denied, why: "not in proxy_protocol_from".to_owned() });
    }
    // They hold no slot yet: without a bound of their own those that send nothing would have none.
    let _nameless = service.house.nameless.try_take().ok_or(Rejection::TooManyConnections)?;
    let mut stopping = service.stopping.clone();
    let said = tokio::select! {
        said = timeout_at(accepted + settings.first_byte_timeout, read_header(stream)) => said,
        _ = stopping.wait_for(|stop| *stop) => return Err(Rejection::Shutdown.into()),
    };
    match said {
        Ok(Ok(said)) => Ok(Client { peer, said: Some(Box::new(said)) }),
        Ok(Err(HeaderError::Closed { .. } | HeaderError::Io(_))) => Err(Rejection::ClientGone.into()),
        Ok(Err(e)) => Err(TurnedAway { rejection: Rejection::BadHeader, why: e.to_string() }),
        Err(_elapsed) => Err(Rejection::SlowHeader.into()),
    }
}

fn allows(settings: &Settings, ip: IpAddr) -> bool {
    settings.allow.is_empty() || settings.allow.iter().any(|net| net.contains(&ip))
}

fn denies(settings: &Settings, ip: IpAddr) -> bool {
    settings.deny.iter().any(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Service as Settings, Target};

    #[test]
    fn who_is_allowed_comes_in_unless_denied() {
        let mut settings = Settings::new("s", Vec::new(), Target::cluster("c"));
        let admits = |settings: &Settings, ip: &str| {
            let ip = ip.parse::<IpAddr>().unwrap().to_canonical();
            allows(settings, ip) && !denies(settings, ip)
        };
        assert!(admits(&settings, "192.0.2.1"), "nobody is told apart");
        settings.deny = vec!["10.1.0.0/16".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        assert!(admits(&settings, "10.2.0.1") && !admits(&settings, "10.1.2.3") && !admits(&settings, "2001:db8:1::7"));
        settings.allow = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(admits(&settings, "10.2.0.1") && !admits(&settings, "10.1.2.3") && !admits(&settings, "192.0.2.1"));
        assert!(!admits(&settings, "2001:db8::7"), "only what is listed");
        assert!(admits(&settings, "::ffff:10.2.0.1"), "an IPv4 client of an IPv6 socket");
    }
}
