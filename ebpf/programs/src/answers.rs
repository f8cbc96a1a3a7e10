//! What the kernel itself answers in a workload's name: echo replies, ICMP errors, and resets for
//! closed ports. It answers only what the workload may receive.

use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use windrose_abi::codes::protocol;
use windrose_abi::{ControlSlot, Direction, DropReason};
use windrose_engine::decide::has_ports;
use windrose_engine::packet::{TCP_ACK, TCP_RST};
use windrose_engine::{Kind, Packet, Tables as _};

use crate::case::{self, Case};
use crate::skb::{self, PASS, drop_because, parse_at};
use crate::subject::Subject;
use crate::{flows, origins, refusals, tables};

/// IPPROTO_RAW: sockets whose packets bring their own IP header.
const RAW: u32 = 255;

/// Judges a packet that no workload's socket sends, if it answers in the name of one: its control
/// sockets belong to the root cgroup, so that only the source address tells.
#[inline(never)]
pub(crate) fn answer(skb: *mut __sk_buff, sk: *mut bpf_sock) -> i32 {
    // The agent's own answers to refused packets. The kernel's control sockets are of protocol TCP,
    // ICMP or ICMPv6, never of this one, so that all of theirs are judged. A workload gains nothing:
    // what its raw sockets send was judged as its egress before this point. Who else has
    // CAP_NET_RAW on the host is not bound by policy, and could send any other packet in a
    // workload's name before.
    // SAFETY: the caller checks that `sk` is not null.
    if unsafe { (*sk).protocol } == RAW {
        return PASS;
    }
    let Some((tables, _)) = tables::current() else { return PASS };
    // First the answer, then the packet that is answered.
    let mut packet = Packet::EMPTY;
    if !parse_at(skb, 0, &mut packet) {
        return PASS;
    }
    let Some(owner) = tables.address(&packet.source) else { return PASS };
    let Some(slot) = tables.workload(owner.workload) else { return PASS };
    let mut word = 0;
    let mut is_port_closed = false;
    match packet.kind {
        Kind::EchoReply => turn_round(&mut packet),
        Kind::Whole if packet.protocol == protocol::TCP && packet.tcp_flags & TCP_RST != 0 => {
            is_port_closed = packet.tcp_flags & TCP_ACK != 0;
            word = acknowledged(skb, &packet);
            turn_round(&mut packet);
        }
        Kind::IcmpError => {
            is_port_closed = is_port_unreachable(skb, &packet);
            let inner = u32::from(packet.payload);
            if !parse_at(skb, inner, &mut packet) {
                return PASS;
            }
            word = skb::transport_word(skb, &packet);
        }
        _ => return PASS,
    }
    let subject = Subject { workload: owner.workload, slot };
    let port = flows::port_of_policy(packet.protocol, packet.destination_port);
    let mut case = Case::new(tables, subject, Direction::Ingress, packet.protocol, port);
    case::judge(&mut case, &packet.source);
    if case.question.peer.is_host {
        case.by_socket = origins::of_packet(skb, &packet);
        if case.by_socket != 0 {
            case::judge(&mut case, &packet.source);
        }
    }
    if case.is_denied() {
        if is_port_closed && case.tables.flags & ControlSlot::ANSWERS != 0 {
            ask(skb, &case, &packet, word);
        }
        return drop_because(subject.workload, Direction::Ingress, DropReason::Answer);
    }
    PASS
}

#[inline(always)]
fn turn_round(packet: &mut Packet) {
    core::mem::swap(&mut packet.source, &mut packet.destination);
    core::mem::swap(&mut packet.source_port, &mut packet.destination_port);
}

/// The sequence number of the SYN that a reset answers, as it stood in memory. The reset
/// acknowledges it and whatever data came with it.
#[inline(never)]
fn acknowledged(skb: *mut __sk_buff, reset: &Packet) -> u32 {
    skb::word_at(skb, u32::from(reset.transport) + 8).to_be().wrapping_sub(1).to_be()
}

/// Whether an ICMP error says that nobody listens (RFC 792 type 3 code 3, RFC 4443 type 1 code 4).
#[inline(never)]
fn is_port_unreachable(skb: *mut __sk_buff, error: &Packet) -> bool {
    let code = skb::word_at(skb, u32::from(error.transport)).to_be() >> 16;
    code == if error.protocol == protocol::ICMP { 0x0303 } else { 0x0104 }
}

/// Asks the agent to answer in place of the kernel, as if the port were open and refused: an answer
/// to open ports alone would tell them from closed ones.
#[inline(never)]
fn ask(skb: *mut __sk_buff, case: &Case, packet: &Packet, word: u32) {
    if !has_ports(packet.protocol) {
        return;
    }
    let mut scene = skb::scene_of(skb, packet, false);
    scene.transport_word = word;
    // SAFETY: the kernel passes a live context.
    scene.interface = refusals::interface_code(unsafe { (*skb).ifindex });
    case::ask_for_answer(case, &scene);
}
