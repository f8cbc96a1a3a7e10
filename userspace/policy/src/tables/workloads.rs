//! Changed namespaces, workloads and addresses of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use windrose_abi::rules::NAMES_PER_PORT;
use windrose_abi::{PortKey, PortSlot};

use crate::model::{Labels, Model, Namespace, Workload};

use super::differences::{differences, shared_differences};
use super::error::{CompileError, MAX_DEPTH, MAX_PATH_BYTES};
use super::names::IdentityKey;
use super::prefix::bits;
use super::{Compiler, Placed, Settings};

impl Compiler {
    pub(super) fn update_hosts(&mut self, before: &Settings) {
        let set = |settings: &Settings| -> BTreeSet<u128> {
            settings.host_addresses.iter().map(|address| bits(address.to_canonical())).collect()
        };
        let (before, after) = (set(before), set(&self.settings));
        for address in before.symmetric_difference(&after) {
            self.addresses.change(*address, |known| known.is_host = after.contains(address));
        }
    }

    /// Names carry no labels of their own: a namespace without workloads leaves no trace.
    pub(super) fn update_namespaces(&mut self, before: &Model, after: &Model) {
        let is_same = |old: &Namespace, new: &Namespace| old.audit == new.audit && old.labels == new.labels;
        // Namespaces do not carry their name, so that no two are known to be one.
        for (name, old, new) in differences(&before.namespaces, &after.namespaces, |_, _| false, is_same) {
            let labels =
                |namespace: Option<&Namespace>| namespace.map(|namespace| Arc::clone(&namespace.labels));
            let (from, to) = (labels(old), labels(new));
            if from != to {
                self.members.relabel(name, to.as_ref());
            }
            for identity in self.members.of_namespace(name) {
                if let Some(identity) = self.members.identity(identity) {
                    self.dirty_workloads.extend(&identity.workloads);
                }
            }
        }
    }

    pub(super) fn update_workloads(&mut self, before: &Model, after: &Model) {
        let differences = shared_differences(&before.workloads, &after.workloads);
        // All that goes goes first: an address or a cgroup may move to another workload.
        let mut released = Vec::new();
        for (_, old, _) in &differences {
            if let Some(old) = old {
                released.extend(self.remove_workload(old));
            }
        }
        for (_, _, new) in differences {
            if let Some(new) = new {
                self.add_workload(new);
            }
        }
        // After the new ones, so that a changed workload is never out of use.
        for (number, placed) in released {
            self.names.workloads.release(number);
            self.names.identities.release(placed.identity);
            self.names.namespaces.release(placed.namespace);
            for name in placed.names {
                self.names.ports.release(name);
            }
        }
    }

    fn remove_workload(&mut self, workload: &Workload) -> Option<(u32, Placed)> {
        let number = self.names.workloads.number(&workload.name)?;
        let placed = self.placed.remove(&number)?;
        self.members.detach(placed.identity, number);
        self.dirty_workloads.insert(number);
        for address in &workload.addresses {
            self.addresses.change(bits(*address), |known| known.workload = 0);
        }
        for key in ports(workload, number).into_keys() {
            self.record.port_names.set(&mut self.tables.port_names, key, None);
        }
        if let Some(path) = &workload.cgroup {
            self.record.cgroups.set(&mut self.tables.cgroups, path.clone(), None);
            if let Some(count) = self.depths.get_mut(&depth(path)) {
                *count = count.saturating_sub(1);
            }
        }
        Some((number, placed))
    }

    fn add_workload(&mut self, workload: &Arc<Workload>) {
        let name = &workload.name;
        // 2^32 workloads do not fit into memory.
        let number = self.names.workloads.acquire(name).unwrap_or_default();
        let namespace = self.names.namespaces.acquire(&name.namespace).unwrap_or_default();
        let key = IdentityKey { namespace: name.namespace.clone(), labels: workload.labels.clone() };
        let identity = self.names.identities.acquire(&key).unwrap_or_default();
        let labels: Option<Arc<Labels>> =
            self.model.namespaces.get(&name.namespace).map(|namespace| Arc::clone(&namespace.labels));
        self.members.attach(identity, &key, labels, number);
        self.dirty_workloads.insert(number);
        for address in &workload.addresses {
            self.addresses.change(bits(*address), |known| known.workload = number);
        }
        let names = self.add_ports(workload, number);
        if let Some(path) = &workload.cgroup {
            self.check_cgroup(workload, path);
            self.record.cgroups.set(&mut self.tables.cgroups, path.clone(), Some(number));
            *self.depths.entry(depth(path)).or_default() += 1;
        }
        self.placed.insert(number, Placed { workload: Arc::clone(workload), identity, namespace, names });
    }

    fn add_ports(&mut self, workload: &Workload, number: u32) -> Vec<u32> {
        let mut used = Vec::new();
        for (key, names) in ports(workload, number) {
            if names.len() > NAMES_PER_PORT {
                self.errors.push(CompileError::too_many_names(workload, key.port, names.len()));
            }
            let mut slot = PortSlot::ZERO;
            let mut numbers: Vec<u32> = Vec::new();
            for name in names.into_iter().take(NAMES_PER_PORT) {
                match self.names.ports.acquire(&name.to_owned()) {
                    Some(number) => numbers.push(number),
                    None => self.errors.push(CompileError::too_many_port_names(&workload.place)),
                }
            }
            numbers.sort_unstable();
            for (place, number) in slot.names.iter_mut().zip(&numbers) {
                *place = u16::try_from(*number).unwrap_or_default();
            }
            used.extend(numbers);
            self.record.port_names.set(&mut self.tables.port_names, key, Some(slot));
        }
        used
    }

    fn check_cgroup(&mut self, workload: &Workload, path: &str) {
        if depth(path) > MAX_DEPTH {
            self.errors.push(CompileError::too_deep(workload, depth(path)));
        }
        if path.len() > MAX_PATH_BYTES {
            self.errors.push(CompileError::too_long(workload, path.len()));
        }
    }
}

fn depth(path: &str) -> usize {
    path.split('/').count()
}

/// The names of each port of a workload, without duplicates.
fn ports(workload: &Workload, number: u32) -> BTreeMap<PortKey, BTreeSet<&str>> {
    let mut ports: BTreeMap<PortKey, BTreeSet<&str>> = BTreeMap::new();
    for port in &workload.ports {
        let key =
            PortKey { workload: number, port: port.port, protocol: port.protocol.number(), reserved: 0 };
        ports.entry(key).or_default().insert(&port.name);
    }
    ports
}
