//! Random policies of both kinds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windrose_policy::model::{
    Cidr, ClusterAction, ClusterPeer, ClusterPeers, ClusterPolicy, ClusterRule, IpBlock, NamespacedSelector,
    NetworkPeer, NetworkPolicy, NetworkRule, ObjectName, PortMatch, Protocol, Requirement, Selector, Tier,
};

use super::{Maker, NAMESPACES, PORT_NAMES, PORTS};

impl Maker {
    pub(super) fn network_policy(&mut self, number: u64) -> NetworkPolicy {
        let ingress = self.rng.chance(70);
        let egress = !ingress || self.rng.chance(50);
        NetworkPolicy {
            name: ObjectName { namespace: self.pick(&NAMESPACES).to_owned(), name: format!("np{number}") },
            pod_selector: self.pod_selector(),
            ingress: ingress.then(|| self.network_rules()),
            egress: egress.then(|| self.network_rules()),
            audit: self.rng.chance(15),
            place: self.place(),
        }
    }

    fn network_rules(&mut self) -> Vec<NetworkRule> {
        (0..self.rng.below(4)).map(|_| self.network_rule()).collect()
    }

    fn network_rule(&mut self) -> NetworkRule {
        let peers = (0..self.rng.below(4)).map(|_| self.network_peer()).collect::<Vec<_>>();
        let ports = (0..self.rng.below(4)).map(|_| self.port_match(true)).collect::<Vec<_>>();
        NetworkRule {
            peers: (!peers.is_empty()).then_some(peers),
            ports: (!ports.is_empty()).then_some(ports),
            place: self.place(),
        }
    }

    fn network_peer(&mut self) -> NetworkPeer {
        if self.rng.chance(35) {
            return NetworkPeer::Block(self.block());
        }
        let namespaces = self.rng.chance(50).then(|| self.namespace_selector());
        NetworkPeer::Workloads { namespaces, pods: self.pod_selector() }
    }

    pub(super) fn cluster_policy(&mut self, number: u64) -> ClusterPolicy {
        ClusterPolicy {
            name: format!("cnp{number}"),
            tier: self.pick(&[Tier::Admin, Tier::Baseline]),
            // Few, so that equal ones occur.
            priority: self.pick(&[0, 0, 10, 10, 1000]),
            subject: self.namespaced_selector(),
            ingress: self.cluster_rules(false),
            egress: self.cluster_rules(true),
            audit: self.rng.chance(15),
            place: self.place(),
        }
    }

    fn cluster_rules(&mut self, is_egress: bool) -> Vec<ClusterRule> {
        (0..self.rng.below(4)).map(|_| self.cluster_rule(is_egress)).collect()
    }

    fn cluster_rule(&mut self, is_egress: bool) -> ClusterRule {
        let peers = if self.rng.chance(6) {
            ClusterPeers::Unknown
        } else {
            ClusterPeers::Known((0..=self.rng.below(3)).map(|_| self.cluster_peer(is_egress)).collect())
        };
        let protocols = (0..self.rng.below(4)).map(|_| self.port_match(false)).collect::<Vec<_>>();
        ClusterRule {
            name: if self.rng.chance(50) { "named".to_owned() } else { String::new() },
            action: self.pick(&[ClusterAction::Accept, ClusterAction::Deny, ClusterAction::Pass]),
            peers,
            protocols: (!protocols.is_empty()).then_some(protocols),
            place: self.place(),
        }
    }

    fn cluster_peer(&mut self, is_egress: bool) -> ClusterPeer {
        if is_egress && self.rng.chance(40) {
            return ClusterPeer::Networks((0..=self.rng.below(3)).map(|_| self.cidr()).collect());
        }
        ClusterPeer::Workloads(self.namespaced_selector())
    }

    fn namespaced_selector(&mut self) -> NamespacedSelector {
        NamespacedSelector { namespaces: self.namespace_selector(), pods: self.pod_selector() }
    }

    fn pod_selector(&mut self) -> Selector {
        self.selector(&["app", "tier"], &["web", "db", ""])
    }

    fn namespace_selector(&mut self) -> Selector {
        if self.rng.chance(25) {
            return self.selector(&["kubernetes.io/metadata.name"], &NAMESPACES);
        }
        self.selector(&["env", "team"], &["a", "b"])
    }

    /// Often empty, mostly one requirement, of all four operators.
    fn selector(&mut self, keys: &[&str], values: &[&str]) -> Selector {
        let mut requirements = Vec::new();
        for _ in 0..self.pick(&[0, 0, 1, 1, 1, 2]) {
            let key = self.pick(keys).to_owned();
            let mut some: Vec<String> =
                (0..=self.rng.below(2)).map(|_| self.pick(values).to_owned()).collect();
            some.sort();
            some.dedup();
            requirements.push(match self.rng.below(8) {
                0..=3 => Requirement::In(key, some),
                4..=5 => Requirement::NotIn(key, some),
                6 => Requirement::Exists(key),
                _ => Requirement::DoesNotExist(key),
            });
        }
        requirements.sort();
        requirements.dedup();
        Selector { requirements }
    }

    /// `is_network`: as a `NetworkPolicy` has them, where a named port has a protocol. A
    /// `ClusterNetworkPolicy` has no port-less protocols.
    fn port_match(&mut self, is_network: bool) -> PortMatch {
        let protocol: Protocol = self.protocol();
        match self.rng.below(6) {
            0 | 1 => {
                let name = self.pick(&PORT_NAMES).to_owned();
                PortMatch::Named { protocol: is_network.then_some(protocol), name }
            }
            2 if is_network => PortMatch::Any { protocol },
            2 | 3 => {
                let (a, b) = (self.pick(&PORTS), self.pick(&PORTS));
                PortMatch::Range { protocol, first: a.min(b), last: a.max(b) }
            }
            _ => {
                let port = self.pick(&PORTS);
                PortMatch::Range { protocol, first: port, last: port }
            }
        }
    }

    fn block(&mut self) -> IpBlock {
        let cidr = self.cidr();
        let mut except = Vec::new();
        for _ in 0..self.rng.below(3) {
            let hole = self.cidr();
            if cidr.contains(hole.address) && hole.length > cidr.length {
                except.push(hole);
            }
        }
        IpBlock { cidr, except }
    }

    /// Over and beside the addresses that workloads have.
    fn cidr(&mut self) -> Cidr {
        let is_v4 = self.rng.chance(60);
        let address = if self.rng.chance(8) {
            if is_v4 { Ipv4Addr::new(192, 0, 2, 4).into() } else { Ipv6Addr::LOCALHOST.into() }
        } else {
            self.private_address(is_v4)
        };
        let length = if is_v4 {
            self.pick(&[0, 8, 22, 23, 24, 24, 28, 29, 30, 31, 32, 32])
        } else {
            self.pick(&[0, 8, 64, 111, 112, 112, 124, 125, 126, 127, 128, 128])
        };
        Cidr { address: network(address, length), length }
    }
}

/// The address without its host bits.
fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}
