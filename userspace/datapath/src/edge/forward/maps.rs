//! The maps of balancing, and what an earlier agent has left in them.

use windrose_abi::forward::{FILTER_WORDS, MAX_FRONTENDS};
use windrose_abi::{ForwardEndpoint, FrontendName, FrontendRow, RangeKey, ReturnRow, ServiceKey, TableRow};

use super::held::{Forwarder, Held, rows};
use crate::edge::rooms::Rooms;
use crate::edge::rows::now_ns;
use crate::error::DatapathError;
use crate::maps::Table;

/// The maps of balancing.
#[derive(Debug)]
pub(in crate::edge) struct ForwardMaps {
    pub(in crate::edge) frontends: Table<ServiceKey, FrontendRow>,
    pub(in crate::edge) names: Table<u32, FrontendName>,
    pub(in crate::edge) ranges: Table<Prefixed<RangeKey>, u32>,
    pub(in crate::edge) tables: Table<u32, TableRow>,
    pub(in crate::edge) endpoints: Table<u32, ForwardEndpoint>,
    pub(in crate::edge) returns: Table<ServiceKey, ReturnRow>,
    pub(in crate::edge) filter: Table<u32, u64>,
    /// `struct bpf_devmap_val`: the interface, and no program.
    pub(in crate::edge) devices: Table<u32, [u32; 2]>,
}

/// Key of a trie: the length, then the rest.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::edge) struct Prefixed<K> {
    pub(super) length: u32,
    pub(super) key: K,
}

/// How much there is room for.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Capacity {
    pub(in crate::edge) frontends: u32,
    pub(in crate::edge) endpoints: u32,
    pub(in crate::edge) rows: u32,
}

impl ForwardMaps {
    /// Names a frontend by its number, for the flows that it has.
    pub(super) fn put_name(&self, key: &ServiceKey, row: &FrontendRow) -> Result<(), DatapathError> {
        let name = FrontendName { key: *key, frontend: row.frontend, flags: row.flags };
        self.names.put(&(row.frontend & (MAX_FRONTENDS - 1)), &name)
    }

    /// No flow finds this frontend any more.
    pub(super) fn drop_name(&self, row: &FrontendRow) -> Result<(), DatapathError> {
        self.names.put(&(row.frontend & (MAX_FRONTENDS - 1)), &FrontendName::ZERO)
    }

    /// What an earlier agent has left.
    pub(in crate::edge) fn read(&self, capacity: Capacity) -> Result<Forwarder, DatapathError> {
        let mut held = Forwarder {
            indices: Rooms::new(capacity.endpoints),
            numbers: Rooms::new(capacity.frontends),
            rows: Rooms::new(capacity.rows),
            serial: serial_of_now(),
            ..Forwarder::default()
        };
        // Number 0 means none.
        held.numbers.claim(0, 1);
        self.endpoints.for_each(|index, row| {
            if row.serial != 0 {
                held.serial = held.serial.max(row.serial);
                held.indices.claim(index, 1);
                held.endpoints.insert((row.address, row.port, row.forwarding), (index, row));
            }
        })?;
        for (key, row) in self.frontends.entries()? {
            if key.port == 0 {
                held.addresses.insert(key);
                continue;
            }
            held.numbers.claim(row.frontend & (MAX_FRONTENDS - 1), 1);
            held.rows.claim(row.first_row, rows(row.size as usize));
            let mut table = Vec::new();
            for n in 0..rows(row.size as usize) {
                table.extend(self.tables.get(&(row.first_row + n))?.unwrap_or_default().endpoints);
            }
            table.truncate(row.size as usize);
            // One that was being taken away has no name any more.
            self.put_name(&key, &row)?;
            held.frontends.insert(key, Held { row, table });
        }
        self.returns.for_each(|key, row| {
            held.returns.insert(key, row);
        })?;
        self.ranges.for_each(|key, _| {
            held.ranges.insert(key);
        })?;
        Ok(held)
    }
}

/// Where serials begin: behind those that an earlier agent may have given, also to endpoints that are
/// gone and whose flows are still remembered. None gives a hundred of them a second for long.
fn serial_of_now() -> u32 {
    u32::try_from((now_ns() >> 23) & u64::from(u32::MAX)).unwrap_or(1).max(1)
}

/// Sets exactly these bits.
pub(super) fn put_filter(maps: &ForwardMaps, bits: &[(u32, u64)]) -> Result<(), DatapathError> {
    let mut words = vec![0; FILTER_WORDS as usize];
    for (index, bit) in bits {
        words[*index as usize] |= bit;
    }
    let indices: Vec<u32> = (0..FILTER_WORDS).collect();
    maps.filter.put_all(&indices, &words)
}
