//! What `bench gateway` measures against what, and under which loads.

use serde::{Deserialize, Serialize};

/// Who proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Case {
    Haproxy,
    Nginx,
    /// Windrose with one route; it has its metrics always.
    Bare,
    /// With ten routes, rules by header, and an access log.
    Full,
    /// The same with 10,000 routes.
    Many,
}

impl Case {
    pub(super) const ALL: [Self; 5] = [Self::Haproxy, Self::Nginx, Self::Bare, Self::Full, Self::Many];

    /// For tables.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Bare => "Windrose, bare",
            Self::Full => "Windrose, 10 routes and access log",
            Self::Many => "Windrose, 10,000 routes and access log",
        }
    }

    /// Routes, where it is Windrose.
    pub(super) const fn routes(self) -> usize {
        match self {
            Self::Haproxy | Self::Nginx | Self::Bare => 1,
            Self::Full => 10,
            Self::Many => 10_000,
        }
    }

    /// Ports of clear text and of TLS.
    pub(super) const fn ports(self) -> (u16, u16) {
        let base = 20_000 + 10 * self as u16;
        (base, base + 1)
    }
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Load {
    /// Requests for 128 bytes on kept connections, HTTP/1.1.
    Small,
    /// The same for 64 KiB.
    Large,
    /// A connection for each request.
    Connections,
    /// A connection with a handshake of TLS 1.3 for each request.
    Handshakes,
    /// Requests for 128 bytes over HTTP/2 in TLS.
    Http2,
}

impl Load {
    pub(super) const ALL: [Self; 5] =
        [Self::Small, Self::Large, Self::Connections, Self::Handshakes, Self::Http2];

    /// For tables.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Small => "128 B, HTTP/1.1",
            Self::Large => "64 KiB, HTTP/1.1",
            Self::Connections => "new connections",
            Self::Handshakes => "new TLS 1.3 connections",
            Self::Http2 => "128 B, HTTP/2 in TLS",
        }
    }

    pub(super) const fn is_tls(self) -> bool {
        matches!(self, Self::Handshakes | Self::Http2)
    }

    pub(super) const fn path(self) -> &'static str {
        if matches!(self, Self::Large) { "/large" } else { "/small" }
    }

    /// Requests of a turn of a second, and connections that they go on.
    pub(super) const fn amount(self) -> (u64, u64) {
        match self {
            Self::Small => (40_000, 64),
            Self::Large => (8_000, 64),
            Self::Connections => (2_000, 2_000),
            Self::Handshakes => (800, 800),
            Self::Http2 => (40_000, 16),
        }
    }
}
