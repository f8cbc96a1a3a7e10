//! Refused packets: counted, reported once an attempt, with what an answer to them needs.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use windrose_abi::codes::protocol;
use windrose_abi::{ControlSlot, Direction, OriginKey};
use windrose_engine::decide::has_ports;
use windrose_engine::{Kind, Packet};

use crate::account::{self, Count};
use crate::case::{self, Case};
use crate::{events, maps, skb};

/// Time of refused attempts is counted in units of 2^27 ns, 134 ms. Repetitions of an attempt are
/// answered at most once in each: a TCP client repeats its SYN after a second at the earliest.
const TICK_BITS: u32 = 27;

/// A refused attempt that is repeated within this time, 64 s, is one attempt.
const REPEATS_WITHIN_TICKS: u64 = 64_000_000_000 >> TICK_BITS;

const RAW: u32 = 3; // SOCK_RAW
const PACKET_HOST: u32 = 0; // to this host, and to no other

/// Counts a refused packet; reports its attempt unless it repeats a recent one.
#[inline(never)]
pub(crate) fn report(skb: *mut __sk_buff, case: &Case, parsed: &Packet) {
    if case.is_denied() {
        account::count(Count::DroppedPackets);
    }
    let word = skb::transport_word(skb, parsed);
    let attempt = attempt_of(skb, case, parsed, word);
    if !matches!(attempt, Attempt::Repeated) {
        tell(skb, case, parsed, attempt);
    }
}

/// In a frame of its own, when that of the look-up is gone.
#[inline(never)]
fn tell(skb: *mut __sk_buff, case: &Case, parsed: &Packet, attempt: Attempt) {
    let sent = matches!(case.question.direction, Direction::Egress);
    let mut scene = skb::scene_of(skb, parsed, sent);
    if !sent {
        scene.transport_word = skb::transport_word(skb, parsed);
        scene.interface = interface_of_answer(skb, parsed);
    }
    if matches!(attempt, Attempt::New) {
        case::report(case, &scene);
    } else if scene.interface != 0 && case.is_denied() {
        case::ask_for_answer(case, &scene);
    }
}

/// The interface by which a refused packet came; 0 if it must not be answered. What has no ports is
/// dropped in silence (ICMP errors among it), and so is what was sent to more than this host.
#[inline(never)]
fn interface_of_answer(skb: *mut __sk_buff, parsed: &Packet) -> u64 {
    if !has_ports(parsed.protocol) || !matches!(parsed.kind, Kind::Whole) {
        return 0;
    }
    // SAFETY: the kernel passes a live context.
    if unsafe { (*skb).pkt_type } != PACKET_HOST {
        return 0;
    }
    if is_copy(skb) {
        return 0;
    }
    // SAFETY: as above.
    interface_code(unsafe { (*skb).ifindex })
}

/// Whether a packet is for a raw socket, which gets a copy of what is for another one, or for none.
#[inline(never)]
fn is_copy(skb: *mut __sk_buff) -> bool {
    // SAFETY: a socket that is found is not null.
    skb::socket(skb).is_some_and(|sk| unsafe { (*sk).type_ } == RAW)
}

/// An interface as `Event::interface` has it.
#[inline(always)]
pub(crate) fn interface_code(index: u32) -> u64 {
    u64::from(index.min(u32::from(u16::MAX)))
}

/// What a refused packet is to the agent.
#[derive(Clone, Copy)]
enum Attempt {
    /// An attempt that was not reported.
    New,
    /// A repetition, of which nobody need hear.
    Repeated,
    /// A repetition, to be answered as the first one was: its answer may be lost.
    Unanswered,
}

#[inline(never)]
fn attempt_of(skb: *mut __sk_buff, case: &Case, parsed: &Packet, word: u32) -> Attempt {
    // A TCP client that tries again from the same port begins with another sequence number. Cookies
    // of namespaces are counted from 1, so that the upper half of theirs is free for it.
    let sequence = if parsed.protocol == protocol::TCP { u64::from(word) << 32 } else { 0 };
    let key = OriginKey {
        source: parsed.source,
        destination: parsed.destination,
        source_port: parsed.source_port,
        destination_port: parsed.destination_port,
        // A copy comes before the packet, which would be taken for its repetition.
        protocol: u32::from(parsed.protocol)
            | u32::from(case.question.direction as u8) << 8
            | u32::from(is_copy(skb)) << 16,
        // SAFETY: the helper takes this program's context.
        netns: unsafe { bpf_get_netns_cookie(skb.cast()) } ^ sequence,
    };
    // Ticks (32 bits last 18 years) and generation in one word.
    let now = events::now() >> TICK_BITS;
    let stamp = case.tables.generation << 32 | now;
    let Some(seen) = maps::RECENT_REFUSALS.get_ptr_mut(&key) else {
        let _ = maps::RECENT_REFUSALS.insert(&key, stamp, 0);
        return Attempt::New;
    };
    // SAFETY: a live entry; a stale value repeats an event.
    let last = unsafe { *seen };
    // SAFETY: as above.
    unsafe { *seen = stamp };
    // 0 if another processor was later.
    let ticks = now.saturating_sub(last & 0xffff_ffff);
    if last >> 32 != stamp >> 32 || ticks > REPEATS_WITHIN_TICKS {
        return Attempt::New;
    }
    if ticks != 0 && case.tables.flags & ControlSlot::ANSWERS != 0 {
        return Attempt::Unanswered;
    }
    Attempt::Repeated
}
