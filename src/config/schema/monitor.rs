//! `[cluster.NAME.monitor]`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::duration;
use super::super::keys;
use super::super::model::{Monitor, MonitorTls, TlsMode};
use super::super::reader::{Read, SOME_TIME, Table, Value};
use super::super::secret::Secret;
use super::super::source::quote;
use super::super::words;
use super::secret;

pub(super) fn read(cluster: &str, above: &Table<'_>) -> Monitor {
    let without_login = Monitor::new("", Secret::default());
    let Some(table) = above.table("monitor", &keys::MONITOR) else {
        if !above.has("monitor") {
            let help = format!("add [cluster.{cluster}.monitor] with user = \"…\" and password_file = \"…\"");
            let message = format!("cluster {} has no monitor: a Galera check has to log in", quote(cluster));
            above.doc.missing(Some(above.span), message, help);
        }
        return without_login;
    };
    let doc = table.doc;
    let kind = table.choice("kind", (), words::MONITOR_KIND);
    let user = match table.get("user") {
        Some(value) => {
            let user = value.string("the name of an account").unwrap_or_default();
            if user.is_empty() && value.inner.is_str() {
                let help =
                    "a Galera check has to log in; SELECT on mysql.wsrep_cluster_members is all the account needs"
                        .to_owned();
                doc.error(value.span, "`user` is empty", Some(help));
            }
            user.to_owned()
        }
        None => {
            // Only a Galera check is known to need a login; another kind is refused for its own sake already.
            if kind.good {
                let help = "write user = \"…\"; SELECT on mysql.wsrep_cluster_members is all the account needs";
                doc.missing(Some(table.span), "the monitor has no `user`: a Galera check has to log in", help);
            }
            String::new()
        }
    };

    let default = without_login;
    let interval = table.duration("interval", default.interval, SOME_TIME);
    let mut fast_interval = table.duration("fast_interval", default.fast_interval, SOME_TIME);
    if fast_interval.span.is_none() {
        // Whoever asks for a short interval does not have to lower this one as well.
        fast_interval.value = fast_interval.value.min(interval.value);
    }
    let timeout = table.duration("timeout", default.timeout, SOME_TIME);
    let down_after = table.duration("down_after", default.down_after, SOME_TIME);
    intervals(&table, interval, fast_interval, timeout, down_after);

    let port = table.integer("port", 0, 0..=65535);
    Monitor {
        user,
        password: secret::read(&table),
        interval: interval.value,
        fast_interval: fast_interval.value,
        timeout: timeout.value,
        rise: table.integer("rise", default.rise, 1..=1000),
        fall: table.integer("fall", default.fall, 1..=1000),
        down_after: down_after.value,
        port: u16::try_from(port).ok().filter(|port| *port != 0),
        tls: tls(&table),
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

fn tls(table: &Table<'_>) -> MonitorTls {
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
    MonitorTls { mode: mode.value, ca, identity: cert.zip(key) }
}

/// The path of a file that can be read now; its content is for whoever uses it.
fn file(table: &Table<'_>, key: &str) -> Option<PathBuf> {
    let value = table.get(key)?;
    let written = value.string("the path of a file")?;
    let path = table.doc.path(written);
    if written.is_empty() {
        let help = format!("leave `{key}` out where there is none");
        table.doc.error(value.span, format!("`{key}` is empty"), Some(help));
        return None;
    }
    if let Err(reason) = readable(&path) {
        unreadable(table, &value, &path, &reason);
        return None;
    }
    Some(path)
}

/// Opening a directory works; only reading it shows what it is.
fn readable(path: &Path) -> std::io::Result<()> {
    File::open(path)?.read(&mut [0]).map(drop)
}

/// Notes a file that cannot be read.
pub(super) fn unreadable(table: &Table<'_>, value: &Value<'_>, path: &Path, reason: &std::io::Error) {
    let written = value.inner.as_str().unwrap_or_default();
    let help = (!Path::new(written).is_absolute()).then(|| "paths are relative to the configuration file".to_owned());
    table.doc.error(value.span, format!("cannot read {}: {reason}", quote(&path.to_string_lossy())), help);
}
