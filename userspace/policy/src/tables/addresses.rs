//! Addresses and prefixes: which groups lie around which address.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::prefix::{Prefix, shortest};

/// What is known of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The workload that has it; 0 is none.
    pub(super) workload: u32,
    /// It is the host's.
    pub(super) is_host: bool,
    /// The group of the /32 or /128 alone; 0 is none.
    pub(super) exact: u32,
    /// The list that its row has.
    pub(super) peer_list: u32,
}

/// What is known of a prefix shorter than an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// Its group; 0 only for [`Prefix::V4`] where it stops v6 prefixes.
    pub(super) group: u32,
    /// The list that its row has.
    pub(super) peer_list: u32,
}

/// Every address and prefix with a row.
#[derive(Debug)]
pub(super) struct Addresses {
    known: BTreeMap<u128, Known>,
    networks: BTreeMap<Prefix, Network>,
    /// Networks of each length.
    lengths: [u32; 129],
    /// v6 networks whose bits cover the v4-mapped addresses: these must not be found in the trie
    /// for a v4 address, so that a row for all of v4 stands before them.
    around_v4: u32,
    /// Policies that name each prefix.
    peers: BTreeMap<Prefix, u32>,
    touched: BTreeMap<Prefix, u32>,
    pub(super) dirty: BTreeSet<u128>,
    pub(super) dirty_networks: BTreeSet<Prefix>,
}

impl Addresses {
    pub(super) const fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            networks: BTreeMap::new(),
            lengths: [0; 129],
            around_v4: 0,
            peers: BTreeMap::new(),
            touched: BTreeMap::new(),
            dirty: BTreeSet::new(),
            dirty_networks: BTreeSet::new(),
        }
    }

    pub(super) fn known(&self, bits: u128) -> Option<Known> {
        self.known.get(&bits).copied()
    }

    pub(super) fn network(&self, prefix: Prefix) -> Option<Network> {
        self.networks.get(&prefix).copied()
    }

    /// Changes what is known of an address; one of which nothing is known any more is forgotten
    /// with its row.
    pub(super) fn change(&mut self, bits: u128, change: impl FnOnce(&mut Known)) {
        change(self.known.entry(bits).or_default());
        self.dirty.insert(bits);
    }

    pub(super) fn set_list(&mut self, bits: u128, peer_list: u32) {
        if let Entry::Occupied(mut entry) = self.known.entry(bits) {
            entry.get_mut().peer_list = peer_list;
            let Known { workload, is_host, exact, .. } = *entry.get();
            if workload == 0 && !is_host && exact == 0 {
                entry.remove();
            }
        }
    }

    pub(super) fn set_network_list(&mut self, prefix: Prefix, peer_list: u32) {
        if let Some(network) = self.networks.get_mut(&prefix) {
            network.peer_list = peer_list;
        }
    }

    /// One policy more names the prefix, whose group is `group`.
    pub(super) fn add_peer(&mut self, prefix: Prefix, group: u32) {
        *self.peers.entry(prefix).or_default() += 1;
        self.touched.insert(prefix, group);
    }

    pub(super) fn remove_peer(&mut self, prefix: Prefix, group: u32) {
        if let Entry::Occupied(mut entry) = self.peers.entry(prefix) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        self.touched.insert(prefix, group);
    }

    /// Adds the rows of prefixes that came, and marks what is inside of those that came or went.
    /// The lists of removed networks are returned, with their prefixes.
    pub(super) fn flush(&mut self) -> Vec<(Prefix, Network)> {
        let mut removed = Vec::new();
        for (prefix, group) in std::mem::take(&mut self.touched) {
            let is_named = self.peers.contains_key(&prefix);
            let group = if is_named { group } else { 0 };
            if prefix.is_exact() {
                if self.known.get(&prefix.bits).is_none_or(|known| known.exact != group) {
                    self.change(prefix.bits, |known| known.exact = group);
                }
                continue;
            }
            let before = self.networks.get(&prefix).map_or(0, |network| network.group);
            if before == group {
                continue;
            }
            self.count(prefix, is_named);
            self.networks.entry(prefix).or_default().group = group;
            self.mark_inside(prefix);
        }
        let idle: Vec<Prefix> = self
            .dirty_networks
            .iter()
            .copied()
            .chain([Prefix::V4])
            .filter(|prefix| self.networks.get(prefix).is_some_and(|network| network.group == 0))
            .filter(|prefix| *prefix != Prefix::V4 || self.around_v4 == 0)
            .collect();
        for prefix in idle {
            if let Some(network) = self.networks.remove(&prefix) {
                self.dirty_networks.remove(&prefix);
                removed.push((prefix, network));
            }
        }
        if self.around_v4 != 0 && !self.networks.contains_key(&Prefix::V4) {
            self.networks.insert(Prefix::V4, Network::default());
            self.dirty_networks.insert(Prefix::V4);
        }
        removed
    }

    fn count(&mut self, prefix: Prefix, is_named: bool) {
        let step = |count: &mut u32| {
            *count = if is_named { *count + 1 } else { count.saturating_sub(1) };
        };
        step(&mut self.lengths[usize::from(prefix.length)]);
        if !prefix.is_v4() && prefix.covers(Prefix::V4) {
            step(&mut self.around_v4);
        }
    }

    /// A prefix changes the rows inside it and no other.
    fn mark_inside(&mut self, prefix: Prefix) {
        let holds = |bits: u128| prefix.length >= shortest(bits);
        let addresses = self.known.range(prefix.bits..=prefix.last()).map(|(bits, _)| *bits);
        self.dirty.extend(addresses.filter(|bits| holds(*bits)));
        let last = Prefix { bits: prefix.last(), length: 128 };
        let networks = self.networks.range(prefix..=last).map(|(inner, _)| *inner);
        self.dirty_networks.extend(networks.filter(|inner| prefix.is_v4() || !inner.is_v4()));
    }

    /// The groups of every network of at most `longest` bits around an address. Sorted.
    pub(super) fn around(&self, bits: u128, longest: u8) -> Vec<u32> {
        let mut groups: Vec<u32> = (shortest(bits)..=longest)
            .filter(|length| self.lengths[usize::from(*length)] != 0)
            .filter_map(|length| self.networks.get(&Prefix::around(bits, length)))
            .map(|network| network.group)
            .filter(|group| *group != 0)
            .collect();
        groups.sort_unstable();
        groups
    }
}
