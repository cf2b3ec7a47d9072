//! Version 2: binary (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

use super::{HeaderError, Pair, Said, Stop};

/// How every header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length in bytes of the part that every header has.
pub(super) const FEWEST: usize = 16;

/// The longest block behind that part, in bytes; 65,535 could be announced. Addresses take 216 at most, and of what
/// is appended the client's certificate is the longest: one with a key of 4,096 bits and some names is about 2 kB.
const MOST: usize = 4096;

/// Version 2, and the command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Family and protocol of TCP over IPv4 and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The type of the checksum (section 2.2.3), which is CRC-32C: RFC 4960, appendix B.
const CHECKSUM: u8 = 0x03;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Looks at bytes that begin with the signature, or are its beginning.
pub(super) fn examine(bytes: &[u8]) -> Result<Said, Stop> {
    let missing = || Stop::Missing(FEWEST - bytes.len());
    let command = *bytes.get(12).ok_or_else(missing)?;
    match command {
        LOCAL | PROXY => {}
        _ if command >> 4 == LOCAL >> 4 => return Err(Stop::malformed("its command is neither LOCAL nor PROXY")),
        _ => return Err(Stop::malformed("its version is not 2")),
    }
    let family = *bytes.get(13).ok_or_else(missing)?;
    // The whole byte of LOCAL is to be ignored.
    if command == PROXY {
        spoken_for(family)?;
    }
    let (fixed, block) = bytes.split_first_chunk::<FEWEST>().ok_or_else(missing)?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MOST {
        return Err(Stop::Refused(HeaderError::TooLong { most: FEWEST + MOST }));
    }
    if command == PROXY && length < usize::from(addresses(family)) {
        return Err(Stop::malformed("it is shorter than its addresses"));
    }
    let block = block.get(..length).ok_or_else(|| Stop::Missing(length - block.len()))?;
    let checksum = match checksum(block, addresses(family).into()) {
        // The block of LOCAL is to be thrown away, whatever it is. A checksum that can be found in it counts still:
        // one flipped bit makes PROXY a LOCAL.
        Err(_) if command == LOCAL => None,
        found => found.map_err(Stop::malformed)?,
    };
    if let Some((at, said)) = checksum
        && said != computed(fixed, block, at)
    {
        return Err(Stop::malformed("its checksum is wrong"));
    }
    match command {
        PROXY => client(family, block),
        _ => Ok(Said::Nobody),
    }
}

/// Refuses families and protocols that there are not, and datagrams.
fn spoken_for(family: u8) -> Result<(), Stop> {
    match family {
        0x00 | TCP4 | TCP6 | 0x31 => Ok(()),
        0x12 | 0x22 | 0x32 => Err(Stop::malformed("it speaks for a sender of datagrams")),
        _ => Err(Stop::malformed("its address family or its protocol is unknown")),
    }
}

/// The length in bytes of a family's two addresses and, where it has them, ports.
fn addresses(family: u8) -> u16 {
    match family >> 4 {
        1 => 2 * 4 + 2 * 2,
        2 => 2 * 16 + 2 * 2,
        3 => 2 * 108,
        _ => 0,
    }
}

/// Finds the checksum among what is appended to the addresses: where its value stands in the block, and the value.
fn checksum(block: &[u8], addresses: usize) -> Result<Option<(usize, u32)>, &'static str> {
    let cut_off = "what is appended to its addresses is cut off";
    let mut found = None;
    let mut rest = block.get(addresses..).ok_or(cut_off)?;
    while !rest.is_empty() {
        let ([kind, high, low], behind) = rest.split_first_chunk().ok_or(cut_off)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = behind.split_at_checked(length).ok_or(cut_off)?;
        rest = behind;
        if *kind != CHECKSUM {
            continue;
        }
        let value = value.try_into().map_err(|_| "its checksum is not of four bytes")?;
        let at = block.len() - rest.len() - length;
        if found.replace((at, u32::from_be_bytes(value))).is_some() {
            return Err("it has two checksums");
        }
    }
    Ok(found)
}

/// The checksum of a header: its value, at this place of the block, counts as zeros.
fn computed(fixed: &[u8], block: &[u8], at: usize) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(fixed);
    digest.update(block.get(..at).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(block.get(at + 4..).unwrap_or_default());
    digest.finalize()
}

/// Whom a header with the command PROXY speaks for.
fn client(family: u8, block: &[u8]) -> Result<Said, Stop> {
    let mut rest = block;
    match family {
        TCP4 => pair::<4, Ipv4Addr>(&mut rest),
        TCP6 => pair::<16, Ipv6Addr>(&mut rest),
        0x00 => Some(Said::Nobody),
        _ => Some(Said::Unix),
    }
    .ok_or(Stop::malformed("it is shorter than its addresses"))
}

/// Both addresses, then both ports.
fn pair<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(rest: &mut &[u8]) -> Option<Said> {
    let [source, destination] = [A::from(take(rest)?), A::from(take(rest)?)];
    let [port, destination_port] = [u16::from_be_bytes(take(rest)?), u16::from_be_bytes(take(rest)?)];
    let source = SocketAddr::new(source.into(), port);
    let destination = SocketAddr::new(destination.into(), destination_port);
    Some(Said::Tcp { source, destination })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

pub(super) fn header(client: Option<Pair>) -> Vec<u8> {
    let (command, family, block) = match client {
        None => (LOCAL, 0x00, Vec::new()),
        Some(Pair::V4(addresses, ports)) => (PROXY, TCP4, block(addresses.map(|a| a.octets()), ports)),
        Some(Pair::V6(addresses, ports)) => (PROXY, TCP6, block(addresses.map(|a| a.octets()), ports)),
    };
    [SIGNATURE, &[command, family], &addresses(family).to_be_bytes(), &block].concat()
}

fn block<const N: usize>(addresses: [[u8; N]; 2], ports: [u16; 2]) -> Vec<u8> {
    [addresses.concat(), ports.map(u16::to_be_bytes).concat()].concat()
}
