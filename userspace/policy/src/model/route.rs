//! Routes of HTTP: which requests, what is done to them, and where they go.

use std::time::Duration;

use super::{Hostname, ObjectName};
use crate::place::Place;

/// A `gateway.networking.k8s.io/v1` `HTTPRoute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRoute {
    /// Namespace and name.
    pub name: ObjectName,
    /// `creationTimestamp`, in UTC and to the second, so that the older text is less. A route of a
    /// file has none, and counts as younger than each that has one.
    pub created: Option<String>,
    /// The gateways that it asks to be attached to.
    pub parents: Vec<ParentRef>,
    /// The hosts that it is for; empty is every one of the listener.
    pub hostnames: Vec<Hostname>,
    /// 1 to 16.
    pub rules: Vec<RouteRule>,
    /// Where it is written.
    pub place: Place,
}

/// A gateway, or one of its listeners, that a route asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    /// (group, kind) where it is not a Gateway.
    pub foreign: Option<(String, String)>,
    /// The gateway.
    pub gateway: ObjectName,
    /// One listener; `None` is every one.
    pub listener: Option<String>,
    /// The listeners of this port; `None` is every one.
    pub port: Option<u16>,
    /// Where it begins.
    pub place: Place,
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// Its name, unique in the route, or empty.
    pub name: String,
    /// Which requests: any of these. At least one.
    pub matches: Vec<RouteMatch>,
    /// What is done, in the order of writing.
    pub filters: Vec<Filter>,
    /// Where requests go, by weight.
    pub backends: Vec<BackendRef>,
    /// How long the whole exchange may take; `None` and zero are not bounded by the route.
    pub request_timeout: Option<Duration>,
    /// How long one try of an upstream may take; as above.
    pub try_timeout: Option<Duration>,
    /// When it is tried again.
    pub retry: Option<Retry>,
    /// Where it begins.
    pub place: Place,
}

/// All of these must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// `None` is every method.
    pub method: Option<Method>,
    /// Names are in lower case, each once.
    pub headers: Vec<ValueMatch>,
    /// Names are as written, each once.
    pub queries: Vec<ValueMatch>,
}

/// What the path must be. Values are as [`normalise`](crate::routing::path::normalise) writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Just this one.
    Exact(Box<str>),
    /// This one and what is below it, by elements. Without a slash at the end: the root is empty.
    Prefix(Box<str>),
    /// The whole path matches.
    Regex(Pattern),
}

/// A name and what its value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueMatch {
    /// Of a header or of a query parameter.
    pub name: Box<str>,
    /// Its value.
    pub value: Value,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Just this.
    Exact(Box<str>),
    /// The whole value matches.
    Regex(Pattern),
}

/// A regular expression that matches a whole text.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As written.
    text: Box<str>,
    regex: regex::bytes::Regex,
}

impl Pattern {
    /// Compiled programs, and the automaton that is built while matching, are at most this large.
    const BYTES: usize = 256 << 10;

    /// The error says what is wrong with the expression, in one line.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // Each alone first: `a)|(b` must not become whole by what is put around it.
        let compile = |text: &str| {
            regex::bytes::RegexBuilder::new(text)
                .size_limit(Self::BYTES)
                .dfa_size_limit(4 * Self::BYTES)
                .nest_limit(64)
                .build()
        };
        let whole = compile(text).and_then(|_| compile(&format!("^(?:{text})$")));
        match whole {
            Ok(regex) => Ok(Self { text: text.into(), regex }),
            Err(regex::Error::CompiledTooBig(limit)) => {
                Err(format!("compiles to more than {limit} bytes: shorten its repetitions"))
            }
            Err(why) => {
                let why = why.to_string();
                let last = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                Err(last.trim().trim_start_matches("error: ").to_owned())
            }
        }
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// A method that routes can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "RFC 9110 section 9.3 and RFC 5789 say what each is")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
    ];

    /// As in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// One step on a request or its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Headers of the request.
    RequestHeaders(HeaderChange),
    /// Headers of the response.
    ResponseHeaders(HeaderChange),
    /// Answered by us with another address.
    Redirect(Redirect),
    /// Sent on with another host or path.
    Rewrite(Rewrite),
    /// Also sent elsewhere, where the response is thrown away.
    Mirror(Mirror),
    /// Which pages of other origins may read responses.
    Cors(Cors),
}

/// A change of headers. Names are in lower case; a name is in one list at most once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChange {
    /// In place of what was there.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Beside what was there.
    pub add: Vec<(Box<str>, Box<str>)>,
    /// Taken away.
    pub remove: Vec<Box<str>>,
}

/// `RequestRedirect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `Some(true)` is https, `Some(false)` http, `None` that of the request.
    pub is_https: Option<bool>,
    /// `None` is that of the request.
    pub hostname: Option<Box<str>>,
    /// `None`: with a scheme its well-known port, without one the listener's.
    pub port: Option<u16>,
    /// `None` is that of the request.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `URLRewrite`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The host that upstreams see.
    pub hostname: Option<Box<str>>,
    /// The path that they see.
    pub path: Option<PathChange>,
}

/// A change of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// The whole of it.
    Full(Box<str>),
    /// What the rule's one prefix matched.
    Prefix(Box<str>),
}

/// `RequestMirror`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where copies go.
    pub backend: BackendRef,
    /// So many ...
    pub numerator: u32,
    /// ... of so many requests, 1 or more.
    pub denominator: u32,
}

/// `CORS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Who may read.
    pub origins: Vec<Origin>,
    /// Cookies and the like may come along.
    pub allows_credentials: bool,
    /// Empty: those that are safe without asking.
    pub methods: Names,
    /// Empty: those that are safe without asking.
    pub headers: Names,
    /// Response headers beyond those that every page may read.
    pub expose: Names,
    /// For how long a preflight's answer holds.
    pub max_age_seconds: u32,
}

/// Names, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Every one.
    Any,
    /// These.
    Some(Vec<Box<str>>),
}

/// An origin that CORS allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every one.
    Any,
    /// Scheme, host and port, in lower case, as browsers write it.
    Exact(Box<str>),
    /// A scheme with `://`, what must follow it somewhere, and the port with `:` or nothing.
    Wildcard {
        /// `http://` or `https://`.
        scheme: Box<str>,
        /// `.example.com`, or empty for every host.
        suffix: Box<str>,
        /// `:8443`, or empty for the scheme's own.
        port: Box<str>,
    },
}

impl Origin {
    /// Whether the `Origin` of a request is meant.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(this) => origin.eq_ignore_ascii_case(this),
            Self::Wildcard { scheme, suffix, port } => {
                let origin = origin.to_ascii_lowercase();
                origin
                    .strip_prefix(&**scheme)
                    .and_then(|rest| rest.strip_suffix(&**port))
                    .and_then(|host| host.strip_suffix(&**suffix))
                    // A port of the request that is not asked for would be left over here.
                    .is_some_and(|before| !before.is_empty() && !before.contains([':', '/', '@']))
            }
        }
    }
}

/// A reference to where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendRef {
    /// (group, kind) where it is not a `v1` Service.
    pub foreign: Option<(String, String)>,
    /// Its name; the namespace is the route's if none is written.
    pub name: ObjectName,
    /// The port of the service.
    pub port: Option<u16>,
    /// Its share, 0 to 1,000,000.
    pub weight: u32,
    /// What is done to requests that go there: headers only.
    pub filters: Vec<Filter>,
    /// Where it begins.
    pub place: Place,
}

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Statuses of upstreams, 400 to 599, sorted.
    pub codes: Vec<u16>,
    /// Further tries; `None` is our default.
    pub attempts: Option<u32>,
    /// At least so long between them.
    pub backoff: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text_and_not_a_part() {
        let pattern = Pattern::new("/a|/b[0-9]+").unwrap();
        assert!(pattern.matches(b"/a") && pattern.matches(b"/b12"));
        assert!(!pattern.matches(b"/a/") && !pattern.matches(b"x/a") && !pattern.matches(b"/b12x"));
    }

    #[test]
    fn a_pattern_that_only_brackets_around_it_make_whole_is_refused() {
        assert!(Pattern::new("a)|(b").is_err());
        let why = Pattern::new("(a{1000}){1000}").unwrap_err();
        assert!(why.contains("more than"), "{why}");
    }

    #[test]
    fn a_wildcard_origin_is_bounded_on_both_sides() {
        let wildcard =
            Origin::Wildcard { scheme: "https://".into(), suffix: ".example.com".into(), port: "".into() };
        assert!(wildcard.matches("https://a.example.com") && wildcard.matches("https://a.b.Example.com"));
        for not in [
            "http://a.example.com",
            "https://example.com",
            "https://.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.org",
            "https://evil.org/.example.com",
            "null",
        ] {
            assert!(!wildcard.matches(not), "{not}");
        }
    }
}
