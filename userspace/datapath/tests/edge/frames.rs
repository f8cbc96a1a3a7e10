//! Frames, byte by byte. Checksums are zero: the edge does not look at them.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// One of 802.1Q.
pub(crate) const VLAN: [u8; 4] = [0x81, 0x00, 0x20, 0x2a];
/// One of 802.1ad.
pub(crate) const SERVICE: [u8; 4] = [0x88, 0xa8, 0x00, 0x07];
/// What came before 802.1ad.
pub(crate) const OLD_SERVICE: [u8; 4] = [0x91, 0x00, 0x00, 0x07];

pub(crate) fn ethernet(tags: &[[u8; 4]], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    frame.extend(tags.iter().flatten());
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The parts of an IPv4 header that tests choose.
#[derive(Clone, Copy)]
pub(crate) struct V4<'a> {
    pub(crate) source: &'a str,
    pub(crate) destination: &'a str,
    pub(crate) protocol: u8,
    /// A multiple of 4 bytes, up to 40.
    pub(crate) options: usize,
    /// Flags and offset, as in the header.
    pub(crate) fragment: u16,
}

impl Default for V4<'_> {
    fn default() -> Self {
        Self { source: "198.51.100.7", destination: "192.0.2.1", protocol: TCP, options: 0, fragment: 0 }
    }
}

impl V4<'_> {
    pub(crate) fn packet(self, payload: &[u8]) -> Vec<u8> {
        let mut p = vec![0_u8; 20];
        p[0] = 0x45 + u8::try_from(self.options / 4).unwrap();
        let length = u16::try_from(20 + self.options + payload.len()).unwrap();
        p[2..4].copy_from_slice(&length.to_be_bytes());
        p[4..6].copy_from_slice(&77_u16.to_be_bytes());
        p[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        p[8] = 64;
        p[9] = self.protocol;
        p[12..16].copy_from_slice(&self.source.parse::<Ipv4Addr>().unwrap().octets());
        p[16..20].copy_from_slice(&self.destination.parse::<Ipv4Addr>().unwrap().octets());
        // No-operations.
        p.resize(20 + self.options, 1);
        p.extend_from_slice(payload);
        p
    }

    pub(crate) fn frame(self, payload: &[u8]) -> Vec<u8> {
        ethernet(&[], 0x0800, &self.packet(payload))
    }
}

/// An IPv6 frame; each extension header as its number and its bytes, whose first is filled in.
pub(crate) fn v6(source: &str, extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x86dd, &v6_packet(source, "2001:db8::1", extensions, protocol, payload))
}

pub(crate) fn v6_packet(
    source: &str,
    destination: &str,
    extensions: &[(u8, Vec<u8>)],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut p = vec![0_u8; 40];
    p[0] = 0x60;
    p[6] = extensions.first().map_or(protocol, |(number, _)| *number);
    p[7] = 64;
    p[8..24].copy_from_slice(&source.parse::<Ipv6Addr>().unwrap().octets());
    p[24..40].copy_from_slice(&destination.parse::<Ipv6Addr>().unwrap().octets());
    for (index, (_, bytes)) in extensions.iter().enumerate() {
        let at = p.len();
        p.extend_from_slice(bytes);
        p[at] = extensions.get(index + 1).map_or(protocol, |(number, _)| *number);
    }
    p.extend_from_slice(payload);
    let length = u16::try_from(p.len() - 40).unwrap();
    p[4..6].copy_from_slice(&length.to_be_bytes());
    p
}

/// An extension header of so many bytes, by the rule of its number for its length field.
pub(crate) fn extension(number: u8, bytes: usize) -> (u8, Vec<u8>) {
    let mut header = vec![0_u8; bytes];
    header[1] = match number {
        44 => 0,
        51 => u8::try_from(bytes / 4 - 2).unwrap(),
        _ => u8::try_from(bytes / 8 - 1).unwrap(),
    };
    (number, header)
}

/// A fragment header with this offset, in units of 8 bytes.
pub(crate) fn fragment(offset: u16, has_more: bool) -> (u8, Vec<u8>) {
    let mut header = vec![0_u8; 8];
    header[2..4].copy_from_slice(&(offset << 3 | u16::from(has_more)).to_be_bytes());
    header[7] = 77;
    (44, header)
}

pub(crate) fn tcp(flags: u8) -> Vec<u8> {
    let mut header = vec![0_u8; 20];
    header[0..4].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
    (header[12], header[13]) = (0x50, flags);
    header
}

pub(crate) fn udp(source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut header = vec![0_u8; 16];
    header[0..2].copy_from_slice(&source_port.to_be_bytes());
    header[2..4].copy_from_slice(&destination_port.to_be_bytes());
    header[5] = 16;
    header
}

pub(crate) fn icmp(kind: u8) -> Vec<u8> {
    vec![kind, 0, 0, 0, 0, 42, 0, 1]
}
