//! Addresses as users write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::model::HostPort;
use super::nearest::distance;
use super::ports;
use super::source::quote;

/// The port of a node that names none.
pub const DEFAULT_PORT: u16 = 3306;

/// A piece of text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    message: String,
    help: Option<String>,
}

impl Malformed {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(super) fn hint(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }

    /// The same, of a part of `text`.
    pub(super) fn within(self, text: &str) -> Self {
        Self { message: format!("{}: {}", quote(text), self.message), help: self.help }
    }

    /// What was probably meant.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub(super) fn into_parts(self) -> (String, Option<String>) {
        (self.message, self.help)
    }
}

/// `HOST[:PORT]`, an IPv6 address in brackets; the port is a number or a name of services(5), and [`DEFAULT_PORT`] where
/// there is none.
impl FromStr for HostPort {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (host, port) = split(text)?;
        host_port(text, host, port.map_or(Ok(DEFAULT_PORT), |port| parse_port(text, port))?)
    }
}

/// `HOST:PORT` of something that need not be a database, and so has no usual port.
pub(super) fn parse_with_port(text: &str) -> Result<HostPort, Malformed> {
    let (host, port) = split(text)?;
    let Some(port) = port else { return Err(no_port(text, host)) };
    host_port(text, host, parse_port(text, port)?)
}

fn host_port(text: &str, host: &str, port: u16) -> Result<HostPort, Malformed> {
    if port == 0 {
        return Err(Malformed::new(format!("{}: port 0 is no port to connect to", quote(text))));
    }
    Ok(HostPort { host: host.to_owned(), port })
}

fn no_port(text: &str, host: &str) -> Malformed {
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Malformed::hint(format!("{} has no port", quote(text)), format!("write \"{shown}:3306\""))
}

/// An address to listen on: `IP:PORT`, `[IPV6]:PORT` or `localhost:PORT`; the port may be a name. Port 0 lets the kernel
/// choose.
pub(super) fn parse_local(text: &str) -> Result<SocketAddr, Malformed> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"))
        && parse_port(text, port).is_ok()
    {
        return Err(Malformed::hint(
            format!("{} names no address to listen on", quote(text)),
            format!("write \"0.0.0.0:{port}\" for all of IPv4, \"[::]:{port}\" for all of IPv6"),
        ));
    }
    if text.parse::<u16>().is_ok() {
        return Err(Malformed::hint(
            format!("{} is a port without an address", quote(text)),
            format!("write \"0.0.0.0:{text}\" for all of IPv4, \"127.0.0.1:{text}\" for this machine only"),
        ));
    }
    let (host, port) = split(text)?;
    let Some(port) = port else { return Err(no_port(text, host)) };
    let port = parse_port(text, port)?;
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).map_err(|_| {
        let help = if distance(host, "localhost") <= 2 {
            format!("did you mean \"localhost:{port}\"?")
        } else {
            format!("write one of this machine's addresses, such as \"0.0.0.0:{port}\" for all of IPv4")
        };
        Malformed::hint(format!("{}: a name cannot be listened on, only an IP address or localhost", quote(text)), help)
    })
}

/// Host without brackets, and the text of the port.
fn split(text: &str) -> Result<(&str, Option<&str>), Malformed> {
    if text.is_empty() {
        return Err(Malformed::hint("the address is empty", "write \"HOST:PORT\""));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(Malformed::new(format!("{}: the bracket is not closed", quote(text))));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(Malformed::new(format!("{}: no IPv6 address stands in the brackets", quote(text))));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(Malformed::hint(format!("{}: text after the bracket", quote(text)), "write \"[IPV6]:PORT\"")),
        };
    }
    if text.contains("://") {
        return Err(Malformed::hint(
            format!("{} is a URL, not an address", quote(text)),
            "leave only HOST:PORT of it; the monitor's login stands in [cluster.NAME.monitor]",
        ));
    }
    if text.matches(':').count() > 1 {
        return Err(Malformed::hint(format!("{}: an IPv6 address stands in brackets", quote(text)), ipv6_hint(text)));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    check_host(text, host)?;
    Ok((host, port))
}

/// What an IPv6 address without brackets may have been meant as.
fn ipv6_hint(text: &str) -> String {
    // `::1:3306` is an IPv6 address as it stands, but hardly anybody means that one.
    if let Some((host, port)) = text.rsplit_once(':')
        && port.len() >= 4
        && port.parse::<u16>().is_ok()
        && host.parse::<Ipv6Addr>().is_ok()
    {
        return format!("write \"[{host}]:{port}\"");
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return format!("write \"[{text}]:3306\"");
    }
    "write \"[IPV6]:PORT\"".to_owned()
}

fn parse_port(text: &str, port: &str) -> Result<u16, Malformed> {
    if port.is_empty() {
        return Err(Malformed::new(format!("{}: the port after the colon is missing", quote(text))));
    }
    if ports::is_name(port) {
        return ports::port_of(port).map_err(|malformed| malformed.within(text));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::new(format!("{}: {} is not a port number", quote(text), quote(port))));
    }
    port.parse().map_err(|_| Malformed::new(format!("{}: a port is at most 65535", quote(text))))
}

fn check_host(text: &str, host: &str) -> Result<(), Malformed> {
    if host.is_empty() {
        return Err(Malformed::hint(format!("{}: the host is missing", quote(text)), "write \"HOST:PORT\""));
    }
    if let Some(bad) = host.chars().find(|char| !(char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.'))) {
        let what = if bad.is_whitespace() { "a blank".to_owned() } else { quote(&bad.to_string()) };
        return Err(Malformed::hint(
            format!("{}: {what} cannot stand in a host name", quote(text)),
            "write \"HOST:PORT\"; each address is a string of its own",
        ));
    }
    let labels = host.trim_end_matches('.');
    if labels.len() > 253 || labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(Malformed::new(format!("{} is not a host name", quote(text))));
    }
    // A name whose last part is a number can only be an IPv4 address (RFC 1123 2.1), and resolvers treat it so.
    let last_is_number = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if last_is_number && labels.parse::<Ipv4Addr>().is_err() {
        return Err(Malformed::new(format!("{} is neither an IPv4 address nor a host name", quote(text))));
    }
    Ok(())
}
