//! Sentences about reading documents.

use crate::fault::Fault;
use crate::model::{Model, Selector};
use crate::source::{Parsed, Source, parse};

mod hostile;
mod services;

fn read(name: &str, text: &str) -> Result<Parsed, Vec<Fault>> {
    parse(&[Source { name: name.to_owned(), text: text.to_owned() }])
}

fn yaml(text: &str) -> Model {
    read("t.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}")).model
}

/// The messages of the faults that refuse a text.
fn faults(name: &str, text: &str) -> Vec<String> {
    let Err(faults) = read(name, text) else { panic!("taken: {text}") };
    faults.iter().map(ToString::to_string).collect()
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n";

#[test]
fn a_missing_namespace_is_default() {
    let model = yaml(&format!("{POLICY}spec: {{}}\n"));
    let name = model.network_policies.keys().next().unwrap();
    assert_eq!((name.namespace.as_str(), name.name.as_str()), ("default", "p"));
}

#[test]
fn a_used_namespace_exists_with_its_name_as_its_only_label() {
    let model = yaml(&format!("{POLICY}spec: {{}}\n"));
    let namespace = &model.namespaces["default"];
    assert_eq!(namespace.labels.len(), 1);
    assert_eq!(namespace.labels["kubernetes.io/metadata.name"], "default");
    assert_eq!(namespace.place, None);
}

#[test]
fn a_namespace_may_be_described_behind_its_use() {
    let model = yaml(&format!(
        "{POLICY}spec: {{}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: default, labels: {{a: b}}}}\n"
    ));
    assert_eq!(model.namespaces["default"].labels["a"], "b");
}

#[test]
fn explicit_nulls_are_absent_fields() {
    let text = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": null, "labels": null, "creationTimestamp": null},
        "spec": {"podSelector": {"matchLabels": null, "matchExpressions": null}, "policyTypes": null,
            "ingress": [{"from": null, "ports": [{"protocol": null, "port": null, "endPort": null}]}], "egress": null},
        "status": null}"#;
    let model = read("t.json", text).unwrap().model;
    let policy = model.network_policies.values().next().unwrap();
    assert_eq!(policy.pod_selector, Selector::default());
    assert_eq!(policy.egress, None);
    let rules = policy.ingress.as_ref().unwrap();
    assert!(rules[0].peers.is_none() && rules[0].ports.as_ref().unwrap().len() == 1);
}

#[test]
fn json_indented_with_tabs_is_read() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\",\n\t\"metadata\": {\n\t\t\"name\": \"a\"\n\t}\n}\n";
    assert!(read("t.json", text).unwrap().model.namespaces.contains_key("a"));
    assert!(read("t.JSON", text).unwrap().model.namespaces.contains_key("a"));
}

#[test]
fn json_is_yaml_too() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\",\n \"metadata\": {\"name\": \"a\"}}\n";
    assert!(yaml(text).namespaces.contains_key("a"));
}

#[test]
fn what_kubectl_writes_is_read() {
    let text = "apiVersion: v1
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {\"apiVersion\":\"networking.k8s.io/v1\"}
    creationTimestamp: \"2024-05-01T10:00:00Z\"
    generation: 1
    managedFields:
    - apiVersion: networking.k8s.io/v1
      fieldsType: FieldsV1
      fieldsV1:
        f:metadata:
          f:annotations:
            .: {}
    name: p
    namespace: shop
    resourceVersion: \"123\"
    uid: 6c6f1f9e-0b1e-4f2c-9d5b-111111111111
  spec:
    podSelector: {}
    policyTypes:
    - Ingress
- apiVersion: v1
  kind: Namespace
  metadata:
    name: shop
  spec:
    finalizers:
    - kubernetes
  status:
    phase: Active
kind: List
metadata:
  resourceVersion: \"\"
";
    let model = yaml(text);
    assert_eq!((model.network_policies.len(), model.namespaces.len()), (1, 1));
}

#[test]
fn items_of_a_typed_list_need_no_kind() {
    let text = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "metadata": {},
        "items": [{"metadata": {"name": "p"}, "spec": {}}]}"#;
    assert_eq!(read("t.json", text).unwrap().model.network_policies.len(), 1);
}

#[test]
fn selectors_that_mean_the_same_are_equal() {
    let policy = |selector: &str| {
        let model = yaml(&format!("{POLICY}spec: {{podSelector: {selector}}}\n"));
        model.network_policies.values().next().unwrap().pod_selector.clone()
    };
    let one = policy("{matchLabels: {a: b, c: d}}");
    let same = policy(
        "{matchExpressions: [{key: c, operator: In, values: [d, d]}, {key: a, operator: In, values: [b]}], matchLabels: {a: b}}",
    );
    assert_eq!(one, same);
}

#[test]
fn addresses_and_blocks_are_canonical() {
    let model = yaml(
        "apiVersion: windrose.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {addresses: [\"::ffff:10.0.0.1\", \"FD00::0:1\"]}\n",
    );
    let addresses = &model.workloads.values().next().unwrap().addresses;
    assert_eq!(addresses, &["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
}

#[test]
fn documents_are_cut_where_yaml_begins_them_and_nowhere_else() {
    let namespace = |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    let text = format!(
        "\u{feff}# comment\n--- # one\n{}---\t\n{}...\n---\r\n{}---x: 1\n---\n---\n",
        namespace("a"),
        namespace("b"),
        namespace("c")
    );
    assert_eq!(
        faults("t.yaml", &text),
        [
            "t.yaml:15:1: unknown field `---x` of Namespace: expected `apiVersion`, `kind`, `metadata`, `spec` or `status`"
        ]
    );
    let model = yaml(&text.replace("---x: 1\n", ""));
    assert_eq!(model.namespaces.len(), 3);
}

#[test]
fn places_count_characters_from_one_in_both_formats() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {annotations: {a: \"äöü\"}, nam: a}\n";
    assert!(
        faults("t.yaml", text)[0].starts_with("t.yaml:3:37: unknown field `nam`"),
        "{:?}",
        faults("t.yaml", text)
    );
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\",\n\"metadata\": {\"annotations\": {\"a\": \"äöü\"}, \"nam\": \"a\"}}";
    assert!(
        faults("t.json", text)[0].starts_with("t.json:2:43: unknown field `nam`"),
        "{:?}",
        faults("t.json", text)
    );
}

#[test]
fn faults_of_every_file_are_in_one_run() {
    let bad = |name: &str| Source { name: name.to_owned(), text: "kind: x\n".to_owned() };
    let faults = parse(&[bad("b.yaml"), bad("a.yaml"), bad("c.json")]).unwrap_err();
    let files: Vec<&str> = faults.iter().map(|fault| &*fault.place.file).collect();
    assert_eq!(files, ["a.yaml", "b.yaml", "c.json"]);
}
