//! What the maps of balancing hold, kept as differences.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv6Addr;

use windrose_abi::forward::{FRONTEND_BITS, MAX_FRONTENDS, MAX_RETURNS, filter_bit};
use windrose_abi::services::ENDPOINTS_PER_ROW;
use windrose_abi::{
    Address, EndpointState, ForwardEndpoint, Forwarding, FrontendRow, RangeKey, ReturnRow, ServiceKey,
    TableRow,
};
use windrose_policy::tables::{frontend_seed, spread};

use super::maps::{ForwardMaps, Prefixed, put_filter};
use super::{Balanced, Frontend, address};
use crate::edge::rooms::Rooms;
use crate::error::DatapathError;
use crate::sys;

/// What an endpoint is to the maps.
pub(in crate::edge) type EndpointKey = (Address, u16, u8);

/// What the maps hold.
#[derive(Debug, Default)]
pub(in crate::edge) struct Forwarder {
    pub(super) endpoints: BTreeMap<EndpointKey, (u32, ForwardEndpoint)>,
    pub(super) frontends: BTreeMap<ServiceKey, Held>,
    pub(super) returns: BTreeMap<ServiceKey, ReturnRow>,
    pub(super) ranges: BTreeSet<Prefixed<RangeKey>>,
    pub(super) addresses: BTreeSet<ServiceKey>,
    pub(super) indices: Rooms,
    pub(super) numbers: Rooms,
    pub(super) rows: Rooms,
    pub(super) serial: u32,
}

/// A frontend that is in the maps.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) row: FrontendRow,
    /// Its table, as indices of endpoints.
    pub(super) table: Vec<u32>,
}

/// Rows of a table of so many entries.
pub(super) fn rows(entries: usize) -> u32 {
    u32::try_from(entries.div_ceil(ENDPOINTS_PER_ROW)).unwrap_or(u32::MAX)
}

impl Forwarder {
    /// See [`super::Edge::balance`]. After an error it does not say what the maps hold.
    pub(super) fn balance(
        &mut self,
        maps: &ForwardMaps,
        wanted: &[Frontend],
    ) -> Result<Balanced, DatapathError> {
        let returns = returns(wanted)?;
        // In this order no packet finds a row that names one that is not there yet.
        let endpoints = self.put_endpoints(maps, wanted)?;
        let mut outcome = Balanced { endpoints: endpoints.len(), ..Balanced::default() };
        let (mut numbers, mut freed) = (BTreeMap::new(), Vec::new());
        let mut ranges = BTreeSet::new();
        let mut changed = Vec::new();
        for frontend in wanted {
            let key = frontend.key();
            let (row, is_changed) = self.put_table(maps, frontend, &endpoints, &mut freed)?;
            ranges.extend(frontend.sources.iter().flatten().map(|prefix| Prefixed {
                length: 32 + prefix.length,
                key: RangeKey { frontend: row.frontend, source: prefix.address },
            }));
            numbers.insert(key, row.frontend);
            if is_changed {
                changed.push((key, row));
            }
        }
        for range in ranges.difference(&self.ranges) {
            maps.ranges.put(range, &1)?;
        }
        let asked = |keys: &mut dyn Iterator<Item = &ServiceKey>, answers| -> Vec<(u32, u64)> {
            keys.map(|key| filter_bit(&key.address, key.port, key.protocol, answers)).collect()
        };
        let mut bits = asked(&mut numbers.keys(), false);
        bits.extend(asked(&mut returns.keys(), true));
        let mut both = bits.clone();
        both.extend(asked(&mut self.frontends.keys(), false));
        both.extend(asked(&mut self.returns.keys(), true));
        put_filter(maps, &both)?;
        let returns = returns.into_iter().map(|(key, names)| {
            let mut row = ReturnRow::ZERO;
            for (slot, name) in row.frontends.iter_mut().zip(&names) {
                *slot = numbers.get(name).copied().unwrap_or(0);
                row.count += 1;
            }
            (key, row)
        });
        let returns: BTreeMap<ServiceKey, ReturnRow> = returns.collect();
        for (key, row) in &returns {
            if self.returns.get(key) != Some(row) {
                maps.returns.put(key, row)?;
            }
        }
        let addresses: BTreeSet<ServiceKey> =
            numbers.keys().map(|key| ServiceKey { port: 0, ..*key }).collect();
        for key in addresses.difference(&self.addresses) {
            maps.frontends.put(key, &FrontendRow::ZERO)?;
        }
        for (key, row) in &changed {
            maps.put_name(key, row)?;
            maps.frontends.put(key, row)?;
        }
        outcome.changed = changed.len();
        outcome.frontends = numbers.len();
        let gone: Vec<ServiceKey> =
            self.frontends.keys().filter(|key| !numbers.contains_key(key)).copied().collect();
        for held in gone.iter().filter_map(|key| self.frontends.get(key)) {
            maps.drop_name(&held.row)?;
        }
        for key in gone.iter().chain(self.addresses.difference(&addresses)) {
            maps.frontends.delete(key)?;
        }
        outcome.removed = gone.len();
        put_filter(maps, &bits)?;
        // What nobody can find any more is used again only when nobody looks at it any more.
        sys::wait_for_programs().map_err(DatapathError::call("waiting for running programs"))?;
        for key in gone {
            if let Some(Held { row, table }) = self.frontends.remove(&key) {
                self.numbers.free(row.frontend & (MAX_FRONTENDS - 1), 1);
                freed.push((row.first_row, rows(table.len())));
            }
        }
        for (first, count) in freed {
            self.rows.free(first, count);
        }
        for range in self.ranges.difference(&ranges) {
            maps.ranges.delete(range)?;
        }
        for key in self.returns.keys().filter(|key| !returns.contains_key(key)) {
            maps.returns.delete(key)?;
        }
        (self.ranges, self.returns, self.addresses) = (ranges, returns, addresses);
        self.drop_endpoints(maps, &endpoints)?;
        Ok(outcome)
    }

    /// Writes the rows of endpoints that are new or have changed; answers every index.
    fn put_endpoints(
        &mut self,
        maps: &ForwardMaps,
        wanted: &[Frontend],
    ) -> Result<BTreeMap<EndpointKey, u32>, DatapathError> {
        let mut states: BTreeMap<EndpointKey, bool> = BTreeMap::new();
        for endpoint in wanted.iter().flat_map(|frontend| &frontend.endpoints) {
            // One that is ready for any frontend keeps and takes flows of them all.
            *states.entry(endpoint.key()).or_default() |= endpoint.is_ready;
        }
        let mut indices = BTreeMap::new();
        for (key, is_ready) in states {
            let state = if is_ready { EndpointState::Ready } else { EndpointState::Draining } as u8;
            let (index, row) = if let Some((index, row)) = self.endpoints.get(&key) {
                (*index, ForwardEndpoint { state, ..*row })
            } else {
                let index = self.indices.take(1).ok_or_else(|| DatapathError::NoRoom {
                    map: "EDGE_ENDPOINTS",
                    capacity: self.indices.capacity() as usize,
                })?;
                self.serial = self.serial.wrapping_add(1).max(1);
                let (address, port, forwarding) = key;
                (index, ForwardEndpoint { address, serial: self.serial, port, state, forwarding })
            };
            if self.endpoints.get(&key) != Some(&(index, row)) {
                maps.endpoints.put(&index, &row)?;
                self.endpoints.insert(key, (index, row));
            }
            indices.insert(key, index);
        }
        Ok(indices)
    }

    /// Writes a frontend's table, unless it is there; answers its row and whether that is to be written. Rows that are no longer used are added to `freed`.
    fn put_table(
        &mut self,
        maps: &ForwardMaps,
        frontend: &Frontend,
        indices: &BTreeMap<EndpointKey, u32>,
        freed: &mut Vec<(u32, u32)>,
    ) -> Result<(FrontendRow, bool), DatapathError> {
        let key = frontend.key();
        let ready: Vec<_> = frontend.endpoints.iter().filter(|endpoint| endpoint.is_ready).collect();
        let mut shares: Vec<_> =
            ready.iter().map(|endpoint| (endpoint.address, endpoint.port, endpoint.weight.max(1))).collect();
        if frontend.refused_share != 0 && !shares.is_empty() {
            // No endpoint has this address; its entries are nobody's.
            shares.push((Ipv6Addr::UNSPECIFIED.into(), 0, frontend.refused_share));
        }
        let table: Vec<u32> = spread(&shares)
            .into_iter()
            .map(|at| {
                let endpoint = ready.get(at as usize).and_then(|endpoint| indices.get(&endpoint.key()));
                endpoint.copied().unwrap_or(u32::MAX)
            })
            .collect();
        let mut row = FrontendRow {
            seed: frontend_seed(frontend.address, frontend.port, frontend.protocol),
            size: u32::try_from(table.len()).unwrap_or(u32::MAX),
            ..FrontendRow::ZERO
        };
        if frontend.is_by_client {
            row.flags |= FrontendRow::BY_CLIENT;
        }
        if frontend.sources.is_some() {
            row.flags |= FrontendRow::HAS_RANGES;
        }
        let held = self.frontends.get(&key);
        let known = held.map(|held| held.row);
        if let Some(held) = held {
            row.frontend = held.row.frontend;
            row.first_row = held.row.first_row;
        } else {
            let index = self.numbers.take(1).ok_or_else(|| DatapathError::NoRoom {
                map: "FRONTENDS",
                capacity: self.numbers.capacity() as usize,
            })?;
            // The serial of endpoints tells times apart as well as one of its own would.
            row.frontend = index | self.serial.wrapping_mul(0x9e37) << FRONTEND_BITS;
        }
        if held.is_none_or(|held| held.table != table) {
            if let Some(held) = held {
                freed.push((held.row.first_row, rows(held.table.len())));
            }
            row.first_row = self.put_rows(maps, &table)?;
        }
        let is_changed = known != Some(row);
        if is_changed {
            self.frontends.insert(key, Held { row, table });
        }
        Ok((row, is_changed))
    }

    fn put_rows(&mut self, maps: &ForwardMaps, table: &[u32]) -> Result<u32, DatapathError> {
        let count = rows(table.len());
        if count == 0 {
            return Ok(0);
        }
        let first = self.rows.take(count).ok_or_else(|| DatapathError::NoRoom {
            map: "FORWARD_TABLES",
            capacity: self.rows.capacity() as usize,
        })?;
        let rows: Vec<TableRow> = table
            .chunks(ENDPOINTS_PER_ROW)
            .map(|chunk| {
                let mut row = TableRow::ZERO;
                row.endpoints[..chunk.len()].copy_from_slice(chunk);
                row
            })
            .collect();
        let keys: Vec<u32> = (first..first + count).collect();
        maps.tables.put_all(&keys, &rows)?;
        Ok(first)
    }

    /// Takes endpoints away that no frontend has any more.
    fn drop_endpoints(
        &mut self,
        maps: &ForwardMaps,
        wanted: &BTreeMap<EndpointKey, u32>,
    ) -> Result<(), DatapathError> {
        let gone: Vec<EndpointKey> =
            self.endpoints.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in gone {
            if let Some((index, _)) = self.endpoints.remove(&key) {
                maps.endpoints.put(&index, &ForwardEndpoint::ZERO)?;
                self.indices.free(index, 1);
            }
        }
        Ok(())
    }
}

/// The frontends that each endpoint answers for by way of this node.
fn returns(wanted: &[Frontend]) -> Result<BTreeMap<ServiceKey, Vec<ServiceKey>>, DatapathError> {
    let mut returns: BTreeMap<ServiceKey, Vec<ServiceKey>> = BTreeMap::new();
    for frontend in wanted {
        let mut seen = HashSet::new();
        for endpoint in &frontend.endpoints {
            if endpoint.forwarding != Forwarding::Nat || !seen.insert((endpoint.address, endpoint.port)) {
                continue;
            }
            let key = ServiceKey {
                address: address(endpoint.address),
                port: endpoint.port,
                protocol: frontend.protocol,
                reserved: 0,
            };
            let names = returns.entry(key).or_default();
            names.push(frontend.key());
            if names.len() > MAX_RETURNS {
                return Err(DatapathError::TooManyFrontends {
                    endpoint: (endpoint.address, endpoint.port).into(),
                    most: MAX_RETURNS,
                });
            }
        }
    }
    Ok(returns)
}
