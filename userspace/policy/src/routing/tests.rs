//! Sentences about attachment, conditions and precedence; the property that both matchers agree.

use super::*;
use crate::model::{Model, ObjectName};
use crate::source::{Source, parse};

mod agree;
mod transport;

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec:
  gatewayClassName: windrose
  listeners:
";

fn model(text: &str) -> Model {
    let sources = [Source { name: "t.yaml".to_owned(), text: text.to_owned() }];
    parse(&sources).unwrap_or_else(|faults| panic!("{faults:#?}")).model
}

fn gateway(listeners: &[&str]) -> String {
    format!("{GATEWAY}  - {}\n---\n", listeners.join("\n  - "))
}

fn route(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{parentRefs: [{{name: g}}], {spec}}}\n---\n"
    )
}

fn service(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: cart, namespace: {namespace}, annotations: \
         {{windrose.dev/endpoints: 10.1.0.1}}}}\nspec: {{clusterIP: 10.0.0.{}, ports: [{{port: 80}}]}}\n---\n",
        namespace.len()
    )
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

const HTTP: &str = "{name: web, port: 80, protocol: HTTP}";

/// `Type=status/Reason` of conditions.
fn said(conditions: &[Condition]) -> Vec<String> {
    conditions
        .iter()
        .map(|this| format!("{}={}/{}", this.kind.name(), this.is_true, this.reason.name()))
        .collect()
}

fn route_said(text: &str, route: &str) -> Vec<String> {
    let statuses = attach(&model(text)).statuses;
    said(&statuses.routes[&name("shop", route)].parents[0].conditions)
}

fn chosen(text: &str, method: &str, host: &str, path: &str) -> Option<String> {
    let routing = attach(&model(text));
    let headers: Vec<(String, String)> = Vec::new();
    let request = Request { method, host, path, query: "", headers: &headers };
    let chosen = Matcher::new(&routing.binds[0]).choose(&request);
    assert_eq!(chosen, reference::choose(&routing.binds[0], &request));
    chosen.map(|chosen| format!("{} {}", chosen.rule.route.name.name, chosen.rule.index))
}

#[test]
fn a_route_of_the_same_namespace_is_accepted() {
    let text =
        gateway(&[HTTP]) + &service("shop") + &route("r", "rules: [{backendRefs: [{name: cart, port: 80}]}]");
    assert_eq!(route_said(&text, "r"), ["Accepted=true/Accepted", "ResolvedRefs=true/ResolvedRefs"]);
    let routing = attach(&model(&text));
    let gateway = &routing.statuses.gateways[&name("shop", "g")];
    assert_eq!(said(&gateway.conditions), ["Accepted=true/Accepted", "Programmed=true/Programmed"]);
    assert_eq!(gateway.listeners[0].attached_routes, 1);
    assert_eq!(routing.binds[0].listeners[0].routes[0].rules[0].backends[0].endpoints().len(), 1);
}

#[test]
fn a_route_says_why_it_is_not_accepted() {
    let of =
        |listener: &str, spec: &str| route_said(&(gateway(&[listener]) + &route("r", spec)), "r")[0].clone();
    assert_eq!(
        of("{name: web, port: 80, protocol: HTTP, hostname: a.example}", "hostnames: [b.example]"),
        "Accepted=false/NoMatchingListenerHostname"
    );
    assert_eq!(
        of("{name: web, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}", ""),
        "Accepted=false/NotAllowedByListeners"
    );
    let text = gateway(&[HTTP]) + &route("r", "").replace("{name: g}", "{name: g, sectionName: other}");
    assert_eq!(route_said(&text, "r")[0], "Accepted=false/NoMatchingParent");
    let text = gateway(&[HTTP]) + &route("r", "").replace("{name: g}", "{name: g, port: 81}");
    assert_eq!(route_said(&text, "r")[0], "Accepted=false/NoMatchingParent");
}

#[test]
fn a_route_of_another_namespace_needs_the_listeners_leave() {
    let other = |text: String| {
        text.replace("metadata: {name: r, namespace: shop}", "metadata: {name: r, namespace: web}")
            .replace("{name: g}", "{name: g, namespace: shop}")
    };
    let of = |allowed: &str, labels: &str| {
        let listener =
            format!("{{name: web, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {allowed}}}}}");
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: web, labels: {labels}}}\n---\n");
        let model = model(&(gateway(&[&listener]) + &namespace + &other(route("r", ""))));
        attach(&model).statuses.routes[&name("web", "r")].parents[0].conditions[0].is_true
    };
    assert!(!of("{from: Same}", "{}"));
    assert!(of("{from: All}", "{}"));
    assert!(!of("{from: Selector, selector: {matchLabels: {a: b}}}", "{}"));
    assert!(of("{from: Selector, selector: {matchLabels: {a: b}}}", "{a: b}"));
}

#[test]
fn a_backend_that_cannot_be_used_keeps_its_share_and_says_why() {
    let of = |backend: &str, more: &str| {
        let text = gateway(&[HTTP]) + more + &route("r", &format!("rules: [{{backendRefs: [{backend}]}}]"));
        let routing = attach(&model(&text));
        let to = routing.binds[0].listeners[0].routes[0].rules[0].backends[0].to.clone();
        (to.err(), route_said(&text, "r")[1].clone())
    };
    assert_eq!(
        of("{name: cart, port: 80}", ""),
        (Some(BadBackend::NoService), "ResolvedRefs=false/BackendNotFound".to_owned())
    );
    assert_eq!(of("{name: cart, port: 81}", &service("shop")).0, Some(BadBackend::NoPort));
    assert_eq!(
        of("{group: x.y, kind: Z, name: cart}", ""),
        (Some(BadBackend::Kind), "ResolvedRefs=false/InvalidKind".to_owned())
    );
    assert_eq!(
        of("{name: cart, namespace: back, port: 80}", &service("back")),
        (Some(BadBackend::NotPermitted), "ResolvedRefs=false/RefNotPermitted".to_owned())
    );
}

#[test]
fn a_grant_lets_just_what_it_names() {
    let of = |from: &str, to: &str| {
        let grant = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: x, namespace: back}}\n\
             spec: {{from: [{from}], to: [{to}]}}\n---\n"
        );
        let text = gateway(&[HTTP])
            + &service("back")
            + &grant
            + &route("r", "rules: [{backendRefs: [{name: cart, namespace: back, port: 80}]}]");
        route_said(&text, "r")[1].ends_with("/ResolvedRefs")
    };
    let from = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}";
    assert!(of(from, "{group: '', kind: Service}"));
    assert!(of(from, "{group: '', kind: Service, name: cart}"));
    assert!(!of(from, "{group: '', kind: Service, name: other}"));
    assert!(!of(from, "{group: '', kind: Secret}"));
    assert!(!of(&from.replace("shop", "web"), "{group: '', kind: Service}"));
    assert!(!of(&from.replace("HTTPRoute", "Gateway"), "{group: '', kind: Service}"));
}

#[test]
fn listeners_that_want_the_same_conflict_and_the_older_gateway_wins() {
    let second = GATEWAY.replace(
        "{name: g, namespace: shop}",
        "{name: a, namespace: shop, creationTimestamp: '2025-01-01T00:00:00Z'}",
    );
    let listener = "  - {name: web, port: 80, protocol: HTTP}\n";
    let text = format!("{GATEWAY}{listener}---\n{second}{listener}");
    let statuses = attach(&model(&text)).statuses;
    let conflicted =
        |gateway: &str| said(&statuses.gateways[&name("shop", gateway)].listeners[0].conditions)[1].clone();
    // The one with a time is older than the one without.
    assert_eq!(conflicted("a"), "Conflicted=false/NoConflicts");
    assert_eq!(conflicted("g"), "Conflicted=true/HostnameConflict");
    assert_eq!(
        said(&statuses.gateways[&name("shop", "g")].conditions),
        ["Accepted=false/ListenersNotValid", "Programmed=false/Invalid"]
    );
    let tls = "{name: tls, port: 80, protocol: TLS, tls: {mode: Passthrough}}";
    let statuses = attach(&model(&gateway(&[HTTP, tls]))).statuses;
    let listeners = &statuses.gateways[&name("shop", "g")].listeners;
    assert_eq!(said(&listeners[1].conditions)[1], "Conflicted=true/ProtocolConflict");
}

#[test]
fn protocols_that_are_not_served_say_so() {
    let statuses =
        attach(&model(&gateway(&[HTTP, "{name: t, port: 5432, protocol: TLS, tls: {mode: Passthrough}}"])))
            .statuses;
    let gateway = &statuses.gateways[&name("shop", "g")];
    assert_eq!(said(&gateway.listeners[1].conditions)[0], "Accepted=false/UnsupportedProtocol");
    assert_eq!(said(&gateway.conditions)[0], "Accepted=true/ListenersNotValid");
    assert_eq!(gateway.conditions[0].message, "not valid: t");
}

#[test]
fn a_certificate_that_cannot_be_used_says_why() {
    let https = "{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}";
    let of = |secret: &str| {
        let statuses = attach(&model(&(gateway(&[https]) + secret))).statuses;
        said(&statuses.gateways[&name("shop", "g")].listeners[0].conditions)[2].clone()
    };
    assert_eq!(of(""), "ResolvedRefs=false/InvalidCertificateRef");
    let secret = |certificate: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: c, namespace: shop}}\ntype: kubernetes.io/tls\nstringData:\n  \
             tls.crt: \"{certificate}\"\n  tls.key: \"-----BEGIN RSA PRIVATE KEY-----\\nAA==\\n-----END RSA PRIVATE KEY-----\"\n"
        )
    };
    assert_eq!(of(&secret("nonsense")), "ResolvedRefs=false/InvalidCertificateRef");
    assert_eq!(
        of(&secret("-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----")),
        "ResolvedRefs=true/ResolvedRefs"
    );
}

#[test]
fn gateways_of_others_are_left_alone() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: windrose}\n\
                 spec: {controllerName: example.com/other}\n---\n";
    let routing = attach(&model(&(class.to_owned() + &gateway(&[HTTP]) + &route("r", ""))));
    assert!(routing.binds.is_empty() && routing.statuses == Statuses::default());
}

#[test]
fn the_most_specific_listener_has_the_request_alone() {
    let text = gateway(&[HTTP, "{name: api, port: 80, protocol: HTTP, hostname: api.example}"])
        + &route("all", "").replace("{name: g}", "{name: g, sectionName: web}")
        + &route("api", "rules: [{matches: [{path: {value: /v1}}]}]")
            .replace("{name: g}", "{name: g, sectionName: api}");
    assert_eq!(chosen(&text, "GET", "api.example", "/v1").as_deref(), Some("api 0"));
    assert_eq!(chosen(&text, "GET", "api.example", "/v2"), None);
    assert_eq!(chosen(&text, "GET", "other.example", "/v2").as_deref(), Some("all 0"));
}

#[test]
fn the_host_comes_before_the_path() {
    let text = gateway(&[HTTP])
        + &route("exact", "hostnames: [a.example], rules: [{matches: [{path: {value: /}}]}]")
        + &route(
            "wide",
            "hostnames: ['*.example'], rules: [{matches: [{path: {type: Exact, value: /x}}]}, {matches: [{path: {value: /y}, method: PUT}]}]",
        );
    assert_eq!(chosen(&text, "GET", "a.example", "/x").as_deref(), Some("exact 0"));
    assert_eq!(chosen(&text, "GET", "b.example", "/x").as_deref(), Some("wide 0"));
    assert_eq!(chosen(&text, "GET", "b.example", "/y"), None);
}

#[test]
fn a_less_specific_host_has_what_the_more_specific_does_not_take() {
    let text = gateway(&[HTTP])
        + &route("narrow", "hostnames: [a.example], rules: [{matches: [{path: {value: /x}}]}]")
        + &route("wide", "hostnames: ['*.example']");
    assert_eq!(chosen(&text, "GET", "a.example", "/y").as_deref(), Some("wide 0"));
}

#[test]
fn a_prefix_matches_by_elements() {
    let text = gateway(&[HTTP]) + &route("r", "rules: [{matches: [{path: {value: /foo/}}]}]");
    for path in ["/foo", "/foo/", "/foo/bar"] {
        assert!(chosen(&text, "GET", "h", path).is_some(), "{path}");
    }
    for path in ["/foobar", "/Foo", "/", "/fo"] {
        assert_eq!(chosen(&text, "GET", "h", path), None, "{path}");
    }
}

#[test]
fn a_pattern_is_below_exact_and_by_length_among_prefixes() {
    let text = gateway(&[HTTP])
        + &route(
            "r",
            "rules: [{matches: [{path: {value: /a}}]}, {matches: [{path: {type: RegularExpression, value: '/a/.*'}}]}, \
             {matches: [{path: {value: /a/b/c/d}}]}, {matches: [{path: {type: Exact, value: /a/x}}]}]",
        );
    assert_eq!(chosen(&text, "GET", "h", "/a").as_deref(), Some("r 0"));
    assert_eq!(chosen(&text, "GET", "h", "/a/b").as_deref(), Some("r 1"));
    assert_eq!(chosen(&text, "GET", "h", "/a/b/c/d").as_deref(), Some("r 2"));
    assert_eq!(chosen(&text, "GET", "h", "/a/x").as_deref(), Some("r 3"));
}

#[test]
fn of_equals_the_oldest_route_wins_then_the_name_then_the_first_rule() {
    let young = route("a", "").replace(
        "{name: a, namespace: shop}",
        "{name: a, namespace: shop, creationTimestamp: '2025-01-01T00:00:00Z'}",
    );
    let old = young.replace("name: a,", "name: z,").replace("2025", "2024");
    assert_eq!(chosen(&(gateway(&[HTTP]) + &young + &old), "GET", "h", "/").as_deref(), Some("z 0"));
    let text = gateway(&[HTTP]) + &route("b", "") + &route("a", "rules: [{name: x}, {name: y}]");
    assert_eq!(chosen(&text, "GET", "h", "/").as_deref(), Some("a 0"));
}
