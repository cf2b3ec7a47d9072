//! Words and numbers as values: yes and no, levels, facilities, names of peers.

use std::net::IpAddr;
use std::path::Path;

use nix::unistd::{Group, User};

use super::super::address::Malformed;
use super::super::model::HostPort;
use super::super::nearest::nearest;
use super::super::source::quote;

/// The facilities of syslog(3) and their numbers.
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The levels of syslog(3), each at its number.
const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// One of some words, in whatever case.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Malformed> {
    if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match nearest(text, all.iter().copied()).filter(|_| all.len() > 4) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("write {}", all.join(", ")),
    };
    Err(Malformed::hint(format!("{} cannot stand here", quote(text)), help))
}

/// `yes` or `no`; nothing else is taken for either.
pub(super) fn yes_no(text: &str) -> Result<bool, Malformed> {
    word(text, &[("yes", true), ("no", false)])
        .map_err(|_| Malformed::hint(format!("{} is neither yes nor no", quote(text)), "write yes or no"))
}

/// `[FACILITY.]LEVEL`.
pub(super) fn debug(text: &str) -> Result<(Option<u8>, u8), Malformed> {
    let (facility, level) = match text.split_once('.') {
        Some((facility, level)) => (Some(word(facility, FACILITIES)?), level),
        None => (None, text),
    };
    let number = level.parse::<u8>().ok().filter(|number| level.len() == 1 && *number <= 7);
    let named = LEVELS.iter().zip(0..).find(|(name, _)| name.eq_ignore_ascii_case(level)).map(|(_, number)| number);
    match number.or(named) {
        Some(level) => Ok((facility, level)),
        None => Err(Malformed::hint(
            format!("{} is no level", quote(level)),
            "write 0 to 7, or emerg, alert, crit, err, warning, notice, info, debug",
        )),
    }
}

/// Whole seconds, at most a year.
pub(super) fn seconds(text: &str) -> Result<u64, Malformed> {
    const YEAR: u64 = 365 * 86_400;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|number| digits && *number <= YEAR);
    number.ok_or_else(|| {
        let help = "write a number of seconds without a unit, at most 31536000 (a year)";
        Malformed::hint(format!("{} is no number of seconds", quote(text)), help)
    })
}

/// A host that a certificate may be for.
pub(super) fn check_host(text: &str) -> Result<(), Malformed> {
    if text.starts_with('.') || text.contains('*') {
        return Err(Malformed::hint(
            format!("{}: patterns are refused, a peer that they let in by chance would not show", quote(text)),
            "write a checkHost line for each host name; a wildcard in the peer's certificate matches by itself",
        ));
    }
    match format!("{text}:1").parse::<HostPort>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed::hint(format!("{} is not a host name", quote(text)), "write one name a line")),
    }
}

/// An e-mail address that a certificate may be for.
pub(super) fn check_email(text: &str) -> Result<(), Malformed> {
    let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    if parts.is_some() && !text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return Ok(());
    }
    Err(Malformed::hint(format!("{} is not an e-mail address", quote(text)), "write one address a line"))
}

/// An IP address that a certificate may be for.
pub(super) fn check_ip(text: &str) -> Result<IpAddr, Malformed> {
    text.parse()
        .map_err(|_| Malformed::hint(format!("{} is not an IP address", quote(text)), "write one address a line"))
}

/// What a process can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    User,
    Group,
}

/// Whether this host knows one by its name. A look-up that fails is no answer, and in a new root there may be none.
pub(super) fn known(what: Account, name: &str) -> bool {
    let unknown = match what {
        Account::User => matches!(User::from_name(name), Ok(None)),
        Account::Group => matches!(Group::from_name(name), Ok(None)),
    };
    !unknown || !Path::new("/etc/passwd").exists()
}

/// A user or a group, by name or number; `knows` says whether there is one of a name.
pub(super) fn account(text: &str, what: Account, knows: &dyn Fn(Account, &str) -> bool) -> Result<(), Malformed> {
    if text.is_empty() || text.contains(|char: char| char.is_control() || char.is_whitespace() || char == ':') {
        return Err(Malformed::hint(
            format!("{} is neither a name nor a number", quote(text)),
            "write one name or number",
        ));
    }
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    // The largest number stands for "leave it as it is" in setuid's family.
    let exists = if number { text.parse::<u32>().is_ok_and(|number| number != u32::MAX) } else { knows(what, text) };
    if exists {
        return Ok(());
    }
    let word = if what == Account::User { "user" } else { "group" };
    let help = match (what, text) {
        (Account::Group, "nobody") if knows(what, "nogroup") => {
            "Debian calls it nogroup: write setgid = nogroup".into()
        }
        _ => format!("make it, or name another {word}"),
    };
    Err(Malformed::hint(format!("there is no {word} {} on this host", quote(text)), help))
}
