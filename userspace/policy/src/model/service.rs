//! Services and their endpoints, as they are balanced.

use std::net::IpAddr;

use super::{ObjectName, Protocol};
use crate::place::Place;

/// Heaviest weight of an endpoint.
pub const MAX_WEIGHT: u8 = 100;

/// A `v1` Service that has addresses, with its endpoints found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// One or two, of different families, in canonical form. No two services have the same address,
    /// port and protocol, and none has a workload's address.
    pub addresses: Vec<IpAddr>,
    /// Its ports of TCP and UDP; (port, protocol) is unique in a service.
    pub ports: Vec<ServicePort>,
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// `sessionAffinity: ClientIP`: for so many seconds after its last connection a client gets
    /// the same endpoint. 1 to 86,400.
    pub affinity_seconds: Option<u32>,
    /// Connections to an endpoint that is gone are ended
    /// (annotation `windrose.dev/on-endpoint-removed: end`).
    pub ends_removed: bool,
    /// Where it is written.
    pub place: Place,
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, possibly empty.
    pub name: String,
    /// What clients ask for, 1 to 65535.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Of every family, each (address, port) once, in their order.
    pub endpoints: Vec<Endpoint>,
    /// Where it is written.
    pub place: Place,
}

/// One address and port that stands for a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// In canonical form.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u8,
    /// It takes new connections. Otherwise it keeps those that it has.
    pub is_ready: bool,
    /// The workload that has the address, or the pod that an `EndpointSlice` names.
    pub name: Option<ObjectName>,
}

/// How an endpoint is chosen for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancing {
    /// The one with fewer live connections of two that are chosen at random.
    #[default]
    LeastLoaded,
    /// The one that the client hashes to (Maglev).
    Maglev,
}
