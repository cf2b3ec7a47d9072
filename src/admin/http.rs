//! The HTTP server: few connections, short deadlines, GET only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::status::status;
use super::view::View;

/// Connections at once; further ones wait in the kernel's queue. Probes and a scraper need a handful.
const CONNECTIONS: usize = 64;

/// A request's head must have come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, which is one request, lives at most this long, so that peers that vanished do not fill [`CONNECTIONS`].
const LIFETIME: Duration = Duration::from_secs(20);

/// Wait after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, view: Arc<View>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Closed never: we hold it.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let view = Arc::clone(&view);
                tokio::spawn(async move {
                    let _slot = slot;
                    // A deadline or a broken connection concerns only who asked.
                    let _ = tokio::time::timeout(LIFETIME, connection(stream, view)).await;
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "admin address: cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, view: Arc<View>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &view);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Idle connections would hold places that readiness probes need.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "admin connection");
    }
}

fn respond<B>(request: &Request<B>, view: &View) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => readyz(request.uri().query().unwrap_or_default(), view),
        "/metrics" => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", view.metrics()),
        "/api/status" => match serde_json::to_string(&status(view)) {
            Ok(json) => typed(StatusCode::OK, "application/json", json),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("status: {e}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "known: /healthz /readyz[?service=NAME] /metrics /api/status\n".to_owned()),
    }
}

/// 200 when every service, or the one that is asked for, can route.
fn readyz(query: &str, view: &View) -> Response<Full<Bytes>> {
    let wanted = match query.strip_prefix("service=").map(percent_decoded) {
        _ if query.is_empty() => None,
        Some(Some(name)) => Some(name),
        // A mistyped key must not be taken as a question about all services.
        _ => return text(StatusCode::BAD_REQUEST, "usage: /readyz or /readyz?service=NAME\n".to_owned()),
    };
    let asked: Vec<_> = view.services.iter().filter(|s| wanted.as_deref().is_none_or(|w| w == &*s.name)).collect();
    if asked.is_empty() {
        return text(StatusCode::NOT_FOUND, "no such service\n".to_owned());
    }
    let faults: String =
        asked.into_iter().filter_map(|s| view.readiness(s).err().map(|why| format!("{}: {why}\n", s.name))).collect();
    if faults.is_empty() {
        text(StatusCode::OK, "ready\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, faults)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
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

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(code, "text/plain; charset=utf-8", body)
}

fn typed(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
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
