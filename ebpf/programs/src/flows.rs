//! State of protocols without connections: who sent first is remembered, so that replies pass.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use windrose_abi::{
    ConnectionRow, Direction, DropReason, EdgeKey, EventKind, FlowKey, FlowRow, OriginKey, Verdict,
};
use windrose_engine::Packet;

use crate::case::{self, Case};
use crate::{account, events, maps, origins, sweep};

/// What the state says about a packet.
pub(crate) enum Known {
    /// It belongs to a flow that is allowed under the policy in force; it is accounted.
    Allowed,
    /// It belonged to one that is no longer allowed; the flow is ended.
    EndedLate,
    /// No such flow.
    No,
}

/// The flow of a packet as one of its ends sees it.
#[inline(always)]
pub(crate) fn key_of(workload: u32, packet: &Packet, sent: bool) -> FlowKey {
    let (peer, local_port, peer_port) = if sent {
        (packet.destination, packet.source_port, packet.destination_port)
    } else {
        (packet.source, packet.destination_port, packet.source_port)
    };
    FlowKey { peer, workload, local_port, peer_port, protocol: u32::from(packet.protocol) }
}

/// Looks a flow up, decides it again if the policy has changed, and accounts the packet. The case's
/// question is then that of the flow's first packet.
#[inline(always)]
pub(crate) fn known(skb: *mut __sk_buff, case: &mut Case, packet: &Packet, bytes: u64) -> Known {
    let sent = matches!(case.question.direction, Direction::Egress);
    let Some(row) = find(case, packet) else { return Known::No };
    // SAFETY: the entry stays readable for this program's run; concurrent writers are atomic adds
    // or write whole words that any order leaves consistent.
    let row = unsafe { &mut *row };
    if row.generation != case.tables.generation {
        ask_again(case, packet, row);
        if case.is_denied() {
            forget(case, packet, row, sent);
            return Known::EndedLate;
        }
    }
    row.active_ns = events::now();
    if sent {
        account::add(&raw mut row.bytes_sent, bytes);
        account::add(&raw mut row.packets_sent, 1);
        if row.flags & ConnectionRow::LENT as u8 != 0 {
            origins::renew(skb, case, packet);
        }
    } else {
        account::add(&raw mut row.bytes_received, bytes);
        account::add(&raw mut row.packets_received, 1);
    }
    Known::Allowed
}

#[inline(never)]
fn find(case: &Case, packet: &Packet) -> Option<*mut FlowRow> {
    let sent = matches!(case.question.direction, Direction::Egress);
    maps::FLOWS.get_ptr_mut(key_of(case.question.subject, packet, sent))
}

#[inline(never)]
fn forget(case: &Case, packet: &Packet, row: &FlowRow, sent: bool) {
    let key = key_of(case.question.subject, packet, sent);
    end(&key, row, EventKind::EndedLate);
    let _ = maps::FLOWS.remove(&key);
}

#[inline(always)]
fn ask_again(case: &mut Case, packet: &Packet, row: &mut FlowRow) {
    let sent = matches!(case.question.direction, Direction::Egress);
    let began_here = row.direction == Direction::Egress as u8;
    // The destination port is the peer's if the flow began here, else ours.
    let port = if sent == began_here { packet.destination_port } else { packet.source_port };
    case.question.direction = if began_here { Direction::Egress } else { Direction::Ingress };
    case.question.port = port_of_policy(case.question.protocol, port);
    if row.flags & ConnectionRow::BY_SOCKET as u8 != 0 {
        case.by_socket = row.peer_workload;
    }
    case::judge(case, if sent { &packet.destination } else { &packet.source });
    if case.is_denied() {
        return;
    }
    row.generation = case.tables.generation;
    row.rule = case.decision.enforced.rule;
    row.origin = case.decision.enforced.origin as u8;
    row.peer_workload = case.question.peer.workload;
    row.peer_identity = case.question.peer.identity;
}

/// The port that policy sees: an ICMP echo's identifier is none.
#[inline(always)]
pub(crate) fn port_of_policy(protocol: u8, port: u16) -> u16 {
    if windrose_engine::decide::has_ports(protocol) { port } else { 0 }
}

/// Remembers an allowed flow and its first packet. False: no room.
#[inline(never)]
pub(crate) fn remember(skb: *mut __sk_buff, case: &Case, packet: &Packet, bytes: u64, lent: bool) -> bool {
    let sent = matches!(case.question.direction, Direction::Egress);
    let key = key_of(case.question.subject, packet, sent);
    let now = events::now();
    let mut row = FlowRow::ZERO;
    row.generation = case.tables.generation;
    row.start_ns = now;
    row.active_ns = now;
    if sent {
        row.bytes_sent = bytes;
        row.packets_sent = 1;
    } else {
        row.bytes_received = bytes;
        row.packets_received = 1;
    }
    // SAFETY: the helper takes this program's context.
    row.cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    // SAFETY: as above.
    row.netns = unsafe { bpf_get_netns_cookie(skb.cast()) };
    row.local = if sent { packet.source } else { packet.destination };
    row.peer_workload = case.question.peer.workload;
    row.identity = case.question.slot.identity;
    row.peer_identity = case.question.peer.identity;
    row.rule = case.decision.enforced.rule;
    row.direction = case.question.direction as u8;
    row.verdict = Verdict::Allow as u8;
    row.origin = case.decision.enforced.origin as u8;
    row.flags = 0;
    if case.decision.would_be().is_some() {
        row.flags |= ConnectionRow::AUDITED as u8;
    }
    if case.by_socket != 0 {
        row.flags |= ConnectionRow::BY_SOCKET as u8;
    }
    if lent {
        row.flags |= ConnectionRow::LENT as u8;
    }
    if maps::FLOWS.insert(&key, &row, 0).is_err() {
        return false;
    }
    begin(&key, &row);
    sweep::arm();
    true
}

#[inline(never)]
fn begin(key: &FlowKey, row: &FlowRow) {
    if let Some(edge) = account::edge(edge_key(key, row)) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*edge).opened }, 1);
    }
    events::flow(EventKind::Opened, key, row, DropReason::None);
}

/// Moves a flow's counters to its edge and reports its end. The caller removes it.
#[inline(never)]
pub(crate) fn end(key: &FlowKey, row: &FlowRow, kind: EventKind) {
    if row.flags & ConnectionRow::LENT as u8 != 0 {
        take_back(key, row);
    }
    let late = matches!(kind, EventKind::EndedLate);
    if let Some(edge) = account::edge(edge_key(key, row)) {
        // SAFETY: a live entry.
        unsafe {
            account::add(&raw mut (*edge).bytes_sent, row.bytes_sent);
            account::add(&raw mut (*edge).bytes_received, row.bytes_received);
            account::add(&raw mut (*edge).packets_sent, row.packets_sent);
            account::add(&raw mut (*edge).packets_received, row.packets_received);
            account::add(if late { &raw mut (*edge).ended_late } else { &raw mut (*edge).closed }, 1);
        }
        account::lifetime(edge, row.active_ns.saturating_sub(row.start_ns));
    }
    events::flow(kind, key, row, if late { DropReason::LateDenial } else { DropReason::None });
}

#[inline(never)]
fn take_back(key: &FlowKey, row: &FlowRow) {
    let _ = maps::ORIGINS.remove(&OriginKey {
        source: row.local,
        destination: key.peer,
        source_port: key.local_port,
        destination_port: key.peer_port,
        protocol: key.protocol,
        netns: origins::scope(&row.local, row.netns),
    });
}

#[inline(always)]
fn edge_key(key: &FlowKey, row: &FlowRow) -> EdgeKey {
    let opened_here = row.direction == Direction::Egress as u8;
    EdgeKey {
        source: if opened_here { key.workload } else { row.peer_workload },
        destination: if opened_here { row.peer_workload } else { key.workload },
        port: port_of_policy(key.protocol as u8, if opened_here { key.peer_port } else { key.local_port }),
        protocol: key.protocol as u8,
        direction: row.direction,
    }
}
