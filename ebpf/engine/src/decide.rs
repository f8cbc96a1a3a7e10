//! The verdict of one direction for one subject.

use windrose_abi::codes::protocol;
use windrose_abi::{Direction, DropReason, Origin, PortKey, Verdict, WorkloadSlot};

use crate::peer::Peer;
use crate::tables::Tables;
use crate::walk::Walk;

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
    /// What would be. Read it through [`Decision::would_be`].
    all: Outcome,
    /// Whether `all` is to be reported. Not an `Option`: rustc describes enums with data in a form
    /// of BTF that the kernel refuses, and this type is in the signature of a BPF subprogram.
    is_audited: bool,
}

impl Decision {
    /// Decided without a look at anything that can be in audit.
    #[inline(always)]
    pub const fn plain(enforced: Outcome) -> Self {
        Self { enforced, all: enforced, is_audited: false }
    }

    /// What would be decided if nothing were in audit, where that is to be reported.
    #[inline(always)]
    pub const fn would_be(&self) -> Option<Outcome> {
        if self.is_audited { Some(self.all) } else { None }
    }
}

impl Decision {
    /// As two words, for a cache.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 2] {
        [self.enforced.to_word(), self.all.to_word() | (self.is_audited as u64) << AUDITED_BIT]
    }

    /// From [`Decision::to_words`]; `None` for words that are none.
    #[inline(always)]
    pub fn from_words([enforced, all]: [u64; 2]) -> Option<Self> {
        Some(Self {
            enforced: Outcome::from_word(enforced)?,
            all: Outcome::from_word(all & !(1 << AUDITED_BIT))?,
            is_audited: all >> AUDITED_BIT & 1 == 1,
        })
    }
}

/// The highest bit of a word in which [`Outcome::to_word`] uses the lowest 56.
const AUDITED_BIT: u32 = 63;

impl Outcome {
    #[inline(always)]
    const fn to_word(self) -> u64 {
        self.rule as u64
            | (self.verdict as u64) << 32
            | (self.origin as u64) << 40
            | (self.reason as u64) << 48
    }

    #[inline(always)]
    fn from_word(word: u64) -> Option<Self> {
        let [a, b, c, d, verdict, origin, reason, 0] = word.to_le_bytes() else { return None };
        Some(Self {
            verdict: Verdict::try_from(verdict).ok()?,
            origin: Origin::try_from(origin).ok()?,
            rule: u32::from_le_bytes([a, b, c, d]),
            reason: DropReason::try_from(reason).ok()?,
        })
    }

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
/// Steps 4 to 7 are taken without the rule sets in audit and, if there are some, again with them; a
/// subject in audit passes whatever they say. A row that the tables name and do not have denies.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, question: &Question) -> Decision {
    let peer = &question.peer;
    let is_egress = matches!(question.direction, Direction::Egress);
    if peer.workload == question.subject || (is_egress && peer.is_loopback && peer.workload == 0) {
        return Decision::plain(Outcome::allow(Origin::Itself, 0));
    }
    if !is_egress && peer.is_host {
        return Decision::plain(Outcome::allow(Origin::Host, 0));
    }
    let set = if is_egress { question.slot.egress_set } else { question.slot.ingress_set };
    if set == 0 {
        return Decision::plain(Outcome::allow(Origin::Open, 0));
    }
    let mut enforced = Outcome::allow(Origin::Open, 0);
    let saw_audit = pass(tables, question, false, &mut enforced);
    let mut all = enforced;
    if saw_audit {
        pass(tables, question, true, &mut all);
    }
    let is_denied = matches!(all.verdict, Verdict::Deny);
    if question.slot.flags & WorkloadSlot::AUDIT != 0 || tables.audit_all() {
        if matches!(enforced.verdict, Verdict::Deny) {
            enforced = Outcome::allow(Origin::Audit, 0);
        }
        return Decision { enforced, all, is_audited: is_denied };
    }
    let is_audited = is_denied != matches!(enforced.verdict, Verdict::Deny);
    Decision { enforced, all, is_audited }
}

/// Steps 4 to 7, without the rule sets in audit or with them. True: some were left out. Never
/// inlined: its state is the largest frame of a kernel program.
#[inline(never)]
fn pass<T: Tables>(tables: &T, question: &Question, with_audit: bool, outcome: &mut Outcome) -> bool {
    let is_egress = matches!(question.direction, Direction::Egress);
    let (set, destination) = if is_egress {
        (question.slot.egress_set, question.peer.workload)
    } else {
        (question.slot.ingress_set, question.subject)
    };
    let (Some(set_row), Some(peer_row)) =
        (tables.policy_set(set, 0), tables.peer_list(question.peer.peer_list, 0))
    else {
        *outcome = Outcome::deny(Origin::None, 0, DropReason::TornTables);
        return false;
    };
    let port =
        PortKey { workload: destination, port: question.port, protocol: question.protocol, reserved: 0 };
    let mut walk = Walk::new(*tables, (set, set_row), (question.peer.peer_list, peer_row), port, with_audit);
    *outcome = walk.run();
    walk.saw_audit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_survives_its_words() {
        for &verdict in Verdict::ALL {
            for &origin in Origin::ALL {
                for &reason in DropReason::ALL {
                    let enforced = Outcome { verdict, origin, rule: u32::MAX - 1, reason };
                    for all in [enforced, Outcome::allow(Origin::Open, 0)] {
                        for is_audited in [false, true] {
                            let decision = Decision { enforced, all, is_audited };
                            assert_eq!(Decision::from_words(decision.to_words()), Some(decision));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn words_with_unknown_codes_are_no_decision() {
        let words = Decision::plain(Outcome::allow(Origin::Open, 0)).to_words();
        for (word, bit) in [(0, 39), (0, 47), (0, 55), (0, 56), (0, 63), (1, 39), (1, 47), (1, 62)] {
            let mut broken = words;
            broken[word] |= 1 << bit;
            assert_eq!(Decision::from_words(broken), None, "word {word}, bit {bit}");
        }
    }
}
