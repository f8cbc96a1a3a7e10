//! What the kernel itself answers in a workload's name: echo replies, ICMP errors, and resets for
//! closed ports. It answers only what the workload may receive.

use aya_ebpf::bindings::__sk_buff;
use windrose_abi::codes::protocol;
use windrose_abi::{Direction, DropReason};
use windrose_engine::packet::TCP_RST;
use windrose_engine::{Kind, Packet, Tables as _};

use crate::case::{self, Case};
use crate::skb::{PASS, drop_because, parse_at};
use crate::subject::Subject;
use crate::{flows, origins, tables};

/// Judges a packet that no workload's socket sends, if it answers in the name of one: its control
/// sockets belong to the root cgroup, so that only the source address tells.
#[inline(never)]
pub(crate) fn answer(skb: *mut __sk_buff) -> i32 {
    let Some((tables, _)) = tables::current() else { return PASS };
    // First the answer, then the packet that is answered.
    let mut packet = Packet::EMPTY;
    if !parse_at(skb, 0, &mut packet) {
        return PASS;
    }
    let Some(owner) = tables.address(&packet.source) else { return PASS };
    let Some(slot) = tables.workload(owner.workload) else { return PASS };
    match packet.kind {
        Kind::EchoReply => turn_round(&mut packet),
        Kind::Whole if packet.protocol == protocol::TCP && packet.tcp_flags & TCP_RST != 0 => {
            turn_round(&mut packet);
        }
        Kind::IcmpError => {
            let inner = u32::from(packet.payload);
            if !parse_at(skb, inner, &mut packet) {
                return PASS;
            }
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
        return drop_because(subject.workload, Direction::Ingress, DropReason::Answer);
    }
    PASS
}

#[inline(always)]
fn turn_round(packet: &mut Packet) {
    core::mem::swap(&mut packet.source, &mut packet.destination);
    core::mem::swap(&mut packet.source_port, &mut packet.destination_port);
}
