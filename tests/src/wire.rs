//! Packets made by hand: what no socket would send by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;
/// IPv6 destination options (RFC 8200, section 4.6).
const DESTINATION_OPTIONS: u8 = 60;
/// IPv6 fragment header (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;

/// A UDP datagram with its header and checksum, as the payload of IP.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut datagram = [from.port().to_be_bytes(), to.port().to_be_bytes(), length, [0, 0]].concat();
    datagram.extend_from_slice(payload);
    let mut pseudo = Vec::new();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => pseudo.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => pseudo.extend_from_slice(&ip.octets()),
        }
    }
    pseudo.extend_from_slice(&[0, UDP]);
    pseudo.extend_from_slice(&length);
    pseudo.extend_from_slice(&datagram);
    let sum = match checksum(&pseudo) {
        // 0 says that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// What an IPv4 header says beyond addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct V4<'a> {
    /// Options, a multiple of 4 bytes.
    pub options: &'a [u8],
    /// More fragments follow.
    pub has_more: bool,
    /// Where this fragment begins, a multiple of 8 bytes.
    pub offset: u16,
    /// Ties fragments together.
    pub identification: u16,
}

/// An IPv4 packet of UDP.
pub fn v4(from: Ipv4Addr, to: Ipv4Addr, header: V4<'_>, payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + header.options.len() / 4).unwrap_or(15);
    let total = u16::try_from(usize::from(words) * 4 + payload.len()).unwrap_or(u16::MAX);
    let fragment = (header.offset / 8) | if header.has_more { 0x2000 } else { 0 };
    let mut packet = vec![0x40 | words, 0];
    for field in [total, header.identification, fragment] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(&[64, UDP, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(header.options);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend_from_slice(payload);
    packet
}

/// An IPv6 packet of UDP behind this many headers of destination options.
pub fn v6_behind_options(from: Ipv6Addr, to: Ipv6Addr, headers: usize, payload: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    for number in 1..=headers {
        let next = if number == headers { UDP } else { DESTINATION_OPTIONS };
        // One option of padding, 4 bytes.
        rest.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
    }
    rest.extend_from_slice(payload);
    v6(from, to, if headers == 0 { UDP } else { DESTINATION_OPTIONS }, &rest)
}

/// An IPv6 fragment of UDP.
pub fn v6_fragment(from: Ipv6Addr, to: Ipv6Addr, offset: u16, has_more: bool, payload: &[u8]) -> Vec<u8> {
    let mut rest = vec![UDP, 0];
    rest.extend_from_slice(&(offset | u16::from(has_more)).to_be_bytes());
    rest.extend_from_slice(&[0, 0, 0x77, 0x77]);
    rest.extend_from_slice(payload);
    v6(from, to, FRAGMENT, &rest)
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, next: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(rest);
    packet
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
