//! Balancing of what goes through the stack: answers that it sends on, and what comes in where the
//! driver has no hook. Helpers of the kernel translate, since they know which checksums are half
//! done and which packets are many.

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use core::ffi::c_void;
use windrose_abi::codes::protocol;
use windrose_abi::{Address, EdgeReason, ForwardHop, Forwarding};
use windrose_engine::forward::Shape;
use windrose_engine::{Kind, Packet, ParseError, frame, packet};

use crate::edge::count;
use crate::edge_frame::Frame;
use crate::forward_plan::{
    FORWARD_PLANNED, LEAVE, RETURN, SEND, forward_later, forward_note, forward_plain, plan_quoted,
    take_quoted,
};
use crate::forward_tables::{FORWARD_HOPS, ends};
use crate::skb::{SkbBytes, parse_at};

/// To the next program on the interface (`TCX_NEXT`), or the stack.
const NEXT: i32 = -1;
const DROP: i32 = 2; // TC_ACT_SHOT
/// `BPF_F_IPV6`: the change is in a pseudo-header that no other checksum makes up for.
const PSEUDO_V6: u64 = 1 << 7;

/// What leaves by an interface of the edge: answers of endpoints that the stack sends on.
#[classifier]
pub fn edge_return(context: TcContext) -> i32 {
    balance(context.skb.skb, RETURN)
}

/// What arrives where XDP has no driver's hook.
#[classifier]
pub fn edge_arrive(context: TcContext) -> i32 {
    balance(context.skb.skb, SEND)
}

/// Translates what was planned, if it is of this kind or may be of any. What is sent to endpoints
/// without translation cannot be done here.
#[inline(always)]
fn balance(skb: *mut __sk_buff, wanted: u32) -> i32 {
    let bytes = Frame::of_skb(skb);
    let Ok(front) = frame::parse(&bytes) else { return NEXT };
    let packet = match front.ether_type {
        frame::IPV4 => packet::parse_version(&bytes, front.network, 4),
        frame::IPV6 => packet::parse_version(&bytes, front.network, 6),
        _ => return NEXT,
    };
    let packet = match packet {
        Ok(packet) => packet,
        Err(ParseError::Truncated) => {
            let mut packet = Packet::EMPTY;
            if !parse_at(skb, front.network, &mut packet) {
                return NEXT;
            }
            packet
        }
        Err(_) => return NEXT,
    };
    // One after the other, not one inside the other: their frames would not fit.
    let step = match Shape::of(&packet) {
        shape @ (Shape::Plain | Shape::First) => {
            let ends = ends(&packet);
            let step = if ends == 0 { LEAVE } else { forward_plain(&packet, ends) };
            if shape == Shape::First {
                forward_note(&packet, step);
            }
            step
        }
        Shape::Later => forward_later(&packet),
        Shape::Error if forward_quoted_skb(skb, &packet) == 1 => plan_quoted(),
        Shape::Error => LEAVE,
        Shape::Other => LEAVE,
    };
    if step == LEAVE {
        return NEXT;
    }
    if step != SEND && step != RETURN {
        // Only what comes in is refused.
        if wanted != SEND {
            return NEXT;
        }
        if let Ok(reason) = EdgeReason::try_from(step as u8) {
            count(reason);
        }
        return DROP;
    }
    if wanted == RETURN && step != RETURN {
        // This node's own traffic to a frontend: not from a client outside.
        return NEXT;
    }
    let is_done = if step == SEND {
        translate_to_endpoint(skb, front.network, &packet) == 1
    } else {
        translate_to_client(skb, front.network, &packet) == 1
    };
    count(if is_done { EdgeReason::HandedOver } else { EdgeReason::NoRoute });
    if is_done { NEXT } else { DROP }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_quoted_skb(skb: *mut __sk_buff, packet: *const Packet) -> i32 {
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; the only caller passes a live reference.
    take_quoted(&SkbBytes(skb), unsafe { &*packet })
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn translate_to_endpoint(skb: *mut __sk_buff, network: u32, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &*planned) };
    let endpoint = &planned.endpoint;
    if endpoint.forwarding != Forwarding::Nat as u8 {
        return 0;
    }
    if let Some(hop) = FORWARD_HOPS.get_ptr_mut(planned.index) {
        // SAFETY: this processor's own.
        tell(unsafe { &mut *hop }, skb, network, endpoint.serial, planned.is_new);
    }
    let change = Change { old: packet.destination, new: endpoint.address, is_source: false };
    match packet.kind {
        Kind::IcmpError => {
            let inner = Change { is_source: true, ..change };
            i32::from(error(skb, network, packet, Some(&change), &inner, endpoint.port).is_some())
        }
        _ => {
            i32::from(whole(skb, network, packet, &change, packet.destination_port, endpoint.port).is_some())
        }
    }
}

#[inline(always)]
fn tell(hop: &mut ForwardHop, skb: *mut __sk_buff, network: u32, serial: u32, is_new: u32) {
    if hop.serial != serial {
        *hop = ForwardHop { serial, ..ForwardHop::ZERO };
    }
    hop.packets += 1;
    // SAFETY: the context of this run.
    hop.bytes += u64::from(unsafe { (*skb).len }.saturating_sub(network));
    hop.flows += u64::from(is_new);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn translate_to_client(skb: *mut __sk_buff, network: u32, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &*planned) };
    let frontend = &planned.frontend;
    let change = Change { old: packet.source, new: frontend.address, is_source: true };
    match packet.kind {
        Kind::IcmpError => {
            let quoted = u32::from(packet.payload);
            let Some(old) = address_at(skb, quoted, packet.source.is_v4()) else { return 0 };
            let inner = Change { old, new: frontend.address, is_source: false };
            let outer = (packet.source == old).then_some(&change);
            i32::from(error(skb, network, packet, outer, &inner, frontend.port).is_some())
        }
        _ => i32::from(whole(skb, network, packet, &change, packet.source_port, frontend.port).is_some()),
    }
}

/// One address of a header becomes another one.
#[derive(Clone, Copy)]
struct Change {
    old: Address,
    new: Address,
    is_source: bool,
}

/// The destination of a quoted packet.
#[inline(always)]
fn address_at(skb: *mut __sk_buff, quoted: u32, is_v4: bool) -> Option<Address> {
    let mut words = [0_u32; 4];
    let (at, bytes) = if is_v4 { (quoted + 16, 4) } else { (quoted + 24, 16) };
    // SAFETY: `words` has room for them.
    let read = unsafe { bpf_skb_load_bytes(skb.cast(), at, words.as_mut_ptr().cast(), bytes) };
    (read == 0).then_some(if is_v4 { Address::from_v4_word(words[0]) } else { Address { words } })
}

/// Translates a packet by an address and a port.
#[inline(always)]
fn whole(
    skb: *mut __sk_buff,
    network: u32,
    packet: &Packet,
    change: &Change,
    old_port: u16,
    port: u16,
) -> Option<()> {
    if packet.kind != Kind::LaterFragment {
        let transport = u32::from(packet.transport);
        let (checksum, flags) = if packet.protocol == protocol::TCP {
            (transport + 16, 0)
        } else {
            (transport + 6, u64::from(BPF_F_MARK_MANGLED_0))
        };
        pseudo(skb, checksum, change, flags)?;
        let (old, new) = (u64::from(old_port.to_be()), u64::from(port.to_be()));
        l4(skb, checksum, old, new, flags | 2)?;
        store(skb, if change.is_source { transport } else { transport + 2 }, &port.to_be())?;
    }
    header(skb, network, change)
}

/// Translates an ICMP error: the packet around, unless its sender keeps his name, and one end of
/// the packet that it quotes.
#[inline(always)]
fn error(
    skb: *mut __sk_buff,
    network: u32,
    packet: &Packet,
    outer: Option<&Change>,
    inner: &Change,
    port: u16,
) -> Option<()> {
    let quoted = u32::from(packet.payload);
    let checksum = u32::from(packet.transport) + 2;
    let is_v4 = inner.old.is_v4();
    let ports = quoted + if is_v4 { 20 } else { 40 } + if inner.is_source { 0 } else { 2 };
    let mut old_port = 0_u16;
    // SAFETY: `old_port` has room for 2 bytes.
    done(unsafe { bpf_skb_load_bytes(skb.cast(), ports, (&raw mut old_port).cast(), 2) })?;
    l4(skb, checksum, u64::from(old_port), u64::from(port.to_be()), 2)?;
    store(skb, ports, &port.to_be())?;
    // Of a quoted IPv4 header its own checksum makes up for the change.
    if !is_v4 {
        l4(skb, checksum, 0, difference(inner)?, 0)?;
    }
    header(skb, quoted, inner)?;
    if let Some(outer) = outer {
        if !is_v4 {
            pseudo(skb, checksum, outer, 0)?;
        }
        header(skb, network, outer)?;
    }
    Some(())
}

/// Puts a checksum right whose pseudo-header has another address.
#[inline(always)]
fn pseudo(skb: *mut __sk_buff, checksum: u32, change: &Change, flags: u64) -> Option<()> {
    let flags = flags | u64::from(BPF_F_PSEUDO_HDR);
    if change.old.is_v4() {
        let (old, new) = (u64::from(change.old.words[3]), u64::from(change.new.words[3]));
        return l4(skb, checksum, old, new, flags | 4);
    }
    let difference = difference(change)?;
    // Kernels without the flag refuse it.
    if l4(skb, checksum, 0, difference, flags | PSEUDO_V6).is_some() {
        return Some(());
    }
    l4(skb, checksum, 0, difference, flags)
}

/// Puts the checksum of a transport right.
#[inline(always)]
fn l4(skb: *mut __sk_buff, checksum: u32, old: u64, new: u64, flags: u64) -> Option<()> {
    // SAFETY: the helper takes this program's context and checks the offset.
    done(unsafe { bpf_l4_csum_replace(skb, checksum, old, new, flags) })
}

#[inline(always)]
fn difference(change: &Change) -> Option<u64> {
    let (mut old, mut new) = (change.old.words, change.new.words);
    // SAFETY: both have 16 bytes.
    let sum = unsafe { bpf_csum_diff(old.as_mut_ptr(), 16, new.as_mut_ptr(), 16, 0) };
    (sum >= 0).then_some(sum as u64)
}

/// Writes the new address into an IP header, and its checksum.
#[inline(always)]
fn header(skb: *mut __sk_buff, network: u32, change: &Change) -> Option<()> {
    if change.old.is_v4() {
        let (old, new) = (change.old.words[3], change.new.words[3]);
        // SAFETY: the helper takes this program's context and checks the offset.
        done(unsafe { bpf_l3_csum_replace(skb, network + 10, u64::from(old), u64::from(new), 4) })?;
        return store(skb, if change.is_source { network + 12 } else { network + 16 }, &new);
    }
    store(skb, if change.is_source { network + 8 } else { network + 24 }, &change.new)
}

#[inline(always)]
fn store<T>(skb: *mut __sk_buff, at: u32, value: &T) -> Option<()> {
    let from = core::ptr::from_ref(value).cast::<c_void>().cast_mut();
    // SAFETY: the helper reads as many bytes as the value has.
    done(unsafe { bpf_skb_store_bytes(skb, at, from.cast(), size_of::<T>() as u32, 0) })
}

#[inline(always)]
fn done(result: i64) -> Option<()> {
    (result == 0).then_some(())
}
