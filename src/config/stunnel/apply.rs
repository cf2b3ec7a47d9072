//! What each option does to the settings.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::address::Malformed;
use super::super::model::TlsVersion;
use super::super::source::quote;
use super::load::World;
use super::names::Account;
use super::notes::{At, Notes};
use super::settings::{Global, Settings, Written};
use super::sockets::Effect;
use super::{LogId, address, ciphers, names, versions};

/// One line of the file: an option that is known, and its value.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// As the manual writes it.
    pub(super) name: &'static str,
    pub(super) value: &'a str,
    /// Where the value stands; where it is empty, the name.
    pub(super) at: At,
}

/// An option's effect, or what is wrong with its value.
type Applied = Result<(), Malformed>;

impl Given<'_> {
    fn written<T>(self, value: T) -> Written<T> {
        Written { value, at: self.at }
    }

    /// A path; empty is none.
    fn path(self, world: &World<'_>) -> Option<Written<PathBuf>> {
        (!self.value.is_empty()).then(|| self.written(world.directory.join(self.value)))
    }

    /// A refusal that depends on the value.
    fn refused(self, why: &str, instead: &str) -> Applied {
        Err(Malformed::hint(format!("`{} = {}` is refused: {why}", self.name, self.value), instead))
    }
}

/// An option about the process.
pub(super) fn global(global: &mut Global, line: Given<'_>, world: &World<'_>, notes: &mut Notes) {
    if let Err(malformed) = of_process(global, line, world) {
        notes.malformed(line.at, malformed);
    }
}

fn of_process(global: &mut Global, line: Given<'_>, world: &World<'_>) -> Applied {
    let needs = |path: Option<Written<PathBuf>>| {
        path.map(Some).ok_or_else(|| Malformed::hint("there is no path", "write one, or take the line out"))
    };
    match line.name {
        "chroot" => global.chroot = needs(line.path(world))?,
        // These two are not joined with the directory: they may start at the new root, see resolve.
        "output" => global.output = needs((!line.value.is_empty()).then(|| line.written(PathBuf::from(line.value))))?,
        "pid" if line.value.is_empty() => global.pid = None,
        "pid" if line.value.starts_with('/') => global.pid = Some(line.written(PathBuf::from(line.value))),
        "pid" => {
            let message = format!("{} is no full path", quote(line.value));
            return Err(Malformed::hint(message, "begin it with /: a daemon has left the directory it was started in"));
        }
        "log" => global.append = names::word(line.value, &[("append", true), ("overwrite", false)])?,
        "syslog" => global.syslog = names::yes_no(line.value)?,
        "foreground" => {
            let words = [("yes", (true, true)), ("quiet", (true, false)), ("no", (false, false))];
            (global.foreground, global.stderr) = names::word(line.value, &words)?;
        }
        "fips" if names::yes_no(line.value)? => {
            let why = "nothing here runs in OpenSSL's FIPS mode, and it would only seem so";
            return line.refused(why, "write fips = no, or keep stunnel for this");
        }
        _ => {}
    }
    Ok(())
}

/// The facility that a `debug` before the first section names.
pub(super) fn facility(line: Given<'_>) -> Option<u8> {
    names::debug(line.value).ok().and_then(|(facility, _)| facility)
}

/// An option of a section, or of the defaults of all (`is_global`). `key` is its name in small letters.
pub(super) fn service(
    settings: &mut Settings,
    line: Given<'_>,
    key: &str,
    is_global: bool,
    world: &World<'_>,
    notes: &mut Notes,
) {
    let applied = match key {
        "exec" | "execargs" => {
            settings.exec.get_or_insert(line.at);
            Ok(())
        }
        "accept" | "connect" | "redirect" | "local" | "sni" | "failover" | "delay" | "retry" | "transparent"
        | "protocol" | "reset" | "socket" | "timeoutbusy" | "timeoutclose" | "timeoutconnect" | "timeoutidle" => {
            traffic(settings, line, key, world, notes)
        }
        "debug" | "logid" | "service" | "setuid" | "setgid" | "libwrap" => {
            running(settings, line, key, is_global, world)
        }
        _ => tls(settings, line, key, world, notes),
    };
    if let Err(malformed) = applied {
        notes.malformed(line.at, malformed);
    }
}

/// Where bytes come from and go to, and how long that may take.
fn traffic(settings: &mut Settings, line: Given<'_>, key: &str, world: &World<'_>, notes: &mut Notes) -> Applied {
    match key {
        "accept" => {
            settings.ends = [true, settings.ends[1]];
            settings.accept.push(line.written(address::accept(line.value, world)?));
        }
        "connect" => {
            settings.ends = [settings.ends[0], true];
            settings.connect.push(line.written(address::connect(line.value, world)?));
        }
        "redirect" => settings.redirect.push(line.written(address::redirect(line.value, world)?)),
        "local" => settings.local = Some(line.written(address::local(line.value, world)?)),
        "sni" => settings.sni.push(line.written(line.value.to_owned())),
        "failover" => settings.round_robin = names::word(line.value, &[("prio", false), ("rr", true)])?,
        "delay" => settings.delay = names::yes_no(line.value)?,
        "retry" => {
            if names::yes_no(line.value)? {
                let why = "it starts a program again, and programs are not started here";
                return line.refused(why, "let the program connect to accept by itself, again and again if need be");
            }
        }
        "transparent" => return transparent(settings, line),
        "protocol" if line.value.eq_ignore_ascii_case("proxy") => settings.proxy = Some(line.at),
        "protocol" => {
            let why = "of the protocols that stunnel speaks before TLS only `proxy` is known here";
            return line
                .refused(why, "keep stunnel for this section, or let the far end speak TLS from the first byte on");
        }
        "reset" => settings.reset = names::yes_no(line.value)?,
        "socket" => {
            if let Effect::None(why) = settings.sockets.set(line.value)? {
                let message = format!("`socket = {}` has no effect here: {why}", line.value);
                notes.warning(line.at, message, "");
            }
        }
        "timeoutbusy" => settings.busy = positive(line)?,
        "timeoutconnect" => settings.connecting = positive(line)?,
        "timeoutclose" => settings.close = names::seconds(line.value)?,
        // poll(2) waits for ever with a negative time, and so does stunnel.
        "timeoutidle" if line.value.strip_prefix('-').is_some_and(|rest| names::seconds(rest).is_ok()) => {
            settings.idle = None;
        }
        _ => settings.idle = Some(positive(line)?),
    }
    Ok(())
}

/// A time that has to pass.
fn positive(line: Given<'_>) -> Result<u64, Malformed> {
    match names::seconds(line.value)? {
        0 => Err(Malformed::hint(
            format!("`{} = 0` would end every connection at once", line.name),
            "write a number of seconds, at least 1",
        )),
        seconds => Ok(seconds),
    }
}

fn transparent(settings: &mut Settings, line: Given<'_>) -> Applied {
    #[derive(Clone, Copy, PartialEq)]
    enum Mode {
        None,
        Source,
        Destination,
    }
    let words = [
        ("none", Mode::None),
        ("no", Mode::None),
        ("source", Mode::Source),
        ("yes", Mode::Source),
        ("destination", Mode::Destination),
        ("both", Mode::Destination),
    ];
    let mode = names::word(line.value, &words)?;
    if mode == Mode::Destination {
        let why = "connections go to addresses that stand in the file, not to where a packet was once sent";
        return line.refused(why, "write connect = ADDRESS, and a section for each address");
    }
    settings.transparent = (mode == Mode::Source).then_some(line.at);
    Ok(())
}

/// Names, logs, and who we are.
fn running(settings: &mut Settings, line: Given<'_>, key: &str, is_global: bool, world: &World<'_>) -> Applied {
    match key {
        "debug" => {
            let (facility, level) = names::debug(line.value)?;
            if facility.is_some() && !is_global {
                let help = "name the facility before the first [section]; here the level alone can stand";
                return Err(Malformed::hint(
                    format!("{}: the whole process has one facility", quote(line.value)),
                    help,
                ));
            }
            settings.level = level;
        }
        "logid" => {
            let words = [
                ("sequential", LogId::Sequential),
                ("unique", LogId::Unique),
                ("thread", LogId::Thread),
                ("process", LogId::Process),
            ];
            settings.log_id = names::word(line.value, &words)?;
        }
        "service" => {
            if line.value.is_empty() || line.value.contains(char::is_control) {
                return Err(Malformed::hint("a service needs a name", "write one, or take the line out"));
            }
            settings.name = line.value.into();
        }
        "setuid" => settings.user = Some(account(line, Account::User, world)?),
        "setgid" => settings.group = Some(account(line, Account::Group, world)?),
        _ => {
            if names::yes_no(line.value)? {
                let why =
                    "hosts.allow and hosts.deny are not read here, and everybody would be let in whom they keep out";
                return line.refused(
                    why,
                    "keep those out by a firewall, or convert this file and write allow = [] and deny = []",
                );
            }
        }
    }
    Ok(())
}

fn account(line: Given<'_>, what: Account, world: &World<'_>) -> Result<Written<Arc<str>>, Malformed> {
    names::account(line.value, what, world.knows)?;
    Ok(line.written(line.value.into()))
}

/// TLS, and who is let in.
fn tls(settings: &mut Settings, line: Given<'_>, key: &str, world: &World<'_>, notes: &mut Notes) -> Applied {
    let value = line.value;
    match key {
        "client" => settings.client = names::yes_no(value)?,
        "cert" => settings.cert = line.path(world),
        "key" => settings.key = line.path(world),
        "cafile" => settings.ca_file = line.path(world),
        // Not joined with the directory: it may start at the new root, see resolve.
        "capath" => settings.ca_path = (!value.is_empty()).then(|| line.written(PathBuf::from(value))),
        "crlfile" => settings.crl_file = line.path(world),
        "crlpath" => settings.crl_path = (!value.is_empty()).then(|| line.written(PathBuf::from(value))),
        "verify" => match value.parse::<u8>().ok().filter(|level| *level <= 4 && value.len() == 1) {
            Some(level) => settings.verify.level(level, line.at),
            None => return Err(Malformed::hint(format!("{} is no level", quote(value)), "write 0, 1, 2, 3 or 4")),
        },
        "verifychain" => settings.verify.part(true, names::yes_no(value)?),
        "verifypeer" => settings.verify.part(false, names::yes_no(value)?),
        "requirecert" => settings.verify.required(names::yes_no(value)?, line.at),
        "checkhost" => {
            // A grid's certificates have it before their host; it is cut off theirs too.
            let host = value.strip_prefix("host/").unwrap_or(value);
            names::check_host(host)?;
            settings.names.push(line.written(host.into()));
        }
        "checkip" => settings.names.push(line.written(names::check_ip(value)?.to_string().into())),
        "checkemail" => {
            names::check_email(value)?;
            settings.names.push(line.written(value.into()));
        }
        "sslversion" => settings.versions.both(versions::bound(value)?, line.at),
        "sslversionmin" => settings.versions.least(versions::bound(value)?, line.at),
        "sslversionmax" => settings.versions.most(versions::bound(value)?, line.at),
        "ciphers" => settings.ciphers = Some(line.written(taken(line, ciphers::ciphers(value)?, notes))),
        "ciphersuites" => {
            let chosen = ciphers::ciphersuites(value)?;
            settings.ciphersuites = Some(line.written(taken(line, chosen, notes)));
        }
        "curves" | "curve" => {
            let list = taken(line, ciphers::curves(value)?, notes);
            if list.is_empty() {
                let help = "write X25519, P-256, P-384, P-521 or X25519MLKEM768, with colons between them";
                return Err(Malformed::hint(format!("{} names none that is spoken here", quote(value)), help));
            }
            settings.curves = Some(line.written(list));
        }
        "options" => return library(settings, line, notes),
        "sessionresume" => settings.resume = names::yes_no(value)?,
        "renegotiation" => {
            if names::yes_no(value)? {
                let why = "connections are not renegotiated here, which is also safer";
                return line.refused(why, "write renegotiation = no; TLS 1.3 changes its keys by itself");
            }
        }
        "securitylevel" => {
            if value != "2" {
                let why =
                    "the limits of level 2 are what is kept here (RSA from 2048 bits, no SHA-1), no more and no fewer";
                return line.refused(why, "write securityLevel = 2 or take the line out; name ciphers to allow fewer");
            }
        }
        _ => {
            // Every name of the table has its place; one that has not must not be ignored.
            return line.refused("galeway does not know what to do about it", "take the line out");
        }
    }
    Ok(())
}

/// The list, after a word about what of it there is not.
fn taken<T>(line: Given<'_>, chosen: ciphers::Chosen<T>, notes: &mut Notes) -> Vec<T> {
    if !chosen.missing.is_empty() {
        let names = chosen.missing.join(", ");
        notes.warning(
            line.at,
            format!("`{}`: left out, since it is not spoken here: {}", line.name, quote(&names)),
            "",
        );
    }
    chosen.list
}

/// Library options that change nothing here, since what they are about does not exist or is always so.
const WITHOUT_EFFECT: &[&str] = &[
    "ALL",
    "CIPHER_SERVER_PREFERENCE",
    "CLEANSE_PLAINTEXT",
    "COOKIE_EXCHANGE",
    "CRYPTOPRO_TLSEXT_BUG",
    "DISABLE_TLSEXT_CA_NAMES",
    "DONT_INSERT_EMPTY_FRAGMENTS",
    "ENABLE_KTLS",
    "ENABLE_MIDDLEBOX_COMPAT",
    "EPHEMERAL_RSA",
    "MICROSOFT_BIG_SSLV3_BUFFER",
    "MICROSOFT_SESS_ID_BUG",
    "MSIE_SSLV2_RSA_PADDING",
    "NETSCAPE_CA_DN_BUG",
    "NETSCAPE_CHALLENGE_BUG",
    "NETSCAPE_DEMO_CIPHER_CHANGE_BUG",
    "NETSCAPE_REUSE_CIPHER_CHANGE_BUG",
    "NO_ANTI_REPLAY",
    "NO_COMPRESSION",
    "NO_DTLS_MASK",
    "NO_DTLSv1",
    "NO_DTLSv1_2",
    "NO_ENCRYPT_THEN_MAC",
    "NO_QUERY_MTU",
    "NO_RENEGOTIATION",
    "NO_SESSION_RESUMPTION_ON_RENEGOTIATION",
    "NO_SSLv2",
    "NO_SSLv3",
    "NO_TICKET",
    "NO_TLSv1",
    "NO_TLSv1_1",
    "PKCS1_CHECK_1",
    "PKCS1_CHECK_2",
    "PRIORITIZE_CHACHA",
    "SAFARI_ECDHE_ECDSA_BUG",
    "SINGLE_DH_USE",
    "SINGLE_ECDH_USE",
    "SSLEAY_080_CLIENT_DH_BUG",
    "SSLREF2_REUSE_CERT_TYPE_BUG",
    "TLS_BLOCK_PADDING_BUG",
    "TLS_D5_BUG",
    "TLSEXT_PADDING",
];

/// Those that make connections weaker.
const WEAKENING: &[&str] = &[
    "ALLOW_CLIENT_RENEGOTIATION",
    "ALLOW_NO_DHE_KEX",
    "ALLOW_UNSAFE_LEGACY_RENEGOTIATION",
    "CISCO_ANYCONNECT",
    "IGNORE_UNEXPECTED_EOF",
    "LEGACY_SERVER_CONNECT",
    "NO_EXTENDED_MASTER_SECRET",
    "TLS_ROLLBACK_BUG",
];

/// `options = [-]NAME`.
fn library(settings: &mut Settings, line: Given<'_>, notes: &mut Notes) -> Applied {
    let (off, name) = match line.value.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, line.value),
    };
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    let version = [("NO_TLSv1_2", TlsVersion::V12), ("NO_TLSv1_3", TlsVersion::V13)];
    if let Some((_, version)) = version.iter().find(|(known, _)| is(known)) {
        settings.versions.without(*version, !off, line.at);
    } else if WEAKENING.iter().any(is) {
        if !off {
            return line.refused(
                "it takes a safeguard of TLS away",
                "take the line out; a peer that needs it needs an update",
            );
        }
    } else if ["NO_SSLv2", "NO_SSLv3", "NO_TLSv1", "NO_TLSv1_1"].iter().any(is) && off {
        notes.warning(
            line.at,
            format!("`options = {}` has no effect here: nothing older than TLS 1.2 is spoken", line.value),
            "",
        );
    } else if name.eq_ignore_ascii_case("NO_SSL_MASK") {
        if !off {
            return line.refused("it forbids every version of TLS", "name the versions: NO_TLSv1_2 or NO_TLSv1_3");
        }
    } else if !WITHOUT_EFFECT.iter().any(is) {
        let all = WITHOUT_EFFECT.iter().chain(WEAKENING).copied().chain(["NO_TLSv1_2", "NO_TLSv1_3"]);
        let help = match super::super::nearest::nearest(name, all) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`options` takes the names of SSL_CTX_set_options(3) without SSL_OP_, one a line".to_owned(),
        };
        return Err(Malformed::hint(format!("{} is no library option", quote(name)), help));
    }
    Ok(())
}
