//! What routes do to requests and responses.

use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use windrose_policy::model::{HeaderChange, PathChange, PathMatch, Redirect};
use windrose_policy::routing::Chosen;

/// Changes headers: taken away, then set, then added.
pub(crate) fn change(headers: &mut HeaderMap, change: &HeaderChange) {
    let pair = |(name, value): &(Box<str>, Box<str>)| {
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
    };
    for name in &change.remove {
        headers.remove(&**name);
    }
    for (name, value) in change.set.iter().filter_map(pair) {
        headers.insert(name, value);
    }
    for (name, value) in change.add.iter().filter_map(pair) {
        headers.append(name, value);
    }
}

/// The path behind a change. A full one comes without the query of the request, which stays.
pub(crate) fn path(change: &PathChange, chosen: &Chosen, path: &str) -> String {
    match change {
        PathChange::Full(full) => full.to_string(),
        PathChange::Prefix(new) => {
            let rest = match &chosen.rule.rule().matches[chosen.match_index].path {
                PathMatch::Prefix(prefix) => path.strip_prefix(&**prefix).unwrap_or(path),
                PathMatch::Exact(_) | PathMatch::Regex(_) => path,
            };
            // `/foo` to `/`: `/foo/bar` becomes `/bar`, and `/foo` becomes `/`.
            let joined = format!("{}{rest}", new.trim_end_matches('/'));
            if joined.is_empty() { "/".to_owned() } else { joined }
        }
    }
}

/// What a redirect is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) is_tls: bool,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

/// The response of a redirect.
pub(crate) fn redirect(redirect: &Redirect, chosen: &Chosen, asked: &Asked<'_>) -> Response<()> {
    let is_tls = redirect.is_https.unwrap_or(asked.is_tls);
    let own_port = if is_tls { 443 } else { 80 };
    // Upstream: a scheme brings its well-known port, else the listener's is kept.
    let port = redirect.port.unwrap_or(if redirect.is_https.is_some() { own_port } else { asked.port });
    let host = redirect.hostname.as_deref().unwrap_or(asked.host);
    let path = match &redirect.path {
        Some(change) => path(change, chosen, asked.path),
        None => asked.path.to_owned(),
    };
    let scheme = if is_tls { "https" } else { "http" };
    let port = if port == own_port { String::new() } else { format!(":{port}") };
    let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
