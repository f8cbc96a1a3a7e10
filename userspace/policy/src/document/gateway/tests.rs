//! Sentences about reading gateway kinds.

use std::time::Duration;

use super::super::tests::{faults, read, yaml};
use crate::model::{
    Filter, HttpRoute, ListenerProtocol, Method, PathChange, PathMatch, RouteNamespaces, Value,
};

const HEAD: &str = "apiVersion: gateway.networking.k8s.io/v1\n";

fn route(spec: &str) -> HttpRoute {
    let text = format!("{HEAD}kind: HTTPRoute\nmetadata: {{name: r}}\nspec: {spec}\n");
    HttpRoute::clone(yaml(&text).http_routes.values().next().unwrap())
}

fn route_faults(spec: &str) -> Vec<String> {
    faults("t.yaml", &format!("{HEAD}kind: HTTPRoute\nmetadata: {{name: r}}\nspec: {spec}\n"))
}

fn gateway_faults(listener: &str) -> Vec<String> {
    let spec = format!("{{gatewayClassName: windrose, listeners: [{listener}]}}");
    faults("t.yaml", &format!("{HEAD}kind: Gateway\nmetadata: {{name: g}}\nspec: {spec}\n"))
}

#[test]
fn a_route_without_rules_has_one_that_takes_everything() {
    let route = route("{parentRefs: [{name: g}]}");
    assert_eq!(route.rules.len(), 1);
    assert_eq!(route.rules[0].matches[0].path, PathMatch::Prefix("".into()));
    assert_eq!(route.parents[0].gateway.namespace, "default");
}

#[test]
fn every_type_of_match_is_read() {
    let route = route(
        "{parentRefs: [{name: g}], rules: [{matches: [{path: {type: Exact, value: /a}, method: PUT, headers: \
         [{name: X-Key, value: v}, {name: x-key, value: w}, {name: y, type: RegularExpression, value: '[0-9]+'}], \
         queryParams: [{name: Q, value: 'ä b'}]}, {path: {value: /a/b/}}, {path: {type: RegularExpression, value: '/c.*'}}]}]}",
    );
    let [first, second, third] = &route.rules[0].matches[..] else { panic!() };
    assert_eq!(first.path, PathMatch::Exact("/a".into()));
    assert_eq!(first.method, Some(Method::Put));
    // Of equal names the first is taken.
    let headers: Vec<&str> = first.headers.iter().map(|header| &*header.name).collect();
    assert_eq!(headers, ["x-key", "y"]);
    assert_eq!(first.headers[0].value, Value::Exact("v".into()));
    assert_eq!((&*first.queries[0].name, &first.queries[0].value), ("Q", &Value::Exact("ä b".into())));
    assert_eq!(second.path, PathMatch::Prefix("/a/b".into()));
    assert!(matches!(&third.path, PathMatch::Regex(pattern) if pattern.text() == "/c.*"));
}

#[test]
fn every_filter_is_read() {
    let route = route(
        "{parentRefs: [{name: g}], rules: [{matches: [{path: {value: /v1}}], filters: [\
         {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], remove: [C]}}, \
         {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: d, value: e}]}}, \
         {type: URLRewrite, urlRewrite: {hostname: up.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}, \
         {type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}, fraction: {numerator: 1, denominator: 3}}}, \
         {type: RequestMirror, requestMirror: {backendRef: {name: t, port: 80}, percent: 5}}, \
         {type: CORS, cors: {allowOrigins: ['https://*.example.com'], allowMethods: ['*'], maxAge: 60}}], \
         timeouts: {request: 10s, backendRequest: 2s}, retry: {codes: [503, 502], attempts: 2, backoff: 50ms}, \
         backendRefs: [{name: s, port: 80, weight: 9}, {name: s, namespace: other, port: 80, weight: 0}]}]}",
    );
    let rule = &route.rules[0];
    assert_eq!(rule.filters.len(), 6);
    let Filter::RequestHeaders(change) = &rule.filters[0] else { panic!() };
    assert_eq!((&*change.set[0].0, &*change.remove[0]), ("a", "c"));
    let Filter::Rewrite(rewrite) = &rule.filters[2] else { panic!() };
    assert_eq!(rewrite.path, Some(PathChange::Prefix("/".into())));
    let (Filter::Mirror(third), Filter::Mirror(percent)) = (&rule.filters[3], &rule.filters[4]) else {
        panic!()
    };
    assert_eq!((third.numerator, third.denominator), (1, 3));
    assert_eq!((percent.numerator, percent.denominator), (5, 100));
    assert_eq!(rule.request_timeout, Some(Duration::from_secs(10)));
    assert_eq!(rule.retry.as_ref().unwrap().codes, [502, 503]);
    assert_eq!(rule.backends[1].name.namespace, "other");
}

#[test]
fn faults_of_a_route_are_in_one_run_and_have_places() {
    let text = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{nam: g}]
  hostnames: [A.example, 10.0.0.1]
  rules:
  - matches:
    - path: {type: Prefix, value: /a}
    - path: {value: /a//b}
    - path: {value: /a%2fb}
    - path: {type: RegularExpression, value: '(a'}
    - method: get
    filters:
    - type: ExtensionRef
      extensionRef: {group: x, kind: Y, name: z}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: Transfer-Encoding, value: chunked}]}
    timeouts: {request: 1s, backendRequest: 2s}
    backendRefs: [{name: s}]
";
    let expected = [
        "t.yaml:5:17: unknown field `nam` of a parentRef; did you mean `name`?",
        "t.yaml:6:15: hostname `A.example` has upper-case letters; did you mean `a.example`?",
        "t.yaml:6:26: hostname `10.0.0.1` is an address: a hostname is a name",
        "t.yaml:9:20: unknown type `Prefix`: expected `Exact`, `PathPrefix` or `RegularExpression`",
        "t.yaml:10:21: value `/a//b` must be written `/a/b`",
        "t.yaml:11:21: value `/a%2fb` has an encoded slash or backslash",
        "t.yaml:12:46: regular expression `(a` is none: unclosed group",
        "t.yaml:13:15: unknown method `get`; did you mean `GET`?",
        "t.yaml:15:7: filters of type ExtensionRef are not served: no kind that they could name exists here. \
         Requests must not pass without a filter that was asked for, so the route is refused",
        "t.yaml:18:37: header `transfer-encoding` is of the connection or frames the message: no filter may change it",
        "t.yaml:19:45: backendRequest must not be longer than request",
        "t.yaml:20:19: a backendRef to a Service has no `port`, which is required",
    ];
    assert_eq!(faults("t.yaml", text), expected);
}

#[test]
fn a_redirect_excludes_a_rewrite_and_backends() {
    let redirect = "{type: RequestRedirect, requestRedirect: {statusCode: 301}}";
    let found = route_faults(&format!(
        "{{rules: [{{filters: [{redirect}, {{type: URLRewrite, urlRewrite: {{hostname: a}}}}]}}]}}"
    ));
    assert!(found[0].contains("a redirect excludes a rewrite"), "{found:?}");
    let found =
        route_faults(&format!("{{rules: [{{filters: [{redirect}], backendRefs: [{{name: s, port: 1}}]}}]}}"));
    assert!(found[0].contains("its rule has no `backendRefs`"), "{found:?}");
    let found = route_faults(&format!("{{rules: [{{filters: [{redirect}, {redirect}]}}]}}"));
    assert!(found[0].contains("at most one filter of this type"), "{found:?}");
}

#[test]
fn a_replaced_prefix_needs_one_match_by_prefix() {
    let filter = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}";
    for matches in ["[{path: {type: Exact, value: /a}}]", "[{path: {value: /a}}, {path: {value: /b}}]"] {
        let found = route_faults(&format!("{{rules: [{{matches: {matches}, filters: [{filter}]}}]}}"));
        assert!(found[0].contains("exactly one match, of type PathPrefix"), "{found:?}");
    }
}

#[test]
fn a_field_of_another_version_is_not_let_pass() {
    let found = route_faults("{rules: [{sessionPersistence: {}}]}");
    assert!(found[0].contains("is not served by this version"), "{found:?}");
}

#[test]
fn a_gateway_is_read_with_its_listeners() {
    use ListenerProtocol::{Http, Https, Tcp, TlsPassthrough};
    let model = yaml(&format!(
        "{HEAD}kind: Gateway\nmetadata: {{name: g, creationTimestamp: '2024-05-01T10:00:00Z'}}\nspec:
  gatewayClassName: windrose
  addresses: [{{value: 127.0.0.1}}]
  listeners:
  - {{name: web, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: All}}}}}}
  - {{name: tls, port: 443, protocol: HTTPS, hostname: '*.example.com', tls: {{certificateRefs: [{{name: c}}]}}}}
  - {{name: pass, port: 8443, protocol: TLS, tls: {{mode: Passthrough}}}}
  - {{name: bytes, port: 5432, protocol: TCP}}\n"
    ));
    let gateway = model.gateways.values().next().unwrap();
    assert_eq!(gateway.created.as_deref(), Some("2024-05-01T10:00:00Z"));
    let protocols: Vec<ListenerProtocol> =
        gateway.listeners.iter().map(|listener| listener.protocol).collect();
    assert_eq!(protocols, [Http, Https, TlsPassthrough, Tcp]);
    assert_eq!(gateway.listeners[0].namespaces, RouteNamespaces::All);
    assert_eq!(gateway.listeners[1].hostname.as_ref().unwrap().to_string(), "*.example.com");
}

#[test]
fn listeners_that_contradict_themselves_are_refused() {
    for (listener, expected) in [
        ("{name: a, port: 80, protocol: HTTP, tls: {mode: Terminate}}", "`tls` belongs to"),
        ("{name: a, port: 443, protocol: HTTPS}", "has no `tls`"),
        ("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}", "HTTPS ends here"),
        ("{name: a, port: 443, protocol: HTTPS, tls: {}}", "has no `certificateRefs`"),
        ("{name: a, port: 443, protocol: TLS, tls: {certificateRefs: [{name: c}]}}", "has no `mode`"),
        ("{name: a, port: 1, protocol: TCP, hostname: a.b}", "has no `hostname`"),
        ("{name: a, port: 1, protocol: http}", "did you mean `HTTP`?"),
        ("{name: a, port: 1, protocol: HTTP}, {name: a, port: 2, protocol: HTTP}", "is here twice"),
        ("{name: a, port: 1, protocol: HTTP}, {name: b, port: 1, protocol: HTTP}", "of listener `a`"),
        (
            "{name: a, port: 1, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}",
            "no `selector`",
        ),
    ] {
        let found = gateway_faults(listener);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{listener}: {found:?}");
    }
}

#[test]
fn a_grant_is_read_in_both_versions() {
    for version in ["v1", "v1beta1"] {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: g}}\nspec: \
             {{from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}}], to: [{{group: '', kind: Service}}]}}\n"
        );
        assert_eq!(yaml(&text).grants.len(), 1);
    }
    let text = "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: ReferenceGrant\nmetadata: {name: g}\n";
    assert!(faults("t.yaml", text)[0].contains("apiVersion"));
}

#[test]
fn a_key_is_never_told() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\n";
    let model = yaml(&format!("{text}data: {{tls.crt: Zm9v, tls.key: c2VjcmV0}}\n"));
    assert!(!format!("{model:?}").contains("115, 101"), "the bytes of `secret`");
    let found = faults("t.yaml", &format!("{text}data: {{tls.crt: Zm9v, tls.key: c2Vjc!!}}\n"));
    assert!(found[0].contains("tls.key is not base64") && !found[0].contains("c2V"), "{found:?}");
}

#[test]
fn a_secret_of_another_type_is_let_pass_with_a_warning() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n";
    let parsed = read("t.yaml", text).unwrap();
    assert!(parsed.model.secrets.is_empty());
    assert!(parsed.warnings[0].message.contains("ignored"), "{:?}", parsed.warnings);
}

#[test]
fn an_object_is_defined_once() {
    let one = format!("{HEAD}kind: HTTPRoute\nmetadata: {{name: r}}\nspec: {{}}\n");
    let found = faults("t.yaml", &format!("{one}---\n{one}"));
    assert!(found[1].contains("HTTPRoute default/r is defined twice"), "{found:?}");
}
