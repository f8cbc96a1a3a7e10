//! Headers of one connection, and what a gateway adds for the next.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, VIA};
use windrose_policy::routing::Headers;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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

/// Whether a field is of one connection only (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    // By length first: most fields are none of these.
    match name.len() {
        2 => name == "te",
        7 => name == "trailer" || name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        18 => name == "proxy-authenticate",
        19 => name == "proxy-authorization",
        _ => false,
    }
}

/// Whether a field says of hops before us what nobody has checked. (`Expect` is answered here.)
fn is_of_hops(name: &str) -> bool {
    match name.len() {
        6 => name == "expect",
        9 => name == "forwarded" || name == "x-real-ip",
        15 => name == "x-forwarded-for",
        16 => name == "x-forwarded-host" || name == "x-forwarded-port",
        17 => name == "x-forwarded-proto",
        _ => false,
    }
}

/// Takes away fields in one look at all of them.
fn remove(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    // What `Connection` names, too. It cannot name what frames or routes the message.
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| !matches!(name.as_str(), "host" | "content-length"));
    let of_list = headers.keys().filter(|name| is_removed(name.as_str())).cloned();
    let removed: Vec<HeaderName> = named.chain(of_list).collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Takes away what is of one connection only.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove(headers, is_hop_by_hop);
}

/// Makes a client's headers those of a request to an endpoint. What it says of hops before it is not
/// believed: no hop is trusted until one is configured.
pub(crate) fn for_upstream(headers: &mut HeaderMap, client: IpAddr, is_tls: bool) {
    remove(headers, |name| is_hop_by_hop(name) || is_of_hops(name));
    if let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if is_tls { "https" } else { "http" }));
    if let Some(host) = headers.get(hyper::header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 windrose"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_a_connection_or_claims_hops_is_taken_away() {
        let mut headers = HeaderMap::new();
        let claimed = ["expect", "forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-host"];
        let of_hop = [
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "x-named",
            "proxy-authenticate",
            "proxy-authorization",
            "x-forwarded-port",
            "x-forwarded-proto",
        ];
        for name in claimed.into_iter().chain(of_hop) {
            headers.append(name, HeaderValue::from_static("claimed"));
        }
        for (name, value) in [("connection", "close, X-Named, host"), ("host", "shop"), ("x-stays", "1")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for_upstream(&mut headers, IpAddr::from([192, 0, 2, 1]), true);
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        let expected = [
            "host: shop",
            "via: 1.1 windrose",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: shop",
            "x-forwarded-proto: https",
            "x-stays: 1",
        ];
        assert_eq!(left, expected);
    }
}
