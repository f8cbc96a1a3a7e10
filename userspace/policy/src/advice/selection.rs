//! Whether a selector selects any workload: by an index of labels, and with a budget.

use std::collections::HashMap;

use crate::model::{Model, NamespacedSelector, Protocol, Requirement, Selector, Workload};

/// So many workloads are looked at in all. At some 30 ns each this bounds the advice to less
/// than 0.1 s; when it is spent, every selector is taken to select something.
const BUDGET: usize = 2_000_000;

/// Workloads by what selectors ask for.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    model: &'a Model,
    by_namespace: HashMap<&'a str, Vec<&'a Workload>>,
    /// By namespace, label key and value.
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Workload>>,
    by_port: HashMap<&'a str, Vec<(Protocol, &'a Workload)>>,
    /// Questions answered before; policies with the same selector are common.
    known: HashMap<(String, Selector), bool>,
    budget: usize,
}

impl<'a> Selection<'a> {
    /// Indexes the workloads of a model.
    pub(super) fn new(model: &'a Model) -> Self {
        let mut selection = Self {
            model,
            by_namespace: HashMap::new(),
            by_label: HashMap::new(),
            by_port: HashMap::new(),
            known: HashMap::new(),
            budget: BUDGET,
        };
        for workload in model.workloads.values() {
            let namespace = workload.name.namespace.as_str();
            selection.by_namespace.entry(namespace).or_default().push(workload);
            for (key, value) in &workload.labels {
                selection.by_label.entry((namespace, key, value)).or_default().push(workload);
            }
            for port in &workload.ports {
                selection.by_port.entry(&port.name).or_default().push((port.protocol, workload));
            }
        }
        selection
    }

    /// Whether it certainly selects no workload of the namespace.
    pub(super) fn is_empty_in(&mut self, namespace: &str, pods: &Selector) -> bool {
        let Some(workloads) = self.by_namespace.get(namespace) else { return true };
        if pods.requirements.is_empty() {
            return false;
        }
        // A label that must have a value narrows the search to the few that have it.
        for requirement in &pods.requirements {
            let Requirement::In(key, values) = requirement else { continue };
            return !values.iter().any(|value| {
                let some = self.by_label.get(&(namespace, key.as_str(), value.as_str()));
                any(some.map_or(&[], Vec::as_slice), &mut self.budget, |workload| {
                    pods.matches(&workload.labels)
                })
            });
        }
        let question = (namespace.to_owned(), pods.clone());
        if let Some(&answer) = self.known.get(&question) {
            return answer;
        }
        let answer = !any(workloads, &mut self.budget, |workload| pods.matches(&workload.labels));
        self.known.insert(question, answer);
        answer
    }

    /// Whether it certainly selects no workload at all.
    pub(super) fn is_empty(&mut self, selector: &NamespacedSelector) -> bool {
        let model = self.model;
        !model.namespaces.iter().any(|(name, namespace)| {
            let Some(left) = self.budget.checked_sub(1) else { return true };
            self.budget = left;
            selector.namespaces.matches(&namespace.labels) && !self.is_empty_in(name, &selector.pods)
        })
    }

    /// Whether a workload that is in reach has a port of this name and protocol.
    pub(super) fn defines(
        &mut self,
        protocol: Option<Protocol>,
        name: &str,
        is_in_reach: impl Fn(&Model, &Workload) -> bool,
    ) -> bool {
        let some = self.by_port.get(name).map_or(&[][..], Vec::as_slice);
        any(some, &mut self.budget, |&(of, workload)| {
            protocol.is_none_or(|protocol| protocol == of) && is_in_reach(self.model, workload)
        })
    }
}

/// Whether one of them is such; also when the budget ends before that is known.
fn any<T: Copy>(some: &[T], budget: &mut usize, is_such: impl Fn(&T) -> bool) -> bool {
    for one in some {
        let Some(left) = budget.checked_sub(1) else { return true };
        *budget = left;
        if is_such(one) {
            return true;
        }
    }
    false
}

/// Whether the selector selects this workload.
pub(super) fn selects(model: &Model, selector: &NamespacedSelector, workload: &Workload) -> bool {
    is_in(model, &selector.namespaces, workload) && selector.pods.matches(&workload.labels)
}

/// Whether the workload is in a namespace that this selects.
pub(super) fn is_in(model: &Model, namespaces: &Selector, workload: &Workload) -> bool {
    model
        .namespaces
        .get(&workload.name.namespace)
        .is_some_and(|namespace| namespaces.matches(&namespace.labels))
}
