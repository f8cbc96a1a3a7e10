//! Events into the ring buffer; one that finds no room is counted.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use windrose_abi::{ConnectionRow, DropReason, Event, EventKind, RefusalKey, Verdict};
use windrose_engine::Outcome;

use crate::account::{self, Count};
use crate::{maps, memory};

/// Who and what a refusal concerns.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) local: windrose_abi::Address,
    pub(crate) peer: windrose_abi::Address,
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) workload: u32,
    pub(crate) identity: u32,
    pub(crate) peer_workload: u32,
    pub(crate) peer_identity: u32,
    pub(crate) direction: u8,
    pub(crate) protocol: u8,
    pub(crate) generation: u64,
    pub(crate) cookie: u64,
    pub(crate) netns: u64,
}

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
pub(crate) fn refused(kind: EventKind, attempt: &Attempt, outcome: &Outcome) {
    let audited = matches!(kind, EventKind::Audited);
    account::refusal(&RefusalKey {
        workload: attempt.workload,
        peer_workload: attempt.peer_workload,
        rule: outcome.rule,
        direction: attempt.direction,
        reason: outcome.reason as u8,
        audited: u8::from(audited),
        protocol: attempt.protocol,
    });
    emit(|event| {
        // SAFETY: `emit` passes a live event.
        let event = unsafe { &mut *event };
        event.time_ns = now();
        event.generation = attempt.generation;
        event.cookie = attempt.cookie;
        event.netns = attempt.netns;
        event.local = attempt.local;
        event.peer = attempt.peer;
        event.local_port = attempt.local_port;
        event.peer_port = attempt.peer_port;
        event.workload = attempt.workload;
        event.identity = attempt.identity;
        event.peer_workload = attempt.peer_workload;
        event.peer_identity = attempt.peer_identity;
        event.rule = outcome.rule;
        event.kind = kind as u8;
        event.verdict = outcome.verdict as u8;
        event.reason = outcome.reason as u8;
        event.direction = attempt.direction;
        event.origin = outcome.origin as u8;
        event.protocol = attempt.protocol;
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
