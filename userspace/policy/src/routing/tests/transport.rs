//! Sentences about routes of TCP and UDP at listeners.

use super::*;
use crate::model::RouteKind;

const TCP: &str = "{name: db, port: 5432, protocol: TCP}";
const UDP: &str = "{name: dns, port: 53, protocol: UDP}";

fn transport(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{parentRefs: [{{name: g}}], rules: [{{backendRefs: [{spec}]}}]}}\n---\n"
    )
}

fn of(text: &str, kind: RouteKind, route: &str) -> Vec<String> {
    let statuses = attach(&model(text)).statuses;
    said(&statuses.transport_routes[&(kind, name("shop", route))].parents[0].conditions)
}

const GOOD: [&str; 2] = ["Accepted=true/Accepted", "ResolvedRefs=true/ResolvedRefs"];

#[test]
fn a_route_of_tcp_goes_to_listeners_of_tcp_and_no_socket_of_ours_listens_there() {
    let text =
        gateway(&[TCP, UDP, HTTP]) + &service("shop") + &transport("TCPRoute", "r", "{name: cart, port: 80}");
    assert_eq!(of(&text, RouteKind::Tcp, "r"), GOOD);
    let routing = attach(&model(&text));
    let gateway = &routing.statuses.gateways[&name("shop", "g")];
    let attached: Vec<u32> = gateway.listeners.iter().map(|listener| listener.attached_routes).collect();
    assert_eq!(attached, [1, 0, 0]);
    let kinds: Vec<&str> = gateway.listeners.iter().map(|listener| listener.supported_kinds[0]).collect();
    assert_eq!(kinds, ["TCPRoute", "UDPRoute", "HTTPRoute"]);
    assert_eq!(said(&gateway.listeners[0].conditions)[3], "Programmed=true/Programmed");
    assert_eq!(routing.binds.len(), 1);
}

#[test]
fn a_route_at_no_listener_of_its_protocol_says_so() {
    let udp = gateway(&[UDP]) + &transport("TCPRoute", "r", "{name: cart, port: 80}");
    assert_eq!(of(&udp, RouteKind::Tcp, "r")[0], "Accepted=false/NotAllowedByListeners");
    let kinds = "{name: db, port: 5432, protocol: TCP, allowedRoutes: {kinds: [{kind: UDPRoute}]}}";
    let text = gateway(&[kinds]) + &transport("TCPRoute", "r", "{name: cart, port: 80}");
    assert_eq!(of(&text, RouteKind::Tcp, "r")[0], "Accepted=false/NotAllowedByListeners");
    let listener = &attach(&model(&text)).statuses.gateways[&name("shop", "g")].listeners[0];
    assert_eq!(said(&listener.conditions)[2], "ResolvedRefs=false/InvalidRouteKinds");
    let section = (gateway(&[TCP]) + &transport("TCPRoute", "r", "{name: cart, port: 80}"))
        .replace("[{name: g}]", "[{name: g, sectionName: other}]");
    assert_eq!(of(&section, RouteKind::Tcp, "r")[0], "Accepted=false/NoMatchingParent");
}

#[test]
fn a_route_of_another_namespace_needs_leave_here_too() {
    let of_allowed = |allowed: &str| {
        let listener =
            format!("{{name: db, port: 5432, protocol: TCP, allowedRoutes: {{namespaces: {allowed}}}}}");
        let route = transport("TCPRoute", "r", "{name: cart, port: 80}")
            .replace("name: r, namespace: shop", "name: r, namespace: web")
            .replace("[{name: g}]", "[{name: g, namespace: shop}]");
        let statuses = attach(&model(&(gateway(&[&listener]) + &route))).statuses;
        said(&statuses.transport_routes[&(RouteKind::Tcp, name("web", "r"))].parents[0].conditions)[0].clone()
    };
    assert_eq!(of_allowed("{from: Same}"), "Accepted=false/NotAllowedByListeners");
    assert_eq!(of_allowed("{from: All}"), "Accepted=true/Accepted");
}

#[test]
fn a_bad_backend_of_a_route_of_tcp_says_why() {
    let resolved = |backend: &str, more: &str| {
        let text = gateway(&[TCP]) + more + &transport("TCPRoute", "r", backend);
        of(&text, RouteKind::Tcp, "r")[1].clone()
    };
    assert_eq!(resolved("{name: cart, port: 80}", ""), "ResolvedRefs=false/BackendNotFound");
    assert_eq!(resolved("{name: cart, port: 81}", &service("shop")), "ResolvedRefs=false/BackendNotFound");
    assert_eq!(resolved("{group: x.y, kind: Z, name: cart}", ""), "ResolvedRefs=false/InvalidKind");
    let other = "{name: cart, namespace: back, port: 80}";
    assert_eq!(resolved(other, &service("back")), "ResolvedRefs=false/RefNotPermitted");
    let grant = |kind: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: x, namespace: back}}\n\
             spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: shop}}], \
             to: [{{group: '', kind: Service, name: cart}}]}}\n---\n"
        )
    };
    assert_eq!(resolved(other, &(service("back") + &grant("TCPRoute"))), GOOD[1]);
    assert_eq!(
        resolved(other, &(service("back") + &grant("HTTPRoute"))),
        "ResolvedRefs=false/RefNotPermitted"
    );
}

#[test]
fn a_route_of_udp_asks_for_ports_of_udp() {
    let text = gateway(&[UDP]) + &service("shop") + &transport("UDPRoute", "r", "{name: cart, port: 80}");
    assert_eq!(of(&text, RouteKind::Udp, "r"), [GOOD[0], "ResolvedRefs=false/BackendNotFound"]);
    let text = text.replace("ports: [{port: 80}]", "ports: [{port: 80, protocol: UDP}]");
    assert_eq!(of(&text, RouteKind::Udp, "r"), GOOD);
}

#[test]
fn several_routes_at_one_listener_are_accepted_and_one_has_it() {
    let backend = "{name: cart, port: 80}";
    let text = gateway(&[TCP])
        + &service("shop")
        + &transport("TCPRoute", "b", backend)
        + &transport("TCPRoute", "a", backend).replace("[{name: g}]", "[{name: g}, {name: g, port: 5432}]");
    assert_eq!(
        (of(&text, RouteKind::Tcp, "a"), of(&text, RouteKind::Tcp, "b")),
        (GOOD.map(str::to_owned).to_vec(), GOOD.map(str::to_owned).to_vec())
    );
    let parsed = model(&text);
    let transports = transports(&parsed);
    let names: Vec<&str> = transports.attachments.iter().map(|this| &*this.route.name.name).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(transports.superseded.len(), 1);
    let attached = attach(&parsed).statuses.gateways[&name("shop", "g")].listeners[0].attached_routes;
    assert_eq!(attached, 2);
    // An older one is before one that is first by its name.
    let text = text.replace(
        "name: b, namespace: shop",
        "name: b, namespace: shop, creationTimestamp: '2025-01-01T00:00:00Z'",
    );
    let parsed = model(&text);
    assert_eq!(super::super::transports(&parsed).attachments[0].route.name.name, "b");
}
