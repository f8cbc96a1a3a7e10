//! Egress where it begins: connect and sendmsg, both families. A refusal is EPERM.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use windrose_abi::codes::protocol;
use windrose_abi::{
    Address, ConnectionRow, Direction, DropReason, EventKind, FlowKey, Origin, Phase, Verdict,
};
use windrose_engine::{Decision, Outcome, Question, resolve};

use crate::account::{self, Count};
use crate::events::{self, Attempt};
use crate::tables::{KernelTables, decide};
use crate::{connections, maps, subject, tables};

const REFUSE: i32 = 0;
const PASS: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, v4_of(ctx.sock_addr))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(ctx.sock_addr, v6_of(ctx.sock_addr))
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg(ctx.sock_addr, v4_of(ctx.sock_addr))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg(ctx.sock_addr, v6_of(ctx.sock_addr))
}

#[inline(always)]
fn v4_of(ctx: *mut bpf_sock_addr) -> Address {
    // SAFETY: the kernel passes a live context.
    Address::from_v4_word(unsafe { (*ctx).user_ip4 })
}

#[inline(always)]
fn v6_of(ctx: *mut bpf_sock_addr) -> Address {
    // SAFETY: as above. Word by word: the verifier admits only 4-byte reads of this field.
    unsafe {
        Address {
            words: [(*ctx).user_ip6[0], (*ctx).user_ip6[1], (*ctx).user_ip6[2], (*ctx).user_ip6[3]],
        }
    }
}

#[inline(always)]
fn port_of(ctx: *mut bpf_sock_addr) -> u16 {
    // SAFETY: as above.
    u16::from_be(unsafe { (*ctx).user_port } as u16)
}

struct Asked {
    decision: Decision,
    attempt: Attempt,
}

/// Decides the egress of the running task towards `peer`; `None`: it is no workload.
#[inline(always)]
fn ask(ctx: *mut bpf_sock_addr, tables: &KernelTables, depths: u64, address: Address) -> Option<Asked> {
    let subject = subject::of_task(tables, depths)?;
    let peer = resolve(tables, &address);
    // SAFETY: as above.
    let protocol_number = unsafe { (*ctx).protocol } as u8;
    let port = port_of(ctx);
    let question = Question {
        subject: subject.workload,
        slot: subject.slot,
        peer,
        direction: Direction::Egress,
        protocol: protocol_number,
        port,
    };
    let attempt = Attempt {
        local: Address::ZERO,
        peer: address,
        local_port: 0,
        peer_port: port,
        workload: subject.workload,
        identity: subject.slot.identity,
        peer_workload: peer.workload,
        peer_identity: peer.identity,
        direction: Direction::Egress as u8,
        protocol: protocol_number,
        generation: tables.generation,
        // SAFETY: the helper takes this program's context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.cast()) },
        // SAFETY: as above.
        netns: unsafe { bpf_get_netns_cookie(ctx.cast()) },
    };
    Some(Asked { decision: decide(tables, &question), attempt })
}

#[inline(always)]
fn connect(ctx: *mut bpf_sock_addr, address: Address) -> i32 {
    let Some((tables, depths)) = tables::current() else { return PASS };
    // SAFETY: the kernel passes a live context.
    if unsafe { (*ctx).protocol } != u32::from(protocol::TCP) {
        return connect_without_connection(ctx, &tables, depths, address);
    }
    let Some(asked) = ask(ctx, &tables, depths, address) else { return PASS };
    let Asked { decision, attempt } = asked;
    if let Some(would_be) = &decision.would_be {
        events::refused(EventKind::Audited, &attempt, would_be);
    }
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        events::refused(EventKind::Refused, &attempt, &decision.enforced);
        return REFUSE;
    }
    // SAFETY: a connecting socket is a full socket.
    let sk = unsafe { (*ctx).__bindgen_anon_1.sk };
    if sk.is_null() {
        return REFUSE;
    }
    let Some(row) = connections::get_or_create(sk) else {
        events::refused(
            EventKind::Refused,
            &attempt,
            &Outcome::deny(Origin::None, 0, DropReason::NoRoom),
        );
        return REFUSE;
    };
    // SAFETY: the row is this socket's, which the caller of connect holds locked.
    fill(unsafe { &mut *row }, &attempt, &decision, Phase::Opening);
    PASS
}

/// Writes what a decision says into a connection's row.
#[inline(always)]
pub(crate) fn fill(row: &mut ConnectionRow, attempt: &Attempt, decision: &Decision, phase: Phase) {
    row.generation = attempt.generation;
    row.cookie = attempt.cookie;
    row.netns = attempt.netns;
    row.start_ns = 0;
    row.active_ns = 0;
    row.bytes_sent = 0;
    row.bytes_received = 0;
    row.segments_sent = 0;
    row.segments_received = 0;
    row.local = attempt.local;
    row.peer = attempt.peer;
    row.workload = attempt.workload;
    row.peer_workload = attempt.peer_workload;
    row.identity = attempt.identity;
    row.peer_identity = attempt.peer_identity;
    row.rule = decision.enforced.rule;
    row.srtt_us = 0;
    row.min_rtt_us = 0;
    row.retransmits = 0;
    row.last_segments_out = 0;
    row.last_segments_in = 0;
    row.local_port = attempt.local_port;
    row.peer_port = attempt.peer_port;
    row.direction = attempt.direction;
    row.verdict = decision.enforced.verdict as u8;
    row.origin = decision.enforced.origin as u8;
    row.phase = phase as u8;
    row.flags = if decision.would_be.is_some() { ConnectionRow::AUDITED } else { 0 };
}

/// UDP and the like: connect only chooses a peer, so nothing is kept. What is refused now is
/// refused with EPERM at once; what is allowed is decided again with the first packet, which
/// knows its source.
#[inline(always)]
fn connect_without_connection(ctx: *mut bpf_sock_addr, tables: &KernelTables, depths: u64, address: Address) -> i32 {
    sendmsg_or_connect(ctx, tables, depths, address)
}

#[inline(always)]
fn sendmsg(ctx: *mut bpf_sock_addr, address: Address) -> i32 {
    let Some((tables, depths)) = tables::current() else { return PASS };
    sendmsg_or_connect(ctx, &tables, depths, address)
}

#[inline(always)]
fn sendmsg_or_connect(ctx: *mut bpf_sock_addr, tables: &KernelTables, depths: u64, address: Address) -> i32 {
    let Some(asked) = ask(ctx, tables, depths, address) else { return PASS };
    if matches!(asked.decision.enforced.verdict, Verdict::Allow) {
        // An audited denial is reported by the packet itself, once a flow.
        return PASS;
    }
    // A reply is allowed by the flow that it answers, whatever egress policy says.
    // SAFETY: the kernel passes a live context and its socket.
    let sk = unsafe { (*ctx).__bindgen_anon_1.sk };
    let local_port = if sk.is_null() {
        0
    } else {
        // SAFETY: checked above.
        (unsafe { (*sk).src_port }) as u16
    };
    let key = FlowKey {
        peer: asked.attempt.peer,
        workload: asked.attempt.workload,
        local_port,
        peer_port: asked.attempt.peer_port,
        protocol: u32::from(asked.attempt.protocol),
    };
    if maps::FLOWS.get_ptr(&key).is_some() {
        return PASS;
    }
    account::count(Count::DroppedPackets);
    let mut attempt = asked.attempt;
    attempt.local_port = local_port;
    events::refused(EventKind::Refused, &attempt, &asked.decision.enforced);
    REFUSE
}
