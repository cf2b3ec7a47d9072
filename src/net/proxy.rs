//! The PROXY protocol, versions 1 and 2: who the client is, told by whoever connects on its behalf, before the
//! client's own bytes.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, `proxy-protocol.txt`), cited by section.
//!
//! A header is believed, so it is read strictly, and it is refused as soon as a byte is wrong: who sends something
//! else is not waited for. Not a byte is read beyond it. Version 2 says how long it is. Version 1 ends with its line,
//! and so each read asks for no more than the fields that are still missing must have.
//!
//! Why this is our own code: of the crates that are kept, `ppp` 2.3, `proxy-header` 0.1 and `proxy-protocol-rs` 0.8
//! take a port written `+1`, the second takes any byte for the space after `PROXY`, the first two do not check a
//! checksum, the last two wait for more where the first bytes are wrong already, and none says how much of a line is
//! still to come, which takes a parser to know.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::config::ProxyVersion;

/// How many bytes of what is no header an error shows.
const SHOWN: usize = 16;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The connection speaks for nobody but the peer itself, as a front balancer's own check does: version 1's
    /// `UNKNOWN`, version 2's LOCAL, and its PROXY without a family.
    Nobody,
    /// The connection speaks for a TCP client. The addresses are as they came: an IPv4-mapped one stays mapped.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// The connection speaks for a client of a Unix socket. Paths are not kept: a client's is empty as a rule.
    Unix,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection failed.
    #[error("the connection failed before the end of a PROXY header: {0}")]
    Io(#[from] io::Error),
    /// The peer closed.
    #[error("closed after {after} bytes of a PROXY header")]
    Closed {
        /// How many bytes had come. 0 is what a port check of a front balancer does, and no fault.
        after: usize,
    },
    /// Something else came: its first bytes, at most 16, escaped.
    #[error("no PROXY header: it begins with \"{0}\"")]
    NotOne(String),
    /// It begins as a header does and breaks a rule: which.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// It is longer than what is read.
    #[error("PROXY header of more than {most} bytes")]
    TooLong {
        /// The longest that is read, in bytes.
        most: usize,
    },
}

/// Why bytes are no whole header.
#[derive(Debug)]
enum Stop {
    /// Nothing is wrong so far; at least this many more bytes are part of the header. Never 0.
    Missing(usize),
    /// Whatever follows, this is no header that we take.
    Refused(HeaderError),
}

impl Stop {
    fn malformed(rule: &'static str) -> Self {
        Self::Refused(HeaderError::Malformed(rule))
    }
}

/// Reads one header and not a byte more: what follows is the client's.
///
/// Holds 64 bytes, or at most twice those that came. It has no deadline of its own, and dropped, it loses what it read.
///
/// # Errors
/// See [`HeaderError`]. What was read is lost: nobody else can make sense of the rest.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Said, HeaderError> {
    let mut header = Vec::new();
    loop {
        let missing = match examine(&header) {
            Ok(said) => return Ok(said),
            Err(Stop::Refused(why)) => return Err(why),
            Err(Stop::Missing(bytes)) => bytes,
        };
        // The buffer grows with what comes, never with what was announced.
        let came = (&mut *stream).take(missing as u64).read_buf(&mut header).await?;
        if came == 0 {
            return Err(HeaderError::Closed { after: header.len() });
        }
    }
}

/// Looks at the first bytes of a connection. Bytes behind a whole header are not looked at.
fn examine(bytes: &[u8]) -> Result<Said, Stop> {
    let begins = |start: &[u8]| start.starts_with(bytes) || bytes.starts_with(start);
    if bytes.is_empty() {
        return Err(Stop::Missing(v1::FEWEST.min(v2::FEWEST)));
    }
    if begins(v2::SIGNATURE) {
        return v2::examine(bytes);
    }
    if begins(v1::START) {
        return v1::examine(bytes);
    }
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    Err(Stop::Refused(HeaderError::NotOne(shown.escape_ascii().to_string())))
}

/// A client and where it connected to, in one family.
enum Pair {
    V4([Ipv4Addr; 2], [u16; 2]),
    V6([Ipv6Addr; 2], [u16; 2]),
}

impl Pair {
    /// A header has one family for both: IPv4 where both are, mapped or not, and else IPv6, with an IPv4 one mapped.
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let ports = [source.port(), destination.port()];
        let six = |address| match address {
            IpAddr::V4(four) => four.to_ipv6_mapped(),
            IpAddr::V6(six) => six,
        };
        match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4([source, destination], ports),
            (source, destination) => Self::V6([six(source), six(destination)], ports),
        }
    }
}

/// The header of a connection that we open: `client` is whom it speaks for, and where that client connected to; `None`
/// where it speaks for nobody (version 1 `PROXY UNKNOWN`, version 2 LOCAL). At most 104 bytes.
///
/// It has to leave in one write, before anything else. MariaDB takes a version 2 header that arrives in pieces for a
/// broken one, and so does Percona Server with either version.
pub fn header(version: ProxyVersion, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let client = client.map(|(source, destination)| Pair::new(source, destination));
    match version {
        ProxyVersion::V1 => v1::header(client),
        ProxyVersion::V2 => v2::header(client),
    }
}
