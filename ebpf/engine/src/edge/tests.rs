//! The steps of the edge on tables of the tests' own, one sentence each.

extern crate std;
use std::cell::RefCell;
use std::collections::HashMap;
use std::vec::Vec;

use windrose_abi::BucketKey;
use windrose_abi::edge::FOREVER;

use super::*;
use crate::packet::{TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};

const NOW_NS: u64 = 1_000_000;

#[derive(Default)]
struct Plain {
    flags: u32,
    limits: Vec<EdgeLimit>,
    allowed: Vec<Address>,
    hosts: HashMap<Address, DenyRow>,
    /// By length and address, host bits zero.
    prefixes: HashMap<(u32, Address), DenyRow>,
    buckets: RefCell<HashMap<BucketKey, u64>>,
}

impl EdgeTables for Plain {
    fn flags(&self) -> u32 {
        self.flags | if self.allowed.is_empty() { 0 } else { EdgeSettings::HAS_ALLOWED }
    }

    fn limit_count(&self) -> u32 {
        u32::try_from(self.limits.len()).unwrap()
    }

    fn limit(&self, index: u32) -> EdgeLimit {
        self.limits[index as usize]
    }

    fn cookies(&self) -> EdgeLimit {
        limit(LimitClass::Syn, 2)
    }

    fn is_allowed(&self, source: &Address) -> bool {
        self.allowed.contains(source)
    }

    fn denied_host(&self, source: &Address) -> Option<DenyRow> {
        self.hosts.get(source).copied()
    }

    fn denied_prefix(&self, source: &Address, length: u32) -> Option<DenyRow> {
        let bits = u128::from_be_bytes(source.to_bytes());
        (0..=length).rev().find_map(|length| {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            self.prefixes.get(&(length, Address::from_bytes((bits & mask).to_be_bytes()))).copied()
        })
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }

    fn take(&self, index: u32, limit: &EdgeLimit, source: &Address) -> bool {
        let key = BucketKey { source: *source, limit: index };
        let mut buckets = self.buckets.borrow_mut();
        let full_ns = buckets.get(&key).copied().unwrap_or(0);
        spend(full_ns, NOW_NS, limit).map(|next| buckets.insert(key, next)).is_some()
    }
}

fn v4(octets: [u8; 4]) -> Address {
    Address::from_v4_word(u32::from_ne_bytes(octets))
}

/// A frame from 198.51.100.7 or another source to 192.0.2.1.
fn frame(source: [u8; 4], transport_protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![0_u8; 14];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, transport_protocol, 0, 0]);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&[192, 0, 2, 1]);
    frame.extend_from_slice(transport);
    frame
}

fn tcp(source: [u8; 4], flags: u8) -> Vec<u8> {
    let mut header = [0_u8; 20];
    header[13] = flags;
    frame(source, protocol::TCP, &header)
}

fn udp(source: [u8; 4]) -> Vec<u8> {
    frame(source, protocol::UDP, &[0; 8])
}

const SOURCE: [u8; 4] = [198, 51, 100, 7];

fn decided(frame: &[u8], tables: &Plain) -> EdgeReason {
    decide(&frame, tables)
}

fn row(length: u8, listed_until_ns: u64, added_until_ns: u64) -> DenyRow {
    DenyRow { length, listed_until_ns, added_until_ns, ..DenyRow::ZERO }
}

#[test]
fn of_all_flag_bytes_those_that_no_state_of_tcp_sends_are_dropped() {
    for flags in 0..=u8::MAX {
        let has = |flag| flags & flag != 0;
        let is_null =
            [TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ACK, TCP_URG].into_iter().all(|flag| !has(flag));
        let is_bad = (has(TCP_SYN) && has(TCP_FIN))
            || (has(TCP_SYN) && has(TCP_RST))
            || (has(TCP_FIN) && !has(TCP_ACK))
            || is_null;
        let expected = if is_bad { EdgeReason::BadFlags } else { EdgeReason::Passed };
        assert_eq!(decided(&tcp(SOURCE, flags), &Plain::default()), expected, "{flags:#010b}");
    }
}

#[test]
fn a_host_is_denied_until_the_later_of_its_two_ends() {
    for (listed, added, is_denied) in [
        (FOREVER, 0, true),
        (0, FOREVER, true),
        (NOW_NS + 1, 0, true),
        (0, NOW_NS + 1, true),
        (NOW_NS, NOW_NS, false),
        (NOW_NS - 1, NOW_NS + 1, true),
        (0, 0, false),
    ] {
        let tables =
            Plain { hosts: HashMap::from([(v4(SOURCE), row(128, listed, added))]), ..Plain::default() };
        let expected = if is_denied { EdgeReason::DeniedHost } else { EdgeReason::Passed };
        assert_eq!(decided(&udp(SOURCE), &tables), expected, "listed {listed}, added {added}");
        assert_eq!(decided(&udp([198, 51, 100, 8]), &tables), EdgeReason::Passed);
    }
}

#[test]
fn a_prefix_that_has_ended_does_not_hide_a_shorter_one() {
    let mut tables = Plain::default();
    tables.prefixes.insert((96 + 8, v4([198, 0, 0, 0])), row(96 + 8, FOREVER, 0));
    for (length, third) in [(24, 100), (16, 0)] {
        let net = v4([198, 51, third, 0]);
        tables.prefixes.insert((96 + length, net), row(96 + u8::try_from(length).unwrap(), NOW_NS - 1, 0));
    }
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::DeniedPrefix);
    tables.prefixes.remove(&(96 + 8, v4([198, 0, 0, 0])));
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::Passed);
}

#[test]
fn the_allow_list_excepts_from_denial_and_limits_but_not_from_the_impossible() {
    let mut tables = Plain {
        allowed: std::vec![v4(SOURCE)],
        hosts: HashMap::from([(v4(SOURCE), row(128, FOREVER, 0))]),
        ..Plain::default()
    };
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::Passed);
    assert_eq!(decided(&tcp(SOURCE, 0), &tables), EdgeReason::BadFlags);
    tables.hosts.clear();
    tables.limits = std::vec![limit(LimitClass::All, 1)];
    for _ in 0..3 {
        assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::Passed);
    }
    tables.allowed = std::vec![v4([198, 51, 100, 8])];
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::AllLimit);
}

fn limit(class: LimitClass, burst: u64) -> EdgeLimit {
    EdgeLimit {
        cost_ns: 100,
        burst_ns: burst * 100,
        mask_v6: Address { words: [u32::MAX, u32::MAX, 0, 0] },
        mask_v4: u32::from_ne_bytes([255, 255, 255, 0]),
        class: class as u32,
    }
}

#[test]
fn a_limit_counts_its_class_for_all_of_a_prefix() {
    let tables = Plain { limits: std::vec![limit(LimitClass::Udp, 3)], ..Plain::default() };
    for last in 1..=3 {
        assert_eq!(decided(&udp([198, 51, 100, last]), &tables), EdgeReason::Passed);
    }
    assert_eq!(decided(&udp([198, 51, 100, 4]), &tables), EdgeReason::UdpLimit);
    assert_eq!(decided(&udp([198, 51, 101, 4]), &tables), EdgeReason::Passed);
    assert_eq!(decided(&tcp([198, 51, 100, 4], TCP_SYN), &tables), EdgeReason::Passed);
}

#[test]
fn a_packet_over_one_limit_takes_no_token_of_the_next() {
    let tables =
        Plain { limits: std::vec![limit(LimitClass::Syn, 1), limit(LimitClass::All, 2)], ..Plain::default() };
    assert_eq!(decided(&tcp(SOURCE, TCP_SYN), &tables), EdgeReason::Passed);
    for _ in 0..5 {
        assert_eq!(decided(&tcp(SOURCE, TCP_SYN), &tables), EdgeReason::SynLimit);
    }
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::Passed);
    assert_eq!(decided(&udp(SOURCE), &tables), EdgeReason::AllLimit);
}

#[test]
fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
    let limit = limit(LimitClass::All, 10);
    let (mut full_ns, mut taken) = (0, 0);
    for now_ns in (NOW_NS..NOW_NS + 10_000).step_by(10) {
        if let Some(next) = spend(full_ns, now_ns, &limit) {
            (full_ns, taken) = (next, taken + 1);
        }
    }
    // The burst, and one token each 100 ns.
    assert!((108..=111).contains(&taken), "{taken}");
}

#[test]
fn a_bucket_of_one_token_is_one_packet_in_each_interval() {
    let limit = limit(LimitClass::All, 1);
    let next = spend(0, NOW_NS, &limit).unwrap();
    assert_eq!(spend(next, NOW_NS + 99, &limit), None);
    assert_eq!(spend(next, NOW_NS + 100, &limit), Some(NOW_NS + 200));
}

#[test]
fn tags_are_followed_to_the_second_and_no_farther() {
    for (tags, expected) in [
        (0, EdgeReason::DeniedHost),
        (1, EdgeReason::DeniedHost),
        (2, EdgeReason::DeniedHost),
        (3, EdgeReason::Unparsable),
    ] {
        let tables = Plain { hosts: HashMap::from([(v4(SOURCE), row(128, FOREVER, 0))]), ..Plain::default() };
        let plain = udp(SOURCE);
        let mut tagged = plain[..12].to_vec();
        for n in 0..tags {
            tagged.extend_from_slice(if n + 1 == tags { &[0x81, 0, 0, 42] } else { &[0x88, 0xa8, 0, 7] });
        }
        tagged.extend_from_slice(&plain[12..]);
        assert_eq!(decided(&tagged, &tables), expected, "{tags} tags");
    }
}

#[test]
fn a_v4_mapped_source_passes_for_nothing() {
    let mut frame = std::vec![0_u8; 14];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 8, protocol::UDP, 64]);
    frame.extend_from_slice(&v4(SOURCE).to_bytes());
    frame.extend_from_slice(&[0x20; 16]);
    frame.extend_from_slice(&[0; 8]);
    let tables = Plain { allowed: std::vec![v4(SOURCE)], ..Plain::default() };
    assert_eq!(decided(&frame, &tables), EdgeReason::Unparsable);
}

#[test]
fn a_frame_cut_anywhere_is_parsed_or_refused() {
    let whole = tcp(SOURCE, TCP_SYN);
    for length in 0..whole.len() {
        let reason = decided(&whole[..length], &Plain::default());
        // The first 14 bytes of TCP have all that is looked at.
        let expected = if length < 14 + 20 + 14 { EdgeReason::Unparsable } else { EdgeReason::Passed };
        assert_eq!(reason, expected, "{length} bytes");
    }
}

#[test]
fn above_a_rate_for_one_port_attempts_are_answered_with_cookies() {
    let tables = Plain { flags: EdgeSettings::COOKIES, ..Plain::default() };
    let attempt = |last, port: u16| {
        let mut frame = tcp([198, 51, 100, last], TCP_SYN);
        frame[14 + 20 + 2..14 + 20 + 4].copy_from_slice(&port.to_be_bytes());
        decided(&frame, &tables)
    };
    for last in 1..=2 {
        assert_eq!(attempt(last, 443), EdgeReason::Passed);
    }
    assert_eq!(attempt(3, 443), EdgeReason::SynCookie);
    assert_eq!(attempt(3, 80), EdgeReason::Passed);
    assert_eq!(decided(&tcp(SOURCE, TCP_ACK), &tables), EdgeReason::Passed);
}
