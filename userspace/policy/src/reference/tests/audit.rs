//! Audit: decide, report the would-be verdict with its rule, let pass.

use super::*;

fn isolating(annotations: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop, annotations: {annotations}}}\nspec: {{podSelector: {{}}}}\n"
    )
}

const ON: &str = "{windrose.dev/audit: \"true\"}";

fn isolated() -> RuleRef {
    let policy = ObjectName { namespace: "shop".to_owned(), name: "p".to_owned() };
    RuleRef::Isolated { policy, direction: Direction::Ingress }
}

#[test]
fn a_policy_in_audit_is_reported_and_not_enforced() {
    let decision = ask(&world(&isolating(ON)), WORLD, CART, TCP, 80).ingress;
    assert_eq!((decision.verdict, decision.rule), (Verdict::Allow, RuleRef::Open));
    assert_eq!(decision.would_be, Some((Verdict::Deny, isolated())));
}

#[test]
fn an_allow_in_audit_would_be_reported_where_the_enforced_verdict_denies() {
    let allow = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: q, namespace: shop, annotations: {windrose.dev/audit: \"true\"}}\nspec: {podSelector: {}, ingress: [{}]}\n";
    let decision = ask(&world(&(isolating("{}") + allow)), WORLD, CART, TCP, 80).ingress;
    assert_eq!((decision.verdict, decision.rule), (Verdict::Deny, isolated()));
    assert!(matches!(decision.would_be, Some((Verdict::Allow, RuleRef::Network { .. }))));
}

#[test]
fn a_subject_in_audit_is_allowed_with_its_would_be_denial() {
    let model = world(&isolating("{}"));
    let decision = evaluate(&model, &flow(&model, WORLD, CART, TCP, 80), true).ingress;
    assert_eq!((decision.verdict, decision.rule), (Verdict::Allow, RuleRef::Audit));
    assert_eq!(decision.would_be, Some((Verdict::Deny, isolated())));
}

#[test]
fn a_namespace_in_audit_audits_its_own_workloads_only() {
    let text = WORKLOADS.replace("{name: shop, labels", &format!("{{name: shop, annotations: {ON}, labels"));
    let bank = isolating("{}").replace("namespace: shop", "namespace: bank");
    let text = text + &isolating("{}") + &bank;
    let model = parse(&[Source { name: "t.yaml".to_owned(), text }]).unwrap().model;
    assert_eq!(ask(&model, WORLD, CART, TCP, 80).ingress.rule, RuleRef::Audit);
    assert_eq!(ask(&model, WORLD, PAY, TCP, 80).ingress.verdict, Verdict::Deny);
}

#[test]
fn an_allowed_flow_of_a_subject_in_audit_names_the_rule_that_allows() {
    let model = cart_policy("ingress: [{}]");
    let decision = evaluate(&model, &flow(&model, WEB, CART, TCP, 80), true).ingress;
    assert!(matches!(decision.rule, RuleRef::Network { index: 0, .. }));
    assert_eq!(decision.would_be, None);
}
