//! The address of a list on the web; its secrets are shown nowhere.

use std::fmt;

use hyper::Uri;

/// A URL by `http` or `https`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    uri: Uri,
    is_https: bool,
    host: String,
}

impl Url {
    /// Whether a text means to be a URL and no file.
    pub(crate) fn is_meant(text: &str) -> bool {
        ["http://", "https://"]
            .iter()
            .any(|scheme| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
    }

    /// Reads one. What is wrong is told without repeating the text, which may hold a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "it is no URL such as https://lists.example/drop.txt".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let url = Self { uri, is_https, host };
        let at = url.host_field();
        let port = match at.split_once(']') {
            Some((_, behind)) => behind.strip_prefix(':'),
            None => at.split_once(':').map(|(_, port)| port),
        };
        if port.is_some() && url.uri.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong());
        }
        Ok(url)
    }

    /// Whether it is by TLS.
    pub(super) const fn is_https(&self) -> bool {
        self.is_https
    }

    /// A name or an address, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_https { 443 } else { 80 })
    }

    /// What the field `Host` has: no userinfo, a port only where it is written.
    pub(super) fn host_field(&self) -> &str {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        authority.rsplit('@').next().unwrap_or(authority)
    }

    /// Path and query, as they are asked for.
    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    /// The whole of it, secrets too: for names that nobody reads.
    pub(crate) fn secret_text(&self) -> String {
        self.uri.to_string()
    }

    /// `Basic` and the userinfo, if there is one (RFC 7617).
    pub(super) fn authorization(&self) -> Option<String> {
        let (userinfo, _) = self.uri.authority()?.as_str().rsplit_once('@')?;
        Some(format!("Basic {}", base64(&decoded(userinfo))))
    }

    /// Whether both are the same server by the same scheme.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        (self.is_https, &self.host, self.port()) == (other.is_https, &other.host, other.port())
    }

    /// Where a redirection from here leads (RFC 9110, section 10.2.2). Userinfo goes no further than
    /// this server.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.is_https { "https" } else { "http" };
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path();
        if Self::is_meant(location) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{scheme}://{authority}{location}"));
        }
        // A scheme that is not spoken here.
        let before = location.split(['/', '?', '#']).next().unwrap_or_default();
        if before.contains(':') {
            return Err("it leads to what is neither http nor https".to_owned());
        }
        let folder = match location.as_bytes().first() {
            None | Some(b'?' | b'#') => path,
            Some(_) => path.rfind('/').map_or("/", |end| &path[..=end]),
        };
        Self::parse(&format!("{scheme}://{authority}{folder}{location}"))
    }
}

/// What may be shown: no userinfo, and of a query only that there is one.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_field(), self.uri.path())?;
        if self.uri.query().is_some() { f.write_str("?...") } else { Ok(()) }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Percent-decoded; what is not percent-encoded well stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let coded = (*first == b'%').then(|| digit(0).zip(digit(1))).flatten();
        let (byte, length) = match coded.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            Some(byte) => (byte, 2),
            None => (*first, 0),
        };
        bytes.push(byte);
        rest = after.get(length..).unwrap_or_default();
    }
    bytes
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, shown) in [
            ("https://lists.example/drop.txt", "https://lists.example/drop.txt"),
            ("https://me:pass@lists.example:8443/a?key=1", "https://lists.example:8443/a?..."),
            ("HTTP://Lists.example", "http://Lists.example/"),
            ("http://[2001:db8::1]:81/a#part", "http://[2001:db8::1]:81/a"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for wrong in
            ["", "lists.example", "ftp://a/b", "http://", "/etc/x", "https://a:port/", "https://a:0/"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_is_asked_for_a_target() {
        let url = Url::parse("https://a%40b:p%3Aw@lists.example/a?key=1").unwrap();
        assert_eq!((url.host(), url.port(), url.host_field()), ("lists.example", 443, "lists.example"));
        assert_eq!(url.target(), "/a?key=1");
        assert_eq!(url.authorization(), Some(format!("Basic {}", base64(b"a@b:p:w"))));
        let url = Url::parse("http://[::1]:81").unwrap();
        assert_eq!((url.host(), url.port(), url.host_field(), url.target()), ("::1", 81, "[::1]:81", "/"));
        assert_eq!(url.authorization(), None);
    }

    #[test]
    fn a_redirection_is_followed_from_where_it_is() {
        let from = Url::parse("https://me:pw@a.example/x/y.txt?k=1").unwrap();
        for (location, to) in [
            ("https://b.example/z", "https://b.example/z"),
            ("//b.example/z", "https://b.example/z"),
            ("/z?q", "https://me:pw@a.example/z?q"),
            ("z", "https://me:pw@a.example/x/z"),
            ("?q", "https://me:pw@a.example/x/y.txt?q"),
        ] {
            assert_eq!(from.join(location).unwrap().secret_text(), to, "{location}");
        }
        assert!(from.join("ftp://b/z").is_err() && from.join("file:z").is_err());
        assert!(from.has_origin_of(&from.join("/z").unwrap()));
        assert!(!from.has_origin_of(&Url::parse("http://a.example/x").unwrap()));
    }

    #[test]
    fn base64_is_as_the_standard_has_it() {
        for (text, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
