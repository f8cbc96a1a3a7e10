//! Sentences about what a Service exposes to the outside.

use std::fmt::Write as _;

use super::{faults, read, yaml};
use crate::model::{ExposedAt, Exposure, Family, Forwarding, Model};

mod routes;

const WORKLOADS: &str = "apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: cart-1, labels: {app: cart}}\n\
    spec: {cgroup: c/1, addresses: [10.0.0.1, 'fd00::1'], ports: [{name: http, port: 8080}]}\n---\n\
    apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: cart-2, labels: {app: cart}}\n\
    spec: {addresses: [10.0.0.2], ports: [{name: http, port: 8080}]}\n---\n";

/// The beginning of the spec of most services here, and their one port.
const CART: &str = "clusterIPs: [10.96.0.1, 'fd96::1'], selector: {app: cart}";
const PORT: &str = "ports: [{port: 80, targetPort: http}]";

fn service(annotations: &str, spec: &str, status: &str) -> String {
    format!(
        "{WORKLOADS}apiVersion: v1\nkind: Service\nmetadata: {{name: s, annotations: {{{annotations}}}}}\n\
         spec: {{{spec}}}\nstatus: {{{status}}}\n"
    )
}

/// `at port/protocol: address:port*share...`, with `!` for an endpoint of this host.
fn shown(exposure: &Exposure) -> String {
    let mut text = match exposure.at {
        ExposedAt::Address(address) => address.to_string(),
        ExposedAt::Node(Family::V4) => "node".to_owned(),
        ExposedAt::Node(Family::V6) => "node6".to_owned(),
    };
    let _ = write!(text, " {}/{}:", exposure.port, exposure.protocol.name());
    for this in &*exposure.endpoints {
        let local = if this.is_local { "!" } else { "" };
        let _ = write!(text, " {local}{}:{}*{}", this.endpoint.address, this.endpoint.port, this.share);
    }
    if exposure.refused_share != 0 {
        let _ = write!(text, " refused*{}", exposure.refused_share);
    }
    text
}

fn all(model: &Model) -> Vec<String> {
    assert!(model.exposures.iter().all(|(key, exposure)| *key == exposure.key()));
    model.exposures.values().map(|exposure| shown(exposure)).collect()
}

fn exposed(spec: &str, status: &str) -> Vec<String> {
    all(&yaml(&service("", &format!("{CART}, {PORT}, {spec}"), status)))
}

/// Messages of errors, without their places.
fn errors(text: &str) -> Vec<String> {
    faults("t.yaml", text)
        .iter()
        .map(|fault| fault.splitn(4, ':').nth(3).unwrap().trim().to_owned())
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    let parsed = read("t.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    parsed.warnings.iter().map(|fault| fault.message.clone()).collect()
}

const V4: &str = "!10.0.0.1:8080*1 10.0.0.2:8080*1";

#[test]
fn a_service_of_the_cluster_is_not_exposed() {
    assert!(exposed("type: ClusterIP", "").is_empty());
}

#[test]
fn a_load_balancers_addresses_are_exposed_with_the_endpoints_of_their_family() {
    let found = exposed(
        "type: LoadBalancer, loadBalancerIP: 192.0.2.1",
        "loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: VIP}, {ip: '2001:db8::1', ports: [{port: 80, protocol: TCP}]}]}",
    );
    assert_eq!(found, [format!("192.0.2.1 80/TCP: {V4}"), "2001:db8::1 80/TCP: !fd00::1:8080*1".to_owned()]);
}

#[test]
fn what_a_load_balancer_announces_means_nothing_for_other_types() {
    let status = "loadBalancer: {ingress: [{ip: 192.0.2.1}]}";
    assert!(exposed("type: ClusterIP, loadBalancerIP: 192.0.2.2", status).is_empty());
}

#[test]
fn external_addresses_are_exposed_whatever_the_type() {
    for kind in ["ClusterIP", "LoadBalancer, loadBalancerIP: 192.0.2.9"] {
        let found = exposed(&format!("type: {kind}, externalIPs: [192.0.2.9, '::ffff:192.0.2.9']"), "");
        assert_eq!(found, [format!("192.0.2.9 80/TCP: {V4}")]);
    }
}

#[test]
fn a_node_port_is_exposed_in_the_families_of_the_service() {
    let spec = "type: NodePort, ports: [{port: 80, targetPort: http, nodePort: 30080}]";
    let found = all(&yaml(&service("", &format!("{CART}, {spec}"), "")));
    assert_eq!(found, [format!("node 30080/TCP: {V4}"), "node6 30080/TCP: !fd00::1:8080*1".to_owned()]);
    let found =
        all(&yaml(&service("", &format!("clusterIP: 10.96.0.1, selector: {{app: cart}}, {spec}"), "")));
    assert_eq!(found, [format!("node 30080/TCP: {V4}")]);
}

#[test]
fn a_load_balancer_has_node_ports_where_they_are_written() {
    let spec = "type: LoadBalancer, externalIPs: [192.0.2.1], ports: [{name: a, port: 80, targetPort: http, \
        nodePort: 1}, {name: b, port: 81, targetPort: http}]";
    let found =
        all(&yaml(&service("", &format!("clusterIP: 10.96.0.1, selector: {{app: cart}}, {spec}"), "")));
    let expected =
        [format!("192.0.2.1 80/TCP: {V4}"), format!("192.0.2.1 81/TCP: {V4}"), format!("node 1/TCP: {V4}")];
    assert_eq!(found, expected);
}

#[test]
fn the_external_policy_is_about_the_outside_alone_and_the_internal_one_about_this_host() {
    let model = yaml(&service(
        "",
        &format!("{CART}, {PORT}, externalIPs: [192.0.2.1], externalTrafficPolicy: Local"),
        "",
    ));
    assert_eq!(all(&model), ["192.0.2.1 80/TCP: !10.0.0.1:8080*1"]);
    assert_eq!(model.services.values().next().unwrap().ports[0].endpoints.len(), 3);
    let model = yaml(&service(
        "",
        &format!("{CART}, {PORT}, externalIPs: [192.0.2.1], internalTrafficPolicy: Local"),
        "",
    ));
    assert_eq!(all(&model), [format!("192.0.2.1 80/TCP: {V4}")]);
    assert_eq!(model.services.values().next().unwrap().ports[0].endpoints.len(), 2);
}

#[test]
fn shares_are_weights_and_what_drains_has_none() {
    let spec = format!("{CART}, {PORT}, externalIPs: [192.0.2.1], sessionAffinity: ClientIP");
    let model = yaml(&service("windrose.dev/weights: 'cart-1=0, cart-2=7'", &spec, ""));
    assert_eq!(all(&model), ["192.0.2.1 80/TCP: !10.0.0.1:8080*0 10.0.0.2:8080*7"]);
    let exposure = model.exposures.values().next().unwrap();
    assert!(exposure.is_by_client && !exposure.endpoints[0].endpoint.is_ready);
    assert_eq!(exposure.source.to_string(), "Service default/s");
}

#[test]
fn processes_of_the_host_are_balanced_at_the_addresses_too() {
    let spec =
        format!("{CART}, {PORT}, type: LoadBalancer, loadBalancerIP: 192.0.2.1, externalIPs: [10.96.0.1]");
    let model = yaml(&service("", &spec, ""));
    let addresses: Vec<String> =
        model.services.values().next().unwrap().addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.96.0.1", "fd96::1", "192.0.2.1"]);
    assert_eq!(all(&model).len(), 2);
}

#[test]
fn a_service_with_an_address_from_outside_needs_no_other() {
    let spec = format!("type: LoadBalancer, loadBalancerIP: 192.0.2.1, selector: {{app: cart}}, {PORT}");
    let model = yaml(&service("", &spec, ""));
    assert_eq!(all(&model), [format!("192.0.2.1 80/TCP: {V4}")]);
    assert_eq!(model.services.values().next().unwrap().addresses.len(), 1);
}

#[test]
fn source_ranges_are_of_load_balancers_addresses_as_upstream() {
    let spec = format!(
        "{CART}, type: LoadBalancer, loadBalancerIP: 192.0.2.1, externalIPs: [192.0.2.2], \
         loadBalancerSourceRanges: [198.51.100.0/24, 'fd00::/8', 198.51.100.0/24], \
         ports: [{{port: 80, targetPort: http, nodePort: 30080}}]"
    );
    let model = yaml(&service("", &spec, ""));
    let ranges: Vec<(String, usize)> = model
        .exposures
        .values()
        .map(|exposure| (shown(exposure).split(' ').next().unwrap().to_owned(), exposure.source_ranges.len()))
        .collect();
    let expected = [("192.0.2.1", 2), ("192.0.2.2", 0), ("node", 0), ("node6", 0)];
    assert_eq!(ranges, expected.map(|(at, ranges)| (at.to_owned(), ranges)));
}

#[test]
fn packets_that_stay_as_they_are_keep_their_port() {
    let spec = format!("{CART}, externalIPs: [192.0.2.1], ports: [{{port: 8080, targetPort: http}}]");
    for (name, forwarding) in
        [("nat", Forwarding::Nat), ("ipip", Forwarding::Ipip), ("l2", Forwarding::Layer2)]
    {
        let model = yaml(&service(&format!("windrose.dev/forwarding: {name}"), &spec, ""));
        assert_eq!(model.exposures.values().next().unwrap().forwarding, forwarding);
    }
    let spec = format!("{CART}, type: NodePort, ports: [{{port: 80, targetPort: http, nodePort: 30080}}]");
    let text = service("windrose.dev/forwarding: l2", &spec, "");
    let mut found = errors(&text);
    found.sort();
    assert_eq!(
        found,
        [
            "a node port needs `windrose.dev/forwarding: nat`: with `l2` packets keep this node's address; remove `nodePort`",
            "with `windrose.dev/forwarding: l2` packets keep their port: endpoint 10.0.0.1 has port 8080, and clients ask for 80",
        ]
    );
}

#[test]
fn what_cannot_be_exposed_is_refused() {
    let other =
        |spec: &str| format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: t}}\nspec: {{{spec}}}\n");
    let cases = [
        (
            service("", &format!("{CART}, type: NodePort, {PORT}"), ""),
            "this port has no `nodePort`, and nobody allocates one here: write one",
        ),
        (
            service("", &format!("{CART}, ports: [{{port: 80, nodePort: 30080}}]"), ""),
            "`nodePort` belongs to types NodePort and LoadBalancer: remove it",
        ),
        (
            service("", &format!("{CART}, type: NodePort, ports: [{{port: 80, nodePort: 65536}}]"), ""),
            "nodePort must be between 1 and 65535, not `65536`",
        ),
        (
            service("", "clusterIP: None, type: NodePort, ports: [{port: 80, nodePort: 1}]", ""),
            "a Service of type NodePort or LoadBalancer cannot be headless",
        ),
        (
            service("", &format!("{CART}, {PORT}, loadBalancerSourceRanges: [10.0.0.0/8]"), ""),
            "`loadBalancerSourceRanges` belongs to type LoadBalancer: remove it",
        ),
        (
            service(
                "",
                &format!("{CART}, {PORT}, type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1]"),
                "",
            ),
            "a source range `10.0.0.1` has no prefix length; did you mean `10.0.0.1/32`?",
        ),
        (
            service("", &format!("{CART}, {PORT}, externalIPs: [10.0.0.2]"), ""),
            "address `10.0.0.2` of this Service is that of workload default/cart-2, at t.yaml:9:20",
        ),
        (
            service("", &format!("{CART}, {PORT}, externalIPs: [0.0.0.0]"), ""),
            "no workload can have `0.0.0.0`: it is unspecified, multicast or broadcast",
        ),
        (
            service("", &format!("{CART}, {PORT}, externalTrafficPolicy: local"), ""),
            "unknown externalTrafficPolicy `local`; did you mean `Local`?",
        ),
        (
            service("windrose.dev/forwarding: dsr", &format!("{CART}, {PORT}, externalIPs: [192.0.2.1]"), ""),
            "unknown windrose.dev/forwarding `dsr`: expected `nat`, `ipip` or `l2`",
        ),
        (
            service("", &format!("{CART}, {PORT}, type: LoadBalancer"), "loadBalancer: {ingress: [{ip: a}]}"),
            "`a` is not an IP address",
        ),
        (
            service("", &format!("{CART}, {PORT}, externalIPs: [192.0.2.1]"), "")
                + &other("externalIPs: [192.0.2.1], ports: [{port: 80}]"),
            "`192.0.2.1` port 80/TCP is already that of Service default/s, at t.yaml:14:75",
        ),
        (
            service("", &format!("{CART}, {PORT}, externalIPs: [192.0.2.1]"), "")
                + &other("clusterIP: 192.0.2.1, ports: [{port: 80}]"),
            "`192.0.2.1` port 80/TCP is already that of Service default/s, at t.yaml:14:75",
        ),
        (
            service("", &format!("{CART}, type: NodePort, ports: [{{port: 80, nodePort: 30080}}]"), "")
                + &other("clusterIP: 10.96.0.2, type: NodePort, ports: [{port: 81, nodePort: 30080}]"),
            "node port 30080/TCP is already that of Service default/s, at t.yaml:14:91",
        ),
        (
            service(
                "",
                &format!(
                    "{CART}, type: NodePort, ports: [{{name: a, port: 80, nodePort: 1}}, {{name: b, port: 81, nodePort: 1}}]"
                ),
                "",
            ),
            "node port 1/TCP is already that of Service default/s, at t.yaml:14:91",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn what_exposes_nothing_is_warned_of() {
    let balancer = format!("{CART}, {PORT}, type: LoadBalancer");
    let nobody = "nothing announces an address of this Service of type LoadBalancer: write `loadBalancerIP` or \
        `externalIPs`, or have `status.loadBalancer.ingress` written";
    let cases = [
        (service("", &balancer, ""), vec![nobody]),
        (service("", &balancer, "loadBalancer: {}, conditions: []"), vec![nobody]),
        (
            service("", &balancer, "loadBalancer: {ingress: [{hostname: lb.example, ip: ''}]}"),
            vec!["a load balancer's hostname is no address and not resolved here: it is ignored"],
        ),
        (service("", &balancer, "loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: Proxy}]}"), vec![]),
        (
            service("windrose.dev/forwarding: ipip", &format!("{CART}, {PORT}"), ""),
            vec!["nothing of this Service is exposed: `windrose.dev/forwarding` has no effect"],
        ),
        (
            service("", &format!("clusterIP: None, {PORT}, externalIPs: [192.0.2.1]"), ""),
            vec!["a headless Service is not balanced: `externalIPs` are ignored"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(warnings(&text), expected, "{text}");
        assert!(yaml(&text).exposures.is_empty());
    }
}

#[test]
fn a_text_that_exposes_more_than_may_be_is_refused_in_bounded_memory() {
    let mut addresses = String::new();
    for last in 1..=16 {
        let _ = write!(addresses, "192.0.2.{last},");
    }
    let mut ports = String::new();
    for port in 1..=5_000 {
        let _ = write!(ports, "{{name: p{port}, port: {port}}},");
    }
    let spec = format!("clusterIP: 10.96.0.1, externalIPs: [{addresses}], ports: [{ports}]");
    let found = errors(&service("", &spec, ""));
    assert_eq!(found, ["from here on more than 65536 addresses and ports are exposed together"]);
    let spec = format!("{CART}, {PORT}, externalIPs: [{addresses} 192.0.2.17]");
    assert_eq!(errors(&service("", &spec, "")), ["externalIPs has 17 items; at most 16 are allowed"]);
}

#[test]
fn what_the_outside_cannot_ask_for_is_warned_of() {
    let remote = "externalTrafficPolicy: Local, externalIPs: [192.0.2.1, 192.0.2.2]";
    let spec = format!("clusterIP: 10.96.0.1, selector: {{app: cart}}, {PORT}, {remote}");
    let text = service("", &spec, "").replace("cgroup: c/1, ", "");
    assert_eq!(
        warnings(&text),
        [
            "`externalTrafficPolicy` is Local, and no ready endpoint of this port is on this host: the outside is refused"
        ]
    );
    let spec = format!(
        "{CART}, type: LoadBalancer, loadBalancerIP: '2001:db8::1', loadBalancerSourceRanges: [10.0.0.0/8], \
         ports: [{{port: 80, targetPort: http, nodePort: 30080}}]"
    );
    assert_eq!(
        warnings(&service("", &spec, "")),
        [
            "no source range is of the family of `2001:db8::1`: nobody may ask for it",
            "`loadBalancerSourceRanges` does not restrict node ports: everybody may ask here",
        ]
    );
}
