//! What a load changed: where one looks first.
//!
//! Told by the identity of objects, and not by what the compiler took for a difference.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Model, ObjectName, Workload};
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
            policy.body.each_form(|form| {
                if let Form::Block { cidr, .. } = form {
                    let ends = ends(cidr);
                    addresses.extend([ends.0.to_canonical(), ends.1.to_canonical()]);
                }
            });
        }
        let hosts = |settings: &Settings| -> HashSet<IpAddr> {
            settings.host_addresses.iter().map(IpAddr::to_canonical).collect()
        };
        addresses.extend(hosts(settings_before).symmetric_difference(&hosts(settings)));
        let namespaces: HashSet<&str> = model
            .namespaces
            .iter()
            .filter(|(name, namespace)| before.namespaces.get(*name) != Some(*namespace))
            .map(|(name, _)| name.as_str())
            .collect();
        let mut workloads = HashSet::new();
        each(&before.workloads, &model.workloads, |last, workload| {
            let of = |workload: Option<&'m Arc<Workload>>| workload.into_iter().flat_map(|it| &it.addresses);
            addresses.extend(of(last).chain(of(workload)));
            workloads.extend(workload.map(|workload| &workload.name));
        });
        for (name, workload) in model.workloads.iter().filter(|_| !namespaces.is_empty()) {
            if namespaces.contains(name.namespace.as_str()) {
                addresses.extend(&workload.addresses);
            }
        }
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
    let mut changed = HashSet::new();
    each(before, after, |last, policy| {
        gone.extend(last.map(|last| Policy::new(body(last), true, false)));
        changed.extend(policy.map(Arc::as_ptr));
    });
    let policy = |policy| Policy::new(body(policy), false, changed.contains(&Arc::as_ptr(policy)));
    policies.extend(after.values().map(policy));
}

/// Shows every object that is not the very same in both: before, and after.
fn each<'m, K: Ord, V>(
    before: &'m BTreeMap<K, Arc<V>>,
    after: &'m BTreeMap<K, Arc<V>>,
    mut show: impl FnMut(Option<&'m Arc<V>>, Option<&'m Arc<V>>),
) {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // One object has one name.
            (Some((_, last)), Some((_, next))) if Arc::ptr_eq(last, next) => {
                old.next();
                new.next();
                continue;
            }
            (Some((last, _)), Some((next, _))) => last.cmp(next),
        };
        let last = if order == Ordering::Greater { None } else { old.next() };
        let next = if order == Ordering::Less { None } else { new.next() };
        show(last.map(|(_, object)| object), next.map(|(_, object)| object));
    }
}
