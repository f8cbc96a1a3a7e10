//! Balance tables of the edge: by what endpoints are, not by the numbers that a node gives them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::maglev::{self, MAX_ENDPOINTS};
use super::number::Digest;

/// Most endpoints in one table.
pub const MAX_SPREAD: usize = MAX_ENDPOINTS;

/// An endpoint that takes a share: address, port, and weight from 1.
pub type Spread = (IpAddr, u16, u32);

/// A table in which each endpoint is in proportion to its weight, as indices into `endpoints`. The
/// same on every node; an endpoint that comes or goes moves few entries of the others. Empty if
/// nobody is there; at most [`MAX_SPREAD`] take part.
pub fn spread(endpoints: &[Spread]) -> Vec<u32> {
    let mut order: Vec<(u32, &Spread)> = (0..).zip(endpoints).take(MAX_SPREAD).collect();
    order.sort_by_key(|(_, endpoint)| **endpoint);
    let divisor = order.iter().fold(0, |divisor, (_, (.., weight))| common(divisor, *weight)).max(1);
    let mut taken = BTreeSet::new();
    let mut by_number: Vec<(u32, u32, u32)> = order
        .into_iter()
        .map(|(index, (address, port, weight))| {
            let mut number = number(*address, *port);
            // The order decides who keeps it, and it is the same everywhere.
            while number == 0 || !taken.insert(number) {
                number = number.wrapping_add(1);
            }
            (number, (weight / divisor).max(1), index)
        })
        .collect();
    by_number.sort_unstable();
    let weighted: Vec<_> = by_number.iter().map(|(number, weight, _)| (*number, *weight)).collect();
    if weighted.is_empty() {
        return Vec::new();
    }
    let index_of = |number: u32| {
        let found = by_number.binary_search_by_key(&number, |(number, ..)| *number);
        found.map_or(0, |at| by_number[at].2)
    };
    maglev::fill(&weighted, maglev::size(&weighted)).into_iter().map(index_of).collect()
}

/// What goes into the hash of a frontend's flows, the same on every node.
pub fn frontend_seed(address: IpAddr, port: u16, protocol: u8) -> u64 {
    let mut digest = digest(address, port);
    digest.bytes(&[protocol]);
    digest.finish()
}

fn number(address: IpAddr, port: u16) -> u32 {
    let [a, b, c, d, ..] = digest(address, port).finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn digest(address: IpAddr, port: u16) -> Digest {
    let mut digest = Digest::new();
    match address {
        IpAddr::V4(v4) => digest.bytes(&v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => digest.bytes(&v6.octets()),
    }
    digest.bytes(&port.to_le_bytes());
    digest
}

/// The greatest common divisor.
const fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(n: u8, weight: u32) -> Spread {
        (IpAddr::from([192, 0, 2, n]), 8080, weight)
    }

    fn share(table: &[u32], index: u32) -> usize {
        table.iter().filter(|entry| **entry == index).count()
    }

    #[test]
    fn shares_are_in_proportion_however_weights_are_scaled() {
        let table = spread(&[endpoint(1, 9_000), endpoint(2, 1_000)]);
        assert_eq!(table.len(), 251);
        assert_eq!(share(&table, 0) + share(&table, 1), 251);
        assert!((24..=27).contains(&share(&table, 1)), "{}", share(&table, 1));
        assert_eq!(table, spread(&[endpoint(1, 9), endpoint(2, 1)]));
    }

    #[test]
    fn nobody_has_no_table() {
        assert_eq!(spread(&[]), Vec::<u32>::new());
        assert!(spread(&[endpoint(1, 1)]).iter().all(|index| *index == 0));
    }

    #[test]
    fn a_seed_tells_frontends_apart() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let seeds = [
            frontend_seed(address, 80, 6),
            frontend_seed(address, 80, 17),
            frontend_seed(address, 81, 6),
            frontend_seed(IpAddr::from([192, 0, 2, 2]), 80, 6),
        ];
        assert_eq!(seeds.iter().collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(seeds[0], 10_495_427_994_848_209_468, "another seed moves every flow on an upgrade");
    }

    proptest! {
        #[test]
        fn the_order_of_endpoints_does_not_matter(
            hosts in prop::collection::btree_map(1_u8.., 1_u32..50, 2..12)
        ) {
            let there: Vec<Spread> = hosts.iter().map(|(n, weight)| endpoint(*n, *weight)).collect();
            let back: Vec<Spread> = there.iter().rev().copied().collect();
            let named = |endpoints: &[Spread]| -> Vec<Spread> {
                spread(endpoints).into_iter().map(|index| endpoints[index as usize]).collect()
            };
            prop_assert_eq!(named(&there), named(&back));
        }
    }
}
