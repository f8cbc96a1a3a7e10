//! The model without what cannot concern one flow, so that the reference is fast enough to be asked
//! often.
//!
//! Left out are policies that do not select the subject, or that select it, do not name the peer,
//! and are not the ones that its isolation would be named by: the reference skips them too. Who
//! names whom is found by an index of its own, with nothing of the compiler in it. If that index
//! were wrong, the narrow reference would contradict right tables; so nothing is refused before the
//! whole model has been asked.

use std::sync::Arc;

use crate::model::Model;
use crate::witness::{Body, Policy, Witness};

/// What of the model the flow of a witness can concern.
pub(super) fn narrow(model: &Model, policies: &[Policy<'_>], witness: &Witness<'_>) -> Model {
    let mut narrow = Model::default();
    for workload in [Some(witness.subject), witness.peer].into_iter().flatten() {
        if let Some((name, namespace)) = model.namespaces.get_key_value(&workload.name.namespace) {
            narrow.namespaces.insert(name.clone(), namespace.clone());
        }
        narrow.workloads.insert(workload.name.clone(), Arc::clone(workload));
    }
    for number in &witness.policies {
        match policies[*number] {
            Policy { is_gone: true, .. } => {}
            Policy { body: Body::Network(policy), .. } => {
                narrow.network_policies.insert(policy.name.clone(), Arc::clone(policy));
            }
            Policy { body: Body::Cluster(policy), .. } => {
                narrow.cluster_policies.insert(policy.name.clone(), Arc::clone(policy));
            }
        }
    }
    narrow
}
