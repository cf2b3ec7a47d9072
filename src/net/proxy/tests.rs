//! Headers as the specification has them, as it does not, and as a network delivers them.

mod binary;
mod delivery;
mod properties;
mod text;

use super::*;

/// A binary header: its 13th and 14th byte, and its block.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, block].concat()
}

/// Something appended to a binary header's addresses.
fn appended(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// The same header with a checksum, last.
fn summed(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = binary(command, family, &[block, &appended(3, &[0; 4])].concat());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

fn tcp(source: &str, destination: &str) -> Said {
    Said::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// What whole bytes say; panics where more is wanted.
fn said(bytes: &[u8]) -> Result<Said, HeaderError> {
    match examine(bytes) {
        Ok(said) => Ok(said),
        Err(Stop::Refused(why)) => Err(why),
        Err(Stop::Missing(more)) => panic!("{more} more wanted after {:?}", bytes.escape_ascii().to_string()),
    }
}

/// How many more bytes are wanted at the least.
fn missing(bytes: &[u8]) -> usize {
    match examine(bytes) {
        Err(Stop::Missing(more)) => more,
        examined => panic!("{examined:?} of {:?}", bytes.escape_ascii().to_string()),
    }
}

/// The last byte is wrong, and the error holds these words; without that byte nothing is wrong.
fn assert_wrong_at_its_end(bytes: &[u8], words: &str) {
    let (_, before) = bytes.split_last().unwrap();
    assert!(missing(before) > 0);
    let why = said(bytes).unwrap_err().to_string();
    assert!(why.contains(words), "{:?}: {why}", bytes.escape_ascii().to_string());
}

#[test]
fn a_header_that_is_sent_is_of_the_family_of_both_addresses() {
    let line = |source: &str, destination: &str| {
        let client = Some((source.parse().unwrap(), destination.parse().unwrap()));
        String::from_utf8(header(ProxyVersion::V1, client)).unwrap()
    };
    assert_eq!(line("192.0.2.7:4444", "198.51.100.1:3306"), "PROXY TCP4 192.0.2.7 198.51.100.1 4444 3306\r\n");
    assert_eq!(line("[::ffff:192.0.2.7]:1", "198.51.100.1:2"), "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n");
    assert_eq!(line("[::ffff:192.0.2.7]:1", "[::ffff:198.51.100.1]:2"), "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n");
    assert_eq!(line("[2001:db8::7%3]:1", "[2001:db8::1]:2"), "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n");
    // No dots: the specification's IPv6 addresses have none.
    assert_eq!(line("192.0.2.7:1", "[2001:db8::1]:2"), "PROXY TCP6 ::ffff:c000:207 2001:db8::1 1 2\r\n");
    assert_eq!(line("[2001:db8::7]:1", "198.51.100.1:65535"), "PROXY TCP6 2001:db8::7 ::ffff:c633:6401 1 65535\r\n");
}

#[test]
fn a_binary_header_that_is_sent_is_as_the_specification_lays_it_out() {
    let client = |source: &str, destination: &str| Some((source.parse().unwrap(), destination.parse().unwrap()));
    let four = header(ProxyVersion::V2, client("[::ffff:192.0.2.7]:4444", "198.51.100.1:3306"));
    assert_eq!(four, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC0\0\x02\x07\xC6\x33\x64\x01\x11\x5C\x0C\xEA");
    let six = header(ProxyVersion::V2, client("192.0.2.7:4444", "[2001:db8::1]:3306"));
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\0\x02\x07";
    let addresses = [&mapped[..], b"\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x01", b"\x11\x5C\x0C\xEA"].concat();
    assert_eq!(six, binary(0x21, 0x21, &addresses));
}

#[test]
fn a_header_for_nobody_says_so() {
    assert_eq!(header(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(header(ProxyVersion::V2, None), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}

#[test]
fn what_is_no_header_is_shown_escaped_and_short() {
    let shown = |bytes: &[u8]| said(bytes).unwrap_err().to_string();
    assert_eq!(shown(b"GET / HTTP/1.1\r\nHost: db\r\n"), r#"no PROXY header: it begins with "GET / HTTP/1.1\r\n""#);
    assert_eq!(shown(b"\x16\x03\x01\x02\0\x01"), r#"no PROXY header: it begins with "\x16\x03\x01\x02\x00\x01""#);
    assert_eq!(shown(b"\"\n"), r#"no PROXY header: it begins with "\"\n""#);
    assert_eq!(shown(b"PROXX"), r#"no PROXY header: it begins with "PROXX""#);
}

#[test]
fn a_first_byte_that_begins_no_header_is_not_waited_behind() {
    for byte in 0..=u8::MAX {
        match byte {
            b'P' => assert_eq!(missing(&[byte]), 14),
            b'\r' => assert_eq!(missing(&[byte]), 15),
            _ => assert!(matches!(said(&[byte]), Err(HeaderError::NotOne(_))), "{byte}"),
        }
    }
}
