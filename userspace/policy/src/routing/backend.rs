//! Rules of routes with their backends found.

use std::fmt;
use std::sync::Arc;

use crate::model::{
    BackendRef, Endpoint, Filter, HttpRoute, Model, ObjectName, Protocol, RouteRule, Service,
};

use super::grants::Grants;
use super::listeners::{GROUP, HTTP_ROUTE};
use super::status::Reason;

/// A rule of a route, ready to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundRule {
    /// The route that it is of.
    pub route: Arc<HttpRoute>,
    /// Which of its rules.
    pub index: usize,
    /// Rules of one [`Routing`](super::Routing) are counted from 0.
    pub number: usize,
    /// In the order of `backendRefs`.
    pub backends: Vec<Backend>,
    /// In the order of mirroring filters.
    pub mirrors: Vec<MirrorTo>,
}

impl BoundRule {
    /// The rule as written.
    pub fn rule(&self) -> &RouteRule {
        &self.route.rules[self.index]
    }
}

/// Where a share of the requests goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its share, 0 to 1,000,000.
    pub weight: u32,
    /// The service and the index of its port; or why its share is answered with 500.
    pub to: Result<(Arc<Service>, usize), BadBackend>,
}

impl Backend {
    /// Its endpoints; none if the reference is bad.
    pub fn endpoints(&self) -> &[Endpoint] {
        match &self.to {
            Ok((service, port)) => service.ports.get(*port).map_or(&[], |port| &port.endpoints),
            Err(_) => &[],
        }
    }
}

/// Where copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTo {
    /// Which of the rule's filters.
    pub filter: usize,
    /// The service; a bad one gets no copies.
    pub backend: Backend,
}

/// Why a backend cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadBackend {
    /// It is of a kind that is no Service.
    Kind,
    /// It is in another namespace, and no grant there allows it.
    NotPermitted,
    /// There is no such Service.
    NoService,
    /// The Service has no such port of the protocol.
    NoPort,
}

impl BadBackend {
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Kind => Reason::InvalidKind,
            Self::NotPermitted => Reason::RefNotPermitted,
            Self::NoService | Self::NoPort => Reason::BackendNotFound,
        }
    }
}

impl fmt::Display for BadBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "is of a kind that is not served: only a v1 Service is",
            Self::NotPermitted => "is in another namespace, where no ReferenceGrant allows it",
            Self::NoService => "is no Service with an address in these files",
            Self::NoPort => "has no such port of this protocol",
        })
    }
}

/// The rules of a route with their backends, counted from `first`, and what is wrong with the references.
pub(super) fn bind(
    model: &Model,
    grants: &Grants<'_>,
    route: &Arc<HttpRoute>,
    first: usize,
) -> (Vec<Arc<BoundRule>>, Vec<(BadBackend, String)>) {
    let mut bad = Vec::new();
    let mut rules = Vec::new();
    for (index, rule) in route.rules.iter().enumerate() {
        let mut resolved = |reference: &BackendRef| {
            let from = (HTTP_ROUTE, &*route.name.namespace);
            resolve(model, grants, (from, Protocol::Tcp), reference, &mut bad)
        };
        let backends = rule.backends.iter().map(&mut resolved).collect();
        let mut mirrors = Vec::new();
        for (filter, this) in rule.filters.iter().enumerate() {
            if let Filter::Mirror(mirror) = this {
                mirrors.push(MirrorTo { filter, backend: resolved(&mirror.backend) });
            }
        }
        rules.push(Arc::new(BoundRule {
            route: route.clone(),
            index,
            number: first + index,
            backends,
            mirrors,
        }));
    }
    (rules, bad)
}

/// The backend that a reference of a route of (kind, namespace) means; if it is bad, `bad` says why.
pub(super) fn resolve(
    model: &Model,
    grants: &Grants<'_>,
    from: ((&str, &str), Protocol),
    reference: &BackendRef,
    bad: &mut Vec<(BadBackend, String)>,
) -> Backend {
    let to = find(model, grants, from, reference);
    if let Err(why) = to {
        let ObjectName { namespace, name } = &reference.name;
        bad.push((why, format!("{}: backend {namespace}/{name} {why}", reference.place)));
    }
    Backend { weight: reference.weight, to }
}

fn find(
    model: &Model,
    grants: &Grants<'_>,
    ((kind, namespace), protocol): ((&str, &str), Protocol),
    reference: &BackendRef,
) -> Result<(Arc<Service>, usize), BadBackend> {
    if reference.foreign.is_some() {
        return Err(BadBackend::Kind);
    }
    // Before looking: who may not name it must not learn whether it exists.
    if !grants.allow((GROUP, kind), namespace, ("", "Service"), &reference.name) {
        return Err(BadBackend::NotPermitted);
    }
    let service = model.services.get(&reference.name).ok_or(BadBackend::NoService)?;
    let port = service
        .ports
        .iter()
        .position(|port| Some(port.port) == reference.port && port.protocol == protocol)
        .ok_or(BadBackend::NoPort)?;
    Ok((service.clone(), port))
}
