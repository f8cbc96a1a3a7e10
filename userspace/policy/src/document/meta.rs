//! Object metadata: name, namespace, labels and our annotations; the rest of Kubernetes' fields
//! are let pass, so that `kubectl get -o yaml` can be fed in.

use super::name::{check_label, check_label_key, check_label_value, check_subdomain};
use super::node::{Entry, Mark, Node, Value};
use super::reader::Reader;
use super::service::KEYS;
use crate::fault::quoted;
use crate::model::Labels;

/// The label that every namespace has.
pub(crate) const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The prefix of our annotations. Others are not ours to judge.
const PREFIX: &str = "windrose.dev/";

/// Our annotation of namespaces and policies.
const AUDIT: &str = "windrose.dev/audit";

/// What faults call the two sides of a label.
pub(super) const LABEL: (&str, &str) = ("a label's key", "a label's value");

const FIELDS: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "generateName",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// What a kind's metadata may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A namespace: its name is a DNS label.
    Namespace,
    /// An object in a namespace that cannot be in audit by itself.
    Workload,
    /// A service: its name is a DNS label.
    Service,
    /// A policy in a namespace.
    Policy,
    /// A policy without a namespace.
    ClusterPolicy,
}

/// The metadata that means something to us.
#[derive(Debug)]
pub(super) struct Meta {
    /// `metadata.name`, valid.
    pub(super) name: String,
    /// `metadata.namespace`, or `default`; empty for kinds without a namespace.
    pub(super) namespace: String,
    /// `metadata.labels`.
    pub(super) labels: Labels,
    /// Annotation `windrose.dev/audit` is `"true"`.
    pub(super) audit: bool,
    /// Our annotations of a service.
    pub(super) annotations: Vec<Annotation>,
    /// Where the name is.
    pub(super) mark: Mark,
}

/// One of our annotations of a service.
#[derive(Debug)]
pub(super) struct Annotation {
    /// Where its key is.
    pub(super) mark: Mark,
    pub(super) name: &'static str,
    pub(super) value_mark: Mark,
    pub(super) value: String,
}

/// Decodes the metadata of the object at `mark`; `None`, and a fault, when it has no valid name.
pub(super) fn decode(
    reader: &mut Reader<'_>,
    mark: Mark,
    metadata: Option<&Node<'_>>,
    shape: Shape,
) -> Option<Meta> {
    let Some(node) = metadata else {
        reader.missing(mark, "the object", "metadata");
        return None;
    };
    let before = reader.errors();
    let mut name = None;
    let mut namespace = None;
    let mut labels = Labels::new();
    let (mut audit, mut annotations) = (false, Vec::new());
    reader.fields(node, "metadata", &FIELDS, |reader, key, entry| match key {
        "name" => name = decode_name(reader, &entry.value, shape).map(|name| (entry.value.mark, name)),
        "namespace" => namespace = decode_namespace(reader, entry, shape),
        "labels" => labels = decode_labels(reader, &entry.value),
        "annotations" => (audit, annotations) = decode_annotations(reader, &entry.value, shape),
        _ => {}
    });
    let Some((mark, name)) = name else {
        if reader.errors() == before {
            reader.missing(node.mark, "metadata", "name");
        }
        return None;
    };
    let namespace = match shape {
        Shape::Namespace | Shape::ClusterPolicy => String::new(),
        Shape::Workload | Shape::Service | Shape::Policy => {
            namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
        }
    };
    Some(Meta { name, namespace, labels, audit, annotations, mark })
}

fn decode_name(reader: &mut Reader<'_>, node: &Node<'_>, shape: Shape) -> Option<String> {
    let name = reader.text(node, "metadata.name")?;
    let check = match shape {
        Shape::Namespace | Shape::Service => check_label,
        Shape::Workload | Shape::Policy | Shape::ClusterPolicy => check_subdomain,
    };
    if let Err(why) = check(name) {
        reader.error(node.mark, format!("metadata.name {} {why}", quoted(name)));
        return None;
    }
    Some(name.to_owned())
}

fn decode_namespace(reader: &mut Reader<'_>, entry: &Entry<'_>, shape: Shape) -> Option<String> {
    let namespace = reader.text(&entry.value, "metadata.namespace")?;
    if matches!(shape, Shape::Namespace | Shape::ClusterPolicy) {
        // Kubernetes writes "" here for objects without a namespace.
        if !namespace.is_empty() {
            reader.error(entry.mark, "an object of this kind is in no namespace: remove `namespace`");
        }
        return None;
    }
    if namespace.is_empty() {
        return None;
    }
    if let Err(why) = check_label(namespace) {
        reader.error(entry.value.mark, format!("metadata.namespace {} {why}", quoted(namespace)));
        return None;
    }
    Some(namespace.to_owned())
}

fn decode_labels(reader: &mut Reader<'_>, node: &Node<'_>) -> Labels {
    let mut labels = Labels::new();
    for (mark, key, value_mark, value) in pairs(reader, node, "labels", LABEL) {
        if let Err(why) = check_label_key(key) {
            reader.error(mark, format!("label {} {why}", quoted(key)));
        }
        if let Err(why) = check_label_value(value) {
            reader.error(value_mark, format!("label value {} {why}", quoted(value)));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn decode_annotations(reader: &mut Reader<'_>, node: &Node<'_>, shape: Shape) -> (bool, Vec<Annotation>) {
    let (mut audit, mut annotations) = (false, Vec::new());
    for (mark, key, value_mark, value) in
        pairs(reader, node, "annotations", ("an annotation's key", "an annotation's value"))
    {
        if !key.starts_with(PREFIX) {
            continue;
        }
        if let Some(name) = KEYS.iter().find(|name| **name == key) {
            if shape == Shape::Service {
                annotations.push(Annotation { mark, name, value_mark, value: value.to_owned() });
            } else {
                reader.error(mark, format!("annotation `{name}` belongs on a Service, not here"));
            }
            continue;
        }
        if key != AUDIT {
            let known: &[&str] = if shape == Shape::Service { &KEYS } else { &[AUDIT] };
            reader.unknown(mark, "annotation", key, "", known);
            continue;
        }
        if matches!(shape, Shape::Workload | Shape::Service) {
            let message = format!(
                "annotation `{AUDIT}` belongs on a Namespace, NetworkPolicy or ClusterNetworkPolicy, not here"
            );
            reader.error(mark, message);
            continue;
        }
        match value {
            "true" => audit = true,
            "false" => audit = false,
            _ => {
                let message =
                    format!("annotation `{AUDIT}` must be \"true\" or \"false\", not {}", quoted(value));
                reader.error(value_mark, message);
            }
        }
    }
    (audit, annotations)
}

/// The text-to-text pairs of a mapping: labels, annotations and `matchLabels`.
pub(super) fn pairs<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node<'_>,
    what: &str,
    (key_of, value_of): (&str, &str),
) -> Vec<(Mark, &'n str, Mark, &'n str)> {
    let mut pairs = Vec::new();
    for entry in reader.entries(node, what) {
        let key = reader.scalar_text(entry.mark, &entry.key, key_of);
        let value = match &entry.value.value {
            // Kubernetes reads a null as the empty text.
            Value::Scalar(_) if entry.value.is_null() => Some(""),
            _ => reader.text(&entry.value, value_of),
        };
        if let (Some(key), Some(value)) = (key, value) {
            pairs.push((entry.mark, key, entry.value.mark, value));
        }
    }
    pairs
}
