//! The answer to a refused packet, byte by byte: a TCP reset, or an ICMP error that quotes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windrose_abi::codes::protocol;
use windrose_abi::{Address, Direction, Event, EventKind};

#[cfg(test)]
mod tests;

/// How refused ingress is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As if nobody listened: TCP by a reset, other protocols by ICMP port unreachable.
    Reset,
    /// By an ICMP error that says that communication is administratively prohibited.
    Unreachable,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// A TCP reset.
    Reset,
    /// An error of ICMP, of either family.
    Unreachable,
}

/// An answer, ready to be sent from inside the network namespace of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(crate) kind: AnswerKind,
    /// Cookie of the network namespace.
    pub(crate) netns: u64,
    /// The workload.
    pub(crate) source: IpAddr,
    /// Who was refused.
    pub(crate) destination: IpAddr,
    /// Where a link-local address is; else 0.
    pub(crate) scope: u32,
    /// From the IP header on.
    pub(crate) packet: Vec<u8>,
}

/// `Event::interface` of every interface whose index does not fit.
const SOME_INTERFACE: u16 = u16::MAX;

/// Fixed header lengths in bytes.
const V4_HEADER: u16 = 20;
const V6_HEADER: u16 = 40;
const TCP_HEADER: u16 = 20;
/// What RFC 792 asks an error to quote of the transport header; clients need no more.
const QUOTED: u16 = 8;

impl Answer {
    /// The answer to what an event reports; `None` if it is no refused packet, or one that must not
    /// be answered: what was not sent to one host, or not by one.
    pub fn to(event: &Event, manner: Manner) -> Option<Self> {
        let is_refused = event.kind == EventKind::Refused as u8 || event.kind == EventKind::Unanswered as u8;
        if !is_refused || event.direction != Direction::Ingress as u8 || event.interface == 0 {
            return None;
        }
        let (source, destination) = (host(event.local)?, host(event.peer)?);
        let scope = match destination {
            IpAddr::V6(address) if address.is_unicast_link_local() => match event.interface {
                SOME_INTERFACE => return None,
                interface => u32::from(interface),
            },
            _ => 0,
        };
        let (kind, payload) = if manner == Manner::Reset && event.protocol == protocol::TCP {
            (AnswerKind::Reset, Payload::reset(event))
        } else {
            (AnswerKind::Unreachable, Payload::error(event, manner, destination, source)?)
        };
        let packet = payload.packet(source, destination)?;
        Some(Self { kind, netns: event.netns, source, destination, scope, packet })
    }

    /// What it is.
    pub fn kind(&self) -> AnswerKind {
        self.kind
    }
}

/// The address of one host. Broadcasts of a subnet are known to that subnet only: see `Answerer`.
fn host(address: Address) -> Option<IpAddr> {
    let ip = IpAddr::from(address.to_bytes()).to_canonical();
    let is_host = match ip {
        // RFC 1122 section 3.2.1.3: network 0 is no destination.
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast() && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    };
    is_host.then_some(ip)
}

/// What follows the IP header.
struct Payload {
    protocol: u8,
    /// IPv4: precedence.
    service: u8,
    bytes: Vec<u8>,
    checksum_at: usize,
}

impl Payload {
    /// The reset that a kernel sends for a SYN to a port without listener (RFC 9293 section 3.10.7.1).
    fn reset(event: &Event) -> Self {
        const RST_ACK: u8 = 0x14;
        let sequence = u32::from_be_bytes(event.transport_word.to_ne_bytes());
        let mut bytes = Vec::from(event.local_port.to_be_bytes());
        bytes.extend(event.peer_port.to_be_bytes());
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(sequence.wrapping_add(1).to_be_bytes());
        // A header of five words, no window, checksum and urgent pointer.
        bytes.extend([5 << 4, RST_ACK, 0, 0, 0, 0, 0, 0]);
        Self { protocol: protocol::TCP, service: 0, bytes, checksum_at: 16 }
    }

    /// An error that quotes the refused packet, from `client` to `server`.
    fn error(event: &Event, manner: Manner, client: IpAddr, server: IpAddr) -> Option<Self> {
        // RFC 792 and RFC 1812 section 5.2.7.1: unreachable 3, port 3, prohibited 13. RFC 4443
        // section 3.1: unreachable 1, port 4, prohibited 1.
        let (protocol, error_type, code) = match (server, manner) {
            (IpAddr::V4(_), Manner::Reset) => (protocol::ICMP, 3, 3),
            (IpAddr::V4(_), Manner::Unreachable) => (protocol::ICMP, 3, 13),
            (IpAddr::V6(_), Manner::Reset) => (protocol::ICMPV6, 1, 4),
            (IpAddr::V6(_), Manner::Unreachable) => (protocol::ICMPV6, 1, 1),
        };
        let mut bytes = vec![error_type, code, 0, 0, 0, 0, 0, 0];
        bytes.extend(quote(event, client, server)?);
        // RFC 1812 section 4.3.2.5: errors have precedence 6, internetwork control.
        Some(Self { protocol, service: 0xc0, bytes, checksum_at: 2 })
    }

    /// The packet with its checksums.
    fn packet(mut self, source: IpAddr, destination: IpAddr) -> Option<Vec<u8>> {
        let length = u16::try_from(self.bytes.len()).ok()?;
        let pseudo = match self.protocol {
            // The checksum of ICMP covers the message alone, that of the others a pseudo-header too
            // (RFC 792; RFC 9293 section 3.1; RFC 4443 section 2.3).
            protocol::ICMP => 0,
            number => {
                sum(&octets(source)) + sum(&octets(destination)) + u64::from(length) + u64::from(number)
            }
        };
        let checksum = fold(pseudo + sum(&self.bytes));
        self.bytes.get_mut(self.checksum_at..self.checksum_at + 2)?.copy_from_slice(&checksum);
        let mut packet = header(source, destination, self.protocol, self.service, length)?;
        packet.append(&mut self.bytes);
        Some(packet)
    }
}

/// The start of the refused packet: its IP header, without options, and 8 bytes. Its lifetime and
/// identification are not known here and no client looks at them.
fn quote(event: &Event, client: IpAddr, server: IpAddr) -> Option<Vec<u8>> {
    let word = event.transport_word.to_ne_bytes();
    let length = match event.protocol {
        protocol::UDP => u16::from_be_bytes([word[0], word[1]]).max(QUOTED),
        _ => TCP_HEADER,
    };
    let mut bytes = header(client, server, event.protocol, 0, length)?;
    bytes.extend(event.peer_port.to_be_bytes());
    bytes.extend(event.local_port.to_be_bytes());
    bytes.extend(word);
    Some(bytes)
}

/// An IP header before `length` bytes; `None` if the two addresses are of two families.
fn header(source: IpAddr, destination: IpAddr, protocol: u8, service: u8, length: u16) -> Option<Vec<u8>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Some(v4_header(source, destination, protocol, service, length))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Some(v6_header(source, destination, protocol, length))
        }
        _ => None,
    }
}

/// Hops that a packet may go (RFC 1700).
const HOPS: u8 = 64;

fn v4_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, service: u8, length: u16) -> Vec<u8> {
    /// Never fragmented, so that it needs no identification (RFC 6864).
    const DO_NOT_FRAGMENT: u16 = 0x4000;
    let mut header = vec![0x45, service];
    header.extend(V4_HEADER.saturating_add(length).to_be_bytes());
    header.extend([0, 0]);
    header.extend(DO_NOT_FRAGMENT.to_be_bytes());
    header.extend([HOPS, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = fold(sum(&header));
    header[10..12].copy_from_slice(&checksum);
    header
}

fn v6_header(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(usize::from(V6_HEADER));
    header.extend([0x60, 0, 0, 0]);
    header.extend(length.to_be_bytes());
    header.extend([protocol, HOPS]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of 16-bit words (RFC 1071); every part of what is summed has an even length.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

/// The checksum of a sum.
fn fold(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = sum.to_be_bytes();
    [!high, !low]
}
