//! `policy.networking.k8s.io/v1alpha2` `ClusterNetworkPolicy`.

use super::meta::{self, Shape};
use super::node::Node;
use super::port::exactly_one;
use super::reader::Reader;
use super::{cluster_rule, selector};
use crate::model::{ClusterPolicy, ClusterRule, Direction, NamespacedSelector, Selector, Tier};

/// What a `spec` says.
struct Spec {
    tier: Tier,
    priority: u16,
    subject: NamespacedSelector,
    ingress: Vec<ClusterRule>,
    egress: Vec<ClusterRule>,
}

/// Decodes a `ClusterNetworkPolicy`. Its `status` is for others to write and read.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ClusterPolicy> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let mut has_spec = false;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "ClusterNetworkPolicy", &fields, |reader, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => {
            has_spec = true;
            spec = decode_spec(reader, &entry.value);
        }
        _ => {}
    });
    if !has_spec && reader.errors() == before {
        reader.missing(node.mark, "ClusterNetworkPolicy", "spec");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::ClusterPolicy);
    let (meta, spec) = (meta?, spec?);
    (reader.errors() == before).then(|| ClusterPolicy {
        name: meta.name,
        tier: spec.tier,
        priority: spec.priority,
        subject: spec.subject,
        ingress: spec.ingress,
        egress: spec.egress,
        audit: meta.audit,
        place: reader.place(meta.mark),
    })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Spec> {
    const TIERS: [(&str, Tier); 2] = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
    let mut seen = Vec::new();
    let (mut tier, mut priority, mut subject) = (None, None, None);
    let (mut ingress, mut egress) = (Vec::new(), Vec::new());
    let fields = ["tier", "priority", "subject", "ingress", "egress"];
    reader.fields(node, "spec", &fields, |reader, key, entry| {
        seen.push(key);
        let value = &entry.value;
        match key {
            "tier" => tier = reader.word(value, "tier", &TIERS),
            "priority" => priority = reader.integer(value, "priority", 0..=1_000),
            "subject" => subject = decode_subject(reader, value),
            "ingress" => ingress = cluster_rule::decode_all(reader, value, Direction::Ingress),
            _ => egress = cluster_rule::decode_all(reader, value, Direction::Egress),
        }
    });
    for field in ["tier", "priority", "subject"] {
        if !seen.contains(&field) {
            reader.missing(node.mark, "spec", field);
        }
    }
    Some(Spec { tier: tier?, priority: priority?, subject: subject?, ingress, egress })
}

fn decode_subject(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NamespacedSelector> {
    const FIELDS: [&str; 2] = ["namespaces", "pods"];
    let before = reader.errors();
    let mut count = 0;
    let mut subject = None;
    reader.fields(node, "subject", &FIELDS, |reader, key, entry| {
        count += 1;
        subject = Some(if key == "pods" {
            selector::decode_namespaced(reader, &entry.value)
        } else {
            let namespaces = selector::decode(reader, &entry.value, key);
            NamespacedSelector { namespaces, pods: Selector::default() }
        });
    });
    if reader.errors() != before {
        return None;
    }
    exactly_one(reader, node, count, "subject", &FIELDS)?;
    subject
}
