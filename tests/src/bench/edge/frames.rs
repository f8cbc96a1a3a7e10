//! Frames that are tried at the edge, and entries of deny lists that speak for or against them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windrose_datapath::Listed;
use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{Address, PrefixKey};

/// On no list.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// On no list.
pub(super) const STRANGER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// What an Ethernet frame has at least.
const LEAST_BYTES: usize = 64;

const ETHERNET: usize = 14;
const SYN: u8 = 2;

/// Neither IPv4 nor IPv6: what a test run costs by itself.
pub(super) fn not_ip() -> Vec<u8> {
    let mut frame = vec![0_u8; LEAST_BYTES];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame
}

/// A TCP SYN of 64 bytes (of 74 over IPv6).
pub(super) fn syn(source: IpAddr, port: u16) -> Vec<u8> {
    let mut frame = vec![0_u8; ETHERNET];
    match source {
        IpAddr::V6(source) => {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99).octets());
        }
        IpAddr::V4(source) => {
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&[192, 0, 2, 99]);
        }
    }
    let mut tcp = [0_u8; 20];
    tcp[2..4].copy_from_slice(&port.to_be_bytes());
    (tcp[12], tcp[13]) = (0x50, SYN);
    frame.extend_from_slice(&tcp);
    frame.resize(frame.len().max(LEAST_BYTES), 0);
    frame
}

/// A TCP SYN of 64 bytes of a flow, with all the hops that there can be.
pub(super) fn flow(source: Ipv4Addr, port: u16, to: Ipv4Addr, at: u16) -> Vec<u8> {
    let mut frame = syn(source.into(), at);
    frame[ETHERNET + 8] = u8::MAX;
    frame[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&to.octets());
    frame[ETHERNET + 20..ETHERNET + 22].copy_from_slice(&port.to_be_bytes());
    frame
}

/// With a tag.
pub(super) fn in_a_vlan(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 42], &frame[12..]].concat()
}

/// A segment over IPv4 without any flag.
pub(super) fn without_flags(mut frame: Vec<u8>) -> Vec<u8> {
    frame[ETHERNET + 20 + 13] = 0;
    frame
}

/// So many hosts, every other one of IPv6, and so many prefixes of IPv4, all of different addresses.
pub(super) fn entries(hosts: u32, prefixes: u32) -> Vec<Listed> {
    let listed = |prefix| Listed { prefix, until_ns: FOREVER, list: 1 };
    let single = |address| PrefixKey { length: 128, address: mapped(address) };
    let singles =
        (0..hosts).map(|n| listed(single(if n % 2 == 0 { host(n).into() } else { host_v6(n).into() })));
    let nets = (0..prefixes).map(|n| {
        let first = Ipv4Addr::from(u32::from(inside(n)) & !0xf);
        listed(PrefixKey { length: 96 + 28, address: mapped(first.into()) })
    });
    singles.chain(nets).collect()
}

/// The n-th host, an odd n being taken for the even one before it: those stand for IPv6 hosts.
pub(super) fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0100_0000 + (n & !1))
}

/// The n-th host, an even n being taken for the odd one after it.
pub(super) fn host_v6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8_0001_u128 << 80) | u128::from(n | 1))
}

/// An address in the n-th prefix.
pub(super) fn inside(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x5000_0000 + (n << 4) + 7)
}

fn mapped(address: IpAddr) -> Address {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    Address::from_bytes(address.octets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_has_the_length_of_the_smallest_frame() {
        assert_eq!(syn(STRANGER.into(), 80).len(), 64);
        assert_eq!(in_a_vlan(&syn(STRANGER.into(), 80)).len(), 68);
        assert_eq!(syn(STRANGER_V6.into(), 80).len(), 74);
    }

    #[test]
    fn every_host_that_frames_come_from_is_on_the_list() {
        let entries = entries(10, 3);
        let has = |address: IpAddr, length| {
            entries.iter().any(|entry| entry.prefix == PrefixKey { length, address: mapped(address) })
        };
        for n in 0..10 {
            assert!(has(host(n).into(), 128) && has(host_v6(n).into(), 128), "{n}");
        }
        assert!(has(Ipv4Addr::new(80, 0, 0, 32).into(), 124), "{entries:?}");
        assert_eq!((entries.len(), inside(2)), (13, Ipv4Addr::new(80, 0, 0, 39)));
    }
}
