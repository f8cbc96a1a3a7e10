//! Sentences about what routes of TCP and UDP expose.

use super::*;

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
    spec: {gatewayClassName: windrose, addresses: [{value: 192.0.2.1}], \
    listeners: [{name: db, port: 5432, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]}\n---\n";

/// Services `stable` (two endpoints), `canary` (one) and `none` (none), with port 5432 of TCP and 53 of
/// UDP.
fn services() -> String {
    let mut text = String::new();
    for (last, (name, endpoints)) in
        (1..).zip([("stable", "10.1.0.1, 10.1.0.2"), ("canary", "10.1.0.3"), ("none", "")])
    {
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{windrose.dev/endpoints: \
             '{endpoints}'}}}}\nspec: {{clusterIP: 10.96.1.{last}, ports: [{{name: a, port: 5432}}, {{name: b, \
             port: 53, protocol: UDP}}]}}\n---\n"
        );
    }
    text
}

fn route(kind: &str, annotations: &str, backends: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r, annotations: {{{annotations}}}}}\n\
         spec: {{parentRefs: [{{name: g}}], rules: [{{name: only, backendRefs: [{backends}]}}]}}\n---\n"
    )
}

fn world(annotations: &str, backends: &str) -> String {
    format!("{GATEWAY}{}{}", services(), route("TCPRoute", annotations, backends))
}

const CANARY: &str = "{name: stable, port: 5432, weight: 90}, {name: canary, port: 5432, weight: 10}";

#[test]
fn backends_have_their_weights_share_whatever_the_number_of_their_endpoints() {
    let model = yaml(&world("", CANARY));
    assert_eq!(all(&model), ["192.0.2.1 5432/TCP: 10.1.0.1:5432*4500 10.1.0.2:5432*4500 10.1.0.3:5432*1000"]);
    let exposure = model.exposures.values().next().unwrap();
    assert_eq!(exposure.source.to_string(), "TCPRoute default/r");
    assert!(!exposure.is_by_client && exposure.source_ranges.is_empty());
}

#[test]
fn a_gateway_without_addresses_is_at_those_of_the_node() {
    let text = world("", "{name: canary, port: 5432}").replace("addresses: [{value: 192.0.2.1}], ", "");
    let found = all(&yaml(&text));
    assert_eq!(found, ["node 5432/TCP: 10.1.0.3:5432*10000", "node6 5432/TCP: refused*10000"]);
}

#[test]
fn a_route_of_udp_is_exposed_at_listeners_of_udp() {
    let text = format!("{GATEWAY}{}{}", services(), route("UDPRoute", "", "{name: canary, port: 53}"));
    for version in ["v1", "v1alpha2"] {
        let text = text.replace("k8s.io/v1\nkind: UDP", &format!("k8s.io/{version}\nkind: UDP"));
        assert_eq!(all(&yaml(&text)), ["192.0.2.1 53/UDP: 10.1.0.3:53*10000"]);
    }
}

#[test]
fn a_backend_that_cannot_be_used_has_its_share_refused_and_is_warned_of() {
    for bad in ["{name: nobody, port: 5432, weight: 80}", "{name: none, port: 5432, weight: 80}"] {
        let model = yaml(&world("", &format!("{bad}, {{name: canary, port: 5432, weight: 20}}")));
        assert_eq!(all(&model), ["192.0.2.1 5432/TCP: 10.1.0.3:5432*2000 refused*8000"]);
    }
    let found = warnings(&world("", "{name: nobody, port: 5432}"));
    let expected =
        "the share of backend default/nobody is refused: it is no Service with an address in these files";
    assert!(found.contains(&expected.to_owned()), "{found:#?}");
}

#[test]
fn a_weight_of_0_gets_nothing_and_nothing_but_those_is_refused() {
    let model = yaml(&world("", "{name: stable, port: 5432, weight: 0}, {name: canary, port: 5432}"));
    assert_eq!(all(&model), ["192.0.2.1 5432/TCP: 10.1.0.1:5432*0 10.1.0.2:5432*0 10.1.0.3:5432*10000"]);
    let model = yaml(&world("", "{name: canary, port: 5432, weight: 0}"));
    assert_eq!(all(&model), ["192.0.2.1 5432/TCP: 10.1.0.3:5432*0 refused*10000"]);
}

#[test]
fn a_backends_affinity_is_the_exposures() {
    let text =
        world("", CANARY).replacen("spec: {clusterIP", "spec: {sessionAffinity: ClientIP, clusterIP", 1);
    assert!(yaml(&text).exposures.values().next().unwrap().is_by_client);
}

#[test]
fn the_second_route_at_a_listener_gets_nothing_and_is_warned_of() {
    let second = route("TCPRoute", "", "{name: stable, port: 5432}").replace("name: r,", "name: z,");
    let text = world("", "{name: canary, port: 5432}") + &second;
    assert_eq!(all(&yaml(&text)), ["192.0.2.1 5432/TCP: 10.1.0.3:5432*10000"]);
    let expected = "this TCPRoute gets nothing from listener db, at t.yaml:4:81: default/r is older or first by its name";
    assert!(warnings(&text).contains(&expected.to_owned()), "{:#?}", warnings(&text));
}

#[test]
fn a_route_that_no_gateway_takes_exposes_nothing_and_is_warned_of() {
    let text = world("", CANARY).replace("[{name: g}]", "[{name: other}]");
    assert!(all(&yaml(&text)).is_empty());
    let expected = "no `parentRef` of this TCPRoute names a Gateway of these files and of our class";
    assert!(warnings(&text).contains(&expected.to_owned()));
    let text = world("", CANARY).replace("[{name: g}]", "[{name: g, port: 53}]");
    assert!(all(&yaml(&text)).is_empty());
    let expected = "Gateway default/g does not take this TCPRoute: no listener takes it: see its allowedRoutes \
        (NotAllowedByListeners)";
    assert!(warnings(&text).contains(&expected.to_owned()), "{:#?}", warnings(&text));
}

#[test]
fn a_gateway_with_an_address_that_is_a_name_exposes_nothing() {
    let text =
        world("", CANARY).replace("{value: 192.0.2.1}", "{value: 192.0.2.1}, {type: Hostname, value: a.b}");
    assert!(all(&yaml(&text)).is_empty());
}

#[test]
fn forwarding_of_a_route_is_its_annotation() {
    let text = world("windrose.dev/forwarding: ipip", CANARY);
    assert_eq!(yaml(&text).exposures.values().next().unwrap().forwarding, Forwarding::Ipip);
    let text = text.replace("name: db, port: 5432", "name: db, port: 5433");
    let found = errors(&text);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0],
        "with `windrose.dev/forwarding: ipip` packets keep their port: endpoint 10.1.0.1 has port 5432, and clients \
         ask listener db for 5433"
    );
    let text =
        world("windrose.dev/forwarding: ipip", CANARY).replace("addresses: [{value: 192.0.2.1}], ", "");
    assert_eq!(
        errors(&text),
        [
            "a Gateway without `addresses` needs `windrose.dev/forwarding: nat`: with `ipip` packets keep this node's address"
        ]
    );
}

#[test]
fn what_a_route_cannot_be_is_refused() {
    let spec = |spec: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {{name: r}}\nspec: {{parentRefs: \
             [{{name: g}}], {spec}}}\n"
        )
    };
    let cases = [
        (spec(""), "spec has no `rules`, which is required"),
        (spec("rules: []"), "rules must have at least one item"),
        (
            spec("rules: [{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: b, port: 1}]}]"),
            "rules has 2 items; at most 1 are allowed",
        ),
        (spec("rules: [{}]"), "a rule has no `backendRefs`, which is required"),
        (spec("rules: [{backendRefs: []}]"), "backendRefs must have at least one item"),
        (
            spec("rules: [{backendRefs: [{name: a}]}]"),
            "a backendRef to a Service has no `port`, which is required",
        ),
        (
            spec("rules: [{backendRefs: [{name: a, port: 1, weight: 1000001}]}]"),
            "weight must be between 0 and 1000000, not `1000001`",
        ),
        (
            spec("rules: [{backendRefs: [{name: a, port: 1, filters: []}]}]"),
            "unknown field `filters` of a backendRef: expected `group`, `kind`, `namespace`, `name`, `port` or `weight`",
        ),
        (
            spec("hostnames: [a.b], rules: [{backendRefs: [{name: a, port: 1}]}]"),
            "unknown field `hostnames` of spec: expected `parentRefs`, `useDefaultGateways` or `rules`",
        ),
        (
            spec("useDefaultGateways: All, rules: [{backendRefs: [{name: a, port: 1}]}]"),
            "`useDefaultGateways` is not served by this version: write `parentRefs`",
        ),
        (
            world("windrose.dev/weights: 'a=1'", CANARY),
            "annotation `windrose.dev/weights` belongs on a Service, not here",
        ),
        (
            world("windrose.dev/forwarding: none", CANARY),
            "unknown windrose.dev/forwarding `none`: expected `nat`, `ipip` or `l2`",
        ),
        (
            world("", CANARY) + &route("TCPRoute", "", CANARY),
            "TCPRoute default/r is defined twice, first at t.yaml:23:18",
        ),
        (
            world("", CANARY).replace("192.0.2.1", "10.1.0.9")
                + "apiVersion: windrose.dev/v1alpha1\nkind: Workload\nmetadata: {name: w}\nspec: {addresses: [10.1.0.9]}\n",
            "address `10.1.0.9` of Gateway default/g is that of workload default/w, at t.yaml:29:20",
        ),
        (
            world("", CANARY)
                + "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.96.2.1, externalIPs: \
                   [192.0.2.1], ports: [{port: 5432}]}\n",
            "`192.0.2.1` port 5432/TCP is already that of Service default/s, at t.yaml:29:64",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn two_gateways_that_share_an_address_are_told_apart_by_an_error() {
    let second = GATEWAY
        .replace("name: g}", "name: h}")
        .replace("[{value: 192.0.2.1}]", "[{value: 192.0.2.1}, {value: 192.0.2.2}]");
    let text = world("", CANARY)
        + &second
        + &route("TCPRoute", "", CANARY).replace("name: r,", "name: s,").replace("name: g", "name: h");
    assert_eq!(
        errors(&text),
        ["`192.0.2.1` port 5432/TCP is already that of TCPRoute default/r, at t.yaml:4:81"]
    );
}

#[test]
fn many_routes_at_many_listeners_are_read_in_time() {
    let mut text = services();
    for gateway in 0..40 {
        let mut listeners = String::new();
        for port in 1..=64 {
            let _ = write!(listeners, "{{name: l{port}, port: {port}, protocol: TCP}},");
        }
        let _ = write!(
            text,
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g{gateway}}}\nspec: \
             {{gatewayClassName: windrose, addresses: [{{value: 192.0.2.{}}}], listeners: [{listeners}]}}\n---\n",
            gateway + 1
        );
    }
    let mut parents = String::new();
    for gateway in 0..32 {
        let _ = write!(parents, "{{name: g{gateway}}},");
    }
    for number in 0..300 {
        let one = route("TCPRoute", "", CANARY).replace("name: r,", &format!("name: r{number},"));
        text += &one.replace("{name: g}", &parents);
    }
    let start = std::time::Instant::now();
    assert_eq!(yaml(&text).exposures.len(), 32 * 64);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}
