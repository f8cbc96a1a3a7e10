//! Addresses, ports and checksums of a frame in place, and its way on.

use aya_ebpf::bindings::xdp_md;
use windrose_abi::Address;
use windrose_abi::codes::protocol;
use windrose_engine::forward::Delta;
use windrose_engine::{Kind, Packet};

use crate::edge_frame::Frame;
use crate::forward_plan::{FORWARD_PLANNED, NOTHING, Planned, Quoted};

/// On to the next hop: one less of its hops, and the frame's new ends.
#[inline(always)]
pub(crate) fn go(frame: &Frame, network: u32, is_v4: bool, ends: &[u16; 6]) -> Option<()> {
    if is_v4 {
        let word = frame.get::<u16>(network + 8)?;
        let check = frame.get::<u16>(network + 10)?;
        let [hops, next] = word.to_ne_bytes();
        let less = u16::from_ne_bytes([hops.wrapping_sub(1), next]);
        if hops <= 1 {
            return None;
        }
        frame.put(network + 8, less)?;
        frame.put(network + 10, Delta::NONE.word(word, less).applied(check))?;
    } else {
        let word = frame.get::<u16>(network + 6)?;
        let [next, hops] = word.to_ne_bytes();
        if hops <= 1 {
            return None;
        }
        frame.put(network + 6, u16::from_ne_bytes([next, hops - 1]))?;
    }
    put_ends(frame, ends)
}

#[inline(always)]
pub(crate) fn put_ends(frame: &Frame, ends: &[u16; 6]) -> Option<()> {
    let word = |n: usize| u32::from(ends[n]) | u32::from(ends[n + 1]) << 16;
    frame.put(0, word(0))?;
    frame.put(4, word(2))?;
    frame.put(8, word(4))
}

/// Translates the destination of a packet whose ports are there.
#[inline(always)]
pub(crate) fn to_endpoint(frame: &Frame, network: u32, packet: &Packet, planned: &Planned) -> Option<()> {
    let (old, new) = (&packet.destination, &planned.endpoint.address);
    put_destination(frame, network, old, new)?;
    let delta = Delta::NONE.address(old, new);
    ports(frame, packet, delta, 2, packet.destination_port, planned.endpoint.port)
}

/// Translates the destination of any other packet; what an ICMP error quotes is left to
/// [`forward_error`].
#[inline(always)]
pub(crate) fn rest_to_endpoint(
    frame: &Frame,
    network: u32,
    packet: &Packet,
    planned: &mut Planned,
) -> Option<()> {
    let (old, new) = (&packet.destination, &planned.endpoint.address);
    put_destination(frame, network, old, new)?;
    if packet.kind == Kind::IcmpError {
        // It quotes what the endpoint is said to have sent.
        let port = planned.endpoint.port;
        planned.quoted = Quoted { old: *old, new: *new, port, is_source: 1, is_outer: 1, reserved: 0 };
    }
    Some(())
}

#[inline(always)]
fn put_destination(frame: &Frame, network: u32, old: &Address, new: &Address) -> Option<()> {
    let at = if old.is_v4() { network + 16 } else { network + 24 };
    put_address(frame, network, at, old, new)
}

/// Translates a packet's source; what an ICMP error quotes is left to [`forward_error`].
#[inline(always)]
pub(crate) fn to_client(frame: &Frame, network: u32, packet: &Packet, planned: &mut Planned) -> Option<()> {
    let is_v4 = packet.source.is_v4();
    let at = if is_v4 { network + 12 } else { network + 8 };
    let new = &planned.frontend.address;
    let port = planned.frontend.port;
    if packet.kind == Kind::IcmpError {
        // About what a client has sent: from its endpoint, or from somebody on the way there, who
        // keeps his name.
        let quoted = u32::from(packet.payload);
        let old = get_address(frame, if is_v4 { quoted + 16 } else { quoted + 24 }, is_v4)?;
        let mut is_outer = 0;
        if packet.source == old {
            is_outer = 1;
            put_address(frame, network, at, &packet.source, new)?;
        }
        planned.quoted = Quoted { old, new: *new, port, is_source: 0, is_outer, reserved: 0 };
        return Some(());
    }
    put_address(frame, network, at, &packet.source, new)?;
    if packet.kind == Kind::LaterFragment {
        return Some(());
    }
    ports(frame, packet, Delta::NONE.address(&packet.source, new), 0, packet.source_port, port)
}

/// Translates one end of the packet that an ICMP error quotes; 1 if that was done.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_error(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &*planned) };
    if planned.quoted.is_source == NOTHING {
        return 1;
    }
    i32::from(error(&Frame::of(context), packet, &planned.quoted).is_some())
}

#[inline(always)]
fn error(frame: &Frame, packet: &Packet, end: &Quoted) -> Option<()> {
    let quoted = u32::from(packet.payload);
    let checksum = u32::from(packet.transport) + 2;
    let is_source = end.is_source == 1;
    if packet.source.is_v4() {
        let (at, port) = if is_source { (12, 20) } else { (16, 22) };
        put_address(frame, quoted, quoted + at, &end.old, &end.new)?;
        // Of the quoted header its own checksum makes up for the change, and ICMP's covers no
        // addresses around it.
        let delta = put_port(frame, quoted + port, end.port)?;
        let check = frame.get::<u16>(checksum)?;
        return frame.put(checksum, delta.applied(check));
    }
    let (at, port) = if is_source { (8, 40) } else { (24, 42) };
    put_address(frame, quoted, quoted + at, &end.old, &end.new)?;
    let mut delta = put_port(frame, quoted + port, end.port)?.address(&end.old, &end.new);
    if end.is_outer != 0 {
        delta = delta.address(&end.old, &end.new);
    }
    let check = frame.get::<u16>(checksum)?;
    frame.put(checksum, delta.applied(check))
}

#[inline(always)]
fn put_port(frame: &Frame, at: u32, new: u16) -> Option<Delta> {
    let old = frame.get::<u16>(at)?;
    frame.put(at, new.to_be())?;
    Some(Delta::NONE.word(old, new.to_be()))
}

#[inline(always)]
fn get_address(frame: &Frame, at: u32, is_v4: bool) -> Option<Address> {
    if is_v4 {
        return Some(Address::from_v4_word(frame.get(at)?));
    }
    Some(Address { words: [frame.get(at)?, frame.get(at + 4)?, frame.get(at + 8)?, frame.get(at + 12)?] })
}

/// Writes an address into the IP header at `network`, whose checksum is kept.
#[inline(always)]
fn put_address(frame: &Frame, network: u32, at: u32, old: &Address, new: &Address) -> Option<()> {
    if old.is_v4() {
        let check = frame.get::<u16>(network + 10)?;
        frame.put(at, new.words[3])?;
        return frame.put(network + 10, Delta::NONE.words(old.words[3], new.words[3]).applied(check));
    }
    let [a, b, c, d] = new.words;
    frame.put(at, a)?;
    frame.put(at + 4, b)?;
    frame.put(at + 8, c)?;
    frame.put(at + 12, d)
}

/// Writes a port and the checksum behind it; `delta`: what has changed in the addresses.
#[inline(always)]
fn ports(frame: &Frame, packet: &Packet, delta: Delta, at: u32, old: u16, new: u16) -> Option<()> {
    let transport = u32::from(packet.transport);
    frame.put(transport + at, new.to_be())?;
    let delta = delta.word(old.to_be(), new.to_be());
    if packet.protocol == protocol::TCP {
        let check = frame.get::<u16>(transport + 16)?;
        return frame.put(transport + 16, delta.applied(check));
    }
    let check = frame.get::<u16>(transport + 6)?;
    // RFC 768: zero is none, and never the checksum itself.
    if check == 0 {
        return Some(());
    }
    let check = delta.applied(check);
    frame.put(transport + 6, if check == 0 { 0xffff } else { check })
}
