//! What an update changes in the tables, and nothing else of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use windrose_abi::identity::IDENTITY_WORLD;
use windrose_abi::{
    Address, AddressSlot, ControlSlot, EndpointSlot, PortKey, PortSlot, PrefixKey, PrefixSlot, RuleKey,
    RuleSetSlot, RuleSlot, ServiceKey, ServiceSlot, WorkloadSlot,
};

use super::Tables;
use super::prefix::Prefix;

/// One entry before and after; never equal.
pub type Change<K, V> = (K, Option<V>, Option<V>);

/// The difference of two generations, in proportion to what changed. Sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Before and after; `None` when it did not change.
    pub control: Option<(ControlSlot, ControlSlot)>,
    /// By path.
    pub cgroups: Vec<Change<String, u32>>,
    /// By workload number.
    pub workloads: Vec<Change<u32, WorkloadSlot>>,
    /// By address.
    pub addresses: Vec<Change<Address, AddressSlot>>,
    /// By prefix.
    pub prefixes: Vec<Change<PrefixKey, PrefixSlot>>,
    /// For every one of `prefixes` that exists on one side only, what the other side says there:
    /// its next shorter prefix, or the world when there is none. The trie has one entry for both
    /// slots and answers with the longest, so the missing side must carry this.
    pub prefix_shadows: Vec<(PrefixKey, PrefixSlot)>,
    /// By number. Lists come and go; they never change.
    pub peer_lists: Vec<Change<u32, Arc<[u32]>>>,
    /// By number. Sets come and go; they never change.
    pub policy_sets: Vec<Change<u32, Arc<[u32]>>>,
    /// By number.
    pub rule_sets: Vec<Change<u32, RuleSetSlot>>,
    /// By key.
    pub rules: Vec<Change<RuleKey, RuleSlot>>,
    /// By key.
    pub port_names: Vec<Change<PortKey, PortSlot>>,
    /// By key.
    pub services: Vec<Change<ServiceKey, ServiceSlot>>,
    /// By number.
    pub endpoints: Vec<Change<u32, EndpointSlot>>,
    /// By number. Tables come and go; they never change.
    pub balance_tables: Vec<Change<u32, Arc<[u32]>>>,
}

impl Changes {
    /// Entries that come, go or change.
    pub fn len(&self) -> usize {
        usize::from(self.control.is_some())
            + self.cgroups.len()
            + self.workloads.len()
            + self.addresses.len()
            + self.prefixes.len()
            + self.peer_lists.len()
            + self.policy_sets.len()
            + self.rule_sets.len()
            + self.rules.len()
            + self.port_names.len()
            + self.services.len()
            + self.endpoints.len()
            + self.balance_tables.len()
    }

    /// Whether the two generations are the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tables {
    /// Turns the tables before `changes` into those after them.
    pub fn apply(&mut self, changes: &Changes) {
        if let Some((_, control)) = changes.control {
            self.control = control;
        }
        apply(&mut self.cgroups, &changes.cgroups);
        apply(&mut self.workloads, &changes.workloads);
        apply(&mut self.addresses, &changes.addresses);
        apply(&mut self.prefixes, &changes.prefixes);
        apply(&mut self.peer_lists, &changes.peer_lists);
        apply(&mut self.policy_sets, &changes.policy_sets);
        apply(&mut self.rule_sets, &changes.rule_sets);
        apply(&mut self.rules, &changes.rules);
        apply(&mut self.port_names, &changes.port_names);
        apply(&mut self.services, &changes.services);
        apply(&mut self.endpoints, &changes.endpoints);
        apply(&mut self.balance_tables, &changes.balance_tables);
    }
}

fn apply<K: Hash + Eq + Clone, V: Clone>(entries: &mut HashMap<K, V>, changes: &[Change<K, V>]) {
    for (key, _, after) in changes {
        match after {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        };
    }
}

/// What was there before this update, of everything that it touched.
#[derive(Debug)]
pub(super) struct Touched<K, V>(HashMap<K, Option<V>>);

impl<K, V> Default for Touched<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Ord + Clone, V: PartialEq + Clone> Touched<K, V> {
    /// Sets or removes an entry of `entries` and remembers what it was.
    pub(super) fn set(&mut self, entries: &mut HashMap<K, V>, key: K, value: Option<V>) {
        let before = match value {
            Some(value) => entries.insert(key.clone(), value),
            None => entries.remove(&key),
        };
        self.0.entry(key).or_insert(before);
    }

    /// What was there before this update.
    pub(super) fn before<'a>(&'a self, entries: &'a HashMap<K, V>, key: &K) -> Option<&'a V> {
        match self.0.get(key) {
            Some(before) => before.as_ref(),
            None => entries.get(key),
        }
    }

    /// The changes since the last time.
    pub(super) fn take(&mut self, entries: &HashMap<K, V>) -> Vec<Change<K, V>> {
        let touched = std::mem::take(&mut self.0);
        let mut changes: Vec<Change<K, V>> = touched
            .into_iter()
            .filter_map(|(key, before)| {
                let after = entries.get(&key);
                (after != before.as_ref()).then(|| (key.clone(), before, after.cloned()))
            })
            .collect();
        changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        changes
    }
}

/// [`Touched`] of every table.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) control: Option<ControlSlot>,
    pub(super) cgroups: Touched<String, u32>,
    pub(super) workloads: Touched<u32, WorkloadSlot>,
    pub(super) addresses: Touched<Address, AddressSlot>,
    pub(super) prefixes: Touched<PrefixKey, PrefixSlot>,
    pub(super) peer_lists: Touched<u32, Arc<[u32]>>,
    pub(super) policy_sets: Touched<u32, Arc<[u32]>>,
    pub(super) rule_sets: Touched<u32, RuleSetSlot>,
    pub(super) rules: Touched<RuleKey, RuleSlot>,
    pub(super) port_names: Touched<PortKey, PortSlot>,
    pub(super) services: Touched<ServiceKey, ServiceSlot>,
    pub(super) endpoints: Touched<u32, EndpointSlot>,
    pub(super) balance_tables: Touched<u32, Arc<[u32]>>,
}

impl Record {
    /// The changes since the last time.
    pub(super) fn take(&mut self, tables: &Tables) -> Changes {
        let prefix_shadows = self.shadows(&tables.prefixes);
        let control = self.control.take().filter(|before| *before != tables.control);
        Changes {
            control: control.map(|before| (before, tables.control)),
            cgroups: self.cgroups.take(&tables.cgroups),
            workloads: self.workloads.take(&tables.workloads),
            addresses: self.addresses.take(&tables.addresses),
            prefixes: self.prefixes.take(&tables.prefixes),
            prefix_shadows,
            peer_lists: self.peer_lists.take(&tables.peer_lists),
            policy_sets: self.policy_sets.take(&tables.policy_sets),
            rule_sets: self.rule_sets.take(&tables.rule_sets),
            rules: self.rules.take(&tables.rules),
            port_names: self.port_names.take(&tables.port_names),
            services: self.services.take(&tables.services),
            endpoints: self.endpoints.take(&tables.endpoints),
            balance_tables: self.balance_tables.take(&tables.balance_tables),
        }
    }

    fn shadows(&self, after: &HashMap<PrefixKey, PrefixSlot>) -> Vec<(PrefixKey, PrefixSlot)> {
        let mut shadows = Vec::new();
        for (key, before) in &self.prefixes.0 {
            let find = |shorter: PrefixKey| match (before.is_some(), after.contains_key(key)) {
                (true, false) => after.get(&shorter),
                (false, true) => self.prefixes.before(after, &shorter),
                _ => None,
            };
            if before.is_some() != after.contains_key(key) {
                let nothing = PrefixSlot { identity: IDENTITY_WORLD, peer_list: 0 };
                let bits = u128::from_be_bytes(key.address.to_bytes());
                let length = u8::try_from(key.length).unwrap_or(128);
                let shadow = (0..length).rev().find_map(|length| find(Prefix::around(bits, length).key()));
                shadows.push((*key, shadow.copied().unwrap_or(nothing)));
            }
        }
        shadows.sort_unstable();
        shadows
    }
}
