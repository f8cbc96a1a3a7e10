//! What the agent publishes of the policy in force: an immutable whole, replaced on every reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrose_policy::model::Model;

use crate::book::Book;
use crate::compile::VerifiedView;
use crate::refused::FaultView;

/// The policy in force and how it came to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// What the policy means; empty while a former agent's pins enforce an unknown one.
    pub(crate) model: Arc<Model>,
    /// The names of its numbers.
    pub(crate) book: Arc<Book>,
    /// The addresses of this host.
    pub(crate) host_addresses: Arc<[IpAddr]>,
    /// The kernel's number of it; 0: none yet.
    pub(crate) generation: u64,
    /// Why this agent does not enforce what is on disk; `None` when ready.
    pub(crate) not_ready: Option<String>,
    /// How many of what.
    pub(crate) counts: Counts,
    /// The last time that policy was read, if it was.
    pub(crate) last_reload: Option<Reload>,
    /// Times that policy was read and put in force, the first included.
    pub(crate) reloads: u64,
    /// Times that it was refused.
    pub(crate) reload_failures: u64,
    /// How much of the tables in force was verified when they were compiled.
    pub(crate) verified: Option<VerifiedView>,
    /// How long the last policy in force took to read and compile.
    pub(crate) compile: Duration,
    /// How long its tables took to verify.
    pub(crate) verify: Duration,
    /// How long it took to write to the kernel.
    pub(crate) apply: Duration,
}

/// How many of what a policy has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Workloads, remote ones too.
    pub(crate) workloads: usize,
    /// Policies of both kinds.
    pub(crate) policies: usize,
    /// Their rules in both directions.
    pub(crate) rules: usize,
    /// Namespaces, described or used.
    pub(crate) namespaces: usize,
    /// Services with addresses.
    pub(crate) services: usize,
    /// Endpoints of their ports, draining ones too.
    pub(crate) endpoints: usize,
}

impl Counts {
    /// Of a model.
    pub(crate) fn of(model: &Model) -> Self {
        let network = model.network_policies.values().map(|policy| {
            policy.ingress.as_ref().map_or(0, Vec::len) + policy.egress.as_ref().map_or(0, Vec::len)
        });
        let cluster =
            model.cluster_policies.values().map(|policy| policy.ingress.len() + policy.egress.len());
        Self {
            workloads: model.workloads.len(),
            policies: model.network_policies.len() + model.cluster_policies.len(),
            rules: network.chain(cluster).sum(),
            namespaces: model.namespaces.len(),
            services: model.services.len(),
            endpoints: model
                .services
                .values()
                .flat_map(|service| &service.ports)
                .map(|port| port.endpoints.len())
                .sum(),
        }
    }
}

/// What became of reading the policy once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reload {
    /// When, RFC 3339.
    pub(crate) at: String,
    /// Whether it is in force.
    pub(crate) ok: bool,
    /// Why not; warnings, too.
    pub(crate) faults: Vec<FaultView>,
    /// Milliseconds to read and compile.
    pub(crate) compile_ms: u64,
    /// Milliseconds to verify the tables.
    pub(crate) verify_ms: u64,
    /// Milliseconds to write it to the kernel; 0 if it was not.
    pub(crate) apply_ms: u64,
    /// Live connections that were ended because it no longer allows them.
    pub(crate) ended_connections: usize,
}
