//! `networking.k8s.io/v1` `NetworkPolicy`.

use super::meta::{self, Shape};
use super::node::{Node, Value};
use super::reader::Reader;
use super::{address, port, selector};
use crate::model::{Direction, NetworkPeer, NetworkPolicy, NetworkRule, ObjectName, Selector};

/// What a `spec` says.
#[derive(Default)]
struct Spec {
    pod_selector: Selector,
    ingress: Option<Vec<NetworkRule>>,
    egress: Option<Vec<NetworkRule>>,
    types: Option<Vec<Direction>>,
}

/// Decodes a `NetworkPolicy`. `status`, which Kubernetes 1.24 to 1.27 write, means nothing.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NetworkPolicy> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "NetworkPolicy", &fields, |reader, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => spec = Some(decode_spec(reader, &entry.value)),
        _ => {}
    });
    if spec.is_none() && reader.errors() == before {
        reader.missing(node.mark, "NetworkPolicy", "spec");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Policy);
    let (meta, spec) = (meta?, spec?);
    if reader.errors() != before {
        return None;
    }
    // Point 1: without `policyTypes`, ingress always and egress if there is a rule for it. An
    // empty egress list is as good as none, as in Kubernetes' defaulting.
    let types = spec.types.unwrap_or_else(|| {
        let mut types = vec![Direction::Ingress];
        if spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
            types.push(Direction::Egress);
        }
        types
    });
    let applies = |direction| types.contains(&direction);
    Some(NetworkPolicy {
        ingress: applies(Direction::Ingress).then(|| spec.ingress.unwrap_or_default()),
        egress: applies(Direction::Egress).then(|| spec.egress.unwrap_or_default()),
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        pod_selector: spec.pod_selector,
        audit: meta.audit,
        place: reader.place(meta.mark),
    })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>) -> Spec {
    let mut spec = Spec::default();
    let mut sections = Vec::new();
    let fields = ["podSelector", "policyTypes", "ingress", "egress"];
    reader.fields(node, "spec", &fields, |reader, key, entry| match key {
        "podSelector" => spec.pod_selector = selector::decode(reader, &entry.value, "podSelector"),
        "policyTypes" => {
            let words = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
            let mut types = Vec::new();
            for item in reader.items(&entry.value, "policyTypes") {
                types.extend(reader.word(item, "policy type", &words));
            }
            // An empty list is an absent one (Kubernetes' defaulting).
            spec.types = (!types.is_empty()).then_some(types);
        }
        "ingress" => {
            spec.ingress = Some(decode_rules(reader, &entry.value, "ingress", "from"));
            sections.push((Direction::Ingress, entry));
        }
        _ => {
            spec.egress = Some(decode_rules(reader, &entry.value, "egress", "to"));
            sections.push((Direction::Egress, entry));
        }
    });
    if spec.types.is_none()
        && let Some((_, entry)) = sections.iter().find(|(direction, _)| *direction == Direction::Egress)
        && matches!(&entry.value.value, Value::List(items) if items.is_empty())
    {
        let message = "an empty `egress` without `policyTypes` does not isolate egress: \
                       add `policyTypes: [Ingress, Egress]`";
        reader.warn(entry.mark, message);
    }
    if let Some(types) = &spec.types {
        for (direction, entry) in sections {
            let is_empty = match direction {
                Direction::Ingress => spec.ingress.as_ref().is_none_or(Vec::is_empty),
                Direction::Egress => spec.egress.as_ref().is_none_or(Vec::is_empty),
            };
            if !types.contains(&direction) && !is_empty {
                let message = format!("these rules have no effect: policyTypes does not name {direction:?}");
                reader.warn(entry.mark, message);
            }
        }
    }
    spec
}

fn decode_rules(reader: &mut Reader<'_>, node: &Node<'_>, what: &str, peers: &str) -> Vec<NetworkRule> {
    reader.items(node, what).iter().map(|item| decode_rule(reader, item, what, peers)).collect()
}

fn decode_rule(reader: &mut Reader<'_>, node: &Node<'_>, what: &str, peers_field: &str) -> NetworkRule {
    let mut peers = Vec::new();
    let mut ports = Vec::new();
    let what = match what {
        "ingress" => "an ingress rule",
        _ => "an egress rule",
    };
    reader.fields(node, what, &[peers_field, "ports"], |reader, key, entry| {
        if key == "ports" {
            for item in reader.items(&entry.value, "ports") {
                ports.extend(port::decode_network(reader, item));
            }
        } else {
            for item in reader.items(&entry.value, key) {
                peers.extend(decode_peer(reader, item));
            }
        }
    });
    NetworkRule {
        // An item with a fault is missing here; the fault refuses the whole policy.
        peers: (!peers.is_empty()).then_some(peers),
        ports: (!ports.is_empty()).then_some(ports),
        place: reader.place(node.mark),
    }
}

fn decode_peer(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NetworkPeer> {
    let before = reader.errors();
    let mut pods = None;
    let mut namespaces = None;
    let mut block = None;
    let fields = ["podSelector", "namespaceSelector", "ipBlock"];
    reader.fields(node, "a peer", &fields, |reader, key, entry| match key {
        "podSelector" => pods = Some(selector::decode(reader, &entry.value, key)),
        "namespaceSelector" => namespaces = Some(selector::decode(reader, &entry.value, key)),
        _ => block = address::decode_block(reader, &entry.value).map(|block| (entry.mark, block)),
    });
    if reader.errors() != before {
        return None;
    }
    match (pods, namespaces, block) {
        (None, None, None) => {
            reader.error(node.mark, "a peer must have `podSelector`, `namespaceSelector` or `ipBlock`");
            None
        }
        (None, None, Some((_, block))) => Some(NetworkPeer::Block(block)),
        (pods, namespaces, None) => {
            Some(NetworkPeer::Workloads { namespaces, pods: pods.unwrap_or_default() })
        }
        (_, _, Some((mark, _))) => {
            reader.error(mark, "`ipBlock` stands alone: a peer has it or selectors, not both");
            None
        }
    }
}
