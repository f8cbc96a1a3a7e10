//! Points 1 to 11: `NetworkPolicy`.

use super::*;

#[test]
fn point_1_a_workload_that_no_policy_selects_is_open() {
    let model = cart_policy("ingress: []");
    let decision = ask(&model, WORLD, WEB, TCP, 80).ingress;
    assert_eq!((decision.verdict, decision.rule), (Verdict::Allow, RuleRef::Open));
    let decision = ask(&model, WORLD, CART, TCP, 80).ingress;
    assert_eq!(decision.verdict, Verdict::Deny);
    assert!(matches!(decision.rule, RuleRef::Isolated { direction: Direction::Ingress, .. }));
}

#[test]
fn point_1_without_types_a_policy_is_for_ingress_and_for_egress_if_it_has_rules_for_it() {
    let model = cart_policy("ingress: []");
    assert!(!is_let_in(&model, WEB, CART, TCP, 80) && is_let_out(&model, CART, WEB, TCP, 80));
    let model = cart_policy("egress: [{ports: [{port: 1}]}]");
    assert!(!is_let_in(&model, WEB, CART, TCP, 80) && !is_let_out(&model, CART, WEB, TCP, 80));
    let model = cart_policy("policyTypes: [Egress]");
    assert!(is_let_in(&model, WEB, CART, TCP, 80) && !is_let_out(&model, CART, WEB, TCP, 80));
}

#[test]
fn point_2_allows_add_up() {
    let one = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: NAME, namespace: shop}\nspec: {podSelector: {}, ingress: [{ports: [{port: PORT}]}]}\n---\n";
    let policy = |name: &str, port: &str| one.replace("NAME", name).replace("PORT", port);
    let model = world(&(policy("a", "1") + &policy("b", "2")));
    assert!(is_let_in(&model, WEB, CART, TCP, 1));
    assert!(is_let_in(&model, WEB, CART, TCP, 2));
    assert!(!is_let_in(&model, WEB, CART, TCP, 3));
}

#[test]
fn point_2_a_connection_needs_both_directions() {
    let model = cart_policy("policyTypes: [Egress], egress: []");
    let decision = ask(&model, CART, WEB, TCP, 80);
    assert_eq!(decision.ingress.verdict, Verdict::Allow);
    assert_eq!(decision.verdict(), Verdict::Deny);
}

#[test]
fn point_3_an_empty_selector_is_the_whole_namespace_and_no_other() {
    let model = world(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: {podSelector: {}}\n",
    );
    assert!(!is_let_in(&model, WORLD, WEB, TCP, 80));
    assert!(!is_let_in(&model, WORLD, CART, TCP, 80));
    assert!(is_let_in(&model, WORLD, PAY, TCP, 80));
}

#[test]
fn point_3_an_empty_rule_allows_all() {
    for rule in ["{}", "{from: [], ports: []}", "{from: null, ports: null}"] {
        let model = cart_policy(&format!("ingress: [{rule}]"));
        assert!(is_let_in(&model, WORLD, CART, SCTP, 9), "{rule}");
    }
}

#[test]
fn point_4_selectors_of_one_peer_are_and_and_peers_are_or() {
    let and = "ingress: [{from: [{podSelector: {matchLabels: {app: pay}}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]";
    assert!(!is_let_in(&cart_policy(and), PAY, CART, TCP, 80));
    let or = "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {matchLabels: {team: money}}}]}]";
    let model = cart_policy(or);
    assert!(is_let_in(&model, WEB, CART, TCP, 80) && is_let_in(&model, PAY, CART, TCP, 80));
}

#[test]
fn point_4_a_pod_selector_alone_is_of_the_own_namespace() {
    let model = cart_policy("ingress: [{from: [{podSelector: {}}]}]");
    assert!(is_let_in(&model, WEB, CART, TCP, 80));
    assert!(!is_let_in(&model, PAY, CART, TCP, 80));
    let model = cart_policy("ingress: [{from: [{namespaceSelector: {}}]}]");
    assert!(is_let_in(&model, PAY, CART, TCP, 80));
    assert!(!is_let_in(&model, WORLD, CART, TCP, 80), "a selector matches workloads only");
}

#[test]
fn point_4_all_four_operators() {
    let allows_web = |expression: &str| {
        let spec = format!("ingress: [{{from: [{{podSelector: {{matchExpressions: [{expression}]}}}}]}}]");
        is_let_in(&cart_policy(&spec), WEB, CART, TCP, 80)
    };
    assert!(allows_web("{key: app, operator: In, values: [web, x]}"));
    assert!(!allows_web("{key: tier, operator: In, values: [back]}"));
    assert!(!allows_web("{key: app, operator: NotIn, values: [web]}"));
    assert!(allows_web("{key: tier, operator: NotIn, values: [back]}"), "NotIn matches an absent label");
    assert!(allows_web("{key: app, operator: Exists}"));
    assert!(!allows_web("{key: tier, operator: Exists}"));
    assert!(allows_web("{key: tier, operator: DoesNotExist}"));
    assert!(!allows_web("{key: app, operator: DoesNotExist}"));
}

#[test]
fn point_5_the_protocol_defaults_to_tcp_and_a_missing_port_is_every_port_of_it() {
    let model = cart_policy("ingress: [{ports: [{port: 80}, {protocol: UDP}]}]");
    assert!(is_let_in(&model, WEB, CART, TCP, 80));
    assert!(!is_let_in(&model, WEB, CART, SCTP, 80));
    assert!(!is_let_in(&model, WEB, CART, TCP, 81));
    assert!(is_let_in(&model, WEB, CART, UDP, 9));
}

#[test]
fn point_5_end_port_is_inclusive() {
    let model = cart_policy("ingress: [{ports: [{port: 80, endPort: 82}]}]");
    let ports: Vec<u16> = (78..85).filter(|&port| is_let_in(&model, WEB, CART, TCP, port)).collect();
    assert_eq!(ports, [80, 81, 82]);
}

#[test]
fn point_5_a_named_port_is_resolved_at_the_destination_with_the_same_protocol() {
    let model = cart_policy("ingress: [{ports: [{port: http}, {port: dns}]}]");
    assert!(is_let_in(&model, WEB, CART, TCP, 8080));
    assert!(!is_let_in(&model, WEB, CART, TCP, 80));
    assert!(!is_let_in(&model, WEB, CART, UDP, 53), "`dns` is TCP in the policy, UDP at the workload");
    let model = cart_policy("policyTypes: [Egress], egress: [{ports: [{port: http}]}]");
    assert!(is_let_out(&model, CART, PAY, TCP, 80));
    assert!(!is_let_out(&model, CART, PAY, TCP, 8080));
    assert!(!is_let_out(&model, CART, WORLD, TCP, 80), "the world names no ports");
}

#[test]
fn point_5_an_ip_block_that_is_the_destination_has_no_named_ports() {
    let model = cart_policy(
        "policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]",
    );
    assert!(!is_let_out(&model, CART, PAY, TCP, 80));
    let model = cart_policy("ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]");
    assert!(is_let_in(&model, WORLD, CART, TCP, 8080), "as the source, it needs none");
}

#[test]
fn point_6_except_narrows_only_its_own_rule() {
    let block = "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24]}}]}";
    let model = cart_policy(&format!("ingress: [{block}]"));
    assert!(is_let_in(&model, PAY, CART, TCP, 80));
    assert!(!is_let_in(&model, WEB, CART, TCP, 80));
    let model = cart_policy(&format!("ingress: [{block}, {{from: [{{ipBlock: {{cidr: 10.0.0.1/32}}}}]}}]"));
    assert!(is_let_in(&model, WEB, CART, TCP, 80));
}

#[test]
fn point_6_a_mapped_address_is_its_v4_address() {
    let model = cart_policy("ingress: [{from: [{ipBlock: {cidr: \"::ffff:192.0.2.0/120\"}}]}]");
    assert!(is_let_in(&model, "::ffff:192.0.2.1", CART, TCP, 80));
    assert!(is_let_in(&model, WORLD, CART, TCP, 80));
    let model = cart_policy("ingress: [{from: [{ipBlock: {cidr: \"::/0\"}}]}]");
    assert!(!is_let_in(&model, "::ffff:192.0.2.1", CART, TCP, 80));
}

#[test]
fn point_7_a_block_covers_workloads_too() {
    let model = cart_policy("ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}]");
    assert!(is_let_in(&model, PAY, CART, TCP, 80));
    assert!(!is_let_in(&model, WEB, CART, TCP, 80));
}

#[test]
fn point_8_the_host_is_let_in() {
    let model = cart_policy("ingress: []");
    for host in [HOST, "127.0.0.1"] {
        let decision = ask(&model, host, CART, TCP, 80).ingress;
        assert_eq!((decision.verdict, decision.rule), (Verdict::Allow, RuleRef::Host));
    }
}

#[test]
fn point_8_a_workload_cannot_block_itself() {
    let model = cart_policy("policyTypes: [Ingress, Egress]");
    let decision = ask(&model, CART, CART, TCP, 80);
    assert_eq!((decision.egress.rule, decision.ingress.rule), (RuleRef::Itself, RuleRef::Itself));
    assert_eq!(ask(&model, CART, "127.0.0.1", TCP, 80).egress.rule, RuleRef::Itself);
    assert_eq!(ask(&model, CART, "::1", TCP, 80).egress.rule, RuleRef::Itself);
}

#[test]
fn point_10_other_protocols_of_an_isolated_workload_are_dropped() {
    let model = cart_policy("ingress: [{}]");
    assert!(is_let_in(&model, WEB, CART, SCTP, 80));
    assert!(!is_let_in(&model, WEB, CART, ICMP, 0));
    assert!(is_let_in(&model, CART, WEB, ICMP, 0), "web is not isolated");
}

#[test]
fn point_11_a_rule_is_about_the_endpoint_that_the_flow_names() {
    // A flow is given after service translation: its destination is the endpoint's address.
    let model = cart_policy("policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: \"fd00::3/128\"}}]}]");
    assert!(is_let_out(&model, CART, PAY_V6, TCP, 80));
    assert!(!is_let_out(&model, CART, PAY, TCP, 80));
}

#[test]
fn of_several_isolating_policies_the_first_by_rank_is_named() {
    let one = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: NAME, namespace: shop}\nspec: {podSelector: {}}\n---\n";
    let model = world(&["a", "b", "c"].map(|name| one.replace("NAME", name)).concat());
    let first =
        model.network_policies.keys().min_by_key(|name| crate::rank::network_policy(name, 0)).unwrap();
    let decision = ask(&model, WORLD, CART, TCP, 80).ingress;
    assert_eq!(decision.rule, RuleRef::Isolated { policy: first.clone(), direction: Direction::Ingress });
}
