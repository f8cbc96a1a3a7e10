//! A large model of regular shape, for the measurement and the test of scale.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use windrose_policy::model::{
    Cidr, ClusterAction, ClusterPeer, ClusterPeers, ClusterPolicy, ClusterRule, IpBlock, Labels, Model,
    NamedPort, Namespace, NamespacedSelector, NetworkPeer, NetworkPolicy, NetworkRule, ObjectName, PortMatch,
    Protocol, Requirement, Selector, Tier, Workload,
};
use windrose_policy::place::Place;

/// So many namespaces, workloads in each with a policy for each, and rules of each policy.
pub(crate) fn model(namespaces: usize, workloads: usize, rules: usize) -> Model {
    let mut model = Model::default();
    for n in 0..namespaces {
        let name = namespace(n);
        let env = ["prod", "test", "dev"][n % 3];
        let labels: Labels = [("kubernetes.io/metadata.name", name.as_str()), ("env", env)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let place = Some(place(n));
        model.namespaces.insert(name, Namespace { labels: Arc::new(labels), audit: false, place });
        for app in 0..workloads {
            let workload = workload(n, app);
            model.workloads.insert(workload.name.clone(), Arc::new(workload));
            let rules: Vec<NetworkRule> =
                (0..rules).map(|number| rule(n, (app + number) % workloads, number)).collect();
            let policy = policy(n, app, &rules);
            model.network_policies.insert(policy.name.clone(), Arc::new(policy));
        }
    }
    model
}

fn namespace(n: usize) -> String {
    format!("team-{n:03}")
}

fn name(namespace: String, name: String) -> ObjectName {
    ObjectName { namespace, name }
}

pub(crate) fn workload(n: usize, app: usize) -> Workload {
    let [high, low] = u16::try_from(app).unwrap_or_default().to_be_bytes();
    let address = Ipv4Addr::new(10, u8::try_from(n).unwrap_or_default(), high, low);
    let labels = [("app", format!("app-{app:03}")), ("tier", format!("tier-{}", app % 4))];
    Workload {
        name: name(namespace(n), format!("app-{app:03}")),
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        cgroup: Some(format!("windrose/{}/app-{app:03}", namespace(n))),
        addresses: vec![IpAddr::V4(address)],
        ports: vec![NamedPort { name: "http".to_owned(), port: 8080, protocol: Protocol::Tcp }],
        place: place(app),
    }
}

pub(crate) fn policy(n: usize, app: usize, rules: &[NetworkRule]) -> NetworkPolicy {
    NetworkPolicy {
        name: name(namespace(n), format!("policy-{app:03}")),
        pod_selector: selector("app", &format!("app-{app:03}")),
        ingress: Some(rules.to_vec()),
        egress: None,
        audit: false,
        place: place(app),
    }
}

/// One in ten is a block with a hole, one in ten names other namespaces, one in ten any peer.
pub(crate) fn rule(n: usize, app: usize, number: usize) -> NetworkRule {
    let pods = selector("app", &format!("app-{app:03}"));
    let namespaces = selector("env", ["prod", "test", "dev"][n % 3]);
    let peers = match number {
        0 => Some(vec![block(n, 24)]),
        1 => Some(vec![NetworkPeer::Workloads { namespaces: Some(namespaces), pods }]),
        2 => None,
        _ => Some(vec![NetworkPeer::Workloads { namespaces: None, pods }]),
    };
    let port = match number {
        3 => PortMatch::Range { protocol: Protocol::Tcp, first: 8_000, last: 8_099 },
        4 => PortMatch::Named { protocol: Some(Protocol::Tcp), name: "http".to_owned() },
        _ => tcp(8_000 + number),
    };
    NetworkRule { peers, ports: Some(vec![port]), place: place(number) }
}

pub(crate) fn tcp(port: usize) -> PortMatch {
    let port = u16::try_from(port).unwrap_or(1);
    PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }
}

pub(crate) fn block(n: usize, length: u8) -> NetworkPeer {
    let second = if length < 16 { 0 } else { u8::try_from(n).unwrap_or_default() };
    let address = if length < 8 {
        Ipv4Addr::from(0x0a00_0000 & (u32::MAX << (32 - length)))
    } else {
        Ipv4Addr::new(10, second, 0, 0)
    };
    NetworkPeer::Block(IpBlock { cidr: Cidr { address: IpAddr::V4(address), length }, except: Vec::new() })
}

fn selector(key: &str, value: &str) -> Selector {
    Selector { requirements: vec![Requirement::In(key.to_owned(), vec![value.to_owned()])] }
}

fn place(line: usize) -> Place {
    Place { file: "scale.yaml".into(), line: u32::try_from(line).unwrap_or(0), column: 1 }
}

/// One rule of all peers and ports, for every workload.
pub(crate) fn cluster_policy(name: &str, priority: u16, action: ClusterAction) -> ClusterPolicy {
    let all = NamespacedSelector { namespaces: Selector::default(), pods: Selector::default() };
    let rule = ClusterRule {
        name: String::new(),
        action,
        peers: ClusterPeers::Known(vec![ClusterPeer::Workloads(all.clone())]),
        protocols: None,
        place: place(1),
    };
    ClusterPolicy {
        name: name.to_owned(),
        tier: Tier::Admin,
        priority,
        subject: all,
        ingress: vec![rule],
        egress: Vec::new(),
        audit: false,
        place: place(1),
    }
}

pub(crate) fn v6_block(length: u8) -> NetworkPeer {
    let cidr = Cidr { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length };
    NetworkPeer::Block(IpBlock { cidr, except: Vec::new() })
}

/// Selectors of which no two are equal and that select everything here.
pub(crate) fn all_but(count: usize) -> impl Iterator<Item = Selector> {
    (0..count).map(|n| Selector {
        requirements: vec![Requirement::NotIn("app".to_owned(), vec![format!("not-{n}")])],
    })
}

/// Peers of as many groups, of which every workload is a member.
pub(crate) fn selectors(count: usize) -> Vec<NetworkPeer> {
    let peer = |pods| NetworkPeer::Workloads { namespaces: Some(Selector::default()), pods };
    all_but(count).map(peer).collect()
}
