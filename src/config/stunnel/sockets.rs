//! `socket = a|l|r:OPTION=VALUE[:VALUE]`.

use super::super::address::Malformed;
use super::super::source::quote;
use super::Buffers;

/// What the socket options of a section come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketOptions {
    /// Addresses are bound that this host does not hold yet.
    pub(super) freebind: bool,
    /// `accept` on all of IPv6 does not take IPv4 in.
    pub(super) v6_only: bool,
    /// Keepalive of the clients' and of the targets' side, where it is spoken of.
    pub(super) keepalive: [Option<bool>; 2],
    /// Seconds without a byte before the first probe.
    pub(super) keepidle: Option<u16>,
    pub(super) accepted: Buffers,
    pub(super) connected: Buffers,
}

/// What becomes of one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It holds.
    Done,
    /// It does not hold, for this reason.
    None(&'static str),
}

/// Whose socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Listening,
    Client,
    Target,
}

/// Flags that stunnel knows and of which nothing comes here.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("SO_DEBUG", "the kernel's debugging is not turned on"),
    ("SO_DONTROUTE", "packets take the system's routes"),
    ("SO_LINGER", "a close never waits; TIMEOUTclose bounds what is left"),
    ("SO_OOBINLINE", "out-of-band data is not relayed"),
    ("SO_RCVLOWAT", "data is relayed as it comes"),
    ("SO_SNDLOWAT", "data is relayed as it comes"),
    ("SO_RCVTIMEO", "the TIMEOUT options bound every wait"),
    ("SO_SNDTIMEO", "the TIMEOUT options bound every wait"),
    ("TCP_KEEPCNT", "it follows from TCP_KEEPIDLE: a peer that vanished is noticed within twice that time"),
    ("TCP_KEEPINTVL", "it follows from TCP_KEEPIDLE: a peer that vanished is noticed within twice that time"),
    ("IP_TOS", "the system's value holds"),
    ("IP_TTL", "the system's value holds"),
    ("TCP_MAXSEG", "the path's value holds"),
];

impl SocketOptions {
    /// Takes in one line.
    ///
    /// # Errors
    /// It is not as stunnel writes it, or ignoring it would change who gets in.
    pub(super) fn set(&mut self, text: &str) -> Result<Effect, Malformed> {
        let form =
            || Malformed::hint(format!("{} is no socket option", quote(text)), "write a:, l: or r:, then OPTION=VALUE");
        let (whose, rest) = text.split_once(':').ok_or_else(form)?;
        let whose = match whose {
            "a" => Whose::Listening,
            "l" => Whose::Client,
            "r" => Whose::Target,
            _ => return Err(form()),
        };
        let (name, value) = rest.split_once('=').ok_or_else(form)?;
        if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
            return Ok(Effect::None(why));
        }
        match name {
            "TCP_NODELAY" if whose == Whose::Listening || flag(text, value)? => Ok(Effect::Done),
            "TCP_NODELAY" => Ok(Effect::None("galeway always sets TCP_NODELAY: records are written whole")),
            "SO_REUSEADDR" if flag(text, value)? || whose != Whose::Listening => Ok(Effect::Done),
            "SO_REUSEADDR" => {
                Ok(Effect::None("galeway always sets it, so that a restart does not wait for old connections"))
            }
            "SO_KEEPALIVE" => {
                let on = flag(text, value)?;
                let [of_clients, of_targets] = &mut self.keepalive;
                match whose {
                    Whose::Client => *of_clients = Some(on),
                    Whose::Target => *of_targets = Some(on),
                    // Linux hands it down from the listening socket.
                    Whose::Listening => *of_clients = Some(on),
                }
                Ok(Effect::Done)
            }
            "TCP_KEEPIDLE" => {
                // Linux takes 1 to 32767 seconds (tcp.h, MAX_TCP_KEEPIDLE).
                let seconds = number(text, value)?;
                let fits = u16::try_from(seconds).ok().filter(|seconds| (1..=32_767).contains(seconds));
                self.keepidle = Some(fits.ok_or_else(|| malformed(text, "a number of seconds, 1 to 32767"))?);
                Ok(Effect::Done)
            }
            "SO_RCVBUF" | "SO_SNDBUF" => {
                let bytes = number(text, value)?;
                let side = if whose == Whose::Target { &mut self.connected } else { &mut self.accepted };
                let which = if name == "SO_RCVBUF" { &mut side.receive } else { &mut side.send };
                *which = Some(bytes);
                Ok(Effect::Done)
            }
            "IP_FREEBIND" | "IP_BINDANY" | "IPV6_BINDANY" if whose == Whose::Listening => {
                self.freebind = flag(text, value)?;
                Ok(Effect::Done)
            }
            "IP_FREEBIND" | "IP_BINDANY" | "IPV6_BINDANY" => {
                Ok(Effect::None("it holds for addresses that are listened on"))
            }
            "IPV6_V6ONLY" => {
                self.v6_only = flag(text, value)?;
                Ok(Effect::Done)
            }
            "SO_BINDTODEVICE" => Err(Malformed::hint(
                format!("{} is refused: without it connections of every network interface would be taken", quote(text)),
                "write the interface's own address in accept, or in local for connections to targets",
            )),
            _ => Err(Malformed::hint(
                format!("{} names no socket option that stunnel knows", quote(text)),
                "capitals count; the usual ones are TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE, SO_RCVBUF and SO_SNDBUF",
            )),
        }
    }
}

fn flag(text: &str, value: &str) -> Result<bool, Malformed> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" => Ok(true),
        "0" | "no" => Ok(false),
        _ => Err(malformed(text, "yes, no, 1 or 0")),
    }
}

fn number(text: &str, value: &str) -> Result<u32, Malformed> {
    // The kernel's own type is a signed int.
    let fits = |number: &u32| i32::try_from(*number).is_ok();
    value.parse().ok().filter(fits).ok_or_else(|| malformed(text, "a whole number"))
}

fn malformed(text: &str, expected: &str) -> Malformed {
    Malformed::new(format!("{}: behind the `=` stands {expected}", quote(text)))
}
