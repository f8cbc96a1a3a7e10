//! Which kind a document is, and the decoder for it.

use std::sync::Arc;

use super::node::{Mark, Node, Value};
use super::reader::{Reader, one_of};
use super::{Object, cluster_policy, namespace, network_policy, service, slice, workload};
use crate::fault::{nearest, quoted};

/// A kind that policy files may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Namespace,
    Workload,
    Service,
    EndpointSlice,
    NetworkPolicy,
    ClusterPolicy,
    /// A list of objects of one kind, or (`v1` List) of any.
    List(Option<&'static Known>),
}

/// A kind with its names.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    version: &'static str,
    name: &'static str,
    kind: Kind,
}

/// Every kind but the lists of one kind, which are these names and `List`.
static KNOWN: [Known; 7] = [
    Known { version: "v1", name: "Namespace", kind: Kind::Namespace },
    Known { version: "v1", name: "Service", kind: Kind::Service },
    Known { version: "discovery.k8s.io/v1", name: "EndpointSlice", kind: Kind::EndpointSlice },
    Known { version: "windrose.dev/v1alpha1", name: "Workload", kind: Kind::Workload },
    Known { version: "networking.k8s.io/v1", name: "NetworkPolicy", kind: Kind::NetworkPolicy },
    Known {
        version: "policy.networking.k8s.io/v1alpha2",
        name: "ClusterNetworkPolicy",
        kind: Kind::ClusterPolicy,
    },
    Known { version: "v1", name: "List", kind: Kind::List(None) },
];

/// Decodes a document, or the items of a list.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>, objects: &mut Vec<Object>) {
    decode_as(reader, node, None, objects);
}

/// Items of a typed list may leave their kind out, as the Kubernetes API does.
fn decode_as(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    default: Option<&'static Known>,
    objects: &mut Vec<Object>,
) {
    let Some(kind) = kind_of(reader, node, default) else { return };
    match kind {
        Kind::Namespace => objects.extend(namespace::decode(reader, node).map(Object::Namespace)),
        Kind::Workload => objects.extend(workload::decode(reader, node).map(Object::Workload)),
        Kind::Service => objects.extend(service::decode(reader, node).map(Object::Service)),
        Kind::EndpointSlice => objects.extend(slice::decode(reader, node).map(Object::Slice)),
        Kind::NetworkPolicy => {
            objects.extend(network_policy::decode(reader, node).map(Arc::new).map(Object::NetworkPolicy));
        }
        Kind::ClusterPolicy => {
            objects.extend(cluster_policy::decode(reader, node).map(Arc::new).map(Object::ClusterPolicy));
        }
        Kind::List(of) => {
            reader.fields(
                node,
                "a list",
                &["apiVersion", "kind", "metadata", "items"],
                |reader, key, entry| {
                    if key == "items" {
                        // A list in a list is nested no deeper than the reader allows.
                        for item in reader.items(&entry.value, "items") {
                            decode_as(reader, item, of, objects);
                        }
                    }
                },
            );
        }
    }
}

fn kind_of(reader: &mut Reader<'_>, node: &Node<'_>, default: Option<&'static Known>) -> Option<Kind> {
    let Value::Map(entries) = &node.value else {
        reader.error(node.mark, format!("a document must be a mapping, not {}", node.describe()));
        return None;
    };
    let mut version: Option<(Mark, &str)> = None;
    let mut name: Option<(Mark, &str)> = None;
    let before = reader.errors();
    for entry in entries {
        let field = match &*entry.key.text {
            "apiVersion" => &mut version,
            "kind" => &mut name,
            _ => continue,
        };
        if !entry.value.is_null() {
            *field = reader.text(&entry.value, &entry.key.text).map(|text| (entry.value.mark, text));
        }
    }
    if reader.errors() != before {
        return None;
    }
    if let Some(default) = default {
        version = version.or(Some((node.mark, default.version)));
        name = name.or(Some((node.mark, default.name)));
    }
    match (version, name) {
        (Some(version), Some(name)) => find(reader, version, name),
        (None, None) => {
            reader.error(node.mark, "the document has no `apiVersion` and no `kind`");
            None
        }
        (None, Some(_)) => {
            reader.missing(node.mark, "the document", "apiVersion");
            None
        }
        (Some(_), None) => {
            reader.missing(node.mark, "the document", "kind");
            None
        }
    }
}

fn find(
    reader: &mut Reader<'_>,
    (version_mark, version): (Mark, &str),
    (name_mark, name): (Mark, &str),
) -> Option<Kind> {
    if let Some(known) = KNOWN.iter().find(|known| known.name == name) {
        if known.version == version {
            return Some(known.kind);
        }
        let message = format!("{} is of apiVersion `{}`, not {}", known.name, known.version, quoted(version));
        reader.error(version_mark, message);
        return None;
    }
    if let Some(of) = name.strip_suffix("List").and_then(|of| KNOWN.iter().find(|known| known.name == of))
        && of.version == version
    {
        return Some(Kind::List(Some(of)));
    }
    let names: Vec<&str> =
        KNOWN.iter().filter(|known| known.version == version).map(|known| known.name).collect();
    if names.is_empty() {
        let mut versions: Vec<&str> = KNOWN.iter().map(|known| known.version).collect();
        versions.sort_unstable();
        versions.dedup();
        if nearest(name, KNOWN.iter().map(|known| known.name)).is_some() {
            reader.unknown(version_mark, "apiVersion", version, "", &versions);
        } else {
            let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
            let message = format!(
                "kind {} of {} is not known here: expected {}",
                quoted(name),
                quoted(version),
                one_of(&names)
            );
            reader.error(name_mark, message);
        }
        return None;
    }
    reader.unknown(name_mark, "kind", name, format_args!(" of {}", quoted(version)), &names);
    None
}
