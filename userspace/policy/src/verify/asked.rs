//! The compiled tables, asked as the kernel asks its maps, and their answer in words of the policy.

use std::net::IpAddr;

use windrose_abi::{Address, Origin};
use windrose_engine::{Outcome, Peer, Question, decide, resolve};

use crate::decision::{Decision, RuleRef, Verdict};
use crate::model::{Direction, Workload};
use crate::tables::{Lookup, Names};
use crate::witness::Witness;

/// What the tables say; `None`: nothing, because a row is missing that another one names.
pub(super) type Answer = Option<windrose_engine::Decision>;

/// An address as packets and sockets have it.
pub fn wire_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::from_v4_word(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => Address::from_bytes(address.octets()),
    }
}

/// Asks for one direction of a flow: the subject is found by its cgroup, the peer by its address.
pub(super) fn ask(lookup: &Lookup<'_>, names: &Names, witness: &Witness<'_>) -> Answer {
    let (subject, peer) = match witness.direction {
        Direction::Ingress => (&witness.flow.destination, &witness.flow.source),
        Direction::Egress => (&witness.flow.source, &witness.flow.destination),
    };
    let tables = lookup.tables;
    let number = match &witness.subject.cgroup {
        Some(path) => tables.cgroups.get(path).copied().unwrap_or(0),
        None => resolve(&lookup, &wire_address(subject.address)).workload,
    };
    let Some(slot) = tables.workloads.get(&number) else {
        // The kernel lets pass what it does not know.
        return Some(windrose_engine::Decision::plain(Outcome::allow(Origin::Open, 0)));
    };
    let peer = match witness.by_socket {
        Some(workload) => by_socket(lookup, names, workload)?,
        None => resolve(&lookup, &wire_address(peer.address)),
    };
    let direction = match witness.direction {
        Direction::Ingress => windrose_abi::Direction::Ingress,
        Direction::Egress => windrose_abi::Direction::Egress,
    };
    let question = Question {
        subject: number,
        slot: *slot,
        peer,
        direction,
        protocol: witness.flow.protocol,
        port: witness.flow.destination_port,
    };
    Some(decide(&lookup, &question))
}

/// A peer whose socket the kernel knows: by its labels alone.
fn by_socket(lookup: &Lookup<'_>, names: &Names, workload: &Workload) -> Option<Peer> {
    let number = names.workload_number(&workload.name)?;
    let slot = lookup.tables.workloads.get(&number)?;
    Some(Peer {
        workload: number,
        identity: slot.identity,
        peer_list: slot.peer_list,
        is_host: false,
        is_loopback: false,
    })
}

/// Whether the answer is this decision, rule and all.
pub(super) fn is(names: &Names, answer: Answer, expected: &Decision) -> bool {
    let Some(answer) = answer else { return false };
    let is_same = |outcome: Outcome, (verdict, rule): (Verdict, &RuleRef)| {
        verdict_of(outcome) == verdict && rule_of(names, outcome) == Some(rule)
    };
    let would_be = expected.would_be.as_ref().map(|(verdict, rule)| (*verdict, rule));
    is_same(answer.enforced, (expected.verdict, &expected.rule))
        && match (answer.would_be(), would_be) {
            (None, None) => true,
            (Some(outcome), Some(expected)) => is_same(outcome, expected),
            (None, Some(_)) | (Some(_), None) => false,
        }
}

/// The engine's decision in words of the policy; `None` where the tables say nothing that a policy
/// could.
pub fn decision_of(names: &Names, decision: &windrose_engine::Decision) -> Option<Decision> {
    let said = |outcome| Some((verdict_of(outcome), rule_of(names, outcome)?.clone()));
    let (verdict, rule) = said(decision.enforced)?;
    let would_be = match decision.would_be() {
        Some(outcome) => Some(said(outcome)?),
        None => None,
    };
    Some(Decision { verdict, rule, would_be })
}

const fn verdict_of(outcome: Outcome) -> Verdict {
    match outcome.verdict {
        windrose_abi::Verdict::Allow => Verdict::Allow,
        windrose_abi::Verdict::Deny => Verdict::Deny,
    }
}

fn rule_of(names: &Names, outcome: Outcome) -> Option<&RuleRef> {
    match outcome.origin {
        Origin::Rule | Origin::Isolated => {
            let (rule, _) = names.rule(outcome.rule)?;
            let is_isolation = matches!(rule, RuleRef::Isolated { .. });
            (is_isolation == (outcome.origin == Origin::Isolated)).then_some(rule)
        }
        Origin::Open => Some(&RuleRef::Open),
        Origin::Itself => Some(&RuleRef::Itself),
        Origin::Host => Some(&RuleRef::Host),
        Origin::Audit => Some(&RuleRef::Audit),
        Origin::None => None,
    }
}
