//! The name of a TLS handshake, and whether a request is for whom the connection is.
//!
//! Browsers send requests for other hosts over an HTTP/2 connection whose certificate is for them, too
//! (RFC 9113, section 9.1.1). Where that host is another listener's, which has other certificates and
//! routes, they are told to open a connection of its own (421; Gateway API's GEP-3567).

use std::sync::Arc;

use hyper::Request;
use hyper::header::HOST;

use crate::forward::{Forward, host_of};
use crate::refusal::Refusal;

/// What a connection is for.
#[derive(Debug, Clone)]
pub(crate) struct Secured(Option<Arc<str>>);

impl Secured {
    /// Clear text: for every host.
    pub(crate) const fn no() -> Self {
        Self(None)
    }

    /// TLS with this name; a client that names nobody has the listener without hostname.
    pub(crate) fn with_name(name: Option<&str>) -> Self {
        Self(Some(name.unwrap_or_default().to_ascii_lowercase().into()))
    }

    /// Why a request does not belong on this connection; what its host says otherwise is judged later.
    pub(crate) fn refusal<B>(&self, forward: &Forward, request: &Request<B>) -> Option<Refusal> {
        let name = self.0.as_deref()?;
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request.headers().get(HOST)?.to_str().ok()?,
        };
        let host = host_of(authority)?;
        if host == name || forward.published.load().is_one_listener(&forward.place, name, &host) {
            return None;
        }
        Some(Refusal::Misdirected)
    }
}
