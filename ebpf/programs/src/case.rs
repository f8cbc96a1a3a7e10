//! One decision under way: the question, its answer, and what is reported of it.
//!
//! The functions here are never inlined: a program's frames share 512 bytes, and each of these
//! frames must be gone before the next is needed.

use windrose_abi::{
    Address, ConnectionRow, Direction, DropReason, EventKind, Origin, Phase, Verdict, WorkloadSlot, decision,
};
use windrose_engine::{Decision, Outcome, Peer, Question, decide, resolve};

use crate::cache;
use crate::events;
use crate::memory;
use crate::profile;
use crate::subject::Subject;
use crate::tables::KernelTables;

/// A question with its tables and its decision.
#[repr(C)]
pub struct Case {
    pub(crate) tables: KernelTables,
    pub(crate) question: Question,
    pub(crate) decision: Decision,
    /// The peer's workload where its socket names it and its address does not; 0: the address does.
    pub(crate) by_socket: u32,
}

impl Case {
    #[inline(always)]
    pub(crate) fn new(
        tables: KernelTables,
        subject: Subject,
        direction: Direction,
        protocol: u8,
        port: u16,
    ) -> Self {
        Self {
            tables,
            question: Question {
                subject: subject.workload,
                slot: subject.slot,
                peer: Peer::NOBODY,
                direction,
                protocol,
                port,
            },
            decision: Decision::plain(Outcome::deny(Origin::None, 0, DropReason::UnknownCode)),
            by_socket: 0,
        }
    }

    /// [`ConnectionRow::AUDITED`] and [`ConnectionRow::BY_SOCKET`].
    #[inline(always)]
    pub(crate) fn flags(&self) -> u32 {
        let audited = if self.decision.would_be().is_some() { ConnectionRow::AUDITED } else { 0 };
        audited | if self.by_socket != 0 { ConnectionRow::BY_SOCKET } else { 0 }
    }

    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.decision.enforced.verdict, Verdict::Deny)
    }
}

/// Resolves the peer behind an address and decides.
#[inline(always)]
pub(crate) fn judge(case: &mut Case, peer: &Address) {
    judge_case(case, peer);
}

/// The decision as a global function: the verifier checks it once, for all arguments, and not
/// anew at each call in each state.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_case(case: *mut Case, peer: *const Address) -> i32 {
    if case.is_null() || peer.is_null() {
        return 0;
    }
    // SAFETY: checked above; the only caller passes exclusive and live references.
    let (case, peer) = unsafe { (&mut *case, &*peer) };
    if profile::is_on() {
        profile::begin_verdict();
    }
    case.question.peer = resolve(&case.tables, peer);
    if case.by_socket != 0
        && let Some(slot) = case.tables.workload(case.by_socket)
    {
        case.question.peer = Peer {
            workload: case.by_socket,
            identity: slot.identity,
            peer_list: slot.peer_list,
            is_host: false,
            is_loopback: false,
        };
    }
    if cache::recall(case) {
        if profile::is_on() {
            profile::end_hit(case);
        }
        return 0;
    }
    case.decision = decide(&case.tables, &case.question);
    cache::remember(case);
    if profile::is_on() {
        profile::end_miss(case);
    }
    0
}

/// Where a case was met: what a report adds to it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scene {
    pub(crate) local: Address,
    pub(crate) peer: Address,
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    /// For an answer: see `Event`.
    pub(crate) transport_word: u32,
    pub(crate) cookie: u64,
    pub(crate) netns: u64,
    /// For an answer: see `Event`.
    pub(crate) interface: u64,
}

/// Reports what the decision refuses, and what it would if nothing were in audit.
#[inline(always)]
pub(crate) fn report(case: &Case, scene: &Scene) {
    report_case(case, scene);
}

/// As a global function, for the reason of [`judge_case`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_case(case: *const Case, scene: *const Scene) -> i32 {
    if case.is_null() || scene.is_null() {
        return 1;
    }
    // SAFETY: checked above; the only caller passes live references.
    let (case, scene) = unsafe { (&*case, &*scene) };
    if let Some(would_be) = case.decision.would_be() {
        events::refused(EventKind::Audited, case, scene, &would_be);
    }
    if case.is_denied() {
        events::refused(EventKind::Refused, case, scene, &case.decision.enforced);
    }
    0
}

/// Asks the agent to answer a packet of a refused attempt that was reported before.
#[inline(always)]
pub(crate) fn ask_for_answer(case: &Case, scene: &Scene) {
    ask_for_answer_case(case, scene);
}

/// As a global function, for the reason of [`judge_case`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ask_for_answer_case(case: *const Case, scene: *const Scene) -> i32 {
    if case.is_null() || scene.is_null() {
        return 1;
    }
    // SAFETY: checked above; the only caller passes live references.
    let (case, scene) = unsafe { (&*case, &*scene) };
    events::unanswered(case, scene);
    0
}

/// Writes a decided connection into its row.
#[inline(never)]
pub(crate) fn fill(row: &mut ConnectionRow, case: &Case, scene: &Scene, phase: Phase) {
    memory::clear(row);
    row.cookie = scene.cookie;
    row.netns = scene.netns;
    row.local = scene.local;
    row.peer = scene.peer;
    row.local_port = scene.local_port;
    row.peer_port = scene.peer_port;
    row.workload = case.question.subject;
    row.direction = case.question.direction as u8;
    row.phase = phase as u8;
    write_decision(row, case);
}

/// Writes a decision into a row: what it rests on first, the word that packets read last.
#[inline(always)]
pub(crate) fn write_decision(row: &mut ConnectionRow, case: &Case) {
    row.rule = case.decision.enforced.rule;
    row.origin = case.decision.enforced.origin as u8;
    row.identity = case.question.slot.identity;
    row.peer_workload = case.question.peer.workload;
    row.peer_identity = case.question.peer.identity;
    row.flags = row.flags & !(ConnectionRow::AUDITED | ConnectionRow::BY_SOCKET) | case.flags();
    set_decision(row, decision(case.tables.generation, case.decision.enforced.verdict));
}

/// One store: other processors read the word without a lock.
#[inline(always)]
pub(crate) fn set_decision(row: &mut ConnectionRow, decision: u64) {
    // SAFETY: an aligned field of a live row.
    unsafe { (&raw mut row.decision).write_volatile(decision) };
}

/// Decides a connection under another policy than the one it was decided under.
#[inline(never)]
pub(crate) fn decide_again(row: &mut ConnectionRow, tables: &KernelTables) {
    let Some(slot) = tables.workload(row.workload) else {
        // Its workload is no longer described: nothing protects it, nothing is asked of it.
        set_decision(row, tables.generation << 1 | row.decision & 1);
        return;
    };
    let (direction, port) = if row.direction == Direction::Egress as u8 {
        (Direction::Egress, row.peer_port)
    } else {
        (Direction::Ingress, row.local_port)
    };
    // Read again: kept over the look-up, it would take room on the stack.
    // SAFETY: a reference.
    let workload = unsafe { (&raw const row.workload).read_volatile() };
    let subject = Subject { workload, slot };
    let mut case = Case::new(*tables, subject, direction, windrose_abi::codes::protocol::TCP, port);
    if row.flags & ConnectionRow::BY_SOCKET != 0 {
        case.by_socket = row.peer_workload;
    }
    judge(&mut case, &row.peer);
    if row.generation() > tables.generation {
        // Another processor has decided it under a newer policy meanwhile. One that does so right
        // now is overwritten, and the next packet decides once more.
        return;
    }
    write_decision(row, &case);
}

/// Whether a workload's slot leaves a direction open.
#[inline(always)]
pub(crate) const fn is_open(slot: &WorkloadSlot, direction: Direction) -> bool {
    match direction {
        Direction::Ingress => slot.ingress_set == 0,
        Direction::Egress => slot.egress_set == 0,
    }
}
