//! Version 1: a line of text (section 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{HeaderError, Pair, Said, Stop};

/// How every line begins.
pub(super) const START: &[u8] = b"PROXY ";

/// The length in bytes of the shortest line, `PROXY UNKNOWN` and its end.
pub(super) const FEWEST: usize = 15;

/// The length in bytes of the longest line: section 2.1 counts it, and wants a longer one refused.
const MOST: usize = 107;

/// Reads the rest of a line.
type ReadOn = fn(&[u8]) -> Result<Said, Stop>;

/// How lines of each protocol begin, and the length of their shortest.
const PROTOCOLS: [(&[u8], usize, ReadOn); 3] = [
    (b"PROXY UNKNOWN", FEWEST, unknown),
    (b"PROXY TCP4 ", 32, |rest| tcp::<Ipv4Addr>(rest, 7)),
    (b"PROXY TCP6 ", 22, |rest| tcp::<Ipv6Addr>(rest, 2)),
];

/// What completes an address or a port that was cut off, the shortest first.
const ENDS: [&str; 10] = ["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"];

const NO_PROTOCOL: &str = "its protocol is none of TCP4, TCP6 and UNKNOWN";
const NO_ADDRESS: &str = "an address is none of its family, or is not followed by one space";
const NO_PORT: &str =
    "a port is no number from 0 to 65535 without leading zeros, or not followed by one space or the end";
const NO_CRLF: &str = "its line does not end with CR and LF";

/// Looks at bytes that begin as a line does, or are the beginning of [`START`].
pub(super) fn examine(bytes: &[u8]) -> Result<Said, Stop> {
    let line = bytes.get(..MOST).unwrap_or(bytes);
    match protocol(line) {
        Err(Stop::Missing(bytes)) if line.len() + bytes > MOST => {
            Err(Stop::Refused(HeaderError::TooLong { most: MOST }))
        }
        examined => examined,
    }
}

fn protocol(line: &[u8]) -> Result<Said, Stop> {
    for (start, _, read_on) in PROTOCOLS {
        if let Some(rest) = line.strip_prefix(start) {
            return read_on(rest);
        }
    }
    let possible = PROTOCOLS.into_iter().filter(|(start, ..)| start.starts_with(line));
    let fewest = possible.map(|(_, whole, _)| whole).min().ok_or(Stop::malformed(NO_PROTOCOL))?;
    Err(Stop::Missing(fewest - line.len()))
}

/// Whatever stands before the end of the line means nothing. A lone CR or LF is refused all the same: no sender puts
/// one there, and where one takes it for the end of the line, we would swallow its client's bytes up to the next CRLF.
fn unknown(rest: &[u8]) -> Result<Said, Stop> {
    if !matches!(rest.first(), None | Some(b' ' | b'\r' | b'\n')) {
        return Err(Stop::malformed(NO_PROTOCOL));
    }
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Err(Stop::Missing(2)) };
    match rest.get(end..) {
        Some([b'\r', rest @ ..]) => line_feed(rest)?,
        _ => return Err(Stop::malformed(NO_CRLF)),
    }
    Ok(Said::Nobody)
}

/// The four fields of a TCP line; the shortest address of this family has so many bytes.
fn tcp<A: FromStr + Into<IpAddr>>(rest: &[u8], shortest: usize) -> Result<Said, Stop> {
    let address = |text: &str| text.parse::<A>().ok().map(Into::into);
    // What follows a field at the least: the other fields, their ends, and the LF.
    let (source, rest) = field(rest, b' ', shortest + 6, NO_ADDRESS, address)?;
    let (destination, rest) = field(rest, b' ', 5, NO_ADDRESS, address)?;
    let (source_port, rest) = field(rest, b' ', 3, NO_PORT, port)?;
    let (destination_port, rest) = field(rest, b'\r', 1, NO_PORT, port)?;
    line_feed(rest)?;
    let source = SocketAddr::new(source, source_port);
    let destination = SocketAddr::new(destination, destination_port);
    Ok(Said::Tcp { source, destination })
}

/// Takes a field up to its `end` off the line; at least `after` bytes follow that end.
fn field<'a, T>(
    line: &'a [u8],
    end: u8,
    after: usize,
    wrong: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(T, &'a [u8]), Stop> {
    let mut parts = line.splitn(2, |byte| *byte == end);
    let text = parts.next().and_then(|text| std::str::from_utf8(text).ok()).ok_or(Stop::malformed(wrong))?;
    if let Some(rest) = parts.next() {
        return Ok((read(text).ok_or(Stop::malformed(wrong))?, rest));
    }
    match ENDS.into_iter().find(|end| read(&format!("{text}{end}")).is_some()) {
        Some(rest) => Err(Stop::Missing(rest.len() + 1 + after)),
        None => Err(Stop::malformed(wrong)),
    }
}

/// As section 2.1 has it: digits, and no zero before another. `u16` would take a `+` as well.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

/// What follows the CR.
fn line_feed(rest: &[u8]) -> Result<(), Stop> {
    match rest.first() {
        None => Err(Stop::Missing(1)),
        Some(b'\n') => Ok(()),
        Some(_) => Err(Stop::malformed(NO_CRLF)),
    }
}

pub(super) fn header(client: Option<Pair>) -> Vec<u8> {
    let line = match client {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some(Pair::V4([from, to], [port, to_port])) => format!("PROXY TCP4 {from} {to} {port} {to_port}\r\n"),
        Some(Pair::V6([from, to], [port, to_port])) => {
            format!("PROXY TCP6 {} {} {port} {to_port}\r\n", hexadecimal(from), hexadecimal(to))
        }
    };
    line.into_bytes()
}

/// Section 2.1 knows hexadecimal groups only; a mapped address is usually written with dots.
fn hexadecimal(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}
