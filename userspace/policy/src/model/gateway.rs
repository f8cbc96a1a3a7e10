//! Gateways: where the outside is met, and who may put routes there.

use std::fmt;
use std::net::IpAddr;

use super::{ObjectName, Selector};
use crate::place::Place;

/// The controller name of our gateway: a class that names another is somebody else's.
pub const CONTROLLER: &str = "windrose.dev/gateway";

/// The class that exists without being written.
pub const DEFAULT_CLASS: &str = "windrose";

/// A `gateway.networking.k8s.io/v1` `GatewayClass`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayClass {
    /// Its name (it has no namespace).
    pub name: String,
    /// Who serves its gateways; ours is [`CONTROLLER`].
    pub controller: String,
    /// It names parameters, which we have none of.
    pub has_parameters: bool,
    /// Where it is written.
    pub place: Place,
}

/// A `gateway.networking.k8s.io/v1` `Gateway`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Namespace and name.
    pub name: ObjectName,
    /// The name of its class.
    pub class: String,
    /// When it was made, as [`HttpRoute::created`](super::HttpRoute::created).
    pub created: Option<String>,
    /// 1 to 64, with unique names.
    pub listeners: Vec<Listener>,
    /// The addresses to listen on, sorted, each once; empty is every address of the host.
    pub addresses: Vec<IpAddr>,
    /// It asks for an address that is a name, which nobody resolves here.
    pub has_named_address: bool,
    /// Where it is written.
    pub place: Place,
}

/// One accept point of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique in its gateway.
    pub name: String,
    /// Which hosts it is for; `None` is every one.
    pub hostname: Option<Hostname>,
    /// 1 to 65535.
    pub port: u16,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// Certificates, in the order of preference. Empty but for HTTPS, and TLS that ends here.
    pub certificates: Vec<SecretRef>,
    /// Which namespaces' routes it takes.
    pub namespaces: RouteNamespaces,
    /// Which kinds of routes it takes, as (group, kind); `None` is every one that fits the protocol.
    pub kinds: Option<Vec<(String, String)>>,
    /// Where it begins.
    pub place: Place,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerProtocol {
    /// HTTP in clear text.
    Http,
    /// HTTP behind TLS that ends here.
    Https,
    /// TLS that ends here, with bytes in it.
    TlsTerminate,
    /// TLS that goes through unread.
    TlsPassthrough,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl ListenerProtocol {
    /// The name that upstream gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::TlsTerminate | Self::TlsPassthrough => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Whether routes of HTTP go there.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// Which namespaces' routes a listener takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteNamespaces {
    /// Those of the gateway's own.
    Same,
    /// All.
    All,
    /// Those whose labels match.
    Selector(Selector),
}

/// A name of a host, or `*.` and a suffix; in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname {
    /// Without `*.`.
    name: Box<str>,
    is_wildcard: bool,
}

impl Hostname {
    /// `name` is a DNS subdomain in lower case, without `*.`.
    pub(crate) fn new(name: &str, is_wildcard: bool) -> Self {
        Self { name: name.into(), is_wildcard }
    }

    /// The name; of a wildcard what follows `*.`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is `*.` and a suffix: one or more labels stand for the star.
    pub fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// Whether a host (lower case, without port and trailing dot) is meant.
    pub fn matches(&self, host: &str) -> bool {
        if !self.is_wildcard {
            return *self.name == *host;
        }
        host.strip_suffix(&*self.name)
            .and_then(|before| before.strip_suffix('.'))
            .is_some_and(|before| !before.is_empty())
    }

    /// The hosts that both mean, if there are any: the narrower of the two.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        match (self.is_wildcard, other.is_wildcard) {
            (_, false) => (self.matches(&other.name) || self == other).then_some(other),
            (false, true) => other.matches(&self.name).then_some(self),
            (true, true) if self.name == other.name => Some(self),
            (true, true) if self.matches(&other.name) => Some(other),
            (true, true) if other.matches(&self.name) => Some(self),
            (true, true) => None,
        }
    }

    /// How specific it is: compare these, the greater comes first. Any name is before any
    /// wildcard, then the longer one.
    pub fn specificity(&self) -> (bool, usize) {
        (!self.is_wildcard, self.name.len())
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_wildcard { "*." } else { "" }, self.name)
    }
}

/// A reference to a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// (group, kind) where it is not a `v1` Secret.
    pub foreign: Option<(String, String)>,
    /// Its name; the namespace is the gateway's if none is written.
    pub name: ObjectName,
    /// Where it is written.
    pub place: Place,
}

/// A `ReferenceGrant`: who may name what of its namespace from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Namespace and name.
    pub name: ObjectName,
    /// Who names.
    pub from: Vec<GrantFrom>,
    /// What is named.
    pub to: Vec<GrantTo>,
    /// Where it is written.
    pub place: Place,
}

/// Objects that may name others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFrom {
    /// API group; empty is the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects that may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTo {
    /// API group; empty is the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// One object; `None` is all of the kind.
    pub name: Option<String>,
}

/// A `v1` Secret of type `kubernetes.io/tls`.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSecret {
    /// Namespace and name.
    pub name: ObjectName,
    /// `tls.crt`: certificates in PEM, the server's first.
    pub certificate: Vec<u8>,
    /// `tls.key`: a private key in PEM.
    pub key: Vec<u8>,
    /// Where it is written.
    pub place: Place,
}

impl fmt::Debug for TlsSecret {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        match text.strip_prefix("*.") {
            Some(name) => Hostname::new(name, true),
            None => Hostname::new(text, false),
        }
    }

    #[test]
    fn a_star_stands_for_one_label_or_more() {
        let wildcard = host("*.example.com");
        assert!(wildcard.matches("a.example.com") && wildcard.matches("a.b.example.com"));
        assert!(!wildcard.matches("example.com") && !wildcard.matches("aexample.com"));
        assert!(!wildcard.matches(".example.com"));
    }

    #[test]
    fn the_intersection_is_the_narrower_of_both_ways_round() {
        for (a, b, expected) in [
            ("a.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "*.a.example.com", Some("*.a.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "*.example.org", None),
            ("a.example.com", "b.example.com", None),
        ] {
            let (a, b) = (host(a), host(b));
            let found = |a: &Hostname, b: &Hostname| a.intersection(b).map(ToString::to_string);
            assert_eq!(found(&a, &b).as_deref(), expected, "{a} {b}");
            assert_eq!(found(&b, &a).as_deref(), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_name_comes_before_a_wildcard_however_long() {
        assert!(host("a.b").specificity() > host("*.example.com").specificity());
        assert!(host("*.a.example.com").specificity() > host("*.example.com").specificity());
    }
}
