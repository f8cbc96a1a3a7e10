//! Whether a rule matches a flow.

use super::View;
use crate::model::{
    ClusterAction, ClusterPeer, ClusterPeers, ClusterRule, Direction, IpBlock, Model, NamespacedSelector,
    NetworkPeer, NetworkPolicy, NetworkRule, PortMatch, Selector, Workload,
};

/// TCP, UDP and SCTP.
pub(super) const MATCHED: [u8; 3] = [6, 17, 132];

/// Whether a selector of namespaces and workloads selects this workload.
pub(super) fn selects(model: &Model, selector: &NamespacedSelector, workload: &Workload) -> bool {
    selects_namespace(model, &selector.namespaces, workload) && selector.pods.matches(&workload.labels)
}

fn selects_namespace(model: &Model, selector: &Selector, workload: &Workload) -> bool {
    model
        .namespaces
        .get(&workload.name.namespace)
        .is_some_and(|namespace| selector.matches(&namespace.labels))
}

/// Whether a rule of a `NetworkPolicy` allows the flow.
pub(super) fn matches_network_rule(view: View<'_>, policy: &NetworkPolicy, rule: &NetworkRule) -> bool {
    // (10) TCP, UDP and SCTP are matched; no rule allows another protocol.
    if !MATCHED.contains(&view.flow.protocol) {
        return false;
    }
    // (3) Missing ports restrict nothing.
    let ports = rule.ports.as_deref();
    // (3) Missing peers restrict nothing.
    let Some(peers) = rule.peers.as_deref() else { return matches_ports(view, ports, true) };
    // (4) Peers are OR; so are ports.
    peers.iter().any(|peer| match peer {
        NetworkPeer::Workloads { namespaces, pods } => {
            matches_workload_peer(view, policy, namespaces.as_ref(), pods) && matches_ports(view, ports, true)
        }
        NetworkPeer::Block(block) => {
            matches_block(view, block) && matches_ports(view, ports, has_names(view))
        }
    })
}

/// (5) An ipBlock has no named ports: as the destination, that is. The source of ingress may be
/// one, since the name is resolved at the subject.
fn has_names(view: View<'_>) -> bool {
    view.direction == Direction::Ingress
}

/// (4) A selector matches workloads only, never addresses of nobody.
fn matches_workload_peer(
    view: View<'_>,
    policy: &NetworkPolicy,
    namespaces: Option<&Selector>,
    pods: &Selector,
) -> bool {
    let Some(peer) = view.peer_workload() else { return false };
    // (4) Both selectors are AND; a `podSelector` alone is of the policy's own namespace.
    let is_in_namespace = match namespaces {
        None => peer.name.namespace == policy.name.namespace,
        Some(selector) => selects_namespace(view.model, selector, peer),
    };
    is_in_namespace && pods.matches(&peer.labels)
}

/// (6, 7) A block matches the address on the wire, a workload's too, except in its holes.
fn matches_block(view: View<'_>, block: &IpBlock) -> bool {
    let address = view.peer().address;
    block.cidr.contains(address) && !block.except.iter().any(|hole| hole.contains(address))
}

/// Whether a rule of a `ClusterNetworkPolicy` matches the flow.
pub(super) fn matches_cluster_rule(view: View<'_>, rule: &ClusterRule) -> bool {
    let ports = rule.protocols.as_deref();
    match &rule.peers {
        // (18) Fail closed: an Accept matches nothing, Deny and Pass match everything.
        ClusterPeers::Unknown => rule.action != ClusterAction::Accept,
        ClusterPeers::Known(peers) => peers.iter().any(|peer| match peer {
            ClusterPeer::Workloads(selector) => {
                view.peer_workload().is_some_and(|peer| selects(view.model, selector, peer))
                    && matches_ports(view, ports, true)
            }
            ClusterPeer::Networks(networks) => {
                networks.iter().any(|network| network.contains(view.peer().address))
                    && matches_ports(view, ports, has_names(view))
            }
        }),
    }
}

/// `None` matches every port and protocol. `has_names`: named ports can match.
fn matches_ports(view: View<'_>, ports: Option<&[PortMatch]>, has_names: bool) -> bool {
    ports.is_none_or(|ports| ports.iter().any(|port| matches_port(view, port, has_names)))
}

pub(super) fn matches_port(view: View<'_>, port: &PortMatch, has_names: bool) -> bool {
    let flow = view.flow;
    match port {
        // (5) A missing port is every port of that protocol.
        PortMatch::Any { protocol } => flow.protocol == protocol.number(),
        PortMatch::Range { protocol, first, last } => {
            flow.protocol == protocol.number() && (*first..=*last).contains(&flow.destination_port)
        }
        // (5) A named port is resolved at each destination workload, and only with the same
        // protocol.
        PortMatch::Named { protocol, name } => {
            has_names
                && view.destination_workload().is_some_and(|destination| {
                    destination.ports.iter().any(|port| {
                        port.name == *name
                            && protocol.is_none_or(|protocol| protocol == port.protocol)
                            && port.protocol.number() == flow.protocol
                            && port.port == flow.destination_port
                    })
                })
        }
    }
}
