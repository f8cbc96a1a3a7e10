//! Random edits of a model, which stays one that could have been read from files.

use std::collections::BTreeSet;
use std::sync::Arc;

use windrose_policy::model::{Model, NamedPort, Protocol};

use super::generate::{self, Rng};

/// A model that differs from `before` in a few objects; those of another random model are the
/// source of what is new. Now and then an object is merely written anew, or elsewhere.
pub(crate) fn edit(before: &Model, rng: &mut Rng) -> Model {
    let mut model = before.clone();
    let other = generate::model(rng.below(u64::MAX >> 32));
    for _ in 0..=rng.below(3) {
        edit_once(&mut model, &other, rng);
    }
    make_unique(&mut model);
    model
}

fn edit_once(model: &mut Model, other: &Model, rng: &mut Rng) {
    match rng.below(14) {
        0 => {
            for (name, namespace) in &other.namespaces {
                if rng.chance(40) {
                    model.namespaces.insert(name.clone(), namespace.clone());
                }
            }
        }
        1 => take_one(&mut model.workloads, &other.workloads, rng),
        2 => drop_one(&mut model.workloads, rng),
        3 => take_one(&mut model.network_policies, &other.network_policies, rng),
        4 => drop_one(&mut model.network_policies, rng),
        5 => take_one(&mut model.cluster_policies, &other.cluster_policies, rng),
        6 => drop_one(&mut model.cluster_policies, rng),
        7 => {
            // Read again, further down: nothing is pointer-equal, and every place is another.
            for policy in model.network_policies.values_mut() {
                let policy = Arc::make_mut(policy);
                policy.place.line += 7;
                for rule in policy.ingress.iter_mut().chain(&mut policy.egress).flatten() {
                    rule.place.line += 7;
                }
            }
        }
        8 => {
            if let Some(policy) = pick(&mut model.network_policies, rng) {
                let policy = Arc::make_mut(policy);
                policy.audit = !policy.audit;
                for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
                    rules.reverse();
                }
            }
        }
        9 => take_one(&mut model.services, &other.services, rng),
        10 => drop_one(&mut model.services, rng),
        11 => {
            if let Some(service) = pick(&mut model.services, rng) {
                let service = Arc::make_mut(service);
                for port in &mut service.ports {
                    if let Some(endpoint) = port.endpoints.first_mut() {
                        endpoint.is_ready = !endpoint.is_ready;
                    }
                    if rng.chance(50) {
                        port.endpoints.pop();
                    }
                }
            }
        }
        _ => {
            if let Some(policy) = pick(&mut model.cluster_policies, rng) {
                let policy = Arc::make_mut(policy);
                policy.priority = [0, 10, 1000][rng.index(3)];
                policy.ingress.reverse();
            }
        }
    }
}

fn pick<'a, K, V>(objects: &'a mut std::collections::BTreeMap<K, V>, rng: &mut Rng) -> Option<&'a mut V> {
    let count = objects.len();
    if count == 0 { None } else { objects.values_mut().nth(rng.index(count)) }
}

fn take_one<K: Ord + Clone, V: Clone>(
    objects: &mut std::collections::BTreeMap<K, V>,
    others: &std::collections::BTreeMap<K, V>,
    rng: &mut Rng,
) {
    if !others.is_empty() {
        let other = others.iter().nth(rng.index(others.len()));
        objects.extend(other.map(|(key, value)| (key.clone(), value.clone())));
    }
}

fn drop_one<K: Ord + Clone, V>(objects: &mut std::collections::BTreeMap<K, V>, rng: &mut Rng) {
    // A model without workloads has no flows to try.
    if objects.len() > 1 {
        let key = objects.keys().nth(rng.index(objects.len())).cloned();
        objects.remove(&key.unwrap());
    }
}

/// No address is that of two workloads, or of two services.
fn make_unique(model: &mut Model) {
    let mut taken = BTreeSet::new();
    model.services.retain(|_, service| service.addresses.iter().all(|address| taken.insert(*address)));
    for workload in model.workloads.values_mut() {
        let mut kept = workload.addresses.clone();
        kept.retain(|address| taken.insert(*address));
        if kept.len() != workload.addresses.len() {
            Arc::make_mut(workload).addresses = kept;
        }
    }
}

/// A model that the tables cannot hold.
pub(crate) fn break_limit(before: &Model, rng: &mut Rng) -> Model {
    let mut model = before.clone();
    let Some(workload) = pick(&mut model.workloads, rng) else { return model };
    let workload = Arc::make_mut(workload);
    match rng.below(3) {
        0 => workload.cgroup = Some("a/".repeat(12) + "b"),
        1 => workload.cgroup = Some("a".repeat(255)),
        _ => {
            let port = |n| NamedPort { name: format!("name-{n}"), port: 80, protocol: Protocol::Tcp };
            workload.ports = (0..5).map(port).collect();
        }
    }
    model
}
