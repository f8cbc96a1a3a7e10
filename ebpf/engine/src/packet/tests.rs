//! Packets built by hand, one sentence each.

extern crate std;
use std::vec::Vec;

use super::*;

fn v4(protocol: u8, fragment: u16, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut p = std::vec![0u8; 20 + options];
    p[0] = 0x40 | u8::try_from(5 + options / 4).unwrap();
    p[4..6].copy_from_slice(&0x1234_u16.to_be_bytes());
    p[6..8].copy_from_slice(&fragment.to_be_bytes());
    p[9] = protocol;
    p[12..16].copy_from_slice(&[10, 0, 0, 1]);
    p[16..20].copy_from_slice(&[10, 0, 0, 2]);
    p.extend_from_slice(payload);
    p
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = std::vec![0u8; 40];
    p[0] = 0x60;
    p[6] = next;
    p[8] = 0xfd;
    p[24] = 0xfd;
    p[39] = 2;
    p.extend_from_slice(payload);
    p
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut p = std::vec![0u8; 20];
    p[0..2].copy_from_slice(&40000_u16.to_be_bytes());
    p[2..4].copy_from_slice(&443_u16.to_be_bytes());
    p[13] = flags;
    p
}

#[test]
fn options_of_ipv4_are_skipped() {
    let packet = parse(&v4(6, 0, 12, &tcp(TCP_SYN)).as_slice(), 0).unwrap();
    assert_eq!((packet.source_port, packet.destination_port, packet.tcp_flags), (40000, 443, TCP_SYN));
    assert_eq!(packet.transport, 32);
}

#[test]
fn a_first_fragment_has_ports_and_a_later_one_has_not() {
    let first = parse(&v4(17, 0x2000, 0, &tcp(0)).as_slice(), 0).unwrap();
    assert_eq!((first.kind, first.is_fragment, first.destination_port), (Kind::Whole, true, 443));
    let later = parse(&v4(17, 0x0010, 0, &[0xff; 4]).as_slice(), 0).unwrap();
    assert_eq!((later.kind, later.destination_port, later.fragment_id), (Kind::LaterFragment, 0, 0x1234));
}

#[test]
fn extension_headers_lead_to_the_transport_header() {
    let mut p = std::vec![43u8, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, then routing
    p.extend_from_slice(&[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 16 bytes, then options
    p.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0]);
    p.extend_from_slice(&tcp(TCP_ACK));
    let packet = parse(&v6(0, &p).as_slice(), 0).unwrap();
    assert_eq!((packet.protocol, packet.destination_port, packet.transport), (6, 443, 72));
}

#[test]
fn a_chain_of_nine_extension_headers_is_refused() {
    let mut p = Vec::new();
    for _ in 0..9 {
        p.extend_from_slice(&[60, 0, 0, 0, 0, 0, 0, 0]);
    }
    p.extend_from_slice(&tcp(0));
    assert_eq!(parse(&v6(60, &p).as_slice(), 0), Err(ParseError::TooManyExtensions));
}

#[test]
fn a_later_fragment_of_ipv6_is_not_read_as_a_header() {
    let fragment = [6u8, 0, 0x00, 0x09, 0, 0, 0, 7, 0xff];
    let packet = parse(&v6(44, &fragment).as_slice(), 0).unwrap();
    assert_eq!((packet.kind, packet.protocol, packet.fragment_id), (Kind::LaterFragment, 6, 7));
}

#[test]
fn icmp_is_told_apart() {
    for (protocol, icmp_type, kind) in [
        (1, 8, Kind::EchoRequest),
        (1, 0, Kind::EchoReply),
        (1, 3, Kind::IcmpError),
        (1, 11, Kind::IcmpError),
        (1, 13, Kind::Whole),
    ] {
        let packet = parse(&v4(protocol, 0, 0, &[icmp_type, 0, 0, 0, 0, 9, 0, 0]).as_slice(), 0).unwrap();
        assert_eq!(packet.kind, kind, "type {icmp_type}");
    }
    let neighbour = parse(&v6(58, &[135, 0, 0, 0, 0, 0, 0, 0]).as_slice(), 0).unwrap();
    assert_eq!(neighbour.kind, Kind::NeighbourDiscovery);
    let too_big = parse(&v6(58, &[2, 0, 0, 0, 0, 0, 0, 0]).as_slice(), 0).unwrap();
    assert_eq!(too_big.kind, Kind::IcmpError);
}

#[test]
fn what_ends_inside_a_header_is_truncated() {
    let whole = v4(6, 0, 0, &tcp(0));
    for length in 0..34 {
        assert_eq!(parse(&&whole[..length], 0), Err(ParseError::Truncated), "{length} bytes");
    }
    assert_eq!(parse(&v4(6, 0, 0, &tcp(0)).as_mut_slice().to_vec().as_slice(), 0).unwrap().protocol, 6);
    let mut short = whole;
    short[0] = 0x44;
    assert_eq!(parse(&short.as_slice(), 0), Err(ParseError::BadHeader));
    short[0] = 0x55;
    assert_eq!(parse(&short.as_slice(), 0), Err(ParseError::BadHeader));
}
