//! What was decided of a SYN, kept until its handshake ends: mostly a round trip later and on the
//! same processor. Where it is not found the connection is decided anew.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use windrose_abi::state::SYNS;
use windrose_abi::{ConnectionRow, SynRow, decision};
use windrose_engine::Packet;

use crate::case::{Case, set_decision};
use crate::maps;
use crate::tables::KernelTables;

#[inline(always)]
fn row_of(peer_port: u16) -> Option<*mut SynRow> {
    maps::SYNS.get_ptr_mut(u32::from(peer_port & (SYNS - 1)))
}

/// Whether a row that another SYN may be about to replace is still whole: a handshake can end in a
/// process, which a soft interrupt of the same processor interrupts.
#[inline(always)]
fn decision_of(syn: *const SynRow) -> u64 {
    // SAFETY: entries of an array live as long as the map.
    unsafe { (&raw const (*syn).decision).read_volatile() }
}

/// Keeps the decision of an allowed SYN.
#[inline(always)]
pub(crate) fn remember(skb: *mut __sk_buff, case: &Case, parsed: &Packet) {
    let Some(row) = row_of(parsed.source_port) else { return };
    // SAFETY: as above; only soft interrupts of this processor write it, one after the other.
    unsafe {
        (&raw mut (*row).decision).write_volatile(0);
        (*row).netns = bpf_get_netns_cookie(skb.cast());
        (*row).peer = parsed.source;
        (*row).workload = case.question.subject;
        (*row).peer_workload = case.question.peer.workload;
        (*row).identity = case.question.slot.identity;
        (*row).peer_identity = case.question.peer.identity;
        (*row).rule = case.decision.enforced.rule;
        (*row).flags = case.flags();
        (*row).peer_port = parsed.source_port;
        (*row).local_port = parsed.destination_port;
        (*row).origin = case.decision.enforced.origin as u8;
        let word = decision(case.tables.generation, case.decision.enforced.verdict);
        (&raw mut (*row).decision).write_volatile(word);
    }
}

/// Takes over the decision of the connection's SYN, if it is there and of the policy in force.
#[inline(never)]
pub(crate) fn recall(row: &mut ConnectionRow, tables: &KernelTables) -> bool {
    let Some(syn) = row_of(row.peer_port) else { return false };
    let word = decision_of(syn);
    // SAFETY: as above.
    let seen = unsafe { &*syn };
    if word >> 1 != tables.generation
        || seen.workload != row.workload
        || seen.peer_port != row.peer_port
        || seen.local_port != row.local_port
        || seen.peer != row.peer
        || seen.netns != row.netns
    {
        return false;
    }
    row.peer_workload = seen.peer_workload;
    row.identity = seen.identity;
    row.peer_identity = seen.peer_identity;
    row.rule = seen.rule;
    row.flags = row.flags & !(ConnectionRow::AUDITED | ConnectionRow::BY_SOCKET) | seen.flags;
    row.origin = seen.origin;
    if decision_of(syn) != word || seen.peer_port != row.peer_port {
        return false;
    }
    set_decision(row, word);
    true
}
