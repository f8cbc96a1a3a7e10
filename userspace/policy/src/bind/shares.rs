//! Weights of backends and their endpoints to shares of connections.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::{Endpoint, Family};

/// The sum of shares, about, unless there are many endpoints.
const SUM: u64 = 10_000;

/// So much of the sum there is for each endpoint at least, so that none is rounded away.
const EACH: u64 = 10;

/// Who gets which share of the connections of a family, and which share is refused: that of backends
/// without a ready endpoint of it, or everything if no backend has a weight. Sorted, each (address,
/// port) once; an endpoint of two backends has the shares of both.
pub(super) fn shares(backends: &[(u32, &[Endpoint])], family: Family) -> (Vec<(Endpoint, u32)>, u32) {
    let of_family = |endpoint: &&Endpoint| Family::of(endpoint.address) == family;
    let ready = |endpoints: &[Endpoint]| {
        endpoints.iter().filter(of_family).filter(|endpoint| endpoint.is_ready).count() as u64
    };
    let count: u64 = backends.iter().filter(|(weight, _)| *weight != 0).map(|(_, these)| ready(these)).sum();
    let sum = SUM.max(EACH * count);
    let weights: Vec<u64> = backends.iter().map(|(weight, _)| u64::from(*weight)).collect();
    let mut of_backends = parts(sum, &weights);
    for (part, weight) in of_backends.iter_mut().zip(&weights) {
        // A backend with a weight gets something, however little.
        if *part == 0 && *weight != 0 {
            *part = 1;
        }
    }
    let mut refused = if weights.iter().all(|weight| *weight == 0) { sum } else { 0 };
    let mut found: BTreeMap<_, (Endpoint, u64)> = BTreeMap::new();
    for ((_, endpoints), of_backend) in backends.iter().zip(of_backends) {
        let these: Vec<&Endpoint> = endpoints.iter().filter(of_family).collect();
        let weight = |this: &&Endpoint| if this.is_ready { u64::from(this.weight) } else { 0 };
        let weights: Vec<u64> = these.iter().map(weight).collect();
        if weights.iter().all(|weight| *weight == 0) {
            refused += of_backend;
        }
        for (endpoint, share) in these.into_iter().zip(parts(of_backend, &weights)) {
            let (known, of_it) =
                found.entry((endpoint.address, endpoint.port)).or_insert_with(|| (endpoint.clone(), 0));
            known.is_ready |= endpoint.is_ready;
            *of_it += share;
        }
    }
    let narrow = |share: u64| u32::try_from(share).unwrap_or(u32::MAX);
    let found = found.into_values().map(|(endpoint, share)| (endpoint, narrow(share))).collect();
    (found, narrow(refused))
}

/// The sum in proportion to the weights; what rounding leaves goes to the largest remainders, of equal
/// ones to the first. Nothing if there is no weight.
fn parts(sum: u64, weights: &[u64]) -> Vec<u64> {
    let all: u64 = weights.iter().sum();
    if all == 0 {
        return vec![0; weights.len()];
    }
    let mut parts: Vec<u64> = weights.iter().map(|weight| sum * weight / all).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&index| (Reverse(sum * weights[index] % all), index));
    let left = sum - parts.iter().sum::<u64>();
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        parts[index] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(network: u8, weights: &[u8]) -> Vec<Endpoint> {
        let one = |(last, weight): (u8, &u8)| Endpoint {
            address: [10, 0, network, last].into(),
            port: 80,
            weight: (*weight).max(1),
            is_ready: *weight != 0,
            name: None,
        };
        (1..).zip(weights).map(one).collect()
    }

    fn sums(backends: &[(u32, Vec<Endpoint>)]) -> (Vec<u32>, u32) {
        let borrowed: Vec<(u32, &[Endpoint])> =
            backends.iter().map(|(weight, these)| (*weight, &these[..])).collect();
        let (found, refused) = shares(&borrowed, Family::V4);
        let of = |these: &[Endpoint]| {
            let is_its = |endpoint: &Endpoint| these.iter().any(|this| this.address == endpoint.address);
            found.iter().filter(|(endpoint, _)| is_its(endpoint)).map(|(_, share)| *share).sum()
        };
        (backends.iter().map(|(_, these)| of(these)).collect(), refused)
    }

    #[test]
    fn a_canary_has_its_tenth_however_many_endpoints_there_are() {
        for (stable, canary) in [(1, 1), (1, 7), (7, 1), (3, 200), (250, 250)] {
            let backends = [(90, endpoints(1, &vec![1; stable])), (10, endpoints(2, &vec![1; canary]))];
            let (found, refused) = sums(&backends);
            assert_eq!((found, refused), (vec![9_000, 1_000], 0), "{stable} {canary}");
        }
    }

    #[test]
    fn endpoints_share_their_backends_part_by_their_weights() {
        let these = endpoints(1, &[3, 1, 0]);
        let (found, refused) = shares(&[(5, &these)], Family::V4);
        let shares: Vec<u32> = found.iter().map(|(_, share)| *share).collect();
        assert_eq!((shares, refused), (vec![7_500, 2_500, 0], 0));
    }

    #[test]
    fn what_cannot_be_used_has_its_share_refused() {
        assert_eq!(sums(&[(80, Vec::new()), (20, endpoints(1, &[1, 1]))]), (vec![0, 2_000], 8_000));
        assert_eq!(sums(&[(1, endpoints(1, &[0])), (1, endpoints(2, &[1]))]), (vec![0, 5_000], 5_000));
        // Of another family.
        assert_eq!(shares(&[(1, &endpoints(1, &[1]))], Family::V6), (Vec::new(), 10_000));
    }

    #[test]
    fn a_weight_of_nothing_gets_nothing_and_a_small_one_something() {
        let (found, refused) = sums(&[(0, endpoints(1, &[1])), (0, Vec::new()), (1, endpoints(2, &[1]))]);
        assert_eq!((found, refused), (vec![0, 0, 10_000], 0));
        assert_eq!(sums(&[(0, endpoints(1, &[1]))]), (vec![0], 10_000));
        assert_eq!(sums(&[(1_000_000, endpoints(1, &[1])), (1, endpoints(2, &[1]))]).0, [10_000, 1]);
    }

    #[test]
    fn an_endpoint_of_two_backends_has_the_shares_of_both() {
        let these = endpoints(1, &[1, 1]);
        let (found, _) = shares(&[(3, &these), (1, &these[..1])], Family::V4);
        let shares: Vec<u32> = found.iter().map(|(_, share)| *share).collect();
        assert_eq!(shares, [6_250, 3_750]);
    }

    #[test]
    fn many_endpoints_have_a_larger_sum() {
        let many: Vec<Endpoint> = (0..4_000_u32)
            .map(|index| Endpoint {
                address: (0x0a00_0001 + index).to_be_bytes().into(),
                ..endpoints(0, &[1])[0].clone()
            })
            .collect();
        let (found, refused) = shares(&[(1, &many), (1, &[])], Family::V4);
        assert!(found.iter().all(|(_, share)| *share == 5));
        assert_eq!(refused, 20_000);
    }
}
