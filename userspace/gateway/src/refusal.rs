//! What the gateway answers itself when a request cannot be served: whose fault, and which status.

use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue};

/// Why the gateway refuses an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The target or the host is not what a gateway can route.
    Target,
    /// The path has two readings.
    Path,
    /// The method is CONNECT.
    Method,
    /// No route takes it.
    NoRoute,
    /// The rule has no backend, or the one whose turn it is cannot be used.
    BadBackend,
    /// No endpoint is ready.
    NoEndpoint,
    /// No connection to an endpoint came about.
    Connect,
    /// The connection to the endpoint ended before a response.
    UpstreamEnded,
    /// A try took longer than `backendRequest`.
    TryTimeout,
    /// The whole took longer than `request`.
    RequestTimeout,
    /// The client's body ended wrongly.
    ClientBody,
    /// An Origin that CORS does not allow asked in a preflight.
    Preflight,
    /// The rule has a filter that this version does not carry out.
    Unsupported,
    /// The head of an HTTP/2 request has too many fields.
    Fields,
    /// The host belongs to another listener than the name of the TLS handshake.
    Misdirected,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blame {
    /// The client's.
    Downstream,
    /// The endpoint's.
    Upstream,
    /// Ours, or our configuration's.
    Gateway,
}

impl Refusal {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Target,
        Self::Path,
        Self::Method,
        Self::NoRoute,
        Self::BadBackend,
        Self::NoEndpoint,
        Self::Connect,
        Self::UpstreamEnded,
        Self::TryTimeout,
        Self::RequestTimeout,
        Self::ClientBody,
        Self::Preflight,
        Self::Unsupported,
        Self::Fields,
        Self::Misdirected,
    ];

    /// The status, a word for logs and counters, whose fault it is, and a sentence.
    const fn facts(self) -> (StatusCode, &'static str, Blame, &'static str) {
        use Blame::{Downstream, Gateway, Upstream};
        match self {
            Self::Target => {
                (StatusCode::BAD_REQUEST, "target", Downstream, "The target or the host cannot be routed.")
            }
            Self::Path => (StatusCode::BAD_REQUEST, "path", Downstream, "The path can be read in two ways."),
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, "method", Downstream, "CONNECT is not served here.")
            }
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", Downstream, "No route takes this request."),
            Self::BadBackend => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "bad_backend",
                Gateway,
                "The route names a backend that cannot be used.",
            ),
            Self::NoEndpoint => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_endpoint", Upstream, "No endpoint is ready.")
            }
            Self::Connect => {
                (StatusCode::SERVICE_UNAVAILABLE, "connect", Upstream, "No endpoint could be reached.")
            }
            Self::UpstreamEnded => (
                StatusCode::BAD_GATEWAY,
                "upstream_ended",
                Upstream,
                "The endpoint gave no response that can be read.",
            ),
            Self::TryTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "try_timeout", Upstream, "The endpoint took too long.")
            }
            Self::RequestTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "request_timeout", Upstream, "The exchange took too long.")
            }
            Self::ClientBody => {
                (StatusCode::BAD_REQUEST, "client_body", Downstream, "The body of the request ended wrongly.")
            }
            Self::Preflight => {
                (StatusCode::FORBIDDEN, "preflight", Downstream, "This origin may not do that.")
            }
            Self::Unsupported => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "unsupported",
                Gateway,
                "The route has a filter that is not carried out here.",
            ),
            Self::Fields => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "fields",
                Downstream,
                "The request has too many fields.",
            ),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                Downstream,
                "This host is served over a connection for its own name.",
            ),
        }
    }

    /// The status that it is answered with.
    pub const fn status(self) -> StatusCode {
        self.facts().0
    }

    /// A word for logs and counters.
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// Whose fault it is.
    pub const fn blame(self) -> Blame {
        self.facts().2
    }

    /// Whether the same request may be sent to an endpoint again: nothing of it was taken.
    pub const fn is_retry_safe(self) -> bool {
        matches!(self, Self::Connect)
    }

    /// Content type and body: a problem document (RFC 9457) where the client takes one.
    pub(crate) fn body(self, request: &HeaderMap) -> (HeaderValue, String) {
        let (status, name, _, sentence) = self.facts();
        let accept = request.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.contains("json") {
            let body = format!(
                r#"{{"type":"about:blank","title":"{sentence}","status":{},"reason":"{name}"}}"#,
                status.as_u16()
            );
            (HeaderValue::from_static("application/problem+json"), body)
        } else {
            (HeaderValue::from_static("text/plain; charset=utf-8"), format!("{sentence}\n"))
        }
    }
}

impl Blame {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Downstream, Self::Upstream, Self::Gateway];

    /// A word for logs and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}
