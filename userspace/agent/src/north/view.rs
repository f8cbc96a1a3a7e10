//! The gateway's part of the status: who listens, and the conditions of every object.

use serde::{Deserialize, Serialize};
use windrose_gateway::Gateway;
use windrose_gateway::counters::Counters;
use windrose_policy::model::{Model, ObjectName};
use windrose_policy::routing::{Condition, ConditionType, ParentStatus, Reason, Statuses};

use super::North;
use crate::output::{Paint, columns};
use crate::refused::count;

/// The gateway and its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayView {
    /// Threads; 0: it has not started, as nothing is to be listened on.
    pub(crate) workers: usize,
    /// Addresses that are listened on.
    pub(crate) listening: Vec<String>,
    /// Those that cannot be, and why.
    pub(crate) not_listening: Vec<String>,
    /// Connections of clients that are open.
    pub(crate) connections: i64,
    /// Exchanges that have begun and not ended.
    pub(crate) exchanges: i64,
    /// Every object that is ours, classes first.
    pub(crate) objects: Vec<ObjectView>,
}

/// An object of policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectView {
    pub(crate) kind: String,
    /// Empty where the kind has none.
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Of the object itself; a route has them for each parent.
    pub(crate) conditions: Vec<ConditionView>,
    /// Of a Gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) listeners: Vec<ListenerView>,
    /// Of a route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<ParentView>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerView {
    pub(crate) name: String,
    pub(crate) supported_kinds: Vec<String>,
    pub(crate) attached_routes: u32,
    pub(crate) conditions: Vec<ConditionView>,
}

/// A Gateway that a route asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParentView {
    /// `namespace/name`.
    pub(crate) gateway: String,
    pub(crate) conditions: Vec<ConditionView>,
}

/// A condition, as upstream writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConditionView {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `True` or `False`.
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<&Condition> for ConditionView {
    fn from(condition: &Condition) -> Self {
        Self {
            kind: condition.kind.name().to_owned(),
            status: if condition.is_true { "True" } else { "False" }.to_owned(),
            reason: condition.reason.name().to_owned(),
            message: condition.message.clone(),
        }
    }
}

fn views(conditions: &[Condition]) -> Vec<ConditionView> {
    conditions.iter().map(ConditionView::from).collect()
}

impl North {
    /// What status shows; `None`: no object of policy is a gateway's.
    pub(crate) fn view(&self, model: &Model) -> Option<GatewayView> {
        let objects = objects(&self.statuses(model));
        let view = self.look(|gateway| GatewayView {
            workers: gateway.workers(),
            listening: gateway.addresses().iter().map(ToString::to_string).collect(),
            not_listening: gateway.failures().into_iter().map(|failure| failure.message).collect(),
            connections: open(gateway, |counters| &counters.connections_open),
            exchanges: open(gateway, |counters| &counters.exchanges_open),
            objects: Vec::new(),
        });
        if objects.is_empty() && view.is_none() {
            return None;
        }
        Some(GatewayView { objects, ..view.unwrap_or_default() })
    }
}

fn open(gateway: &Gateway, of: impl Fn(&Counters) -> &std::sync::atomic::AtomicI64) -> i64 {
    gateway.total(|counters| of(counters).load(std::sync::atomic::Ordering::Relaxed))
}

fn objects(statuses: &Statuses) -> Vec<ObjectView> {
    let object = |kind: &str, name: &ObjectName| ObjectView {
        kind: kind.to_owned(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        conditions: Vec::new(),
        listeners: Vec::new(),
        parents: Vec::new(),
    };
    let classes = statuses.classes.iter().map(|(name, class)| {
        let name = ObjectName { namespace: String::new(), name: name.clone() };
        ObjectView { conditions: views(&class.conditions), ..object("GatewayClass", &name) }
    });
    let gateways = statuses.gateways.iter().map(|(name, gateway)| ObjectView {
        conditions: views(&gateway.conditions),
        listeners: gateway
            .listeners
            .iter()
            .map(|listener| ListenerView {
                name: listener.name.clone(),
                supported_kinds: listener.supported_kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                attached_routes: listener.attached_routes,
                conditions: views(&listener.conditions),
            })
            .collect(),
        ..object("Gateway", name)
    });
    let http = statuses
        .routes
        .iter()
        .map(|(name, route)| ObjectView { parents: parents(&route.parents), ..object("HTTPRoute", name) });
    let transport = statuses.transport_routes.iter().map(|((kind, name), route)| ObjectView {
        parents: parents(&route.parents),
        ..object(kind.name(), name)
    });
    classes.chain(gateways).chain(http).chain(transport).collect()
}

/// What is not as it should be, a line each: nobody watches the conditions of objects in files. Sockets
/// that are not open are told by who opens them, and routes of TCP and UDP are warned of as faults are.
pub(super) fn faults(statuses: &Statuses) -> Vec<String> {
    let bad = |what: String, conditions: &[Condition]| {
        let is_bad = |condition: &&Condition| {
            let is_told = !matches!(condition.reason, Reason::PortUnavailable | Reason::AddressNotUsable);
            let is_good = condition.is_true != (condition.kind == ConditionType::Conflicted);
            !is_good && is_told && !condition.message.is_empty()
        };
        let told = |condition: &Condition| {
            let Condition { kind, reason, message, .. } = condition;
            let not = if *kind == ConditionType::Conflicted { "" } else { "not " };
            format!("{what}: {not}{} ({}): {message}", kind.name(), reason.name())
        };
        conditions.iter().filter(is_bad).map(told).collect::<Vec<_>>()
    };
    let shown = |name: &ObjectName| format!("{}/{}", name.namespace, name.name);
    let classes = statuses
        .classes
        .iter()
        .flat_map(|(name, class)| bad(format!("GatewayClass {name}"), &class.conditions));
    let listeners = statuses.gateways.iter().flat_map(|(name, gateway)| {
        let of = gateway.listeners.iter();
        of.flat_map(|listener| {
            bad(format!("Gateway {}, listener {}", shown(name), listener.name), &listener.conditions)
        })
        .collect::<Vec<_>>()
    });
    let routes = statuses.routes.iter().flat_map(|(name, route)| {
        let of = route.parents.iter();
        of.flat_map(|parent| {
            bad(
                format!("HTTPRoute {} at Gateway {}", shown(name), shown(&parent.gateway)),
                &parent.conditions,
            )
        })
        .collect::<Vec<_>>()
    });
    classes.chain(listeners).chain(routes).collect()
}

fn parents(parents: &[ParentStatus]) -> Vec<ParentView> {
    let view = |parent: &ParentStatus| ParentView {
        gateway: format!("{}/{}", parent.gateway.namespace, parent.gateway.name),
        conditions: views(&parent.conditions),
    };
    parents.iter().map(view).collect()
}

/// For people: a line on the whole, and a table of objects.
pub(crate) fn text(view: &GatewayView, paint: Paint) -> String {
    let mut text = if view.workers == 0 {
        "gateway: not started, nothing is to be listened on\n".to_owned()
    } else {
        let on = if view.listening.is_empty() { "nothing".to_owned() } else { view.listening.join(", ") };
        let number = |number: i64| usize::try_from(number).unwrap_or_default();
        format!(
            "gateway: {} listening on {on}; {}, {}\n",
            count(view.workers, "worker"),
            count(number(view.connections), "connection"),
            count(number(view.exchanges), "exchange"),
        )
    };
    text.extend(view.not_listening.iter().map(|why| format!("  not listening: {why}\n")));
    let mut rows = Vec::new();
    for object in &view.objects {
        let name = match object.namespace.as_str() {
            "" => format!("{} {}", object.kind, object.name),
            namespace => format!("{} {namespace}/{}", object.kind, object.name),
        };
        if object.parents.is_empty() {
            rows.push(vec![name.clone(), String::new(), state(&object.conditions)]);
        }
        for listener in &object.listeners {
            let routes = count(usize::try_from(listener.attached_routes).unwrap_or_default(), "route");
            let state = format!("{routes}, {}", state(&listener.conditions));
            rows.push(vec![name.clone(), format!("listener {}", listener.name), state]);
        }
        for parent in &object.parents {
            rows.push(vec![name.clone(), format!("at {}", parent.gateway), state(&parent.conditions)]);
        }
    }
    if !rows.is_empty() {
        text.push('\n');
        text += &columns(&["OBJECT", "PART", "CONDITIONS"], &rows, paint);
    }
    text
}

/// What holds by name, what is not as it should be with its reason.
fn state(conditions: &[ConditionView]) -> String {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for condition in conditions {
        let ConditionView { kind, status, reason, message } = condition;
        // Of conflicts it is good to have none, and not worth a word.
        let is_good = (status == "True") != (kind == "Conflicted");
        let why = if message.is_empty() { String::new() } else { format!(": {message}") };
        match (is_good, kind.as_str()) {
            (true, "Conflicted") => {}
            (true, _) if message.is_empty() => good.push(kind.clone()),
            (true, _) => good.push(format!("{kind} ({reason}{why})")),
            (false, "Conflicted") => bad.push(format!("{kind} ({reason}{why})")),
            (false, _) => bad.push(format!("not {kind} ({reason}{why})")),
        }
    }
    bad.extend(good);
    bad.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrose_policy::routing::attach;
    use windrose_policy::source::{Source, parse};

    #[test]
    fn what_is_not_as_it_should_be_is_told_with_its_place() {
        let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
            spec: {gatewayClassName: windrose, listeners: [{name: web, port: 80, protocol: HTTP}, \
            {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: none}]}}]}\n---\n\
            apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n\
            spec: {parentRefs: [{name: g, sectionName: web}], rules: [{backendRefs: [{name: nobody, port: 80}]}]}\n";
        let source = Source { name: "p.yaml".to_owned(), text: text.to_owned() };
        let faults = faults(&attach(&parse(&[source]).unwrap().model).statuses);
        assert_eq!(faults.len(), 2, "{faults:#?}");
        let listener = "Gateway default/g, listener tls: not ResolvedRefs (InvalidCertificateRef): p.yaml:4:";
        assert!(faults[0].starts_with(listener), "{}", faults[0]);
        let route = "HTTPRoute default/r at Gateway default/g: not ResolvedRefs (BackendNotFound): p.yaml:9:";
        assert!(faults[1].starts_with(route), "{}", faults[1]);
    }
}
