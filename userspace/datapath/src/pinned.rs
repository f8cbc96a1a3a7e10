//! The tables that an earlier agent left in the kernel, and their difference to others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use windrose_abi::identity::IDENTITY_WORLD;
use windrose_abi::{PrefixKey, PrefixSlot, slot};
use windrose_policy::tables::{Change, Changes, Tables};

use crate::datapath::Datapath;
use crate::error::DatapathError;

impl Datapath {
    /// The policy in force as the maps hold it. Rows that an interrupted apply left with two
    /// different slots count as what the generation in force reads; the next apply writes them
    /// only if they change, so they are settled here.
    pub fn pinned_tables(&self) -> Result<Tables, DatapathError> {
        let generation = self.generation();
        let mut tables = Tables::default();
        if generation == 0 {
            return Ok(tables);
        }
        let now = slot(generation);
        let maps = &self.maps;
        tables.control = self.control.slot(generation);

        macro_rules! read {
            ($map:ident, $field:ident, $exists:expr) => {
                for (key, mut row) in maps.$map.entries()? {
                    let value = row.slots[now];
                    let settled = row.slots[0] == row.slots[1];
                    if $exists(&value) {
                        if !settled {
                            row.slots = [value; 2];
                            maps.$map.put(&key, &row)?;
                        }
                        tables.$field.insert(key, value);
                    } else {
                        maps.$map.delete(&key)?;
                    }
                }
            };
        }
        read!(workloads, workloads, |slot: &windrose_abi::WorkloadSlot| slot.identity != 0);
        read!(addresses, addresses, |slot: &windrose_abi::AddressSlot| slot.identity != 0);
        read!(prefixes, prefixes, |slot: &PrefixSlot| slot.identity != 0);
        read!(rule_sets, rule_sets, |slot: &windrose_abi::RuleSetSlot| slot.flags != 0);
        read!(rules, rules, |slot: &windrose_abi::RuleSlot| slot.action != 0);
        read!(services, services, |slot: &windrose_abi::ServiceSlot| slot.service != 0);
        read!(endpoints, endpoints, |slot: &windrose_abi::EndpointSlot| slot.state != 0);
        read!(port_names, port_names, |slot: &windrose_abi::PortSlot| slot.names[0] != 0);

        for (path, row) in maps.cgroup_paths.entries()? {
            let workload = row.workloads[now];
            let end = path.bytes.iter().position(|byte| *byte == 0).unwrap_or(path.bytes.len());
            let text = String::from_utf8_lossy(&path.bytes[..end]).trim_start_matches('/').to_owned();
            if workload == 0 {
                maps.cgroup_paths.delete(&path)?;
            } else {
                if row.workloads != [workload; 2] {
                    maps.cgroup_paths.put(&path, &windrose_abi::CgroupRow { workloads: [workload; 2] })?;
                }
                tables.cgroups.insert(text, workload);
            }
        }
        tables.peer_lists = joined(
            maps.peer_lists
                .entries()?
                .into_iter()
                .filter(|(key, _)| key.list != 0)
                .map(|(key, row)| (key.list, key.row, row.groups[..row.count.min(16) as usize].to_vec())),
        );
        tables.policy_sets = joined(
            maps.policy_sets
                .entries()?
                .into_iter()
                .map(|(key, row)| (key.set, key.row, row.rule_sets[..row.count.min(16) as usize].to_vec())),
        );
        tables.balance_tables = joined(maps.balance_tables.entries()?.into_iter().map(|(key, row)| {
            let used = row.endpoints.iter().position(|endpoint| *endpoint == 0);
            (key.table, key.row, row.endpoints[..used.unwrap_or(row.endpoints.len())].to_vec())
        }));
        Ok(tables)
    }
}

/// Lists from their rows, which come in any order.
fn joined(rows: impl Iterator<Item = (u32, u32, Vec<u32>)>) -> HashMap<u32, Arc<[u32]>> {
    let mut lists: HashMap<u32, Vec<(u32, Vec<u32>)>> = HashMap::new();
    for (list, row, entries) in rows {
        lists.entry(list).or_default().push((row, entries));
    }
    lists
        .into_iter()
        .map(|(list, mut rows)| {
            rows.sort_unstable();
            (list, rows.into_iter().flat_map(|(_, entries)| entries).collect())
        })
        .collect()
}

/// What turns one generation into another, whatever made them: for an agent that adopts pins.
pub fn difference(before: &Tables, after: &Tables) -> Changes {
    let prefixes = changes(&before.prefixes, &after.prefixes);
    let prefix_shadows = prefixes
        .iter()
        .filter_map(|(key, old, new)| match (old, new) {
            (None, Some(_)) => Some((*key, shorter(&before.prefixes, *key))),
            (Some(_), None) => Some((*key, shorter(&after.prefixes, *key))),
            _ => None,
        })
        .collect();
    Changes {
        control: (before.control != after.control).then_some((before.control, after.control)),
        cgroups: changes(&before.cgroups, &after.cgroups),
        workloads: changes(&before.workloads, &after.workloads),
        addresses: changes(&before.addresses, &after.addresses),
        prefixes,
        prefix_shadows,
        peer_lists: changes(&before.peer_lists, &after.peer_lists),
        policy_sets: changes(&before.policy_sets, &after.policy_sets),
        rule_sets: changes(&before.rule_sets, &after.rule_sets),
        rules: changes(&before.rules, &after.rules),
        port_names: changes(&before.port_names, &after.port_names),
        services: changes(&before.services, &after.services),
        endpoints: changes(&before.endpoints, &after.endpoints),
        balance_tables: changes(&before.balance_tables, &after.balance_tables),
    }
}

fn changes<K: Clone + Eq + Hash + Ord, V: Clone + PartialEq>(
    before: &HashMap<K, V>,
    after: &HashMap<K, V>,
) -> Vec<Change<K, V>> {
    let mut found: Vec<Change<K, V>> = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), before.get(key).cloned(), Some(value.clone())))
        .chain(
            before
                .iter()
                .filter(|(key, _)| !after.contains_key(*key))
                .map(|(key, value)| (key.clone(), Some(value.clone()), None)),
        )
        .collect();
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found
}

/// What the next shorter prefix says; the world when there is none.
fn shorter(prefixes: &HashMap<PrefixKey, PrefixSlot>, key: PrefixKey) -> PrefixSlot {
    let bits = u128::from_be_bytes(key.address.to_bytes());
    (0..key.length)
        .rev()
        .find_map(|length| {
            let masked = if length == 0 { 0 } else { bits & (u128::MAX << (128 - length)) };
            let address = windrose_abi::Address::from_bytes(masked.to_be_bytes());
            prefixes.get(&PrefixKey { length, address }).copied()
        })
        .unwrap_or(PrefixSlot { identity: IDENTITY_WORLD, peer_list: 0 })
}
