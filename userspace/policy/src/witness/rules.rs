//! What the rules of a policy tell apart: the forms of their peers, and their ports.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{
    Cidr, ClusterAction, ClusterPeer, ClusterPeers, ClusterPolicy, ClusterRule, Direction, NetworkPeer,
    NetworkPolicy, NetworkRule, PortMatch, Selector,
};

/// A policy of either kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'m> {
    /// A `NetworkPolicy`.
    Network(&'m Arc<NetworkPolicy>),
    /// A `ClusterNetworkPolicy`.
    Cluster(&'m Arc<ClusterPolicy>),
}

/// A policy, and what the last load did to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy<'m> {
    pub(crate) body: Body<'m>,
    /// It is of the last policy and not of this one: nothing of it may be left.
    pub(crate) is_gone: bool,
    /// It is new, or says something else than it did.
    pub(crate) is_changed: bool,
    /// An ingress rule asks for a port by its name.
    pub(crate) has_ingress_names: bool,
}

/// A set of peers as a rule writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form<'m> {
    /// Workloads of one namespace, by their labels.
    Own { namespace: &'m str, pods: &'m Selector },
    /// Workloads by the labels of their namespace and their own.
    Labelled { namespaces: &'m Selector, pods: &'m Selector },
    /// Addresses.
    Block { cidr: Cidr, except: &'m [Cidr] },
}

/// A rule: whom it names, and which ports.
#[derive(Debug)]
pub(crate) struct Statement<'m> {
    /// `None`: every peer.
    pub(crate) forms: Option<Vec<Form<'m>>>,
    /// `None`: every port.
    pub(crate) ports: Option<&'m [PortMatch]>,
}

impl<'m> Policy<'m> {
    pub(crate) fn new(body: Body<'m>, is_gone: bool, is_changed: bool) -> Self {
        Self { body, is_gone, is_changed, has_ingress_names: body.has_names(Direction::Ingress) }
    }
}

impl<'m> Body<'m> {
    /// Whether it has a word on this direction.
    pub(crate) fn concerns(self, direction: Direction) -> bool {
        match self {
            Self::Network(policy) => network_rules(policy, direction).is_some(),
            Self::Cluster(policy) => !cluster_rules(policy, direction).is_empty(),
        }
    }

    /// Shows every form that its rules name, as often as they do.
    pub(crate) fn each_form(self, mut show: impl FnMut(Form<'m>)) {
        for direction in [Direction::Ingress, Direction::Egress] {
            match self {
                Self::Network(policy) => {
                    let rules = network_rules(policy, direction).into_iter().flatten();
                    let peers = rules.filter_map(|rule| rule.peers.as_ref()).flatten();
                    peers.for_each(|peer| show(network_form(policy, peer)));
                }
                Self::Cluster(policy) => {
                    for rule in cluster_rules(policy, direction) {
                        if let ClusterPeers::Known(peers) = &rule.peers {
                            peers.iter().flat_map(cluster_forms).for_each(&mut show);
                        }
                    }
                }
            }
        }
    }

    /// Its rules of one direction.
    pub(crate) fn statements(self, direction: Direction) -> Box<dyn Iterator<Item = Statement<'m>> + 'm> {
        match self {
            Self::Network(policy) => {
                let rules = network_rules(policy, direction).into_iter().flatten();
                Box::new(rules.map(|rule| network_statement(policy, rule)))
            }
            Self::Cluster(policy) => Box::new(cluster_rules(policy, direction).iter().map(cluster_statement)),
        }
    }

    /// Whether a rule of this direction asks for a port by its name.
    fn has_names(self, direction: Direction) -> bool {
        let has_name = |ports: &Option<Vec<PortMatch>>| {
            ports.iter().flatten().any(|port| matches!(port, PortMatch::Named { .. }))
        };
        match self {
            Self::Network(policy) => {
                network_rules(policy, direction).into_iter().flatten().any(|rule| has_name(&rule.ports))
            }
            Self::Cluster(policy) => {
                cluster_rules(policy, direction).iter().any(|rule| has_name(&rule.protocols))
            }
        }
    }
}

fn network_rules(policy: &Arc<NetworkPolicy>, direction: Direction) -> Option<&Vec<NetworkRule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

fn cluster_rules(policy: &Arc<ClusterPolicy>, direction: Direction) -> &Vec<ClusterRule> {
    match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    }
}

fn network_statement<'m>(policy: &'m NetworkPolicy, rule: &'m NetworkRule) -> Statement<'m> {
    let forms = |peers: &'m Vec<NetworkPeer>| peers.iter().map(|peer| network_form(policy, peer)).collect();
    Statement { forms: rule.peers.as_ref().map(forms), ports: rule.ports.as_deref() }
}

fn network_form<'m>(policy: &'m NetworkPolicy, peer: &'m NetworkPeer) -> Form<'m> {
    match peer {
        NetworkPeer::Workloads { namespaces: Some(namespaces), pods } => Form::Labelled { namespaces, pods },
        NetworkPeer::Workloads { namespaces: None, pods } => {
            Form::Own { namespace: &policy.name.namespace, pods }
        }
        NetworkPeer::Block(block) => Form::Block { cidr: block.cidr, except: &block.except },
    }
}

fn cluster_statement(rule: &ClusterRule) -> Statement<'_> {
    let forms = match &rule.peers {
        ClusterPeers::Unknown if rule.action == ClusterAction::Accept => Some(Vec::new()),
        // Every peer and every protocol, whatever `protocols` says.
        ClusterPeers::Unknown => return Statement { forms: None, ports: None },
        ClusterPeers::Known(peers) => Some(peers.iter().flat_map(cluster_forms).collect()),
    };
    Statement { forms, ports: rule.protocols.as_deref() }
}

fn cluster_forms(peer: &ClusterPeer) -> Vec<Form<'_>> {
    match peer {
        ClusterPeer::Workloads(selector) => {
            vec![Form::Labelled { namespaces: &selector.namespaces, pods: &selector.pods }]
        }
        ClusterPeer::Networks(networks) => {
            networks.iter().map(|cidr| Form::Block { cidr: *cidr, except: &[] }).collect()
        }
    }
}

/// The first address of a prefix and its last.
pub(crate) fn ends(cidr: Cidr) -> (IpAddr, IpAddr) {
    match cidr.address {
        IpAddr::V4(first) => {
            let hosts = u32::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
            (cidr.address, IpAddr::V4((u32::from(first) | hosts).into()))
        }
        IpAddr::V6(first) => {
            let hosts = u128::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
            (cidr.address, IpAddr::V6((u128::from(first) | hosts).into()))
        }
    }
}

/// The addresses beside a prefix, where there are some.
pub(crate) fn outside(cidr: Cidr) -> impl Iterator<Item = IpAddr> {
    let (first, last) = ends(cidr);
    let before = match first {
        IpAddr::V4(first) => u32::from(first).checked_sub(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(first) => u128::from(first).checked_sub(1).map(|bits| IpAddr::V6(bits.into())),
    };
    let after = match last {
        IpAddr::V4(last) => u32::from(last).checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(last) => u128::from(last).checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    };
    before.into_iter().chain(after)
}

/// Where the upper half of a prefix begins, if it has two.
pub(crate) fn middle(cidr: Cidr) -> Option<IpAddr> {
    let longest = if cidr.address.is_ipv4() { 32 } else { 128 };
    let lower = Cidr { length: cidr.length.checked_add(1).filter(|length| *length <= longest)?, ..cidr };
    beside(cidr, lower).next()
}

/// An address of each prefix that is left of `cidr` without one hole: tables hold a block with a
/// hole as those. They lie beside the hole at each length between the two.
pub(crate) fn beside(cidr: Cidr, hole: Cidr) -> impl Iterator<Item = IpAddr> {
    (cidr.length + 1..=hole.length).map(move |length| match hole.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(((u32::from(address) & mask) ^ (1 << (32 - u32::from(length)))).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(((u128::from(address) & mask) ^ (1 << (128 - u32::from(length)))).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        let (address, length) = text.split_once('/').unwrap();
        Cidr { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn shown(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
        addresses.map(|address| address.to_string()).collect()
    }

    #[test]
    fn a_prefix_has_two_ends_and_two_neighbours() {
        let block = cidr("10.0.0.0/8");
        assert_eq!(shown([ends(block).0, ends(block).1].into_iter()), ["10.0.0.0", "10.255.255.255"]);
        assert_eq!(shown(outside(block)), ["9.255.255.255", "11.0.0.0"]);
        assert_eq!(shown(middle(block).into_iter()), ["10.128.0.0"]);
        assert_eq!(middle(cidr("::1/128")), None);
        assert_eq!(shown(outside(cidr("0.0.0.0/0"))), Vec::<String>::new());
        assert_eq!(shown(outside(cidr("::1/128"))), ["::", "::2"]);
    }

    #[test]
    fn each_piece_around_a_hole_has_an_address() {
        let pieces = beside(cidr("10.0.0.0/28"), cidr("10.0.0.4/31"));
        assert_eq!(shown(pieces), ["10.0.0.8", "10.0.0.0", "10.0.0.6"]);
        assert_eq!(shown(beside(cidr("::/0"), cidr("fc00::/2"))), ["::", "8000::"]);
        assert_eq!(shown(beside(cidr("10.0.0.0/31"), cidr("10.0.0.1/32"))), ["10.0.0.0"]);
    }
}
