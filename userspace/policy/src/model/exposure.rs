//! What the outside may ask for: addresses and ports that are balanced at the edge.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Cidr, Endpoint, ObjectName, Protocol};
use crate::place::Place;

/// An address and port that the outside may ask for, balanced at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// What asks for it.
    pub source: ExposureSource,
    /// Where it is.
    pub at: ExposedAt,
    /// What clients ask for, 1 to 65535.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who answers, all of the family of `at`, each (address, port) once, in their order. If nobody
    /// has a share, connections are refused.
    pub endpoints: Arc<[ExposedEndpoint]>,
    /// The part of new connections that are refused because their backend cannot be used, in the
    /// unit of [`ExposedEndpoint::share`]. 0 for a Service.
    pub refused_share: u32,
    /// How packets come to endpoints. Unless it is [`Forwarding::Nat`], every endpoint's port is `port`,
    /// and `at` is an address.
    pub forwarding: Forwarding,
    /// Connections of one client address go to one endpoint (`sessionAffinity: ClientIP`).
    pub is_by_client: bool,
    /// Who may ask; empty is everybody. Otherwise a family without a range is nobody's.
    pub source_ranges: Arc<[Cidr]>,
    /// Where it is written: the Service's port, or the Gateway's listener.
    pub place: Place,
}

/// What [`Model::exposures`](super::Model::exposures) finds an exposure by: no two have the same.
pub type ExposureKey = (ExposedAt, u16, Protocol);

impl Exposure {
    /// Its key.
    pub fn key(&self) -> ExposureKey {
        (self.at, self.port, self.protocol)
    }
}

/// What asks for an exposure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExposureSource {
    /// A `v1` Service.
    Service {
        /// Namespace and name.
        name: ObjectName,
        /// The name of its port, possibly empty.
        port: String,
    },
    /// A `TCPRoute` or `UDPRoute` of a Gateway.
    Route {
        /// Which of the two.
        kind: RouteKind,
        /// Namespace and name.
        name: ObjectName,
    },
}

impl fmt::Display for ExposureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, .. } => write!(f, "Service {}/{}", name.namespace, name.name),
            Self::Route { kind, name } => write!(f, "{} {}/{}", kind.name(), name.namespace, name.name),
        }
    }
}

/// A kind of route that reads no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `TCPRoute`.
    Tcp,
    /// `UDPRoute`.
    Udp,
}

impl RouteKind {
    /// The name that upstream gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// What it routes.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}

/// Where an exposure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExposedAt {
    /// One address, no workload's, in canonical form. It is asked for before [`Self::Node`].
    Address(IpAddr),
    /// Every address of this node of a family.
    Node(Family),
}

impl ExposedAt {
    /// The family of its clients and its endpoints.
    pub const fn family(self) -> Family {
        match self {
            Self::Address(address) => Family::of(address),
            Self::Node(family) => family,
        }
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of a canonical address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One endpoint of an exposure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedEndpoint {
    /// Its address and port, and whether it takes new connections.
    pub endpoint: Endpoint,
    /// Its part of new connections, among those of the other endpoints and
    /// [`Exposure::refused_share`]; 0 is none (it drains, or its backend's weight is 0). For a Service
    /// its weight; for a route so much of a sum of 10,000, or of 10 for each endpoint where that is
    /// more.
    pub share: u32,
    /// A workload with a cgroup on this host has the address.
    pub is_local: bool,
}

/// How packets come from the edge to endpoints (annotation `windrose.dev/forwarding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Forwarding {
    /// `nat`: addresses and ports are translated, both ways.
    #[default]
    Nat,
    /// `ipip`: the packet is put into one to the endpoint, unchanged.
    Ipip,
    /// `l2`: the packet is sent to the endpoint's link address, unchanged.
    Layer2,
}

impl Forwarding {
    /// As the annotation says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Ipip => "ipip",
            Self::Layer2 => "l2",
        }
    }
}
