//! Routes that read no bytes: a listener's connections or datagrams go to backends by weight.

use super::{BackendRef, Forwarding, ObjectName, ParentRef, RouteKind};
use crate::place::Place;

/// A `gateway.networking.k8s.io` `TCPRoute` or `UDPRoute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportRoute {
    /// Which of the two.
    pub kind: RouteKind,
    /// Namespace and name.
    pub name: ObjectName,
    /// When it was made, as [`HttpRoute::created`](super::HttpRoute::created).
    pub created: Option<String>,
    /// The gateways that it asks to be attached to.
    pub parents: Vec<ParentRef>,
    /// Of its one rule: 1 to 16, without filters.
    pub backends: Vec<BackendRef>,
    /// How packets come to endpoints (annotation `windrose.dev/forwarding`).
    pub forwarding: Forwarding,
    /// Where it is written.
    pub place: Place,
}
