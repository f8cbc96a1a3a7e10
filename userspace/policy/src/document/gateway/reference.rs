//! References from one object to another: parents, backends and certificates.

use super::super::node::Node;
use super::super::port::decode_number;
use super::super::reader::Reader;
use super::text::{decode_namespace, decode_object_name, decode_section};
use crate::fault::quoted;
use crate::model::{ObjectName, ParentRef, SecretRef};

/// The group of our kinds of routes and gateways.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// Where a reference points, as far as all kinds of them say it.
#[derive(Default)]
pub(super) struct Target {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) port: Option<u16>,
}

impl Target {
    /// Takes a field if it is one of a reference.
    pub(super) fn field(&mut self, reader: &mut Reader<'_>, key: &str, value: &Node<'_>) {
        match key {
            "group" => self.group = reader.text(value, key).map(ToOwned::to_owned),
            "kind" => self.kind = decode_kind(reader, value),
            "namespace" => self.namespace = decode_namespace(reader, value),
            "name" => self.name = decode_object_name(reader, value),
            "port" => self.port = decode_number(reader, value, key),
            _ => {}
        }
    }

    /// (group, kind) if they are not those that are usual here.
    pub(super) fn foreign(&self, group: &str, kind: &str) -> Option<(String, String)> {
        let this = (self.group.as_deref().unwrap_or(group), self.kind.as_deref().unwrap_or(kind));
        (this != (group, kind)).then(|| (this.0.to_owned(), this.1.to_owned()))
    }

    /// The object, of `namespace` if it names none.
    pub(super) fn object(&self, namespace: &str) -> Option<ObjectName> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace).to_owned();
        Some(ObjectName { namespace, name: self.name.clone()? })
    }
}

/// A kind's name.
pub(super) fn decode_kind(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let text = reader.text(node, "kind")?;
    let is_valid = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_valid {
        reader.error(node.mark, format!("kind {} must be letters, digits and `-`", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

/// An item of `parentRefs`.
pub(super) fn decode_parent(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<ParentRef> {
    const FIELDS: [&str; 6] = ["group", "kind", "namespace", "name", "sectionName", "port"];
    let before = reader.errors();
    let mut target = Target::default();
    let mut listener = None;
    reader.fields(node, "a parentRef", &FIELDS, |reader, key, entry| {
        if key == "sectionName" {
            listener = decode_section(reader, &entry.value, key);
        } else {
            target.field(reader, key, &entry.value);
        }
    });
    if target.name.is_none() && reader.errors() == before {
        reader.missing(node.mark, "a parentRef", "name");
    }
    Some(ParentRef {
        foreign: target.foreign(GROUP, "Gateway"),
        gateway: target.object(namespace)?,
        listener,
        port: target.port,
        place: reader.place(node.mark),
    })
}

/// An item of `certificateRefs`.
pub(super) fn decode_secret(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<SecretRef> {
    let before = reader.errors();
    let mut target = Target::default();
    let fields = ["group", "kind", "namespace", "name"];
    reader.fields(node, "a certificateRef", &fields, |reader, key, entry| {
        target.field(reader, key, &entry.value);
    });
    if target.name.is_none() && reader.errors() == before {
        reader.missing(node.mark, "a certificateRef", "name");
    }
    Some(SecretRef {
        foreign: target.foreign("", "Secret"),
        name: target.object(namespace)?,
        place: reader.place(node.mark),
    })
}
