//! `gateway.networking.k8s.io/v1` and `v1beta1` `ReferenceGrant`.

use super::super::meta::{self, Shape};
use super::super::node::Node;
use super::super::reader::Reader;
use super::reference::Target;
use crate::model::{GrantFrom, GrantTo, ObjectName, ReferenceGrant};

/// Decodes a `ReferenceGrant`.
pub(in crate::document) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ReferenceGrant> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "ReferenceGrant", &fields, |reader, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => {
            spec = Some(entry.value.mark);
            reader.fields(&entry.value, key, &["from", "to"], |reader, key, entry| {
                for item in reader.bounded_items(&entry.value, key, 1..=16) {
                    if key == "from" {
                        from.extend(decode_from(reader, item));
                    } else {
                        to.extend(decode_to(reader, item));
                    }
                }
            });
        }
        _ => {}
    });
    if reader.errors() == before {
        match spec {
            None => reader.missing(node.mark, "ReferenceGrant", "spec"),
            Some(mark) if from.is_empty() => reader.missing(mark, "spec", "from"),
            Some(mark) if to.is_empty() => reader.missing(mark, "spec", "to"),
            Some(_) => {}
        }
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload)?;
    if reader.errors() != before {
        return None;
    }
    let name = ObjectName { namespace: meta.namespace, name: meta.name };
    Some(ReferenceGrant { name, from, to, place: reader.place(meta.mark) })
}

fn decode_from(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<GrantFrom> {
    let before = reader.errors();
    let mut target = Target::default();
    reader.fields(node, "a from", &["group", "kind", "namespace"], |reader, key, entry| {
        target.field(reader, key, &entry.value);
    });
    if reader.errors() == before {
        let parts = [
            (target.group.is_none(), "group"),
            (target.kind.is_none(), "kind"),
            (target.namespace.is_none(), "namespace"),
        ];
        for (_, field) in parts.into_iter().filter(|(is_missing, _)| *is_missing) {
            reader.missing(node.mark, "a from", field);
        }
    }
    Some(GrantFrom { group: target.group?, kind: target.kind?, namespace: target.namespace? })
}

fn decode_to(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<GrantTo> {
    let before = reader.errors();
    let mut target = Target::default();
    reader.fields(node, "a to", &["group", "kind", "name"], |reader, key, entry| {
        target.field(reader, key, &entry.value);
    });
    if reader.errors() == before {
        for (_, field) in [(target.group.is_none(), "group"), (target.kind.is_none(), "kind")]
            .into_iter()
            .filter(|(is_missing, _)| *is_missing)
        {
            reader.missing(node.mark, "a to", field);
        }
    }
    Some(GrantTo { group: target.group?, kind: target.kind?, name: target.name })
}
