//! Quantiles of what the kernel counts in log2 histograms: known to a bucket, guessed within it.

use windrose_datapath::abi::profile::floor_ns;

/// The least value that each bucket of a histogram counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// One bucket for each power of two, such as round-trip times in microseconds.
    Octaves,
    /// Four for each power of two: times of verdicts in nanoseconds.
    Quarters,
}

impl Scale {
    /// The least value of a bucket; 0 for the first.
    pub(crate) fn floor(self, bucket: usize) -> u64 {
        match self {
            Self::Octaves if bucket == 0 => 0,
            Self::Octaves => 1_u64.checked_shl(u32::try_from(bucket).unwrap_or(u32::MAX)).unwrap_or(u64::MAX),
            Self::Quarters => floor_ns(bucket),
        }
    }

    /// The value below which a share `q` (0 to 1) of the counted lie, taking those of a bucket for
    /// evenly spread. Wrong by less than the bucket is wide: a factor of two, or of 1.25. Of the last
    /// bucket, which has no end, the least value. `None`: nothing was counted.
    pub(crate) fn quantile(self, counts: &[u64], q: f64) -> Option<f64> {
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = q.clamp(0.0, 1.0) * float(all);
        let mut below = 0;
        for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if float(below + count) >= wanted {
                let floor = self.floor(bucket);
                let is_last = bucket + 1 == counts.len();
                let ceiling = if is_last { floor } else { self.ceiling(bucket) };
                let share = (wanted - float(below)) / float(*count);
                return Some(float(floor) + share * float(ceiling - floor));
            }
            below += count;
        }
        // Rounding: more than all of them.
        counts.iter().rposition(|count| *count > 0).map(|bucket| float(self.floor(bucket)))
    }

    /// The least value above those of a bucket.
    pub(crate) fn ceiling(self, bucket: usize) -> u64 {
        let floor = self.floor(bucket);
        // Four buckets further on the next power of two begins.
        (bucket + 1..bucket + 5).map(|next| self.floor(next)).find(|next| *next > floor).unwrap_or(floor)
    }
}

/// Counts and nanoseconds as they are shown: beyond 2^53 the loss is of no interest.
#[expect(clippy::cast_precision_loss, reason = "said above")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octaves<const N: usize>(of: [(usize, u64); N]) -> Vec<u64> {
        let mut counts = vec![0; 32];
        for (bucket, count) in of {
            counts[bucket] = count;
        }
        counts
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Scale::Octaves.quantile(&[0; 32], 0.5), None);
        assert_eq!(Scale::Quarters.quantile(&[], 0.5), None);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        // 90 values from 64 on, 9 from 1024 on, 1 from 4096 on.
        let counts = octaves([(6, 90), (10, 9), (12, 1)]);
        let at = |q| Scale::Octaves.quantile(&counts, q).unwrap();
        assert!((64.0..128.0).contains(&at(0.5)), "{}", at(0.5));
        assert!((at(0.45) - 96.0).abs() < 0.01, "half of the bucket: {}", at(0.45));
        assert!((1024.0..=2048.0).contains(&at(0.99)), "{}", at(0.99));
        assert!((4096.0..=8192.0).contains(&at(0.999)), "{}", at(0.999));
        assert!((at(0.0) - 64.0).abs() < 0.01 && (at(1.0) - 8192.0).abs() < 0.01);
    }

    #[test]
    fn a_higher_quantile_is_never_lower() {
        let counts = octaves([(0, 1), (1, 3), (5, 2), (31, 4)]);
        let quantiles: Vec<f64> =
            (0..=100_u32).filter_map(|q| Scale::Octaves.quantile(&counts, f64::from(q) / 100.0)).collect();
        assert!(quantiles.is_sorted(), "{quantiles:?}");
    }

    #[test]
    fn the_last_bucket_answers_with_its_floor() {
        let counts = octaves([(31, 7)]);
        assert_eq!(Scale::Octaves.quantile(&counts, 0.99), Some(f64::from(1_u32 << 31)));
    }

    #[test]
    fn quarters_of_a_power_of_two_are_told_apart() {
        let mut counts = [0; 128];
        // 320 to 383 ns.
        counts[4 * 8 + 1] = 10;
        let median = Scale::Quarters.quantile(&counts, 0.5).unwrap();
        assert!((median - 352.0).abs() < 0.01, "{median}");
        assert_eq!((Scale::Quarters.ceiling(0), Scale::Quarters.ceiling(4)), (2, 4));
    }
}
