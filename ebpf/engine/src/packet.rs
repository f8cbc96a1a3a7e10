//! Packets from their IP header on: addresses, ports, fragments, extension headers.

use windrose_abi::Address;
use windrose_abi::codes::protocol;

/// The bytes of a packet, from its IP header.
pub trait Bytes {
    /// `N` bytes at an offset, or `None` past the end.
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

impl Bytes for &[u8] {
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }
}

/// What a packet is, as far as policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has the ports of its protocol (0 where there are none).
    Whole,
    /// A fragment that is not the first: no ports; `fragment_id` joins it to its first.
    LaterFragment,
    /// An ICMP echo request; both ports are its identifier.
    EchoRequest,
    /// An ICMP echo reply; both ports are its identifier.
    EchoReply,
    /// An ICMP error; the packet that it answers begins at `payload`.
    IcmpError,
    /// IPv6 neighbour discovery.
    NeighbourDiscovery,
}

/// A parsed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// The transport protocol, behind every extension header.
    pub protocol: u8,
    /// TCP's flag byte, else 0.
    pub tcp_flags: u8,
    /// What it is.
    pub kind: Kind,
    /// It is a fragment (the first one is `Kind::Whole` with this set).
    pub is_fragment: bool,
    /// Offset of the transport header.
    pub transport: u16,
    /// Offset behind the fixed transport header (TCP: its first 20 bytes).
    pub payload: u16,
    /// Identification of the fragmented packet, else 0.
    pub fragment_id: u32,
}

impl Packet {
    /// All zero, whole: a place to parse into.
    pub const EMPTY: Self = Self {
        source: Address::ZERO,
        destination: Address::ZERO,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        tcp_flags: 0,
        kind: Kind::Whole,
        is_fragment: false,
        fragment_id: 0,
        transport: 0,
        payload: 0,
    };
}

/// Why a packet cannot be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It ends inside a header.
    Truncated,
    /// Neither IPv4 nor IPv6, or a header length below the minimum.
    BadHeader,
    /// More extension headers than [`MAX_EXTENSIONS`].
    TooManyExtensions,
    /// More VLAN tags than [`crate::frame::MAX_TAGS`].
    TooManyTags,
}

/// IPv6 extension headers that are followed.
pub const MAX_EXTENSIONS: u32 = 8;

/// TCP flag FIN.
pub const TCP_FIN: u8 = 0x01;
/// TCP flag SYN.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag RST.
pub const TCP_RST: u8 = 0x04;
/// TCP flag PSH.
pub const TCP_PSH: u8 = 0x08;
/// TCP flag ACK.
pub const TCP_ACK: u8 = 0x10;
/// TCP flag URG.
pub const TCP_URG: u8 = 0x20;

struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    transport: u32,
    fragment_offset: u16,
    is_fragment: bool,
    fragment_id: u32,
}

/// Parses the packet whose IP header is at `at`.
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B, at: u32) -> Result<Packet, ParseError> {
    let [first] = bytes.read::<1>(at).ok_or(ParseError::Truncated)?;
    let network = match first >> 4 {
        4 => ipv4(bytes, at)?,
        6 => ipv6(bytes, at)?,
        _ => return Err(ParseError::BadHeader),
    };
    transport(bytes, &network)
}

/// Parses a packet whose version its frame has told: 4, or else 6. A header of another version is
/// refused.
#[inline(always)]
pub fn parse_version<B: Bytes>(bytes: &B, at: u32, version: u8) -> Result<Packet, ParseError> {
    let [first, _] = bytes.read::<2>(at).ok_or(ParseError::Truncated)?;
    if first >> 4 != version {
        return Err(ParseError::BadHeader);
    }
    let network = if version == 4 { ipv4(bytes, at)? } else { ipv6(bytes, at)? };
    transport(bytes, &network)
}

#[inline(always)]
fn ipv4<B: Bytes>(bytes: &B, at: u32) -> Result<Network, ParseError> {
    let header = bytes.read::<20>(at).ok_or(ParseError::Truncated)?;
    let words = u32::from(header[0] & 0x0f);
    if words < 5 {
        return Err(ParseError::BadHeader);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let fragment_offset = fragment & 0x1fff;
    let is_fragment = fragment & 0x3fff != 0;
    Ok(Network {
        source: Address::from_v4_word(u32::from_ne_bytes([header[12], header[13], header[14], header[15]])),
        destination: Address::from_v4_word(u32::from_ne_bytes([
            header[16], header[17], header[18], header[19],
        ])),
        protocol: header[9],
        transport: at + words * 4,
        fragment_offset,
        is_fragment,
        fragment_id: if is_fragment { u32::from(u16::from_be_bytes([header[4], header[5]])) } else { 0 },
    })
}

#[inline(always)]
fn ipv6<B: Bytes>(bytes: &B, at: u32) -> Result<Network, ParseError> {
    let header = bytes.read::<8>(at).ok_or(ParseError::Truncated)?;
    let source = bytes.read::<16>(at + 8).ok_or(ParseError::Truncated)?;
    let destination = bytes.read::<16>(at + 24).ok_or(ParseError::Truncated)?;
    let mut network = Network {
        source: Address::from_bytes(source),
        destination: Address::from_bytes(destination),
        protocol: header[6],
        transport: at + 40,
        fragment_offset: 0,
        is_fragment: false,
        fragment_id: 0,
    };
    // RFC 8200 section 4: hop-by-hop 0, routing 43, fragment 44, authentication 51,
    // destination options 60; RFC 6275 mobility 135, RFC 7401 HIP 139, RFC 5533 shim6 140.
    for _ in 0..MAX_EXTENSIONS {
        match network.protocol {
            0 | 43 | 51 | 60 | 135 | 139 | 140 => {
                let extension = bytes.read::<2>(network.transport).ok_or(ParseError::Truncated)?;
                let length = u32::from(extension[1]);
                network.transport += if network.protocol == 51 { (length + 2) * 4 } else { (length + 1) * 8 };
                network.protocol = extension[0];
            }
            44 => {
                let extension = bytes.read::<8>(network.transport).ok_or(ParseError::Truncated)?;
                network.transport += 8;
                network.protocol = extension[0];
                network.fragment_offset = u16::from_be_bytes([extension[2], extension[3]]) >> 3;
                network.is_fragment = true;
                network.fragment_id =
                    u32::from_be_bytes([extension[4], extension[5], extension[6], extension[7]]);
                if network.fragment_offset != 0 {
                    // What follows is the middle of a packet, not a header.
                    return Ok(network);
                }
            }
            _ => return Ok(network),
        }
    }
    match network.protocol {
        0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 => Err(ParseError::TooManyExtensions),
        _ => Ok(network),
    }
}

#[inline(always)]
fn transport<B: Bytes>(bytes: &B, network: &Network) -> Result<Packet, ParseError> {
    let mut packet = Packet {
        source: network.source,
        destination: network.destination,
        source_port: 0,
        destination_port: 0,
        protocol: network.protocol,
        tcp_flags: 0,
        kind: Kind::Whole,
        is_fragment: network.is_fragment,
        fragment_id: network.fragment_id,
        transport: offset(network.transport),
        payload: offset(network.transport),
    };
    if network.fragment_offset != 0 {
        packet.kind = Kind::LaterFragment;
        return Ok(packet);
    }
    match network.protocol {
        protocol::TCP => {
            let header = bytes.read::<14>(network.transport).ok_or(ParseError::Truncated)?;
            packet.source_port = u16::from_be_bytes([header[0], header[1]]);
            packet.destination_port = u16::from_be_bytes([header[2], header[3]]);
            packet.tcp_flags = header[13];
            packet.payload = offset(network.transport + 20);
        }
        protocol::UDP | protocol::SCTP => {
            let header = bytes.read::<4>(network.transport).ok_or(ParseError::Truncated)?;
            packet.source_port = u16::from_be_bytes([header[0], header[1]]);
            packet.destination_port = u16::from_be_bytes([header[2], header[3]]);
            packet.payload =
                offset(network.transport + if network.protocol == protocol::UDP { 8 } else { 12 });
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let header = bytes.read::<8>(network.transport).ok_or(ParseError::Truncated)?;
            packet.payload = offset(network.transport + 8);
            packet.kind = icmp_kind(network.protocol, header[0]);
            if matches!(packet.kind, Kind::EchoRequest | Kind::EchoReply) {
                packet.source_port = u16::from_be_bytes([header[4], header[5]]);
                packet.destination_port = packet.source_port;
            }
        }
        _ => {}
    }
    Ok(packet)
}

/// Headers end long before 64 KiB: at most 60 bytes of IPv4, or 8 extensions of 2 KiB.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bounded as said")]
const fn offset(at: u32) -> u16 {
    at as u16
}

#[inline(always)]
fn icmp_kind(protocol_number: u8, icmp_type: u8) -> Kind {
    if protocol_number == protocol::ICMP {
        // RFC 792: unreachable 3, source quench 4, redirect 5, time exceeded 11, bad parameter 12.
        return match icmp_type {
            8 => Kind::EchoRequest,
            0 => Kind::EchoReply,
            3 | 4 | 5 | 11 | 12 => Kind::IcmpError,
            _ => Kind::Whole,
        };
    }
    // RFC 4443: errors below 128; RFC 4861: neighbour discovery 133 to 137.
    match icmp_type {
        128 => Kind::EchoRequest,
        129 => Kind::EchoReply,
        133..=137 => Kind::NeighbourDiscovery,
        0..=127 => Kind::IcmpError,
        _ => Kind::Whole,
    }
}

#[cfg(test)]
mod tests;
