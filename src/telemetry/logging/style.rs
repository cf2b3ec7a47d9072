//! How a line looks, where it is neither tracing's own text nor JSON.
//!
//! What comes from outside cannot forge a line: control characters are escaped.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Events that say in stunnel's words what happens to a connection.
const TUNNEL: &str = "tunnel";

/// The brackets of a line that belongs to no connection: stunnel's main thread.
const NO_CONNECTION: &str = "ui";

/// The local time zone, read once.
#[derive(Debug, Clone)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) fn system() -> Self {
        Self(TimeZone::system())
    }

    fn now(&self, form: &str) -> impl fmt::Display {
        Timestamp::now().to_zoned(self.0.clone()).strftime(form).to_string()
    }
}

/// Which of our own events and of the tunnel's are logged at a number of syslog(3).
///
/// stunnel has one level more than tracing in between: what operators of stunnel look for is `notice`, which events of the
/// tunnel have as INFO. Our own events at INFO count as stunnel's `info`.
pub(super) fn stunnel_levels(number: u8) -> [LevelFilter; 2] {
    match number {
        0..=2 => [LevelFilter::OFF, LevelFilter::OFF],
        3 => [LevelFilter::ERROR, LevelFilter::ERROR],
        4 => [LevelFilter::WARN, LevelFilter::WARN],
        5 => [LevelFilter::WARN, LevelFilter::INFO],
        6 => [LevelFilter::INFO, LevelFilter::DEBUG],
        _ => [LevelFilter::DEBUG, LevelFilter::TRACE],
    }
}

/// The number of syslog(3) that an event is shown with.
fn number(event: &Event<'_>) -> u8 {
    let tunnel = event.metadata().target() == TUNNEL;
    match *event.metadata().level() {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO if tunnel => 5,
        Level::INFO => 6,
        Level::DEBUG if tunnel => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// An event in words: its message, and its fields behind that.
#[derive(Debug, Default)]
struct Words {
    message: String,
    fields: String,
    /// Of the connection.
    id: String,
}

impl Words {
    fn of(event: &Event<'_>) -> Self {
        let mut words = Self::default();
        event.record(&mut Reader { words: &mut words, tunnel: event.metadata().target() == TUNNEL });
        words
    }
}

struct Reader<'a> {
    words: &'a mut Words,
    tunnel: bool,
}

impl Reader<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let words = &mut self.words;
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(Escaped(&mut words.message), "{value}"),
            "id" if self.tunnel => write!(Escaped(&mut words.id), "{value}"),
            name => {
                let _ = write!(words.fields, " {name}=");
                write!(Escaped(&mut words.fields), "{value}")
            }
        };
    }
}

impl Visit for Reader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain =
            field.name() == "message" || (self.tunnel && field.name() == "id") || !value.contains([' ', '"', '=']);
        if plain && !value.is_empty() {
            self.put(field, format_args!("{value}"));
        } else {
            self.put(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// Escapes control characters.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

/// `LOGn[id]: message`.
fn stunnel_line(event: &Event<'_>, words: &Words) -> String {
    let id = if words.id.is_empty() { NO_CONNECTION } else { &words.id };
    format!("LOG{}[{id}]: {}{}", number(event), words.message, words.fields)
}

/// A line of a stunnel's log file.
#[derive(Debug)]
pub(super) struct Stunnel {
    pub(super) zone: Zone,
}

impl<S, N> FormatEvent<S, N> for Stunnel
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(to, "{} {}", self.zone.now("%Y.%m.%d %H:%M:%S"), stunnel_line(event, &Words::of(event)))
    }
}

/// What stands behind the name in the system's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// The message and its fields.
    Words,
    /// `LOGn[id]: message`.
    Stunnel,
}

/// A datagram for the system's log: RFC 3164, without a host name, as syslog(3) writes it.
#[derive(Debug)]
pub(super) struct Syslog {
    pub(super) facility: u8,
    pub(super) ident: Arc<str>,
    pub(super) plain: Plain,
    pub(super) zone: Zone,
}

impl<S, N> FormatEvent<S, N> for Syslog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let words = Words::of(event);
        let text = match self.plain {
            Plain::Words => format!("{}{}", words.message, words.fields),
            Plain::Stunnel => stunnel_line(event, &words),
        };
        let priority = u16::from(self.facility) * 8 + u16::from(number(event));
        // The day of the month has two places, filled with a blank (RFC 3164, 4.1.2).
        write!(to, "<{priority}>{} {}[{}]: {text}", self.zone.now("%b %e %H:%M:%S"), self.ident, std::process::id())
    }
}

/// A datagram of the journal's native protocol: a line for each field, `NAME=value`. Values hold no line break here, so
/// the protocol's binary form for those is not needed.
#[derive(Debug)]
pub(super) struct Journald {
    pub(super) ident: Arc<str>,
}

/// The longest message that is sent in one piece: the journal wants larger ones in a file, and no event of ours is.
const LONGEST: usize = 32 * 1024;

impl<S, N> FormatEvent<S, N> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let words = Words::of(event);
        let mut text = format!("{}{}", words.message, words.fields);
        text.truncate(text.floor_char_boundary(LONGEST));
        writeln!(to, "PRIORITY={}", number(event))?;
        writeln!(to, "SYSLOG_IDENTIFIER={}", self.ident)?;
        writeln!(to, "TARGET={}", event.metadata().target())?;
        let mut fields = Fields { to: &mut to, room: LONGEST, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writeln!(to, "MESSAGE={text}")
    }
}

/// The event's own fields, under names that the journal takes: `[A-Z0-9_]`, no `_` in front, at most 64 bytes.
struct Fields<'a, 'w> {
    to: &'a mut Writer<'w>,
    room: usize,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name: String = field.name().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let mut text = String::new();
        let _ = write!(Escaped(&mut text), "{value}");
        if field.name() == "message" || name.len() > 60 || self.room < text.len() {
            return;
        }
        self.room -= text.len();
        // With a word in front, no field of ours can pass for one of the journal's own.
        self.result = self.result.and_then(|()| writeln!(self.to, "F_{}={text}", name.to_ascii_uppercase()));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a style makes of the events.
    fn lines<F>(style: F, events: impl FnOnce()) -> Vec<String>
    where
        F: FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields>
            + Send
            + Sync
            + 'static,
    {
        let paper = Paper::default();
        let to = paper.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(style).with_writer(move || to.clone()).boxed();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    #[test]
    fn a_connections_line_is_stunnels() {
        let lines = lines(Stunnel { zone: utc() }, || {
            tracing::info!(target: "tunnel", id = 17_u64, "Service [a] accepted connection from 192.0.2.1:5");
            tracing::debug!(target: "tunnel", id = "cron", "done");
            tracing::error!(target: "tunnel", "Configuration failed");
            tracing::info!(target: "galeway", node = "db1", why = "no answer", n = 3, "changed");
        });
        let (stamp, first) = lines[0].split_at(19);
        assert!(jiff::civil::DateTime::strptime("%Y.%m.%d %H:%M:%S", stamp).is_ok(), "{stamp}");
        assert_eq!(first, " LOG5[17]: Service [a] accepted connection from 192.0.2.1:5");
        assert_eq!(&lines[1][19..], " LOG6[cron]: done");
        assert_eq!(&lines[2][19..], " LOG3[ui]: Configuration failed");
        assert_eq!(&lines[3][19..], " LOG6[ui]: changed node=db1 why=\"no answer\" n=3");
    }

    #[test]
    fn what_a_peer_says_forges_no_line() {
        let evil = "CN=x\n2026.01.01 00:00:00 LOG5[0]: Certificate accepted";
        for lines in [
            lines(Stunnel { zone: utc() }, || tracing::warn!(target: "tunnel", id = 0_u64, "Rejected: {evil}")),
            lines(Stunnel { zone: utc() }, || tracing::warn!(target: "galeway", subject = %evil, "refused")),
        ] {
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("CN=x\\n2026"), "{lines:?}");
        }
        let journal = lines(Journald { ident: "galeway".into() }, || {
            tracing::warn!(target: "galeway", subject = evil, "{evil}");
        });
        assert_eq!(journal.len(), 5, "{journal:?}");
    }

    #[test]
    fn a_datagram_of_the_systems_log_is_what_syslog_3_sends() {
        let style = Syslog { facility: 3, ident: "stunnel".into(), plain: Plain::Stunnel, zone: utc() };
        let lines = lines(style, || tracing::info!(target: "tunnel", id = 4_u64, "text"));
        let rest = lines[0].strip_prefix("<29>").unwrap();
        let (stamp, rest) = rest.split_at(15);
        assert!(jiff::fmt::strtime::parse("%b %e %H:%M:%S", stamp).is_ok(), "{stamp}");
        assert_eq!(rest, format!(" stunnel[{}]: LOG5[4]: text", std::process::id()));
    }

    #[test]
    fn the_journal_gets_each_field() {
        let lines = lines(Journald { ident: "galeway".into() }, || {
            tracing::warn!(target: "galeway", node = "db1", "gone");
        });
        assert_eq!(
            lines,
            ["PRIORITY=4", "SYSLOG_IDENTIFIER=galeway", "TARGET=galeway", "F_NODE=db1", "MESSAGE=gone node=db1"]
        );
    }

    #[test]
    fn a_number_of_syslog_lets_through_what_is_shown_with_it_and_below() {
        let passes = |number: u8| stunnel_levels(number).map(|filter| filter.into_level());
        assert_eq!(passes(5), [Some(Level::WARN), Some(Level::INFO)]);
        assert_eq!(passes(7), [Some(Level::DEBUG), Some(Level::TRACE)]);
        assert_eq!(passes(2), [None, None]);
        assert_eq!(passes(200), passes(7));
    }
}
