//! `[cluster.NAME.monitor]`.

use std::time::Duration;

use super::super::diagnostic::Span;
use super::super::duration;
use super::super::keys;
use super::super::model::{Monitor, MonitorTls, NodeKind, TlsMode};
use super::super::reader::{Read, SOME_TIME, Table};
use super::super::secret::Secret;
use super::super::source::quote;
use super::super::words;
use super::file::file;
use super::secret;

/// The section, and what of it other sections have to fit to.
pub(super) struct Watched {
    pub(super) monitor: Monitor,
    pub(super) kind: Read<NodeKind>,
    pub(super) tls: Read<TlsMode>,
    /// Where another port than the nodes' own is written.
    pub(super) port: Option<Span>,
}

pub(super) fn read(cluster: &str, above: &Table<'_>) -> Watched {
    let default = Monitor::new("", Secret::default());
    let Some(table) = above.table("monitor", &keys::MONITOR) else {
        if !above.has("monitor") {
            let help = format!("add [cluster.{cluster}.monitor] with user = \"…\" and password_file = \"…\"");
            let message = format!("cluster {} has no monitor: a Galera check has to log in", quote(cluster));
            above.doc.missing(Some(above.span), message, help);
        }
        let kind = Read { value: default.kind, span: None, good: false };
        let tls = Read { value: default.tls.mode, span: None, good: false };
        return Watched { monitor: default, kind, tls, port: None };
    };
    let kind = table.choice("kind", default.kind, words::KIND);
    let (user, password, tls, files) = if kind.value == NodeKind::Tcp {
        no_login(&table);
        (String::new(), Secret::default(), Read { value: TlsMode::Off, span: None, good: true }, MonitorTls::default())
    } else {
        let user = user(&table, kind);
        let (tls, files) = tls(&table);
        (user, secret::read(&table), tls, files)
    };

    let interval = table.duration("interval", default.interval, SOME_TIME);
    let mut fast_interval = table.duration("fast_interval", default.fast_interval, SOME_TIME);
    if fast_interval.span.is_none() {
        // Whoever asks for a short interval does not have to lower this one as well.
        fast_interval.value = fast_interval.value.min(interval.value);
    }
    let timeout = table.duration("timeout", default.timeout, SOME_TIME);
    let down_after = table.duration("down_after", default.down_after, SOME_TIME);
    intervals(&table, interval, fast_interval, timeout, down_after);

    let port = u16::try_from(table.integer("port", 0, 0..=65535)).ok().filter(|port| *port != 0);
    let monitor = Monitor {
        kind: kind.value,
        user,
        password,
        interval: interval.value,
        fast_interval: fast_interval.value,
        timeout: timeout.value,
        rise: table.integer("rise", default.rise, 1..=1000),
        fall: table.integer("fall", default.fall, 1..=1000),
        down_after: down_after.value,
        port,
        tls: files,
        send_proxy_protocol: table.choice("send_proxy_protocol", default.send_proxy_protocol, words::PROXY_OUT).value,
    };
    Watched { monitor, kind, tls, port: port.and_then(|_| table.key_span("port")) }
}

/// The account of a check that logs in.
fn user(table: &Table<'_>, kind: Read<NodeKind>) -> String {
    let (what, grant) = match kind.value {
        NodeKind::Mysql => (
            "MySQL",
            "SLAVE MONITOR or REPLICATION CLIENT is all the account needs, and in a replication group a SELECT",
        ),
        _ => ("Galera", "SELECT on mysql.wsrep_cluster_members is all the account needs"),
    };
    let Some(value) = table.get("user") else {
        // A kind that was refused may have been one that does not log in.
        if kind.good {
            let message = format!("the monitor has no `user`: a {what} check has to log in");
            table.doc.missing(Some(table.span), message, format!("write user = \"…\"; {grant}"));
        }
        return String::new();
    };
    let user = value.string("the name of an account").unwrap_or_default();
    if user.is_empty() && value.inner.is_str() {
        let help = format!("a {what} check has to log in; {grant}");
        table.doc.error(value.span, "`user` is empty", Some(help));
    }
    user.to_owned()
}

/// Notes each key of the login, which a check of kind tcp does not have.
fn no_login(table: &Table<'_>) {
    let written = |key: &str| {
        let plain = key == "tls" && table.get(key).is_some_and(|value| value.inner.as_str() == Some("off"));
        table.key_span(key).filter(|_| !plain)
    };
    for key in ["user", "password", "password_file", "password_env", "tls", "ca", "cert", "key"] {
        if let Some(span) = written(key) {
            let help = "a node that takes the connection is well, and nothing logs in; leave it out".to_owned();
            table.doc.error(span, format!("`{key}` is not used with kind = \"tcp\""), Some(help));
        }
    }
}

/// What the four times say about each other.
fn intervals(
    table: &Table<'_>,
    interval: Read<Duration>,
    fast_interval: Read<Duration>,
    timeout: Read<Duration>,
    down_after: Read<Duration>,
) {
    if let Some(span) = fast_interval.span
        && fast_interval.good
        && interval.good
        && fast_interval.value > interval.value
    {
        let message = format!("`fast_interval` is longer than `interval`, {}", duration::format(interval.value));
        let help = "a node in doubt is to be looked at more often than others".to_owned();
        table.doc.error(span, message, Some(help));
    }
    if let Some(span) = down_after.span.or(timeout.span)
        && down_after.good
        && timeout.good
        && down_after.value < timeout.value
    {
        let times = format!("{} < {}", duration::format(down_after.value), duration::format(timeout.value));
        let help = "a single slow check ends the node's sessions before it has failed".to_owned();
        table.doc.warning(span, format!("`down_after` is shorter than `timeout`: {times}"), Some(help));
    }
}

fn tls(table: &Table<'_>) -> (Read<TlsMode>, MonitorTls) {
    let doc = table.doc;
    let mode = table.choice("tls", TlsMode::Off, words::TLS);
    let ca = file(table, "ca");
    let cert = file(table, "cert");
    let key = file(table, "key");

    // An anchor that nobody reads is a belief in a protection that is not there: refused, not warned of.
    let verifies = matches!(mode.value, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    if let Some(span) = table.key_span("ca")
        && mode.good
        && !verifies
    {
        let written = words::written(words::TLS, &mode.value);
        let help = "write tls = \"verify-identity\", or \"verify-ca\" where certificates do not name the hosts";
        doc.error(span, format!("`ca` is not looked at with tls = \"{written}\""), Some(help.to_owned()));
    }
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        let Some(span) = table.key_span(one) else { continue };
        if !table.has(other) {
            doc.error(span, format!("`{one}` without `{other}`"), Some("both or neither".to_owned()));
        } else if mode.good && mode.value == TlsMode::Off {
            let help = "write tls = \"require\" or one of the verifying modes".to_owned();
            doc.error(span, format!("`{one}` is not used with tls = \"off\""), Some(help));
        }
    }
    (mode, MonitorTls { mode: mode.value, ca, identity: cert.zip(key) })
}
