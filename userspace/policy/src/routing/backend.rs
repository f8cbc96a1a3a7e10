//! Rules of routes with their backends found.

use std::fmt;
use std::sync::Arc;

use crate::model::{
    BackendRef, Endpoint, Filter, HttpRoute, Model, ObjectName, Protocol, ReferenceGrant, RouteRule, Service,
};

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
    /// The Service has no such port of TCP.
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
            Self::NoPort => "has no such port of TCP",
        })
    }
}

/// The rules of a route with their backends, counted from `first`, and what is wrong with the references.
pub(super) fn bind(
    model: &Model,
    route: &Arc<HttpRoute>,
    first: usize,
) -> (Vec<Arc<BoundRule>>, Vec<(BadBackend, String)>) {
    let mut bad = Vec::new();
    let mut rules = Vec::new();
    for (index, rule) in route.rules.iter().enumerate() {
        let mut resolve = |reference: &BackendRef| {
            let to = find(model, route, reference);
            if let Err(why) = to {
                let ObjectName { namespace, name } = &reference.name;
                bad.push((why, format!("{}: backend {namespace}/{name} {why}", reference.place)));
            }
            Backend { weight: reference.weight, to }
        };
        let backends = rule.backends.iter().map(&mut resolve).collect();
        let mut mirrors = Vec::new();
        for (filter, this) in rule.filters.iter().enumerate() {
            if let Filter::Mirror(mirror) = this {
                mirrors.push(MirrorTo { filter, backend: resolve(&mirror.backend) });
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

fn find(
    model: &Model,
    route: &HttpRoute,
    reference: &BackendRef,
) -> Result<(Arc<Service>, usize), BadBackend> {
    if reference.foreign.is_some() {
        return Err(BadBackend::Kind);
    }
    let from = ("gateway.networking.k8s.io", "HTTPRoute", route.name.namespace.as_str());
    // Before looking: who may not name it must not learn whether it exists.
    if !is_granted(model.grants.values(), from, ("", "Service"), &reference.name) {
        return Err(BadBackend::NotPermitted);
    }
    let service = model.services.get(&reference.name).ok_or(BadBackend::NoService)?;
    let port = service
        .ports
        .iter()
        .position(|port| Some(port.port) == reference.port && port.protocol == Protocol::Tcp)
        .ok_or(BadBackend::NoPort)?;
    Ok((service.clone(), port))
}

/// Whether an object of (group, kind, namespace) may name `object` of (group, kind).
pub(super) fn is_granted<'g>(
    grants: impl Iterator<Item = &'g Arc<ReferenceGrant>>,
    (from_group, from_kind, namespace): (&str, &str, &str),
    (group, kind): (&str, &str),
    object: &ObjectName,
) -> bool {
    if namespace == object.namespace {
        return true;
    }
    grants.filter(|grant| grant.name.namespace == object.namespace).any(|grant| {
        let names_from = grant
            .from
            .iter()
            .any(|from| from.group == from_group && from.kind == from_kind && from.namespace == namespace);
        names_from
            && grant.to.iter().any(|to| {
                to.group == group
                    && to.kind == kind
                    && to.name.as_ref().is_none_or(|name| *name == object.name)
            })
    })
}
