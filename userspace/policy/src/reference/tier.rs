//! What one tier says about a flow: a final verdict, or nothing.

use super::matching::{matches_cluster_rule, matches_network_rule, selects};
use super::{Outcome, Scope, View};
use crate::decision::{RuleRef, Verdict};
use crate::model::{
    ClusterAction, ClusterPeers, ClusterPolicy, ClusterRule, Direction, NetworkPolicy, NetworkRule, Tier,
};
use crate::rank;

/// A tier of cluster policies. `None` when no rule matches, or the first that matches passes.
pub(super) fn cluster(view: View<'_>, tier: Tier, scope: Scope) -> Option<Outcome> {
    let mut first: Option<(u64, &ClusterPolicy, u32, &ClusterRule)> = None;
    for policy in view.model.cluster_policies.values() {
        let counts = scope == Scope::All || !policy.audit;
        if policy.tier != tier || !counts {
            continue;
        }
        if !selects(view.model, &policy.subject, view.subject) {
            continue;
        }
        let rules = match view.direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        for (index, rule) in (0..).zip(rules) {
            // (16) Lower priority first, equal ones by name, rules in list order.
            let rank = rank::cluster_policy(policy.priority, tie(view, policy), index);
            if matches_cluster_rule(view, rule) && first.is_none_or(|(lowest, ..)| rank < lowest) {
                first = Some((rank, policy, index, rule));
            }
        }
    }
    let (_, policy, index, rule) = first?;
    let verdict = match rule.action {
        ClusterAction::Accept => Verdict::Allow,
        ClusterAction::Deny => Verdict::Deny,
        // (18) Of peers that nobody can resolve, `Pass` denies.
        ClusterAction::Pass if rule.peers == ClusterPeers::Unknown => Verdict::Deny,
        // (15) `Pass` skips the rest of the tier.
        ClusterAction::Pass => return None,
    };
    Some((verdict, RuleRef::Cluster { policy: policy.name.clone(), direction: view.direction, index }))
}

/// The position, by name, of a policy among those of its tier and priority. Those in audit are
/// counted: a policy that enters or leaves audit moves no other.
fn tie(view: View<'_>, policy: &ClusterPolicy) -> u32 {
    let equals = view
        .model
        .cluster_policies
        .values()
        .filter(|other| other.tier == policy.tier && other.priority == policy.priority);
    let before = equals.filter(|other| other.name < policy.name).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// The tier of network policies. `None` when none selects the subject and applies to the
/// direction (1); otherwise it is final (15).
pub(super) fn network(view: View<'_>, scope: Scope) -> Option<Outcome> {
    let mut isolating: Option<(u64, &NetworkPolicy)> = None;
    let mut allowing: Option<(u64, &NetworkPolicy, u32)> = None;
    for policy in view.model.network_policies.values() {
        let counts = scope == Scope::All || !policy.audit;
        // (3) A policy selects in its own namespace.
        let is_subject = policy.name.namespace == view.subject.name.namespace
            && policy.pod_selector.matches(&view.subject.labels);
        let Some(rules) = rules(policy, view.direction) else { continue };
        if !counts || !is_subject {
            continue;
        }
        let rank = rank::network_policy(&policy.name, 0);
        if isolating.is_none_or(|(lowest, _)| rank < lowest) {
            isolating = Some((rank, policy));
        }
        // (2) Allows add up and their order never matters; the rank only settles which of
        // several is named.
        for (index, rule) in (0..).zip(rules) {
            let rank = rank::network_policy(&policy.name, index);
            if matches_network_rule(view, policy, rule) && allowing.is_none_or(|(lowest, ..)| rank < lowest) {
                allowing = Some((rank, policy, index));
            }
        }
    }
    let direction = view.direction;
    if let Some((_, policy, index)) = allowing {
        return Some((Verdict::Allow, RuleRef::Network { policy: policy.name.clone(), direction, index }));
    }
    let (_, policy) = isolating?;
    Some((Verdict::Deny, RuleRef::Isolated { policy: policy.name.clone(), direction }))
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> Option<&[NetworkRule]> {
    match direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    }
}
