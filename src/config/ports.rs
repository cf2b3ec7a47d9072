//! Ports by the names that services(5) gives them.
//!
//! `getservbyname(3)` would ask further sources, may block on them and is not safe in threads; the file is what everybody
//! means.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use super::address::Malformed;
use super::nearest::nearest;
use super::source::quote;

/// Where the names stand.
const FILE: &str = "/etc/services";

/// More than any such file holds.
const MOST: u64 = 4 * 1024 * 1024;

/// Whether this is the form of a name: at least one letter, which a port number has not (RFC 6335 5.1).
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The TCP port of this name on this host.
pub(super) fn port_of(name: &str) -> Result<u16, Malformed> {
    find_in(&read()?, name)
}

/// The text of the file; empty on a host that has none.
fn read() -> Result<String, Malformed> {
    let mut bytes = Vec::new();
    match File::open(FILE).and_then(|file| file.take(MOST).read_to_end(&mut bytes)) {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(reason) => Err(Malformed::hint(
            format!("ports have their names from {FILE}, which cannot be read: {reason}"),
            "write the port's number",
        )),
    }
}

fn find_in(text: &str, name: &str) -> Result<u16, Malformed> {
    if let Some((_, port)) = names(text).find(|(known, _)| *known == name) {
        return Ok(port);
    }
    let help = match nearest(name, names(text).map(|(known, _)| known)) {
        Some(known) => format!("did you mean \"{known}\"? A port number is right everywhere"),
        None => "write the port's number".to_owned(),
    };
    Err(Malformed::hint(format!("{} is neither a port number nor a TCP service of {FILE}", quote(name)), help))
}

/// Each name and alias of a TCP service: `NAME PORT/tcp ALIAS… # comment`.
fn names(text: &str) -> impl Iterator<Item = (&str, u16)> {
    text.lines().flat_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let name = words.next();
        let port = words.next().and_then(|port| port.strip_suffix("/tcp")?.parse().ok());
        name.into_iter().chain(words).filter_map(move |name| Some((name, port?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Network services\n\
                        ssh\t\t22/tcp\n\
                        domain\t53/udp\n\
                        domain 53/tcp nameserver dns#comment\n\
                        tftp 69/udp\n\
                        mysql\t\t3306/tcp mysqld # db\n\
                        broken 1x/tcp\n\
                        alone\n\
                        large 99999/tcp\n";

    #[test]
    fn a_name_or_an_alias_has_the_port_of_its_line() {
        for (name, port) in [("ssh", 22), ("domain", 53), ("nameserver", 53), ("dns", 53), ("mysqld", 3306)] {
            assert_eq!(find_in(TEXT, name).unwrap(), port, "{name}");
        }
    }

    #[test]
    fn a_name_of_another_protocol_a_broken_line_and_a_comment_name_no_port() {
        for name in ["tftp", "broken", "alone", "large", "Network", "db", "22/tcp"] {
            let message = find_in(TEXT, name).unwrap_err().to_string();
            assert_eq!(message, format!("`{name}` is neither a port number nor a TCP service of /etc/services"));
        }
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        let refused = find_in(TEXT, "mysq").unwrap_err();
        assert_eq!(refused.help(), Some("did you mean \"mysql\"? A port number is right everywhere"));
        assert_eq!(find_in(TEXT, "xyzzy").unwrap_err().help(), Some("write the port's number"));
        assert_eq!(find_in("", "mysql").unwrap_err().help(), Some("write the port's number"));
    }

    #[test]
    fn a_number_is_no_name() {
        for (text, name) in [("mysql", true), ("3com-tsmux", true), ("3306", false), ("", false), ("-a", false)] {
            assert_eq!(is_name(text), name, "{text}");
        }
    }
}
