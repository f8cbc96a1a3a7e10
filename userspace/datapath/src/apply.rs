//! A new policy into the maps: written beside the old one, put in force with one word, swept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrose_abi::identity::{CGROUP_PATH_BYTES, GROUPS_PER_ROW};
use windrose_abi::rules::SETS_PER_ROW;
use windrose_abi::services::ENDPOINTS_PER_ROW;
use windrose_abi::{
    AddressRow, CgroupPath, CgroupRow, EndpointRow, PeerListKey, PeerListRow, PolicySetKey, PolicySetRow,
    PortRow, PrefixKey, PrefixRow, PrefixSlot, RuleRow, RuleSetRow, ServiceRow, TableKey, TableRow,
    WorkloadRow, slot,
};
use windrose_policy::tables::{Change, Changes, Tables, peer_list_row, policy_set_row};

use crate::datapath::Datapath;
use crate::error::{DatapathError, Overflow};
use crate::maps::Table;
use crate::sys;

/// What an apply did.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    /// The policy now in force.
    pub generation: u64,
    /// Entries that came, went or changed.
    pub changes: usize,
    /// How long it took, the wait for running programs included.
    pub took: Duration,
}

/// A row that holds a value for each generation.
trait Slotted<V>: Copy + Default {
    fn of(slots: [V; 2]) -> Self;
}

macro_rules! slotted {
    ($($row:ty, $value:ty, $field:ident;)*) => {
        $(impl Slotted<$value> for $row {
            fn of($field: [$value; 2]) -> Self {
                Self { $field }
            }
        })*
    };
}

slotted! {
    WorkloadRow, windrose_abi::WorkloadSlot, slots;
    AddressRow, windrose_abi::AddressSlot, slots;
    PrefixRow, PrefixSlot, slots;
    RuleSetRow, windrose_abi::RuleSetSlot, slots;
    RuleRow, windrose_abi::RuleSlot, slots;
    PortRow, windrose_abi::PortSlot, slots;
    ServiceRow, windrose_abi::ServiceSlot, slots;
    EndpointRow, windrose_abi::EndpointSlot, slots;
    CgroupRow, u32, workloads;
}

/// The room that a policy needs in one map.
struct Need {
    map: &'static str,
    /// Its rows.
    rows: usize,
    /// Rows of the policy before it, which stay until the flip.
    gone: usize,
}

fn needs(changes: &Changes, tables: &Tables) -> [Need; 13] {
    fn gone<K, V>(changes: &[Change<K, V>]) -> usize {
        changes.iter().filter(|(_, _, after)| after.is_none()).count()
    }
    let gone_tables = changes.balance_tables.iter().filter(|(_, _, after)| after.is_none());
    let gone_tables = gone_tables.filter_map(|(_, before, _)| before.as_ref()).map(table_rows).sum();
    let rows = |lists: &HashMap<u32, Arc<[u32]>>, per_row: usize| {
        lists.len() + lists.values().map(|list| list.len().saturating_sub(1) / per_row).sum::<usize>()
    };
    [
        ("CGROUPS", tables.cgroups.len(), gone(&changes.cgroups)),
        ("CGROUP_PATHS", tables.cgroups.len(), gone(&changes.cgroups)),
        ("WORKLOADS", tables.workloads.len(), gone(&changes.workloads)),
        ("ADDRESSES", tables.addresses.len(), gone(&changes.addresses)),
        ("PREFIXES", tables.prefixes.len(), gone(&changes.prefixes)),
        ("PEER_LISTS", 1 + rows(&tables.peer_lists, GROUPS_PER_ROW), gone(&changes.peer_lists)),
        ("POLICY_SETS", rows(&tables.policy_sets, SETS_PER_ROW), gone(&changes.policy_sets)),
        ("RULE_SETS", tables.rule_sets.len(), gone(&changes.rule_sets)),
        ("RULES", tables.rules.len(), gone(&changes.rules)),
        ("PORT_NAMES", tables.port_names.len(), gone(&changes.port_names)),
        ("SERVICES", tables.services.len(), gone(&changes.services)),
        ("ENDPOINTS", tables.endpoints.len(), gone(&changes.endpoints)),
        ("BALANCE_TABLES", tables.balance_tables.values().map(table_rows).sum(), gone_tables),
    ]
    .map(|(map, rows, gone)| Need { map, rows, gone })
}

impl Datapath {
    /// Puts `tables` in force, which differ from what is in force by `changes`. A decision sees all
    /// of the old policy or all of the new one. On an error before the flip the old one stays.
    ///
    /// # Errors
    ///
    /// [`DatapathError::DoesNotFit`] with the numbers, before anything is written.
    pub fn apply(&mut self, changes: &Changes, tables: &Tables) -> Result<Applied, DatapathError> {
        let began = Instant::now();
        let needs = needs(changes, tables);
        self.check_room(&needs)?;
        let old = self.control.generation();
        let new = old + 1;
        if changes.is_empty() && old != 0 {
            self.remember_rows(&needs);
            return Ok(Applied { generation: old, changes: 0, took: began.elapsed() });
        }
        self.write(changes, new)?;
        let settings = changes.control.map_or(self.control.slot(old), |(_, after)| after);
        self.control.write_slot(new, settings);
        self.control.flip(new);
        sys::wait_for_programs().map_err(DatapathError::call("waiting for running programs"))?;
        self.control.write_slot(old, settings);
        self.sweep(changes)?;
        self.remember_rows(&needs);
        Ok(Applied { generation: new, changes: changes.len(), took: began.elapsed() })
    }

    fn check_room(&self, needs: &[Need]) -> Result<(), DatapathError> {
        let overflows: Vec<Overflow> = needs
            .iter()
            .map(|need| Overflow {
                map: need.map,
                needed: need.rows + need.gone,
                capacity: self.capacities.of(need.map),
            })
            .filter(|overflow| overflow.needed > overflow.capacity)
            .collect();
        if overflows.is_empty() { Ok(()) } else { Err(DatapathError::DoesNotFit { overflows }) }
    }

    /// Keeps how many rows the policy in force has, so that nobody counts 100,000 keys for a scrape.
    fn remember_rows(&mut self, needs: &[Need]) {
        self.rows = needs.iter().map(|need| (need.map, need.rows)).collect();
    }

    /// Writes the balance tables that come.
    fn write_tables(&self, changes: &Changes) -> Result<(), DatapathError> {
        for (table, before, after) in &changes.balance_tables {
            let Some(entries) = after else { continue };
            if before.as_ref() == Some(entries) {
                continue;
            }
            let (mut keys, mut rows) = (Vec::new(), Vec::new());
            for (row, chunk) in (0..).zip(entries.chunks(ENDPOINTS_PER_ROW)) {
                let mut endpoints = [0; ENDPOINTS_PER_ROW];
                endpoints[..chunk.len()].copy_from_slice(chunk);
                keys.push(TableKey { table: *table, row });
                rows.push(TableRow { endpoints });
            }
            self.maps.balance_tables.put_all(&keys, &rows)?;
        }
        Ok(())
    }

    /// Step 1: everything that the new generation reads, where the old one does not look.
    fn write(&self, changes: &Changes, new: u64) -> Result<(), DatapathError> {
        let maps = &self.maps;
        for (list, before, after) in &changes.peer_lists {
            if let (None, Some(groups)) = (before, after) {
                put_peer_list(&maps.peer_lists, *list, groups)?;
            }
        }
        for (set, before, after) in &changes.policy_sets {
            if let (None, Some(rule_sets)) = (before, after) {
                put_policy_set(&maps.policy_sets, *set, rule_sets)?;
            }
        }
        self.write_tables(changes)?;
        stage(&maps.endpoints, &changes.endpoints, new)?;
        stage(&maps.services, &changes.services, new)?;
        stage(&maps.rules, &changes.rules, new)?;
        stage(&maps.rule_sets, &changes.rule_sets, new)?;
        stage(&maps.port_names, &changes.port_names, new)?;
        stage(&maps.addresses, &changes.addresses, new)?;
        let shadows: HashMap<&PrefixKey, &PrefixSlot> =
            changes.prefix_shadows.iter().map(|(key, slot)| (key, slot)).collect();
        let shadowed: Vec<Change<PrefixKey, PrefixSlot>> = changes
            .prefixes
            .iter()
            .map(|(key, before, after)| {
                let shadow = shadows.get(key).map(|slot| **slot);
                (*key, before.or(shadow), after.or(shadow))
            })
            .collect();
        stage(&maps.prefixes, &shadowed, new)?;
        stage(&maps.workloads, &changes.workloads, new)?;
        self.bind_cgroups(&changes.cgroups, Some(new))
    }

    /// Step 3, when no program reads the old slots any more: both slots say the same again, and
    /// what is gone is removed.
    fn sweep(&self, changes: &Changes) -> Result<(), DatapathError> {
        let maps = &self.maps;
        settle(&maps.services, &changes.services)?;
        settle(&maps.endpoints, &changes.endpoints)?;
        self.forget_loads(changes)?;
        for (table, before, after) in &changes.balance_tables {
            if let (Some(entries), None) = (before, after) {
                for row in 0..rows_of(entries.len(), ENDPOINTS_PER_ROW) {
                    maps.balance_tables.delete(&TableKey { table: *table, row })?;
                }
            }
        }
        settle(&maps.rules, &changes.rules)?;
        settle(&maps.rule_sets, &changes.rule_sets)?;
        settle(&maps.port_names, &changes.port_names)?;
        settle(&maps.addresses, &changes.addresses)?;
        settle(&maps.prefixes, &changes.prefixes)?;
        settle(&maps.workloads, &changes.workloads)?;
        self.bind_cgroups(&changes.cgroups, None)?;
        for (list, before, after) in &changes.peer_lists {
            if let (Some(groups), None) = (before, after) {
                for row in 0..rows_of(groups.len(), GROUPS_PER_ROW) {
                    maps.peer_lists.delete(&PeerListKey { list: *list, row })?;
                }
            }
        }
        for (set, before, after) in &changes.policy_sets {
            if let (Some(rule_sets), None) = (before, after) {
                for row in 0..rows_of(rule_sets.len(), SETS_PER_ROW) {
                    maps.policy_sets.delete(&PolicySetKey { set: *set, row })?;
                }
            }
        }
        Ok(())
    }

    /// Removes counters of services that are gone. Loads of endpoints stay while there are
    /// connections to them: see [`Datapath::reconcile_loads`].
    fn forget_loads(&self, changes: &Changes) -> Result<(), DatapathError> {
        for (_, before, after) in &changes.services {
            let number = |slot: &Option<windrose_abi::ServiceSlot>| slot.map(|slot| slot.service);
            if let Some(service) = number(before)
                && number(after) != Some(service)
            {
                self.maps.service_totals.delete(&service)?;
            }
        }
        for (endpoint, _, after) in &changes.endpoints {
            if after.is_none()
                && let Some(load) = self.maps.endpoint_loads.get(endpoint)?
                && load.live <= 0
            {
                self.maps.endpoint_loads.delete(endpoint)?;
            }
        }
        Ok(())
    }

    /// Binds cgroups to workloads; `new` as in [`stage`], `None` as in [`settle`]. The path comes
    /// first: a cgroup that is made after that is bound by the kernel, one that was made before is
    /// found here.
    fn bind_cgroups(&self, changes: &[Change<String, u32>], new: Option<u64>) -> Result<(), DatapathError> {
        for (path, before, after) in changes {
            let key = path_key(path);
            let (before, after) = (before.unwrap_or(0), after.unwrap_or(0));
            let row = match new {
                Some(generation) => two_slots(generation, before, after),
                None => CgroupRow::of([after, after]),
            };
            let id = |datapath: &Self| datapath.machine.cgroup_id(path);
            if row.workloads == [0, 0] {
                self.maps.cgroup_paths.delete(&key)?;
                if let Some(id) = id(self) {
                    self.maps.cgroups.delete(&id)?;
                }
            } else {
                self.maps.cgroup_paths.put(&key, &row)?;
                if let Some(id) = id(self) {
                    self.maps.cgroups.put(&id, &row)?;
                }
            }
        }
        Ok(())
    }

    /// Binds every cgroup that exists to its workload anew.
    pub fn refresh_cgroups(&self, tables: &Tables) -> Result<(), DatapathError> {
        for (path, workload) in &tables.cgroups {
            if let Some(id) = self.machine.cgroup_id(path) {
                self.maps.cgroups.put(&id, &CgroupRow::of([*workload, *workload]))?;
            }
        }
        Ok(())
    }
}

/// The kernel's spelling of a cgroup's path: a leading slash, zero filled.
pub(crate) fn path_key(path: &str) -> CgroupPath {
    let mut key = CgroupPath { bytes: [0; CGROUP_PATH_BYTES] };
    key.bytes[0] = b'/';
    for (to, from) in key.bytes[1..CGROUP_PATH_BYTES - 1].iter_mut().zip(path.bytes()) {
        *to = from;
    }
    key
}

fn two_slots<V: Copy, R: Slotted<V>>(new: u64, before: V, after: V) -> R {
    let mut slots = [before; 2];
    slots[slot(new)] = after;
    R::of(slots)
}

/// Writes changed rows with the new value in the slot of `new` and the old one in the other.
fn stage<K, V, R>(table: &Table<K, R>, changes: &[Change<K, V>], new: u64) -> Result<(), DatapathError>
where
    K: Copy + Default,
    V: Copy + Default,
    R: Slotted<V>,
{
    let (mut keys, mut rows) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
    for (key, before, after) in changes {
        keys.push(*key);
        rows.push(two_slots(new, before.unwrap_or_default(), after.unwrap_or_default()));
    }
    table.put_all(&keys, &rows)
}

/// Writes changed rows with the new value in both slots, or removes them.
fn settle<K, V, R>(table: &Table<K, R>, changes: &[Change<K, V>]) -> Result<(), DatapathError>
where
    K: Copy + Default,
    V: Copy + Default,
    R: Slotted<V>,
{
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    for (key, _, after) in changes {
        match after {
            Some(after) => {
                keys.push(*key);
                rows.push(R::of([*after; 2]));
            }
            None => table.delete(key)?,
        }
    }
    table.put_all(&keys, &rows)
}

/// Rows of a balance table.
fn table_rows(entries: &Arc<[u32]>) -> usize {
    entries.len().div_ceil(ENDPOINTS_PER_ROW)
}

fn rows_of(entries: usize, per_row: usize) -> u32 {
    u32::try_from(entries.div_ceil(per_row)).unwrap_or(u32::MAX)
}

fn put_peer_list(
    table: &Table<PeerListKey, PeerListRow>,
    list: u32,
    groups: &[u32],
) -> Result<(), DatapathError> {
    // The first row is written last: a list that can be found is whole.
    for row in (0..rows_of(groups.len(), GROUPS_PER_ROW)).rev() {
        if let Some(value) = peer_list_row(groups, row) {
            table.put(&PeerListKey { list, row }, &value)?;
        }
    }
    Ok(())
}

fn put_policy_set(
    table: &Table<PolicySetKey, PolicySetRow>,
    set: u32,
    rule_sets: &[u32],
) -> Result<(), DatapathError> {
    for row in (0..rows_of(rule_sets.len(), SETS_PER_ROW)).rev() {
        if let Some(value) = policy_set_row(rule_sets, row) {
            table.put(&PolicySetKey { set, row }, &value)?;
        }
    }
    Ok(())
}
