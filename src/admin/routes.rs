//! Which path is whose, and those that only read.

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::auth::Peer;
use super::change;
use super::clustercheck;
use super::reply::{Reply, only, text, typed};
use super::status::status;
use super::view::View;

const KNOWN: &str = "known: GET /healthz /readyz[?service=NAME] /metrics /api/status \
                     /clustercheck/[CLUSTER/]NODE, \
                     POST /api/clusters/CLUSTER/nodes/NODE /api/notify /api/reload\n";

/// Answers one request.
pub(super) async fn respond(request: Request<Incoming>, peer: Peer, view: &View) -> Reply {
    let path = request.uri().path().to_owned();
    if let Some(change) = change::Route::of(&path) {
        return if request.method() == Method::POST {
            change::respond(change, request, peer, view).await
        } else {
            only("POST")
        };
    }
    if let Some(name) = clustercheck::named(&path) {
        return clustercheck::respond(request.method(), name, request.uri().query(), view);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return only("GET, HEAD");
    }
    match path.as_str() {
        "/healthz" => text(StatusCode::OK, "alive\n"),
        "/readyz" => readyz(request.uri().query().unwrap_or_default(), view),
        "/metrics" => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", view.metrics()),
        "/api/status" => match serde_json::to_string(&status(view)) {
            Ok(json) => typed(StatusCode::OK, "application/json", json),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("status: {e}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, KNOWN),
    }
}

/// 200 when every service, or the one that is asked for, can route.
fn readyz(query: &str, view: &View) -> Reply {
    let wanted = match query.strip_prefix("service=").map(percent_decoded) {
        _ if query.is_empty() => None,
        Some(Some(name)) => Some(name),
        // A mistyped key must not be taken as a question about all services.
        _ => return text(StatusCode::BAD_REQUEST, "usage: /readyz or /readyz?service=NAME\n"),
    };
    let layout = view.layout();
    let asked: Vec<_> = layout.services.iter().filter(|s| wanted.as_deref().is_none_or(|w| w == &*s.name)).collect();
    if asked.is_empty() {
        return text(StatusCode::NOT_FOUND, "no such service\n");
    }
    let faults: String =
        asked.into_iter().filter_map(|s| view.readiness(s).err().map(|why| format!("{}: {why}\n", s.name))).collect();
    if faults.is_empty() { text(StatusCode::OK, "ready\n") } else { text(StatusCode::SERVICE_UNAVAILABLE, faults) }
}

/// A name out of an address.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_service_name_may_be_percent_encoded_and_garbage_is_refused() {
        assert_eq!(percent_decoded("a%20b+c").as_deref(), Some("a b c"));
        assert_eq!(percent_decoded("%zz"), None);
        assert_eq!(percent_decoded("%2"), None);
        assert_eq!(percent_decoded("%ff"), None);
        assert_eq!(percent_decoded("%+1"), None, "a sign is no digit");
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back_whole(name in any::<String>(), lower in any::<bool>()) {
            let encoded: String =
                name.bytes().map(|b| if lower { format!("%{b:02x}") } else { format!("%{b:02X}") }).collect();
            prop_assert_eq!(percent_decoded(&encoded), Some(name));
        }

        #[test]
        fn no_query_panics_or_grows(text in "[%+0-9a-fA-Fg é]{0,40}") {
            if let Some(decoded) = percent_decoded(&text) {
                prop_assert!(decoded.len() <= text.len());
                prop_assert_eq!(text.contains('%'), decoded.len() < text.len());
            }
        }
    }
}
