//! Version 1: lines.

use super::*;

#[test]
fn the_lines_of_the_specification_are_read() {
    let example = said(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n").unwrap();
    assert_eq!(example, tcp("192.168.0.1:56324", "192.168.0.11:443"));
    let longest = said(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n").unwrap();
    assert_eq!(longest, tcp("255.255.255.255:65535", "255.255.255.255:65535"));
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = said(format!("PROXY TCP6 {ones} {ones} 65535 65535\r\n").as_bytes()).unwrap();
    assert_eq!(longest, tcp(&format!("[{ones}]:65535"), &format!("[{ones}]:65535")));
    assert_eq!(said(b"PROXY UNKNOWN\r\n").unwrap(), Said::Nobody);
    let worst = format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n");
    assert_eq!(worst.len(), 107);
    assert_eq!(said(worst.as_bytes()).unwrap(), Said::Nobody);
}

#[test]
fn shortest_lines_are_read() {
    assert_eq!(said(b"PROXY TCP4 1.2.3.4 0.0.0.0 0 0\r\n").unwrap(), tcp("1.2.3.4:0", "0.0.0.0:0"));
    assert_eq!(said(b"PROXY TCP6 :: ::1 0 1\r\n").unwrap(), tcp("[::]:0", "[::1]:1"));
}

#[test]
fn addresses_stay_as_they_came() {
    // Written with dots, as inet_ntop does; upper case; zeros in front.
    let line = b"PROXY TCP6 ::ffff:192.0.2.7 2001:0DB8::0001 1 2\r\n";
    assert_eq!(said(line).unwrap(), tcp("[::ffff:192.0.2.7]:1", "[2001:db8::1]:2"));
}

#[test]
fn whatever_follows_unknown_means_nothing() {
    for rest in [" ", "  TCP4", " 1.2.3.4 5.6.7.8 1 2", " \x00\u{fffd}"] {
        let line = format!("PROXY UNKNOWN{rest}\r\n");
        assert_eq!(said(line.as_bytes()).unwrap(), Said::Nobody);
    }
}

#[test]
fn a_line_is_refused_at_its_first_wrong_byte() {
    let protocol = "protocol";
    let address = "address";
    let port = "port";
    let end = "CR and LF";
    let wrong = [
        ("PROXI", "no PROXY header"),
        ("PROXY\t", "no PROXY header"),
        ("PROXY  ", protocol),
        ("PROXY t", protocol),
        ("PROXY TCP5", protocol),
        ("PROXY TCP4\r", protocol),
        ("PROXY TCP46", protocol),
        ("PROXY UD", protocol),
        ("PROXY UNKNOWN4", protocol),
        ("PROXY UNKNOWN\n", end),
        ("PROXY UNKNOWN\r\r", end),
        ("PROXY UNKNOWN a\n", end),
        ("PROXY UNKNOWN a\rb", end),
        ("PROXY TCP4  ", address),
        ("PROXY TCP4 G", address),
        ("PROXY TCP4 256", address),
        ("PROXY TCP4 01", address),
        ("PROXY TCP4 1..", address),
        ("PROXY TCP4 1.2.3 ", address),
        ("PROXY TCP4 1.2.3.4.", address),
        ("PROXY TCP4 1.2.3.4  ", address),
        ("PROXY TCP4 1.2.3.4\t", address),
        ("PROXY TCP4 1.2.3.4\r", address),
        ("PROXY TCP4 :", address),
        ("PROXY TCP4 1.2.3.4 :", address),
        ("PROXY TCP4 1.2.3.4 5.6.7.8\r", address),
        ("PROXY TCP6 1.", address),
        ("PROXY TCP6 12345", address),
        ("PROXY TCP6 :::", address),
        ("PROXY TCP6 1::2::", address),
        ("PROXY TCP6 1:2:3:4:5:6:7:8:", address),
        ("PROXY TCP6 fe80::1%", address),
        ("PROXY TCP6 [", address),
        ("PROXY TCP6 ::1.2.3.256", address),
        ("PROXY TCP6 :: 1.", address),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 \r", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8  ", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 -", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 00", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 08", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 655350", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 02", port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r", end),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r ", end),
    ];
    for (line, words) in wrong {
        assert_wrong_at_its_end(line.as_bytes(), words);
    }
}

#[test]
fn a_line_of_more_than_107_bytes_is_refused_once_its_end_cannot_come_in_time() {
    let line = |length: usize| format!("{:x<length$}", "PROXY UNKNOWN ");
    assert_eq!(missing(line(105).as_bytes()), 2);
    assert_eq!(said(format!("{}\r\n", line(105)).as_bytes()).unwrap(), Said::Nobody);
    assert_eq!(missing(format!("{}\r", line(105)).as_bytes()), 1);
    for too_long in [line(106), format!("{}\r\n", line(106)), line(107), line(5000)] {
        assert!(matches!(said(too_long.as_bytes()), Err(HeaderError::TooLong { most: 107 })), "{too_long}");
    }
    // Two addresses that end in dots make a line that is right in every field.
    let six = "1111:1111:1111:1111:1111:1111:111.111.111.111";
    let line = format!("PROXY TCP6 {six} {six} 65535 65535\r\n");
    assert!(matches!(said(line.as_bytes()), Err(HeaderError::TooLong { most: 107 })));
    // It was over with the second address: what has to follow that has no room.
    assert!(matches!(said(&line.as_bytes()[..102]), Err(HeaderError::TooLong { most: 107 })));
    assert_eq!(missing(&line.as_bytes()[..101]), 6);
}

#[test]
fn each_part_of_a_line_is_waited_for_with_no_more_than_has_to_come() {
    let wanted = [
        ("", 15),
        ("P", 14),
        ("PROXY ", 9),
        ("PROXY U", 8),
        ("PROXY T", 15),
        ("PROXY TCP6", 12),
        ("PROXY TCP4", 22),
        ("PROXY TCP4 ", 21),
        ("PROXY TCP4 192.0.", 17),
        ("PROXY TCP4 192.0.2.7", 14),
        ("PROXY TCP4 192.0.2.7 ", 13),
        ("PROXY TCP4 192.0.2.7 198.51.100.1", 6),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 ", 5),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4", 4),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4 ", 3),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4 5", 2),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4 5\r", 1),
        ("PROXY TCP6 ", 11),
        ("PROXY TCP6 2001:db8", 11),
        ("PROXY TCP6 2001:db8:", 10),
        ("PROXY TCP6 2001:db8::1", 9),
        ("PROXY TCP6 ::ffff:192.", 14),
        ("PROXY UNKNOWN", 2),
        ("PROXY UNKNOWN\r", 1),
    ];
    for (line, more) in wanted {
        assert_eq!(missing(line.as_bytes()), more, "{line}");
    }
}
