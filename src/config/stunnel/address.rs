//! Addresses as stunnel reads them: `[HOST:]PORT` split at the last colon, and paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::super::address::Malformed;
use super::super::model::{HostPort, Listen, Place};
use super::super::place::short_enough;
use super::super::ports;
use super::super::source::quote;
use super::load::World;

/// What an address says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written<'a> {
    /// A Unix socket.
    Path(&'a str),
    /// A host, which may be left out, and a port.
    Host(Option<&'a str>, u16),
}

/// Where to listen: without a host on all of IPv4 and all of IPv6, with a name on each of its addresses.
pub(super) fn accept(text: &str, world: &World<'_>) -> Result<Vec<Listen>, Malformed> {
    let (host, port) = match read(text)? {
        Written::Path(path) => return Ok(vec![Listen::Unix(socket(path, world)?)]),
        Written::Host(host, port) => (host, port),
    };
    let addresses = match host {
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        Some(host) => resolve(text, host, world)?,
    };
    Ok(addresses.into_iter().map(|ip| Listen::Tcp(SocketAddr::new(ip, port))).collect())
}

/// Where to connect to; without a host to this one.
pub(super) fn connect(text: &str, world: &World<'_>) -> Result<Place, Malformed> {
    match read(text)? {
        Written::Path(path) => socket(path, world).map(Place::Unix),
        Written::Host(_, 0) => Err(Malformed::new(format!("{}: port 0 is no port to connect to", quote(text)))),
        Written::Host(host, port) => {
            let host = host.unwrap_or("localhost");
            // An address or a name as other files hold it too: what TOML cannot say must not come in here.
            let written = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            written.parse::<HostPort>().map(Place::Host)
        }
    }
}

/// A target of `redirect`: port 0 is nowhere, and whoever is sent there is closed.
pub(super) fn redirect(text: &str, world: &World<'_>) -> Result<Place, Malformed> {
    match read(text)? {
        Written::Host(host, 0) => {
            let host = host.unwrap_or("localhost").to_owned();
            Ok(Place::Host(HostPort { host, port: 0 }))
        }
        _ => connect(text, world),
    }
}

/// The address that connections come from.
pub(super) fn local(text: &str, world: &World<'_>) -> Result<IpAddr, Malformed> {
    let found = resolve(text, text, world)?;
    // stunnel takes the first of IPv4, then of IPv6.
    found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied().ok_or_else(|| nothing(text))
}

fn resolve(text: &str, host: &str, world: &World<'_>) -> Result<Vec<IpAddr>, Malformed> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    // Whatever the resolver makes of it, this is no name.
    format!("{host}:1").parse::<HostPort>().map_err(|_| {
        Malformed::hint(format!("{}: {} is neither an IP address nor a host name", quote(text), quote(host)), HELP)
    })?;
    let mut found = (world.lookup)(host).map_err(|reason| {
        Malformed::hint(format!("{}: {} does not resolve: {reason}", quote(text), quote(host)), "write its IP address")
    })?;
    let mut before: Vec<IpAddr> = Vec::new();
    found.retain(|ip| {
        let new = !before.contains(ip);
        before.push(*ip);
        new
    });
    if found.is_empty() { Err(nothing(text)) } else { Ok(found) }
}

fn nothing(text: &str) -> Malformed {
    Malformed::hint(format!("{} has no address", quote(text)), "write an IP address")
}

const HELP: &str = "write [HOST:]PORT; an IPv6 address may stand in brackets, a Unix socket begins with /";

fn read(text: &str) -> Result<Written<'_>, Malformed> {
    if text.is_empty() {
        return Err(Malformed::hint("there is no address", HELP));
    }
    if text.starts_with('/') {
        return Ok(Written::Path(text));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Ok(Written::Host(None, port_of(text, text)?)) };
    let port = port_of(text, port)?;
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(ip) if ip.parse::<Ipv6Addr>().is_ok() => Ok(Written::Host(Some(ip), port)),
        Some(_) => Err(Malformed::hint(format!("{}: no IPv6 address stands in the brackets", quote(text)), HELP)),
        None if host.is_empty() => Err(Malformed::hint(
            format!("{}: there is no host before the colon", quote(text)),
            "leave the colon out for every address of this host",
        )),
        None if host.contains(':') && host.parse::<Ipv6Addr>().is_err() => {
            Err(Malformed::hint(format!("{}: {} is no IPv6 address", quote(text), quote(host)), HELP))
        }
        None => Ok(Written::Host(Some(host), port)),
    }
}

fn port_of(text: &str, port: &str) -> Result<u16, Malformed> {
    if ports::is_name(port) {
        return ports::port_of(port).map_err(|malformed| malformed.within(text));
    }
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| digits).ok_or_else(|| {
        Malformed::hint(
            format!("{}: {} is no port", quote(text), quote(port)),
            "a port is a number up to 65535 or a name of /etc/services",
        )
    })
}

fn socket(path: &str, world: &World<'_>) -> Result<Arc<Path>, Malformed> {
    if path.contains(char::is_control) {
        return Err(Malformed::new(format!("{}: a control character cannot stand in this path", quote(path))));
    }
    let path = world.directory.join(path);
    short_enough(&path)?;
    Ok(path.into())
}
