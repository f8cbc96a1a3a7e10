//! What a load changed: where one looks first.
//!
//! Told by the identity of objects, and not by what the compiler took for a difference.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Direction, Model, ObjectName};
use crate::tables::Settings;

use super::rules::{Body, Form, Policy, ends};

/// The difference of two loads.
#[derive(Debug)]
pub(super) struct Changed<'m> {
    /// Those of this load, then those of the last one that are no more or were others.
    pub(super) policies: Vec<Policy<'m>>,
    /// Addresses of changed workloads and of the host, and edges of changed blocks.
    pub(super) addresses: HashSet<IpAddr>,
    /// New or other workloads; `None`: every one.
    workloads: Option<HashSet<&'m ObjectName>>,
    namespaces: HashSet<&'m str>,
}

impl<'m> Changed<'m> {
    /// From nothing to this model.
    pub(super) fn all(model: &'m Model) -> Self {
        let network = model.network_policies.values().map(Body::Network);
        let bodies = network.chain(model.cluster_policies.values().map(Body::Cluster));
        Self {
            policies: bodies.map(|body| Policy::new(body, false, true)).collect(),
            addresses: HashSet::new(),
            workloads: None,
            namespaces: HashSet::new(),
        }
    }

    /// From one model to another.
    pub(super) fn between(
        (before, settings_before): (&'m Model, &Settings),
        (model, settings): (&'m Model, &Settings),
    ) -> Self {
        let mut policies = Vec::new();
        let mut gone = Vec::new();
        compare(&before.network_policies, &model.network_policies, Body::Network, &mut policies, &mut gone);
        compare(&before.cluster_policies, &model.cluster_policies, Body::Cluster, &mut policies, &mut gone);
        policies.append(&mut gone);
        let mut addresses = HashSet::new();
        for policy in policies.iter().filter(|policy| policy.is_changed || policy.is_gone) {
            for direction in [Direction::Ingress, Direction::Egress] {
                let statements = policy.body.statements(direction);
                for form in statements.into_iter().filter_map(|statement| statement.forms).flatten() {
                    if let Form::Block { cidr, .. } = form {
                        let ends = ends(cidr);
                        addresses.extend([ends.0.to_canonical(), ends.1.to_canonical()]);
                    }
                }
            }
        }
        let hosts = |settings: &Settings| -> HashSet<IpAddr> {
            settings.host_addresses.iter().map(|address| address.to_canonical()).collect()
        };
        addresses.extend(hosts(settings_before).symmetric_difference(&hosts(settings)));
        let namespaces: HashSet<&str> = model
            .namespaces
            .iter()
            .filter(|(name, namespace)| before.namespaces.get(*name) != Some(*namespace))
            .map(|(name, _)| name.as_str())
            .collect();
        let mut workloads = HashSet::new();
        for (name, workload) in &model.workloads {
            let last = before.workloads.get(name);
            if last.is_some_and(|last| Arc::ptr_eq(last, workload)) && !namespaces.contains(&*name.namespace)
            {
                continue;
            }
            workloads.insert(name);
            addresses.extend(workload.addresses.iter().chain(last.iter().flat_map(|last| &last.addresses)));
        }
        let lost = before.workloads.iter().filter(|(name, _)| !model.workloads.contains_key(*name));
        addresses.extend(lost.flat_map(|(_, workload)| &workload.addresses));
        Self { policies, addresses, workloads: Some(workloads), namespaces }
    }

    /// Whether a workload, or its namespace, is another one than before.
    pub(super) fn has(&self, workload: &ObjectName) -> bool {
        self.workloads.as_ref().is_none_or(|changed| changed.contains(workload))
            || self.namespaces.contains(workload.namespace.as_str())
    }
}

fn compare<'m, K: Ord, V>(
    before: &'m BTreeMap<K, Arc<V>>,
    after: &'m BTreeMap<K, Arc<V>>,
    body: impl Fn(&'m Arc<V>) -> Body<'m>,
    policies: &mut Vec<Policy<'m>>,
    gone: &mut Vec<Policy<'m>>,
) {
    for (name, policy) in after {
        let is_same = before.get(name).is_some_and(|last| Arc::ptr_eq(last, policy));
        policies.push(Policy::new(body(policy), false, !is_same));
    }
    for (name, last) in before {
        if after.get(name).is_none_or(|policy| !Arc::ptr_eq(policy, last)) {
            gone.push(Policy::new(body(last), true, false));
        }
    }
}
