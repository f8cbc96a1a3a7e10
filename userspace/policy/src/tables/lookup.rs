//! Compiled tables as the engine reads them: what the kernel finds in its maps, found in ours.

use std::collections::HashMap;
use std::ops::Deref;

use windrose_abi::identity::GROUPS_PER_ROW;
use windrose_abi::rules::SETS_PER_ROW;
use windrose_abi::{
    Address, AddressSlot, ControlSlot, PeerListRow, PolicySetRow, PortKey, PortSlot, PrefixKey, PrefixSlot,
    RuleKey, RuleSetSlot, RuleSlot,
};
use windrose_engine::Step;

use super::Tables;

/// One row of a list of groups; `None` behind its end. A list has a row for each 16 groups.
pub fn peer_list_row(groups: &[u32], row: u32) -> Option<PeerListRow> {
    let (part, more) = part(groups, GROUPS_PER_ROW, row)?;
    let mut value = PeerListRow { count: length(part), more, ..PeerListRow::ZERO };
    value.groups[..part.len()].copy_from_slice(part);
    Some(value)
}

/// One row of a list of rule sets; `None` behind its end. A list has a row for each 16 rule sets.
pub fn policy_set_row(rule_sets: &[u32], row: u32) -> Option<PolicySetRow> {
    let (part, more) = part(rule_sets, SETS_PER_ROW, row)?;
    let mut value = PolicySetRow { count: length(part), more, ..PolicySetRow::ZERO };
    value.rule_sets[..part.len()].copy_from_slice(part);
    Some(value)
}

/// What of a list stands in one row, and 1 if another row follows.
fn part(list: &[u32], per_row: usize, row: u32) -> Option<(&[u32], u32)> {
    let row = usize::try_from(row).ok()?;
    let part = list.chunks(per_row).nth(row)?;
    Some((part, u32::from((row + 1) * per_row < list.len())))
}

/// Of a part, so that it fits.
fn length(part: &[u32]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// Prefixes as the kernel's trie answers: with the longest around an address, by bits alone.
#[derive(Debug)]
pub struct Trie<'a> {
    rows: &'a HashMap<PrefixKey, PrefixSlot>,
    /// The lengths that occur, longest first.
    lengths: Vec<u32>,
}

impl<'a> Trie<'a> {
    /// A trie of these rows.
    pub fn new(rows: &'a HashMap<PrefixKey, PrefixSlot>) -> Self {
        let occurs = rows.keys().fold([0_u64; 3], |mut occurs, key| {
            occurs[(key.length.min(128) >> 6) as usize] |= 1 << (key.length & 63);
            occurs
        });
        let lengths =
            (0..=128_u32).rev().filter(|length| occurs[(length >> 6) as usize] >> (length & 63) & 1 != 0);
        Self { rows, lengths: lengths.collect() }
    }

    /// The row of the longest prefix around an address.
    pub fn longest(&self, address: &Address) -> Option<PrefixSlot> {
        let bits = u128::from_be_bytes(address.to_bytes());
        self.lengths.iter().find_map(|length| {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            let address = Address::from_bytes((bits & mask).to_be_bytes());
            self.rows.get(&PrefixKey { length: *length, address }).copied()
        })
    }
}

/// Tables that can be asked as the kernel asks its maps.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// The rows.
    pub tables: &'a Tables,
    trie: Trie<'a>,
}

impl<'a> Lookup<'a> {
    /// A view of these tables.
    pub fn new(tables: &'a Tables) -> Self {
        Self { tables, trie: Trie::new(&tables.prefixes) }
    }
}

/// A row that was put together for one look.
#[derive(Debug, Clone, Copy)]
pub struct Row<R>(R);

impl<R> Deref for Row<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

impl windrose_engine::Tables for &Lookup<'_> {
    type PeerRow = Row<PeerListRow>;
    type SetRow = Row<PolicySetRow>;

    fn address(&self, address: &Address) -> Option<AddressSlot> {
        self.tables.addresses.get(address).copied()
    }

    fn prefix(&self, address: &Address) -> Option<PrefixSlot> {
        self.trie.longest(address)
    }

    fn has_prefixes(&self) -> bool {
        self.tables.control.flags & ControlSlot::HAS_PREFIXES != 0
    }

    fn peer_list(&self, list: u32, row: u32) -> Option<Row<PeerListRow>> {
        if (list, row) == (0, 0) {
            return Some(Row(PeerListRow::ZERO));
        }
        peer_list_row(self.tables.peer_lists.get(&list)?, row).map(Row)
    }

    fn policy_set(&self, set: u32, row: u32) -> Option<Row<PolicySetRow>> {
        policy_set_row(self.tables.policy_sets.get(&set)?, row).map(Row)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_rows_of_sixteen() {
        let list: Vec<u32> = (1..=33).collect();
        let rows: Vec<PeerListRow> = (0..).map_while(|row| peer_list_row(&list, row)).collect();
        let shape: Vec<(u32, u32)> = rows.iter().map(|row| (row.count, row.more)).collect();
        assert_eq!(shape, [(16, 1), (16, 1), (1, 0)]);
        assert_eq!(rows[2].groups[..2], [33, 0]);
        assert_eq!(policy_set_row(&list[..16], 0).map(|row| (row.count, row.more)), Some((16, 0)));
        assert_eq!(policy_set_row(&list[..16], 1), None);
    }

    #[test]
    fn the_longest_prefix_answers() {
        let key = |length, low: u8| {
            let mut bytes = [0; 16];
            bytes[15] = low;
            PrefixKey { length, address: Address::from_bytes(bytes) }
        };
        let slot = |peer_list| PrefixSlot { identity: 1, peer_list };
        let rows = HashMap::from([(key(0, 0), slot(1)), (key(120, 0), slot(2)), (key(124, 16), slot(3))]);
        let trie = Trie::new(&rows);
        let ask = |low: u8| trie.longest(&key(128, low).address).map(|slot| slot.peer_list);
        assert_eq!([ask(15), ask(16), ask(31), ask(32)], [Some(2), Some(3), Some(3), Some(2)]);
        let far = Address::from_bytes([255; 16]);
        assert_eq!(trie.longest(&far).map(|slot| slot.peer_list), Some(1));
    }
}
