//! Balance tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4), with weights.

use windrose_abi::services::TABLE_SIZES;

use super::number::Digest;

/// So many entries an endpoint of the lightest weight should have: then its share is off by at most
/// one in so many.
const ENTRIES: u64 = 16;

/// Most endpoints in one table: so that each has its entries.
pub(super) const MAX_ENDPOINTS: usize = 4_096;

/// An endpoint's number and weight.
pub(super) type Weighted = (u32, u8);

/// The size of a table for these endpoints.
pub(super) fn size(endpoints: &[Weighted]) -> u32 {
    let lightest = endpoints.iter().map(|(_, weight)| u64::from(*weight)).min().unwrap_or(1).max(1);
    let total: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let wanted = ENTRIES * total.div_ceil(lightest);
    let [.., largest] = TABLE_SIZES;
    TABLE_SIZES.into_iter().find(|size| u64::from(*size) >= wanted).unwrap_or(largest)
}

/// Fills a table of `size` entries, a prime, with at least one endpoint, sorted by number. An
/// endpoint that goes or comes moves few entries of the others.
pub(super) fn fill(endpoints: &[Weighted], size: u32) -> Vec<u32> {
    /// An endpoint's order of preference for entries, and its right to take one.
    struct Taker {
        endpoint: u32,
        next: u32,
        skip: u32,
        weight: u32,
        credit: u32,
    }
    let heaviest = endpoints.iter().map(|(_, weight)| u32::from(*weight)).max().unwrap_or(1).max(1);
    let mut takers: Vec<Taker> = endpoints
        .iter()
        .map(|&(endpoint, weight)| {
            let mut digest = Digest::new();
            digest.word(endpoint);
            let hash = digest.finish();
            let part = |bits: u64, below: u32| u32::try_from(bits % u64::from(below.max(1))).unwrap_or(0);
            Taker {
                endpoint,
                next: part(hash >> 32, size),
                skip: part(hash & 0xffff_ffff, size - 1) + 1,
                weight: u32::from(weight).max(1),
                credit: 0,
            }
        })
        .collect();
    let mut table = vec![0; size as usize];
    let mut left = if takers.is_empty() { 0 } else { table.len() };
    while left > 0 {
        for taker in &mut takers {
            taker.credit += taker.weight;
            if taker.credit < heaviest || left == 0 {
                continue;
            }
            taker.credit -= heaviest;
            while table[taker.next as usize] != 0 {
                taker.next = (taker.next + taker.skip) % size;
            }
            table[taker.next as usize] = taker.endpoint;
            left -= 1;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(table: &[u32], endpoint: u32) -> usize {
        table.iter().filter(|entry| **entry == endpoint).count()
    }

    #[test]
    fn a_table_grows_with_endpoints_and_with_uneven_weights() {
        let equal = |count: u32| (1..=count).map(|n| (n, 1)).collect::<Vec<_>>();
        assert_eq!(size(&equal(2)), 251);
        assert_eq!(size(&equal(15)), 251);
        assert_eq!(size(&equal(16)), 4093);
        assert_eq!(size(&equal(256)), 65_521);
        assert_eq!(size(&equal(4_096)), 65_521);
        assert_eq!(size(&[(1, 50), (2, 50)]), 251);
        assert_eq!(size(&[(1, 1), (2, 100)]), 4093);
    }

    #[test]
    fn a_table_does_not_depend_on_the_machine() {
        let table = fill(&[(1, 1), (2, 1), (3, 1)], 251);
        assert_eq!(table[..8], PINNED);
    }

    /// Another table moves every client of Maglev on an upgrade; it must be meant.
    const PINNED: [u32; 8] = [1, 1, 3, 2, 1, 1, 2, 2];

    // After R rounds an endpoint of weight w has R w / h entries (h: the heaviest), less a fraction,
    // and less w / h where the last round ended before its turn. So what N endpoints lack of whole
    // entries, less than N + W / h in all (W: all weights), is what the others have too much: each
    // w / W of it.
    proptest! {
        #[test]
        fn every_endpoint_has_its_share(
            weights in prop::collection::btree_map(1_u32.., 1_u8..=100, 1..40)
        ) {
            let endpoints: Vec<Weighted> = weights.into_iter().collect();
            let size = size(&endpoints);
            let table = fill(&endpoints, size);
            let total: f64 = endpoints.iter().map(|(_, weight)| f64::from(*weight)).sum();
            let heaviest = endpoints.iter().map(|(_, weight)| f64::from(*weight)).fold(0.0, f64::max);
            let lacking = f64::from(u32::try_from(endpoints.len()).unwrap()) + total / heaviest;
            for (endpoint, weight) in endpoints {
                let fair = f64::from(size) * f64::from(weight) / total;
                let has = f64::from(u32::try_from(shares(&table, endpoint)).unwrap());
                let more = has - fair;
                let most = f64::from(weight) / total * lacking;
                prop_assert!(more > -2.0 && more < most, "{endpoint} of weight {weight}: {has}, fair {fair}");
                // And the table is large enough for that to be little.
                prop_assert!(more.abs() / fair < 0.25, "{endpoint} of weight {weight}: {has}, fair {fair}");
            }
        }

        #[test]
        fn an_endpoint_that_goes_moves_few_others(
            numbers in prop::collection::btree_set(1_u32.., 3..15), gone in any::<prop::sample::Index>()
        ) {
            let before: Vec<Weighted> = numbers.into_iter().map(|number| (number, 1)).collect();
            let gone = gone.index(before.len());
            let mut after = before.clone();
            let (lost, _) = after.remove(gone);
            let (old, new) = (fill(&before, 4093), fill(&after, 4093));
            let moved =
                old.iter().zip(&new).filter(|(old, new)| **old != lost && old != new).count();
            // The paper measures about as much at this ratio of endpoints to entries (section 5.3).
            prop_assert!(moved < 4093 / 10, "{moved} entries of other endpoints moved");
        }
    }
}
