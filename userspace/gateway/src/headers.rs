//! Headers of one connection, and what a gateway adds for the next.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use windrose_policy::routing::Headers;

/// Headers as routes see them.
pub(crate) struct Seen<'a>(pub(crate) &'a HeaderMap);

impl Headers for Seen<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self.0.get_all(name).iter();
        let mut all = Cow::Borrowed(values.next()?.as_bytes());
        for value in values {
            let all = all.to_mut();
            all.extend_from_slice(b", ");
            all.extend_from_slice(value.as_bytes());
        }
        Some(all)
    }
}

/// Takes away what is of one connection only (RFC 9110, section 7.6.1).
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // What `Connection` names. It cannot name what frames or routes the message.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| !matches!(name.as_str(), "host" | "content-length"))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"] {
        headers.remove(name);
    }
}

/// Makes a client's headers those of a request to an endpoint. What it says of hops before it is not
/// believed: no hop is trusted until one is configured.
pub(crate) fn for_upstream(headers: &mut HeaderMap, client: IpAddr, is_tls: bool) {
    remove_hop_by_hop(headers);
    // We answer `100-continue` ourselves when an endpoint begins to take the body.
    headers.remove(EXPECT);
    for name in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
    ] {
        headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string()) {
        headers.insert("x-forwarded-for", value);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static(if is_tls { "https" } else { "http" }));
    if let Some(host) = headers.get(hyper::header::HOST).cloned() {
        headers.insert("x-forwarded-host", host);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 windrose"));
}
