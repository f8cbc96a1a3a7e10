//! Objects to the model: names are bound, and what must be unique is.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::IpAddr;
use std::sync::Arc;

use crate::document::{NAMESPACE_LABEL, NamespaceObject, Object, WorkloadObject};
use crate::fault::{Faults, quoted};
use crate::model::{ClusterPolicy, Labels, Model, Namespace, NetworkPolicy, ObjectName};
use crate::place::Place;

mod services;

use services::Pending;

/// Builds the model. Objects with a fault are left out of it.
pub(crate) fn bind<'o>(objects: impl Iterator<Item = &'o Object>, faults: &mut Faults) -> Model {
    let mut binder = Binder {
        faults,
        model: Model::default(),
        addresses: HashMap::new(),
        cgroups: HashMap::new(),
        pending: Pending::default(),
    };
    for object in objects {
        match object {
            Object::Namespace(namespace) => binder.namespace(namespace),
            Object::Workload(workload) => binder.workload(workload),
            Object::Service(service) => binder.service(service),
            Object::Slice(slice) => binder.slice(slice),
            Object::NetworkPolicy(policy) => binder.network_policy(policy),
            Object::ClusterPolicy(policy) => binder.cluster_policy(policy),
        }
    }
    binder.services();
    binder.model
}

/// The model so far, and who has which address and cgroup.
struct Binder<'o, 'f> {
    faults: &'f mut Faults,
    model: Model,
    addresses: HashMap<IpAddr, (ObjectName, Place)>,
    cgroups: HashMap<String, (ObjectName, Place)>,
    pending: Pending<'o>,
}

impl Binder<'_, '_> {
    fn namespace(&mut self, object: &NamespaceObject) {
        let namespace = Namespace {
            labels: object.labels.clone(),
            audit: object.audit,
            place: Some(object.place.clone()),
        };
        match self.model.namespaces.entry(object.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(namespace);
            }
            // So far it was only used.
            Entry::Occupied(mut entry) if entry.get().place.is_none() => {
                entry.insert(namespace);
            }
            Entry::Occupied(entry) => {
                if let Some(first) = &entry.get().place {
                    let message = duplicate("Namespace", entry.key(), first);
                    self.faults.error(object.place.clone(), message);
                }
            }
        }
    }

    fn workload(&mut self, object: &WorkloadObject) {
        let WorkloadObject { workload, cgroup_place, address_places } = object;
        self.use_namespace(&workload.name.namespace);
        if let Some(first) = self.model.workloads.get(&workload.name) {
            let message = duplicate("Workload", &show(&workload.name), &first.place);
            self.faults.error(workload.place.clone(), message);
            return;
        }
        for (address, place) in workload.addresses.iter().zip(address_places) {
            if let Some((owner, first)) = self.addresses.get(address) {
                let message = if *owner == workload.name {
                    format!("address `{address}` is here twice, first at {first}")
                } else {
                    format!("address `{address}` is already that of workload {}, at {first}", show(owner))
                };
                self.faults.error(place.clone(), message);
            } else {
                self.addresses.insert(*address, (workload.name.clone(), place.clone()));
            }
        }
        if let (Some(cgroup), Some(place)) = (&workload.cgroup, cgroup_place) {
            if let Some((owner, first)) = self.cgroups.get(cgroup) {
                let message = format!(
                    "cgroup {} is already that of workload {}, at {first}",
                    quoted(cgroup),
                    show(owner)
                );
                self.faults.error(place.clone(), message);
            } else {
                self.cgroups.insert(cgroup.clone(), (workload.name.clone(), place.clone()));
            }
        }
        self.model.workloads.insert(workload.name.clone(), workload.clone());
    }

    fn network_policy(&mut self, policy: &Arc<NetworkPolicy>) {
        self.use_namespace(&policy.name.namespace);
        if let Some(first) = self.model.network_policies.get(&policy.name) {
            let message = duplicate("NetworkPolicy", &show(&policy.name), &first.place);
            self.faults.error(policy.place.clone(), message);
            return;
        }
        self.model.network_policies.insert(policy.name.clone(), policy.clone());
    }

    fn cluster_policy(&mut self, policy: &Arc<ClusterPolicy>) {
        if let Some(first) = self.model.cluster_policies.get(&policy.name) {
            let message = duplicate("ClusterNetworkPolicy", &policy.name, &first.place);
            self.faults.error(policy.place.clone(), message);
            return;
        }
        self.model.cluster_policies.insert(policy.name.clone(), policy.clone());
    }

    /// A namespace that no document describes exists with its name's label alone.
    fn use_namespace(&mut self, name: &str) {
        if !self.model.namespaces.contains_key(name) {
            let labels: Labels = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), name.to_owned())]);
            let namespace = Namespace { labels: Arc::new(labels), audit: false, place: None };
            self.model.namespaces.insert(name.to_owned(), namespace);
        }
    }
}

fn duplicate(kind: &str, name: &str, first: &Place) -> String {
    format!("{kind} {name} is defined twice, first at {first}")
}

fn show(name: &ObjectName) -> String {
    format!("{}/{}", name.namespace, name.name)
}
