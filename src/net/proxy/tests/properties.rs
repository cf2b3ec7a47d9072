//! What holds for every header, and for every run of bytes.

use std::net::{SocketAddrV4, SocketAddrV6};

use proptest::prelude::*;

use super::delivery::{Peer, read};
use super::*;

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), 0_u16..10, Just(u16::MAX)]
}

fn four() -> impl Strategy<Value = Ipv4Addr> {
    prop::array::uniform4(prop_oneof![any::<u8>(), 0_u8..10]).prop_map(Ipv4Addr::from)
}

/// Addresses with runs of zeros, mapped ones among them.
fn six() -> impl Strategy<Value = Ipv6Addr> {
    let group = prop_oneof![any::<u16>(), Just(0), Just(0), Just(0xffff)];
    prop_oneof![prop::array::uniform8(group).prop_map(Ipv6Addr::from), four().prop_map(|four| four.to_ipv6_mapped())]
}

/// An IPv6 address in one of the forms that are its own.
fn written() -> impl Strategy<Value = (Ipv6Addr, String)> {
    (six(), 0..5, 0_usize..8).prop_map(|(address, form, from)| {
        let groups = address.segments();
        let dotted = |text: String| {
            let [.., a, b, c, d] = address.octets();
            let (start, _) = text.rsplit_once(':').and_then(|(start, _)| start.rsplit_once(':')).unwrap();
            format!("{start}:{a}.{b}.{c}.{d}")
        };
        let whole = groups.map(|group| format!("{group:x}")).join(":");
        let text = match form {
            0 => address.to_string(),
            1 => groups.map(|group| format!("{group:04X}")).join(":"),
            2 => dotted(whole),
            3 => {
                // The zeros from here on, if there are any, left out.
                let zeros = groups[from..].iter().take_while(|group| **group == 0).count();
                let join = |groups: &[u16]| groups.iter().map(|g| format!("{g:x}")).collect::<Vec<_>>().join(":");
                match zeros {
                    0 => whole,
                    _ => format!("{}::{}", join(&groups[..from]), join(&groups[from + zeros..])),
                }
            }
            _ => whole,
        };
        (address, text)
    })
}

fn client(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, [port, to_port]: [u16; 2]) -> Said {
    Said::Tcp { source: (source.into(), port).into(), destination: (destination.into(), to_port).into() }
}

/// A line, and what it says.
fn line() -> impl Strategy<Value = (Vec<u8>, Said)> {
    let ports = || [port(), port()];
    let four = (four(), four(), ports()).prop_map(|(from, to, ports)| {
        let line = format!("PROXY TCP4 {from} {to} {} {}\r\n", ports[0], ports[1]);
        (line.into_bytes(), client(from, to, ports))
    });
    let six = (written(), written(), ports()).prop_map(|((from, a), (to, b), ports)| {
        let line = format!("PROXY TCP6 {a} {b} {} {}\r\n", ports[0], ports[1]);
        (line.into_bytes(), client(from, to, ports))
    });
    let six = six.prop_filter("a line of 107 bytes at most", |(line, _)| line.len() <= 107);
    let unknown = "( [ -~]{0,80})?".prop_map(|rest| (format!("PROXY UNKNOWN{rest}\r\n").into_bytes(), Said::Nobody));
    prop_oneof![four, six, unknown]
}

/// A binary header, and what it says.
fn in_binary() -> impl Strategy<Value = (Vec<u8>, Said)> {
    let ports = || [port(), port()];
    let tail = |[port, to_port]: [u16; 2]| [port.to_be_bytes(), to_port.to_be_bytes()].concat();
    let four = (four(), four(), ports()).prop_map(move |(from, to, ports)| {
        (0x11, [&from.octets()[..], &to.octets(), &tail(ports)].concat(), client(from, to, ports))
    });
    let six = (six(), six(), ports()).prop_map(move |(from, to, ports)| {
        (0x21, [&from.octets()[..], &to.octets(), &tail(ports)].concat(), client(from, to, ports))
    });
    let others = prop_oneof![Just((0x31, vec![b'/'; 216], Said::Unix)), Just((0x00, Vec::new(), Said::Nobody))];
    // Of any kind but the checksum's.
    let extras = prop::collection::vec((4_u8.., prop::collection::vec(any::<u8>(), 0..40)), 0..4)
        .prop_map(|all| all.iter().flat_map(|(kind, value)| appended(*kind, value)).collect::<Vec<_>>());
    let proxy = (prop_oneof![four, six, others], extras, any::<bool>()).prop_map(
        |((family, addresses, said), extras, with_sum)| {
            let block = [addresses, extras].concat();
            let header = if with_sum { summed(0x21, family, &block) } else { binary(0x21, family, &block) };
            (header, said)
        },
    );
    let local = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(family, block)| (binary(0x20, family, &block), Said::Nobody));
    prop_oneof![3 => proxy, 1 => local]
}

/// A header, and what it says.
fn valid() -> impl Strategy<Value = (Vec<u8>, Said)> {
    prop_oneof![line(), in_binary()]
}

/// Bytes that get far into a reader before they are wrong.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let starts: Vec<&[u8]> = vec![
        b"",
        b"P",
        b"PROXY ",
        b"PROXY UNKNOWN",
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 ",
        b"PROXY TCP6 ::1 ::2 ",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x20\x03\x00\x04",
    ];
    let text = "[0-9a-fA-F:. \r\n]{0,60}".prop_map(String::into_bytes);
    let rest = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), text];
    (prop::sample::select(starts), rest).prop_map(|(start, rest)| [start, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_beginning_of_a_header_is_waited_behind_and_for_no_more_than_is_left((header, whom) in valid()) {
        for cut in 0..header.len() {
            match examine(&header[..cut]) {
                Err(Stop::Missing(more)) => prop_assert!(more > 0 && more <= header.len() - cut, "{more} after {cut}"),
                examined => prop_assert!(false, "{examined:?} after {cut} bytes"),
            }
        }
        prop_assert_eq!(examine(&header).unwrap(), whom);
    }

    #[test]
    fn what_follows_a_header_changes_nothing_and_stays_unread(
        (header, whom) in valid(), behind in prop::collection::vec(any::<u8>(), 0..40), seed in any::<u64>(),
    ) {
        prop_assert_eq!(examine(&[&header[..], &behind].concat()).unwrap(), whom);
        let mut random = fastrand::Rng::with_seed(seed);
        let most = random.usize(1..40);
        let mut peer = Peer::new(&header, &behind, move || random.usize(0..=most));
        prop_assert_eq!(read(&mut peer).unwrap(), whom);
        prop_assert_eq!(peer.left(), behind);
    }

    #[test]
    fn what_is_sent_says_what_it_was_made_of(
        a in prop_oneof![four().prop_map(IpAddr::V4), six().prop_map(IpAddr::V6)],
        b in prop_oneof![four().prop_map(IpAddr::V4), six().prop_map(IpAddr::V6)],
        ports in (port(), port()),
        scope in any::<u32>(),
    ) {
        let at = |address, port| match address {
            IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, port)),
            IpAddr::V6(address) => SocketAddr::V6(SocketAddrV6::new(address, port, 7, scope)),
        };
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let sent = header(version, Some((at(a, ports.0), at(b, ports.1))));
            prop_assert!(sent.len() <= 104);
            let Said::Tcp { source, destination } = examine(&sent).unwrap() else { panic!("{sent:?}") };
            prop_assert_eq!((source.ip().to_canonical(), source.port()), (a.to_canonical(), ports.0));
            prop_assert_eq!((destination.ip().to_canonical(), destination.port()), (b.to_canonical(), ports.1));
            let both_four = a.to_canonical().is_ipv4() && b.to_canonical().is_ipv4();
            prop_assert_eq!((source.is_ipv4(), destination.is_ipv4()), (both_four, both_four));
        }
    }

    #[test]
    fn no_bytes_panic_and_none_are_waited_for_without_bound(bytes in nearly()) {
        let mut before = None;
        for length in 0..=bytes.len() {
            let examined = examine(&bytes[..length]);
            if let Err(Stop::Missing(more)) = examined {
                prop_assert!(more > 0 && length + more <= 4112);
                prop_assert!(before.is_none(), "{before:?} was taken back after {length} bytes");
            } else {
                // The error is the same; what it shows may grow.
                let answer = match examined { Ok(said) => Ok(said), _ => Err(()) };
                prop_assert_eq!(*before.get_or_insert(answer), answer);
            }
        }
    }

    #[test]
    fn of_any_bytes_no_more_are_consumed_than_make_an_answer(bytes in nearly()) {
        let mut rest = &bytes[..];
        let answer = read(&mut rest);
        let consumed = bytes.len() - rest.len();
        match answer {
            Err(HeaderError::Closed { after }) => prop_assert_eq!((after, rest.len()), (bytes.len(), 0)),
            answer => {
                prop_assert!(consumed <= 4112);
                let again = examine(&bytes[..consumed]);
                prop_assert_eq!(answer.is_ok(), again.is_ok());
                prop_assert!(!matches!(again, Err(Stop::Missing(_))));
                // One byte less makes no header.
                prop_assert!(answer.is_err() || matches!(examine(&bytes[..consumed - 1]), Err(Stop::Missing(1))));
            }
        }
    }
}
