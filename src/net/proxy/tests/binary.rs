//! Version 2: binary headers.

use super::*;

const FOUR: &[u8] = b"\xC0\0\x02\x07\xC6\x33\x64\x01\x11\x5C\x0C\xEA";
const SIX: &[u8] =
    b"\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x01\x11\x5C\x0C\xEA";
const PATHS: [u8; 216] = [b'/'; 216];

fn four() -> Said {
    tcp("192.0.2.7:4444", "198.51.100.1:3306")
}

fn six() -> Said {
    tcp("[2001:db8::7]:4444", "[2001:db8::1]:3306")
}

fn refused(header: &[u8], words: &str) {
    let why = said(header).unwrap_err().to_string();
    assert!(why.contains(words), "{:?}: {why}", header.escape_ascii().to_string());
}

#[test]
fn each_family_is_read_as_it_is_laid_out() {
    assert_eq!(said(&binary(0x21, 0x11, FOUR)).unwrap(), four());
    assert_eq!(said(&binary(0x21, 0x21, SIX)).unwrap(), six());
    assert_eq!(said(&binary(0x21, 0x31, &PATHS)).unwrap(), Said::Unix);
    assert_eq!(said(&binary(0x21, 0x00, b"")).unwrap(), Said::Nobody);
    assert_eq!(said(&binary(0x20, 0x00, b"")).unwrap(), Said::Nobody);
}

#[test]
fn a_mapped_address_stays_as_it_came() {
    let mapped = [&[0; 10][..], b"\xFF\xFF\xC0\0\x02\x07", &SIX[16..]].concat();
    assert_eq!(said(&binary(0x21, 0x21, &mapped)).unwrap(), tcp("[::ffff:192.0.2.7]:4444", "[2001:db8::1]:3306"));
}

#[test]
fn of_all_commands_two_are_taken_and_of_all_families_four() {
    for byte in 0..=u8::MAX {
        // Long enough for every family: what is left over is padding.
        let block = [&[0; 216][..], &appended(4, b"")].concat();
        let command = said(&binary(byte, 0x31, &block));
        assert_eq!(command.is_ok(), [0x20, 0x21].contains(&byte), "{byte:#x}: {command:?}");
        let family = said(&binary(0x21, byte, &block)).map_err(|why| why.to_string());
        match byte {
            0x00 | 0x11 | 0x21 | 0x31 => assert!(family.is_ok(), "{byte:#x}: {family:?}"),
            0x12 | 0x22 | 0x32 => assert!(family.unwrap_err().contains("datagrams")),
            _ => assert!(family.unwrap_err().contains("unknown"), "{byte:#x}"),
        }
        assert_eq!(said(&binary(0x20, byte, &block)).unwrap(), Said::Nobody);
    }
}

#[test]
fn a_header_is_refused_at_its_first_wrong_byte() {
    for (at, byte) in v2::SIGNATURE.iter().enumerate().skip(1) {
        let wrong = [&v2::SIGNATURE[..at], &[byte ^ 1]].concat();
        assert_wrong_at_its_end(&wrong, "no PROXY header");
    }
    let with = |rest: &[u8]| [v2::SIGNATURE, rest].concat();
    assert_wrong_at_its_end(&with(b"\x11"), "version");
    assert_wrong_at_its_end(&with(b"\x30"), "version");
    assert_wrong_at_its_end(&with(b"\x22"), "command");
    assert_wrong_at_its_end(&with(b"\x21\x41"), "unknown");
    assert_wrong_at_its_end(&with(b"\x21\x13"), "unknown");
    assert_wrong_at_its_end(&with(b"\x21\x12"), "datagrams");
    assert_wrong_at_its_end(&with(b"\x21\x11\0\x0B"), "shorter than its addresses");
    assert_wrong_at_its_end(&with(b"\x21\x21\0\x23"), "shorter than its addresses");
    assert_wrong_at_its_end(&with(b"\x21\x31\0\xD7"), "shorter than its addresses");
    assert_wrong_at_its_end(&with(b"\x21\x11\x10\x01"), "more than 4112 bytes");
    assert_wrong_at_its_end(&with(b"\x20\0\xFF\xFF"), "more than 4112 bytes");
}

#[test]
fn the_longest_header_that_is_read_has_4112_bytes() {
    let padding = appended(4, &[0; 4096 - 12 - 3]);
    let longest = binary(0x21, 0x11, &[FOUR, &padding].concat());
    assert_eq!(longest.len(), 4112);
    assert_eq!(said(&longest).unwrap(), four());
    assert_eq!(missing(&longest[..16]), 4096);
    assert_eq!(missing(&longest[..4111]), 1);
}

#[test]
fn what_is_appended_is_walked_over() {
    // An application protocol, a name, an identity, something about TLS with things inside it, padding, private use.
    let tls = [b"\x01\0\0\0\0".as_slice(), &appended(0x21, b"TLSv1.3"), &appended(0x22, b"client")].concat();
    let all = [
        appended(1, b"h2"),
        appended(2, b"db.example"),
        appended(5, &[7; 128]),
        appended(0x20, &tls),
        appended(4, b""),
        appended(0xE0, b"\x03\0\x04"),
    ]
    .concat();
    for (family, addresses, whom) in
        [(0x00, &b""[..], Said::Nobody), (0x11, FOUR, four()), (0x21, SIX, six()), (0x31, &PATHS, Said::Unix)]
    {
        assert_eq!(said(&binary(0x21, family, &[addresses, &all].concat())).unwrap(), whom);
    }
}

#[test]
fn what_is_appended_must_end_with_the_header() {
    for appended in [&b"\x04"[..], b"\x04\0", b"\x04\0\x01", b"\x04\xFF\xFF", b"\x04\0\0\x04", b"\x04\0\x02a\x04\0\0"] {
        refused(&binary(0x21, 0x11, &[FOUR, appended].concat()), "cut off");
        refused(&binary(0x21, 0x00, appended), "cut off");
    }
}

#[test]
fn the_block_of_a_local_header_is_thrown_away_whatever_it_is() {
    for family in [0x00, 0x11, 0x21, 0x31, 0x12, 0xFF] {
        for block in [&b""[..], b"\x04", b"\x04\xFF\xFF", FOUR, SIX, &PATHS] {
            assert_eq!(said(&binary(0x20, family, block)).unwrap(), Said::Nobody);
            assert_eq!(missing(&binary(0x20, family, &[block, b"!"].concat())[..16 + block.len()]), 1);
        }
    }
}

#[test]
fn the_checksum_is_the_one_that_others_compute() {
    // Computed by proxy-protocol-rs 0.8 (crate crc32c): 1705381406.
    let block = b"\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02\x03\0\x04\x65\xA6\x0E\x1E";
    let right = binary(0x21, 0x11, block);
    assert_eq!(said(&right).unwrap(), tcp("1.2.3.4:1", "5.6.7.8:2"));
    assert_eq!(right, summed(0x21, 0x11, &block[..12]));
}

#[test]
fn a_checksum_counts_wherever_it_stands() {
    let sum = &[0_u8; 4];
    let block = [FOUR, &appended(4, b"ab"), &appended(3, sum), &appended(2, b"db.example")].concat();
    let mut header = binary(0x21, 0x11, &block);
    let at = 16 + FOUR.len() + 5 + 3;
    let right = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&header).to_be_bytes();
    refused(&header, "checksum is wrong");
    header[at..at + 4].copy_from_slice(&right);
    assert_eq!(said(&header).unwrap(), four());
}

#[test]
fn there_is_one_checksum_of_four_bytes_or_none() {
    let once = summed(0x21, 0x11, FOUR);
    let sum = &once[once.len() - 7..];
    refused(&binary(0x21, 0x11, &[FOUR, sum, sum].concat()), "two checksums");
    refused(&binary(0x21, 0x11, &[FOUR, &appended(3, &[0; 3])].concat()), "not of four bytes");
    refused(&binary(0x21, 0x11, &[FOUR, &appended(3, &[0; 5])].concat()), "not of four bytes");
    refused(&binary(0x21, 0x11, &[FOUR, &appended(3, &[0; 4])].concat()), "checksum is wrong");
}

#[test]
fn a_checksum_counts_in_a_local_header_too() {
    let right = summed(0x20, 0x00, b"");
    assert_eq!(said(&right).unwrap(), Said::Nobody);
    refused(&binary(0x20, 0x00, &appended(3, &[0; 4])), "checksum is wrong");
}

#[test]
fn every_changed_byte_of_a_header_with_a_checksum_is_noticed() {
    let headers: [(u8, &[u8], Said); 4] =
        [(0x11, FOUR, four()), (0x21, SIX, six()), (0x31, &PATHS, Said::Unix), (0x00, b"", Said::Nobody)];
    // The client's bytes: a longer length takes some of them.
    let behind = [b'x'; 4096];
    for (family, addresses, whom) in headers {
        let right = summed(0x21, family, addresses);
        assert_eq!(said(&right).unwrap(), whom);
        for at in 0..right.len() {
            for change in 1..=u8::MAX {
                let mut wrong = [&right[..], &behind].concat();
                wrong[at] ^= change;
                let length = usize::from(u16::from_be_bytes([wrong[14], wrong[15]]));
                // Two changes make a header that has no checksum: of the byte that says that it is one, and of the
                // length to one that ends before it. Neither changes what is said.
                let has_none = at == 16 + addresses.len() || length == addresses.len();
                match said(&wrong) {
                    Ok(said) => assert!(has_none && said == whom, "{at} {change}: {said:?}"),
                    Err(why) => assert!(!has_none || at > 15, "{at} {change}: {why}"),
                }
            }
        }
    }
}
