//! An ERR packet that we send as the server, in place of a greeting.

use mysql_common::packets::{ErrPacket, ServerError, SqlState};
use mysql_common::proto::MySerialize;

/// Header, marker, code, `#` and SQLSTATE: what precedes the text.
const OVERHEAD: usize = 4 + 1 + 2 + 6;

/// The whole packet is at most this long: what clients' fixed error buffers hold (`MYSQL_ERRMSG_SIZE`).
const MAX_LEN: usize = 512;

/// The room for the text of [`err_packet`], in bytes.
pub const ERR_TEXT_MAX: usize = MAX_LEN - OVERHEAD;

/// An ERR packet in place of a greeting: sequence number 0, `code`, `#` and `sqlstate`, `text`. A text longer than
/// [`ERR_TEXT_MAX`] is cut at a character's boundary.
///
/// Layout: MySQL "ERR_Packet". The SQLSTATE is sent although the client's capabilities are not known yet: mysqlnd
/// and pure drivers expect it; libmysqlclient shows it as part of the text.
pub fn err_packet(code: u16, sqlstate: [u8; 5], text: &str) -> Vec<u8> {
    let mut cut = text.len().min(ERR_TEXT_MAX);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let text = text.get(..cut).unwrap_or_default();

    let mut packet = vec![0; 4];
    ErrPacket::Error(ServerError::new(code, Some(SqlState::new(sqlstate)), text.as_bytes())).serialize(&mut packet);
    // At most 508: two bytes of length, a third that is 0, and sequence number 0.
    let length = u16::try_from(packet.len() - 4).unwrap_or(0).to_le_bytes();
    for (to, from) in packet.iter_mut().zip(length) {
        *to = from;
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_what_clients_expect_in_place_of_a_greeting() {
        let packet = err_packet(1047, *b"08S01", "galeway: no node");
        assert_eq!(packet, b"\x19\0\0\0\xff\x17\x04#08S01galeway: no node");
        // In the error's own reader, the one the tests of real clients stand on.
        let read = super::super::ServerError::parse(&packet[4..]).unwrap();
        assert_eq!((read.code, read.sqlstate, read.message.as_str()), (1047, Some(*b"08S01"), "galeway: no node"));
    }

    #[test]
    fn an_empty_text_is_a_packet_too() {
        assert_eq!(err_packet(1040, *b"08004", ""), b"\x09\0\0\0\xff\x10\x04#08004");
    }

    #[test]
    fn the_packet_is_never_longer_than_512_bytes_and_never_cuts_a_character() {
        for shift in 0..4 {
            let text = "x".repeat(shift) + &"é→😀".repeat(200);
            let packet = err_packet(1047, *b"08S01", &text);
            assert!((MAX_LEN - 3..=MAX_LEN).contains(&packet.len()), "{}", packet.len());
            assert_eq!(usize::from(packet[0]) | usize::from(packet[1]) << 8, packet.len() - 4);
            assert_eq!(&packet[2..4], [0, 0]);
            let kept = std::str::from_utf8(&packet[OVERHEAD..]).unwrap();
            assert!(text.starts_with(kept));
        }
        assert_eq!(err_packet(1047, *b"08S01", &"x".repeat(ERR_TEXT_MAX)).len(), MAX_LEN);
        assert_eq!(err_packet(1047, *b"08S01", &"x".repeat(ERR_TEXT_MAX + 1)).len(), MAX_LEN);
    }
}
