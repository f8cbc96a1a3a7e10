//! Rows kept with TCP sockets.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use core::ffi::c_void;
use windrose_abi::{ConnectionRow, Direction, EdgeKey, codes::protocol};

use crate::account::{self, Count};
use crate::maps;

const CREATE: u64 = 1; // BPF_SK_STORAGE_GET_F_CREATE

fn map() -> *mut c_void {
    core::ptr::from_ref(&maps::CONNECTIONS).cast_mut().cast()
}

/// The row of a socket, if it has one.
#[inline(always)]
pub(crate) fn get(sk: *mut bpf_sock) -> Option<*mut ConnectionRow> {
    // SAFETY: `sk` comes from this program's context and is not null (the callers check).
    let row = unsafe { bpf_sk_storage_get(map(), sk.cast(), core::ptr::null_mut(), 0) };
    (!row.is_null()).then_some(row.cast())
}

/// The row of a socket, zeroed if it is new. `None` is counted: the kernel had no memory.
#[inline(always)]
pub(crate) fn get_or_create(sk: *mut bpf_sock) -> Option<*mut ConnectionRow> {
    // SAFETY: as above.
    let row = unsafe { bpf_sk_storage_get(map(), sk.cast(), core::ptr::null_mut(), CREATE) };
    if row.is_null() {
        account::count(Count::NoConnectionRow);
        return None;
    }
    Some(row.cast())
}

/// The edge that a connection counts for.
#[inline(always)]
pub(crate) fn edge_key(row: &ConnectionRow) -> EdgeKey {
    let opened_here = row.direction == Direction::Egress as u8;
    EdgeKey {
        source: if opened_here { row.workload } else { row.peer_workload },
        destination: if opened_here { row.peer_workload } else { row.workload },
        port: if opened_here { row.peer_port } else { row.local_port },
        protocol: protocol::TCP,
        direction: row.direction,
    }
}
