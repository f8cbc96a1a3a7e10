//! What the edge balances: frontends, their endpoints and tables, kept as differences.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use windrose_abi::forward::{FILTER_WORDS, FRONTEND_BITS, MAX_FRONTENDS, MAX_RETURNS, filter_bit};
use windrose_abi::services::ENDPOINTS_PER_ROW;
use windrose_abi::{
    Address, EndpointState, ForwardEndpoint, Forwarding, FrontendRow, PrefixKey, RangeKey, ReturnRow,
    ServiceKey, TableRow,
};
use windrose_policy::tables::{frontend_seed, spread};

use super::Edge;
use super::rooms::Rooms;
use super::rows::now_ns;
use crate::error::DatapathError;
use crate::maps::Table;
use crate::sys;

/// An address and port that the edge balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// In canonical form.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u8,
    /// All flows of a client go to one endpoint.
    pub is_by_client: bool,
    /// Who may ask for it; `None`: everybody.
    pub sources: Option<Vec<PrefixKey>>,
    /// Of the address's family, each address and port once.
    pub endpoints: Vec<FrontendEndpoint>,
    /// The part of new flows that is refused, in the unit of the endpoints' weights.
    pub refused_share: u32,
}

/// One of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendEndpoint {
    /// In canonical form.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// Its share against the others', from 1.
    pub weight: u32,
    /// It takes new flows; else it keeps those that it has.
    pub is_ready: bool,
    /// How packets get there.
    pub forwarding: Forwarding,
}

/// What went to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardTotals {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// It takes new flows.
    pub is_ready: bool,
    /// Flows that were given it.
    pub flows: u64,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of these, from their IP header on.
    pub bytes: u64,
}

/// What [`Edge::balance`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balanced {
    /// Frontends there are.
    pub frontends: usize,
    /// Of these, those with a new row or table.
    pub changed: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Endpoints there are.
    pub endpoints: usize,
}

/// The maps of balancing.
#[derive(Debug)]
pub(super) struct ForwardMaps {
    pub(super) frontends: Table<ServiceKey, FrontendRow>,
    pub(super) names: Table<u32, ServiceKey>,
    pub(super) ranges: Table<Prefixed<RangeKey>, u32>,
    pub(super) tables: Table<u32, TableRow>,
    pub(super) endpoints: Table<u32, ForwardEndpoint>,
    pub(super) returns: Table<ServiceKey, ReturnRow>,
    pub(super) filter: Table<u32, u64>,
    /// `struct bpf_devmap_val`: the interface, and no program.
    pub(super) devices: Table<u32, [u32; 2]>,
}

/// Key of a trie: the length, then the rest.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefixed<K> {
    length: u32,
    key: K,
}

/// What an endpoint is to the maps.
type EndpointKey = (Address, u16, u8);

/// What the maps hold.
#[derive(Debug, Default)]
pub(super) struct Forwarder {
    endpoints: BTreeMap<EndpointKey, (u32, ForwardEndpoint)>,
    frontends: BTreeMap<ServiceKey, Held>,
    returns: BTreeMap<ServiceKey, ReturnRow>,
    ranges: BTreeSet<Prefixed<RangeKey>>,
    addresses: BTreeSet<ServiceKey>,
    indices: Rooms,
    numbers: Rooms,
    rows: Rooms,
    serial: u32,
}

/// A frontend that is in the maps.
#[derive(Debug)]
struct Held {
    row: FrontendRow,
    /// Its table, as indices of endpoints.
    table: Vec<u32>,
}

/// Where serials begin: behind those that an earlier agent may have given, also to endpoints that are
/// gone and whose flows are still remembered. None gives a hundred of them a second for long.
fn serial_of_now() -> u32 {
    u32::try_from((now_ns() >> 23) & u64::from(u32::MAX)).unwrap_or(1).max(1)
}

/// Rows of a table of so many entries.
fn rows(entries: usize) -> u32 {
    u32::try_from(entries.div_ceil(ENDPOINTS_PER_ROW)).unwrap_or(u32::MAX)
}

fn address(address: IpAddr) -> Address {
    Address::from_bytes(match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    })
}

fn ip(address: &Address) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).to_canonical()
}

impl Frontend {
    fn key(&self) -> ServiceKey {
        ServiceKey { address: address(self.address), port: self.port, protocol: self.protocol, reserved: 0 }
    }
}

impl FrontendEndpoint {
    fn key(&self) -> EndpointKey {
        (address(self.address), self.port, self.forwarding as u8)
    }
}

impl ForwardMaps {
    /// What an earlier agent has left.
    pub(super) fn read(&self, capacity: Capacity) -> Result<Forwarder, DatapathError> {
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

/// How much there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) frontends: u32,
    pub(super) endpoints: u32,
    pub(super) rows: u32,
}

impl Edge {
    /// Has exactly these frontends balanced. What stays is not touched; flows keep their endpoints
    /// while these exist.
    ///
    /// # Errors
    ///
    /// No room in a map, more frontends than [`MAX_RETURNS`] before one endpoint, or the kernel's.
    /// Frontends that were there before go on.
    pub fn balance(&self, wanted: &[Frontend]) -> Result<Balanced, DatapathError> {
        let Some(maps) = &self.forward else { return Ok(Balanced::default()) };
        let mut held = self.forwarder();
        let outcome = held.balance(maps, wanted);
        if outcome.is_err() {
            // Some of it may be written: what the maps hold is read anew. Serials are not used twice.
            let serial = held.serial;
            let capacity = Capacity {
                frontends: held.numbers.capacity(),
                endpoints: held.indices.capacity(),
                rows: held.rows.capacity(),
            };
            *held = maps.read(capacity)?;
            held.serial = held.serial.max(serial);
        }
        outcome
    }

    /// Frames are sent on to these interfaces, and to the one that they came from; what is for others
    /// is left to the stack.
    pub fn lead_to(&self, interfaces: &[u32]) -> Result<(), DatapathError> {
        let Some(maps) = &self.forward else { return Ok(()) };
        for interface in interfaces {
            maps.devices.put(interface, &[*interface, 0])?;
        }
        for (there, _) in maps.devices.entries()? {
            if !interfaces.contains(&there) {
                maps.devices.delete(&there)?;
            }
        }
        Ok(())
    }

    /// What went to each endpoint, over every interface and processor.
    pub fn forwarded(&self) -> Result<Vec<ForwardTotals>, DatapathError> {
        let Some(hops) = self.ebpf.map("FORWARD_HOPS") else { return Ok(Vec::new()) };
        let hops: aya::maps::PerCpuArray<_, windrose_abi::ForwardHop> =
            hops.try_into().map_err(|_| DatapathError::Object { what: "map", name: "FORWARD_HOPS" })?;
        let held = self.forwarder();
        held.endpoints
            .values()
            .map(|(index, row)| {
                let hops = hops.get(index, 0).map_err(|error| {
                    DatapathError::call("reading map FORWARD_HOPS")(std::io::Error::other(error))
                })?;
                let mut totals = ForwardTotals {
                    address: ip(&row.address),
                    port: row.port,
                    forwarding: Forwarding::try_from(row.forwarding).unwrap_or(Forwarding::Nat),
                    is_ready: row.state == EndpointState::Ready as u8,
                    flows: 0,
                    packets: 0,
                    bytes: 0,
                };
                for hop in hops.iter().filter(|hop| hop.serial == row.serial) {
                    totals.flows += hop.flows;
                    totals.packets += hop.packets;
                    totals.bytes += hop.bytes;
                }
                Ok(totals)
            })
            .collect()
    }
}

impl Forwarder {
    /// See [`Edge::balance`]. After an error it does not say what the maps hold.
    fn balance(&mut self, maps: &ForwardMaps, wanted: &[Frontend]) -> Result<Balanced, DatapathError> {
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
            maps.frontends.put(key, row)?;
        }
        outcome.changed = changed.len();
        outcome.frontends = numbers.len();
        let gone: Vec<ServiceKey> =
            self.frontends.keys().filter(|key| !numbers.contains_key(key)).copied().collect();
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

    /// Writes a frontend's name and table, unless they are there; answers its row and whether that
    /// is to be written. Rows that are no longer used are added to `freed`.
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
            maps.names.put(&index, &key)?;
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

/// Sets exactly these bits.
fn put_filter(maps: &ForwardMaps, bits: &[(u32, u64)]) -> Result<(), DatapathError> {
    let mut words = vec![0; FILTER_WORDS as usize];
    for (index, bit) in bits {
        words[*index as usize] |= bit;
    }
    let indices: Vec<u32> = (0..FILTER_WORDS).collect();
    maps.filter.put_all(&indices, &words)
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
