//! Routes of TCP and UDP at their listeners.

use std::sync::Arc;

use super::attach::{accepted, resolved};
use super::backend::{self, Backend, BadBackend};
use super::listeners::{Listeners, age};
use super::status::{ParentStatus, RouteStatus};
use crate::model::{Gateway, Listener, ListenerProtocol, Model, ParentRef, TransportRoute};

/// Every one of them.
pub(crate) struct Transports<'m> {
    /// The one route that each listener goes to.
    pub(crate) attachments: Vec<Attachment<'m>>,
    /// Every route, those without a parent of ours too.
    pub(crate) routes: Vec<Resolved<'m>>,
    /// A route that gets nothing from a listener, the first such listener, and the route that has it.
    pub(crate) superseded: Vec<(&'m Arc<TransportRoute>, &'m Listener, &'m Arc<TransportRoute>)>,
}

/// A route with its backends.
pub(crate) struct Resolved<'m> {
    pub(crate) route: &'m Arc<TransportRoute>,
    /// In the order of `backendRefs`.
    pub(crate) backends: Arc<[Backend]>,
    pub(crate) status: RouteStatus,
}

/// A listener and the route that it goes to.
pub(crate) struct Attachment<'m> {
    pub(crate) gateway: &'m Arc<Gateway>,
    pub(crate) listener: &'m Listener,
    pub(crate) route: &'m Arc<TransportRoute>,
    /// In the order of `backendRefs`.
    pub(crate) backends: Arc<[Backend]>,
}

/// Puts the routes of a model at the listeners of our gateways.
pub(crate) fn transports(model: &Model) -> Transports<'_> {
    let is_wanted = |protocol| matches!(protocol, ListenerProtocol::Tcp | ListenerProtocol::Udp);
    attach(&mut Listeners::new(model, is_wanted))
}

/// As [`transports`], at these listeners. Upstream (GEP-2644 and GEP-2645): of several routes at one
/// listener all are accepted, and the oldest, then the first by name, gets everything.
pub(super) fn attach<'m>(listeners: &mut Listeners<'m>) -> Transports<'m> {
    let mut transports = Transports { attachments: Vec::new(), routes: Vec::new(), superseded: Vec::new() };
    let model = listeners.model;
    let mut routes: Vec<&Arc<TransportRoute>> = model.transport_routes.values().collect();
    routes.sort_by_cached_key(|route| age(route.created.as_deref(), &route.name));
    for route in routes {
        let (backends, bad) = resolve(listeners, route);
        let mut status = RouteStatus::default();
        for (at, parent) in route.parents.iter().enumerate() {
            if let Some(same) = status.parents.iter().find(|same| is_same(&route.parents[same.index], parent))
            {
                let same = ParentStatus { index: at, ..same.clone() };
                status.parents.push(same);
                continue;
            }
            let namespace = &route.name.namespace;
            let taken = listeners.offer(parent, namespace, route.kind.name(), |gateway, listener, open| {
                if open.took_last.replace(route).is_some_and(|last| Arc::ptr_eq(last, route)) {
                    return Ok(());
                }
                open.status.attached_routes += 1;
                let holder = *open.transport.get_or_insert(route);
                if Arc::ptr_eq(holder, route) {
                    let backends = backends.clone();
                    transports.attachments.push(Attachment { gateway, listener, route, backends });
                } else if transports.superseded.last().is_none_or(|(last, ..)| !Arc::ptr_eq(last, route)) {
                    transports.superseded.push((route, listener, holder));
                }
                Ok(())
            });
            let Some(taken) = taken else { continue };
            status.parents.push(ParentStatus {
                index: at,
                gateway: parent.gateway.clone(),
                conditions: vec![accepted(taken), resolved(&bad)],
            });
        }
        transports.routes.push(Resolved { route, backends, status });
    }
    transports
}

fn is_same(a: &ParentRef, b: &ParentRef) -> bool {
    (&a.foreign, &a.gateway, &a.listener, a.port) == (&b.foreign, &b.gateway, &b.listener, b.port)
}

fn resolve(listeners: &Listeners<'_>, route: &TransportRoute) -> (Arc<[Backend]>, Vec<(BadBackend, String)>) {
    let mut bad = Vec::new();
    let from = ((route.kind.name(), &*route.name.namespace), route.kind.protocol());
    let backends = route
        .backends
        .iter()
        .map(|reference| backend::resolve(listeners.model, &listeners.grants, from, reference, &mut bad))
        .collect();
    (backends, bad)
}
