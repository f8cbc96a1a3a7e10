//! The sweep of idle flows, on a kernel timer: it goes on without the agent.

use aya_ebpf::bindings::bpf_timer;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{
    bpf_for_each_map_elem, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start,
};
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use windrose_abi::{EventKind, FlowKey, FlowRow, OriginKey, OriginRow};

use crate::{events, flows, maps};

/// How often the table of flows is swept.
const PERIOD_NS: u64 = 5_000_000_000;
/// Longer than a SYN is repeated (127 s with the kernel's defaults).
const LENT_FOR_NS: u64 = 180_000_000_000;
const CLOCK_MONOTONIC: u64 = 1;

#[repr(C)]
pub(crate) struct Sweeper {
    timer: bpf_timer,
    /// 1 once the timer runs.
    is_armed: u32,
    reserved: u32,
}

#[btf_map]
static SWEEPER: Array<Sweeper, 1> = Array::new();

/// Starts the timer with the first flow that is remembered.
#[inline(never)]
pub(crate) fn arm() {
    let Some(sweeper) = SWEEPER.get_ptr_mut(0) else { return };
    // SAFETY: the entry of an array map; two processors may both see 0, and the kernel refuses the
    // second initialisation.
    unsafe {
        if (*sweeper).is_armed != 0 {
            return;
        }
        (*sweeper).is_armed = 1;
        let timer = &raw mut (*sweeper).timer;
        bpf_timer_init(timer, core::ptr::from_ref(&SWEEPER).cast_mut().cast(), CLOCK_MONOTONIC);
        bpf_timer_set_callback(timer, sweep as *mut c_void);
        bpf_timer_start(timer, PERIOD_NS, 0);
    }
}

extern "C" fn sweep(_map: *mut c_void, _key: *mut u32, sweeper: *mut Sweeper) -> i64 {
    // SAFETY: the kernel passes the entry that holds the timer; `visit` is called during this call.
    unsafe {
        bpf_for_each_map_elem(
            core::ptr::from_ref(&maps::FLOWS).cast_mut().cast(),
            visit as *mut c_void,
            core::ptr::null_mut(),
            0,
        );
        bpf_for_each_map_elem(
            core::ptr::from_ref(&maps::ORIGINS).cast_mut().cast(),
            visit_origin as *mut c_void,
            core::ptr::null_mut(),
            0,
        );
        bpf_timer_start(&raw mut (*sweeper).timer, PERIOD_NS, 0);
    }
    0
}

/// What was lent to a connection that was never established, or to a flow that is over.
extern "C" fn visit_origin(
    _map: *mut c_void,
    key: *const OriginKey,
    row: *mut OriginRow,
    _context: *mut c_void,
) -> i64 {
    // SAFETY: the kernel passes a live element.
    let (key, row) = unsafe { (&*key, &*row) };
    if events::now().saturating_sub(row.active_ns) > LENT_FOR_NS {
        let _ = maps::ORIGINS.remove(key);
    }
    0
}

extern "C" fn visit(_map: *mut c_void, key: *const FlowKey, row: *mut FlowRow, _context: *mut c_void) -> i64 {
    // SAFETY: the kernel passes a live element.
    let (key, row) = unsafe { (&*key, &*row) };
    let Some(idle_ns) = maps::CONTROL.get(0).map(|control| control.flow_idle_ns) else { return 0 };
    if idle_ns != 0 && events::now().saturating_sub(row.active_ns) > idle_ns {
        flows::end(key, row, EventKind::Closed);
        let _ = maps::FLOWS.remove(key);
    }
    0
}
