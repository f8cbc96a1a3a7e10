//! `gateway.networking.k8s.io` `TCPRoute` and `UDPRoute`.

use super::super::meta::{self, Shape};
use super::super::node::Node;
use super::super::reader::Reader;
use super::super::service::decode_forwarding;
use super::filter::backend_of;
use super::reference::{Target, decode_parent};
use super::route::WEIGHT;
use super::text::decode_section;
use crate::model::{BackendRef, ObjectName, RouteKind, TransportRoute};

/// Decodes a route of this kind.
pub(in crate::document) fn decode(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    kind: RouteKind,
) -> Option<TransportRoute> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, kind.name(), &fields, |_, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => spec = Some(&entry.value),
        _ => {}
    });
    let meta = meta::decode(reader, node.mark, metadata, Shape::TransportRoute);
    // Without a name the rest is read all the same: all faults in one run.
    let namespace = meta.as_ref().map_or("default", |meta| &meta.namespace).to_owned();
    let Some(spec) = spec else {
        if reader.errors() == before {
            reader.missing(node.mark, kind.name(), "spec");
        }
        return None;
    };
    let (mut parents, mut backends) = (Vec::new(), None);
    let fields = ["parentRefs", "useDefaultGateways", "rules"];
    reader.fields(spec, "spec", &fields, |reader, key, entry| match key {
        "parentRefs" => {
            for item in reader.bounded_items(&entry.value, key, 0..=32) {
                parents.extend(decode_parent(reader, item, &namespace));
            }
        }
        "useDefaultGateways" => {
            reader
                .error(entry.mark, "`useDefaultGateways` is not served by this version: write `parentRefs`");
        }
        _ => {
            let before = reader.errors();
            let items = reader.bounded_items(&entry.value, key, 1..=1);
            if let ([rule], true) = (items, reader.errors() == before) {
                backends = decode_rule(reader, rule, &namespace);
            }
        }
    });
    if backends.is_none() && reader.errors() == before {
        reader.missing(spec.mark, "spec", "rules");
    }
    let meta = meta?;
    let forwarding = meta.annotations.iter().find_map(|annotation| decode_forwarding(reader, annotation));
    if reader.errors() != before {
        return None;
    }
    if parents.is_empty() {
        let message = format!("this {} has no `parentRefs`: it is attached to no gateway", kind.name());
        reader.warn(meta.mark, message);
    }
    Some(TransportRoute {
        kind,
        name: ObjectName { namespace, name: meta.name },
        created: meta.created,
        parents,
        backends: backends?,
        forwarding: forwarding.unwrap_or_default(),
        place: reader.place(meta.mark),
    })
}

fn decode_rule(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<Vec<BackendRef>> {
    let before = reader.errors();
    let mut backends = None;
    reader.fields(node, "a rule", &["name", "backendRefs"], |reader, key, entry| {
        if key == "name" {
            decode_section(reader, &entry.value, key);
            return;
        }
        let items = reader.bounded_items(&entry.value, key, 1..=16);
        backends =
            Some(items.iter().filter_map(|item| decode_backend(reader, item, namespace)).collect::<Vec<_>>());
    });
    if backends.is_none() && reader.errors() == before {
        reader.missing(node.mark, "a rule", "backendRefs");
    }
    backends
}

fn decode_backend(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<BackendRef> {
    const FIELDS: [&str; 6] = ["group", "kind", "namespace", "name", "port", "weight"];
    let before = reader.errors();
    let mut target = Target::default();
    let mut weight = 1;
    reader.fields(node, "a backendRef", &FIELDS, |reader, key, entry| match key {
        "weight" => weight = reader.integer_up_to(&entry.value, key, 0..=WEIGHT).unwrap_or(weight),
        _ => target.field(reader, key, &entry.value),
    });
    if reader.errors() != before {
        return None;
    }
    let mut backend = backend_of(reader, node, &target, namespace)?;
    backend.weight = weight;
    Some(backend)
}
