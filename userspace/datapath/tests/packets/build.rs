//! Packets, byte by byte, from the IP header on. Checksums are zero: no program looks at them.

use std::net::IpAddr;

pub(crate) const SELF: &str = "10.99.0.1";
pub(crate) const SELF6: &str = "fd99::1";
pub(crate) const PEER: &str = "10.99.0.2";

fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut p = vec![0_u8; 20];
            p[0] = 0x45;
            let length = u16::try_from(20 + payload.len()).unwrap();
            p[2..4].copy_from_slice(&length.to_be_bytes());
            p[8] = 64;
            p[9] = protocol;
            p[12..16].copy_from_slice(&source.octets());
            p[16..20].copy_from_slice(&destination.octets());
            p.extend_from_slice(payload);
            p
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut p = vec![0_u8; 40];
            p[0] = 0x60;
            p[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            p[6] = protocol;
            p[7] = 64;
            p[8..24].copy_from_slice(&source.octets());
            p[24..40].copy_from_slice(&destination.octets());
            p.extend_from_slice(payload);
            p
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
}

fn ports(source: u16, destination: u16, length: usize) -> Vec<u8> {
    let mut header = vec![0_u8; length];
    header[0..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header
}

pub(crate) fn udp(source: &str, destination: &str, source_port: u16, destination_port: u16) -> Vec<u8> {
    ip(source, destination, 17, &ports(source_port, destination_port, 16))
}

pub(crate) fn tcp(source: &str, destination: &str, source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut header = ports(source_port, destination_port, 20);
    header[12] = 0x50;
    header[13] = 0x02;
    ip(source, destination, 6, &header)
}

/// The same segment with another sequence number.
pub(crate) fn numbered(packet: &[u8], sequence: u32) -> Vec<u8> {
    let mut p = packet.to_vec();
    p[24..28].copy_from_slice(&sequence.to_be_bytes());
    p
}

pub(crate) fn echo(source: &str, destination: &str) -> Vec<u8> {
    ip(source, destination, 1, &[8, 0, 0, 0, 0, 42, 0, 1])
}

pub(crate) fn neighbour(source: &str, destination: &str) -> Vec<u8> {
    ip(source, destination, 58, &[135, 0, 0, 0, 0, 0, 0, 0])
}

pub(crate) fn other(source: &str, destination: &str, protocol: u8) -> Vec<u8> {
    ip(source, destination, protocol, &[0; 16])
}

/// Port unreachable about a packet, from the address `from` to that packet's source.
pub(crate) fn error_about(from: &str, packet: &[u8]) -> Vec<u8> {
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend_from_slice(packet);
    let source = IpAddr::from([packet[12], packet[13], packet[14], packet[15]]);
    ip(from, &source.to_string(), 1, &payload)
}

/// The same packet with 12 bytes of IP options.
pub(crate) fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut p = packet[..20].to_vec();
    p[0] = 0x48;
    p.extend_from_slice(&[1; 12]);
    p.extend_from_slice(&packet[20..]);
    p
}

/// The same packet behind `count` destination options headers.
pub(crate) fn with_extensions(packet: &[u8], count: usize) -> Vec<u8> {
    let mut p = packet[..40].to_vec();
    let transport = p[6];
    p[6] = 60;
    for n in 1..=count {
        p.extend_from_slice(&[if n == count { transport } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    p.extend_from_slice(&packet[40..]);
    p
}

pub(crate) fn first_fragment(packet: &[u8], id: u16) -> Vec<u8> {
    fragment(packet, id, 0x2000)
}

pub(crate) fn later_fragment(packet: &[u8], id: u16) -> Vec<u8> {
    fragment(packet, id, 185)
}

fn fragment(packet: &[u8], id: u16, field: u16) -> Vec<u8> {
    let mut p = packet.to_vec();
    p[4..6].copy_from_slice(&id.to_be_bytes());
    p[6..8].copy_from_slice(&field.to_be_bytes());
    p
}
