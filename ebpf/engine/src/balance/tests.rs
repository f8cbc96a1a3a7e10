//! Endpoints are chosen by weight, load and client.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use windrose_abi::{Address, EndpointSlot, EndpointState, ServiceSlot};

use super::{Services, client, pick};

/// A table of 251 entries in which each endpoint has as many as `shares` says, and loads.
#[derive(Default)]
struct Held {
    table: Vec<u32>,
    endpoints: HashMap<u32, EndpointSlot>,
    live: HashMap<u32, u64>,
}

impl Held {
    fn new(weights: &[(u32, u8)]) -> Self {
        let total: usize = weights.iter().map(|(_, weight)| usize::from(*weight)).sum();
        let mut held = Self::default();
        for &(endpoint, weight) in weights {
            let share = 251 * usize::from(weight) / total;
            held.table.extend(std::iter::repeat_n(endpoint, share));
            let state = EndpointState::Ready as u8;
            held.endpoints.insert(endpoint, EndpointSlot { address: Address::ZERO, port: 80, weight, state });
        }
        let last = weights[0].0;
        held.table.resize(251, last);
        held
    }

    /// Opens so many connections that last.
    fn open(&mut self, slot: &ServiceSlot, count: u32) {
        let mut random = 1_u64;
        for _ in 0..count {
            // xorshift64.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let endpoint = pick(&&*self, slot, 1, random);
            *self.live.entry(endpoint).or_default() += 1;
        }
    }
}

impl Services for &Held {
    fn endpoint(&self, endpoint: u32) -> Option<EndpointSlot> {
        self.endpoints.get(&endpoint).copied()
    }

    fn entry(&self, _table: u32, index: u32) -> Option<u32> {
        self.table.get(index as usize).copied()
    }

    fn live(&self, endpoint: u32) -> u64 {
        self.live.get(&endpoint).copied().unwrap_or(0)
    }
}

const TWO: ServiceSlot = ServiceSlot { service: 9, table: 1, size: 251, ..ServiceSlot::ZERO };
const MAGLEV: ServiceSlot = ServiceSlot { flags: ServiceSlot::MAGLEV, ..TWO };

#[test]
fn a_service_without_endpoints_has_none_to_give() {
    let held = Held::new(&[(1, 1)]);
    assert_eq!(pick(&&held, &ServiceSlot { service: 9, ..ServiceSlot::ZERO }, 1, 2), 0);
}

#[test]
fn the_only_endpoint_needs_no_table() {
    let held = Held::default();
    assert_eq!(pick(&&held, &ServiceSlot { service: 9, only: 7, ..ServiceSlot::ZERO }, 1, 2), 7);
}

#[test]
fn a_table_that_is_missing_gives_nothing() {
    assert_eq!(pick(&&Held::default(), &TWO, 1, 2), 0);
    assert_eq!(pick(&&Held::default(), &MAGLEV, 1, 2), 0);
}

#[test]
fn every_entry_of_a_table_can_be_chosen() {
    let held = Held { table: (1..=251).collect(), ..Held::default() };
    let chosen: std::collections::HashSet<u32> =
        (0..251).map(|n| pick(&&held, &TWO, 1, ((n << 32) / 251 + 1) << 32)).collect();
    assert_eq!(chosen.len(), 251);
}

#[test]
fn lasting_connections_follow_the_weights() {
    let mut held = Held::new(&[(1, 1), (2, 3), (3, 6)]);
    held.open(&TWO, 1000);
    for (endpoint, share) in [(1, 100_u64), (2, 300), (3, 600)] {
        let live = held.live[&endpoint];
        assert!(live.abs_diff(share) <= 20, "endpoint {endpoint} has {live} of {share}");
    }
}

#[test]
fn the_more_loaded_of_two_is_left_alone() {
    let mut held = Held::new(&[(1, 1), (2, 1)]);
    held.live.insert(1, 500);
    held.open(&TWO, 400);
    // The two entries are the same endpoint in a quarter of the cases.
    assert!(held.live[&1] < 650, "{:?}", held.live);
}

#[test]
fn a_client_of_maglev_stays_where_it_is() {
    let mut held = Held::new(&[(1, 1), (2, 1), (3, 1)]);
    let given: Vec<u32> = (0..300).map(|n| pick(&&held, &MAGLEV, client(n, 0), 0)).collect();
    for (endpoint, live) in [(1, 10), (2, 5_000), (3, 0)] {
        held.live.insert(endpoint, live);
    }
    for (n, endpoint) in (0..300).zip(&given) {
        assert_eq!(pick(&&held, &MAGLEV, client(n, 0), u64::from(n) << 40), *endpoint);
    }
    for endpoint in 1..=3 {
        let clients = given.iter().filter(|given| **given == endpoint).count();
        assert!((70..=130).contains(&clients), "{clients} of 300 clients have endpoint {endpoint}");
    }
}

#[test]
fn a_workload_is_another_client_than_a_namespace_of_the_same_number() {
    assert_ne!(client(5, 9), client(0, 5));
    assert_eq!(client(5, 9), client(5, 1));
    assert_ne!(client(0, 9), client(0, 1));
}
