//! What follows from changed objects: memberships, lists, and the rows that name them.

use windrose_abi::identity::{IDENTITY_HOST, IDENTITY_WORLD, MAX_GROUPS};
use windrose_abi::rules::depths;
use windrose_abi::{AddressSlot, ControlSlot, PrefixSlot, WorkloadSlot};

use crate::model::Direction;

use super::Compiler;
use super::addresses::Known;
use super::error::{CompileError, MAX_DEPTH, MAX_SETS};
use super::lists::EMPTY;
use super::prefix::{Prefix, wire};

impl Compiler {
    /// In the order in which one thing follows from another.
    pub(super) fn flush(&mut self) {
        self.flush_rule_sets();
        self.flush_identities();
        self.flush_workloads();
        self.flush_networks();
        self.flush_addresses();
        self.flush_control();
    }

    fn flush_identities(&mut self) {
        let (gone, dirty) = self.members.flush();
        for mut identity in gone {
            self.replace_peers(&mut identity.peer_list, &[]);
            self.replace_sets(&mut identity.ingress_set, &[]);
            self.replace_sets(&mut identity.egress_set, &[]);
        }
        for number in dirty {
            let Some(identity) = self.members.identity(number) else { continue };
            let (peers, ingress, egress) = self.members.lists(identity);
            let (mut peer_list, mut ingress_set, mut egress_set) =
                (identity.peer_list, identity.ingress_set, identity.egress_set);
            let workloads: Vec<u32> = identity.workloads.iter().copied().collect();
            let has_other_peers = self.replace_peers(&mut peer_list, &peers);
            let has_other_sets =
                self.replace_sets(&mut ingress_set, &ingress) | self.replace_sets(&mut egress_set, &egress);
            if has_other_peers || has_other_sets {
                self.dirty_workloads.extend(&workloads);
            }
            if has_other_peers {
                self.mark_addresses(&workloads);
            }
            self.check_lists(&workloads, peers.len(), ingress.len(), egress.len());
            if let Some(identity) = self.members.identity_mut(number) {
                identity.peer_list = peer_list;
                identity.ingress_set = ingress_set;
                identity.egress_set = egress_set;
            }
        }
    }

    fn replace_peers(&mut self, holder: &mut u32, list: &[u32]) -> bool {
        self.peer_lists.replace(holder, list, &mut self.tables.peer_lists, &mut self.record.peer_lists)
    }

    fn replace_sets(&mut self, holder: &mut u32, list: &[u32]) -> bool {
        self.policy_sets.replace(holder, list, &mut self.tables.policy_sets, &mut self.record.policy_sets)
    }

    fn mark_addresses(&mut self, workloads: &[u32]) {
        for placed in workloads.iter().filter_map(|number| self.placed.get(number)) {
            let addresses = placed.workload.addresses.iter();
            self.addresses.dirty.extend(addresses.map(|address| super::prefix::bits(*address)));
        }
    }

    fn check_lists(&mut self, workloads: &[u32], peers: usize, ingress: usize, egress: usize) {
        let Some(placed) = workloads.first().and_then(|number| self.placed.get(number)) else { return };
        let workload = &placed.workload;
        if peers > MAX_GROUPS {
            self.errors.push(CompileError::too_many_groups(workload, peers));
        }
        for (direction, count) in [(Direction::Ingress, ingress), (Direction::Egress, egress)] {
            if count > MAX_SETS {
                self.errors.push(CompileError::too_many_sets(workload, direction, count));
            }
        }
    }

    fn flush_workloads(&mut self) {
        for number in std::mem::take(&mut self.dirty_workloads) {
            let slot = self.workload_slot(number);
            if self.tables.workloads.get(&number) != slot.as_ref() {
                self.record.workloads.set(&mut self.tables.workloads, number, slot);
            }
        }
    }

    fn workload_slot(&self, number: u32) -> Option<WorkloadSlot> {
        let placed = self.placed.get(&number)?;
        let identity = self.members.identity(placed.identity)?;
        let namespace = self.model.namespaces.get(&placed.workload.name.namespace);
        let is_audit = namespace.is_some_and(|namespace| namespace.audit);
        Some(WorkloadSlot {
            identity: placed.identity,
            peer_list: identity.peer_list,
            ingress_set: identity.ingress_set,
            egress_set: identity.egress_set,
            flags: if is_audit { WorkloadSlot::AUDIT } else { 0 },
            namespace: placed.namespace,
        })
    }

    fn flush_networks(&mut self) {
        for (prefix, network) in self.addresses.flush() {
            let mut list = network.peer_list;
            self.replace_peers(&mut list, &[]);
            self.record.prefixes.set(&mut self.tables.prefixes, prefix.key(), None);
        }
        for prefix in std::mem::take(&mut self.addresses.dirty_networks) {
            let Some(network) = self.addresses.network(prefix) else { continue };
            let groups = self.addresses.around(prefix.bits, prefix.length);
            if groups.len() > MAX_GROUPS {
                self.errors.push(CompileError::too_many_prefixes(&prefix.to_string(), None, groups.len()));
            }
            let mut peer_list = network.peer_list;
            self.replace_peers(&mut peer_list, &groups);
            self.addresses.set_network_list(prefix, peer_list);
            let slot = PrefixSlot { identity: network_identity(peer_list), peer_list };
            if self.tables.prefixes.get(&prefix.key()) != Some(&slot) {
                self.record.prefixes.set(&mut self.tables.prefixes, prefix.key(), Some(slot));
            }
        }
    }

    fn flush_addresses(&mut self) {
        for bits in std::mem::take(&mut self.addresses.dirty) {
            let Some(known) = self.addresses.known(bits) else { continue };
            let (slot, peer_list) = self.address_slot(bits, known);
            self.addresses.set_list(bits, peer_list);
            let address = wire(bits);
            if self.tables.addresses.get(&address) != slot.as_ref() {
                self.record.addresses.set(&mut self.tables.addresses, address, slot);
            }
        }
    }

    fn address_slot(&mut self, bits: u128, known: Known) -> (Option<AddressSlot>, u32) {
        let Known { workload, is_host, exact, mut peer_list } = known;
        if workload == 0 && !is_host && exact == 0 {
            self.replace_peers(&mut peer_list, &[]);
            return (None, peer_list);
        }
        let mut groups = self.addresses.around(bits, 127);
        if exact != 0 {
            groups.push(exact);
        }
        let placed = self.placed.get(&workload);
        let identity = placed.map_or(0, |placed| placed.identity);
        let mut of_workload = 0;
        if let Some(identity) = self.members.identity(identity) {
            let list = self.peer_lists.content(identity.peer_list);
            of_workload = list.len();
            groups.extend_from_slice(list);
        }
        groups.sort_unstable();
        // If the workload's groups alone are too many, that has been said.
        if groups.len() > MAX_GROUPS && of_workload <= MAX_GROUPS {
            let shown = Prefix { bits, length: 128 }.to_string();
            let workload = placed.map(|placed| &*placed.workload);
            self.errors.push(CompileError::too_many_prefixes(&shown, workload, groups.len()));
        }
        self.replace_peers(&mut peer_list, &groups);
        let identity = match (workload, is_host) {
            (0, true) => IDENTITY_HOST,
            (0, false) => network_identity(peer_list),
            _ => identity,
        };
        // A workload's address is the workload's, wherever it runs.
        let flags = if workload == 0 && is_host { AddressSlot::HOST } else { 0 };
        (Some(AddressSlot { workload, identity, peer_list, flags }), peer_list)
    }

    fn flush_control(&mut self) {
        self.depths.retain(|_, count| *count != 0);
        let levels = self.depths.keys().filter(|depth| **depth <= MAX_DEPTH);
        let levels = levels.fold(0, |bits, depth| bits | 1 << depth);
        let mut flags = 0;
        if self.settings.audit_all {
            flags |= ControlSlot::AUDIT_ALL;
        }
        if self.settings.answers {
            flags |= ControlSlot::ANSWERS;
        }
        if !self.tables.prefixes.is_empty() {
            flags |= ControlSlot::HAS_PREFIXES;
        }
        if !self.tables.services.is_empty() {
            flags |= ControlSlot::HAS_SERVICES;
        }
        let control = ControlSlot { cgroup_depths: depths(levels), flags, ..ControlSlot::ZERO };
        if control != self.tables.control {
            self.record.control.get_or_insert(self.tables.control);
            self.tables.control = control;
        }
    }
}

/// The identity of addresses with these groups and no workload.
fn network_identity(peer_list: u32) -> u32 {
    if peer_list == EMPTY { IDENTITY_WORLD } else { 0x0100_0000 | (peer_list & 0x00ff_ffff) }
}
