//! Sockets that a service has given an endpoint: what they remember, and what is counted of them.

use aya_ebpf::bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock, bpf_sock_ops};
use aya_ebpf::helpers::generated::{bpf_seq_write, bpf_sk_storage_get, bpf_sock_ops_cb_flags_set};
use core::ffi::c_void;
use windrose_abi::codes::protocol;
use windrose_abi::{BalancedRow, EndpointLoad, EndpointSlot, ServiceKey, ServiceSlot, ServiceTotals};
use windrose_engine::Services as _;

use crate::account::{self, Count};
use crate::services::Asked;
use crate::tables::KernelTables;
use crate::{adopt, maps, tables};

const CREATE: u64 = 1; // BPF_SK_STORAGE_GET_F_CREATE

fn map() -> *mut c_void {
    core::ptr::from_ref(&maps::BALANCED).cast_mut().cast()
}

/// The row of a socket, if it has one.
#[inline(always)]
pub(crate) fn get(sk: *mut bpf_sock) -> Option<&'static mut BalancedRow> {
    // SAFETY: `sk` comes from this program's context and is not null (the callers check).
    let row = unsafe { bpf_sk_storage_get(map(), sk.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: the row lives as long as the socket, which the hooks' callers hold locked.
    unsafe { row.cast::<BalancedRow>().as_mut() }
}

/// The row of a socket, zeroed if it is new. `None` is counted: the kernel had no memory.
#[inline(always)]
pub(crate) fn get_or_create(sk: *mut bpf_sock) -> Option<&'static mut BalancedRow> {
    // SAFETY: as above.
    let row = unsafe { bpf_sk_storage_get(map(), sk.cast(), core::ptr::null_mut(), CREATE) };
    if row.is_null() {
        account::count(Count::NoBalancedRow);
    }
    // SAFETY: as above.
    unsafe { row.cast::<BalancedRow>().as_mut() }
}

/// Writes what a service has given to a socket into its row.
#[inline(always)]
pub(crate) fn write(row: &mut BalancedRow, asked: &Asked, endpoint: u32, slot: &EndpointSlot, flags: u8) {
    // A connection whose end was not seen, if there was one.
    discount(row);
    row.service_address = asked.key.address;
    row.service_port = asked.key.port;
    row.protocol = asked.key.protocol;
    row.service = asked.slot.service;
    row.endpoint_address = slot.address;
    row.endpoint_port = slot.port;
    row.endpoint = endpoint;
    row.flags = row.flags & BalancedRow::MORE | flags;
}

/// The socket connects to what is no service.
#[inline(always)]
pub(crate) fn forget(sk: *mut bpf_sock) {
    if let Some(row) = get(sk) {
        discount(row);
        row.service = 0;
        row.flags &= BalancedRow::MORE;
    }
}

/// Live connections of an endpoint.
#[inline(always)]
pub(crate) fn live(endpoint: u32) -> u64 {
    let Some(load) = maps::ENDPOINT_LOADS.get_ptr(endpoint) else { return 0 };
    // SAFETY: a live entry; the word is read whole.
    let live = unsafe { core::ptr::read_volatile(&raw const (*load).live) };
    if live < 0 { 0 } else { live as u64 }
}

/// The load of an endpoint, made when absent. `None` is counted: there is no room.
#[inline(always)]
fn load(endpoint: u32) -> Option<*mut EndpointLoad> {
    if let Some(load) = maps::ENDPOINT_LOADS.get_ptr_mut(endpoint) {
        return Some(load);
    }
    // Another processor may insert between the two calls: then the second look finds its entry.
    let _ = maps::ENDPOINT_LOADS.insert(endpoint, EndpointLoad::ZERO, 1);
    let load = maps::ENDPOINT_LOADS.get_ptr_mut(endpoint);
    if load.is_none() {
        account::count(Count::UncountedLoads);
    }
    load
}

#[inline(always)]
fn totals(service: u32) -> Option<*mut ServiceTotals> {
    if let Some(totals) = maps::SERVICE_TOTALS.get_ptr_mut(service) {
        return Some(totals);
    }
    let _ = maps::SERVICE_TOTALS.insert(service, ServiceTotals::ZERO, 1);
    let totals = maps::SERVICE_TOTALS.get_ptr_mut(service);
    if totals.is_none() {
        account::count(Count::UncountedLoads);
    }
    totals
}

/// Counts an endpoint that was given.
#[inline(never)]
pub(crate) fn count(service: u32, endpoint: u32) {
    if let Some(totals) = totals(service) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*totals).connections }, 1);
    }
    if let Some(load) = load(endpoint) {
        // SAFETY: as above.
        account::add(unsafe { &raw mut (*load).connections }, 1);
    }
}

/// Counts a connection for which there was no endpoint.
#[inline(never)]
pub(crate) fn count_refused(service: u32) {
    if let Some(totals) = totals(service) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*totals).refused }, 1);
    }
}

/// One live connection less, if the row is one.
#[inline(always)]
fn discount(row: &mut BalancedRow) {
    if row.flags & BalancedRow::COUNTED == 0 {
        return;
    }
    row.flags &= !BalancedRow::COUNTED;
    if let Some(load) = maps::ENDPOINT_LOADS.get_ptr_mut(row.endpoint) {
        // SAFETY: a live entry.
        account::add(unsafe { (&raw mut (*load).live).cast() }, u64::MAX);
    }
}

/// A TCP connection sends its SYN: from now on its end is seen, and it counts as live.
#[inline(never)]
pub(crate) fn opening(ops: *mut bpf_sock_ops, sk: *mut bpf_sock) {
    let Some(row) = get(sk) else { return };
    if row.service == 0 || row.flags & BalancedRow::COUNTED != 0 {
        return;
    }
    // SAFETY: the helper takes this program's context.
    unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
    if let Some(load) = load(row.endpoint) {
        // SAFETY: a live entry.
        account::add(unsafe { (&raw mut (*load).live).cast() }, 1);
        row.flags |= BalancedRow::COUNTED;
    }
}

/// A TCP connection is over, established or not.
#[inline(never)]
pub(crate) fn closed(sk: *mut bpf_sock) {
    let Some(row) = get(sk) else { return };
    discount(row);
    count_end(row);
    row.flags &= !BalancedRow::CONNECTED;
}

/// Counts a connection that was ended with its endpoint.
#[inline(always)]
fn count_end(row: &mut BalancedRow) {
    if row.flags & BalancedRow::DEPARTED == 0 {
        return;
    }
    row.flags &= !BalancedRow::DEPARTED;
    if let Some(totals) = totals(row.service) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*totals).ended }, 1);
    }
}

/// `struct bpf_iter__bpf_sk_storage_map`.
#[repr(C)]
struct WalkContext {
    meta: *mut *mut c_void,
    map: *mut c_void,
    sk: *mut c_void,
    value: *mut BalancedRow,
}

/// Over every socket that a service has connected and that is not closed, in every network
/// namespace: marks those whose endpoint is gone, writes the row out.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub fn walk_balanced(ctx: *mut c_void) -> i32 {
    let ctx = ctx.cast::<WalkContext>();
    // SAFETY: the kernel passes a live context; the pointers in it may be null at the end.
    let (sk, value, meta) = unsafe { ((*ctx).sk, (*ctx).value, (*ctx).meta) };
    if sk.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: the row lives while the walk is at it.
    let row = unsafe { &mut *value };
    if row.service == 0 || row.flags & BalancedRow::CONNECTED == 0 {
        return 0;
    }
    if adopt::locate(sk, row) == 0 {
        // A socket of UDP that was disconnected, by itself or by an earlier walk.
        if row.protocol != protocol::TCP {
            row.flags &= !BalancedRow::CONNECTED;
            count_end(row);
        }
        return 0;
    }
    if let Some((tables, _)) = tables::current()
        && has_departed(&tables, row)
    {
        row.flags |= BalancedRow::DEPARTED;
    }
    // SAFETY: the first word of the metadata is the file being written.
    unsafe {
        let seq = *meta;
        bpf_seq_write(seq.cast(), value.cast::<c_void>(), size_of::<BalancedRow>() as u32);
    }
    0
}

/// Whether the endpoint is gone and the service ends connections to it.
#[inline(never)]
fn has_departed(tables: &KernelTables, row: &BalancedRow) -> bool {
    let key = ServiceKey {
        address: row.service_address,
        port: row.service_port,
        protocol: row.protocol,
        reserved: 0,
    };
    match tables.service(&key) {
        Some(slot) if slot.service == row.service && slot.flags & ServiceSlot::END != 0 => {
            tables.endpoint(row.endpoint).is_none()
        }
        _ => false,
    }
}
