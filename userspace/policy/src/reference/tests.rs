//! The points of the semantics page, one or more sentences each. Points 9 and 12 to 14 are about
//! state, packets and time, which a single decision does not have.

use super::*;
use crate::source::{Source, parse};

mod audit;
mod cluster;
mod network;

const WEB: &str = "10.0.0.1";
const CART: &str = "10.0.0.2";
const PAY: &str = "10.1.0.3";
const PAY_V6: &str = "fd00::3";
const WORLD: &str = "192.0.2.1";
const HOST: &str = "10.0.0.254";

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;

/// Two workloads in one namespace, one in another.
const WORKLOADS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank, labels: {env: prod, team: money}}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {cgroup: shop/web, addresses: [10.0.0.1]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: cart, namespace: shop, labels: {app: cart, tier: back}}
spec: {cgroup: shop/cart, addresses: [10.0.0.2], ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: pay, namespace: bank, labels: {app: pay}}
spec: {addresses: [10.1.0.3, "fd00::3"], ports: [{name: http, port: 80}]}
---
"#;

/// The workloads and these policies.
fn world(policies: &str) -> Model {
    let text = format!("{WORKLOADS}{policies}");
    match parse(&[Source { name: "t.yaml".to_owned(), text }]) {
        Ok(parsed) => parsed.model,
        Err(faults) => panic!("{faults:#?}"),
    }
}

/// A `NetworkPolicy` of `shop` for `cart`, with this `spec` behind its selector.
fn cart_policy(spec: &str) -> Model {
    world(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\n\
         spec: {{podSelector: {{matchLabels: {{app: cart}}}}, {spec}}}\n"
    ))
}

/// A `ClusterNetworkPolicy` for every workload of `shop`.
fn cluster_policy(name: &str, tier: &str, priority: u16, rules: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{matchLabels: \
         {{kubernetes.io/metadata.name: shop}}}}}}, {rules}}}\n"
    )
}

fn flow(model: &Model, from: &str, to: &str, protocol: u8, port: u16) -> Flow {
    let end = |address: &str| endpoint(model, address.parse().unwrap(), &[HOST.parse().unwrap()]);
    Flow { source: end(from), destination: end(to), protocol, destination_port: port }
}

fn ask(model: &Model, from: &str, to: &str, protocol: u8, port: u16) -> FlowDecision {
    evaluate(model, &flow(model, from, to, protocol, port), false)
}

/// Whether the receiver lets it in.
fn is_let_in(model: &Model, from: &str, to: &str, protocol: u8, port: u16) -> bool {
    ask(model, from, to, protocol, port).ingress.verdict == Verdict::Allow
}

/// Whether the sender may send it.
fn is_let_out(model: &Model, from: &str, to: &str, protocol: u8, port: u16) -> bool {
    ask(model, from, to, protocol, port).egress.verdict == Verdict::Allow
}
