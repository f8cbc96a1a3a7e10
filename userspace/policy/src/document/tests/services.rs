//! Sentences about services, and whom they have for endpoints.

use super::{read, yaml};
use crate::model::{Balancing, Endpoint, Service};

const WORKLOADS: &str = "apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: cart-1, labels: {app: cart, tier: a}}\n\
    spec: {cgroup: c/1, addresses: [10.0.0.1, 'fd00::1'], ports: [{name: http, port: 8080}]}\n---\n\
    apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: cart-2, labels: {app: cart, tier: b}}\n\
    spec: {addresses: [10.0.0.2], ports: [{name: http, port: 9090}, {name: dns, port: 53, protocol: UDP}]}\n---\n\
    apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: cart-3, namespace: other, labels: {app: cart}}\n\
    spec: {addresses: [10.0.0.3]}\n";

/// The one service of the default namespace with this name, annotations and spec, among the workloads.
fn service(annotations: &str, spec: &str) -> Service {
    let text = format!("{WORKLOADS}{}", document(annotations, spec));
    let model = yaml(&text);
    assert_eq!(model.services.len(), 1);
    Service::clone(model.services.values().next().unwrap())
}

fn document(annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s, annotations: {{{annotations}}}}}\nspec: {{{spec}}}\n"
    )
}

/// `address:port`, with `!` for one that drains and `*n` for a weight.
fn shown(endpoints: &[Endpoint]) -> Vec<String> {
    let one = |endpoint: &Endpoint| {
        let drains = if endpoint.is_ready { "" } else { "!" };
        let weight = if endpoint.weight == 1 { String::new() } else { format!("*{}", endpoint.weight) };
        format!("{drains}{}:{}{weight}", endpoint.address, endpoint.port)
    };
    endpoints.iter().map(one).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let parsed = read("t.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    parsed.warnings.iter().map(|fault| fault.message.clone()).collect()
}

#[test]
fn a_selector_takes_the_workloads_of_its_own_namespace() {
    let found =
        service("", "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80, targetPort: http}]");
    assert_eq!(shown(&found.ports[0].endpoints), ["10.0.0.1:8080", "10.0.0.2:9090", "fd00::1:8080"]);
    assert_eq!(found.ports[0].endpoints[0].name.as_ref().unwrap().name, "cart-1");
    let found = service("", "clusterIP: 10.96.0.1, selector: {app: cart, tier: a}, ports: [{port: 80}]");
    assert_eq!(shown(&found.ports[0].endpoints), ["10.0.0.1:80", "fd00::1:80"]);
}

#[test]
fn a_named_target_port_leaves_out_workloads_without_it() {
    let spec =
        "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 53, protocol: UDP, targetPort: dns}]";
    assert_eq!(shown(&service("", spec).ports[0].endpoints), ["10.0.0.2:53"]);
}

#[test]
fn the_defaults_are_upstreams() {
    let found = service("", "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80}]");
    assert_eq!(found.balancing, Balancing::LeastLoaded);
    assert_eq!((found.affinity_seconds, found.ends_removed), (None, false));
    let found = service(
        "windrose.dev/balancing: maglev, windrose.dev/on-endpoint-removed: end",
        "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80}], sessionAffinity: ClientIP",
    );
    assert_eq!(found.balancing, Balancing::Maglev);
    assert_eq!((found.affinity_seconds, found.ends_removed), (Some(10_800), true));
}

#[test]
fn weights_are_of_workloads_or_addresses_and_none_drains() {
    let found = service(
        "windrose.dev/weights: 'cart-1=5, 10.0.0.2=0, fd00::1=7'",
        "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80}]",
    );
    assert_eq!(shown(&found.ports[0].endpoints), ["10.0.0.1:80*5", "!10.0.0.2:80", "fd00::1:80*7"]);
}

#[test]
fn named_addresses_are_the_endpoints_of_a_service_that_does_not_select() {
    let found = service(
        "windrose.dev/endpoints: '192.0.2.1, 10.0.0.1=3, 2001:db8::1, ::ffff:192.0.2.9=0'",
        "clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: 8000}]",
    );
    assert_eq!(
        shown(&found.ports[0].endpoints),
        ["10.0.0.1:8000*3", "192.0.2.1:8000", "!192.0.2.9:8000", "2001:db8::1:8000"]
    );
    assert_eq!(found.ports[0].endpoints[0].name.as_ref().unwrap().name, "cart-1");
}

#[test]
fn a_local_service_has_workloads_with_a_cgroup() {
    let spec =
        "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80}], internalTrafficPolicy: Local";
    assert_eq!(shown(&service("", spec).ports[0].endpoints), ["10.0.0.1:80", "fd00::1:80"]);
}

const SLICE: &str = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
    metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}\naddressType: IPv4\n\
    ports: [{name: http, port: 7000}, {name: dns, port: 7053, protocol: UDP}]\n\
    endpoints:\n\
    - {addresses: [10.1.0.1], targetRef: {kind: Pod, name: pod-1, namespace: default}, nodeName: n, zone: z}\n\
    - {addresses: [10.1.0.2], conditions: {ready: false, serving: true, terminating: true}}\n\
    - {addresses: [10.1.0.3], conditions: {ready: false}}\n\
    - {addresses: [10.0.0.1], conditions: {ready: true, serving: true, terminating: null}}\n";

#[test]
fn slices_stand_in_for_a_selector_and_their_ports_go_by_name() {
    let spec = "clusterIP: 10.96.0.1, selector: {app: cart}, \
        ports: [{name: http, port: 80, targetPort: nonsense}, {name: dns, port: 53, protocol: UDP}]";
    let text = format!("{WORKLOADS}{}{SLICE}", document("", spec));
    let found = yaml(&text);
    let found = found.services.values().next().unwrap();
    let expected = |port: u16| {
        [
            format!("10.0.0.1:{port}"),
            format!("10.1.0.1:{port}"),
            format!("!10.1.0.2:{port}"),
            format!("!10.1.0.3:{port}"),
        ]
    };
    assert_eq!(shown(&found.ports[0].endpoints), expected(7000));
    assert_eq!(shown(&found.ports[1].endpoints), expected(7053));
    let names: Vec<_> = found.ports[0].endpoints.iter().map(|endpoint| endpoint.name.as_ref()).collect();
    assert_eq!(names[0].unwrap().name, "cart-1");
    assert_eq!(names[1].unwrap().name, "pod-1");
    assert_eq!(names[2], None);
}

#[test]
fn an_endpoint_that_moves_between_slices_is_one_and_ready() {
    let again = SLICE.replace("name: s-1", "name: s-2").replace("ready: false}", "ready: true}");
    let spec = "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}], publishNotReadyAddresses: false";
    let found = yaml(&format!("{}{SLICE}{again}", document("", spec)));
    let found = found.services.values().next().unwrap();
    assert_eq!(
        shown(&found.ports[0].endpoints),
        ["10.0.0.1:7000", "10.1.0.1:7000", "!10.1.0.2:7000", "10.1.0.3:7000"]
    );
}

#[test]
fn headless_services_and_aliases_are_no_services_here() {
    for spec in [
        "clusterIP: None, selector: {app: cart}, ports: [{port: 80, targetPort: no-such}]",
        "clusterIPs: [None], ports: [{port: 80}]",
        "type: ExternalName, externalName: db.example.com",
    ] {
        let model = yaml(&format!("{WORKLOADS}{}", document("", spec)));
        assert!(model.services.is_empty(), "{spec}");
    }
    let text = document("", "type: ExternalName, externalName: db.example.com");
    assert_eq!(warnings(&text), ["a Service of type ExternalName is a name and no address: it is ignored"]);
}

#[test]
fn what_kubectl_writes_is_taken() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: s, uid: x, annotations: {a: b}}\n\
        spec: {allocateLoadBalancerNodePorts: true, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], \
        externalTrafficPolicy: Local, externalIPs: [192.0.2.1], healthCheckNodePort: 31000, \
        internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, \
        loadBalancerClass: x/y, loadBalancerIP: 192.0.2.2, loadBalancerSourceRanges: [10.0.0.0/8], \
        ports: [{appProtocol: http, name: http, nodePort: 30080, port: 80, protocol: TCP, targetPort: 8080}], \
        publishNotReadyAddresses: false, selector: {app: cart}, sessionAffinity: None, \
        trafficDistribution: PreferClose, type: LoadBalancer}\n\
        status: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}\n";
    assert_eq!(yaml(text).services.len(), 1);
    let list = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems:\n- metadata: {name: a, \
        labels: {kubernetes.io/service-name: s}, ownerReferences: []}\n  addressType: IPv4\n  \
        endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, hostname: h, nodeName: n, \
        zone: z, hints: {forZones: [{name: z}]}, deprecatedTopology: {}}]\n  ports: [{name: http, port: 1, appProtocol: x}]\n";
    let model = yaml(&format!("{text}---\n{list}"));
    assert_eq!(shown(&model.services.values().next().unwrap().ports[0].endpoints), ["10.0.0.1:1"]);
}

#[test]
fn what_a_service_cannot_do_is_warned_of() {
    let cases = [
        (
            document("", "clusterIP: 10.96.0.1, selector: {app: nobody}, ports: [{port: 80}]"),
            vec!["port 80/TCP of this Service has no ready endpoint: who asks for it is refused"],
        ),
        (
            document("", "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80, protocol: SCTP}]"),
            vec![
                "SCTP is not balanced: this port is ignored",
                "this Service has no port of TCP or UDP: nothing is balanced",
            ],
        ),
        (
            document(
                "windrose.dev/weights: 'cart-9=2'",
                "clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{port: 80}]",
            ),
            vec!["no endpoint of this Service has this name: its weight has no effect"],
        ),
        (
            document("", "clusterIP: 10.96.0.1, ports: [{name: other, port: 80}]") + SLICE,
            vec![
                "no EndpointSlice of this Service has a port of TCP with the name `other`",
                "port 80/TCP of this Service has no ready endpoint: who asks for it is refused",
            ],
        ),
        (
            SLICE.to_owned(),
            vec!["there is no Service default/s: this EndpointSlice is ignored"],
        ),
        (
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: FQDN\n"
                .to_owned(),
            vec![
                "endpoints of addressType FQDN are names and no addresses: ignored",
                "this EndpointSlice has no label `kubernetes.io/service-name`: it is nobody's",
            ],
        ),
    ];
    for (text, expected) in cases {
        let mut found = warnings(&format!("{WORKLOADS}{text}"));
        found.retain(|warning| !warning.contains("cannot be known"));
        found.sort();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(found, expected, "{text}");
    }
}
