//! Tables that do not say what the policy says.

use std::fmt;

use crate::decision::{Decision, Endpoint, Flow, RuleRef, Verdict};
use crate::model::{Direction, Model, ObjectName};
use crate::place::Place;
use crate::reference::protocol_name;

/// A flow that the compiled tables decide otherwise than the reference. It is a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The flow.
    pub flow: Flow,
    /// Which end's decision it is.
    pub direction: Direction,
    /// Whose.
    pub subject: ObjectName,
    /// What the policy says.
    pub expected: Decision,
    /// What the tables say; `None`: nothing, because they are torn.
    pub found: Option<Decision>,
    /// Where the rule is written that should have decided, or that did, or the subject.
    pub place: Place,
    /// Where each of the rules is written.
    places: Vec<(RuleRef, Place)>,
}

impl Mismatch {
    pub(super) fn new(
        model: &Model,
        (flow, direction): (Flow, Direction),
        (subject, place): (&ObjectName, &Place),
        expected: Decision,
        found: Option<Decision>,
    ) -> Self {
        let decisions = [Some(&expected), found.as_ref()].into_iter().flatten();
        let rules = decisions.flat_map(|decision| {
            [Some(&decision.rule), decision.would_be.as_ref().map(|(_, rule)| rule)].into_iter().flatten()
        });
        let places: Vec<(RuleRef, Place)> =
            rules.filter_map(|rule| Some((rule.clone(), rule.place(model)?.clone()))).collect();
        let place = places.first().map_or_else(|| place.clone(), |(_, place)| place.clone());
        Self { flow, direction, subject: subject.clone(), expected, found, place, places }
    }

    fn says(&self, decision: &Decision) -> String {
        let said = self.verdict(decision.verdict, &decision.rule);
        match &decision.would_be {
            None => said,
            Some((verdict, rule)) => format!("{said}, and without audit {}", self.verdict(*verdict, rule)),
        }
    }

    fn verdict(&self, verdict: Verdict, rule: &RuleRef) -> String {
        let verdict = match verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        let place = self.places.iter().find(|(other, _)| other == rule);
        let place = place.map(|(_, place)| format!(" ({place})")).unwrap_or_default();
        format!("{verdict} by {}{place}", name(rule))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flow, direction, subject, .. } = self;
        let port = if flow.destination_port == 0 {
            String::new()
        } else {
            format!(" port {}", flow.destination_port)
        };
        write!(
            f,
            "the compiled tables do not say what the policy says: {} of {}/{} for {} -> {}, {}{port}: \
             the policy says {}, the tables say {}. This is a bug in Windrose and not in the policy: please \
             report it with this line and the policy. The policy is refused, and the one in force stays",
            word(*direction),
            subject.namespace,
            subject.name,
            end(&flow.source),
            end(&flow.destination),
            protocol_name(flow.protocol),
            self.says(&self.expected),
            self.found
                .as_ref()
                .map_or_else(|| "nothing: rows are missing".to_owned(), |found| self.says(found)),
        )
    }
}

impl std::error::Error for Mismatch {}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn end(end: &Endpoint) -> String {
    match &end.workload {
        Some(name) => format!("{}/{} ({})", name.namespace, name.name, end.address),
        None if end.is_host => format!("the host ({})", end.address),
        None => end.address.to_string(),
    }
}

fn name(rule: &RuleRef) -> String {
    match rule {
        RuleRef::Open => "no policy".to_owned(),
        RuleRef::Itself => "being itself".to_owned(),
        RuleRef::Host => "being the host".to_owned(),
        RuleRef::Audit => "audit".to_owned(),
        RuleRef::Network { policy, direction, index } => {
            format!("NetworkPolicy {}/{} {}[{index}]", policy.namespace, policy.name, word(*direction))
        }
        RuleRef::Isolated { policy, direction } => {
            format!("isolation by NetworkPolicy {}/{} {}", policy.namespace, policy.name, word(*direction))
        }
        RuleRef::Cluster { policy, direction, index } => {
            format!("ClusterNetworkPolicy {policy} {}[{index}]", word(*direction))
        }
    }
}
