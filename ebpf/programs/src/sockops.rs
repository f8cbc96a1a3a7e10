//! The life of TCP connections: established, changed, over.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use windrose_abi::codes::protocol;
use windrose_abi::{
    Address, ConnectionRow, Direction, DropReason, EventKind, Origin, OriginKey, Phase, Verdict,
};

use crate::tables::KernelTables;
use crate::{account, balanced, case, connections, events, maps, origins, syns, tables, walk};

const AF_INET: u32 = 2;
const TCP_CLOSE: u32 = 7;

#[sock_ops]
pub fn connection_life(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    // SAFETY: the kernel passes a live context.
    match unsafe { (*ops).op } {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(ops, false),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => established(ops, true),
        BPF_SOCK_OPS_STATE_CB => changed(ops),
        BPF_SOCK_OPS_TCP_CONNECT_CB => opening(ops),
        _ => {}
    }
    1
}

#[inline(always)]
fn socket(ops: *mut bpf_sock_ops) -> Option<*mut bpf_sock> {
    // SAFETY: as above.
    let sk = unsafe { (*ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}

#[inline(always)]
fn addresses(ops: *mut bpf_sock_ops) -> (Address, Address) {
    // All words first, volatile: LLVM would merge loads of two branches into one at a computed
    // offset, which the verifier refuses on a context.
    macro_rules! word {
        ($($field:tt)*) => {
            // SAFETY: the kernel passes a live context; the field is one of its words.
            unsafe { core::ptr::read_volatile(&raw const (*ops).$($field)*) }
        };
    }
    let (local4, remote4) = (word!(local_ip4), word!(remote_ip4));
    let local6 = [word!(local_ip6[0]), word!(local_ip6[1]), word!(local_ip6[2]), word!(local_ip6[3])];
    let remote6 = [word!(remote_ip6[0]), word!(remote_ip6[1]), word!(remote_ip6[2]), word!(remote_ip6[3])];
    if word!(family) == AF_INET {
        (Address::from_v4_word(local4), Address::from_v4_word(remote4))
    } else {
        (Address { words: local6 }, Address { words: remote6 })
    }
}

/// Writes the connection's addresses and ports into its row, in a frame of its own.
#[inline(never)]
fn describe(ops: *mut bpf_sock_ops, row: &mut ConnectionRow) {
    (row.local, row.peer) = addresses(ops);
    // SAFETY: the kernel passes a live context. The local port is in host order, the remote one in
    // network order in the upper half.
    unsafe {
        row.local_port = (*ops).local_port as u16;
        row.peer_port = u16::from_be(((*ops).remote_port >> 16) as u16);
    }
}

#[inline(never)]
fn established(ops: *mut bpf_sock_ops, accepted: bool) {
    let Some(sk) = socket(ops) else { return };
    let Some(row) = connections::get(sk) else { return };
    // SAFETY: the row is this socket's, which the caller holds locked.
    let row = unsafe { &mut *row };
    if accepted {
        if row.phase != Phase::Listener as u8 {
            return;
        }
        let Some((tables, _)) = tables::current() else { return };
        describe(ops, row);
        row.direction = Direction::Ingress as u8;
        // SAFETY: the helper takes this program's context.
        row.cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
        // SAFETY: as above.
        row.netns = unsafe { bpf_get_netns_cookie(ops.cast()) };
        if !syns::recall(row, &tables) {
            decide(row, &tables);
        }
    } else {
        // After service translation the peer is the endpoint, not what connect was called with.
        describe(ops, row);
    }
    row.phase = Phase::Open as u8;
    row.start_ns = events::now();
    row.active_ns = row.start_ns;
    // SAFETY: the helper takes this program's context.
    unsafe { bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
    if let Some(edge) = account::edge(connections::edge_key(row)) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*edge).opened }, 1);
    }
    events::connection(EventKind::Opened, row, DropReason::None);
}

/// Decides an accepted connection whose SYN is not remembered.
#[inline(always)]
fn decide(row: &mut ConnectionRow, tables: &KernelTables) {
    case::decide_again(row, tables);
    if row.origin == Origin::Host as u8 {
        let workload = opener(row);
        if workload != 0 {
            row.peer_workload = workload;
            row.flags |= ConnectionRow::BY_SOCKET;
            case::decide_again(row, tables);
        }
    }
}

/// The workload whose socket opened a connection from an address that says "the host"; 0 is none.
#[inline(never)]
fn opener(row: &ConnectionRow) -> u32 {
    origins::find(&origin_key(row.peer, row.peer_port, row.local, row.local_port, row.netns))
}

#[inline(always)]
fn origin_key(
    source: Address,
    source_port: u16,
    destination: Address,
    destination_port: u16,
    netns: u64,
) -> OriginKey {
    OriginKey {
        source,
        destination,
        source_port,
        destination_port,
        protocol: u32::from(protocol::TCP),
        netns: origins::scope(&source, netns),
    }
}

#[inline(never)]
fn take_back(row: &ConnectionRow) {
    let key = origin_key(row.local, row.local_port, row.peer, row.peer_port, row.netns);
    let _ = maps::ORIGINS.remove(&key);
}

#[inline(always)]
fn opening(ops: *mut bpf_sock_ops) {
    if let Some((tables, _)) = tables::current()
        && tables.has_services()
        && let Some(sk) = socket(ops)
    {
        balanced::opening(ops, sk);
    }
}

#[inline(always)]
fn changed(ops: *mut bpf_sock_ops) {
    // SAFETY: the kernel passes a live context; argument 1 is the new state.
    if unsafe { (*ops).__bindgen_anon_1.args[1] } != TCP_CLOSE {
        return;
    }
    let Some(sk) = socket(ops) else { return };
    balanced::closed(sk);
    let Some(row) = connections::get(sk) else { return };
    // SAFETY: as above.
    let row = unsafe { &mut *row };
    if row.flags & ConnectionRow::LENT != 0 {
        take_back(row);
    }
    if row.phase != Phase::Open as u8 {
        return;
    }
    walk::refresh(sk.cast(), row);
    finish(row);
}

/// Moves a connection's counters to its edge and reports its end.
#[inline(always)]
fn finish(row: &mut ConnectionRow) {
    row.phase = Phase::Closed as u8;
    let late = matches!(row.verdict(), Verdict::Deny);
    if let Some(edge) = account::edge(connections::edge_key(row)) {
        // SAFETY: a live entry.
        unsafe {
            account::add(&raw mut (*edge).bytes_sent, row.bytes_sent);
            account::add(&raw mut (*edge).bytes_received, row.bytes_received);
            account::add(&raw mut (*edge).packets_sent, row.segments_sent);
            account::add(&raw mut (*edge).packets_received, row.segments_received);
            account::add(&raw mut (*edge).retransmits, u64::from(row.retransmits));
            account::add(if late { &raw mut (*edge).ended_late } else { &raw mut (*edge).closed }, 1);
        }
        account::rtt(edge, row.srtt_us);
        account::lifetime(edge, events::now().saturating_sub(row.start_ns));
    }
    let (kind, reason) = if late {
        (EventKind::EndedLate, DropReason::LateDenial)
    } else {
        (EventKind::Closed, DropReason::None)
    };
    events::connection(kind, row, reason);
}
