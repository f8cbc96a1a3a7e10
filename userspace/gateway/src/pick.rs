//! Whose turn it is, by weight.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Takes turns in exact proportion to weights: of every run of as many turns as the weights' sum,
/// each has just its weight, and they are spread.
#[derive(Debug)]
pub(crate) struct Picker {
    /// Up to and with each one.
    sums: Box<[u64]>,
    /// Without a common divisor with the sum, and about 0.618 of it: turns jump far.
    stride: u64,
    turn: AtomicU64,
}

impl Picker {
    pub(crate) fn new(weights: impl Iterator<Item = u64>) -> Self {
        let mut sum = 0;
        let sums: Box<[u64]> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let mut stride = (sum * 618 / 1000).max(1);
        while greatest_divisor(stride, sum) > 1 {
            stride += 1;
        }
        Self { sums, stride, turn: AtomicU64::new(0) }
    }

    /// The index of the one whose turn it is; `None` if all weights are 0.
    pub(crate) fn next(&self) -> Option<usize> {
        let sum = *self.sums.last()?;
        if sum == 0 {
            return None;
        }
        // `u128`: a product of two numbers below the sum (at most 16,000,000) and the turn.
        let turn = self.turn.fetch_add(1, Relaxed) % sum;
        let point = u128::from(turn) * u128::from(self.stride) % u128::from(sum);
        Some(self.sums.partition_point(|&sum| u128::from(sum) <= point))
    }
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_exactly_its_share() {
        for weights in [vec![1, 1], vec![9, 1], vec![0, 3, 7], vec![100], vec![1; 16], vec![999_999, 1]] {
            let picker = Picker::new(weights.iter().copied());
            let sum: u64 = weights.iter().sum();
            let mut counts = vec![0; weights.len()];
            for _ in 0..sum {
                counts[picker.next().unwrap()] += 1;
            }
            assert_eq!(counts, weights);
        }
    }

    #[test]
    fn nobody_has_a_turn_without_weight() {
        assert_eq!(Picker::new([0, 0].into_iter()).next(), None);
        assert_eq!(Picker::new(std::iter::empty()).next(), None);
    }

    #[test]
    fn turns_are_spread() {
        let picker = Picker::new([50, 50].into_iter());
        let first: Vec<usize> = (0..10).filter_map(|_| picker.next()).collect();
        let ones = first.iter().filter(|&&index| index == 1).count();
        assert!((3..=7).contains(&ones), "{first:?}");
    }
}
