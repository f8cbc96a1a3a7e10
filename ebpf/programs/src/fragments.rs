//! Fragments of packets: a later one follows the verdict of its first.

use windrose_abi::{DropReason, FragmentKey};
use windrose_engine::Packet;

use crate::case::{self, Case};
use crate::maps;
use crate::skb::{PASS, drop_because};

/// A later fragment follows the verdict of its first. Only a raw socket sends fragments through
/// this hook: it sees packets before fragmentation and after reassembly.
#[inline(never)]
pub(crate) fn later(case: &Case, parsed: &Packet) -> i32 {
    if case::is_open(&case.question.slot, case.question.direction) {
        return PASS;
    }
    if let Some(allowed) = maps::FRAGMENTS.get_ptr(key_of(parsed)) {
        // SAFETY: a live entry; the word is written whole.
        if unsafe { *allowed } == case.tables.generation {
            return PASS;
        }
    }
    drop_because(case.question.subject, case.question.direction, DropReason::Fragment)
}

/// Remembers that a first fragment was allowed.
#[inline(never)]
pub(crate) fn remember(case: &Case, parsed: &Packet) {
    let _ = maps::FRAGMENTS.insert(key_of(parsed), case.tables.generation, 0);
}

#[inline(always)]
fn key_of(parsed: &Packet) -> FragmentKey {
    FragmentKey {
        source: parsed.source,
        destination: parsed.destination,
        id: parsed.fragment_id,
        protocol: u32::from(parsed.protocol),
    }
}
