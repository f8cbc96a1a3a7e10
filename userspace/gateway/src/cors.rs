//! Cross-origin requests of browsers (the Fetch standard, section 3.3).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use windrose_policy::model::{Cors, Names, Origin};

/// Whether a request is a preflight.
pub(crate) fn is_preflight(method: &str, headers: &HeaderMap) -> bool {
    method == "OPTIONS" && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers of the answer to a preflight. An origin that is not allowed gets none of them, and the
/// browser refuses.
pub(crate) fn preflight(cors: &Cors, request: &HeaderMap) -> HeaderMap {
    let mut headers = response(cors, request);
    headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return headers;
    }
    let asked = |name| request.get(name).cloned();
    allow(
        &mut headers,
        cors,
        ACCESS_CONTROL_ALLOW_METHODS,
        &cors.methods,
        asked(ACCESS_CONTROL_REQUEST_METHOD),
    );
    allow(
        &mut headers,
        cors,
        ACCESS_CONTROL_ALLOW_HEADERS,
        &cors.headers,
        asked(ACCESS_CONTROL_REQUEST_HEADERS),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age_seconds));
    headers
}

/// The headers of a response to who may read it.
pub(crate) fn response(cors: &Cors, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let is_open = cors.origins == [Origin::Any] && !cors.allows_credentials;
    if !is_open {
        // The answer depends on who asks: caches must know.
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = request.get(ORIGIN) else { return headers };
    let is_allowed =
        origin.to_str().is_ok_and(|origin| cors.origins.iter().any(|allowed| allowed.matches(origin)));
    if !is_allowed {
        return headers;
    }
    let allowed = if is_open { HeaderValue::from_static("*") } else { origin.clone() };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.allows_credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    allow(&mut headers, cors, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose, None);
    headers
}

/// With credentials a star is no star but a name (the Fetch standard, section 3.3.4): what was asked
/// is named instead.
fn allow(headers: &mut HeaderMap, cors: &Cors, name: HeaderName, names: &Names, asked: Option<HeaderValue>) {
    let value = match names {
        Names::Any if cors.allows_credentials => asked,
        Names::Any => Some(HeaderValue::from_static("*")),
        Names::Some(names) if names.is_empty() => None,
        Names::Some(names) => HeaderValue::from_str(&names.join(", ")).ok(),
    };
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(allows_credentials: bool) -> Cors {
        Cors {
            origins: vec![Origin::Exact("https://a.example".into())],
            allows_credentials,
            methods: Names::Any,
            headers: Names::Some(vec!["x-a".into()]),
            expose: Names::Some(vec!["x-b".into()]),
            max_age_seconds: 60,
        }
    }

    fn request(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        headers
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_answered() {
        let request = request("https://a.example");
        assert!(is_preflight("OPTIONS", &request) && !is_preflight("GET", &request));
        let headers = preflight(&cors(false), &request);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "*");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "x-a");
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "60");
        assert!(!headers.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
    }

    #[test]
    fn with_credentials_no_star_is_said() {
        let headers = preflight(&cors(true), &request("https://a.example"));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let open = Cors { origins: vec![Origin::Any], ..cors(true) };
        assert_eq!(
            response(&open, &request("https://b.example"))[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://b.example"
        );
    }

    #[test]
    fn another_origin_is_told_nothing() {
        let headers = preflight(&cors(true), &request("https://b.example"));
        assert_eq!(headers.keys().collect::<Vec<_>>(), [VARY]);
    }
}
