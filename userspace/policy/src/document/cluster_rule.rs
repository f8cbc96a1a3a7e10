//! The rules of a `ClusterNetworkPolicy`, with the bounds of upstream's validation.

use super::node::{Entry, Mark, Node};
use super::port::exactly_one;
use super::reader::Reader;
use super::{address, port, selector};
use crate::fault::quoted;
use crate::model::{
    Cidr, ClusterAction, ClusterPeer, ClusterPeers, ClusterRule, Direction, NamespacedSelector, Selector,
};

/// Upstream allows so many rules, peers, protocols, networks and domain names, each.
const MOST: usize = 25;

const ACTIONS: [(&str, ClusterAction); 3] =
    [("Accept", ClusterAction::Accept), ("Deny", ClusterAction::Deny), ("Pass", ClusterAction::Pass)];

/// A peer as written.
enum Peer {
    Known(ClusterPeer),
    /// Of a form that this version cannot resolve; its name for a warning.
    Unknown(Mark, &'static str),
}

/// Decodes the rules of one direction.
pub(super) fn decode_all(reader: &mut Reader<'_>, node: &Node<'_>, direction: Direction) -> Vec<ClusterRule> {
    let what = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let items = reader.bounded_items(node, what, 0..=MOST);
    items.iter().take(MOST).filter_map(|item| decode_rule(reader, item, direction)).collect()
}

fn decode_rule(reader: &mut Reader<'_>, node: &Node<'_>, direction: Direction) -> Option<ClusterRule> {
    let (what, peers_field) = match direction {
        Direction::Ingress => ("an ingress rule", "from"),
        Direction::Egress => ("an egress rule", "to"),
    };
    let mut seen = Vec::new();
    let mut name = "";
    let mut action = None;
    let mut peers = Vec::new();
    let mut protocols = None;
    reader.fields(node, what, &["name", "action", peers_field, "protocols"], |reader, key, entry| {
        seen.push(key);
        match key {
            "name" => name = decode_name(reader, &entry.value),
            "action" => action = reader.word(&entry.value, "action", &ACTIONS),
            "protocols" => {
                let items = reader.bounded_items(&entry.value, key, 1..=MOST);
                let decoded = items.iter().take(MOST).filter_map(|item| port::decode_cluster(reader, item));
                protocols = Some(decoded.collect());
            }
            _ => {
                let items = reader.bounded_items(&entry.value, key, 1..=MOST);
                peers =
                    items.iter().take(MOST).filter_map(|item| decode_peer(reader, item, direction)).collect();
            }
        }
    });
    for field in ["action", peers_field] {
        if !seen.contains(&field) {
            reader.missing(node.mark, what, field);
        }
    }
    let action = action?;
    warn_of_unknown(reader, &peers, action);
    Some(ClusterRule {
        name: name.to_owned(),
        action,
        peers: combine(peers),
        protocols,
        place: reader.place(node.mark),
    })
}

fn decode_name<'n>(reader: &mut Reader<'_>, node: &'n Node<'_>) -> &'n str {
    let name = reader.text(node, "name").unwrap_or_default();
    if name.chars().count() > 100 {
        reader.error(node.mark, "a rule's name has at most 100 characters");
    }
    if name.chars().any(char::is_control) {
        reader.error(node.mark, format!("rule name {} has control characters", quoted(name)));
    }
    name
}

/// Point 18: one peer of an unknown form makes the whole rule fail closed.
fn combine(peers: Vec<Peer>) -> ClusterPeers {
    let known: Option<Vec<ClusterPeer>> = peers
        .into_iter()
        .map(|peer| match peer {
            Peer::Known(peer) => Some(peer),
            Peer::Unknown(..) => None,
        })
        .collect();
    known.map_or(ClusterPeers::Unknown, ClusterPeers::Known)
}

fn warn_of_unknown(reader: &mut Reader<'_>, peers: &[Peer], action: ClusterAction) {
    let unknown = peers.iter().find_map(|peer| match peer {
        Peer::Unknown(mark, form) => Some((*mark, *form)),
        Peer::Known(_) => None,
    });
    if let Some((mark, form)) = unknown {
        let effect = match action {
            ClusterAction::Accept => "so this Accept rule matches nothing",
            ClusterAction::Deny => "so this Deny rule denies everything",
            ClusterAction::Pass => "so this Pass rule denies everything",
        };
        reader.warn(mark, format!("{form} cannot be resolved here, {effect}"));
    }
}

fn decode_peer(reader: &mut Reader<'_>, node: &Node<'_>, direction: Direction) -> Option<Peer> {
    let known: &[&str] = match direction {
        Direction::Ingress => &["namespaces", "pods"],
        Direction::Egress => &["namespaces", "pods", "nodes", "networks", "domainNames"],
    };
    let before = reader.errors();
    let mut count = 0;
    let mut peer = Peer::Unknown(node.mark, "an empty peer");
    reader.fields(node, "a peer", known, |reader, key, entry| {
        count += 1;
        peer = decode_form(reader, key, entry);
    });
    if count > 1 && reader.errors() == before {
        exactly_one(reader, node, count, "a peer", known);
    }
    (reader.errors() == before).then_some(peer)
}

fn decode_form(reader: &mut Reader<'_>, key: &str, entry: &Entry<'_>) -> Peer {
    match key {
        "namespaces" => {
            let namespaces = selector::decode(reader, &entry.value, key);
            Peer::Known(ClusterPeer::Workloads(NamespacedSelector { namespaces, pods: Selector::default() }))
        }
        "pods" => Peer::Known(ClusterPeer::Workloads(selector::decode_namespaced(reader, &entry.value))),
        "networks" => Peer::Known(ClusterPeer::Networks(decode_networks(reader, &entry.value))),
        "nodes" => {
            selector::decode(reader, &entry.value, key);
            Peer::Unknown(entry.mark, "a `nodes` peer")
        }
        _ => {
            for item in reader.bounded_items(&entry.value, key, 1..=MOST) {
                reader.text(item, "a domain name");
            }
            Peer::Unknown(entry.mark, "a `domainNames` peer")
        }
    }
}

fn decode_networks(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<Cidr> {
    let mut networks: Vec<Cidr> = Vec::new();
    for item in reader.bounded_items(node, "networks", 1..=MOST).iter().take(MOST) {
        let Some(cidr) = address::decode_cidr(reader, item, "network") else { continue };
        if networks.contains(&cidr) {
            reader.error(item.mark, format!("network `{}/{}` is here twice", cidr.address, cidr.length));
        }
        networks.push(cidr);
    }
    networks
}
