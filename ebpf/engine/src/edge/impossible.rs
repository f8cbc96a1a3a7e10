//! Packets that no honest sender makes: impossible sources and combinations of TCP flags.

use windrose_abi::codes::protocol;
use windrose_abi::{Address, EdgeReason, EdgeSettings};

use crate::packet::{Kind, Packet, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};

const IGMP: u8 = 2;

/// What is impossible about a packet.
#[inline(always)]
pub(super) fn reason(packet: &Packet, settings: u32) -> Option<EdgeReason> {
    if packet.protocol == protocol::TCP && packet.kind == Kind::Whole && are_bad(packet.tcp_flags) {
        return Some(EdgeReason::BadFlags);
    }
    if packet.source == packet.destination {
        return Some(EdgeReason::Land);
    }
    if settings & EdgeSettings::BOGONS != 0 && is_bogon(packet) {
        return Some(EdgeReason::Bogon);
    }
    None
}

/// RFC 9293 has no use for SYN with FIN or RST, nor for a segment of an open connection without
/// ACK, of which a FIN is one; "null" and "Christmas tree" scans are such.
#[inline(always)]
const fn are_bad(flags: u8) -> bool {
    const KNOWN: u8 = TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG;
    (flags & TCP_SYN != 0 && flags & (TCP_FIN | TCP_RST) != 0)
        || (flags & TCP_FIN != 0 && flags & TCP_ACK == 0)
        || flags & KNOWN == 0
}

/// RFC 6890: sources that are never seen on a wire. A host that asks for its address has none yet.
#[inline(always)]
fn is_bogon(packet: &Packet) -> bool {
    let [a, b, c, d] = packet.source.words;
    if packet.source.is_v4() {
        let [first, ..] = d.to_ne_bytes();
        return match first {
            0 => !(d == 0 && is_asking(packet)),
            127 | 224..=255 => true,
            _ => false,
        };
    }
    let [first, ..] = a.to_ne_bytes();
    if first == 0xff {
        return true;
    }
    if a != 0 || b != 0 || c != 0 {
        return false;
    }
    // The unspecified address (but for duplicate address detection and the reports of multicast
    // listeners, RFC 4861 and 3590) and the loopback address.
    (d == 0 && packet.protocol != protocol::ICMPV6) || d == u32::from_ne_bytes([0, 0, 0, 1])
}

/// DHCP from a client (RFC 2131), or IGMP, which a bridge may send without an address (RFC 4541).
#[inline(always)]
const fn is_asking(packet: &Packet) -> bool {
    (packet.protocol == protocol::UDP && packet.source_port == 68 && packet.destination_port == 67)
        || packet.protocol == IGMP
}

/// RFC 1918, RFC 6598 (shared), RFC 3927 (link-local); RFC 4193. IPv6 link-local is not private:
/// neighbours and routers speak from it.
#[inline(always)]
pub(super) const fn is_private(source: &Address) -> bool {
    if source.is_v4() {
        let [a, b, ..] = source.words[3].to_ne_bytes();
        return a == 10
            || (a == 172 && b & 0xf0 == 16)
            || (a == 192 && b == 168)
            || (a == 100 && b & 0xc0 == 64)
            || (a == 169 && b == 254);
    }
    let [first, ..] = source.words[0].to_ne_bytes();
    first & 0xfe == 0xfc
}
