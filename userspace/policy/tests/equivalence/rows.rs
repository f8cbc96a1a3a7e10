//! Compiled tables as the engine reads them from the kernel's maps.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use windrose_abi::identity::GROUPS_PER_ROW;
use windrose_abi::rules::SETS_PER_ROW;
use windrose_abi::{
    Address, AddressSlot, ControlSlot, PeerListKey, PeerListRow, PolicySetKey, PolicySetRow, PortKey,
    PortSlot, PrefixKey, PrefixSlot, RuleKey, RuleSetSlot, RuleSlot,
};
use windrose_engine::Step;
use windrose_policy::tables::Tables;

/// Tables with their lists cut into rows and their prefixes as a trie.
pub(crate) struct Rows<'a> {
    pub(crate) tables: &'a Tables,
    peer_lists: HashMap<PeerListKey, PeerListRow>,
    policy_sets: HashMap<PolicySetKey, PolicySetRow>,
    trie: Vec<(PrefixKey, PrefixSlot)>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(tables: &'a Tables) -> Self {
        let mut peer_lists = cut(&tables.peer_lists, GROUPS_PER_ROW, |list, row, groups, more| {
            let mut value = PeerListRow { count: length(groups), more, ..PeerListRow::ZERO };
            value.groups[..groups.len()].copy_from_slice(groups);
            (PeerListKey { list, row }, value)
        });
        peer_lists.insert(PeerListKey::ZERO, PeerListRow::ZERO);
        let policy_sets = cut(&tables.policy_sets, SETS_PER_ROW, |set, row, sets, more| {
            let mut value = PolicySetRow { count: length(sets), more, ..PolicySetRow::ZERO };
            value.rule_sets[..sets.len()].copy_from_slice(sets);
            (PolicySetKey { set, row }, value)
        });
        Self { tables, peer_lists, policy_sets, trie: trie(&tables.prefixes) }
    }
}

fn length(part: &[u32]) -> u32 {
    u32::try_from(part.len()).unwrap()
}

fn cut<K: Hash + Eq, V>(
    lists: &HashMap<u32, Arc<[u32]>>,
    most: usize,
    row: impl Fn(u32, u32, &[u32], u32) -> (K, V),
) -> HashMap<K, V> {
    let mut rows = HashMap::new();
    for (number, list) in lists {
        assert!(!list.is_empty(), "{number}: the empty list has no entry");
        let parts = list.chunks(most);
        let count = parts.len();
        rows.extend(
            (0..).zip(parts).map(|(n, part)| row(*number, n, part, u32::from(n as usize + 1 < count))),
        );
    }
    rows
}

/// Longest first.
pub(crate) fn trie(prefixes: &HashMap<PrefixKey, PrefixSlot>) -> Vec<(PrefixKey, PrefixSlot)> {
    let mut trie: Vec<_> = prefixes.iter().map(|(key, slot)| (*key, *slot)).collect();
    trie.sort_by_key(|(key, _)| std::cmp::Reverse(key.length));
    trie
}

/// By bits alone, as the kernel's trie does.
pub(crate) fn longest(trie: &[(PrefixKey, PrefixSlot)], address: &Address) -> Option<PrefixSlot> {
    let bits = u128::from_be_bytes(address.to_bytes());
    trie.iter()
        .find(|(key, _)| {
            let mask = u128::MAX.checked_shl(128 - key.length).unwrap_or(0);
            u128::from_be_bytes(key.address.to_bytes()) == bits & mask
        })
        .map(|(_, slot)| *slot)
}

impl<'a> windrose_engine::Tables for &'a Rows<'a> {
    type PeerRow = &'a PeerListRow;
    type SetRow = &'a PolicySetRow;

    fn address(&self, address: &Address) -> Option<AddressSlot> {
        self.tables.addresses.get(address).copied()
    }

    fn prefix(&self, address: &Address) -> Option<PrefixSlot> {
        longest(&self.trie, address)
    }

    fn has_prefixes(&self) -> bool {
        self.tables.control.flags & ControlSlot::HAS_PREFIXES != 0
    }

    fn peer_list(&self, list: u32, row: u32) -> Option<&'a PeerListRow> {
        self.peer_lists.get(&PeerListKey { list, row })
    }

    fn policy_set(&self, set: u32, row: u32) -> Option<&'a PolicySetRow> {
        self.policy_sets.get(&PolicySetKey { set, row })
    }

    fn rule_set(&self, rule_set: u32) -> Option<RuleSetSlot> {
        self.tables.rule_sets.get(&rule_set).copied()
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleSlot> {
        self.tables.rules.get(key).copied()
    }

    fn port_names(&self, key: &PortKey) -> Option<PortSlot> {
        self.tables.port_names.get(key).copied()
    }

    fn audit_all(&self) -> bool {
        self.tables.control.flags & ControlSlot::AUDIT_ALL != 0
    }

    fn zero(&self) -> u32 {
        0
    }

    fn repeat<S: Step>(&self, count: u32, state: &mut S) {
        for turn in 0..count {
            if !state.step(turn) {
                break;
            }
        }
    }
}
