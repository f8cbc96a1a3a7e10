//! The engine's edge over plain maps, filled with what the kernel's are filled with.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use windrose_datapath::abi::{Address, BucketKey, DenyRow, EdgeLimit, EdgeReason, EdgeSettings, PrefixKey};
use windrose_datapath::{EdgeConfig, Listed};
use windrose_engine::edge::{EdgeTables, decide, spend};

pub(crate) struct Native {
    config: EdgeConfig,
    rows: HashMap<PrefixKey, DenyRow>,
    buckets: RefCell<BTreeMap<BucketKey, u64>>,
}

impl Native {
    pub(crate) fn new(config: &EdgeConfig, listed: &[Listed]) -> Self {
        let row = |entry: &Listed| DenyRow {
            listed_until_ns: entry.until_ns,
            list: entry.list,
            length: u8::try_from(entry.prefix.length).unwrap(),
            ..DenyRow::ZERO
        };
        Self {
            config: config.clone(),
            rows: listed.iter().map(|entry| (entry.prefix, row(entry))).collect(),
            buckets: RefCell::default(),
        }
    }

    pub(crate) fn decide(&self, frame: &[u8]) -> EdgeReason {
        decide(&frame, self)
    }

    /// The row of the longest of these lengths around an address.
    fn longest(&self, address: &Address, lengths: impl Iterator<Item = u32>) -> Option<DenyRow> {
        lengths.map(|length| cut(address, length)).find_map(|prefix| self.rows.get(&prefix).copied())
    }
}

fn cut(address: &Address, length: u32) -> PrefixKey {
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let bits = u128::from_be_bytes(address.to_bytes()) & mask;
    PrefixKey { length, address: Address::from_bytes(bits.to_be_bytes()) }
}

impl EdgeTables for Native {
    fn flags(&self) -> u32 {
        let allowed = if self.config.allowed.is_empty() { 0 } else { EdgeSettings::HAS_ALLOWED };
        self.config.settings.flags | allowed
    }

    fn limit_count(&self) -> u32 {
        self.config.settings.limit_count
    }

    fn limit(&self, index: u32) -> EdgeLimit {
        self.config.settings.limits[index as usize]
    }

    fn cookies(&self) -> EdgeLimit {
        self.config.settings.cookies
    }

    fn is_allowed(&self, source: &Address) -> bool {
        self.config.allowed.iter().any(|allowed| cut(source, allowed.length) == *allowed)
    }

    fn denied_host(&self, source: &Address) -> Option<DenyRow> {
        self.longest(source, std::iter::once(128))
    }

    fn denied_prefix(&self, source: &Address, length: u32) -> Option<DenyRow> {
        self.longest(source, (0..=length.min(127)).rev())
    }

    fn now_ns(&self) -> u64 {
        1
    }

    fn take(&self, index: u32, limit: &EdgeLimit, source: &Address) -> bool {
        let key = BucketKey { source: *source, limit: index };
        let mut buckets = self.buckets.borrow_mut();
        let full_ns = buckets.get(&key).copied().unwrap_or(0);
        spend(full_ns, self.now_ns(), limit).map(|next| buckets.insert(key, next)).is_some()
    }
}
