//! The reference evaluator: the meaning of a model, slow and obvious. It is the specification;
//! the numbers in brackets are the points of the semantics page.

use std::net::IpAddr;

use crate::decision::{Decision, Endpoint, Flow, FlowDecision, RuleRef, Verdict};
use crate::model::{Direction, Model, ObjectName, Tier, Workload};

mod matching;
mod nearest;
mod tier;

pub use nearest::{Difference, Near, nearest, protocol_name};

#[cfg(test)]
mod tests;

/// Who decided, and what.
type Outcome = (Verdict, RuleRef);

/// Which policies count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Those that are enforced: not in audit by their own annotation.
    Enforced,
    /// All.
    All,
}

/// A flow seen from one of its ends.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    model: &'a Model,
    flow: &'a Flow,
    direction: Direction,
    /// The workload at this end.
    subject: &'a Workload,
}

impl<'a> View<'a> {
    /// The other end: the source of ingress, the destination of egress.
    fn peer(&self) -> &'a Endpoint {
        match self.direction {
            Direction::Ingress => &self.flow.source,
            Direction::Egress => &self.flow.destination,
        }
    }

    /// The workload at the other end, if one is known.
    fn peer_workload(&self) -> Option<&'a Workload> {
        workload_of(self.model, self.peer())
    }

    /// The workload that accepts the connection, if one is known.
    fn destination_workload(&self) -> Option<&'a Workload> {
        workload_of(self.model, &self.flow.destination)
    }
}

/// Decides a flow in both directions. `agent_audit`: the whole agent is in audit.
///
/// A connection needs both (2); each is decided without regard to the other (17).
pub fn evaluate(model: &Model, flow: &Flow, agent_audit: bool) -> FlowDecision {
    FlowDecision {
        egress: decide(model, flow, Direction::Egress, agent_audit),
        ingress: decide(model, flow, Direction::Ingress, agent_audit),
    }
}

/// The end of a flow that has this address, on a host with these addresses.
pub fn endpoint(model: &Model, address: IpAddr, host_addresses: &[IpAddr]) -> Endpoint {
    // (6) A v4-mapped v6 address is its v4 address everywhere.
    let address = address.to_canonical();
    let owner = model.workloads.values().find(|workload| workload.addresses.contains(&address));
    let is_host = host_addresses.iter().any(|host| host.to_canonical() == address)
        || (address.is_loopback() && owner.is_none());
    Endpoint { address, workload: owner.map(|workload| workload.name.clone()), is_host }
}

/// One direction: `Egress` is the source's, `Ingress` the destination's.
pub fn decide(model: &Model, flow: &Flow, direction: Direction, agent_audit: bool) -> Decision {
    // The subject is the workload whose egress or ingress this is. Traffic of nobody we know is
    // not ours to judge.
    let end = match direction {
        Direction::Egress => &flow.source,
        Direction::Ingress => &flow.destination,
    };
    let Some(subject) = workload_of(model, end) else { return allow(RuleRef::Open) };
    let view = View { model, flow, direction, subject };

    // (8) A workload cannot block itself: not by its own address, and not over loopback.
    if is_itself(view) {
        return allow(RuleRef::Itself);
    }
    // (8) Traffic from the workload's own host is always allowed in.
    if direction == Direction::Ingress && flow.source.is_host && workload_of(model, &flow.source).is_none() {
        return allow(RuleRef::Host);
    }

    let enforced = walk_tiers(view, Scope::Enforced);
    let all = walk_tiers(view, Scope::All);

    // Audit of the namespace or the agent: decide, report, let pass.
    let is_subject_in_audit = agent_audit || is_namespace_in_audit(model, &subject.name);
    if is_subject_in_audit {
        return Decision {
            verdict: Verdict::Allow,
            rule: if enforced.0 == Verdict::Allow { enforced.1 } else { RuleRef::Audit },
            would_be: (all.0 == Verdict::Deny).then_some(all),
        };
    }
    // Audit of a policy: it is in `all` only.
    let would_be = (all.0 != enforced.0).then_some(all);
    Decision { verdict: enforced.0, rule: enforced.1, would_be }
}

/// (15) Admin tier, then `NetworkPolicy`, then Baseline tier, then allow.
fn walk_tiers(view: View<'_>, scope: Scope) -> Outcome {
    tier::cluster(view, Tier::Admin, scope)
        .or_else(|| tier::network(view, scope))
        .or_else(|| tier::cluster(view, Tier::Baseline, scope))
        .unwrap_or((Verdict::Allow, RuleRef::Open))
}

fn is_itself(view: View<'_>) -> bool {
    if view.peer_workload().is_some_and(|peer| peer.name == view.subject.name) {
        return true;
    }
    // A loopback address that is no workload's is reached only from the same host and network
    // namespace.
    view.direction == Direction::Egress
        && view.flow.destination.address.is_loopback()
        && view.destination_workload().is_none()
}

fn is_namespace_in_audit(model: &Model, workload: &ObjectName) -> bool {
    model.namespaces.get(&workload.namespace).is_some_and(|namespace| namespace.audit)
}

fn workload_of<'a>(model: &'a Model, end: &Endpoint) -> Option<&'a Workload> {
    end.workload.as_ref().and_then(|name| model.workloads.get(name)).map(AsRef::as_ref)
}

fn allow(rule: RuleRef) -> Decision {
    Decision { verdict: Verdict::Allow, rule, would_be: None }
}
