//! The life of TCP connections: established, changed, over.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use windrose_abi::codes::protocol;
use windrose_abi::{Address, ConnectionRow, Direction, DropReason, EventKind, Phase, Verdict};
use windrose_engine::{Question, resolve};

use crate::events::{self, Attempt};
use crate::tables::decide;
use crate::{account, connect, connections, tables, walk};

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
    // SAFETY: as above; word by word, as the verifier asks.
    unsafe {
        if (*ops).family == AF_INET {
            return (Address::from_v4_word((*ops).local_ip4), Address::from_v4_word((*ops).remote_ip4));
        }
        (
            Address {
                words: [(*ops).local_ip6[0], (*ops).local_ip6[1], (*ops).local_ip6[2], (*ops).local_ip6[3]],
            },
            Address {
                words: [(*ops).remote_ip6[0], (*ops).remote_ip6[1], (*ops).remote_ip6[2], (*ops).remote_ip6[3]],
            },
        )
    }
}

#[inline(always)]
fn established(ops: *mut bpf_sock_ops, accepted: bool) {
    let Some(sk) = socket(ops) else { return };
    let Some(row) = connections::get(sk) else { return };
    // SAFETY: the row is this socket's, which the caller holds locked.
    let row = unsafe { &mut *row };
    let (local, peer_address) = addresses(ops);
    // SAFETY: the kernel passes a live context. The remote port is in network order, the local one
    // in host order.
    let (local_port, peer_port) =
        unsafe { ((*ops).local_port as u16, u16::from_be(((*ops).remote_port >> 16) as u16)) };
    if accepted {
        if row.phase != Phase::Listener as u8 {
            return;
        }
        let Some((tables, _)) = tables::current() else { return };
        let Some(slot) = tables.workload(row.workload) else { return };
        let peer = resolve(&tables, &peer_address);
        let decision = decide(
            &tables,
            &Question {
                subject: row.workload,
                slot,
                peer,
                direction: Direction::Ingress,
                protocol: protocol::TCP,
                port: local_port,
            },
        );
        let attempt = Attempt {
            local,
            peer: peer_address,
            local_port,
            peer_port,
            workload: row.workload,
            identity: slot.identity,
            peer_workload: peer.workload,
            peer_identity: peer.identity,
            direction: Direction::Ingress as u8,
            protocol: protocol::TCP,
            generation: tables.generation,
            // SAFETY: the helper takes this program's context.
            cookie: unsafe { bpf_get_socket_cookie(ops.cast()) },
            // SAFETY: as above.
            netns: unsafe { bpf_get_netns_cookie(ops.cast()) },
        };
        connect::fill(row, &attempt, &decision, Phase::Open);
    } else {
        row.local = local;
        row.local_port = local_port;
        row.phase = Phase::Open as u8;
    }
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

#[inline(always)]
fn changed(ops: *mut bpf_sock_ops) {
    // SAFETY: the kernel passes a live context; argument 1 is the new state.
    if unsafe { (*ops).__bindgen_anon_1.args[1] } != TCP_CLOSE {
        return;
    }
    let Some(sk) = socket(ops) else { return };
    let Some(row) = connections::get(sk) else { return };
    // SAFETY: as above.
    let row = unsafe { &mut *row };
    if row.phase != Phase::Open as u8 {
        return;
    }
    walk::refresh(sk.cast_const().cast(), row);
    finish(row);
}

/// Moves a connection's counters to its edge and reports its end.
#[inline(always)]
fn finish(row: &mut ConnectionRow) {
    row.phase = Phase::Closed as u8;
    let late = row.verdict == Verdict::Deny as u8;
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
    let (kind, reason) =
        if late { (EventKind::EndedLate, DropReason::LateDenial) } else { (EventKind::Closed, DropReason::None) };
    events::connection(kind, row, reason);
}
