//! Gateways, listeners and routes put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::{self, BadBackend, BoundRule};
use super::conflicts::Point;
use super::listeners::{HTTP_ROUTE, Listeners, Refused, age};
use super::status::{
    ClassStatus, Condition, ConditionType, GatewayStatus, ListenerStatus, ParentStatus, Reason, RouteStatus,
    Statuses,
};
use super::transport::{self, Resolved};
use crate::model::{CONTROLLER, Gateway, Hostname, HttpRoute, ListenerProtocol, Model, ObjectName};
use crate::place::Place;

/// What listens, with which routes, and the conditions of every object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// By addresses and port.
    pub binds: Vec<Bind>,
    /// How many rules there are: [`BoundRule::number`] is less.
    pub rules: usize,
    /// The conditions.
    pub statuses: Statuses,
}

/// One socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Addresses (none is every one) and port.
    pub point: Point,
    /// Whether TLS is spoken first.
    pub is_tls: bool,
    /// At least one; their hostnames differ.
    pub listeners: Vec<BoundListener>,
}

/// A listener with its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundListener {
    /// Its gateway.
    pub gateway: ObjectName,
    /// Its name there.
    pub name: String,
    /// `None` is every host.
    pub hostname: Option<Hostname>,
    /// The Secrets of its certificates that can be used.
    pub certificates: Vec<ObjectName>,
    /// In the order of precedence: the oldest route first, then by name.
    pub routes: Vec<Attached>,
    /// Where it is written.
    pub place: Place,
}

/// A route at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Those of its hosts that the listener has too; empty is every host.
    pub hostnames: Vec<Hostname>,
    /// Its rules.
    pub rules: Vec<Arc<BoundRule>>,
}

/// Puts the gateways of our classes together with their routes.
pub fn attach(model: &Model) -> Routing {
    let mut statuses = Statuses::default();
    for class in model.gateway_classes.values().filter(|class| class.controller == CONTROLLER) {
        let accepted = if class.has_parameters {
            let message = "parametersRef: this controller has no parameters";
            Condition::no(ConditionType::Accepted, Reason::InvalidParameters, message)
        } else {
            Condition::yes(ConditionType::Accepted, Reason::Accepted)
        };
        statuses.classes.insert(class.name.clone(), ClassStatus { conditions: vec![accepted] });
    }
    let mut listeners = Listeners::new(model, |_| true);
    let mut routes: Vec<&Arc<HttpRoute>> = model.http_routes.values().collect();
    routes.sort_by_cached_key(|route| age(route.created.as_deref(), &route.name));
    let mut rules = 0;
    for route in routes {
        let status = attach_route(route, &mut rules, &mut listeners);
        if !status.parents.is_empty() {
            statuses.routes.insert(route.name.clone(), status);
        }
    }
    for Resolved { route, status, .. } in transport::attach(&mut listeners).routes {
        if !status.parents.is_empty() {
            statuses.transport_routes.insert((route.kind, route.name.clone()), status);
        }
    }
    let mut binds: BTreeMap<Point, Bind> = BTreeMap::new();
    for (of, gateway) in listeners.gateways.iter().enumerate() {
        let mut of_gateway = Vec::new();
        for (index, listener) in gateway.listeners.iter().enumerate() {
            let Some(open) = listeners.open.remove(&(of, index)) else { continue };
            if open.is_served && !gateway.has_named_address {
                let point = (gateway.addresses.clone(), listener.port);
                let is_tls = listener.protocol != ListenerProtocol::Http;
                let bind = binds.entry(point.clone()).or_insert_with(|| Bind {
                    point,
                    is_tls,
                    listeners: Vec::new(),
                });
                bind.listeners.push(BoundListener {
                    gateway: gateway.name.clone(),
                    name: listener.name.clone(),
                    hostname: listener.hostname.clone(),
                    certificates: open.certificates,
                    routes: open.routes,
                    place: listener.place.clone(),
                });
            }
            of_gateway.push(open.status);
        }
        statuses.gateways.insert(gateway.name.clone(), gateway_status(gateway, of_gateway));
    }
    Routing { binds: binds.into_values().collect(), rules, statuses }
}

fn attach_route(
    route: &Arc<HttpRoute>,
    rules_so_far: &mut usize,
    listeners: &mut Listeners<'_>,
) -> RouteStatus {
    let mut status = RouteStatus::default();
    let (rules, bad) = backend::bind(listeners.model, &listeners.grants, route, *rules_so_far);
    *rules_so_far += rules.len();
    let resolved = resolved(&bad);
    for (at, parent) in route.parents.iter().enumerate() {
        let taken = listeners.offer(parent, &route.name.namespace, HTTP_ROUTE, |_, listener, open| {
            let Some(hostnames) = common(listener.hostname.as_ref(), &route.hostnames) else {
                let why = "no listener has one of its hostnames";
                return Err((Reason::NoMatchingListenerHostname, why));
            };
            // Two parentRefs may ask for the same listener.
            let is_there = open
                .routes
                .iter()
                .any(|attached| attached.rules.first().is_some_and(|rule| rule.route.name == route.name));
            if !is_there {
                open.status.attached_routes += 1;
                open.routes.push(Attached { hostnames, rules: rules.clone() });
            }
            Ok(())
        });
        let Some(taken) = taken else { continue };
        status.parents.push(ParentStatus {
            index: at,
            gateway: parent.gateway.clone(),
            conditions: vec![accepted(taken), resolved.clone()],
        });
    }
    status
}

/// The condition Accepted of a route at a parent.
pub(super) fn accepted(taken: Result<(), Refused>) -> Condition {
    match taken {
        Ok(()) => Condition::yes(ConditionType::Accepted, Reason::Accepted),
        Err((reason, message)) => Condition::no(ConditionType::Accepted, reason, message),
    }
}

/// The condition `ResolvedRefs` of a route with these bad references.
pub(super) fn resolved(bad: &[(BadBackend, String)]) -> Condition {
    match worst(bad) {
        None => Condition::yes(ConditionType::ResolvedRefs, Reason::ResolvedRefs),
        Some((why, message)) => Condition::no(ConditionType::ResolvedRefs, why.reason(), message),
    }
}

/// Kind and permission before what is merely not there yet.
fn worst(bad: &[(BadBackend, String)]) -> Option<(BadBackend, String)> {
    bad.iter().min_by_key(|(why, _)| *why).cloned()
}

/// The hosts of both; `Some` and empty is every host, `None` is none.
fn common(listener: Option<&Hostname>, route: &[Hostname]) -> Option<Vec<Hostname>> {
    match (listener, route) {
        (None, route) => Some(route.to_vec()),
        (Some(listener), []) => Some(vec![listener.clone()]),
        (Some(listener), route) => {
            let mut both: Vec<Hostname> =
                route.iter().filter_map(|hostname| hostname.intersection(listener)).cloned().collect();
            both.sort();
            both.dedup();
            (!both.is_empty()).then_some(both)
        }
    }
}

fn gateway_status(gateway: &Gateway, listeners: Vec<ListenerStatus>) -> GatewayStatus {
    use ConditionType::{Accepted, Programmed};
    let holds = |listener: &ListenerStatus, kind| {
        listener.conditions.iter().any(|condition| condition.kind == kind && condition.is_true)
    };
    let is_valid =
        |listener: &ListenerStatus| holds(listener, Accepted) && !holds(listener, ConditionType::Conflicted);
    let invalid: Vec<&str> =
        listeners.iter().filter(|listener| !is_valid(listener)).map(|listener| &*listener.name).collect();
    let message =
        if invalid.is_empty() { String::new() } else { format!("not valid: {}", invalid.join(", ")) };
    let (accepted, programmed) = if gateway.has_named_address {
        let why = "an address that is a name is not resolved here: write an IPAddress";
        (
            Condition::no(Accepted, Reason::UnsupportedAddress, why),
            Condition::no(Programmed, Reason::AddressNotUsable, why),
        )
    } else if invalid.len() == listeners.len() {
        (
            Condition::no(Accepted, Reason::ListenersNotValid, message),
            Condition::no(Programmed, Reason::Invalid, "no listener is valid"),
        )
    } else {
        // Upstream: a gateway with one valid listener is accepted, and its reason tells of the rest.
        let reason = if invalid.is_empty() { Reason::Accepted } else { Reason::ListenersNotValid };
        let accepted = Condition { kind: Accepted, is_true: true, reason, message };
        let programmed = if listeners.iter().any(|listener| holds(listener, Programmed)) {
            Condition::yes(Programmed, Reason::Programmed)
        } else {
            Condition::no(Programmed, Reason::Pending, "no listener is served")
        };
        (accepted, programmed)
    };
    GatewayStatus { conditions: vec![accepted, programmed], listeners }
}
