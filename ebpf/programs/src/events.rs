//! Events into the ring buffer; one that finds no room is counted.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_query};
use windrose_abi::{ConnectionRow, DropReason, Event, EventKind, RefusalKey, Verdict};
use windrose_engine::Outcome;

use crate::account::{self, Count};
use crate::case::{Case, Scene};
use crate::{maps, memory};

/// Bytes of events that may wait when a repetition is reported: the agent reads every 10 ms, and
/// when it is dead the room is for what is new.
const MOST_WAITING_BYTES: u64 = 65_536;

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// Reserves an event, lets `fill` write it, and submits it.
#[inline(always)]
fn emit(fill: impl FnOnce(*mut Event)) {
    match maps::EVENTS.reserve(0) {
        Some(mut entry) => {
            let event = entry.as_mut_ptr();
            memory::clear(event);
            fill(event);
            // Waking the reader costs several microseconds an event, on the processor of the packet;
            // the reader looks by itself every few milliseconds.
            entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => account::count(Count::LostEvents),
    }
}

/// Counts and reports a refusal; `kind` is refused, or audited if it only would have been.
#[inline(never)]
pub(crate) fn refused(kind: EventKind, case: &Case, scene: &Scene, outcome: &Outcome) {
    count(matches!(kind, EventKind::Audited), case, outcome);
    emit_attempt(kind, case, scene, outcome);
}

#[inline(never)]
fn count(is_audited: bool, case: &Case, outcome: &Outcome) {
    account::refusal(&RefusalKey {
        workload: case.question.subject,
        peer_workload: case.question.peer.workload,
        rule: outcome.rule,
        direction: case.question.direction as u8,
        reason: outcome.reason as u8,
        audited: u8::from(is_audited),
        protocol: case.question.protocol,
    });
}

/// Reports a packet that is to be answered and is no new attempt. Such messages give way to those
/// about new ones: none is written while others wait to be read.
#[inline(never)]
pub(crate) fn unanswered(case: &Case, scene: &Scene) {
    let ring = core::ptr::from_ref(&maps::EVENTS).cast_mut().cast();
    // SAFETY: the helper takes the map.
    let waiting_bytes = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    if waiting_bytes < MOST_WAITING_BYTES {
        emit_attempt(EventKind::Unanswered, case, scene, &case.decision.enforced);
    }
}

#[inline(always)]
fn emit_attempt(kind: EventKind, case: &Case, scene: &Scene, outcome: &Outcome) {
    emit(|event| {
        // SAFETY: `emit` passes a live event.
        let event = unsafe { &mut *event };
        event.time_ns = now();
        event.generation = case.tables.generation;
        event.cookie = scene.cookie;
        event.netns = scene.netns;
        event.local = scene.local;
        event.peer = scene.peer;
        event.local_port = scene.local_port;
        event.peer_port = scene.peer_port;
        event.workload = case.question.subject;
        event.identity = case.question.slot.identity;
        event.peer_workload = case.question.peer.workload;
        event.peer_identity = case.question.peer.identity;
        event.rule = outcome.rule;
        event.kind = kind as u8;
        event.verdict = outcome.verdict as u8;
        event.reason = outcome.reason as u8;
        event.direction = case.question.direction as u8;
        event.origin = outcome.origin as u8;
        event.protocol = case.question.protocol;
        event.interface = scene.interface as u16;
        event.transport_word = scene.transport_word;
    });
}

/// Reports what a connection's row says.
#[inline(never)]
pub(crate) fn connection(kind: EventKind, row: &ConnectionRow, reason: DropReason) {
    emit(|event| {
        // SAFETY: as above.
        let event = unsafe { &mut *event };
        event.time_ns = now();
        event.generation = row.generation();
        event.cookie = row.cookie;
        event.netns = row.netns;
        event.bytes_sent = row.bytes_sent;
        event.bytes_received = row.bytes_received;
        if !matches!(kind, EventKind::Opened) && row.start_ns != 0 {
            event.lifetime_ns = event.time_ns.saturating_sub(row.start_ns);
        }
        event.local = row.local;
        event.peer = row.peer;
        event.local_port = row.local_port;
        event.peer_port = row.peer_port;
        event.workload = row.workload;
        event.identity = row.identity;
        event.peer_workload = row.peer_workload;
        event.peer_identity = row.peer_identity;
        event.rule = row.rule;
        event.srtt_us = row.srtt_us;
        event.kind = kind as u8;
        event.verdict = row.verdict() as u8;
        event.reason = reason as u8;
        event.direction = row.direction;
        event.origin = row.origin;
        event.protocol = 6;
    });
}

/// Reports a flow without a connection.
#[inline(never)]
pub(crate) fn flow(
    kind: EventKind,
    key: &windrose_abi::FlowKey,
    row: &windrose_abi::FlowRow,
    reason: DropReason,
) {
    emit(|event| {
        // SAFETY: as above.
        let event = unsafe { &mut *event };
        event.time_ns = now();
        event.generation = row.generation;
        event.cookie = row.cookie;
        event.bytes_sent = row.bytes_sent;
        event.bytes_received = row.bytes_received;
        if !matches!(kind, EventKind::Opened) {
            event.lifetime_ns = row.active_ns.saturating_sub(row.start_ns);
        }
        event.local = row.local;
        event.peer = key.peer;
        event.local_port = key.local_port;
        event.peer_port = key.peer_port;
        event.workload = key.workload;
        event.identity = row.identity;
        event.peer_workload = row.peer_workload;
        event.peer_identity = row.peer_identity;
        event.rule = row.rule;
        event.kind = kind as u8;
        event.verdict = if matches!(reason, DropReason::None) { row.verdict } else { Verdict::Deny as u8 };
        event.reason = reason as u8;
        event.direction = row.direction;
        event.origin = row.origin;
        event.protocol = key.protocol as u8;
    });
}
