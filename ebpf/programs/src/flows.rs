//! State of protocols without connections: who sent first is remembered, so that replies pass.

use windrose_abi::{DropReason, EdgeKey, EventKind, FlowKey, FlowRow, Verdict};
use windrose_engine::{Decision, Question, resolve};

use crate::account;
use crate::events::{self, Attempt};
use crate::maps;
use crate::subject::Subject;
use crate::tables::{KernelTables, decide};

/// One packet of a flow.
pub(crate) struct Passing {
    pub(crate) sent: bool,
    pub(crate) bytes: u64,
}

/// What the state says about a packet.
pub(crate) enum Known {
    /// It belongs to a flow that is allowed under the policy in force; it is accounted.
    Allowed,
    /// It belonged to one that is no longer allowed; the flow is ended.
    EndedLate,
    /// No such flow.
    No,
}

/// Looks a flow up, decides it again if the policy has changed, and accounts the packet.
#[inline(always)]
pub(crate) fn known(tables: &KernelTables, subject: &Subject, key: &FlowKey, passing: &Passing) -> Known {
    let Some(row) = maps::FLOWS.get_ptr_mut(key) else { return Known::No };
    // SAFETY: the entry stays readable for this program's run; concurrent writers are atomic adds
    // or write whole words that any order leaves consistent.
    let row = unsafe { &mut *row };
    if row.generation != tables.generation && !still_allowed(tables, subject, key, row) {
        end(key, row, EventKind::EndedLate);
        let _ = maps::FLOWS.remove(key);
        return Known::EndedLate;
    }
    row.active_ns = events::now();
    if passing.sent {
        account::add(&raw mut row.bytes_sent, passing.bytes);
        account::add(&raw mut row.packets_sent, 1);
    } else {
        account::add(&raw mut row.bytes_received, passing.bytes);
        account::add(&raw mut row.packets_received, 1);
    }
    Known::Allowed
}

#[inline(never)]
fn still_allowed(tables: &KernelTables, subject: &Subject, key: &FlowKey, row: &mut FlowRow) -> bool {
    let Ok(direction) = windrose_abi::Direction::try_from(row.direction) else { return false };
    let peer = resolve(tables, &key.peer);
    let port = match direction {
        windrose_abi::Direction::Egress => key.peer_port,
        windrose_abi::Direction::Ingress => key.local_port,
    };
    let decision = decide(
        tables,
        &Question {
            subject: subject.workload,
            slot: subject.slot,
            peer,
            direction,
            protocol: key.protocol as u8,
            port: port_of_policy(key.protocol as u8, port),
        },
    );
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        return false;
    }
    row.generation = tables.generation;
    row.rule = decision.enforced.rule;
    row.origin = decision.enforced.origin as u8;
    row.peer_workload = peer.workload;
    row.peer_identity = peer.identity;
    true
}

/// The port that policy sees: an ICMP echo's identifier is none.
#[inline(always)]
pub(crate) fn port_of_policy(protocol: u8, port: u16) -> u16 {
    if windrose_engine::decide::has_ports(protocol) { port } else { 0 }
}

/// Remembers an allowed flow and its first packet. False: no room.
#[inline(never)]
pub(crate) fn remember(key: &FlowKey, attempt: &Attempt, decision: &Decision, passing: &Passing) -> bool {
    let now = events::now();
    let mut row = FlowRow::ZERO;
    row.generation = attempt.generation;
    row.start_ns = now;
    row.active_ns = now;
    if passing.sent {
        row.bytes_sent = passing.bytes;
        row.packets_sent = 1;
    } else {
        row.bytes_received = passing.bytes;
        row.packets_received = 1;
    }
    row.cookie = attempt.cookie;
    row.local = attempt.local;
    row.peer_workload = attempt.peer_workload;
    row.identity = attempt.identity;
    row.peer_identity = attempt.peer_identity;
    row.rule = decision.enforced.rule;
    row.direction = attempt.direction;
    row.verdict = Verdict::Allow as u8;
    row.origin = decision.enforced.origin as u8;
    row.flags = u8::from(decision.would_be.is_some());
    if maps::FLOWS.insert(key, &row, 0).is_err() {
        return false;
    }
    if let Some(edge) = account::edge(edge_key(key, &row)) {
        // SAFETY: a live entry.
        account::add(unsafe { &raw mut (*edge).opened }, 1);
    }
    events::flow(EventKind::Opened, key, &row, DropReason::None);
    true
}

/// Moves a flow's counters to its edge and reports its end. The caller removes it.
#[inline(never)]
pub(crate) fn end(key: &FlowKey, row: &FlowRow, kind: EventKind) {
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

#[inline(always)]
fn edge_key(key: &FlowKey, row: &FlowRow) -> EdgeKey {
    let opened_here = row.direction == windrose_abi::Direction::Egress as u8;
    EdgeKey {
        source: if opened_here { key.workload } else { row.peer_workload },
        destination: if opened_here { row.peer_workload } else { key.workload },
        port: port_of_policy(key.protocol as u8, if opened_here { key.peer_port } else { key.local_port }),
        protocol: key.protocol as u8,
        direction: row.direction,
    }
}
