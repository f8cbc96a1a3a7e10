//! What balancing has planned for a frame, done: it is translated and sent on.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use windrose_abi::{EdgeReason, ForwardHop, Forwarding};
use windrose_engine::forward::Shape;
use windrose_engine::{Kind, Packet};

use crate::edge_answer;
use crate::edge_frame::Frame;
use crate::edge_hop::{self, Way};
use crate::edge_ipip::encapsulate;
use crate::edge_translate::{forward_error, go, rest_to_endpoint, to_client, to_endpoint};
use crate::forward_plan::{
    FORWARD_PLANNED, LEAVE, Planned, RETURN, SEND, forward_later, forward_note, forward_plain,
    forward_quoted, plan_quoted,
};
use crate::forward_tables::{FORWARD_DEVICES, FORWARD_HOPS, ends};

/// The frame is for nobody behind this edge, and was not touched.
pub(crate) const LEFT: u32 = u32::MAX;

/// Plans and does. Answers the reason, and behind it the program's answer where the reason does not
/// say it; or [`LEFT`].
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, network: u32, packet: &Packet) -> u32 {
    // One after the other, not one inside the other: their frames would not fit.
    let step = match Shape::of(packet) {
        shape @ (Shape::Plain | Shape::First) => {
            let ends = ends(packet);
            let step = if ends == 0 { LEAVE } else { forward_plain(packet, ends) };
            if shape == Shape::First {
                forward_note(packet, step);
            }
            step
        }
        Shape::Later => forward_later(packet),
        Shape::Error if forward_quoted(context, packet) == 1 => plan_quoted(),
        Shape::Error => LEAVE,
        Shape::Other => LEAVE,
    };
    let done = match step {
        LEAVE => return LEFT,
        SEND => match send_on(context, network, packet) {
            STALE => {
                forward_way_out(context, packet);
                send_on(context, network, packet)
            }
            done => done,
        },
        RETURN => {
            forward_way_back(context, packet);
            forward_back(context, network, packet)
        }
        reason => outcome(reason, xdp_action::XDP_DROP),
    };
    if done & 0xff == INSIDE {
        return forward_inside(context, packet);
    }
    if done == ANSWERED_BIG || done == ANSWERED_NOBODY {
        return outcome(done, forward_refuse(context, network, packet));
    }
    if packet.kind == Kind::IcmpError
        && done >> 8 != xdp_action::XDP_DROP
        && forward_error(context, packet) != 1
    {
        return refused(EdgeReason::NoRoute);
    }
    done
}

#[inline(always)]
fn send_on(context: *mut xdp_md, network: u32, packet: &Packet) -> u32 {
    if packet.kind == Kind::Whole {
        forward_send(context, network, packet)
    } else {
        forward_send_rest(context, network, packet)
    }
}

/// Not a reason: the packet goes into another one.
const INSIDE: u32 = 0xff;
/// Not a reason: the way to the endpoint is to be found first.
const STALE: u32 = 0xfe;
const ANSWERED_BIG: u32 = refused(EdgeReason::TooBig);
const ANSWERED_NOBODY: u32 = refused(EdgeReason::NoEndpoint);

#[inline(always)]
const fn outcome(reason: u32, action: u32) -> u32 {
    reason & 0xff | action << 8
}

#[inline(always)]
const fn refused(reason: EdgeReason) -> u32 {
    outcome(reason as u32, xdp_action::XDP_DROP)
}

/// Answers a packet with an ICMP error; what the program answers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_refuse(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return xdp_action::XDP_DROP };
    if packet.is_null() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: checked above; the only caller passes a live reference.
    let is_v4 = unsafe { (*packet).destination.is_v4() };
    // SAFETY: this processor's own.
    let planned = unsafe { &mut *planned };
    edge_answer::unreachable(context, network, is_v4, planned.mtu, &mut planned.answer)
}

/// Finds the way to the endpoint that was planned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_way_out(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    // SAFETY: this processor's own.
    let planned = unsafe { &*planned };
    let Some(hop) = FORWARD_HOPS.get_ptr_mut(planned.index) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, hop) = unsafe { (&*packet, &mut *hop) };
    edge_hop::to_endpoint(context, hop, &planned.endpoint, packet.destination.is_v4());
    1
}

/// Finds the way to the client of an answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_way_back(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &mut *planned) };
    planned.way = edge_hop::to_client(context, &mut planned.hop, packet) as u32;
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_send(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: checked above; this processor's own.
    send::<true>(context, network, unsafe { &*packet }, unsafe { &mut *planned })
        .unwrap_or(refused(EdgeReason::NoRoute))
}

/// The same for packets without ports of their own: later fragments, ICMP errors. By itself, so that
/// nobody else pays for what these need.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_send_rest(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: as above.
    send::<false>(context, network, unsafe { &*packet }, unsafe { &mut *planned })
        .unwrap_or(refused(EdgeReason::NoRoute))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_back(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: checked above; this processor's own.
    give_back(context, network, unsafe { &*packet }, unsafe { &mut *planned })
        .unwrap_or(refused(EdgeReason::NoRoute))
}

/// Puts the packet into one to the endpoint that was planned, and sends it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_inside(context: *mut xdp_md, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    // SAFETY: this processor's own.
    let planned = unsafe { &*planned };
    let Some(hop) = FORWARD_HOPS.get_ptr_mut(planned.index) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: as above.
    let (is_v4, hop) = unsafe { ((*packet).destination.is_v4(), &*hop) };
    if encapsulate(context, is_v4, &planned.endpoint, hop).is_none() {
        return refused(EdgeReason::NoRoute);
    }
    sent(context, hop.interface)
}

/// Behind no tag: only such frames are sent on by the edge itself.
const UNTAGGED: u32 = 14;

#[inline(always)]
fn send<const WHOLE: bool>(
    context: *mut xdp_md,
    network: u32,
    packet: &Packet,
    planned: &mut Planned,
) -> Option<u32> {
    const NAT: u8 = Forwarding::Nat as u8;
    const IPIP: u8 = Forwarding::Ipip as u8;
    let frame = Frame::of(context);
    let is_v4 = packet.destination.is_v4();
    let hop = FORWARD_HOPS.get_ptr_mut(planned.index)?;
    // SAFETY: this processor's own; a program is not interrupted by itself.
    let hop: &mut ForwardHop = unsafe { &mut *hop };
    if !edge_hop::is_believed(hop, &planned.endpoint) {
        return Some(STALE);
    }
    let way = edge_hop::way(hop);
    let bytes = packet_bytes(&frame, network, is_v4)?;
    let forwarding = planned.endpoint.forwarding;
    hop.flows += u64::from(planned.is_new);
    if way == Way::None {
        return None;
    }
    if way == Way::Out && network == UNTAGGED {
        let around = if forwarding == IPIP { outer_bytes(is_v4) } else { 0 };
        if bytes + around > hop.mtu {
            planned.mtu = hop.mtu - around;
            return Some(ANSWERED_BIG);
        }
        tell(hop, bytes);
        if forwarding == IPIP {
            return Some(INSIDE);
        }
        if forwarding == NAT {
            translate::<WHOLE>(&frame, network, packet, planned)?;
        }
        go(&frame, network, is_v4, &hop.ends)?;
        return Some(sent(context, hop.interface));
    }
    tell(hop, bytes);
    if forwarding == NAT {
        translate::<WHOLE>(&frame, network, packet, planned)?;
    } else if way != Way::Here {
        // The stack would take it for its own.
        return None;
    }
    Some(outcome(EdgeReason::HandedOver as u32, xdp_action::XDP_PASS))
}

#[inline(always)]
fn translate<const WHOLE: bool>(
    frame: &Frame,
    network: u32,
    packet: &Packet,
    planned: &mut Planned,
) -> Option<()> {
    if WHOLE {
        to_endpoint(frame, network, packet, planned)
    } else {
        rest_to_endpoint(frame, network, packet, planned)
    }
}

/// Counts a packet that goes to its endpoint.
#[inline(always)]
fn tell(hop: &mut ForwardHop, bytes: u32) {
    hop.packets += 1;
    hop.bytes += u64::from(bytes);
}

/// An endpoint's answer becomes its frontend's.
#[inline(always)]
fn give_back(context: *mut xdp_md, network: u32, packet: &Packet, planned: &mut Planned) -> Option<u32> {
    if planned.way == Way::None as u32 {
        return None;
    }
    let frame = Frame::of(context);
    let is_v4 = packet.destination.is_v4();
    let is_sent = planned.way == Way::Out as u32 && network == UNTAGGED;
    if is_sent && packet_bytes(&frame, network, is_v4)? > planned.hop.mtu {
        planned.mtu = planned.hop.mtu;
        return Some(ANSWERED_BIG);
    }
    to_client(&frame, network, packet, planned)?;
    if !is_sent {
        return Some(outcome(EdgeReason::HandedOver as u32, xdp_action::XDP_PASS));
    }
    go(&frame, network, is_v4, &planned.hop.ends)?;
    Some(sent(context, planned.hop.interface))
}

/// What goes around a packet that is put into another one.
#[inline(always)]
const fn outer_bytes(is_v4: bool) -> u32 {
    if is_v4 { 20 } else { 40 }
}

/// The answer for a frame that is ready for an interface.
#[inline(always)]
fn sent(context: *mut xdp_md, interface: u32) -> u32 {
    // SAFETY: the context of this run.
    if interface == unsafe { (*context).ingress_ifindex } {
        return outcome(EdgeReason::Forwarded as u32, xdp_action::XDP_TX);
    }
    let action = FORWARD_DEVICES.redirect(interface, u64::from(xdp_action::XDP_DROP));
    outcome(EdgeReason::Forwarded as u32, action.unwrap_or(xdp_action::XDP_DROP))
}

/// The packet's length as it says it, from its IP header on: a frame may be padded.
#[inline(always)]
fn packet_bytes(frame: &Frame, network: u32, is_v4: bool) -> Option<u32> {
    if is_v4 {
        Some(u32::from(u16::from_be(frame.get::<u16>(network + 2)?)))
    } else {
        Some(40 + u32::from(u16::from_be(frame.get::<u16>(network + 4)?)))
    }
}
