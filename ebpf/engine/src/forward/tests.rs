//! Plans on tables of the tests' own, one sentence each; checksums against those made from scratch.

extern crate std;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use super::*;

const NOW_NS: u64 = 1 << 40;

#[derive(Default)]
struct Plain {
    frontends: BTreeMap<ServiceKey, FrontendRow>,
    endpoints: Vec<ForwardEndpoint>,
    table: Vec<u32>,
    returns: BTreeMap<ServiceKey, ReturnRow>,
    sources: Vec<Address>,
    flows: RefCell<BTreeMap<ForwardKey, ForwardFlow>>,
    fragments: RefCell<HashMap<FragmentKey, ForwardFragment>>,
}

impl ForwardTables for Plain {
    fn frontend(&self, key: &ServiceKey) -> Option<&FrontendRow> {
        self.frontends.get(key)
    }

    fn name(&self, frontend: u32) -> Option<FrontendName> {
        let (key, row) = self.frontends.iter().find(|(_, row)| row.frontend == frontend)?;
        Some(FrontendName { key: *key, frontend, flags: row.flags })
    }

    fn is_in_range(&self, _: u32, source: &Address) -> bool {
        self.sources.contains(source)
    }

    fn entry(&self, row: u32, entry: u32) -> Option<u32> {
        self.table.get((row * ROW + entry) as usize).copied()
    }

    fn endpoint(&self, endpoint: u32) -> Option<ForwardEndpoint> {
        self.endpoints.get(endpoint as usize).copied().filter(|endpoint| endpoint.serial != 0)
    }

    fn flow(&self, key: &ForwardKey, is_datagram: bool) -> Option<ForwardFlow> {
        let mut flows = self.flows.borrow_mut();
        let flow = flows.get_mut(key)?;
        let was = *flow;
        if is_datagram {
            flow.seen_ns = NOW_NS;
        }
        Some(was)
    }

    fn remember(&self, key: &ForwardKey, flow: &ForwardFlow) {
        self.flows.borrow_mut().insert(*key, ForwardFlow { seen_ns: NOW_NS, ..*flow });
    }

    fn returns(&self, key: &ServiceKey) -> Option<&ReturnRow> {
        self.returns.get(key)
    }

    fn fragment(&self, key: &FragmentKey) -> Option<ForwardFragment> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, to: &ForwardFragment) {
        self.fragments.borrow_mut().insert(*key, *to);
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }
}

fn v4(last: u8) -> Address {
    Address::from_v4_word(u32::from_ne_bytes([192, 0, 2, last]))
}

const CLIENT: u8 = 7;
const FRONT: u8 = 1;

/// A frontend at 192.0.2.1:443 of UDP or TCP with two endpoints, 192.0.2.10 and .11, port 8443.
fn tables(protocol: u8) -> Plain {
    let mut tables = Plain {
        table: (0..251).map(|n| n % 2).collect(),
        endpoints: (0..2)
            .map(|n| ForwardEndpoint {
                address: v4(10 + n),
                serial: 5 + u32::from(n),
                port: 8443,
                state: EndpointState::Ready as u8,
                forwarding: 0,
            })
            .collect(),
        ..Plain::default()
    };
    let front = FrontendRow { seed: 9, frontend: 3, size: 251, ..FrontendRow::ZERO };
    tables.frontends.insert(key(v4(FRONT), 443, protocol), front);
    tables.frontends.insert(key(v4(FRONT), 0, protocol), FrontendRow::ZERO);
    for n in 10..12 {
        let mut row = ReturnRow { count: 1, ..ReturnRow::ZERO };
        row.frontends[0] = 3;
        tables.returns.insert(key(v4(n), 8443, protocol), row);
    }
    tables
}

fn packet(protocol: u8, from: (u8, u16), to: (u8, u16), tcp_flags: u8) -> Packet {
    Packet {
        source: v4(from.0),
        destination: v4(to.0),
        source_port: from.1,
        destination_port: to.1,
        protocol,
        tcp_flags,
        ..Packet::EMPTY
    }
}

fn asked(protocol: u8, flags: u8) -> Packet {
    packet(protocol, (CLIENT, 40_000), (FRONT, 443), flags)
}

fn decided(packet: &Packet, tables: &Plain) -> Plan {
    plan(&&[][..], packet, tables)
}

fn sent(packet: &Packet, tables: &Plain) -> u32 {
    match decided(packet, tables) {
        Plan::Send { index, .. } => index,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flow_that_is_known_stays_and_its_answers_are_the_frontends() {
    let mut tables = tables(protocol::TCP);
    let first = sent(&asked(protocol::TCP, TCP_SYN), &tables);
    // The table says another one now; what is known is not asked again.
    tables.table = std::vec![1 - first; 251];
    assert_eq!(sent(&asked(protocol::TCP, TCP_ACK), &tables), first);
    let from = u8::try_from(10 + first).unwrap();
    let answer = packet(protocol::TCP, (from, 8443), (CLIENT, 40_000), TCP_ACK);
    assert_eq!(decided(&answer, &tables), Plan::Return { frontend: key(v4(FRONT), 443, protocol::TCP) });
    for other in [
        packet(protocol::TCP, (21 - from, 8443), (CLIENT, 40_000), TCP_ACK),
        packet(protocol::TCP, (from, 8443), (CLIENT, 40_001), TCP_ACK),
        packet(protocol::TCP, (from, 1), (CLIENT, 40_000), TCP_ACK),
    ] {
        assert_eq!(decided(&other, &tables), Plan::Leave);
    }
}

#[test]
fn who_drains_keeps_what_it_has_and_gets_nothing_new() {
    for (protocol, fresh) in [(protocol::TCP, TCP_SYN), (protocol::UDP, 0)] {
        let mut tables = tables(protocol);
        let first = sent(&asked(protocol, fresh), &tables);
        tables.endpoints[first as usize].state = EndpointState::Draining as u8;
        tables.table = std::vec![1 - first; 251];
        assert_eq!(sent(&asked(protocol, TCP_ACK), &tables), first);
        // A datagram after a minute of silence begins anew, and so does a SYN.
        for flow in tables.flows.borrow_mut().values_mut() {
            flow.seen_ns = NOW_NS - IDLE_NS - 1;
        }
        assert_eq!(sent(&asked(protocol, fresh), &tables), 1 - first);
    }
}

#[test]
fn an_index_that_stands_for_another_endpoint_now_is_chosen_anew() {
    let mut tables = tables(protocol::TCP);
    let first = sent(&asked(protocol::TCP, TCP_SYN), &tables);
    tables.endpoints[first as usize].serial = 99;
    tables.table = std::vec![1 - first; 251];
    assert_eq!(sent(&asked(protocol::TCP, TCP_ACK), &tables), 1 - first);
}

#[test]
fn who_may_not_ask_and_who_finds_nobody_is_refused() {
    let mut tables = tables(protocol::TCP);
    let front = key(v4(FRONT), 443, protocol::TCP);
    tables.frontends.get_mut(&front).unwrap().flags = FrontendRow::HAS_RANGES;
    let syn = asked(protocol::TCP, TCP_SYN);
    assert_eq!(decided(&syn, &tables), Plan::Refuse(EdgeReason::SourceRange));
    tables.sources.push(v4(CLIENT));
    // A share that is refused is an index of nobody.
    tables.table = std::vec![u32::MAX; 251];
    assert_eq!(decided(&syn, &tables), Plan::Refuse(EdgeReason::NoEndpoint));
    tables.frontends.get_mut(&front).unwrap().size = 0;
    assert_eq!(decided(&syn, &tables), Plan::Refuse(EdgeReason::NoEndpoint));
}

#[test]
fn a_known_flow_ends_with_its_frontend_and_with_the_leave_to_ask() {
    let mut tables = tables(protocol::TCP);
    let front = key(v4(FRONT), 443, protocol::TCP);
    let ack = asked(protocol::TCP, TCP_ACK);
    sent(&asked(protocol::TCP, TCP_SYN), &tables);
    tables.frontends.get_mut(&front).unwrap().flags = FrontendRow::HAS_RANGES;
    assert_eq!(decided(&ack, &tables), Plan::Refuse(EdgeReason::SourceRange));
    let row = tables.frontends.remove(&front).unwrap();
    assert_eq!(decided(&ack, &tables), Plan::Leave);
    // There again under another number it knows nothing of what was.
    tables.frontends.insert(front, FrontendRow { frontend: 4, flags: 0, ..row });
    assert!(matches!(decided(&ack, &tables), Plan::Send { is_new: true, .. }));
}

#[test]
fn later_fragments_follow_their_first() {
    let tables = tables(protocol::UDP);
    let fragment = |kind, to| Packet {
        kind,
        is_fragment: true,
        fragment_id: 4,
        ..packet(protocol::UDP, (CLIENT, 40_000), to, 0)
    };
    let later = fragment(Kind::LaterFragment, (FRONT, 0));
    assert_eq!(decided(&later, &tables), Plan::Refuse(EdgeReason::LostFragment));
    let first = sent(&fragment(Kind::Whole, (FRONT, 443)), &tables);
    assert_eq!(sent(&later, &tables), first);
    // Of a packet for a port that is nobody's here.
    assert_eq!(decided(&fragment(Kind::Whole, (FRONT, 444)), &tables), Plan::Leave);
    assert_eq!(decided(&later, &tables), Plan::Leave);
    assert_eq!(decided(&fragment(Kind::LaterFragment, (99, 0)), &tables), Plan::Leave);
}

#[test]
fn a_changed_checksum_is_that_of_the_changed_words() {
    let sum = |words: &[u16]| {
        let mut sum: u32 = words.iter().map(|word| u32::from(*word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    };
    let mut seed = 1_u64;
    for _ in 0..100_000 {
        seed = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let [a, b, c, d] = [0, 16, 32, 48].map(|shift| u16::try_from(seed >> shift & 0xffff).unwrap());
        let (before, after) = ([a, b, 0x4500, c], [d, a ^ b, 0x4500, c]);
        let delta = Delta::NONE.word(a, d).word(b, a ^ b);
        let found = delta.applied(sum(&before));
        // Both zeros of ones' complement are the same sum.
        assert!(found == sum(&after) || found == !sum(&after) && matches!(found, 0 | 0xffff));
    }
}
