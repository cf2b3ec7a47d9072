//! Turning a client away, in words it understands.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Service;
use super::attempt::wanted;
use super::search::Nothing;
use crate::config::{Protocol, Service as Settings, Target};
use crate::mysql::{ERR_TEXT_MAX, err_packet};
use crate::net::Stream;
use crate::telemetry::Rejection;

/// How long a client's last bytes may take to be acknowledged and its end to come.
const PARTING: Duration = Duration::from_secs(1);

/// Bytes of a client that are thrown away while we wait for its end.
const PARTING_BYTES: usize = 64 * 1024;

/// `ER_UNKNOWN_COM_ERROR`, which Galera answers where it cannot serve ("WSREP has not yet prepared node for
/// application use"), and its SQLSTATE.
const NO_NODE: (u16, [u8; 5]) = (1047, *b"08S01");

/// `ER_CON_COUNT_ERROR`.
const TOO_MANY: (u16, [u8; 5]) = (1040, *b"08004");

/// Answers in place of a greeting and closes. Returns what was said.
pub(super) async fn refuse(mut client: Stream, service: &Service, settings: &Settings, nothing: &Nothing) -> String {
    let (code, state, text) = match answer(service, settings, nothing) {
        Answer::Silence(why) => return why,
        Answer::Error(code, state, text) => (code, state, text),
    };
    match settings.protocol {
        Protocol::Tcp => client.abort(),
        Protocol::Mysql => {
            let packet = err_packet(code, state, &text);
            // Whoever opens more than it may is not waited for besides, nor are more than a bounded number of others: refused
            // ones that stay would have descriptors without a limit.
            let parting =
                service.house.partings.try_acquire().ok().filter(|_| nothing.rejection != Rejection::TooManyOfSource);
            let patience = if parting.is_some() { PARTING } else { Duration::ZERO };
            let written = timeout(patience, client.write_all(&packet)).await;
            if parting.is_some() && matches!(written, Ok(Ok(()))) {
                part(client).await;
            }
        }
    }
    text
}

enum Answer {
    /// An ERR packet.
    Error(u16, [u8; 5], String),
    /// The connection's end; for the log, why.
    Silence(String),
}

fn answer(service: &Service, settings: &Settings, nothing: &Nothing) -> Answer {
    let error = |(code, state), text| Answer::Error(code, state, text);
    match (nothing.rejection, &nothing.passed_on) {
        (Rejection::NoNode | Rejection::QueueFull, Some(e)) => {
            Answer::Error(e.code, e.sqlstate.unwrap_or(*b"HY000"), e.message.clone())
        }
        (Rejection::NoNode | Rejection::QueueFull, None) => {
            let head = match &settings.target {
                Target::Cluster { cluster, role, .. } => {
                    format!("galeway: no node of cluster \"{cluster}\" can serve role {}: ", role.as_str())
                }
                Target::Fixed(_) => format!("galeway: no address of service \"{}\" can be reached: ", settings.name),
            };
            error(NO_NODE, listed(head, &nothing.trail.reasons(&service.pool.load(), wanted(settings))))
        }
        (Rejection::TooManyConnections, _) => {
            let most = settings.max_connections;
            error(TOO_MANY, format!("galeway: too many connections (max_connections = {most})"))
        }
        (Rejection::TooManyOfSource, _) => {
            let most = settings.max_connections_per_source.unwrap_or_default();
            error(
                TOO_MANY,
                format!("galeway: too many connections of your address (max_connections_per_source = {most})"),
            )
        }
        (Rejection::Shutdown, _) => error(NO_NODE, "galeway: stopping".to_owned()),
        (Rejection::Retired, _) => error(NO_NODE, "galeway: this service is gone from the configuration".to_owned()),
        // It is connected to another host now: no word of ours reaches it.
        (Rejection::AddressLost, _) => {
            Answer::Silence("the address that it connected to has left this host".to_owned())
        }
        (Rejection::ClientGone, _) => Answer::Silence("the client left".to_owned()),
        // Whoever is not meant to be here is told nothing.
        (Rejection::Denied | Rejection::BadHeader | Rejection::SlowHeader | Rejection::Tls, _) => {
            Answer::Silence(nothing.why.clone())
        }
    }
}

/// Appends as many reasons as the packet holds, and says how many it does not.
fn listed(mut text: String, reasons: &[String]) -> String {
    const REST: &str = "; and 4294967295 more";
    for (i, reason) in reasons.iter().enumerate() {
        let left = reasons.len() - i;
        let reserve = if left > 1 { REST.len() } else { 0 };
        let separator = if i > 0 { "; " } else { "" };
        if text.len() + separator.len() + reason.len() + reserve > ERR_TEXT_MAX {
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}and {left} more");
            break;
        }
        text.push_str(separator);
        text.push_str(reason);
    }
    text
}

/// Ends a client's connection so that it gets every byte: our direction first, then a bounded wait for its end. A
/// close with bytes unread would be a reset, and a reset may overtake an ERR packet or a COMMIT's OK.
pub(super) async fn part(mut client: Stream) {
    let parting = async {
        client.shutdown().await?;
        let mut rest = PARTING_BYTES;
        let mut unread = [0; 512];
        while rest > 0 {
            match client.read(&mut unread).await? {
                0 => break,
                n => rest = rest.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong here, the connection is closed next.
    let _ = timeout(PARTING, parting).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_that_do_not_fit_are_counted_and_the_text_stays_within_the_packet() {
        let reasons: Vec<String> = (1..=40).map(|i| format!("db{i}: unreachable (connection refused)")).collect();
        let text = listed("head: ".to_owned(), &reasons);
        assert!(text.len() <= ERR_TEXT_MAX, "{}", text.len());
        let shown = text.matches("refused").count();
        assert!(text.ends_with(&format!("; and {} more", 40 - shown)), "{text}");
        assert!(shown > 5);
    }

    #[test]
    fn three_reasons_are_told_in_full() {
        let reasons = ["db1: Donor/Desynced", "db2: non-Primary", "db3: unreachable (connection refused)"];
        let text = listed(String::new(), &reasons.map(str::to_owned));
        assert_eq!(text, "db1: Donor/Desynced; db2: non-Primary; db3: unreachable (connection refused)");
    }

    proptest! {
        #[test]
        fn whatever_the_reasons_the_text_fits_and_counts_them_all(
            head in "[a-z é]{0,150}", reasons in proptest::collection::vec("[a-z: é]{0,250}", 0..30)
        ) {
            let text = listed(head.clone(), &reasons);
            prop_assert!(text.len() <= ERR_TEXT_MAX, "{}", text.len());
            let list = text.strip_prefix(&head).expect("the head comes first");
            let whole = (0..=reasons.len()).rev().find(|n| {
                let shown = reasons[..*n].join("; ");
                let rest = match (reasons.len() - n, *n) {
                    (0, _) => String::new(),
                    (left, 0) => format!("and {left} more"),
                    (left, _) => format!("; and {left} more"),
                };
                list == shown + &rest
            });
            prop_assert!(whole.is_some(), "{:?}", list);
        }
    }
}
