//! `v1` Namespace.

use std::sync::Arc;

use super::meta::{self, Meta, NAMESPACE_LABEL, Shape};
use super::node::Node;
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::Labels;
use crate::place::Place;

/// A namespace as written.
#[derive(Debug)]
pub(crate) struct NamespaceObject {
    /// Its name.
    pub(crate) name: String,
    /// Its labels, `kubernetes.io/metadata.name` among them.
    pub(crate) labels: Arc<Labels>,
    /// It is in audit.
    pub(crate) audit: bool,
    /// Where its name is.
    pub(crate) place: Place,
}

/// Decodes a Namespace. `spec.finalizers` and `status` mean nothing here.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NamespaceObject> {
    let before = reader.errors();
    let mut metadata = None;
    reader.fields(
        node,
        "Namespace",
        &["apiVersion", "kind", "metadata", "spec", "status"],
        |reader, key, entry| match key {
            "metadata" => metadata = Some(&entry.value),
            "spec" => reader.fields(&entry.value, "spec", &["finalizers"], |_, _, _| {}),
            _ => {}
        },
    );
    let meta = meta::decode(reader, node.mark, metadata, Shape::Namespace);
    let Meta { name, mut labels, audit, mark, .. } = meta?;
    if let Some(written) = labels.insert(NAMESPACE_LABEL.to_owned(), name.clone())
        && written != name
    {
        let message =
            format!("label `{NAMESPACE_LABEL}` is always the namespace's name, not {}", quoted(&written));
        reader.error(mark, message);
    }
    (reader.errors() == before).then(|| NamespaceObject {
        name,
        labels: Arc::new(labels),
        audit,
        place: reader.place(mark),
    })
}
