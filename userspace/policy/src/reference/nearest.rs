//! For a denial, the rule that came nearest to allowing, and what differed.

use std::net::IpAddr;

use super::matching::{self, MATCHED};
use super::{View, workload_of};
use crate::decision::{Flow, RuleRef};
use crate::model::{
    ClusterAction, ClusterPeer, ClusterPeers, ClusterPolicy, Direction, IpBlock, Labels, Model, NetworkPeer,
    NetworkPolicy, PortMatch, Protocol, Requirement, Selector, Tier, Workload,
};
use crate::place::Place;

/// A rule that would have allowed, had some fields been others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// The rule.
    pub rule: RuleRef,
    /// Where it is written.
    pub place: Place,
    /// What differed, never empty.
    pub differences: Vec<Difference>,
}

/// One field of a rule that a flow does not satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field as policies call it: `port`, `protocol`, `podSelector`, `namespaceSelector`,
    /// `ipBlock`, `networks`, `subject` (the policy selects other workloads) or `order` (a denying
    /// rule comes first).
    pub field: &'static str,
    /// What the rule asks for.
    pub wanted: String,
    /// What the flow has.
    pub found: String,
    /// How far apart they are: only for the choice of the nearest.
    weight: u32,
}

/// The tier that denied, and where in it; rules behind it come too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach<'a> {
    Admin(Option<At<'a>>),
    Network,
    Baseline(Option<At<'a>>),
}

/// Where a cluster rule stands in its tier: priority, name, index.
type At<'a> = (u16, &'a str, u32);

/// The rule nearest to allowing a flow that `denied_by` refuses in this direction. Policies in
/// audit are not looked at: they allow nothing. `None` when no rule could.
pub fn nearest(model: &Model, flow: &Flow, direction: Direction, denied_by: &RuleRef) -> Option<Near> {
    let end = match direction {
        Direction::Egress => &flow.source,
        Direction::Ingress => &flow.destination,
    };
    let subject = workload_of(model, end)?;
    let view = View { model, flow, direction, subject };
    let reach = reach(model, denied_by)?;
    let mut nearest: Option<(u32, Near)> = None;
    let mut offer = |near: Near| {
        let weight = near.differences.iter().map(|difference| difference.weight).sum();
        let is_nearer =
            nearest.as_ref().is_none_or(|(least, best)| (weight, &near.place) < (*least, &best.place));
        if is_nearer && !near.differences.is_empty() {
            nearest = Some((weight, near));
        }
    };
    for policy in model.cluster_policies.values().filter(|policy| !policy.audit) {
        offer_cluster(view, policy, reach, &mut offer);
    }
    if reach >= Reach::Network {
        for policy in model.network_policies.values().filter(|policy| !policy.audit) {
            offer_network(view, policy, &mut offer);
        }
    }
    nearest.map(|(_, near)| near)
}

fn reach<'a>(model: &'a Model, denied_by: &RuleRef) -> Option<Reach<'a>> {
    match denied_by {
        RuleRef::Isolated { .. } => Some(Reach::Network),
        RuleRef::Cluster { policy, index, .. } => {
            let policy = model.cluster_policies.get(policy)?;
            let at = Some((policy.priority, policy.name.as_str(), *index));
            Some(match policy.tier {
                Tier::Admin => Reach::Admin(at),
                Tier::Baseline => Reach::Baseline(at),
            })
        }
        // These deny nothing.
        RuleRef::Open | RuleRef::Itself | RuleRef::Host | RuleRef::Audit | RuleRef::Network { .. } => None,
    }
}

fn offer_network(view: View<'_>, policy: &NetworkPolicy, offer: &mut impl FnMut(Near)) {
    let rules = match view.direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    };
    // A policy of another namespace can never select the subject.
    if policy.name.namespace != view.subject.name.namespace || !MATCHED.contains(&view.flow.protocol) {
        return;
    }
    let subject = labels_differ("subject", 4, &policy.pod_selector, &view.subject.labels);
    for (index, rule) in (0..).zip(rules.unwrap_or_default()) {
        let mut differences = subject.clone();
        let peers = rule.peers.as_deref().map(|peers| {
            least(peers.iter().map(|peer| match peer {
                NetworkPeer::Workloads { namespaces, pods } => {
                    let own = Selector {
                        requirements: vec![Requirement::In(
                            crate::document::NAMESPACE_LABEL.to_owned(),
                            vec![policy.name.namespace.clone()],
                        )],
                    };
                    workload_differs(view, namespaces.as_ref().unwrap_or(&own), pods)
                }
                NetworkPeer::Block(block) => block_differs(view.peer().address, block),
            }))
        });
        differences.extend(peers.unwrap_or_default());
        differences.extend(ports_differ(view, rule.ports.as_deref()));
        let rule_ref = RuleRef::Network { policy: policy.name.clone(), direction: view.direction, index };
        offer(Near { rule: rule_ref, place: rule.place.clone(), differences });
    }
}

fn offer_cluster(view: View<'_>, policy: &ClusterPolicy, reach: Reach<'_>, offer: &mut impl FnMut(Near)) {
    let (limit, is_asked) = match (policy.tier, reach) {
        (Tier::Admin, Reach::Admin(limit)) | (Tier::Baseline, Reach::Baseline(limit)) => (limit, true),
        (Tier::Admin, _) => (None, true),
        (Tier::Baseline, _) => (None, false),
    };
    if !is_asked {
        return;
    }
    let rules = match view.direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    let mut subject = Vec::new();
    if !matching::selects(view.model, &policy.subject, view.subject) {
        let labels = namespace_labels(view.model, view.subject);
        subject.extend(labels_differ("subject", 4, &policy.subject.namespaces, labels));
        subject.extend(labels_differ("subject", 4, &policy.subject.pods, &view.subject.labels));
    }
    for (index, rule) in (0..).zip(rules) {
        let ClusterPeers::Known(peers) = &rule.peers else { continue };
        if rule.action != ClusterAction::Accept {
            continue;
        }
        let mut differences = subject.clone();
        differences.extend(least(peers.iter().map(|peer| match peer {
            ClusterPeer::Workloads(selector) => workload_differs(view, &selector.namespaces, &selector.pods),
            ClusterPeer::Networks(networks) => {
                let address = view.peer().address;
                if networks.iter().any(|network| network.contains(address)) {
                    return Vec::new();
                }
                let wanted: Vec<String> = networks
                    .iter()
                    .map(|network| format!("{}/{}", network.address, network.length))
                    .collect();
                vec![differs("networks", wanted.join(" or "), address.to_string(), 3)]
            }
        })));
        differences.extend(ports_differ(view, rule.protocols.as_deref()));
        if let Some(limit) = limit
            && (policy.priority, policy.name.as_str(), index) > limit
        {
            let wanted = "to come before the rule that denies".to_owned();
            differences.push(differs(
                "order",
                wanted,
                format!("priority {}, rule {index}", policy.priority),
                5,
            ));
        }
        let rule_ref = RuleRef::Cluster { policy: policy.name.clone(), direction: view.direction, index };
        offer(Near { rule: rule_ref, place: rule.place.clone(), differences });
    }
}

/// The alternative with the least to change; the first of equals.
fn least(alternatives: impl Iterator<Item = Vec<Difference>>) -> Vec<Difference> {
    alternatives
        .min_by_key(|differences| differences.iter().map(|d| d.weight).sum::<u32>())
        .unwrap_or_default()
}

fn workload_differs(view: View<'_>, namespaces: &Selector, pods: &Selector) -> Vec<Difference> {
    let Some(peer) = view.peer_workload() else {
        let wanted = format!("a workload with {} in a namespace with {}", wanted(pods), wanted(namespaces));
        return vec![differs(
            "podSelector",
            wanted,
            format!("{}, which is no workload", view.peer().address),
            6,
        )];
    };
    let labels = namespace_labels(view.model, peer);
    let mut differences = labels_differ("namespaceSelector", 2, namespaces, labels);
    differences.extend(labels_differ("podSelector", 2, pods, &peer.labels));
    differences
}

static NO_LABELS: Labels = Labels::new();

fn namespace_labels<'a>(model: &'a Model, workload: &Workload) -> &'a Labels {
    model.namespaces.get(&workload.name.namespace).map_or(&NO_LABELS, |namespace| &*namespace.labels)
}

fn labels_differ(field: &'static str, weight: u32, selector: &Selector, labels: &Labels) -> Vec<Difference> {
    let unmet = selector
        .requirements
        .iter()
        .filter(|requirement| !Selector { requirements: vec![(*requirement).clone()] }.matches(labels));
    unmet
        .map(|requirement| {
            let key = key(requirement);
            let found = match labels.get(key) {
                Some(value) => format!("{key}={value}"),
                None => format!("no label {key}"),
            };
            differs(field, said(requirement), found, weight)
        })
        .collect()
}

fn block_differs(address: IpAddr, block: &IpBlock) -> Vec<Difference> {
    let cidr = format!("{}/{}", block.cidr.address, block.cidr.length);
    if !block.cidr.contains(address) {
        return vec![differs("ipBlock", cidr, address.to_string(), 3)];
    }
    let hole = block.except.iter().find(|hole| hole.contains(address));
    hole.map(|hole| {
        let wanted = format!("{cidr} except {}/{}", hole.address, hole.length);
        differs("ipBlock", wanted, address.to_string(), 3)
    })
    .into_iter()
    .collect()
}

fn ports_differ(view: View<'_>, ports: Option<&[PortMatch]>) -> Vec<Difference> {
    ports.map(|ports| least(ports.iter().map(|port| port_differs(view, port)))).unwrap_or_default()
}

fn port_differs(view: View<'_>, port: &PortMatch) -> Vec<Difference> {
    let flow = view.flow;
    let mut differences = Vec::new();
    let mut protocol_differs = |protocol: Protocol| {
        if protocol.number() != flow.protocol {
            let found = protocol_name(flow.protocol);
            differences.push(differs("protocol", protocol_name(protocol.number()), found, 2));
        }
    };
    let found = || flow.destination_port.to_string();
    let has_port = MATCHED.contains(&flow.protocol);
    match port {
        PortMatch::Any { protocol } => protocol_differs(*protocol),
        PortMatch::Range { protocol, first, last } => {
            protocol_differs(*protocol);
            if has_port && !(*first..=*last).contains(&flow.destination_port) {
                let wanted = if first == last { first.to_string() } else { format!("{first}-{last}") };
                differences.push(differs("port", wanted, found(), 1));
            }
        }
        PortMatch::Named { protocol, name } => {
            if matching::matches_port(view, port, true) {
                return differences;
            }
            let destination = view.destination_workload();
            let named = destination.and_then(|workload| {
                let is_meant = |protocol: &Option<Protocol>, of| protocol.is_none_or(|wanted| wanted == of);
                workload.ports.iter().find(|port| port.name == *name && is_meant(protocol, port.protocol))
            });
            let Some(named) = named else {
                let wanted = format!("{name} (a port that the destination does not name)");
                return vec![differs("port", wanted, found(), 2)];
            };
            protocol_differs(named.protocol);
            if has_port && named.port != flow.destination_port {
                differences.push(differs("port", format!("{name} ({})", named.port), found(), 1));
            }
        }
    }
    differences
}

fn differs(field: &'static str, wanted: String, found: String, weight: u32) -> Difference {
    Difference { field, wanted, found, weight }
}

/// The name of an IP protocol as policies write it, or its number.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

fn wanted(selector: &Selector) -> String {
    if selector.requirements.is_empty() {
        return "any labels".to_owned();
    }
    selector.requirements.iter().map(said).collect::<Vec<_>>().join(", ")
}

fn key(requirement: &Requirement) -> &str {
    match requirement {
        Requirement::In(key, _)
        | Requirement::NotIn(key, _)
        | Requirement::Exists(key)
        | Requirement::DoesNotExist(key) => key,
    }
}

fn said(requirement: &Requirement) -> String {
    match requirement {
        Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
        Requirement::In(key, values) => format!("{key} in ({})", values.join(", ")),
        Requirement::NotIn(key, values) => format!("{key} not in ({})", values.join(", ")),
        Requirement::Exists(key) => format!("a label {key}"),
        Requirement::DoesNotExist(key) => format!("no label {key}"),
    }
}
