//! Rows of the deny tables, hosts and prefixes alike.

use std::time::Duration;

use windrose_abi::edge::FOREVER;
use windrose_abi::{DenyRow, PrefixKey};

use super::Edge;
use crate::error::DatapathError;

/// The length of a host's prefix.
pub(super) const HOST: u32 = 128;

impl Edge {
    /// The row of exactly this prefix.
    pub(super) fn row(&self, prefix: &PrefixKey) -> Result<Option<DenyRow>, DatapathError> {
        if prefix.length == HOST {
            return self.hosts.get(&prefix.address);
        }
        // The trie answers with the longest prefix around it.
        let row = self.prefixes.get(prefix)?;
        Ok(row.filter(|row| u32::from(row.length) == prefix.length))
    }

    pub(super) fn put_row(&self, prefix: &PrefixKey, row: &DenyRow) -> Result<(), DatapathError> {
        if prefix.length == HOST {
            self.hosts.put(&prefix.address, row)
        } else {
            self.prefixes.put(prefix, row)
        }
    }

    pub(super) fn delete_row(&self, prefix: &PrefixKey) -> Result<(), DatapathError> {
        if prefix.length == HOST { self.hosts.delete(&prefix.address) } else { self.prefixes.delete(prefix) }
    }

    /// Whether every address of a prefix is in the allow list.
    pub fn is_allowed(&self, prefix: &PrefixKey) -> bool {
        self.config.allowed.iter().any(|allowed| contains(allowed, prefix))
    }
}

/// Whether one prefix contains another.
pub(super) fn contains(around: &PrefixKey, prefix: &PrefixKey) -> bool {
    around.length <= prefix.length && cut(prefix, around.length).address == around.address
}

/// A prefix without the bits behind a length.
pub(super) fn cut(prefix: &PrefixKey, length: u32) -> PrefixKey {
    let bits = u128::from_be_bytes(prefix.address.to_bytes());
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    let address = windrose_abi::Address::from_bytes((bits & mask).to_be_bytes());
    PrefixKey { length: length.min(128), address }
}

/// The kernel's monotonic clock, as programs read it.
pub(super) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call. It cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let whole = Duration::from_secs(now.tv_sec.unsigned_abs());
    u64::try_from((whole + Duration::from_nanos(now.tv_nsec.unsigned_abs())).as_nanos()).unwrap_or(FOREVER)
}
