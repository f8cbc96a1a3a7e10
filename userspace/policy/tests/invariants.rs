//! What holds of every model and every flow, whatever the policies say.

#[path = "generate/world.rs"]
mod generate;

use std::collections::BTreeMap;

use proptest::prelude::*;
use windrose_policy::decision::{Decision, Flow, RuleRef, Verdict};
use windrose_policy::model::{ClusterAction, ClusterPeers, Model};
use windrose_policy::reference::evaluate;

/// Flows for each model.
const FLOWS: usize = 40;

fn each_flow(seed: u64, mut check: impl FnMut(&Model, &Flow)) {
    let model = generate::model(seed);
    let mut rng = generate::Rng::new(!seed);
    for _ in 0..FLOWS {
        check(&model, &generate::flow(&model, &mut rng));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_policies_everything_passes(seed: u64) {
        each_flow(seed, |model, flow| {
            let open = Model { network_policies: BTreeMap::new(), cluster_policies: BTreeMap::new(), ..model.clone() };
            assert_eq!(evaluate(&open, flow, false).verdict(), Verdict::Allow);
        });
    }

    #[test]
    fn an_agent_in_audit_lets_everything_pass_and_says_what_it_would_not(seed: u64) {
        each_flow(seed, |model, flow| {
            let audited = evaluate(model, flow, true);
            prop_sides(&audited.egress, &audited.ingress, |decision| {
                assert_eq!(decision.verdict, Verdict::Allow);
                assert!(decision.would_be.as_ref().is_none_or(|would_be| would_be.0 == Verdict::Deny));
            });
        });
    }

    #[test]
    fn a_would_be_verdict_is_the_verdict_of_the_model_without_audit(seed: u64) {
        each_flow(seed, |model, flow| {
            let decided = evaluate(model, flow, false);
            let plain = evaluate(&without_audit(model), flow, false);
            for (decision, plain) in [(&decided.egress, &plain.egress), (&decided.ingress, &plain.ingress)] {
                match &decision.would_be {
                    Some(would_be) => assert_eq!(would_be, &(plain.verdict, plain.rule.clone())),
                    None => assert_eq!(decision.verdict, plain.verdict),
                }
            }
        });
    }

    #[test]
    fn a_denial_names_a_rule_or_an_isolating_policy(seed: u64) {
        each_flow(seed, |model, flow| {
            let decided = evaluate(model, flow, false);
            prop_sides(&decided.egress, &decided.ingress, |decision| {
                if decision.verdict == Verdict::Deny {
                    assert!(matches!(decision.rule, RuleRef::Isolated { .. } | RuleRef::Cluster { .. }));
                }
            });
        });
    }

    #[test]
    fn an_accept_of_unknown_peers_changes_nothing(seed: u64) {
        each_flow(seed, |model, flow| {
            let mut without = model.clone();
            for policy in without.cluster_policies.values_mut() {
                let mut changed = (**policy).clone();
                for rule in changed.ingress.iter_mut().chain(&mut changed.egress) {
                    if rule.peers == ClusterPeers::Unknown && rule.action == ClusterAction::Accept {
                        rule.peers = ClusterPeers::Known(Vec::new());
                    }
                }
                *policy = changed.into();
            }
            assert_eq!(evaluate(model, flow, false), evaluate(&without, flow, false));
        });
    }
}

fn prop_sides(egress: &Decision, ingress: &Decision, check: impl Fn(&Decision)) {
    check(egress);
    check(ingress);
}

fn without_audit(model: &Model) -> Model {
    let mut plain = model.clone();
    for namespace in plain.namespaces.values_mut() {
        namespace.audit = false;
    }
    for policy in plain.network_policies.values_mut() {
        let mut changed = (**policy).clone();
        changed.audit = false;
        *policy = changed.into();
    }
    for policy in plain.cluster_policies.values_mut() {
        let mut changed = (**policy).clone();
        changed.audit = false;
        *policy = changed.into();
    }
    plain
}

/// A generator that never hits anything would prove nothing.
#[test]
fn generated_flows_meet_every_kind_of_decision() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..2_000 {
        each_flow(seed, |model, flow| {
            let decided = evaluate(model, flow, false);
            for decision in [decided.egress, decided.ingress] {
                let kind = match (&decision.rule, decision.verdict) {
                    (RuleRef::Open, _) => "open",
                    (RuleRef::Itself, _) => "itself",
                    (RuleRef::Host, _) => "host",
                    (RuleRef::Network { .. }, _) => "network",
                    (RuleRef::Isolated { .. }, _) => "isolated",
                    (RuleRef::Cluster { .. }, Verdict::Allow) => "accept",
                    (RuleRef::Cluster { .. }, Verdict::Deny) => "deny",
                    (RuleRef::Audit, _) => "audit",
                };
                *kinds.entry(kind).or_default() += 1;
                if decision.would_be.is_some() {
                    *kinds.entry("would be").or_default() += 1;
                }
            }
        });
    }
    println!("{kinds:?}");
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(kinds.values().all(|&count| count > 300), "{kinds:?}");
}
