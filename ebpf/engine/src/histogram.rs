//! Buckets of log2 histograms.

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

#[cfg(test)]
mod tests {
    use super::bucket;

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
