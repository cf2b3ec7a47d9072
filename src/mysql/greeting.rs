//! A server's first packet: what it is, and what a greeting says.

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::HandshakePacket;
use mysql_common::proto::MyDeserialize;

use super::error::ServerError;

/// The longest first packet that is read, header included: greetings are about 100 bytes, an ERR packet's text is
/// at most 512.
pub const MAX_FIRST_PACKET: usize = 4096;

/// The protocol version every server since 3.21 greets with.
const PROTOCOL_10: u8 = 10;

/// What a server's first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// A whole greeting.
    Greeting {
        /// Its length in bytes, the four of the header included.
        len: usize,
    },
    /// A whole ERR packet in place of a greeting.
    Err(ServerError),
    /// Nothing wrong so far, but not whole.
    Incomplete {
        /// At least this many more bytes are to come; never 0.
        need: usize,
    },
    /// Not a MySQL server, or a broken one: the reason.
    Garbage(&'static str),
}

/// Says what the first bytes of a server are. Looks at no more than [`MAX_FIRST_PACKET`] bytes, believes no length
/// beyond it, and allocates only an ERR packet's text.
///
/// Layout: MySQL "Protocol::HandshakeV10" and "ERR_Packet"; sequence number 0, protocol version 10.
pub fn classify_first_packet(bytes: &[u8]) -> FirstPacket {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
        return FirstPacket::Incomplete { need: 4 - bytes.len() };
    };
    let [l0, l1, l2, sequence] = *header;
    let Ok(len) = usize::try_from(u32::from_le_bytes([l0, l1, l2, 0])) else {
        return FirstPacket::Garbage("first packet too long");
    };
    if len == 0 {
        return FirstPacket::Garbage("first packet empty");
    }
    if len > MAX_FIRST_PACKET - 4 {
        return FirstPacket::Garbage("first packet too long for a greeting");
    }
    let is_err = match rest.first() {
        None => return FirstPacket::Incomplete { need: len },
        // Some servers number an ERR in place of the greeting 1; clients complain, but its meaning is plain.
        Some(0xFF) => true,
        Some(&PROTOCOL_10) if sequence == 0 => false,
        Some(&PROTOCOL_10) => return FirstPacket::Garbage("greeting with a sequence number other than 0"),
        Some(_) => return FirstPacket::Garbage("neither protocol version 10 nor an error"),
    };
    let Some(payload) = rest.get(..len) else {
        return FirstPacket::Incomplete { need: len - rest.len() };
    };
    if is_err {
        return ServerError::parse(payload).map_or(FirstPacket::Garbage("broken error packet"), FirstPacket::Err);
    }
    // Server version up to its NUL, then at least connection id, scramble, filler and lower capabilities.
    let after_version = payload.iter().position(|b| *b == 0).map(|nul| payload.len() - nul - 1);
    match after_version {
        Some(rest) if rest >= 4 + 8 + 1 + 2 => FirstPacket::Greeting { len: len + 4 },
        Some(_) => FirstPacket::Garbage("greeting too short"),
        None => FirstPacket::Garbage("greeting without an end of the server version"),
    }
}

/// What a login needs of a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) capabilities: CapabilityFlags,
    /// The scramble, both parts, without its final NUL.
    pub(super) nonce: Vec<u8>,
    /// The server's default plugin.
    pub(super) plugin: Option<Vec<u8>>,
    /// The server's version names MariaDB.
    pub(super) is_mariadb: bool,
}

impl Greeting {
    /// Reads the payload of a packet that [`classify_first_packet`] called a greeting.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        // mysql_common computes `len as i8 - 8` of this byte, which overflows for 128 to 135 and is negative
        // above. Servers send 21, for ed25519 at most 41.
        let version_end = payload.iter().position(|b| *b == 0).ok_or("greeting without a server version")?;
        let auth_data_len = payload.get(version_end + 1 + 20).ok_or("greeting too short for a login")?;
        if *auth_data_len > 127 {
            return Err("greeting claims an impossible length of authentication data");
        }
        let packet = HandshakePacket::deserialize((), &mut ParseBuf(payload)).map_err(|_| "malformed greeting")?;
        Ok(Self {
            capabilities: packet.capabilities(),
            nonce: packet.nonce(),
            plugin: packet.auth_plugin_name_ref().map(<[u8]>::to_vec),
            is_mariadb: packet.server_version_ref().windows(7).any(|w| w.eq_ignore_ascii_case(b"mariadb")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The greeting of a MariaDB 10.11 (bytes as its manual lays them out).
    fn greeting(auth_data_len: u8) -> Vec<u8> {
        let mut p = vec![10];
        p.extend(b"5.5.5-10.11.19-MariaDB\0");
        p.extend(7u32.to_le_bytes());
        p.extend(b"abcdefgh\0");
        p.extend([0xfe, 0xff, 0x2d, 0x02, 0x00, 0xff, 0x81]);
        p.push(auth_data_len);
        p.extend([0; 6]);
        p.extend([0x1d, 0, 0, 0]);
        p.extend(b"ijklmnopqrst\0mysql_native_password\0");
        p
    }

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        bytes[3] = sequence;
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_whole_greeting_is_recognised_and_what_follows_is_left_alone() {
        let bytes = packet(0, &greeting(21));
        assert_eq!(classify_first_packet(&bytes), FirstPacket::Greeting { len: bytes.len() });
        let more = [bytes.clone(), b"more".to_vec()].concat();
        assert_eq!(classify_first_packet(&more), FirstPacket::Greeting { len: bytes.len() });
    }

    #[test]
    fn a_greeting_cut_anywhere_is_incomplete_and_says_how_much_is_missing() {
        let bytes = packet(0, &greeting(21));
        for cut in 0..bytes.len() {
            let FirstPacket::Incomplete { need } = classify_first_packet(&bytes[..cut]) else { panic!("{cut}") };
            assert!(need > 0);
            let expected = if cut < 4 { 4 - cut } else { bytes.len() - cut };
            assert_eq!(need, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_error_in_place_of_a_greeting_is_read_with_or_without_state_and_text() {
        let classify = |sequence, payload: &[u8]| match classify_first_packet(&packet(sequence, payload)) {
            FirstPacket::Err(e) => e,
            other => panic!("{other:?}"),
        };
        assert_eq!(classify(0, b"\xff\x10\x04Too many connections").to_string(), "error 1040: Too many connections");
        assert_eq!(classify(0, b"\xff\x6a\x04#HY000Host is not allowed").code, 1130);
        assert_eq!(classify(1, b"\xff\x10\x04#08004Too many connections").code, 1040);
        assert_eq!(classify(0, b"\xff\x69\x04").to_string(), "error 1129");
        assert_eq!(classify(0, b"\xff").code, 0);
    }

    #[test]
    fn what_is_no_mysql_server_is_garbage_as_soon_as_it_can_be_told() {
        let garbage = |bytes: &[u8]| matches!(classify_first_packet(bytes), FirstPacket::Garbage(_));
        assert!(garbage(b"SSH-2.0-OpenSSH_9.2\r\n"));
        assert!(garbage(b"HTTP/1.1 400 Bad Request\r\n"));
        assert!(garbage(b"\x15\x03\x01\x00\x02\x02\x50"), "a TLS alert");
        assert!(garbage(b"\0\0\0\0"), "an empty packet");
        assert!(garbage(b"\xff\xff\xff\0"), "16 MB announced");
        assert!(garbage(b"\xfd\x0f\0\0"), "one byte more than we read");
        assert!(!garbage(b"\xfc\x0f\0\0"));
        assert!(garbage(b"\x50\0\0\0\x09"), "protocol version 9");
        assert!(garbage(b"\x50\0\0\x01\x0a"), "a greeting numbered 1");
        assert!(garbage(&packet(0, b"\x0ano end of the version")));
        assert!(garbage(&packet(0, b"\x0a8.0\0short")));
    }

    #[test]
    fn a_greeting_says_nonce_and_plugin() {
        let g = Greeting::parse(&greeting(21)).unwrap();
        assert_eq!(g.nonce, b"abcdefghijklmnopqrst");
        assert_eq!(g.plugin.as_deref(), Some(&b"mysql_native_password"[..]));
        assert!(g.capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH | CapabilityFlags::CLIENT_SSL));
    }

    #[test]
    fn hostile_lengths_of_authentication_data_are_refused_or_read_without_a_panic() {
        for len in 0..=255 {
            let parsed = Greeting::parse(&greeting(len));
            assert_eq!(parsed.is_err(), len > 8 + 13 + 22, "{len}: {parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let FirstPacket::Greeting { len } = classify_first_packet(&bytes) {
                let _ = Greeting::parse(&bytes[4..len]);
            }
            let _ = Greeting::parse(&bytes);
        }

        #[test]
        fn no_mutated_greeting_panics(
            changes in proptest::collection::vec((0usize..120, any::<u8>()), 1..8), cut in 0usize..140
        ) {
            let mut payload = greeting(21);
            for (at, byte) in changes {
                if let Some(b) = payload.get_mut(at) { *b = byte; }
            }
            payload.truncate(cut);
            let bytes = packet(0, &payload);
            if let FirstPacket::Greeting { len } = classify_first_packet(&bytes) {
                prop_assert_eq!(len, bytes.len());
            }
            let _ = Greeting::parse(&payload);
        }
    }
}
