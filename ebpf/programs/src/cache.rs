//! Decisions that were made a moment ago on this processor. A decision depends on the question's few
//! words and on the policy's generation alone, so a new policy makes every entry stale by itself.
//!
//! A process that connects can be interrupted, in the middle of reading or writing an entry, by a
//! packet or by another process: an entry is used as copied, and only if its check fits.

use windrose_abi::state::DECISIONS;
use windrose_abi::{CachedDecision, DropReason, Lookup};
use windrose_engine::Decision;

use crate::case::Case;
use crate::{maps, profile};

/// Odd, with its bits well spread (the golden ratio's).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn mix(sum: u64, word: u64) -> u64 {
    let sum = (sum ^ word).wrapping_mul(SPREAD);
    sum ^ sum >> 29
}

/// All that a decision depends on.
#[inline(always)]
fn question_of(case: &Case) -> [u64; 3] {
    let question = &case.question;
    let peer = &question.peer;
    [
        case.tables.generation,
        u64::from(question.subject) | u64::from(peer.peer_list) << 32,
        u64::from(peer.workload)
            | u64::from(question.port) << 32
            | u64::from(question.protocol) << 48
            | (question.direction as u64) << 56
            | u64::from(peer.is_host) << 57
            | u64::from(peer.is_loopback) << 58,
    ]
}

#[inline(always)]
const fn sum_of(question: [u64; 3]) -> u64 {
    mix(mix(mix(SPREAD, question[0]), question[1]), question[2])
}

#[inline(always)]
fn entry(sum: u64) -> Option<*mut CachedDecision> {
    maps::DECISIONS.get_ptr_mut((sum >> 32) as u32 & (DECISIONS - 1))
}

/// Answers the case's question if the answer is known.
#[inline(never)]
pub(crate) fn recall(case: &mut Case) -> bool {
    let question = question_of(case);
    let sum = sum_of(question);
    let Some(entry) = entry(sum) else { return false };
    // SAFETY: entries of an array live as long as the map; volatile, as it may change meanwhile.
    let seen = profile::look_up(&case.tables.flags, Lookup::Decision, || unsafe { entry.read_volatile() });
    if seen.question[0] != question[0]
        || seen.question[1] != question[1]
        || seen.question[2] != question[2]
        || seen.check != mix(mix(sum, seen.decision[0]), seen.decision[1])
    {
        return false;
    }
    let Some(decision) = Decision::from_words(seen.decision) else { return false };
    case.decision = decision;
    true
}

/// Keeps the case's decision.
#[inline(never)]
pub(crate) fn remember(case: &Case) {
    if matches!(case.decision.enforced.reason, DropReason::TornTables) {
        return;
    }
    let question = question_of(case);
    let sum = sum_of(question);
    let decision = case.decision.to_words();
    let check = mix(mix(sum, decision[0]), decision[1]);
    if let Some(entry) = entry(sum) {
        // SAFETY: as above.
        unsafe { entry.write_volatile(CachedDecision { question, decision, check }) };
    }
}
