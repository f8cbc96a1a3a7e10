//! Every packet that a socket sends or is about to receive.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_skb_load_bytes};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use windrose_abi::codes::protocol;
use windrose_abi::identity::Address;
use windrose_abi::{
    ConnectionRow, Direction, DropReason, EventKind, FlowKey, Origin, OriginKey, Phase, RefusalKey, Verdict,
};
use windrose_engine::packet::{TCP_ACK, TCP_RST, TCP_SYN};
use windrose_engine::{Bytes, Decision, Kind, Outcome, Packet, Question, packet, resolve};

use crate::account::{self, Count};
use crate::events::{self, Attempt};
use crate::flows::{self, Known, Passing};
use crate::subject::Subject;
use crate::tables::KernelTables;
use crate::tables::decide;
use crate::{connect, connections, maps, subject, tables};

const DROP: i32 = 0;
const PASS: i32 = 1;

const STREAM: u32 = 1; // SOCK_STREAM
const LISTEN: u32 = 10; // TCP_LISTEN
const NEW_SYN_RECV: u32 = 12; // TCP_NEW_SYN_RECV
const SYN_SENT: u32 = 2; // TCP_SYN_SENT

/// The bytes of a packet, copied out by the kernel: headers may lie in several fragments.
struct SkbBytes(*mut __sk_buff);

impl Bytes for SkbBytes {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut bytes = [0_u8; N];
        // SAFETY: `bytes` has room for the N bytes asked for.
        let result =
            unsafe { bpf_skb_load_bytes(self.0.cast::<core::ffi::c_void>(), at, bytes.as_mut_ptr().cast(), N as u32) };
        (result == 0).then_some(bytes)
    }
}

/// Parses in a frame of its own, so that its buffers do not add to the caller's.
#[inline(never)]
fn parse_at(skb: *mut __sk_buff, at: u32, packet: &mut Packet) -> bool {
    match packet::parse(&SkbBytes(skb), at) {
        Ok(parsed) => {
            *packet = parsed;
            true
        }
        Err(_) => false,
    }
}

/// The packet whose IP header is at `at`.
#[inline(always)]
fn parse(skb: *mut __sk_buff, at: u32) -> Option<Packet> {
    let mut packet = Packet::EMPTY;
    parse_at(skb, at, &mut packet).then_some(packet)
}

#[cgroup_skb(egress)]
pub fn packet_egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a live context; a null socket is checked.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return PASS;
    }
    let Some((tables, depths)) = tables::current() else { return PASS };
    if is_tcp(sk) {
        return match state(sk) {
            // Its SYN-ACKs answer what ingress let in.
            LISTEN | NEW_SYN_RECV => PASS,
            SYN_SENT => opening(skb, sk, &tables, depths),
            _ => of_connection(sk, &tables),
        };
    }
    let Some(subject) = subject::of_skb(&tables, depths, skb) else {
        return answer(skb, &tables);
    };
    without_connection(skb, &tables, &subject, true)
}

#[cgroup_skb(ingress)]
pub fn packet_ingress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: as above.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return PASS;
    }
    let Some((tables, depths)) = tables::current() else { return PASS };
    if is_tcp(sk) {
        return match state(sk) {
            LISTEN => accepting(skb, sk, &tables, depths),
            NEW_SYN_RECV => PASS,
            _ => of_connection(sk, &tables),
        };
    }
    let Some(subject) = subject::of_skb(&tables, depths, skb) else { return PASS };
    without_connection(skb, &tables, &subject, false)
}

#[inline(always)]
fn is_tcp(sk: *mut bpf_sock) -> bool {
    // SAFETY: the callers check that `sk` is not null.
    unsafe { (*sk).protocol == u32::from(protocol::TCP) && (*sk).type_ == STREAM }
}

#[inline(always)]
fn state(sk: *mut bpf_sock) -> u32 {
    // SAFETY: as above.
    unsafe { (*sk).state }
}

/// A packet of a TCP connection: one look at the socket's row, one comparison.
#[inline(always)]
fn of_connection(sk: *mut bpf_sock, tables: &KernelTables) -> i32 {
    let Some(row) = connections::get(sk) else { return PASS };
    // SAFETY: the row lives as long as the socket; both directions may write the same decision.
    let row = unsafe { &mut *row };
    if row.generation != tables.generation {
        decide_again(row, tables);
    }
    if row.verdict == Verdict::Allow as u8 {
        return PASS;
    }
    account::count(Count::DroppedPackets);
    DROP
}

/// Decides a connection under another policy than the one it was decided under.
#[inline(never)]
pub(crate) fn decide_again(row: &mut ConnectionRow, tables: &KernelTables) {
    let Some(slot) = tables.workload(row.workload) else {
        // Its workload is no longer described: nothing protects it, nothing is asked of it.
        row.generation = tables.generation;
        return;
    };
    let Ok(direction) = Direction::try_from(row.direction) else {
        row.verdict = Verdict::Deny as u8;
        return;
    };
    let peer = resolve(tables, &row.peer);
    let port = match direction {
        Direction::Egress => row.peer_port,
        Direction::Ingress => row.local_port,
    };
    let decision = decide(
        tables,
        &Question { subject: row.workload, slot, peer, direction, protocol: protocol::TCP, port },
    );
    row.rule = decision.enforced.rule;
    row.origin = decision.enforced.origin as u8;
    row.verdict = decision.enforced.verdict as u8;
    row.identity = slot.identity;
    row.peer_workload = peer.workload;
    row.peer_identity = peer.identity;
    row.flags = (row.flags & !ConnectionRow::AUDITED)
        | if decision.would_be.is_some() { ConnectionRow::AUDITED } else { 0 };
    row.generation = tables.generation;
}

#[inline(always)]
fn attempt_of(
    skb: *mut __sk_buff,
    tables: &KernelTables,
    subject: &Subject,
    parsed: &Packet,
    peer: &windrose_engine::Peer,
    sent: bool,
) -> Attempt {
    Attempt {
        local: if sent { parsed.source } else { parsed.destination },
        peer: if sent { parsed.destination } else { parsed.source },
        local_port: if sent { parsed.source_port } else { parsed.destination_port },
        peer_port: if sent { parsed.destination_port } else { parsed.source_port },
        workload: subject.workload,
        identity: subject.slot.identity,
        peer_workload: peer.workload,
        peer_identity: peer.identity,
        direction: if sent { Direction::Egress as u8 } else { Direction::Ingress as u8 },
        protocol: parsed.protocol,
        generation: tables.generation,
        // SAFETY: the helper takes this program's context.
        cookie: unsafe { bpf_get_socket_cookie(skb.cast()) },
        // SAFETY: as above.
        netns: unsafe { bpf_get_netns_cookie(skb.cast()) },
    }
}

/// Decides a packet as the first of its flow, and reports what is refused or would be.
#[inline(always)]
fn judge(tables: &KernelTables, subject: &Subject, attempt: &Attempt, peer: windrose_engine::Peer) -> Decision {
    let sent = attempt.direction == Direction::Egress as u8;
    let direction = if sent { Direction::Egress } else { Direction::Ingress };
    let port = flows::port_of_policy(attempt.protocol, if sent { attempt.peer_port } else { attempt.local_port });
    let decision = decide(
        tables,
        &Question {
            subject: subject.workload,
            slot: subject.slot,
            peer,
            direction,
            protocol: attempt.protocol,
            port,
        },
    );
    if let Some(would_be) = &decision.would_be {
        events::refused(EventKind::Audited, attempt, would_be);
    }
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        refuse(attempt, &decision.enforced);
    }
    decision
}

/// Counts a refused packet; reports its attempt unless it repeats a recent one.
#[inline(never)]
fn refuse(attempt: &Attempt, outcome: &Outcome) {
    account::count(Count::DroppedPackets);
    let key = OriginKey {
        source: attempt.peer,
        destination: attempt.local,
        source_port: attempt.peer_port,
        destination_port: attempt.local_port,
        protocol: u32::from(attempt.protocol) | u32::from(attempt.direction) << 8,
        netns: attempt.netns,
    };
    if let Some(seen) = maps::RECENT_REFUSALS.get_ptr(&key) {
        // SAFETY: a live entry; a stale value repeats an event.
        if unsafe { *seen } == attempt.generation {
            return;
        }
    }
    let _ = maps::RECENT_REFUSALS.insert(&key, &attempt.generation, 0);
    events::refused(EventKind::Refused, attempt, outcome);
}

/// A drop that is no policy's: counted with its reason.
#[inline(always)]
fn drop_because(subject: &Subject, sent: bool, reason: DropReason) -> i32 {
    account::count(Count::DroppedPackets);
    account::refusal(&RefusalKey {
        workload: subject.workload,
        peer_workload: 0,
        rule: 0,
        direction: if sent { Direction::Egress as u8 } else { Direction::Ingress as u8 },
        reason: reason as u8,
        audited: 0,
        protocol: 0,
    });
    DROP
}

/// A SYN on its way out. connect has decided it, unless the attempt is older than enforcement or
/// the policy has changed since.
#[inline(always)]
fn opening(skb: *mut __sk_buff, sk: *mut bpf_sock, tables: &KernelTables, depths: u64) -> i32 {
    if connections::get(sk).is_some() {
        return of_connection(sk, tables);
    }
    let Some(subject) = subject::of_skb(tables, depths, skb) else { return PASS };
    let Some(parsed) = parse(skb, 0) else {
        return drop_because(&subject, true, DropReason::Unparsable);
    };
    let peer = resolve(tables, &parsed.destination);
    let attempt = attempt_of(skb, tables, &subject, &parsed, &peer, true);
    let decision = judge(tables, &subject, &attempt, peer);
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        return DROP;
    }
    match connections::get_or_create(sk) {
        Some(row) => {
            // SAFETY: the sender holds the socket locked.
            connect::fill(unsafe { &mut *row }, &attempt, &decision, Phase::Opening);
            PASS
        }
        None => drop_because(&subject, true, DropReason::NoRoom),
    }
}

/// A packet for a listener: a SYN is decided; whatever else comes belongs to a handshake whose SYN
/// was (a SYN cookie proves it), and the connection is decided again when it is established.
#[inline(always)]
fn accepting(skb: *mut __sk_buff, sk: *mut bpf_sock, tables: &KernelTables, depths: u64) -> i32 {
    let Some(subject) = subject::of_skb(tables, depths, skb) else { return PASS };
    let Some(parsed) = parse(skb, 0) else {
        return drop_because(&subject, false, DropReason::Unparsable);
    };
    if parsed.tcp_flags & (TCP_SYN | TCP_ACK) != TCP_SYN {
        return PASS;
    }
    let peer = resolve(tables, &parsed.source);
    let attempt = attempt_of(skb, tables, &subject, &parsed, &peer, false);
    let decision = judge(tables, &subject, &attempt, peer);
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        return DROP;
    }
    mark_listener(sk, &subject)
}

/// Marks a listener with its workload; accepted sockets get a copy of the row (`BPF_F_CLONE`).
#[inline(always)]
fn mark_listener(sk: *mut bpf_sock, subject: &Subject) -> i32 {
    match connections::get_or_create(sk) {
        Some(row) => {
            // SAFETY: concurrent SYNs write the same two words.
            unsafe {
                (*row).workload = subject.workload;
                (*row).phase = Phase::Listener as u8;
            }
            PASS
        }
        None => drop_because(subject, false, DropReason::NoRoom),
    }
}

/// A packet of anything but a TCP connection.
#[inline(always)]
fn without_connection(skb: *mut __sk_buff, tables: &KernelTables, subject: &Subject, sent: bool) -> i32 {
    let Some(parsed) = parse(skb, 0) else {
        return drop_because(subject, sent, DropReason::Unparsable);
    };
    match parsed.kind {
        Kind::NeighbourDiscovery => return PASS,
        Kind::LaterFragment => return later_fragment(subject, sent),
        Kind::IcmpError => {
            if is_related(skb, subject, &parsed, sent) {
                return PASS;
            }
        }
        Kind::Whole | Kind::EchoRequest | Kind::EchoReply => {}
    }
    let (peer_address, local_port, peer_port) = if sent {
        (parsed.destination, parsed.source_port, parsed.destination_port)
    } else {
        (parsed.source, parsed.destination_port, parsed.source_port)
    };
    let key = FlowKey {
        peer: peer_address,
        workload: subject.workload,
        local_port,
        peer_port,
        protocol: u32::from(parsed.protocol),
    };
    // SAFETY: the kernel passes a live context.
    let length = unsafe { (*skb).len };
    let passing = Passing { sent, bytes: u64::from(length.saturating_sub(parsed.payload)) };
    match flows::known(tables, subject, &key, &passing) {
        Known::Allowed => return PASS,
        Known::EndedLate => return drop_because(subject, sent, DropReason::LateDenial),
        Known::No => {}
    }
    let peer = resolve(tables, &peer_address);
    let attempt = attempt_of(skb, tables, subject, &parsed, &peer, sent);
    let decision = judge(tables, subject, &attempt, peer);
    if matches!(decision.enforced.verdict, Verdict::Deny) {
        return DROP;
    }
    if flows::remember(&key, &attempt, &decision, &passing) {
        return PASS;
    }
    refuse(&attempt, &Outcome::deny(Origin::None, 0, DropReason::NoRoom));
    DROP
}

/// Only a raw socket sends fragments through this hook (it sees packets before fragmentation and
/// after reassembly). Their first fragment's verdict is not kept: an isolated workload's later
/// fragments are dropped, an open one's pass.
#[inline(always)]
fn later_fragment(subject: &Subject, sent: bool) -> i32 {
    let set = if sent { subject.slot.egress_set } else { subject.slot.ingress_set };
    if set == 0 { PASS } else { drop_because(subject, sent, DropReason::Fragment) }
}

/// Whether an ICMP error answers a flow that is allowed.
#[inline(never)]
fn is_related(skb: *mut __sk_buff, subject: &Subject, error: &Packet, sent: bool) -> bool {
    let Some(inner) = parse(skb, error.payload) else { return false };
    // A received error holds a packet that we sent; a sent one holds a packet that we received.
    let (peer, local_port, peer_port) = if sent {
        (inner.source, inner.destination_port, inner.source_port)
    } else {
        (inner.destination, inner.source_port, inner.destination_port)
    };
    let key =
        FlowKey { peer, workload: subject.workload, local_port, peer_port, protocol: u32::from(inner.protocol) };
    maps::FLOWS.get_ptr(&key).is_some()
}

/// A packet of no workload's socket. The kernel itself answers in a workload's name: echo replies,
/// ICMP errors and resets for closed ports. It answers only what the workload may receive.
#[inline(never)]
fn answer(skb: *mut __sk_buff, tables: &KernelTables) -> i32 {
    let Some(parsed) = parse(skb, 0) else { return PASS };
    let (source, protocol_number, port) = match parsed.kind {
        Kind::EchoReply => (parsed.destination, parsed.protocol, 0),
        Kind::IcmpError => match parse(skb, parsed.payload) {
            Some(inner) => (inner.source, inner.protocol, inner.destination_port),
            None => return PASS,
        },
        Kind::Whole if parsed.protocol == protocol::TCP && parsed.tcp_flags & TCP_RST != 0 => {
            (parsed.destination, protocol::TCP, parsed.source_port)
        }
        _ => return PASS,
    };
    let owner: Address = parsed.source;
    let local = resolve(tables, &owner);
    if local.workload == 0 {
        return PASS;
    }
    let Some(slot) = tables.workload(local.workload) else { return PASS };
    let subject = Subject { workload: local.workload, slot };
    let decision = decide(
        tables,
        &Question {
            subject: subject.workload,
            slot,
            peer: resolve(tables, &source),
            direction: Direction::Ingress,
            protocol: protocol_number,
            port: flows::port_of_policy(protocol_number, port),
        },
    );
    match decision.enforced.verdict {
        Verdict::Allow => PASS,
        Verdict::Deny => drop_because(&subject, false, DropReason::Answer),
    }
}
