//! The maps by name and type.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;
use windrose_abi::{
    Address, AddressRow, AffinityKey, AffinityRow, CgroupPath, CgroupRow, EdgeKey, EdgeRow, EndpointLoad,
    EndpointRow, FlowKey, FlowRow, OriginKey, OriginRow, PeerListKey, PeerListRow, PolicySetKey,
    PolicySetRow, PortKey, PortRow, PrefixKey, PrefixRow, RefusalKey, RuleKey, RuleRow, RuleSetRow,
    ServiceKey, ServiceRow, ServiceTotals, TableKey, TableRow, WorkloadRow,
};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::sys;

/// Room of each map whose room can be chosen, in entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacities(BTreeMap<&'static str, u32>);

impl Default for Capacities {
    fn default() -> Self {
        Self(BTreeMap::from([
            ("CGROUPS", 65_536),
            ("CGROUP_PATHS", 16_384),
            ("WORKLOADS", 65_536),
            ("ADDRESSES", 262_144),
            ("PREFIXES", 262_144),
            ("PEER_LISTS", 131_072),
            ("POLICY_SETS", 65_536),
            ("RULE_SETS", 65_536),
            ("RULES", 1_048_576),
            ("PORT_NAMES", 65_536),
            ("SERVICES", 65_536),
            ("ENDPOINTS", 262_144),
            ("BALANCE_TABLES", 262_144),
            ("ENDPOINT_LOADS", 262_144),
            ("SERVICE_TOTALS", 65_536),
            ("AFFINITIES", 65_536),
            ("FLOWS", 65_536),
            ("ORIGINS", 65_536),
            ("REFUSALS", 65_536),
            ("EDGES", 16_384),
            ("DENY_HOSTS", 1_048_576),
            ("DENY_PREFIXES", 262_144),
            ("DENY_NOTES", 65_536),
            ("BUCKETS", 262_144),
            ("FRONTENDS", 16_384),
            ("SOURCE_RANGES", 16_384),
            ("FORWARD_TABLES", 16_384),
            ("EDGE_ENDPOINTS", 4_096),
            ("FORWARD_FLOWS", 262_144),
        ]))
    }
}

impl Capacities {
    /// Sets the room of a map, 1 to 16,777,216 entries.
    ///
    /// # Errors
    ///
    /// The names that exist, when `map` is none of them; or the range.
    pub fn set(&mut self, map: &str, entries: u32) -> Result<(), String> {
        if entries == 0 || entries > 1 << 24 {
            return Err(format!("capacity of {map} is {entries}; it must be 1 to {}", 1 << 24));
        }
        match self.0.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(map)) {
            Some((_, room)) => {
                *room = entries;
                Ok(())
            }
            None => Err(format!(
                "no map `{map}`; there are {}",
                self.0.keys().map(|name| name.to_lowercase()).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// The room that an adopted map has.
    pub(crate) fn adopt(&mut self, map: &'static str, entries: u32) {
        self.0.insert(map, entries);
    }

    /// Every map and its room.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.0.iter().map(|(name, room)| (*name, *room))
    }

    /// The room of a map; 0 for one that has no choice.
    pub fn of(&self, map: &str) -> usize {
        self.0.get(map).map_or(0, |room| *room as usize)
    }
}

/// The kernel's own errno for what a kind of map cannot do; libc does not name it.
const ENOTSUPP: i32 = 524;

/// One map.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    pub(crate) name: &'static str,
    fd: OwnedFd,
    types: PhantomData<(K, V)>,
}

impl<K: Copy + Default, V: Copy + Default> Table<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let path = pins.map(name);
        let fd = sys::open_pin(&path).map_err(DatapathError::file(path))?;
        Ok(Self { name, fd, types: PhantomData })
    }

    /// A map of a loaded object, pinned or not.
    pub(crate) fn of(ebpf: &Ebpf, name: &'static str) -> Result<Self, DatapathError> {
        let (Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::DevMapHash(data)) = ebpf.map(name).ok_or(DatapathError::Object { what: "map", name })?
        else {
            return Err(DatapathError::Object { what: "map of the expected type", name });
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        Ok(Self {
            name,
            fd: fd.map_err(DatapathError::call(format!("opening map {name}")))?,
            types: PhantomData,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        sys::map_lookup(self.fd(), key, V::default()).map_err(self.failed("reading"))
    }

    pub(crate) fn put(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        sys::map_update(self.fd(), key, value).map_err(self.failed("writing"))
    }

    pub(crate) fn put_all(&self, keys: &[K], values: &[V]) -> Result<(), DatapathError> {
        match sys::map_update_batch(self.fd(), keys, values) {
            // Not every kind of map has batches on every kernel.
            Err(error)
                if matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                keys.iter().zip(values).try_for_each(|(key, value)| self.put(key, value))
            }
            other => other.map_err(self.failed("writing")),
        }
    }

    pub(crate) fn delete(&self, key: &K) -> Result<(), DatapathError> {
        sys::map_delete(self.fd(), key).map_err(self.failed("deleting from"))
    }

    pub(crate) fn delete_all(&self, keys: &[K]) -> Result<(), DatapathError> {
        sys::batch::delete(self.fd(), keys).map_err(self.failed("deleting from"))
    }

    /// Calls `each` with every entry, thousands with one system call.
    pub(crate) fn for_each(&self, each: impl FnMut(K, V)) -> Result<(), DatapathError> {
        sys::batch::for_each(self.fd(), K::default(), V::default(), each).map_err(self.failed("reading"))
    }

    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, DatapathError> {
        sys::map_entries(self.fd(), K::default(), V::default()).map_err(self.failed("reading"))
    }

    /// How many entries it has room for.
    pub(crate) fn room(&self) -> Result<(&'static str, u32), DatapathError> {
        Ok((self.name, sys::map_info(self.fd()).map_err(self.failed("asking about"))?.room))
    }

    /// The kernel's number of it, which no other map gets while the machine is up.
    pub(crate) fn id(&self) -> Result<u32, DatapathError> {
        Ok(sys::map_info(self.fd()).map_err(self.failed("asking about"))?.id)
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> Result<usize, DatapathError> {
        let (mut count, mut last) = (0, None);
        while let Some(key) =
            sys::map_next_key(self.fd(), last.as_ref(), K::default()).map_err(self.failed("walking"))?
        {
            count += 1;
            last = Some(key);
        }
        Ok(count)
    }

    fn failed(&self, verb: &str) -> impl FnOnce(std::io::Error) -> DatapathError {
        DatapathError::call(format!("{verb} map {}", self.name))
    }
}

/// Every map that userspace reads or writes by key.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) cgroups: Table<u64, CgroupRow>,
    pub(crate) cgroup_paths: Table<CgroupPath, CgroupRow>,
    pub(crate) workloads: Table<u32, WorkloadRow>,
    pub(crate) addresses: Table<Address, AddressRow>,
    pub(crate) prefixes: Table<PrefixKey, PrefixRow>,
    pub(crate) peer_lists: Table<PeerListKey, PeerListRow>,
    pub(crate) policy_sets: Table<PolicySetKey, PolicySetRow>,
    pub(crate) rule_sets: Table<u32, RuleSetRow>,
    pub(crate) rules: Table<RuleKey, RuleRow>,
    pub(crate) port_names: Table<PortKey, PortRow>,
    pub(crate) services: Table<ServiceKey, ServiceRow>,
    pub(crate) endpoints: Table<u32, EndpointRow>,
    pub(crate) balance_tables: Table<TableKey, TableRow>,
    pub(crate) endpoint_loads: Table<u32, EndpointLoad>,
    pub(crate) service_totals: Table<u32, ServiceTotals>,
    pub(crate) affinities: Table<AffinityKey, AffinityRow>,
    pub(crate) flows: Table<FlowKey, FlowRow>,
    pub(crate) origins: Table<OriginKey, OriginRow>,
    pub(crate) refusals: Table<RefusalKey, u64>,
    pub(crate) edges: Table<EdgeKey, EdgeRow>,
    pub(crate) counts: Table<u32, u64>,
}

impl Maps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            cgroups: Table::open(pins, "CGROUPS")?,
            cgroup_paths: Table::open(pins, "CGROUP_PATHS")?,
            workloads: Table::open(pins, "WORKLOADS")?,
            addresses: Table::open(pins, "ADDRESSES")?,
            prefixes: Table::open(pins, "PREFIXES")?,
            peer_lists: Table::open(pins, "PEER_LISTS")?,
            policy_sets: Table::open(pins, "POLICY_SETS")?,
            rule_sets: Table::open(pins, "RULE_SETS")?,
            rules: Table::open(pins, "RULES")?,
            port_names: Table::open(pins, "PORT_NAMES")?,
            services: Table::open(pins, "SERVICES")?,
            endpoints: Table::open(pins, "ENDPOINTS")?,
            balance_tables: Table::open(pins, "BALANCE_TABLES")?,
            endpoint_loads: Table::open(pins, "ENDPOINT_LOADS")?,
            service_totals: Table::open(pins, "SERVICE_TOTALS")?,
            affinities: Table::open(pins, "AFFINITIES")?,
            flows: Table::open(pins, "FLOWS")?,
            origins: Table::open(pins, "ORIGINS")?,
            refusals: Table::open(pins, "REFUSALS")?,
            edges: Table::open(pins, "EDGES")?,
            counts: Table::open(pins, "COUNTS")?,
        })
    }
    /// The room that the maps have, for every one whose room can be chosen.
    pub(crate) fn capacities(&self, wanted: &Capacities) -> Result<Capacities, DatapathError> {
        let mut found = wanted.clone();
        for (name, room) in [
            self.cgroups.room()?,
            self.cgroup_paths.room()?,
            self.workloads.room()?,
            self.addresses.room()?,
            self.prefixes.room()?,
            self.peer_lists.room()?,
            self.policy_sets.room()?,
            self.rule_sets.room()?,
            self.rules.room()?,
            self.port_names.room()?,
            self.services.room()?,
            self.endpoints.room()?,
            self.balance_tables.room()?,
            self.endpoint_loads.room()?,
            self.service_totals.room()?,
            self.affinities.room()?,
            self.flows.room()?,
            self.origins.room()?,
            self.refusals.room()?,
            self.edges.room()?,
        ] {
            found.0.insert(name, room);
        }
        Ok(found)
    }
}
