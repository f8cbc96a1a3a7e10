//! Listeners of our gateways, and the routes that ask to be attached to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attach::Attached;
use super::conflicts::{self, Id};
use super::grants::Grants;
use super::status::{Condition, ConditionType, ListenerStatus, Reason};
use crate::model::{
    CONTROLLER, DEFAULT_CLASS, Gateway, Listener, ListenerProtocol, Model, ObjectName, ParentRef, RouteKind,
    RouteNamespaces, TransportRoute,
};

/// The group of gateways and routes.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// The kind of routes of HTTP.
pub(super) const HTTP_ROUTE: &str = "HTTPRoute";

/// Why no listener takes a route.
pub(super) type Refused = (Reason, &'static str);

/// Our gateways with their listeners.
pub(super) struct Listeners<'m> {
    pub(super) model: &'m Model,
    pub(super) grants: Grants<'m>,
    /// In the order of precedence.
    pub(super) gateways: Vec<&'m Arc<Gateway>>,
    index: BTreeMap<&'m ObjectName, usize>,
    pub(super) open: BTreeMap<Id, Open<'m>>,
}

impl<'m> Listeners<'m> {
    /// Those that speak what is wanted.
    pub(super) fn new(model: &'m Model, is_wanted: impl Fn(ListenerProtocol) -> bool) -> Self {
        let grants = Grants::new(model);
        let mut gateways: Vec<&Arc<Gateway>> =
            model.gateways.values().filter(|gateway| is_ours(model, gateway)).collect();
        gateways.sort_by_cached_key(|gateway| age(gateway.created.as_deref(), &gateway.name));
        let lost = conflicts::conflicts(&gateways);
        let mut listeners = BTreeMap::new();
        for (of, gateway) in gateways.iter().enumerate() {
            for (index, listener) in gateway.listeners.iter().enumerate() {
                let id = (of, index);
                if is_wanted(listener.protocol) {
                    listeners.insert(id, open(model, &grants, gateway, index, lost.get(&id)));
                }
            }
        }
        let index = gateways.iter().enumerate().map(|(at, gateway)| (&gateway.name, at)).collect();
        Self { model, grants, gateways, index, open: listeners }
    }

    /// Offers a route of this kind and namespace to each listener that the parent means; `take` may
    /// refuse it. `None`: the parent is no gateway of ours. `Ok`: one took it.
    pub(super) fn offer(
        &mut self,
        parent: &ParentRef,
        namespace: &str,
        kind: &str,
        mut take: impl FnMut(&'m Arc<Gateway>, &'m Listener, &mut Open<'m>) -> Result<(), Refused>,
    ) -> Option<Result<(), Refused>> {
        let of = *self.index.get(&parent.gateway).filter(|_| parent.foreign.is_none())?;
        let gateway = self.gateways[of];
        let is_asked = |listener: &Listener| {
            parent.listener.as_ref().is_none_or(|name| *name == listener.name)
                && parent.port.is_none_or(|port| port == listener.port)
        };
        // The nearest that it came to being accepted.
        let mut refused = (Reason::NoMatchingParent, "the gateway has no such listener");
        let mut is_accepted = false;
        let asked = gateway.listeners.iter().enumerate().filter(|(_, listener)| is_asked(listener));
        for (index, listener) in asked {
            let open = self.open.get_mut(&(of, index)).filter(|open| open.takes == Some(kind));
            let open = open.filter(|_| is_allowed(self.model, namespace, gateway, listener));
            match open.map(|open| take(gateway, listener, open)) {
                Some(Ok(())) => is_accepted = true,
                Some(Err(why)) => refused = why,
                None if refused.0 == Reason::NoMatchingParent => {
                    refused = (Reason::NotAllowedByListeners, "no listener takes it: see its allowedRoutes");
                }
                None => {}
            }
        }
        Some(if is_accepted { Ok(()) } else { Err(refused) })
    }
}

/// The older is less; who has no time is younger than all who have.
pub(super) fn age<'a>(created: Option<&'a str>, name: &ObjectName) -> (bool, Option<&'a str>, ObjectName) {
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
pub(super) struct Open<'m> {
    pub(super) status: ListenerStatus,
    /// The kind of routes that it takes: it is accepted, conflicts with none, and allows the kind.
    takes: Option<&'static str>,
    /// A socket of ours can listen there.
    pub(super) is_served: bool,
    pub(super) certificates: Vec<ObjectName>,
    /// Of HTTP.
    pub(super) routes: Vec<Attached>,
    /// The one route of TCP or UDP that it goes to.
    pub(super) transport: Option<&'m Arc<TransportRoute>>,
    /// The route of TCP or UDP that it took last: two `parentRefs` may ask for the same listener.
    pub(super) took_last: Option<&'m Arc<TransportRoute>>,
}

fn open<'m>(
    model: &Model,
    grants: &Grants<'_>,
    gateway: &Gateway,
    index: usize,
    lost: Option<&(Reason, String)>,
) -> Open<'m> {
    use ConditionType::{Accepted, Conflicted, Programmed, ResolvedRefs};
    let listener = &gateway.listeners[index];
    let kind = kind(listener.protocol);
    let accepted = if kind.is_some() {
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
    let kinds_fault = foreign_kind(listener, kind);
    let allowed = kind.filter(|kind| allows(listener, kind));
    let (certificates, bad) = certificates(model, grants, gateway, listener);
    let resolved = match kinds_fault.or(bad) {
        Some((reason, message)) => Condition::no(ResolvedRefs, reason, message),
        None => Condition::yes(ResolvedRefs, Reason::ResolvedRefs),
    };
    let has_certificate = listener.protocol != ListenerProtocol::Https || !certificates.is_empty();
    let is_valid = accepted.is_true && lost.is_none() && has_certificate;
    let programmed = if is_valid {
        Condition::yes(Programmed, Reason::Programmed)
    } else {
        Condition::no(Programmed, Reason::Invalid, "")
    };
    Open {
        takes: allowed.filter(|_| accepted.is_true && lost.is_none()),
        status: ListenerStatus {
            name: listener.name.clone(),
            supported_kinds: allowed.into_iter().collect(),
            attached_routes: 0,
            conditions: vec![accepted, conflicted, resolved, programmed],
        },
        is_served: is_valid && listener.protocol.is_http(),
        certificates,
        routes: Vec::new(),
        transport: None,
        took_last: None,
    }
}

/// The kind of routes that fits a protocol; `None`: it is not served.
const fn kind(protocol: ListenerProtocol) -> Option<&'static str> {
    match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => Some(HTTP_ROUTE),
        ListenerProtocol::Tcp => Some(RouteKind::Tcp.name()),
        ListenerProtocol::Udp => Some(RouteKind::Udp.name()),
        ListenerProtocol::TlsTerminate | ListenerProtocol::TlsPassthrough => None,
    }
}

fn allows(listener: &Listener, kind: &str) -> bool {
    listener
        .kinds
        .as_ref()
        .is_none_or(|kinds| kinds.iter().any(|(group, allowed)| group == GROUP && allowed == kind))
}

/// A kind in `allowedRoutes` that cannot be here.
fn foreign_kind(listener: &Listener, fitting: Option<&str>) -> Option<(Reason, String)> {
    let fits = |group: &str, kind: &str| group == GROUP && fitting == Some(kind);
    let (group, kind) = listener.kinds.iter().flatten().find(|(group, kind)| !fits(group, kind))?;
    Some((Reason::InvalidRouteKinds, format!("routes of kind {kind} of {group} are not served here")))
}

/// The certificates that can be used, and what is wrong with the first that cannot.
fn certificates(
    model: &Model,
    grants: &Grants<'_>,
    gateway: &Gateway,
    listener: &Listener,
) -> (Vec<ObjectName>, Option<(Reason, String)>) {
    let mut good = Vec::new();
    let mut bad = None;
    let from = gateway.name.namespace.as_str();
    for reference in &listener.certificates {
        let ObjectName { namespace, name } = &reference.name;
        let fault = if reference.foreign.is_some() {
            Some((Reason::InvalidCertificateRef, "is of a kind that is no v1 Secret"))
        } else if !grants.allow((GROUP, "Gateway"), from, ("", "Secret"), &reference.name) {
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

/// Whether a listener takes routes of this namespace.
fn is_allowed(model: &Model, namespace: &str, gateway: &Gateway, listener: &Listener) -> bool {
    match &listener.namespaces {
        RouteNamespaces::All => true,
        RouteNamespaces::Same => namespace == gateway.name.namespace,
        RouteNamespaces::Selector(selector) => {
            model.namespaces.get(namespace).is_some_and(|namespace| selector.matches(&namespace.labels))
        }
    }
}
