//! Gateways, listeners and routes put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::{self, BadBackend, BoundRule, is_granted};
use super::conflicts::{self, Id, Point};
use super::status::{
    ClassStatus, Condition, ConditionType, GatewayStatus, ListenerStatus, ParentStatus, Reason, RouteStatus,
    Statuses,
};
use crate::model::{
    CONTROLLER, DEFAULT_CLASS, Gateway, Hostname, HttpRoute, Listener, ListenerProtocol, Model, ObjectName,
    ParentRef, RouteNamespaces,
};
use crate::place::Place;

const GROUP: &str = "gateway.networking.k8s.io";

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
    let mut gateways: Vec<&Arc<Gateway>> =
        model.gateways.values().filter(|gateway| is_ours(model, gateway)).collect();
    gateways.sort_by_key(|gateway| age(gateway.created.as_deref(), &gateway.name));
    let lost = conflicts::conflicts(&gateways);
    let mut listeners: BTreeMap<Id, Open> = BTreeMap::new();
    for (of, gateway) in gateways.iter().enumerate() {
        for index in 0..gateway.listeners.len() {
            let id = (of, index);
            listeners.insert(id, open(model, gateway, index, lost.get(&id)));
        }
    }
    let mut routes: Vec<&Arc<HttpRoute>> = model.http_routes.values().collect();
    routes.sort_by_key(|route| age(route.created.as_deref(), &route.name));
    let index: BTreeMap<&ObjectName, usize> =
        gateways.iter().enumerate().map(|(at, gateway)| (&gateway.name, at)).collect();
    let mut rules = 0;
    for route in routes {
        let status = attach_route(model, route, &mut rules, (&gateways, &index), &mut listeners);
        if !status.parents.is_empty() {
            statuses.routes.insert(route.name.clone(), status);
        }
    }
    let mut binds: BTreeMap<Point, Bind> = BTreeMap::new();
    for (of, gateway) in gateways.iter().enumerate() {
        let mut of_gateway = Vec::new();
        for (index, listener) in gateway.listeners.iter().enumerate() {
            let Some(open) = listeners.remove(&(of, index)) else { continue };
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

/// The older is less; who has no time is younger than all who have.
fn age<'a>(created: Option<&'a str>, name: &ObjectName) -> (bool, Option<&'a str>, ObjectName) {
    (created.is_none(), created, name.clone())
}

/// Whether its class is ours. The class of our name is there without being written.
fn is_ours(model: &Model, gateway: &Gateway) -> bool {
    match model.gateway_classes.get(&gateway.class) {
        Some(class) => class.controller == CONTROLLER && !class.has_parameters,
        None => gateway.class == DEFAULT_CLASS,
    }
}

/// A listener while routes are attached to it.
struct Open {
    status: ListenerStatus,
    /// It takes routes: it is accepted and conflicts with none.
    takes_routes: bool,
    /// It can be listened on.
    is_served: bool,
    certificates: Vec<ObjectName>,
    routes: Vec<Attached>,
}

fn open(model: &Model, gateway: &Gateway, index: usize, lost: Option<&(Reason, String)>) -> Open {
    use ConditionType::{Accepted, Conflicted, Programmed, ResolvedRefs};
    let listener = &gateway.listeners[index];
    let accepted = if listener.protocol.is_http() {
        Condition::yes(Accepted, Reason::Accepted)
    } else {
        let message = format!("{} is not served by this version", listener.protocol.name());
        Condition::no(Accepted, Reason::UnsupportedProtocol, message)
    };
    let conflicted = match lost {
        Some((reason, message)) => {
            Condition { kind: Conflicted, is_true: true, reason: *reason, message: message.clone() }
        }
        None => Condition::no(Conflicted, Reason::NoConflicts, ""),
    };
    let kinds_fault = foreign_kind(listener);
    let takes_http = listener.protocol.is_http() && takes_http(listener);
    let (certificates, bad) = certificates(model, gateway, listener);
    let resolved = match kinds_fault.or(bad) {
        Some((reason, message)) => Condition::no(ResolvedRefs, reason, message),
        None => Condition::yes(ResolvedRefs, Reason::ResolvedRefs),
    };
    let has_certificate = listener.protocol != ListenerProtocol::Https || !certificates.is_empty();
    let is_served = accepted.is_true && lost.is_none() && has_certificate;
    let programmed = if !is_served {
        Condition::no(Programmed, Reason::Invalid, "")
    } else if listener.protocol == ListenerProtocol::Https {
        Condition::no(Programmed, Reason::Pending, "TLS is not served by this version")
    } else {
        Condition::yes(Programmed, Reason::Programmed)
    };
    Open {
        takes_routes: accepted.is_true && lost.is_none() && takes_http,
        status: ListenerStatus {
            name: listener.name.clone(),
            supported_kinds: if takes_http { vec!["HTTPRoute"] } else { Vec::new() },
            attached_routes: 0,
            conditions: vec![accepted, conflicted, resolved, programmed],
        },
        is_served,
        certificates,
        routes: Vec::new(),
    }
}

fn takes_http(listener: &Listener) -> bool {
    listener
        .kinds
        .as_ref()
        .is_none_or(|kinds| kinds.iter().any(|(group, kind)| group == GROUP && kind == "HTTPRoute"))
}

/// A kind in `allowedRoutes` that cannot be here.
fn foreign_kind(listener: &Listener) -> Option<(Reason, String)> {
    let fits = |group: &str, kind: &str| listener.protocol.is_http() && group == GROUP && kind == "HTTPRoute";
    let (group, kind) = listener.kinds.iter().flatten().find(|(group, kind)| !fits(group, kind))?;
    Some((Reason::InvalidRouteKinds, format!("routes of kind {kind} of {group} are not served here")))
}

/// The certificates that can be used, and what is wrong with the first that cannot.
fn certificates(
    model: &Model,
    gateway: &Gateway,
    listener: &Listener,
) -> (Vec<ObjectName>, Option<(Reason, String)>) {
    let mut good = Vec::new();
    let mut bad = None;
    let from = (GROUP, "Gateway", gateway.name.namespace.as_str());
    for reference in &listener.certificates {
        let ObjectName { namespace, name } = &reference.name;
        let fault = if reference.foreign.is_some() {
            Some((Reason::InvalidCertificateRef, "is of a kind that is no v1 Secret"))
        } else if !is_granted(model.grants.values(), from, ("", "Secret"), &reference.name) {
            Some((Reason::RefNotPermitted, "is in another namespace, where no ReferenceGrant allows it"))
        } else {
            match model.secrets.get(&reference.name) {
                None => Some((Reason::InvalidCertificateRef, "is no Secret of type kubernetes.io/tls")),
                Some(secret) if !has_pem(&secret.certificate, "CERTIFICATE") => {
                    Some((Reason::InvalidCertificateRef, "has no certificate in PEM"))
                }
                Some(secret) if !has_pem(&secret.key, "PRIVATE KEY") => {
                    Some((Reason::InvalidCertificateRef, "has no private key in PEM"))
                }
                Some(_) => None,
            }
        };
        match fault {
            None => good.push(reference.name.clone()),
            Some((reason, why)) => {
                bad.get_or_insert((reason, format!("{}: {namespace}/{name} {why}", reference.place)));
            }
        }
    }
    (good, bad)
}

/// Whether there is a block whose label ends so (RFC 7468); `RSA PRIVATE KEY` is a `PRIVATE KEY`.
fn has_pem(bytes: &[u8], label: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_line = |line: &str, begins: &str| {
        line.trim_end()
            .strip_prefix(begins)
            .and_then(|rest| rest.strip_suffix("-----"))
            .is_some_and(|this| this.ends_with(label))
    };
    text.lines().any(|line| is_line(line, "-----BEGIN "))
        && text.lines().any(|line| is_line(line, "-----END "))
}

fn attach_route(
    model: &Model,
    route: &Arc<HttpRoute>,
    rules_so_far: &mut usize,
    (gateways, index): (&[&Arc<Gateway>], &BTreeMap<&ObjectName, usize>),
    listeners: &mut BTreeMap<Id, Open>,
) -> RouteStatus {
    use ConditionType::{Accepted, ResolvedRefs};
    let mut status = RouteStatus::default();
    let (rules, bad) = backend::bind(model, route, *rules_so_far);
    *rules_so_far += rules.len();
    let resolved = match worst(&bad) {
        None => Condition::yes(ResolvedRefs, Reason::ResolvedRefs),
        Some((why, message)) => Condition::no(ResolvedRefs, why.reason(), message),
    };
    for (at, parent) in route.parents.iter().enumerate() {
        let Some(&of) = index.get(&parent.gateway).filter(|_| parent.foreign.is_none()) else { continue };
        let gateway = gateways[of];
        let accepted = match attach_to(model, route, parent, (of, gateway), &rules, listeners) {
            Ok(()) => Condition::yes(Accepted, Reason::Accepted),
            Err((reason, message)) => Condition::no(Accepted, reason, message),
        };
        status.parents.push(ParentStatus {
            index: at,
            gateway: parent.gateway.clone(),
            conditions: vec![accepted, resolved.clone()],
        });
    }
    status
}

/// Kind and permission before what is merely not there yet.
fn worst(bad: &[(BadBackend, String)]) -> Option<(BadBackend, String)> {
    bad.iter().min_by_key(|(why, _)| *why).cloned()
}

fn attach_to(
    model: &Model,
    route: &HttpRoute,
    parent: &ParentRef,
    (of, gateway): (usize, &Gateway),
    rules: &[Arc<BoundRule>],
    listeners: &mut BTreeMap<Id, Open>,
) -> Result<(), (Reason, &'static str)> {
    let asked = |listener: &Listener| {
        parent.listener.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    };
    // The nearest that it came to being accepted.
    let mut failure = (Reason::NoMatchingParent, "the gateway has no such listener");
    let mut is_accepted = false;
    for (index, listener) in gateway.listeners.iter().enumerate().filter(|(_, listener)| asked(listener)) {
        let Some(open) = listeners.get_mut(&(of, index)) else { continue };
        if !open.takes_routes || !is_allowed(model, route, gateway, listener) {
            if failure.0 == Reason::NoMatchingParent {
                failure = (Reason::NotAllowedByListeners, "no listener takes it: see its allowedRoutes");
            }
            continue;
        }
        let Some(hostnames) = common(listener.hostname.as_ref(), &route.hostnames) else {
            failure = (Reason::NoMatchingListenerHostname, "no listener has one of its hostnames");
            continue;
        };
        is_accepted = true;
        // Two parentRefs may ask for the same listener.
        let is_there = open
            .routes
            .iter()
            .any(|attached| attached.rules.first().is_some_and(|rule| rule.route.name == route.name));
        if !is_there {
            open.status.attached_routes += 1;
            open.routes.push(Attached { hostnames, rules: rules.to_vec() });
        }
    }
    if is_accepted { Ok(()) } else { Err(failure) }
}

fn is_allowed(model: &Model, route: &HttpRoute, gateway: &Gateway, listener: &Listener) -> bool {
    match &listener.namespaces {
        RouteNamespaces::All => true,
        RouteNamespaces::Same => route.name.namespace == gateway.name.namespace,
        RouteNamespaces::Selector(selector) => model
            .namespaces
            .get(&route.name.namespace)
            .is_some_and(|namespace| selector.matches(&namespace.labels)),
    }
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
