//! Counters: of refusals, of edges, and of what no key names.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use windrose_abi::{DropReason, EdgeKey, EdgeRow, RefusalKey};
use windrose_engine::histogram::bucket;

use crate::case::Case;
use crate::maps;

/// Index into `COUNTS`.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Events that found no room in the ring buffer.
    LostEvents = 0,
    /// Refusals that found no room for their key.
    UnnamedRefusals = 1,
    /// Edges that found no room, not even without their port.
    UnnamedEdges = 2,
    /// Packets dropped, repetitions of a refused attempt among them.
    DroppedPackets = 3,
    /// Connections whose row could not be allocated.
    NoConnectionRow = 4,
    /// Connections to services that were refused because the kernel had no memory for their row.
    NoBalancedRow = 5,
    /// Loads of endpoints and totals of services that found no room.
    UncountedLoads = 6,
}

#[inline(always)]
pub(crate) fn add(counter: *mut u64, amount: u64) {
    // The target has no compare-and-swap before BPF v3, so that core leaves `fetch_add` out.
    // SAFETY: the callers pass aligned fields of live map entries.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

#[inline(always)]
pub(crate) fn count(what: Count) {
    if let Some(counter) = maps::COUNTS.get_ptr_mut(what as u32) {
        add(counter, 1);
    }
}

/// Counts one refusal (or audited would-be refusal).
#[inline(always)]
pub(crate) fn refusal(key: &RefusalKey) {
    if let Some(counter) = maps::REFUSALS.get_ptr_mut(key) {
        add(counter, 1);
        return;
    }
    // Another processor may insert between the two calls: then the second look finds its entry.
    if maps::REFUSALS.insert(key, &1, 1).is_err() {
        match maps::REFUSALS.get_ptr_mut(key) {
            Some(counter) => add(counter, 1),
            None => count(Count::UnnamedRefusals),
        }
    }
}

/// Counts a refusal for want of room.
#[inline(never)]
pub(crate) fn no_room(case: &Case) {
    count(Count::DroppedPackets);
    refusal(&RefusalKey {
        workload: case.question.subject,
        peer_workload: case.question.peer.workload,
        rule: 0,
        direction: case.question.direction as u8,
        reason: DropReason::NoRoom as u8,
        audited: 0,
        protocol: case.question.protocol,
    });
}

/// The totals of an edge, made when absent; without its port when there is no room.
#[inline(always)]
pub(crate) fn edge(mut key: EdgeKey) -> Option<*mut EdgeRow> {
    if let Some(row) = maps::EDGES.get_ptr_mut(&key) {
        return Some(row);
    }
    // SAFETY: see `zero_edge`.
    let zero = zero_edge();
    let _ = maps::EDGES.insert(&key, zero, 1);
    if let Some(row) = maps::EDGES.get_ptr_mut(&key) {
        return Some(row);
    }
    key.port = 0;
    let _ = maps::EDGES.insert(&key, zero, 1);
    let row = maps::EDGES.get_ptr_mut(&key);
    if row.is_none() {
        count(Count::UnnamedEdges);
    }
    row
}

/// A zero row in read-only data: it is larger than a program's stack.
static ZERO_EDGE: EdgeRow = EdgeRow::ZERO;

#[inline(always)]
fn zero_edge() -> &'static EdgeRow {
    &ZERO_EDGE
}

/// Adds a sample to the round-trip histogram.
#[inline(always)]
pub(crate) fn rtt(row: *mut EdgeRow, srtt_us: u32) {
    if srtt_us == 0 {
        return;
    }
    // SAFETY: `row` is a live entry and the bucket is below its bound.
    unsafe {
        add(&raw mut (*row).rtt[bucket(u64::from(srtt_us))], 1);
        add(&raw mut (*row).rtt_sum_us, u64::from(srtt_us));
    }
}

/// Adds a sample to the lifetime histogram.
#[inline(always)]
pub(crate) fn lifetime(row: *mut EdgeRow, lifetime_ns: u64) {
    let lifetime_ms = lifetime_ns / 1_000_000;
    // SAFETY: as above.
    unsafe {
        add(&raw mut (*row).lifetime[bucket(lifetime_ms)], 1);
        add(&raw mut (*row).lifetime_sum_ms, lifetime_ms);
    }
}
