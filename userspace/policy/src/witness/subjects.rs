//! Who is decided about: workloads that the same policies select.
//!
//! Found by an index of the policies' selectors that has nothing to do with the compiler's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Direction, ObjectName, Protocol, Requirement, Selector, Workload};

use super::census::{Census, Home, Kind};
use super::rules::{Body, Policy};

/// Workloads of which one direction is decided by the same policies.
#[derive(Debug)]
pub(crate) struct Subject<'m> {
    pub(crate) direction: Direction,
    /// By number, in the order of the list they came from.
    pub(crate) policies: Vec<usize>,
    pub(crate) workloads: Vec<&'m Arc<Workload>>,
    /// The last load changed them, or a policy of theirs.
    pub(crate) is_changed: bool,
}

/// What must be the same for workloads to be one subject.
#[derive(PartialEq, Eq, Hash)]
struct Key<'m> {
    direction: Direction,
    policies: Vec<usize>,
    is_audit: bool,
    is_changed: bool,
    /// Where a rule asks for a port by name.
    ports: Vec<(&'m str, u16, Protocol)>,
}

/// Finds the policies that may select a workload.
struct Index<'m, 'p> {
    policies: &'p [Policy<'m>],
    /// Network policies by namespace and a label that their selector asks for.
    labelled: HashMap<(&'m str, &'m str, &'m str), Vec<usize>>,
    /// Network policies of a namespace whose selector asks for none.
    others: HashMap<&'m str, Vec<usize>>,
    cluster: Vec<usize>,
    /// Cluster policies whose subject is in a namespace.
    of_namespaces: HashMap<&'m str, Vec<usize>>,
}

impl<'m, 'p> Index<'m, 'p> {
    fn new(policies: &'p [Policy<'m>]) -> Self {
        let mut index = Self {
            policies,
            labelled: HashMap::new(),
            others: HashMap::new(),
            cluster: Vec::new(),
            of_namespaces: HashMap::new(),
        };
        for (number, policy) in policies.iter().enumerate() {
            let Body::Network(network) = policy.body else {
                index.cluster.push(number);
                continue;
            };
            let namespace = network.name.namespace.as_str();
            match asked(&network.pod_selector) {
                Some((key, values)) => {
                    for value in values {
                        index.labelled.entry((namespace, key, value)).or_default().push(number);
                    }
                }
                None => index.others.entry(namespace).or_default().push(number),
            }
        }
        index
    }

    /// The policies that select workloads of a kind, in order.
    fn selecting(&mut self, kind: &Kind<'m>, home: &Home<'m>) -> Vec<usize> {
        let policies = self.policies;
        let labels = kind.labels.iter();
        let by_label = labels.filter_map(|(key, value)| self.labelled.get(&(home.name, key, value)));
        let network = by_label.chain(self.others.get(home.name)).flatten().copied();
        let mut found: Vec<usize> = network
            .filter(|number| match policies[*number].body {
                Body::Network(policy) => policy.pod_selector.matches(kind.labels),
                Body::Cluster(_) => false,
            })
            .collect();
        let cluster = &self.cluster;
        let of_namespace = self.of_namespaces.entry(home.name).or_insert_with(|| {
            let selects = |number: &usize| match policies[*number].body {
                Body::Network(_) => false,
                Body::Cluster(policy) => {
                    home.labels.is_some_and(|labels| policy.subject.namespaces.matches(labels))
                }
            };
            cluster.iter().copied().filter(selects).collect()
        });
        found.extend(of_namespace.iter().copied().filter(|number| match policies[*number].body {
            Body::Network(_) => false,
            Body::Cluster(policy) => policy.subject.pods.matches(kind.labels),
        }));
        found.sort_unstable();
        found
    }
}

/// A label of which a selector wants one of some values.
fn asked(selector: &Selector) -> Option<(&str, &Vec<String>)> {
    selector.requirements.iter().find_map(|requirement| match requirement {
        Requirement::In(key, values) => Some((key.as_str(), values)),
        Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => None,
    })
}

/// Every subject of both directions. `is_changed` knows workloads that the last load changed.
pub(crate) fn subjects<'m>(
    census: &Census<'m>,
    policies: &[Policy<'m>],
    is_changed: impl Fn(&ObjectName) -> bool,
) -> Vec<Subject<'m>> {
    let mut index = Index::new(policies);
    let mut known: HashMap<Key<'m>, usize> = HashMap::new();
    let mut subjects: Vec<Subject<'m>> = Vec::new();
    for kind in &census.kinds {
        if !kind.workloads.iter().any(|workload| is_decided(workload)) {
            continue;
        }
        let home = census.home(kind);
        let selecting = index.selecting(kind, home);
        for direction in [Direction::Ingress, Direction::Egress] {
            let concerned: Vec<usize> = selecting
                .iter()
                .copied()
                .filter(|number| policies[*number].body.concerns(direction))
                .collect();
            let has_names = direction == Direction::Ingress
                && concerned.iter().any(|number| policies[*number].has_ingress_names);
            let is_touched =
                concerned.iter().any(|number| policies[*number].is_changed || policies[*number].is_gone);
            for workload in kind.workloads.iter().filter(|workload| is_decided(workload)) {
                let ports = if has_names { &*workload.ports } else { &[] };
                let key = Key {
                    direction,
                    policies: concerned.clone(),
                    is_audit: home.is_audit,
                    is_changed: is_touched || is_changed(&workload.name),
                    ports: ports.iter().map(|port| (port.name.as_str(), port.port, port.protocol)).collect(),
                };
                let number = *known.entry(key).or_insert_with_key(|key| {
                    subjects.push(Subject {
                        direction,
                        policies: key.policies.clone(),
                        workloads: Vec::new(),
                        is_changed: key.is_changed,
                    });
                    subjects.len() - 1
                });
                subjects[number].workloads.push(workload);
            }
        }
    }
    subjects
}

/// The kernel decides for what runs here, and never for remote workloads.
fn is_decided(workload: &Workload) -> bool {
    workload.cgroup.is_some()
}
