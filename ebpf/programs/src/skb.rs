//! Every packet that a socket sends or is about to receive.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_load_bytes,
};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use core::mem::MaybeUninit;
use windrose_abi::codes::protocol;
use windrose_abi::{
    Address, ConnectionRow, Direction, DropReason, OriginKey, Phase, RefusalKey, Verdict, decision,
};
use windrose_engine::packet::{TCP_ACK, TCP_RST, TCP_SYN};
use windrose_engine::{Bytes, Kind, Packet, packet};

use crate::account::{self, Count};
use crate::case::{self, Case, Scene};
use crate::flows::{self, Known};
use crate::origins::{self, Source};
use crate::subject::Subject;
use crate::tables::KernelTables;
use crate::{answers, connections, fragments, maps, refusals, subject, syns, tables};

pub(crate) const DROP: i32 = 0;
pub(crate) const PASS: i32 = 1;
/// The packet is of no workload's socket.
const NOBODY: i32 = 2;
/// No verdict yet.
const GO_ON: i32 = 3;

/// `skb->protocol` of IPv4, as it stands in memory.
const IPV4_TYPE: u32 = 0x0800_u16.to_be() as u32;
const DO_NOT_FRAGMENT: u8 = 0x40;
/// Offset of the flag byte in a TCP header.
const TCP_FLAGS_AT: u32 = 13;

const AF_INET: u32 = 2;
const STREAM: u32 = 1; // SOCK_STREAM
const LISTEN: u32 = 10; // TCP_LISTEN
const NEW_SYN_RECV: u32 = 12; // TCP_NEW_SYN_RECV
const SYN_SENT: u32 = 2; // TCP_SYN_SENT

/// The bytes of a packet, copied out by the kernel: headers may lie in several fragments.
pub(crate) struct SkbBytes(pub(crate) *mut __sk_buff);

impl Bytes for SkbBytes {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: `bytes` has room for the N bytes asked for.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.cast::<core::ffi::c_void>(), at, bytes.as_mut_ptr().cast(), N as u32)
        };
        // SAFETY: the helper writes all of it, zeros when it fails.
        (result == 0).then(|| unsafe { bytes.assume_init() })
    }
}

/// Parses the packet whose IP header is at `at`.
#[inline(always)]
pub(crate) fn parse_at(skb: *mut __sk_buff, at: u32, packet: &mut Packet) -> bool {
    parse_packet(skb, at, packet) == 0
}

/// As a global function: the verifier checks it once, and its buffers do not add to the frames of
/// its callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_packet(skb: *mut __sk_buff, at: u32, parsed: *mut Packet) -> i32 {
    if parsed.is_null() {
        return 1;
    }
    match packet::parse(&SkbBytes(skb), at) {
        Ok(found) => {
            // SAFETY: checked above; the only caller passes an exclusive and live reference.
            unsafe { parsed.write(found) };
            0
        }
        Err(_) => 1,
    }
}

/// Bytes 4 to 7 of the transport header, as they stand in memory; 0 if it is shorter.
#[inline(never)]
pub(crate) fn transport_word(skb: *mut __sk_buff, parsed: &Packet) -> u32 {
    word_at(skb, u32::from(parsed.transport) + 4)
}

/// Four bytes as they stand in memory; 0 past the end.
#[inline(always)]
pub(crate) fn word_at(skb: *mut __sk_buff, at: u32) -> u32 {
    SkbBytes(skb).read::<4>(at).map_or(0, u32::from_ne_bytes)
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
    if is_known(skb) {
        return PASS;
    }
    match socket(skb) {
        None => PASS,
        Some(sk) if is_tcp(sk) => sent_by_tcp(skb, sk),
        // One after the other, not one inside the other: their frames would not fit.
        Some(sk) => match without_connection(skb, true) {
            NOBODY => answers::answer(skb, sk),
            verdict => verdict,
        },
    }
}

#[cgroup_skb(ingress)]
pub fn packet_ingress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    if is_known(skb) {
        return PASS;
    }
    match socket(skb) {
        None => PASS,
        Some(sk) if is_tcp(sk) => received_by_tcp(skb, sk),
        Some(_) => match without_connection(skb, false) {
            NOBODY => PASS,
            verdict => verdict,
        },
    }
}

/// Whether the packet belongs to an established connection that the policy in force allows: nearly
/// every packet does, so this comes before all else and asks for nothing that it does not need.
#[inline(never)]
fn is_known(skb: *mut __sk_buff) -> bool {
    // SAFETY: the kernel passes a live context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return false;
    }
    // The helper answers null for a socket that is not full.
    let Some(row) = connections::get(sk) else { return false };
    let Some(generation) = tables::generation() else { return false };
    // SAFETY: the row lives as long as the socket.
    let row = unsafe { &*row };
    row.phase == Phase::Open as u8 && row.decision == decision(generation, Verdict::Allow)
}

#[inline(never)]
fn sent_by_tcp(skb: *mut __sk_buff, sk: *mut bpf_sock) -> i32 {
    let Some((tables, depths)) = tables::current() else { return PASS };
    match state(sk) {
        // Its SYN-ACKs answer what ingress let in.
        LISTEN | NEW_SYN_RECV => PASS,
        SYN_SENT => {
            if connections::get(sk).is_none() && opening(skb, sk, &tables, depths) == DROP {
                return DROP;
            }
            let Some(row) = connections::get(sk) else { return PASS };
            // SAFETY: the sender holds the socket locked.
            if check_source(sk, unsafe { &mut *row }, &tables) == DROP {
                return DROP;
            }
            of_connection(sk, &tables)
        }
        _ => match of_connection(sk, &tables) {
            // The reset of a connection that is ended late, or its peer would never learn of it.
            DROP if is_reset(skb) => PASS,
            verdict => verdict,
        },
    }
}

#[inline(never)]
fn is_reset(skb: *mut __sk_buff) -> bool {
    let mut parsed = Packet::EMPTY;
    parse_at(skb, 0, &mut parsed) && parsed.tcp_flags & TCP_RST != 0
}

#[inline(never)]
fn received_by_tcp(skb: *mut __sk_buff, sk: *mut bpf_sock) -> i32 {
    let Some((tables, depths)) = tables::current() else { return PASS };
    match state(sk) {
        LISTEN => accepting(skb, sk, &tables, depths),
        NEW_SYN_RECV => PASS,
        _ => of_connection(sk, &tables),
    }
}

/// The packet's full socket. The hook runs for no other (`BPF_CGROUP_RUN_PROG_INET_EGRESS` in
/// include/linux/bpf-cgroup.h; ingress is called with the receiving socket).
#[inline(always)]
pub(crate) fn socket(skb: *mut __sk_buff) -> Option<*mut bpf_sock> {
    // SAFETY: the kernel passes a live context; a null socket is checked.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the helper takes the context's socket and answers null for one that is not full.
    let full = unsafe { bpf_sk_fullsock(sk) };
    (!full.is_null()).then_some(full)
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
    if row.phase == Phase::Listener as u8 {
        // A child of a listener whose handshake another processor is about to end: it does not know
        // its peer yet (packets are filtered before the socket is locked, `tcp_v4_rcv`). Its SYN was
        // allowed, and it is decided when it is established.
        return PASS;
    }
    if row.generation() != tables.generation {
        case::decide_again(row, tables);
    }
    if matches!(row.verdict(), Verdict::Allow) {
        return PASS;
    }
    account::count(Count::DroppedPackets);
    DROP
}

/// What a packet tells of its scene.
#[inline(always)]
pub(crate) fn scene_of(skb: *mut __sk_buff, parsed: &Packet, sent: bool) -> Scene {
    Scene {
        local: if sent { parsed.source } else { parsed.destination },
        peer: if sent { parsed.destination } else { parsed.source },
        local_port: if sent { parsed.source_port } else { parsed.destination_port },
        peer_port: if sent { parsed.destination_port } else { parsed.source_port },
        transport_word: 0,
        // SAFETY: the helper takes this program's context.
        cookie: unsafe { bpf_get_socket_cookie(skb.cast()) },
        // SAFETY: as above.
        netns: unsafe { bpf_get_netns_cookie(skb.cast()) },
        interface: 0,
    }
}

/// Decides a packet as the first of its flow, and reports what is refused or would be.
#[inline(always)]
fn judge(skb: *mut __sk_buff, case: &mut Case, parsed: &Packet) -> bool {
    let sent = matches!(case.question.direction, Direction::Egress);
    case::judge(case, if sent { &parsed.destination } else { &parsed.source });
    if case.question.peer.is_host && !sent {
        case.by_socket = origins::of_packet(skb, parsed);
        if case.by_socket != 0 {
            case::judge(case, &parsed.source);
        }
    }
    if case.is_denied() || case.decision.would_be().is_some() {
        refusals::report(skb, case, parsed);
    }
    !case.is_denied()
}

/// A drop that is no policy's: counted with its reason.
#[inline(never)]
pub(crate) fn drop_because(workload: u32, direction: Direction, reason: DropReason) -> i32 {
    account::count(Count::DroppedPackets);
    account::refusal(&RefusalKey {
        workload,
        peer_workload: 0,
        rule: 0,
        direction: direction as u8,
        reason: reason as u8,
        audited: 0,
        protocol: 0,
    });
    DROP
}

/// A SYN that connect has not decided: the attempt is older than enforcement.
#[inline(never)]
fn opening(skb: *mut __sk_buff, sk: *mut bpf_sock, tables: &KernelTables, depths: u64) -> i32 {
    let mut case = Case::new(*tables, Subject::NOBODY, Direction::Egress, protocol::TCP, 0);
    let mut parsed = Packet::EMPTY;
    match begin(skb, depths, &mut case, &mut parsed) {
        GO_ON => {}
        verdict => return verdict,
    }
    if !judge(skb, &mut case, &parsed) {
        return DROP;
    }
    let Some(row) = connections::get_or_create(sk) else {
        account::no_room(&case);
        return DROP;
    };
    // SAFETY: the sender holds the socket locked.
    keep(skb, unsafe { &mut *row }, &case, &parsed);
    PASS
}

/// The source address of a connection that opens is known when its first SYN leaves: it must be the
/// workload's own, or nobody's.
#[inline(never)]
fn check_source(sk: *mut bpf_sock, row: &mut ConnectionRow, tables: &KernelTables) -> i32 {
    if row.flags & (ConnectionRow::LENT | ConnectionRow::OWN) != 0 {
        return PASS;
    }
    let source = source_of(sk);
    let key = OriginKey {
        source,
        destination: row.peer,
        // SAFETY: the callers check that `sk` is not null.
        source_port: (unsafe { (*sk).src_port }) as u16,
        destination_port: row.peer_port,
        protocol: u32::from(protocol::TCP),
        netns: origins::scope(&source, row.netns),
    };
    match origins::lend_to(tables, row.workload, row.identity, &key) {
        Source::Own => row.flags |= ConnectionRow::OWN,
        Source::Lent => row.flags |= ConnectionRow::LENT,
        Source::Foreign => return drop_because(row.workload, Direction::Egress, DropReason::Spoofed),
        Source::NoRoom => return drop_because(row.workload, Direction::Egress, DropReason::NoRoom),
    }
    PASS
}

/// The address that a socket sends from.
#[inline(always)]
fn source_of(sk: *mut bpf_sock) -> Address {
    // All words first, volatile: see `sockops::addresses`.
    macro_rules! word {
        ($($field:tt)*) => {
            // SAFETY: the callers check that `sk` is not null; the field is one of its words.
            unsafe { core::ptr::read_volatile(&raw const (*sk).$($field)*) }
        };
    }
    let v4 = word!(src_ip4);
    let v6 = [word!(src_ip6[0]), word!(src_ip6[1]), word!(src_ip6[2]), word!(src_ip6[3])];
    if word!(family) == AF_INET { Address::from_v4_word(v4) } else { Address { words: v6 } }
}

/// Finds the subject and parses; a verdict, or [`GO_ON`].
#[inline(always)]
fn begin(skb: *mut __sk_buff, depths: u64, case: &mut Case, parsed: &mut Packet) -> i32 {
    if !find_subject(skb, depths, case) {
        return PASS;
    }
    if !parse_at(skb, 0, parsed) {
        return drop_because(case.question.subject, case.question.direction, DropReason::Unparsable);
    }
    case.question.protocol = parsed.protocol;
    case.question.port = parsed.destination_port;
    GO_ON
}

#[inline(never)]
fn keep(skb: *mut __sk_buff, row: &mut ConnectionRow, case: &Case, parsed: &Packet) {
    case::fill(row, case, &scene_of(skb, parsed, true), Phase::Opening);
}

/// A packet for a listener: a SYN is decided; whatever else comes belongs to a handshake whose SYN
/// was, or was answered by the edge, and the connection is decided again when it is established.
#[inline(never)]
fn accepting(skb: *mut __sk_buff, sk: *mut bpf_sock, tables: &KernelTables, depths: u64) -> i32 {
    if ends_handshake(skb) && connections::get(sk).is_some() {
        return PASS;
    }
    let mut case = Case::new(*tables, Subject::NOBODY, Direction::Ingress, protocol::TCP, 0);
    let mut parsed = Packet::EMPTY;
    match begin(skb, depths, &mut case, &mut parsed) {
        GO_ON => {}
        verdict => return verdict,
    }
    match parsed.tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK) {
        TCP_SYN => {}
        // The end of a handshake that may be the first thing this listener sees: the edge has
        // answered its SYN with a cookie (`edge_cookie.rs`). Without a row of the listener its
        // child would have none, and nobody would decide it.
        TCP_ACK if connections::get(sk).is_none() => {}
        _ => return PASS,
    }
    if !judge(skb, &mut case, &parsed) {
        return DROP;
    }
    syns::remember(skb, &case, &parsed);
    mark_listener(sk, &case)
}

/// Whether a packet is plainly no SYN: whole, without options or extension headers, with ACK set.
/// Anything else is parsed.
#[inline(never)]
fn ends_handshake(skb: *mut __sk_buff) -> bool {
    let bytes = SkbBytes(skb);
    // SAFETY: the kernel passes a live context.
    let flags_at = if unsafe { (*skb).protocol } == IPV4_TYPE {
        // Its length in words, and bytes 6 and 7: a fragment's flag and offset.
        let Some([b'\x45', _, _, _, _, _, fragment, 0]) = bytes.read::<8>(0) else { return false };
        if fragment & !DO_NOT_FRAGMENT != 0 {
            return false;
        }
        20 + TCP_FLAGS_AT
    } else {
        let Some([_, _, _, _, _, _, protocol::TCP]) = bytes.read::<7>(0) else { return false };
        40 + TCP_FLAGS_AT
    };
    matches!(bytes.read::<2>(flags_at), Some([flags, _]) if flags & (TCP_SYN | TCP_ACK) == TCP_ACK)
}

/// Marks a listener with its workload; accepted sockets get a copy of the row (`BPF_F_CLONE`).
#[inline(always)]
fn mark_listener(sk: *mut bpf_sock, case: &Case) -> i32 {
    let Some(row) = connections::get_or_create(sk) else {
        account::no_room(case);
        return DROP;
    };
    // SAFETY: concurrent SYNs write the same two words.
    unsafe {
        (*row).workload = case.question.subject;
        (*row).phase = Phase::Listener as u8;
    }
    PASS
}

/// Whose packet it is, in a frame of its own.
#[inline(never)]
fn find_subject(skb: *mut __sk_buff, depths: u64, case: &mut Case) -> bool {
    let Some(subject) = subject::of_skb(&case.tables, depths, skb) else { return false };
    case.question.subject = subject.workload;
    case.question.slot = subject.slot;
    true
}

/// A packet of anything but a TCP connection.
#[inline(never)]
fn without_connection(skb: *mut __sk_buff, sent: bool) -> i32 {
    let Some((tables, depths)) = tables::current() else { return PASS };
    let direction = if sent { Direction::Egress } else { Direction::Ingress };
    let mut case = Case::new(tables, Subject::NOBODY, direction, 0, 0);
    if !find_subject(skb, depths, &mut case) {
        return NOBODY;
    }
    let mut parsed = Packet::EMPTY;
    if !parse_at(skb, 0, &mut parsed) {
        return drop_because(case.question.subject, direction, DropReason::Unparsable);
    }
    let port = flows::port_of_policy(parsed.protocol, parsed.destination_port);
    case.question.protocol = parsed.protocol;
    case.question.port = port;
    match parsed.kind {
        Kind::NeighbourDiscovery => return PASS,
        Kind::LaterFragment => return fragments::later(&case, &parsed),
        Kind::IcmpError => {
            if is_related(skb, &case, parsed.payload) {
                return PASS;
            }
        }
        Kind::Whole | Kind::EchoRequest | Kind::EchoReply => {}
    }
    // SAFETY: the kernel passes a live context.
    let bytes = u64::from(unsafe { (*skb).len }.saturating_sub(u32::from(parsed.payload)));
    match flows::known(skb, &mut case, &parsed, bytes) {
        Known::Allowed => {
            if parsed.is_fragment {
                fragments::remember(&case, &parsed);
            }
            return PASS;
        }
        Known::EndedLate => return drop_because(case.question.subject, direction, DropReason::LateDenial),
        Known::No => {}
    }
    case.question.direction = direction;
    case.question.port = port;
    if !judge(skb, &mut case, &parsed) {
        return DROP;
    }
    admit(skb, &case, &parsed, bytes)
}

/// Remembers a flow with its first packet, and its sender where the address does not name it.
#[inline(never)]
fn admit(skb: *mut __sk_buff, case: &Case, parsed: &Packet, bytes: u64) -> i32 {
    if parsed.is_fragment {
        fragments::remember(case, parsed);
    }
    let mut lent = false;
    if matches!(case.question.direction, Direction::Egress) {
        match origins::lend(skb, case, parsed) {
            Source::Own => {}
            Source::Lent => lent = true,
            Source::Foreign => {
                return drop_because(case.question.subject, Direction::Egress, DropReason::Spoofed);
            }
            Source::NoRoom => {
                account::no_room(case);
                return DROP;
            }
        }
    }
    if flows::remember(skb, case, parsed, bytes, lent) {
        return PASS;
    }
    account::no_room(case);
    DROP
}

/// Whether an ICMP error answers a flow that is allowed.
#[inline(never)]
fn is_related(skb: *mut __sk_buff, case: &Case, inner_at: u16) -> bool {
    let Some(inner) = parse(skb, u32::from(inner_at)) else { return false };
    // A received error holds a packet that we sent; a sent one holds a packet that we received.
    let sent = matches!(case.question.direction, Direction::Egress);
    let key = flows::key_of(case.question.subject, &inner, !sent);
    maps::FLOWS.get_ptr(&key).is_some()
}
