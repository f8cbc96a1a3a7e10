//! The verdict of one direction for one subject.

use windrose_abi::codes::protocol;
use windrose_abi::{Action, Direction, DropReason, Origin, PortKey, Verdict, WorkloadSlot};

use crate::peer::Peer;
use crate::tables::Tables;
use crate::walk::{Best, Walk};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Number of the workload whose policy is asked.
    pub subject: u32,
    /// Its row.
    pub slot: WorkloadSlot,
    /// The other end.
    pub peer: Peer,
    /// Relative to the subject.
    pub direction: Direction,
    /// IANA number.
    pub protocol: u8,
    /// Destination port, host order; 0 for protocols without ports.
    pub port: u16,
}

/// A verdict and what made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// What kind of thing decided.
    pub origin: Origin,
    /// The rule's id where `origin` is a rule or an isolation, else 0.
    pub rule: u32,
    /// Why it was refused.
    pub reason: DropReason,
}

/// The verdict in force and the one that would be if nothing were in audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In force.
    pub enforced: Outcome,
    /// Where its verdict differs: what would be.
    pub would_be: Option<Outcome>,
}

impl Outcome {
    /// Traffic passes because of `origin`.
    #[inline(always)]
    pub const fn allow(origin: Origin, rule: u32) -> Self {
        Self { verdict: Verdict::Allow, origin, rule, reason: DropReason::None }
    }

    /// Traffic is refused.
    #[inline(always)]
    pub const fn deny(origin: Origin, rule: u32, reason: DropReason) -> Self {
        Self { verdict: Verdict::Deny, origin, rule, reason }
    }
}

/// Whether policies of the network tier match this protocol at all.
#[inline(always)]
pub const fn has_ports(protocol_number: u8) -> bool {
    matches!(protocol_number, protocol::TCP | protocol::UDP | protocol::SCTP)
}

/// Decides one direction. The order of precedence:
///
/// 1. A workload and itself, and egress to a loopback address of no workload: allow.
/// 2. Ingress from the workload's own host: allow.
/// 3. No policy concerns the workload in this direction: allow.
/// 4. Tier admin: its matching rule of lowest rank; `Pass` or none goes on.
/// 5. Tier network, if a policy isolates: a matching rule allows, none denies.
/// 6. Tier baseline, as admin.
/// 7. Allow.
///
/// Steps 3 to 7 are taken twice, without the rule sets in audit and with them; a subject in audit
/// passes whatever they say. A row that the tables name and do not have denies.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, question: &Question) -> Decision {
    let peer = &question.peer;
    let is_egress = matches!(question.direction, Direction::Egress);
    if peer.workload == question.subject || (is_egress && peer.is_loopback && peer.workload == 0) {
        return Decision { enforced: Outcome::allow(Origin::Itself, 0), would_be: None };
    }
    if !is_egress && peer.is_host {
        return Decision { enforced: Outcome::allow(Origin::Host, 0), would_be: None };
    }
    let (set, destination) = if is_egress {
        (question.slot.egress_set, peer.workload)
    } else {
        (question.slot.ingress_set, question.subject)
    };
    if set == 0 {
        return Decision { enforced: Outcome::allow(Origin::Open, 0), would_be: None };
    }
    let key = PortKey { workload: destination, port: question.port, protocol: question.protocol, reserved: 0 };
    let mut walk = Walk::new(*tables, set, peer.peer_list, key);
    walk.run();

    let all = conclude(&walk.all, walk.torn);
    let enforced = conclude(&walk.enforced, walk.torn);
    let subject_audit = question.slot.flags & WorkloadSlot::AUDIT != 0 || tables.audit_all();
    if subject_audit {
        let denied = matches!(all.verdict, Verdict::Deny);
        let enforced = match enforced.verdict {
            Verdict::Allow => enforced,
            Verdict::Deny => Outcome::allow(Origin::Audit, 0),
        };
        return Decision { enforced, would_be: if denied { Some(all) } else { None } };
    }
    let differs = all.verdict as u8 != enforced.verdict as u8;
    Decision { enforced, would_be: if differs { Some(all) } else { None } }
}

/// Steps 4 to 7.
#[inline(always)]
fn conclude(best: &Best, torn: bool) -> Outcome {
    if torn {
        return Outcome::deny(Origin::None, 0, DropReason::TornTables);
    }
    if let Some(outcome) = of_cluster_tier(best.admin.action, best.admin.rule) {
        return outcome;
    }
    if best.isolation.action != 0 {
        return if best.network.action != 0 {
            Outcome::allow(Origin::Rule, best.network.rule)
        } else {
            Outcome::deny(Origin::Isolated, best.isolation.rule, DropReason::Isolated)
        };
    }
    if let Some(outcome) = of_cluster_tier(best.baseline.action, best.baseline.rule) {
        return outcome;
    }
    Outcome::allow(Origin::Open, 0)
}

#[inline(always)]
fn of_cluster_tier(action: u32, rule: u32) -> Option<Outcome> {
    const ALLOW: u32 = Action::Allow as u32;
    const PASS: u32 = Action::Pass as u32;
    match action {
        0 | PASS => None,
        ALLOW => Some(Outcome::allow(Origin::Rule, rule)),
        // An action that this program does not know denies, too.
        _ => Some(Outcome::deny(Origin::Rule, rule, DropReason::Rule)),
    }
}
