//! Responses: JSON, text, faults.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The body of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A fault as JSON.
#[derive(Serialize)]
struct Fault<'a> {
    error: &'a str,
}

/// A response of this type of content. All of it is of the moment: nothing is to be cached.
pub(super) fn content(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    body_of(status, kind, Full::new(body.into()).boxed_unsync())
}

/// A response with this body.
pub(super) fn body_of(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            content(status, "application/json", text)
        }
        Err(error) => {
            tracing::error!(%error, "cannot write JSON");
            content(
                StatusCode::INTERNAL_SERVER_ERROR,
                "application/json",
                "{\"error\":\"cannot write JSON\"}\n",
            )
        }
    }
}

/// What went wrong, as JSON.
pub(super) fn fault(status: StatusCode, error: &str) -> Response<Body> {
    json(status, &Fault { error })
}

/// The path exists, and this method does not.
pub(super) fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = fault(StatusCode::METHOD_NOT_ALLOWED, &format!("the method must be {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
