//! Answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// What every route answers with.
pub(super) type Reply = Response<Full<Bytes>>;

/// A line for a person.
pub(super) fn text(code: StatusCode, body: impl Into<String>) -> Reply {
    typed(code, "text/plain; charset=utf-8", body.into())
}

/// Anything.
pub(super) fn typed(code: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The wrong verb for this path.
pub(super) fn only(methods: &'static str) -> Reply {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
