//! The walk over all connections: the kernel's own counters into the rows, the rows to userspace.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_seq_write, bpf_skc_to_tcp_sock};
use core::ffi::c_void;
use windrose_abi::{ConnectionRow, Offsets, Phase};

use crate::{account, case, connections, events, tables};

/// Bit of `sk_flags` that `tcp_fin` alone sets.
const SOCK_DONE: u32 = 1;

/// Set by the loader from the running kernel's BTF.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// Offsets as the loader set them: a volatile read, or the compiler would use the zeros above.
#[inline(always)]
pub(crate) fn offset(of: impl Fn(&Offsets) -> *const u32) -> u32 {
    // SAFETY: the pointer is into a live static.
    unsafe { core::ptr::read_volatile(of(&OFFSETS)) }
}

#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: *const c_void, offset: u32) -> T {
    let mut value = T::default();
    // SAFETY: `value` has room for its own size; a bad address leaves it as it is.
    unsafe {
        bpf_probe_read_kernel(
            core::ptr::from_mut(&mut value).cast(),
            size_of::<T>() as u32,
            base.byte_add(offset as usize),
        )
    };
    value
}

/// Reads the kernel's counters of a TCP socket into its row. The kernel counts segments in 32
/// bits; the row extends them, which is exact as long as less than 2^32 pass between two walks.
#[inline(always)]
pub(crate) fn refresh(sk: *mut c_void, row: &mut ConnectionRow) {
    // SAFETY: the callers pass a socket from their context; the helper answers null for another
    // kind of socket.
    let tcp: *const c_void = unsafe { bpf_skc_to_tcp_sock(sk) }.cast_const().cast();
    if tcp.is_null() {
        return;
    }
    macro_rules! field {
        ($name:ident, $type:ty) => {
            // SAFETY: a load from a kernel object at an offset that its BTF gives; the kernel
            // answers 0 if the object is gone. The verifier checks offset and width.
            unsafe { tcp.byte_add(offset(|o| &raw const o.$name) as usize).cast::<$type>().read_volatile() }
        };
    }
    row.bytes_sent = field!(bytes_sent, u64).wrapping_sub(field!(bytes_retrans, u64));
    // The kernel counts a received FIN as a byte (`tcp_rcv_nxt_update` in net/ipv4/tcp_input.c).
    let fin = (field!(flags, u64) >> SOCK_DONE) & 1;
    row.bytes_received = field!(bytes_received, u64).saturating_sub(fin);
    let segments_out = field!(segs_out, u32);
    let segments_in = field!(segs_in, u32);
    if segments_out != row.last_segments_out || segments_in != row.last_segments_in {
        row.active_ns = events::now();
    }
    row.segments_sent += u64::from(segments_out.wrapping_sub(row.last_segments_out));
    row.segments_received += u64::from(segments_in.wrapping_sub(row.last_segments_in));
    row.last_segments_out = segments_out;
    row.last_segments_in = segments_in;
    row.srtt_us = field!(srtt_us, u32) >> 3;
    row.min_rtt_us = field!(rtt_min, u32);
    row.retransmits = field!(total_retrans, u32);
    row.tcp_state = u32::from(field!(state, u8));
}

/// `struct bpf_iter__bpf_sk_storage_map`.
#[repr(C)]
struct WalkContext {
    meta: *mut *mut c_void,
    map: *mut c_void,
    sk: *mut c_void,
    value: *mut ConnectionRow,
}

/// Over every socket that has a row, in every network namespace: decides it under the policy in
/// force, refreshes the row, samples its round-trip time, writes it out.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub fn walk_connections(ctx: *mut c_void) -> i32 {
    let ctx = ctx.cast::<WalkContext>();
    // SAFETY: the kernel passes a live context; the pointers in it may be null at the end.
    let (sk, value, meta) = unsafe { ((*ctx).sk, (*ctx).value, (*ctx).meta) };
    if sk.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: the row lives while the walk is at it.
    let row = unsafe { &mut *value };
    if row.phase != Phase::Open as u8 && row.phase != Phase::Opening as u8 {
        return 0;
    }
    if let Some((tables, _)) = tables::current()
        && row.generation() != tables.generation
    {
        case::decide_again(row, &tables);
    }
    refresh(sk, row);
    if let Some(edge) = account::edge(connections::edge_key(row)) {
        account::rtt(edge, row.srtt_us);
    }
    // SAFETY: the first word of the metadata is the file being written.
    unsafe {
        let seq = *meta;
        bpf_seq_write(seq.cast(), value.cast::<c_void>(), size_of::<ConnectionRow>() as u32);
    }
    0
}
