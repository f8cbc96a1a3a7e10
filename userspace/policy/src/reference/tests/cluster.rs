//! Points 15 to 18: `ClusterNetworkPolicy`.

use super::*;

const ANYONE: &str = "from: [{namespaces: {}}]";

fn rule(policy: &str, direction: Direction, index: u32) -> RuleRef {
    RuleRef::Cluster { policy: policy.to_owned(), direction, index }
}

#[test]
fn point_15_admin_is_before_network_policy() {
    let policy = cluster_policy("a", "Admin", 1, &format!("ingress: [{{action: Accept, {ANYONE}}}]"));
    let isolate = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: {podSelector: {}}\n";
    let model = world(&(policy + isolate));
    let decision = ask(&model, PAY, CART, TCP, 80).ingress;
    assert_eq!((decision.verdict, decision.rule), (Verdict::Allow, rule("a", Direction::Ingress, 0)));
    assert!(!is_let_in(&model, WORLD, CART, TCP, 80), "a selector matches workloads only");
}

#[test]
fn point_15_network_policy_is_before_baseline_and_final() {
    let baseline = cluster_policy("b", "Baseline", 1, &format!("ingress: [{{action: Deny, {ANYONE}}}]"));
    let model = world(&baseline);
    assert!(!is_let_in(&model, PAY, CART, TCP, 80));
    let allow = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}\n";
    let model = world(&(baseline + allow));
    assert!(is_let_in(&model, PAY, CART, TCP, 80));
    let accept = cluster_policy("b", "Baseline", 1, &format!("ingress: [{{action: Accept, {ANYONE}}}]"));
    let model = world(&(accept + allow));
    assert!(!is_let_in(&model, PAY, CART, TCP, 81), "Baseline is not asked");
}

#[test]
fn point_15_pass_skips_the_rest_of_its_tier_only() {
    let pass = cluster_policy(
        "a",
        "Admin",
        1,
        &format!("ingress: [{{action: Pass, {ANYONE}}}, {{action: Deny, {ANYONE}}}]"),
    );
    let deny = cluster_policy("b", "Admin", 2, &format!("ingress: [{{action: Deny, {ANYONE}}}]"));
    assert!(is_let_in(&world(&(pass.clone() + &deny)), PAY, CART, TCP, 80));
    let baseline = cluster_policy("c", "Baseline", 1, &format!("ingress: [{{action: Deny, {ANYONE}}}]"));
    let decision = ask(&world(&(pass + &deny + &baseline)), PAY, CART, TCP, 80).ingress;
    assert_eq!(decision.rule, rule("c", Direction::Ingress, 0));
}

#[test]
fn point_16_lower_priority_first_then_name_then_list_order() {
    let accept = format!("ingress: [{{action: Accept, {ANYONE}}}]");
    let deny = format!("ingress: [{{action: Deny, {ANYONE}}}, {{action: Accept, {ANYONE}}}]");
    let first = |one: String, other: String| ask(&world(&(one + &other)), PAY, CART, TCP, 80).ingress.rule;
    let by_priority = first(cluster_policy("a", "Admin", 7, &accept), cluster_policy("b", "Admin", 3, &deny));
    assert_eq!(by_priority, rule("b", Direction::Ingress, 0));
    let by_name = first(cluster_policy("b", "Admin", 3, &accept), cluster_policy("a", "Admin", 3, &deny));
    assert_eq!(by_name, rule("a", Direction::Ingress, 0));
}

#[test]
fn point_17_an_accept_says_nothing_of_the_other_direction() {
    let accept = cluster_policy("a", "Admin", 1, "egress: [{action: Accept, to: [{namespaces: {}}]}]");
    let isolate = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: bank}\nspec: {podSelector: {}}\n";
    let decision = ask(&world(&(accept + isolate)), CART, PAY, TCP, 80);
    assert_eq!(decision.egress.verdict, Verdict::Allow);
    assert_eq!(decision.verdict(), Verdict::Deny);
}

#[test]
fn point_18_of_unknown_peers_deny_and_pass_deny_and_accept_matches_nothing() {
    for (action, port, is_let) in
        [("Accept", 80, true), ("Deny", 80, false), ("Pass", 80, false), ("Deny", 81, false)]
    {
        for peer in ["{}", "{nodes: {}}", "{domainNames: [example.com]}"] {
            let rules = format!(
                "egress: [{{action: {action}, to: [{{namespaces: {{matchLabels: {{a: b}}}}}}, {peer}], protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}]}}]"
            );
            let model = world(&cluster_policy("a", "Admin", 1, &rules));
            assert_eq!(is_let_out(&model, CART, WORLD, TCP, port), is_let, "{action} {peer}");
            assert_eq!(is_let_out(&model, CART, WORLD, ICMP, 0), is_let, "{action} {peer} of ICMP");
        }
    }
}

#[test]
fn a_rule_without_protocols_matches_every_protocol() {
    let model =
        world(&cluster_policy("a", "Admin", 1, "egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]"));
    assert!(!is_let_out(&model, CART, WORLD, ICMP, 0));
    assert!(!is_let_out(&model, CART, WORLD, TCP, 80));
    assert!(is_let_out(&model, CART, PAY, TCP, 80));
}

#[test]
fn ports_of_a_cluster_rule_are_of_their_protocol() {
    let rules = "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}], protocols: [{tcp: {destinationPort: {range: {start: 80, end: 90}}}}, {udp: {destinationPort: {number: 53}}}]}]";
    let model = world(&cluster_policy("a", "Admin", 1, rules));
    assert!(!is_let_out(&model, CART, WORLD, TCP, 90) && is_let_out(&model, CART, WORLD, TCP, 91));
    assert!(!is_let_out(&model, CART, WORLD, UDP, 53) && is_let_out(&model, CART, WORLD, UDP, 80));
    assert!(is_let_out(&model, CART, WORLD, ICMP, 0));
}

#[test]
fn a_named_port_of_a_cluster_rule_has_whatever_protocol_the_workload_gives_it() {
    let rules = format!("ingress: [{{action: Deny, {ANYONE}, protocols: [{{destinationNamedPort: dns}}]}}]");
    let model = world(&cluster_policy("a", "Admin", 1, &rules));
    assert!(!is_let_in(&model, PAY, CART, UDP, 53));
    assert!(is_let_in(&model, PAY, CART, TCP, 53));
    let rules = "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]";
    let model = world(&cluster_policy("a", "Admin", 1, rules));
    assert!(!is_let_out(&model, WEB, PAY, TCP, 80));
    assert!(!is_let_out(&model, WEB, CART, TCP, 8080));
    assert!(is_let_out(&model, WEB, CART, TCP, 80));
}
