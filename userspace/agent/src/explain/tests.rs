//! Explanations, word for word.

use std::path::Path;

use super::*;

fn fixture() -> Model {
    let name = "tests/fixtures/shop.yaml";
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let source = source::Source { name: "shop.yaml".to_owned(), text };
    source::parse(&[source]).unwrap().model
}

fn ask(from: &str, to: &str, port: Option<u16>, protocol: &str) -> Result<Explanation, String> {
    explain(&fixture(), &Question::parse(from, to, port, protocol)?, &["10.77.0.1".parse().unwrap()], false)
}

#[test]
fn golden_explain_text() {
    let questions = [
        ("shop/web", "shop/cart", Some(8080), "TCP"),
        ("shop/web", "shop/cart", Some(9090), "TCP"),
        ("shop/intruder", "shop/cart", Some(8080), "TCP"),
        ("shop/web", "shop/cart", Some(8080), "UDP"),
        ("10.9.9.9", "shop/cart", Some(8080), "TCP"),
        ("10.77.0.1", "shop/cart", Some(8080), "TCP"),
        ("shop/cart", "shop/cart", Some(1), "TCP"),
        ("shop/cart", "203.0.113.9", Some(443), "TCP"),
        ("bank/payments", "shop/cart", Some(8080), "TCP"),
        ("shop/web", "bank/payments", Some(443), "TCP"),
        ("shop/web", "shop/cart", None, "ICMP"),
        ("fd77::10", "fd77::11", Some(8080), "TCP"),
        ("shop/web", "10.96.0.10", Some(80), "TCP"),
        ("shop/intruder", "shop/front", Some(80), "TCP"),
    ];
    let mut said = String::new();
    for (from, to, port, protocol) in questions {
        let port_text = port.map_or("-".to_owned(), |port| port.to_string());
        said.extend(["$ ", from, " -> ", to, " ", &port_text, " ", protocol, "\n"]);
        said += &text::render(&ask(from, to, port, protocol).unwrap(), Paint::off());
        said.push('\n');
    }
    output::golden::assert("explain.txt", &said);
}

#[test]
fn golden_explain_json() {
    let denied = ask("shop/intruder", "shop/cart", Some(8080), "TCP").unwrap();
    let said = serde_json::to_string_pretty(&denied).unwrap() + "\n";
    output::golden::assert("explain.json", &said);
    assert_eq!(serde_json::from_str::<Explanation>(&said).unwrap(), denied);
}

#[test]
fn golden_explain_of_the_demo() {
    let policy = source::load(&["../../policies/demo".into()]).unwrap().model;
    let questions = [
        ("203.0.113.10", "shop/web", 8080, "TCP"),
        ("203.0.113.66", "shop/web", 8080, "TCP"),
        ("shop/web", "shop/cart", 9000, "UDP"),
        ("shop/web", "bank/payments", 8080, "TCP"),
        ("guest/intruder", "bank/payments", 8080, "TCP"),
    ];
    let mut said = String::new();
    for (from, to, port, protocol) in questions {
        let question = Question::parse(from, to, Some(port), protocol).unwrap();
        said += &text::render(&explain(&policy, &question, &[], false).unwrap(), Paint::off());
        said.push('\n');
    }
    output::golden::assert("explain-demo.txt", &said);
}

#[test]
fn an_unknown_workload_is_answered_with_the_one_that_was_meant() {
    let why = ask("shop/payments", "shop/cart", Some(1), "TCP").unwrap_err();
    assert_eq!(why, "no workload shop/payments; did you mean bank/payments?");
}

#[test]
fn a_service_is_asked_for_a_port_that_it_has() {
    let why = ask("shop/web", "shop/front", Some(81), "TCP").unwrap_err();
    assert_eq!(why, "Service shop/front has no port 81/TCP; it has 80/TCP");
    // Of an address, such a port is nobody's.
    assert_eq!(ask("shop/web", "10.96.0.10", Some(81), "TCP").unwrap().destination.workload, None);
}

#[test]
fn a_port_is_asked_for_where_the_protocol_has_one_and_only_there() {
    assert!(ask("shop/web", "shop/cart", None, "TCP").unwrap_err().contains("TCP needs a destination port"));
    assert!(ask("shop/web", "shop/cart", Some(1), "ICMP").unwrap_err().contains("ICMP has no ports"));
}

#[test]
fn ends_without_a_common_family_are_refused() {
    let why = ask("fd77::1", "203.0.113.9", Some(1), "TCP").unwrap_err();
    assert_eq!(why, "the two ends have no addresses of one family");
}

#[test]
fn an_accept_behind_the_rule_that_denies_is_named_with_its_order() {
    let text = "
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: w, namespace: a}
spec: {addresses: [10.0.0.1]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: v, namespace: a}
spec: {addresses: [10.0.0.2]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: c}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress:
    - {action: Deny, from: [{namespaces: {}}]}
    - {action: Accept, from: [{namespaces: {}}]}
";
    let source = source::Source { name: "order.yaml".to_owned(), text: text.to_owned() };
    let model = source::parse(&[source]).unwrap().model;
    let question = Question::parse("a/w", "a/v", Some(1), "TCP").unwrap();
    let near = explain(&model, &question, &[], false).unwrap().ingress.nearest.unwrap();
    assert_eq!(near.rule.index, Some(1));
    let fields: Vec<&str> = near.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(fields, ["order"]);
}

#[test]
fn golden_explain_of_requests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/gateway");
    let text = std::fs::read_to_string(folder.join("policy.yaml")).unwrap();
    let model = source::parse(&[source::Source { name: "gateway.yaml".to_owned(), text }]).unwrap().model;
    let mut said = String::new();
    for (url, header) in [
        ("https://shop.example:8443/cart/1?x=1", None),
        ("https://shop.example:8443/cart", Some("X-Canary: yes")),
        ("https://shop.example:8443/", None),
        ("http://shop.example:8080/cart", None),
        ("http://other.example:8080/", None),
        ("http://shop.example:8443/", None),
        ("https://shop.example/", None),
    ] {
        let headers: Vec<String> = header.into_iter().map(str::to_owned).collect();
        let asked = request::Asked::parse("GET", url, &headers).unwrap();
        said.extend(["$ GET ", url, " ", header.unwrap_or_default(), "\n"]);
        said += &request::text(&request::explain(&model, &asked), Paint::off());
        said.push('\n');
    }
    output::golden::assert("explain-requests.txt", &said);
}
