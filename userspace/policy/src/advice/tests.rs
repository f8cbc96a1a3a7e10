//! Sentences about warnings.

use crate::source::{Source, parse};

/// The warnings of a text, as `line: message`.
fn warnings(text: &str) -> Vec<String> {
    let parsed = parse(&[Source { name: "t.yaml".to_owned(), text: text.to_owned() }]);
    let warnings = parsed.unwrap_or_else(|faults| panic!("{faults:#?}")).warnings;
    warnings.iter().map(|fault| format!("{}: {}", fault.place.line, fault.message)).collect()
}

const WORKLOAD: &str = "apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
    metadata: {name: web, labels: {app: web}}\n\
    spec: {addresses: [10.0.0.1], ports: [{name: http, port: 80}]}\n---\n";

/// The warnings of a `NetworkPolicy` that begins on line 6; its `spec` is on line 9.
fn of_policy(spec: &str) -> Vec<String> {
    warnings(&format!(
        "{WORKLOAD}apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    ))
}

fn of_cluster_policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{tier: Admin, priority: 5, {spec}}}\n"
    )
}

#[test]
fn a_block_that_covers_a_workload_is_warned_of() {
    let found = of_policy("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}");
    assert_eq!(
        found,
        ["9: ipBlock `10.0.0.0/8` covers workload default/web: it matches whatever the labels"]
    );
    let except = "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24, 10.0.0.0/30]}}]}]}";
    assert_eq!(of_policy(except), [""; 0]);
    assert_eq!(of_policy("{ingress: [{from: [{ipBlock: {cidr: \"::/0\"}}]}]}"), [""; 0]);
}

#[test]
fn a_policy_that_selects_no_workload_is_warned_of() {
    for selector in ["{matchLabels: {app: wep}}", "{matchExpressions: [{key: app, operator: DoesNotExist}]}"]
    {
        let found = of_policy(&format!("{{podSelector: {selector}}}"));
        assert_eq!(found, ["8: podSelector selects no workload of namespace `default`"]);
    }
    let found = warnings(&format!(
        "{WORKLOAD}{}",
        of_cluster_policy(
            "a",
            "subject: {namespaces: {matchLabels: {a: b}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]"
        )
    ));
    assert_eq!(found, ["9: subject selects no workload"]);
}

#[test]
fn a_port_name_that_nobody_in_reach_has_is_warned_of() {
    let found = of_policy("{ingress: [{ports: [{port: htpp}]}]}");
    assert_eq!(found, ["9: no workload that this policy selects has a port named `htpp` of TCP"]);
    let found = of_policy("{egress: [{ports: [{port: http, protocol: UDP}]}]}");
    assert_eq!(found, ["9: no workload that this rule reaches has a port named `http` of UDP"]);
    assert_eq!(of_policy("{egress: [{ports: [{port: http}]}]}"), [""; 0]);
}

#[test]
fn names_of_ports_of_blocks_only_are_warned_of() {
    let found = of_policy("{egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: http}]}]}");
    assert_eq!(
        found,
        ["9: this rule matches nothing: an address block has no named ports, and it has no other"]
    );
}

#[test]
fn equal_priorities_are_warned_of() {
    let rules = "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    let found =
        warnings(&format!("{WORKLOAD}{}{}", of_cluster_policy("a", rules), of_cluster_policy("b", rules)));
    assert_eq!(found, ["14: tier Admin has priority 5 twice: a, at t.yaml:9:18, comes first by its name"]);
}

#[test]
fn unknown_peers_and_cleared_host_bits_are_warned_of() {
    let rules =
        "subject: {namespaces: {}}, egress: [{action: Pass, to: [{nodes: {}}, {networks: [192.0.2.1/24]}]}]";
    let found = warnings(&format!("{WORKLOAD}{}", of_cluster_policy("a", rules)));
    assert_eq!(
        found,
        [
            "10: network `192.0.2.1/24` has bits set behind its prefix: it is taken as `192.0.2.0/24`",
            "10: a `nodes` peer cannot be resolved here, so this Pass rule denies everything",
        ]
        .map(str::to_owned)
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
    );
}

#[test]
fn an_empty_egress_list_without_types_is_warned_of() {
    let found = of_policy("{egress: []}");
    assert_eq!(
        found,
        [
            "9: an empty `egress` without `policyTypes` does not isolate egress: add `policyTypes: [Ingress, Egress]`"
        ]
    );
}

#[test]
fn a_selector_that_contradicts_itself_is_warned_of() {
    for (expressions, is_warned) in [
        ("{key: a, operator: In, values: [x]}, {key: a, operator: In, values: [u, v]}", true),
        ("{key: a, operator: In, values: [x]}, {key: a, operator: NotIn, values: [x, v]}", true),
        ("{key: a, operator: Exists}, {key: a, operator: DoesNotExist}", true),
        ("{key: a, operator: In, values: [x, v]}, {key: a, operator: NotIn, values: [x]}", false),
        ("{key: a, operator: Exists}, {key: b, operator: DoesNotExist}", false),
    ] {
        let found = of_policy(&format!(
            "{{ingress: [{{from: [{{podSelector: {{matchExpressions: [{expressions}]}}}}]}}]}}"
        ));
        let expected =
            "9: a selector of this rule contradicts itself on label `a`: it matches nothing".to_owned();
        assert_eq!(found == [expected], is_warned, "{expressions}: {found:?}");
    }
}
