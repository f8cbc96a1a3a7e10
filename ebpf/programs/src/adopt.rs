//! TCP connections that are older than enforcement: taken under policy by a walk.

use aya_ebpf::bindings::BPF_SOCK_OPS_STATE_CB_FLAG;
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_seq_write, bpf_setsockopt, bpf_skc_to_tcp_sock,
};
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use windrose_abi::{Address, BalancedRow, ConnectionRow, Direction, DropReason, EventKind, Phase};

use crate::walk::{offset, read};
use crate::{account, case, connections, events, subject, tables};

const SOL_TCP: i32 = 6;
const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
const AF_INET: u16 = 2;
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const LISTEN: u8 = 10;
const FIRST_STATE_WITHOUT_SOCKET: u8 = 12; // TCP_NEW_SYN_RECV

/// Ports on which a workload listens, for the direction of its connections. Filled by the same
/// walk: the kernel walks listeners first (`bpf_iter_tcp_batch` in net/ipv4/tcp_ipv4.c).
#[btf_map]
static LISTENERS: HashMap<u64, u8, 65536, 1> = HashMap::new();

/// `struct bpf_iter__tcp`, as far as it is used.
#[repr(C)]
struct WalkContext {
    meta: *mut *mut c_void,
    sk_common: *mut c_void,
}

/// Over every TCP socket of one network namespace.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub fn adopt_connections(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel passes a live context; the socket may be null at the end.
    let sk = unsafe { (*ctx.cast::<WalkContext>()).sk_common };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: the helper answers null for time-wait and request sockets.
    if unsafe { bpf_skc_to_tcp_sock(sk) }.is_null() {
        return 0;
    }
    let state: u8 = read(sk, offset(|o| &raw const o.state));
    if state >= FIRST_STATE_WITHOUT_SOCKET {
        return 0;
    }
    let Some((tables, depths)) = tables::current() else { return 0 };
    let workload = find_owner(sk, &tables, depths);
    if workload == 0 {
        return 0;
    }
    let port: u16 = read(sk, offset(|o| &raw const o.local_port));
    let listener = u64::from(workload) << 16 | u64::from(port);
    if state == LISTEN {
        let _ = LISTENERS.insert(listener, 1, 0);
        return 0;
    }
    if connections::get(sk.cast()).is_some() {
        return 0;
    }
    let accepted = LISTENERS.get_ptr(listener).is_some();
    take(sk, workload, &tables, state, accepted);
    let one = 1_u64;
    // SAFETY: the first word of the metadata is the file being written.
    unsafe {
        let seq = *(*ctx.cast::<WalkContext>()).meta;
        bpf_seq_write(seq.cast(), (&raw const one).cast_mut().cast(), 8);
    }
    0
}

/// The workload of a socket, by the cgroup that the socket belongs to; 0 is none.
#[inline(never)]
fn find_owner(sk: *mut c_void, tables: &tables::KernelTables, depths: u64) -> u32 {
    let cgroup: usize = read(sk, offset(|o| &raw const o.sock_cgroup));
    let cgroup = cgroup as *const c_void;
    let own_level: i32 = read(cgroup, offset(|o| &raw const o.cgroup_level));
    subject::find(tables, depths, |level| {
        if level > own_level {
            return 0;
        }
        let ancestor: usize = read(cgroup, offset(|o| &raw const o.cgroup_ancestors) + 8 * level as u32);
        let node: usize = read(ancestor as *const c_void, offset(|o| &raw const o.cgroup_kn));
        read(node as *const c_void, offset(|o| &raw const o.kernfs_id))
    })
    .map_or(0, |subject| subject.workload)
}

#[inline(never)]
fn take(sk: *mut c_void, workload: u32, tables: &tables::KernelTables, state: u8, accepted: bool) {
    let Some(row) = connections::get_or_create(sk.cast()) else { return };
    // SAFETY: the walk holds the socket locked.
    let row = unsafe { &mut *row };
    describe(sk, row);
    row.workload = workload;
    row.direction = if accepted { Direction::Ingress as u8 } else { Direction::Egress as u8 };
    row.flags = ConnectionRow::FOUND;
    row.phase = if state == SYN_SENT { Phase::Opening as u8 } else { Phase::Open as u8 };
    case::decide_again(row, tables);
    let mut flags = BPF_SOCK_OPS_STATE_CB_FLAG as i32;
    // SAFETY: the option's value is the 4 bytes of `flags`.
    unsafe { bpf_setsockopt(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, (&raw mut flags).cast(), 4) };
    if state != ESTABLISHED {
        return;
    }
    if let Some(edge) = account::edge(connections::edge_key(row)) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*edge).opened }, 1);
    }
    events::connection(EventKind::Opened, row, DropReason::None);
}

/// Where the socket of a balanced connection is. Answers its peer's port, 0 if it has none.
#[inline(never)]
pub(crate) fn locate(sk: *mut c_void, row: &mut BalancedRow) -> u16 {
    let family: u16 = read(sk, offset(|o| &raw const o.family));
    row.local = if family == AF_INET {
        Address::from_v4_word(read(sk, offset(|o| &raw const o.local_v4)))
    } else {
        read(sk, offset(|o| &raw const o.local_v6))
    };
    row.local_port = read(sk, offset(|o| &raw const o.local_port));
    row.netns = netns(sk);
    // SAFETY: the helper takes the socket of the walk.
    row.cookie = unsafe { bpf_get_socket_cookie(sk) };
    read(sk, offset(|o| &raw const o.peer_port))
}

#[inline(always)]
fn netns(sk: *mut c_void) -> u64 {
    let net: usize = read(sk, offset(|o| &raw const o.sock_net));
    read(net as *const c_void, offset(|o| &raw const o.net_cookie))
}

#[inline(never)]
fn describe(sk: *mut c_void, row: &mut ConnectionRow) {
    let family: u16 = read(sk, offset(|o| &raw const o.family));
    (row.local, row.peer) = if family == AF_INET {
        let local: u32 = read(sk, offset(|o| &raw const o.local_v4));
        let peer: u32 = read(sk, offset(|o| &raw const o.peer_v4));
        (Address::from_v4_word(local), Address::from_v4_word(peer))
    } else {
        (read(sk, offset(|o| &raw const o.local_v6)), read(sk, offset(|o| &raw const o.peer_v6)))
    };
    row.local_port = read(sk, offset(|o| &raw const o.local_port));
    row.peer_port = u16::from_be(read(sk, offset(|o| &raw const o.peer_port)));
    row.netns = netns(sk);
    // SAFETY: the helper takes the socket of the walk.
    row.cookie = unsafe { bpf_get_socket_cookie(sk) };
    row.start_ns = events::now();
    row.active_ns = row.start_ns;
}
