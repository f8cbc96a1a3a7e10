//! Warnings about a valid model: what it says is clear, and perhaps not what was meant.
//!
//! At most one warning of a sort for each rule, and a bounded amount of work: a question whose
//! answer would cost more is not asked. Advice may be missing, a policy may not wait.

use crate::fault::{Faults, quoted};
use crate::model::{
    Cidr, ClusterPeer, ClusterPeers, ClusterPolicy, ClusterRule, Direction, Model, NetworkPeer,
    NetworkPolicy, NetworkRule, ObjectName, PortMatch, Protocol, Tier, Workload,
};
use crate::place::Place;

mod blocks;
mod contradiction;
mod selection;
mod services;

use blocks::Blocks;
use contradiction::contradiction;
use selection::Selection;

#[cfg(test)]
mod tests;

/// Records what the author of the policies should know.
pub(crate) fn advise(model: &Model, faults: &mut Faults) {
    let mut advisor = Advisor { model, blocks: Blocks::new(model), selection: Selection::new(model), faults };
    for policy in model.network_policies.values() {
        if advisor.faults.is_full_of_warnings() {
            return;
        }
        advisor.network_policy(policy);
    }
    for policy in model.cluster_policies.values() {
        advisor.cluster_policy(policy);
    }
    advisor.equal_priorities();
    services::advise(model, faults);
}

/// The model with its indices, and where warnings go.
struct Advisor<'a> {
    model: &'a Model,
    blocks: Blocks<'a>,
    selection: Selection<'a>,
    faults: &'a mut Faults,
}

impl Advisor<'_> {
    fn network_policy(&mut self, policy: &NetworkPolicy) {
        let namespace = &policy.name.namespace;
        if self.selection.is_empty_in(namespace, &policy.pod_selector) {
            let message = format!("podSelector selects no workload of namespace {}", quoted(namespace));
            self.faults.warn(policy.place.clone(), message);
        }
        for rule in policy.ingress.iter().flatten() {
            self.network_rule(policy, rule, Direction::Ingress);
        }
        for rule in policy.egress.iter().flatten() {
            self.network_rule(policy, rule, Direction::Egress);
        }
    }

    fn network_rule(&mut self, policy: &NetworkPolicy, rule: &NetworkRule, direction: Direction) {
        let peers = rule.peers.as_deref().unwrap_or_default();
        let ports = rule.ports.as_deref().unwrap_or_default();
        // Point 7.
        let covered = peers.iter().find_map(|peer| match peer {
            NetworkPeer::Block(block) => {
                self.blocks.covered(&block.cidr, &block.except).map(|found| (block.cidr, found))
            }
            NetworkPeer::Workloads { .. } => None,
        });
        if let Some((cidr, workload)) = covered {
            self.warn_of_cover(&rule.place, "ipBlock", cidr, workload);
        }
        let contradicted = peers.iter().find_map(|peer| match peer {
            NetworkPeer::Workloads { namespaces, pods } => {
                contradiction(pods).or_else(|| namespaces.as_ref().and_then(contradiction))
            }
            NetworkPeer::Block(_) => None,
        });
        if let Some(label) = contradicted {
            self.warn_of_contradiction(&rule.place, label);
        }
        let is_blocks_only =
            !peers.is_empty() && peers.iter().all(|peer| matches!(peer, NetworkPeer::Block(_)));
        if direction == Direction::Egress && is_blocks_only && all_named(ports) {
            self.warn_of_names_of_blocks(&rule.place);
            return;
        }
        let unknown = names(ports).find(|&(protocol, name)| {
            !self.selection.defines(protocol, name, |model, workload| match direction {
                Direction::Ingress => {
                    workload.name.namespace == policy.name.namespace
                        && policy.pod_selector.matches(&workload.labels)
                }
                Direction::Egress => {
                    peers.is_empty() || peers.iter().any(|peer| is_peer(model, policy, peer, workload))
                }
            })
        });
        if let Some((protocol, name)) = unknown {
            self.warn_of_name(&rule.place, protocol, name, direction);
        }
    }

    fn cluster_policy(&mut self, policy: &ClusterPolicy) {
        if self.selection.is_empty(&policy.subject) {
            self.faults.warn(policy.place.clone(), "subject selects no workload");
        }
        if policy.ingress.is_empty() && policy.egress.is_empty() {
            self.faults.warn(policy.place.clone(), "this policy has no rules and so no effect");
        }
        for rule in &policy.ingress {
            self.cluster_rule(policy, rule, Direction::Ingress);
        }
        for rule in &policy.egress {
            self.cluster_rule(policy, rule, Direction::Egress);
        }
    }

    fn cluster_rule(&mut self, policy: &ClusterPolicy, rule: &ClusterRule, direction: Direction) {
        let ClusterPeers::Known(peers) = &rule.peers else { return };
        let ports = rule.protocols.as_deref().unwrap_or_default();
        // Point 7, of the other kind.
        let covered = peers.iter().find_map(|peer| match peer {
            ClusterPeer::Networks(networks) => {
                networks.iter().find_map(|cidr| self.blocks.covered(cidr, &[]).map(|found| (*cidr, found)))
            }
            ClusterPeer::Workloads(_) => None,
        });
        if let Some((cidr, workload)) = covered {
            self.warn_of_cover(&rule.place, "network", cidr, workload);
        }
        let contradicted = peers.iter().find_map(|peer| match peer {
            ClusterPeer::Workloads(selector) => {
                contradiction(&selector.pods).or_else(|| contradiction(&selector.namespaces))
            }
            ClusterPeer::Networks(_) => None,
        });
        if let Some(label) = contradicted {
            self.warn_of_contradiction(&rule.place, label);
        }
        let is_networks_only =
            !peers.is_empty() && peers.iter().all(|peer| matches!(peer, ClusterPeer::Networks(_)));
        if is_networks_only && all_named(ports) {
            self.warn_of_names_of_blocks(&rule.place);
            return;
        }
        let unknown = names(ports).find(|&(protocol, name)| {
            !self.selection.defines(protocol, name, |model, workload| match direction {
                Direction::Ingress => selection::selects(model, &policy.subject, workload),
                Direction::Egress => peers.iter().any(|peer| match peer {
                    ClusterPeer::Workloads(selector) => selection::selects(model, selector, workload),
                    ClusterPeer::Networks(_) => false,
                }),
            })
        });
        if let Some((protocol, name)) = unknown {
            self.warn_of_name(&rule.place, protocol, name, direction);
        }
    }

    /// Point 16.
    fn equal_priorities(&mut self) {
        let mut policies: Vec<&ClusterPolicy> =
            self.model.cluster_policies.values().map(AsRef::as_ref).collect();
        policies.sort_by_key(|policy| (policy.tier, policy.priority));
        for group in policies.chunk_by(|a, b| (a.tier, a.priority) == (b.tier, b.priority)) {
            for pair in group.windows(2) {
                let tier = match pair[0].tier {
                    Tier::Admin => "Admin",
                    Tier::Baseline => "Baseline",
                };
                let message = format!(
                    "tier {tier} has priority {} twice: {}, at {}, comes first by its name",
                    pair[1].priority, pair[0].name, pair[0].place
                );
                self.faults.warn(pair[1].place.clone(), message);
            }
        }
    }

    fn warn_of_cover(&mut self, place: &Place, what: &str, cidr: Cidr, workload: &ObjectName) {
        let message = format!(
            "{what} `{}/{}` covers workload {}/{}: it matches whatever the labels",
            cidr.address, cidr.length, workload.namespace, workload.name
        );
        self.faults.warn(place.clone(), message);
    }

    fn warn_of_contradiction(&mut self, place: &Place, label: &str) {
        let message = format!(
            "a selector of this rule contradicts itself on label {}: it matches nothing",
            quoted(label)
        );
        self.faults.warn(place.clone(), message);
    }

    fn warn_of_names_of_blocks(&mut self, place: &Place) {
        self.faults.warn(
            place.clone(),
            "this rule matches nothing: an address block has no named ports, and it has no other",
        );
    }

    fn warn_of_name(&mut self, place: &Place, protocol: Option<Protocol>, name: &str, direction: Direction) {
        let of = match protocol {
            Some(Protocol::Tcp) => " of TCP",
            Some(Protocol::Udp) => " of UDP",
            Some(Protocol::Sctp) => " of SCTP",
            None => "",
        };
        let who = match direction {
            Direction::Ingress => "no workload that this policy selects",
            Direction::Egress => "no workload that this rule reaches",
        };
        self.faults.warn(place.clone(), format!("{who} has a port named {}{of}", quoted(name)));
    }
}

fn is_peer(model: &Model, policy: &NetworkPolicy, peer: &NetworkPeer, workload: &Workload) -> bool {
    match peer {
        NetworkPeer::Block(_) => false,
        NetworkPeer::Workloads { namespaces: None, pods } => {
            workload.name.namespace == policy.name.namespace && pods.matches(&workload.labels)
        }
        NetworkPeer::Workloads { namespaces: Some(namespaces), pods } => {
            selection::is_in(model, namespaces, workload) && pods.matches(&workload.labels)
        }
    }
}

fn all_named(ports: &[PortMatch]) -> bool {
    !ports.is_empty() && ports.iter().all(|port| matches!(port, PortMatch::Named { .. }))
}

fn names(ports: &[PortMatch]) -> impl Iterator<Item = (Option<Protocol>, &str)> {
    ports.iter().filter_map(|port| match port {
        PortMatch::Named { protocol, name } => Some((*protocol, name.as_str())),
        PortMatch::Any { .. } | PortMatch::Range { .. } => None,
    })
}
