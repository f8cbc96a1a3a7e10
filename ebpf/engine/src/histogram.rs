//! Buckets of log2 histograms.

use windrose_abi::profile::TIME_BUCKETS;
use windrose_abi::state::BUCKETS;

/// The bucket of a value: the position of its highest bit, at most the last bucket.
#[inline(always)]
pub const fn bucket(value: u64) -> usize {
    let mut rest = value;
    let mut bit = 0;
    // The BPF target has no instruction that counts leading zeros.
    if rest >> 32 != 0 {
        return BUCKETS - 1;
    }
    if rest >> 16 != 0 {
        bit += 16;
        rest >>= 16;
    }
    if rest >> 8 != 0 {
        bit += 8;
        rest >>= 8;
    }
    if rest >> 4 != 0 {
        bit += 4;
        rest >>= 4;
    }
    if rest >> 2 != 0 {
        bit += 2;
        rest >>= 2;
    }
    if rest >> 1 != 0 {
        bit += 1;
    }
    bit & (BUCKETS - 1)
}

/// The bucket of a time in a histogram with four buckets for each power of two: see
/// [`TIME_BUCKETS`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two bits")]
pub const fn time_bucket(ns: u64) -> usize {
    if ns >> 32 != 0 {
        return TIME_BUCKETS - 1;
    }
    let octave = bucket(ns);
    let quarter = if octave < 2 { 0 } else { ns >> (octave - 2) & 3 };
    (4 * octave + quarter as usize) & (TIME_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use windrose_abi::profile::{TIME_BUCKETS, floor_ns};

    use super::{bucket, time_bucket};

    #[test]
    fn a_time_falls_into_the_bucket_whose_floor_is_below_it() {
        let mut last = 0;
        for ns in (0..5000).chain((12..32).map(|bit| (1 << bit) - 1)).chain((12..32).map(|bit| 1 << bit)) {
            let bucket = time_bucket(ns);
            assert!(floor_ns(bucket) <= ns, "{ns} in {bucket} from {}", floor_ns(bucket));
            let next = (bucket + 1..TIME_BUCKETS).find(|next| floor_ns(*next) > floor_ns(bucket));
            assert!(next.is_none_or(|next| ns < floor_ns(next)), "{ns} in {bucket}");
            last = last.max(bucket);
        }
        assert_eq!(last, TIME_BUCKETS - 4);
        assert_eq!(time_bucket(u64::MAX), TIME_BUCKETS - 1);
    }

    #[test]
    fn a_value_falls_into_the_bucket_of_its_highest_bit() {
        for (value, expected) in
            [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (1023, 9), (1024, 10), (u64::MAX, 31)]
        {
            assert_eq!(bucket(value), expected, "{value}");
        }
        for bit in 0..32 {
            assert_eq!(bucket(1 << bit), bit);
        }
    }
}
